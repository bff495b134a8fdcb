import Media
import MediaObjects
import NIOCore
import NIOSSL
import StreamHub
import Streaming
import Synchronization
import TLSContexts
import TestSupport
import Testing

@testable import HTTPMedia

/// Keeps what sessions did.
final class SessionLog: SessionObserver {
    private let log = Mutex<(ends: [SessionResult], activities: [SessionActivity], closed: [String])>(([], [], []))

    var ends: [SessionResult] { self.log.withLock { $0.ends } }
    var activities: [SessionActivity] { self.log.withLock { $0.activities } }
    var closed: [String] { self.log.withLock { $0.closed } }

    func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity) {
        self.log.withLock { $0.activities.append(activity) }
    }
    func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult) {
        self.log.withLock { $0.ends.append(result) }
    }
    func sessionClosed(_ account: SessionAccount) { self.log.withLock { $0.closed.append(account.id) } }
}

/// A gate for files that says what the test wants.
private final class ObjectGate: MediaObjectGate {
    enum Mode: Sendable {
        case now(MediaObjectVerdict)
        case later(MediaObjectVerdict)
        case failing
    }

    private let state = Mutex<(mode: Mode, seen: [MediaObjectAccess])>((.now(.success(nil)), []))

    var seen: [MediaObjectAccess] { self.state.withLock { $0.seen } }

    func set(_ mode: Mode) { self.state.withLock { $0.mode = mode } }

    func admit(
        _ request: MediaObjectRequest, _ access: MediaObjectAccess, on loop: any EventLoop
    ) -> MediaObjectAdmission {
        let mode = self.state.withLock { state in
            state.seen.append(access)
            return state.mode
        }
        switch mode {
        case .now(let verdict): return .now(verdict)
        case .later(let verdict):
            let promise = loop.makePromise(of: MediaObjectVerdict.self)
            loop.scheduleTask(in: .milliseconds(20)) { promise.succeed(verdict) }
            return .later(promise.futureResult)
        case .failing: return .later(loop.makeFailedFuture(ChannelError.eof))
        }
    }
}

@Suite("HTTP sessions", .serialized, .timeLimit(.minutes(2)))
struct SessionTests {
    private static let segment = "/live/game/_video-1-2.m4s"

