import Media
import MediaStorage
import NIOCore
import StreamHub
import Synchronization
import Testing

@testable import NodeAPI
@testable import Recorder

@Suite("The node's own API")
struct NodeRoutesTests {
    private static let secretQuery = "token=SECRET&x=1&hdnts_Signature=SECRET&%74oken=SECRET&jwt=SECRET"

    @Test("Following the cursor lists every session once, for each filter")
    func sessions() async throws {
        try await withNode { node, api async throws in
            for number in 0..<25 {
                let key = try StreamKey(app: number < 20 ? "live" : "other", name: "s\(number % 5)")
                try node.session(
                    number % 5 == 0 ? .publish : .play, key, number.isMultiple(of: 2) ? "rtmp" : "http-flv",
                    ip: number < 3 ? "198.51.100.7" : "192.0.2.1")
            }
            let filters = [
                ("", 25), ("&kind=publish", 5), ("&kind=play", 20), ("&transport=rtmp", 13), ("&app=other", 5),
                ("&ip=198.51.100.7", 3), ("&key=live/s1", 4), ("&key=__defaultVhost__/live/s1&kind=play", 4),
                ("&vhost=nope", 0), ("&ip=198.51.100.7&kind=publish", 1),
            ]
            for (filter, count) in filters {
                var ids: [String] = []
                var after = ""
                while true {
                    let body = try await api.json("GET", "/api/v2/sessions?limit=4&after=\(after)\(filter)").body
                    #expect(body["total"] == .number(Double(count)), "\(filter)")
                    let page = body["sessions"]?.items.compactMap { $0["id"]?.text } ?? []
                    #expect(page.count <= 4)
                    ids += page
                    guard let next = body["next"]?.text else { break }
                    after = next
                }
                #expect(ids.count == count, "\(filter)")
                #expect(Set(ids).count == count, "\(filter)")
            }
        }
    }

    @Test(
        "Parameters that cannot be understood are refused with a problem",
        arguments: [
            "/api/v2/sessions?limit=0", "/api/v2/sessions?limit=x", "/api/v2/sessions?limit=1001",
            "/api/v2/sessions?kind=both", "/api/v2/sessions?key=live", "/api/v2/sessions?key=live/%20",
            "/api/v2/streams?limit=10001", "/api/v2/streams/live", "/api/v2/streams/live/..",
        ])
    func invalid(path: String) async throws {
        try await withNode { _, api async throws in
            let (status, body) = try await api.json("GET", path)
            #expect(status == 400)
            #expect(body["type"] == "urn:weir:problem:invalid-request")
            #expect(body["status"] == 400)
            #expect(body["title"]?.text?.isEmpty == false)
            #expect(body["detail"]?.text?.isEmpty == false)
        }
    }

