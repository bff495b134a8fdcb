import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOHTTP1

/// Takes a request through the rules to its route, and gives the answer its headers.
struct APIResponder: HTTPResponder {
    typealias Context = APIContext

    private let configuration: APIServerConfiguration
    private let routes: RouterResponder<APIContext>
    private let methods: RouteMethods
    private let signIns: SignInLimiter
    private let logger: Logger

    init(configuration: APIServerConfiguration, router: Router<APIContext>, logger: Logger) {
        self.configuration = configuration
        self.methods = RouteMethods(router.routes.map { (path: "\($0.path)", method: $0.method) })
        self.routes = router.buildResponder()
        self.signIns = SignInLimiter(
            maximumFailures: configuration.limits.failedSignIns, window: configuration.limits.signInWindow)
        self.logger = logger
    }

    var failedSignIns: UInt64 { self.signIns.failureCount }

    func respond(to request: Request, context: APIContext) async throws -> Response {
        let started = ContinuousClock.now
        var context = context
        context.maxUploadSize = self.configuration.limits.bodyByteCount
        context.clientAddress = RequestRules.clientAddress(
            peer: context.clientAddress, forwardedFor: Self.values("x-forwarded-for", request),
            isTrusted: self.configuration.isTrustedProxy)
        var response: Response
        do throws(APIProblem) {
            if let preflight = self.preflight(request) {
                response = preflight
            } else {
                context.principal = try await self.admit(request, context)
                response = try await self.route(request, context)
            }
        } catch {
            response = error.response()
        }
        self.decorate(&response, request)
        self.log(request, context, response, started)
        return response
    }

    private static func values(_ name: String, _ request: Request) -> [String] {
        HTTPField.Name(name).map { request.headers[values: $0] } ?? []
    }

    // MARK: Before the route

    /// Who asks, if they may.
    private func admit(_ request: Request, _ context: APIContext) async throws(APIProblem) -> APIPrincipal? {
        guard RequestRules.methods.contains(request.method) else {
            // A path that is there says what it takes; TRACE is known, but no resource has it. Spec: RFC 9110 §15.5.6.
            throw self.methods.problem(request.method, request.uri.path)
                ?? APIProblem(.notImplemented, detail: "no resource has this method")
        }
        guard RequestRules.isPlain(path: request.uri.path) else {
            throw APIProblem(
                .badRequest, name: "bad-path", title: "The path is malformed",
                detail: "it has dot segments, backslashes, control characters or broken percent-encoding")
        }
        let authority = request.head.authority
        let site = Self.values("sec-fetch-site", request).first
        guard
            RequestRules.isSafe(request.method)
                || RequestRules.mayChange(
                    origin: request.headers[.origin], site: site, authority: authority,
                    allowed: self.configuration.corsOrigins)
        else {
            throw APIProblem(
                .forbidden, name: "cross-origin", title: "Pages of other origins may change nothing here")
        }
        guard case .role(let role) = self.configuration.requirement(request.method, request.uri.path) else {
            return nil
        }
        let principal = try await self.principal(request, context)
        guard principal.role.includes(role) else { throw APIProblem.forbidden(role) }
        return principal
    }

    private func principal(_ request: Request, _ context: APIContext) async throws(APIProblem) -> APIPrincipal {
        guard let authorization = request.headers[.authorization] else {
            guard let anonymous = self.configuration.anonymous() else { throw self.unauthorized("no credentials") }
            guard RequestRules.isTrusted(authority: request.head.authority, names: self.configuration.hosts) else {
                throw APIProblem(
                    .misdirectedRequest, name: "unknown-host", title: "This server is not known by that name",
                    detail: "requests without credentials name an IP address, localhost or a configured host")
            }
            return anonymous
        }
        guard let credentials = APICredentials(authorization: authorization) else {
            throw self.unauthorized("the credentials are malformed, or of a scheme that is not supported")
        }
        let digest = credentials.digest
        let address = context.clientAddress
        if case .refused(let seconds) = self.signIns.check(address, digest: digest, now: .now()) {
            throw APIProblem(
                .tooManyRequests, name: "too-many-failures", title: "Too many wrong credentials",
                detail: "try again in \(seconds) s", headers: [.retryAfter: "\(seconds)"])
        }
        guard let principal = await self.configuration.authenticate(credentials) else {
            self.signIns.failed(address, digest: digest, now: .now())
            throw self.unauthorized("the credentials are wrong")
        }
        self.signIns.succeeded(digest: digest)
        return principal
    }

