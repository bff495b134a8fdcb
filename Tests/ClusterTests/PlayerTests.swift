import Foundation
import Glibc
import Testing

extension ClusterTests {
    @Suite struct PlayerTests {
        @Test(
            "GStreamer publishes to an origin and an edge, and plays by RTMP and HTTP-FLV",
            arguments: ["origin", "edge"])
        func gstreamer(role: String) async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let launch = try Tools.command("gst-launch-1.0")
                let entry = role == "origin" ? origin : edge
                let publisher = try sandbox.start(
                    "gstreamer", launch,
                    Self.words("-q videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=25/1")
                        + Self.words("! openh264enc gop-size=25 ! h264parse ! flvmux streamable=true name=m")
                        + ["!", role == "origin" ? "rtmp2sink" : "rtmpsink", "location=\(entry.rtmp("live/gst"))"]
                        + Self.words("audiotestsrc is-live=true ! voaacenc ! aacparse ! m."))
                let stream = try await origin.isLive("live/gst")
                try #require(stream.tracks.map(\.codec) == ["h264", "aac"])
                let sources = [
                    ["rtmp2src", "location=\(edge.rtmp("live/gst"))"],
                    ["souphttpsrc", "location=\(edge.flv("live/gst"))"],
                    ["curlhttpsrc", "location=\(origin.flv("live/gst"))"],
                ]
                for source in sources {
                    // Ends by itself after 50 decoded pictures.
                    let player = try sandbox.start(
                        "gstreamer-\(source[0])", launch,
                        ["-q"] + source + Self.words("! flvdemux name=d d.video ! queue ! h264parse ! avdec_h264")
                            + Self.words("! fakesink num-buffers=50"))
                    let ending = try await player.wait(within: .seconds(15))
                    try #require(ending == .exited(0), "\(source[0])")
                }
                try #require(publisher.isRunning)
            }
        }

        private static func words(_ text: String) -> [String] { text.split(separator: " ").map(String.init) }

        @Test("rtmpdump records what was published")
        func rtmpdump() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 15)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let file = sandbox.file("dump.flv")
                let dump = Recording(
                    child: try sandbox.start(
                        "rtmpdump", try Tools.command("rtmpdump"),
                        ["-r", edge.rtmp("live/one"), "--live", "-o", file.path]), file: file)
                try await dump.grows(beyond: 100_000)
                dump.child.signal(SIGINT)
                try await dump.child.wait(within: .seconds(5))
                let wanted = try await Media.packets(sandbox, source)
                let found = try await Media.packets(sandbox, file)
                // rtmpdump lets the file begin at 0, so only order and content can be compared by stream.
                for stream in [0, 1] {
                    let difference = Media.difference(found, wanted, streams: [stream], isPart: true)
                    try #require(difference == nil)
                }
            }
        }

        @Test("VLC plays by RTMP and HTTP-FLV")
        func vlc() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 30)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let recordings = try [edge.rtmp("live/one"), edge.flv("live/one")].enumerated().map { index, url in
                    try VLC.record(sandbox, url, to: "vlc-\(index)")
                }
                for recording in recordings {
                    try await recording.grows(beyond: 300_000, within: .seconds(20))
                    recording.child.signal(SIGTERM)
                    try await recording.child.wait(within: .seconds(10))
                    let wanted = Set(try await Media.pictures(sandbox, source).map(\.hash))
                    let found = try await Media.pictures(sandbox, recording.file)
                    try #require(found.count > 40)
                    // The cut may have spoilt the last picture, and the start those before the first keyframe.
                    let known = found.filter { wanted.contains($0.hash) }.count
                    try #require(known >= found.count - 5)
                }
            }
        }

        @Test("mpegts.js plays HTTP-FLV and WebSocket-FLV of an edge in Chromium")
        func chromium() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 60)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                let http = edge.flv("live/one")
                let screenshot = FileManager.default.temporaryDirectory.appendingPathComponent("weir-chromium.png")
                let report = try await Browser.play(
                    sandbox, [http, "ws" + http.dropFirst(4)], seconds: 8, screenshot: screenshot)
                try #require(report.players.count == 2)
                for player in report.players {
                    try #require(player.errors == [], "\(player.url)")
                    try #require(player.lastTime - player.firstTime > 2.5, "\(player.url)")
                    try #require(player.decodedFrames > 50, "\(player.url)")
                    try #require(player.width == 320, "\(player.url)")
                }
            }
        }
    }
}
