import Media
import NIOCore
import StreamHub
import Synchronization
import Testing

@testable import NodeAPI

@Suite("What SRS's API does")
struct SRSBehaviourTests {
    @Test(
        "What is not there is a code in an answer of HTTP 200",
        arguments: [
            ("GET", "/api/v1/vhosts/vid-nope", 2_014), ("GET", "/api/v1/streams/vid-nope", 2_048),
            ("GET", "/api/v1/clients/nope", 2_049), ("DELETE", "/api/v1/clients/nope", 2_049),
            ("GET", "/api/v1/raw?rpc=reload", 1_061), ("GET", "/api/v1/raw?rpc=update", 1_061),
            ("GET", "/api/v1/raw", 1_061), ("GET", "/api/v1/tests/errors", 100),
        ])
    func codes(method: String, path: String, code: Int) async throws {
        try await withNode { _, api async throws in
            let (status, body) = try await api.json(method, path)
            #expect(status == 200)
            #expect(body == .object(["code": .number(Double(code))]))
        }
    }

    @Test(
        "Methods that a path does not take are 405 with Allow",
        arguments: [
            ("DELETE", "/api/v1/streams/vid-x", "GET"), ("DELETE", "/api/v1/vhosts/vid-x", "GET"),
            ("POST", "/api/v1/clients", "GET"), ("PUT", "/api/v1/clients/x", "GET, DELETE"),
            ("DELETE", "/api/v1/clients", "GET"), ("POST", "/api/v1/summaries", "GET"), ("POST", "/", "GET"),
            ("DELETE", "/api/v1/raw", "GET, POST"), ("OPTIONS", "/metrics", "GET"), ("POST", "/healthz", "GET"),
            ("POST", "/readyz", "GET"), ("POST", "/api/v1/storage", "GET"),
        ])
    func methods(method: String, path: String, allowed: String) async throws {
        try await withNode { _, api async throws in
            let answer = try await api.answer(method, path)
            #expect(answer.status == 405)
            #expect(answer.headers.first { $0.name == "Allow" }?.value == allowed)
        }
    }

    @Test("Paths with and without a final slash are the same, and doubled slashes do no harm")
    func slashes() async throws {
        try await withNode { node, api async throws in
            try node.session(.play, try StreamKey(app: "live", name: "a"), "rtmp")
            for path in ["/api/v1/streams", "/api/v1/streams/", "//api//v1/streams//"] {
                #expect(try await api.json("GET", path).body["total"] == 1, "\(path)")
            }
            #expect(try await api.json("GET", "/api/v1/versions/").body["data"]?["version"] == "6.1.2")
        }
    }

    @Test(
        "Paths that do not exist are 404, whatever SRS says of them",
        arguments: [
            "/api/v1/perf", "/api/v1/nope", "/api/v1/tests/nope", "/api/v1/streams/a/b", "/nope", "/api/v3",
            "/api/v1/tcmalloc", "/metrics/x", "/healthz/x", "/api/v1/../v2/settings", "/api/v2/nope",
        ])
    func unknown(path: String) async throws {
        try await withNode { _, api async throws in
            let answer = try await api.answer("GET", path)
            #expect(answer.status == 404)
            #expect(answer.contentType == "application/problem+json")
        }
    }

    @Test(
        "Pages begin at 0 and have 10 entries, as SRS reads the parameters",
        arguments: [
            ("", 0, 10), ("start=5", 5, 10), ("count=3", 0, 10), ("count=25", 0, 25), ("start=-4&count=-1", 0, 10),
            ("start=x&count=y", 0, 10), ("start=99999999999999999999", 0, 10), ("count=999999", 0, 10_000),
        ])
    func pages(query: String, start: Int, count: Int) throws {
        let request = try #require(NodeAPIRequest(method: "GET", target: "/api/v1/streams?\(query)"))
        let page = SRSStreams.page(request.query)
        #expect(page.start == start)
        #expect(page.count == count)
    }

    @Test("All pages together are all streams and clients, each once, in the order of their ids")
    func paging() async throws {
        try await withNode { node, api async throws in
            for number in 0..<23 {
                try node.session(.play, try StreamKey(app: "live", name: "s\(number)"), "rtmp")
            }
            for list in ["streams", "clients"] {
                var ids: [String] = []
                for start in stride(from: 0, to: 30, by: 10) {
                    let body = try await api.json("GET", "/api/v1/\(list)/?start=\(start)&count=10").body
                    #expect(body["total"] == 23)
                    ids += body[list]?.items.compactMap { $0["id"]?.text } ?? []
                }
                #expect(ids.count == 23)
                #expect(Set(ids).count == 23)
                #expect(ids == ids.sorted())
            }
        }
    }

