import Media
import NIOCore

/// The MPEG-4 descriptors in `esds`. Spec: ISO/IEC 14496-1 §7.2.6, ISO/IEC 14496-14 §3.1.2.
enum Descriptors {
    /// Object type indications.
    static let mpeg4Audio: UInt8 = 0x40
    static let mpeg2AACMain: UInt8 = 0x66
    static let mpeg2AACScalable: UInt8 = 0x68
    static let mpeg2Part3: UInt8 = 0x69
    static let mpeg1Part3: UInt8 = 0x6B

    private enum Tag {
        static let elementaryStream: UInt8 = 3
        static let decoderConfig: UInt8 = 4
        static let decoderSpecificInfo: UInt8 = 5
        static let syncLayerConfig: UInt8 = 6
    }

    /// The payload of an `esds` box, version and flags included.
    static func elementaryStream(objectType: UInt8, specificInfo: ByteBuffer?) -> ByteBuffer {
        var config = ByteBuffer()
        // An audio stream that goes downstream; buffer size and bit rates are not known.
        config.writeMultipleIntegers(objectType, UInt8(0x15), UInt8(0), UInt16(0), UInt32(0), UInt32(0))
        if let specificInfo { self.write(Tag.decoderSpecificInfo, specificInfo, into: &config) }
        var stream = ByteBuffer()
        stream.writeMultipleIntegers(UInt16(0), UInt8(0))
        self.write(Tag.decoderConfig, config, into: &stream)
        self.write(Tag.syncLayerConfig, ByteBuffer(integer: UInt8(2)), into: &stream)
        var buffer = ByteBuffer(integer: UInt32(0))
        self.write(Tag.elementaryStream, stream, into: &buffer)
        return buffer
    }

    private static func write(_ tag: UInt8, _ payload: ByteBuffer, into buffer: inout ByteBuffer) {
        buffer.writeInteger(tag)
        // Always four bytes of length: some readers know no other.
        for shift in [21, 14, 7, 0] {
            let bits = UInt8(truncatingIfNeeded: payload.readableBytes >> shift & 0x7F)
            buffer.writeInteger(shift > 0 ? 0x80 | bits : bits)
        }
        buffer.writeImmutableBuffer(payload)
    }

    /// Reads an `esds` box. The specific info is `nil` where there is none.
    static func read(_ box: Box) throws(ISOBMFFError) -> (objectType: UInt8, specificInfo: ByteBuffer?) {
        var fields = FieldReader(box)
        _ = try fields.versionAndFlags(maximumVersion: 0)
        var stream = try self.descriptor(Tag.elementaryStream, box, &fields)
        _ = try stream.integer(as: UInt16.self)
        let flags = try stream.integer(as: UInt8.self)
        if flags & 0x80 != 0 { try stream.skip(2) }
        if flags & 0x40 != 0 { try stream.skip(Int(stream.integer(as: UInt8.self))) }
        if flags & 0x20 != 0 { try stream.skip(2) }
        var config = try self.descriptor(Tag.decoderConfig, box, &stream)
        let objectType = try config.integer(as: UInt8.self)
        try config.skip(12)
        guard config.bytesLeft > 0 else { return (objectType, nil) }
        let info = try self.descriptor(Tag.decoderSpecificInfo, box, &config)
        return (objectType, info.rest)
    }

    /// The next descriptor, which must be of `tag`.
    private static func descriptor(
        _ tag: UInt8, _ box: Box, _ fields: inout FieldReader
    ) throws(ISOBMFFError) -> FieldReader {
        let offset = fields.offset
        let found = try fields.integer(as: UInt8.self)
        guard found == tag else { throw .invalidValue(box.type, value: Int64(found), offset: offset) }
        var length = 0
        for _ in 0..<4 {
            let byte = try fields.integer(as: UInt8.self)
            length = length << 7 | Int(byte & 0x7F)
            if byte & 0x80 == 0 { break }
        }
        let start = fields.offset
        let payload = try fields.slice(length)
        return FieldReader(Box(type: box.type, offset: box.offset, payloadOffset: start, payload: payload))
    }
}
