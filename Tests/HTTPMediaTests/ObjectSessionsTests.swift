import Logging
import Media
import MediaObjects
import NIOCore
import NIOPosix
import StreamHub
import Synchronization
import TestSupport
import Testing

@testable import HTTPMedia

/// Answers when the test says so.
private final class Decider: Sendable {
    private struct State {
        var asked: [ObjectSessionQuestion] = []
        var answer: Result<SessionLimits, SessionRefusal>? = .success(SessionLimits())
        var waiting: [CheckedContinuation<Result<SessionLimits, SessionRefusal>, Never>] = []
    }

    private let state = Mutex(State())

    var asked: [ObjectSessionQuestion] { self.state.withLock { $0.asked } }
    var waitingCount: Int { self.state.withLock { $0.waiting.count } }

    /// `nil`: questions wait until there is an answer.
    func set(_ answer: Result<SessionLimits, SessionRefusal>?) {
        let waiting = self.state.withLock { state in
            state.answer = answer
            guard answer != nil else {
                return [] as [CheckedContinuation<Result<SessionLimits, SessionRefusal>, Never>]
            }
            defer { state.waiting = [] }
            return state.waiting
        }
        if let answer { for continuation in waiting { continuation.resume(returning: answer) } }
    }

    func decide(_ question: ObjectSessionQuestion) async -> Result<SessionLimits, SessionRefusal> {
        await withCheckedContinuation { continuation in
            let answer = self.state.withLock { state in
                state.asked.append(question)
                if state.answer == nil { state.waiting.append(continuation) }
                return state.answer
            }
            if let answer { continuation.resume(returning: answer) }
        }
    }
}

@Suite("Sessions of single requests", .timeLimit(.minutes(1)))
struct ObjectSessionsTests {
    private final class Bench: Sendable {
        let registry = SessionRegistry()
        let log = SessionLog()
        let decider = Decider()
        let sessions: ObjectSessions
        /// It outlives the test: nothing waits for the decisions that end with it.
        let group = MultiThreadedEventLoopGroup.singleton

        init(_ configure: (inout ObjectSessionsConfiguration) -> Void) {
            var configuration = ObjectSessionsConfiguration()
            configure(&configuration)
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let decider = self.decider
            self.sessions = ObjectSessions(registry: self.registry, configuration: configuration, logger: logger) {
                await decider.decide($0)
            }
            self.registry.add(self.log)
        }

        /// Asks as a player does, and waits for the verdict.
        func ask(
            _ name: MediaObjectName = .multivariant, _ access: MediaObjectAccess = access(), stream: String = "a"
        ) async throws -> MediaObjectVerdict {
            let request = MediaObjectRequest(key: try StreamKey(app: "live", name: stream), name: name)
            let loop = self.group.next()
            switch try await loop.submit({ self.sessions.admit(request, access, on: loop) }).get() {
            case .now(let verdict): return verdict
            case .later(let verdict): return try await verdict.get()
            }
        }

        /// The account of a request that is let through; `nil` if it has none.
        func account(
            _ name: MediaObjectName = .multivariant, _ access: MediaObjectAccess = access(), stream: String = "a"
        ) async throws -> SessionAccount? {
            try await self.ask(name, access, stream: stream).get()
        }

        func after(_ delay: TimeAmount) { self.sessions.tick(now: .now() + delay) }
    }

    private static func access(
        _ address: String = "192.0.2.1", agent: String = "Player", query: String = "", authorization: String? = nil,
        node: String? = nil, forwarded: String? = nil
    ) -> MediaObjectAccess {
        MediaObjectAccess(
            host: "h.example", address: "\(address):4000", isSecure: false, query: query, authorization: authorization,
            node: node, userAgent: agent, forwardedAddress: forwarded)
    }

