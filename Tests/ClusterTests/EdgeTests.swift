import Foundation
import Testing

extension ClusterTests {
    @Suite struct EdgeTests {
        @Test("a stream that nobody publishes is refused in under a second, by HTTP and RTMP, on origin and edge")
        func missingStream() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let nodes = [try await cluster.origin(), try await cluster.edge()]
                try await cluster.isRecovered()
                for node in nodes {
                    try await Self.isSoon("curl, \(node.name)", .seconds(1)) { name in
                        try #require(try await node.status(node.flv("live/curl-\(name)")) == 404)
                    }
                    try await Self.isSoon("rtmpdump, \(node.name)", .seconds(1)) { name in
                        let player = try sandbox.start(
                            "player-\(node.name)-\(name)", try Tools.command("rtmpdump"),
                            ["-r", node.rtmp("live/rtmp-\(name)"), "--live", "-o", "/dev/null"])
                        try #require(try await player.wait(within: .seconds(15)) != .exited(0))
                        try #require(player.text.contains("NetStream.Play.StreamNotFound"))
                    }
                    try await Self.isSoon("ffmpeg, \(node.name)", .seconds(2)) { name in
                        let player = try sandbox.start(
                            "ffmpeg-\(node.name)-\(name)", try Tools.ffmpeg,
                            Media.quiet + ["-i", node.rtmp("live/ffmpeg-\(name)"), "-f", "null", "-"])
                        try #require(try await player.wait(within: .seconds(15)) != .exited(0))
                    }
                }
            }
        }

        /// Runs `ask`, which gets a number that nobody asked with before, in less than `limit`.
        private static func isSoon(
            _ what: String, _ limit: Duration, _ ask: (Int) async throws -> Void
        ) async throws {
            var number = 0
            let time = try await atBest {
                number += 1
                let start = ContinuousClock.now
                try await ask(number)
                return ContinuousClock.now - start
            } isGood: {
                $0 < limit
            }
            try #require(time < limit, "\(what)")
        }

        @Test("5,000 names that nobody publishes leave nothing behind in an edge")
        func missingNamesAreForgotten() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let edge = try await cluster.edge()
                try await cluster.isRecovered()
                let ask = { (prefix: String, count: Int) in
                    let text = try await sandbox.run(
                        try Tools.command("curl"),
                        [
                            "-s", "-Z", "--parallel-max", "20", "-o", "/dev/null", "-w", "%{http_code}\\n",
                            "http://127.0.0.1:\(edge.httpPort)/live/\(prefix)[1-\(count)].flv",
                        ], within: .seconds(90))
                    return text.split(separator: "\n").filter { $0 == "404" }.count
                }
                // What the first requests allocate stays.
                try #require(try await ask("warm", 1_000) == 1_000)
                let before = try edge.child.residentBytes
                try #require(try await ask("name", 5_000) == 5_000)
                let growth = try edge.child.residentBytes - before
                try #require(growth < 16 << 20, "grew by \(growth) bytes")
                try await until("no stream is left", within: .seconds(15), every: .milliseconds(200)) {
                    try await edge.streams()?.isEmpty ?? false
                }
            }
        }

        @Test("an edge pulls a stream once for all of its viewers, and lingers after the last")
        func oneUpstream() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 30)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge("edge", ["edge.linger": "8s"])
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                var viewers: [Recording] = []
                for index in 0..<10 {
                    viewers.append(try Media.download(sandbox, edge.flv("live/one"), to: "viewer-\(index).flv"))
                }
                for viewer in viewers { try await viewer.grows() }
                try #require(try await edge.stream("live/one")?.viewerCount == 10)
                try #require(try await origin.stream("live/one")?.viewerCount == 1)
                for viewer in viewers { try await viewer.stop() }
                // Within the linger time a new viewer finds the stream still there.
                try await Task.sleep(for: .milliseconds(1_500))
                try #require(try await origin.stream("live/one")?.viewerCount == 1)
                let late = try Media.download(sandbox, edge.flv("live/one"), to: "late.flv")
                try await late.grows()
                try await Task.sleep(for: .seconds(3))
                try #require(late.child.isRunning)
                try #require(try await origin.stream("live/one")?.viewerCount == 1)
                try await late.stop()
                let wait = try await until("the edge lets go", within: .seconds(15)) {
                    try await origin.stream("live/one")?.viewerCount == 0
                }
                try #require(wait > .seconds(6))
                try await until("the edge forgets the stream", within: .seconds(30)) {
                    try await edge.streams()?.isEmpty ?? false
                }
            }
        }
    }
}
