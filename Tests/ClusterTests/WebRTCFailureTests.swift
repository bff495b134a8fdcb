import Foundation
import Glibc
import Testing

extension ClusterTests {
    /// What viewers by WebRTC notice when programs of the cluster are killed.
    @Suite struct WebRTCFailureTests {
        @Test("when an edge is killed and comes back, its player page plays again by itself")
        func edgeIsKilled() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try ClockPublisher.start(sandbox, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let pages = try WebRTCPages.open(
                    sandbox, [.init(name: "play", kind: .page, base: "", url: edge.http("#live/one?mode=webrtc"))],
                    seconds: 90)
                for seconds in [0, 8] {
                    let before = try await pages.isMoving("play", frames: 50)
                    try pages.tell(.reset("play"))
                    edge.child.destroy()
                    try await Task.sleep(for: .seconds(seconds))
                    try await edge.restart()
                    let ready = ContinuousClock.now
                    try await pages.page("play", "plays again", within: .seconds(20)) {
                        $0.posts > before.posts && ($0.sinceFrame ?? .infinity) < 500
                    }
                    let waited = ContinuousClock.now - ready
                    let look = try await pages.isMoving("play", frames: 25)
                    print("an edge away for \(seconds) s and its start: \(look.longestGap) ms, \(waited) of it after")
                    #expect(waited < .seconds(6) && look.broken == 0 && look.errors == [], "\(look)")
                }
            }
        }

        @Test(
            "when the origin is killed and the publisher comes back on another one, the viewer's session goes on",
            arguments: ["rtmp", "whip"])
        func originIsKilled(publisher: String) async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origins = [try await cluster.origin("origin-1"), try await cluster.origin("origin-2")]
                let edge = try await cluster.edge()
                var sources: [Child] = []
                if publisher == "rtmp" {
                    sources.append(try ClockPublisher.start(sandbox, to: origins[0].rtmp("live/one")))
                } else {
                    sources.append(try Self.whip(sandbox, origins[0]).child)
                }
                try await origins[0].isLive("live/one", within: .seconds(20))
                let pages = try WebRTCPages.open(sandbox, [.play("play", edge, "live/one")], seconds: 90)
                let before = try await pages.isMoving("play", frames: 50)
                let epoch = try #require(try await edge.stream("live/one")?.epoch)
                try pages.tell(.reset("play"))

                origins[0].child.destroy()
                sources[0].destroy()
                let killed = ContinuousClock.now
                // Until the coordinator knows that the first one is gone, no other one may have the stream.
                if publisher == "rtmp" {
                    var source = try ClockPublisher.start(sandbox, to: origins[1].rtmp("live/one"))
                    try await until("the publisher is back", within: .seconds(20), every: .milliseconds(100)) {
                        if !source.isRunning {
                            source = try ClockPublisher.start(sandbox, to: origins[1].rtmp("live/one"))
                        }
                        return try await origins[1].stream("live/one")?.state == "live"
                    }
                } else {
                    let source = try Self.whip(sandbox, origins[1])
                    try await until("the publisher is back", within: .seconds(20), every: .milliseconds(300)) {
                        let status = try source.look()["publish"]?.status ?? 0
                        if status > 201 { try source.tell(.reload("publish")) }
                        return status == 201
                    }
                }
                try await origins[1].isLive("live/one", within: .seconds(20))
                let live = ContinuousClock.now
                try await until("the edge has the stream of the new origin", within: .seconds(10)) {
                    try await edge.stream("live/one").map { $0.state == "live" && $0.epoch > epoch } ?? false
                }
                let look = try await pages.isMoving("play", frames: 5)
                let after = ContinuousClock.now - live
                print("\(publisher): \(look.longestGap) ms without a frame; live after \(live - killed), + \(after)")
                let later = try await pages.isMoving("play", frames: 50)
                #expect(after < .seconds(3) && later.broken == 0 && later.errors == [], "\(later)")
                #expect(later.posts == 1 && later.session == before.session && later.state == "connected", "\(later)")
            }
        }

        private static func whip(_ sandbox: Sandbox, _ node: ClusterNode) throws -> WebRTCPages {
            try WebRTCPages.open(sandbox, [.publish("publish", node, "live/one", video: "vp8")], seconds: 90)
        }

        @Test("publishers and players do not notice that the coordinator is killed, and new players find the stream")
        func coordinatorIsKilled() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let pages = try WebRTCPages.open(
                    sandbox, [.publish("publish", origin, "live/one", video: "vp8"), .play("play", edge, "live/one")])
                let before = try await pages.isMoving("play", frames: 25)
                try pages.tell(.reset("play"))
                cluster.coordinator.child.destroy()
                try await Task.sleep(for: .seconds(4))
                try pages.add(.play("late", edge, "live/one"))
                try await pages.isMoving("late", frames: 25)
                try await cluster.coordinator.restart()
                try await Task.sleep(for: .seconds(4))
                let after = try await pages.isMoving("play", frames: 25)
                print("the coordinator was killed: at most \(after.longestGap) ms between two frames")
                #expect(after.longestGap < 700 && after.broken == 0 && after.state == "connected", "\(after)")
                #expect(after.session == before.session)
                #expect(after.frames > before.frames + 175, "\(before.frames) and \(after.frames)")
            }
        }
    }
}
