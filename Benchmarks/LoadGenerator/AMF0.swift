/// Writes the few AMF0 values that RTMP commands are made of. Spec: AMF 0 §2.
struct AMF0Writer {
    private(set) var bytes: [UInt8] = []

    mutating func number(_ value: Double) {
        self.bytes.append(0)
        for shift in stride(from: 56, through: 0, by: -8) {
            self.bytes.append(UInt8(truncatingIfNeeded: value.bitPattern >> UInt64(shift)))
        }
    }

    mutating func string(_ value: String) {
        self.bytes.append(2)
        self.text(value)
    }

    mutating func null() {
        self.bytes.append(5)
    }

    mutating func beginObject() {
        self.bytes.append(3)
    }

    mutating func property(_ name: String, _ value: String) {
        self.text(name)
        self.string(value)
    }

    mutating func endObject() {
        self.bytes.append(contentsOf: [0, 0, 9])
    }

    private mutating func text(_ value: String) {
        let utf8 = Array(value.utf8.prefix(Int(UInt16.max)))
        self.bytes.append(UInt8(utf8.count >> 8))
        self.bytes.append(UInt8(utf8.count & 0xFF))
        self.bytes.append(contentsOf: utf8)
    }
}

/// Reads numbers and strings from the front of an AMF0 command. A value of another kind, or a cut one, reads as `nil`.
struct AMF0Reader {
    private var bytes: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) {
        self.bytes = bytes[...]
    }

    mutating func number() -> Double? {
        guard self.bytes.first == 0, self.bytes.count >= 9 else { return nil }
        let pattern = self.bytes.dropFirst().prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        self.bytes = self.bytes.dropFirst(9)
        return Double(bitPattern: pattern)
    }

    mutating func string() -> String? {
        guard self.bytes.first == 2, self.bytes.count >= 3 else { return nil }
        let start = self.bytes.startIndex
        let count = Int(self.bytes[start + 1]) << 8 | Int(self.bytes[start + 2])
        guard self.bytes.count >= 3 + count else { return nil }
        let text = String(decoding: self.bytes.dropFirst(3).prefix(count), as: UTF8.self)
        self.bytes = self.bytes.dropFirst(3 + count)
        return text
    }

    mutating func skipNull() {
        if self.bytes.first == 5 { self.bytes = self.bytes.dropFirst() }
    }
}
