import HTTPMedia
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import NodeConfiguration
import PlayerPage
import ServiceLifecycle
import StreamHub
import TLSContexts
import WebRTCSignalling

/// One HTTP listener for media.
struct MediaListener {
    let address: ListenAddress
    let configuration: MediaHTTPConfiguration
    let gate: NodeGate
    let hub: StreamHub
    let objects: NodeObjects
    /// `nil` without a player page.
    let listing: StreamListing?
    /// `nil` where WebRTC is off.
    let webRTC: WebRTCRoutes?
    let tls: TLSContextStore?
    let group: MultiThreadedEventLoopGroup
    let logger: Logger
    /// Called when the address is bound.
    let onBound: @Sendable () -> Void

    func application() -> some ApplicationProtocol {
        let router = Router(context: SignallingContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: NoSniffing())
        self.webRTC?.add(to: router)
        if let listing = self.listing {
            self.addPage(to: router, listing)
        } else {
            router.get("/") { _, _ in "Weir. Streams are at /{app}/{stream}.m3u8, .mpd and .flv.\n" }
        }
        return Application(
            router: router,
            server: HTTPServerBuilder { responder in
                MediaHTTPChannel(
                    responder: responder, configuration: self.configuration, gate: self.gate, hub: self.hub,
                    objects: self.objects, tls: self.tls, logger: self.logger)
            },
            configuration: .init(
                address: .hostname(self.address.host, port: self.address.port), serverName: "Weir", backlog: 4_096),
            onServerRunning: { _ in self.onBound() }, eventLoopGroupProvider: .shared(self.group),
            logger: self.logger.quiet)
    }

    private func addPage(to router: Router<SignallingContext>, _ listing: StreamListing) {
        router.get("/api/streams.json") { request, _ in
            let host = request.head.authority ?? ""
            return try await listing.json(host: request.uri.queryParameters["vhost"].map { String($0) } ?? host)
        }
        for path in PlayerPage.paths {
            router.get(RouterPath(path)) { request, _ in
                guard let asset = PlayerPage.asset(path: path) else { throw HTTPError(.notFound) }
                let validator = "\"\(asset.etag)\""
                // The files belong together: a page of one version with a script of another would not play.
                var headers: HTTPFields = [.cacheControl: "no-cache", .eTag: validator]
                if request.headers[.ifNoneMatch] == validator {
                    return Response(status: .notModified, headers: headers)
                }
                headers[.contentType] = asset.contentType
                return Response(status: .ok, headers: headers, body: .init(byteBuffer: asset.bytes))
            }
        }
    }
}

/// Every answer is what its `Content-Type` says, errors of the router included.
private struct NoSniffing: RouterMiddleware {
    typealias Context = SignallingContext

    func handle(
        _ request: Request, context: SignallingContext,
        next: @concurrent (Request, SignallingContext) async throws -> Response
    ) async throws -> Response {
        var response: Response
        do {
            response = try await next(request, context)
        } catch let error as any HTTPResponseError {
            response = try error.response(from: request, context: context)
        }
        response.headers[.xContentTypeOptions] = "nosniff"
        return response
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
