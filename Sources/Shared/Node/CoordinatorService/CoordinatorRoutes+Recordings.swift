import CoordinatorStore
import HTTPTypes
import Hummingbird
import Media
import NIOCore
import Placement

extension CoordinatorRoutes {
    /// The catalogue of the cluster's recordings. Origins report theirs with `PUT`; the files stay with them.
    func addRecordings(to api: RouterGroup<Context>) {
        api.get("recordings") { request, _ in
            try Self.json(try await self.core.store.recordings(try Self.recordingQuery(request)))
        }
        api.get("recordings/:id") { _, context in
            guard let entry = try await self.core.store.recording(try Self.recordingID(context)) else {
                throw Problem.unknownRecording
            }
            return try Self.json(entry)
        }
        api.put("recordings/:id") { request, context in
            let id = try Self.recordingID(context)
            let entry = try await self.body(of: request, as: RecordingEntry.self)
            try Self.check(entry, id: id)
            guard try await self.core.store.save(entry) else {
                throw Problem("recording-id-in-use", .conflict, "Another node has a recording with this id")
            }
            return Response(status: .noContent)
        }
        api.delete("recordings/:id") { request, context in
            try await self.deleteRecording(try Self.recordingID(context), request)
        }
    }

    /// A file is deleted by the origin that has it: the answer says where. With `force=1` the entry alone is removed,
    /// for an origin that will not come back.
    private func deleteRecording(_ id: String, _ request: Request) async throws -> Response {
        if request.uri.queryParameters["force"] == "1" {
            guard try await self.core.store.removeRecording(id) else { throw Problem.unknownRecording }
            return Response(status: .noContent)
        }
        guard let entry = try await self.core.store.recording(id) else { throw Problem.unknownRecording }
        let node = await self.core.nodes().nodes.first { $0.node.id.rawValue == entry.node && $0.health == .alive }
        guard let node, node.node.apiPort > 0 else {
            throw Problem(
                "origin-away", .conflict, "The origin that has the file is away",
                detail: "\(entry.node); force=1 removes the entry alone")
        }
        let host = node.node.host.contains(":") ? "[\(node.node.host)]" : node.node.host
        return Response(
            status: .temporaryRedirect,
            headers: [.location: "http://\(host):\(node.node.apiPort)/api/v1/recordings/\(id)"])
    }

    private static func recordingID(_ context: Context) throws -> String {
        let id = try context.parameters.require("id")
        guard RecordingEntry.isID(id) else {
            throw Problem.invalid("ids of recordings are lower-case letters and digits")
        }
        return id
    }

    private static func check(_ entry: RecordingEntry, id: String) throws(Problem) {
        guard entry.id == id else { throw Problem.invalid("the id is not that of the path") }
        guard (try? NodeID(entry.node)) != nil else { throw Problem.invalid("node") }
        guard entry.path.utf8.count <= 4_096 else { throw Problem.invalid("path is longer than 4096 bytes") }
        guard entry.tracks.count <= 16 else { throw Problem.invalid("more than 16 tracks") }
        guard entry.bytes >= 0, entry.startMillis >= 0, entry.endMillis >= entry.startMillis else {
            throw Problem.invalid("times and sizes are not negative, and recordings end after they start")
        }
    }

    /// `vhost`, `app`, `stream`, `from` and `to` in milliseconds since 1970, `state`, `limit`, `cursor`.
    private static func recordingQuery(_ request: Request) throws(Problem) -> RecordingQuery {
        let query = request.uri.queryParameters
        func text(_ name: String) -> String? { query[Substring(name)].map { String($0) } }
        var state: RecordingState?
        if let name = text("state") {
            guard let known = RecordingState(rawValue: name) else {
                let names = RecordingState.allCases.map(\.rawValue).joined(separator: ", ")
                throw Problem.invalid("state is one of \(names)")
            }
            state = known
        }
        var cursor: RecordingQuery.Cursor?
        if let given = text("cursor") {
            guard let known = RecordingQuery.Cursor(given) else { throw Problem.invalid("cursor") }
            cursor = known
        }
        let limits = RecordingQuery.limits
        let limit = try Self.number("limit", in: request, range: Int64(limits.lowerBound)...Int64(limits.upperBound))
        return RecordingQuery(
            vhost: text("vhost"), app: text("app"), name: text("stream"),
            fromMillis: try Self.number("from", in: request, range: 0...Int64.max),
            toMillis: try Self.number("to", in: request, range: 0...Int64.max), state: state,
            limit: limit.map(Int.init) ?? 100, cursor: cursor)
    }
}

extension Problem {
    static var unknownRecording: Problem {
        Problem("unknown-recording", .notFound, "There is no recording with this id")
    }
}
