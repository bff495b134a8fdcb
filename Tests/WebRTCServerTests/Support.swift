import Logging
import Media
import NIOCore
import NIOPosix
import RTP
import RTPReceiving
import RTPSending
import SecureRTP
import StreamHub
import Streaming
import Synchronization
import Testing
import WebRTC

@testable import WebRTCServer

/// A node's decisions over a real hub, without a cluster. The app `closed` refuses everybody.
final class TestGate: SessionGate {
    let hub: StreamHub
    private let epochs = Mutex<UInt64>(0)

    init(hub: StreamHub) { self.hub = hub }

    private func key(_ peer: PeerIdentity) throws(SessionRefusal) -> StreamKey {
        if peer.app == "closed" { throw SessionRefusal(.unauthorized, "the test wants a token") }
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
            if peer.app == "early" { return .success(PlayGrant(stream: self.hub.stream(key, home: loop), epoch: 1)) }
            guard let stream = self.hub.existing(key) else {
                throw SessionRefusal(.notFound, "nobody publishes \(key)")
            }
            return .success(PlayGrant(stream: stream, epoch: 1))
        } catch {
            return .failure(error)
        }
    }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        do throws(SessionRefusal) {
            let key = try self.key(peer)
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
            guard isActive == true else { throw SessionRefusal(.busy, "somebody publishes \(key)") }
            let sink = try? await loop.submit {
                NIOLoopBound<any MediaSink>(Publication(stream: stream, id: id, epoch: epoch), eventLoop: loop)
            }.get()
            guard let sink else { throw SessionRefusal(.unavailable, "the loop is gone") }
            return .success(sink)
        } catch {
            return .failure(error)
        }
    }
}

/// A publisher of another protocol: hands frames to a stream of the hub.
final class TestPublisher: Publisher {
    let stream: LiveStream
    private let id: UInt64

    init(stream: LiveStream, id: UInt64) {
        self.stream = stream
        self.id = id
    }

    static func start(_ hub: StreamHub, _ name: String, on loop: any EventLoop) async throws -> TestPublisher {
        let stream = hub.stream(try StreamKey(app: "live", name: name), home: loop)
        let publisher = TestPublisher(stream: stream, id: hub.nextSessionID())
        let isActive = try await stream.home.submit {
            guard stream.claim(.init(id: publisher.id, token: "")) == nil else { return false }
            return stream.activate(publisher.id, publisher: publisher, epoch: 7, clock: SourceClock(period: nil))
        }.get()
        #expect(isActive)
        return publisher
    }

    func publishingRevoked(_ reason: PublishEnd) {}

    func publish(_ events: [MediaEvent]) async throws {
        try await self.stream.home.submit { self.stream.receive(events, from: self.id) }.get()
    }

    func leave() async throws { try await self.stream.home.submit { self.stream.left(self.id) }.get() }
}

/// A server on free ports of loopback, with a hub and a registry of sessions.
final class TestNode: Sendable {
    let group: MultiThreadedEventLoopGroup
    let hub: StreamHub
    let gate: TestGate
    let server: WebRTCServer
    let sessions: SessionRegistry

    init(loops: Int = 2, _ configure: (inout WebRTCServerConfiguration) -> Void = { _ in }) async throws {
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: loops)
        let sessions = SessionRegistry()
        self.sessions = sessions
        self.hub = StreamHub(sessions: sessions) { _ in
            var settings = LiveStreamSettings()
            settings.idleTimeout = .milliseconds(200)
            settings.publish.grace = .milliseconds(300)
            return settings
        }
        self.gate = TestGate(hub: self.hub)
        var configuration = WebRTCServerConfiguration(sessions: sessions)
        configuration.udp = [.init(host: "127.0.0.1", port: 0), .init(host: "::1", port: 0)]
        configuration.tcp = [.init(host: "127.0.0.1", port: 0), .init(host: "::1", port: 0)]
        configure(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        self.server = try WebRTCServer(
            group: self.group, configuration: configuration, gate: self.gate, hub: self.hub, logger: logger)
        try await self.server.start()
    }

    func stop() async throws {
        await self.server.shutdown()
        try await self.group.shutdownGracefully()
    }

    func request(_ offer: String, app: String = "live", name: String) -> WebRTCRequest {
        WebRTCRequest(
            offer: offer,
            peer: PeerIdentity(
                transport: "", address: "127.0.0.1:1", vhost: nil, host: "localhost", app: app, name: name, query: "",
                token: ""), address: try? SocketAddress(ipAddress: "127.0.0.1", port: 1))
    }

    func publish(
        _ client: TestClient, app: String = "live", name: String, _ way: TestClient.Way = .udp
    ) async throws -> WebRTCAnswer {
        let answer = try await self.server.createPublisher(self.request(client.offer, app: app, name: name)).get()
        try await client.connect(answer.sdp, way)
        return answer
    }

    func play(
        _ client: TestClient, app: String = "live", name: String, _ way: TestClient.Way = .udp
    ) async throws -> WebRTCAnswer {
        let answer = try await self.server.createPlayer(self.request(client.offer, app: app, name: name)).get()
        try await client.connect(answer.sdp, way)
        return answer
    }

