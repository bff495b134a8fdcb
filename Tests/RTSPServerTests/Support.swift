import Foundation
import Logging
import Media
import NIOCore
import NIOPosix
import RTSP
import RTSPSessions
import StreamHub
import Streaming
import Synchronization
import TestSupport
import Testing

@testable import RTSPServer

/// A node's decisions over a real hub, without a cluster. The app `token` wants the token `abc`.
final class TestGate: SessionGate {
    let hub: StreamHub
    private let asked = Mutex<[PeerIdentity]>([])

    init(hub: StreamHub) { self.hub = hub }

    var peers: [PeerIdentity] { self.asked.withLock { $0 } }

    private func key(_ peer: PeerIdentity) throws(SessionRefusal) -> StreamKey {
        self.asked.withLock { $0.append(peer) }
        if peer.app == "token", peer.authorization != "Bearer abc", peer.token != "abc" {
            throw SessionRefusal(.unauthorized, "the test wants a token")
        }
        do {
            return try StreamKey(app: peer.app, name: peer.name)
        } catch {
            throw SessionRefusal(.badName, "\(error)")
        }
    }

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        do throws(SessionRefusal) {
            let key = try self.key(peer)
            guard let stream = self.hub.existing(key) else {
                throw SessionRefusal(.notFound, "nobody publishes \(key)")
            }
            return .success(PlayGrant(stream: stream, epoch: 7))
        } catch {
            return .failure(error)
        }
    }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        do throws(SessionRefusal) {
            return .success(try await self.publish(self.key(peer), peer, clock, connection))
        } catch {
            return .failure(error)
        }
    }

    private func publish(
        _ key: StreamKey, _ peer: PeerIdentity, _ clock: SourceClock, _ connection: any PublisherConnection
    ) async throws(SessionRefusal) -> NIOLoopBound<any MediaSink> {
        let (id, loop) = (self.hub.nextSessionID(), connection.loop)
        let stream = self.hub.stream(key, home: loop)
        let isActive = try? await stream.home.submit {
            guard stream.claim(.init(id: id, token: peer.token)) == nil else { return false }
            return stream.activate(id, publisher: connection, epoch: 7, clock: clock)
        }.get()
        guard isActive == true else { throw SessionRefusal(.busy, "somebody publishes \(key)") }
        let sink = try? await loop.submit {
            NIOLoopBound<any MediaSink>(Publication(stream: stream, id: id, epoch: 7), eventLoop: loop)
        }.get()
        guard let sink else { throw SessionRefusal(.unavailable, "the loop is gone") }
        return sink
    }
}

/// A server with its hub on a port of its own.
final class Scene: Sendable {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    let sessions = SessionRegistry()
    let hub: StreamHub
    let gate: TestGate
    let server: RTSPServer
    let port: Int

    init(
        ports: ClosedRange<Int>? = nil, gopCacheBytes: Int = 32 << 20,
        configure: @Sendable (inout RTSPServerConfiguration) -> Void = { _ in }
    ) async throws {
        self.hub = StreamHub(sessions: self.sessions) { _ in
            var settings = LiveStreamSettings()
            settings.flush = .realtime
            settings.gopCacheBytes = gopCacheBytes
            return settings
        }
        self.gate = TestGate(hub: self.hub)
        var configuration = RTSPServerConfiguration(sessions: self.sessions) { _, app, name in
            var settings = RTSPStreamSettings()
            // In vain for the one stream that has nothing.
            settings.playWait = name == "silent" ? .seconds(2) : .seconds(10)
            settings.isEnabled = app != "off"
            if app == "accounts" {
                settings.players = [RTSPAccount(name: "me", password: "pw")]
                settings.publishers = settings.players
            }
            return settings
        }
        configuration.ports = ports
        configure(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        self.server = RTSPServer(
            group: self.group, configuration: configuration, gate: self.gate, hub: self.hub, logger: logger)
        self.port = try await self.server.listen(host: "127.0.0.1", port: 0)
    }

    func close() async throws {
        await self.server.stopAccepting()
        self.server.endConnections()
        try await eventually("all connections are over") { self.server.connectionCount == 0 }
        try await self.group.shutdownGracefully()
    }

    /// Who publishes or plays the stream now.
    func accounts(on key: StreamKey) -> [SessionAccount] {
        self.sessions.activities.filter { $0.activity.key == key }.map(\.account)
    }

    func client() async throws -> TestClient { try await TestClient(port: self.port, group: self.group) }

    /// Keeps a stream of H.264 and AAC published by frames, without a protocol.
    func publish(_ name: String, hasAudio: Bool = true) async throws -> Feed {
        try await Feed(self, name, hasAudio: hasAudio)
    }
}

/// A publisher of frames.
final class Feed: Sendable {
    private final class Connection: PublisherConnection {
        let loop: any EventLoop
        init(loop: any EventLoop) { self.loop = loop }
        func publishingRevoked(_ reason: PublishEnd) {}
        func setReading(_ isReading: Bool) {}
    }

    let stream: LiveStream
    private let sink: NIOLoopBound<any MediaSink>
    private let loop: any EventLoop
    private let index = Mutex(0)
    private let hasAudio: Bool

