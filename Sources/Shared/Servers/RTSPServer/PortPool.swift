import NIOCore
import NIOPosix
import Synchronization

/// Two UDP sockets of one track: an even port for RTP, the next one for RTCP. Spec: RFC 3550 §11.
///
/// On the event loop of the connection that it belongs to.
final class PortPair {
    /// What arrived, and from where.
    typealias Receiver = (_ packet: AddressedEnvelope<ByteBuffer>, _ isControl: Bool) -> Void

    let rtpPort: Int
    let rtp: any Channel
    let rtcp: any Channel
    private let receiver: PortReceiver
    private let pool: PortPool

    fileprivate init(rtpPort: Int, rtp: any Channel, rtcp: any Channel, receiver: PortReceiver, pool: PortPool) {
        self.rtpPort = rtpPort
        self.rtp = rtp
        self.rtcp = rtcp
        self.receiver = receiver
        self.pool = pool
    }

    /// Who gets what arrives, and is told when a batch is over.
    func onReceive(_ receive: @escaping Receiver, batchEnd: @escaping () -> Void) {
        self.receiver.receive = receive
        self.receiver.batchEnd = batchEnd
    }

    /// Closes the sockets; the ports are free when both are closed.
    func close() {
        self.receiver.receive = nil
        self.receiver.batchEnd = nil
        let (pool, port) = (self.pool, self.rtpPort)
        self.rtp.close(promise: nil)
        self.rtcp.close(promise: nil)
        self.rtp.closeFuture.and(self.rtcp.closeFuture).whenComplete { _ in pool.give(back: port) }
    }
}

/// Where the sockets of a pair hand over what they read. On their loop.
private final class PortReceiver {
    var receive: PortPair.Receiver?
    var batchEnd: (() -> Void)?
}

private final class PortHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let receiver: PortReceiver
    private let isControl: Bool

    init(receiver: PortReceiver, isControl: Bool) {
        self.receiver = receiver
        self.isControl = isControl
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.receiver.receive?(self.unwrapInboundIn(data), self.isControl)
    }

    func channelReadComplete(context: ChannelHandlerContext) { self.receiver.batchEnd?() }

    // Errors of single datagrams, such as a port that nobody listens on, are no reason to stop.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

/// The ports of a range, two by two.
final class PortPool: Sendable {
    enum Failure: Error, Equatable {
        /// All are in use, by us or by others.
        case exhausted
    }

    private struct State {
        var free: [Int]
        var taken: Set<Int> = []
    }

    /// Ports that others have taken are skipped, so many for one request.
    private static let maximumTries = 16
    /// Datagrams that are read with one call, and the longest ones. Some senders use packets of media far above what a
    /// network carries in one piece.
    private static let mediaReads = (count: 8, length: 65_536)
    private static let controlReads = (count: 8, length: 4_096)

    private let receiveBuffer: Int
    private let sendBuffer: Int
    private let state: Mutex<State>

    /// `range` holds at least one even port with the odd one behind it.
    init(range: ClosedRange<Int>, receiveBuffer: Int, sendBuffer: Int) {
        self.receiveBuffer = receiveBuffer
        self.sendBuffer = sendBuffer
        let first = range.lowerBound + range.lowerBound % 2
        // In no order, so that two nodes of one machine that have the same range seldom want the same port.
        self.state = Mutex(State(free: stride(from: first, to: range.upperBound, by: 2).shuffled()))
    }

    var freeCount: Int { self.state.withLock { $0.free.count } }

    private func take() -> Int? {
        self.state.withLock { state in
            guard !state.free.isEmpty else { return nil }
            // The one that was given back longest ago: what is still on its way to it finds nobody.
            let port = state.free.removeFirst()
            state.taken.insert(port)
            return port
        }
    }

    fileprivate func give(back port: Int) {
        self.state.withLock { state in
            if state.taken.remove(port) != nil { state.free.append(port) }
        }
    }

    /// Binds two ports on `loop`, at the local address of the connection that they are for: so they are of its family, and
    /// what they send comes from where the peer expects it.
    func bind(at address: SocketAddress, on loop: any EventLoop) -> EventLoopFuture<NIOLoopBound<PortPair>> {
        self.bind(at: address, on: loop, tries: Self.maximumTries)
    }

    private func bind(
        at address: SocketAddress, on loop: any EventLoop, tries: Int
    ) -> EventLoopFuture<NIOLoopBound<PortPair>> {
        guard tries > 0, let port = self.take() else { return loop.makeFailedFuture(Failure.exhausted) }
        return loop.flatSubmit {
            let receiver = PortReceiver()
            let bound = NIOLoopBound(receiver, eventLoop: loop)
            let rtp = self.bind(address, port, on: loop, receiver: bound, isControl: false)
            let rtcp = self.bind(address, port + 1, on: loop, receiver: bound, isControl: true)
            return rtp.and(rtcp).map { rtp, rtcp in
                NIOLoopBound(
                    PortPair(rtpPort: port, rtp: rtp, rtcp: rtcp, receiver: bound.value, pool: self), eventLoop: loop)
            }.flatMapError { error in
                for future in [rtp, rtcp] { future.whenSuccess { $0.close(promise: nil) } }
                self.give(back: port)
                return self.bind(at: address, on: loop, tries: tries - 1)
            }
        }
    }

    private func bind(
        _ address: SocketAddress, _ port: Int, on loop: any EventLoop, receiver: NIOLoopBound<PortReceiver>,
        isControl: Bool
    ) -> EventLoopFuture<any Channel> {
        var address = address
        address.port = port
        let reads = isControl ? Self.controlReads : Self.mediaReads
        let capacity = reads.count * reads.length
        return DatagramBootstrap(group: loop)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: capacity))
            .channelOption(.socketOption(.so_rcvbuf), value: .init(self.receiveBuffer))
            .channelOption(.socketOption(.so_sndbuf), value: .init(self.sendBuffer))
            .channelOption(.datagramVectorReadMessageCount, value: reads.count)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        PortHandler(receiver: receiver.value, isControl: isControl))
                }
            }
            .bind(to: address)
    }
}
