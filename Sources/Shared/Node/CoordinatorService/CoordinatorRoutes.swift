import CoordinatorStore
import Crypto
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Media
import NIOCore
import Placement

/// The coordinator's REST API under `/api/v1`.
struct CoordinatorRoutes {
    let core: CoordinatorCore
    let configuration: CoordinatorConfiguration

    typealias Context = BasicRequestContext

    func router() -> Router<Context> {
        let router = Router(context: Context.self)
        router.add(middleware: ProblemMiddleware())
        let root = router.group("/api/v1")
        root.get("health") { _, _ in
            let health = await self.core.health()
            return try Self.json(health, status: health.status == "ok" ? .ok : .serviceUnavailable)
        }
        let api = root.add(middleware: SecretMiddleware(secret: self.configuration.secret ?? ""))
        self.addNodes(to: api)
        self.addStreams(to: api)
        self.addLists(to: api)
        self.addRecordings(to: api)
        api.get("watch") { request, _ in try await self.watch(request) }
        return router
    }

    private func addNodes(to api: RouterGroup<Context>) {
        api.post("nodes") { request, _ in
            let body = try await self.body(of: request, as: RegisterRequest.self)
            try Self.checked { () throws(PlacementValueError) in
                try body.node.validate()
                try body.status.validate(maximumStreams: self.configuration.maximumStreams)
                try Self.check(body.released)
            }
            return try Self.json(try await self.core.register(body))
        }
        api.post("nodes/:id/heartbeat") { request, context in
            let id = try Self.nodeID(context)
            let body = try await self.body(of: request, as: HeartbeatRequest.self)
            try Self.checked { () throws(PlacementValueError) in
                try body.status.validate(maximumStreams: self.configuration.maximumStreams)
                try Self.check(body.released)
            }
            return try Self.json(try await self.core.heartbeat(id, body))
        }
        api.delete("nodes/:id") { request, context in
            let instance = String(request.uri.queryParameters["instance"] ?? "")
            try await self.core.leave(try Self.nodeID(context), instance: instance)
            return Response(status: .noContent)
        }
        api.post("nodes/:id/drain") { _, context in
            try await self.core.setDrained(try Self.nodeID(context), true)
            return Response(status: .noContent)
        }
        api.post("nodes/:id/undrain") { _, context in
            try await self.core.setDrained(try Self.nodeID(context), false)
            return Response(status: .noContent)
        }
    }

    private func addStreams(to api: RouterGroup<Context>) {
        api.post("streams/claim") { request, _ in
            let body = try await self.body(of: request, as: ClaimRequest.self)
            try Self.checked { () throws(PlacementValueError) in
                let length = body.tokenDigest?.utf8.count ?? 0
                guard length <= 128 else { throw .length(.tokenDigest, found: length) }
            }
            switch try await self.core.claim(body) {
            case .granted(let placement):
                let lease = self.configuration.leaseMillis
                return try Self.json(
                    ClaimGrant(epoch: placement.epoch, leaseMillis: lease, position: placement.position))
            case .conflict(let conflict):
                throw Problem("conflict", .conflict, "Another node holds the stream", conflict: conflict)
            }
        }
        api.post("streams/renew") { request, _ in
            let body = try await self.body(of: request, as: RenewRequest.self)
            try Self.checked { () throws(PlacementValueError) in
                try NodeStatus(streams: [body.report]).validate(maximumStreams: 1)
            }
            try await self.core.renew(body)
            return Response(status: .noContent)
        }
        api.post("streams/release") { request, _ in
            let body = try await self.body(of: request, as: ReleaseRequest.self)
            try Self.checked { () throws(PlacementValueError) in try Self.check([body.release]) }
            try await self.core.release(body)
            return Response(status: .noContent)
        }
        api.get("routes/play") { request, _ in
            switch try await self.core.playRoute(for: try Self.streamKey(request)) {
            case .origin(let route): return try Self.json(route)
            case .notFound: throw Problem("not-found", .notFound, "Nobody publishes this stream")
            case .ended: throw Problem(.ended)
            }
        }
        api.get("routes/publish") { request, _ in
            let region = String(request.uri.queryParameters["region"] ?? "")
            guard region.utf8.count <= 64 else { throw Problem.invalid("region is longer than 64 bytes") }
            let routes = await self.core.publishRoutes(for: try Self.streamKey(request), region: region)
            return try Self.json(PublishRoutes(origins: routes))
        }
    }

