import Hummingbird
import Media
import NIOCore
import Placement

/// What nodes ask for their streams, and where players and publishers are sent.
extension CoordinatorRoutes {
    func placementCalls() -> [APIRoute] {
        [
            APIRoute(.post, Self.prefix + "/streams/claim", .node) { try await self.claim($0) },
            APIRoute(.post, Self.prefix + "/streams/renew", .node) { request in
                let body = try await self.body(of: request, as: RenewRequest.self)
                try Self.checked { () throws(PlacementValueError) in
                    try NodeStatus(streams: [body.report]).validate(maximumStreams: 1)
                }
                try await self.core.renew(body)
                return Self.noContent
            },
            APIRoute(.post, Self.prefix + "/streams/release", .node) { request in
                let body = try await self.body(of: request, as: ReleaseRequest.self)
                try Self.checked { () throws(PlacementValueError) in try Self.check([body.release]) }
                try await self.core.release(body)
                return Self.noContent
            },
        ]
    }

    private func claim(_ request: APIRequest) async throws -> Response {
        let body = try await self.body(of: request, as: ClaimRequest.self)
        try Self.checked { () throws(PlacementValueError) in
            let length = body.tokenDigest?.utf8.count ?? 0
            guard length <= 128 else { throw .length(.tokenDigest, found: length) }
        }
        let began = NIODeadline.now()
        let decision: ClaimDecision
        do {
            decision = try await self.core.claim(body)
        } catch {
            self.core.metrics.claimed(error is PlacementError ? .refused : .failed, took: .now() - began)
            throw error
        }
        switch decision {
        case .granted(let placement):
            self.core.metrics.claimed(.granted, took: .now() - began)
            let lease = self.configuration.leaseMillis
            return try Self.json(
                ClaimGrant(
                    epoch: placement.epoch, leaseMillis: lease, position: placement.position,
                    previousNode: placement.previousNode))
        case .conflict(let conflict):
            self.core.metrics.claimed(.conflict, took: .now() - began)
            throw Problem("conflict", .conflict, "Another node holds the stream", conflict: conflict)
        }
    }

    // MARK: Routes

    func routeCalls() -> [APIRoute] {
        [
            APIRoute(.get, Self.prefix + "/routes/play", .viewer) { try await self.playRoute($0) },
            APIRoute(.get, Self.prefix + "/routes/publish", .viewer) { try await self.publishRoute($0) },
        ]
    }

    private func playRoute(_ request: APIRequest) async throws -> Response {
        let key = try request.query.key()
        self.core.metrics.routeLookup()
        guard let wish = try self.urlWish(request) else {
            switch try await self.core.playRoute(for: key) {
            case .origin(let route):
                var buffer = ByteBuffer()
                route.writeJSON(into: &buffer)
                return Self.json(buffer)
            case .notFound: throw Problem("not-found", .notFound, "Nobody publishes this stream")
            case .ended: throw Problem(.ended)
            }
        }
        let (nodes, isLive) = await self.core.playNodes(for: key)
        let best = MediaURLs.best(of: nodes, region: wish.region, limit: wish.limit)
        return try self.urls(for: key, isLive: isLive, nodes: best, protocols: wish.protocols)
    }

    private func publishRoute(_ request: APIRequest) async throws -> Response {
        let key = try request.query.key()
        self.core.metrics.routeLookup()
        guard let wish = try self.urlWish(request) else {
            let region = try request.query.text("region", limit: 64) ?? ""
            return try Self.json(PublishRoutes(origins: await self.core.publishRoutes(for: key, region: region)))
        }
        // The others only play.
        let protocols = wish.protocols.filter(\.takesPublishers)
        let routes = await self.core.publishRoutes(for: key, region: wish.region).prefix(wish.limit)
        var nodes: [MediaNode] = []
        for route in routes {
            guard let node = await self.core.description(of: route.node) else { continue }
            nodes.append(
                MediaNode(node: node, utilisation: await self.core.utilisation(of: route.node), isSuspect: false))
        }
        return try self.urls(
            for: key, isLive: await self.core.isLive(key), nodes: nodes, protocols: protocols, toPublish: true)
    }

    private func urls(
        for key: StreamKey, isLive: Bool, nodes: [MediaNode], protocols: [MediaProtocol], toPublish: Bool = false
    ) throws -> Response {
        let urls = nodes.flatMap { node in
            protocols.compactMap { MediaURLs.url(of: key, at: node, by: $0, toPublish: toPublish) }
        }
        return try Self.json(MediaURLs(key: key, isLive: isLive, urls: urls))
    }

    private struct URLWish {
        var protocols: [MediaProtocol]
        var region: String
        var limit: Int
    }

    /// What URLs are asked for; `nil` when the route of nodes is.
    private func urlWish(_ request: APIRequest) throws(Problem) -> URLWish? {
        let region = try request.query.text("region", limit: 64) ?? ""
        let limit = try request.query.number("limit", 1...8) ?? 1
        guard let format = try request.query.text("format", limit: 16) else { return nil }
        let one = MediaProtocol(rawValue: format)
        guard one != nil || format == "all" else {
            let words = ["all"] + MediaProtocol.allCases.map(\.rawValue)
            throw Problem.invalid("format is one of \(words.joined(separator: ", "))")
        }
        return URLWish(protocols: one.map { [$0] } ?? MediaProtocol.allCases, region: region, limit: Int(limit))
    }
}
