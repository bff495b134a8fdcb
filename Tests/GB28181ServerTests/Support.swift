import GB28181
import Logging
import Media
import NIOCore
import NIOPosix
import RTP
import StreamHub
import Streaming
import Synchronization
import TestSupport

@testable import GB28181Server

/// Lets everybody publish, but for apps that are called `closed`.
final class TestGate: SessionGate {
    let hub: StreamHub
    private let publishers = Mutex<[PeerIdentity]>([])

    init(hub: StreamHub) { self.hub = hub }

    /// Who asked.
    var asked: [PeerIdentity] { self.publishers.withLock { $0 } }

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        .failure(SessionRefusal(.notFound, "nobody plays here"))
    }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        self.publishers.withLock { $0.append(peer) }
        guard peer.app != "closed", let key = try? StreamKey(app: peer.app, name: peer.name) else {
            return .failure(SessionRefusal(.forbidden, "the test says no"))
        }
        let id = self.hub.nextSessionID()
        let loop = connection.loop
        let stream = self.hub.stream(key, home: loop)
        let isActive = try? await stream.home.submit {
            guard stream.claim(.init(id: id, token: peer.token)) == nil else { return false }
            return stream.activate(id, publisher: connection, epoch: 1, clock: clock)
        }.get()
        guard isActive == true else { return .failure(SessionRefusal(.busy, "somebody publishes \(key)")) }
        let sink = try? await loop.submit {
            NIOLoopBound<any MediaSink>(Publication(stream: stream, id: id, epoch: 1), eventLoop: loop)
        }.get()
        return sink.map { .success($0) } ?? .failure(SessionRefusal(.unavailable, "the loop is gone"))
    }
}

/// A server on loopback, and what it publishes to.
struct Bench {
    let registry = SessionRegistry()
    let hub: StreamHub
    let gate: TestGate
    let server: GB28181Server
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)

    init(_ change: (inout GB28181ServerConfiguration) -> Void = { _ in }) async throws {
        var platform = GB28181Configuration(serverID: "34020000002000000001")
        platform.reinviteDelay = .milliseconds(200)
        var configuration = GB28181ServerConfiguration(platform: platform, sessions: self.registry)
        configuration.sip = [.init(host: "127.0.0.1", port: 0)]
        configuration.media = .init(host: "127.0.0.1", port: 0)
        change(&configuration)
        self.hub = StreamHub(sessions: self.registry) { _ in LiveStreamSettings() }
        self.gate = TestGate(hub: self.hub)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        self.server = GB28181Server(
            group: self.group, configuration: configuration, gate: self.gate, logger: logger,
            wallSeconds: { 1_709_164_800 })
        try await self.server.start()
    }

    /// Ends what runs.
    func end() async throws {
        await self.server.shutdown()
        try await self.group.shutdownGracefully()
    }

    func snapshot(_ name: String) async throws -> StreamSnapshot? {
        guard let stream = self.hub.existing(try StreamKey(app: "live", name: name)) else { return nil }
        return try await stream.home.submit { stream.snapshot() }.get()
    }

    /// Connects, and sends packets in frames.
    func connect() async throws -> any Channel {
        try await ClientBootstrap(group: self.group).connect(
            host: "127.0.0.1", port: self.server.boundPorts.media
        ).get()
    }
}

/// Packets of a camera's stream.
func packets(
    _ frames: Int, ssrc: UInt32, from start: Int64 = 90_000, sequence: UInt16 = 0, size: Int = 1_000
) -> [ByteBuffer] {
    var next = sequence
    return ProgramStreamWriter.camera(frames, from: start, keyLength: size > 3_000 ? 40_000 : 3_000).flatMap {
        pack -> [ByteBuffer] in
        var rest = pack
        var packets: [ByteBuffer] = []
        while let piece = rest.readSlice(length: min(size, rest.readableBytes)), piece.readableBytes > 0 {
            var packet = ByteBuffer()
            RTPHeader(marker: false, payloadType: 96, sequenceNumber: next, timestamp: 0, ssrc: ssrc).write(
                into: &packet)
            packet.writeImmutableBuffer(piece)
            packets.append(packet)
            next &+= 1
        }
        return packets
    }
}

func framed(_ packets: [ByteBuffer]) -> ByteBuffer {
    packets.reduce(into: ByteBuffer()) {
        $0.writeInteger(UInt16($1.readableBytes))
        $0.writeImmutableBuffer($1)
    }
}

struct TooLate: Error { var what: String }

/// Waits for something that has to come soon.
func until(_ what: String, _ condition: () async throws -> Bool) async throws {
    let deadline = NIODeadline.now() + .seconds(20)
    while NIODeadline.now() < deadline {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw TooLate(what: what)
}
