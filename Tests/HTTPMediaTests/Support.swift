import FLV
import HTTPTypes
import HummingbirdCore
import Logging
import Media
import MediaObjects
import NIOCore
import NIOPosix
import NIOSSL
import StreamHub
import Streaming
import Synchronization
import TLSContexts
import TestSupport
import Testing

@testable import HTTPMedia

extension [UInt8] {
    fileprivate func ends(with suffix: [UInt8]) -> Bool { self.suffix(suffix.count).elementsEqual(suffix) }
}

/// A node's decisions over a real hub: what the hub has can be played.
///
/// The app `slow` is decided after 100 ms, `down` cannot be served, and `busy` is taken.
final class TestGate: SessionGate {
    let hub: StreamHub
    private let log = Mutex<[PeerIdentity]>([])

    init(hub: StreamHub) { self.hub = hub }

    var peers: [PeerIdentity] { self.log.withLock { $0 } }

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        self.log.withLock { $0.append(peer) }
        switch peer.app {
        case "slow": try? await Task.sleep(for: .milliseconds(100))
        case "down": return .failure(SessionRefusal(.unavailable, "the test says no"))
        case "busy": return .failure(SessionRefusal(.busy, "the test says \"taken\""))
        default: break
        }
        do {
            let key = try StreamKey(app: peer.app, name: peer.name)
            guard let stream = self.hub.existing(key) else {
                return .failure(SessionRefusal(.notFound, "nobody publishes \(key)"))
            }
            return .success(PlayGrant(stream: stream, epoch: 1))
        } catch {
            return .failure(SessionRefusal(.badName, "\(error)"))
        }
    }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        self.log.withLock { $0.append(peer) }
        switch peer.app {
        case "slow": try? await Task.sleep(for: .milliseconds(100))
        case "down": return .failure(SessionRefusal(.unavailable, "the test says no"))
        case "secret": return .failure(SessionRefusal(.unauthorized, "the test wants a token"))
        default: break
        }
        do {
            let stream = self.hub.stream(try StreamKey(app: peer.app, name: peer.name), home: connection.loop)
            let id = self.hub.nextSessionID()
            let isActive = try await stream.home.submit {
                stream.claim(.init(id: id, token: peer.token)) == nil
                    && stream.activate(id, publisher: connection, epoch: 7, clock: clock)
            }.get()
            guard isActive else { return .failure(SessionRefusal(.busy, "the test says that it is taken")) }
            return .success(
                try await connection.loop.submit {
                    NIOLoopBound(Publication(stream: stream, id: id, epoch: 7), eventLoop: connection.loop)
                }.get())
        } catch {
            return .failure(SessionRefusal(.badName, "\(error)"))
        }
    }
}

final class AcceptedChannels: Sendable {
    private let channels = Mutex<[any Channel]>([])

    func append(_ channel: any Channel) { self.channels.withLock { $0.append(channel) } }
    var first: (any Channel)? { self.channels.withLock { $0.first } }
    var count: Int { self.channels.withLock { $0.count } }
    var openCount: Int { self.channels.withLock { $0.count { $0.isActive } } }

    /// Tells all connections that the node shuts down, as its listener does.
    func quiesce() {
        for channel in self.channels.withLock({ $0 }) {
            channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
    }

    func close() { for channel in self.channels.withLock({ $0 }) { channel.close(promise: nil) } }
}

private final class SilentPublisher: Publisher {
    func publishingRevoked(_ reason: PublishEnd) {}
}

/// A media listener on a port of its own, in front of an application that says `hello`.
final class Fixture: Sendable {
    let group: MultiThreadedEventLoopGroup
    let hub: StreamHub
    let gate: TestGate
    /// The server's side of the connections.
    let accepted: AcceptedChannels
    let port: Int
    let key: StreamKey
    private let clients = Mutex<[HTTPClient]>([])

