import NIOCore
import NIOHTTP1
import Synchronization
import Testing

@testable import WebRTCSignalling

@Suite("WHIP and WHEP over HTTP")
struct WebRTCRoutesTests {
    @Test(
        "an offer at any of the paths becomes a session of the stream that it names",
        arguments: [
            ("/live/cam/whip", "publish live cam"), ("/live/cam/whip/", "publish live cam"),
            ("/a/b/cam/whep?x=1", "play a/b cam"), ("/my%20app/c%C3%A4m/whep", "play my app cäm"),
            ("/rtc/v1/whip/?app=live&stream=cam", "publish live cam"),
            ("/rtc/v1/whip?app=live&stream=cam", "publish live cam"),
            ("/rtc/v1/whip/?app=live&stream=cam&action=play", "play live cam"),
            ("/rtc/v1/whip/?app=live&stream=cam&action=publish", "publish live cam"),
            ("/rtc/v1/whip-play/?app=a&stream=b", "play a b"), ("/rtc/v1/whep/?app=a&stream=b", "play a b"),
            ("/rtc/v1/whep/?app=a&stream=b&action=publish", "play a b"), ("/rtc/v1/whip/", "publish live livestream"),
        ])
    func paths(target: String, expected: String) async throws {
        let sessions = FakeSessions()
        let answer = try await withServer(sessions) { try await $0.offer(target) }
        #expect(answer.status == 201)
        let asked = sessions.state.withLock { state in
            state.published.map { "publish \($0.app) \($0.stream)" }
                + state.played.map { "play \($0.app) \($0.stream)" }
        }
        #expect(asked == [expected])
    }

    @Test("the answer has the session's place, its entity tag, ICE servers and the SDP")
    func created() async throws {
        let servers = [
            ICEServer(url: "stun:stun.example:3478"),
            ICEServer(url: "turn:turn.example?transport=udp", username: "a\"b", credential: "c\\d\r\n"),
            ICEServer(url: "stun:a>b"),
        ]
        let configuration = WebRTCSignallingConfiguration(iceServers: { servers })
        let answer = try await withServer(FakeSessions(), configuration) {
            try await $0.offer("/live/cam/whip", [("Origin", "https://page.example")])
        }
        #expect(answer.status == 201 && answer.body == FakeSessions.answer.sdp)
        #expect(answer.headers["content-type"] == ["application/sdp"])
        #expect(answer.headers["location"] == ["/rtc/v1/session/0a1b2c"] && answer.headers["etag"] == ["\"e1\""])
        #expect(answer.headers["accept-patch"] == ["application/trickle-ice-sdpfrag"])
        #expect(
            answer.headers["link"] == [
                "<stun:stun.example:3478>; rel=\"ice-server\"",
                "<turn:turn.example?transport=udp>; rel=\"ice-server\"; username=\"a\\\"b\"; credential=\"c\\\\d\"; "
                    + "credential-type=\"password\"",
            ])
        #expect(answer.headers["cache-control"] == ["no-store"])
        #expect(answer.headers["access-control-allow-origin"] == ["*"])
        let exposed = try #require(answer.headers["access-control-expose-headers"].first)
        for name in ["Location", "ETag", "Link"] { #expect(exposed.contains(name)) }
    }

    @Test("all that is known of the client reaches the session")
    func request() async throws {
        let sessions = FakeSessions()
        let port = try await withServer(sessions) { client in
            let headers = [
                ("Authorization", "Bearer s3cret"), ("User-Agent", "obs"), ("Referer", "https://page.example/x"),
                ("X-Forwarded-For", "203.0.113.9"),
            ]
            _ = try await client.offer(
                "/live/cam/whip?vhost=v.example&token=t%2B1&eip=192.0.2.7:9000&candidate=db.internal&z", headers,
                body: "v=0\n")
            return client.port
        }
        let request = try #require(sessions.state.withLock { $0.published.first })
        #expect(request.offer == "v=0\n" && request.vhost == "v.example" && request.host == "127.0.0.1")
        #expect(request.query == "vhost=v.example&token=t%2B1&eip=192.0.2.7:9000&candidate=db.internal&z")
        #expect(request.token == "t+1" && request.authorization == "Bearer s3cret" && request.userAgent == "obs")
        #expect(request.referer == "https://page.example/x")
        #expect(request.url == "http://127.0.0.1:\(port)/live/cam/whip")
        #expect(request.candidateHosts == ["127.0.0.1", "192.0.2.7:9000"])
        #expect(request.peer?.ipAddress == "127.0.0.1" && request.forwardedAddress == nil)
    }

