import Logging
import Media
import Placement
import Synchronization
import Testing

@testable import ClusterLink

@Suite("a link without a coordinator", .timeLimit(.minutes(1))) struct UnreachableTests {
    private func link() throws -> ClusterLink {
        let node = NodeDescription(
            id: try NodeID("a"), instance: "one", role: .origin, host: "127.0.0.1", rtmpPort: 1935)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        // Port 1 of loopback refuses at once.
        return ClusterLink(
            configuration: ClusterLinkConfiguration(coordinators: ["http://127.0.0.1:1"], node: node), logger: logger)
    }

    @Test("claims are provisional and grow, routes say that nobody could be asked, releases do not fail")
    func unreachable() async throws {
        let link = try self.link()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await link.run() }
            // The loop runs from the first claim on at the latest.
            while !link.mutex.withLock({ $0.isRunning }) { try await Task.sleep(for: .milliseconds(1)) }
            let key = try StreamKey(app: "live", name: "demo")
            var epochs: [UInt64] = []
            for _ in 0..<3 {
                guard case .provisional(let epoch) = await link.claim(key, policy: .reject) else {
                    Issue.record("not provisional")
                    break
                }
                #expect(PlacementEpoch.isProvisional(epoch))
                epochs.append(epoch)
            }
            #expect(epochs.count == 3)
            #expect(epochs == epochs.sorted() && Set(epochs).count == 3)
            #expect(await link.playRoute(for: key) == .unreachable(cached: nil))
            #expect(await link.publishRoute(for: key) == .unreachable(cached: []))
            await link.release(key, epoch: epochs.last ?? 0, reason: .unpublished)
            #expect(link.mutex.withLock { $0.pendingReleases.count } == 1)
            #expect(!link.state.isConnected)
            #expect(link.state.lastError != nil)
            group.cancelAll()
        }
    }

    @Test("before it runs it answers at once")
    func notRunning() async throws {
        let link = try self.link()
        let key = try StreamKey(app: "live", name: "demo")
        #expect(await link.playRoute(for: key) == .unreachable(cached: nil))
        guard case .provisional = await link.claim(key, policy: .grace) else {
            Issue.record("not provisional")
            return
        }
    }

    @Test("a configuration is checked")
    func configuration() throws {
        let node = NodeDescription(id: try NodeID("a"), instance: "one", role: .edge, host: "h", rtmpPort: 1)
        #expect(throws: ClusterLinkConfigurationError.noCoordinator) {
            try ClusterLinkConfiguration(coordinators: [], node: node).validate()
        }
        #expect(throws: ClusterLinkConfigurationError.invalidCoordinator("host:7000")) {
            try ClusterLinkConfiguration(coordinators: ["host:7000"], node: node).validate()
        }
        #expect(throws: ClusterLinkConfigurationError.notPositive("heartbeatMillis")) {
            try ClusterLinkConfiguration(coordinators: ["http://h"], node: node, heartbeatMillis: 0).validate()
        }
    }
}
