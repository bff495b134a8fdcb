import HTTPTypes
import Hummingbird
import NIOCore

/// A request that was not fulfilled, as its client sees it. Spec: RFC 9457.
struct SignallingProblem: Error, Equatable {
    var status: HTTPResponse.Status
    /// The last part of `urn:weir:problem:…`: a word of a closed set, which clients may compare.
    var name: String
    /// One sentence for people, the same for all problems of this name.
    var title: String
    /// What is wrong this time. Never a secret.
    var detail: String?
    /// Beside `Content-Type`.
    var headers: HTTPFields = [:]

    init(
        _ status: HTTPResponse.Status, _ name: String, _ title: String, detail: String? = nil, headers: HTTPFields = [:]
    ) {
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.headers = headers
    }

    var json: String {
        var text = "{\"type\":\(SignallingJSON.quote("urn:weir:problem:\(self.name)")),"
        text += "\"title\":\(SignallingJSON.quote(self.title)),\"status\":\(self.status.code)"
        if let detail = self.detail { text += ",\"detail\":\(SignallingJSON.quote(detail))" }
        return text + "}"
    }

    var response: Response {
        var headers = self.headers
        headers[.contentType] = "application/problem+json"
        return Response(status: self.status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: self.json)))
    }
}

extension SignallingProblem {
    /// Spec: RFC 9725 §4.2, §4.3.1, §4.5 for which status means what.
    init(_ refusal: SignallingRefusal, retryAfterSeconds: Int) {
        let retry: HTTPFields = [.retryAfter: "\(retryAfterSeconds)"]
        switch refusal {
        case .badName(let text):
            self.init(.badRequest, "bad-stream-name", "The URL names no stream", detail: text)
        case .streamNotFound(let text):
            self.init(.notFound, "stream-not-found", "Nobody publishes the stream", detail: text)
        case .busy(let text):
            self.init(.conflict, "stream-busy", "The stream has a publisher", detail: text)
        case .unauthorized(let text):
            self.init(
                .unauthorized, "unauthorized", "Credentials are required", detail: text,
                headers: [.wwwAuthenticate: "Bearer realm=\"weir\""])
        case .forbidden(let text):
            self.init(.forbidden, "forbidden", "This is not allowed", detail: text)
        case .limited(let text):
            self.init(.tooManyRequests, "limit-reached", "A limit is reached", detail: text, headers: retry)
        case .unavailable(let text):
            self.init(.serviceUnavailable, "unavailable", "This cannot be served now", detail: text, headers: retry)
        case .tooManySessions:
            self.init(
                .serviceUnavailable, "too-many-sessions", "The node has as many WebRTC sessions as it may have",
                headers: retry)
        case .disabled:
            self.init(.forbidden, "webrtc-disabled", "WebRTC is off for the stream")
        case .badOffer(let text):
            self.init(.badRequest, "bad-sdp", "The SDP cannot be read", detail: text)
        case .unprocessable(let text):
            self.init(.unprocessableContent, "unprocessable-sdp", "The SDP asks for what cannot be", detail: text)
        case .notAcceptable(let text):
            self.init(.notAcceptable, "not-acceptable", "Both sides have nothing in common", detail: text)
        case .unknownSession:
            self.init(.notFound, "session-not-found", "There is no such session")
        case .preconditionFailed(let etag):
            self.init(
                .preconditionFailed, "precondition-failed", "The session has other ICE credentials by now",
                headers: [.eTag: "\"\(etag)\""])
        }
    }

    static func methodNotAllowed(_ allowed: [String]) -> Self {
        let list = allowed.joined(separator: ", ")
        return Self(
            .methodNotAllowed, "method-not-allowed", "The resource does not have this method",
            detail: "allowed: \(list)", headers: [.allow: list])
    }

    static func unsupportedMediaType(_ expected: String) -> Self {
        Self(
            .unsupportedMediaType, "unsupported-media-type", "The body has a type that is not taken here",
            detail: "expected \(expected)")
    }

    static func tooLong(_ maximum: Int) -> Self {
        Self(.contentTooLarge, "content-too-large", "The body is too long", detail: "at most \(maximum) bytes")
    }

    static var timeout: Self { Self(.requestTimeout, "request-timeout", "The body did not come in time") }

    static var notText: Self { Self(.badRequest, "bad-sdp", "The SDP cannot be read", detail: "it is not UTF-8") }

    static var empty: Self { Self(.badRequest, "empty-body", "The body is empty", detail: "expected an SDP") }

    static var crossOrigin: Self {
        Self(.forbidden, "cross-origin", "Pages of this origin may not publish or play here")
    }

    static var preconditionRequired: Self {
        Self(
            .preconditionRequired, "precondition-required", "The request needs If-Match",
            detail: "an entity tag of the session, or * to restart ICE")
    }
}

/// The JSON that is written here.
enum SignallingJSON {
    /// A JSON string. `<`, `>` and `&` are escaped, so that no browser takes a body for a page. Spec: RFC 8259 §7.
    static func quote(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\r": result += "\\r"
            case "\n": result += "\\n"
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
