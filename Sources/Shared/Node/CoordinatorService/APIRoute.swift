import APIServer
import HTTPTypes
import Hummingbird
import NIOCore
import Placement

/// A request whose caller is known and may do what it asks for.
struct APIRequest: Sendable {
    let request: Request
    let query: QueryReader
    let caller: Caller
    /// The parts of the path that the route leaves open.
    let captured: [String: String]

    func path(_ name: String) throws(Problem) -> String {
        guard let value = self.captured[name] else { throw Problem.invalid("\(name) is needed") }
        return value
    }

    func nodeID(_ name: String = "id") throws(Problem) -> NodeID {
        guard let id = try? NodeID(try self.path(name)) else { throw Problem.invalid("\(name) is no id of a node") }
        return id
    }

    func header(_ name: HTTPField.Name) -> String? { self.request.headers[name] }
}

/// One call of the API: where it is, who may make it, and what it does.
struct APIRoute: Sendable {
    let method: HTTPRequest.Method
    /// With `{name}` for parts that are open, as in the API's description.
    let path: String
    let access: RouteAccess
    /// The answer goes on until the client leaves, or is made for one reader, so there is no HEAD of it.
    let isStreaming: Bool
    let handle: @Sendable (APIRequest) async throws -> Response
    /// The parts of `path`: every request is compared with some.
    private let pattern: [Substring]

    init(
        _ method: HTTPRequest.Method, _ path: String, _ access: RouteAccess, isStreaming: Bool = false,
        _ handle: @escaping @Sendable (APIRequest) async throws -> Response
    ) {
        self.method = method
        self.path = path
        self.pattern = path.split(separator: "/")
        self.access = access
        self.isStreaming = isStreaming
        self.handle = handle
    }

    /// The open parts of `path`, if it is one of this route. Each is percent-decoded by itself.
    func match(_ parts: [Substring]) -> [String: String]? {
        guard self.pattern.count == parts.count else { return nil }
        var captured: [String: String] = [:]
        for (expected, part) in zip(self.pattern, parts) {
            if expected.hasPrefix("{") {
                guard let text = QueryReader.decode(part) else { return nil }
                captured[String(expected.dropFirst().dropLast())] = text
            } else if expected != part {
                return nil
            }
        }
        return captured
    }
}

/// All routes, and what each request needs.
struct RouteTable: Sendable {
    let routes: [APIRoute]
    /// By number of parts of the path, so that few are compared.
    private let byLength: [Int: [APIRoute]]

    init(_ routes: [APIRoute]) {
        self.routes = routes
        self.byLength = Dictionary(grouping: routes) { $0.path.split(separator: "/").count }
    }

    static func parts(of path: String) -> [Substring] {
        Array(path.split(separator: "/", omittingEmptySubsequences: false).dropFirst())
    }

    /// The role that a request needs. HEAD needs what GET does; nothing is told of paths that are none of ours.
    func access(_ method: HTTPRequest.Method, path: String) -> RouteAccess {
        let parts = Self.parts(of: path)
        let wanted = method == .head ? .get : method
        let route = (self.byLength[parts.count] ?? []).first { $0.method == wanted && $0.match(parts) != nil }
        return route?.access ?? .none
    }

    /// Adds the routes to a router. Every error becomes a problem.
    func add(to router: Router<APIContext>, core: CoordinatorCore) {
        for route in self.routes {
            router.on(RouterPath(route.path), method: route.method) { request, context in
                let response: Response
                do {
                    response = try await Self.answer(request, by: route, core: core)
                } catch {
                    response = Problem(any: error, logger: context.logger).response
                }
                core.metrics.answered(status: response.status.code)
                return response
            }
        }
    }

    @concurrent
    private static func answer(_ request: Request, by route: APIRoute, core: CoordinatorCore) async throws -> Response {
        guard let captured = route.match(Self.parts(of: request.uri.path)) else {
            throw Problem("not-found", .notFound, "There is nothing at this path")
        }
        if request.method == .head, route.isStreaming {
            var problem = Problem("method-not-allowed", .methodNotAllowed, "The path does not take this method")
            problem.headers[.allow] = route.method.rawValue
            throw problem
        }
        guard let caller = self.caller(request, for: route, core: core), caller.may(route.access) else {
            // The server in front checks, too; a token may have been revoked in between.
            var problem = Problem("unauthorized", .unauthorized, "A token is needed")
            problem.headers[.wwwAuthenticate] = "Bearer"
            throw problem
        }
        return try await route.handle(
            APIRequest(
                request: request, query: try QueryReader(request.uri.query), caller: caller, captured: captured))
    }

    private static func caller(_ request: Request, for route: APIRoute, core: CoordinatorCore) -> Caller? {
        guard route.access != .none else { return Caller(name: "anonymous", role: .viewer) }
        return core.callers.caller(
            authorization: request.headers[.authorization], nowMillis: CoordinatorCore.wallMillis())
    }
}
