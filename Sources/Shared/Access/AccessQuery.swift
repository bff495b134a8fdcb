/// The query of a URL, without `?`, as credentials are looked up in it.
///
/// RTMP clients put it behind the app, the stream, or both; some write `?` where `&` belongs, so both separate.
package enum AccessQuery {
    /// The first value of `name`, with `%xx` resolved. `nil` if there is none, if it is empty, or no UTF-8.
    package static func value(of name: String, in query: String) -> String? {
        guard !name.isEmpty else { return nil }
        for field in query.utf8.split(whereSeparator: { $0 == UInt8(ascii: "&") || $0 == UInt8(ascii: "?") }) {
            guard field.starts(with: name.utf8) else { continue }
            let rest = field.dropFirst(name.utf8.count)
            guard rest.first == UInt8(ascii: "=") else { continue }
            guard let value = self.decoded(rest.dropFirst()), !value.isEmpty else { return nil }
            return value
        }
        return nil
    }

    /// `+` stays as it is: neither tokens nor signatures have spaces.
    private static func decoded(_ text: Substring.UTF8View) -> String? {
        var bytes: [UInt8] = []
        var digits: [UInt8]?
        for byte in text {
            if var open = digits {
                guard let digit = self.hexadecimal(byte) else { return nil }
                open.append(digit)
                digits = open
                guard open.count == 2 else { continue }
                bytes.append(open[0] << 4 | open[1])
                digits = nil
            } else if byte == UInt8(ascii: "%") {
                digits = []
            } else {
                bytes.append(byte)
            }
        }
        guard digits == nil else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
