import AMF
import FLV
import Foundation
import Logging
import Media
import NIOCore
import NIOPosix
import NIOSSL
import RTMP
import StreamHub
import Streaming
import Synchronization
import TLSContexts
import TestSupport
import Testing

@testable import RTMPServer

/// A list that several loops may append to.
final class Log<Value: Sendable>: Sendable {
    private let log = Mutex<[Value]>([])

    var values: [Value] { self.log.withLock { $0 } }

    func append(_ value: Value) { self.log.withLock { $0.append(value) } }
}

/// A node's decisions over a real hub, without a cluster.
///
/// The app `down` cannot be served, `bad` names no stream, and `revoked` loses its stream while it is being admitted.
final class TestGate: SessionGate {
    let hub: StreamHub
    private let epochs = Mutex<UInt64>(40)
    let publishers = Log<PeerIdentity>()
    let players = Log<PeerIdentity>()
    let relays = Log<RelayIdentity?>()
    /// The nodes that publishers were forwarded by.
    let forwarders = Log<RelayIdentity?>()

    init(hub: StreamHub) { self.hub = hub }

    private func key(_ peer: PeerIdentity) -> Result<StreamKey, SessionRefusal> {
        switch peer.app {
        case "down": return .failure(SessionRefusal(.unavailable, "the test says no"))
        case "bad": return .failure(SessionRefusal(.badName, "the test dislikes the name"))
        case "secret": return .failure(SessionRefusal(.unauthorized, "the test wants a token"))
        default: break
        }
        do {
            return .success(try StreamKey(app: peer.app, name: peer.name))
        } catch {
            return .failure(SessionRefusal(.badName, "\(error)"))
        }
    }

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        self.players.append(peer)
        self.relays.append(relay)
        switch self.key(peer) {
        case .failure(let refusal): return .failure(refusal)
        case .success(let key):
            guard let stream = self.hub.existing(key),
                let epoch = try? await stream.home.submit({ stream.snapshot().epoch }).get(),
                epoch > 0
            else { return .failure(SessionRefusal(.notFound, "nobody publishes \(key)")) }
            return .success(PlayGrant(stream: stream, epoch: epoch))
        }
    }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        self.publishers.append(peer)
        self.forwarders.append(relay)
        guard case .success(let key) = self.key(peer) else {
            return .failure(self.key(peer).failure ?? SessionRefusal(.unavailable, ""))
        }
        let id = self.hub.nextSessionID()
        let epoch = self.epochs.withLock { value in
            value += 1
            return value
        }
        let loop = connection.loop
        let stream = self.hub.stream(key, home: loop)
        let isActive = try? await stream.home.submit {
            guard stream.claim(.init(id: id, token: peer.token)) == nil else { return false }
            return stream.activate(id, publisher: connection, epoch: epoch, clock: clock)
        }.get()
        guard isActive == true else { return .failure(SessionRefusal(.busy, "somebody publishes \(key)")) }
        if peer.app == "revoked" {
            connection.publishingRevoked(.superseded(epoch: 99))
            try? await Task.sleep(for: .milliseconds(50))
        }
        let sink = try? await loop.submit {
            NIOLoopBound<any MediaSink>(Publication(stream: stream, id: id, epoch: epoch), eventLoop: loop)
        }.get()
        return sink.map { .success($0) } ?? .failure(SessionRefusal(.unavailable, "the loop is gone"))
    }
}

extension Result {
    fileprivate var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}

enum Sample {
    /// An `avcC` with one short parameter set of each kind.
    static let avcRecord = ByteBuffer(bytes: [
        1, 66, 0, 30, 0xFF, 0xE1, 0, 5, 0x67, 66, 0, 30, 0x80, 1, 0, 4, 0x68, 0xCE, 0x3C, 0x80,
    ])
    static let video = Track(codec: .h264, configuration: avcRecord, format: .video(VideoFormat()))
    static let audio = Track(
        codec: .aac, configuration: ByteBuffer(bytes: [0x12, 0x10]), format: .audio(AudioFormat()))

