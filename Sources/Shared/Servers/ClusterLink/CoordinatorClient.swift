import AsyncHTTPClient
import FoundationEssentials
import Media
import NIOCore
import NIOHTTP1
import Placement

/// Why a call of the coordinator brought no answer.
enum CoordinatorCallError: Error, Equatable {
    /// No connection, no answer in time, or the coordinator cannot serve at the moment.
    case unreachable(String)
    /// The coordinator refused.
    case problem(ProblemDetails)
    /// The answer is not what the API says.
    case malformed(String)
    /// An answer outside of the API, such as to a path that the coordinator does not know.
    case status(Int)

    /// The coordinator is older than what was asked for.
    var isUnknownRoute: Bool {
        switch self {
        case .status(let code): code == 404 || code == 405 || code == 501
        // `unknown-node` and the like say that the route is known.
        case .problem(let problem):
            (problem.status == 404 && self.problemName == "not-found") || problem.status == 405
                || problem.status == 501
        case .unreachable, .malformed: false
        }
    }

    /// The last part of the problem's type, such as `conflict`.
    var problemName: String? {
        guard case .problem(let problem) = self else { return nil }
        return String(problem.type.dropFirst(ProblemDetails.typePrefix.count))
    }

    var text: String {
        switch self {
        case .unreachable(let text), .malformed(let text): text
        case .status(let code): "HTTP \(code)"
        case .problem(let problem): problem.detail.map { "\(problem.title): \($0)" } ?? problem.title
        }
    }
}

/// Nothing that is looked at.
struct EmptyAnswer: Decodable { init(from decoder: any Decoder) {} }

/// The coordinator's HTTP API, seen from a node.
struct CoordinatorClient: Sendable {
    let http: HTTPClient
    let secret: String?
    let deadline: TimeAmount
    let maximumAnswerBytes: Int

    func get<Answer: Decodable>(_ url: String, as type: Answer.Type) async throws(CoordinatorCallError) -> Answer {
        try await self.call(url, method: .GET, body: nil, as: type)
    }

    func post<Answer: Decodable>(
        _ url: String, _ body: some Encodable, as type: Answer.Type
    ) async throws(CoordinatorCallError) -> Answer {
        let data: Data
        do { data = try JSONEncoder().encode(body) } catch { throw .malformed("\(error)") }
        return try await self.call(url, method: .POST, body: data, as: type)
    }

    func put(_ url: String, _ body: some Encodable) async throws(CoordinatorCallError) {
        let data: Data
        do { data = try JSONEncoder().encode(body) } catch { throw .malformed("\(error)") }
        _ = try await self.call(url, method: .PUT, body: data, as: EmptyAnswer.self)
    }

    func delete(_ url: String) async throws(CoordinatorCallError) {
        _ = try await self.call(url, method: .DELETE, body: nil, as: EmptyAnswer.self)
    }

    private func call<Answer: Decodable>(
        _ url: String, method: HTTPMethod, body: Data?, as type: Answer.Type
    ) async throws(CoordinatorCallError) -> Answer {
        var request = self.request(url, method: method)
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: body))
        }
        return try await self.answer(to: request, deadline: self.deadline, as: type)
    }

    func request(_ url: String, method: HTTPMethod) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: url)
        request.method = method
        request.headers.add(name: "Accept", value: "application/json, application/problem+json")
        if let secret, !secret.isEmpty { request.headers.add(name: "Authorization", value: "Bearer \(secret)") }
        return request
    }

    func answer<Answer: Decodable>(
        to request: HTTPClientRequest, deadline: TimeAmount, as type: Answer.Type
    ) async throws(CoordinatorCallError) -> Answer {
        let status: HTTPResponseStatus
        let bytes: ByteBuffer
        do {
            let response = try await self.http.execute(request, deadline: .now() + deadline)
            status = response.status
            bytes = try await response.body.collect(upTo: self.maximumAnswerBytes)
        } catch {
            throw .unreachable("\(error)")
        }
        let data = Data(bytes.readableBytesView)
        guard (200..<300).contains(status.code) else { throw Self.error(status: status, data: data) }
        if status == .noContent, let empty = EmptyAnswer.nothing as? Answer { return empty }
        if status == .noContent, let empty = NodeRequests(requests: []) as? Answer { return empty }
        do {
            return try JSONDecoder().decode(type, from: data)
        } catch {
            throw .malformed("\(error)")
        }
    }

    static func error(status: HTTPResponseStatus, data: Data) -> CoordinatorCallError {
        if let problem = try? JSONDecoder().decode(ProblemDetails.self, from: data) { return .problem(problem) }
        // A proxy in front of a coordinator that is away answers in its own words.
        return status.code >= 500 ? .unreachable("HTTP \(status.code)") : .status(Int(status.code))
    }

    /// A query value: everything but unreserved characters is escaped. Spec: RFC 3986 §2.3.
    static func escape(_ text: String) -> String {
        var escaped = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                escaped.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                escaped += digits.utf8.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return escaped
    }

    static func query(_ key: StreamKey) -> String {
        "vhost=\(self.escape(key.vhost))&app=\(self.escape(key.app))&name=\(self.escape(key.name))"
    }
}

extension EmptyAnswer {
    init() {}
    static let nothing = EmptyAnswer()
}
