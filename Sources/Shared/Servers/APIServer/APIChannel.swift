import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOSSL
import NIOTLS
import TLSContexts

/// The channels of an API's listener: HTTP/1.1 over TCP; over TLS HTTP/1.1 and HTTP/2, by what the client can.
struct APIChannel: HTTPChannelHandler {
    typealias Parts = NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>

    /// A connection whose protocol may not be negotiated yet.
    struct Value: ServerChildChannelValue {
        let connection: EventLoopFuture<Connection>
        let channel: any Channel
    }

    enum Connection: Sendable {
        case http1(Parts)
        /// One element for each request.
        case http2(AsyncStream<Parts>)
    }

    let responder: HTTPChannelHandler.Responder
    let limits: APILimits
    let load: APILoad
    /// `nil` without TLS.
    let tls: TLSContextStore?

    // MARK: Setup

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        guard self.load.enterConnection() else {
            return channel.close().flatMapThrowing { throw ChannelError.ioOnClosedChannel }
        }
        let load = self.load
        channel.closeFuture.whenComplete { _ in load.leaveConnection() }
        guard let tls = self.tls else {
            return channel.eventLoop.makeCompletedFuture {
                let connection = try self.http1(channel)
                return Value(connection: channel.eventLoop.makeSucceededFuture(connection), channel: channel)
            }
        }
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls.current))
            let negotiation = NIOTypedApplicationProtocolNegotiationHandler<Connection> { result in
                channel.eventLoop.makeCompletedFuture {
                    if case .negotiated("h2") = result { try self.http2(channel) } else { try self.http1(channel) }
                }
            }
            try channel.pipeline.syncOperations.addHandler(negotiation)
            let done = negotiation.protocolNegotiationResult
            let timer = channel.eventLoop.scheduleTask(in: self.limits.handshakeTimeout) {
                load.count(.timedOut)
                channel.close(promise: nil)
            }
            done.whenComplete { _ in timer.cancel() }
            channel.closeFuture.whenComplete { _ in timer.cancel() }
            return Value(connection: done, channel: channel)
        }
    }

    private func http1(_ channel: any Channel) throws -> Connection {
        let operations = channel.pipeline.syncOperations
        let requestGuard = RequestGuard(
            limits: self.limits, load: self.load, isHTTP2: false, canCloseOutput: self.tls == nil)
        try operations.addHandler(ByteTap(requestGuard))
        try operations.configureHTTPServerPipeline(
            withPipeliningAssistance: false, withErrorHandling: false, withOutboundHeaderValidation: false,
            withEncoderConfiguration: .init(), withDecoderLimitConfiguration: self.decoderLimits)
        try operations.addHandler(requestGuard)
        try operations.addHandler(HTTP1ToHTTPServerCodec(secure: self.tls != nil))
        return .http1(
            try Parts(wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true)))
    }

    private var decoderLimits: NIOHTTPDecoderLimitConfiguration {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = self.limits.headerFieldByteCount
        limits.maxHeaderListSize = self.limits.headByteCount
        limits.maxHeaderFieldCount = self.limits.headerFieldCount
        return limits
    }

    private func http2(_ channel: any Channel) throws -> Connection {
        let (requests, continuation) = AsyncStream<Parts>.makeStream()
        channel.closeFuture.whenComplete { _ in continuation.finish() }
        let manager = NIOHTTP2ServerConnectionManagementHandler(
            eventLoop: channel.eventLoop,
            configuration: .init(
                maxIdleTime: self.limits.idleTimeout, maxAge: nil, maxGraceTime: .seconds(10),
                keepalive: .init(pingInterval: self.limits.idleTimeout, ackTimeout: .seconds(20))))
        var connection = NIOHTTP2Handler.ConnectionConfiguration()
        connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: self.limits.streamsPerConnection),
            HTTP2Setting(parameter: .maxHeaderListSize, value: self.limits.headByteCount),
        ]
        let limits = self.limits
        let load = self.load
        let handler = NIOHTTP2Handler(
            mode: .server, eventLoop: channel.eventLoop, connectionConfiguration: connection,
            streamConfiguration: .init(), streamDelegate: manager.http2StreamDelegate
        ) { stream in
            stream.eventLoop.makeCompletedFuture {
                let requestGuard = RequestGuard(limits: limits, load: load, isHTTP2: true, canCloseOutput: false)
                try stream.pipeline.syncOperations.addHandlers([
                    HTTP2FramePayloadToHTTP1ServerCodec(), requestGuard, HTTP1ToHTTPServerCodec(secure: true),
                ])
                continuation.yield(try Parts(wrappingChannelSynchronously: stream))
            }
        }
        try channel.pipeline.syncOperations.addHandlers(handler, manager, ConnectionEndHandler())
        return .http2(requests)
    }

    // MARK: Running

    func handle(value: Value, logger: Logger) async {
        do {
            switch try await value.connection.get() {
            case .http1(let parts): await self.handleHTTP(asyncChannel: parts, logger: logger)
            case .http2(let requests):
                await withDiscardingTaskGroup { group in
                    for await parts in requests {
                        group.addTask { await self.handleHTTP(asyncChannel: parts, logger: logger) }
                    }
                }
            }
        } catch {
            logger.debug("connection ended before its protocol was negotiated: \(error)")
        }
    }
}

/// Closes an HTTP/2 connection whose client sends nothing more, or something that is not HTTP/2.
private final class ConnectionEndHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
