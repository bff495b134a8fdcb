import FoundationEssentials
import Hummingbird
import Media
import NIOCore
import Placement

/// A session as its node tells it, and as the cluster's list shows it.
struct SessionEntry: Codable, Hashable, Sendable {
    var node: NodeID
    var id: String
    var kind: String?
    var key: StreamKey?
    var transport: String?
    var isRelay: Bool?
    var epoch: UInt64?
    var ip: String?
    var userAgent: String?
    var pageURL: String?
    var tcURL: String?
    var referer: String?
    var query: String?
    var seconds: Double?
    var receivedBytes: UInt64?
    var sentBytes: UInt64?
    var receivedBitsPerSecond: UInt64?
    var sentBitsPerSecond: UInt64?
    var path: SessionPath?
}

/// How the network treats a session, where its transport knows: SRT does. Packets count from the session's beginning.
struct SessionPath: Codable, Hashable, Sendable {
    var roundTripMillis: Double
    /// What the path can carry, as the transport estimates it.
    var bitsPerSecond: Double?
    /// Packets of data, those that were sent again included.
    var sentPackets: UInt64?
    var receivedPackets: UInt64?
    /// What the client missed, and what was missing at the node.
    var sendLoss: UInt64?
    var receiveLoss: UInt64?
    var retransmittedPackets: UInt64?
    /// What was too late.
    var sendDrops: UInt64?
    var receiveDrops: UInt64?
    var undecryptedPackets: UInt64?
    var sendBufferMillis: UInt64?
    var receiveBufferMillis: UInt64?
    /// The delays that both ends agreed upon.
    var sendLatencyMillis: UInt64?
    var receiveLatencyMillis: UInt64?
}

/// Answer of `GET /api/v1/sessions`.
struct SessionList: Codable, Hashable {
    var sessions: [SessionEntry]
    var next: String?
    /// Nodes that were asked and did not answer.
    var missing: [NodeID]
}

/// A page of `GET /api/v2/sessions` of a node.
private struct NodeSessionPage: Decodable {
    struct Session: Decodable {
        var id: String
        var kind: String?
        var vhost: String?
        var app: String?
        var name: String?
        var transport: String?
        var relay: Bool?
        var epoch: UInt64?
        var ip: String?
        var userAgent: String?
        var pageUrl: String?
        var tcUrl: String?
        var referer: String?
        var query: String?
        var seconds: Double?
        var receivedBytes: UInt64?
        var sentBytes: UInt64?
        var receivedBitsPerSecond: UInt64?
        var sentBitsPerSecond: UInt64?
        var path: SessionPath?

        func entry(at node: NodeID) -> SessionEntry {
            let key = self.app.flatMap { app in
                self.name.flatMap { try? StreamKey(vhost: self.vhost ?? StreamKey.defaultVhost, app: app, name: $0) }
            }
            return SessionEntry(
                node: node, id: self.id, kind: self.kind, key: key, transport: self.transport, isRelay: self.relay,
                epoch: self.epoch, ip: self.ip, userAgent: self.userAgent, pageURL: self.pageUrl, tcURL: self.tcUrl,
                referer: self.referer, query: self.query, seconds: self.seconds, receivedBytes: self.receivedBytes,
                sentBytes: self.sentBytes, receivedBitsPerSecond: self.receivedBitsPerSecond,
                sentBitsPerSecond: self.sentBitsPerSecond, path: self.path)
        }
    }

    var sessions: [Session]
    var next: String?
}

/// Sessions of clients in the whole cluster. The nodes know them; they are asked when somebody wants to know.
extension CoordinatorRoutes {
    func sessionCalls() -> [APIRoute] {
        [
            APIRoute(.get, Self.prefix + "/sessions", .viewer) { try await self.listSessions($0) },
            APIRoute(.delete, Self.prefix + "/sessions/{node}/{id}", .operator) { try await self.kick($0) },
        ]
    }

    /// Nodes that are asked at the same time.
    private static let nodesAtOnce = 16

    private struct SessionWish: Sendable {
        var filter: StreamFilter
        var kind: String?
        var transport: String?
        var ip: String?
        var limit: Int

        /// The request to a node for what comes after `after`.
        func path(after: String) -> String {
            var query = "limit=\(self.limit)"
            func add(_ name: String, _ value: String?) {
                guard let value else { return }
                query += "&\(name)=\(MediaURLs.escaped(value))"
            }
            add("vhost", self.filter.vhost)
            add("app", self.filter.app)
            if let app = self.filter.app, let name = self.filter.name, !app.contains("/") {
                add("key", "\(self.filter.vhost ?? StreamKey.defaultVhost)/\(app)/\(name)")
            }
            add("kind", self.kind)
            add("transport", self.transport)
            add("ip", self.ip)
            add("after", after.isEmpty ? nil : after)
            return "/api/v2/sessions?" + query
        }
    }