    static func video(_ number: Int, gop: Int = 25, bytes: Int = 400) -> Frame {
        let time = MediaTime(millis: Int64(number) * 40)
        var payload = ByteBuffer()
        payload.writeInteger(UInt32(bytes))
        payload.writeInteger(UInt32(number))
        payload.writeRepeatingByte(UInt8(truncatingIfNeeded: number), count: max(0, bytes - 4))
        return Frame(codec: .h264, dts: time, pts: time, isKeyframe: number % gop == 0, payload: payload)
    }

    static func audio(_ number: Int) -> Frame {
        let time = MediaTime(millis: Int64(number) * 40 + 5)
        var payload = ByteBuffer()
        payload.writeInteger(UInt32(number))
        payload.writeRepeatingByte(0xAA, count: 30)
        return Frame(codec: .aac, dts: time, pts: time, isKeyframe: true, payload: payload)
    }

    /// The body of a frame's RTMP message.
    static func body(_ frame: Frame) -> ByteBuffer {
        var body = ByteBuffer()
        FLVTagBodyWriter.writeHeader(of: frame, track: frame.kind == .video ? self.video : self.audio, into: &body)
        body.writeImmutableBuffer(frame.payload)
        return body
    }

    static func configurationBody(_ track: Track) -> ByteBuffer {
        var body = ByteBuffer()
        FLVTagBodyWriter.writeConfiguration(of: track, into: &body)
        return body
    }
}

/// An RTMP client over a real socket.
final class TestClient: ChannelInboundHandler, @unchecked Sendable {
    // Safety: everything but `events` and `state` is touched on the channel's loop only.
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct State {
        var isClosed = false
        var error: RTMPError?
        var channel: (any Channel)?
    }

    let events = Log<RTMPClientEvent>()
    let wire = WireCounter()
    private let state = Mutex(State())
    private var session: RTMPClientSession
    private var context: ChannelHandlerContext?
    private let chunkSize: Int

    init(_ role: RTMPClientTarget.Role, app: String, name: String, properties: [AMFProperty] = []) {
        var configuration = RTMPClientConfiguration()
        configuration.mediaTimeout = nil
        self.chunkSize = configuration.chunkSize
        self.session = RTMPClientSession(
            configuration: configuration,
            target: RTMPClientTarget(
                tcURL: "rtmp://127.0.0.1/\(app)", app: app, streamName: name, role: role,
                connectProperties: properties),
            randomBytes: ByteBuffer(repeating: 7, count: RTMPClientSession.randomByteCount), now: .now())
    }

    var isClosed: Bool { self.state.withLock { $0.isClosed } }
    var error: RTMPError? { self.state.withLock { $0.error } }