    private func unauthorized(_ detail: String) -> APIProblem {
        var headers: HTTPFields = [.wwwAuthenticate: "Bearer realm=\"weir\""]
        if self.configuration.offersBasic {
            headers.append(HTTPField(name: .wwwAuthenticate, value: "Basic realm=\"weir\", charset=\"UTF-8\""))
        }
        return APIProblem(
            .unauthorized, name: "unauthorized", title: "Credentials are required", detail: detail, headers: headers)
    }

    // MARK: The route

    private func route(_ request: Request, _ context: APIContext) async throws(APIProblem) -> Response {
        do {
            let response = try await self.routes.respond(to: request, context: context)
            // The router does not tell a missing path from a missing method.
            if response.status == .notFound, context.endpointPath == "NotFound",
                let problem = self.methods.problem(request.method, request.uri.path)
            {
                throw problem
            }
            return response
        } catch let problem as APIProblem {
            throw problem
        } catch {
            // A client that left, or whose request broke off, is no failure of ours; nobody reads the answer.
            let isPeers = error is ChannelError || error is CancellationError || error is HTTPParserError
            self.logger.log(
                level: isPeers ? .debug : .error, "\(self.configuration.name): a request failed: \(error)",
                metadata: ["path": "\(RequestRules.loggable(path: request.uri.path))"])
            throw APIProblem(.internalServerError)
        }
    }

    // MARK: Headers

    /// The answer to a preflight request, which asks on behalf of a page. Spec: Fetch §4.8.
    private func preflight(_ request: Request) -> Response? {
        guard request.method == .options, request.headers[.origin] != nil,
            request.headers[.accessControlRequestMethod] != nil
        else { return nil }
        var response = Response(status: .noContent)
        guard !self.configuration.corsOrigins.isEmpty else { return response }
        response.headers[.accessControlAllowMethods] = "GET, HEAD, POST, PUT, PATCH, DELETE"
        response.headers[.accessControlAllowHeaders] =
            "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID"
        response.headers[.accessControlMaxAge] = "600"
        return response
    }

    private func decorate(_ response: inout Response, _ request: Request) {
        if request.method == .head || response.status == .noContent || response.status == .notModified {
            let length = response.headers[.contentLength]
            response.body = ResponseBody()
            // What GET would have: RFC 9110 §9.3.2.
            response.headers[.contentLength] = request.method == .head ? length : nil
        }
        Self.setMissing(SecurityHeaders.policy, self.configuration.contentSecurityPolicy, &response)
        Self.setMissing(.cacheControl, "no-store", &response)
        for (name, value) in SecurityHeaders.all { response.headers[name] = value }
        if !self.configuration.corsOrigins.isEmpty {
            response.headers.append(HTTPField(name: .vary, value: "Origin"))
            if let origin = request.headers[.origin],
                RequestRules.allows(origin: origin, allowed: self.configuration.corsOrigins)
            {
                response.headers[.accessControlAllowOrigin] = origin
                response.headers[.accessControlExposeHeaders] = "ETag, Link, Location, Retry-After"
            }
        }
    }

    private static func setMissing(_ name: HTTPField.Name, _ value: String, _ response: inout Response) {
        if response.headers[name] == nil { response.headers[name] = value }
    }

    // MARK: Log

    /// One line a request: what people change and what fails at `info`, the rest at `debug`, such as the heartbeats of
    /// nodes. No query, no credentials.
    private func log(
        _ request: Request, _ context: APIContext, _ response: Response, _ started: ContinuousClock.Instant
    ) {
        let code = response.status.code
        let isRoutine = RequestRules.isSafe(request.method) || context.principal?.role == .node
        let level: Logger.Level = code >= 500 ? .warning : isRoutine && code < 400 ? .debug : .info
        self.logger.log(
            level: level, "\(self.configuration.name)",
            metadata: [
                "method": "\(RequestRules.methods.contains(request.method) ? request.method.rawValue : "other")",
                "path": "\(RequestRules.loggable(path: request.uri.path))", "status": "\(code)",
                "client": "\(context.clientAddress)", "who": "\(context.principal?.name ?? "-")",
                "ms": "\((ContinuousClock.now - started) / .milliseconds(1))",
            ])
    }
}