    /// Everything of all sessions is gone.
    func isClean() async throws -> Bool {
        guard self.server.sessions == 0, self.server.directory.isEmpty, self.server.audiences.count == 0,
            self.sessions.counts.open == 0
        else { return false }
        for worker in self.server.workers {
            guard try await worker.loop.submit({ worker.isEmpty }).get() else { return false }
        }
        return true
    }
}

/// Frames whose contents tell their number.
enum Sample {
    static let video: Track = {
        let sets = (
            ByteBuffer(bytes: [0x67, 0x42, 0xC0, 0x1F, 0xDA, 0x01, 0x40, 0x16, 0xE8]),
            ByteBuffer(bytes: [0x68, 0xCE, 0x3C, 0x80])
        )
        let record = try? AVCDecoderConfiguration(sequenceParameterSets: [sets.0], pictureParameterSets: [sets.1])
        var bytes = ByteBuffer()
        record?.write(into: &bytes)
        return Track(codec: .h264, configuration: bytes, format: .video(VideoFormat()))
    }()

    static let audio: Track = {
        var head = ByteBuffer()
        OpusHead(channels: 2).write(into: &head)
        return Track(codec: .opus, configuration: head, format: .audio(AudioFormat(sampleRate: 48_000, channels: 2)))
    }()

    private struct SliceKey: Hashable {
        let number: Int
        let gop: Int
        let bytes: Int
    }

    private static let slices = Mutex<[SliceKey: ByteBuffer]>([:])

    /// The slice of a picture: bytes that follow from its number.
    static func slice(_ number: Int, gop: Int = 25, bytes: Int = 5_000) -> ByteBuffer {
        let key = SliceKey(number: number, gop: gop, bytes: bytes)
        if let slice = self.slices.withLock({ $0[key] }) { return slice }
        var generator = Seeded(state: UInt64(number))
        var slice = ByteBuffer(bytes: [number % gop == 0 ? 0x65 : 0x41, 0x88])
        // Seven bits a byte, so that no start code appears.
        for shift in [21, 14, 7, 0] { slice.writeInteger(UInt8(number >> shift & 0x7F) | 0x80) }
        while slice.readableBytes < bytes {
            slice.writeInteger(generator.next() | 0x0101_0101_0101_0101)
        }
        slice.moveWriterIndex(to: bytes)
        self.slices.withLock { $0[key] = slice }
        return slice
    }

    /// The numbers of the pictures, each compared with what it was: a picture that is not whole has none.
    static func numbers(of frames: [Frame], gop: Int = 25, bytes: Int = 5_000) -> [Int?] {
        frames.filter { $0.kind == .video }.map { frame in
            // Parameter sets may stand in front.
            guard let slice = LengthPrefixedNALUnits(frame.payload, lengthSize: 4).map({ $0 }).last else { return nil }
            let number = slice.readableBytesView.dropFirst(2).prefix(4).reduce(0) { $0 << 7 | Int($1 & 0x7F) }
            return slice == self.slice(number, gop: gop, bytes: bytes) ? number : nil
        }
    }

    /// The numbers of the audio packets.
    static func audioNumbers(of frames: [Frame]) -> [Int?] {
        frames.filter { $0.kind == .audio }.map { frame in
            guard let number = frame.payload.getInteger(at: frame.payload.readerIndex + 1, as: UInt32.self) else {
                return nil
            }
            return frame.payload == self.audio(Int(number)).payload ? Int(number) : nil
        }
    }

    static func video(_ number: Int, gop: Int = 25, bytes: Int = 5_000) -> Frame {
        let slice = self.slice(number, gop: gop, bytes: bytes)
        var payload = ByteBuffer(integer: UInt32(slice.readableBytes))
        payload.writeImmutableBuffer(slice)
        let time = MediaTime(millis: Int64(number) * 40)
        return Frame(codec: .h264, dts: time, pts: time, isKeyframe: number % gop == 0, payload: payload)
    }

    /// 20 ms of Opus.
    static func audio(_ number: Int) -> Frame {
        var payload = ByteBuffer(bytes: [0xFC])
        payload.writeInteger(UInt32(number))
        payload.writeRepeatingByte(UInt8(truncatingIfNeeded: number), count: 100)
        let time = MediaTime(millis: Int64(number) * 20)
        return Frame(codec: .opus, dts: time, pts: time, isKeyframe: true, payload: payload)
    }

    /// The events of the 40 ms from a number of a picture on.
    static func events(_ number: Int, gop: Int = 25, bytes: Int = 5_000) -> [MediaEvent] {
        let tracks: [MediaEvent] = number == 0 ? [.track(self.video), .track(self.audio)] : []
        return tracks + [
            .frame(self.video(number, gop: gop, bytes: bytes)), .frame(self.audio(2 * number)),
            .frame(self.audio(2 * number + 1)),
        ]
    }
}

/// Counts on any thread.
final class Counter: Sendable {
    private let count = Mutex(0)

    var value: Int { self.count.withLock { $0 } }

    func increment() { self.count.withLock { $0 += 1 } }
}

extension ClientBootstrap {
    static func connect(_ group: any EventLoopGroup, _ address: SocketAddress) async throws -> any Channel {
        try await ClientBootstrap(group: group).connect(to: address).get()
    }
}