    @Test("A kick is answered by 204, by 409 when it is ending, by 404 when it is not there")
    func kick() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            let session = try node.session(.play, key, "hls")
            #expect(try await api.answer("DELETE", "/api/v2/sessions/\(session.id)").status == 204)
            #expect(node.state.withLock { $0.kicked } == ["\(session.id) kicked"])
            #expect(try await api.answer("DELETE", "/api/v2/sessions/\(session.id)").status == 409)
            #expect(try await api.json("DELETE", "/api/v2/sessions/nope").status == 404)
            let unknown = try await api.json("GET", "/api/v2/sessions/nope").body
            #expect(unknown["type"] == "urn:weir:problem:unknown-session")
            #expect(try await api.answer("DELETE", "/api/v2/sessions").status == 405)
        }
    }

    @Test("What clients wrote into URLs is shown without secrets, on every path of both APIs")
    func secrets() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            var client = ClientDescription()
            client.tcURL = "rtmp://user:SECRET@host/live?\(Self.secretQuery)"
            client.pageURL = "https://page/?\(Self.secretQuery)"
            client.swfURL = "https://swf/?auth=SECRET"
            client.referer = "https://page/?password=SECRET"
            client.query = Self.secretQuery
            let session = try node.session(.publish, key, "rtmp", client: client)
            node.set { $0.streams = [node.live(key)] }
            for path in [
                "/api/v1/clients", "/api/v1/clients/\(session.id)", "/api/v1/streams", "/api/v1/streams/vid-live-game",
                "/api/v2/sessions", "/api/v2/sessions/\(session.id)", "/api/v2/streams",
                "/api/v1/tests/requests?token=SECRET", "/metrics",
            ] {
                let text = try await api.text(path)
                #expect(!text.contains("SECRET"), "\(path): \(text)")
            }
            let shown = try await api.json("GET", "/api/v2/sessions/\(session.id)").body
            #expect(shown["query"] == "token=***&x=1&hdnts_Signature=***&%74oken=***&jwt=***")
            #expect(shown["tcUrl"]?.text?.hasPrefix("rtmp://***@host/live?token=***") == true)
        }
    }

    @Test(
        "Secrets are masked wherever they stand",
        arguments: [
            ("rtmp://h/live?token=a", "rtmp://h/live?token=***"), ("rtmp://h/live", "rtmp://h/live"),
            ("token=a&b=c", "token=***&b=c"), ("", ""), ("?key=1", "?key=***"), ("https://u:p@h/x", "https://***@h/x"),
            ("https://u:p@h?a=1", "https://***@h?a=1"), ("https://h/a@b", "https://h/a@b"),
            ("http://h/?a=1&a=2&sign=&x", "http://h/?a=1&a=2&sign=***&x"),
            ("rtmp://h/l?a=b?token=c", "rtmp://h/l?a=b?token=c"),
        ])
    func mask(text: String, shown: String) { #expect(SecretMask.query(text) == shown) }

    @Test("Streams are listed by key, with tracks, media and sums of sessions")
    func streams() async throws {
        try await withNode { node, api async throws in
            let keys =
                try ["b", "a", "c"].map { try StreamKey(app: "live", name: $0) }
                + [StreamKey(vhost: "tv.example", app: "x/y", name: "z")]
            node.set { state in state.streams = keys.map { node.live($0, viewers: 2) } }
            let publisher = try node.session(.publish, keys[1], "rtmp", received: 900)
            try node.session(.play, keys[1], "hls", sent: 400)
            try node.session(.play, keys[1], "rtmp", relay: true, sent: 100)
            let body = try await api.json("GET", "/api/v2/streams").body
            let list = body["streams"]?.items ?? []
            #expect(list.compactMap { $0["key"]?.text } == ["live/a", "live/b", "live/c", "tv.example/x/y/z"])
            #expect(list[0]["state"] == "live")
            #expect(list[0]["viewers"] == .object(["rtmp": 2]))
            #expect(list[0]["tracks"]?.items[0]["width"] == 1_280)
            #expect(
                list[0]["tracks"]?.items[1]
                    == .object([
                        "kind": "audio", "codec": "aac", "profile": "LC", "sampleRate": 48_000, "channels": 2,
                    ]))
            #expect(list[0]["publishedSeconds"] == 10)
            #expect(list[0]["publisher"] == .string(publisher.id))
            #expect(list[0]["sessions"]?["players"] == .object(["hls": 1]))
            #expect(list[0]["sessions"]?["relays"] == 1)
            #expect(list[0]["sessions"]?["receivedBytes"] == 900)
            #expect(list[0]["sessions"]?["sentBytes"] == 500)
            #expect(try await api.json("GET", "/api/v2/streams/tv.example/x/y/z").body["vhost"] == nil)
            #expect(try await api.json("GET", "/api/v2/streams?key=ignored&app=live").body["total"] == 3)
            #expect(try await api.json("GET", "/api/v2/streams?vhost=tv.example").body["total"] == 1)
            #expect(try await api.json("GET", "/api/v2/streams?state=grace").body["total"] == 0)
            #expect(try await api.json("GET", "/api/v2/streams/live/a").body["key"] == "live/a")
            #expect(try await api.json("GET", "/api/v2/streams/live/nope").status == 404)
            let first = try await api.json("GET", "/api/v2/streams?limit=2").body
            let second = try await api.json("GET", "/api/v2/streams?limit=2&after=live/b").body
            #expect(first["next"] == "live/b")
            #expect(second["streams"]?.items.compactMap { $0["key"]?.text } == ["live/c", "tv.example/x/y/z"])
            #expect(second["next"] == nil)
        }
    }

    @Test("A list that did not change is answered by 304 and no body")
    func entityTags() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            node.set { $0.streams = [node.live(key)] }
            let first = try await api.answer("GET", "/api/v2/streams")
            let tag = try #require(first.headers.first { $0.name == "ETag" }?.value)
            for value in [tag, "\"x\", \(tag)", "*", String(tag.dropFirst(2))] {
                let again = try await api.answer("GET", "/api/v2/streams", headers: ["if-none-match": value])
                #expect(again.status == 304)
                #expect(again.body.readableBytes == 0)
            }
            node.set { $0.streams[0].videoFrames += 1 }
            let changed = try await api.answer("GET", "/api/v2/streams", headers: ["if-none-match": tag])
            #expect(changed.status == 200)
            #expect(changed.headers.first { $0.name == "ETag" }?.value != tag)
            #expect(try await api.answer("GET", "/api/v1/streams").headers.contains { $0.name == "ETag" } == false)
        }
    }

    @Test("Draining is switched on and off, and the answer says who is still there")
    func drain() async throws {
        try await withNode { node, api async throws in
            try node.session(.play, try StreamKey(app: "live", name: "game"), "rtmp")
            let body = try await api.json("POST", "/api/v2/drain").body
            #expect(body == .object(["draining": true, "publishers": 0, "players": 1, "relays": 0]))
            #expect(node.state.withLock { $0.readiness.isDraining })
            #expect(try await api.json("GET", "/api/v2/drain").body["draining"] == true)
            #expect(try await api.json("DELETE", "/api/v2/drain").body["draining"] == false)
            #expect(try await api.answer("PUT", "/api/v2/drain").status == 405)
        }
    }

    @Test("A reload says what changed, a failed one is 422")
    func reload() async throws {
        try await withNode { node, api async throws in
            let good = try await api.json("POST", "/api/v2/reload")
            #expect(good.status == 200)
            #expect(good.body["result"] == .object(["changed": .array([])]))
            node.set { $0.reload = NodeReload(succeeded: false, message: "a \"quoted\" problem", json: "{}") }
            let bad = try await api.json("POST", "/api/v2/reload")
            #expect(bad.status == 422)
            #expect(bad.body["message"] == "a \"quoted\" problem")
            #expect(try await api.answer("GET", "/api/v2/reload").status == 405)
        }
    }

    @Test("The node tells of itself and of its settings")
    func node() async throws {
        try await withNode { node, api async throws in
            try node.session(.publish, try StreamKey(app: "live", name: "game"), "rtmp", received: 10)
            let body = try await api.json("GET", "/api/v2/node").body
            #expect(body["node"] == "origin-1")
            #expect(body["publishers"] == 1)
            #expect(body["receivedBytes"] == 10)
            #expect(body["loopLagMillis"]?.items.count == 1)
            #expect(try await api.text("/api/v2/settings") == "{\"api\":{\"token\":\"***\"}}")
        }
    }

    @Test(
        "What a node does not have is 404",
        arguments: [
            "/api/v2/recordings", "/api/v1/recordings", "/api/v2/storage", "/api/v2/cache", "/api/v2/hooks",
            "/api/v2/forwards", "/api/v2/pulls", "/api/v2/snapshot?key=live/game",
        ])
    func missingParts(path: String) async throws {
        try await withNode { _, api async throws in
            #expect(try await api.answer("GET", path).status == 404)
        }
    }

    @Test("Streams on their way elsewhere, and those that are fetched, are told with what the network does to them")
    func calls() async throws {
        let node = FakeNode()
        var services = node.services()
        var path = PathStatistics()
        path.roundTripMillis = 12.5
        path.retransmittedPackets = 7
        var forward = NodeForward(
            key: try StreamKey(app: "live", name: "game"), destination: "srt://192.0.2.1:9000", state: "live",
            sentBytes: 99, attempts: 2)
        forward.path = path
        var pull = NodePull(
            stream: "live/camera", source: "srt://192.0.2.7:9000?passphrase=0123456789", state: "waiting",
            receivedBytes: 0, attempts: 3)
        pull.lastError = "no connection: timeout"
        services.forwards = { [forward] in [forward] }
        let camera = NodePull(
            stream: "live/door", source: "rtsp://192.0.2.8/***", state: "idle", receivedBytes: 0, attempts: 0)
        services.pulls = { [pull] in [pull, camera] }
        let api = NodeAPI(services)
        let one = try #require(try await api.json("GET", "/api/v2/forwards").body["forwards"]?.items.first)
        #expect(one["state"] == "live" && one["attempts"] == 2 && one["lastError"] == nil)
        #expect(one["path"]?["roundTripMillis"] == .number(12.5) && one["path"]?["retransmittedPackets"] == 7)
        let other = try #require(try await api.json("GET", "/api/v2/pulls").body["pulls"]?.items.first)
        #expect(other["stream"] == "live/camera" && other["state"] == "waiting" && other["attempts"] == 3)
        #expect(other["lastError"] == "no connection: timeout" && other["path"] == nil)
        #expect(try await api.text("/api/v2/pulls").contains("0123456789") == false)
        let metrics = try await api.text("/metrics")
        #expect(metrics.contains("weir_forwards{state=\"live\"} 1\n"))
        #expect(metrics.contains("weir_pulls{state=\"waiting\"} 1\n"))
        #expect(metrics.contains("weir_pulls{state=\"live\"} 0\n"))
        #expect(metrics.contains("weir_pulls{state=\"idle\"} 1\n"))
        #expect(!metrics.contains("weir_forwards{state=\"idle\"}"))
        try await node.close()
    }

    @Test("Requests that come through the coordinator get the same answers")
    func inProcess() async throws {
        try await withNode { node, api async throws in
            try node.session(.play, try StreamKey(app: "live", name: "game"), "rtmp")
            let answer = await api.respond(method: "GET", path: "/api/v2/sessions?limit=1", body: nil)
            #expect(answer.status == 200)
            #expect(answer.contentType == "application/json")
            #expect(String(buffer: answer.body).hasPrefix("{\"sessions\":[{\"id\":"))
            #expect(await api.respond(method: "GET", path: "no slash", body: nil).status == 400)
            #expect(await api.respond(method: "GET", path: "/%zz", body: nil).status == 400)
        }
    }
}

