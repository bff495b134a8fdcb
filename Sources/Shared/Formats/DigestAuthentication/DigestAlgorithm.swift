import Crypto

/// The hash functions of Digest. Spec: RFC 7616 §3.2 and §6.1.
package enum DigestAlgorithm: String, Sendable, Hashable, CaseIterable {
    /// All that most cameras and players know.
    case md5 = "MD5"
    case sha256 = "SHA-256"

    /// Lower-case hexadecimal digits of the hash of a text's UTF-8.
    package func hash(_ text: String) -> String { self.hash(bytes: Array(text.utf8)) }

    /// Lower-case hexadecimal digits of the hash of bytes.
    package func hash(bytes: [UInt8]) -> String {
        switch self {
        case .md5: Hexadecimal.text(Insecure.MD5.hash(data: bytes))
        case .sha256: Hexadecimal.text(SHA256.hash(data: bytes))
        }
    }

    /// The number of digits of a hash.
    var digitCount: Int { self == .md5 ? 32 : 64 }
}

/// How far an answer protects its request. Spec: RFC 7616 §3.3.
package enum DigestProtection: String, Sendable, Hashable, CaseIterable {
    /// Method and URI.
    case authentication = "auth"
    /// The body, too.
    case integrity = "auth-int"
}

enum Hexadecimal {
    static func text(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }
}

/// Compares texts in a time that does not depend on where they differ.
func isSame(_ left: String, _ right: String) -> Bool {
    let (left, right) = (Array(left.utf8), Array(right.utf8))
    guard left.count == right.count else { return false }
    return zip(left, right).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
}
