/// Writes names into the URI references of playlists and manifests.
package enum RelativeURI {
    /// `name` as one or more path segments of a relative reference: everything but unreserved characters and `/` is
    /// percent-encoded, so that no colon is taken for a scheme, no `$` for a DASH identifier, no `?` for a query.
    /// Spec: RFC 3986 §2.3, §4.2.
    package static func encode(path name: String) -> String {
        let isPlain = name.utf8.allSatisfy(self.isPlain)
        if isPlain { return name }
        var bytes: [UInt8] = []
        for byte in name.utf8 {
            if self.isPlain(byte) {
                bytes.append(byte)
            } else {
                bytes += [UInt8(ascii: "%"), Hexadecimal.upper(byte >> 4), Hexadecimal.upper(byte & 15)]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"), UInt8(ascii: "/"):
            true
        default:
            false
        }
    }
}

/// Digits of base 16 as ASCII.
enum Hexadecimal {
    static func upper(_ digit: UInt8) -> UInt8 {
        digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "A") - 10 + digit
    }
    static func lower(_ digit: UInt8) -> UInt8 {
        digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") - 10 + digit
    }
}