@Suite("Recordings and pictures by API")
struct NodeRecordingTests {
    private struct Calls {
        var intents: [String] = []
        var deleted: [String] = []
        var queries: [RecordingQuery] = []
    }

    private func withRecorder(
        _ error: RecorderError? = nil,
        _ body: (NodeAPI, () -> Calls) async throws -> Void
    ) async throws {
        let box = Box()
        let node = FakeNode()
        var services = node.services()
        services.recordings = NodeRecordings(
            list: { query in
                box.calls.withLock { $0.queries.append(query) }
                return error.map { .failure($0) } ?? .success(RecordingPage(recordings: [], next: "1.a"))
            },
            delete: { id in
                box.calls.withLock { $0.deleted.append(id) }
                return error.map { .failure($0) } ?? .success(())
            },
            statuses: { [] }, status: { RecordingStatus(key: $0, intent: true, isFollowed: true) },
            setIntent: { intent, key in
                box.calls.withLock { $0.intents.append("\(key) \(intent.map { "\($0)" } ?? "nil")") }
                return error.map { .failure($0) } ?? .success(())
            })
        services.snapshot = { key in
            switch key.name {
            case "picture": .jpeg(ByteBuffer(string: "JPEG"))
            case "busy": .busy("later")
            default: .none("nobody publishes \(key)")
            }
        }
        try await body(NodeAPI(services), { box.calls.withLock { $0 } })
        try await node.close()
    }

