package import Hummingbird
import HummingbirdCore
package import Logging
package import NIOCore
package import ServiceLifecycle
package import TLSContexts

/// What the administration servers of nodes and coordinator have in common: listeners with limits, who may do what,
/// headers against attacks by browsers, and errors as problems.
///
/// ```swift
/// let router = APIServer.makeRouter()
/// router.get("/api/v2/streams") { request, context in … }       // context.principal, context.clientAddress
/// let server = APIServer(configuration: configuration, router: router, tls: store, group: group, logger: logger)
/// services.append(server.listener(host: "127.0.0.1", port: 1985) { port in … })
/// services.append(server.listener(host: "0.0.0.0", port: 1990, isTLS: true) { port in … })
/// ```
///
/// A request passes, in this order: limits of its connection; checks of method and path; CORS preflight; origin of
/// requests that change something; credentials, and `Host` for those without; the role; the route. Every answer gets the
/// security headers. Requests are logged without queries and credentials.
package final class APIServer: Sendable {
    private let configuration: APIServerConfiguration
    private let responder: APIResponder
    private let tls: TLSContextStore?
    private let group: any EventLoopGroup
    private let logger: Logger
    private let load: APILoad

    /// A router whose errors are problems, 404 and 405 included. `HEAD` goes where `GET` goes.
    package static func makeRouter() -> Router<APIContext> {
        let router = Router(context: APIContext.self, options: [.autoGenerateHeadEndpoints])
        router.add(middleware: ProblemMiddleware())
        return router
    }

    /// - Parameters:
    ///   - router: made by `makeRouter`, with all its routes: those that are added later are not seen.
    ///   - tls: for listeners with TLS; made with `applicationProtocols: ["h2", "http/1.1"]`.
    package init(
        configuration: APIServerConfiguration, router: Router<APIContext>, tls: TLSContextStore? = nil,
        group: any EventLoopGroup, logger: Logger
    ) {
        self.configuration = configuration
        self.responder = APIResponder(configuration: configuration, router: router, logger: logger)
        self.tls = tls
        self.group = group
        self.logger = logger
        self.load = APILoad(limits: configuration.limits)
    }

    /// One listener, as a service that runs until it is shut down gracefully or cancelled.
    ///
    /// - Parameter onBound: called with the port when the address is bound.
    /// - Throws: the service throws what binding throws.
    package func listener(
        host: String, port: Int, isTLS: Bool = false, onBound: @escaping @Sendable (Int) -> Void = { _ in }
    ) -> any Service {
        precondition(!isTLS || self.tls != nil, "a listener with TLS needs a certificate")
        let tls = isTLS ? self.tls : nil
        return Application(
            responder: self.responder,
            server: HTTPServerBuilder { responder in
                APIChannel(responder: responder, limits: self.configuration.limits, load: self.load, tls: tls)
            },
            configuration: ApplicationConfiguration(
                address: .hostname(host, port: port), serverName: "Weir", backlog: 1_024),
            onServerRunning: { channel in onBound(channel.localAddress?.port ?? port) },
            eventLoopGroupProvider: .shared(self.group), logger: self.quietLogger)
    }

    /// Open connections and requests, and what was refused since the start.
    package var statistics: APIServerStatistics {
        var statistics = self.load.statistics
        statistics.failedSignIns = self.responder.failedSignIns
        return statistics
    }

    /// For a library whose notices are no news to an operator.
    private var quietLogger: Logger {
        var logger = self.logger
        if logger.logLevel <= .info { logger.logLevel = .warning }
        return logger
    }
}

/// What an API server counts.
package struct APIServerStatistics: Sendable, Hashable {
    package var connections = 0
    package var requestsInFlight = 0
    /// Connections over the limit, closed at once.
    package var refusedConnections: UInt64 = 0
    /// Requests over the limit, answered 503.
    package var refusedRequests: UInt64 = 0
    /// Connections closed because head, body or answer took too long.
    package var timedOut: UInt64 = 0
    /// Requests over a limit of size, or malformed.
    package var rejected: UInt64 = 0
    package var failedSignIns: UInt64 = 0

    package init() {}
}