    private enum SessionKind: String, CaseIterable { case publish, play }

    private func listSessions(_ request: APIRequest) async throws -> Response {
        let query = request.query
        let filter = try query.filter()
        if let transport = try query.text("transport", limit: 32), !FactsCheck.isTransport(transport) {
            throw Problem.invalid("transport is a word of letters, digits and hyphens")
        }
        if let ip = try query.text("ip", limit: 45), !Self.isAddress(ip) { throw Problem.invalid("ip is no address") }
        let wish = SessionWish(
            filter: filter, kind: try query.choice("kind", of: SessionKind.self)?.rawValue,
            transport: try query.text("transport", limit: 32), ip: try query.text("ip", limit: 45),
            limit: try query.limit(1_000, standard: 100))
        let cursor = try query.text("after", limit: 1_024) ?? ""
        let parts = cursor.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var nodes = try await self.nodes(for: wish, node: try query.node("node"))
        if let first = parts.first, !first.isEmpty { nodes.removeAll { $0.rawValue < first } }
        let list = try await self.sessions(wish, at: nodes, after: parts)
        return try Self.json(list)
    }

    private static func isAddress(_ text: String) -> Bool {
        (2...45).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
                    UInt8(ascii: "A")...UInt8(ascii: "F"), UInt8(ascii: "."), UInt8(ascii: ":"):
                    true
                default: false
                }
            }
    }

    /// Nodes that may have such sessions, in the order of their ids.
    private func nodes(for wish: SessionWish, node: NodeID?) async throws -> [NodeID] {
        let live = await self.core.liveNodes()
        if let node { return live.filter { $0 == node } }
        guard let app = wish.filter.app, let name = wish.filter.name else { return live }
        let key = try? StreamKey(vhost: wish.filter.vhost ?? StreamKey.defaultVhost, app: app, name: name)
        guard let key, wish.filter.vhost != nil else { return live }
        // A node that has just got the stream has not told yet; without any that did, all are asked.
        let having = Set(self.core.facts.nodes(having: key))
        return having.isEmpty ? live : live.filter { having.contains($0) }
    }

    private func sessions(_ wish: SessionWish, at nodes: [NodeID], after: [String]) async throws -> SessionList {
        var list = SessionList(sessions: [], missing: [])
        let deadline = NIODeadline.now() + .milliseconds(2 * self.configuration.nodeRequestMillis)
        var rest = nodes[...]
        while !rest.isEmpty {
            let some = rest.prefix(Self.nodesAtOnce)
            rest = rest.dropFirst(Self.nodesAtOnce)
            guard NIODeadline.now() < deadline else {
                list.missing += some
                continue
            }
            let pages = await self.pages(wish, of: some, after: after)
            for node in some {
                guard let page = pages[node] else {
                    list.missing.append(node)
                    continue
                }
                let matching = page.sessions.map { $0.entry(at: node) }.filter { entry in
                    wish.filter == StreamFilter() || (entry.key.map { wish.filter.matches($0) } ?? false)
                }
                let room = wish.limit - list.sessions.count
                list.sessions += matching.prefix(room)
                let isFull = matching.count > room
                if isFull || page.next != nil {
                    let last = isFull ? list.sessions.last?.id : page.next
                    list.next = isFull && room == 0 ? "\(node)/" : last.map { "\(node)/\($0)" }
                    return list
                }
            }
        }
        return list
    }

    /// The first page behind the cursor of each of some nodes; those that did not answer are left out.
    private func pages(
        _ wish: SessionWish, of nodes: ArraySlice<NodeID>, after: [String]
    ) async -> [NodeID: NodeSessionPage] {
        await withTaskGroup(of: (NodeID, NodeSessionPage?).self) { tasks in
            for node in nodes {
                let cursor = after.count == 2 && after[0] == node.rawValue ? after[1] : ""
                tasks.addTask {
                    guard let answer = try? await self.ask(node, "GET", wish.path(after: cursor)) else {
                        return (node, nil)
                    }
                    let data = Data(answer.body.readableBytesView)
                    return (node, try? JSONDecoder().decode(NodeSessionPage.self, from: data))
                }
            }
            var pages: [NodeID: NodeSessionPage] = [:]
            for await (node, page) in tasks { pages[node] = page }
            return pages
        }
    }

    // MARK: Kick

    private func kick(_ request: APIRequest) async throws -> Response {
        let node = try request.nodeID("node")
        let id = try request.path("id")
        // An id of a session has the same alphabet as that of a node.
        guard (try? NodeID(id)) != nil else { throw Problem.invalid("id is no id of a session") }
        guard await self.core.description(of: node) != nil else { throw Problem(.unknownNode) }
        _ = try await self.ask(node, "DELETE", "/api/v2/sessions/\(id)")
        try await self.core.record(
            ClusterEvent(kind: .kicked, node: node, detail: id), actor: request.caller.name)
        return Self.noContent
    }
}
