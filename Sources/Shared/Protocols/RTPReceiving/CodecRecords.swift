import Media
import NIOCore
import RTP

/// Makes tracks of codecs whose configuration travels inside their key frames.
enum CodecRecords {
    /// The track of a VP8 key frame; `nil` when its header cannot be read. Spec: RFC 6386 §9.1.
    static func vp8(_ unit: RTPAccessUnit) -> Track? {
        guard let format = try? VP8KeyframeHeader.videoFormat(of: unit.payload),
            let tag = unit.payload.getInteger(at: unit.payload.readerIndex, as: UInt8.self)
        else { return nil }
        let record = self.vpcC(profile: tag >> 1 & 3, level: 0, depth: 8, chroma: 0, isFullRange: false)
        return Track(codec: .vp8, configuration: record, format: .video(format))
    }

    /// The track of a VP9 key frame; `nil` when its header cannot be read. With spatial layers the frame begins with
    /// the lowest, while the size is that of the highest.
    static func vp9(_ unit: RTPAccessUnit) -> Track? {
        guard let header = try? VP9KeyframeFields(parsing: unit.payload) else { return nil }
        let size = unit.pictureSize ?? RTPPictureSize(width: header.width, height: header.height)
        let record = self.vpcC(
            profile: header.profile, level: self.vp9Level(samples: size.width * size.height), depth: header.bitDepth,
            chroma: header.chroma, isFullRange: header.isFullRange)
        guard let parsed = try? VPCodecConfiguration(parsing: record) else { return nil }
        var format = parsed.videoFormat
        (format.width, format.height) = (size.width, size.height)
        return Track(codec: .vp9, configuration: record, format: .video(format))
    }

    /// The track of an AV1 sequence header, an OBU with its size field; `nil` when it cannot be read.
    /// Spec: AV1 in ISOBMFF §2.3.3.
    static func av1(sequenceHeader: ByteBuffer) -> Track? {
        guard let payload = self.payload(of: sequenceHeader), let fields = try? AV1SequenceFields(payload: payload)
        else { return nil }
        var record = ByteBuffer()
        record.writeMultipleIntegers(UInt8(0x81), fields.profile << 5 | fields.level, fields.flags, UInt8(0))
        record.writeImmutableBuffer(sequenceHeader)
        return try? Track(codec: .av1, parsingConfiguration: record)
    }

    /// An OBU without header and size. Spec: AV1 §5.3.
    private static func payload(of unit: ByteBuffer) -> ByteBuffer? {
        var rest = unit
        guard let header = rest.readInteger(as: UInt8.self) else { return nil }
        if header & 0x04 != 0, rest.readInteger(as: UInt8.self) == nil { return nil }
        guard header & 0x02 != 0 else { return rest }
        var length = 0
        for index in 0..<5 {
            guard let byte = rest.readInteger(as: UInt8.self) else { return nil }
            length |= Int(byte & 0x7F) << (7 * index)
            if byte & 0x80 == 0 { return rest.readSlice(length: length) }
        }
        return nil
    }

    /// Spec: VP Codec ISO Media File Format Binding, version 1. Colours are left unspecified.
    private static func vpcC(
        profile: UInt8, level: UInt8, depth: UInt8, chroma: UInt8, isFullRange: Bool
    ) -> ByteBuffer {
        var record = ByteBuffer()
        record.writeMultipleIntegers(
            profile, level, depth << 4 | chroma << 1 | (isFullRange ? 1 : 0), UInt8(2), UInt8(2), UInt8(2), UInt16(0))
        return record
    }

    /// The lowest level with pictures of so many samples. Spec: VP9 levels and decoder testing, annex A.
    private static func vp9Level(samples: Int) -> UInt8 {
        let levels: [(samples: Int, level: UInt8)] = [
            (36_864, 10), (73_728, 11), (122_880, 20), (245_760, 21), (552_960, 30), (983_040, 31), (2_228_224, 40),
            (8_912_896, 50), (35_651_584, 60),
        ]
        return levels.first { samples <= $0.samples }?.level ?? 62
    }
}

/// What the uncompressed header of a VP9 key frame tells. Spec: VP9 bitstream §6.2, §6.2.2, §6.2.3.
struct VP9KeyframeFields: Equatable {
    var profile: UInt8
    var bitDepth: UInt8 = 8
    /// As in the `vpcC` record: 1 4:2:0, 2 4:2:2, 3 4:4:4.
    var chroma: UInt8 = 1
    var isFullRange = false
    var width = 0
    var height = 0

