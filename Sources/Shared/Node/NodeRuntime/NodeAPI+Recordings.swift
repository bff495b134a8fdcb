import Foundation
import HTTPTypes
import Hummingbird
import Media
import MediaStorage
import NIOCore
import Recorder

/// Recordings of this origin: list, start, stop, delete.
struct RecordingAPI: Sendable {
    let recorder: Recorder

    func add(to router: Router<BasicRequestContext>) {
        let recorder = self.recorder
        router.get("/api/v1/recordings") { request, _ in
            let query = try Self.query(request.uri.queryParameters)
            do {
                return try Self.json(try await recorder.recordings(query))
            } catch let error as RecorderError {
                throw Self.problem(error)
            }
        }
        router.delete("/api/v1/recordings/:id") { _, context in
            do {
                try await recorder.delete(try context.parameters.require("id"))
            } catch let error as RecorderError {
                throw Self.problem(error)
            }
            return Response(status: .noContent)
        }
        router.get("/api/v1/recording") { request, _ in
            guard request.uri.queryParameters["app"] != nil else { return try Self.json(recorder.statuses()) }
            return try Self.json(recorder.status(of: try Self.key(request)))
        }
        for (path, records) in [("start", true), ("stop", false), ("reset", nil)] as [(String, Bool?)] {
            router.post("/api/v1/recording/\(path)") { request, _ in
                let key = try Self.key(request)
                do {
                    try await recorder.setIntent(records, for: key)
                } catch let error as RecorderError {
                    throw Self.problem(error)
                }
                return try Self.json(recorder.status(of: key))
            }
        }
    }

    /// `app`, `stream` and, for other vhosts than the default one, `vhost`.
    private static func key(_ request: Request) throws -> StreamKey {
        let query = request.uri.queryParameters
        guard let app = query["app"], let name = query["stream"] else {
            throw HTTPError(.badRequest, message: "the parameters app and stream are required")
        }
        do {
            return try StreamKey(
                vhost: query["vhost"].map { String($0) } ?? StreamKey.defaultVhost, app: String(app), name: String(name)
            )
        } catch {
            throw HTTPError(.badRequest, message: "the parameters name no stream: \(error)")
        }
    }

    private static func query(_ parameters: Parameters) throws -> RecordingQuery {
        func text(_ name: String) -> String? { parameters[Substring(name)].map { String($0) } }
        func millis(_ name: String) throws -> Int64? {
            guard let value = text(name) else { return nil }
            guard let number = Int64(value), number >= 0 else {
                throw HTTPError(.badRequest, message: "\(name) is a time in milliseconds since 1970")
            }
            return number
        }
        var state: RecordingState?
        if let name = text("state") {
            state = RecordingState(rawValue: name)
            let names = RecordingState.allCases.map(\.rawValue).joined(separator: ", ")
            guard state != nil else { throw HTTPError(.badRequest, message: "state is one of \(names)") }
        }
        var cursor: RecordingQuery.Cursor?
        if let given = text("cursor") {
            cursor = RecordingQuery.Cursor(given)
            guard cursor != nil else { throw HTTPError(.badRequest, message: "the cursor is none of ours") }
        }
        let limits = RecordingQuery.limits
        let limit = text("limit").map { Int($0) ?? -1 } ?? 100
        guard limits.contains(limit) else {
            throw HTTPError(.badRequest, message: "limit is \(limits.lowerBound) to \(limits.upperBound)")
        }
        return RecordingQuery(
            vhost: text("vhost"), app: text("app"), name: text("stream"), fromMillis: try millis("from"),
            toMillis: try millis("to"), state: state, limit: limit, cursor: cursor)
    }

    private static func json(_ value: some Encodable) throws -> Response {
        Response(
            status: .ok, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: try JSONEncoder().encode(value))))
    }

    private static func problem(_ error: RecorderError) -> HTTPError {
        switch error {
        case .unknownRecording: HTTPError(.notFound, message: "there is no recording with this id")
        case .stillRecording: HTTPError(.conflict, message: "the file is still written: stop the recording first")
        case .catalogUnavailable: HTTPError(.serviceUnavailable, message: "the catalogue does not answer")
        case .storage(let cause): HTTPError(.internalServerError, message: "the file cannot be deleted: \(cause)")
        }
    }
}
