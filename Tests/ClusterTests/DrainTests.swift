import Foundation
import Glibc
import Testing

extension ClusterTests {
    /// Nodes that are emptied while they are used.
    @Suite struct DrainTests {
        /// Longer than the least that the coordinator accepts.
        static let adminToken = "the-operator-of-the-drain-tests"

        private static func cluster(_ sandbox: Sandbox) async throws -> Cluster {
            try await Cluster(sandbox, coordinator: ["coordinator.admin_token": Self.adminToken])
        }

        /// An operator's request to the coordinator; returns the status.
        private static func operate(_ cluster: Cluster, _ method: String, _ path: String) async throws -> Int {
            let text = try await cluster.sandbox.run(
                try Tools.command("curl"),
                [
                    "-s", "-o", "/dev/null", "-m", "5", "-X", method, "-w", "%{http_code}", "-H",
                    "Authorization: Bearer \(Self.adminToken)", cluster.coordinator.apiURL(path),
                ], expecting: nil)
            return Int(text) ?? 0
        }

        private static func drain(_ cluster: Cluster, _ node: ClusterNode) async throws {
            let status = try await Self.operate(cluster, "POST", "/api/v1/nodes/\(node.name)/drain")
            try #require((200..<300).contains(status), "drain was answered with \(status)")
        }

        private static func undrain(_ cluster: Cluster, _ node: ClusterNode) async throws {
            let status = try await Self.operate(cluster, "POST", "/api/v1/nodes/\(node.name)/undrain")
            try #require((200..<300).contains(status), "undrain was answered with \(status)")
        }

        /// The node's state, as the coordinator shows it: `alive`, `draining`, `drained`, …
        private static func state(_ cluster: Cluster, _ name: String) async throws -> String? {
            struct List: Decodable {
                struct Entry: Decodable {
                    struct Node: Decodable { let id: String }
                    let node: Node
                    let state: String?
                }
                let nodes: [Entry]
            }
            return try await cluster.coordinator.get("/api/v1/nodes", as: List.self)?.nodes
                .first { $0.node.id == name }?.state
        }

        private static func isReady(_ node: ClusterNode) async throws -> Bool {
            try await node.status(node.apiURL("/readyz")) == 200
        }

        /// The node that holds `key`, and the others.
        private static func holder(
            of key: String, among nodes: [ClusterNode], _ cluster: Cluster
        ) async throws -> (holder: ClusterNode, other: ClusterNode) {
            let name = try await until("\(key) is placed", within: .seconds(10)) {
                let placement = try await cluster.coordinator.placement(key)
                return placement?.state == "live" ? placement?.node : nil
            }
            return (
                try #require(nodes.first { $0.name == name }), try #require(nodes.first { $0.name != name })
            )
        }

        /// Every picture of `recording` is in `source`, without a hole and in order: the move cost nobody anything.
        private static func isWhole(_ sandbox: Sandbox, _ recording: Recording, of source: URL) async throws {
            let all = try await Media.packets(sandbox, source).filter { $0.stream == 0 }.map(\.hash)
            let packets = try await Media.packets(sandbox, recording.file)
            let disorder = Media.disorder(packets)
            try #require(disorder == nil, "\(recording.child.name)")
            let found = packets.filter { $0.stream == 0 }.map(\.hash)
            let first = try #require(found.first.flatMap { all.firstIndex(of: $0) }, "\(recording.child.name)")
            try #require(found.count > 100, "\(recording.child.name)")
            // What was cut off ends anywhere in a picture.
            let whole = found.dropLast()
            try #require(Array(whole) == Array(all[first...].prefix(whole.count)), "\(recording.child.name)")
        }

        @Test("an origin that the coordinator drains gives its publishers away, nobody notices, and it comes back")
        func operatorsDrain() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 60)
                let cluster = try await Self.cluster(sandbox)
                let origins = [try await cluster.origin("origin-1"), try await cluster.origin("origin-2")]
                let entry = try await cluster.edge("edge-1")
                let edge = try await cluster.edge("edge-2")
                let publisher = try Media.publish(sandbox, source, to: entry.rtmp("live/one"))
                let (first, second) = try await Self.holder(of: "live/one", among: origins, cluster)
                let audience = try await Audience(sandbox, "live/one", on: [entry, edge])
                try await audience.keepsPlaying(for: .seconds(2), longestWait: .seconds(2))
                try #require(try await Self.isReady(first))

                try await Self.drain(cluster, first)
                try await until("the node says that it takes nobody", within: .seconds(3)) {
                    try await !Self.isReady(first)
                }
                try await audience.keepsPlaying(for: .seconds(8), longestWait: .seconds(2))
                let placement = try await cluster.coordinator.placement("live/one")
                try #require(placement?.node == second.name && placement?.state == "live")
                try #require(publisher.isRunning)
                try await until("it is drained", within: .seconds(15)) {
                    try await Self.state(cluster, first.name) == "drained"
                }
                try #require(first.child.isRunning)

                // Whoever comes to it is told; whoever comes to the cluster is taken to the other one.
                let refused = try Media.publish(sandbox, source, to: first.rtmp("live/two"), name: "refused")
                try await refused.wait(within: .seconds(10))
                try #require(try await first.stream("live/two") == nil)
                try #require(try await first.status(first.flv("live/one")) == 503)
                _ = try Media.publish(sandbox, source, to: entry.rtmp("live/three"), name: "third")
                try await second.isLive("live/three")

