import Foundation
import Glibc
import Testing

extension ClusterTests {
    /// Settings that are read again while streams play.
    @Suite struct ReloadTests {
        private struct Scene {
            let node: ClusterNode
            let file: URL
            let audience: Audience
        }

        /// An origin whose streams are set by a file, with a publisher and viewers.
        private static func scene(_ sandbox: Sandbox, _ text: String) async throws -> Scene {
            let file = try sandbox.write("origin.yaml", text)
            let node = try await Cluster.node(
                "origin", role: "origin", ["edge.missing_stream": "not_found"], sandbox,
                Launch(environment: ["WEIR_CONFIG": file.path]))
            let source = try await Media.makeSource(sandbox, seconds: 120, group: 25)
            _ = try Media.publish(sandbox, source, to: node.rtmp("live/one"))
            try await node.isLive("live/one")
            return Scene(node: node, file: file, audience: try await Audience(sandbox, "live/one", on: [node]))
        }

        private static func reload(_ scene: Scene, _ sandbox: Sandbox) async throws -> Reply {
            try await scene.node.api("/api/v2/reload", method: "POST", in: sandbox)
        }

        /// The status that a viewer gets who comes now.
        private static func status(_ scene: Scene, _ sandbox: Sandbox) async throws -> Int {
            try await sandbox.request(
                scene.node.flv("live/one"), options: ["-m", "2", "-o", "/dev/null"]
            ).status
        }

        @Test("a changed file counts for new sessions, by API and by SIGHUP; those that play keep their connections")
        func changes() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Self.scene(sandbox, "stream:\n  limits.viewers_per_stream: 0\n")
                let ids = Set(try await scene.node.clients(sandbox).compactMap(\.["id"].string))
                #expect(ids.count == 3)
                #expect(try await Self.status(scene, sandbox) == 200)

                try Data("stream:\n  access.play.deny: [127.0.0.1]\n".utf8).write(to: scene.file)
                #expect(try await Self.status(scene, sandbox) == 200)
                let reply = try await Self.reload(scene, sandbox)
                #expect(reply.status == 200 && reply.json["succeeded"].bool == true, "\(reply)")
                let changes = reply.json["result"]["changes"].array
                #expect(changes.count == 1, "\(changes)")
                #expect(changes.first?["key"].string == "stream.access.play.deny")
                #expect(changes.first?["old"].string == "" && changes.first?["new"].string == "127.0.0.1")
                #expect(changes.first?["effect"].string == "new_sessions")
                #expect(try await Self.status(scene, sandbox) == 403)
                try await scene.audience.keepsPlaying(for: .seconds(2), longestWait: .seconds(2))

