import Foundation
import Logging
import Media
import NIOCore
import NIOPosix
import NIOSSL
import RTMP
import RTMPServer
import StreamHub
import Streaming
import Synchronization
import TLSContexts
import Testing

@testable import NodeRuntime

func restreamEventually(_ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(15)
    while try await !condition() {
        try #require(ContinuousClock.now < deadline, "it did not happen in time")
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// What a destination got of one publication.
final class RestreamSink: MediaSink, Sendable {
    struct Received: Sendable {
        var number: Int
        var millis: Int64
    }

    private struct State {
        var frames: [Received] = []
        var tracks: [Track] = []
        var isFinished = false
    }

    private let state = Mutex(State())
    let epoch: UInt64 = 1
    let connection: any PublisherConnection

    init(_ connection: any PublisherConnection) { self.connection = connection }

    func receive(_ events: [MediaEvent]) {
        for event in events {
            switch event {
            case .frame(let frame):
                let number = frame.payload.getInteger(at: frame.payload.readerIndex + 4, as: UInt32.self) ?? 0
                self.state.withLock { $0.frames.append(Received(number: Int(number), millis: frame.dts.millis)) }
            case .track(let track): self.state.withLock { $0.tracks.append(track) }
            case .metadata, .data: break
            }
        }
    }

    func finish() { self.state.withLock { $0.isFinished = true } }

    var frames: [Received] { self.state.withLock { $0.frames } }
    var tracks: [Track] { self.state.withLock { $0.tracks } }
    var isFinished: Bool { self.state.withLock { $0.isFinished } }
}

/// The gate of another server.
final class RestreamDestination: SessionGate {
    let sinks = Mutex<[(name: String, sink: RestreamSink)]>([])
    let refuses = Mutex(false)
    private let asked = Mutex<[PeerIdentity]>([])

    var peers: [PeerIdentity] { self.asked.withLock { $0 } }

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> { .failure(SessionRefusal(.notFound, "")) }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        guard !self.refuses.withLock({ $0 }) else { return .failure(SessionRefusal(.forbidden, "the test refuses")) }
        self.asked.withLock { $0.append(peer) }
        let loop = connection.loop
        let sink = RestreamSink(connection)
        self.sinks.withLock { $0.append(("\(peer.app)/\(peer.name)", sink)) }
        let bound = try? await loop.submit { NIOLoopBound<any MediaSink>(sink, eventLoop: loop) }.get()
        return bound.map { .success($0) } ?? .failure(SessionRefusal(.unavailable, ""))
    }

    func dropAll() {
        for (_, sink) in self.sinks.withLock({ $0 }) { sink.connection.publishingRevoked(.kicked(reason: "test")) }
    }
}

final class RestreamPublisher: Publisher {
    func publishingRevoked(_ reason: PublishEnd) {}
}

/// A stream of this node, a service that pushes it, and a server to push it to.
final class RestreamBench: Sendable {
    let group: MultiThreadedEventLoopGroup
    let hub: StreamHub
    let stream: LiveStream
    let key: StreamKey
    let service: RestreamService
    let destination = RestreamDestination()
    let server: RTMPServer
    let port: Int
    let tlsPort: Int
    private let session = Mutex<UInt64>(0)

    var url: String { "rtmp://127.0.0.1:\(self.port)" }

    init(
        grace: TimeAmount, stallTimeout: TimeAmount, maximumDestinations: Int, certificate: RestreamCertificate?
    ) async throws {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        // It outlives the server: nothing waits for answers of the destination that come after the end.
        self.group = MultiThreadedEventLoopGroup.singleton
        var settings = LiveStreamSettings(flush: .realtime)
        settings.publish.grace = grace
        let used = settings
        self.hub = StreamHub { _ in used }
        self.key = try StreamKey(app: "live", name: "cam")
        self.stream = self.hub.stream(self.key, home: self.group.next())
        var push = RestreamService.Settings()
        push.push.client.mediaTimeout = nil
        push.push.stallTimeout = stallTimeout
        push.push.tls = try certificate?.clientContext()
        push.firstPause = .milliseconds(40)
        push.longestPause = .milliseconds(200)
        push.maximumDestinations = maximumDestinations
        self.service = RestreamService(settings: push, logger: logger)
        let remote = StreamHub { _ in LiveStreamSettings() }
        self.server = RTMPServer(
            group: self.group, configuration: RTMPServerConfiguration(), gate: self.destination, hub: remote,
            logger: logger)
        self.port = try await self.server.listen(host: "127.0.0.1", port: 0)
        if let certificate {
            let store = try TLSContextStore(certificate.files)
            self.tlsPort = try await self.server.listen(host: "127.0.0.1", port: 0, tls: store)
        } else {
            self.tlsPort = 0
        }
    }

    static func run(
        grace: TimeAmount = .zero, stallTimeout: TimeAmount = .seconds(30), maximumDestinations: Int = 100,
        certificate: RestreamCertificate? = nil, _ body: (RestreamBench) async throws -> Void
    ) async throws {
        let bench = try await RestreamBench(
            grace: grace, stallTimeout: stallTimeout, maximumDestinations: maximumDestinations,
            certificate: certificate)
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await body(bench)) } catch { outcome = .failure(error) }
        bench.service.close()
        await bench.server.stopAccepting()
        bench.server.endConnections()
        try outcome.get()
    }

    func publish() async throws {
        let id = self.session.withLock { id in
            id += 1
            return id
        }
        let isActive = try await self.stream.home.submit {
            guard self.stream.claim(.init(id: id, token: "")) == nil else { return false }
            return self.stream.activate(id, publisher: RestreamPublisher(), epoch: id, clock: .rtmp)
        }.get()
        try #require(isActive)
        let record = ByteBuffer(bytes: [
            1, 66, 0, 30, 0xFF, 0xE1, 0, 5, 0x67, 66, 0, 30, 0x80, 1, 0, 4, 0x68, 0xCE, 0x3C, 0x80,
        ])
        try await self.give([
            .track(Track(codec: .h264, configuration: record, format: .video(VideoFormat())))
        ])
    }

    /// Video frames of these numbers, each 25th a keyframe.
    func send(_ numbers: Range<Int>, bytes: Int = 400) async throws {
        for number in numbers {
            let time = MediaTime(millis: 100_000 + Int64(number) * 40)
            var payload = ByteBuffer()
            payload.writeInteger(UInt32(bytes))
            payload.writeInteger(UInt32(number))
            payload.writeRepeatingByte(0x41, count: bytes - 4)
            let isKeyframe = number % 25 == 0
            try await self.give([
                .frame(Frame(codec: .h264, dts: time, pts: time, isKeyframe: isKeyframe, payload: payload))
            ])
        }
    }

    private func give(_ events: [MediaEvent]) async throws {
        let id = self.session.withLock { $0 }
        try await self.stream.home.submit { self.stream.receive(events, from: id) }.get()
    }

    func leave(isFinal: Bool = true) async throws {
        let id = self.session.withLock { $0 }
        try await self.stream.home.submit {
            self.stream.left(id)
            if isFinal { self.stream.endNow(.streamEnded) }
        }.get()
    }

    func push(_ templates: [String], query: String = "") async throws {
        try await self.stream.home.submit {
            self.service.published(self.stream, templates: templates, query: query)
        }.get()
    }

    /// The newest publication of that name.
    func sink(_ name: String) async throws -> RestreamSink {
        try await restreamEventually {
            self.destination.sinks.withLock { $0.contains { $0.name == name && !$0.sink.isFinished } }
        }
        return try #require(
            self.destination.sinks.withLock { $0.last { $0.name == name && !$0.sink.isFinished }?.sink })
    }
}

