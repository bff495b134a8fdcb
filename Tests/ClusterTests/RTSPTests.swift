import Foundation
import Testing

extension ClusterNode {
    func rtsp(_ stream: String, user: String = "") -> String {
        "rtsp://\(user.isEmpty ? "" : user + "@")127.0.0.1:\(self.rtspPort)/\(stream)"
    }
}

extension ClusterTests {
    /// RTSP in and out, by TCP and UDP, on origin and edge, with FFmpeg and GStreamer.
    @Suite struct RTSPTests {
        private static func publish(
            _ sandbox: Sandbox, _ file: URL, to url: String, by transport: String, name: String = "publisher",
            loops: Bool = false
        ) throws -> Child {
            try sandbox.start(
                name, try Tools.ffmpeg,
                Media.quiet + ["-re"] + (loops ? ["-stream_loop", "-1"] : []) + [
                    "-i", file.path, "-map", "0", "-c", "copy", "-f", "rtsp", "-rtsp_transport", transport, url,
                ])
        }

        /// Plays the picture into a file of bare H.264, and the sound into `{name}.mka`, packets as they came.
        ///
        /// FFmpeg's reader knows no time of the first picture where pictures are out of order, so it cannot copy such
        /// streams into files that have times.
        static func play(
            _ sandbox: Sandbox, _ url: String, by transport: String, to name: String, picture: String = "h264"
        ) throws -> Recording {
            let file = sandbox.file(name)
            let child = try sandbox.start(
                "play-\(name)", try Tools.ffmpeg,
                Media.quiet + [
                    "-rtsp_transport", transport, "-i", url, "-map", "0:v", "-c", "copy", "-flush_packets", "1", "-y",
                    "-f", picture, file.path, "-map", "0:a", "-c", "copy", "-y", file.path + ".mka",
                ])
            return Recording(child: child, file: file)
        }