    static func run(
        _ settings: LiveStreamSettings = .init(flush: .realtime), configuration: MediaHTTPConfiguration = .init(),
        objects: (any MediaObjectSource)? = nil, tls: TLSContextStore? = nil,
        _ body: @escaping @Sendable (Fixture) async throws -> Void
    ) async throws {
        // It outlives the connections: the gate may answer for one that is over.
        let group = MultiThreadedEventLoopGroup.singleton
        let hub = StreamHub { _ in settings }
        let gate = TestGate(hub: hub)
        let accepted = AcceptedChannels()
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let media = MediaHTTPChannel(
            responder: { request, writer, _ in
                let isKnown = request.uri.path == "/hello"
                // An upload is answered with its length.
                var count = 0
                for try await piece in request.body { count += piece.readableBytes }
                let text = request.method == .post ? "\(count)" : isKnown ? "hello" : ""
                try await writer.write(
                    response: HTTPResponse(
                        status: text.isEmpty ? .notFound : .ok, headerFields: [.contentLength: "\(text.utf8.count)"]),
                    body: text.isEmpty ? ResponseBody() : ResponseBody(byteBuffer: ByteBuffer(string: text)))
            },
            configuration: configuration, gate: gate, hub: hub, objects: objects, tls: tls, logger: logger)
        let server = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 4_096)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .bind(host: "127.0.0.1", port: 0) { [logger] channel in
                accepted.append(channel)
                return media.setup(channel: channel, logger: logger)
            }
        let fixture = Fixture(
            group: group, hub: hub, gate: gate, accepted: accepted, port: server.channel.localAddress?.port ?? 0,
            key: try StreamKey(app: "live", name: "demo"))
        defer { fixture.closeConnections() }
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { [logger] in
                await withDiscardingTaskGroup { connections in
                    try? await server.executeThenClose { inbound in
                        for try await connection in inbound {
                            connections.addTask { await media.handle(value: connection, logger: logger) }
                        }
                    }
                }
            }
            tasks.addTask { try await body(fixture) }
            // The listener goes on until the test is over.
            let outcome = await tasks.nextResult()
            server.channel.close(promise: nil)
            tasks.cancelAll()
            try outcome?.get()
        }
    }

    private init(
        group: MultiThreadedEventLoopGroup, hub: StreamHub, gate: TestGate, accepted: AcceptedChannels, port: Int,
        key: StreamKey
    ) {
        self.accepted = accepted
        self.group = group
        self.hub = hub
        self.gate = gate
        self.port = port
        self.key = key
    }

    // MARK: The stream

    static let track = Track(
        codec: .h264,
        configuration: ByteBuffer(bytes: [
            1, 66, 0, 30, 0xFF, 0xE1, 0, 5, 0x67, 66, 0, 30, 0x80, 1, 0, 4, 0x68, 0xCE, 0x3C, 0x80,
        ]), format: .video(VideoFormat()))

    func publish(_ tracks: [Track] = [Fixture.track]) async throws {
        let stream = self.hub.stream(self.key, home: self.group.next())
        try await stream.home.submit {
            _ = stream.claim(.init(id: 1, token: ""))
            _ = stream.activate(1, publisher: SilentPublisher(), epoch: 1, clock: .rtmp)
            stream.receive(tracks.map(MediaEvent.track), from: 1)
        }.get()
    }

    func onHome<Value: Sendable>(_ body: @escaping @Sendable (LiveStream) -> Value) async throws -> Value {
        let stream = try #require(self.hub.existing(self.key))
        return try await stream.home.submit { body(stream) }.get()
    }

    static func frame(_ number: Int, bytes: Int = 50) -> Frame {
        let time = MediaTime(millis: Int64(number) * 40)
        return Frame(
            codec: .h264, dts: time, pts: time, isKeyframe: number % 25 == 0,
            payload: ByteBuffer(repeating: UInt8(truncatingIfNeeded: number), count: bytes))
    }

    func send(_ numbers: Range<Int>, bytes: Int = 50) async throws {
        for number in numbers {
            try await self.onHome { $0.receive([.frame(Self.frame(number, bytes: bytes))], from: 1) }
        }
    }

    /// The FLV bytes that a viewer must get which starts with frame `numbers.lowerBound`.
    static func flv(_ numbers: ClosedRange<Int>, bytes: Int = 50) -> ByteBuffer {
        var encoder = FLVRendition()
        let state = StreamState(video: self.track)
        var expected = ByteBuffer()
        encoder.writeHeader(state, into: &expected)
        encoder.writePrelude(state, at: self.frame(numbers.lowerBound).dts, into: &expected)
        for number in numbers {
            let frame = self.frame(number, bytes: bytes)
            encoder.write(.frame(frame), state: state, at: frame.dts, into: &expected)
        }
        return expected
    }

    func client(readsBytes: Bool = true, tls: NIOSSLContext? = nil) async throws -> HTTPClient {
        let client = try await HTTPClient(port: self.port, group: self.group, readsBytes: readsBytes, tls: tls)
        self.clients.withLock { $0.append(client) }
        return client
    }

    /// The server does not close a connection that carries a stream before its client does.
    private func closeConnections() {
        for client in self.clients.withLock({ $0 }) { client.leave() }
        self.accepted.close()
    }
}

