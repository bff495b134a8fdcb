import Foundation
import Glibc
import Testing

extension ClusterTests {
    @Suite struct FailoverTests {
        @Test("without the coordinator everything plays on, publishers can start, and afterwards the state converges")
        func coordinatorIsKilled() async throws {
            let outage = Tools.seconds("WEIR_TEST_OUTAGE_SECONDS", default: 10)
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: outage + 40)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let audience = try await Audience(sandbox, "live/one", on: [origin, edge])

                cluster.coordinator.child.destroy()
                let second = try Media.publish(sandbox, source, to: origin.rtmp("live/two"), name: "publisher-two")
                try await audience.keepsPlaying(for: .seconds(outage / 2), longestWait: .seconds(2))
                try await origin.isLive("live/two", within: .seconds(1))
                // A new viewer of what the edge knows.
                let late = try await Audience(sandbox, "live/one", on: [edge], name: "late")
                try await audience.keepsPlaying(for: .seconds(outage - outage / 2), longestWait: .seconds(2))

                try await cluster.coordinator.restart()
                try await until("the placements are known again", within: .seconds(15)) {
                    guard let placements = try await cluster.coordinator.placements(),
                        let nodes = try await cluster.coordinator.nodes()
                    else { return false }
                    let live = placements.filter { $0.state == "live" && $0.node == "origin" }
                    return Set(live.map(\.key.name)) == ["one", "two"] && nodes == ["origin": "alive", "edge": "alive"]
                }
                try #require(second.isRunning)
                _ = try await Audience(sandbox, "live/two", on: [edge], name: "two")
                try await audience.keepsPlaying(for: .seconds(3), longestWait: .seconds(2))
                try await audience.stop()
                try await late.stop()
                let packets = try await Media.packets(sandbox, source)
                for recording in audience.recordings + late.recordings {
                    let found = try await Media.packets(sandbox, recording.file)
                    let difference = Media.difference(found, packets, streams: [0, 1], isPart: true)
                    try #require(difference == nil, "\(recording.child.name)")
                }
            }
        }

        @Test("when an origin is killed and its publisher comes back on another, viewers stay and wait under 2 s")
        func publisherComesBackOnAnotherOrigin() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 30)
                let cluster = try await Cluster(sandbox)
                let first = try await cluster.origin("origin-1")
                let second = try await cluster.origin("origin-2")
                let edges = [try await cluster.edge("edge-1"), try await cluster.edge("edge-2")]
                let publisher = try Media.publish(sandbox, source, to: first.rtmp("live/one"))
                try await first.isLive("live/one")
                let audience = try await Audience(sandbox, "live/one", on: edges)
                try await audience.keepsPlaying(for: .seconds(3), longestWait: .seconds(2))

                first.child.destroy()
                publisher.destroy()
                try await Task.sleep(for: .seconds(1))
                _ = try await Self.publishAgain(sandbox, source, "live/one", on: second)
                let gap = try await audience.getsMore(within: .seconds(10))
                try #require(gap < .seconds(2), "the gap was \(gap)")
                try await audience.keepsPlaying(for: .seconds(5), longestWait: .seconds(2))
                try await audience.stop()
                for recording in audience.recordings {
                    let packets = try await Media.packets(sandbox, recording.file)
                    let disorder = Media.disorder(packets)
                    try #require(disorder == nil, "\(recording.child.name)")
                    // Before and after: 3 s and 5 s.
                    let pictures = try await Media.pictures(sandbox, recording.file)
                    try #require(pictures.count > 150, "\(recording.child.name)")
                    let times = pictures.map(\.pts)
                    try #require(times == times.sorted(), "\(recording.child.name)")
                    let steps = zip(times, times.dropFirst()).map { $1 - $0 }
                    try #require(steps.max() ?? 0 < 12_000, "\(recording.child.name)")
                }
            }
        }

        /// Publishes like an encoder that tries again until it is let in, and returns when its media arrive.
        static func publishAgain(
            _ sandbox: Sandbox, _ source: URL, _ key: String, on node: ClusterNode
        ) async throws -> Child {
            var publisher = try Media.publish(sandbox, source, to: node.rtmp(key), name: "publisher-again")
            try await until("\(key) is live on \(node.name)", within: .seconds(15)) {
                if !publisher.isRunning {
                    try await Task.sleep(for: .milliseconds(200))
                    publisher = try Media.publish(sandbox, source, to: node.rtmp(key), name: "publisher-again")
                }
                guard let stream = try await node.stream(key) else { return false }
                return stream.state == "live" && stream.videoFrames > 0
            }
            return publisher
        }

        @Test("when an edge is killed nothing else notices")
        func edgeIsKilled() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 30)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let doomed = try await cluster.edge("edge-1")
                let edge = try await cluster.edge("edge-2")
                let publisher = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                _ = try await Audience(sandbox, "live/one", on: [doomed], name: "lost")
                let audience = try await Audience(sandbox, "live/one", on: [origin, edge])
                // Two of the audience, and the pulls of two edges.
                try await until("the origin has 4 viewers", within: .seconds(3)) {
                    try await origin.stream("live/one")?.viewerCount == 4
                }
                doomed.child.destroy()
                try await audience.keepsPlaying(for: .seconds(3), longestWait: .seconds(2))
                try await until("the origin has 3 viewers", within: .seconds(5)) {
                    try await origin.stream("live/one")?.viewerCount == 3
                }
                try await until("the coordinator misses the edge", within: .seconds(8)) {
                    try await cluster.coordinator.nodes()?["edge-1"] != "alive"
                }
                try #require(publisher.isRunning)
                try await audience.stop()
                let packets = try await Media.packets(sandbox, source)
                for recording in audience.recordings {
                    let found = try await Media.packets(sandbox, recording.file)
                    let difference = Media.difference(found, packets, streams: [0, 1], isPart: true)
                    try #require(difference == nil, "\(recording.child.name)")
                }
            }
        }

        @Test("an origin that was frozen for 8 s goes on, and the viewers of its edge with it")
        func originIsFrozen() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 60)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let publisher = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let audience = try await Audience(sandbox, "live/one", on: [edge])
                origin.child.signal(SIGSTOP)
                try await Task.sleep(for: .seconds(8))
                origin.child.signal(SIGCONT)
                try await audience.getsMore(within: .seconds(5))
                try await audience.keepsPlaying(for: .seconds(5), longestWait: .seconds(3))
                try #require(publisher.isRunning)
                try await until("the stream is live again", within: .seconds(5)) {
                    let placement = try await cluster.coordinator.placement("live/one")
                    return placement?.state == "live" && placement?.node == "origin"
                }
                try await audience.stop()
                for recording in audience.recordings {
                    let disorder = Media.disorder(try await Media.packets(sandbox, recording.file))
                    try #require(disorder == nil, "\(recording.child.name)")
                }
            }
        }

        @Test("an edge may be the upstream of an edge")
        func edgeOfAnEdge() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let origin = try await Cluster.node("origin", role: "origin", [:], sandbox)
                let middle = try await Cluster.node(
                    "edge-1", role: "edge", ["cluster.origins": "127.0.0.1:\(origin.rtmpPort)"], sandbox)
                let edge = try await Cluster.node(
                    "edge-2", role: "edge", ["cluster.origins": "127.0.0.1:\(middle.rtmpPort)"], sandbox)
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let audience = try await Audience(sandbox, "live/one", on: [edge])
                try await audience.keepsPlaying(for: .seconds(3), longestWait: .seconds(2))
                try #require(try await origin.stream("live/one")?.viewerCount == 1)
                try await audience.stop()
                let packets = try await Media.packets(sandbox, source)
                for recording in audience.recordings {
                    let found = try await Media.packets(sandbox, recording.file)
                    let difference = Media.difference(found, packets, streams: [0, 1], isPart: true)
                    try #require(difference == nil, "\(recording.child.name)")
                }
            }
        }

        @Test("a publisher on an edge is forwarded, and survives the death of its origin")
        func forwardedPublisherIsMoved() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 40)
                let cluster = try await Cluster(sandbox)
                let origins = [try await cluster.origin("origin-1"), try await cluster.origin("origin-2")]
                let entry = try await cluster.edge("edge-1")
                let edge = try await cluster.edge("edge-2")
                let publisher = try Media.publish(sandbox, source, to: entry.rtmp("live/one"))
                let holder = try await until("the stream is placed", within: .seconds(10)) {
                    try await cluster.coordinator.placement("live/one")?.node
                }
                let first = try #require(origins.first { $0.name == holder })
                let second = try #require(origins.first { $0.name != holder })
                try await first.isLive("live/one")
                let audience = try await Audience(sandbox, "live/one", on: [entry, edge])
                try await audience.keepsPlaying(for: .seconds(2), longestWait: .seconds(2))

                first.child.destroy()
                try await second.isLive("live/one", within: .seconds(10))
                let gap = try await audience.getsMore(within: .seconds(5))
                try #require(gap < .seconds(2), "the gap was \(gap)")
                try await audience.keepsPlaying(for: .seconds(4), longestWait: .seconds(2))
                try #require(publisher.isRunning)
                try await audience.stop()
                for recording in audience.recordings {
                    let disorder = Media.disorder(try await Media.packets(sandbox, recording.file))
                    try #require(disorder == nil, "\(recording.child.name)")
                }
            }
        }
    }
}
