/// Hides what peers put into URLs and nobody else may read.
enum SecretMask {
    /// Names of parameters that hold secrets, also as parts of longer names such as `hdnts_token`.
    private static let names = [
        "token", "secret", "key", "password", "passwd", "passphrase", "signature", "sign", "auth", "jwt", "hash",
        "policy",
    ]

    /// A query, or a URL with one, whose secret-looking values are `***`.
    static func query(_ text: String) -> String {
        guard let start = text.firstIndex(of: "?") else {
            return text.contains("=") && !text.contains("://") ? Self.pairs(text[...]) : Self.userless(text)
        }
        return Self.userless(String(text[..<start])) + "?" + Self.pairs(text[text.index(after: start)...])
    }

    /// Parameters without a question mark before them.
    static func parameters(_ text: String) -> String { Self.pairs(text[...]) }

    private static func pairs(_ text: Substring) -> String {
        text.split(separator: "&", omittingEmptySubsequences: false).map { pair in
            guard let equals = pair.firstIndex(of: "=") else { return String(pair) }
            let name = pair[..<equals].lowercased()
            // A name that hides letters behind percent signs may be any of them.
            let isSecret = name.contains("%") || Self.names.contains { name.contains($0) }
            return isSecret ? "\(pair[..<equals])=***" : String(pair)
        }.joined(separator: "&")
    }

    /// A URL without user and password.
    private static func userless(_ text: String) -> String {
        guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") else { return text }
        let start = text.index(colon, offsetBy: 3)
        let rest = text[start...]
        let authority = rest.prefix { $0 != "/" }
        guard let at = authority.lastIndex(of: "@") else { return text }
        return text[..<start] + "***@" + authority[authority.index(after: at)...]
            + rest.dropFirst(authority.count)
    }
}