    @Test("a trusted proxy is believed whom it speaks for")
    func proxies() async throws {
        let sessions = FakeSessions()
        let configuration = WebRTCSignallingConfiguration(trustsProxy: { $0.ipAddress == "127.0.0.1" })
        try await withServer(sessions, configuration) { client in
            _ = try await client.offer("/a/b/whep", [("X-Forwarded-For", "10.9.9.9, 203.0.113.9, 127.0.0.1")])
            _ = try await client.offer("/a/b/whep", [("X-Real-IP", "2001:db8::1")])
            _ = try await client.offer("/a/b/whep", [("Forwarded", "for=1.1.1.1;proto=http, For=\"[2001:db8::2]:77\"")])
            _ = try await client.offer("/a/b/whep", [("X-Forwarded-For", "unknown")])
        }
        let found = sessions.state.withLock { $0.played.map(\.forwardedAddress) }
        #expect(found == ["203.0.113.9", "2001:db8::1", "2001:db8::2", nil])
    }

    @Test(
        "what a session refuses has its status and the name of its problem",
        arguments: [
            (.badName("x"), 400, "bad-stream-name"), (.streamNotFound("x"), 404, "stream-not-found"),
            (.busy("x"), 409, "stream-busy"), (.unauthorized("x"), 401, "unauthorized"),
            (.forbidden("x"), 403, "forbidden"), (.limited("x"), 429, "limit-reached"),
            (.unavailable("x"), 503, "unavailable"), (.tooManySessions, 503, "too-many-sessions"),
            (.disabled, 403, "webrtc-disabled"), (.badOffer("x"), 400, "bad-sdp"),
            (.unprocessable("x"), 422, "unprocessable-sdp"), (.notAcceptable("x"), 406, "not-acceptable"),
            (.unknownSession, 404, "session-not-found"),
        ] as [(SignallingRefusal, UInt, String)])
    func refusals(refusal: SignallingRefusal, status: UInt, name: String) async throws {
        let sessions = FakeSessions()
        sessions.set { $0.answer = .failure(refusal) }
        let answer = try await withServer(sessions) { try await $0.offer("/live/cam/whip") }
        #expect(answer.status == status && answer.problem == name)
        #expect(answer.headers["retry-after"] == (status == 503 || status == 429 ? ["5"] : []))
        #expect(answer.headers["www-authenticate"] == (status == 401 ? ["Bearer realm=\"weir\""] : []))
        #expect(answer.headers["location"].isEmpty)
    }

    @Test("bodies of another type, without text, or too long are refused before anybody is asked")
    func bodies() async throws {
        let sessions = FakeSessions()
        try await withServer(sessions, WebRTCSignallingConfiguration(maximumBodyBytes: 1_000)) { client in
            let other = try await client.offer("/a/b/whip", [("Content-Type", "application/json")])
            #expect(other.status == 415 && other.problem == "unsupported-media-type")
            let typed = try await client.offer("/a/b/whip", [("Content-Type", "Application/SDP ; charset=utf-8")])
            #expect(typed.status == 201)
            let untyped = try await client.send(.POST, "/a/b/whip", body: "v=0")
            #expect(untyped.status == 201)
            let empty = try await client.offer("/a/b/whip", body: "")
            #expect(empty.status == 400 && empty.problem == "empty-body")
            let long = try await client.offer("/a/b/whip", body: String(repeating: "x", count: 1_001))
            #expect(long.status == 413 && long.problem == "content-too-large")
            let fits = try await client.offer("/a/b/whip", body: String(repeating: "x", count: 1_000))
            #expect(fits.status == 201)
            let picky = try await client.offer("/a/b/whip", [("Accept", "text/html, application/sdp;q=0")])
            #expect(picky.status == 406)
            let fine = try await client.offer("/a/b/whip", [("Accept", "text/html, application/*;q=0.1")])
            #expect(fine.status == 201)
            let head = "POST /a/b/whip HTTP/1.1\r\nHost: h\r\nContent-Type: application/sdp\r\n"
            let chunk = "258\r\n" + String(repeating: "x", count: 600) + "\r\n"
            let chunked = try await client.raw(
                head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + chunk + "0\r\n\r\n", until: "content-too-large")
            #expect(chunked.hasPrefix("HTTP/1.1 413"))
        }
        #expect(sessions.state.withLock { $0.published.count } == 4)
    }

    @Test("a body that does not come is not waited for", .timeLimit(.minutes(1)))
    func slowBody() async throws {
        let sessions = FakeSessions()
        let configuration = WebRTCSignallingConfiguration(bodyTimeout: .milliseconds(100))
        try await withServer(sessions, configuration) { client in
            let answer = try await client.raw(
                "POST /a/b/whip HTTP/1.1\r\nHost: h\r\nContent-Type: application/sdp\r\nContent-Length: 10\r\n\r\nv=0",
                until: "request-timeout")
            #expect(answer.hasPrefix("HTTP/1.1 408") && answer.contains("request-timeout"))
        }
        #expect(sessions.state.withLock { $0.published.isEmpty })
    }