        @Test(
            "what is published by RTSP to an edge is played by RTSP everywhere, picture by picture",
            arguments: ["tcp", "udp"])
        func publishing(_ transport: String) async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", ["rtsp.ports": "23000-23099"])
                let edge = try await cluster.edge("edge", ["rtsp.ports": "23100-23199"])
                let publisher = try Self.publish(sandbox, source, to: edge.rtsp("live/one"), by: transport)
                let stream = try await origin.isLive("live/one")
                try #require(Set(stream.tracks.map(\.codec)) == ["h264", "aac"])
                var players: [Recording] = []
                for node in [origin, edge] {
                    for way in ["tcp", "udp"] {
                        players.append(
                            try Self.play(sandbox, node.rtsp("live/one"), by: way, to: "\(node.name)-\(way).h264"))
                    }
                }
                players.append(try Media.record(sandbox, edge.rtmp("live/one"), to: "rtmp.flv"))
                for player in players { try await player.records(250_000) }
                try #require(publisher.isRunning)
                let sound = Set(try await Media.packets(sandbox, source, map: ["0:a"]).map(\.hash))
                for player in players {
                    #expect(try await player.pictures(sandbox, of: source) > 75, "\(player.child.name)")
                    guard player.file.pathExtension == "h264" else { continue }
                    let file = URL(fileURLWithPath: player.file.path + ".mka")
                    let heard = try await Media.packets(sandbox, file, map: ["0:a"]).map(\.hash)
                    #expect(heard.count > 100 && heard.allSatisfy(sound.contains), "\(player.child.name)")
                }
            }
        }

        @Test("GStreamer publishes and plays, by TCP and UDP", arguments: ["tcp", "udp"])
        func gstreamer(_ transport: String) async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 30)
                let origin = try await Cluster.node("origin", role: "origin", ["rtsp.ports": "23200-23299"], sandbox)
                _ = try sandbox.start(
                    "gst-publisher", try Tools.command("gst-launch-1.0"),
                    [
                        "-q", "rtspclientsink", "name=s", "location=\(origin.rtsp("live/one"))",
                        "protocols=\(transport)", "filesrc", "location=\(source.path)", "!", "flvdemux", "name=d",
                        "d.video", "!", "queue", "!", "h264parse", "!", "s.", "d.audio", "!", "queue", "!",
                        "aacparse", "!", "s.",
                    ])
                let stream = try await origin.isLive("live/one")
                try #require(Set(stream.tracks.map(\.codec)) == ["h264", "aac"])
                let player = try await GStreamerPlayer.start(
                    sandbox, origin.rtsp("live/one"), by: transport, to: "played.ts"
                ) { file in
                    [
                        "r.", "!", "rtph264depay", "!", "h264parse", "!", "mpegtsmux", "!", "filesink",
                        "buffer-mode=unbuffered", "location=\(file.path)", "r.", "!", "rtpmp4gdepay", "!", "fakesink",
                    ]
                }
                try await player.grows(beyond: 100_000, within: .seconds(20))
                try await player.stop()
                let wanted = Set(try await Media.pictures(sandbox, source).map(\.hash))
                let found = try await Media.pictures(sandbox, player.file).map(\.hash).dropLast(2)
                try #require(found.count > 40 && found.allSatisfy(wanted.contains))
            }
        }

        @Test("accounts are asked for, a kicked player leaves, and SRS's API names both sides")
        func accounts() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 6)
                let origin = try await Cluster.node(
                    "origin", role: "origin",
                    ["stream.rtsp.publishers": "camera:one", "stream.rtsp.players": "guard:two"], sandbox)
                let stranger = try Self.publish(
                    sandbox, source, to: origin.rtsp("live/one"), by: "tcp", name: "stranger")
                try await stranger.wait(within: .seconds(15))
                try #require(stranger.ending != .exited(0))
                _ = try Self.publish(
                    sandbox, source, to: origin.rtsp("live/one", user: "camera:one"), by: "tcp", loops: true)
                try await origin.isLive("live/one")
                for user in ["", "guard:one", "camera:one"] {
                    let url = origin.rtsp("live/one", user: user)
                    let refused = try Self.play(sandbox, url, by: "tcp", to: "refused.h264")
                    try await refused.child.wait(within: .seconds(15))
                    try #require(refused.child.ending != .exited(0))
                }
                let url = origin.rtsp("live/one", user: "guard:two")
                let player = try Self.play(sandbox, url, by: "tcp", to: "played.h264")
                try await player.grows(beyond: 20_000)
                let clients = try await sandbox.request(origin.apiURL("/api/v1/clients")).json["clients"].array
                try #require(Set(clients.compactMap { $0["type"].string }) == ["rtsp-publish", "rtsp-play"])
                let viewer = try #require(clients.first { $0["type"].string == "rtsp-play" }?["id"].string)
                _ = try await sandbox.request(
                    origin.apiURL("/api/v1/clients/\(viewer)"), method: "DELETE")
                try await player.child.wait(within: .seconds(15))
            }
        }

        @Test(
            "FFmpeg and GStreamer publish and play HEVC, Opus and A-law, over TLS too, each picture and sound as it was",
            arguments: [("libx265", "libopus"), ("libx264", "pcm_alaw")])
        func codecs(_ video: String, _ audio: String) async throws {
            try await Sandbox.run { sandbox in
                let source = try await Self.makeSource(sandbox, video, audio)
                let isHEVC = video == "libx265"
                let port = try Sandbox.freePorts(1)[0]
                let origin = try await Cluster.node(
                    "origin", role: "origin", try await Self.tls(sandbox, port), sandbox)
                let secure = "rtsps://127.0.0.1:\(port)/live/ffmpeg"
                _ = try Self.publish(sandbox, source, to: secure, by: "tcp")
                _ = try sandbox.start(
                    "gst-publisher", try Tools.command("gst-launch-1.0"),
                    [
                        "-q", "rtspclientsink", "name=s", "location=\(origin.rtsp("live/gstreamer"))",
                        "protocols=tcp", "filesrc", "location=\(source.path)", "!", "matroskademux", "name=d",
                        "d.video_0", "!", "queue", "!", isHEVC ? "h265parse" : "h264parse", "!", "s.", "d.audio_0",
                        "!", "queue", "!",
                    ] + (isHEVC ? ["opusparse", "!", "s."] : ["s."]))
                let wanted = Set(isHEVC ? ["hevc", "opus"] : ["h264", "pcma"])
                let picture = isHEVC ? "hevc" : "h264"
                var players: [Recording] = []
                for name in ["ffmpeg", "gstreamer"] {
                    let stream = try await origin.isLive("live/\(name)", within: .seconds(20))
                    #expect(Set(stream.tracks.map(\.codec)) == wanted, "\(name)")
                    let url = origin.rtsp("live/\(name)")
                    players += [
                        try Self.play(sandbox, url, by: "tcp", to: "\(name)-ffmpeg.\(picture)", picture: picture),
                        try await Self.gstreamer(sandbox, url, isHEVC: isHEVC, to: "\(name)-gst.\(picture)"),
                    ]
                }
                players.append(
                    try Self.play(sandbox, secure, by: "tcp", to: "secure.\(picture)", picture: picture))
                for player in players { try await player.records(150_000, within: .seconds(30)) }
                let sound = Set(try await Media.packets(sandbox, source, map: ["0:a"]).map(\.hash))
                for player in players {
                    #expect(try await player.pictures(sandbox, of: source) > 40, "\(player.child.name)")
                    let file = URL(fileURLWithPath: player.file.path + ".mka")
                    let heard = try await Media.packets(sandbox, file, map: ["0:a"]).map(\.hash)
                    #expect(heard.count > 50 && heard.allSatisfy(sound.contains), "\(player.child.name)")
                }
            }
        }

        /// A short film without reordering, whose sound is cut as RTP cuts it.
        private static func makeSource(_ sandbox: Sandbox, _ video: String, _ audio: String) async throws -> URL {
            let file = sandbox.file("source-\(video).mkv")
            let sound = audio == "libopus" ? ["-ac", "2", "-b:a", "64k"] : ["-ac", "1", "-ar", "8000"]
            let options = video == "libx265" ? ["-x265-params", "bframes=0:keyint=50:log-level=error"] : ["-bf", "0"]
            _ = try await sandbox.run(
                try Tools.ffmpeg,
                Media.quiet + [
                    "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i",
                    "sine=frequency=440:sample_rate=48000", "-t", "25", "-c:v", video, "-preset", "ultrafast",
                    "-pix_fmt", "yuv420p", "-g", "50", "-b:v", "400k", "-c:a", audio,
                ] + options + sound + ["-y", file.path], within: .seconds(120))
            return file
        }

        static func tls(_ sandbox: Sandbox, _ port: Int) async throws -> [String: String] {
            let (certificate, key) = (sandbox.file("certificate.pem").path, sandbox.file("key.pem").path)
            _ = try await sandbox.run(
                try Tools.command("openssl"),
                [
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-keyout", key, "-out", certificate,
                ])
            return [
                "rtsp.tls.listen": "127.0.0.1:\(port)", "rtsp.tls.certificate": certificate, "rtsp.tls.key": key,
            ]
        }

        /// Plays with GStreamer, each track into a file of its own.
        private static func gstreamer(
            _ sandbox: Sandbox, _ url: String, isHEVC: Bool, to name: String
        ) async throws -> Recording {
            let (picture, codec) = isHEVC ? ("h265", "video/x-h265") : ("h264", "video/x-h264")
            let sound = isHEVC ? ["rtpopusdepay", "!", "opusparse"] : ["rtppcmadepay"]
            return try await GStreamerPlayer.start(sandbox, url, by: "tcp", to: name) { file in
                [
                    "r.", "!", "application/x-rtp,media=video", "!", "rtp\(picture)depay", "!", "\(picture)parse", "!",
                    "\(codec),stream-format=byte-stream", "!", "filesink", "buffer-mode=unbuffered",
                    "location=\(file.path)", "r.", "!", "application/x-rtp,media=audio", "!",
                ] + sound + ["!", "matroskamux", "!", "filesink", "location=\(file.path).mka"]
            }
        }

        @Test("a client that knows SHA-256 alone, and one that knows MD5 alone, prove who they are")
        func digests() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 6)
                let origin = try await Cluster.node(
                    "origin", role: "origin", ["stream.rtsp.players": "guard:two"], sandbox)
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), loops: true)
                try await origin.isLive("live/one")
                let report = try await sandbox.report(
                    "digest", Self.digest, ["\(origin.rtspPort)"], within: .seconds(20))
                for (algorithm, password, status) in [
                    ("SHA-256", "two", 200), ("MD5", "two", 200), ("SHA-256", "one", 401), ("MD5", "one", 401),
                ] {
                    #expect(report["\(algorithm) \(password)"].int == status, "\(report)")
                }
                // What is no RTSP ends its own connection alone.
                #expect(report["garbage"].string == "closed" && report["after"].int == 200, "\(report)")
            }
        }

        /// Asks for a description by either digest, with the right password and a wrong one, and sends garbage.
        private static let digest = #"""
            import hashlib, json, os, re, socket, sys

            port = int(sys.argv[1])
            url = f"rtsp://127.0.0.1:{port}/live/one"
            result = {}


            def connect():
                connection = socket.create_connection(("127.0.0.1", port))
                connection.settimeout(8)
                return connection


            def ask(connection, number, lines=""):
                connection.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: {number}\r\n{lines}\r\n".encode())
                data = b""
                while b"\r\n\r\n" not in data:
                    more = connection.recv(65536)
                    if not more:
                        break
                    data += more
                head = data.split(b"\r\n\r\n")[0].decode()
                return int(head.split()[1]), head


            def describe(algorithm, make, password):
                connection = connect()
                status, head = ask(connection, 1)
                assert status == 401, head
                offers = [line for line in head.split("\r\n") if "Digest" in line]
                # MD5 is what is meant where none is named. Spec: RFC 7616 §3.3.
                named = lambda line: (re.search(r"algorithm=([\w-]+)", line) or [None, "MD5"])[1]
                offer = next(line for line in offers if named(line) == algorithm)
                field = lambda name: re.search(name + r'="([^"]*)"', offer).group(1)
                digest = lambda text: make(text.encode()).hexdigest()
                first = digest(f"guard:{field('realm')}:{password}")
                second = digest(f"DESCRIBE:{url}")
                nonce, words = field("nonce"), f'username="guard", realm="{field("realm")}", nonce="{field("nonce")}", uri="{url}"'
                if "qop=" in offer:
                    client = os.urandom(8).hex()
                    response = digest(f"{first}:{nonce}:00000001:{client}:auth:{second}")
                    words += f', qop=auth, nc=00000001, cnonce="{client}"'
                else:
                    response = digest(f"{first}:{nonce}:{second}")
                lines = f'Authorization: Digest {words}, algorithm={algorithm}, response="{response}"\r\n'
                return ask(connection, 2, lines)[0]


            for algorithm, make in (("SHA-256", hashlib.sha256), ("MD5", hashlib.md5)):
                for password in ("two", "one"):
                    result[f"{algorithm} {password}"] = describe(algorithm, make, password)

            other = connect()
            connection = connect()
            connection.sendall(b"\x16\x03\x01" + bytes(range(256)) * 300)
            try:
                while connection.recv(65536):
                    pass
            except OSError as error:
                assert not isinstance(error, TimeoutError), "still open"
            result["garbage"] = "closed"
            result["after"] = 200 if ask(other, 1)[0] == 401 and describe("MD5", hashlib.md5, "two") == 200 else 0
            print(json.dumps(result))
            """#
    }
}
