package import NIOCore

/// AV1's out-of-band header, the `av1C` record. Spec: AV1 Codec ISO Media File Format Binding §2.3.3.
package struct AV1CodecConfiguration: Sendable, Hashable {
    package var profile: Int
    /// `seq_level_idx_0`; 31 means no limit.
    package var levelIndex: Int
    package var isHighTier: Bool
    package var bitDepth: Int
    package var isMonochrome: Bool
    /// OBUs to hand to a decoder before the first frame; at most one sequence header, which comes first.
    package var configurationUnits: ByteBuffer

    /// Parses a record. Errors: `badSignature` without the marker bit, `unsupportedVersion`, `truncated`.
    package init(parsing record: ByteBuffer) throws(CodecHeaderError) {
        var reader = RecordReader(record)
        let marker = try reader.integer(as: UInt8.self)
        guard marker & 0x80 != 0 else { throw .badSignature(offset: 0) }
        guard marker & 0x7F == 1 else { throw .unsupportedVersion(marker & 0x7F, offset: 0) }
        let profileAndLevel = try reader.integer(as: UInt8.self)
        let flags = try reader.integer(as: UInt8.self)
        _ = try reader.integer(as: UInt8.self)
        self.profile = Int(profileAndLevel >> 5)
        self.levelIndex = Int(profileAndLevel & 0x1F)
        self.isHighTier = flags & 0x80 != 0
        self.bitDepth = flags & 0x40 == 0 ? 8 : flags & 0x20 == 0 ? 10 : 12
        self.isMonochrome = flags & 0x10 != 0
        self.configurationUnits = try reader.slice(length: reader.bytesLeft)
    }

    /// Profile and level of the record, with size and frame rate where it holds a sequence header.
    package var videoFormat: VideoFormat {
        var format = VideoFormat(
            profile: AV1Profile.name(of: self.profile), level: AV1Profile.levelName(of: self.levelIndex))
        if let header = try? AV1SequenceHeader(findingIn: self.configurationUnits) {
            format.width = header.width
            format.height = header.height
            format.frameRate = header.frameRate
        }
        return format
    }
}

/// The names that AV1 gives its profiles and levels. Spec: AV1 annex A.
package enum AV1Profile {
    package static func name(of profile: Int) -> String? {
        switch profile {
        case 0: "Main"
        case 1: "High"
        case 2: "Professional"
        default: nil
        }
    }

    /// Such as `4.0`; `max` for the level without limits.
    package static func levelName(of index: Int) -> String? {
        switch index {
        case 0..<24: "\(2 + index / 4).\(index % 4)"
        case 31: "max"
        default: nil
        }
    }
}

/// What an AV1 sequence header says of the picture. Spec: AV1 §5.5.
package struct AV1SequenceHeader: Sendable, Hashable {
    package var profile: Int
    /// `seq_level_idx` of the first operating point.
    package var levelIndex: Int
    /// The largest frame size in pixels.
    package var width: Int
    package var height: Int
    /// Pictures per second; `nil` unless the header says that they are evenly spaced.
    package var frameRate: Double?

    /// Finds the first sequence header among OBUs in the low-overhead format and parses it.
    ///
    /// Errors: `unexpectedUnitType` with type 0 when there is none, `truncated` when an OBU is cut off.
    package init(findingIn units: ByteBuffer) throws(CodecHeaderError) {
        var reader = BitReader(units)
        while reader.bitsLeft > 0 {
            let offset = reader.byteOffset
            let header = try reader.bits(8)
            guard header & 0x80 == 0 else { throw .badSignature(offset: offset) }
            if header & 0x04 != 0 { try reader.skip(8) }
            let length = header & 0x02 != 0 ? Int(try reader.leb128()) : reader.bitsLeft / 8
            guard length <= reader.bitsLeft / 8 else {
                throw .truncated(offset: offset, neededBits: length * 8, availableBits: reader.bitsLeft)
            }
            if header >> 3 & 0x0F == 1 {
                self = try Self(payload: &reader)
                return
            }
            try reader.skip(length * 8)
        }
        throw .unexpectedUnitType(0, offset: 0)
    }

    private init(payload reader: inout BitReader) throws(CodecHeaderError) {
        self.profile = try reader.int(3)
        try reader.skip(1)
        (self.levelIndex, self.width, self.height) = (0, 0, 0)
        if try reader.flag() {
            self.levelIndex = try reader.int(5)
        } else {
            try self.readOperatingPoints(&reader)
        }
        let widthBits = try reader.int(4) + 1
        let heightBits = try reader.int(4) + 1
        self.width = try reader.int(widthBits) + 1
        self.height = try reader.int(heightBits) + 1
    }

    private mutating func readOperatingPoints(_ reader: inout BitReader) throws(CodecHeaderError) {
        var delayBits: Int?
        if try reader.flag() {
            let unitsInTick = try reader.bits(32)
            let timeScale = try reader.bits(32)
            if try reader.flag() {
                let ticks = Double(try reader.variableLengthCode()) + 1
                if unitsInTick > 0, timeScale > 0 {
                    self.frameRate = Double(timeScale) / (Double(unitsInTick) * ticks)
                }
            }
            if try reader.flag() {
                delayBits = try reader.int(5) + 1
                try reader.skip(32 + 5 + 5)
            }
        }
        let statesInitialDelay = try reader.flag()
        for point in 0...(try reader.int(5)) {
            try reader.skip(12)
            let level = try reader.int(5)
            if point == 0 { self.levelIndex = level }
            if level > 7 { try reader.skip(1) }
            if let delayBits, try reader.flag() { try reader.skip(2 * delayBits + 1) }
            if statesInitialDelay, try reader.flag() { try reader.skip(4) }
        }
    }
}
