import GB28181
import NIOCore
import SIP

/// Reads the SIP messages of one TCP connection.
final class SIPConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// A device that says nothing for so long has left without closing.
    static let idleTimeout = TimeAmount.minutes(10)
    /// Nobody stays for so long without having registered.
    static let registrationTimeout = TimeAmount.seconds(30)
    /// A peer that takes none of its answers for so long is left.
    static let blockedTimeout = TimeAmount.seconds(10)

    private let number: UInt64
    private let signalling: Signalling
    private var reader: SIPMessageReader
    private var path: SIPPath?
    private var isClosed = false
    private var idleTimer: Scheduled<Void>?
    private var blockedTimer: Scheduled<Void>?
    private var strangerTimer: Scheduled<Void>?
    private var heard = NIODeadline.now()

    init(number: UInt64, signalling: Signalling, limits: SIPMessage.Limits) {
        self.number = number
        self.signalling = signalling
        self.reader = SIPMessageReader(limits: limits)
    }

    func channelActive(context: ChannelHandlerContext) {
        guard let remote = context.channel.remoteAddress, let host = remote.ipAddress, let port = remote.port else {
            return context.close(promise: nil)
        }
        let local = context.channel.localAddress
        self.path = SIPPath(
            transport: .tcp(connection: self.number), host: host, port: port, localHost: local?.ipAddress ?? "",
            localPort: local?.port ?? 0)
        self.signalling.opened(self.number, context.channel)
        self.strangerTimer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.registrationTimeout) {
            if !self.signalling.isUsed(connection: self.number) { context.close(promise: nil) }
        }
        self.watch(context)
        context.fireChannelActive()
    }

    private func watch(_ context: ChannelHandlerContext) {
        let due = self.heard + Self.idleTimeout
        self.idleTimer = context.eventLoop.assumeIsolated().scheduleTask(deadline: due) {
            if NIODeadline.now() >= self.heard + Self.idleTimeout {
                context.close(promise: nil)
            } else {
                self.watch(context)
            }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let path = self.path, !self.isClosed else { return }
        self.heard = .now()
        self.reader.append(self.unwrapInboundIn(data))
        do throws(SIPError) {
            while let message = try self.reader.next() { self.signalling.received(message, from: path) }
        } catch {
            // Where the next message begins is not known.
            self.isClosed = true
            self.signalling.receivedGarbage(error, from: path)
            context.close(promise: nil)
        }
    }

    /// What a peer does not read would pile up here: it is not read from until it does.
    func channelWritabilityChanged(context: ChannelHandlerContext) {
        let isWritable = context.channel.isWritable
        context.channel.setOption(.autoRead, value: isWritable).whenComplete { _ in }
        self.blockedTimer?.cancel()
        self.blockedTimer = nil
        if !isWritable {
            self.blockedTimer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.blockedTimeout) {
                context.close(promise: nil)
            }
        }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.idleTimer?.cancel()
        self.idleTimer = nil
        self.blockedTimer?.cancel()
        self.blockedTimer = nil
        self.strangerTimer?.cancel()
        self.strangerTimer = nil
        self.signalling.closed(self.number)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Reads the SIP messages of one UDP socket.
final class SIPDatagrams: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let signalling: Signalling
    private let limits: SIPMessage.Limits

    init(signalling: Signalling, limits: SIPMessage.Limits) {
        self.signalling = signalling
        self.limits = limits
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        guard let host = envelope.remoteAddress.ipAddress, let port = envelope.remoteAddress.port else { return }
        let local = context.channel.localAddress
        let reached = envelope.metadata?.packetInfo?.destinationAddress.ipAddress
        let path = SIPPath(
            transport: .udp, host: host, port: port, localHost: reached ?? local?.ipAddress ?? "",
            localPort: local?.port ?? 0)
        do throws(SIPError) {
            if let message = try SIPMessageReader.message(inDatagram: envelope.data, limits: self.limits) {
                self.signalling.received(message, from: path)
            }
        } catch {
            self.signalling.receivedGarbage(error, from: path)
        }
    }

    /// An unreachable peer is no reason to close the socket of the others.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}
