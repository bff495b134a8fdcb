import NIOCore

/// Reads whole bytes of a configuration record; errors carry the offset from its start.
struct RecordReader {
    private var buffer: ByteBuffer
    private let start: Int

    init(_ buffer: ByteBuffer) {
        self.buffer = buffer
        self.start = buffer.readerIndex
    }

    var offset: Int { self.buffer.readerIndex - self.start }
    var bytesLeft: Int { self.buffer.readableBytes }

    mutating func integer<Value: FixedWidthInteger>(as type: Value.Type) throws(CodecHeaderError) -> Value {
        guard let value = self.buffer.readInteger(as: type) else {
            throw .truncated(
                offset: self.offset, neededBits: Value.bitWidth, availableBits: self.buffer.readableBytes * 8)
        }
        return value
    }

    mutating func slice(length: Int) throws(CodecHeaderError) -> ByteBuffer {
        guard let slice = self.buffer.readSlice(length: length) else {
            throw .truncated(
                offset: self.offset, neededBits: length * 8, availableBits: self.buffer.readableBytes * 8)
        }
        return slice
    }

    /// A NAL unit with a 16-bit length in front.
    mutating func lengthPrefixedUnit() throws(CodecHeaderError) -> ByteBuffer {
        try self.slice(length: Int(self.integer(as: UInt16.self)))
    }
}

extension ByteBuffer {
    /// Writes `unit` behind its length in 16 bits; the caller has checked that it fits.
    mutating func writeLengthPrefixedUnit(_ unit: ByteBuffer) {
        self.writeInteger(UInt16(truncatingIfNeeded: unit.readableBytes))
        self.writeImmutableBuffer(unit)
    }
}
