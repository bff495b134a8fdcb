package import HummingbirdCore
package import Logging
package import NIOCore
import NIOHTTPTypes
import NIOSSL
package import StreamHub
package import TLSContexts

/// The channels of a media listener: Hummingbird's HTTP/1.1, with live streams taken out of its hands, over TCP or TLS.
package struct MediaHTTPChannel: HTTPChannelHandler {
    package typealias Value = HTTP1Channel.Value

    private let base: HTTP1Channel
    private let tls: TLSContextStore?
    package let responder: HTTPChannelHandler.Responder

    package init(
        responder: @escaping HTTPChannelHandler.Responder, configuration: MediaHTTPConfiguration,
        gate: any SessionGate, hub: StreamHub, tls: TLSContextStore?, logger: Logger
    ) {
        self.responder = responder
        self.tls = tls
        self.base = HTTP1Channel(
            responder: responder,
            configuration: .init(
                additionalChannelHandlers: [
                    MediaHTTPHandler(configuration: configuration, gate: gate, hub: hub, logger: logger)
                ],
                idleTimeout: .seconds(60)))
    }

    package func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        guard let tls = self.tls else { return self.base.setup(channel: channel, logger: logger) }
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls.current))
        }.flatMap { self.base.setup(channel: channel, logger: logger) }
    }

    package func handle(value: Value, logger: Logger) async {
        await self.base.handle(value: value, logger: logger)
    }
}