/// Stands between a client and a server, and stops reading from the client when it is told to.
final class RestreamProxy: Sendable {
    private let listener: any Channel
    private let clients: Clients
    let port: Int

    private final class Clients: Sendable {
        let channels = Mutex<[any Channel]>([])
    }

    private init(_ listener: any Channel, _ clients: Clients) {
        self.listener = listener
        self.clients = clients
        self.port = listener.localAddress?.port ?? 0
    }

    static func start(to port: Int, group: any EventLoopGroup) async throws -> RestreamProxy {
        let clients = Clients()
        let listener = try await ServerBootstrap(group: group)
            .childChannelOption(.socketOption(.so_rcvbuf), value: 64 << 10)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                clients.channels.withLock { $0.append(client) }
                return ClientBootstrap(group: client.eventLoop)
                    .channelInitializer { server in
                        server.eventLoop.makeCompletedFuture {
                            try server.pipeline.syncOperations.addHandler(Glue(to: client))
                        }
                    }
                    .connect(host: "127.0.0.1", port: port)
                    .flatMap { server in client.pipeline.addHandler(Glue(to: server)) }
                    .flatMap { client.setOption(.autoRead, value: true) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return RestreamProxy(listener, clients)
    }

    func setReading(_ isReading: Bool) {
        for channel in self.clients.channels.withLock({ $0 }) {
            channel.setOption(.autoRead, value: isReading).whenFailure { _ in }
            if isReading { channel.read() }
        }
    }

    func close() async throws {
        try await self.listener.close().get()
        for channel in self.clients.channels.withLock({ $0 }) { try? await channel.close().get() }
    }

    private final class Glue: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        private let other: any Channel

        init(to other: any Channel) { self.other = other }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.other.writeAndFlush(self.unwrapInboundIn(data), promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) { self.other.close(promise: nil) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

/// A self-signed certificate for `localhost`, in a folder that goes away with this.
final class RestreamCertificate: Sendable {
    private let folder: URL
    let files: TLSFiles

    init() throws {
        self.folder = FileManager.default.temporaryDirectory.appending(path: "weir-push-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
        self.files = TLSFiles(
            certificate: self.folder.appending(path: "cert.pem").path, key: self.folder.appending(path: "key.pem").path)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
            self.files.key, "-out", self.files.certificate,
        ]
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }

    deinit { try? FileManager.default.removeItem(at: self.folder) }

    func clientContext() throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .file(self.files.certificate)
        return try NIOSSLContext(configuration: configuration)
    }
}
