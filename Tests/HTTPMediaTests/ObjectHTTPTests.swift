import FoundationEssentials
import Media
import MediaObjects
import NIOCore
import NIOPosix
import StreamHub
import Synchronization
import TestSupport
import Testing

@testable import HTTPMedia

@Suite("Objects over HTTP", .serialized, .timeLimit(.minutes(2)))
struct ObjectHTTPTests {
    private static let segment = "/live/game/_video-1-2.m4s"

    private static func run(
        configuration: MediaHTTPConfiguration = .init(),
        _ body: @escaping @Sendable (Fixture, TestObjects) async throws -> Void
    ) async throws {
        let objects = TestObjects()
        try await Fixture.run(configuration: configuration, objects: objects) { try await body($0, objects) }
    }

    // MARK: One request after the other

    @Test("an object comes with everything that a player, a page and a cache want to know")
    func object() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(1_000))
            let client = try await fixture.client()
            try await client.get(Self.segment + "?token=x")
            let head = try await client.head()
            #expect(head.status == 200)
            #expect(head["content-length"] == "1000")
            #expect(head["content-type"] == "video/mp4")
            #expect(head["etag"] == "\"tag\"")
            #expect(head["accept-ranges"] == "bytes")
            #expect(head["access-control-allow-origin"] == "*")
            #expect(head["access-control-expose-headers"]?.contains("Content-Range") == true)
            #expect(head["date"]?.hasSuffix(" GMT") == true)
            #expect(head["server"] == "Weir")
            #expect(head["connection"] == nil)
            #expect(try await client.take(1_000) == pattern(1_000))
            let key = try StreamKey(app: "live", name: "game")
            #expect(
                objects.requests == [MediaObjectRequest(key: key, name: .segment(.video, epoch: 1, sequence: 2))])
        }
    }

    @Test("objects of all sizes come whole, again and again", arguments: [0, 1, 16_384, 16_385, 131_072, 3_000_000])
    func sizes(count: Int) async throws {
        try await Self.run { fixture, objects in
            let bytes = pattern(count)
            objects.put(Self.segment, bytes: bytes)
            let client = try await fixture.client()
            for _ in 0..<4 {
                try await client.get(Self.segment)
                #expect(try await client.head()["content-length"] == "\(count)")
                #expect(try await client.take(count) == bytes)
            }
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
        }
    }

    @Test("requests that come at once are answered in order, whoever answers them")
    func pipelined() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(300_000))
            let client = try await fixture.client()
            let segment = "GET \(Self.segment) HTTP/1.1\r\nHost: a\r\n\r\n"
            let missing = "GET /live/none.m3u8 HTTP/1.1\r\nHost: a\r\n\r\n"
            let hello = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
            let upload = "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET / x"
            let options = "OPTIONS \(Self.segment) HTTP/1.1\r\nHost: a\r\n\r\n"
            try await client.send(segment + hello + hello + segment + missing + upload + options + segment + hello)
            func expectSegment() async throws {
                #expect(try await client.head().status == 200)
                #expect(try await client.take(300_000) == pattern(300_000))
            }
            try await expectSegment()
            #expect(try await client.response().body == "hello")
            #expect(try await client.response().body == "hello")
            try await expectSegment()
            #expect(try await client.response().head.status == 404)
            #expect(try await client.response().body == "7")
            #expect(try await client.head().status == 204)
            try await expectSegment()
            #expect(try await client.response().body == "hello")
            #expect(client.pending.readableBytes == 0)
        }
    }

    @Test("a request that is cut anywhere is answered once")
    func cut() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(10))
            let client = try await fixture.client()
            let request = "GET \(Self.segment) HTTP/1.1\r\nHost: a\r\nRange: bytes=2-4\r\n\r\n"
            for index in stride(from: 1, to: request.utf8.count, by: 3) {
                try await client.send(String(request.prefix(index)))
                try await client.send(String(request.dropFirst(index)))
                #expect(try await client.head().status == 206)
                #expect(try await client.take(3) == pattern(10).getSlice(at: 2, length: 3))
            }
            #expect(client.pending.readableBytes == 0)
        }
    }

    @Test("HEAD says what GET would, and sends nothing")
    func head() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(300_000))
            let client = try await fixture.client()
            try await client.get(Self.segment, "HEAD")
            #expect(try await client.head()["content-length"] == "300000")
            try await client.get("/live/none.m3u8", "HEAD")
            let missing = try await client.head()
            #expect(missing.status == 404)
            #expect(missing["content-length"] != "0")
            try await client.get(Self.segment, "HEAD", headers: "Range: bytes=5-9\r\n")
            let range = try await client.head()
            #expect(range.status == 206)
            #expect(range["content-length"] == "5")
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
        }
    }

    @Test("other methods are refused, with their bodies")
    func methods() async throws {
        try await Self.run { fixture, objects in
            let client = try await fixture.client()
            try await client.send("POST \(Self.segment) HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello ")
            let (head, _) = try await client.response()
            #expect(head.status == 405)
            #expect(head["allow"] == "GET, HEAD, OPTIONS")
            try await client.send("world")
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
            #expect(objects.requests.isEmpty)
        }
    }

    @Test("a page may ask for ranges, and read what it needs")
    func preflight() async throws {
        try await Self.run { fixture, _ in
            let client = try await fixture.client()
            try await client.get(Self.segment, "OPTIONS", headers: "Origin: https://page.example\r\n")
            let head = try await client.head()
            #expect(head.status == 204)
            #expect(head["access-control-allow-origin"] == "*")
            #expect(head["access-control-allow-headers"]?.contains("Range") == true)
            #expect(head["access-control-max-age"] == "600")
            #expect(head["content-length"] == nil)
        }
    }

    @Test("where not all pages may read, the answer says to caches that it depends on the page")
    func strictCORS() async throws {
        try await Self.run(configuration: .init(corsOrigins: ["https://a.example"])) { fixture, objects in
            objects.put(Self.segment, bytes: pattern(1), gzip: ByteBuffer(string: "g"))
            let client = try await fixture.client()
            for (origin, allowed) in [("https://a.example", true), ("https://b.example", false), (nil, false)] {
                try await client.get(Self.segment, headers: origin.map { "Origin: \($0)\r\n" } ?? "")
                let (head, _) = try await client.response()
                #expect(head.status == 200)
                #expect(head["access-control-allow-origin"] == (allowed ? origin : nil))
                #expect(head["vary"] == "Origin")
            }
        }
    }

    @Test("a client of HTTP/1.0 is told how its connection goes on")
    func oldClients() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(50))
            let kept = try await fixture.client()
            try await kept.send("GET \(Self.segment) HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            let (head, _) = try await kept.response()
            #expect(head["connection"] == "keep-alive")
            try await kept.send("GET \(Self.segment) HTTP/1.0\r\n\r\n")
            #expect(try await kept.response().head["connection"] == "close")
            try await eventually("it is closed") { kept.isClosed }
        }
    }

    @Test("a client that wants to close gets its whole answer before")
    func closes() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(3_000_000))
            let client = try await fixture.client()
            try await client.get(Self.segment, headers: "Connection: close\r\n")
            #expect(try await client.head()["connection"] == "close")
            #expect(try await client.take(3_000_000) == pattern(3_000_000))
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("a client that sends nothing more gets what it asked for")
    func halfClosed() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(2_000_000))
            let client = try await fixture.client()
            try await client.send(
                "GET \(Self.segment) HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            try await client.closeOutput()
            #expect(try await client.head().status == 200)
            #expect(try await client.take(2_000_000) == pattern(2_000_000))
            #expect(try await client.response().body == "hello")
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("bytes that are no request cost the connection, after an answer")
    func nonsense() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(5))
            let client = try await fixture.client()
            try await client.get(Self.segment)
            #expect(try await client.response().head.status == 200)
            try await client.send("nonsense\r\n\r\n")
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test(
        "heads that are too big are not read",
        arguments: ["X: \(String(repeating: "x", count: 20_000))\r\n", String(repeating: "X: y\r\n", count: 200)])
    func bigHeads(field: String) async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(5))
            let client = try await fixture.client()
            try await client.get(Self.segment, headers: field)
            try await eventually("it is refused") { client.isClosed || client.pending.readableBytes > 0 }
            #expect(objects.requests.isEmpty)
        }
    }

    // MARK: Access

    @Test("the authorization decides, and sees who asks")
    func authorization() async throws {
        let seen = FixtureLog<MediaObjectAccess>()
        let configuration = MediaHTTPConfiguration(
            vhost: { $0 == "v.example" ? "v" : StreamKey.defaultVhost },
            objectGate: RuleGate { request, access in
                seen.append(access)
                return request.key.vhost == "v" ? nil : SessionRefusal(.forbidden, "the test says no")
            })
        try await Self.run(configuration: configuration) { fixture, objects in
            objects.put(Self.segment, bytes: pattern(5))
            let client = try await fixture.client()
            try await client.get(Self.segment + "?a=b", headers: "Authorization: Bearer t\r\nWeir-Node: edge-1\r\n")
            let (head, body) = try await client.response()
            #expect(head.status == 403)
            #expect(head["cache-control"] == "no-store")
            #expect(body.contains("the test says no"))
            #expect(objects.requests.isEmpty)
            let access = try #require(seen.values.first)
            #expect(access.host == "media.example")
            #expect(access.query == "a=b")
            #expect(access.authorization == "Bearer t")
            #expect(access.node == "edge-1")
            #expect(access.address.hasPrefix("127.0.0.1:"))
            #expect(!access.isSecure)
            try await client.get(Self.segment + "?vhost=v.example")
            #expect(try await client.response().head.status == 200)
            #expect(objects.requests.map(\.key.vhost) == ["v"])
        }
    }

    @Test("a signed path reaches the object that its rest names, and the authorization")
    func signed() async throws {
        let secret: [UInt8] = [1, 2, 3]
        let gate = RuleGate { request, access in
            access.signedPath?.check(for: request.key, secret: secret, now: 100) == .valid
                ? nil : SessionRefusal(.forbidden, "not signed")
        }
        let configuration = MediaHTTPConfiguration(objectGate: gate)
        try await Self.run(configuration: configuration) { fixture, objects in
            objects.put(Self.segment, bytes: pattern(5))
            let key = try StreamKey(app: "live", name: "game")
            let client = try await fixture.client()
            for (expires, status) in [(100, 200), (99, 403)] as [(Int64, Int)] {
                let prefix = SignedPath(for: key, scope: .stream, expires: expires, secret: secret).prefix
                try await client.get(prefix + Self.segment)
                #expect(try await client.response().head.status == status)
            }
            try await client.get(Self.segment)
            #expect(try await client.response().head.status == 403)
        }
    }

    @Test("nonsense in the query, in the path or from a node is an error of the client's")
    func badRequests() async throws {
        try await Self.run { fixture, objects in
            let client = try await fixture.client()
            for (path, headers, status) in [
                ("/live/game/_video.m3u8?_HLS_msn=x", "", 400), ("/live/../_video.m3u8", "", 400),
                ("/live/game/_video.m3u8?_HLS_part=1", "", 400), ("/live/g%20e.m3u8", "", 400),
                (Self.segment, "Weir-Hops: x\r\n", 400), (Self.segment, "Weir-Hops: 5\r\n", 508),
                (Self.segment, "Weir-Hops: 4\r\n", 404), (Self.segment, "Weir-Node: a\r\n", 404),
            ] {
                try await client.get(path, headers: headers)
                let (head, body) = try await client.response()
                #expect(head.status == status, "\(path) \(headers)")
                #expect(head["content-type"] == "application/problem+json")
                #expect(body.contains("\"status\":\(status)"))
            }
            #expect(objects.requests.map(\.hops) == [4, 1])
        }
    }

    // MARK: Files

    @Test("files come whole, in ranges, and again", arguments: [1, 200_000, 5_000_000])
    func files(count: Int) async throws {
        let folder = try TemporaryFolder()
        let bytes = pattern(count)
        let path = try folder.write("f", bytes)
        try await Self.run { fixture, objects in
            objects.put(
                Self.segment,
                MediaObject(
                    body: .file(path: path, count: Int64(count)), contentType: "video/mp4", etag: "f",
                    lifetime: .immutable, attachmentName: "a.mp4"))
            let client = try await fixture.client()
            for _ in 0..<2 {
                try await client.get(Self.segment)
                let head = try await client.head()
                #expect(head.status == 200)
                #expect(head["content-disposition"] == "attachment; filename=\"a.mp4\"")
                #expect(try await client.take(count) == bytes)
            }
            let middle = count / 2
            try await client.get(Self.segment, headers: "Range: bytes=\(middle)-\r\n")
            #expect(try await client.head()["content-range"] == "bytes \(middle)-\(count - 1)/\(count)")
            #expect(try await client.take(count - middle) == bytes.getSlice(at: middle, length: count - middle))
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
        }
        withExtendedLifetime(folder) {}
    }

    @Test("a file that is gone, or is not what it was, is told before its bytes")
    func missingFiles() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("short", pattern(10))
        try await Self.run { fixture, objects in
            let client = try await fixture.client()
            for (path, status) in [(path + ".gone", 404), (path, 503), (folder.url.path, 503)] {
                objects.put(
                    Self.segment,
                    MediaObject(body: .file(path: path, count: 11), contentType: "x", etag: nil, lifetime: .immutable))
                try await client.get(Self.segment)
                #expect(try await client.response().head.status == status, "\(path)")
            }
            objects.put(
                Self.segment,
                MediaObject(body: .file(path: path, count: 10), contentType: "x", etag: nil, lifetime: .immutable))
            try await client.get(Self.segment)
            #expect(try await client.response().body.utf8.count > 0)
        }
        withExtendedLifetime(folder) {}
    }

    // MARK: Streams of bytes

    private static func stream(_ pieces: Int, of count: Int, length: Int64?, failAt: Int? = nil) -> MediaObject {
        let sent = Mutex(0)
        return MediaObject(
            body: .stream(length: length) {
                let number = sent.withLock { sent in
                    sent += 1
                    return sent - 1
                }
                if number == failAt { throw ChannelError.eof }
                return number < pieces ? pattern(count, seed: UInt8(number)) : nil
            }, contentType: "video/mp4", etag: nil, lifetime: .uncacheable)
    }

    private static func whole(_ pieces: Int, of count: Int) -> ByteBuffer {
        var bytes = ByteBuffer()
        for number in 0..<pieces { bytes.writeImmutableBuffer(pattern(count, seed: UInt8(number))) }
        return bytes
    }

    @Test("bytes on their way come with their length, if it is known, else in chunks")
    func streams() async throws {
        try await Self.run { fixture, objects in
            let client = try await fixture.client()
            objects.put(Self.segment, Self.stream(5, of: 40_000, length: 200_000))
            try await client.get(Self.segment)
            #expect(try await client.head()["content-length"] == "200000")
            #expect(try await client.take(200_000) == Self.whole(5, of: 40_000))
            objects.put(Self.segment, Self.stream(5, of: 40_000, length: nil))
            try await client.get(Self.segment)
            let head = try await client.head()
            #expect(head["content-length"] == nil)
            #expect(head["transfer-encoding"] == "chunked")
            #expect(try await client.chunks(200_000) == Self.whole(5, of: 40_000))
            #expect(try await client.chunk().readableBytes == 0)
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
            objects.put(Self.segment, Self.stream(2, of: 10, length: nil))
            try await client.send("GET \(Self.segment) HTTP/1.0\r\n\r\n")
            #expect(try await client.head()["transfer-encoding"] == nil)
            #expect(try await client.take(20) == Self.whole(2, of: 10))
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("a body that breaks off, or has another length, breaks the connection off", arguments: [0, 1, 2, 3])
    func brokenStreams(variant: Int) async throws {
        try await Self.run { fixture, objects in
            let object =
                switch variant {
                case 0: Self.stream(3, of: 10, length: 40)
                case 1: Self.stream(3, of: 10, length: 25)
                case 2: Self.stream(3, of: 10, length: 30, failAt: 1)
                default: Self.stream(3, of: 10, length: nil, failAt: 1)
                }
            objects.put(Self.segment, object)
            let client = try await fixture.client()
            try await client.get(Self.segment)
            #expect(try await client.head().status == 200)
            try await eventually("it is closed") { client.isClosed }
            if variant == 3 { #expect(!String(buffer: client.pending).hasSuffix("0\r\n\r\n")) }
        }
    }

    @Test("a source is asked for no more than a client takes, and no longer than it is there")
    func backPressure() async throws {
        try await Self.run { fixture, objects in
            let asked = Mutex(0)
            objects.put(
                Self.segment,
                MediaObject(
                    body: .stream(length: nil) {
                        asked.withLock { $0 += 1 }
                        return pattern(100_000)
                    }, contentType: "video/mp4", etag: nil, lifetime: .uncacheable))
            let client = try await fixture.client(readsBytes: false)
            try await client.get(Self.segment)
            // The kernel's buffers of both sides take some megabytes.
            try await eventually("the source is asked") { asked.withLock { $0 } > 1 }
            try await eventually("it is asked no more") {
                let before = asked.withLock { $0 }
                try await Task.sleep(for: .milliseconds(300))
                return asked.withLock { $0 } == before
            }
            #expect(asked.withLock { $0 } < 400)
            try await client.close()
            let last = asked.withLock { $0 }
            try await Task.sleep(for: .milliseconds(100))
            #expect(asked.withLock { $0 } <= last + 1)
        }
    }
}
