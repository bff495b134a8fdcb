import NIOCore

/// Text written straight into a buffer, without strings in between: live playlists are rendered several times a second.
extension ByteBuffer {
    mutating func writeLiteral(_ text: StaticString) { self.writeStaticString(text) }

    mutating func writeByte(_ byte: UInt8) { self.writeInteger(byte) }

    mutating func writeNewline() { self.writeInteger(UInt8(ascii: "\n")) }

    /// Without sign and leading zeros, but with zeros in front up to `minimumDigits`.
    mutating func writeDecimal(_ value: UInt64, minimumDigits: Int = 1) {
        var divisor: UInt64 = 1
        var digits = 1
        while digits < minimumDigits || value / divisor >= 10 {
            divisor *= 10
            digits += 1
        }
        var rest = value
        while divisor > 0 {
            let (digit, remainder) = rest.quotientAndRemainder(dividingBy: divisor)
            self.writeByte(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: digit))
            rest = remainder
            divisor /= 10
        }
    }

    /// A negative number becomes 0: nothing that is counted here can be less.
    mutating func writeDecimal(_ value: Int, minimumDigits: Int = 1) {
        self.writeDecimal(UInt64(clamping: value), minimumDigits: minimumDigits)
    }

    /// Seconds with 3 decimals, or up to 6 where the value needs them.
    mutating func writeSeconds(_ duration: PlaylistDuration) {
        let (seconds, micros) = UInt64(clamping: duration.micros).quotientAndRemainder(dividingBy: 1_000_000)
        self.writeDecimal(seconds)
        self.writeByte(UInt8(ascii: "."))
        if micros % 1000 == 0 {
            self.writeDecimal(micros / 1000, minimumDigits: 3)
        } else if micros % 100 == 0 {
            self.writeDecimal(micros / 100, minimumDigits: 4)
        } else if micros % 10 == 0 {
            self.writeDecimal(micros / 10, minimumDigits: 5)
        } else {
            self.writeDecimal(micros, minimumDigits: 6)
        }
    }

    /// `2026-11-22T00:20:31.123Z` from milliseconds since 1970 UTC, years 1 to 9999 (what lies beyond is clamped).
    mutating func writeDateTime(millis: Int64) {
        let clamped = min(max(millis, -62_135_596_800_000), 253_402_300_799_999)
        let (days, rest) = Self.floored(clamped, by: 86_400_000)
        let date = Self.civilDate(daysSince1970: days)
        let time = UInt64(clamping: rest)
        self.writeDecimal(UInt64(clamping: date.year), minimumDigits: 4)
        self.writeByte(UInt8(ascii: "-"))
        self.writeDecimal(UInt64(clamping: date.month), minimumDigits: 2)
        self.writeByte(UInt8(ascii: "-"))
        self.writeDecimal(UInt64(clamping: date.day), minimumDigits: 2)
        self.writeByte(UInt8(ascii: "T"))
        self.writeDecimal(time / 3_600_000, minimumDigits: 2)
        self.writeByte(UInt8(ascii: ":"))
        self.writeDecimal(time / 60_000 % 60, minimumDigits: 2)
        self.writeByte(UInt8(ascii: ":"))
        self.writeDecimal(time / 1000 % 60, minimumDigits: 2)
        self.writeByte(UInt8(ascii: "."))
        self.writeDecimal(time % 1000, minimumDigits: 3)
        self.writeByte(UInt8(ascii: "Z"))
    }

    private static func floored(_ value: Int64, by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    /// The Gregorian date, by eras of 400 years that begin on 1 March, which puts the leap day at a year's end.
    private static func civilDate(daysSince1970 days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, dayOfEra) = Self.floored(days + 719_468, by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }

    /// A URI reference. Bytes that none has (controls, space, quotation mark) are percent-encoded.
    mutating func writeURI(_ uri: String) {
        if uri.utf8.allSatisfy({ !Self.breaksURI($0) }) {
            self.writeString(uri)
            return
        }
        for byte in uri.utf8 {
            if Self.breaksURI(byte) {
                self.writeByte(UInt8(ascii: "%"))
                self.writeByte(Hexadecimal.upper(byte >> 4))
                self.writeByte(Hexadecimal.upper(byte & 15))
            } else {
                self.writeByte(byte)
            }
        }
    }

    private static func breaksURI(_ byte: UInt8) -> Bool { byte <= 0x20 || byte == 0x22 || byte == 0x7F }

    /// A quoted string of HLS, with what it cannot hold replaced: `"` by `'`, controls by spaces. Spec: RFC 8216 §4.2.
    mutating func writeQuoted(_ text: String) {
        self.writeByte(UInt8(ascii: "\""))
        self.writeUnquoted(text)
        self.writeByte(UInt8(ascii: "\""))
    }

    /// What stands between the quotation marks of `writeQuoted`.
    mutating func writeUnquoted(_ text: String) {
        if text.unicodeScalars.allSatisfy({ !Self.breaksQuotedString($0) }) {
            self.writeString(text)
        } else {
            for scalar in text.unicodeScalars {
                if scalar == "\"" {
                    self.writeByte(UInt8(ascii: "'"))
                } else if Self.breaksQuotedString(scalar) {
                    self.writeByte(UInt8(ascii: " "))
                } else {
                    for unit in UTF8.encode(scalar) ?? .init() { self.writeByte(unit) }
                }
            }
        }
    }

    /// C0 and C1 controls are forbidden in a playlist, too. Spec: RFC 8216 §4.1.
    private static func breaksQuotedString(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || scalar == "\"" || (0x7F...0x9F).contains(scalar.value)
    }

    /// `0x` and two digits for each byte.
    mutating func writeHexadecimal(_ bytes: [UInt8]) {
        self.writeLiteral("0x")
        for byte in bytes {
            self.writeByte(Hexadecimal.upper(byte >> 4))
            self.writeByte(Hexadecimal.upper(byte & 15))
        }
    }
}
