import Media
import MediaObjects
import NIOHTTP1
import Testing

@testable import HTTPMedia

@Suite("ObjectHTTPRequest")
struct ObjectHTTPRequestTests {
    private static func request(_ target: String, host: String = "media.example:8080") -> ObjectHTTPRequest? {
        ObjectHTTPRequest(RequestTarget(target), host: host)
    }

    @Test(
        "a path gives app, stream and file",
        arguments: [
            ("/live/game.m3u8", "live", "game", MediaObjectName.multivariant), ("/a/b/c.mpd", "a/b", "c", .manifest),
            ("/live/game.jpg", "live", "game", .snapshot), ("/live/a.b.m3u8", "live", "a.b", .multivariant),
            ("/live/game/_video.m3u8", "live", "game", .playlist(.video)),
            ("/a/b/c/_audio-1-2.m4s?x=_", "a/b", "c", .segment(.audio, epoch: 1, sequence: 2)),
            ("/live/a%20b/_info.json", "live", "a b", .info),
            ("/live/%E2%82%AC.m3u8?next=/x.flv", "live", "€", .multivariant),
            ("/%6cive/game/%5Fvideo.m3u8", "live", "game", .playlist(.video)),
            ("http://other.example:80/live/game.m3u8", "live", "game", .multivariant),
        ])
    func paths(target: String, app: String, stream: String, name: MediaObjectName) throws {
        let request = try #require(Self.request(target))
        #expect(request.app == app)
        #expect(request.stream == stream)
        #expect(request.name == name)
        #expect(request.signedPath == nil)
    }

    @Test(
        "paths that are no object's are left to others",
        arguments: [
            "/", "", "*", "/game.m3u8", "/_info.json", "/game/_info.json", "/live/game", "/live/game.flv",
            "/live/game.M3U8", "/live/game/_other.js", "/favicon.jpg", "/api/v1/streams",
            "/live/game/_video-01-1.m4s", "/live/game?x=.m3u8", "http://", "http://host",
        ])
    func others(target: String) {
        #expect(Self.request(target) == nil)
    }

    @Test("a signature is taken from the front, and is no part of the app")
    func signed() throws {
        let key = try StreamKey(app: "live", name: "game")
        let signature = SignedPath(for: key, scope: .stream, expires: 2_000_000_000, secret: [1, 2, 3])
        for file in [".m3u8", "/_video.m3u8", "/_video-1-2.0.m4s"] {
            let request = try #require(Self.request("\(signature.prefix)/live/game\(file)"))
            #expect(request.app == "live")
            #expect(request.stream == "game")
            #expect(request.signedPath == signature)
        }
        #expect(Self.request("\(signature.prefix)/game.m3u8") == nil)
        #expect(Self.request("/~nonsense/live/game.m3u8")?.app == "~nonsense/live")
    }

    @Test("the vhost is that of the query, the host that of the target, else the header's")
    func hosts() throws {
        let request = try #require(Self.request("/live/game.m3u8?a=b&vhost=v%2Eexample&domain=x&vhost=y"))
        #expect(request.vhost == "v.example")
        #expect(request.host == "media.example")
        #expect(Self.request("/live/game.m3u8?domain=d")?.vhost == "d")
        #expect(Self.request("/live/game.m3u8")?.vhost == nil)
        #expect(Self.request("HTTP://Other.Example:80/live/game.m3u8")?.host == "other.example")
    }

    @Test("the request to the source has the key of the vhost and what the query says")
    func objectRequest() throws {
        let request = try #require(Self.request("/live/game/_video.m3u8?_HLS_msn=5&_HLS_part=1&token=x"))
        let object = try request.request(vhost: "v.example", hops: 2)
        #expect(object.key == (try StreamKey(vhost: "v.example", app: "live", name: "game")))
        #expect(object.query == MediaObjectQuery(sequence: 5, part: 1))
        #expect(object.hops == 2)
    }

    @Test("what cannot be asked for is an error with a status")
    func errors() throws {
        let query = try #require(Self.request("/live/game/_video.m3u8?_HLS_msn=x"))
        #expect(throws: ObjectRequestError.query(.malformed(parameter: "_HLS_msn"))) {
            try query.request(vhost: "v", hops: 0)
        }
        let path = try #require(Self.request("/live/../game/_video.m3u8"))
        #expect(throws: ObjectRequestError.key(.forbiddenComponent(.app))) { try path.request(vhost: "v", hops: 0) }
        #expect(ObjectRequestError.hops.status == .badRequest)
        #expect(ObjectRequestError.loop(hops: 9).status.code == 508)
    }

    @Test("a target's parts are found wherever they are")
    func targets() {
        let plain = RequestTarget("/a%2Fb?c=%20&d")
        #expect(plain.path == "/a/b")
        #expect(plain.query == "c=%20&d")
        #expect(plain.authority == nil)
        var parameters: [String] = []
        plain.forEachParameter { parameters.append("\($0)=\($1)") }
        #expect(parameters == ["c= ", "d="])
        #expect(RequestTarget("/a?").query == "")
        #expect(RequestTarget("/%zz").path == "/%zz")
        #expect(RequestTarget("https://h:1?x").authority == "h:1")
        #expect(RequestTarget("https://h:1?x").query == "x")
        #expect(RequestTarget("https://h:1?x").path == "")
    }
}