    init(_ scene: Scene, _ name: String, hasAudio: Bool) async throws {
        self.hasAudio = hasAudio
        self.loop = scene.group.next()
        let connection = Connection(loop: self.loop)
        var peer = PeerIdentity(
            transport: "test", address: "127.0.0.1:1", vhost: nil, host: "h", app: "live", name: name, query: "",
            token: "")
        peer.app = "live"
        self.sink = try await scene.gate.publish(
            peer, relay: nil, clock: SourceClock(period: nil), connection: connection
        ).get()
        self.stream = try #require(scene.hub.existing(StreamKey(app: "live", name: name)))
        let sps: [UInt8] = [
            0x67, 0x64, 0, 0x1E, 0xAC, 0xD9, 0x40, 0xA0, 0x2F, 0xF9, 0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x32, 0x0F,
            0x16, 0x2D, 0x96,
        ]
        let avc = try AVCDecoderConfiguration(
            sequenceParameterSets: [ByteBuffer(bytes: sps)],
            pictureParameterSets: [ByteBuffer(bytes: [0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0])])
        var record = ByteBuffer()
        avc.write(into: &record)
        try await self.send([.track(try Track(codec: .h264, parsingConfiguration: record))])
        guard hasAudio else { return }
        try await self.send([.track(try Track(codec: .aac, parsingConfiguration: ByteBuffer(bytes: [0x12, 0x08])))])
    }

    func send(_ events: [MediaEvent]) async throws {
        try await self.loop.submit { self.sink.value.receive(events) }.get()
    }

    /// Sends pictures, of which the first and each tenth is a keyframe, with audio between. Returns the pictures.
    @discardableResult
    func pictures(_ count: Int, length: Int = 3_000) async throws -> [Frame] {
        var sent: [Frame] = []
        for _ in 0..<count {
            let index = self.index.withLock { index in
                defer { index += 1 }
                return index
            }
            let isKeyframe = index % 10 == 0
            var payload = ByteBuffer()
            payload.writeMultipleIntegers(UInt32(length), UInt8(isKeyframe ? 0x65 : 0x41), UInt8(0x88))
            payload.writeRepeatingByte(UInt8(truncatingIfNeeded: index) | 1, count: length - 2)
            let time = MediaTime(ticks: Int64(index) * 3_600)
            let picture = Frame(codec: .h264, dts: time, pts: time, isKeyframe: isKeyframe, payload: payload)
            let sound = Frame(
                codec: .aac, dts: time, pts: time, isKeyframe: true,
                payload: ByteBuffer(repeating: UInt8(truncatingIfNeeded: index), count: 80))
            try await self.send(self.hasAudio ? [.frame(picture), .frame(sound)] : [.frame(picture)])
            sent.append(picture)
        }
        return sent
    }

    func finish() async throws { try await self.loop.submit { self.sink.value.finish() }.get() }
}

/// A client that says what the test wants it to say.
final class TestClient: Sendable {
    private final class Inbox: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        struct State {
            var reader = RTSPReader()
            var elements: [RTSPElement] = []
            var isClosed = false
        }

        let state = Mutex(State())

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = self.unwrapInboundIn(data)
            self.state.withLock { state in
                state.reader.append(bytes)
                while let element = try? state.reader.next() { state.elements.append(element) }
            }
        }

        func channelInactive(context: ChannelHandlerContext) { self.state.withLock { $0.isClosed = true } }
    }

    let channel: any Channel
    private let inbox: Inbox
    private let sequence = Mutex(0)
    let base: String

    init(host: String = "127.0.0.1", port: Int, group: any EventLoopGroup) async throws {
        let inbox = Inbox()
        self.inbox = inbox
        self.base = "rtsp://\(host.contains(":") ? "[\(host)]" : host):\(port)"
        self.channel = try await ClientBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(inbox) }
            }
            .connect(host: host, port: port).get()
    }

    var isClosed: Bool { self.inbox.state.withLock { $0.isClosed } }
    var elements: [RTSPElement] { self.inbox.state.withLock { $0.elements } }
    var responses: [RTSPResponse] {
        self.elements.compactMap { if case .response(let response) = $0 { response } else { nil } }
    }

    /// Packets of a channel, in their order.
    func packets(_ channel: UInt8) -> [ByteBuffer] {
        self.elements.compactMap { element in
            if case .packet(channel, let packet) = element { packet } else { nil }
        }
    }

    func send(_ bytes: ByteBuffer) async throws { try await self.channel.writeAndFlush(bytes).get() }

    /// Sends a request and waits for its answer. `path` stands behind the server's address.
    func request(
        _ method: RTSPMethod, _ path: String, _ headers: [(String, String)] = [], body: String = ""
    ) async throws -> RTSPResponse {
        let number = self.sequence.withLock { sequence in
            sequence += 1
            return sequence
        }
        var wire = ByteBuffer()
        RTSPRequest(
            method, self.base + path, headers: RTSPHeaders([("CSeq", "\(number)")] + headers),
            body: ByteBuffer(string: body)
        ).write(into: &wire)
        try await self.send(wire)
        var found: RTSPResponse?
        try await eventually("\(method.rawValue) is answered") {
            found = self.responses.first { $0.sequence == UInt32(number) }
            return found != nil || self.isClosed
        }
        return try #require(found)
    }

    /// DESCRIBE to PLAY of both tracks by TCP.
    func play(_ path: String) async throws {
        let description = try await self.request(.describe, path)
        try #require(description.status == .ok)
        for index in 0..<2 {
            let answer = try await self.request(
                .setup, "\(path)/trackID=\(index)",
                [("Transport", "RTP/AVP/TCP;unicast;interleaved=\(index * 2)-\(index * 2 + 1)")])
            try #require(answer.status == .ok)
        }
        try #require(try await self.request(.play, path).status == .ok)
    }

    func close() async throws {
        if !self.isClosed { try? await self.channel.close().get() }
    }
}
