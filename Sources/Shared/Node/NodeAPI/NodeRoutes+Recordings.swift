import Foundation
import Media
import MediaStorage
import NIOCore
import Recorder

/// Recordings and pictures of the node's streams.
extension NodeAPI {
    /// `recordings` (list, `recordings/{id}`: DELETE), and `recording` or `record` (states; `start`, `stop`, `reset`).
    func recordings(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard let recordings = self.services.recordings else { return .notFound("only origins record") }
        let isList = request.path[0] == "recordings"
        switch (request.method, isList, request.path.count) {
        case ("GET", true, 1):
            switch Self.recordingQuery(request.query) {
            case .failure(let error): return .invalid(error.text)
            case .success(let query): return Self.answer(await recordings.list(query))
            }
        case ("DELETE", true, 2):
            switch await recordings.delete(request.path[1]) {
            case .success: return .noContent()
            case .failure(let error): return Self.problem(error)
            }
        case ("GET", false, 1): return self.recordingStatus(recordings, request.query)
        case ("POST", false, 2): return await self.setRecording(recordings, request)
        case (_, true, 1), (_, false, 1): return .methodNotAllowed(["GET"])
        case (_, true, _): return .methodNotAllowed(["DELETE"])
        default: return .methodNotAllowed(["POST"])
        }
    }

    private func recordingStatus(_ recordings: NodeRecordings, _ query: [String: String]) -> NodeAPIResponse {
        guard query["app"] != nil || query["key"] != nil else { return Self.encoded(recordings.statuses()) }
        switch self.key(query) {
        case .failure(let error): return .invalid(error.text)
        case .success(let key): return Self.encoded(recordings.status(key))
        }
    }

    private func setRecording(_ recordings: NodeRecordings, _ request: NodeAPIRequest) async -> NodeAPIResponse {
        let intent: Bool?
        switch request.path[1] {
        case "start": intent = true
        case "stop": intent = false
        case "reset": intent = nil
        default: return .notFound("recordings are started, stopped and reset")
        }
        switch self.key(request.query) {
        case .failure(let error): return .invalid(error.text)
        case .success(let key):
            switch await recordings.setIntent(intent, key) {
            case .failure(let error): return Self.problem(error)
            case .success: return Self.encoded(recordings.status(key))
            }
        }
    }

    private static func recordingQuery(_ query: [String: String]) -> Result<RecordingQuery, InvalidRequest> {
        func invalid(_ text: String) -> Result<RecordingQuery, InvalidRequest> { .failure(InvalidRequest(text: text)) }
        var times: [String: Int64] = [:]
        for name in ["from", "to"] {
            guard let text = query[name] else { continue }
            guard let number = Int64(text), number >= 0 else {
                return invalid("\(name) is a time in milliseconds since 1970")
            }
            times[name] = number
        }
        var state: RecordingState?
        if let name = query["state"] {
            state = RecordingState(rawValue: name)
            let names = RecordingState.allCases.map(\.rawValue).joined(separator: ", ")
            guard state != nil else { return invalid("state is one of \(names)") }
        }
        var cursor: RecordingQuery.Cursor?
        if let given = query["cursor"] {
            cursor = RecordingQuery.Cursor(given)
            guard cursor != nil else { return invalid("the cursor is none of ours") }
        }
        let limits = RecordingQuery.limits
        let limit = query["limit"].map { Int($0) ?? -1 } ?? 100
        guard limits.contains(limit) else {
            return invalid("limit is \(limits.lowerBound) to \(limits.upperBound)")
        }
        return .success(
            RecordingQuery(
                vhost: query["vhost"], app: query["app"], name: query["stream"], fromMillis: times["from"],
                toMillis: times["to"], state: state, limit: limit, cursor: cursor))
    }

    private static func answer(_ page: Result<RecordingPage, RecorderError>) -> NodeAPIResponse {
        switch page {
        case .success(let page): self.encoded(page)
        case .failure(let error): self.problem(error)
        }
    }

    private static func encoded(_ value: some Encodable) -> NodeAPIResponse {
        guard let data = try? JSONEncoder().encode(value) else {
            return .problem("internal", 500, "The answer cannot be written")
        }
        return NodeAPIResponse(
            status: 200, contentType: NodeAPIResponse.jsonType, headers: [("Cache-Control", "no-store")],
            body: ByteBuffer(bytes: data))
    }

    private static func problem(_ error: RecorderError) -> NodeAPIResponse {
        switch error {
        case .unknownRecording: .problem("unknown-recording", 404, "There is no recording with this id")
        case .stillRecording:
            .problem("still-recording", 409, "The file is still written", detail: "stop the recording first")
        case .catalogUnavailable: .problem("catalog-unavailable", 503, "The catalogue does not answer")
        case .storage(let cause): .problem("storage", 500, "The file cannot be changed", detail: cause.label)
        }
    }

    // MARK: Pictures

    func snapshot(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
        guard let snapshot = self.services.snapshot else { return .notFound("only origins make pictures") }
        switch self.key(request.query) {
        case .failure(let error): return .invalid(error.text)
        case .success(let key):
            switch await snapshot(key) {
            case .jpeg(let bytes):
                return NodeAPIResponse(
                    status: 200, contentType: "image/jpeg", headers: [("Cache-Control", "no-store")], body: bytes)
            case .none(let text): return .problem("no-picture", 404, "There is no picture", detail: text)
            case .busy(let text):
                return .problem(
                    "busy", 503, "There is no picture now", detail: text, headers: [("Retry-After", "1")])
            }
        }
    }
}
