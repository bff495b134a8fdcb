package import NIOCore

/// HEVC's out-of-band header, the `hvcC` record. Spec: ISO/IEC 14496-15 §8.3.3.1.
package struct HEVCDecoderConfiguration: Sendable, Hashable {
    /// The NAL units of one type, with their two header bytes.
    package struct ParameterSets: Sendable, Hashable {
        /// 32 VPS, 33 SPS, 34 PPS, 39 and 40 SEI.
        package var unitType: UInt8
        /// The stream itself holds no further units of this type.
        package var isComplete: Bool
        package var units: [ByteBuffer]

        package init(unitType: UInt8, isComplete: Bool, units: [ByteBuffer]) {
            self.unitType = unitType
            self.isComplete = isComplete
            self.units = units
        }
    }

    /// `general_profile_space`, `general_tier_flag` and `general_profile_idc` as in the first byte of the profile.
    package var profileByte: UInt8
    package var profileCompatibility: UInt32
    /// The 48 constraint bits, in the low bits.
    package var constraints: UInt64
    /// `general_level_idc`, 30 times the level's number.
    package var levelIndication: UInt8
    package var chromaFormat: Int
    package var lumaBitDepth: Int
    package var chromaBitDepth: Int
    /// Average frames in 256 seconds; 0 when not stated.
    package var averageFrameRate: Int
    package var temporalLayers: Int
    /// Bytes in front of each NAL unit of the track's frames: 1, 2 or 4.
    package var nalUnitLengthSize: Int
    package var parameterSets: [ParameterSets]

    /// Parses a record. Version 0, which encoders wrote before the format was final, is accepted.
    package init(parsing record: ByteBuffer) throws(CodecHeaderError) {
        var reader = RecordReader(record)
        let version = try reader.integer(as: UInt8.self)
        guard version <= 1 else { throw .unsupportedVersion(version, offset: 0) }
        self.profileByte = try reader.integer(as: UInt8.self)
        self.profileCompatibility = try reader.integer(as: UInt32.self)
        let constraintsHigh = try reader.integer(as: UInt16.self)
        let constraintsLow = try reader.integer(as: UInt32.self)
        self.constraints = UInt64(constraintsHigh) << 32 | UInt64(constraintsLow)
        self.levelIndication = try reader.integer(as: UInt8.self)
        _ = try reader.slice(length: 3)
        self.chromaFormat = Int(try reader.integer(as: UInt8.self) & 3)
        self.lumaBitDepth = Int(try reader.integer(as: UInt8.self) & 7) + 8
        self.chromaBitDepth = Int(try reader.integer(as: UInt8.self) & 7) + 8
        self.averageFrameRate = Int(try reader.integer(as: UInt16.self))
        let layers = try reader.integer(as: UInt8.self)
        self.temporalLayers = Int(layers >> 3 & 7)
        self.nalUnitLengthSize = Int(layers & 3) + 1
        self.parameterSets = []
        for _ in 0..<(try reader.integer(as: UInt8.self)) {
            let type = try reader.integer(as: UInt8.self)
            var units: [ByteBuffer] = []
            for _ in 0..<(try reader.integer(as: UInt16.self)) { units.append(try reader.lengthPrefixedUnit()) }
            self.parameterSets.append(
                ParameterSets(unitType: type & 0x3F, isComplete: type & 0x80 != 0, units: units))
        }
    }

    /// Makes a record with 4-byte lengths from the VPS, SPS and PPS units of a stream.
    ///
    /// Errors: those of parsing the first sequence parameter set; `missingConfiguration` without one; `unitTooLong`
    /// when a unit has more than 65,535 bytes.
    package init(
        videoParameterSets: [ByteBuffer], sequenceParameterSets: [ByteBuffer], pictureParameterSets: [ByteBuffer]
    ) throws(CodecHeaderError) {
        guard let first = sequenceParameterSets.first else { throw .missingConfiguration(.hevc) }
        for unit in videoParameterSets + sequenceParameterSets + pictureParameterSets
        where unit.readableBytes > Int(UInt16.max) {
            throw .unitTooLong(length: unit.readableBytes, lengthSize: 2)
        }
        let parsed = try HEVCSequenceParameterSet(parsing: first)
        self.profileByte = parsed.profileByte
        self.profileCompatibility = parsed.profileCompatibility
        self.constraints = parsed.constraints
        self.levelIndication = parsed.levelIndication
        self.chromaFormat = parsed.chromaFormat
        self.lumaBitDepth = parsed.lumaBitDepth
        self.chromaBitDepth = parsed.chromaBitDepth
        self.averageFrameRate = 0
        self.temporalLayers = parsed.temporalLayers
        self.nalUnitLengthSize = 4
        self.parameterSets = [(32, videoParameterSets), (33, sequenceParameterSets), (34, pictureParameterSets)]
            .filter { !$0.1.isEmpty }
            .map { ParameterSets(unitType: $0.0, isComplete: true, units: $0.1) }
    }

    /// Appends the record. Segmentation and parallelism are written as unknown.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            UInt8(1), self.profileByte, self.profileCompatibility,
            UInt16(truncatingIfNeeded: self.constraints >> 32), UInt32(truncatingIfNeeded: self.constraints),
            self.levelIndication, UInt16(0xF000), UInt8(0xFC))
        buffer.writeMultipleIntegers(
            UInt8(0xFC | self.chromaFormat & 3), UInt8(0xF8 | (self.lumaBitDepth - 8) & 7),
            UInt8(0xF8 | (self.chromaBitDepth - 8) & 7), UInt16(truncatingIfNeeded: self.averageFrameRate),
            UInt8((self.temporalLayers & 7) << 3 | (self.nalUnitLengthSize - 1) & 3),
            UInt8(truncatingIfNeeded: self.parameterSets.count))
        for sets in self.parameterSets {
            buffer.writeInteger(sets.unitType & 0x3F | (sets.isComplete ? 0x80 : 0))
            buffer.writeInteger(UInt16(truncatingIfNeeded: sets.units.count))
            for unit in sets.units { buffer.writeLengthPrefixedUnit(unit) }
        }
    }

    /// The units of `unitType`, in order.
    package func units(ofType unitType: UInt8) -> [ByteBuffer] {
        self.parameterSets.filter { $0.unitType == unitType }.flatMap(\.units)
    }

    /// Profile and level of the record, with size and frame rate where the first sequence parameter set tells them.
    package var videoFormat: VideoFormat {
        var format = VideoFormat(
            profile: HEVCProfile.name(of: self.profileByte), level: HEVCProfile.levelName(of: self.levelIndication))
        if self.averageFrameRate > 0 { format.frameRate = Double(self.averageFrameRate) / 256 }
        if let unit = self.units(ofType: 33).first, let parsed = try? HEVCSequenceParameterSet(parsing: unit) {
            format.width = parsed.width
            format.height = parsed.height
            format.frameRate = parsed.frameRate ?? format.frameRate
        }
        return format
    }
}

/// The names that HEVC gives its profiles and levels. Spec: HEVC annex A, G, H, I.
package enum HEVCProfile {
    /// `nil` for a number the standard does not name. The format range extensions are one name.
    package static func name(of profileByte: UInt8) -> String? {
        switch profileByte & 0x1F {
        case 1: "Main"
        case 2: "Main 10"
        case 3: "Main Still Picture"
        case 4: "Format Range Extensions"
        case 5: "High Throughput"
        case 6: "Multiview Main"
        case 7: "Scalable Main"
        case 8: "3D Main"
        case 9: "Screen-Extended"
        case 10: "Scalable Format Range Extensions"
        case 11: "High Throughput Screen-Extended"
        default: nil
        }
    }

    /// Such as `4` or `4.1`.
    package static func levelName(of level: UInt8) -> String? {
        guard level >= 30 else { return nil }
        let minor = level % 30 / 3
        return minor == 0 ? "\(level / 30)" : "\(level / 30).\(minor)"
    }
}