@Suite("RequestFields")
struct RequestFieldsTests {
    private static func fields(_ fields: [(String, String)], version: HTTPVersion = .http1_1) -> RequestFields {
        RequestFields(HTTPRequestHead(version: version, method: .GET, uri: "/", headers: HTTPHeaders(fields)))
    }

    @Test("fields are found in any case")
    func cases() {
        let fields = Self.fields([
            ("HOST", "a"), ("rAnge", "bytes=0-1"), ("If-Range", "\"x\""), ("IF-NONE-MATCH", "\"a\""),
            ("if-none-match", "\"b\""), ("Origin", "https://p"), ("AUTHORIZATION", "Bearer t"),
            ("Weir-Node", "edge-1"), ("weir-hops", "2"), ("Accept-Encoding", "br, GZIP"),
        ])
        #expect(fields.host == "a")
        #expect(fields.range == "bytes=0-1")
        #expect(fields.ifRange == "\"x\"")
        #expect(fields.ifNoneMatch == "\"a\",\"b\"")
        #expect(fields.origin == "https://p")
        #expect(fields.authorization == "Bearer t")
        #expect(fields.node == "edge-1")
        #expect(fields.hops == "2")
        #expect(fields.acceptsGzip)
    }

    @Test("names that only resemble are others")
    func resemblances() {
        let fields = Self.fields([("hos\u{14}", "a"), ("ranges", "b"), ("if_range", "c"), ("orig\u{49}m", "d")])
        #expect(fields.host == "")
        #expect(fields.range == nil)
        #expect(fields.ifRange == nil)
        #expect(fields.origin == nil)
    }

    @Test(
        "gzip is taken by those who say so",
        arguments: [
            ("gzip", true), ("deflate, gzip;q=0.5", true), ("x-gzip", true), ("*", true), ("br, *;q=0.1", true),
            ("", false), ("identity", false), ("br", false), ("gzip;q=0", false), ("gzip; q=0.000, *", false),
            ("identity;q=1, *;q=0", false), ("gzipped", false),
        ])
    func gzip(value: String, isAccepted: Bool) {
        #expect(RequestFields.acceptsGzip(value) == isAccepted)
    }

    @Test("a connection goes on as its version and its field say")
    func connections() {
        #expect(!Self.fields([]).isLast)
        #expect(Self.fields([("Connection", "Close")]).isLast)
        #expect(Self.fields([], version: .http1_0).isLast)
        #expect(!Self.fields([("Connection", "keep-alive")], version: .http1_0).isLast)
        #expect(!Self.fields([], version: .http2).isLast)
        #expect(Self.fields([]).takesChunks)
        #expect(!Self.fields([], version: .http1_0).takesChunks)
        #expect(!Self.fields([], version: .http2).takesChunks)
    }
}

@Suite("ByteRange")
struct ByteRangeTests {
    @Test(
        "one range is cut from a body of 100 bytes",
        arguments: [
            ("bytes=0-", ByteRange.part(0..<100)), ("bytes=0-0", .part(0..<1)), ("bytes=10-19", .part(10..<20)),
            ("bytes=99-", .part(99..<100)), ("bytes=50-1000", .part(50..<100)), ("bytes=-1", .part(99..<100)),
            ("bytes=-100", .part(0..<100)), ("bytes=-1000", .part(0..<100)), ("Bytes=5-6", .part(5..<7)),
            ("bytes= 5-6", .part(5..<7)), ("bytes=0-99999999999999999999", .part(0..<100)),
            ("bytes=100-", .unsatisfiable), ("bytes=100-200", .unsatisfiable), ("bytes=-0", .unsatisfiable),
            ("bytes=99999999999999999999-", .unsatisfiable),
        ])
    func ranges(text: String, range: ByteRange) {
        #expect(ByteRange(text, of: 100) == range)
    }

    @Test(
        "what is no single range of bytes is passed over",
        arguments: [
            nil, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5", "bytes=6-5", "bytes=0-1,5-6", "items=0-1",
            "bytes=0x1-2", "bytes=1-2-3", "bytes=-+1", "=0-1",
        ])
    func others(text: String?) {
        #expect(ByteRange(text, of: 100) == .whole)
    }

    @Test("an empty body has no part", arguments: ["bytes=0-", "bytes=0-0", "bytes=-5"])
    func empty(text: String) {
        #expect(ByteRange(text, of: 0) == .unsatisfiable)
    }
}

@Suite("HTTPDate")
struct HTTPDateTests {
    @Test(
        "a date is written as the standard wants",
        arguments: [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"), (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"), (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
        ])
    func dates(seconds: Int, text: String) {
        #expect(HTTPDate.text(ofUnixSeconds: seconds) == text)
    }
}
