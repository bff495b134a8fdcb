import NIOHTTP1
import Synchronization
import Testing

@testable import WebRTCSignalling

@Suite("SRS's WebRTC API")
struct SRSAPITests {
    private static let configuration = WebRTCSignallingConfiguration(
        identity: .init(server: "vid-1", service: "svc", pid: "42"))

    private func body(_ url: String, sdp: String = "v=0\\r\\n", more: String = "") -> String {
        "{\"api\":\"http://h/\",\"tid\":\"1\",\"streamurl\":\"\(url)\",\"sdp\":\"\(sdp)\"\(more)}"
    }

    @Test("an offer in JSON becomes a session of the stream of its URL, and the answer is JSON")
    func offers() async throws {
        let sessions = FakeSessions()
        try await withServer(sessions, Self.configuration) { client in
            let url = "webrtc://Media.Example:1985/live/cam?vhost=v&token=t&x=%20"
            let answer = try await client.send(
                .POST, "/rtc/v1/publish/?eip=192.0.2.7", [("Content-Type", "text/plain")], body: self.body(url))
            #expect(answer.status == 200 && answer.headers["content-type"] == ["application/json"])
            #expect(
                answer.body
                    == "{\"code\":0,\"server\":\"vid-1\",\"service\":\"svc\",\"pid\":\"42\",\"sdp\":\"v=0\\r\\nanswer\\r\\n\",\"sessionid\":\"loc:rem\"}"
            )
            #expect(answer.headers["location"] == ["/rtc/v1/session/0a1b2c"])
            _ = try await client.send(.POST, "/rtc/v1/play", body: self.body("webrtc://h/a/b/c"))
        }
        let request = try #require(sessions.state.withLock { $0.published.first })
        #expect(request.app == "live" && request.stream == "cam" && request.vhost == "v" && request.token == "t")
        #expect(request.host == "media.example" && request.query == "vhost=v&token=t&x=%20")
        #expect(request.offer == "v=0\r\n" && request.candidateHosts == ["127.0.0.1", "media.example", "192.0.2.7"])
        let played = sessions.state.withLock { $0.played.map { "\($0.app) \($0.stream)" } }
        #expect(played == ["a/b c"])
    }

    @Test(
        "whatever fails is code 400 with status 200",
        arguments: [
            "", "{", "[]", "{\"sdp\":\"v=0\"}", "{\"streamurl\":\"webrtc://h/a/b\"}",
            "{\"sdp\":\"\",\"streamurl\":\"webrtc://h/a/b\"}", "{\"sdp\":\"v=0\",\"streamurl\":\"webrtc://h/a\"}",
            "{\"sdp\":\"v=0\",\"streamurl\":\"/a/b\"}", "{\"sdp\":\"v=0\",\"streamurl\":\"webrtc://h//b\"}",
            "{\"sdp\":1,\"streamurl\":\"webrtc://h/a/b\"}",
        ])
    func failures(body: String) async throws {
        let sessions = FakeSessions()
        let answer = try await withServer(sessions) { try await $0.send(.POST, "/rtc/v1/play/", body: body) }
        #expect(answer.status == 200 && answer.body.hasPrefix("{\"code\":400,"))
        #expect(sessions.state.withLock { $0.played.isEmpty })
    }

    @Test("a session that is refused is code 400, with the reason")
    func refused() async throws {
        let sessions = FakeSessions()
        sessions.set { $0.answer = .failure(.busy("live/cam has a \"publisher\"")) }
        let answer = try await withServer(sessions) {
            try await $0.send(.POST, "/rtc/v1/publish/", body: self.body("webrtc://h/live/cam"))
        }
        #expect(answer.status == 200 && answer.body.hasPrefix("{\"code\":400,"))
        #expect(answer.body.contains("\"error\":\"stream-busy\"") && answer.body.contains("has a \\\"publisher\\\""))
        #expect(answer.headers["location"].isEmpty)
    }

    @Test("only a trusted proxy may say another address of the client", arguments: [true, false])
    func clientAddress(isTrusted: Bool) async throws {
        let sessions = FakeSessions()
        try await withServer(sessions, WebRTCSignallingConfiguration(trustsProxy: { _ in isTrusted })) { client in
            let body = self.body("webrtc://h/a/b", more: ",\"clientip\":\"203.0.113.5\"")
            _ = try await client.send(.POST, "/rtc/v1/play/", body: body)
            _ = try await client.send(
                .POST, "/rtc/v1/play/", body: self.body("webrtc://h/a/b", more: ",\"clientip\":\"nobody\""))
        }
        let found = sessions.state.withLock { $0.played.map(\.forwardedAddress) }
        #expect(found == [isTrusted ? "203.0.113.5" : nil, nil])
    }

    @Test("queries and URLs are read with their escapes, and bad ones name nothing")
    func reading() {
        let query = SignallingQuery("a=1&b=%2F+x&a=2&c&=d&e=%zz&f=%ff")
        #expect(query["a"] == "1" && query["b"] == "/ x" && query["c"] == nil && query["e"] == "%zz")
        #expect(query["f"] == "%ff" && query["g"] == nil && query.text.hasPrefix("a=1&b=%2F+x"))
        #expect(SignallingQuery((0..<100).map { "k\($0)=v" }.joined(separator: "&"))["k99"] == nil)
        #expect(StreamURL("webrtc://[2001:DB8::1]:8000/a/b/?x")?.host == "2001:db8::1")
        #expect(StreamURL("webrtc://h/a/b/")?.stream == "b" && StreamURL("webrtc://h/a%2Fb/c")?.app == "a/b")
        for text in [
            "", "webrtc://", "webrtc://h", "webrtc://h/a", "webrtc://h/a/", "://h/a/b", "h/a/b", "webrtc://h/a/%zz",
        ] {
            #expect(StreamURL(text) == nil, "\(text)")
        }
        for host in ["a/b", "", "a b", "é", String(repeating: "a", count: 256)] { #expect(!QueryText.isHost(host)) }
        #expect(QueryText.isHost("[2001:db8::1]:80") && QueryText.isHost("media-1.example:30000"))
    }

    @Test("what the query adds to the candidates are addresses: nobody's query has names looked up")
    func addresses() {
        for text in ["192.0.2.7", "192.0.2.7:1", "192.0.2.7:65535", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80"]
        {
            #expect(QueryText.isAddress(text), "\(text)")
        }
        for text in [
            "", "media.example", "media.example:80", "localhost", "192.0.2", "192.0.2.7:", "192.0.2.7:0",
            "192.0.2.7:65536", "192.0.2.7:+1", "192.0.2.7:8:9", "[192.0.2.7]:80", "[2001:db8::1", "[2001:db8::1]80",
            "[]",
            "3221225991", "0xC0000207", "2001:db8::x", "192.0.2.7/", ":80",
        ] {
            #expect(!QueryText.isAddress(text), "\(text)")
        }
        #expect(
            SignallingQuery("eip=192.0.2.7:9000&candidate=[2001:db8::1]").candidates == [
                "192.0.2.7:9000", "[2001:db8::1]",
            ])
        #expect(SignallingQuery("candidate=192.0.2.8&eip=internal.example").candidates == ["192.0.2.8"])
    }
}
