import Foundation
import Glibc
import Testing

extension ClusterTests {
    @Suite struct PublisherTests {
        @Test("of two publishers that race for one key on two origins one wins, and the other is told at once")
        func race() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                try await cluster.isRecovered()
                let origins = [try await cluster.origin("origin-1"), try await cluster.origin("origin-2")]
                let publishers = try origins.map {
                    try Media.publish(sandbox, source, to: $0.rtmp("live/one"), name: "publisher-\($0.name)")
                }
                let loser = try await until("one publisher is turned away", within: .seconds(5)) {
                    publishers.first { !$0.isRunning }
                }
                try #require(loser.ending != .exited(0))
                try await Task.sleep(for: .seconds(3))
                try #require(publishers.filter(\.isRunning).count == 1)
                let winner = publishers[0] === loser ? origins[1] : origins[0]
                try await winner.isLive("live/one")
                try #require(try await cluster.coordinator.placement("live/one")?.node == winner.name)
            }
        }

        @Test("viewers stay when the publisher restarts within the grace time, with another picture size")
        func restartWithinGrace() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let other = try await Media.makeSource(
                    sandbox, seconds: 20, name: "other.flv", size: "480x270", frequency: 880)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let first = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let audience = try await Audience(sandbox, "live/one", on: [origin, edge])
                try await audience.keepsPlaying(for: .seconds(2), longestWait: .seconds(2))
                first.signal(SIGINT)
                try await first.wait(within: .seconds(5))
                try await Task.sleep(for: .seconds(1))
                _ = try Media.publish(sandbox, other, to: origin.rtmp("live/one"), name: "publisher-2")
                try await until("the new picture size is known", within: .seconds(5)) {
                    try await origin.stream("live/one")?.tracks.first?.width == 480
                }
                try await audience.getsMore(within: .seconds(2))
                try await audience.keepsPlaying(for: .seconds(3), longestWait: .seconds(2))
                try await audience.stop()
                let known = Set(try await Media.packets(sandbox, other, map: ["0:v"]).map(\.hash))
                for recording in audience.recordings {
                    let packets = try await Media.packets(sandbox, recording.file)
                    let disorder = Media.disorder(packets)
                    try #require(disorder == nil, "\(recording.child.name)")
                    let fromOther = packets.filter { known.contains($0.hash) }
                    try #require(fromOther.count > 50, "\(recording.child.name)")
                }
            }
        }

        @Test(
            "a second publisher is refused or takes over, as the policy says",
            arguments: ["reject", "grace", "takeover"])
        func policies(policy: String) async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let origin = try await Cluster.node(
                    "origin", role: "origin", ["stream.publish.policy": policy], sandbox)
                let first = try Media.publish(sandbox, source, to: origin.rtmp("live/one?token=a"))
                try await origin.isLive("live/one")
                // Another token: while the first publisher sends, nobody may push it aside.
                let stranger = try Media.publish(
                    sandbox, source, to: origin.rtmp("live/one?token=b"), name: "stranger")
                try await stranger.wait(within: .seconds(5))
                try #require(stranger.ending != .exited(0))
                try #require(first.isRunning)
                // The same token: only `takeover` lets it in.
                let again = try Media.publish(sandbox, source, to: origin.rtmp("live/one?token=a"), name: "again")
                let leaver = policy == "takeover" ? first : again
                try await leaver.wait(within: .seconds(5))
                try await Task.sleep(for: .seconds(1))
                try #require((policy == "takeover" ? again : first).isRunning)
                // A frozen publisher is silent, and gives way unless the policy is `reject`.
                let holder = policy == "takeover" ? again : first
                holder.signal(SIGSTOP)
                try await Task.sleep(for: .milliseconds(1_500))
                let late = try Media.publish(sandbox, source, to: origin.rtmp("live/one?token=b"), name: "late")
                if policy == "reject" {
                    try await late.wait(within: .seconds(15))
                } else {
                    try await Task.sleep(for: .seconds(2))
                    try #require(late.isRunning)
                }
            }
        }

        @Test(
            "audio alone and video alone are published, and either is played alone", arguments: ["0:a", "0:v", "both"])
        func singleTracks(map: String) async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 15)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try Media.publish(
                    sandbox, source, to: origin.rtmp("live/one"), options: map == "both" ? [] : ["-map", map])
                try await origin.isLive("live/one")
                var wanted: [(url: String, stream: Int)] = []
                switch map {
                case "0:v": wanted = [(edge.flv("live/one"), 0)]
                case "0:a": wanted = [(edge.flv("live/one"), 1)]
                default:
                    wanted = [(edge.flv("live/one") + "?only=video", 0), (edge.flv("live/one") + "?only=audio", 1)]
                }
                let packets = try await Media.packets(sandbox, source)
                for (url, stream) in wanted {
                    let recording = try Media.download(sandbox, url, to: "only-\(stream).flv")
                    try await recording.grows(beyond: 20_000)
                    try await recording.stop()
                    // The stream is alone in its file, so it is the first there.
                    let found = try await Media.packets(sandbox, recording.file, map: ["0"]).map {
                        Media.Unit(stream: stream, dts: $0.dts, pts: $0.pts, hash: $0.hash)
                    }
                    let difference = Media.difference(found, packets, streams: [stream], isPart: true)
                    try #require(difference == nil, "\(url)")
                }
            }
        }
    }
}
