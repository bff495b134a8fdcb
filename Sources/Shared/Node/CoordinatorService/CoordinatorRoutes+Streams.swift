import Hummingbird
import Media
import NIOCore
import Placement

/// Streams: lists, one stream, its way through the cluster, its publisher and its picture.
extension CoordinatorRoutes {
    func streamCalls() -> [APIRoute] {
        [
            APIRoute(.get, Self.prefix + "/streams", .viewer) { try await self.listStreams($0) },
            APIRoute(.get, Self.prefix + "/stream", .viewer) { try await self.stream($0) },
            APIRoute(.get, Self.prefix + "/stream/route", .viewer) { try await self.way($0) },
            APIRoute(.delete, Self.prefix + "/stream/publisher", .operator) { try await self.endPublisher($0) },
            APIRoute(.get, Self.prefix + "/snapshot", .operator, isStreaming: true) { try await self.snapshot($0) },
        ]
    }

    // MARK: The list

    /// Placements that are looked at in one go: the actor is busy for about as many microseconds.
    private static let rowsPerStep = 500
    /// Placements that one request looks through at most; a page of a list that is held to little may be short.
    private static let rowsPerRequest = 20_000

    private struct ListWish {
        var filter: StreamFilter
        var state: PlacementState?
        var node: NodeID?
        var text: String?
        var includesEnded: Bool
        var limit: Int

        func wants(_ row: StreamRow, _ view: FactsBook.StreamView) -> Bool {
            let placement = row.placement
            guard self.filter.matches(placement.key) else { return false }
            if let state = self.state {
                guard placement.state == state else { return false }
            } else if placement.state == .ended, !self.includesEnded {
                return false
            }
            if let node = self.node, placement.node != node, !view.nodes.contains(where: { $0.id == node }) {
                return false
            }
            return self.text.map { row.name.lowercased().contains($0) } ?? true
        }
    }

    private func listStreams(_ request: APIRequest) async throws -> Response {
        let query = request.query
        let wish = ListWish(
            filter: try query.filter(), state: try query.choice("state", of: PlacementState.self),
            node: try query.node("node"), text: try query.text("q", limit: 64, allowsEmpty: false)?.lowercased(),
            includesEnded: try query.flag("ended"), limit: try query.limit(10_000, standard: 1_000))
        let list = await self.page(wish, after: try query.text("after", limit: 1_024) ?? "")
        return try self.tagged(list, steady: list.streams.map(\.steady), for: request)
    }

    private func page(_ wish: ListWish, after: String) async -> StreamList {
        var list = StreamList(streams: [])
        var last = after
        var seen = 0
        while true {
            let rows = await self.core.streamRows(
                after: last, prefix: wish.filter.prefix, limit: min(Self.rowsPerStep, max(wish.limit + 1, 64)))
            let views = self.core.facts.streams(rows.map(\.placement.key))
            let now = NIODeadline.now()
            for (row, view) in zip(rows, views) {
                // Streams whose names read the same stay on one page, or the cursor would pass over one.
                if list.streams.count >= wish.limit, row.name != last {
                    list.next = last
                    return list
                }
                last = row.name
                if wish.wants(row, view) { list.streams.append(StreamList.Entry(row, view, now: now)) }
            }
            seen += rows.count
            guard !rows.isEmpty else { return list }
            if seen >= Self.rowsPerRequest {
                list.next = last
                return list
            }
        }
    }

    // MARK: One stream

    private func row(_ key: StreamKey) async throws(Problem) -> StreamRow {
        guard let row = await self.core.streamRow(key) else { throw Problem(.unknownStream) }
        return row
    }

    private func view(_ key: StreamKey) -> FactsBook.StreamView {
        self.core.facts.streams([key]).first ?? FactsBook.StreamView()
    }

    /// Nodes that are told of one stream.
    private static let maximumNodes = 256

