import Media
import NIOCore
import TestSupport
import Testing

@Suite struct VideoHeaderTests {
    @Test("an avcC record tells profile, level, cropped size and frame rate")
    func avc() throws {
        let record = try AVCDecoderConfiguration(parsing: Records.avcHigh)
        #expect(record.profileIndication == 100)
        #expect(record.nalUnitLengthSize == 4)
        #expect(record.sequenceParameterSets.map(\.readableBytes) == [26])
        #expect(record.pictureParameterSets == [bytes("68ebe3cb22c0")])
        #expect(
            record.videoFormat
                == VideoFormat(width: 322, height: 182, profile: "High", level: "1.3", frameRate: 25))
    }

    @Test("an interlaced picture has twice the height of its fields")
    func avcInterlaced() throws {
        let format = try AVCDecoderConfiguration(parsing: Records.avcInterlaced).videoFormat
        #expect(
            format
                == VideoFormat(
                    width: 1920, height: 1080, profile: "High 4:2:2", level: "4", frameRate: 30_000.0 / 1001))
    }

    @Test("a baseline picture keeps the constraint in its profile's name")
    func avcBaseline() throws {
        let format = try AVCDecoderConfiguration(parsing: Records.avcBaseline).videoFormat
        #expect(
            format
                == VideoFormat(
                    width: 1920, height: 1080, profile: "Constrained Baseline", level: "4.2", frameRate: 60))
    }

    @Test(
        "an avcC record is written as it was read",
        arguments: [Records.avcHigh, Records.avcInterlaced, Records.avcBaseline])
    func avcRoundTrip(original: ByteBuffer) throws {
        let record = try AVCDecoderConfiguration(parsing: original)
        var written = ByteBuffer()
        record.write(into: &written)
        #expect(written == original)
        let rebuilt = try AVCDecoderConfiguration(
            sequenceParameterSets: record.sequenceParameterSets, pictureParameterSets: record.pictureParameterSets)
        #expect(rebuilt == record)
    }

    @Test("an avcC record that ends inside its parameter sets is truncated at that offset")
    func avcTruncated() {
        let needed = Records.avcHigh.readableBytes - 4
        for prefix in prefixes(of: Records.avcHigh) where prefix.readableBytes < needed {
            #expect(throws: CodecHeaderError.self) { try AVCDecoderConfiguration(parsing: prefix) }
        }
        #expect(throws: CodecHeaderError.truncated(offset: 8, neededBits: 208, availableBits: 16)) {
            try AVCDecoderConfiguration(parsing: bytes("0164000dffe1001a6764"))
        }
        #expect(throws: CodecHeaderError.unsupportedVersion(2, offset: 0)) {
            try AVCDecoderConfiguration(parsing: bytes("0264000dffe000"))
        }
    }

    @Test("a record without parameter sets still tells profile and level")
    func avcEmpty() throws {
        let record = try AVCDecoderConfiguration(parsing: bytes("014d001ffde000"))
        #expect(record.nalUnitLengthSize == 2)
        #expect(record.videoFormat == VideoFormat(profile: "Main", level: "3.1"))
        #expect(throws: CodecHeaderError.missingConfiguration(.h264)) {
            try AVCDecoderConfiguration(sequenceParameterSets: [], pictureParameterSets: [])
        }
    }

    @Test("a sequence parameter set that is cut anywhere gives an error or a smaller picture of the truth, no trap")
    func avcParameterSetCut() throws {
        let whole = try #require(AVCDecoderConfiguration(parsing: Records.avcHigh).sequenceParameterSets.first)
        for prefix in prefixes(of: whole) {
            guard let cut = try? AVCSequenceParameterSet(parsing: prefix) else { continue }
            #expect(cut.width == 322)
            #expect(cut.height == 182)
        }
        #expect(throws: CodecHeaderError.unexpectedUnitType(8, offset: 0)) {
            try AVCSequenceParameterSet(parsing: bytes("68ebe3cb22c0"))
        }
    }

    @Test("cropping that leaves nothing of the picture is refused")
    func avcCropping() {
        // Constrained Baseline, 16 × 16, cropped by 8 chroma samples on the left, which are 16 pixels.
        #expect(throws: CodecHeaderError.invalidValue(8, offset: 4)) {
            try AVCSequenceParameterSet(parsing: bytes("6742c00a dd d1 3d"))
        }
    }

    @Test(
        "level 1b has two spellings",
        arguments: [
            (9, 100, 0, "1b"), (11, 66, 0x10, "1b"), (11, 100, 0x10, "1.1"), (10, 66, 0, "1"), (52, 77, 0, "5.2"),
        ]
            as [(UInt8, UInt8, UInt8, String)])
    func avcLevels(level: UInt8, profile: UInt8, constraints: UInt8, name: String) {
        #expect(AVCProfile.levelName(of: level, profile: profile, constraints: constraints) == name)
    }

    @Test("an hvcC record tells profile, level, size and, past the scaling lists, the frame rate")
    func hevc() throws {
        let record = try HEVCDecoderConfiguration(parsing: Records.hevcMain)
        #expect(record.nalUnitLengthSize == 4)
        #expect(record.parameterSets.map(\.unitType) == [32, 33, 34])
        #expect(record.units(ofType: 34) == [bytes("4401c172b46240")])
        #expect(
            record.videoFormat == VideoFormat(width: 1920, height: 1080, profile: "Main", level: "4", frameRate: 30))
    }

    @Test("an hvcC record made of its units parses to the same format")
    func hevcRoundTrip() throws {
        let record = try HEVCDecoderConfiguration(parsing: Records.hevcMain)
        var written = ByteBuffer()
        record.write(into: &written)
        #expect(try HEVCDecoderConfiguration(parsing: written) == record)
        let rebuilt = try HEVCDecoderConfiguration(
            videoParameterSets: record.units(ofType: 32), sequenceParameterSets: record.units(ofType: 33),
            pictureParameterSets: record.units(ofType: 34))
        #expect(rebuilt.videoFormat == record.videoFormat)
        #expect(rebuilt.profileByte == record.profileByte)
        #expect(rebuilt.constraints == record.constraints)
        #expect(rebuilt.profileCompatibility == record.profileCompatibility)
    }

    @Test("an hvcC record and its parameter set that are cut anywhere give an error, no trap")
    func hevcCut() throws {
        for prefix in prefixes(of: Records.hevcMain) {
            #expect(throws: CodecHeaderError.self) { try HEVCDecoderConfiguration(parsing: prefix) }
        }
        let whole = try #require(HEVCDecoderConfiguration(parsing: Records.hevcMain).units(ofType: 33).first)
        for prefix in prefixes(of: whole) {
            guard let cut = try? HEVCSequenceParameterSet(parsing: prefix) else { continue }
            #expect(cut.width == 1920)
            #expect(cut.height == 1080)
        }
    }

    @Test("an av1C record tells profile, level, size and frame rate")
    func av1() throws {
        let record = try AV1CodecConfiguration(parsing: Records.av1)
        #expect(record.bitDepth == 8)
        #expect(record.configurationUnits == bytes("0a0b000000043d06d402f80040"))
        #expect(record.videoFormat.width == 322)
        #expect(record.videoFormat.height == 182)
        #expect(record.videoFormat.profile == "Main")
        #expect(record.videoFormat.level == "2.0")
    }

    @Test("an AV1 sequence header with timing information tells the frame rate")
    func av1Timing() throws {
        // Profile 0, not reduced, timing 1001/30000 with equal intervals, no decoder model, one operating point of
        // level 4.0 (8) and main tier, sizes of 11 and 11 bits: 1920 × 1080.
        var bits = "000" + "0" + "0" + "1" + Self.binary(1001, 32) + Self.binary(30_000, 32) + "1" + "1" + "0"
        bits += "0" + "00000" + Self.binary(0, 12) + Self.binary(8, 5) + "0"
        bits += Self.binary(10, 4) + Self.binary(10, 4) + Self.binary(1919, 11) + Self.binary(1079, 11)
        let payload = Self.pack(bits)
        var units = bytes("1200 0a")
        units.writeInteger(UInt8(payload.count))
        units.writeBytes(payload)
        let header = try AV1SequenceHeader(findingIn: units)
        #expect(header.width == 1920)
        #expect(header.height == 1080)
        #expect(header.levelIndex == 8)
        #expect(header.frameRate == 30_000.0 / 1001)
    }

    private static func binary(_ value: Int, _ width: Int) -> String {
        (0..<width).reversed().map { value >> $0 & 1 == 1 ? "1" : "0" }.joined()
    }

    private static func pack(_ bits: String) -> [UInt8] {
        var result: [UInt8] = []
        for (index, bit) in bits.enumerated() {
            if index % 8 == 0 { result.append(0) }
            if bit == "1" { result[index / 8] |= 0x80 >> UInt8(index % 8) }
        }
        return result
    }

    @Test("a broken av1C record is refused with its reason")
    func av1Broken() {
        #expect(throws: CodecHeaderError.badSignature(offset: 0)) {
            try AV1CodecConfiguration(parsing: bytes("01000c00"))
        }
        #expect(throws: CodecHeaderError.unsupportedVersion(2, offset: 0)) {
            try AV1CodecConfiguration(parsing: bytes("82000c00"))
        }
        #expect(throws: CodecHeaderError.truncated(offset: 3, neededBits: 8, availableBits: 0)) {
            try AV1CodecConfiguration(parsing: bytes("81000c"))
        }
        #expect(throws: CodecHeaderError.unexpectedUnitType(0, offset: 0)) {
            try AV1SequenceHeader(findingIn: bytes("1200"))
        }
        for prefix in prefixes(of: bytes("0a0b000000043d06d402f80040")) {
            #expect(throws: CodecHeaderError.self) { try AV1SequenceHeader(findingIn: prefix) }
        }
    }

    @Test("a vpcC record is read with and without the box's version and flags")
    func vp9() throws {
        let boxed = try VPCodecConfiguration(parsing: bytes("01000000 000b820202020000"))
        let bare = try VPCodecConfiguration(parsing: bytes("000b820202020000"))
        #expect(boxed == bare)
        #expect(boxed.record == bytes("000b820202020000"))
        #expect(boxed.bitDepth == 8)
        #expect(boxed.videoFormat == VideoFormat(profile: "Profile 0", level: "1.1"))
        #expect(throws: CodecHeaderError.invalidValue(9, offset: 0)) {
            try VPCodecConfiguration(parsing: bytes("090b820202020000"))
        }
        for prefix in prefixes(of: bytes("000b820202020000")) {
            #expect(throws: CodecHeaderError.self) { try VPCodecConfiguration(parsing: prefix) }
        }
    }

    @Test("a VP8 key frame tells its size, and other frames are refused")
    func vp8() throws {
        let format = try VP8KeyframeHeader.videoFormat(of: bytes("f067009d012a4201b60000"))
        #expect(format == VideoFormat(width: 322, height: 182, profile: "Profile 0"))
        #expect(throws: CodecHeaderError.invalidValue(0xF1, offset: 0)) {
            try VP8KeyframeHeader.videoFormat(of: bytes("f167009d012a4201b600"))
        }
        #expect(throws: CodecHeaderError.badSignature(offset: 3)) {
            try VP8KeyframeHeader.videoFormat(of: bytes("f067009e012a4201b600"))
        }
    }
}
