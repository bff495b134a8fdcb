import Foundation
import Testing

extension ClusterTests {
    /// SRT through origin and edge, with the clients that there are.
    @Suite struct SRTTests {
        @Test("what comes to an edge by SRT is played by SRT, RTMP and HTTP-FLV on both nodes, picture by picture")
        func throughEdge() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 24)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let publisher = try SRTClients.publish(
                    sandbox, source, to: SRTClients.url(edge.srtPort, "#!::r=live/one,m=publish"))
                let stream = try await origin.isLive("live/one")
                #expect(stream.tracks.map(\.codec) == ["h264", "aac"])
                let players = [
                    try SRTClients.record(sandbox, SRTClients.url(origin.srtPort, "live/one"), to: "origin.ts"),
                    try SRTClients.record(sandbox, SRTClients.url(edge.srtPort, "#!::r=live/one"), to: "edge.ts"),
                    try Media.record(sandbox, edge.rtmp("live/one"), to: "edge.flv"),
                    try Media.download(sandbox, origin.flv("live/one"), to: "origin.flv"),
                ]
                for player in players { try await player.grows(beyond: 20_000) }
                let client = try await edge.client("srt-play", of: "one", sandbox)
                #expect((client["send_bytes"].int ?? 0) > 0 && client["ip"].string == "127.0.0.1", "\(client)")
                let ingest = try await edge.client("srt-publish", of: "one", sandbox)
                #expect((ingest["recv_bytes"].int ?? 0) > 0, "\(ingest)")
                for player in players { try await player.records(300_000) }
                try #require(publisher.isRunning)
                for player in players {
                    #expect(try await player.pictures(sandbox, of: source) > 100, "\(player.child.name)")
                }
            }
        }

        @Test("5 % of loss and 100 ms of jitter break no picture at 300 ms of latency, on the way in and out")
        func lossy() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 22, group: 25)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let relay = try await DatagramRelay(sandbox, to: origin.srtPort)
                // On the way out the receiver is a server, too: other players show what they have of a picture.
                let url = "srt://127.0.0.1:\(relay.port)?streamid=#!::r=live/one&latency=300"
                let far = try await Cluster.node("far", role: "origin", ["srt.pulls": "live/far=\(url)"], sandbox)
                try await relay.set(["loss": 0.05, "jitter": 100])
                let publisher = try SRTClients.publish(
                    sandbox, source, to: SRTClients.url(relay.port, "#!::r=live/one,m=publish", latency: 300))
                try await origin.isLive("live/one")
                try await far.isLive("live/far")
                let players = [
                    try SRTClients.record(sandbox, SRTClients.url(origin.srtPort, "live/one"), to: "near.ts"),
                    try SRTClients.record(sandbox, SRTClients.url(far.srtPort, "live/far"), to: "far.ts"),
                ]
                for player in players { try await player.records(400_000) }
                try #require(publisher.isRunning)
                for player in players {
                    let (count, missing) = try await player.intactPictures(sandbox, of: source)
                    print("\(player.child.name): \(count) pictures, \(missing) that came too late")
                    // What cannot be repaired in time costs pictures up to the next keyframe.
                    #expect(count > 80 && missing < count, "\(player.child.name)")
                }
                let counts = try await relay.set()
                #expect((counts["lost"].int ?? 0) > 50, "\(counts)")
            }
        }

        @Test("srt-live-transmit, GStreamer and VLC play what ffmpeg publishes; packets pass as they came where so set")
        func clients() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 30)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", ["stream.srt.passthrough": "true"])
                let edge = try await cluster.edge()
                let publisher = try SRTClients.publish(
                    sandbox, source, to: SRTClients.url(origin.srtPort, "#!::r=live/one,m=publish"))
                try await origin.isLive("live/one")
                let passed = try SRTClients.transmit(sandbox, origin.srtPort, "live/one", to: "passed.ts")
                let players = [
                    try SRTClients.transmit(sandbox, edge.srtPort, "live/one", to: "transmitted.ts"),
                    try SRTClients.gstreamer(sandbox, edge.srtPort, "live/one", to: "gstreamer.ts"),
                ]
                let vlc = try VLC.record(
                    sandbox, "srt://127.0.0.1:\(edge.srtPort)", to: "vlc", options: ["--streamid=live/one"])
                for player in players + [passed, vlc] { try await player.records(300_000) }
                try #require(publisher.isRunning)
                for player in players {
                    #expect(try await player.pictures(sandbox, of: source) > 80, "\(player.child.name)")
                }
                // What VLC writes leaves out a picture at its start now and then; none may be broken.
                let wanted = Set(try await Media.pictures(sandbox, source).map(\.hash))
                let shown = try await Media.pictures(sandbox, vlc.file).map(\.hash).dropLast(4)
                #expect(shown.count > 80 && wanted.isSuperset(of: shown), "\(shown.count)")
                // ffmpeg names itself in its tables, which nobody else does here.
                let names = try Data(contentsOf: passed.file).range(of: Data("FFmpeg".utf8))
                #expect(names != nil)
                #expect(try Data(contentsOf: players[0].file).range(of: Data("FFmpeg".utf8)) == nil)
            }
        }

        @Test(
            "who has no passphrase is turned away, and who has it is shown with the state of its path, and can be ended"
        )
        func secret() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 30)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin(
                    "origin", ["srt.key_length": "aes256", "stream.srt.passphrase": "correct-horse"])
                let plain = try SRTClients.publish(
                    sandbox, source, to: SRTClients.url(origin.srtPort, "#!::r=live/one,m=publish"), name: "plain")
                try await plain.wait(within: .seconds(15))
                let url = SRTClients.url(
                    origin.srtPort, "#!::r=live/one,m=publish", options: "&passphrase=correct-horse&pbkeylen=32")
                let publisher = try SRTClients.publish(sandbox, source, to: url)
                try await origin.isLive("live/one")
                let id = try #require(try await origin.client("srt-publish", of: "one", sandbox)["id"].string)
                try await until("the path is known", within: .seconds(5)) {
                    let session = try await origin.api("/api/v2/sessions/\(id)", in: sandbox).json
                    return (session["path"]["receivedPackets"].int ?? 0) > 0
                }
                let metrics = try await origin.api("/metrics", in: sandbox).text.split(separator: "\n")
                func value(_ name: String) -> Int? {
                    metrics.first { $0.hasPrefix("\(name) ") }.flatMap { Int($0.dropFirst(name.count + 1)) }
                }
                #expect(value("weir_srt_connections") == 1)
                #expect(value(#"weir_srt_packets_total{kind="received"}"#) ?? 0 > 0)
                let reply = try await origin.api("/api/v1/clients/\(id)", method: "DELETE", in: sandbox)
                #expect(reply.status == 200, "\(reply)")
                try await publisher.wait(within: .seconds(10))
            }
        }

        @Test("two servers call each other: one fetches, is sent to, meets a peer half way, and lets itself be called")
        func calls() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let ports = try Sandbox.freePorts(3)
                let far = try await Cluster.node("far", role: "origin", [:], sandbox)
                let near = try await Cluster.node(
                    "near", role: "origin",
                    [
                        // Commas separate the entries of a list.
                        "srt.pulls": [
                            "live/fetched=srt://127.0.0.1:\(far.srtPort)?streamid=#!::r=live/one",
                            "live/met=srt://127.0.0.1:\(ports[0])?mode=rendezvous&localport=\(ports[1])&latency=200",
                            "live/called=srt://127.0.0.1:\(ports[2])?mode=listener&passphrase=correct-horse",
                        ].joined(separator: ","),
                        "stream.srt.push":
                            "srt://127.0.0.1:\(far.srtPort)?streamid=#!::r=sent/[stream]%2Cm=publish&latency=100",
                    ], sandbox)
                _ = try SRTClients.publish(
                    sandbox, source, to: SRTClients.url(far.srtPort, "#!::r=live/one,m=publish"))
                _ = try SRTClients.publish(
                    sandbox, source,
                    to: "srt://127.0.0.1:\(ports[2])?passphrase=correct-horse&pkt_size=1316", name: "caller")
                _ = try SRTClients.meet(sandbox, source, at: ports[1], from: ports[0])
                for name in ["fetched", "met", "called"] {
                    let stream = try await near.isLive("live/\(name)", within: .seconds(15))
                    #expect(stream.tracks.map(\.codec) == ["h264", "aac"], "\(name)")
                }
                let sent = try await far.isLive("sent/fetched")
                #expect(sent.tracks.map(\.codec) == ["h264", "aac"])
                let player = try SRTClients.record(
                    sandbox, SRTClients.url(far.srtPort, "sent/fetched"), to: "sent.ts")
                try await player.records(200_000)
                #expect(try await player.pictures(sandbox, of: source) > 60)
            }
        }

        @Test("of several programs and languages those are read that are set, and the passphrase is the stream's own")
        func programs() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let other = try await Media.makeSource(sandbox, seconds: 20, name: "other.flv", size: "160x90")
                let node = try await Cluster.node(
                    "origin", role: "origin",
                    [
                        "stream.srt.program": "2", "stream.srt.audio": "deu",
                        "stream.srt.passphrases": "one=correct-horse",
                    ], sandbox)
                let url = SRTClients.url(
                    node.srtPort, "#!::r=live/one,m=publish", options: "&passphrase=correct-horse")
                _ = try sandbox.start(
                    "publisher", try Tools.ffmpeg,
                    Media.quiet + ["-re", "-i", source.path, "-re", "-i", other.path]
                        + ["-map", "0:v", "-map", "0:a", "-map", "1:v", "-map", "1:a", "-map", "0:a"]
                        + ["-c", "copy", "-c:a:2", "libmp3lame"]
                        + ["-metadata:s:a:1", "language=eng", "-metadata:s:a:2", "language=deu"]
                        + ["-program", "program_num=1:st=0:st=1", "-program", "program_num=2:st=2:st=3:st=4"]
                        + ["-f", "mpegts", url])
                let stream = try await node.isLive("live/one", within: .seconds(15))
                #expect(stream.tracks.map(\.codec) == ["h264", "mp3"])
                #expect(stream.tracks.first?.width == 160)
                let plain = try SRTClients.record(sandbox, SRTClients.url(node.srtPort, "live/one"), to: "plain.ts")
                try await plain.child.wait(within: .seconds(15))
                #expect(plain.size == 0)
            }
        }
    }
}
