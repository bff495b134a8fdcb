package import NIOCore

/// The out-of-band header of VP8 and VP9, the `vpcC` record. Spec: VP Codec ISO Media File Format Binding, version 1.
package struct VPCodecConfiguration: Sendable, Hashable {
    package var profile: Int
    /// 10 times the level's number; 0 when it is not known.
    package var level: Int
    package var bitDepth: Int
    /// 0 and 1 4:2:0, 2 4:2:2, 3 4:4:4.
    package var chromaSubsampling: Int
    package var isFullRange: Bool
    /// The bytes of the record, without the version and flags of a box.
    package var record: ByteBuffer

    /// Parses a record, with or without the four bytes of version and flags that the box has in front: FLV writers
    /// differ.
    package init(parsing record: ByteBuffer) throws(CodecHeaderError) {
        var reader = RecordReader(record)
        // A record proper is 8 bytes long and ends with a size of 0; one with version and flags is 12.
        if reader.bytesLeft >= 12, record.getInteger(at: record.readerIndex, as: UInt32.self) == 0x0100_0000 {
            _ = try reader.integer(as: UInt32.self)
        }
        var body = reader
        self.profile = Int(try reader.integer(as: UInt8.self))
        guard self.profile <= 3 else { throw .invalidValue(UInt32(self.profile), offset: reader.offset - 1) }
        self.level = Int(try reader.integer(as: UInt8.self))
        let depth = try reader.integer(as: UInt8.self)
        self.bitDepth = Int(depth >> 4)
        self.chromaSubsampling = Int(depth >> 1 & 7)
        self.isFullRange = depth & 1 != 0
        _ = try reader.slice(length: 3)
        _ = try reader.slice(length: Int(reader.integer(as: UInt16.self)))
        self.record = try body.slice(length: body.bytesLeft - reader.bytesLeft)
    }

    /// Profile and level. The record does not tell the size.
    package var videoFormat: VideoFormat {
        var format = VideoFormat(profile: "Profile \(self.profile)")
        if self.level >= 10 {
            format.level = self.level % 10 == 0 ? "\(self.level / 10)" : "\(self.level / 10).\(self.level % 10)"
        }
        return format
    }
}

/// The header of a VP8 key frame, from which a stream without a configuration record gets its size.
/// Spec: RFC 6386 §9.1.
package enum VP8KeyframeHeader {
    /// Errors: `invalidValue` when the frame is not a key frame, `badSignature` without the start code, `truncated`.
    package static func videoFormat(of frame: ByteBuffer) throws(CodecHeaderError) -> VideoFormat {
        var reader = RecordReader(frame)
        let tag = try reader.integer(as: UInt8.self)
        guard tag & 1 == 0 else { throw .invalidValue(UInt32(tag), offset: 0) }
        _ = try reader.integer(as: UInt16.self)
        let high = try reader.integer(as: UInt8.self)
        let low = try reader.integer(as: UInt16.self)
        guard high == 0x9D, low == 0x012A else { throw .badSignature(offset: 3) }
        let width = Int(try reader.integer(as: UInt16.self).byteSwapped & 0x3FFF)
        let height = Int(try reader.integer(as: UInt16.self).byteSwapped & 0x3FFF)
        return VideoFormat(width: width, height: height, profile: "Profile \(tag >> 1 & 7)")
    }
}
