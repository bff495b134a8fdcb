package import NIOCore

/// Text in the encodings of GB/T 28181: GB2312, GBK and UTF-8.
package enum GBKText {
    /// Decodes GBK. What is no character becomes U+FFFD, and reading goes on behind it.
    package static func decode(_ bytes: ByteBuffer) -> String {
        var scalars = String.UnicodeScalarView()
        let table = GBKTable.units
        var rest = bytes.readableBytesView[...]
        while let lead = rest.popFirst() {
            guard lead >= 0x80 else {
                scalars.append(Unicode.Scalar(lead))
                continue
            }
            guard lead >= GBKTable.firstLead, lead != 0xFF, let trail = rest.first,
                trail >= GBKTable.firstTrail, trail != 0x7F, trail != 0xFF
            else {
                scalars.append("\u{FFFD}")
                continue
            }
            rest.removeFirst()
            let column = Int(trail - GBKTable.firstTrail) - (trail > 0x7F ? 1 : 0)
            let unit = table[Int(lead - GBKTable.firstLead) * GBKTable.rowLength + column]
            scalars.append(Unicode.Scalar(unit) ?? "\u{FFFD}")
        }
        return String(scalars)
    }

    /// Decodes what says that it is GB2312, GBK or GB18030, or is no UTF-8. Many devices say GB2312 and write UTF-8:
    /// text that is UTF-8 of Chinese characters throughout is taken for that.
    package static func decode(_ bytes: ByteBuffer, declaredGB: Bool) -> String {
        guard let text = String(validating: bytes.readableBytesView, as: UTF8.self) else { return self.decode(bytes) }
        guard declaredGB else { return text }
        var hasThreeBytes = false
        for byte in bytes.readableBytesView where byte >= 0xC0 {
            if byte >= 0xE2, byte < 0xF0 { hasThreeBytes = true } else { return self.decode(bytes) }
        }
        return hasThreeBytes ? text : self.decode(bytes)
    }
}
