import MediaStorage
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import NodeAPI

@Suite("Answers to probes")
struct NodeHealthTests {
    @Test("A node whose loops answer is healthy; one with a stuck loop is not, and is again when it goes on")
    func stuck() async throws {
        try await withNode { node, api async throws in
            let good = try await api.json("GET", "/healthz")
            #expect(good.status == 200)
            #expect(good.body == .object(["status": "ok", "node": "origin-1", "loops": 1, "stuckLoops": .array([])]))
            let gate = Gate()
            node.group.next().execute { gate.wait() }
            let bad = try await api.json("GET", "/healthz")
            #expect(bad.status == 503)
            #expect(bad.body["status"] == "stuck")
            #expect(bad.body["stuckLoops"] == .array([0]))
            gate.open()
            #expect(try await api.json("GET", "/healthz").status == 200)
        }
    }

    @Test("Ready says 503 and why, until nothing is wrong")
    func ready() async throws {
        try await withNode { node, api async throws in
            #expect(
                try await api.json("GET", "/readyz").body
                    == .object(["status": "ready", "node": "origin-1", "problems": .array([])]))
            node.set { $0.readiness = NodeReadiness(isListening: false, isDraining: true, cluster: .alone) }
            let (status, body) = try await api.json("GET", "/readyz")
            #expect(status == 503)
            #expect(body["status"] == "not-ready")
            #expect(body["problems"]?.items.compactMap { $0["name"]?.text } == ["not-listening", "draining"])
            #expect(body["problems"]?.items.allSatisfy { $0["detail"]?.text?.isEmpty == false } == true)
        }
    }

    @Test("A silent coordinator counts when its grace is over")
    func coordinator() {
        func names(_ cluster: NodeReadiness.Cluster) -> [String] {
            var readiness = NodeReadiness(isListening: true, isDraining: false, cluster: cluster)
            readiness.grace = .seconds(5)
            return NodeHealth.problems(readiness, alarms: []).map(\.name)
        }
        #expect(names(.alone) == [])
        #expect(names(.joined) == [])
        #expect(names(.silent(for: .seconds(5))) == [])
        #expect(names(.silent(for: .seconds(6))) == ["coordinator-silent"])
    }

    @Test("Full and read-only disks and reached limits are told, other alarms are not")
    func disksAndLimits() {
        var readiness = NodeReadiness(isListening: true, isDraining: false, cluster: .joined)
        readiness.limitsReached = ["rtmp.max_connections", "limits.sessions"]
        let problems = NodeHealth.problems(
            readiness, alarms: [.diskFull, .diskFull, .readOnly, .permission, .queueFull])
        #expect(problems.map(\.name) == ["disk-full", "disk-read-only", "limit-reached", "limit-reached"])
        #expect(problems.allSatisfy { NodeHealth.problemNames.contains($0.name) })
        #expect(problems[2].detail == "rtmp.max_connections is reached")
    }

    /// Blocks a thread until it is opened.
    private final class Gate: Sendable {
        private let isOpen = Atomic<Bool>(false)

        func open() { self.isOpen.store(true, ordering: .releasing) }
        func wait() {
            let end = NIODeadline.now() + .seconds(20)
            while !self.isOpen.load(ordering: .acquiring), NIODeadline.now() < end {}
        }
    }
}
