import Foundation
import Testing

extension ClusterTests {
    /// WebRTC through origin and edge, with the clients that there are.
    @Suite struct WebRTCTests {
        @Test(
            "Chromium publishes to the origin and another one plays from the edge, before and after a reload",
            arguments: [["h264", "vp8"], ["vp9", "av1"]])
        func codecs(codecs: [String]) async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let pages = try WebRTCPages.open(
                    sandbox,
                    codecs.map { .publish("publish-\($0)", origin, "live/\($0)", video: $0) }
                        + codecs.map { .play("play-\($0)", edge, "live/\($0)", browser: "two") })
                for codec in codecs {
                    var before = try await pages.isMoving("play-\(codec)")
                    #expect(before.codecs == ["video": codec, "audio": "opus"])
                    #expect(before.width == 320)
                    #expect(try pages.look()["publish-\(codec)"]?.codecs == ["video": codec, "audio": "opus"])
                    // Two gaps of 150 ms are what a browser that encodes and decodes beside others makes now and then.
                    let after = try await atBest {
                        before = try #require(try pages.look()["play-\(codec)"])
                        return try await pages.isMoving("play-\(codec)", frames: 50)
                    } isGood: {
                        $0.freezes <= before.freezes + 1
                    }
                    #expect(after.freezes <= before.freezes + 1)
                    #expect(after.samples > before.samples + 48_000)
                    #expect(after.broken == 0)
                    #expect(after.errors == [])
                    print("\(codec): first frame after \(after.firstFrame ?? -1) ms, delay \(after.delay ?? -1) ms")
                }
                let id = try await edge.client("rtc-play", of: codecs[0], sandbox)["id"].string
                try pages.tell(.reload("play-\(codecs[0])"))
                try await until("only the reloaded page plays", within: .seconds(10), every: .milliseconds(100)) {
                    let ids = try await edge.clients(sandbox).filter { $0["name"].string == codecs[0] }.map(\.["id"])
                    return ids.count == 1 && ids[0].string != id
                }
                try await pages.isMoving("play-\(codecs[0])")
            }
        }

        @Test("the pages publish a camera and play it; the API lists both with their bytes, and ends them")
        func pages() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let publisher = try WebRTCPages.open(
                    sandbox,
                    [
                        .init(
                            name: "form", kind: .page, base: origin.http(""),
                            url: origin.http("publish.html?source=camera&codec=vp8#live/camera"))
                    ])
                try await publisher.page("form", "is live") { $0.state == "Live" }
                try await origin.isLive("live/camera")
                let player = try PageDriver.open(
                    sandbox, [.init(name: "webrtc", url: edge.http("#live/camera?mode=webrtc"))])
                let first = try await player.page("webrtc", "plays", within: .seconds(30)) {
                    $0.state == "Playing" && $0.shot != nil
                }
                let second = try await player.page("webrtc", "moves") { page in
                    page.frames > first.frames && zip(page.shot ?? [], first.shot ?? []).contains { abs($0 - $1) > 20 }
                }
                #expect(second.playsBy == "WebRTC")
                #expect(second.errors == [] && second.foreign == [])

                for (node, type, field) in [(origin, "rtc-publish", "recv_bytes"), (edge, "rtc-play", "send_bytes")] {
                    let client = try await node.client(type, of: "camera", sandbox)
                    #expect((client[field].int ?? 0) > 50_000, "\(client)")
                    #expect(client["ip"].string == "127.0.0.1" && client["url"].string == "/live/camera", "\(client)")
                    let id = try #require(client["id"].string)
                    let reply = try await node.api("/api/v1/clients/\(id)", method: "DELETE", in: sandbox)
                    #expect(reply.status == 200, "\(reply)")
                    // The pages begin again by themselves, as others.
                    try await until("the \(type) is gone", within: .seconds(5)) {
                        try await !node.clients(sandbox).contains { $0["id"].string == id }
                    }
                }
                try await player.page("webrtc", "plays again", within: .seconds(30)) {
                    $0.state == "Playing" && $0.frames > 0
                }
            }
        }

        @Test("what came by WebRTC is played by RTMP, HTTP-FLV and HLS with AAC, G.711 included, and RTMP by WebRTC")
        func bridges() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try ClockPublisher.start(sandbox, to: origin.rtmp("live/rtmp"))
                try await origin.isLive("live/rtmp")
                let sounds = ["opus", "pcmu", "pcma"]
                let pages = try WebRTCPages.open(
                    sandbox,
                    sounds.map { .publish($0, origin, "live/\($0)", video: "h264", audio: $0) }
                        + ["rtmp", "pcma"].map { .play("play-\($0)", edge, "live/\($0)") })
                for name in ["rtmp", "pcma"] {
                    let look = try await pages.isMoving("play-\(name)", frames: 50)
                    #expect(look.codecs["video"] == "h264")
                    #expect(name == "rtmp" ? look.codecs["audio"] == "opus" : look.codecs["audio"] != nil)
                    #expect(look.samples > 24_000 && look.broken == 0, "\(look)")
                    print("\(name) by WebRTC: delay \(look.delay ?? -1) ms")
                }
                for sound in sounds {
                    try await HLSTests.isPlayable(sandbox, edge, "live/\(sound)", segments: 1)
                    let stream = "live/\(sound)"
                    for url in [edge.flv(stream), origin.rtmp(stream), edge.http("\(stream).m3u8")] {
                        let found = try await sandbox.run(
                            try Tools.ffprobe,
                            ["-v", "error", "-show_entries", "stream=codec_name,sample_rate", "-of", "csv=p=0", url])
                        #expect(found.contains("h264") && found.contains("aac,48000"), "\(url): \(found)")
                    }
                }
            }
        }

        @Test("sound without a picture, and a picture without sound, are played by those who ask for both")
        func singles() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let pages = try WebRTCPages.open(
                    sandbox,
                    [
                        .publish("sound", origin, "live/sound", video: "none"),
                        .publish("picture", origin, "live/picture", video: "vp8", audio: "none"),
                        .play("hear", edge, "live/sound"), .play("see", edge, "live/picture"),
                    ])
                try await pages.isMoving("see")
                let look = try await pages.page("hear", "is heard") { $0.samples > 48_000 }
                #expect(look.codecs == ["audio": "opus"] && look.errors == [], "\(look)")
            }
        }

        @Test("a picture that a stream did not have in the beginning is shown by the page, which asks anew")
        func late() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                let pages = try WebRTCPages.open(
                    sandbox,
                    [
                        .publish("sound", origin, "live/late", video: "none"),
                        .init(name: "play", kind: .page, base: "", url: edge.http("#live/late?mode=webrtc")),
                    ])
                let first = try await pages.page("play", "plays without a picture") { $0.posts == 1 }
                try await Task.sleep(for: .seconds(2))
                #expect(try pages.look()["play"]?.frames == 0)
                // The publisher comes back with a picture while the stream waits for it.
                try pages.tell(.close("sound"))
                try pages.add(.publish("picture", origin, "live/late", video: "vp8"))
                let look = try await pages.isMoving("play")
                #expect(look.posts == 2 && look.session != first.session && look.errors == [], "\(look)")
            }
        }

        @Test("aiortc, GStreamer and FFmpeg publish, and play what was published")
        func clients() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                func output(_ name: String) -> URL { sandbox.file("\(name).json") }
                _ = try WebRTCClients.startFFmpeg(sandbox, origin.http("live/ffmpeg/whip"), seconds: 45)
                _ = try WebRTCClients.startGStreamer(
                    sandbox, "publish", origin.http("live/gstreamer/whip"), seconds: 45, output: output("publisher"))
                for name in ["ffmpeg", "gstreamer"] { try await origin.isLive("live/\(name)") }
                var players: [String: Child] = [:]
                for codec in ["vp8", "h264"] {
                    players[codec] = try WebRTCClients.startAiortc(
                        sandbox, publish: origin.http("live/\(codec)/whip"), play: edge.http("live/\(codec)/whep"),
                        codec: codec, seconds: 12, output: output(codec))
                }
                for name in ["ffmpeg", "gstreamer"] {
                    players[name] = try WebRTCClients.startGStreamer(
                        sandbox, "play", edge.http("live/\(name)/whep"), seconds: 12, output: output(name))
                }
                var reports: [String: JSON] = [:]
                for (name, player) in players {
                    try await player.wait(within: .seconds(60))
                    reports[name] = try JSON(String(contentsOf: output(name), encoding: .utf8))
                }
                for name in ["vp8", "h264"] {
                    let report = try #require(reports[name])
                    #expect((report["frames"].int ?? 0) > 75, "\(name): \(report)")
                    #expect((480...520).contains(report["hertz"].int ?? 0), "\(name): \(report)")
                    #expect((0...2_000).contains(report["delay"].int ?? -1), "\(name): \(report)")
                }
                for name in ["ffmpeg", "gstreamer"] {
                    let report = try #require(reports[name])
                    #expect((report["video"].int ?? 0) > 25 && (report["audio"].int ?? 0) > 50, "\(name): \(report)")
                    #expect(report["errors"].array == [], "\(name): \(report)")
                }
            }
        }

        /// The medians of the delays that the pages tell in some seconds, in milliseconds.
        private static func medianDelays(_ pages: WebRTCPages, of names: [String]) async throws -> [Double] {
            var delays: [String: [Double]] = [:]
            for _ in 0..<12 {
                try await Task.sleep(for: .milliseconds(300))
                for (name, look) in try pages.look() {
                    delays[name, default: []] += [look.delay].compactMap(\.self)
                }
            }
            return names.map { name in
                let sorted = delays[name, default: []].sorted()
                return sorted.isEmpty ? .infinity : sorted[sorted.count / 2]
            }
        }

        @Test("the cluster adds little to what the browser itself needs, from the publisher's picture to the viewer's")
        func latency() async throws {
            try await Sandbox.run { sandbox in
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                // Without sound, which a browser delays by what it thinks best, and the picture with it.
                let publisher = WebRTCPages.Request.publish("publish", origin, "live/one", video: "vp8", audio: "none")
                var direct = WebRTCPages.Request(name: "direct", kind: .direct, base: origin.http(""), url: "")
                (direct.video, direct.audio) = ("vp8", "none")
                let names = ["direct", "origin", "edge"]
                let pages = try WebRTCPages.open(
                    sandbox,
                    [
                        publisher, direct, .play("origin", origin, "live/one"), .play("edge", edge, "live/one"),
                    ])
                for name in names { try await pages.isMoving(name) }
                let medians = try await atBest {
                    try await Self.medianDelays(pages, of: names)
                } isGood: {
                    $0[1] - $0[0] < 250 && $0[2] - $0[0] < 250
                }
                print("direct \(medians[0]) ms, by the origin \(medians[1]) ms, by the edge \(medians[2]) ms")
                #expect(medians[1] - medians[0] < 250 && medians[2] - medians[0] < 250)
            }
        }
    }
}
