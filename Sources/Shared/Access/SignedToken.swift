/// Why a text is no signed token. Offsets and lengths are in UTF-8 bytes.
package enum SignedTokenError: Error, Equatable, Sendable {
    case tooLong(length: Int)
    /// Not three parts with `.` between them.
    case wrongPartCount(Int)
    case emptyPart(index: Int)
    /// Not base64url as RFC 7515 §2 has it: without padding, line breaks and white space, and no bits left over.
    case unexpectedByte(UInt8, offset: Int)
    case leftoverBits(offset: Int)
}

/// A JSON Web Signature in its compact form, cut into its parts; what they say is not looked at.
///
/// Spec: RFC 7515 §7.1.
package struct SignedToken: Sendable, Hashable {
    /// Longer tokens are refused before they are looked at.
    package static let maximumLength = 8_192

    /// The JSON of the header.
    package let header: [UInt8]
    /// The JSON of the claims.
    package let payload: [UInt8]
    package let signature: [UInt8]
    /// What was signed: the two parts as they stand in the token, with the `.` between.
    package let signedText: [UInt8]

    package init(parsing text: String) throws(SignedTokenError) {
        let bytes = Array(text.utf8)
        guard bytes.count <= Self.maximumLength else { throw .tooLong(length: bytes.count) }
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3 else { throw .wrongPartCount(parts.count) }
        for (index, part) in parts.enumerated() where part.isEmpty { throw .emptyPart(index: index) }
        self.header = try Base64URL.decode(parts[0])
        self.payload = try Base64URL.decode(parts[1])
        self.signature = try Base64URL.decode(parts[2])
        self.signedText = Array(bytes[..<(parts[2].startIndex - 1)])
    }
}

/// Spec: RFC 4648 §5, without padding (RFC 7515 §2).
package enum Base64URL {
    /// Offsets of errors are indices of `text`. There is one text for each sequence of bytes: others are errors.
    package static func decode(_ text: ArraySlice<UInt8>) throws(SignedTokenError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count * 3 / 4)
        var bits: UInt32 = 0
        var held = 0
        for offset in text.indices {
            guard let value = self.value(text[offset]) else {
                throw .unexpectedByte(text[offset], offset: offset)
            }
            bits = bits << 6 | UInt32(value)
            held += 6
            guard held >= 8 else { continue }
            held -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
            bits &= (1 << UInt32(held)) - 1
        }
        // A group of one letter, or bits that no encoder sets.
        guard held < 6, bits == 0 else { throw .leftoverBits(offset: text.endIndex) }
        return bytes
    }

    private static func value(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "-"): 62
        case UInt8(ascii: "_"): 63
        default: nil
        }
    }
}
