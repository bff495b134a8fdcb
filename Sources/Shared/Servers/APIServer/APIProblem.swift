package import HTTPTypes
package import Hummingbird
import NIOCore

/// An error of an API as its client sees it. Throw it in a route, or return its `response()`.
///
/// Spec: RFC 9457.
package struct APIProblem: Error, Sendable, Equatable {
    package var status: HTTPResponse.Status
    /// The last part of `urn:weir:problem:…`: a word of a closed set, which clients may compare.
    package var name: String
    /// One sentence for people, the same for all problems of this name.
    package var title: String
    /// What is wrong this time. Never a secret, never a whole query.
    package var detail: String?
    /// Members beside those of the standard; values are texts.
    package var members: [String: String]
    /// Beside `Content-Type`.
    package var headers: HTTPFields

    package init(
        _ status: HTTPResponse.Status, name: String, title: String, detail: String? = nil,
        members: [String: String] = [:], headers: HTTPFields = [:]
    ) {
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.members = members
        self.headers = headers
    }

    /// The problem that `status` alone stands for.
    package init(_ status: HTTPResponse.Status, detail: String? = nil, headers: HTTPFields = [:]) {
        let words = status.reasonPhrase.lowercased().split { !$0.isLetter }.joined(separator: "-")
        self.init(
            status, name: words.isEmpty ? "status-\(status.code)" : words,
            title: status.reasonPhrase.isEmpty ? "Status \(status.code)" : status.reasonPhrase, detail: detail,
            headers: headers)
    }

    /// The body, as `application/problem+json`.
    package var json: String {
        var text = "{\"type\":\(Self.quote("urn:weir:problem:\(self.name)")),\"title\":\(Self.quote(self.title))"
        text += ",\"status\":\(self.status.code)"
        if let detail = self.detail { text += ",\"detail\":\(Self.quote(detail))" }
        for (name, value) in self.members.sorted(by: { $0.key < $1.key }) {
            text += ",\(Self.quote(name)):\(Self.quote(value))"
        }
        return text + "}"
    }

    package func response() -> Response {
        var headers = self.headers
        headers[.contentType] = "application/problem+json"
        return Response(
            status: self.status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: self.json)))
    }

    /// A JSON string. `<`, `>` and `&` are escaped, so that no browser takes a body for a page.
    private static func quote(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "<", ">", "&", "\u{2028}", "\u{2029}": result += self.escape(scalar)
            case _ where scalar.value < 0x20 || scalar.value == 0x7F: result += self.escape(scalar)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    private static func escape(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
}

extension APIProblem: HTTPResponseError {
    package func response(from request: Request, context: some RequestContext) throws -> Response { self.response() }
}
