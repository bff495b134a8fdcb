import FoundationEssentials
import Media
import MediaObjects
import NIOCore
import StreamHub
import Streaming
import Synchronization
import TestSupport
import Testing

@testable import HTTPMedia

@Suite("Media over TLS", .serialized, .timeLimit(.minutes(2)))
struct HTTP2Tests {
    private static let segment = "/live/game/_video-1-2.m4s"
    private static let versions = [("--http1.1", "1.1"), ("--http2", "2")]

    private static func run(
        _ settings: LiveStreamSettings = .init(flush: .realtime), configuration: MediaHTTPConfiguration = .init(),
        _ body: @escaping @Sendable (Fixture, TestObjects, TemporaryFolder) async throws -> Void
    ) async throws {
        let folder = try TemporaryFolder()
        let store = try await folder.certificate()
        let objects = TestObjects()
        var configuration = configuration
        configuration.isTLS = true
        try await Fixture.run(settings, configuration: configuration, objects: objects, tls: store) {
            try await body($0, objects, folder)
        }
    }

    private struct Answer {
        var status: Int
        var version: String
        var fields: [String: String]
        var body: ByteBuffer
    }

    /// Asks with curl, which is another's implementation of all this.
    private static func curl(
        _ fixture: Fixture, _ folder: TemporaryFolder, _ path: String, _ options: String...
    ) async throws -> Answer {
        let name = "\(UInt64.random(in: 0...UInt64.max))"
        let head = folder.url.appending(path: "head-\(name)").path
        let body = folder.url.appending(path: "body-\(name)").path
        let (status, output) = try await HTTPMediaTests.run(
            [
                "curl", "-sk", "--path-as-is", "--max-time", "20", "-D", head, "-o", body, "-w",
                "%{http_code} %{http_version}",
            ]
                + options + ["https://127.0.0.1:\(fixture.port)\(path)"])
        try #require(status == 0, "curl ended with \(status)")
        let words = String(decoding: output, as: UTF8.self).split(separator: " ")
        var fields: [String: String] = [:]
        for line in try String(decoding: Data(contentsOf: URL(filePath: head)), as: UTF8.self).split(separator: "\r\n")
        {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            fields[parts[0].lowercased()] = String(parts[1].drop { $0 == " " })
        }
        let bytes = (try? Data(contentsOf: URL(filePath: body))) ?? Data()
        return Answer(
            status: Int(words[0]) ?? 0, version: String(words[1]), fields: fields, body: ByteBuffer(bytes: bytes))
    }

    // MARK: Objects

    @Test("FLV is posted, and refused while it is, over either version", arguments: versions)
    func posts(option: String, version: String) async throws {
        try await Self.run { fixture, _, folder in
            let file = folder.url.appending(path: "made.flv")
            // Longer than a flow control window, so that a refusal comes before the end of the body.
            try Data(Fixture.flv(0...100, bytes: 5_000).readableBytesView).write(to: file)
            let posted = try await Self.curl(fixture, folder, "/live/demo.flv", option, "-T", file.path)
            #expect(posted.status == 200)
            #expect(posted.version == version)
            #expect(posted.fields["content-type"] == "application/json")
            #expect(String(buffer: posted.body).contains("\"video_frames\":101"))
            let account = try #require(fixture.gate.peers.last?.account)
            #expect(account.receivedBytes > 500_000)
            #expect(fixture.gate.peers.last?.transport == "https-flv")
            try await eventually("the session is over") { account.activity == nil }
            for (path, headers, status) in [
                ("/secret/demo.flv", "Content-Type: video/x-flv", 401),
                ("/live/other.flv", "Content-Type: text/plain", 415),
            ] {
                let refused = try await Self.curl(
                    fixture, folder, path, option, "-H", headers, "--data-binary", "@\(file.path)")
                #expect(refused.status == status)
                #expect(refused.fields["content-type"] == "application/problem+json")
            }
        }
    }

