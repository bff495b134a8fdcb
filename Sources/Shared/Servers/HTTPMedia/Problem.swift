import NIOCore
import NIOHTTP1

/// A problem document. Spec: RFC 9457.
struct Problem: Equatable {
    static let contentType = "application/problem+json"

    var status: HTTPResponseStatus
    var detail: String

    var body: ByteBuffer {
        let title = Self.quoted(self.status.reasonPhrase)
        return ByteBuffer(
            string: "{\"type\":\"about:blank\",\"title\":\(title),\"status\":\(self.status.code),"
                + "\"detail\":\(Self.quoted(self.detail))}\n")
    }

    /// A JSON string. Spec: RFC 8259 §7.
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
