import NIOCore
import NIOHTTP2

/// The streams of one HTTP/2 connection that are open, and the timer that they share. Confined to its event loop.
final class HTTP2StreamRegistry {
    private var handlers: [ObjectIdentifier: MediaHTTPHandler] = [:]
    private var timer: Scheduled<Void>?

    /// Looks every `interval` for streams that do not go on.
    func start(every interval: TimeAmount, on loop: any EventLoop) {
        self.timer = loop.assumeIsolated().scheduleTask(in: interval) {
            let now = NIODeadline.now()
            // A copy, because streams that close leave.
            for handler in Array(self.handlers.values) { _ = handler.checkProgress(now: now) }
            self.start(every: interval, on: loop)
        }
    }

    func stop() {
        self.timer?.cancel()
        self.timer = nil
        self.handlers.removeAll()
    }

    func add(_ handler: MediaHTTPHandler, until closed: EventLoopFuture<Void>) {
        let id = ObjectIdentifier(handler)
        self.handlers[id] = handler
        closed.assumeIsolated().whenComplete { _ in self.handlers[id] = nil }
    }
}

/// How this module speaks HTTP/2.
enum HTTP2Setup {
    /// Adds the handlers of a connection that negotiated HTTP/2. `onStream` makes a stream's handlers; call on the loop.
    static func configure(
        _ channel: any Channel, _ configuration: MediaHTTPConfiguration,
        onStream: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>
    ) throws {
        let manager = NIOHTTP2ServerConnectionManagementHandler(
            eventLoop: channel.eventLoop,
            configuration: .init(
                maxIdleTime: configuration.idleTimeout, maxAge: nil, maxGraceTime: .seconds(10),
                keepalive: .init(pingInterval: configuration.idleTimeout, ackTimeout: .seconds(20))))
        var connection = NIOHTTP2Handler.ConnectionConfiguration()
        connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: configuration.maximumConcurrentStreams),
            HTTP2Setting(parameter: .maxHeaderListSize, value: HPACKDecoderLimits.headerListByteCount),
        ]
        var stream = NIOHTTP2Handler.StreamConfiguration()
        // Bodies come in pieces of this size; more than one is not asked for before the last has left.
        stream.outboundBufferSizeHighWatermark = ResponseWire.pieceByteCount
        stream.outboundBufferSizeLowWatermark = ResponseWire.pieceByteCount / 4
        let handler = NIOHTTP2Handler(
            mode: .server, eventLoop: channel.eventLoop, connectionConfiguration: connection,
            streamConfiguration: stream, streamDelegate: manager.http2StreamDelegate,
            inboundStreamInitializer: onStream)
        try channel.pipeline.syncOperations.addHandlers(handler, manager, HTTP2InputEndHandler())
    }

    private enum HPACKDecoderLimits {
        static let headerListByteCount = 16 << 10
    }
}

/// Closes a connection whose client sends nothing more: over HTTP/2 it cannot acknowledge what it gets, either. Also one
/// whose client sends what is not HTTP/2, which by then was told so (RFC 9113 §5.4.1).
private final class HTTP2InputEndHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
