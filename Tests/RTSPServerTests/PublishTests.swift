import Media
import NIOCore
import NIOPosix
import RTP
import RTSP
import RTSPSessions
import StreamHub
import Streaming
import Synchronization
import TestSupport
import Testing

@testable import RTSPServer

/// Notes what a stream carries.
private final class Notes: StreamTap {
    private let noted = Mutex<[MediaEvent]>([])

    var frames: [Frame] {
        self.noted.withLock { $0.compactMap { if case .frame(let frame) = $0 { frame } else { nil } } }
    }

    func sourceStarted(epoch: UInt64, continues: Bool) {}
    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) { self.noted.withLock { $0.append(event) } }
    func batchEnded(now: NIODeadline) {}
    func sourceEnded(isFinal: Bool) {}
}

@Suite(.timeLimit(.minutes(2))) struct PublishTests {
    private static let description = """
        v=0
        o=- 0 0 IN IP4 127.0.0.1
        s=x
        t=0 0
        m=video 0 RTP/AVP 96
        a=rtpmap:96 H264/90000
        a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOvjyyLA
        a=control:streamid=0
        """

    /// A keyframe in two packets.
    private static func packet(
        _ sequence: UInt16, isFirst: Bool, timestamp: UInt32, length: Int = 500
    ) -> ByteBuffer {
        var bytes = ByteBuffer()
        RTPHeader(marker: !isFirst, payloadType: 96, sequenceNumber: sequence, timestamp: timestamp, ssrc: 5)
            .write(into: &bytes)
        // FU-A of an IDR slice.
        bytes.writeMultipleIntegers(UInt8(0x7C), UInt8(isFirst ? 0x85 : 0x45))
        if isFirst { bytes.writeInteger(UInt8(0x88)) }
        bytes.writeRepeatingByte(UInt8(truncatingIfNeeded: sequence) | 1, count: length)
        return bytes
    }

    private static func tap(_ scene: Scene, _ name: String) async throws -> Notes {
        let notes = Notes()
        let stream = try #require(scene.hub.existing(StreamKey(app: "live", name: name)))
        try await stream.home.submit { stream.attach(notes) }.get()
        return notes
    }

    @Test func `A publisher by TCP becomes a stream`() async throws {
        let scene = try await Scene()
        let client = try await scene.client()
        let type = [("Content-Type", "application/sdp")]
        #expect(try await client.request(.announce, "/live/a", type, body: Self.description).status == .ok)
        let setup = try await client.request(
            .setup, "/live/a/streamid=0", [("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record")])
        #expect(setup.status == .ok)
        let notes = try await Self.tap(scene, "a")
        #expect(try await client.request(.record, "/live/a").status == .ok)
        // A second publisher is refused meanwhile.
        let second = try await scene.client()
        #expect(
            try await second.request(.announce, "/live/a", type, body: Self.description).status
                == .methodNotValidInState)
        for index in 0..<10 as Range<UInt16> {
            for part in 0..<2 as Range<UInt16> {
                let packet = Self.packet(index * 2 + part, isFirst: part == 0, timestamp: UInt32(index) * 3_600)
                var framed = ByteBuffer()
                framed.writeMultipleIntegers(UInt8(0x24), UInt8(0), UInt16(packet.readableBytes))
                framed.writeImmutableBuffer(packet)
                try await client.send(framed)
            }
        }
        try await eventually("all pictures came") { notes.frames.count == 10 }
        let times = notes.frames.map(\.pts.ticks)
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 == 3_600 })
        #expect(notes.frames.allSatisfy { $0.isKeyframe && $0.payload.readableBytes == 4 + 1 + 1 + 1_000 })
        #expect(scene.accounts(on: try StreamKey(app: "live", name: "a")).first?.activity?.kind == .publish)
        #expect(try await client.request(.teardown, "/live/a").status == .ok)
        try await eventually("the stream is over") { scene.accounts(on: try StreamKey(app: "live", name: "a")).isEmpty }
        try await second.close()
        try await scene.close()
    }

    @Test func `A publisher by UDP becomes a stream, and strangers' packets do not count`() async throws {
        let scene = try await Scene(ports: 31_000...31_003)
        let client = try await scene.client()
        #expect(
            try await client.request(
                .announce, "/live/u", [("Content-Type", "application/sdp")], body: Self.description
            )
            .status == .ok)
        let setup = try await client.request(
            .setup, "/live/u/streamid=0", [("Transport", "RTP/AVP;unicast;client_port=31100-31101;mode=record")])
        #expect(setup.status == .ok && scene.server.freePortCount == 1)
        let transport = try #require(try RTSPTransport.parse(setup.headers["Transport"] ?? "").first)
        let ports = try #require(transport.serverPorts)
        #expect(ports.rtp % 2 == 0 && ports.rtcp == ports.rtp + 1)
        let notes = try await Self.tap(scene, "u")
        #expect(try await client.request(.record, "/live/u").status == .ok)
        let own = try await DatagramBootstrap(group: scene.group).bind(host: "127.0.0.1", port: 0).get()
        let stranger = try await DatagramBootstrap(group: scene.group).bind(host: "127.0.0.2", port: 0).get()
        let target = try SocketAddress(ipAddress: "127.0.0.1", port: ports.rtp)
        for index in 0..<10 as Range<UInt16> {
            for part in 0..<2 as Range<UInt16> {
                let packet = Self.packet(index * 2 + part, isFirst: part == 0, timestamp: UInt32(index) * 3_600)
                try await own.writeAndFlush(AddressedEnvelope(remoteAddress: target, data: packet))
                let foreign = Self.packet(index * 2 + part, isFirst: true, timestamp: 77)
                try await stranger.writeAndFlush(AddressedEnvelope(remoteAddress: target, data: foreign))
            }
        }
        try await eventually("all pictures came") { notes.frames.count == 10 }
        #expect(notes.frames.allSatisfy { $0.payload.readableBytes == 1_006 })
        try await client.close()
        try await eventually("the ports are free again") { scene.server.freePortCount == 2 }
        try await own.close()
        try await stranger.close()
        try await scene.close()
    }

    @Test func `Packets by UDP may be as long as datagrams can be`() async throws {
        let scene = try await Scene(ports: 31_130...31_131)
        let client = try await scene.client()
        let type = [("Content-Type", "application/sdp")]
        #expect(try await client.request(.announce, "/live/l", type, body: Self.description).status == .ok)
        let setup = try await client.request(
            .setup, "/live/l/streamid=0", [("Transport", "RTP/AVP;unicast;client_port=31132-31133;mode=record")])
        let ports = try #require(try RTSPTransport.parse(setup.headers["Transport"] ?? "").first?.serverPorts)
        let notes = try await Self.tap(scene, "l")
        #expect(try await client.request(.record, "/live/l").status == .ok)
        let own = try await DatagramBootstrap(group: scene.group).bind(host: "127.0.0.1", port: 0).get()
        let target = try SocketAddress(ipAddress: "127.0.0.1", port: ports.rtp)
        let lengths = [1_400, 2_100, 4_000, 20_000, 65_000]
        for (index, length) in lengths.enumerated() {
            for part in 0..<2 {
                let packet = Self.packet(
                    UInt16(index * 2 + part), isFirst: part == 0, timestamp: UInt32(index) * 3_600, length: length)
                try await own.writeAndFlush(AddressedEnvelope(remoteAddress: target, data: packet))
            }
            try await eventually("the picture of \(length) came") { notes.frames.count == index + 1 }
        }
        #expect(notes.frames.map(\.payload.readableBytes) == lengths.map { 4 + 1 + 1 + 2 * $0 })
        try await client.close()
        try await own.close()
        try await scene.close()
    }

    @Test func `Who finds no port is told to take the connection`() async throws {
        let scene = try await Scene(ports: 31_010...31_011)
        let feed = try await scene.publish("a")
        try await feed.pictures(1)
        let client = try await scene.client()
        #expect(try await client.request(.describe, "/live/a").status == .ok)
        let offer = [("Transport", "RTP/AVP;unicast;client_port=31110-31111")]
        #expect(try await client.request(.setup, "/live/a/trackID=0", offer).status == .ok)
        #expect(try await client.request(.setup, "/live/a/trackID=1", offer).status == .unsupportedTransport)
        try await client.close()
        try await scene.close()
    }

    @Test func `A player by UDP gets pictures and reports, however large they are`() async throws {
        let scene = try await Scene(ports: 31_020...31_023)
        let feed = try await scene.publish("a")
        let early = try await feed.pictures(12, length: 40_000)
        let inbox = Mutex<[ByteBuffer]>([])
        let reports = Mutex<Int>(0)
        func receive(_ body: @escaping @Sendable (ByteBuffer) -> Void) async throws -> any Channel {
            try await DatagramBootstrap(group: scene.group)
                .channelOption(.socketOption(.so_rcvbuf), value: 2 << 20)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(Inlet(body))
                    }
                }
                .bind(host: "127.0.0.1", port: 0).get()
        }
        let rtp = try await receive { packet in inbox.withLock { $0.append(packet) } }
        let rtcp = try await receive { _ in reports.withLock { $0 += 1 } }
        let (first, second) = (try #require(rtp.localAddress?.port), try #require(rtcp.localAddress?.port))
        let client = try await scene.client()
        #expect(try await client.request(.describe, "/live/a").status == .ok)
        let setup = try await client.request(
            .setup, "/live/a/trackID=0", [("Transport", "RTP/AVP;unicast;client_port=\(first)-\(second)")])
        #expect(setup.status == .ok)
        #expect(try await client.request(.play, "/live/a").status == .ok)
        let late = try await feed.pictures(10, length: 40_000)
        let expected = (early[10...] + late).map(\.payload)
        try await eventually("all pictures came") {
            PlayTests.pictures(inbox.withLock { $0 }).count >= expected.count
        }
        #expect(PlayTests.pictures(inbox.withLock { $0 }) == expected)
        #expect(reports.withLock { $0 } >= 2)
        // No more than the rate lets through at once.
        let snapshot = try await feed.stream.home.submit { feed.stream.snapshot() }.get()
        #expect(snapshot.viewers["rtsp"] == 1)
        #expect(try await client.request(.teardown, "/live/a").status == .ok)
        try await eventually("the ports are free again") { scene.server.freePortCount == 2 }
        try await rtp.close()
        try await rtcp.close()
        try await scene.close()
    }
}

final class Inlet: ChannelInboundHandler, Sendable {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let body: @Sendable (ByteBuffer) -> Void

    init(_ body: @escaping @Sendable (ByteBuffer) -> Void) { self.body = body }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.body(self.unwrapInboundIn(data).data) }
}