    @Test("objects come over both versions, with the same fields", arguments: versions)
    func objects(option: String, version: String) async throws {
        try await Self.run { fixture, objects, folder in
            let bytes = pattern(1_000_000)
            objects.put(Self.segment, bytes: bytes)
            let whole = try await Self.curl(fixture, folder, Self.segment, option)
            #expect(whole.status == 200)
            #expect(whole.version == version)
            #expect(whole.body == bytes)
            #expect(whole.fields["content-length"] == "1000000")
            #expect(whole.fields["etag"] == "\"tag\"")
            #expect(whole.fields["access-control-allow-origin"] == "*")
            #expect(whole.fields["cache-control"] == "public, max-age=31536000, immutable")
            let range = try await Self.curl(fixture, folder, Self.segment, option, "-r", "10-19")
            #expect(range.status == 206)
            #expect(range.fields["content-range"] == "bytes 10-19/1000000")
            #expect(range.body == bytes.getSlice(at: 10, length: 10))
            let same = try await Self.curl(fixture, folder, Self.segment, option, "-H", "If-None-Match: \"tag\"")
            #expect(same.status == 304)
            let head = try await Self.curl(fixture, folder, Self.segment, option, "-I")
            #expect(head.status == 200)
            #expect(head.fields["content-length"] == "1000000")
            let missing = try await Self.curl(fixture, folder, "/live/none.m3u8", option)
            #expect(missing.status == 404)
            #expect(String(buffer: missing.body).contains("\"status\":404"))
            let options = try await Self.curl(fixture, folder, Self.segment, option, "-X", "OPTIONS")
            #expect(options.status == 204)
            let posted = try await Self.curl(fixture, folder, Self.segment, option, "-d", "text")
            #expect(posted.status == 405)
        }
    }

    @Test("files and streams of bytes come over both versions", arguments: versions)
    func bodies(option: String, version: String) async throws {
        try await Self.run { fixture, objects, folder in
            let bytes = pattern(700_000)
            let path = try folder.write("f", bytes)
            objects.put(
                Self.segment,
                MediaObject(
                    body: .file(path: path, count: 700_000), contentType: "video/mp4", etag: "f", lifetime: .immutable))
            #expect(try await Self.curl(fixture, folder, Self.segment, option).body == bytes)
            let range = try await Self.curl(fixture, folder, Self.segment, option, "-r", "300000-")
            #expect(range.body == bytes.getSlice(at: 300_000, length: 400_000))
            for length in [nil, Int64(700_000)] {
                let rest = Mutex(bytes)
                objects.put(
                    Self.segment,
                    MediaObject(
                        body: .stream(length: length) {
                            rest.withLock { $0.readSlice(length: min(90_000, $0.readableBytes)) }
                                .flatMap { $0.readableBytes > 0 ? $0 : nil }
                        }, contentType: "video/mp4", etag: nil, lifetime: .uncacheable))
                let answer = try await Self.curl(fixture, folder, Self.segment, option)
                #expect(answer.body == bytes)
                #expect(answer.fields["content-length"] == length.map { "\($0)" })
            }
        }
    }

    @Test("a body that breaks off resets its stream, and the others go on")
    func brokenBody() async throws {
        try await Self.run { fixture, objects, folder in
            objects.put(
                Self.segment,
                MediaObject(
                    body: .stream(length: 100) { throw ChannelError.eof }, contentType: "video/mp4", etag: nil,
                    lifetime: .uncacheable))
            objects.put("/live/game/_video-1-3.m4s", bytes: pattern(10))
            let (status, _) = try await HTTPMediaTests.run([
                "curl", "-sk", "--http2", "-o", "/dev/null", "https://127.0.0.1:\(fixture.port)\(Self.segment)",
            ])
            // 92: the stream was not closed cleanly. 18: the transfer ended early.
            #expect([92, 18].contains(status))
            #expect(try await Self.curl(fixture, folder, "/live/game/_video-1-3.m4s", "--http2").body == pattern(10))
        }
    }

    @Test("many requests at the same time on a few connections are all answered")
    func concurrent() async throws {
        try await Self.run { fixture, objects, _ in
            objects.put(Self.segment, bytes: pattern(100_000))
            let (status, output) = try await HTTPMediaTests.run([
                "h2load", "-n", "600", "-c", "3", "-m", "40", "https://127.0.0.1:\(fixture.port)\(Self.segment)",
            ])
            #expect(status == 0)
            #expect(String(decoding: output, as: UTF8.self).contains("600 succeeded, 0 failed, 0 errored, 0 timeout"))
            #expect(objects.requests.count == 600)
        }
    }

    @Test("blocking reloads wait beside each other on one connection")
    func waits() async throws {
        try await Self.run { fixture, objects, _ in
            async let load = HTTPMediaTests.run([
                "h2load", "-n", "50", "-c", "1", "-m", "50",
                "https://127.0.0.1:\(fixture.port)/live/game/_video.m3u8?_HLS_msn=5",
            ])
            try await eventually("all wait") { objects.waitingCount == 50 }
            objects.release(
                .object(
                    MediaObject(
                        body: .bytes(ByteBuffer(string: "#EXTM3U\n")), contentType: "x", etag: nil,
                        lifetime: .seconds(1))))
            let (status, output) = try await load
            #expect(status == 0)
            #expect(String(decoding: output, as: UTF8.self).contains("50 succeeded"))
        }
    }

