/// The name and the password of one ICE agent. Spec: RFC 8839 §5.4.
package struct ICECredentials: Sendable, Hashable {
    /// 4–256 characters of letters, digits, `+` and `/`.
    package var ufrag: String
    /// 22–256 such characters.
    package var password: String

    package init(ufrag: String, password: String) {
        self.ufrag = ufrag
        self.password = password
    }

    /// Random bytes that `init(randomBytes:)` takes.
    package static let randomByteCount = 32

    /// Makes credentials of random bytes: 8 characters (48 bits) of name, 24 (144 bits) of password.
    package init(randomBytes: [UInt8]) {
        precondition(randomBytes.count == Self.randomByteCount, "32 random bytes, got \(randomBytes.count)")
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        let characters = randomBytes.map { alphabet[Int($0 & 63)] }
        self.ufrag = String(characters[..<8])
        self.password = String(characters[8...])
    }

    /// Whether both obey the grammar. Some peers add `-` and `_`, which are let through.
    package var isValid: Bool {
        func isToken(_ text: String) -> Bool {
            text.utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                    || [43, 45, 47, 95].contains(byte)
            }
        }
        return (4...256).contains(self.ufrag.utf8.count) && (22...256).contains(self.password.utf8.count)
            && isToken(self.ufrag) && isToken(self.password)
    }
}
