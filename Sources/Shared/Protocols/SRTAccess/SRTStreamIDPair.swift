/// One pair of the access control form of a stream id.
struct SRTStreamIDPair: Equatable {
    var name: String
    /// The pair as it came.
    var bytes: ArraySlice<UInt8>
    /// The value as it came, but for its quotes. May be empty.
    private var rawValue: ArraySlice<UInt8>
    var isQuoted = false

    /// `name=value` or `name`, without quotes around the value.
    init(unquoted bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        let mark = bytes.firstIndex(of: UInt8(ascii: "=")) ?? bytes.endIndex
        self.name = String(decoding: Self.resolved(bytes[..<mark]), as: UTF8.self)
        self.rawValue = bytes[mark...].dropFirst()
    }

    /// Percent signs are resolved.
    var value: String { String(decoding: Self.resolved(self.rawValue), as: UTF8.self) }

    /// The value as a path and what stands behind its `?`. A value in quotes is a path alone. Percent signs of the path
    /// are resolved, those of the query are not.
    var resource: (path: ArraySlice<UInt8>, query: ArraySlice<UInt8>) {
        self.isQuoted ? (Self.resolved(self.rawValue)[...], []) : Self.resource(of: self.rawValue)
    }

    static func resource(of bytes: ArraySlice<UInt8>) -> (path: ArraySlice<UInt8>, query: ArraySlice<UInt8>) {
        let mark = bytes.firstIndex(of: UInt8(ascii: "?")) ?? bytes.endIndex
        return (self.resolved(bytes[..<mark])[...], bytes[mark...].dropFirst())
    }

    /// Cuts the pairs apart. An empty place between two commas is left out. Offsets in errors are those of `bytes`.
    static func split(_ bytes: ArraySlice<UInt8>) throws(SRTStreamIDError) -> [SRTStreamIDPair] {
        var pairs: [SRTStreamIDPair] = []
        var rest = bytes
        while !rest.isEmpty {
            let end = try self.end(of: rest)
            let part = rest[..<end]
            rest = rest[end...].dropFirst()
            guard !part.isEmpty else { continue }
            var pair = SRTStreamIDPair(unquoted: part)
            guard !pair.name.isEmpty else { throw .missingName(offset: part.startIndex) }
            if pair.rawValue.first == UInt8(ascii: "\"") {
                pair.isQuoted = true
                pair.rawValue = pair.rawValue.dropFirst().dropLast()
            }
            pairs.append(pair)
        }
        return pairs
    }

    /// Where a pair ends: at the next comma that is not in quotes.
    private static func end(of bytes: ArraySlice<UInt8>) throws(SRTStreamIDError) -> Int {
        let comma = bytes.firstIndex(of: UInt8(ascii: ",")) ?? bytes.endIndex
        guard let mark = bytes[..<comma].firstIndex(of: UInt8(ascii: "=")) else { return comma }
        let open = mark + 1
        guard open < bytes.endIndex, bytes[open] == UInt8(ascii: "\"") else { return comma }
        guard let close = bytes[(open + 1)...].firstIndex(of: UInt8(ascii: "\"")) else {
            throw .openQuote(offset: open)
        }
        guard close + 1 == bytes.endIndex || bytes[close + 1] == UInt8(ascii: ",") else {
            throw .textBehindQuote(offset: close + 1)
        }
        return close + 1
    }

    /// Resolves `%` and two hexadecimal digits. One that would make a control character stays as it is, and so do all
    /// that together are not UTF-8.
    static func resolved(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        guard bytes.contains(UInt8(ascii: "%")) else { return Array(bytes) }
        var result: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2).compactMap(self.digit)
            let meant = digits.count == 2 ? digits[0] << 4 | digits[1] : 0
            if byte == UInt8(ascii: "%"), meant >= 0x20, meant != 0x7F {
                result.append(meant)
                rest = rest.dropFirst(2)
            } else {
                result.append(byte)
            }
        }
        return String(validating: result, as: UTF8.self) == nil ? Array(bytes) : result
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