    @Test("DELETE ends the client, and only once")
    func kick() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            let client = try node.session(.play, key, "rtmp")
            let other = try node.session(.play, key, "rtmp")
            let (status, body) = try await api.json("DELETE", "/api/v1/clients/\(client.id)")
            #expect(status == 200)
            #expect(body["code"] == 0)
            #expect(body["server"] == "vid-server1")
            #expect(node.state.withLock { $0.kicked } == ["\(client.id) kicked"])
            let again = try await api.json("DELETE", "/api/v1/clients/\(client.id)").body
            #expect(again == .object(["code": 400]))
            #expect(node.state.withLock { $0.kicked }.count == 1)
            #expect(node.sessions.account(other.id) != nil)
        }
    }

    @Test("A connection that neither publishes nor plays is no client")
    func idle() async throws {
        try await withNode { node, api async throws in
            let account = try #require(
                node.sessions.open(try SocketAddress(ipAddress: "192.0.2.9", port: 1), transport: "rtmp"))
            #expect(try await api.json("GET", "/api/v1/clients").body["total"] == 0)
            #expect(try await api.json("GET", "/api/v1/clients/\(account.id)").body == .object(["code": 2_049]))
            #expect(try await api.json("DELETE", "/api/v1/clients/\(account.id)").body == .object(["code": 2_049]))
        }
    }

    @Test(
        "Kinds of clients have SRS's words",
        arguments: [
            (.publish, "rtmp", "fmle-publish"), (.publish, "rtmps", "fmle-publish"), (.play, "rtmp", "rtmp-play"),
            (.play, "rtmps", "rtmp-play"), (.play, "http-flv", "flv-play"), (.play, "ws-flv", "flv-play"),
            (.play, "wss-flv", "flv-play"), (.play, "hls", "hls-play"), (.play, "dash", "dash-play"),
            (.play, "carrier-pigeon", "Unknown"), (.publish, "http-flv", "fmle-publish"), (.publish, "hls", "Unknown"),
        ] as [(SessionActivity.Kind, String, String)])
    func kinds(kind: SessionActivity.Kind, transport: String, type: String) throws {
        let key = try StreamKey(app: "live", name: "game")
        #expect(SRSStreams.clientType(SessionActivity(kind: kind, key: key, transport: transport)) == type)
        #expect(SRSStreams.clientType(nil) == "Unknown")
    }

    @Test("What a relay does is a client, as it is for SRS")
    func relays() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            try node.session(.publish, key, "rtmp")
            try node.session(.play, key, "rtmp", relay: true)
            #expect(try await api.json("GET", "/api/v1/streams").body["streams"]?.items.first?["clients"] == 2)
            #expect(try await api.json("GET", "/api/v1/clients").body["total"] == 2)
        }
    }

    @Test("A reload by RAW is done before the answer, and its result can be fetched")
    func reload() async throws {
        try await withNode { node, api async throws in
            let before = try await api.json("GET", "/api/v1/raw?rpc=reload-fetch").body["data"]
            #expect(before?["state"] == 0)
            node.set { $0.options.allowsRawReload = true }
            #expect(try await api.json("GET", "/api/v1/raw?rpc=reload").body == .object(["code": 0]))
            let good = try await api.json("GET", "/api/v1/raw?rpc=reload-fetch").body["data"]
            #expect(good?["state"] == 90)
            #expect(good?["err"] == 0)
            #expect(good?["msg"] == "nothing changed")
            node.set { $0.reload = NodeReload(succeeded: false, message: "rtmp.listen: no port", json: "{}") }
            #expect(try await api.json("GET", "/api/v1/raw?rpc=reload").body == .object(["code": 0]))
            let bad = try await api.json("GET", "/api/v1/raw?rpc=reload-fetch").body["data"]
            #expect(bad?["err"] == 1_023)
            #expect(bad?["msg"] == "rtmp.listen: no port")
            #expect(bad?["rid"] != good?["rid"])
            #expect(try await api.json("GET", "/api/v1/raw?rpc=query").body == .object(["code": 1_060]))
        }
    }

    @Test("A stream that is pulled, waits, or is not there has no origin here")
    func noOrigin() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            func origin(_ query: String) async throws -> JSON? {
                try await api.json("GET", "/api/v1/clusters?\(query)").body["data"]?["origin"]
            }
            #expect(try await origin("app=live&stream=game") == .null)
            var stream = node.live(key)
            stream.isHeld = false
            node.set { $0.streams = [stream] }
            #expect(try await origin("app=live&stream=game") == .null)
            stream.isHeld = true
            stream.state = "grace"
            node.set { $0.streams = [stream] }
            #expect(try await origin("app=live&stream=game") == .null)
            #expect(try await origin("") == .null)
            #expect(try await origin("app=..&stream=%2e%2e") == .null)
        }
    }

    @Test(
        "The host of a coworker is found in each form",
        arguments: [
            ("10.0.0.7:1985", "10.0.0.7"), ("origin:1985", "origin"), ("origin", "origin"), ("[::1]:1985", "::1"),
            ("fd00::7", "fd00::7"), ("", ""),
        ])
    func coworker(text: String, host: String) { #expect(SRSRaw.host(text) == host) }

    @Test("Redirects of the test path lead to the error")
    func redirect() async throws {
        try await withNode { _, api async throws in
            let answer = try await api.answer("GET", "/api/v1/tests/redirects")
            #expect(answer.status == 301)
            #expect(answer.headers.first { $0.name == "Location" }?.value == "/api/v1/tests/errors")
        }
    }

    @Test("HEAD is GET without a body")
    func head() async throws {
        try await withNode { _, api async throws in
            let answer = try await api.answer("HEAD", "/api/v1/versions")
            #expect(answer.status == 200)
            #expect(answer.body.readableBytes == 0)
            #expect(try await api.answer("HEAD", "/api/v1/nope").status == 404)
        }
    }

    @Test("Health is told as before, and whether the node is drained")
    func health() async throws {
        try await withNode { node, api async throws in
            #expect(
                try await api.json("GET", "/api/v1/health").body
                    == .object(["status": "ok", "node": "origin-1"]))
            node.set { $0.readiness.isDraining = true }
            #expect(try await api.json("GET", "/api/v1/health").body["status"] == "draining")
        }
    }

    @Test("Paths that probes ask need no credentials, and no others")
    func openPaths() {
        for path in ["/healthz", "/readyz", "/api/v1/health"] { #expect(NodeAPI.isOpen(path: path)) }
        for path in ["/", "/metrics", "/api/v1/health/", "/healthz/../api/v1/streams", "/api/v2/settings", ""] {
            #expect(!NodeAPI.isOpen(path: path))
        }
    }
}