                try await Self.undrain(cluster, first)
                try await until("it is ready again", within: .seconds(5)) { try await Self.isReady(first) }
                try await until("the coordinator sees it", within: .seconds(5)) {
                    try await Self.state(cluster, first.name) == "alive"
                }
                _ = try Media.publish(sandbox, source, to: first.rtmp("live/two"), name: "taken")
                try await first.isLive("live/two")
                try await audience.keepsPlaying(for: .seconds(2), longestWait: .seconds(2))
                try await audience.stop()
                for recording in audience.recordings { try await Self.isWhole(sandbox, recording, of: source) }
            }
        }

        @Test("SIGTERM moves what edges forward, tells who publishes directly, and ends the process when it is empty")
        func termination() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 60)
                let cluster = try await Self.cluster(sandbox)
                let origins = [try await cluster.origin("origin-1"), try await cluster.origin("origin-2")]
                let entry = try await cluster.edge("edge-1")
                let edge = try await cluster.edge("edge-2")
                let forwarded = try Media.publish(sandbox, source, to: entry.rtmp("live/one"))
                let (first, second) = try await Self.holder(of: "live/one", among: origins, cluster)
                let direct = try Media.publish(sandbox, source, to: first.rtmp("live/two"), name: "direct")
                try await first.isLive("live/two")
                let audience = try await Audience(sandbox, "live/one", on: [entry, edge])
                let others = try await Audience(sandbox, "live/two", on: [entry, edge], name: "other")
                try await audience.keepsPlaying(for: .seconds(2), longestWait: .seconds(2))

                first.child.signal(SIGTERM)
                let started = ContinuousClock.now
                try await direct.wait(within: .seconds(5))
                _ = try await FailoverTests.publishAgain(sandbox, source, "live/two", on: second)
                let gap = try await others.getsMore(within: .seconds(5))
                try #require(gap < .seconds(2), "the gap was \(gap)")
                try await audience.keepsPlaying(for: .seconds(8), longestWait: .seconds(2))
                let ending = try await first.child.wait(within: .seconds(15) - (ContinuousClock.now - started))
                try #require(ending == .exited(0))
                try #require(!first.child.text.contains("not empty"))
                try #require(forwarded.isRunning)
                let placement = try await cluster.coordinator.placement("live/one")
                try #require(placement?.node == second.name && placement?.state == "live")
                try await others.keepsPlaying(for: .seconds(2), longestWait: .seconds(2))
                try await audience.stop()
                try await others.stop()
                for recording in audience.recordings { try await Self.isWhole(sandbox, recording, of: source) }
                for recording in others.recordings {
                    let disorder = Media.disorder(try await Media.packets(sandbox, recording.file))
                    try #require(disorder == nil, "\(recording.child.name)")
                }
            }
        }

        @Test("drained by its own API, a node lets viewers and publishers stay for their time, then tells them")
        func waits() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 60)
                let origin = try await Cluster.node(
                    "origin", role: "origin",
                    ["shutdown.viewer_wait": "12s", "shutdown.publisher_wait": "12s"], sandbox)
                let publisher = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let audience = try await Audience(sandbox, "live/one", on: [origin])
                try #require(try await origin.send("POST", "/api/v2/drain") == 200)
                try #require(try await !Self.isReady(origin))
                try #require(try await origin.status(origin.apiURL("/healthz")) == 200)
                try #require(try await origin.status(origin.flv("live/one")) == 503)
                let late = try Media.record(sandbox, origin.rtmp("live/one"), to: "late.flv")
                try await late.child.wait(within: .seconds(5))
                try #require(late.size == 0)
                try await audience.keepsPlaying(for: .seconds(3), longestWait: .seconds(2))
                try #require(publisher.isRunning)

                try await publisher.wait(within: .seconds(20))
                for recording in audience.recordings { try await recording.child.wait(within: .seconds(5)) }
                try #require(origin.child.isRunning)
                let refused = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), name: "refused")
                try await refused.wait(within: .seconds(10))

                try #require(try await origin.send("DELETE", "/api/v2/drain") == 200)
                try #require(try await Self.isReady(origin))
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), name: "again")
                try await origin.isLive("live/one")
                _ = try await Audience(sandbox, "live/one", on: [origin], name: "again")
            }
        }

        @Test("an edge that is drained tells its viewers, and those of the others notice nothing")
        func edgeIsDrained() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 40)
                let cluster = try await Self.cluster(sandbox)
                let origin = try await cluster.origin()
                let doomed = try await cluster.edge("edge-1", ["shutdown.viewer_wait": "2s"])
                let edge = try await cluster.edge("edge-2")
                let publisher = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let leaving = try await Audience(sandbox, "live/one", on: [doomed], name: "leaving")
                let audience = try await Audience(sandbox, "live/one", on: [edge])
                try await Self.drain(cluster, doomed)
                try await audience.keepsPlaying(for: .seconds(4), longestWait: .seconds(2))
                for recording in leaving.recordings { try await recording.child.wait(within: .seconds(5)) }
                try #require(try await doomed.status(doomed.flv("live/one")) == 503)
                try await until("it is drained", within: .seconds(5)) {
                    try await Self.state(cluster, doomed.name) == "drained"
                }
                doomed.child.signal(SIGTERM)
                let ending = try await doomed.child.wait(within: .seconds(10))
                try #require(ending == .exited(0))
                try #require(publisher.isRunning)
                try await audience.stop()
                for recording in audience.recordings { try await Self.isWhole(sandbox, recording, of: source) }
            }
        }
    }
}
