import NIOCore

/// Reads one UDP socket of one event loop and hands its datagrams to the loop's worker.
///
/// What is sent goes around the channel, by `DatagramSocket`.
final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let listener: Int
    private let worker: WebRTCWorker
    /// The local address, unless the socket has several.
    private let hasOneAddress: Bool

    /// Call on the worker's loop.
    init(listener: Int, worker: WebRTCWorker, hasOneAddress: Bool) {
        self.listener = listener
        self.worker = worker
        self.hasOneAddress = hasOneAddress
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        guard envelope.data.readableBytes > 0, let remote = PeerAddress(envelope.remoteAddress) else { return }
        var path = PacketPath(transport: .udp(listener: self.listener), remote: remote)
        if !self.hasOneAddress, let local = envelope.metadata?.packetInfo?.destinationAddress {
            path.local = PeerAddress(local)
        }
        self.worker.received(envelope.data, path: path, link: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.worker.batchEnded()
        context.fireChannelReadComplete()
    }

    /// Errors of a UDP socket are those of single peers, such as an unreachable port; the socket goes on.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}

    func channelInactive(context: ChannelHandlerContext) {
        self.worker.socketClosed(listener: self.listener)
        context.fireChannelInactive()
    }
}
