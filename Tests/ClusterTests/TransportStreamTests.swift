import Foundation
import Testing

extension ClusterTests {
    /// Transport streams over UDP, HTTP-TS, bare audio and posted FLV, on origin and edge.
    @Suite struct TransportStreamTests {
        private static func send(_ sandbox: Sandbox, _ file: URL, to url: String, name: String) throws -> Child {
            try sandbox.start(
                name, try Tools.ffmpeg,
                Media.quiet + ["-re", "-i", file.path, "-map", "0", "-c", "copy", "-f", "mpegts", url])
        }

        /// Plays a transport stream into a file, packets as they came.
        private static func play(_ sandbox: Sandbox, _ node: ClusterNode, to name: String) throws -> Recording {
            try Media.download(sandbox, node.http("live/one.ts"), to: name)
        }

        /// What ffprobe takes the audio of a file for.
        private static func codec(_ sandbox: Sandbox, _ file: URL) async throws -> String {
            let text = try await sandbox.run(
                try Tools.command("ffprobe"),
                [
                    "-v", "error", "-select_streams", "a", "-show_entries", "stream=codec_name", "-of", "csv=p=0",
                    file.path,
                ])
            return text.trimmingCharacters(in: .whitespacesAndNewlines)
        }

        @Test("a stream that comes to an edge over UDP is played everywhere, and goes on after its sender's restart")
        func overUDP() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 14)
                let cluster = try await Cluster(sandbox)
                let port = try Sandbox.freePorts(1)[0]
                let origin = try await cluster.origin()
                let edge = try await cluster.edge(
                    "edge", ["ts.listeners": "udp://127.0.0.1:\(port)/live/one", "ts.idle_timeout": "3s"])
                let url = "udp://127.0.0.1:\(port)?pkt_size=1316"
                let sender = try Self.send(sandbox, source, to: url, name: "sender")
                let stream = try await origin.isLive("live/one")
                try #require(stream.tracks.map(\.codec) == ["h264", "aac"])
                let players = [
                    try Self.play(sandbox, origin, to: "origin.ts"), try Self.play(sandbox, edge, to: "edge.ts"),
                    try Media.download(sandbox, edge.http("live/one.aac"), to: "edge.aac"),
                ]
                for player in players.dropLast() {
                    try await player.records(300_000)
                    #expect(try await player.pictures(sandbox, of: source) > 100, "\(player.child.name)")
                }
                try await players[2].records(30_000)
                #expect(try await Self.codec(sandbox, players[2].file) == "aac")
                try await sender.wait(within: .seconds(25))
                let viewer = try Self.play(sandbox, origin, to: "again.ts")
                _ = try Self.send(sandbox, source, to: url, name: "sender-2")
                try await viewer.grows(beyond: 100_000, within: .seconds(20))
            }
        }

        @Test("FLV that is posted to an edge or an origin is played by every protocol")
        func posted() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 14)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin(
                    "origin", ["stream.publish.grace": "1s", "stream.idle_timeout": "1s"])
                let edge = try await cluster.edge("edge", ["edge.linger": "1s"])
                for (index, node) in [origin, edge].enumerated() {
                    let publisher = try sandbox.start(
                        "post-\(index)", try Tools.ffmpeg,
                        Media.quiet + [
                            "-re", "-i", source.path, "-c", "copy", "-f", "flv", "-method", "POST",
                            node.flv("live/one"),
                        ])
                    try await origin.isLive("live/one")
                    let players = [
                        try Self.play(sandbox, edge, to: "played-\(index).ts"),
                        try Media.download(sandbox, origin.flv("live/one"), to: "played-\(index).flv"),
                        try Media.record(sandbox, edge.rtmp("live/one"), to: "rtmp-\(index).flv"),
                    ]
                    for player in players { try await player.records(200_000) }
                    for player in players {
                        #expect(try await player.pictures(sandbox, of: source) > 50, "\(player.child.name)")
                    }
                    try await publisher.wait(within: .seconds(20))
                    try #require(publisher.ending == .exited(0))
                    try await until("the stream is over", within: .seconds(30)) {
                        try await origin.stream("live/one") == nil
                    }
                }
            }
        }
    }
}
