import NIOCore

/// Reads fields of a packet; errors carry the offset from the packet's start.
struct RTPBytes {
    private(set) var rest: ByteBuffer
    private let start: Int

    /// `offset` is where `bytes` begins in what errors are about.
    init(_ bytes: ByteBuffer, offset: Int = 0) {
        self.rest = bytes
        self.start = bytes.readerIndex - offset
    }

    var offset: Int { self.rest.readerIndex - self.start }
    var bytesLeft: Int { self.rest.readableBytes }

    mutating func integer<Value: FixedWidthInteger>(as type: Value.Type) throws(RTPError) -> Value {
        guard let value = self.rest.readInteger(as: type) else {
            throw .truncated(offset: self.offset, needed: MemoryLayout<Value>.size, available: self.bytesLeft)
        }
        return value
    }

    mutating func uint24() throws(RTPError) -> UInt32 {
        guard let value = self.rest.readUInt24() else {
            throw .truncated(offset: self.offset, needed: 3, available: self.bytesLeft)
        }
        return value
    }

    mutating func slice(length: Int) throws(RTPError) -> ByteBuffer {
        guard length >= 0, let slice = self.rest.readSlice(length: length) else {
            throw .truncated(offset: self.offset, needed: length, available: self.bytesLeft)
        }
        return slice
    }

    /// AV1's `leb128()`: at most 8 bytes and 32 bits. Spec: AV1 §4.10.5.
    mutating func leb128() throws(RTPError) -> Int {
        let begin = self.offset
        var value: UInt64 = 0
        for index in 0..<8 {
            let byte = UInt64(try self.integer(as: UInt8.self))
            value |= (byte & 0x7F) << UInt64(index * 7)
            if byte & 0x80 == 0 {
                guard value <= UInt64(UInt32.max) else {
                    throw .invalidValue(UInt32(truncatingIfNeeded: value), offset: begin)
                }
                return Int(value)
            }
        }
        throw .invalidValue(UInt32(truncatingIfNeeded: value), offset: begin)
    }
}