/// A connection that sends and reads plain bytes, and takes responses apart.
final class HTTPClient: ChannelInboundHandler, @unchecked Sendable {
    // Safety: all state is behind the lock.
    typealias InboundIn = ByteBuffer

    private struct State {
        var received = ByteBuffer()
        var isClosed = false
        var channel: (any Channel)?
    }

    private let state = Mutex(State())
    let wire = WireCounter()

    /// `readsBytes`: false for a client that takes nothing.
    init(port: Int, group: any EventLoopGroup, readsBytes: Bool = true, tls: NIOSSLContext? = nil) async throws {
        let channel = try await ClientBootstrap(group: group)
            .channelOption(.autoRead, value: readsBytes)
            .channelOption(.allowRemoteHalfClosure, value: false)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(self.wire)
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: tls, serverHostname: nil))
                    }
                    try channel.pipeline.syncOperations.addHandler(self)
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        self.state.withLock { $0.channel = channel }
    }

    func setReading(_ isReading: Bool) async throws {
        try await self.state.withLock { $0.channel }?.setOption(.autoRead, value: isReading).get()
    }

    var isClosed: Bool { self.state.withLock { $0.isClosed } }
    /// What came and was not taken yet.
    var pending: ByteBuffer { self.state.withLock { $0.received } }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data)
        self.state.withLock { _ = $0.received.writeImmutableBuffer(bytes) }
    }

    func channelInactive(context: ChannelHandlerContext) { self.state.withLock { $0.isClosed = true } }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func send(_ text: String) async throws { try await self.send(ByteBuffer(string: text)) }

    func send(_ bytes: ByteBuffer) async throws {
        try? await self.state.withLock { $0.channel }?.writeAndFlush(bytes).get()
    }

    /// Takes what one read of the socket gives, for a client that reads no bytes by itself.
    func readOnce() async throws {
        let channel = self.state.withLock { $0.channel }
        try await channel?.eventLoop.submit { channel?.read() }.get()
    }

    /// Says that nothing more will come.
    func closeOutput() async throws { try await self.state.withLock { $0.channel }?.close(mode: .output).get() }

    func close() async throws { try? await self.state.withLock { $0.channel }?.close().get() }

    /// Closes, and waits for nothing.
    func leave() { self.state.withLock { $0.channel }?.close(promise: nil) }

    func get(_ path: String, _ method: String = "GET", headers: String = "") async throws {
        try await self.send("\(method) \(path) HTTP/1.1\r\nHost: media.example:8080\r\n\(headers)\r\n")
    }

    /// Takes the first `count` bytes, when they are there.
    func take(_ count: Int, sourceLocation: SourceLocation = #_sourceLocation) async throws -> ByteBuffer {
        try await eventually("\(count) bytes", sourceLocation: sourceLocation) {
            self.pending.readableBytes >= count || self.isClosed
        }
        let bytes = self.state.withLock { $0.received.readSlice(length: min(count, $0.received.readableBytes)) }
        return bytes ?? ByteBuffer()
    }

    struct Head: Equatable {
        var status: Int
        var fields: [String: String]

        subscript(name: String) -> String? { self.fields[name] }
    }

    /// Takes a response head.
    func head(sourceLocation: SourceLocation = #_sourceLocation) async throws -> Head {
        let end = Array("\r\n\r\n".utf8)
        func headEnd() -> Int? {
            let view = Array(self.pending.readableBytesView.prefix(16_384))
            guard view.count >= 4 else { return nil }
            return (0...(view.count - 4)).first { Array(view[$0..<($0 + 4)]) == end }
        }
        try await eventually("a response head", sourceLocation: sourceLocation) { headEnd() != nil || self.isClosed }
        let length = try #require(headEnd(), "closed without a response", sourceLocation: sourceLocation)
        let text = String(buffer: try await self.take(length + 4))
        var lines = text.split(separator: "\r\n")
        let statusLine = lines.removeFirst().split(separator: " ")
        try #require(statusLine.count >= 2, "no status line: \(statusLine)", sourceLocation: sourceLocation)
        let status = Int(statusLine[1]) ?? 0
        var fields: [String: String] = [:]
        for line in lines {
            let parts = line.split(separator: ":", maxSplits: 1)
            fields[parts[0].lowercased()] = parts.count > 1 ? String(parts[1].drop { $0 == " " }) : ""
        }
        return Head(status: status, fields: fields)
    }

    /// Takes a whole response with a length.
    func response(sourceLocation: SourceLocation = #_sourceLocation) async throws -> (head: Head, body: String) {
        let head = try await self.head(sourceLocation: sourceLocation)
        let length = head["content-length"].flatMap { Int($0) } ?? 0
        return (head, String(buffer: try await self.take(length, sourceLocation: sourceLocation)))
    }

    /// Takes one chunk of a chunked body; an empty one is its end.
    func chunk(sourceLocation: SourceLocation = #_sourceLocation) async throws -> ByteBuffer {
        var line: [UInt8] = []
        while !line.ends(with: [0x0D, 0x0A]) {
            let byte = try await self.take(1, sourceLocation: sourceLocation)
            guard byte.readableBytes == 1 else { break }
            line.append(contentsOf: byte.readableBytesView)
        }
        let digits = String(decoding: line.dropLast(2), as: UTF8.self)
        let size = try #require(
            Int(digits, radix: 16), "no chunk size: \(digits)", sourceLocation: sourceLocation)
        let body = try await self.take(size, sourceLocation: sourceLocation)
        let end = try await self.take(2, sourceLocation: sourceLocation)
        #expect(String(buffer: end) == "\r\n", sourceLocation: sourceLocation)
        return body
    }

    /// Takes chunks until their bodies have `count` bytes.
    func chunks(_ count: Int, sourceLocation: SourceLocation = #_sourceLocation) async throws -> ByteBuffer {
        var body = ByteBuffer()
        while body.readableBytes < count {
            let chunk = try await self.chunk(sourceLocation: sourceLocation)
            guard chunk.readableBytes > 0 else { break }
            body.writeImmutableBuffer(chunk)
        }
        return body
    }

    /// Takes one unmasked WebSocket frame.
    func webSocketFrame(sourceLocation: SourceLocation = #_sourceLocation) async throws -> (
        first: UInt8, body: ByteBuffer
    ) {
        var header = try await self.take(2, sourceLocation: sourceLocation)
        let first = header.readInteger(as: UInt8.self) ?? 0
        let short = header.readInteger(as: UInt8.self) ?? 0
        #expect(short & 0x80 == 0, "a server masks nothing", sourceLocation: sourceLocation)
        var length = Int(short)
        if short == 126 {
            var more = try await self.take(2)
            length = Int(more.readInteger(as: UInt16.self) ?? 0)
        } else if short == 127 {
            var more = try await self.take(8)
            length = Int(more.readInteger(as: UInt64.self) ?? 0)
        }
        return (first, try await self.take(length, sourceLocation: sourceLocation))
    }

    /// Sends a masked WebSocket frame, as clients must.
    func sendMasked(_ first: UInt8, _ payload: [UInt8]) async throws {
        let mask: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]
        var bytes = ByteBuffer(bytes: [first])
        if payload.count < 126 {
            bytes.writeInteger(0x80 | UInt8(payload.count))
        } else {
            bytes.writeInteger(UInt8(0xFE))
            bytes.writeInteger(UInt16(payload.count))
        }
        bytes.writeBytes(mask)
        bytes.writeBytes(payload.enumerated().map { $0.element ^ mask[$0.offset % 4] })
        try await self.send(bytes)
    }
}
