package import NIOCore

/// A request to the node's API, from its port or through the coordinator.
package struct NodeAPIRequest: Sendable {
    /// `GET`, `HEAD`, `POST`, `PUT`, `DELETE`; others are answered with 405.
    package var method: String
    /// Percent-decoded parts of the path, without empty ones.
    package var path: [String]
    /// The first value of each parameter, percent-decoded.
    package var query: [String: String]
    /// Path and query as they came.
    package var target: String
    /// Names in lower case. Only those that matter to routes: `accept`, `if-none-match`, `host`.
    package var headers: [String: String]
    /// At most `maximumBodyBytes`.
    package var body: String

    /// The longest body that a route reads.
    package static let maximumBodyBytes = 64 << 10
    /// The longest path and query that is looked at.
    package static let maximumTargetBytes = 8 << 10
    private static let maximumParameters = 64

    /// `nil` if the target does not begin with `/`, is too long, has a broken percent sign, or more than 64 parameters.
    package init?(method: String, target: String, headers: [String: String] = [:], body: String = "") {
        guard target.utf8.first == UInt8(ascii: "/"), target.utf8.count <= Self.maximumTargetBytes else { return nil }
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var path: [String] = []
        for part in parts[0].split(separator: "/") {
            guard let decoded = Self.decode(part) else { return nil }
            path.append(decoded)
        }
        var query: [String: String] = [:]
        let pairs = parts.count > 1 ? parts[1].split(separator: "&") : []
        guard pairs.count <= Self.maximumParameters else { return nil }
        for pair in pairs {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decode(halves[0]), let value = halves.count > 1 ? Self.decode(halves[1]) : ""
            else { return nil }
            if query[name] == nil { query[name] = value }
        }
        self.method = method
        self.path = path
        self.query = query
        self.target = target
        self.headers = headers
        self.body = body
    }

    /// The bytes behind percent signs. A `+` stays one, as stream names may have it. `nil` if they are no UTF-8.
    private static func decode(_ text: Substring) -> String? {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(Self.digit), let low = rest.popFirst().flatMap(Self.digit)
            else { return nil }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

/// An answer of the node's API.
package struct NodeAPIResponse: Sendable {
    package var status: Int
    package var contentType: String
    /// Beyond the content type, such as `ETag`, `Location`, `Allow`.
    package var headers: [(name: String, value: String)]
    package var body: ByteBuffer

    package init(
        status: Int, contentType: String, headers: [(name: String, value: String)] = [], body: ByteBuffer = ByteBuffer()
    ) {
        self.status = status
        self.contentType = contentType
        self.headers = headers
        self.body = body
    }

    static let jsonType = "application/json"
    static let problemType = "application/problem+json"
    static let textType = "text/plain; charset=utf-8"

    static func json(_ value: JSONValue, status: Int = 200) -> NodeAPIResponse {
        NodeAPIResponse(
            status: status, contentType: Self.jsonType, headers: [("Cache-Control", "no-store")],
            body: ByteBuffer(string: value.text))
    }

    /// SRS's way to say no: HTTP 200 with a code.
    static func code(_ code: Int) -> NodeAPIResponse { .json(.object(["code": .count(code)])) }

    static func noContent() -> NodeAPIResponse { NodeAPIResponse(status: 204, contentType: "") }

    /// What went wrong, as RFC 9457 has it; `name` is ours and from a closed set.
    static func problem(
        _ name: String, _ status: Int, _ title: String, detail: String? = nil,
        headers: [(name: String, value: String)] = []
    ) -> NodeAPIResponse {
        let body = JSONValue.object([
            "type": .string("urn:weir:problem:\(name)"), "title": .string(title), "status": .count(status),
            "detail": detail.map { .string($0) },
        ])
        return NodeAPIResponse(
            status: status, contentType: Self.problemType, headers: headers + [("Cache-Control", "no-store")],
            body: ByteBuffer(string: body.text))
    }

    static func invalid(_ detail: String) -> NodeAPIResponse {
        .problem("invalid-request", 400, "The request cannot be understood", detail: detail)
    }

    static func notFound(_ detail: String) -> NodeAPIResponse {
        .problem("not-found", 404, "There is no such thing", detail: detail)
    }

    static func methodNotAllowed(_ allowed: [String]) -> NodeAPIResponse {
        .problem(
            "method-not-allowed", 405, "The path does not take this method",
            headers: [("Allow", allowed.joined(separator: ", "))])
    }
}