    private final class Box: Sendable {
        let calls = Mutex(Calls())
    }

    @Test("Recordings are started, stopped and left to the settings, by the old path and the new one")
    func intents() async throws {
        try await self.withRecorder { api, calls in
            for (path, key) in [
                ("/api/v1/recording/start?app=live&stream=game", "live/game true"),
                ("/api/v2/record/stop?key=live/game", "live/game false"),
                ("/api/v2/record/reset?vhost=tv.example&app=live&stream=game", "tv.example/live/game nil"),
                ("/api/v2/record/start?key=tv.example/live/game", "tv.example/live/game true"),
            ] {
                let (status, body) = try await api.json("POST", path)
                #expect(status == 200)
                #expect(body["isFollowed"] == true)
                #expect(calls().intents.last == key)
            }
            #expect(try await api.answer("POST", "/api/v2/record/pause?key=live/game").status == 404)
            #expect(try await api.answer("POST", "/api/v2/record/start").status == 400)
            #expect(try await api.answer("GET", "/api/v2/record/start").status == 405)
            #expect(calls().intents.count == 4)
        }
    }

    @Test("The list takes the filters of the catalogue and refuses others")
    func list() async throws {
        try await self.withRecorder { api, calls in
            let path = "/api/v1/recordings?app=live&stream=game&from=5&to=9&state=finished&limit=7&cursor=12.abc"
            #expect(try await api.json("GET", path).body["next"] == "1.a")
            let query = try #require(calls().queries.last)
            #expect(query.app == "live")
            #expect(query.name == "game")
            #expect(query.fromMillis == 5)
            #expect(query.toMillis == 9)
            #expect(query.state == .finished)
            #expect(query.limit == 7)
            #expect(query.cursor == RecordingQuery.Cursor(startMillis: 12, id: "abc"))
            for bad in ["from=-1", "to=x", "state=gone", "limit=0", "limit=x", "cursor=x"] {
                #expect(try await api.answer("GET", "/api/v2/recordings?\(bad)").status == 400, "\(bad)")
            }
            #expect(calls().queries.count == 1)
        }
    }