    private static func clientContext() throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        return try NIOSSLContext(configuration: configuration)
    }

    /// Runs `body` with a listener, over TLS or not, and the registry of its sessions.
    private static func run(
        isTLS: Bool = false, _ settings: LiveStreamSettings = .init(flush: .realtime),
        configuration: MediaHTTPConfiguration = .init(),
        _ body: @escaping @Sendable (Fixture, TestObjects, SessionRegistry, NIOSSLContext?) async throws -> Void
    ) async throws {
        let objects = TestObjects()
        let sessions = SessionRegistry()
        var configuration = configuration
        configuration.sessions = sessions
        configuration.isTLS = isTLS
        let folder = try TemporaryFolder()
        let store = isTLS ? try await folder.certificate() : nil
        let context = isTLS ? try Self.clientContext() : nil
        try await Fixture.run(settings, configuration: configuration, objects: objects, tls: store) {
            try await body($0, objects, sessions, context)
        }
    }

    private static func viewer(
        _ sessions: SessionRegistry, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> SessionAccount {
        try await eventually("it watches", sourceLocation: sourceLocation) { sessions.count(SessionFilter()) == 1 }
        return try #require(sessions.list(SessionFilter(), limit: 1).first?.account)
    }

    // MARK: Numbers

    @Test("a viewer's account has what the kernel counted", arguments: [false, true])
    func kernel(isTLS: Bool) async throws {
        try await Self.run(isTLS: isTLS) { fixture, _, sessions, context in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client(tls: context)
            try await client.get("/live/demo.flv")
            let account = try await Self.viewer(sessions)
            try await fixture.send(5..<200, bytes: 9_000)
            let port = try #require(client.wire.port)
            try await eventually("the kernel agrees") {
                guard account.sentBytes > 195 * 9_000, let counts = KernelCounts(peerPort: port) else { return false }
                return counts.received == account.receivedBytes && counts.acknowledged == account.sentBytes
                    && client.wire.read == account.sentBytes
            }
            let totals = sessions.totals(of: fixture.key)
            #expect(totals.players == [isTLS ? "https-flv" : "http-flv": 1])
            #expect(totals.sentBytes > 195 * 9_000)
            #expect(totals.sentBytes < account.sentBytes)
            #expect(sessions.totals().sentBytes == account.sentBytes)
            #expect(account.activity?.epoch == 1)
            try await client.close()
            try await eventually("it is closed") { sessions.counts.open == 0 }
            #expect(sessions.totals().sentBytes == account.sentBytes)
            #expect(sessions.counts.ends == [.left: 1])
        }
    }

    @Test("a viewer that is cut was sent what arrives, and no more", arguments: [false, true])
    func cut(isTLS: Bool) async throws {
        let settings = LiveStreamSettings(
            flush: .realtime,
            slowViewer: SlowViewerPolicy(maximumBytes: 400_000, maximumAge: .seconds(60), skipsBeforeClose: 0))
        try await Self.run(isTLS: isTLS, settings) { fixture, _, sessions, context in
            let log = SessionLog()
            sessions.add(log)
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client(tls: context)
            try await client.get("/live/demo.flv")
            let account = try await Self.viewer(sessions)
            try await client.setReading(false)
            var number = 5
            while log.ends.isEmpty, number < 4_000 {
                try await fixture.send(number..<(number + 25), bytes: 20_000)
                number += 25
            }
            try await eventually("it is cut") { log.ends.map(\.end) == [.tooSlow] }
            try await eventually("its connection is closed", within: .seconds(30)) { log.closed == [account.id] }
            try await client.setReading(true)
            try await eventually("it has read all") { client.isClosed }
            #expect(client.wire.read == account.sentBytes)
            let received = try #require(client.wire.kernel).received
            #expect(received == account.sentBytes || received == account.sentBytes + 1)
        }
    }

    @Test("a download that breaks off leaves the node with what the kernel took", arguments: [false, true])
    func broken(isTLS: Bool) async throws {
        let sessions = SessionRegistry()
        let viewer = sessions.openVirtual(nil)
        let gate = ObjectGate()
        gate.set(.now(.success(viewer)))
        var configuration = MediaHTTPConfiguration(objectGate: gate)
        configuration.idleTimeout = .seconds(30)
        try await Self.run(isTLS: isTLS, configuration: configuration) { fixture, objects, sessions, context in
            objects.put(Self.segment, bytes: pattern(40 << 20))
            let client = try await fixture.client(readsBytes: true, tls: context)
            try await client.get(Self.segment)
            try await eventually("it begins") { client.wire.read > 10_000 }
            try await client.setReading(false)
            let port = try #require(client.wire.port)
            var last: KernelCounts?
            try await eventually("the socket is full") {
                defer { last = KernelCounts(peerPort: port) }
                try await Task.sleep(for: .milliseconds(100))
                return last != nil && last == KernelCounts(peerPort: port)
            }
            let kernel = try #require(last)
            try await client.close()
            try await eventually("it is gone") { sessions.counts.open == 0 }
            #expect(sessions.totals().sentBytes == kernel.taken)
            // The viewer's bytes are those of the answer: less than all, and over TLS less than what was wrapped.
            #expect(viewer.sentBytes <= kernel.taken + 300_000)
            #expect(viewer.sentBytes + 300_000 >= kernel.taken)
            if !isTLS { #expect(viewer.sentBytes == kernel.taken) }
        }
    }

    @Test("a viewer over HTTP/2 has a session of its own, and the connection has the bytes")
    func http2() async throws {
        try await Self.run(isTLS: true) { fixture, _, sessions, _ in
            let log = SessionLog()
            sessions.add(log)
            try await fixture.publish()
            try await fixture.send(0..<5)
            let port = fixture.port
            async let load = HTTPMediaTests.run([
                "curl", "-sk", "--http2", "--max-time", "10", "-A", "Player/1", "-e", "https://page.example/", "-w",
                "%{size_download}", "-o", "/dev/null", "https://127.0.0.1:\(port)/live/demo.flv?token=t",
            ])
            let account = try await Self.viewer(sessions)
            #expect(account.isVirtual)
            #expect(account.client.userAgent == "Player/1")
            #expect(account.client.referer == "https://page.example/")
            #expect(account.client.tcURL == "https://127.0.0.1/live/demo.flv")
            #expect(account.client.query == "token=t")
            try await fixture.send(5..<60, bytes: 9_000)
            try await eventually("it has them") { account.sentBytes > 55 * 9_000 }
            #expect(sessions.kick(account.id, reason: "go"))
            let (status, output) = try await load
            #expect(status == 0, "the stream ends in order")
            #expect(Int(String(decoding: output, as: UTF8.self)) == Int(account.sentBytes))
            try await eventually("all is told") { log.closed.count == 2 }
            #expect(log.ends.map(\.end) == [.kicked])
            #expect(sessions.counts.open == 0)
            // Both directions of a connection carry more than the bodies.
            #expect(sessions.totals().sentBytes > account.sentBytes)
            #expect(sessions.totals(ofVhost: StreamKey.defaultVhost).sentBytes == log.ends.first?.sentBytes)
        }
    }

    // MARK: Kicks

    @Test("a kick ends a stream in order", arguments: [(false, false), (true, false), (false, true), (true, true)])
    func kick(isTLS: Bool, isWebSocket: Bool) async throws {
        try await Self.run(isTLS: isTLS) { fixture, _, sessions, context in
            let log = SessionLog()
            sessions.add(log)
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client(tls: context)
            let upgrade =
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            try await client.get("/live/demo.flv", headers: isWebSocket ? upgrade : "")
            let account = try await Self.viewer(sessions)
            #expect(!account.isVirtual)
            #expect(account.activity?.transport == "\(isWebSocket ? "ws" : "http")\(isTLS ? "s" : "")-flv")
            #expect(sessions.kick(account.id, reason: "go"))
            try await eventually("it is closed") { client.isClosed }
            let end = Array(client.pending.readableBytesView.suffix(isWebSocket ? 4 : 5))
            #expect(end == (isWebSocket ? [0x88, 0x02, 0x03, 0xE8] : Array("0\r\n\r\n".utf8)))
            try await eventually("all is told") { log.closed == [account.id] }
            #expect(log.ends.map(\.end) == [.kicked])
        }
    }

    @Test("a connection that does nothing can be kicked; the end of the node is told as such")
    func others() async throws {
        try await Self.run { fixture, _, sessions, _ in
            let log = SessionLog()
            sessions.add(log)
            let idle = try await fixture.client()
            var filter = SessionFilter()
            filter.includesIdle = true
            try await eventually("it is there") { sessions.count(filter) == 1 }
            let account = try #require(sessions.list(filter, limit: 1).first?.account)
            #expect(account.transport == "http")
            #expect(sessions.kick(account.id, reason: "go"))
            try await eventually("it is closed") { idle.isClosed }
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv")
            _ = try await Self.viewer(sessions)
            fixture.accepted.quiesce()
            try await eventually("it is closed") { client.isClosed }
            #expect(log.ends.map(\.end) == [.shutdown])
        }
    }

    // MARK: Refusals

    private final class Door: ConnectionAdmission {
        func connectionOpened(_ address: SocketAddress?, transport: String) -> String? { "full" }
        func connectionClosed(_ address: SocketAddress?, transport: String) {}
    }

    @Test("who is not let in is closed at once; streams that are refused are counted")
    func refused() async throws {
        try await Self.run { fixture, _, sessions, _ in
            let refused = try await fixture.client()
            try await refused.get("/busy/demo.flv")
            #expect(try await refused.response().head.status == 409)
            #expect(sessions.counts.refusals == [SessionRefusalKind(transport: "http-flv", cause: .busy): 1])
            sessions.setAdmission(Door())
            let client = try await fixture.client()
            try await eventually("it is closed") { client.isClosed }
            #expect(sessions.counts.refused == ["full": 1])
        }
    }

    // MARK: The gate for files

    @Test("the gate's no is a problem with its status", arguments: [false, true])
    func objectRefusals(isLater: Bool) async throws {
        let gate = ObjectGate()
        try await Self.run(configuration: MediaHTTPConfiguration(objectGate: gate)) { fixture, objects, _, _ in
            objects.put(Self.segment, bytes: pattern(10))
            let client = try await fixture.client()
            for (cause, status) in [
                (.unauthorized, 401), (.forbidden, 403), (.limited, 429), (.notFound, 404), (.unavailable, 503),
            ] as [(SessionRefusal.Cause, Int)] {
                let verdict = MediaObjectVerdict.failure(SessionRefusal(cause, "the test says no"))
                gate.set(isLater ? .later(verdict) : .now(verdict))
                try await client.get(Self.segment)
                let (head, body) = try await client.response()
                #expect(head.status == status)
                #expect(head["content-type"] == "application/problem+json")
                #expect(head["www-authenticate"] == (status == 401 ? "Bearer realm=\"weir\"" : nil))
                #expect(head["retry-after"] == (status == 429 || status == 503 ? "1" : nil))
                #expect(body.contains("the test says no"))
            }
            gate.set(.failing)
            try await client.get(Self.segment)
            #expect(try await client.response().head.status == 503)
            #expect(objects.requests.isEmpty)
        }
    }

    @Test("the bytes of an answer are those of whom the gate names", arguments: [false, true])
    func objectBytes(isLater: Bool) async throws {
        let gate = ObjectGate()
        let registry = SessionRegistry()
        let (first, second) = (registry.openVirtual(nil), registry.openVirtual(nil))
        try await Self.run(configuration: MediaHTTPConfiguration(objectGate: gate)) { fixture, objects, sessions, _ in
            objects.put(Self.segment, bytes: pattern(3_000_000))
            let client = try await fixture.client()
            var before: UInt64 = 0
            for account in [first, nil, second, first] {
                gate.set(isLater ? .later(.success(account)) : .now(.success(account)))
                let counted = account?.sentBytes ?? 0
                try await client.get(Self.segment, headers: "User-Agent: P\r\nReferer: http://p/\r\n")
                _ = try await client.head()
                #expect(try await client.take(3_000_000) == pattern(3_000_000))
                let read = client.wire.read - before
                before += read
                if let account { #expect(account.sentBytes - counted == read) }
            }
            #expect(sessions.totals().sentBytes == client.wire.read)
            #expect(gate.seen.first?.userAgent == "P")
            #expect(gate.seen.first?.referer == "http://p/")
            #expect(gate.seen.first?.forwardedAddress == nil)
        }
    }

    // MARK: Proxies

    @Test("what a proxy says of its client counts if the proxy is trusted", arguments: [true, false])
    func proxies(isTrusted: Bool) async throws {
        let gate = ObjectGate()
        let configuration = MediaHTTPConfiguration(objectGate: gate, trustsProxy: { _ in isTrusted })
        let trusting = configuration
        try await Self.run(configuration: trusting) { fixture, objects, sessions, _ in
            objects.put(Self.segment, bytes: pattern(10))
            let client = try await fixture.client()
            let headers = "X-Real-IP: 198.51.100.7\r\n"
            try await client.get(Self.segment, headers: headers)
            _ = try await client.response()
            #expect(gate.seen.first?.forwardedAddress == (isTrusted ? "198.51.100.7" : nil))
            try await fixture.publish()
            try await fixture.send(0..<5)
            try await client.get("/live/demo.flv", headers: headers)
            let account = try await Self.viewer(sessions)
            #expect(account.ip == (isTrusted ? "198.51.100.7" : "127.0.0.1"))
            #expect(fixture.gate.peers.first?.clientAddress == account.ip)
            #expect(fixture.gate.peers.first?.account === account)
            try await client.close()
        }
    }
}
