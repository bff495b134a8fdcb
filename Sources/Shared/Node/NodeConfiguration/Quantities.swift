import NIOCore

/// Reads and writes durations: `350ms`, `1.5s`, `10s`, `5min`, `2h`, `7d`.
enum DurationText {
    private static let units: [(name: String, nanoseconds: Int64)] = [
        ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000),
        ("ms", 1_000_000), ("us", 1_000), ("ns", 1),
    ]

    /// Parses a number with a unit. Exact: a text that names a fraction of a nanosecond is refused.
    static func parse(_ text: String) throws(ValueProblem) -> TimeAmount {
        let expected = "a duration with its unit (ms, s, min, h, d), such as 350ms or 10s"
        let (number, unitName) = NumberWithUnit.split(text)
        guard let unit = self.units.first(where: { $0.name == unitName || ($0.name == "min" && unitName == "m") }),
            let nanoseconds = NumberWithUnit.multiply(number, by: unit.nanoseconds)
        else { throw .invalid(expected: expected) }
        return .nanoseconds(nanoseconds)
    }

    /// Writes `amount` in the largest unit that needs no fraction.
    static func write(_ amount: TimeAmount) -> String {
        guard amount.nanoseconds != 0 else { return "0s" }
        for unit in self.units where amount.nanoseconds.isMultiple(of: unit.nanoseconds) {
            // A day is written in days only when it reads better than hours: 7d, but 36h.
            return "\(amount.nanoseconds / unit.nanoseconds)\(unit.name)"
        }
        return "\(amount.nanoseconds)ns"
    }
}

/// Reads and writes sizes: `8MiB`, `512KiB`, `1GiB`, `2MB`, `4096`.
enum SizeText {
    private static let units: [(name: String, bytes: Int64)] = [
        ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000), ("MB", 1_000_000),
        ("kB", 1_000), ("KB", 1_000), ("B", 1), ("", 1),
    ]

    /// Parses a number of bytes, with a binary (`KiB`, `MiB`, `GiB`) or a decimal unit (`kB`, `MB`, `GB`), or without.
    static func parse(_ text: String) throws(ValueProblem) -> Int {
        let (number, unitName) = NumberWithUnit.split(text)
        guard let unit = self.units.first(where: { $0.name.lowercased() == unitName.lowercased() }),
            let bytes = NumberWithUnit.multiply(number, by: unit.bytes)
        else { throw .invalid(expected: "a size, such as 8MiB, 512KiB or 4096 (bytes)") }
        return Int(bytes)
    }

    /// Writes `bytes` in the largest binary unit that needs no fraction.
    static func write(_ bytes: Int) -> String {
        guard bytes != 0 else { return "0" }
        for unit in self.units.prefix(3) where bytes.isMultiple(of: Int(unit.bytes)) {
            return "\(bytes / Int(unit.bytes))\(unit.name)"
        }
        return "\(bytes)"
    }
}

/// The arithmetic of numbers with units, in integers.
enum NumberWithUnit {
    /// Splits behind the last digit or point, and drops white space before the unit.
    static func split(_ text: String) -> (number: Substring, unit: String) {
        let number = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        return (number, String(text[number.endIndex...].drop { $0 == " " }))
    }

    /// `number`, digits with at most one point, times `factor`; nil when malformed, fractional or too large.
    static func multiply(_ number: Substring, by factor: Int64) -> Int64? {
        let parts = number.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, let wholeText = parts.first, let whole = Int64(wholeText) else { return nil }
        let (product, overflow) = whole.multipliedReportingOverflow(by: factor)
        guard !overflow else { return nil }
        guard parts.count == 2 else { return product }
        guard 1...9 ~= parts[1].count, let fraction = Int64(parts[1]) else { return nil }
        let scale = (0..<parts[1].count).reduce(Int64(1)) { scale, _ in scale * 10 }
        let (scaled, fractionOverflow) = fraction.multipliedReportingOverflow(by: factor)
        guard !fractionOverflow, scaled.isMultiple(of: scale) else { return nil }
        let (sum, sumOverflow) = product.addingReportingOverflow(scaled / scale)
        return sumOverflow ? nil : sum
    }
}

/// A token, key or password. It compares and is passed on, but no log line or description shows it.
package struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The text itself. Never log it.
    package let value: String

    package init(_ value: String) {
        self.value = value
    }

    package var isEmpty: Bool { self.value.isEmpty }
    package var description: String { self.isEmpty ? "" : "<redacted>" }
    package var debugDescription: String { self.description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
