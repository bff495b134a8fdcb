import Foundation
import Testing

extension ClusterTests {
    /// Sessions as both APIs list them, and their ends.
    @Suite struct SessionTests {
        /// A publisher on an origin, and a viewer of each kind on an edge, all through a relay that counts.
        private struct Scene {
            let origin: ClusterNode
            let edge: ClusterNode
            let relay: CountingRelay
            let publisher: Child
            /// RTMP, FLV and HLS, as the ports of the relay from 1 on.
            let viewers: [Child]
        }

        private static let types = ["rtmp-play", "flv-play", "hls-play"]
        private static let settings = ["stream.hls.segment_duration": "2s"]

        private static func scene(_ sandbox: Sandbox) async throws -> Scene {
            let source = try await Media.makeSource(sandbox, seconds: 60, group: 25)
            let cluster = try await Cluster(sandbox)
            let origin = try await cluster.origin("origin", Self.settings)
            let edge = try await cluster.edge("edge", Self.settings)
            let relay = try await CountingRelay(
                sandbox, targets: [origin.rtmpPort, edge.rtmpPort, edge.httpPort, edge.httpPort])
            let publisher = try Media.publish(sandbox, source, to: relay.rtmp(0, "live/one?key=hidden-in-lists"))
            // At the origin, so that who looks there is no viewer of the edge.
            try await HLSTests.isPlayable(sandbox, origin, "live/one", segments: 2)
            let rtmp = try Media.record(sandbox, relay.rtmp(1, "live/one"), to: "rtmp.flv")
            let flv = try Media.download(
                sandbox, relay.http(2, "live/one.flv"), to: "http.flv", options: ["-A", "tests/1.0"])
            let hls = try sandbox.start(
                "hls", try Tools.ffmpeg,
                Media.quiet + ["-re", "-i", relay.http(3, "live/one.m3u8"), "-c", "copy", "-f", "null", "-"])
            return Scene(
                origin: origin, edge: edge, relay: relay, publisher: publisher, viewers: [rtmp.child, flv.child, hls])
        }

        /// Says whether a count that grows was right at some moment between two looks at what was carried.
        private static func isNear(_ bytes: Int?, _ before: Int, _ after: Int) -> Bool {
            guard let bytes, before > 100_000 else { return false }
            return Double(bytes) >= Double(before) * 0.98 && Double(bytes) <= Double(after) * 1.02
        }