    /// Errors: `badSignature` without marker or sync code, `invalidValue` for a frame that is no key frame,
    /// `truncated`.
    init(parsing frame: ByteBuffer) throws(CodecHeaderError) {
        var reader = BitReader(frame.getSlice(at: frame.readerIndex, length: min(32, frame.readableBytes)) ?? frame)
        guard try reader.bits(2) == 2 else { throw .badSignature(offset: 0) }
        let low = try reader.bits(1)
        self.profile = UInt8(try reader.bits(1) << 1 | low)
        if self.profile == 3 { try reader.skip(1) }
        // `show_existing_frame` and `frame_type`: both 0 in a key frame.
        guard try reader.bits(2) == 0 else { throw .invalidValue(1, offset: 0) }
        try reader.skip(2)
        guard try reader.bits(24) == 0x49_8342 else { throw .badSignature(offset: 1) }
        if self.profile >= 2 { self.bitDepth = try reader.flag() ? 12 : 10 }
        let isRGB = try reader.bits(3) == 7
        if isRGB {
            self.isFullRange = true
            self.chroma = 3
            if self.profile & 1 != 0 { try reader.skip(1) }
        } else {
            self.isFullRange = try reader.flag()
            if self.profile & 1 != 0 {
                let (horizontal, vertical) = (try reader.flag(), try reader.flag())
                self.chroma = horizontal ? (vertical ? 1 : 2) : 3
                try reader.skip(1)
            }
        }
        self.width = try reader.int(16) + 1
        self.height = try reader.int(16) + 1
    }
}

/// What an `av1C` record repeats of a sequence header. Spec: AV1 §5.5.1 and §5.5.2.
struct AV1SequenceFields: Equatable {
    var profile: UInt8
    /// `seq_level_idx_0`.
    var level: UInt8 = 0
    /// The third byte of the record: tier, depth, monochrome, subsampling, sample position.
    var flags: UInt8 = 0

    private var isHighTier = false

    /// Parses the OBU's payload. Errors: `truncated`, `invalidValue`.
    init(payload: ByteBuffer) throws(CodecHeaderError) {
        var reader = BitReader(payload)
        self.profile = UInt8(try reader.bits(3))
        guard self.profile <= 2 else { throw .invalidValue(UInt32(self.profile), offset: 0) }
        try reader.skip(1)
        let isReduced = try reader.flag()
        if isReduced {
            self.level = UInt8(try reader.bits(5))
        } else {
            try self.readOperatingPoints(&reader)
        }
        let (widthBits, heightBits) = (try reader.int(4) + 1, try reader.int(4) + 1)
        try reader.skip(widthBits + heightBits)
        if !isReduced, try reader.flag() { try reader.skip(7) }
        try reader.skip(3)
        if !isReduced { try Self.skipTools(&reader) }
        try reader.skip(3)
        try self.readColour(&reader)
    }

    private mutating func readOperatingPoints(_ reader: inout BitReader) throws(CodecHeaderError) {
        var delayBits: Int?
        if try reader.flag() {
            try reader.skip(64)
            if try reader.flag() { _ = try reader.variableLengthCode() }
            if try reader.flag() {
                delayBits = try reader.int(5) + 1
                try reader.skip(42)
            }
        }
        let statesDelay = try reader.flag()
        for point in 0...(try reader.int(5)) {
            try reader.skip(12)
            let level = UInt8(try reader.bits(5))
            let isHighTier = level > 7 ? try reader.flag() : false
            if point == 0 { (self.level, self.isHighTier) = (level, isHighTier) }
            if let delayBits, try reader.flag() { try reader.skip(2 * delayBits + 1) }
            if statesDelay, try reader.flag() { try reader.skip(4) }
        }
    }

    private static func skipTools(_ reader: inout BitReader) throws(CodecHeaderError) {
        try reader.skip(4)
        let hasOrderHint = try reader.flag()
        if hasOrderHint { try reader.skip(2) }
        // 2 lets each frame choose its screen content tools, which also makes integer vectors a choice.
        let screenTools: UInt32 = try reader.flag() ? 2 : try reader.bits(1)
        if screenTools > 0, !(try reader.flag()) { try reader.skip(1) }
        if hasOrderHint { try reader.skip(3) }
    }

    private mutating func readColour(_ reader: inout BitReader) throws(CodecHeaderError) {
        let isHighDepth = try reader.flag()
        let isTwelve = self.profile == 2 && isHighDepth ? try reader.flag() : false
        let isMonochrome = self.profile == 1 ? false : try reader.flag()
        var description: (UInt32, UInt32, UInt32) = (2, 2, 2)
        if try reader.flag() { description = (try reader.bits(8), try reader.bits(8), try reader.bits(8)) }
        var (horizontal, vertical, position) = (true, true, UInt8(0))
        if isMonochrome {
            try reader.skip(1)
        } else if description == (1, 13, 0) {
            (horizontal, vertical) = (false, false)
        } else {
            try reader.skip(1)
            switch self.profile {
            case 0: break
            case 1: (horizontal, vertical) = (false, false)
            default:
                if isTwelve {
                    horizontal = try reader.flag()
                    vertical = horizontal ? try reader.flag() : false
                } else {
                    vertical = false
                }
            }
            if horizontal, vertical { position = UInt8(try reader.bits(2)) }
        }
        let bits: [(Bool, UInt8)] = [
            (self.isHighTier, 0x80), (isHighDepth, 0x40), (isTwelve, 0x20), (isMonochrome, 0x10), (horizontal, 0x08),
            (vertical, 0x04),
        ]
        self.flags = bits.reduce(position) { $0 | ($1.0 ? $1.1 : 0) }
    }
}
