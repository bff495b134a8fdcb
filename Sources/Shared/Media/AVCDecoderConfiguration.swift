package import NIOCore

/// H.264's out-of-band header, the `avcC` record. Spec: ISO/IEC 14496-15 §5.3.3.1.
package struct AVCDecoderConfiguration: Sendable, Hashable {
    package var profileIndication: UInt8
    /// The `constraint_set` flags of the sequence parameter set, flag 0 in the highest bit.
    package var profileCompatibility: UInt8
    package var levelIndication: UInt8
    /// Bytes in front of each NAL unit of the track's frames: 1, 2 or 4.
    package var nalUnitLengthSize: Int
    /// NAL units with their header byte, without start codes.
    package var sequenceParameterSets: [ByteBuffer]
    package var pictureParameterSets: [ByteBuffer]

    /// Parses a record. What follows the picture parameter sets (chroma format and bit depths of the High profiles) is
    /// not read: the sequence parameter set says the same. A record without parameter sets is accepted, because some
    /// encoders send them in the stream.
    package init(parsing record: ByteBuffer) throws(CodecHeaderError) {
        var reader = RecordReader(record)
        let version = try reader.integer(as: UInt8.self)
        guard version == 1 else { throw .unsupportedVersion(version, offset: 0) }
        self.profileIndication = try reader.integer(as: UInt8.self)
        self.profileCompatibility = try reader.integer(as: UInt8.self)
        self.levelIndication = try reader.integer(as: UInt8.self)
        self.nalUnitLengthSize = Int(try reader.integer(as: UInt8.self) & 3) + 1
        self.sequenceParameterSets = []
        for _ in 0..<(try reader.integer(as: UInt8.self) & 0x1F) {
            self.sequenceParameterSets.append(try reader.lengthPrefixedUnit())
        }
        self.pictureParameterSets = []
        for _ in 0..<(try reader.integer(as: UInt8.self)) {
            self.pictureParameterSets.append(try reader.lengthPrefixedUnit())
        }
    }

    /// Makes a record with 4-byte lengths from parameter sets that came in the stream.
    ///
    /// Errors: `missingConfiguration` without a sequence parameter set, `truncated` when it is under 4 bytes,
    /// `unitTooLong` when a set has more than 65,535 bytes.
    package init(sequenceParameterSets: [ByteBuffer], pictureParameterSets: [ByteBuffer]) throws(CodecHeaderError) {
        guard let first = sequenceParameterSets.first else { throw .missingConfiguration(.h264) }
        guard let header = first.getMultipleIntegers(at: first.readerIndex, as: (UInt8, UInt8, UInt8, UInt8).self)
        else { throw .truncated(offset: 0, neededBits: 32, availableBits: first.readableBytes * 8) }
        for set in sequenceParameterSets + pictureParameterSets where set.readableBytes > Int(UInt16.max) {
            throw .unitTooLong(length: set.readableBytes, lengthSize: 2)
        }
        self.profileIndication = header.1
        self.profileCompatibility = header.2
        self.levelIndication = header.3
        self.nalUnitLengthSize = 4
        self.sequenceParameterSets = Array(sequenceParameterSets.prefix(31))
        self.pictureParameterSets = Array(pictureParameterSets.prefix(255))
    }

    /// Appends the record. For the High profiles it ends with chroma format and bit depths when the first sequence
    /// parameter set can be parsed.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            UInt8(1), self.profileIndication, self.profileCompatibility, self.levelIndication,
            UInt8(0xFC | (self.nalUnitLengthSize - 1) & 3), UInt8(0xE0 | self.sequenceParameterSets.count & 0x1F))
        for set in self.sequenceParameterSets { buffer.writeLengthPrefixedUnit(set) }
        buffer.writeInteger(UInt8(truncatingIfNeeded: self.pictureParameterSets.count))
        for set in self.pictureParameterSets { buffer.writeLengthPrefixedUnit(set) }
        guard [100, 110, 122, 144].contains(self.profileIndication), let set = self.sequenceParameterSets.first,
            let parsed = try? AVCSequenceParameterSet(parsing: set)
        else { return }
        buffer.writeMultipleIntegers(
            UInt8(0xFC | parsed.chromaFormat & 3), UInt8(0xF8 | (parsed.lumaBitDepth - 8) & 7),
            UInt8(0xF8 | (parsed.chromaBitDepth - 8) & 7), UInt8(0))
    }

    /// Profile and level of the record, with size and frame rate where the first sequence parameter set tells them.
    package var videoFormat: VideoFormat {
        var format = VideoFormat(
            profile: AVCProfile.name(of: self.profileIndication, constraints: self.profileCompatibility),
            level: AVCProfile.levelName(
                of: self.levelIndication, profile: self.profileIndication, constraints: self.profileCompatibility))
        if let set = self.sequenceParameterSets.first, let parsed = try? AVCSequenceParameterSet(parsing: set) {
            format.width = parsed.width
            format.height = parsed.height
            format.frameRate = parsed.frameRate
        }
        return format
    }
}

/// The names that H.264 gives its profiles and levels. Spec: H.264 annex A, G, H.
package enum AVCProfile {
    /// `nil` for a number the standard does not name.
    package static func name(of profile: UInt8, constraints: UInt8) -> String? {
        let intra = constraints & 0x10 != 0
        switch profile {
        case 66: return constraints & 0x40 != 0 ? "Constrained Baseline" : "Baseline"
        case 77: return "Main"
        case 88: return "Extended"
        case 100:
            guard constraints & 0x08 != 0 else { return "High" }
            return constraints & 0x04 != 0 ? "Constrained High" : "Progressive High"
        case 110: return intra ? "High 10 Intra" : "High 10"
        case 122: return intra ? "High 4:2:2 Intra" : "High 4:2:2"
        case 244: return intra ? "High 4:4:4 Intra" : "High 4:4:4 Predictive"
        case 44: return "CAVLC 4:4:4 Intra"
        case 83: return "Scalable Baseline"
        case 86: return "Scalable High"
        case 118: return "Multiview High"
        case 128: return "Stereo High"
        default: return nil
        }
    }

    /// Such as `4` or `3.1`; level 1b has two spellings in the bit stream (§A.3.4).
    package static func levelName(of level: UInt8, profile: UInt8, constraints: UInt8) -> String? {
        if level == 9 || level == 11 && [66, 77, 88].contains(profile) && constraints & 0x10 != 0 { return "1b" }
        guard level >= 10 else { return nil }
        return level % 10 == 0 ? "\(level / 10)" : "\(level / 10).\(level % 10)"
    }
}
