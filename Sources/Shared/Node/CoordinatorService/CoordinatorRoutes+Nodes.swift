import FoundationEssentials
import Hummingbird
import Media
import NIOCore
import Placement

/// Nodes: what they tell of themselves, and what operators see and do.
extension CoordinatorRoutes {
    func nodeCalls() -> [APIRoute] {
        [
            APIRoute(.get, Self.prefix + "/nodes", .viewer) { try await self.listNodes($0) },
            APIRoute(.get, Self.prefix + "/nodes/{id}", .viewer) {
                try Self.json(try await self.core.node(try $0.nodeID()))
            },
            APIRoute(.post, Self.prefix + "/nodes", .node) { try await self.register($0) },
            APIRoute(.delete, Self.prefix + "/nodes/{id}", .node) { request in
                let instance = try request.query.text("instance", limit: 64) ?? ""
                try await self.core.leave(try request.nodeID(), instance: instance)
                return Self.noContent
            },
            APIRoute(.post, Self.prefix + "/nodes/{id}/heartbeat", .node) { try await self.heartbeat($0) },
            APIRoute(.post, Self.prefix + "/nodes/{id}/drain", .operator) { request in
                try await self.core.setDrained(try request.nodeID(), true, actor: request.caller.name)
                return Self.noContent
            },
            APIRoute(.post, Self.prefix + "/nodes/{id}/undrain", .operator) { request in
                try await self.core.setDrained(try request.nodeID(), false, actor: request.caller.name)
                return Self.noContent
            },
            APIRoute(.get, Self.prefix + "/nodes/{id}/requests", .node, isStreaming: true) { request in
                try await self.pollRequests(request)
            },
            APIRoute(.post, Self.prefix + "/nodes/{id}/responses", .node) { try await self.respond($0) },
        ]
    }

    // MARK: What operators see

    private func listNodes(_ request: APIRequest) async throws -> Response {
        let query = request.query
        let limit = try query.limit(10_000, standard: 1_000)
        let after = try query.text("after", limit: 1_024) ?? ""
        let state = try query.choice("state", of: NodeState.self)
        let role = try query.choice("role", of: NodeRole.self)
        let region = try query.text("region", limit: 64)
        let text = try query.text("q", limit: 64, allowsEmpty: false)?.lowercased()
        let found = await self.core.nodes().filter { entry in
            entry.node.id.rawValue > after && (state.map { $0 == entry.state } ?? true)
                && (role.map { $0 == entry.node.role } ?? true) && (region.map { $0 == entry.node.region } ?? true)
                && (text.map { entry.node.id.rawValue.lowercased().contains($0) || entry.node.host.contains($0) }
                    ?? true)
        }
        let list = NodeList(
            nodes: Array(found.prefix(limit)),
            next: found.count > limit ? found[limit - 1].node.id.rawValue : nil)
        return try self.tagged(list, steady: list.nodes.map(\.steady), for: request)
    }

    // MARK: What nodes tell

    private func register(_ request: APIRequest) async throws -> Response {
        var body = try await self.body(of: request, as: RegisterRequest.self)
        try Self.checked { () throws(PlacementValueError) in
            try body.node.validate()
            try Self.checkASCII(body.node)
            try self.check(body.status, body.released)
        }
        FactsCheck.trim(&body.status)
        let answer = try await self.core.register(body)
        self.core.facts.update(body.node.id, body.status, now: .now())
        return try Self.json(answer)
    }

    private func heartbeat(_ request: APIRequest) async throws -> Response {
        let id = try request.nodeID()
        var body = try await self.body(of: request, as: HeartbeatRequest.self)
        try Self.checked { () throws(PlacementValueError) in try self.check(body.status, body.released) }
        guard max(body.originsRevision, body.policiesRevision ?? 0) < 1 << 53 else {
            throw Problem.invalid("a revision is too large")
        }
        FactsCheck.trim(&body.status)
        let answer = try await self.core.heartbeat(id, body)
        self.core.facts.update(id, body.status, now: .now())
        self.core.metrics.heartbeat()
        return try Self.json(answer)
    }

