import AMF
import Logging
import Media
import NIOCore
import RTMP
import StreamHub
import Streaming

/// Why a connection to another node ended.
package enum RTMPLinkEnd: Error, Sendable, Hashable {
    /// The other node refused with an RTMP status.
    case rejected(code: String, description: String)
    /// The other node said that the stream is over.
    case streamEnded
    case failed(String)
    /// We closed it.
    case closed
}

/// One RTMP connection to another server: pulls a stream from it, or publishes one to it. Runs on the channel's loop.
final class RTMPClientHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var session: RTMPClientSession
    private let owner: any RTMPLinkOwner
    private var ingest = RTMPIngest()
    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    private var armedDeadline = NIODeadline.distantFuture
    private var isOver = false

    init(configuration: RTMPClientConfiguration, target: RTMPClientTarget, owner: any RTMPLinkOwner) {
        self.owner = owner
        self.session = RTMPClientSession(
            configuration: configuration, target: target,
            randomBytes: .random(count: RTMPClientSession.randomByteCount), now: .now())
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        self.drain()
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isOver else { return }
        self.session.receive(self.unwrapInboundIn(data), now: .now())
        self.drain()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.forwardMedia()
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.owner.linkWritable(context.channel.isWritable)
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.finish(.failed("the connection was closed"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.finish(.failed("\(error)"))
    }

    private func drain() {
        guard let context = self.context else { return }
        while let output = self.session.nextOutput() {
            switch output {
            case .transmit(let bytes): context.write(self.wrapOutboundOut(bytes), promise: nil)
            case .event(let event): self.handle(event)
            case .close(let error):
                context.flush()
                return self.finish(error.map { .failed("\($0)") } ?? .closed)
            }
        }
        context.flush()
        guard let next = self.session.nextDeadline, next < self.armedDeadline, !self.isOver else { return }
        self.armedDeadline = next
        self.timer?.cancel()
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: next) {
            self.armedDeadline = .distantFuture
            self.session.deadlineReached(now: .now())
            self.drain()
        }
    }

    private func handle(_ event: RTMPClientEvent) {
        switch event {
        case .connected, .restarted: break
        case .playing(let information), .publishing(let information):
            let epoch = information.last { $0.name == "weirEpoch" }?.value.doubleValue
            self.owner.linkEstablished(epoch: epoch.flatMap { UInt64(exactly: $0) })
        case .media(let message):
            self.ingest.receive(message)
            if self.ingest.isHopeless { self.finish(.failed("unreadable media")) }
        case .metadata(let metadata, _): self.ingest.receive(metadata)
        case .data(let data): self.ingest.receive(data)
        case .reconnectRequested: self.owner.linkShouldMove()
        case .rejected(let code, let description, _): self.finish(.rejected(code: code, description: description))
        case .ended:
            self.forwardMedia()
            self.finish(.streamEnded)
        }
    }

    private func forwardMedia() {
        let events = self.ingest.takeEvents()
        if !events.isEmpty { self.owner.linkReceived(events) }
    }

    private func finish(_ end: RTMPLinkEnd) {
        guard !self.isOver else { return }
        self.forwardMedia()
        self.isOver = true
        self.timer?.cancel()
        self.context?.close(promise: nil)
        self.owner.linkEnded(end)
    }

    // MARK: The owner's wishes

    /// Sends shared bytes of a rendition. Valid after `linkEstablished` of a publish.
    func send(_ bytes: ByteBuffer) {
        guard let context = self.context, !self.isOver else { return }
        context.writeAndFlush(self.wrapOutboundOut(bytes), promise: nil)
    }

    /// Closes at once: what waits to be sent is dropped.
    func abandon() { self.finish(.closed) }

    /// Leaves in order: tells the other side, then closes.
    func leave(isPublishing: Bool) {
        guard !self.isOver else { return }
        if isPublishing { self.session.unpublish(now: .now()) } else { self.session.stop(now: .now()) }
        self.drain()
    }
}

/// Is told what happens on a connection to another server, on that connection's loop.
protocol RTMPLinkOwner: AnyObject {
    /// Playing or publishing began. `epoch` is what the other node says of the stream.
    func linkEstablished(epoch: UInt64?)
    func linkReceived(_ events: [MediaEvent])
    func linkWritable(_ isWritable: Bool)
    /// The other server wants the connection to be given up for one to another node, at a good moment.
    func linkShouldMove()
    /// Called once, whatever happens after the connection was made.
    func linkEnded(_ end: RTMPLinkEnd)
}
