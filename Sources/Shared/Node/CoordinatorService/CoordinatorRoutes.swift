import CoordinatorStore
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Media
import NIOCore
import Placement

/// The calls of the coordinator's REST API. `OpenAPI/openapi.json` describes each of them.
struct CoordinatorRoutes: Sendable {
    let core: CoordinatorCore

    var configuration: CoordinatorConfiguration { self.core.configuration }

    static let prefix = "/api/v1"

    /// All calls.
    func all() -> [APIRoute] {
        self.nodeCalls() + self.placementCalls() + self.routeCalls() + self.streamCalls() + self.sessionCalls()
            + self.recordingCalls() + self.eventCalls() + self.policyCalls() + self.tokenCalls() + self.backupCalls()
            + self.observabilityCalls() + self.watchCalls()
    }

    // MARK: Writing

    private static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        return encoder
    }

    static func json(
        _ value: some Encodable, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]
    ) throws -> Response {
        self.json(ByteBuffer(bytes: try Self.encoder.encode(value)), status: status, headers: headers)
    }

    /// An answer whose JSON is written already.
    static func json(
        _ text: ByteBuffer, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]
    ) -> Response {
        var fields = headers
        fields[.contentType] = "application/json"
        if fields[.cacheControl] == nil { fields[.cacheControl] = "no-store" }
        return Response(status: status, headers: fields, body: ResponseBody(byteBuffer: text))
    }

    static var noContent: Response { Response(status: .noContent, headers: [.cacheControl: "no-store"]) }

    /// An answer with a validator, or 304 for a client that has it already. `steady` is what makes a difference.
    ///
    /// The validator is weak, because times that pass are left out of it, and holds for this process only.
    func tagged(_ value: @autoclosure () throws -> some Encodable, steady: some Hashable, for request: APIRequest)
        throws
        -> Response
    {
        var hasher = Hasher()
        hasher.combine(steady)
        let hash = String(UInt64(bitPattern: Int64(hasher.finalize())), radix: 16)
        let tag = "W/\"\(self.core.instance.prefix(8))-\(hash)\""
        let headers: HTTPFields = [.eTag: tag, .cacheControl: "private, no-cache"]
        if Self.matches(request.header(.ifNoneMatch), tag: tag) {
            return Response(status: .notModified, headers: headers)
        }
        return try Self.json(try value(), headers: headers)
    }

    /// Whether `If-None-Match` names the tag. Weak comparison. Spec: RFC 9110 §13.1.2.
    static func matches(_ header: String?, tag: String) -> Bool {
        guard let header else { return false }
        func opaque(_ text: some StringProtocol) -> String {
            let trimmed = text.drop { $0 == " " }
            let word = trimmed.hasPrefix("W/") ? trimmed.dropFirst(2) : trimmed
            return String(word.reversed().drop { $0 == " " }.reversed())
        }
        return header.split(separator: ",").contains { opaque($0) == "*" || opaque($0) == opaque(tag) }
    }

    // MARK: Reading

    /// The body as JSON; at most `limit` bytes.
    func body<Value: Decodable>(
        of request: APIRequest, as type: Value.Type, limit: Int? = nil
    ) async throws -> Value {
        let limit = min(limit ?? self.configuration.maximumBodyBytes, self.configuration.maximumBodyBytes)
        let given = request.header(.contentType) ?? "application/json"
        let media = given.prefix { $0 != ";" }.trimmed.lowercased()
        guard media == "application/json" else {
            throw Problem("unsupported-media-type", .unsupportedMediaType, "The body has to be JSON")
        }
        var request = request.request
        let buffer: ByteBuffer
        do {
            buffer = try await request.collectBody(upTo: limit)
        } catch is NIOTooManyBytesError {
            throw Problem("too-large", .contentTooLarge, "The body is too large", detail: "at most \(limit) bytes")
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
            return path.isEmpty ? "the top level" : String(path.prefix(200))
        }
        switch error {
        case DecodingError.keyNotFound(let key, let context): return "\(key.stringValue) is missing in \(path(context))"
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
            return "wrong type at \(path(context))"
        case let error as StreamKeyError: return "\(error)"
        case let error as PlacementValueError: return "\(error)"
        case DecodingError.dataCorrupted(let context): return "invalid value at \(path(context))"
        default: return "invalid value"
        }
    }
}

extension Substring {
    /// Without spaces and tabs around it.
    var trimmed: Substring {
        var text = self.drop { $0 == " " || $0 == "\t" }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }
}
