import FLV
import Media
import NIOCore
import NIOPosix
import StreamHub
import Streaming
import Synchronization
import TestSupport
import Testing

@testable import HTTPMedia

struct PostedStreamTests {
    /// What reached the stream.
    private final class Tap: StreamTap {
        private let log = Mutex<(frames: [Frame], ended: Bool)>(([], false))
        var frames: [Frame] { self.log.withLock { $0.frames } }
        var hasEnded: Bool { self.log.withLock { $0.ended } }
        func sourceStarted(epoch: UInt64, continues: Bool) {}
        func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
            if case .frame(let frame) = event { self.log.withLock { $0.frames.append(frame) } }
        }
        func batchEnded(now: NIODeadline) {}
        func sourceEnded(isFinal: Bool) { self.log.withLock { $0.ended = true } }
    }

    private static func tap(_ fixture: Fixture) async throws -> Tap {
        let tap = Tap()
        let stream = fixture.hub.stream(fixture.key, home: fixture.group.next())
        try await stream.home.submit { stream.attach(tap) }.get()
        return tap
    }

    private static let flv = Fixture.flv(0...9)

    private static func chunked(_ bytes: ByteBuffer) -> ByteBuffer {
        var chunk = ByteBuffer(string: "\(String(bytes.readableBytes, radix: 16))\r\n")
        chunk.writeImmutableBuffer(bytes)
        chunk.writeString("\r\n")
        return chunk
    }

    private static func post(
        _ client: HTTPClient, _ path: String, _ headers: String, method: String = "POST"
    ) async throws {
        try await client.get(path, method, headers: headers)
    }

    @Test("A body with a length is published, and answered with what was taken", arguments: ["POST", "PUT"])
    func wholeBody(method: String) async throws {
        try await Fixture.run { fixture in
            let tap = try await Self.tap(fixture)
            let client = try await fixture.client()
            try await Self.post(
                client, "/live/demo.flv", "Content-Type: video/x-flv\r\nContent-Length: \(Self.flv.readableBytes)\r\n",
                method: method)
            try await client.send(Self.flv)
            let (head, body) = try await client.response()
            #expect(head.status == 200)
            #expect(head["content-type"] == "application/json")
            #expect(
                body == "{\"stream\":\"live/demo\",\"bytes\":\(Self.flv.readableBytes),\"tags\":11,"
                    + "\"video_frames\":10,\"audio_frames\":0,\"dropped_tags\":0,\"unread_bytes\":0,"
                    + "\"duration_millis\":360}\n")
            #expect(tap.frames.map(\.payload) == (0...9).map { Fixture.frame($0).payload })
            try await eventually("the end") { tap.hasEnded }
            #expect(fixture.gate.peers.map(\.transport) == ["http-flv"])
            // The connection goes on.
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
        }
    }

    @Test(
        "Chunks are published as they come, wherever they are cut, and a cut tag at the end is told",
        arguments: [1, 7, 97])
    func chunks(step: Int) async throws {
        try await Fixture.run { fixture in
            let tap = try await Self.tap(fixture)
            let client = try await fixture.client()
            try await Self.post(client, "/live/demo.flv", "Transfer-Encoding: chunked\r\n")
            var rest = Self.flv
            while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
                try await client.send(Self.chunked(piece))
            }
            try await eventually("all frames before the end of the body") { tap.frames.count == 10 }
            let account = try #require(fixture.gate.peers.first?.account)
            #expect(account.activity?.kind == .publish)
            #expect(account.activity?.transport == "http-flv")
            #expect(!tap.hasEnded)
            try await client.send(Self.chunked(ByteBuffer(bytes: [9, 0, 0])))
            try await client.send("0\r\n\r\n")
            let (head, body) = try await client.response()
            #expect(head.status == 200)
            #expect(body.contains("\"unread_bytes\":3"))
            try await eventually("the session is over") { account.activity == nil }
        }
    }

    @Test("A body that comes while the gate decides is kept, and read no further than a bound")
    func deciding() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client()
            let numbers = 0...4_000
            let flv = Fixture.flv(numbers, bytes: 1_000)
            try await Self.post(
                client, "/slow/demo.flv", "Content-Length: \(flv.readableBytes)\r\nExpect: 100-continue\r\n")
            try await client.send(flv)
            let first = try await client.head()
            #expect(first.status == 100)
            let (head, body) = try await client.response()
            #expect(head.status == 200)
            #expect(body.contains("\"video_frames\":4001"))
        }
    }

    @Test("Refusals are answered while the body goes on, and end the connection")
    func refusals() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            let cases = [
                ("/live/demo.flv", "", 409), ("/down/demo.flv", "", 503), ("/secret/demo.flv", "", 401),
                ("/live/other.flv", "Content-Type: application/json\r\n", 415),
                ("/live/other.flv", "Content-Type: text/plain; charset=utf-8\r\n", 415),
            ]
            for (path, headers, status) in cases {
                let client = try await fixture.client()
                try await Self.post(client, path, "\(headers)Transfer-Encoding: chunked\r\n")
                try await client.send(Self.chunked(Self.flv))
                let (head, body) = try await client.response()
                #expect(head.status == status)
                #expect(head["content-type"] == "application/problem+json")
                #expect(head["connection"] == "close")
                #expect(body.contains("\"detail\""))
                try await eventually("closed") { client.isClosed }
            }
        }
    }

    @Test("Bodies that are no FLV, are broken or empty are told where")
    func broken() async throws {
        var long = Self.flv
        long.writeBytes([9, 0x10, 0, 1])
        long.writeRepeatingByte(0, count: 30)
        var encrypted = Self.flv
        encrypted.writeBytes([0x29, 0, 0, 1])
        encrypted.writeRepeatingByte(0, count: 30)
        let cases: [(ByteBuffer, Int, String)] = [
            (ByteBuffer(string: "this is no FLV file at all"), 400, "no signature at byte 0"),
            (long, 413, "the tag at byte \(Self.flv.readableBytes) has 1048577 bytes; at most 100000 are taken"),
            (encrypted, 400, "the tag at byte \(Self.flv.readableBytes) is encrypted"),
            (ByteBuffer(), 400, "the body is over before the header of an FLV file, after 0 bytes"),
            (ByteBuffer(string: "FLV"), 400, "the body is over before the header of an FLV file, after 3 bytes"),
        ]
        var configuration = MediaHTTPConfiguration()
        configuration.publish.maximumTagBytes = 100_000
        try await Fixture.run(configuration: configuration) { fixture in
            for (index, (bytes, status, text)) in cases.enumerated() {
                let client = try await fixture.client()
                try await Self.post(
                    client, "/live/broken\(index).flv", "Content-Length: \(bytes.readableBytes)\r\n")
                try await client.send(bytes)
                let (head, body) = try await client.response()
                #expect(head.status == status)
                #expect(body.contains(text), "\(body)")
            }
        }
    }

    @Test("Tags that cannot be understood cost themselves, and many in a row the publisher")
    func badTags() async throws {
        @Sendable func tags(_ count: Int) -> ByteBuffer {
            var bytes = ByteBuffer()
            // A video packet of enhanced RTMP that is cut off.
            for _ in 0..<count {
                FLVTagWriter.writeTag(
                    type: .video, timestampMillis: 0, payload: ByteBuffer(bytes: [0x90, 0x61]), into: &bytes)
            }
            return bytes
        }
        try await Fixture.run { fixture in
            for (count, status) in [(49, 200), (50, 400)] {
                let client = try await fixture.client()
                var body = Self.flv
                body.writeImmutableBuffer(tags(count))
                try await Self.post(
                    client, "/live/bad\(count).flv", "Content-Length: \(body.readableBytes)\r\n")
                try await client.send(body)
                let answer = try await client.response()
                #expect(answer.head.status == status)
                #expect(
                    answer.body.contains(
                        status == 200 ? "\"dropped_tags\":49" : "50 tags in a row cannot be understood"))
            }
        }
    }

    @Test("Where publishing is turned off, POST and PUT are methods that there are not, and nobody is asked")
    func turnedOff() async throws {
        var configuration = MediaHTTPConfiguration()
        configuration.publish.isEnabled = false
        try await Fixture.run(configuration: configuration) { fixture in
            let client = try await fixture.client()
            try await Self.post(client, "/live/demo.flv", "Content-Length: \(Self.flv.readableBytes)\r\n")
            try await client.send(Self.flv)
            let (head, _) = try await client.response()
            #expect(head.status == 405)
            #expect(head["allow"] == "GET, HEAD, OPTIONS", "\(head.fields)")
            #expect(fixture.gate.peers.isEmpty)
        }
    }

    @Test("A publisher that is silent, kicked or replaced is answered, and one that vanishes ends the stream")
    func endings() async throws {
        var configuration = MediaHTTPConfiguration()
        configuration.publish.firstMediaTimeout = .milliseconds(300)
        configuration.publish.mediaTimeout = .milliseconds(300)
        try await Fixture.run(
            .init(flush: .realtime, publish: .init(policy: .takeover)), configuration: configuration
        ) { fixture in
            let silent = try await fixture.client()
            try await Self.post(silent, "/live/silent.flv", "Transfer-Encoding: chunked\r\n")
            let (first, text) = try await silent.response()
            #expect(first.status == 408)
            #expect(text.contains("no media for 300 ms"))

            let kicked = try await fixture.client()
            try await Self.post(kicked, "/live/kicked.flv", "Transfer-Encoding: chunked\r\n")
            try await eventually("a session") { fixture.gate.peers.last?.account?.activity != nil }
            fixture.gate.peers.last?.account?.terminate(.kicked, "an operator ended it")
            let (second, why) = try await kicked.response()
            #expect(second.status == 403)
            #expect(why.contains("an operator ended it"))

            let old = try await fixture.client()
            try await Self.post(old, "/live/demo.flv?token=a", "Transfer-Encoding: chunked\r\n")
            try await old.send(Self.chunked(Self.flv))
            try await eventually("a session") { fixture.gate.peers.last?.account?.activity != nil }
            let tap = try await Self.tap(fixture)
            let new = try await fixture.client()
            try await Self.post(new, "/live/demo.flv?token=a", "Transfer-Encoding: chunked\r\n")
            let (third, _) = try await old.response()
            #expect(third.status == 409)
            #expect(!tap.hasEnded)
            try await new.send(Self.chunked(Self.flv))
            try await new.close()
            try await eventually("the stream waits") { tap.hasEnded }
        }
    }

    @Test("When the node shuts down, a publisher is told")
    func shutdown() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client()
            try await Self.post(client, "/live/demo.flv", "Transfer-Encoding: chunked\r\n")
            try await client.send(Self.chunked(Self.flv))
            try await eventually("a session") { fixture.gate.peers.last?.account?.activity != nil }
            fixture.accepted.quiesce()
            let (head, body) = try await client.response()
            #expect(head.status == 503)
            #expect(body.contains("shutting down"))
        }
    }
}
