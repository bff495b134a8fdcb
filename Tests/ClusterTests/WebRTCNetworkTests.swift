import Foundation
import Glibc
import Testing

extension ClusterTests {
    /// WebRTC over networks that lose, delay and change, and clients that vanish.
    @Suite struct WebRTCNetworkTests {
        @Test("sessions begin although 30 % of all datagrams are lost")
        func handshake() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Scene(sandbox)
                for relay in [scene.up, scene.down] { try await relay.set(["loss": 0.3]) }
                let pages = try WebRTCPages.open(
                    sandbox,
                    (1...2).map { .publish("publish-\($0)", scene.origin, "live/\($0)", relay: scene.up.port) })
                for number in 1...2 {
                    // Who asks before the first keyframe has come through gets an answer without a picture.
                    try await until("live/\(number) has a picture", within: .seconds(20)) {
                        (try await scene.origin.stream("live/\(number)")?.videoFrames ?? 0) > 0
                    }
                    try pages.add(
                        .play("play-\(number)", scene.edge, "live/\(number)", relay: scene.down.port))
                }
                for name in ["publish-1", "publish-2", "play-1", "play-2"] {
                    let look = try await pages.page(name, "is connected", within: .seconds(20)) { $0.connected != nil }
                    print("\(name): connected after \(look.connected ?? -1) ms")
                    #expect((look.connected ?? .infinity) < 10_000, "\(name)")
                }
                for name in ["play-1", "play-2"] {
                    let look = try await pages.isMoving(name, frames: 10)
                    #expect(look.broken == 0, "\(name)")
                }
                #expect((try await scene.up.set()["lost"].int ?? 0) > 50)
            }
        }

        @Test(
            "5 % loss, jitter and doubles of a publisher break no frame; after a second of nothing the picture returns",
            arguments: ["h264", "vp9"])
        func loss(codec: String) async throws {
            try await Sandbox.run { sandbox in
                let isRecorded = codec == "h264"
                let scene = try await Scene(
                    sandbox, ["stream.dvr.enabled": "\(isRecorded)", "stream.publish.grace": "1s"])
                let pages = try await scene.pages(video: codec)
                try await pages.isMoving("play")
                let file = try Media.download(
                    sandbox, scene.edge.flv("live/one"), to: "lossy.flv", options: ["-m", "7"])
                try await file.grows()
                try await scene.up.set(["loss": 0.05, "jitter": 50, "double": 0.02])
                try pages.tell(.reset("play"))
                let before = try #require(try pages.look()["play"])
                try await Task.sleep(for: .seconds(6))
                let counts = try await scene.up.set(["loss": 0, "jitter": 0, "double": 0])
                #expect((counts["lost"].int ?? 0) > 10 && (counts["doubled"].int ?? 0) > 2, "\(counts)")
                let after = try #require(try pages.look()["play"])
                #expect(after.frames > before.frames + 60 && after.broken == 0, "\(after)")
                try await file.child.wait(within: .seconds(10))
                try await Self.decodes(sandbox, file.file.path)

                guard isRecorded else { return }
                for (name, relay) in [("publisher", scene.up), ("viewer", scene.down)] {
                    try await pages.isMoving("play", frames: 10)
                    try pages.tell(.reset("play"))
                    try await Task.sleep(for: .milliseconds(500))
                    try await relay.set(["dark": 1])
                    try await Task.sleep(for: .seconds(2.5))
                    let look = try await pages.isMoving("play", frames: 10)
                    print("\(codec), the \(name) was cut off for 1 s: \(look.longestGap) ms without a frame")
                    // What a viewer has buffered goes on.
                    #expect((300...2_200).contains(look.longestGap), "\(name)")
                    #expect(look.broken == 0, "\(name)")
                }
                try pages.tell(.close("publish"))
                for recording in try await scene.origin.finishes("live/one", count: 1, within: .seconds(20)) {
                    try await Self.decodes(sandbox, recording.path)
                }
            }
        }

        /// Decodes all of a file, and takes no excuse.
        private static func decodes(_ sandbox: Sandbox, _ path: String) async throws {
            let child = try sandbox.start(
                "decode", try Tools.newFFmpeg,
                Media.quiet + [
                    "-xerror", "-err_detect", "explode", "-i", path, "-map", "0", "-fps_mode", "passthrough",
                    "-enc_time_base", "1:90000", "-f", "null", "-",
                ])
            let ending = try await child.wait(within: .seconds(30))
            #expect(ending == .exited(0) && child.text == "", "\(path): \(child.text)")
        }

        @Test("publishing and playing go on when a client's address changes")
        func moves() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Scene(sandbox)
                let pages = try await scene.pages()
                for (name, relay, node) in [("play", scene.down, scene.edge), ("publish", scene.up, scene.origin)] {
                    try await pages.isMoving("play", frames: 10)
                    let id = try #require(try pages.look()[name]?.resource?.split(separator: "/").last)
                    try pages.tell(.reset("play"))
                    try await Task.sleep(for: .milliseconds(500))
                    try await relay.set(["move": 1])
                    try await until("the node sees the new address of the \(name)er", within: .seconds(8)) {
                        let found = try await sandbox.request(node.http("rtc/v1/diagnose/\(id)")).json
                        return found["ice"]["pathChanges"].int == 1
                    }
                    let look = try await pages.isMoving("play", frames: 25)
                    print("\(name): the address changed, \(look.longestGap) ms without a frame")
                    // Browsers check their connection every 2.5 s; a player sends little else that would tell.
                    #expect(look.longestGap < 4_000 && look.broken == 0, "\(name)")
                    #expect(look.state == "connected")
                }
            }
        }

        @Test("sessions that end in any way, silence included, leave nothing")
        func ends() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Scene(sandbox, ["rtc.consent_timeout": "5s"])
                let pages = try await scene.pages()
                try pages.add(.play("closed", scene.edge, "live/one"))
                try pages.add(.play("deleted", scene.edge, "live/one"))
                try pages.add(.play("kicked", scene.edge, "live/one"))
                for name in ["play", "closed", "deleted", "kicked"] { try await pages.isMoving(name, frames: 5) }
                let silent = try (0..<4).map { _ in
                    try WebRTCClients.startAiortc(sandbox, play: scene.edge.http("live/one/whep"), seconds: 60)
                }
                try await Self.has(scene.edge, sandbox, sessions: 8)
                let ids = try await scene.edge.clients(sandbox).compactMap(\.["id"].string)

                // Those that say so are gone at once.
                try pages.tell(.close("closed"))
                try await Self.has(scene.edge, sandbox, sessions: 7, within: .seconds(4))
                let resource = try #require(try pages.look()["deleted"]?.resource)
                let path = try #require(URL(string: resource)).path
                let url = scene.edge.http(String(path.dropFirst()))
                #expect(try await sandbox.request(url, method: "DELETE").status == 200)
                try await Self.has(scene.edge, sandbox, sessions: 6, within: .seconds(2))
                #expect(try await sandbox.request(url, method: "DELETE").status == 404)
                let kicked = try #require(try pages.look()["kicked"]?.resource?.split(separator: "/").last)
                let account = try await sandbox.request(scene.edge.http("rtc/v1/diagnose/\(kicked)")).json["account"]
                let id = try #require(account.string)
                #expect(ids.contains(id))
                #expect(try await scene.edge.send("DELETE", "/api/v2/sessions/\(id)") == 204)
                try await Self.has(scene.edge, sandbox, sessions: 5, within: .seconds(2))

                for child in silent { child.destroy() }
                let silence = ContinuousClock.now
                try await Self.has(scene.edge, sandbox, sessions: 1, within: .seconds(12))
                #expect(ContinuousClock.now - silence > .seconds(3))
                pages.child.destroy()
                for node in [scene.origin, scene.edge] {
                    try await Self.has(node, sandbox, sessions: 0, within: .seconds(12))
                }
            }
        }

        /// Waits until the gauges say that a node has so many sessions of clients.
        private static func has(
            _ node: ClusterNode, _ sandbox: Sandbox, sessions: Int, within limit: Duration = .seconds(15)
        ) async throws {
            var found: [String: Int] = [:]
            try await until(
                "\(node.name) has \(sessions) sessions, not \(found)", within: limit, every: .milliseconds(100)
            ) {
                let text = try await node.api("/metrics", in: sandbox).text
                for name in ["weir_publishers", #"weir_players{transport="webrtc"}"#] {
                    let line = text.split(separator: "\n").first { $0.hasPrefix("\(name) ") }
                    found[name] = line?.split(separator: " ").last.flatMap { Int($0) }
                }
                return found.count == 2 && found.values.reduce(0, +) == sessions
            }
        }
    }
}

extension ClusterTests.WebRTCNetworkTests {
    /// An origin, an edge, and a bad network before each.
    fileprivate struct Scene {
        let sandbox: Sandbox
        let origin: ClusterNode
        let edge: ClusterNode
        let up: DatagramRelay
        let down: DatagramRelay

        init(_ sandbox: Sandbox, _ settings: [String: String] = [:]) async throws {
            let cluster = try await Cluster(sandbox)
            self.sandbox = sandbox
            self.origin = try await cluster.origin("origin", settings)
            self.edge = try await cluster.edge("edge", settings)
            self.up = try await DatagramRelay(sandbox, to: self.origin.webRTCPort)
            self.down = try await DatagramRelay(sandbox, to: self.edge.webRTCPort)
        }

        /// A page that publishes and one that plays, through the relays.
        func pages(video: String = "vp8") async throws -> WebRTCPages {
            try WebRTCPages.open(
                self.sandbox,
                [
                    .publish("publish", self.origin, "live/one", video: video, relay: self.up.port),
                    .play("play", self.edge, "live/one", relay: self.down.port),
                ])
        }
    }
}