    private static func run(
        _ configure: (inout ObjectSessionsConfiguration) -> Void = { _ in }, _ body: (Bench) async throws -> Void
    ) async throws {
        let bench = Bench(configure)
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(try await body(bench))
        } catch {
            outcome = .failure(error)
        }
        bench.decider.set(.failure(SessionRefusal(.unavailable, "the test is over")))
        try await eventually("nobody is asked") { bench.decider.waitingCount == 0 }
        try outcome.get()
    }

    private static let segment = MediaObjectName.segment(.video, epoch: 1, sequence: 2)

    // MARK: One client

    @Test("the first request asks, the others are looked up")
    func firstAsks() async throws {
        try await Self.run { bench in
            let account = try #require(
                try await bench.account(.multivariant, Self.access(query: "token=t", authorization: "Bearer b")))
            for name in [Self.segment, .playlist(.video), .key(epoch: 1, index: 0)] {
                #expect(try await bench.account(name) === account)
            }
            #expect(bench.decider.asked.count == 1)
            let question = try #require(bench.decider.asked.first)
            #expect(question.peer.transport == "hls")
            #expect(question.peer.app == "live")
            #expect(question.peer.name == "a")
            #expect(question.peer.token == "t")
            #expect(question.peer.authorization == "Bearer b")
            #expect(question.peer.account === account)
            #expect(question.peer.client.tcURL == "http://h.example/live/a.m3u8")
            #expect(account.isVirtual)
            #expect(account.address?.port == 4_000)
            #expect(account.ip == "192.0.2.1")
            #expect(bench.log.activities.map(\.transport) == ["hls"])
            #expect(bench.registry.totals().players == ["hls": 1])
        }
    }

    @Test("a manifest makes it DASH, and a segment alone a session, too")
    func transports() async throws {
        try await Self.run { bench in
            _ = try await bench.ask(.manifest)
            _ = try await bench.ask(Self.segment, stream: "b")
            _ = try await bench.ask(Self.segment, stream: "b")
            #expect(bench.log.activities.map(\.transport) == ["dash", "hls"])
            #expect(bench.decider.asked.count == 2)
            #expect(bench.sessions.count == 2)
        }
    }

    @Test("address, agent, stream and subject tell clients apart, a port does not")
    func identity() async throws {
        try await Self.run {
            $0.subject = { access in access.query.hasPrefix("sub=") ? String(access.query.dropFirst(4)) : nil }
        } _: { bench in
            let first = try await bench.account()
            #expect(try await bench.account(.multivariant, Self.access("192.0.2.2")) !== first)
            #expect(try await bench.account(.multivariant, Self.access(agent: "Other")) !== first)
            #expect(try await bench.account(stream: "b") !== first)
            let tom = try await bench.account(.multivariant, Self.access("192.0.2.9", query: "sub=tom"))
            let eve = try await bench.account(.multivariant, Self.access("192.0.2.9", query: "sub=eve"))
            #expect(tom !== eve)
            #expect(try await bench.account(Self.segment, Self.access("192.0.2.9")) === eve)
            #expect(try await bench.account(Self.segment, Self.access("192.0.2.9", query: "sub=tom")) === tom)
            let proxied = try await bench.account(.multivariant, Self.access("10.0.0.1", forwarded: "192.0.2.1"))
            #expect(proxied === first, "a client is who it is behind any proxy")
            #expect(bench.sessions.count == 6)
        }
    }

    @Test("requests that come while it is decided wait for the one decision, on their loops")
    func singleFlight() async throws {
        try await Self.run { bench in
            bench.decider.set(nil)
            try await withThrowingTaskGroup(of: MediaObjectVerdict.self) { tasks in
                for _ in 0..<50 { tasks.addTask { try await bench.ask() } }
                try await eventually("all wait") { bench.sessions.waitingCount == 50 }
                try await eventually("it is asked") { bench.decider.asked.count == 1 }
                bench.decider.set(.success(SessionLimits()))
                var accounts: Set<String> = []
                for try await verdict in tasks { accounts.insert(try verdict.get()?.id ?? "-") }
                #expect(accounts.count == 1)
            }
            #expect(bench.decider.asked.count == 1)
            #expect(bench.sessions.waitingCount == 0)
            #expect(bench.registry.counts.open == 1)
            #expect(bench.registry.counts.opened <= 50)
        }
    }

    // MARK: Ends

    @Test(
        "a session ends after three target durations without a request, and 15 s at least",
        arguments: [(2, 15), (10, 30)])
    func leaves(target: Int64, linger: Int64) async throws {
        try await Self.run {
            $0.targetDuration = { _ in .seconds(target) }
        } _: { bench in
            _ = try await bench.ask()
            bench.after(.seconds(linger - 1))
            #expect(bench.sessions.count == 1)
            bench.after(.seconds(linger + 2))
            #expect(bench.sessions.count == 0)
            #expect(bench.log.ends.map(\.end) == [.left])
            #expect(bench.registry.counts.open == 0)
            _ = try await bench.ask(Self.segment)
            #expect(bench.decider.asked.count == 2)
        }
    }

    @Test("requests keep a session alive")
    func stays() async throws {
        try await Self.run {
            $0.minimumLinger = .milliseconds(3_500)
            $0.targetDuration = { _ in .zero }
        } _: { bench in
            _ = try await bench.ask()
            for _ in 0..<20 {
                try await Task.sleep(for: .milliseconds(200))
                _ = try await bench.ask(Self.segment)
                bench.after(.zero)
            }
            #expect(bench.decider.asked.count == 1)
        }
    }

    @Test("who comes back without credentials is asked about with those of before, for ten minutes")
    func returns() async throws {
        try await Self.run { bench in
            _ = try await bench.ask(.multivariant, Self.access(query: "token=t"))
            bench.after(.seconds(60))
            #expect(bench.sessions.count == 0)
            _ = try await bench.ask(.playlist(.video), Self.access(query: "_HLS_msn=4"))
            #expect(bench.decider.asked.map(\.peer.token) == ["t", "t"])
            #expect(bench.decider.asked.last?.access.query == "token=t")
            bench.after(.seconds(60))
            _ = try await bench.ask(.multivariant, Self.access(query: "token=u"))
            #expect(bench.decider.asked.last?.peer.token == "u")
            bench.after(.seconds(60))
            bench.after(.seconds(60 + 602))
            _ = try await bench.ask(Self.segment)
            #expect(bench.decider.asked.last?.peer.token == "")
        }
    }

    @Test("who is kicked is kept away for a minute, and then asked about again")
    func kick() async throws {
        try await Self.run {
            $0.kickLifetime = .seconds(2)
        } _: { bench in
            let account = try #require(try await bench.account())
            #expect(bench.registry.kick(account.id, reason: "not you"))
            for name in [MediaObjectName.multivariant, Self.segment] {
                #expect(try await bench.ask(name).failure == SessionRefusal(.forbidden, "not you"))
            }
            #expect(bench.log.ends.map(\.end) == [.kicked])
            #expect(bench.decider.asked.count == 1)
            #expect(try await bench.ask(.multivariant, Self.access("192.0.2.2")).failure == nil)
            try await Task.sleep(for: .milliseconds(2_050))
            #expect(try await bench.ask().failure == nil)
            #expect(bench.decider.asked.count == 3)
        }
        #expect(ObjectSessionsConfiguration().kickLifetime == .seconds(60))
    }

    @Test("who is kicked while it is decided is refused when it waits")
    func kickWhileDeciding() async throws {
        try await Self.run { bench in
            bench.decider.set(nil)
            async let verdict = bench.ask()
            try await eventually("it is asked") { bench.decider.asked.count == 1 }
            let account = try #require(bench.decider.asked.first?.peer.account)
            #expect(bench.registry.kick(account.id, reason: "not you"))
            #expect(try await verdict.failure == SessionRefusal(.forbidden, "not you"))
            bench.decider.set(.success(SessionLimits()))
            #expect(try await bench.ask().failure?.cause == .forbidden)
            #expect(bench.log.activities.isEmpty)
            #expect(bench.registry.counts.open == 0)
        }
    }

    @Test("a session's limits are what was decided, and end it")
    func limits() async throws {
        try await Self.run { bench in
            var limits = SessionLimits()
            limits.until = .now() + .seconds(5)
            bench.decider.set(.success(limits))
            let account = try #require(try await bench.account())
            #expect(account.limits == limits)
            bench.registry.tick(now: .now() + .seconds(6))
            #expect(bench.log.ends.map(\.end) == [.limited])
            #expect(try await bench.ask().failure?.cause == .limited)
        }
    }

    @Test("the end of the node ends all, and a client that comes again is asked about")
    func endAll() async throws {
        try await Self.run { bench in
            _ = try await bench.ask()
            _ = try await bench.ask(stream: "b")
            bench.sessions.endAll(.shutdown)
            #expect(bench.log.ends.map(\.end) == [.shutdown, .shutdown])
            #expect(bench.sessions.count == 0)
            #expect(try await bench.ask().failure == nil)
            bench.after(.seconds(100))
            bench.after(.seconds(1_000))
            #expect(bench.registry.counts.open == 0)
        }
    }

    // MARK: Refusals

    @Test("a refusal is repeated for two seconds without asking, and counted")
    func denied() async throws {
        try await Self.run {
            $0.denialLifetime = .seconds(2)
        } _: { bench in
            bench.decider.set(.failure(SessionRefusal(.unauthorized, "no token")))
            for _ in 0..<5 { #expect(try await bench.ask().failure?.cause == .unauthorized) }
            #expect(bench.decider.asked.count == 1)
            #expect(
                bench.registry.counts.refusals == [SessionRefusalKind(transport: "hls", cause: .unauthorized): 5])
            #expect(bench.registry.counts.open == 0)
            #expect(bench.log.activities.isEmpty)
            try await Task.sleep(for: .milliseconds(2_050))
            bench.decider.set(.success(SessionLimits()))
            #expect(try await bench.ask().failure == nil)
            #expect(bench.decider.asked.count == 2)
        }
        #expect(ObjectSessionsConfiguration().denialLifetime == .seconds(2))
    }

    @Test("a decision that takes too long is a refusal, and comes too late")
    func deadline() async throws {
        try await Self.run { bench in
            bench.decider.set(nil)
            async let verdict = bench.ask()
            try await eventually("it is asked") { bench.decider.waitingCount == 1 }
            bench.after(.seconds(14))
            #expect(bench.sessions.waitingCount == 1)
            bench.after(.seconds(17))
            #expect(try await verdict.failure?.cause == .unavailable)
            bench.decider.set(.success(SessionLimits()))
            try await eventually("nothing is left") { bench.registry.counts.open == 0 }
            #expect(bench.sessions.count == 0)
            #expect(bench.log.activities.isEmpty)
        }
    }

    @Test("sessions, those of one address, and those who wait are bounded")
    func bounds() async throws {
        try await Self.run {
            $0.maximumSessions = 5
            $0.maximumSessionsPerAddress = 3
            $0.maximumWaitingPerClient = 2
        } _: { bench in
            for number in 0..<4 {
                let verdict = try await bench.ask(.multivariant, Self.access(agent: "\(number)"))
                #expect(verdict.failure?.cause == (number < 3 ? nil : .limited))
            }
            for number in 2..<5 {
                let verdict = try await bench.ask(.multivariant, Self.access("192.0.2.\(number)"))
                #expect(verdict.failure?.cause == (number < 4 ? nil : .limited))
            }
            #expect(bench.sessions.count == 5)
            bench.after(.seconds(60))
            bench.decider.set(nil)
            try await withThrowingTaskGroup(of: MediaObjectVerdict.self) { tasks in
                for _ in 0..<2 { tasks.addTask { try await bench.ask() } }
                try await eventually("two wait") { bench.sessions.waitingCount == 2 }
                #expect(try await bench.ask().failure?.cause == .limited)
                bench.decider.set(.success(SessionLimits()))
                for try await verdict in tasks { #expect(verdict.failure == nil) }
            }
        }
    }

    @Test("what is remembered of clients that are refused is bounded, too")
    func manyRefusals() async throws {
        try await Self.run {
            $0.maximumSessions = 100
        } _: { bench in
            bench.decider.set(.failure(SessionRefusal(.forbidden, "no")))
            for number in 0..<1_000 {
                _ = try await bench.ask(.multivariant, Self.access(agent: "\(number)"))
            }
            #expect(bench.sessions.count == 0)
            #expect(bench.sessions.rememberedCount <= 100)
            bench.decider.set(.success(SessionLimits()))
            #expect(try await bench.ask(.multivariant, Self.access(agent: "x")).failure == nil)
        }
    }

    // MARK: Nodes and pictures

    @Test("proved nodes pass and make no session; others are clients")
    func nodes() async throws {
        try await Self.run {
            $0.clusterSecret = "swordfish"
        } _: { (bench) async throws -> Void in
            let proved = Self.access(authorization: "Bearer swordfish", node: "edge-1")
            #expect(try await bench.account(.multivariant, proved) == nil)
            #expect(bench.decider.asked.isEmpty)
            for access in [
                Self.access("127.0.0.1", node: "edge-1"), Self.access(authorization: "Bearer sword", node: "edge-2"),
                Self.access("192.0.2.7", authorization: "Bearer swordfish"),
            ] {
                #expect(try await bench.account(.multivariant, access) != nil)
            }
            #expect(bench.decider.asked.count == 3)
        }
        try await Self.run { (bench) async throws -> Void in
            #expect(try await bench.account(.multivariant, Self.access("127.0.0.1", node: "edge-1")) == nil)
            #expect(try await bench.account(.multivariant, Self.access(node: "edge-1")) != nil)
        }
    }

    @Test("pictures are decided about, and make no viewer")
    func pictures() async throws {
        try await Self.run { (bench) async throws -> Void in
            for _ in 0..<3 { #expect(try await bench.account(.snapshot) == nil) }
            #expect(bench.decider.asked.map(\.peer.transport) == ["snapshot"])
            #expect(bench.sessions.count == 0)
            #expect(bench.registry.counts.open == 0)
            #expect(bench.log.activities.isEmpty)
            bench.decider.set(.failure(SessionRefusal(.forbidden, "no")))
            #expect(try await bench.ask(.snapshot, Self.access("192.0.2.8")).failure?.cause == .forbidden)
            #expect(try await bench.account(.snapshot) == nil)
        }
    }
}

extension Result {
    fileprivate var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
