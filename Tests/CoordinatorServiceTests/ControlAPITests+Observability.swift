import AsyncHTTPClient
import CoordinatorStore
import Foundation
import Media
import NIOCore
import NIOHTTP1
import Placement
import Testing

@testable import CoordinatorService

/// What operators and load balancers watch.
extension ControlAPITests {
    @Test("metrics and sums show the cluster, and drained nodes do not count as edges") func observability()
        async throws
    {
        try await self.with(change: { $0.desired = DesiredEdges(viewersPerEdge: 10, minimumEdges: 1) }) {
            coordinator, url in
            let edge = try FakeNode(coordinator, "e", role: .edge)
            var status = NodeStatus()
            status.load.viewers = 25
            status.node = NodeFacts(startedMillis: 1)
            status.node?.viewers = ["rtmp": 20, "hls": 5]
            try await edge.join(status)
            try await FakeNode(coordinator, "o").join(FakeNode.holding(try self.key("x")))
            let overview = try await answer(url + "overview", headers: asAdmin).decoded(as: Overview.self)
            #expect(overview.viewers == ["rtmp": 20, "hls": 5])
            #expect(overview.liveStreams == 1 && overview.publishers == 1 && overview.desiredEdges == 3)
            let metrics = try await answer(coordinator.url + "/metrics", headers: asAdmin)
            for line in [
                "weir_cluster_desired_edges 3", "weir_cluster_viewers{transport=\"rtmp\"} 20",
                "weir_cluster_nodes{state=\"alive\"} 2", "weir_cluster_streams{state=\"live\"} 1",
                "weir_coordinator_claim_seconds_count 0",
            ] {
                #expect(metrics.text.contains(line + "\n"), "\(line)")
            }
            #expect(try await call(url + "nodes/e/drain", method: .POST, headers: asAdmin).status == 204)
            let autoscaling = try await answer(url + "autoscaling", headers: asAdmin).decoded(
                as: AutoscalingAnswer.self)
            #expect(autoscaling.inputs.edges == 0 && autoscaling.reason == .viewers)
            func state() async throws -> NodeState? {
                try await answer(url + "nodes?q=e&role=edge", headers: asAdmin).decoded(as: NodeList.self).nodes.first?
                    .state
            }
            #expect(try await state() == .draining)
            try await edge.report(NodeStatus(node: NodeFacts(startedMillis: 1)))
            #expect(try await state() == .drained)
        }
    }

    @Test("a coordinator that just started is not ready, and says so") func readiness() async throws {
        let coordinator = try TestCoordinator(secret: "s")
        try await coordinator.start(recoveryMillis: 60_000)
        #expect(try await call(coordinator.url + "/readyz").status == 503)
        #expect(try await call(coordinator.url + "/healthz").status == 200)
        await coordinator.stop()
    }
}
