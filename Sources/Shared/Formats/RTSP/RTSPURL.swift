/// A URL of RTSP, taken apart: `rtsp://user:password@host:port/path?query`. Spec: RFC 2326 §3.2, RFC 3986.
package struct RTSPURL: Sendable, Hashable {
    /// `rtsps`: over TLS.
    package var isSecure: Bool
    /// With their escapes undone; `nil` where the URL has none. Secrets: never log them.
    package var username: String?
    package var password: String?
    /// Without brackets.
    package var host: String
    /// 554 and 322 where the URL names none.
    package var port: Int
    package var hasPort: Bool
    /// As it stands in the URL, with the slash in front; empty if there is none.
    package var path: String
    /// As it stands in the URL, without the question mark; `nil` if there is none.
    package var query: String?

    package static let maximumLength = 4_096

    /// Reads an absolute URL. Errors: `malformedURL`.
    package init(parsing text: String) throws(RTSPError) {
        guard text.utf8.count <= Self.maximumLength, let mark = text.firstRange(of: "://") else { throw .malformedURL }
        switch text[..<mark.lowerBound].lowercased() {
        case "rtsp", "rtspt", "rtspu": self.isSecure = false
        case "rtsps": self.isSecure = true
        default: throw .malformedURL
        }
        var rest = text[mark.upperBound...]
        rest = rest.prefix { $0 != "#" }
        var authority = rest.prefix { $0 != "/" && $0 != "?" }
        rest = rest[authority.endIndex...]
        if let at = authority.lastIndex(of: "@") {
            let user = authority[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            self.username = Self.unescaped(user[0])
            self.password = user.count > 1 ? Self.unescaped(user[1]) : nil
            authority = authority[authority.index(after: at)...]
        }
        let port: Substring?
        if authority.first == "[" {
            guard let end = authority.firstIndex(of: "]") else { throw .malformedURL }
            self.host = String(authority[authority.index(after: authority.startIndex)..<end])
            let behind = authority[authority.index(after: end)...]
            guard behind.isEmpty || behind.first == ":" else { throw .malformedURL }
            port = behind.isEmpty ? nil : behind.dropFirst()
        } else {
            let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            self.host = String(parts[0])
            port = parts.count > 1 ? parts[1] : nil
        }
        guard !self.host.isEmpty, !self.host.utf8.contains(where: { $0 <= 0x20 }) else { throw .malformedURL }
        self.port = self.isSecure ? 322 : 554
        self.hasPort = false
        if let port, !port.isEmpty {
            guard port.utf8.allSatisfy({ (48...57).contains($0) }), let number = Int(port),
                (1...65_535).contains(number)
            else { throw .malformedURL }
            self.port = number
            self.hasPort = true
        }
        self.path = String(rest.prefix { $0 != "?" })
        self.query = self.path.count < rest.count ? String(rest.dropFirst(self.path.count + 1)) : nil
    }

    /// The URL as it stands in requests: without user and password.
    package var text: String {
        var text = self.isSecure ? "rtsps://" : "rtsp://"
        text += self.host.contains(":") ? "[\(self.host)]" : self.host
        if self.hasPort { text += ":\(self.port)" }
        text += self.path
        if let query = self.query { text += "?\(query)" }
        return text
    }

    /// For logs and the API: without user, password and query, and without parts of the path that are parameters, among
    /// which many recorders want the password (`/user=admin&password=…&channel=1`).
    package var printable: String {
        var bare = self
        bare.query = nil
        bare.path = self.path.split(separator: "/", omittingEmptySubsequences: false)
            .map { $0.contains("=") ? "***" : $0 }.joined(separator: "/")
        return bare.text
    }

    /// The path's components with their escapes undone; empty ones are left out.
    package var components: [String] {
        self.path.split(separator: "/", omittingEmptySubsequences: true).map { Self.unescaped($0) }
    }

    /// The URL of a track: `control` as a session description has it, relative to `base`.
    ///
    /// Cameras and servers agree that a relative one is put behind the base with a slash between, whatever the base ends
    /// with; this is not how RFC 3986 resolves it.
    package static func control(_ control: String, base: String) -> String {
        if control == "*" || control.isEmpty { return base }
        if control.contains("://") { return control }
        let stem = base.hasSuffix("/") ? base.dropLast() : base[...]
        guard control.hasPrefix("/") else { return "\(stem)/\(control)" }
        // An absolute path that goes on from the base's; others are meant to be put behind it.
        if var root = try? RTSPURL(parsing: base), root.path.count > 1, control.hasPrefix(root.path) {
            (root.path, root.query) = ("", nil)
            return root.text + control
        }
        return "\(stem)\(control)"
    }

    /// The text behind `%XX` escapes; what is no escape stays.
    private static func unescaped(_ text: Substring) -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == UInt8(ascii: "%"), digits.count == 2, let value = UInt8(Substring(digits), radix: 16) {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
