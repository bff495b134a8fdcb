import FoundationEssentials
import Glibc
import Media
import MediaObjects
import NIOCore
import NIOPosix
import StreamHub
import TestSupport
import Testing

@testable import HTTPMedia

@Suite("Objects that are waited for", .serialized, .timeLimit(.minutes(2)))
struct ObjectWaitTests {
    private static let segment = "/live/game/_video-1-2.m4s"
    private static let reload = "/live/game/_video.m3u8?_HLS_msn=7&_HLS_part=1"

    private static func run(
        configuration: MediaHTTPConfiguration = .init(),
        _ body: @escaping @Sendable (Fixture, TestObjects) async throws -> Void
    ) async throws {
        let objects = TestObjects()
        try await Fixture.run(configuration: configuration, objects: objects) { fixture in
            // A promise of a test that fails must not end the process.
            defer { objects.end() }
            try await body(fixture, objects)
        }
    }

    private static func playlist(_ text: String = "#EXTM3U\n") -> MediaObjectAnswer {
        .object(
            MediaObject(
                body: .bytes(ByteBuffer(string: text)), contentType: MediaObject.ContentType.hls, etag: "p",
                lifetime: .seconds(1)))
    }

    @Test("a blocking reload is answered when the source answers, and what follows it after that")
    func waits() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(100))
            let client = try await fixture.client()
            try await client.get(Self.reload)
            try await client.get(Self.segment)
            try await client.get("/hello")
            try await eventually("it waits") { objects.waitingCount == 1 }
            try await Task.sleep(for: .milliseconds(20))
            #expect(client.pending.readableBytes == 0)
            #expect(objects.requests.count == 1)
            objects.release(Self.playlist())
            let (head, body) = try await client.response()
            #expect(head["cache-control"] == "public, max-age=0, s-maxage=1")
            #expect(body == "#EXTM3U\n")
            #expect(try await client.head().status == 200)
            #expect(try await client.take(100) == pattern(100))
            #expect(try await client.response().body == "hello")
        }
    }

    @Test("a source that cannot answer is told as it says, and one that fails as unavailable")
    func refusals() async throws {
        try await Self.run { fixture, objects in
            let client = try await fixture.client()
            for (answer, status) in [(MediaObjectAnswer.badRequest("far"), 400), (.unavailable("late"), 503)] {
                try await client.get(Self.reload)
                try await eventually("it waits") { objects.waitingCount == 1 }
                objects.release(answer)
                #expect(try await client.response().head.status == status)
            }
        }
    }

    @Test("2,000 who wait are all answered at once")
    func crowd() async throws {
        var limit = rlimit()
        #expect(unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
        limit.rlim_cur = limit.rlim_max
        #expect(unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
        let count = min(2_000, Int(limit.rlim_max) / 2 - 200)
        try await Self.run { fixture, objects in
            var clients: [HTTPClient] = []
            for _ in 0..<count {
                let client = try await fixture.client()
                try await client.get(Self.reload)
                clients.append(client)
            }
            try await eventually("all wait", within: .seconds(30)) { objects.waitingCount == count }
            let text = String(repeating: "#EXT-X-PART:DURATION=0.2\n", count: 100)
            let begin = ContinuousClock.now
            objects.release(Self.playlist(text))
            for client in clients { #expect(try await client.response().body == text) }
            // A build with optimisation needs a hundredth of this.
            #expect(ContinuousClock.now - begin < .seconds(10))
            for client in clients { #expect(client.pending.readableBytes == 0 && !client.isClosed) }
        }
    }

    @Test("a client that goes away while it waits is forgotten, and the answer harms nobody")
    func leaves() async throws {
        try await Self.run { fixture, objects in
            let client = try await fixture.client()
            try await client.get(Self.reload)
            try await eventually("it waits") { objects.waitingCount == 1 }
            try await client.close()
            try await Task.sleep(for: .milliseconds(20))
            objects.release(Self.playlist())
            let other = try await fixture.client()
            try await other.get("/hello")
            #expect(try await other.response().body == "hello")
        }
    }

    @Test("a wait that the source does not end is ended, and its late answer is nobody's")
    func deadline() async throws {
        let configuration = MediaHTTPConfiguration(idleTimeout: .milliseconds(300), maximumWait: .milliseconds(400))
        try await Self.run(configuration: configuration) { fixture, objects in
            let client = try await fixture.client()
            try await client.get(Self.reload)
            let (head, body) = try await client.response()
            #expect(head.status == 503)
            #expect(head["retry-after"] == "1")
            #expect(body.contains("too long"))
            objects.release(Self.playlist())
            try await eventually("it is closed") { client.isClosed }
            #expect(client.pending.readableBytes == 0)
        }
    }

    @Test("a client that sends much ahead is not read further than what came at once")
    func pipelinedWithoutEnd() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(100_000))
            let client = try await fixture.client(readsBytes: false)
            let request = "GET \(Self.segment) HTTP/1.1\r\nHost: a\r\n\r\n"
            let many = ByteBuffer(string: String(repeating: request, count: 10_000))
            // It reads none of the answers, so at some point nobody reads its requests.
            Task { try await client.send(many) }
            try await eventually("some are answered") { objects.requests.count > 1 }
            try await eventually("no more are") {
                let before = objects.requests.count
                try await Task.sleep(for: .milliseconds(300))
                return objects.requests.count == before
            }
            #expect(objects.requests.count < 2_000)
            try await client.close()
        }
    }

    // MARK: Ends

    @Test("a connection without a request is closed after a while, one with a request is not")
    func idle() async throws {
        let configuration = MediaHTTPConfiguration(idleTimeout: .seconds(1))
        try await Self.run(configuration: configuration) { fixture, objects in
            objects.put(Self.segment, bytes: pattern(100))
            let idle = try await fixture.client()
            let busy = try await fixture.client()
            let waiting = try await fixture.client()
            try await waiting.get(Self.reload)
            // Later than any of them would be closed that nobody used.
            let end = ContinuousClock.now + .milliseconds(1_250)
            try await eventually("the idle one is closed") {
                try await busy.get(Self.segment)
                #expect(try await busy.response().head.status == 200)
                try await Task.sleep(for: .milliseconds(20))
                return idle.isClosed && ContinuousClock.now > end
            }
            #expect(!busy.isClosed)
            #expect(!waiting.isClosed)
            objects.release(Self.playlist())
            #expect(try await waiting.response().head.status == 200)
            try await eventually("they are idle, too") { busy.isClosed && waiting.isClosed }
        }
    }

    @Test("a head or a body that does not come to its end costs the connection, one that comes slowly does not")
    func slowRequests() async throws {
        let configuration = MediaHTTPConfiguration(idleTimeout: .seconds(1))
        try await Self.run(configuration: configuration) { fixture, _ in
            let head = try await fixture.client()
            try await head.send("GET /hello HTTP/1.1\r\nHost:")
            let body = try await fixture.client()
            try await body.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n0123456789")
            let slow = try await fixture.client()
            try await slow.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
            for digit in 0..<10 {
                try await Task.sleep(for: .milliseconds(150))
                try await slow.send("\(digit)")
            }
            #expect(try await slow.response().body == "10")
            try await eventually("they are closed") { head.isClosed && body.isClosed }
        }
    }

    @Test("a file is closed when its client goes away in the middle")
    func abortedFile() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("f", pattern(12_000_000))
        @Sendable func openCount() -> Int {
            let descriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
            return descriptors.count { descriptor in
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(descriptor)")) == path
            }
        }
        try await Self.run { fixture, objects in
            objects.put(
                Self.segment,
                MediaObject(
                    body: .file(path: path, count: 12_000_000), contentType: "x", etag: nil, lifetime: .immutable))
            var clients: [HTTPClient] = []
            for _ in 0..<10 {
                let client = try await fixture.client(readsBytes: false)
                try await client.get(Self.segment)
                clients.append(client)
            }
            try await eventually("all are open") { openCount() == 10 }
            for client in clients { try await client.close() }
            try await eventually("all are closed") { openCount() == 0 }
        }
        withExtendedLifetime(folder) {}
    }

    @Test("a client that takes nothing of an answer is closed, one that takes it slowly is not")
    func stalled() async throws {
        let configuration = MediaHTTPConfiguration(idleTimeout: .milliseconds(600))
        try await Self.run(configuration: configuration) { fixture, objects in
            // More than the slow one takes, and the kernel for it, before the other is closed.
            objects.put(Self.segment, bytes: pattern(100_000_000))
            let stalled = try await fixture.client(readsBytes: false)
            try await stalled.get(Self.segment)
            let slow = try await fixture.client(readsBytes: false)
            try await slow.get(Self.segment)
            try await eventually("the first is closed") {
                try await slow.readOnce()
                try await Task.sleep(for: .milliseconds(20))
                return fixture.accepted.openCount == 1
            }
            #expect(!slow.isClosed)
        }
    }

    @Test("a node that shuts down answers what is under way, and closes")
    func quiesce() async throws {
        try await Self.run { fixture, objects in
            objects.put(Self.segment, bytes: pattern(6_000_000))
            let idle = try await fixture.client()
            let waiting = try await fixture.client()
            try await waiting.get(Self.reload)
            try await eventually("it waits") { objects.waitingCount == 1 }
            let big = try await fixture.client()
            try await big.get(Self.segment)
            #expect(try await big.head().status == 200)
            fixture.accepted.quiesce()
            let (head, _) = try await waiting.response()
            #expect(head.status == 503)
            #expect(try await big.take(6_000_000) == pattern(6_000_000))
            try await eventually("all are closed") { idle.isClosed && waiting.isClosed && big.isClosed }
            objects.release(Self.playlist())
        }
    }

    @Test("connections beyond the bound are closed at once, and room that is left is given to others")
    func limit() async throws {
        let limit = ConnectionLimit(maximum: 2)
        try await Self.run(configuration: .init(connectionLimit: limit)) { fixture, objects in
            objects.put(Self.segment, bytes: pattern(10))
            let first = try await fixture.client()
            let second = try await fixture.client()
            for client in [first, second] {
                try await client.get(Self.segment)
                #expect(try await client.response().head.status == 200)
            }
            let third = try await fixture.client()
            try await eventually("it is refused") { third.isClosed }
            #expect(limit.refused == 1)
            try await first.close()
            try await eventually("there is room") { limit.count == 1 }
            let fourth = try await fixture.client()
            try await fourth.get(Self.segment)
            #expect(try await fourth.response().head.status == 200)
        }
    }
}