    func connect(to port: Int, group: any EventLoopGroup, tls: NIOSSLContext? = nil) async throws {
        let channel = try await ClientBootstrap(group: group)
            .channelOption(.socketOption(.so_rcvbuf), value: 32 << 10)
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

    private var channel: (any Channel)? { self.state.withLock { $0.channel } }

    func close() async throws {
        try? await self.channel?.close().get()
    }

    /// Closes, and waits for nothing.
    func leave() { self.channel?.close(promise: nil) }

    func setReading(_ isReading: Bool) async throws {
        try await self.channel?.setOption(.autoRead, value: isReading).get()
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelActive(context: ChannelHandlerContext) { self.drain() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.session.receive(self.unwrapInboundIn(data), now: .now())
        self.drain()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.state.withLock { $0.isClosed = true }
        self.context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func drain() {
        while let output = self.session.nextOutput() {
            switch output {
            case .transmit(let bytes): self.context?.write(self.wrapOutboundOut(bytes), promise: nil)
            case .event(let event): self.events.append(event)
            case .close(let error):
                self.state.withLock { $0.error = error }
                self.context?.flush()
                self.context?.close(promise: nil)
            }
        }
        self.context?.flush()
    }

    // MARK: What came

    var media: [RTMPMediaMessage] {
        self.events.values.compactMap { if case .media(let message) = $0 { message } else { nil } }
    }

    /// The bodies of the messages of one kind.
    func bodies(_ kind: MediaKind) -> [ByteBuffer] { self.media.filter { $0.kind == kind }.map(\.body) }

    var isEstablished: Bool {
        self.events.values.contains {
            switch $0 {
            case .playing, .publishing: true
            default: false
            }
        }
    }

    var rejection: String? {
        for case .rejected(let code, _, _) in self.events.values { return code }
        return nil
    }

    /// What the server said at the end.
    var endText: String? {
        for case .ended(_, let description) in self.events.values { return description }
        return nil
    }

    var endCode: String? {
        for case .ended(let code, _) in self.events.values { return code }
        return nil
    }

    // MARK: Publishing

    func send(_ events: [MediaEvent]) async throws {
        guard let channel = self.channel else { return }
        let chunkSize = self.chunkSize
        try await channel.eventLoop.submit {
            var bytes = ByteBuffer()
            for event in events {
                let (kind, time, body): (MediaKind, UInt32, ByteBuffer)
                switch event {
                case .track(let track): (kind, time, body) = (track.kind, 0, Sample.configurationBody(track))
                case .frame(let frame): (kind, time, body) = (frame.kind, frame.dts.rtmp, Sample.body(frame))
                case .metadata, .data: continue
                }
                RTMPChunkWriter.write(
                    typeID: kind == .video ? RTMPMessageType.video : RTMPMessageType.audio, timestamp: time,
                    messageStreamID: self.session.messageStreamID,
                    chunkStreamID: kind == .video ? RTMPChunkStreamID.video : RTMPChunkStreamID.audio, payload: body,
                    chunkSize: chunkSize, into: &bytes)
            }
            channel.writeAndFlush(bytes, promise: nil)
        }.get()
    }

    func sendTracks() async throws { try await self.send([.track(Sample.video), .track(Sample.audio)]) }

    func sendFrames(_ numbers: Range<Int>, gop: Int = 25, bytes: Int = 400) async throws {
        for number in numbers {
            try await self.send([
                .frame(Sample.video(number, gop: gop, bytes: bytes)), .frame(Sample.audio(number)),
            ])
        }
    }

    /// Sends video messages that nobody can read.
    func sendGarbage(count: Int) async throws {
        guard let channel = self.channel else { return }
        let chunkSize = self.chunkSize
        try await channel.eventLoop.submit {
            var bytes = ByteBuffer()
            for _ in 0..<count {
                RTMPChunkWriter.write(
                    typeID: RTMPMessageType.video, timestamp: 0, messageStreamID: self.session.messageStreamID,
                    chunkStreamID: RTMPChunkStreamID.video, payload: ByteBuffer(bytes: [0x17, 1]),
                    chunkSize: chunkSize, into: &bytes)
            }
            channel.writeAndFlush(bytes, promise: nil)
        }.get()
    }

    func unpublish() async throws {
        try await self.channel?.eventLoop.submit {
            self.session.unpublish(now: .now())
            self.drain()
        }.get()
    }
}

/// A server on a port of its own, its hub, and clients.
final class Fixture: Sendable {
    /// It outlives the server: a connection may be over before the hub has answered it.
    let group = MultiThreadedEventLoopGroup.singleton
    let hub: StreamHub
    let gate: TestGate
    let sessions = SessionRegistry()
    let server: RTMPServer
    let port: Int
    let logger: Logger
    private let clients = Mutex<[TestClient]>([])

    init(
        _ settings: LiveStreamSettings = .init(flush: .realtime), maximumConnections: Int = 100,
        tls: TLSContextStore? = nil, clusterSecret: String? = nil, audioForm: AudioForm = .source,
        configure: (inout RTMPSessionConfiguration) -> Void = { _ in }
    ) async throws {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        self.logger = logger
        self.hub = StreamHub(sessions: self.sessions) { _ in settings }
        self.gate = TestGate(hub: self.hub)
        var session = RTMPSessionConfiguration()
        configure(&session)
        self.server = RTMPServer(
            group: self.group,
            configuration: RTMPServerConfiguration(
                session: session, maximumConnections: maximumConnections, audioForm: { _ in audioForm },
                sessions: self.sessions, clusterSecret: clusterSecret),
            gate: self.gate, hub: self.hub, logger: logger)
        self.port = try await self.server.listen(host: "127.0.0.1", port: 0, tls: tls)
    }

    static func run(
        _ settings: LiveStreamSettings = .init(flush: .realtime), maximumConnections: Int = 100,
        tls: TLSContextStore? = nil, clusterSecret: String? = nil, audioForm: AudioForm = .source,
        configure: (inout RTMPSessionConfiguration) -> Void = { _ in }, _ body: (Fixture) async throws -> Void
    ) async throws {
        let fixture = try await Fixture(
            settings, maximumConnections: maximumConnections, tls: tls, clusterSecret: clusterSecret,
            audioForm: audioForm, configure: configure)
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(try await body(fixture))
        } catch {
            outcome = .failure(error)
        }
        await fixture.server.stopAccepting()
        fixture.server.endConnections()
        for client in fixture.clients.withLock({ $0 }) { client.leave() }
        try outcome.get()
    }

    func client(
        _ role: RTMPClientTarget.Role, app: String = "live", name: String = "demo", properties: [AMFProperty] = [],
        tls: NIOSSLContext? = nil
    ) async throws -> TestClient {
        let client = TestClient(role, app: app, name: name, properties: properties)
        try await client.connect(to: self.port, group: self.group, tls: tls)
        self.clients.withLock { $0.append(client) }
        return client
    }

    /// A publisher that was admitted and has announced its tracks.
    func publisher(app: String = "live", name: String = "demo", tls: NIOSSLContext? = nil) async throws -> TestClient {
        let client = try await self.client(.publish, app: app, name: name, tls: tls)
        try await eventually("the publisher is admitted") { client.isEstablished }
        try await client.sendTracks()
        return client
    }

    func player(app: String = "live", name: String = "demo", tls: NIOSSLContext? = nil) async throws -> TestClient {
        let client = try await self.client(.play, app: app, name: name, tls: tls)
        try await eventually("the player is admitted") { client.isEstablished }
        return client
    }

    func snapshot(_ name: String = "demo") async throws -> StreamSnapshot? {
        guard let stream = self.hub.existing(try StreamKey(app: "live", name: name)) else { return nil }
        return try await stream.home.submit { stream.snapshot() }.get()
    }

    /// Waits until the hub has counted that many video frames.
    func received(_ count: Int, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        try await eventually("\(count) frames", sourceLocation: sourceLocation) {
            (try await self.snapshot()?.counters.videoFrames ?? 0) >= count
        }
    }
}

/// A connection that sends and reads bytes without any protocol.
final class RawClient: ChannelInboundHandler, @unchecked Sendable {
    // Safety: `state` is behind its lock; the handler has nothing else.
    typealias InboundIn = ByteBuffer

    private struct State {
        var received = ByteBuffer()
        var isClosed = false
        var channel: (any Channel)?
    }

    private let state = Mutex(State())

    var received: ByteBuffer { self.state.withLock { $0.received } }
    var isClosed: Bool { self.state.withLock { $0.isClosed } }

    init(port: Int, group: any EventLoopGroup) async throws {
        let channel = try await ClientBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(self) }
            }
            .connect(host: "127.0.0.1", port: port).get()
        self.state.withLock { $0.channel = channel }
    }

    func send(_ bytes: ByteBuffer) async throws {
        try? await self.state.withLock { $0.channel }?.writeAndFlush(bytes).get()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data)
        self.state.withLock { _ = $0.received.writeImmutableBuffer(bytes) }
    }

    func channelInactive(context: ChannelHandlerContext) { self.state.withLock { $0.isClosed = true } }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
