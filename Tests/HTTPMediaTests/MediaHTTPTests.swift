import Media
import NIOCore
import StreamHub
import Streaming
import TestSupport
import Testing

@testable import HTTPMedia

@Suite("HTTP-FLV", .timeLimit(.minutes(1)))
struct MediaHTTPTests {
    private static let key =
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

    // MARK: Streams

    @Test("a stream comes in chunks that hold the header, the codec headers and every frame")
    func chunked() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            try await fixture.send(0..<30)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv?token=x")
            let head = try await client.head()
            #expect(head.status == 200)
            #expect(head["content-type"] == "video/x-flv")
            #expect(head["transfer-encoding"] == "chunked")
            #expect(head["cache-control"] == "no-store")
            #expect(head["content-length"] == nil)
            #expect(head["access-control-allow-origin"] == nil)
            try await fixture.send(30..<60)
            let expected = Fixture.flv(25...59)
            let body = try await client.chunks(expected.readableBytes)
            #expect(body == expected)
            let peer = try #require(fixture.gate.peers.first)
            #expect(peer.transport == "http-flv")
            #expect(peer.host == "media.example")
            #expect(peer.token == "x")
        }
    }

    @Test("a client that closes afterwards gets the bytes without chunks, ended by the connection's end")
    func unchunked() async throws {
        let settings = LiveStreamSettings(flush: .realtime, publish: PublishSettings(policy: .reject))
        try await Fixture.run(settings) { fixture in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv", headers: "Connection: close\r\n")
            let head = try await client.head()
            #expect(head.status == 200)
            #expect(head["transfer-encoding"] == nil)
            #expect(head["connection"] == "close")
            try await fixture.send(5..<10)
            let expected = Fixture.flv(0...9)
            let body = try await client.take(expected.readableBytes)
            #expect(body == expected)
            try await fixture.onHome { $0.left(1) }
            try await eventually("the connection ends") { client.isClosed }
            #expect(client.pending.readableBytes == 0)
        }
    }

    @Test("the end of a stream is the last chunk")
    func endOfStream() async throws {
        let settings = LiveStreamSettings(flush: .realtime, publish: PublishSettings(policy: .reject))
        try await Fixture.run(settings) { fixture in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv")
            #expect(try await client.head().status == 200)
            let expected = Fixture.flv(0...4)
            #expect(try await client.chunks(expected.readableBytes) == expected)
            try await fixture.onHome { $0.left(1) }
            #expect(try await client.chunk().readableBytes == 0)
            try await eventually("the connection ends") { client.isClosed }
            #expect(client.pending.readableBytes == 0)
        }
    }

    @Test("only the kind of track that was asked for is sent")
    func selection() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv?only=audio")
            #expect(try await client.head().status == 200)
            try await fixture.send(5..<10)
            try await Task.sleep(for: .milliseconds(50))
            #expect(client.pending.readableBytes == 0)
        }
    }

    @Test("a client that goes away leaves its stream")
    func clientLeaves() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv")
            _ = try await client.head()
            try await eventually("it watches") { try await fixture.onHome(\.viewerCount) == 1 }
            try await client.close()
            try await eventually("it left") { try await fixture.onHome(\.viewerCount) == 0 }
        }
    }

    @Test("a client that goes away before the gate has answered is not kept")
    func clientLeavesEarly() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            let client = try await fixture.client()
            try await client.get("/slow/demo.flv")
            try await eventually("the gate is asked") { fixture.gate.peers.count == 1 }
            try await client.close()
            try await Task.sleep(for: .milliseconds(150))
            #expect(try await fixture.onHome(\.viewerCount) == 0)
        }
    }

    // MARK: Answers

    @Test("HEAD tells of a stream without sending it, and the connection goes on")
    func head() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            let client = try await fixture.client()
            try await client.get("/live/demo.flv", "HEAD")
            let head = try await client.head()
            #expect(head.status == 200)
            #expect(head["content-type"] == "video/x-flv")
            try await client.get("/live/none.flv", "HEAD")
            #expect(try await client.head().status == 404)
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
            #expect(try await fixture.onHome(\.viewerCount) == 0)
        }
    }

    @Test("a page of another origin may ask and read")
    func cors() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client()
            try await client.get(
                "/live/demo.flv", "OPTIONS",
                headers: "Origin: https://page.example\r\nAccess-Control-Request-Method: GET\r\n")
            let (options, _) = try await client.response()
            #expect(options.status == 204)
            #expect(options["access-control-allow-origin"] == "*")
            #expect(options["access-control-allow-methods"] == "GET, HEAD, OPTIONS, POST, PUT")
            #expect(options["content-length"] == nil)
            try await client.get("/live/demo.flv", headers: "Origin: https://page.example\r\n")
            let (missing, _) = try await client.response()
            #expect(missing.status == 404)
            #expect(missing["access-control-allow-origin"] == "*")
            try await fixture.publish()
            try await client.get("/live/demo.flv", headers: "Origin: https://page.example\r\n")
            let found = try await client.head()
            #expect(found.status == 200)
            #expect(found["access-control-allow-origin"] == "*")
        }
    }

    @Test("an origin that is not named may not read")
    func strictCORS() async throws {
        try await Fixture.run(configuration: MediaHTTPConfiguration(corsOrigins: ["https://a.example"])) { fixture in
            try await fixture.publish()
            let client = try await fixture.client()
            try await client.get("/live/none.flv", headers: "Origin: https://b.example\r\n")
            let (missing, _) = try await client.response()
            #expect(missing["access-control-allow-origin"] == nil)
            try await client.get("/live/demo.flv", headers: "Origin: https://a.example\r\n")
            let head = try await client.head()
            #expect(head["access-control-allow-origin"] == "https://a.example")
            #expect(head["vary"] == "Origin")
        }
    }

    @Test("a refusal is a problem document, and the connection goes on")
    func refusals() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client()
            for (path, status) in [
                ("/live/none.flv", 404), ("/down/x.flv", 503), ("/busy/x.flv", 409), ("/live/..%2F.flv", 400),
            ] {
                try await client.get(path)
                let (head, body) = try await client.response()
                #expect(head.status == status, "\(path)")
                #expect(head["content-type"] == "application/problem+json")
                #expect(body.contains("\"status\":\(status)"))
                #expect(body.contains("\"detail\":"))
            }
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
        }
    }

    @Test("a refusal to a client that closes afterwards closes")
    func refusalAndClose() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client()
            try await client.get("/live/none.flv", headers: "Connection: close\r\n")
            #expect(try await client.response().head.status == 404)
            try await eventually("the connection ends") { client.isClosed }
        }
    }

    @Test("a method that streams do not have is refused with its body, and the connection goes on")
    func post() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client()
            try await client.send(
                "POST /live/demo.ts HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello ")
            let (head, _) = try await client.response()
            #expect(head.status == 405)
            #expect(head["allow"] == "GET, HEAD, OPTIONS")
            try await client.send("world")
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
        }
    }

    @Test("other requests of the application are not touched")
    func application() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client()
            for _ in 0..<3 {
                try await client.get("/hello")
                let (head, body) = try await client.response()
                #expect(head.status == 200)
                #expect(body == "hello")
            }
            try await client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(try await client.response().body == "hello")
            #expect(try await client.response().body == "hello")
            #expect(fixture.gate.peers.isEmpty)
        }
    }

    @Test("the second request of a connection may be the stream")
    func secondRequest() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/hello")
            #expect(try await client.response().body == "hello")
            try await client.get("/live/none.flv")
            #expect(try await client.response().head.status == 404)
            try await client.get("/live/demo.flv")
            #expect(try await client.head().status == 200)
            let expected = Fixture.flv(0...4)
            #expect(try await client.chunks(expected.readableBytes) == expected)
        }
    }

    @Test("a request behind a stream, which never ends, closes the connection")
    func pipelinedBehindStream() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv")
            #expect(try await client.head().status == 200)
            try await client.get("/hello")
            try await eventually("the connection ends") { client.isClosed }
            try await eventually("it left") { try await fixture.onHome(\.viewerCount) == 0 }
        }
    }

    @Test("a stream is not answered before the requests in front of it, nor are two at once")
    func pipelined() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            let client = try await fixture.client()
            try await client.send(
                "GET /slow/a.flv HTTP/1.1\r\nHost: a\r\n\r\nGET /live/demo.flv HTTP/1.1\r\nHost: a\r\n\r\n")
            try await eventually("the connection ends") { client.isClosed }
            #expect(client.pending.readableBytes == 0)
            #expect(try await fixture.onHome(\.viewerCount) == 0)
        }
    }

    @Test("what would close an idle connection does not close one that carries a stream")
    func idleTimeout() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv")
            #expect(try await client.head().status == 200)
            // The handler that watches for idle connections closes from behind, like this.
            try await fixture.accepted.first?.close().get()
            try await fixture.send(5..<30)
            let expected = Fixture.flv(0...29)
            #expect(try await client.chunks(expected.readableBytes) == expected)
            #expect(!client.isClosed)
        }
    }

    // MARK: WebSocket

    @Test("a stream comes over WebSocket, in binary messages")
    func webSocket() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            try await fixture.send(0..<5)
            let client = try await fixture.client()
            try await client.get("/live/demo.flv", headers: Self.key)
            let head = try await client.head()
            #expect(head.status == 101)
            #expect(head["upgrade"] == "websocket")
            #expect(head["connection"] == "Upgrade")
            #expect(head["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            try await fixture.send(5..<7, bytes: 70_000)
            var expected = Fixture.flv(0...4)
            for number in 5..<7 {
                let frame = Fixture.frame(number, bytes: 70_000)
                var encoder = FLVRendition()
                encoder.write(.frame(frame), state: StreamState(video: Fixture.track), at: frame.dts, into: &expected)
            }
            var body = ByteBuffer()
            while body.readableBytes < expected.readableBytes {
                let frame = try await client.webSocketFrame()
                #expect(frame.first == 0x82)
                guard frame.body.readableBytes > 0 else { break }
                body.writeImmutableBuffer(frame.body)
            }
            #expect(body == expected)
            #expect(fixture.gate.peers.map(\.transport) == ["ws-flv"])
        }
    }

    @Test("a ping is answered with its payload, between the messages of the stream")
    func ping() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            let client = try await fixture.client()
            try await client.get("/live/demo.flv", headers: Self.key)
            #expect(try await client.head().status == 101)
            for payload in [[], Array("Hello".utf8), [UInt8](repeating: 9, count: 125)] {
                try await client.sendMasked(0x89, payload)
                let pong = try await client.webSocketFrame()
                #expect(pong.first == 0x8A)
                #expect(Array(pong.body.readableBytesView) == payload)
            }
            // Texts of the client mean nothing.
            try await client.sendMasked(0x81, Array("ignored".utf8))
            try await fixture.send(0..<1)
            #expect(try await client.webSocketFrame().first == 0x82)
        }
    }

    @Test("a client's wish to close is answered, and the connection ends")
    func close() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            let client = try await fixture.client()
            try await client.get("/live/demo.flv", headers: Self.key)
            #expect(try await client.head().status == 101)
            try await client.sendMasked(0x88, [0x03, 0xE8])
            #expect(try await client.webSocketFrame().first == 0x88)
            try await eventually("the connection ends") { client.isClosed }
            #expect(try await fixture.onHome(\.viewerCount) == 0)
        }
    }

    @Test("the end of a stream closes the WebSocket with the code for a normal end")
    func endOverWebSocket() async throws {
        let settings = LiveStreamSettings(flush: .realtime, publish: PublishSettings(policy: .reject))
        try await Fixture.run(settings) { fixture in
            try await fixture.publish()
            let client = try await fixture.client()
            try await client.get("/live/demo.flv", headers: Self.key)
            #expect(try await client.head().status == 101)
            try await eventually("it watches") { try await fixture.onHome(\.viewerCount) == 1 }
            try await fixture.onHome { $0.left(1) }
            let end = try await client.webSocketFrame()
            #expect(end.first == 0x88)
            #expect(end.body == ByteBuffer(bytes: [0x03, 0xE8]))
            try await eventually("the connection ends") { client.isClosed }
        }
    }

    @Test("a broken WebSocket frame costs the connection")
    func brokenFrame() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish()
            let client = try await fixture.client()
            try await client.get("/live/demo.flv", headers: Self.key)
            #expect(try await client.head().status == 101)
            // A frame of 2^62 bytes.
            try await client.send(ByteBuffer(bytes: [0x82, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]))
            try await eventually("the connection ends") { client.isClosed }
            try await eventually("it left") { try await fixture.onHome(\.viewerCount) == 0 }
        }
    }

    @Test("an upgrade is refused like any other request")
    func refusedUpgrade() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client()
            try await client.get("/live/none.flv", headers: Self.key)
            #expect(try await client.response().head.status == 404)
        }
    }
}
