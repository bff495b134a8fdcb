package import NIOCore

/// One box: its type, where it stands and what is in it.
package struct Box: Sendable, Hashable {
    package var type: BoxType
    /// Where the box's header starts.
    package var offset: Int64
    /// Where the payload starts.
    package var payloadOffset: Int64
    /// What follows the header: fields, and boxes.
    package var payload: ByteBuffer

    /// The boxes in the payload, `skipping` bytes of fields in front of them.
    package func children(skipping length: Int = 0) throws(ISOBMFFError) -> BoxReader {
        var rest = self.payload
        guard length <= rest.readableBytes else {
            throw .truncated(self.type, offset: self.payloadOffset, needed: length, available: rest.readableBytes)
        }
        rest.moveReaderIndex(forwardBy: length)
        return BoxReader(rest, offset: self.payloadOffset + Int64(length))
    }

    /// The first box of `type` in the payload, `nil` if there is none.
    func child(_ type: BoxType, skipping length: Int = 0) throws(ISOBMFFError) -> Box? {
        var reader = try self.children(skipping: length)
        while let box = try reader.next() {
            if box.type == type { return box }
        }
        return nil
    }

    func requiredChild(_ type: BoxType) throws(ISOBMFFError) -> Box {
        guard let box = try self.child(type) else { throw .missingBox(type, parent: self.type) }
        return box
    }
}

/// The header of a box. Spec: ISO/IEC 14496-12 §4.2.2.
struct BoxHeader: Equatable {
    var type: BoxType
    /// Bytes of the header: 8, or 16 with a 64-bit size.
    var length: Int
    /// Bytes of the whole box; `nil`: it reaches to the end of the file.
    var size: Int64?

    /// The most bytes that a header has.
    static let maximumLength = 16

    /// Reads a header at the start of `bytes`; `nil` if it is cut off. `offset` is for errors.
    init?(_ bytes: ByteBuffer, offset: Int64) throws(ISOBMFFError) {
        var bytes = bytes
        guard let (short, type) = bytes.readMultipleIntegers(as: (UInt32, UInt32).self) else { return nil }
        self.type = BoxType(rawValue: type)
        self.length = 8
        switch short {
        case 0:
            self.size = nil
        case 1:
            guard let long = bytes.readInteger(as: UInt64.self) else { return nil }
            // A quarter of the range is more than any file has, and keeps the sums with offsets in 64 bits.
            guard long >= 16, long <= UInt64(Int64.max / 4) else {
                throw .invalidBoxSize(self.type, size: long, offset: offset)
            }
            self.length = 16
            self.size = Int64(long)
        case 2..<8:
            throw .invalidBoxSize(self.type, size: UInt64(short), offset: offset)
        default:
            self.size = Int64(short)
        }
    }
}

/// Cuts bytes into boxes, one level of nesting at a time. Total; copies nothing.
///
/// Nesting is only followed where a box is known to hold boxes, which bounds its depth.
package struct BoxReader: Sendable {
    private var rest: ByteBuffer
    private var offset: Int64

    /// `offset` is where the first of `bytes` stands, for errors and for the offsets of boxes.
    package init(_ bytes: ByteBuffer, offset: Int64 = 0) {
        self.rest = bytes
        self.offset = offset
    }

    /// The next box; `nil` at the end. Errors: `truncated` for a cut header, `invalidBoxSize` for a box that exceeds
    /// what contains it.
    package mutating func next() throws(ISOBMFFError) -> Box? {
        let available = self.rest.readableBytes
        guard available > 0 else { return nil }
        guard let header = try BoxHeader(self.rest, offset: self.offset) else {
            throw .truncated("box ", offset: self.offset, needed: 8, available: available)
        }
        let size = header.size ?? Int64(available)
        guard size >= header.length, size <= available else {
            throw .invalidBoxSize(header.type, size: UInt64(size), offset: self.offset)
        }
        var bytes = self.rest.readSlice(length: Int(size)) ?? ByteBuffer()
        bytes.moveReaderIndex(forwardBy: header.length)
        let box = Box(
            type: header.type, offset: self.offset, payloadOffset: self.offset + Int64(header.length), payload: bytes)
        self.offset += size
        return box
    }
}

/// Reads the fields of a box, big endian; errors carry the box and the offset.
struct FieldReader {
    private(set) var rest: ByteBuffer
    private let type: BoxType
    private let payloadOffset: Int64
    private let start: Int

    init(_ box: Box) {
        self.rest = box.payload
        self.type = box.type
        self.payloadOffset = box.payloadOffset
        self.start = box.payload.readerIndex
    }

    var offset: Int64 { self.payloadOffset + Int64(self.rest.readerIndex - self.start) }
    var bytesLeft: Int { self.rest.readableBytes }

    mutating func integer<Value: FixedWidthInteger>(
        as type: Value.Type = Value.self
    ) throws(ISOBMFFError) -> Value {
        guard let value = self.rest.readInteger(as: type) else { throw self.truncated(Value.bitWidth / 8) }
        return value
    }

    mutating func skip(_ count: Int) throws(ISOBMFFError) {
        guard self.rest.readableBytes >= count else { throw self.truncated(count) }
        self.rest.moveReaderIndex(forwardBy: count)
    }

    mutating func slice(_ count: Int) throws(ISOBMFFError) -> ByteBuffer {
        guard let slice = self.rest.readSlice(length: count) else { throw self.truncated(count) }
        return slice
    }

    /// The first field of a full box (§4.2.3). Errors: `unsupportedVersion` above `maximumVersion`.
    mutating func versionAndFlags(maximumVersion: UInt8 = 1) throws(ISOBMFFError) -> (version: UInt8, flags: UInt32) {
        let offset = self.offset
        let field = try self.integer(as: UInt32.self)
        let version = UInt8(truncatingIfNeeded: field >> 24)
        guard version <= maximumVersion else {
            throw .unsupportedVersion(self.type, version: version, offset: offset)
        }
        return (version, field & 0xFF_FFFF)
    }

    /// Times, durations and offsets of 64 bits are less than this, so that sums and differences of a few never overflow.
    static let timeLimit: Int64 = 1 << 56

    /// A time or duration: 64 bits in version 1, 32 bits before.
    mutating func time(version: UInt8) throws(ISOBMFFError) -> Int64 {
        guard version > 0 else { return Int64(try self.integer(as: UInt32.self)) }
        let offset = self.offset
        let value = try self.integer(as: UInt64.self)
        guard value < Self.timeLimit else {
            throw .invalidValue(self.type, value: Int64(truncatingIfNeeded: value), offset: offset)
        }
        return Int64(value)
    }

    /// A table of `count` entries of `width` bytes each, which follows.
    mutating func table(width: Int) throws(ISOBMFFError) -> ByteBuffer {
        let count = try self.integer(as: UInt32.self)
        return try self.slice(Int(count) * width)
    }

    private func truncated(_ needed: Int) -> ISOBMFFError {
        .truncated(self.type, offset: self.offset, needed: needed, available: self.rest.readableBytes)
    }
}
