/// What a `Range` asks of a body. Spec: RFC 9110 §14.
enum ByteRange: Equatable {
    /// No range, none that is understood, or several: the whole body is a right answer to all of these.
    case whole
    case part(Range<Int64>)
    /// The body has none of it: 416.
    case unsatisfiable

    /// Reads a field's value for a body of `count` bytes.
    init(_ value: String?, of count: Int64) {
        guard let value, let equals = value.utf8.firstIndex(of: UInt8(ascii: "=")),
            value[..<equals].lowercased() == "bytes"
        else {
            self = .whole
            return
        }
        let bounds = value[value.utf8.index(after: equals)...].split(separator: "-", omittingEmptySubsequences: false)
        guard bounds.count == 2, let first = Self.number(bounds[0]), let last = Self.number(bounds[1]) else {
            self = .whole
            return
        }
        switch (first, last) {
        case (.none, .none):
            self = .whole
        case (.none, .some(let length)):
            self = length == 0 || count == 0 ? .unsatisfiable : .part(max(0, count - length)..<count)
        case (.some(let first), .none):
            self = first >= count ? .unsatisfiable : .part(first..<count)
        case (.some(let first), .some(let last)):
            guard first <= last else {
                self = .whole
                return
            }
            self = first >= count ? .unsatisfiable : .part(first..<min(last, count - 1) + 1)
        }
    }

    /// The outer `nil` is no number, the inner one no digits. Numbers beyond all files count as the greatest.
    private static func number(_ text: Substring) -> Int64?? {
        let digits = text.utf8.drop { $0 == UInt8(ascii: " ") }
        guard digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
        if digits.isEmpty { return .some(nil) }
        return .some(Int64(String(decoding: digits, as: UTF8.self)) ?? .max - 1)
    }
}
