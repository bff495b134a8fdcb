import Crypto

/// What somebody may do with an API.
package enum APIRole: String, Sendable, Hashable, CaseIterable, Codable {
    /// Reads.
    case viewer
    /// Reads, and acts on streams, sessions and nodes.
    case `operator`
    /// Everything, tokens and backups included.
    case admin
    /// A node of the cluster: placement, and reads.
    case node

    /// Whether this role is enough for what needs `required`.
    package func includes(_ required: APIRole) -> Bool {
        switch (self, required) {
        case (.admin, .admin), (.admin, .operator), (.admin, .viewer): true
        case (.operator, .operator), (.operator, .viewer): true
        case (.viewer, .viewer), (.node, .viewer), (.node, .node): true
        default: false
        }
    }
}

/// Who sent a request.
package struct APIPrincipal: Sendable, Hashable {
    package var role: APIRole
    /// For logs and events: the name of a token, never the token.
    package var name: String

    package init(role: APIRole, name: String) {
        self.role = role
        self.name = name
    }
}

/// What a request needs.
package enum APIRequirement: Sendable, Hashable {
    /// Nothing: health checks, pages.
    case open
    case role(APIRole)
}

/// What `Authorization` says. Its texts are secrets: descriptions leave them out.
package enum APICredentials: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// Spec: RFC 6750 §2.1.
    case bearer(String)
    /// Spec: RFC 7617 §2. A password may contain colons.
    case basic(user: String, password: String)

    /// Reads the value of `Authorization`; `nil` if it is of another scheme or malformed.
    package init?(authorization: String) {
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, authorization.utf8.count <= 8_192 else { return nil }
        let text = parts[1].drop { $0 == " " }
        switch parts[0].lowercased() {
        case "bearer":
            guard !text.isEmpty, text.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) else { return nil }
            self = .bearer(String(text))
        case "basic":
            guard let bytes = Base64Text.decode(text), let colon = bytes.firstIndex(of: UInt8(ascii: ":")),
                let user = String(validating: bytes[..<colon], as: UTF8.self),
                let password = String(validating: bytes[(colon + 1)...], as: UTF8.self)
            else { return nil }
            self = .basic(user: user, password: password)
        default: return nil
        }
    }

    /// Whether this is the bearer token `token`. The time taken tells nothing of either.
    package func matches(token: String) -> Bool {
        guard case .bearer(let given) = self, !token.isEmpty else { return false }
        return Self.areEqual(given, token)
    }

    /// Whether these are `user` and `password`. The time taken tells nothing of either.
    package func matches(user: String, password: String) -> Bool {
        guard case .basic(let givenUser, let givenPassword) = self, !user.isEmpty else { return false }
        let isUser = Self.areEqual(givenUser, user)
        let isPassword = Self.areEqual(givenPassword, password)
        return isUser && isPassword
    }

    /// Names these credentials without telling them.
    var digest: [UInt8] {
        switch self {
        case .bearer(let token): Array(SHA256.hash(data: Array("b\(token)".utf8)))
        case .basic(let user, let password): Array(SHA256.hash(data: Array("p\(user):\(password)".utf8)))
        }
    }

    /// Compares digests, so that neither length nor content shows in the time.
    package static func areEqual(_ left: String, _ right: String) -> Bool {
        let leftDigest = SHA256.hash(data: Array(left.utf8))
        let rightDigest = SHA256.hash(data: Array(right.utf8))
        return zip(leftDigest, rightDigest).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }

    package var description: String {
        switch self {
        case .bearer: "bearer <redacted>"
        case .basic: "basic <redacted>"
        }
    }

    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Spec: RFC 4648 §4.
enum Base64Text {
    /// The bytes of `text`, whose padding may be missing; `nil` if it is not Base64.
    static func decode(_ text: Substring) -> [UInt8]? {
        let padding = text.reversed().prefix { $0 == "=" }.count
        let digits = text.utf8.dropLast(padding)
        guard padding <= 2, padding == 0 || (digits.count + padding).isMultiple(of: 4), digits.count % 4 != 1 else {
            return nil
        }
        var bytes: [UInt8] = []
        var bits = 0
        var held = 0
        for digit in digits {
            guard let value = self.value(of: digit) else { return nil }
            bits = (bits << 6 | value) & 0xFFFF
            held += 6
            if held >= 8 {
                held -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> held))
            }
        }
        return bits & ((1 << held) - 1) == 0 ? bytes : nil
    }

    private static func value(of digit: UInt8) -> Int? {
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(digit) - 65
        case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(digit) - 71
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(digit) + 4
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