                try Data("log.level: debug\nstream:\n  gop_cache: false\n".utf8).write(to: scene.file)
                scene.node.child.signal(SIGHUP)
                try await until("SIGHUP is obeyed", within: .seconds(5), every: .milliseconds(100)) {
                    try await Self.status(scene, sandbox) == 200
                }
                try await until("the log tells", within: .seconds(2)) {
                    scene.node.lines(with: "configuration reloaded").count == 2
                }
                #expect(scene.node.lines(with: "stream.gop_cache").count == 1)
                let settings = try await scene.node.api("/api/v2/settings", in: sandbox).text
                #expect(settings.contains("gop_cache: false") && settings.contains("level: debug"))
                // That the settings were asked for is worth a line of this level.
                #expect(scene.node.lines(with: " debug ").count > 0)
                try await scene.audience.keepsPlaying(for: .seconds(2), longestWait: .seconds(2))
                #expect(ids.isSubset(of: Set(try await scene.node.clients(sandbox).compactMap(\.["id"].string))))
            }
        }

        @Test("a wrong file changes nothing, and the answer names each mistake with its line")
        func mistakes() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Self.scene(sandbox, "stream:\n  gop_cache: true\n")
                let before = try await scene.node.api("/api/v2/settings", in: sandbox).text
                let mistakes: [(text: String, words: [String])] = [
                    (
                        "stream:\n  gop_cache: false\n  access.play.deny: [all]\n  gop_cash: true\n",
                        ["origin.yaml:4:", "stream.gop_cash", "gop_cache"]
                    ),
                    (
                        "stream:\n  access.play.deny: [all]\n  limits:\n    viewers_per_stream: many\n",
                        ["origin.yaml:4:", "stream.limits.viewers_per_stream", "many"]
                    ),
                    ("stream:\n  access.play.token: required\n", ["access.jwt"]),
                    ("stream: [\n", ["origin.yaml", "YAML"]),
                    (
                        "api.token: \"\"\napi.listen: 0.0.0.0:1\nstream.access.play.deny: [all]\nlog.level: loud\n",
                        ["origin.yaml:4:", "log.level"]
                    ),
                ]
                for (number, (text, words)) in mistakes.enumerated() {
                    try Data(text.utf8).write(to: scene.file)
                    let reply = try await Self.reload(scene, sandbox)
                    #expect(reply.status == 422 && reply.json["succeeded"].bool == false, "\(reply)")
                    let problems = reply.json["result"]["problems"].array.compactMap(\.string)
                    for word in words {
                        #expect(problems.contains { $0.contains(word) }, "\(number): \(word) in \(problems)")
                    }
                    #expect(reply.json["result"]["changes"] == .array([]))
                    scene.node.child.signal(SIGHUP)
                    try await until("SIGHUP is answered", within: .seconds(5)) {
                        scene.node.lines(with: "configuration not reloaded").count >= 2 * (number + 1)
                    }
                    #expect(try await Self.status(scene, sandbox) == 200, "\(number)")
                    #expect(try await scene.node.api("/api/v2/settings", in: sandbox).text == before, "\(number)")
                }
                try FileManager.default.removeItem(at: scene.file)
                #expect(try await Self.reload(scene, sandbox).status == 422)
                try await scene.audience.keepsPlaying(for: .seconds(1), longestWait: .seconds(2))
                let metrics = try await scene.node.api("/metrics", in: sandbox).text
                let counts = metrics.split(separator: "\n").filter { $0.hasPrefix("weir_re") }
                #expect(counts.contains("weir_ready 1"))
                #expect(counts.contains("weir_reloads_total{result=\"ok\"} 0"))
                #expect(!counts.contains("weir_reloads_total{result=\"failed\"} 0"))
            }
        }

        @Test("a change that only a restart brings is named, with what else changed, and has no effect until then")
        func restarts() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Self.scene(sandbox, "stream:\n  gop_cache: true\n")
                let secret = "a-secret-that-nobody-may-read-in-an-answer"
                try Data(
                    """
                    stream:
                      gop_cache: false
                      play.url_secret: \(secret)
                    rtmp.chunk_size: 4096
                    hooks.secret: \(secret)
                    """.utf8
                ).write(to: scene.file)
                let reply = try await Self.reload(scene, sandbox)
                #expect(reply.status == 200, "\(reply)")
                let effects = Dictionary(
                    reply.json["result"]["changes"].array.map { ($0["key"].string ?? "", $0["effect"].string ?? "") }
                ) { $1 }
                #expect(
                    effects == [
                        "stream.gop_cache": "new_sessions", "stream.play.url_secret": "new_sessions",
                        "rtmp.chunk_size": "restart", "hooks.secret": "restart",
                    ], "\(effects)")
                #expect(reply.json["message"].string?.contains("2") == true, "\(reply)")
                #expect(!reply.text.contains(secret) && !scene.node.child.text.contains(secret))
                #expect(scene.node.lines(with: "needs a restart").count == 2)
                #expect(try await Self.status(scene, sandbox) == 403)
                try await scene.audience.keepsPlaying(for: .seconds(1), longestWait: .seconds(2))
                // A second reload of the same file names what still waits, and only that.
                let again = try await Self.reload(scene, sandbox).json["result"]["changes"].array
                #expect(Set(again.compactMap(\.["key"].string)) == ["rtmp.chunk_size", "hooks.secret"])
            }
        }

        @Test("reloads that come together, while sessions come and go, leave the settings of the last file")
        func storms() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Self.scene(sandbox, "stream:\n  gop_cache: true\n")
                for round in 0..<5 {
                    let text = "stream:\n  gop_cache: \(round % 2 == 0)\n  limits.viewers_per_stream: \(100 + round)\n"
                    try Data(text.utf8).write(to: scene.file, options: .atomic)
                    try await withThrowingTaskGroup(of: Int.self) { group in
                        for _ in 0..<6 { group.addTask { try await Self.reload(scene, sandbox).status } }
                        for _ in 0..<4 { group.addTask { try await Self.status(scene, sandbox) } }
                        scene.node.child.signal(SIGHUP)
                        for try await status in group { #expect([200, 409].contains(status)) }
                    }
                }
                try await until("the last file counts", within: .seconds(5), every: .milliseconds(100)) {
                    try await scene.node.api("/api/v2/settings", in: sandbox).text.contains("viewers_per_stream: 104")
                }
                try await scene.audience.keepsPlaying(for: .seconds(1), longestWait: .seconds(2))
            }
        }
    }
}
