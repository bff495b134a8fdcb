import Foundation
import Testing

extension ClusterTests {
    /// Streams that are fetched from servers of others, and what goes over TLS.
    @Suite struct RTSPSourceTests {
        @Test("VLC's server is fetched like a camera: by UDP as it has no TCP, and for longer than its timeout")
        func vlc() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 40)
                let port = try Sandbox.freePorts(1)[0]
                let camera = try VLC.serve(sandbox, source, port: port, timeout: 4)
                let origin = try await Cluster.node(
                    "origin", role: "origin",
                    ["rtsp.pulls": "live/vlc=rtsp://127.0.0.1:\(port)/x", "rtsp.ports": "23500-23599"], sandbox)
                let stream = try await origin.isLive("live/vlc", within: .seconds(20))
                #expect(Set(stream.tracks.map(\.codec)) == ["h264", "aac"])
                let players = [
                    try Media.record(sandbox, origin.rtmp("live/vlc"), to: "rtmp.flv"),
                    try RTSPTests.play(sandbox, origin.rtsp("live/vlc"), by: "udp", to: "rtsp.h264"),
                ]
                // 12 s of the picture: three times the timeout.
                for player in players { try await player.grows(beyond: 600_000, within: .seconds(30)) }
                try #require(camera.isRunning)
                for player in players { try await player.stop() }
                for player in players {
                    #expect(try await player.pictures(sandbox, of: source) > 250, "\(player.child.name)")
                }
                let sound = Set(try await Media.packets(sandbox, source, map: ["0:a"]).map(\.hash))
                let heard = try await Media.packets(sandbox, players[0].file, map: ["0:a"]).map(\.hash)
                #expect(heard.count > 400 && heard.allSatisfy(sound.contains))
            }
        }

        @Test("over TLS GStreamer publishes and plays, and a node fetches if it may take any certificate")
        func secure() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 30)
                let port = try Sandbox.freePorts(1)[0]
                let camera = try await Cluster.node(
                    "camera", role: "origin", try await RTSPTests.tls(sandbox, port), sandbox)
                let url = "rtsps://127.0.0.1:\(port)/live/one"
                _ = try sandbox.start(
                    "gst-publisher", try Tools.command("gst-launch-1.0"),
                    [
                        "-q", "rtspclientsink", "name=s", "location=\(url)", "protocols=tcp",
                        "tls-validation-flags=0", "filesrc", "location=\(source.path)", "!", "flvdemux", "name=d",
                        "d.video", "!", "queue", "!", "h264parse", "!", "s.", "d.audio", "!", "queue", "!",
                        "aacparse", "!", "s.",
                    ])
                try await camera.isLive("live/one")
                let node = try await Cluster.node(
                    "node", role: "origin", ["rtsp.pulls": "live/copy=\(url) insecure,live/none=\(url)"], sandbox)
                let stream = try await node.isLive("live/copy")
                #expect(Set(stream.tracks.map(\.codec)) == ["h264", "aac"])
                let players = [
                    try RTSPTests.play(sandbox, url, by: "tcp", to: "ffmpeg.h264"),
                    try await Self.gstreamer(sandbox, url, to: "gst.h264"),
                    try Media.record(sandbox, node.rtmp("live/copy"), to: "copy.flv"),
                ]
                for player in players { try await player.grows(beyond: 200_000, within: .seconds(25)) }
                for node in [camera, node] {
                    let sessions = try await sandbox.request(node.apiURL("/api/v2/sessions")).json["sessions"].array
                    let transports = Set(sessions.compactMap { $0["transport"].string })
                    #expect(transports == (node.name == "node" ? ["rtsps", "rtmp"] : ["rtsps"]), "\(node.name)")
                }
                for player in players { try await player.stop() }
                for player in players {
                    #expect(try await player.pictures(sandbox, of: source) > 50, "\(player.child.name)")
                }
                // Nobody knows who signed the certificate.
                #expect(try await node.stream("live/none") == nil)
                let pulls = try await sandbox.request(node.apiURL("/api/v2/pulls")).json["pulls"].array
                #expect(pulls.map { $0["stream"].string } == ["live/copy", "live/none"])
                #expect(pulls[0]["state"].string == "live" && pulls[0]["source"].string == url)
                #expect(pulls[1]["state"].string != "live")
                #expect(pulls[1]["lastError"].string?.contains("CERTIFICATE_VERIFY_FAILED") == true)
            }
        }

        @Test("where there is no UDP, FFmpeg and GStreamer that begin with it take the connection")
        func withoutDatagrams() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let origin = try await Cluster.node("origin", role: "origin", ["rtsp.udp": "false"], sandbox)
                let url = origin.rtsp("live/one")
                _ = try sandbox.start(
                    "publisher", try Tools.ffmpeg,
                    Media.quiet + ["-re", "-i", source.path, "-map", "0", "-c", "copy", "-f", "rtsp", url])
                try await origin.isLive("live/one")
                let players = [
                    try RTSPTests.play(sandbox, url, by: "udp+tcp", to: "ffmpeg.h264"),
                    try await Self.gstreamer(sandbox, url, by: "udp+tcp", to: "gst.h264"),
                ]
                for player in players { try await player.records(150_000, within: .seconds(15)) }
                for player in players {
                    #expect(try await player.pictures(sandbox, of: source) > 40, "\(player.child.name)")
                }
            }
        }

        /// Plays the picture with GStreamer, whoever signed the server's certificate.
        private static func gstreamer(
            _ sandbox: Sandbox, _ url: String, by transports: String = "tcp", to name: String
        ) async throws -> Recording {
            try await GStreamerPlayer.start(sandbox, url, by: transports, to: name) { file in
                [
                    "r.", "!", "application/x-rtp,media=video", "!", "rtph264depay", "!", "h264parse", "!",
                    "video/x-h264,stream-format=byte-stream", "!", "filesink", "buffer-mode=unbuffered",
                    "location=\(file.path)", "r.", "!", "application/x-rtp,media=audio", "!", "rtpmp4gdepay", "!",
                    "fakesink",
                ]
            }
        }
    }
}