    private func addLists(to api: RouterGroup<Context>) {
        api.get("nodes") { _, _ in try Self.json(await self.core.nodes()) }
        api.get("streams") { request, _ in
            let query = request.uri.queryParameters
            let limit = try Self.number("limit", in: request, range: 1...10_000) ?? 1_000
            let list = await self.core.streams(
                after: String(query["after"] ?? ""), limit: Int(limit), includingEnded: query["ended"] == "1")
            return try Self.json(list)
        }
        api.get("events") { request, _ in
            let after = try Self.number("after", in: request, range: 0...Int64.max) ?? 0
            let limit = try Self.number("limit", in: request, range: 1...1_000) ?? 100
            return try Self.json(EventList(events: try await self.core.events(after: after, limit: Int(limit))))
        }
    }

    // MARK: Reading and writing

    static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
        let data = try JSONEncoder().encode(value)
        return Response(
            status: status, headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }

    func body<Value: Decodable>(of request: Request, as type: Value.Type) async throws -> Value {
        var request = request
        let buffer: ByteBuffer
        do {
            buffer = try await request.collectBody(upTo: self.configuration.maximumBodyBytes)
        } catch is NIOTooManyBytesError {
            throw Problem(
                "too-large", .contentTooLarge, "The body is too large",
                detail: "at most \(self.configuration.maximumBodyBytes) bytes")
        }
        do {
            return try JSONDecoder().decode(type, from: Data(buffer.readableBytesView))
        } catch {
            throw Problem.invalid("the body is not what this call takes: \(Self.describe(error))")
        }
    }

    /// Where a body is wrong, without what it says: that may be long, or a secret.
    private static func describe(_ error: any Error) -> String {
        func path(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map(\.stringValue).joined(separator: ".")
            return path.isEmpty ? "the top level" : path
        }
        switch error {
        case DecodingError.keyNotFound(let key, let context): return "\(key.stringValue) is missing in \(path(context))"
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
            return "wrong type at \(path(context))"
        case DecodingError.dataCorrupted(let context): return "invalid value at \(path(context))"
        default: return "invalid value"
        }
    }

    private static func checked(_ check: () throws(PlacementValueError) -> Void) throws(Problem) {
        do { try check() } catch { throw Problem.invalid("\(error)") }
    }

    private static func check(_ releases: [StreamRelease]) throws(PlacementValueError) {
        guard releases.count <= 100_000 else {
            throw .tooMany(.released, found: releases.count, allowed: 100_000)
        }
        for release in releases {
            guard release.epoch > 0, release.epoch <= PlacementEpoch.maximum else { throw .outOfRange(.epoch) }
            guard release.position?.isValid ?? true else { throw .outOfRange(.position) }
        }
    }

    private static func nodeID(_ context: Context) throws -> NodeID {
        do { return try NodeID(try context.parameters.require("id")) } catch { throw Problem.invalid("node id") }
    }

    private static func streamKey(_ request: Request) throws -> StreamKey {
        let query = request.uri.queryParameters
        guard let app = query["app"], let name = query["name"] else { throw Problem.invalid("app and name are needed") }
        do {
            return try StreamKey(
                vhost: query["vhost"].map { String($0) } ?? StreamKey.defaultVhost, app: String(app),
                name: String(name))
        } catch {
            throw Problem.invalid("\(error)")
        }
    }

    static func number(
        _ name: String, in request: Request, range: ClosedRange<Int64>
    ) throws(Problem) -> Int64? {
        guard let text = request.uri.queryParameters[Substring(name)] else { return nil }
        guard let value = Int64(text), range.contains(value) else {
            throw Problem.invalid("\(name) is a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }
}

/// Lets only those in who know the cluster's secret; everybody when there is none.
struct SecretMiddleware: RouterMiddleware {
    typealias Context = BasicRequestContext

    private let expected: SHA256.Digest?

    init(secret: String) {
        self.expected = secret.isEmpty ? nil : SHA256.hash(data: Data("Bearer \(secret)".utf8))
    }

    func handle(
        _ request: Request, context: BasicRequestContext,
        next: @concurrent (Request, BasicRequestContext) async throws -> Response
    ) async throws -> Response {
        if let expected {
            // Digests are compared in constant time, and their length tells nothing of the secret's.
            let given = SHA256.hash(data: Data((request.headers[.authorization] ?? "").utf8))
            guard given == expected else {
                var problem = Problem("unauthorized", .unauthorized, "The cluster's secret is needed")
                problem.headers[.wwwAuthenticate] = "Bearer"
                throw problem
            }
        }
        return try await next(request, context)
    }
}
