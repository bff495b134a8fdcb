import NIOCore
import Synchronization

/// A TCP connection, as the session that uses it sees it. Any event loop may call.
final class StreamLink: Sendable {
    let number: UInt64
    let remote: PeerAddress
    let local: PeerAddress?
    private let channel: any Channel
    /// What the connection may hold back, in bytes.
    private let limit: Int
    private let pending = Atomic<Int>(0)

    init(number: UInt64, channel: any Channel, remote: PeerAddress, local: PeerAddress?, limit: Int) {
        self.number = number
        self.limit = limit
        self.local = local
        self.channel = channel
        self.remote = remote
    }

    var path: PacketPath {
        PacketPath(transport: .tcp(connection: self.number), remote: self.remote, local: self.local)
    }

    /// Bytes that wait for the client to read.
    var pendingBytes: Int { self.pending.load(ordering: .relaxed) }

    /// Sends packets that stand behind their lengths already. Returns false, and drops them, if too much waits.
    func send(framed bytes: ByteBuffer) -> Bool {
        guard self.pendingBytes < self.limit else { return false }
        self.write(bytes)
        return true
    }

    /// Sends one packet that is no media: there is little of it, so more may wait.
    func send(_ packet: ByteBuffer) {
        guard packet.readableBytes > 0, packet.readableBytes <= Int(UInt16.max), self.pendingBytes < 2 * self.limit
        else { return }
        var framed = ByteBufferAllocator().buffer(capacity: 2 + packet.readableBytes)
        framed.writeInteger(UInt16(packet.readableBytes))
        framed.writeImmutableBuffer(packet)
        self.write(framed)
    }

    private func write(_ bytes: ByteBuffer) {
        let count = bytes.readableBytes
        self.pending.wrappingAdd(count, ordering: .relaxed)
        self.channel.writeAndFlush(bytes).whenComplete { _ in
            self.pending.wrappingSubtract(count, ordering: .relaxed)
        }
    }

    func close() { self.channel.close(promise: nil) }
}

/// Reads one TCP connection of a client: packets in frames (RFC 4571).
///
/// States: *unknown* until a connectivity check that names a session has been verified, for a bounded time; *known* to the
/// end. A connection that sends anything else first is closed. Spec: RFC 6544 §4.2.
final class StreamConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// DTLS records may be 16 KB; nobody makes them so long over UDP.
    private static let maximumPacketLength = 16 << 10

    private let worker: WebRTCWorker
    private let number: UInt64
    private let timeout: TimeAmount
    private let limit: Int
    private var link: StreamLink?
    private var framing = StreamFraming(limit: StreamConnection.maximumPacketLength)
    private var deadline: Scheduled<Void>?
    private var isClosed = false

    /// Call on the worker's loop. `timeout`: the time that an unknown connection has. `limit`:
    /// the bytes that it may hold back.
    init(number: UInt64, worker: WebRTCWorker, timeout: TimeAmount, limit: Int) {
        self.number = number
        self.limit = limit
        self.worker = worker
        self.timeout = timeout
    }

    func channelActive(context: ChannelHandlerContext) {
        guard let remote = context.channel.remoteAddress.flatMap({ PeerAddress($0) }) else {
            return context.close(promise: nil)
        }
        let local = context.channel.localAddress.flatMap { PeerAddress($0) }
        self.link = StreamLink(
            number: self.number, channel: context.channel, remote: remote, local: local,
            limit: self.limit)
        self.deadline = context.eventLoop.assumeIsolated().scheduleTask(in: self.timeout) {
            context.close(promise: nil)
        }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let link = self.link, !self.isClosed else { return }
        self.framing.append(self.unwrapInboundIn(data))
        do {
            while let packet = try self.framing.next() {
                switch self.worker.received(packet, path: link.path, link: link) {
                case .stranger: return self.close(context)
                case .claimant: break
                case .peer:
                    self.deadline?.cancel()
                    self.deadline = nil
                }
            }
        } catch {
            self.close(context)
        }
    }

    private func close(_ context: ChannelHandlerContext) {
        self.isClosed = true
        context.close(promise: nil)
        // A channel that is closed while it is read from tells of no end of the reading.
        self.worker.batchEnded()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.worker.batchEnded()
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.deadline?.cancel()
        self.deadline = nil
        if let link = self.link { self.worker.linkClosed(link) }
        self.link = nil
        self.worker.batchEnded()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.close(context) }
}
