package import HummingbirdCore
package import Logging
package import MediaObjects
package import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOSSL
import NIOTLS
package import StreamHub
package import TLSContexts

/// The channels of a media listener: HTTP/1.1 over TCP, HTTP/1.1 and HTTP/2 over TLS by what the client can.
///
/// Requests for media are answered by this module; Hummingbird has the others.
package struct MediaHTTPChannel: HTTPChannelHandler {
    typealias Parts = NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>

    /// A connection whose protocol may not be negotiated yet.
    package struct Value: ServerChildChannelValue {
        let connection: EventLoopFuture<Connection>
        package let channel: any Channel
    }

    enum Connection: Sendable {
        case http1(Parts)
        /// The streams with requests for Hummingbird.
        case http2(AsyncStream<Parts>)
    }

    private let services: MediaHTTPHandler.Services
    private let tls: TLSContextStore?
    private let logger: Logger
    package let responder: HTTPChannelHandler.Responder

    /// `objects` answers for the files of streams; without it they are the responder's, too.
    package init(
        responder: @escaping HTTPChannelHandler.Responder, configuration: MediaHTTPConfiguration,
        gate: any SessionGate, hub: StreamHub, objects: (any MediaObjectSource)? = nil, tls: TLSContextStore?,
        logger: Logger
    ) {
        self.responder = responder
        self.tls = tls
        self.logger = logger
        self.services = MediaHTTPHandler.Services(
            configuration: configuration, gate: gate, hub: hub, objects: objects)
    }

    // MARK: Setup

    package func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        if let limit = self.services.configuration.connectionLimit {
            guard limit.enter() else {
                self.sessions.refusedConnection("maximum_connections")
                return Self.refuse(channel)
            }
            channel.closeFuture.whenComplete { _ in limit.leave() }
        }
        let transport = self.tls == nil ? "http" : "https"
        guard let account = self.sessions.open(channel.remoteAddress, transport: transport) else {
            return Self.refuse(channel)
        }
        do {
            let socket = SessionSocketHandler(account: account, registry: self.sessions)
            try channel.pipeline.syncOperations.addHandler(socket)
        } catch {
            self.sessions.close(account)
            return channel.eventLoop.makeFailedFuture(error)
        }
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
            self.limitHandshake(channel, negotiation.protocolNegotiationResult)
            return Value(connection: negotiation.protocolNegotiationResult, channel: channel)
        }
    }

    private var sessions: SessionRegistry { self.services.configuration.sessions }

    private static func refuse(_ channel: any Channel) -> EventLoopFuture<Value> {
        channel.close().flatMapThrowing { throw ChannelError.ioOnClosedChannel }
    }

    /// A client that does not finish its handshake is closed.
    private func limitHandshake(_ channel: any Channel, _ done: EventLoopFuture<Connection>) {
        let timer = channel.eventLoop.scheduleTask(in: .seconds(10)) { channel.close(promise: nil) }
        done.whenComplete { _ in timer.cancel() }
    }

    private func http1(_ channel: any Channel) throws -> Connection {
        let operations = channel.pipeline.syncOperations
        try operations.configureHTTPServerPipeline(
            withPipeliningAssistance: false, withErrorHandling: false, withOutboundHeaderValidation: false,
            withEncoderConfiguration: .init(), withDecoderLimitConfiguration: Self.decoderLimits)
        let socket = try operations.handler(type: SessionSocketHandler.self)
        try operations.addHandler(MediaHTTPHandler(services: self.services, socket: socket, logger: self.logger))
        try operations.addHandler(HTTP1ToHTTPServerCodec(secure: self.tls != nil))
        let parts = try Parts(
            wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
        return .http1(parts)
    }

    private static var decoderLimits: NIOHTTPDecoderLimitConfiguration {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = 16 << 10
        limits.maxHeaderListSize = 32 << 10
        limits.maxHeaderFieldCount = 100
        return limits
    }

    private func http2(_ channel: any Channel) throws -> Connection {
        let (requests, continuation) = AsyncStream<Parts>.makeStream()
        let configuration = self.services.configuration
        let registry = HTTP2StreamRegistry()
        registry.start(every: configuration.idleTimeout, on: channel.eventLoop)
        let boundRegistry = NIOLoopBound(registry, eventLoop: channel.eventLoop)
        let account = try channel.pipeline.syncOperations.handler(type: SessionSocketHandler.self).account
        account.onTerminate { _, _ in channel.close(promise: nil) }
        channel.closeFuture.whenComplete { _ in
            boundRegistry.value.stop()
            continuation.finish()
        }
        try HTTP2Setup.configure(channel, configuration) { stream in
            stream.eventLoop.makeCompletedFuture {
                let operations = stream.pipeline.syncOperations
                let handler = MediaHTTPHandler(services: self.services, socket: nil, logger: self.logger) {
                    try stream.pipeline.syncOperations.addHandler(HTTP1ToHTTPServerCodec(secure: true))
                    continuation.yield(try Parts(wrappingChannelSynchronously: stream))
                }
                try operations.addHandlers([HTTP2FramePayloadToHTTP1ServerCodec(), handler])
                boundRegistry.value.add(handler, until: stream.closeFuture)
            }
        }
        return .http2(requests)
    }

    // MARK: Running

    package func handle(value: Value, logger: Logger) async {
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
