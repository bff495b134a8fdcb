import NIOHTTP1
import Streaming
import Testing

@testable import HTTPMedia

@Suite("MediaHTTPRequest")
struct MediaHTTPRequestTests {
    private static func request(
        _ path: String, method: HTTPMethod = .GET, authority: String = "media.example:8080",
        version: HTTPVersion = .http1_1, _ fields: [String: String] = [:]
    ) -> MediaHTTPRequest? {
        var head = HTTPRequestHead(version: version, method: method, uri: path)
        head.headers.add(name: "Host", value: authority)
        for (name, value) in fields { head.headers.add(name: name, value: value) }
        return MediaHTTPRequest(RequestTarget(head.uri), RequestFields(head))
    }

    @Test(
        "the path of a stream gives app and name",
        arguments: [
            ("/live/demo.flv", "live", "demo"),
            ("/live/demo.ts", "live", "demo"),
            ("/live/demo.aac", "live", "demo"),
            ("/live/demo-12.mp3", "live", "demo-12"),
            ("/live/_x.ts", "live", "_x"),
            ("/a/b/c.flv", "a/b", "c"),
            ("/live/x.y.flv", "live", "x.y"),
            ("/live/demo%20x.flv", "live", "demo x"),
            ("/live/%E2%82%AC.flv", "live", "€"),
            ("/live/.flv", "live", ""),
            ("/live/demo.flv?x=1", "live", "demo"),
            ("/live/demo.flv?next=/other/path.flv", "live", "demo"),
        ])
    func paths(path: String, app: String, name: String) throws {
        let request = try #require(Self.request(path))
        #expect(request.app == app)
        #expect(request.name == name)
    }

    @Test(
        "paths that are no stream's are left to others",
        arguments: [
            "/", "", "/demo.flv", "/live/demo", "/live/demo.m3u8", "/live/demo.flv/", "/api/v1/streams", "*",
            "/live/demo?x=.flv", "/live/demo.FLV", "/live/demo/_main-3-5.ts", "/live/demo/_main-3-5.2.ts",
        ])
    func otherPaths(path: String) {
        #expect(Self.request(path) == nil)
    }

    @Test("a broken escape is kept as it came", arguments: ["%", "%4", "%ZZ", "%FF"])
    func brokenEscapes(escape: String) throws {
        let request = try #require(Self.request("/live/demo\(escape).flv"))
        #expect(request.name == "demo\(escape)")
    }

    @Test("the query gives vhost, token and selection, and stays whole")
    func query() throws {
        let request = try #require(
            Self.request("/live/demo.flv?vhost=a.example&token=s%2Fecret&only=audio&flag&x=1=2"))
        #expect(request.vhost == "a.example")
        #expect(request.token == "s/ecret")
        #expect(request.selection == .audioOnly)
        #expect(request.query == "vhost=a.example&token=s%2Fecret&only=audio&flag&x=1=2")
        #expect(Self.request("/live/demo.flv?domain=b.example")?.vhost == "b.example")
        #expect(Self.request("/live/demo.flv?only=video")?.selection == .videoOnly)
        #expect(Self.request("/live/demo.flv?only=pictures")?.selection == .all)
        #expect(Self.request("/live/demo.flv?audio=source")?.wantsSourceAudio == true)
        #expect(Self.request("/live/demo.flv?audio=aac")?.wantsSourceAudio == false)
        #expect(Self.request("/live/demo.flv")?.wantsSourceAudio == false)
        #expect(Self.request("/live/demo.flv")?.vhost == nil)
        #expect(Self.request("/live/demo.flv")?.token == "")
    }

    @Test(
        "the host has neither port nor brackets nor capitals",
        arguments: [
            ("media.example:8080", "media.example"), ("Media.Example", "media.example"), ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:8080", "::1"), ("[2001:DB8::1]", "2001:db8::1"), ("", ""), (":80", ""),
        ])
    func hosts(authority: String, host: String) {
        #expect(Self.request("/live/demo.flv", authority: authority)?.host == host)
    }

    @Test("the framing follows what the client can take")
    func framings() {
        #expect(Self.request("/live/demo.flv")?.framing == .httpChunk)
        #expect(Self.request("/live/demo.flv", ["Connection": "keep-alive"])?.framing == .httpChunk)
        #expect(Self.request("/live/demo.flv", ["connection": "Close"])?.framing == RenditionFraming.none)
        #expect(Self.request("/live/demo.flv", ["connection": "Close"])?.isLast == true)
        let upgrade = ["Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket", "Sec-WebSocket-Key": "abc"]
        #expect(Self.request("/live/demo.flv", upgrade)?.framing == .webSocket)
        #expect(Self.request("/live/demo.flv", upgrade)?.webSocketKey == "abc")
        #expect(Self.request("/live/demo.flv", ["Connection": "Upgrade", "Upgrade": "h2c"])?.framing == .httpChunk)
        #expect(
            Self.request("/live/demo.flv", ["Upgrade": "websocket", "Sec-WebSocket-Key": "abc"])?.framing == .httpChunk)
    }

    @Test("a client of HTTP/1.0, or of HTTP/2, gets no chunks")
    func versions() {
        let old = Self.request("/live/demo.flv", version: .http1_0)
        #expect(old?.isLast == true)
        #expect(old?.framing == RenditionFraming.none)
        let kept = Self.request("/live/demo.flv", version: .http1_0, ["Connection": "Keep-Alive"])
        #expect(kept?.isLast == false)
        #expect(kept?.framing == RenditionFraming.none)
        let new = Self.request("/live/demo.flv", version: .http2)
        #expect(new?.isLast == false)
        #expect(new?.framing == RenditionFraming.none)
    }

    @Test("the accept value is that of the standard's example")
    func acceptValue() {
        // RFC 6455 §1.3.
        #expect(StreamDelivery.acceptValue(of: "dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }

    @Test("an origin may read if it is named, or if all may")
    func origins() {
        let all = MediaHTTPConfiguration()
        #expect(all.allowedOrigin("https://a.example") == "*")
        let some = MediaHTTPConfiguration(corsOrigins: ["https://a.example"])
        #expect(some.allowedOrigin("https://a.example") == "https://a.example")
        #expect(some.allowedOrigin("https://b.example") == nil)
        #expect(MediaHTTPConfiguration(corsOrigins: []).allowedOrigin("https://a.example") == nil)
    }
}
