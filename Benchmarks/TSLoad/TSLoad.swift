import ArgumentParser
import Glibc
import Logging
import MPEGTS
import Media
import NIOCore
import NIOPosix
import StreamHub
import Streaming
import TSServer
import TransportStreams

/// Transport streams over UDP: a sender of many streams, and a server of them without a node around it.
@main
struct TSLoad: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weir-bench-ts", abstract: "Measures the ingest of transport streams over UDP.",
        subcommands: [Send.self, Receive.self])
}

/// Sends the same pictures to each port of a range, at a bit rate.
struct Send: AsyncParsableCommand {
    @Option(help: "Where to send to.") var host = "127.0.0.1"
    @Option(help: "The first port.") var port = 9_000
    @Option(help: "Streams, each to a port of its own.") var streams = 200
    @Option(help: "Bits a second of each stream.") var bitrate = 2_000_000
    @Option(help: "Seconds.") var seconds = 20

    func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let channel = try await DatagramBootstrap(group: group)
            .channelOption(.socketOption(.so_sndbuf), value: 4 << 20).bind(host: "0.0.0.0", port: 0).get()
        let targets = try (0..<self.streams).map { try SocketAddress(ipAddress: self.host, port: self.port + $0) }
        var datagrams = try Self.stream(bitrate: self.bitrate, seconds: self.seconds)
        let count = datagrams.readableBytes / 1_316
        let interval = TimeAmount.nanoseconds(Int64(self.seconds) * 1_000_000_000 / Int64(max(1, count)))
        var due = NIODeadline.now()
        while let datagram = datagrams.readSlice(length: 1_316) {
            let now = NIODeadline.now()
            if due > now { try await Task.sleep(for: .nanoseconds((due - now).nanoseconds)) }
            due = due + interval
            for target in targets.dropLast() {
                channel.write(AddressedEnvelope(remoteAddress: target, data: datagram), promise: nil)
            }
            guard let last = targets.last else { return }
            try await channel.writeAndFlush(AddressedEnvelope(remoteAddress: last, data: datagram)).get()
        }
        print("sent \(count) datagrams to each of \(self.streams) ports in \(self.seconds) s")
        try await channel.close()
        try await group.shutdownGracefully()
    }

    /// 25 pictures a second with a keyframe each two seconds, in whole datagrams.
    private static func stream(bitrate: Int, seconds: Int) throws -> ByteBuffer {
        var record = ByteBuffer()
        let sps: [UInt8] = [
            0x67, 0x64, 0, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x6a, 0x02, 0x02, 0x02, 0x80, 0, 0, 3, 0,
            0x80, 0, 0, 0x1e, 0x07, 0x8c, 0x18, 0xcb,
        ]
        try AVCDecoderConfiguration(
            sequenceParameterSets: [ByteBuffer(bytes: sps)],
            pictureParameterSets: [ByteBuffer(bytes: [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0])]
        ).write(into: &record)
        var muxer = TSMuxer()
        try muxer.setTracks(video: try Track(codec: .h264, parsingConfiguration: record), audio: nil)
        var buffer = ByteBuffer()
        // A keyframe is as large as five other pictures; the container takes 4 %.
        let unit = Double(bitrate) / 8 / 1.04 * 2 / 54
        for number in 0..<(seconds * 25) {
            let isKeyframe = number % 50 == 0
            let length = Int(isKeyframe ? unit * 5 : unit)
            var payload = ByteBuffer()
            payload.writeMultipleIntegers(UInt32(length), UInt8(isKeyframe ? 0x65 : 0x41), UInt8(0x88))
            var value = UInt32(truncatingIfNeeded: number) | 1
            for _ in 2..<length {
                value = value &* 1_664_525 &+ 1_013_904_223
                payload.writeInteger(UInt8(truncatingIfNeeded: value >> 24) | 1)
            }
            let time = MediaTime(ticks: Int64(number) * 3_600)
            if isKeyframe { muxer.writeTables(into: &buffer) }
            muxer.write(
                Frame(codec: .h264, dts: time, pts: time, isKeyframe: isKeyframe, payload: payload), into: &buffer)
        }
        buffer.moveWriterIndex(to: buffer.readerIndex + buffer.readableBytes / 1_316 * 1_316)
        return buffer
    }
}

/// Takes streams in on a range of ports and tells once what that cost.
struct Receive: AsyncParsableCommand {
    @Option(help: "The first port.") var port = 9_000
    @Option(help: "Ports.") var streams = 200
    @Option(help: "Event loops.") var threads = 1
    @Option(help: "Seconds that are measured, from the first datagram on.") var seconds = 15

    func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: self.threads)
        let hub = StreamHub { _ in LiveStreamSettings() }
        guard let template = TSStreamTemplate("ch[port]") else { return }
        var logger = Logger(label: "bench")
        logger.logLevel = .warning
        let server = TSServer(
            group: group,
            configuration: TSServerConfiguration(listeners: [
                TSListenerConfiguration(
                    host: "127.0.0.1", ports: self.port...(self.port + self.streams - 1), app: "live",
                    stream: template)
            ]), gate: OpenGate(hub: hub), logger: logger)
        try await server.start()
        while await server.statistics().datagrams == 0 { try await Task.sleep(for: .milliseconds(50)) }
        // The streams begin, with what they allocate once.
        try await Task.sleep(for: .seconds(2))
        let (before, cpu) = (await server.statistics(), Self.cpuSeconds)
        try await Task.sleep(for: .seconds(self.seconds))
        let (after, end) = (await server.statistics(), Self.cpuSeconds)
        let snapshots = await hub.snapshots()
        let dropped = snapshots.reduce(0) { $0 + $1.counters.droppedFrames }
        let datagrams = after.datagrams - before.datagrams
        let percent = (end - cpu) / Double(self.seconds) * 100
        let rate = (after.bytes - before.bytes) * 8 / UInt64(self.seconds) / 1_000
        print(
            "\(snapshots.count) streams, \(rate) kb/s, \(datagrams) datagrams, \(dropped) frames dropped, CPU \(percent) %"
        )
        await server.shutdown()
        try await group.shutdownGracefully()
    }

    private static var cpuSeconds: Double {
        var usage = rusage()
        // Safety: the structure is the one that the call fills.
        _ = unsafe getrusage(RUSAGE_SELF.rawValue, &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
}

/// Lets everybody publish.
private final class OpenGate: SessionGate {
    private let hub: StreamHub

    init(hub: StreamHub) { self.hub = hub }

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        .failure(SessionRefusal(.notFound, "nobody plays here"))
    }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        do {
            let stream = self.hub.stream(try StreamKey(app: peer.app, name: peer.name), home: connection.loop)
            let id = self.hub.nextSessionID()
            let isActive = try await stream.home.submit {
                stream.claim(.init(id: id, token: "")) == nil
                    && stream.activate(id, publisher: connection, epoch: 1, clock: clock)
            }.get()
            guard isActive else { return .failure(SessionRefusal(.busy, "the stream is taken")) }
            return .success(
                try await connection.loop.submit {
                    NIOLoopBound(Publication(stream: stream, id: id, epoch: 1), eventLoop: connection.loop)
                }.get())
        } catch {
            return .failure(SessionRefusal(.unavailable, "\(error)"))
        }
    }
}
