import CoordinatorStore
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Media
import NIOCore
import Placement

/// Answer of `POST /api/v1/records/start` and `…/stop`.
struct RecordStatus: Codable, Hashable {
    var node: NodeID
    /// What the node said of its intent; `nil` if it said something else.
    var isRecording: Bool?
}

/// Answer of `GET /api/v1/recordings/{id}/urls`.
struct RecordingURLs: Codable, Hashable {
    struct Entry: Codable, Hashable {
        var `protocol`: String
        var url: String
        var node: NodeID
    }

    var id: String
    var urls: [Entry]
}

/// The catalogue of the cluster's recordings. Origins report theirs with `PUT`; the files stay with them.
extension CoordinatorRoutes {
    func recordingCalls() -> [APIRoute] {
        [
            APIRoute(.get, Self.prefix + "/recordings", .viewer) { request in
                try Self.json(try await self.core.store.recordings(try Self.recordingQuery(request.query)))
            },
            APIRoute(.get, Self.prefix + "/recordings/{id}", .viewer) { try Self.json(try await self.recording($0)) },
            APIRoute(.get, Self.prefix + "/recordings/{id}/urls", .viewer) { try await self.recordingURLs($0) },
            APIRoute(.put, Self.prefix + "/recordings/{id}", .node) { request in
                let id = try Self.recordingID(request)
                let entry = try await self.body(of: request, as: RecordingEntry.self)
                try Self.check(entry, id: id)
                guard try await self.core.store.save(entry) else {
                    throw Problem("recording-id-in-use", .conflict, "Another node has a recording with this id")
                }
                return Self.noContent
            },
            APIRoute(.delete, Self.prefix + "/recordings/{id}", .operator) { try await self.deleteRecording($0) },
            APIRoute(.post, Self.prefix + "/records/start", .operator) { request in
                try await self.setRecording("start", .recordingStarted, request)
            },
            APIRoute(.post, Self.prefix + "/records/stop", .operator) { request in
                try await self.setRecording("stop", .recordingStopped, request)
            },
        ]
    }

    // MARK: Live streams

    private func setRecording(
        _ action: String, _ kind: ClusterEvent.Kind, _ request: APIRequest
    ) async throws -> Response {
        struct NodeStatus: Decodable {
            var intent: Bool?
        }
        let key = try request.query.key()
        let (node, epoch) = try await self.holder(of: key)
        let answer = try await self.ask(node, "POST", "/api/v2/record/\(action)?" + Self.nodeQuery(key))
        let told = try? JSONDecoder().decode(NodeStatus.self, from: Data(answer.body.readableBytesView))
        try await self.core.record(
            ClusterEvent(kind: kind, node: node, key: key, epoch: epoch), actor: request.caller.name)
        return try Self.json(RecordStatus(node: node, isRecording: told?.intent))
    }

    // MARK: The catalogue

    private func recording(_ request: APIRequest) async throws -> RecordingEntry {
        guard let entry = try await self.core.store.recording(try Self.recordingID(request)) else {
            throw Problem.unknownRecording
        }
        return entry
    }

    /// A file is deleted by the origin that has it. With `force=1` the entry alone is removed, for an origin that will
    /// not come back.
    private func deleteRecording(_ request: APIRequest) async throws -> Response {
        let isForced = try request.query.flag("force")
        let entry = try await self.recording(request)
        guard let node = try? NodeID(entry.node) else { throw Problem.unknownRecording }
        if !isForced {
            guard (try? await self.core.node(node))?.health == .alive else {
                throw Problem(
                    "origin-away", .conflict, "The origin that has the file is away",
                    detail: "\(entry.node); force=1 removes the entry alone")
            }
            _ = try await self.ask(node, "DELETE", "/api/v2/recordings/\(entry.id)")
        }
        _ = try await self.core.store.removeRecording(entry.id)
        try await self.core.record(
            ClusterEvent(kind: .recordingRemoved, node: node, key: entry.key, detail: entry.id),
            actor: request.caller.name)
        return Self.noContent
    }

