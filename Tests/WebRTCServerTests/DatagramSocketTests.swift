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
import TestSupport
import Testing
import WebRTC

@testable import WebRTCServer

@Suite(.timeLimit(.minutes(1))) struct DatagramSocketTests {
    /// What came to a socket, and from where.
    private final class Inbox: ChannelInboundHandler, Sendable {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        let datagrams = Mutex<[(bytes: ByteBuffer, from: String)]>([])

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let envelope = self.unwrapInboundIn(data)
            let from = envelope.remoteAddress.ipAddress ?? ""
            self.datagrams.withLock { $0.append((envelope.data, from)) }
        }

        var received: [ByteBuffer] { self.datagrams.withLock { $0.map(\.bytes) } }
    }

    /// A pair of sockets, the sending one wrapped.
    private func withSockets(
        usesSegmentation: Bool, host: String = "127.0.0.1", bind: String? = nil, hasChecksum: Bool = true,
        _ body: @escaping @Sendable (DatagramSocket, PeerAddress) -> Void, _ check: (Inbox) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let inbox = Inbox()
        let receiver = try await DatagramBootstrap(group: group)
            .channelOption(.socketOption(.so_rcvbuf), value: 4 << 20)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 2_048))
            .channelInitializer { $0.pipeline.addHandler(inbox) }.bind(host: host, port: 0).get()
        let sender = try await DatagramBootstrap(group: group)
            // SO_NO_CHECK
            .channelOption(.socketOption(.init(rawValue: 11)), value: hasChecksum ? 0 : 1).bind(
                host: bind ?? host, port: 0
            ).get()
        let peer = try #require(receiver.localAddress.flatMap { PeerAddress($0) })
        try await group.next().submit {
            let descriptor = try sender.pipeline.syncOperations.withUnsafeTransportIfAvailable(
                of: NIOBSDSocket.Handle.self
            ) { $0 }
            let socket = DatagramSocket(
                descriptor: descriptor ?? -1, loop: group.next(), usesSegmentation: usesSegmentation)
            body(socket, peer)
            socket.flush()
        }.get()
        try await check(inbox)
        try await sender.close().get()
        try await group.shutdownGracefully()
    }

    private static func write(_ socket: DatagramSocket, _ length: Int, segment: Int, _ path: DatagramPath, fill: UInt8)
    {
        let room = unsafe socket.reserve(length)
        for offset in 0..<length { unsafe room[offset] = fill &+ UInt8(segment > 0 ? offset / segment : 0) }
        socket.commit(length, segment: segment, to: path)
    }

    @Test(arguments: [true, false], ["127.0.0.1", "::1"])
    func cutOrNotTheSameDatagramsArrive(usesSegmentation: Bool, host: String) async throws {
        try await self.withSockets(usesSegmentation: usesSegmentation, host: host) { socket, peer in
            let path = DatagramPath(to: peer)
            Self.write(socket, 3 * 1_000 + 200, segment: 1_000, path, fill: 1)
            Self.write(socket, 160, segment: 160, path, fill: 50)
            Self.write(socket, 64 * 500, segment: 500, path, fill: 100)
            socket.send(ByteBuffer(string: "end"), to: path)
        } _: { inbox in
            try await eventually("all arrive") { inbox.received.last == ByteBuffer(string: "end") }
            var expected: [ByteBuffer] = []
            for (fill, length) in [(1, 1_000), (2, 1_000), (3, 1_000), (4, 200), (50, 160)] {
                expected.append(ByteBuffer(repeating: UInt8(fill), count: length))
            }
            for fill in 100..<164 { expected.append(ByteBuffer(repeating: UInt8(fill), count: 500)) }
            expected.append(ByteBuffer(string: "end"))
            #expect(inbox.received == expected)
        }
    }

    @Test(arguments: [true, false]) func moreThanOneCallCanTakeIsSentInSeveral(usesSegmentation: Bool) async throws {
        try await self.withSockets(usesSegmentation: usesSegmentation) { socket, peer in
            let path = DatagramPath(to: peer)
            // More sends than a call has room for, and more bytes than the buffer has.
            for number in 0..<150 { Self.write(socket, 4_000, segment: 1_000, path, fill: UInt8(number)) }
        } _: { inbox in
            try await eventually("all arrive") { inbox.received.count == 600 }
            let firsts: [UInt8] = inbox.received.map { $0.getInteger(at: $0.readerIndex, as: UInt8.self) ?? 0 }
            let expected: [UInt8] = (0..<600).map { (index: Int) -> UInt8 in UInt8(index / 4 + index % 4) }
            #expect(firsts == expected)
        }
    }

    /// Lengths and cuts of what is queued in a row, and how many sends that makes.
    struct Row: Sendable {
        var parts: [(length: Int, segment: Int)]
        var sends: UInt64

        init(_ parts: [(length: Int, segment: Int)], sends: UInt64) {
            self.parts = parts
            self.sends = sends
        }
    }

    private static let rows: [Row] = [
        Row([(2_000, 1_000), (160, 0)], sends: 1),  // a picture, and sound behind it
        Row([(2_100, 1_000), (90, 0)], sends: 2),  // nothing may follow the short end
        Row([(160, 0), (160, 0), (80, 0), (80, 0)], sends: 2),
        Row([(160, 0), (161, 0)], sends: 2),
        Row([(160, 0), (2_000, 1_000)], sends: 2),
        Row([(31_500, 500), (500, 0), (400, 0)], sends: 2),  // 64 are cut at most
        Row([(64_000, 1_000), (900, 0), (101, 0)], sends: 2),
    ]

    @Test(arguments: rows)
    func aDatagramThatTheKernelCanCutOffLeavesWithTheSendInFrontOfIt(row: Row) async throws {
        let counters = Mutex(DatagramCounters())
        try await self.withSockets(usesSegmentation: true) { socket, peer in
            let path = DatagramPath(to: peer)
            for (number, part) in row.parts.enumerated() {
                Self.write(
                    socket, part.length, segment: part.segment, path, fill: UInt8(truncatingIfNeeded: 60 * number))
            }
            socket.flush()
            counters.withLock { $0 = socket.counters }
        } _: { inbox in
            var expected: [ByteBuffer] = []
            for (number, part) in row.parts.enumerated() {
                let size = part.segment > 0 ? part.segment : part.length
                for piece in 0..<(part.length + size - 1) / size {
                    let fill = UInt8(truncatingIfNeeded: 60 * number + piece)
                    expected.append(ByteBuffer(repeating: fill, count: min(size, part.length - piece * size)))
                }
            }
            try await eventually("all arrive") { inbox.received.count == expected.count }
            #expect(inbox.received == expected)
            #expect(counters.withLock { $0.sends } == row.sends)
            #expect(counters.withLock { $0.datagrams } == UInt64(expected.count))
        }
    }

    @Test func datagramsToOthersOrFromOtherAddressesLeaveAlone() async throws {
        let sends = Mutex<UInt64>(0)
        try await self.withSockets(usesSegmentation: true, bind: "0.0.0.0") { socket, peer in
            let locals = ["127.0.0.9", "127.0.0.8"].compactMap { host in
                (try? SocketAddress(ipAddress: host, port: 0)).flatMap { PeerAddress($0) }
            }
            Self.write(socket, 300, segment: 0, DatagramPath(to: peer), fill: 1)
            for local in locals { Self.write(socket, 300, segment: 0, DatagramPath(to: peer, from: local), fill: 2) }
            socket.flush()
            sends.withLock { $0 = socket.counters.sends }
        } _: { inbox in
            try await eventually("all arrive") { inbox.received.count == 3 }
            #expect(inbox.datagrams.withLock { $0.map(\.from) } == ["127.0.0.1", "127.0.0.9", "127.0.0.8"])
            #expect(sends.withLock { $0 } == 3)
        }
    }

    @Test func aSendOfMoreDatagramsThanTheKernelCutsIsSentInPieces() async throws {
        try await self.withSockets(usesSegmentation: true) { socket, peer in
            Self.write(socket, 200 * 100, segment: 100, DatagramPath(to: peer), fill: 0)
        } _: { inbox in
            try await eventually("all arrive") { inbox.received.count == 200 }
            #expect(inbox.received.allSatisfy { $0.readableBytes == 100 })
        }
    }

    @Test func whatTheKernelRefusesToCutIsSentInPiecesUntilNobodyTriesAnyMore() async throws {
        let usesSegmentation = Mutex(true)
        // The kernel does not cut what has no checksum.
        try await self.withSockets(usesSegmentation: true, hasChecksum: false) { socket, peer in
            let path = DatagramPath(to: peer)
            for number in 0..<20 {
                Self.write(socket, 1_700, segment: 500, path, fill: UInt8(10 * number))
                socket.flush()
            }
            usesSegmentation.withLock { $0 = socket.usesSegmentation }
        } _: { inbox in
            try await eventually("all arrive") { inbox.received.count == 80 }
            #expect(!usesSegmentation.withLock { $0 })
            let lengths = inbox.received.map(\.readableBytes)
            let expected: [Int] = (0..<80).map { (index: Int) -> Int in index % 4 == 3 ? 200 : 500 }
            #expect(lengths == expected)
        }
    }

    @Test func aReplyLeavesFromTheAddressThatWasSentTo() async throws {
        try await self.withSockets(usesSegmentation: true, bind: "0.0.0.0") { socket, peer in
            guard let local = (try? SocketAddress(ipAddress: "127.0.0.9", port: 0)).flatMap({ PeerAddress($0) }) else {
                return
            }
            Self.write(socket, 300, segment: 100, DatagramPath(to: peer, from: local), fill: 1)
        } _: { inbox in
            try await eventually("all arrive") { inbox.received.count == 3 }
            #expect(inbox.datagrams.withLock { $0.map(\.from) } == ["127.0.0.9", "127.0.0.9", "127.0.0.9"])
        }
    }

    @Test func aClosedSocketSendsNothing() async throws {
        try await self.withSockets(usesSegmentation: true) { socket, peer in
            socket.send(ByteBuffer(string: "one"), to: DatagramPath(to: peer))
            socket.flush()
            socket.close()
            socket.send(ByteBuffer(string: "two"), to: DatagramPath(to: peer))
        } _: { inbox in
            try await eventually("the first arrives") { inbox.received.count == 1 }
            #expect(inbox.received == [ByteBuffer(string: "one")])
        }
    }
}
