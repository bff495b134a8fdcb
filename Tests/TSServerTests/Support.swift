import Logging
import MPEGTS
import Media
import NIOCore
import NIOPosix
import StreamHub
import Streaming
import Synchronization
import Testing
import TransportStreams

@testable import TSServer

/// What one publisher sent.
final class RecordedSink: MediaSink, Sendable {
    let key: StreamKey?
    let epoch: UInt64 = 3
    let clock: SourceClock
    let peer: PeerIdentity
    let connection: any PublisherConnection
    private let log = Mutex<(events: [MediaEvent], isFinished: Bool)>(([], false))

    init(_ peer: PeerIdentity, _ clock: SourceClock, _ connection: any PublisherConnection) {
        self.key = try? StreamKey(app: peer.app, name: peer.name)
        self.peer = peer
        self.clock = clock
        self.connection = connection
    }

    var frames: [Frame] {
        self.log.withLock { $0.events.compactMap { if case .frame(let frame) = $0 { frame } else { nil } } }
    }
    var tracks: [Track] {
        self.log.withLock { $0.events.compactMap { if case .track(let track) = $0 { track } else { nil } } }
    }
    var isFinished: Bool { self.log.withLock { $0.isFinished } }

    func receive(_ events: [MediaEvent]) { self.log.withLock { $0.events += events } }
    func finish() { self.log.withLock { $0.isFinished = true } }
}

/// Lets everybody publish but those whose app says otherwise.
final class TestGate: SessionGate {
    private let state = Mutex<(sinks: [RecordedSink], asked: Int, isOpen: Bool)>(([], 0, true))

    var sinks: [RecordedSink] { self.state.withLock { $0.sinks } }
    var asked: Int { self.state.withLock { $0.asked } }
    func setOpen(_ isOpen: Bool) { self.state.withLock { $0.isOpen = isOpen } }

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        .failure(SessionRefusal(.notFound, "nobody plays here"))
    }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        let isOpen = self.state.withLock { state in
            state.asked += 1
            return state.isOpen
        }
        if peer.app == "slow" { try? await Task.sleep(for: .milliseconds(200)) }
        guard isOpen else { return .failure(SessionRefusal(.busy, "the test says no")) }
        let sink = RecordedSink(peer, clock, connection)
        guard
            let bound = try? await connection.loop.submit({
                NIOLoopBound<any MediaSink>(sink, eventLoop: connection.loop)
            }).get()
        else { return .failure(SessionRefusal(.unavailable, "the loop is gone")) }
        self.state.withLock { $0.sinks.append(sink) }
        return .success(bound)
    }
}

/// A server on free ports of loopback.
struct Fixture {
    let server: TSServer
    let gate: TestGate
    let sessions: SessionRegistry
    let group: MultiThreadedEventLoopGroup