    @Test("a session is ended by DELETE, at its own place and at SRS's")
    func delete() async throws {
        let sessions = FakeSessions()
        try await withServer(sessions) { client in
            #expect(try await client.send(.DELETE, "/rtc/v1/session/0a1b2c").status == 200)
            let gone = try await client.send(.DELETE, "/rtc/v1/session/ffff")
            #expect(gone.status == 404 && gone.problem == "session-not-found")
            let srs = "/rtc/v1/whip/?action=delete&app=live&stream=a&session=x:y&token=0a1b2c"
            #expect(try await client.send(.DELETE, srs).status == 200)
            #expect(try await client.send(.DELETE, "/rtc/v1/whep/?session=0a1b2c").status == 200)
            #expect(try await client.send(.DELETE, "/rtc/v1/whip/").status == 404)
        }
        #expect(sessions.state.withLock { $0.deleted } == ["0a1b2c", "ffff", "0a1b2c", "0a1b2c", ""])
    }

    @Test("candidates and restarts of ICE come by PATCH, with the tag that they are meant for")
    func patch() async throws {
        let sessions = FakeSessions()
        let type = ("Content-Type", "application/trickle-ice-sdpfrag")
        try await withServer(sessions) { client in
            let target = "/rtc/v1/session/0a1b2c"
            let noted = try await client.send(.PATCH, target, [type, ("If-Match", "\"e1\"")], body: "a=x\r\n")
            #expect(noted.status == 204 && noted.body.isEmpty)
            let missing = try await client.send(.PATCH, target, [type], body: "a=x\r\n")
            #expect(missing.status == 428 && missing.problem == "precondition-required")
            let untyped = try await client.send(.PATCH, target, [("If-Match", "*")], body: "a=x\r\n")
            #expect(untyped.status == 415)
            sessions.set { $0.patch = .success(.restarted(fragment: "a=ice-ufrag:n\r\n", etag: "e2")) }
            let restarted = try await client.send(.PATCH, target, [type, ("If-Match", "\"*\"")], body: "a=y\r\n")
            #expect(restarted.status == 200 && restarted.body == "a=ice-ufrag:n\r\n")
            #expect(restarted.headers["etag"] == ["\"e2\""])
            #expect(restarted.headers["content-type"] == ["application/trickle-ice-sdpfrag"])
            sessions.set { $0.patch = .failure(.preconditionFailed(etag: "e2")) }
            let stale = try await client.send(.PATCH, target, [type, ("If-Match", "\"e1\"")], body: "a=x\r\n")
            #expect(stale.status == 412 && stale.headers["etag"] == ["\"e2\""])
            sessions.set { $0.patch = .failure(.unprocessable("x")) }
            #expect(try await client.send(.PATCH, target, [type, ("If-Match", "*")], body: "a=x").status == 422)
        }
        let asked = sessions.state.withLock { $0.patched.map { "\($0.id) \($0.fragment) \($0.ifMatch)" } }
        #expect(
            asked == [
                "0a1b2c a=x\r\n tags([\"e1\"])", "0a1b2c a=y\r\n any", "0a1b2c a=x\r\n tags([\"e1\"])",
                "0a1b2c a=x any",
            ])
    }

    @Test("If-Match is a list of tags, where weak ones never match and * matches all")
    func preconditions() {
        #expect(SignallingPrecondition([]) == nil)
        #expect(SignallingPrecondition(["\"a\", \"b\"", "\"c\""]) == .tags(["a", "b", "c"]))
        #expect(SignallingPrecondition(["\"a\", *"]) == .any && SignallingPrecondition(["\"*\""]) == .any)
        #expect(SignallingPrecondition(["W/\"a\""]) == .tags([]) && SignallingPrecondition([""]) == .tags([]))
        #expect(SignallingPrecondition.any.matches("x") && SignallingPrecondition.tags(["x"]).matches("x"))
        #expect(!SignallingPrecondition.tags(["x"]).matches("y") && !SignallingPrecondition.tags([]).matches(""))
    }

    @Test(
        "methods that a path does not have are 405, with those that it has",
        arguments: [
            (HTTPMethod.GET, "/live/cam/whip", "OPTIONS, POST"), (.HEAD, "/live/cam/whep", "OPTIONS, POST"),
            (.PUT, "/rtc/v1/whip/", "DELETE, OPTIONS, POST"), (.GET, "/rtc/v1/session/x", "DELETE, OPTIONS, PATCH"),
            (.HEAD, "/rtc/v1/session/x", "DELETE, OPTIONS, PATCH"),
            (.POST, "/rtc/v1/session/x", "DELETE, OPTIONS, PATCH"),
            (.PUT, "/rtc/v1/session/x", "DELETE, OPTIONS, PATCH"), (.POST, "/rtc/v1/diagnose/x", "GET, HEAD, OPTIONS"),
            (.GET, "/rtc/v1/play/", "OPTIONS, POST"), (.DELETE, "/live/cam/whip", "OPTIONS, POST"),
        ])
    func methods(method: HTTPMethod, target: String, allowed: String) async throws {
        let answer = try await withServer { try await $0.send(method, target) }
        #expect(answer.status == 405 && answer.headers["allow"] == [allowed])
    }

    @Test("OPTIONS says what may be sent, to pages that may")
    func options() async throws {
        let configuration = WebRTCSignallingConfiguration(corsOrigins: ["https://Good.example"])
        try await withServer(FakeSessions(), configuration) { client in
            let good = try await client.send(.OPTIONS, "/live/cam/whip", [("Origin", "https://good.example")])
            #expect(good.status == 204 && good.headers["accept-post"] == ["application/sdp"])
            #expect(good.headers["access-control-allow-origin"] == ["https://good.example"])
            #expect(good.headers["access-control-allow-methods"] == ["OPTIONS, POST"])
            #expect(good.headers["access-control-allow-headers"].first?.contains("If-Match") == true)
            #expect(good.headers["vary"] == ["Origin"])
            let bad = try await client.send(.OPTIONS, "/rtc/v1/session/x", [("Origin", "https://bad.example")])
            #expect(bad.status == 204 && bad.headers["access-control-allow-origin"].isEmpty)
            #expect(bad.headers["accept-patch"] == ["application/trickle-ice-sdpfrag"])
        }
    }

    @Test("pages of other origins do nothing unless they may, and the node's own always may")
    func crossOrigin() async throws {
        let sessions = FakeSessions()
        try await withServer(sessions, WebRTCSignallingConfiguration(corsOrigins: ["https://good.example"])) { client in
            let own = "http://127.0.0.1:\(client.port)"
            for (origin, status) in [
                ("https://bad.example", 403), ("https://good.example", 201), (own, 201), ("null", 403),
            ]
                as [(String, UInt)]
            {
                let answer = try await client.offer("/live/cam/whip", [("Origin", origin)])
                #expect(answer.status == status, "\(origin)")
            }
            #expect(try await client.offer("/a/b/whip", [("Sec-Fetch-Site", "cross-site")]).status == 403)
            #expect(try await client.offer("/a/b/whip", [("Sec-Fetch-Site", "same-origin")]).status == 201)
        }
        #expect(sessions.state.withLock { $0.published.count } == 3)
    }

    @Test("what was tried is there for who knows the session")
    func diagnosis() async throws {
        try await withServer { client in
            let answer = try await client.send(.GET, "/rtc/v1/diagnose/0a1b2c")
            #expect(answer.status == 200 && answer.body == "{\"state\":\"connected\"}")
            #expect(answer.headers["content-type"] == ["application/json"])
            let head = try await client.send(.HEAD, "/rtc/v1/diagnose/0a1b2c/")
            #expect(head.status == 200 && head.body.isEmpty && head.headers["content-length"] == ["21"])
            #expect(try await client.send(.GET, "/rtc/v1/diagnose/x").status == 404)
        }
    }

    @Test("paths with broken escapes, or without a stream, name nothing")
    func badPaths() {
        for path in ["", "/", "whip", "/whip", "/%zz/a/whip", "/a/%ff/whip", "/a/b%2/whip", "/a//whip", "//a/whip"] {
            #expect(SignallingResource(path: path) == nil, "\(path)")
        }
        #expect(SignallingResource(path: "/a%2Fb/c/whip") == .endpoint(.publish, app: "a/b", stream: "c"))
        #expect(SignallingResource(path: "/a+b/c/whep") == .endpoint(.play, app: "a+b", stream: "c"))
        #expect(SignallingResource(path: "/rtc/v1/session/x/") == .session(id: "x"))
    }

    @Test("other paths are the router's")
    func others() async throws {
        try await withServer { client in
            #expect(try await client.send(.GET, "/").body == "page")
            for target in [
                "/whip", "/live/whip", "/live//whip", "/live/cam/whipp", "/rtc/v1/session", "/rtc/v1/x/y",

            ] {
                let answer = try await client.send(.POST, target, body: "v=0")
                #expect(answer.status == 404 && answer.problem == nil, "\(target)")
            }
        }
    }
}
