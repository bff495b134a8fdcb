import HTTPMedia
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import NodeConfiguration
import ServiceLifecycle
import StreamHub
import TLSContexts

/// One HTTP listener for media.
struct MediaListener {
    let address: ListenAddress
    let configuration: MediaHTTPConfiguration
    let gate: NodeGate
    let hub: StreamHub
    let tls: TLSContextStore?
    let group: MultiThreadedEventLoopGroup
    let logger: Logger
    /// Called when the address is bound.
    let onBound: @Sendable () -> Void

    func application() -> some ApplicationProtocol {
        let router = Router()
        router.get("/") { _, _ in
            "Weir. Streams are at /{app}/{stream}.flv, over HTTP and WebSocket.\n"
        }
        return Application(
            router: router,
            server: HTTPServerBuilder { responder in
                MediaHTTPChannel(
                    responder: responder, configuration: self.configuration, gate: self.gate, hub: self.hub,
                    tls: self.tls, logger: self.logger)
            },
            configuration: .init(
                address: .hostname(self.address.host, port: self.address.port), serverName: "Weir", backlog: 4_096),
            onServerRunning: { _ in self.onBound() }, eventLoopGroupProvider: .shared(self.group),
            logger: self.logger.quiet)
    }
}

extension Logger {
    /// For libraries whose notices are no news to an operator.
    var quiet: Logger {
        var logger = self
        if logger.logLevel <= .info { logger.logLevel = .warning }
        return logger
    }
}