    static func listener(
        _ stream: String = "cam", app: String = "live", host: String = "127.0.0.1", ports: ClosedRange<Int> = 0...0
    ) throws -> TSListenerConfiguration {
        TSListenerConfiguration(
            host: host, ports: ports, app: app, stream: try #require(TSStreamTemplate(stream)))
    }

    static func run(
        _ listeners: [TSListenerConfiguration],
        _ change: (inout TSServerConfiguration) -> Void = { _ in }, _ body: (Fixture) async throws -> Void
    ) async throws {
        // It outlives the server: nothing waits for answers of the gate that come after the end.
        let group = MultiThreadedEventLoopGroup.singleton
        let sessions = SessionRegistry()
        var configuration = TSServerConfiguration(listeners: listeners, sessions: sessions)
        configuration.idleTimeout = .seconds(20)
        configuration.takeoverAfter = .milliseconds(100)
        configuration.retryAfter = .milliseconds(100)
        change(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let gate = TestGate()
        let server = TSServer(group: group, configuration: configuration, gate: gate, logger: logger)
        let outcome: Result<Void, any Error>
        do {
            try await server.start()
            try await body(Fixture(server: server, gate: gate, sessions: sessions, group: group))
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        await server.shutdown()
        try outcome.get()
    }

    func address(_ index: Int = 0) throws -> SocketAddress {
        let all = self.server.boundAddresses
        try #require(all.count > index)
        return all[index]
    }
}

/// A socket that sends, and is closed when this goes.
final class Sender: Sendable {
    private let channel: any Channel

    init(_ group: any EventLoopGroup, host: String = "127.0.0.1") async throws {
        self.channel = try await DatagramBootstrap(group: group).bind(host: host, port: 0).get()
    }

    var port: Int? { self.channel.localAddress?.port }

    /// Sends `stream` in datagrams of seven packets.
    func send(_ stream: ByteBuffer, to address: SocketAddress, header: (Int) -> ByteBuffer = { _ in ByteBuffer() })
        async throws
    {
        var rest = stream
        var number = 0
        while let piece = rest.readSlice(length: min(1_316, rest.readableBytes)), piece.readableBytes > 0 {
            var datagram = header(number)
            datagram.writeImmutableBuffer(piece)
            try await self.channel.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: datagram)).get()
            number += 1
            // The receiver's buffer has room for as much as a test sends, but not the one of every machine.
            if number % 64 == 0 { try await Task.sleep(for: .milliseconds(2)) }
        }
    }

    deinit { self.channel.close(promise: nil) }
}

/// A transport stream of one program.
struct Source {
    private var muxer: TSMuxer
    private var time: Int64 = 90_000
    private var count = 0

    static let video = Self.video(level: 0x1f)

    static func video(level: UInt8) -> Track {
        var record = ByteBuffer()
        let sps: [UInt8] = [
            0x67, 0x64, 0, level, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x6a, 0x02, 0x02, 0x02, 0x80, 0, 0, 3, 0,
            0x80, 0, 0, 0x1e, 0x07, 0x8c, 0x18, 0xcb,
        ]
        do {
            try AVCDecoderConfiguration(
                sequenceParameterSets: [ByteBuffer(bytes: sps)],
                pictureParameterSets: [ByteBuffer(bytes: [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0])]
            ).write(into: &record)
            return try Track(codec: .h264, parsingConfiguration: record)
        } catch {
            preconditionFailure("\(error)")
        }
    }

    init(program: UInt16 = 1) throws {
        var configuration = TSMuxer.Configuration()
        configuration.programNumber = program
        configuration.mapPID = 0x1000 + program
        configuration.videoPID = 0x100 + program
        configuration.audioPID = 0x200 + program
        configuration.id3PID = 0x300 + program
        configuration.timeOffset = .zero
        configuration.clockLead = .zero
        self.muxer = TSMuxer(configuration: configuration)
        try self.muxer.setTracks(video: Self.video, audio: nil)
    }

    /// Goes on with other parameter sets.
    mutating func change(level: UInt8) throws { try self.muxer.setTracks(video: Self.video(level: level), audio: nil) }

    /// The next pictures, of which each tenth is a keyframe, and the packets that carry them.
    mutating func next(_ pictures: Int) -> (stream: ByteBuffer, frames: [Frame]) {
        var stream = ByteBuffer()
        var frames: [Frame] = []
        for _ in 0..<pictures {
            let isKeyframe = self.count % 10 == 0
            var payload = ByteBuffer()
            payload.writeMultipleIntegers(UInt32(400), UInt8(isKeyframe ? 0x65 : 0x41), UInt8(0x88))
            payload.writeRepeatingByte(UInt8(truncatingIfNeeded: self.count) | 1, count: 398)
            let frame = Frame(
                codec: .h264, dts: MediaTime(ticks: self.time), pts: MediaTime(ticks: self.time),
                isKeyframe: isKeyframe, payload: payload)
            if isKeyframe { self.muxer.writeTables(into: &stream) }
            self.muxer.write(frame, into: &stream)
            frames.append(frame)
            self.time += 3_600
            self.count += 1
        }
        return (stream, frames)
    }
}
