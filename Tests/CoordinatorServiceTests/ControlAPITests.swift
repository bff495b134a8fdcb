import AsyncHTTPClient
import CoordinatorStore
import Foundation
import Media
import NIOCore
import NIOHTTP1
import Placement
import Testing

@testable import CoordinatorService

@Suite("control API", .timeLimit(.minutes(2)), .serialized) struct ControlAPITests {
    /// Runs `body` beside a coordinator that has started, with the URL of its API.
    func with(
        secret: String? = "the secret of the tests".replacingOccurrences(of: " ", with: "-"),
        change: @escaping @Sendable (inout CoordinatorConfiguration) -> Void = { _ in },
        _ body: (TestCoordinator, String) async throws -> Void
    ) async throws {
        let coordinator = try TestCoordinator(secret: secret) { configuration in
            configuration.nodeRequestMillis = 500
            change(&configuration)
        }
        try await coordinator.start()
        try await eventually("the recovery is over") { try await call(coordinator.url + "/readyz").status == 200 }
        do {
            try await body(coordinator, coordinator.url + "/api/v1/")
        } catch {
            await coordinator.stop()
            throw error
        }
        await coordinator.stop()
    }

    func key(_ name: String, app: String = "live") throws -> StreamKey { try StreamKey(app: app, name: name) }

    // MARK: Who may

    @Test("roles are held to, for each call of the API") func roles() async throws {
        try await self.with { coordinator, url in
            var secrets: [RouteAccess: String] = [.admin: TestCoordinator.adminToken, .node: coordinator.secret ?? ""]
            for role in [TokenRole.viewer, .operator] {
                let made = try await answer(
                    url + "tokens", method: .POST, body: "{\"name\":\"\(role)\",\"role\":\"\(role)\"}", headers: asAdmin
                )
                #expect(made.status == .created)
                let token = try made.decoded(as: NewToken.self)
                #expect(made.headers.first(name: "Location") == "/api/v1/tokens/\(token.token.id)")
                secrets[RouteAccess(rawValue: role.rawValue) ?? .none] = token.secret
            }
            let probes: [(RouteAccess, HTTPMethod, String)] = [
                (.viewer, .GET, "streams"), (.viewer, .GET, "whoami"), (.operator, .POST, "nodes/none/drain"),
                (.operator, .GET, "policies"), (.admin, .GET, "tokens"), (.node, .POST, "streams/claim"),
            ]
            let allowed: [RouteAccess: [RouteAccess]] = [
                .viewer: [.viewer], .operator: [.viewer, .operator], .admin: [.viewer, .operator, .admin],
                .node: [.viewer, .node],
            ]
            for (access, method, path) in probes {
                #expect(try await call(url + path, method: method).status == 401)
                for (role, secret) in secrets {
                    let status = try await call(
                        url + path, method: method, headers: [("Authorization", "Bearer \(secret)")]
                    ).status
                    #expect((status == 403) == !(allowed[role] ?? []).contains(access), "\(role) \(path): \(status)")
                    #expect(status != 401)
                }
            }
        }
    }

    @Test("a token is shown once, expires, and is gone when it is revoked") func tokens() async throws {
        try await self.with { _, url in
            func make(_ body: String) async throws -> Answer {
                try await answer(url + "tokens", method: .POST, body: body, headers: asAdmin)
            }
            let token = try await make("{\"name\":\"ops\",\"role\":\"operator\",\"expiresInSeconds\":1}")
                .decoded(as: NewToken.self)
            let bearer = [("Authorization", "Bearer \(token.secret)")]
            let who = try await answer(url + "whoami", headers: bearer).decoded(as: WhoAmI.self)
            #expect(who.name == "ops" && who.role == .operator && who.expiresMillis == token.token.expiresMillis)
            let list = try await answer(url + "tokens", headers: asAdmin)
            #expect(!list.text.contains(token.secret))
            #expect(try list.decoded(as: TokenList.self).tokens == [token.token])
            #expect(try await make("{\"name\":\"ops\",\"role\":\"viewer\"}").problem == "token-name-in-use")
            try await eventually("it expires") { try await call(url + "whoami", headers: bearer).status == 401 }
            let second = try await make("{\"name\":\"b\",\"role\":\"viewer\"}").decoded(as: NewToken.self)
            let revoked = url + "tokens/\(second.token.id)"
            #expect(try await call(revoked, method: .DELETE, headers: asAdmin).status == 204)
            #expect(try await call(revoked, method: .DELETE, headers: asAdmin).status == 404)
            let after = try await call(url + "whoami", headers: [("Authorization", "Bearer \(second.secret)")])
            #expect(after.status == 401)
            for bad in [
                "{\"name\":\"a b\",\"role\":\"viewer\"}", "{\"name\":\"a\",\"role\":\"root\"}",
                "{\"name\":\"a\",\"role\":\"viewer\",\"expiresInSeconds\":0}", "{\"name\":\"\",\"role\":\"viewer\"}",
            ] {
                #expect(try await make(bad).problem == "invalid-request")
            }
            #expect(try await make(String(repeating: " ", count: 65 << 10)).status == .payloadTooLarge)
        }
    }

    @Test("the first start makes one admin token and tells it once") func firstStart() async throws {
        let told = Notes()
        let coordinator = try TestCoordinator(secret: "s") { configuration in
            configuration.adminToken = nil
            configuration.announceAdminToken = { token in told.add(token) }
        }
        for _ in 0..<2 {
            try await coordinator.start()
            let token = try #require(told.all.first)
            let who = try await answer(
                coordinator.url + "/api/v1/whoami", headers: [("Authorization", "Bearer \(token)")]
            ).decoded(as: WhoAmI.self)
            #expect(who.role == .admin)
            await coordinator.stop()
        }
        #expect(told.all.count == 1)
        let file = try Data(contentsOf: URL(fileURLWithPath: coordinator.folder + "/db.sqlite"))
        #expect(file.range(of: Data(try #require(told.all.first).utf8)) == nil)
    }

    // MARK: Streams

    @Test("streams are filtered and paged, and told again only when something changed") func streams() async throws {
        try await self.with { coordinator, url in
            let (a, b) = (try FakeNode(coordinator, "a"), try FakeNode(coordinator, "b", role: .edge))
            let keys = try [self.key("x"), self.key("y"), self.key("z", app: "other/app")]
            try await a.join(FakeNode.holding(keys[0], keys[1], keys[2], viewers: ["rtmp": 2]))
            var pulled = StreamFacts(key: keys[0], epoch: 9 << 16, isHolder: false)
            pulled.viewers = ["hls": 3]
            try await b.join(NodeStatus(facts: [pulled]))
            func list(_ query: String) async throws -> StreamList {
                try await answer(url + "streams?" + query, headers: asAdmin).decoded(as: StreamList.self)
            }
            let all = try await list("")
            #expect(all.streams.map(\.key) == keys)
            #expect(all.streams[0].viewers == ["rtmp": 2, "hls": 3])
            #expect(all.streams[0].viewersByNode == ["a": 2, "b": 3])
            #expect(all.streams[0].publisher?.session == "pub")
            #expect(all.streams[0].health == .ok)
            #expect(try await list("app=other%2Fapp").streams.map(\.key.name) == ["z"])
            #expect(try await list("vhost=none").streams.isEmpty)
            #expect(try await list("q=LIVE").streams.count == 2)
            #expect(try await list("node=b").streams.map(\.key.name) == ["x"])
            #expect(try await list("state=grace").streams.isEmpty)
            let page = try await list("limit=2")
            #expect(page.streams.count == 2)
            let rest = try await list("limit=2&after=\(page.next ?? "")")
            #expect(rest.streams.map(\.key.name) == ["z"])
            #expect(rest.next == nil)

            let first = try await answer(url + "streams", headers: asAdmin)
            let tag = try #require(first.headers.first(name: "ETag"))
            let again = try await answer(url + "streams", headers: asAdmin + [("If-None-Match", tag)])
            #expect(again.status == .notModified && again.text.isEmpty)
            try await a.report(FakeNode.holding(keys[0], keys[1], keys[2], viewers: ["rtmp": 3]))
            let changed = try await answer(url + "streams", headers: asAdmin + [("If-None-Match", tag)])
            #expect(changed.status == .ok)
            for bad in ["state=x", "limit=0", "limit=10001", "ended=2", "node=a%20b", "app=..", "app=a&app=b", "q="] {
                #expect(
                    try await answer(url + "streams?" + bad, headers: asAdmin).problem == "invalid-request", "\(bad)")
            }
        }
    }

    @Test("one stream tells its nodes and its way through the cluster") func oneStream() async throws {
        try await self.with { coordinator, url in
            let (o, e, f) = (
                try FakeNode(coordinator, "o"), try FakeNode(coordinator, "e", role: .edge),
                try FakeNode(coordinator, "f", role: .edge)
            )
            let key = try self.key("x/1", app: "a/b")
            var held = FakeNode.holding(key, viewers: ["rtmp": 1])
            held.facts?[0].publisher = nil
            try await o.join(held)
            try await e.join(NodeStatus(facts: [StreamFacts(key: key, epoch: 1, isHolder: false)]))
            var forwards = StreamFacts(key: key, epoch: 1, isHolder: false)
            forwards.publisher = PublisherFacts(
                session: "p1", address: "a", transport: "rtmp", userAgent: nil, seconds: 1)
            try await f.join(NodeStatus(facts: [forwards]))
            let query = "?app=a/b&name=x%2F1"
            let detail = try await answer(url + "stream" + query, headers: asAdmin).decoded(as: StreamDetail.self)
            #expect(detail.nodes.map(\.node.rawValue) == ["o", "e", "f"])
            #expect(detail.stream.publisher?.session == "p1")
            let way = try await answer(url + "stream/route" + query, headers: asAdmin).decoded(as: StreamWay.self)
            #expect(way.nodes.map(\.kind) == [.holder, .relay, .publisher])
            #expect(way.links.map { "\($0.from)>\($0.to)" } == ["o>e", "f>o"])
            #expect(try await answer(url + "stream?app=a&name=none", headers: asAdmin).problem == "unknown-stream")
            let history = try await answer(url + "history" + query, headers: asAdmin).decoded(as: HistoryAnswer.self)
            #expect(history.viewers == [1])
            #expect(try await answer(url + "history?app=a&name=none", headers: asAdmin).problem == "no-history")
        }
    }

    @Test("load balancers get URLs of the least loaded edges, and of origins while there is none") func urls()
        async throws
    {
        try await self.with { coordinator, url in
            let key = try self.key("x")
            let query = "?app=live&name=x&format="
            let none = try await answer(url + "routes/play" + query + "all", headers: asAdmin)
            #expect(try none.decoded(as: MediaURLs.self).urls.isEmpty)
            try await FakeNode(coordinator, "o").join(FakeNode.holding(key))
            let origin = try await answer(url + "routes/play" + query + "hls", headers: asAdmin)
            #expect(
                try origin.decoded(as: MediaURLs.self).urls.map(\.url) == ["http://o.example:8080/live/x.m3u8"])
            var busy = NodeStatus()
            busy.load.busiestLoop = 0.9
            try await FakeNode(coordinator, "e1", role: .edge, region: "eu").join(busy)
            try await FakeNode(coordinator, "e2", role: .edge, region: "eu").join()
            try await FakeNode(coordinator, "u1", role: .edge, region: "us").join()
            let all = try await answer(url + "routes/play" + query + "all&region=eu&limit=3", headers: asAdmin)
                .decoded(as: MediaURLs.self)
            #expect(all.isLive)
            #expect(all.urls.map(\.protocol).prefix(6) == [.rtmp, .flv, .wsFLV, .hls, .dash, .webRTC])
            #expect(all.urls.map(\.node.rawValue) == ["e2", "e1", "u1"].flatMap { Array(repeating: $0, count: 6) })
            let publish = try await answer(url + "routes/publish" + query + "all", headers: asAdmin)
                .decoded(as: MediaURLs.self)
            #expect(
                publish.urls.map(\.url) == ["rtmp://o.example:1935/live/x", "http://o.example:8080/live/x/whip"])
            #expect(try await call(url + "routes/play" + query + "smoke", headers: asAdmin).status == 400)
            let plain = try await answer(url + "routes/play?app=live&name=x", headers: asAdmin)
            #expect(try plain.decoded(as: Route.self).node.rawValue == "o")
        }
    }

    // MARK: Through the nodes

    private static func sessions(_ ids: [String], next: String? = nil) -> String {
        let entries = ids.map {
            "{\"id\":\"\($0)\",\"kind\":\"play\",\"app\":\"live\",\"name\":\"x\",\"transport\":\"rtmp\",\"ip\":\"::1\"}"
        }
        let more = next.map { ",\"next\":\"\($0)\"" } ?? ""
        return "{\"sessions\":[\(entries.joined(separator: ","))]\(more)}"
    }

    @Test("sessions of all nodes come in pages, and nodes that do not answer are named") func sessions() async throws {
        try await self.with { coordinator, url in
            let nodes = try ["a", "b", "silent"].map { try FakeNode(coordinator, $0) }
            for node in nodes { try await node.join() }
            let paths = Notes()
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                defer { tasks.cancelAll() }
                for node in nodes.dropLast() {
                    let name = node.description.id.rawValue
                    tasks.addTask {
                        await node.serve { request in
                            paths.add(request.path)
                            let isSecond = request.path.contains("after=")
                            return (
                                200, "application/json",
                                Self.sessions(isSecond ? ["\(name)3"] : ["\(name)1", "\(name)2"])
                            )
                        }
                    }
                }
                try await eventually("both wait for requests") {
                    try await answer(url + "nodes", headers: asAdmin).decoded(as: NodeList.self).nodes
                        .filter(\.isReachable).count == 2
                }
                func list(_ query: String) async throws -> SessionList {
                    try await answer(url + "sessions?" + query, headers: asAdmin).decoded(as: SessionList.self)
                }
                let all = try await list("limit=10")
                #expect(all.sessions.map { "\($0.node)/\($0.id)" } == ["a/a1", "a/a2", "b/b1", "b/b2"])
                #expect(all.missing.map(\.rawValue) == ["silent"])
                let page = try await list("limit=1&kind=play&ip=::1")
                #expect(page.sessions.map(\.id) == ["a1"])
                #expect(page.next == "a/a1")
                #expect(paths.all.last { $0.contains("ip=") }?.contains("ip=%3A%3A1") == true)
                let next = try await list("limit=1&after=a/a1")
                #expect(next.sessions.map(\.id) == ["a3"])
                #expect(try await list("node=b").sessions.map(\.id) == ["b1", "b2"])
                #expect(try await list("app=other").sessions.isEmpty)
                #expect(try await call(url + "sessions?ip=x%2Fy", headers: asAdmin).status == 400)
            }
        }
    }

    @Test("kicks, records, pictures and deletions go to the node, and its refusals come back") func acts() async throws
    {
        try await self.with { coordinator, url in
            let node = try FakeNode(coordinator, "o")
            let key = try self.key("x")
            try await node.join(FakeNode.holding(key))
            #expect(
                try await answer(url + "sessions/o/s1", method: .DELETE, headers: asAdmin).problem == "node-unreachable"
            )
            let asked = Notes()
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                defer { tasks.cancelAll() }
                tasks.addTask {
                    await node.serve { request in
                        asked.add("\(request.method) \(request.path)")
                        switch request.path {
                        case "/api/v2/sessions/gone":
                            return (
                                404, "application/problem+json",
                                "{\"type\":\"t\",\"title\":\"No session\",\"status\":404}"
                            )
                        case "/api/v2/sessions/slow": return nil
                        case "/api/v2/sessions/broken": return (500, "text/plain", "x")
                        case let path where path.hasPrefix("/api/v2/snapshot"): return (200, "image/jpeg", "JPEG")
                        case let path where path.hasPrefix("/api/v2/record"):
                            return (200, "application/json", "{\"intent\":true}")
                        default: return (204, "", "")
                        }
                    }
                }
                try await eventually("the node waits for requests") {
                    try await answer(url + "nodes/o", headers: asAdmin).decoded(as: NodeList.Entry.self).isReachable
                }
                func send(_ method: HTTPMethod, _ path: String) async throws -> Answer {
                    try await answer(url + path, method: method, headers: asAdmin)
                }
                #expect(try await send(.DELETE, "sessions/o/s1").status == .noContent)
                #expect(try await send(.DELETE, "sessions/o/gone").problem == "not-found-at-node")
                #expect(try await send(.DELETE, "sessions/o/slow").problem == "node-timed-out")
                #expect(try await send(.DELETE, "sessions/o/broken").problem == "node-failed")
                #expect(try await send(.DELETE, "sessions/none/s1").problem == "unknown-node")
                #expect(try await send(.DELETE, "sessions/o/a%2Fb").problem == "invalid-request")
                #expect(try await send(.DELETE, "stream/publisher?app=live&name=x").status == .noContent)
                let started = try await send(.POST, "records/start?app=live&name=x").decoded(as: RecordStatus.self)
                #expect(started.node.rawValue == "o" && started.isRecording == true)
                #expect(try await send(.POST, "records/stop?app=live&name=none").problem == "unknown-stream")
                let picture = try await send(.GET, "snapshot?app=live&name=x")
                #expect(picture.headers.first(name: "Content-Type") == "image/jpeg" && picture.text == "JPEG")
                #expect(
                    asked.all.filter { !$0.contains("slow") && !$0.contains("broken") } == [
                        "DELETE /api/v2/sessions/s1", "DELETE /api/v2/sessions/gone", "DELETE /api/v2/sessions/pub",
                        "POST /api/v2/record/start?vhost=__defaultVhost__&app=live&stream=x",
                        "GET /api/v2/snapshot?vhost=__defaultVhost__&app=live&stream=x",
                    ])
                let events = try await send(.GET, "events?actor=admin&order=newest").decoded(as: EventPage.self)
                #expect(events.events.map(\.event.kind) == [.recordingStarted, .publisherEnded, .kicked])
            }
        }
    }

    // MARK: Policies, events, backup

    @Test("policies are checked, kept, and told to nodes that have older ones") func policies() async throws {
        try await self.with(change: { $0.checkSetting = { key, _ in key == "publish.policy" ? nil : "unknown" } }) {
            coordinator, url in
            let node = try FakeNode(coordinator, "a")
            try await node.join()
            func put(_ query: String, _ body: String) async throws -> Answer {
                try await answer(url + "policies" + query, method: .PUT, body: body, headers: asAdmin)
            }
            let set = try await put("?app=live", "{\"settings\":{\"publish.policy\":\"reject\"}}")
            let list = try set.decoded(as: PolicyList.self)
            #expect(list.revision == 1)
            #expect(list.policies.map(\.app) == ["live"])
            #expect(try await put("", "{\"settings\":{\"nothing\":\"1\"}}").problem == "invalid-setting")
            #expect(try await put("", "{\"settings\":{\"play.url_secret\":\"1\"}}").problem == "invalid-setting")
            #expect(try await put("", "{\"settings\":{}}").problem == "invalid-request")
            #expect(try await put("?app=..", "{\"settings\":{\"publish.policy\":\"x\"}}").problem == "invalid-request")
            #expect(try await node.report(NodeStatus(), policiesRevision: 0).policies == list)
            #expect(try await node.report(NodeStatus(), policiesRevision: nil).policies == list)
            #expect(try await node.report(NodeStatus(), policiesRevision: 1).policies == nil)
            // What makes nodes call, publish and write elsewhere is no matter of streams' operators.
            struct Made: Decodable { let secret: String }
            let made = try await answer(
                url + "tokens", method: .POST, body: #"{"name":"o","role":"operator"}"#, headers: asAdmin
            ).decoded(as: Made.self)
            let asOperator = [("Authorization", "Bearer \(made.secret)")]
            for key in ["hooks.on_play", "forward.destinations", "dvr.on_file", "hls.path"] {
                let body = #"{"settings":{"\#(key)":"x"}}"#
                let refused = try await call(
                    url + "policies?app=live", method: .PUT, body: body, headers: asOperator)
                #expect(refused.status == 403, "\(key)")
            }
            let remove = url + "policies?app=live"
            #expect(try await call(remove, method: .DELETE, headers: asAdmin).status == 204)
            #expect(try await call(remove, method: .DELETE, headers: asAdmin).status == 404)
            #expect(try await node.report(NodeStatus(), policiesRevision: 1).policies?.policies == [])
        }
    }

    @Test("live events tell what happens, go on behind the last one, and start anew when that is too old")
    func liveEvents() async throws {
        try await self.with { coordinator, url in
            func read(after id: String?, until text: String) async throws -> String {
                var request = HTTPClientRequest(url: url + "events/stream")
                for (name, value) in asAdmin { request.headers.add(name: name, value: value) }
                if let id { request.headers.add(name: "Last-Event-ID", value: id) }
                let response = try await HTTPClient.shared.execute(request, deadline: .now() + .seconds(15))
                #expect(response.headers.first(name: "Content-Type") == "text/event-stream")
                var got = ""
                for try await buffer in response.body {
                    got += String(buffer: buffer)
                    if got.contains(text) { break }
                }
                return got
            }
            let node = try FakeNode(coordinator, "a")
            async let live = read(after: nil, until: "event: changes")
            try await eventually("somebody follows") {
                try await call(coordinator.url + "/metrics", headers: asAdmin).body
                    .contains("weir_coordinator_event_followers 1")
            }
            try await node.join(FakeNode.holding(try self.key("x")))
            let text = try await live
            #expect(text.hasPrefix("event: hello\n"))
            #expect(text.contains("\"nodeJoined\""))
            #expect(text.contains("\"state\":\"live\""))
            let id = try #require(text.split(separator: "\n").last { $0.hasPrefix("id: ") }).dropFirst(4)
            _ = try await call(url + "nodes/a/drain", method: .POST, headers: asAdmin)
            let resumed = try await read(after: String(id), until: "drained")
            #expect(!resumed.contains("nodeJoined") && !resumed.contains("event: reset"))
            #expect(resumed.contains("\"actor\":\"admin\""))
            for old in ["999999", "nonsense"] {
                #expect(try await read(after: old, until: "event: reset").contains("event: reset"))
            }
            try await eventually("followers that went are not kept") {
                try await call(coordinator.url + "/metrics", headers: asAdmin).body
                    .contains("weir_coordinator_event_followers 0")
            }
        }
    }

    @Test("an event stream ends when its token is revoked") func revokedFollower() async throws {
        try await self.with { _, url in
            let body = "{\"name\":\"v\",\"role\":\"viewer\"}"
            let token = try await answer(url + "tokens", method: .POST, body: body, headers: asAdmin)
                .decoded(as: NewToken.self)
            var request = HTTPClientRequest(url: url + "events/stream")
            request.headers.add(name: "Authorization", value: "Bearer \(token.secret)")
            let response = try await HTTPClient.shared.execute(request, deadline: .now() + .seconds(15))
            _ = try await call(url + "tokens/\(token.token.id)", method: .DELETE, headers: asAdmin)
            var text = ""
            for try await buffer in response.body { text += String(buffer: buffer) }
            #expect(text.hasPrefix("event: hello\n"))
        }
    }

    @Test("a backup restores placements, policies and tokens in another coordinator") func backup() async throws {
        let other = try TestCoordinator(secret: "s")
        try await self.with(change: { $0.maximumBackups = 2 }) { coordinator, url in
            let node = try FakeNode(coordinator, "a")
            try await node.join(FakeNode.holding(try self.key("x")))
            _ = try await call(
                url + "policies?app=live", method: .PUT, body: "{\"settings\":{\"publish.policy\":\"reject\"}}",
                headers: asAdmin)
            let folder = coordinator.folder + "/backups"
            for _ in 0..<4 {
                let made = try await answer(url + "backup", method: .POST, headers: asAdmin)
                let backup = try made.decoded(as: BackupAnswer.self)
                #expect(FileManager.default.fileExists(atPath: folder + "/" + backup.file))
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 2)
            let copy = try await answer(url + "backup?download=1", method: .POST, headers: asAdmin)
            #expect(copy.headers.first(name: "Content-Type") == "application/vnd.sqlite3")
            #expect(copy.headers.first(name: "Content-Length") == "\(copy.bytes.readableBytes)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count <= 2)
            try Data(copy.bytes.readableBytesView).write(to: URL(fileURLWithPath: other.folder + "/db.sqlite"))
        }
        try await other.start(recoveryMillis: 60_000)
        let url = other.url + "/api/v1/"
        let streams = try await answer(url + "streams", headers: asAdmin).decoded(as: StreamList.self).streams
        #expect(streams.map(\.key.name) == ["x"])
        let policies = try await answer(url + "policies", headers: asAdmin).decoded(as: PolicyList.self)
        #expect(policies.policies.map(\.settings) == [["publish.policy": "reject"]])
        await other.stop()
    }
}
