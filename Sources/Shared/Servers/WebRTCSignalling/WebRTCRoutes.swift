import HTTPTypes
package import Hummingbird
package import Logging
package import NIOCore

/// WHIP, WHEP and the WebRTC part of SRS's API over HTTP.
///
/// | Path | |
/// |---|---|
/// | `/{app}/{stream}/whip`, `/{app}/{stream}/whep` | `POST` an offer |
/// | `/rtc/v1/whip/`, `/rtc/v1/whep/`, `/rtc/v1/whip-play/` | the same, with the stream in the query, as in SRS |
/// | `/rtc/v1/publish/`, `/rtc/v1/play/` | `POST` an offer in JSON, as in SRS |
/// | `/rtc/v1/session/{id}` | `PATCH` candidates or a restart of ICE, `DELETE` the session |
/// | `/rtc/v1/diagnose/{id}` | `GET` what was tried to connect |
///
/// Spec: RFC 9725, draft-ietf-wish-whep, RFC 8840 for fragments, RFC 9457 for problems.
package struct WebRTCRoutes: Sendable {
    let sessions: any WebRTCSessions
    let configuration: WebRTCSignallingConfiguration

    package init(sessions: any WebRTCSessions, configuration: WebRTCSignallingConfiguration) {
        self.sessions = sessions
        self.configuration = configuration
    }

    /// Answers the requests for these paths in front of the router's own routes; `SignallingContext` will do as a context.
    ///
    /// Routes that are added to the router before this call come first.
    package func add<Context: RemoteAddressRequestContext>(to router: Router<Context>) {
        router.add(middleware: WebRTCMiddleware(routes: self))
    }

    /// The answer to a request; `nil` if its path is none of these.
    package func respond(to request: Request, peer: SocketAddress?, logger: Logger) async -> Response? {
        guard let resource = SignallingResource(path: request.uri.path) else { return nil }
        var response: Response
        do throws(SignallingProblem) {
            response = try await self.route(request, resource, peer)
        } catch {
            logger.debug("webrtc: refused: \(error.name)\(error.detail.map { ": \($0)" } ?? "")")
            response = error.response
        }
        self.decorate(&response, request)
        return response
    }

    private func route(
        _ request: Request, _ resource: SignallingResource, _ peer: SocketAddress?
    ) async throws(SignallingProblem) -> Response {
        if request.method == .options { return self.options(resource) }
        guard resource.methods.contains(request.method.rawValue) else {
            throw .methodNotAllowed(resource.methods)
        }
        guard request.method == .get || request.method == .head || self.mayChange(request) else { throw .crossOrigin }
        let query = SignallingQuery(request.uri.query ?? "")
        switch resource {
        case .endpoint(let action, let app, let stream):
            return try await self.offer(request, action, app: app, stream: stream, query, peer)
        case .srsEndpoint(let usual):
            return try await self.srsOffer(request, usual, query, peer)
        case .api(let action):
            return await self.api(request, action, query, peer)
        case .session(let id) where request.method == .delete:
            return try await self.delete(id)
        case .session(let id):
            return try await self.patch(request, id)
        case .diagnosis(let id):
            return try await self.diagnose(request, id)
        }
    }

    // MARK: Who may ask

    /// The value of `Access-Control-Allow-Origin` for a page of `origin`; `nil` if it may not read the answer.
    private func allowedOrigin(_ origin: String) -> String? {
        if self.configuration.corsOrigins.contains("*") { return "*" }
        return self.configuration.corsOrigins.contains(origin.lowercased()) ? origin : nil
    }

    /// Whether a request may do something: one of a page of another origin only if that is allowed. Bodies in JSON come
    /// without a preflight request that could refuse them.
    private func mayChange(_ request: Request) -> Bool {
        guard let origin = request.headers[.origin] else {
            return request.headers[.fetchSite] != "cross-site" || self.configuration.corsOrigins.contains("*")
        }
        if self.allowedOrigin(origin) != nil { return true }
        guard let authority = request.head.authority, let separator = origin.firstRange(of: "://") else { return false }
        return origin[separator.upperBound...].lowercased() == authority.lowercased()
    }

    // MARK: Headers

    /// Also the answer to a preflight request. Spec: RFC 9725 §4.2, Fetch §4.8.
    private func options(_ resource: SignallingResource) -> Response {
        var headers: HTTPFields = [.allow: resource.methods.joined(separator: ", ")]
        headers[.accessControlAllowMethods] = resource.methods.joined(separator: ", ")
        headers[.accessControlAllowHeaders] = "Authorization, Content-Type, If-Match"
        headers[.accessControlMaxAge] = "600"
        switch resource {
        case .endpoint, .srsEndpoint: headers[.acceptPost] = MediaType.sdp
        case .api: headers[.acceptPost] = MediaType.json
        case .session: headers[.acceptPatch] = MediaType.fragment
        case .diagnosis: break
        }
        return Response(status: .noContent, headers: headers)
    }

    private func decorate(_ response: inout Response, _ request: Request) {
        response.headers[.cacheControl] = "no-store"
        response.headers[.xContentTypeOptions] = "nosniff"
        if !self.configuration.corsOrigins.contains("*") {
            response.headers.append(HTTPField(name: .vary, value: "Origin"))
        }
        guard let origin = request.headers[.origin], let allowed = self.allowedOrigin(origin) else { return }
        response.headers[.accessControlAllowOrigin] = allowed
        response.headers[.accessControlExposeHeaders] =
            "Accept-Patch, ETag, Link, Location, Retry-After, WWW-Authenticate"
    }
}

/// The types of bodies.
enum MediaType {
    static let sdp = "application/sdp"
    static let fragment = "application/trickle-ice-sdpfrag"
    static let json = "application/json"

    /// Whether `field`, the value of `Content-Type`, names `type`, with whatever parameters.
    static func isEqual(_ field: String, _ type: String) -> Bool {
        field.prefix { $0 != ";" }.filter { $0 != " " && $0 != "\t" }.lowercased() == type
    }

    /// Whether `Accept` allows `type`. Spec: RFC 9110 §12.5.1.
    static func isAccepted(_ type: String, by field: String) -> Bool {
        let family = type.prefix { $0 != "/" } + "/*"
        return field.split(separator: ",").contains { range in
            let words = range.split(separator: ";").map { $0.filter { $0 != " " && $0 != "\t" }.lowercased() }
            let isRefused = words.dropFirst().contains { word in
                word.hasPrefix("q=0") && word.dropFirst(3).allSatisfy { $0 == "0" || $0 == "." }
            }
            return !isRefused && ["*/*", String(family), type].contains(words.first)
        }
    }
}

/// The least that a router of these routes needs.
package struct SignallingContext: RemoteAddressRequestContext {
    package var coreContext: CoreRequestContextStorage
    /// The peer of the connection; that of the whole connection for streams of HTTP/2.
    package let remoteAddress: SocketAddress?

    package init(source: ApplicationRequestContextSource) {
        self.coreContext = CoreRequestContextStorage(source: source)
        self.remoteAddress = source.channel.remoteAddress ?? source.channel.parent?.remoteAddress
    }
}

private struct WebRTCMiddleware<Context: RemoteAddressRequestContext>: RouterMiddleware {
    let routes: WebRTCRoutes

    func handle(
        _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        let response = await self.routes.respond(to: request, peer: context.remoteAddress, logger: context.logger)
        guard let response else { return try await next(request, context) }
        return response
    }
}