    @Test("a connection that shuts down answers those who wait")
    func quiesce() async throws {
        try await Self.run { fixture, objects, folder in
            async let answer = Self.curl(fixture, folder, "/live/game/_video.m3u8?_HLS_msn=5", "--http2")
            try await eventually("it waits") { objects.waitingCount == 1 }
            fixture.accepted.quiesce()
            #expect(try await answer.status == 503)
            try await eventually("it is closed") { fixture.accepted.openCount == 0 }
        }
    }

    // MARK: The application

    @Test("the application's routes answer over both versions", arguments: versions)
    func application(option: String, version: String) async throws {
        try await Self.run { fixture, objects, folder in
            let hello = try await Self.curl(fixture, folder, "/hello", option)
            #expect(hello.status == 200)
            #expect(hello.version == version)
            #expect(String(buffer: hello.body) == "hello")
            let upload = try folder.write("up", pattern(300_000))
            let posted = try await Self.curl(
                fixture, folder, "/up", option, "-X", "POST", "--data-binary", "@\(upload)")
            #expect(String(buffer: posted.body) == "300000")
            #expect(try await Self.curl(fixture, folder, "/none", option).status == 404)
        }
    }

    // MARK: Streams

    @Test("a stream comes over both versions, up to its end", arguments: versions)
    func flv(option: String, version: String) async throws {
        let settings = LiveStreamSettings(flush: .realtime, publish: PublishSettings(policy: .reject))
        try await Self.run(settings) { fixture, objects, folder in
            try await fixture.publish()
            try await fixture.send(0..<30)
            async let answer = Self.curl(fixture, folder, "/live/demo.flv", option)
            try await eventually("it watches") { try await fixture.onHome(\.viewerCount) == 1 }
            try await fixture.send(30..<60, bytes: 5_000)
            try await Task.sleep(for: .milliseconds(100))
            try await fixture.onHome { $0.left(1) }
            let stream = try await answer
            #expect(stream.status == 200)
            #expect(stream.version == version)
            #expect(stream.fields["content-type"] == "video/x-flv")
            var expected = Fixture.flv(25...29)
            for number in 30..<60 {
                let frame = Fixture.frame(number, bytes: 5_000)
                var encoder = FLVRendition()
                encoder.write(.frame(frame), state: StreamState(video: Fixture.track), at: frame.dts, into: &expected)
            }
            #expect(stream.body == expected)
            #expect(fixture.gate.peers.map(\.transport) == ["https-flv"])
            let head = try await Self.curl(fixture, folder, "/live/none.flv", option)
            #expect(head.status == 404)
        }
    }

    @Test("a client that goes away leaves its stream")
    func leaves() async throws {
        try await Self.run { fixture, _, _ in
            try await fixture.publish()
            try await fixture.send(0..<5)
            async let load = HTTPMediaTests.run([
                "curl", "-sk", "--http2", "--max-time", "4", "-o", "/dev/null",
                "https://127.0.0.1:\(fixture.port)/live/demo.flv",
            ])
            try await eventually("it watches") { try await fixture.onHome(\.viewerCount) == 1 }
            // 28: it had to stop.
            #expect(try await load.status == 28)
            try await eventually("it left") { try await fixture.onHome(\.viewerCount) == 0 }
        }
    }

    // MARK: Connections

    @Test("a client without ALPN gets HTTP/1.1, and one without TLS nothing")
    func oldClients() async throws {
        try await Self.run { fixture, objects, folder in
            objects.put(Self.segment, bytes: pattern(10))
            let answer = try await Self.curl(fixture, folder, Self.segment, "--no-alpn")
            #expect(answer.version == "1.1")
            #expect(answer.body == pattern(10))
            let plain = try await fixture.client()
            try await plain.get(Self.segment)
            try await eventually("it is closed") { plain.isClosed }
        }
    }

    @Test("a connection of HTTP/2 without streams is closed after a while, and a wait has a deadline")
    func timeouts() async throws {
        let configuration = MediaHTTPConfiguration(idleTimeout: .milliseconds(200), maximumWait: .milliseconds(300))
        try await Self.run(configuration: configuration) { fixture, objects, folder in
            let answer = try await Self.curl(fixture, folder, "/live/game/_video.m3u8?_HLS_msn=5", "--http2")
            #expect(answer.status == 503)
            // Two requests, between which it sleeps longer than the connection is kept.
            let (status, _) = try await HTTPMediaTests.run([
                "curl", "-sk", "--http2", "--rate", "1/s", "-o", "/dev/null", "-o", "/dev/null",
                "https://127.0.0.1:\(fixture.port)\(Self.segment)", "https://127.0.0.1:\(fixture.port)\(Self.segment)",
            ])
            #expect(status == 0)
            #expect(fixture.accepted.count == 3)
            try await eventually("it is closed") { fixture.accepted.openCount == 0 }
        }
    }
}