    /// Any node serves any recording; edges are preferred, as for live streams.
    private func recordingURLs(_ request: APIRequest) async throws -> Response {
        let region = try request.query.text("region", limit: 64) ?? ""
        let entry = try await self.recording(request)
        let (nodes, _) = await self.core.playNodes(for: entry.key)
        let serving = nodes.filter { $0.node.httpPort > 0 }
        guard let node = MediaURLs.best(of: serving, region: region, limit: 1).first?.node else {
            return try Self.json(RecordingURLs(id: entry.id, urls: []))
        }
        let key = entry.key
        let path = "\(MediaURLs.escaped(key.app))/\(MediaURLs.escaped(key.name))"
        let base =
            "http://\(MediaURLs.host(node)):\(node.httpPort)/\(path)/_rec-\(entry.startMillis)-\(entry.endMillis)"
        let vhost = key.vhost == StreamKey.defaultVhost ? "" : "?vhost=\(MediaURLs.escaped(key.vhost))"
        let urls = [("hls", "m3u8"), ("mp4", "mp4")].map { name, suffix in
            RecordingURLs.Entry(protocol: name, url: "\(base).\(suffix)\(vhost)", node: node.id)
        }
        return try Self.json(RecordingURLs(id: entry.id, urls: urls))
    }

    private static func recordingID(_ request: APIRequest) throws(Problem) -> String {
        let id = try request.path("id")
        guard RecordingEntry.isID(id) else {
            throw Problem.invalid("ids of recordings are lower-case letters and digits")
        }
        return id
    }

    private static func check(_ entry: RecordingEntry, id: String) throws(Problem) {
        guard entry.id == id else {
            throw Problem("id-mismatch", .conflict, "The recording has another id than the path")
        }
        guard (try? NodeID(entry.node)) != nil else { throw Problem.invalid("node") }
        guard entry.epoch <= PlacementEpoch.maximum else { throw Problem.invalid("epoch") }
        guard entry.path.utf8.count <= 4_096 else { throw Problem.invalid("path is longer than 4096 bytes") }
        guard entry.tracks.count <= 16 else { throw Problem.invalid("more than 16 tracks") }
        let sizes = entry.tracks.flatMap { [$0.width, $0.height, $0.sampleRate, $0.channels] }
        let numbers = [entry.bytes, entry.startMillis, entry.endMillis] + sizes.map { Int64($0 ?? 0) }
        guard numbers.allSatisfy({ $0 >= 0 && $0 < 1 << 53 }) else {
            throw Problem.invalid("times and sizes are not negative")
        }
        guard entry.endMillis >= entry.startMillis else {
            throw Problem("recording-times", .unprocessableContent, "The recording ends before it starts")
        }
    }

    /// `vhost`, `app`, `stream`, `from` and `to` in milliseconds since 1970, `state`, `limit`, `cursor`.
    private static func recordingQuery(_ query: QueryReader) throws(Problem) -> RecordingQuery {
        let filter = try query.filter(name: "stream")
        var cursor: RecordingQuery.Cursor?
        if let given = try query.text("cursor", limit: 96) {
            guard let known = RecordingQuery.Cursor(given) else { throw Problem.invalid("cursor") }
            cursor = known
        }
        return RecordingQuery(
            vhost: filter.vhost, app: filter.app, name: filter.name, fromMillis: try query.number("from", Self.times),
            toMillis: try query.number("to", Self.times), state: try query.choice("state", of: RecordingState.self),
            limit: try query.limit(RecordingQuery.limits.upperBound, standard: 100), cursor: cursor)
    }

    /// Milliseconds since 1970 that JSON can carry.
    static let times: ClosedRange<Int64> = 0...(1 << 53 - 1)
}

extension Problem {
    static var unknownRecording: Problem {
        Problem("unknown-recording", .notFound, "There is no recording with this id")
    }
}