        @Test("both APIs list publisher and viewers with their kinds; bytes are those that went through the network")
        func lists() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Self.scene(sandbox)
                let publisher = try await scene.origin.client("fmle-publish", of: "one", sandbox)
                #expect(publisher["publish"].bool == true)
                #expect(publisher["ip"].string == "127.0.0.1")
                #expect(publisher["url"].string == "/live/one")
                for type in Self.types { _ = try await scene.edge.client(type, of: "one", sandbox) }
                try await Task.sleep(for: .seconds(12))
                for (index, type) in Self.types.enumerated() {
                    let before = try await scene.relay.counts[index + 1]
                    let found = try await scene.edge.client(type, of: "one", sandbox)
                    let after = try await scene.relay.counts[index + 1]
                    #expect(
                        Self.isNear(found["send_bytes"].int, before.toClient, after.toClient),
                        "\(type): \(found["send_bytes"]) of \(before.toClient)…\(after.toClient)")
                    #expect(found["publish"].bool == false)
                    #expect((found["alive"].number ?? 0) > 11)
                    #expect((found["kbps"]["send_30s"].int ?? 0) > 100, "\(found)")
                }
                let before = try await scene.relay.counts[0]
                let found = try await scene.origin.client("fmle-publish", of: "one", sandbox)
                let after = try await scene.relay.counts[0]
                #expect(
                    Self.isNear(found["recv_bytes"].int, before.toServer, after.toServer),
                    "publisher: \(found["recv_bytes"]) of \(before.toServer)…\(after.toServer)")
                try await Self.checkOwnList(sandbox, scene)
                try await Self.checkSums(sandbox, scene)
                for node in [scene.origin, scene.edge] {
                    for path in ["/api/v1/clients", "/api/v1/streams", "/api/v2/sessions", "/api/v2/streams"] {
                        let text = try await node.api(path, in: sandbox).text
                        #expect(!text.contains("hidden-in-lists"), "\(node.name)\(path)")
                    }
                    #expect(!node.child.text.contains("hidden-in-lists"), "\(node.name)'s log")
                }
            }
        }

        /// The same sessions in `/api/v2/sessions`, all at once, by filters and by pages.
        private static func checkOwnList(_ sandbox: Sandbox, _ scene: Scene) async throws {
            let clients = try await scene.edge.clients(sandbox)
            let list = try await scene.edge.api("/api/v2/sessions?key=live/one", in: sandbox).json
            let sessions = list["sessions"].array
            #expect(list["total"].int == clients.count)
            #expect(Set(sessions.compactMap(\.["id"].string)) == Set(clients.compactMap(\.["id"].string)))
            #expect(sessions.compactMap(\.["transport"].string).sorted() == ["hls", "http-flv", "rtmp"])
            #expect(sessions.allSatisfy { $0["kind"].string == "play" && $0["key"].string == "live/one" })
            #expect(sessions.contains { $0["userAgent"].string == "tests/1.0" })
            for transport in ["hls", "http-flv", "rtmp"] {
                let some = try await scene.edge.api("/api/v2/sessions?transport=\(transport)", in: sandbox).json
                #expect(some["sessions"].array.count == 1 && some["total"].int == 1, "\(transport)")
            }
            for filter in ["kind=publish", "ip=192.0.2.1", "key=live/two", "app=other"] {
                let none = try await scene.edge.api("/api/v2/sessions?\(filter)", in: sandbox).json
                #expect(none["sessions"] == .array([]) && none["total"].int == 0, "\(filter)")
            }
            var pages: [String] = []
            var after = ""
            while let next = try await scene.edge.api("/api/v2/sessions?limit=1&after=\(after)", in: sandbox).json
                .members["next"]?.string, pages.count < 10
            {
                pages.append(next)
                after = next
            }
            #expect(pages == Array(sessions.compactMap(\.["id"].string).sorted().prefix(pages.count)))
            #expect(pages.count == sessions.count - 1)
            for query in ["limit=0", "limit=many", "kind=other", "key=nothing"] {
                #expect(try await scene.edge.api("/api/v2/sessions?\(query)", in: sandbox).status == 400, "\(query)")
            }
            let publisher = try await scene.origin.api("/api/v2/sessions?kind=publish", in: sandbox).json["sessions"][0]
            #expect(publisher["query"].string == "key=***", "\(publisher)")
        }

        /// A stream's bytes are those of its sessions: read before and after these, because all of them grow.
        private static func checkSums(_ sandbox: Sandbox, _ scene: Scene) async throws {
            for node in [scene.origin, scene.edge] {
                let path = "/api/v1/streams?count=100"
                let before = try await node.api(path, in: sandbox).json["streams"][0]
                let clients = try await node.clients(sandbox)
                let after = try await node.api(path, in: sandbox).json["streams"][0]
                #expect(before["clients"].int == clients.count, "\(node.name): \(before)")
                for field in ["send_bytes", "recv_bytes"] {
                    let sum = clients.reduce(0) { $0 + ($1[field].int ?? 0) }
                    // What a connection moved before it published or played is the connection's alone.
                    let slack = 8_192 * clients.count
                    #expect(
                        (before[field].int ?? .max) <= sum + slack && sum <= (after[field].int ?? 0) + slack,
                        "\(node.name) \(field): \(before[field]), \(sum), \(after[field])")
                }
            }
        }

        @Test("DELETE ends exactly the session that it names, and each kind is told in its own way")
        func kicks() async throws {
            try await Sandbox.run { sandbox in
                let scene = try await Self.scene(sandbox)
                var ids: [String: String] = [:]
                for type in Self.types {
                    ids[type] = try await scene.edge.client(type, of: "one", sandbox)["id"].string
                }
                let publisher = try await scene.origin.client("fmle-publish", of: "one", sandbox)
                let agent = try await scene.edge.api("/api/v2/sessions?transport=hls", in: sandbox)
                    .json["sessions"][0]["userAgent"].string

                for (path, status, code) in [
                    ("/api/v1/clients/nobody", 200, 2_049), ("/api/v2/sessions/nobody", 404, nil),
                ] as [(String, Int, Int?)] {
                    let reply = try await scene.edge.api(path, method: "DELETE", in: sandbox)
                    #expect(reply.status == status && reply.json["code"].int == code, "\(reply)")
                }
                for (index, type) in Self.types.enumerated() {
                    let id = try #require(ids[type])
                    let path = index == 1 ? "/api/v2/sessions/\(id)" : "/api/v1/clients/\(id)"
                    let reply = try await scene.edge.api(path, method: "DELETE", in: sandbox)
                    #expect(reply.status == (index == 1 ? 204 : 200), "\(reply)")
                    if index != 1 { #expect(reply.json["code"].int == 0) }
                    try await until("the \(type) is gone", within: .seconds(5)) {
                        try await !scene.edge.clients(sandbox).contains { $0["id"].string == id }
                    }
                    let rest = try await scene.edge.clients(sandbox).compactMap(\.["id"].string)
                    #expect(Set(rest) == Set(Self.types.dropFirst(index + 1).compactMap { ids[$0] }), "\(type)")
                    if type != "hls-play" { try await scene.viewers[index].wait(within: .seconds(5)) }
                    for viewer in scene.viewers[(index + 1)...] { #expect(viewer.isRunning, "\(viewer.name)") }
                }
                let refused = try await sandbox.request(
                    scene.edge.http("live/one.m3u8"), options: ["-A", try #require(agent)])
                #expect(refused.status == 403 && refused.json["status"].int == 403, "\(refused)")
                #expect(try await sandbox.request(scene.edge.http("live/one.m3u8")).status == 200)

                #expect(scene.publisher.isRunning)
                let id = try #require(publisher["id"].string)
                #expect(
                    try await scene.origin.api("/api/v1/clients/\(id)", method: "DELETE", in: sandbox).status == 200)
                try await scene.publisher.wait(within: .seconds(5))
                #expect(scene.publisher.text.contains("ended by the operator"), "\(scene.publisher.text)")
                try await until("the stream is over", within: .seconds(20)) {
                    try await scene.origin.stream("live/one")?.state != "live"
                }
            }
        }
    }
}
