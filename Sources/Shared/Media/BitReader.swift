package import NIOCore

/// Reads fields of any width from bytes, most significant bit first. Total: reading past the end is an error.
///
/// For codec headers, which are small and rare: it keeps a copy of the bytes.
package struct BitReader: Sendable {
    private let bytes: [UInt8]
    /// Bits read so far.
    package private(set) var bitOffset = 0

    /// Reads `buffer`'s readable bytes as they are.
    package init(_ buffer: ByteBuffer) { self.bytes = Array(buffer.readableBytesView) }

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Reads a NAL unit's bytes with its emulation prevention bytes removed (each `03` after two zero bytes).
    ///
    /// Spec: H.264 §7.3.1 and HEVC §7.3.1.1.
    package init(removingEmulationPreventionFrom nalUnit: ByteBuffer) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(nalUnit.readableBytes)
        var zeros = 0
        for byte in nalUnit.readableBytesView {
            if zeros >= 2, byte == 3 {
                zeros = 0
                continue
            }
            zeros = byte == 0 ? zeros + 1 : 0
            bytes.append(byte)
        }
        self.bytes = bytes
    }

    package var bitsLeft: Int { self.bytes.count * 8 - self.bitOffset }

    /// The byte that holds the next bit; what errors name.
    package var byteOffset: Int { self.bitOffset / 8 }

    /// Reads `count` bits (0 to 32) as an unsigned number.
    package mutating func bits(_ count: Int) throws(CodecHeaderError) -> UInt32 {
        precondition((0...32).contains(count), "a field is 0 to 32 bits wide, got \(count)")
        try self.require(count)
        var value: UInt64 = 0
        var left = count
        while left > 0 {
            let taken = min(8 - self.bitOffset % 8, left)
            let byte = UInt64(self.bytes[self.bitOffset / 8])
            let shifted = byte >> UInt64(8 - self.bitOffset % 8 - taken)
            value = value << UInt64(taken) | shifted & (1 << UInt64(taken) - 1)
            self.bitOffset += taken
            left -= taken
        }
        return UInt32(truncatingIfNeeded: value)
    }

    /// Reads one bit.
    package mutating func flag() throws(CodecHeaderError) -> Bool { try self.bits(1) == 1 }

    /// Reads `count` bits (0 to 32) as an `Int`, for sizes and indexes.
    package mutating func int(_ count: Int) throws(CodecHeaderError) -> Int { Int(try self.bits(count)) }

    /// Passes over `count` bits; a negative count is our own mistake.
    package mutating func skip(_ count: Int) throws(CodecHeaderError) {
        precondition(count >= 0, "cannot skip \(count) bits")
        try self.require(count)
        self.bitOffset += count
    }

    /// Passes over the bits up to the next byte boundary.
    package mutating func alignToByte() { self.bitOffset = (self.bitOffset + 7) / 8 * 8 }

    /// Reads an unsigned Exp-Golomb number that is at most `maximum`. Spec: H.264 §9.1, `ue(v)`.
    package mutating func unsignedExpGolomb(maximum: UInt32 = .max - 1) throws(CodecHeaderError) -> UInt32 {
        let start = self.byteOffset
        let value = try self.expGolombCode()
        guard value <= maximum else { throw .invalidValue(value, offset: start) }
        return value
    }

    /// Reads a signed Exp-Golomb number. Spec: H.264 §9.1.1, `se(v)`.
    package mutating func signedExpGolomb() throws(CodecHeaderError) -> Int32 {
        let code = Int64(try self.expGolombCode())
        return Int32(code % 2 == 0 ? -(code / 2) : code / 2 + 1)
    }

    /// Reads AV1's `uvlc()`, which is an Exp-Golomb number that saturates at 2³² − 1. Spec: AV1 §4.10.3.
    package mutating func variableLengthCode() throws(CodecHeaderError) -> UInt32 {
        var zeros = 0
        while try !self.flag() { zeros += 1 }
        guard zeros < 32 else { return .max }
        return try self.bits(zeros) + (1 << UInt32(zeros) - 1)
    }

    /// Reads AV1's `leb128()`: at most 8 bytes and at most 2³² − 1. Spec: AV1 §4.10.5.
    package mutating func leb128() throws(CodecHeaderError) -> UInt32 {
        let start = self.byteOffset
        var value: UInt64 = 0
        for index in 0..<8 {
            let byte = UInt64(try self.bits(8))
            value |= (byte & 0x7F) << UInt64(index * 7)
            if byte & 0x80 == 0 {
                guard let result = UInt32(exactly: value) else { throw .numberTooLong(offset: start) }
                return result
            }
        }
        throw .numberTooLong(offset: start)
    }

    private mutating func expGolombCode() throws(CodecHeaderError) -> UInt32 {
        let start = self.byteOffset
        var zeros = 0
        while try !self.flag() {
            zeros += 1
            guard zeros < 32 else { throw .numberTooLong(offset: start) }
        }
        return try self.bits(zeros) + (1 << UInt32(zeros) - 1)
    }

    private func require(_ count: Int) throws(CodecHeaderError) {
        guard count <= self.bitsLeft else {
            throw .truncated(offset: self.byteOffset, neededBits: count, availableBits: self.bitsLeft)
        }
    }
}
