import Logging
import Media
import NIOCore
import NIOPosix
import ServiceLifecycle
import StreamHub
import Synchronization
import Testing

@testable import NodeRuntime

@Suite("draining a node", .timeLimit(.minutes(1))) struct DrainTests {
    /// A node whose sessions end as soon as they are told to.
    private final class TestNode: Sendable {
        let registry = SessionRegistry()
        let ended = Mutex<[String: SessionEnd]>([:])
        let announced = Mutex<[Bool]>([])
        let asks = Atomic<Int>(0)
        let asked = Mutex<Set<String>>([])
        let drain: Drain

        init(_ settings: DrainPlan.Settings = .init(), deadline: TimeAmount = .seconds(10)) {
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let box = Mutex<TestNode?>(nil)
            let shared = Shared(box)
            self.drain = Drain(
                node: Drain.Node(
                    registry: self.registry,
                    requestReconnects: {
                        guard let node = shared.node else { return [] }
                        node.asks.wrappingAdd(1, ordering: .relaxed)
                        return node.asked.withLock { $0 }
                    },
                    hasOtherNodes: { false },
                    announce: { isDraining in shared.node?.announced.withLock { $0.append(isDraining) } }),
                settings: settings, deadline: deadline, logger: logger)
            shared.set(self)
        }

        private final class Shared: Sendable {
            private let box: Mutex<TestNode?>
            init(_ box: consuming Mutex<TestNode?>) { self.box = box }
            var node: TestNode? { self.box.withLock { $0 } }
            func set(_ node: TestNode) { self.box.withLock { $0 = node } }
        }

        func session(_ kind: SessionActivity.Kind, name: String = "one", isRelay: Bool = false) throws -> String {
            let account = try #require(self.registry.open(nil, transport: "rtmp"))
            let id = account.id
            account.onTerminate { [weak self] end, _ in
                guard let self, let account = self.registry.account(id) else { return }
                self.ended.withLock { $0[id] = end }
                self.registry.close(account)
            }
            let key = try StreamKey(app: "live", name: name)
            _ = self.registry.begin(
                account, SessionActivity(kind: kind, key: key, transport: "rtmp", isRelay: isRelay))
            return id
        }

        func running(_ body: @Sendable @escaping () async throws -> Void) async throws {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await self.drain.run() }
                tasks.addTask { try await body() }
                try await tasks.next()
                tasks.cancelAll()
                while let result = await tasks.nextResult() {
                    if case .failure(let error) = result, !(error is CancellationError) { throw error }
                }
            }
        }
    }

    private func eventually(_ what: Comment, _ condition: () -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(10)
        while ContinuousClock.now < end, !condition() { try await Task.sleep(for: .milliseconds(10)) }
        try #require(condition(), what)
    }

    @Test("a node that serves refuses nobody")
    func serving() {
        let node = TestNode()
        #expect(node.drain.state == .serving)
        #expect(node.drain.publishRefusal() == nil)
        #expect(node.drain.playRefusal(isRelay: false, isPublishedHere: true) == nil)
        #expect(node.drain.playRefusal(isRelay: true, isPublishedHere: false) == nil)
    }

    @Test("from the wish on everybody is refused but nodes that pull what is published here")
    func refusals() {
        for wish in Drain.Wish.allCases {
            let node = TestNode()
            node.drain.set(wish, true)
            #expect(node.drain.publishRefusal()?.cause == .unavailable)
            for isPublishedHere in [true, false] {
                #expect(node.drain.playRefusal(isRelay: false, isPublishedHere: isPublishedHere)?.cause == .unavailable)
            }
            #expect(node.drain.playRefusal(isRelay: true, isPublishedHere: false)?.cause == .unavailable)
            #expect(node.drain.playRefusal(isRelay: true, isPublishedHere: true) == nil)
            #expect(node.announced.withLock { $0 } == [true])
        }
    }

    @Test("each of two wishes keeps the node empty until it is taken back; a process that stops stays so")
    func wishes() {
        let node = TestNode()
        node.drain.set(.cluster, true)
        node.drain.set(.node, true)
        node.drain.set(.node, true)
        node.drain.set(.cluster, false)
        #expect(node.drain.isDraining)
        node.drain.set(.node, false)
        #expect(!node.drain.isDraining && node.drain.state == .serving)
        #expect(node.announced.withLock { $0 } == [true, false])
        node.drain.set(.shutdown, true)
        node.drain.set(.shutdown, false)
        #expect(node.drain.isDraining)
    }

    @Test("an operator's drain ends publishers and viewers, stays drained, and takes new ones when it is taken back")
    func operatorsDrain() async throws {
        let node = TestNode()
        let publisher = try node.session(.publish)
        let viewer = try node.session(.play)
        let relay = try node.session(.play, isRelay: true)
        try await node.running {
            node.drain.set(.cluster, true)
            try await self.eventually("both are ended") { node.ended.withLock { $0.count } == 2 }
            #expect(node.ended.withLock { $0 } == [publisher: .shutdown, viewer: .shutdown])
            #expect(node.drain.state == .draining, "a node still pulls")
            if let account = node.registry.account(relay) { node.registry.close(account) }
            try await self.eventually("it is drained") { node.drain.state == .drained }
            node.drain.set(.cluster, false)
            #expect(node.drain.state == .serving)
            let next = try node.session(.publish)
            try await Task.sleep(for: .milliseconds(300))
            #expect(node.ended.withLock { $0[next] } == nil)
            node.drain.set(.node, true)
            try await self.eventually("the next drain ends it") { node.ended.withLock { $0[next] } == .shutdown }
            #expect(node.asks.load(ordering: .relaxed) == 2, "publishers are asked once for each drain")
        }
    }

    @Test("publishers that were asked have time to go on elsewhere")
    func asked() async throws {
        var settings = DrainPlan.Settings()
        settings.moveWait = .milliseconds(1_800)
        let node = TestNode(settings)
        let capable = try node.session(.publish, name: "one")
        let other = try node.session(.publish, name: "two")
        node.asked.withLock { $0 = [capable] }
        try await node.running {
            node.drain.set(.node, true)
            try await self.eventually("the other is ended") { node.ended.withLock { $0[other] } != nil }
            #expect(node.ended.withLock { $0[capable] } == nil)
            try await self.eventually("it is ended, too") { node.ended.withLock { $0[capable] } != nil }
        }
    }

    @Test("a process that is told to stop waits until the node is empty, and the services before it wait for that")
    func shutdown() async throws {
        struct Before: Service {
            let ended: @Sendable () -> Void
            func run() async throws {
                try await gracefulShutdown()
                self.ended()
            }
        }
        let node = TestNode()
        let viewer = try node.session(.play)
        let relay = try node.session(.play, isRelay: true)
        let viewersAtEnd = Mutex<Int?>(nil)
        let before = Before { viewersAtEnd.withLock { $0 = node.registry.activities.count } }
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let group = ServiceGroup(services: [before, node.drain], logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            tasks.addTask {
                try await Task.sleep(for: .milliseconds(100))
                await group.triggerGracefulShutdown()
            }
            try await tasks.waitForAll()
        }
        #expect(node.ended.withLock { $0 } == [viewer: .shutdown, relay: .shutdown])
        #expect(viewersAtEnd.withLock { $0 } == 0)
        #expect(node.drain.state == .drained)
        #expect(node.drain.wishes == [.shutdown])
    }

    @Test("a process that is told to stop waits no longer than its deadline")
    func deadline() async throws {
        var settings = DrainPlan.Settings()
        settings.viewerWait = .seconds(30)
        let node = TestNode(settings, deadline: .milliseconds(500))
        _ = try node.session(.play)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let group = ServiceGroup(services: [node.drain], logger: logger)
        let started = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
        #expect((.milliseconds(450)...(.seconds(5))).contains(ContinuousClock.now - started))
        #expect(node.ended.withLock { $0.isEmpty })
    }

    @Test("SIGTERM of a node that an operator drained ends it at once when it is empty")
    func shutdownOfDrained() async throws {
        let node = TestNode(deadline: .seconds(30))
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let group = ServiceGroup(services: [node.drain], logger: logger)
        let started = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            node.drain.set(.cluster, true)
            try await self.eventually("it is drained") { node.drain.state == .drained }
            node.drain.set(.cluster, false)
            node.drain.set(.node, true)
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
        #expect(ContinuousClock.now - started < .seconds(10))
        #expect(node.drain.wishes == [.node, .shutdown])
    }
}