    /// These go into URLs, logs and labels as they are.
    private static func checkASCII(_ node: NodeDescription) throws(PlacementValueError) {
        let texts: [(PlacementValueError.Field, String)] = [
            (.instance, node.instance), (.region, node.region), (.host, node.host), (.version, node.version),
        ]
        for (field, text) in texts {
            for (offset, byte) in text.utf8.enumerated() where byte >= 0x80 {
                throw .forbiddenByte(field, byte: byte, offset: offset)
            }
        }
    }

    func check(_ status: NodeStatus, _ released: [StreamRelease]) throws(PlacementValueError) {
        try status.validate(maximumStreams: self.configuration.maximumStreams)
        try FactsCheck.check(status)
        try Self.check(released)
    }

    static func check(_ releases: [StreamRelease]) throws(PlacementValueError) {
        guard releases.count <= 100_000 else {
            throw .tooMany(.released, found: releases.count, allowed: 100_000)
        }
        for release in releases {
            guard release.epoch > 0, release.epoch <= PlacementEpoch.maximum else { throw .outOfRange(.epoch) }
            guard release.position?.isValid ?? true else { throw .outOfRange(.position) }
        }
    }

    static func checked(_ check: () throws(PlacementValueError) -> Void) throws(Problem) {
        do { try check() } catch { throw Problem.invalid("\(error)") }
    }

    // MARK: Requests for nodes

    private func pollRequests(_ request: APIRequest) async throws -> Response {
        let id = try request.nodeID()
        guard let instance = try request.query.text("instance", limit: 64, allowsEmpty: false) else {
            throw Problem.invalid("instance is needed")
        }
        let wait = try request.query.number("wait", 0...60_000) ?? 20_000
        try await self.core.checkMember(id, instance: instance)
        let requests = await self.core.broker.poll(id, instance: instance, wait: .milliseconds(wait))
        return try Self.json(NodeRequests(requests: requests))
    }

    private func respond(_ request: APIRequest) async throws -> Response {
        let id = try request.nodeID()
        let body = try await self.body(of: request, as: NodeResponse.self)
        guard (1...64).contains(body.instance.utf8.count) else { throw Problem.invalid("instance") }
        guard body.id < 1 << 53 else { throw Problem.invalid("id") }
        guard (100...599).contains(body.status) else { throw Problem.invalid("status is a number from 100 to 599") }
        guard body.contentType.utf8.count <= 255, body.contentType.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else {
            throw Problem.invalid("contentType")
        }
        guard body.body.utf8.count <= (NodeResponse.maximumBodyBytes + 2) / 3 * 4,
            let bytes = Data(base64Encoded: body.body)
        else { throw Problem.invalid("body is Base64 of at most \(NodeResponse.maximumBodyBytes) bytes") }
        try await self.core.checkMember(id, instance: body.instance)
        self.core.broker.answer(id, body, body: ByteBuffer(bytes: bytes))
        return Self.noContent
    }

    /// Asks a node's own API. A problem of the node is the caller's problem, too.
    func ask(_ node: NodeID, _ method: String, _ path: String) async throws -> RequestBroker.Answer {
        let answer: RequestBroker.Answer
        do throws(RequestBroker.BrokerError) {
            answer = try await self.core.broker.ask(
                node, method, path, timeout: .milliseconds(self.configuration.nodeRequestMillis))
        } catch {
            self.core.metrics.nodeRequest(.init(error))
            throw Problem(error)
        }
        self.core.metrics.nodeRequest(.answered)
        guard !(200..<300).contains(answer.status) else { return answer }
        throw Self.problem(of: answer, node: node)
    }

    /// 404 and 409 are the caller's business; anything else is the node's, and a bad gateway.
    private static func problem(of answer: RequestBroker.Answer, node: NodeID) -> Problem {
        let told = try? JSONDecoder().decode(ProblemDetails.self, from: Data(answer.body.readableBytesView))
        let title = told.map { String($0.title.prefix(200)) }
        switch answer.status {
        case 404:
            return Problem("not-found-at-node", .notFound, title ?? "The node has no such thing", detail: "\(node)")
        case 409:
            return Problem("conflict-at-node", .conflict, title ?? "The node cannot do this now", detail: "\(node)")
        default:
            return Problem(
                "node-failed", .badGateway, title ?? "The node failed", detail: "\(node) answered \(answer.status)")
        }
    }
}