    private func stream(_ request: APIRequest) async throws -> Response {
        let key = try request.query.key()
        let row = try await self.row(key)
        let view = self.view(key)
        let entry = StreamList.Entry(row, view, now: .now())
        var nodes: [StreamDetail.Node] = []
        for (id, facts) in view.nodes.prefix(Self.maximumNodes) {
            nodes.append(.init(node: id, role: await self.core.description(of: id)?.role, facts: facts))
        }
        return try self.tagged(
            StreamDetail(stream: entry, nodes: nodes), steady: [AnyHashable(entry.steady), AnyHashable(nodes)],
            for: request)
    }

    /// Publisher → origin → edges. An edge that forwards the publisher comes first; all others pull from the holder, or
    /// do so through another edge, which they do not tell.
    private func way(_ request: APIRequest) async throws -> Response {
        let key = try request.query.key()
        let placement = try await self.row(key).placement
        let view = self.view(key)
        let publisher = view.publisher?.node
        var way = StreamWay(key: key, state: placement.state, nodes: [], links: [])
        var facts = view.nodes
        if !facts.contains(where: { $0.id == placement.node }) {
            facts.insert((placement.node, StreamFacts(key: key, epoch: placement.epoch, isHolder: true)), at: 0)
        }
        for (id, facts) in facts.prefix(Self.maximumNodes) {
            let kind: StreamWay.Kind =
                id == placement.node ? .holder : id == publisher ? .publisher : .relay
            let entry = try? await self.core.node(id)
            way.nodes.append(
                StreamWay.Node(
                    node: id, kind: kind, role: entry?.node.role, region: entry?.node.region, state: entry?.state,
                    viewers: facts.viewers, receivedBitsPerSecond: facts.ingestBitsPerSecond,
                    sentBitsPerSecond: facts.egressBitsPerSecond, publisher: facts.publisher))
            switch kind {
            case .holder: continue
            case .publisher: way.links.append(.init(from: id, to: placement.node))
            case .relay: way.links.append(.init(from: placement.node, to: id))
            }
        }
        return try Self.json(way)
    }

    private func endPublisher(_ request: APIRequest) async throws -> Response {
        let key = try request.query.key()
        let placement = try await self.row(key).placement
        guard let (node, publisher) = self.view(key).publisher else {
            throw Problem("no-publisher", .notFound, "Nobody publishes this stream now")
        }
        _ = try await self.ask(node, "DELETE", "/api/v2/sessions/\(MediaURLs.escaped(publisher.session))")
        try await self.core.record(
            ClusterEvent(
                kind: .publisherEnded, node: node, key: key, epoch: placement.epoch, detail: publisher.session),
            actor: request.caller.name)
        return Self.noContent
    }

    // MARK: The picture

    private func snapshot(_ request: APIRequest) async throws -> Response {
        let key = try request.query.key()
        let row = try await self.row(key)
        guard row.placement.state != .ended else { throw Problem(.unknownStream) }
        let answer = try await self.ask(
            row.placement.node, "GET", "/api/v2/snapshot?" + Self.nodeQuery(key))
        guard answer.contentType == "image/jpeg" else {
            throw Problem("node-failed", .badGateway, "The node sent no picture", detail: "\(row.placement.node)")
        }
        return Response(
            status: .ok, headers: [.contentType: "image/jpeg", .cacheControl: "private, no-store"],
            body: ResponseBody(byteBuffer: answer.body))
    }

    /// A stream as the API of nodes names it.
    static func nodeQuery(_ key: StreamKey) -> String {
        "vhost=\(MediaURLs.escaped(key.vhost))&app=\(MediaURLs.escaped(key.app))&stream=\(MediaURLs.escaped(key.name))"
    }

    /// The node that holds a stream which is not over.
    func holder(of key: StreamKey) async throws(Problem) -> (node: NodeID, epoch: UInt64) {
        let placement = try await self.row(key).placement
        guard placement.state != .ended else { throw Problem(.unknownStream) }
        return (placement.node, placement.epoch)
    }
}