    @Test(
        "What goes wrong with recordings has its status",
        arguments: [
            (.unknownRecording, 404), (.stillRecording, 409), (.catalogUnavailable, 503), (.storage(.diskFull), 500),
        ] as [(RecorderError, Int)])
    func errors(error: RecorderError, status: Int) async throws {
        try await self.withRecorder(error) { api, calls async throws in
            #expect(try await api.answer("GET", "/api/v2/recordings").status == status)
            #expect(try await api.answer("DELETE", "/api/v1/recordings/abc").status == status)
            #expect(try await api.answer("POST", "/api/v1/recording/start?app=a&stream=b").status == status)
            #expect(calls().deleted == ["abc"])
        }
    }

    @Test("A deleted recording is answered by 204")
    func delete() async throws {
        try await self.withRecorder { api, calls async throws in
            #expect(try await api.answer("DELETE", "/api/v2/recordings/abc").status == 204)
            #expect(calls().deleted == ["abc"])
            #expect(try await api.answer("DELETE", "/api/v2/recordings").status == 405)
        }
    }

    @Test("A picture is a JPEG, or a reason")
    func pictures() async throws {
        try await self.withRecorder { api, _ in
            let picture = try await api.answer("GET", "/api/v2/snapshot?key=live/picture")
            #expect(picture.contentType == "image/jpeg")
            #expect(String(buffer: picture.body) == "JPEG")
            #expect(try await api.answer("GET", "/api/v2/snapshot?key=live/none").status == 404)
            let busy = try await api.answer("GET", "/api/v2/snapshot?app=live&stream=busy")
            #expect(busy.status == 503)
            #expect(busy.headers.contains { $0.name == "Retry-After" })
            #expect(try await api.answer("GET", "/api/v2/snapshot").status == 400)
        }
    }
}
