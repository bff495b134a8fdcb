import Media
import NIOCore
import RTP
import Testing

/// Frames whose first bytes are those of real ones.
enum TestFrames {
    static let vp8Keyframe: [UInt8] = [0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xF0, 0x00]
    /// 320 × 240, profile 0.
    static let vp9Keyframe: [UInt8] = [0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xF0, 0x0E, 0xF0]
    static let vp9Interframe: [UInt8] = [0x86, 0x00, 0x40]
    /// 128 × 96, with its size field: the front of a sequence header, bit by bit.
    static let av1SequenceHeader = bytes("0A08 00000003 37FBE000")
}

@Suite struct VP8PayloadTests {
    private func random(_ head: [UInt8], count: Int) -> ByteBuffer {
        var random = Generator(seed: 1)
        return random.data(head, count: count)
    }

    /// RFC 7741 §4.2: X with I, M, L, T and K.
    @Test func `A descriptor with every field is read`() throws {
        let first = bytes("B0 F0 9234 56 A3").appending(ByteBuffer(bytes: TestFrames.vp8Keyframe))
        let outputs = RTPPayloadReader.read(
            [first, bytes("80 80 9234 AA"), bytes("11 BB"), bytes("01 CC")], format: .vp8)
        let unit = try #require(outputs.first?.accessUnit)
        #expect(outputs.count == 1)
        #expect(unit.isKeyframe)
        #expect(unit.isDisposable)
        #expect(unit.pictureSize == RTPPictureSize(width: 320, height: 240))
        #expect(unit.layers.pictureID == 0x1234)
        #expect(unit.layers.hasLongPictureID)
        #expect(unit.layers.temporalBaseIndex == 0x56)
        #expect(unit.layers.temporalLayer == 2)
        #expect(unit.layers.isSwitchingPoint)
        #expect(unit.payload == ByteBuffer(bytes: TestFrames.vp8Keyframe).appending(bytes("AABBCC")))
    }

    @Test func `A short picture id and a key index alone are read`() throws {
        let unit = try #require(RTPPayloadReader.read([bytes("90 90 45 03 01")], format: .vp8).first?.accessUnit)
        #expect(unit.layers.pictureID == 0x45)
        #expect(!unit.layers.hasLongPictureID)
        #expect(unit.layers.temporalLayer == nil)
        #expect(!unit.isKeyframe)
        #expect(unit.payload == bytes("01"))
    }

    @Test(arguments: [
        ("90", RTPError.truncated(offset: 1, needed: 1, available: 0)),
        ("90 80 80", .truncated(offset: 3, needed: 1, available: 0)), ("90 80 01", .emptyUnit(offset: 3)),
        ("10", .emptyUnit(offset: 1)), ("00 AA", .unexpectedFragment(offset: 0)),
        ("11 AA", .unexpectedFragment(offset: 0)), ("10 00 0000 9D012B", .invalidValue(0, offset: 0)),
    ])
    func `A broken payload breaks its frame`(hex: String, error: RTPError) {
        #expect(RTPPayloadReader.read([bytes(hex)], format: .vp8) == [.broken(error, timestamp: 7)])
    }

    @Test func `A frame that is not shown and the one after it come out apart`() {
        let outputs = RTPPayloadReader.read([bytes("10 01AA"), bytes("10 01BB")], format: .vp8)
        #expect(outputs.compactMap(\.accessUnit?.payload) == [bytes("01AA"), bytes("01BB")])
    }

    @Test func `There are no picture ids, so a frame that is sent again is the same to the bit`() throws {
        let writer = RTPPayloadWriter(format: .vp8, maximumPayload: 100)
        let frame = self.random(TestFrames.vp8Keyframe, count: 150)
        let payloads = try writer.payloads(of: frame, isKeyframe: true)
        #expect(payloads.payload(at: 0).prefix(4) == bytes("10").appending(frame).prefix(4))
        #expect(payloads.payload(at: 1).prefix(1) == bytes("00"))
        #expect(payloads.ranges.map(\.count) == [76, 76])
        #expect(try writer.payloads(of: frame, isKeyframe: true).buffer == payloads.buffer)
        let unit = try #require(
            RTPPayloadReader.read([payloads.payload(at: 0), payloads.payload(at: 1)], format: .vp8).first?.accessUnit)
        #expect(unit.payload == frame)
        #expect(unit.layers == RTPLayerIDs())
    }
}

@Suite struct VP9PayloadTests {
    private func random(_ head: [UInt8], count: Int) -> ByteBuffer {
        var random = Generator(seed: 1)
        return random.data(head, count: count)
    }

    /// RFC 9628 §4.2: two spatial layers in non-flexible mode, with a scalability structure.
    @Test func `Spatial layers of one picture become a superframe with an index`() throws {
        let base = bytes("AA 8001 00 05 38 0140 00F0 0280 01E0 01 04 01")
            .appending(ByteBuffer(bytes: TestFrames.vp9Keyframe))
        let outputs = RTPPayloadReader.read(
            [base, bytes("A4 8001 00 05 AA"), bytes("AC 8001 03 05 BBBB")], format: .vp9)
        let unit = try #require(outputs.first?.accessUnit, "\(outputs)")
        #expect(unit.isKeyframe)
        #expect(unit.layers.pictureID == 1)
        #expect(unit.layers.spatialLayer == 1)
        #expect(unit.layers.temporalLayer == 0)
        #expect(unit.layers.temporalBaseIndex == 5)
        #expect(unit.pictureSize == RTPPictureSize(width: 640, height: 480))
        #expect(
            unit.payload
                == ByteBuffer(bytes: TestFrames.vp9Keyframe).appending(bytes("AA BBBB D9 0A000000 02000000 D9")))
    }

    @Test func `Flexible mode with reference differences is read`() throws {
        let unit = try #require(
            RTPPayloadReader.read([bytes("FC 05 20 0305 02 860040")], format: .vp9).first?.accessUnit)
        #expect(!unit.isKeyframe)
        #expect(unit.layers.pictureID == 5)
        #expect(unit.layers.temporalLayer == 1)
        #expect(unit.layers.temporalBaseIndex == nil)
        #expect(unit.payload == bytes("860040"))
    }

    @Test(arguments: [
        ("8C", RTPError.truncated(offset: 1, needed: 1, available: 0)), ("8C 01", .emptyUnit(offset: 2)),
        ("84 01 AA", .unexpectedFragment(offset: 0)), ("88 01 82", .unfinishedFragment),
        ("5C 01 01 01 01 86", .invalidValue(4, offset: 4)), ("0C 00", .invalidValue(0, offset: 0)),
        ("0E 10 0140", .truncated(offset: 4, needed: 2, available: 0)),
        ("0E 08 02 04", .truncated(offset: 4, needed: 1, available: 0)),
    ])
    func `A broken payload breaks its picture`(hex: String, error: RTPError) {
        #expect(RTPPayloadReader.read([bytes(hex)], format: .vp9) == [.broken(error, timestamp: 7)])
    }

    /// RFC 9628 §4.2: with a scalability structure (V) every packet would have to have a picture id (I).
    @Test func `There are no picture ids and no scalability structure, and all packets are equal`() throws {
        let writer = RTPPayloadWriter(format: .vp9, maximumPayload: 100)
        let frame = self.random(TestFrames.vp9Keyframe, count: 280)
        let payloads = try writer.payloads(of: frame, isKeyframe: true)
        #expect(payloads.ranges.map(\.count) == [95, 95, 93])
        #expect(
            payloads.ranges.indices.map { payloads.payload(at: $0).prefix(1) } == [
                bytes("08"), bytes("00"), bytes("04"),
            ])
        let inter = try writer.payloads(of: ByteBuffer(bytes: TestFrames.vp9Interframe), isKeyframe: false)
        #expect(inter.payload(at: 0) == bytes("4C").appending(ByteBuffer(bytes: TestFrames.vp9Interframe)))
        #expect(try writer.payloads(of: frame, isKeyframe: true).buffer == payloads.buffer)
        let unit = try #require(
            RTPPayloadReader.read(payloads.ranges.indices.map { payloads.payload(at: $0) }, format: .vp9)
                .first?.accessUnit)
        #expect(unit.payload == frame)
        #expect(unit.isKeyframe)
        #expect(unit.pictureSize == RTPPictureSize(width: 320, height: 240))
        #expect(unit.layers == RTPLayerIDs())
    }

    @Test func `The front of a keyframe tells format and size`() throws {
        let header = try VP9FrameHeader(parsing: ByteBuffer(bytes: TestFrames.vp9Keyframe))
        #expect(header.profile == 0 && header.isKeyframe && header.bitDepth == 8 && header.chromaSubsampling == 1)
        #expect(header.pictureSize == RTPPictureSize(width: 320, height: 240))
        let record = try VPCodecConfiguration(parsing: header.configurationRecord())
        #expect(record.profile == 0 && record.bitDepth == 8 && record.chromaSubsampling == 1)
        #expect(try !VP9FrameHeader(parsing: ByteBuffer(bytes: TestFrames.vp9Interframe)).isKeyframe)
        #expect(throws: CodecHeaderError.badSignature(offset: 0)) { try VP9FrameHeader(parsing: bytes("00")) }
        #expect(throws: CodecHeaderError.badSignature(offset: 1)) { try VP9FrameHeader(parsing: bytes("82498341")) }
    }
}

@Suite struct AV1PayloadTests {
    private let sequenceHeader = TestFrames.av1SequenceHeader

    /// §4.4: W of 2, the last element without a length; an element that goes on twice (Z and Y).
    @Test func `Elements with and without lengths and in fragments make low-overhead units`() throws {
        let header = try #require(self.sequenceHeader.getSlice(at: 2, length: 8))
        let first = bytes("68 09 08").appending(header).appending(bytes("30 10AA"))
        let outputs = RTPPayloadReader.read([first, bytes("D0 BB"), bytes("80 01 CC 02 2801")], format: .av1)
        let unit = try #require(outputs.first?.accessUnit, "\(outputs)")
        #expect(unit.isKeyframe)
        #expect(unit.sequenceHeader == self.sequenceHeader)
        #expect(unit.pictureSize == RTPPictureSize(width: 128, height: 96))
        #expect(unit.payload == self.sequenceHeader.appending(bytes("32 04 10AABBCC 2A 01 01")))
    }

    @Test func `Delimiters, padding and size fields inside elements are taken out, layers stay`() throws {
        let outputs = RTPPayloadReader.read(
            [bytes("00 02 1200 05 3203 30AABB 02 7880 03 2408 01")], format: .av1)
        let unit = try #require(outputs.first?.accessUnit, "\(outputs)")
        #expect(!unit.isKeyframe)
        #expect(unit.payload == bytes("32 03 30AABB 26 08 01 01"))
    }

    @Test(arguments: [
        ("10", RTPError.emptyUnit(offset: 1)), ("98 AA", .invalidValue(0x98, offset: 0)),
        ("90 AA", .unexpectedFragment(offset: 0)), ("50 30", .unfinishedFragment),
        ("20 02 30", .truncated(offset: 2, needed: 2, available: 1)),
        ("20 02 3030", .truncated(offset: 4, needed: 1, available: 0)),
        ("10 B0", .invalidValue(0xB0, offset: 0)), ("10 3205AA", .truncated(offset: 2, needed: 5, available: 1)),
        ("10 2001", .missingFirstSlice), ("20 02 08FF 3010", .invalidValue(0, offset: 0)),
        ("00 FFFFFFFFFFFFFFFFFF", .invalidValue(.max, offset: 1)),
    ])
    func `A broken payload breaks its temporal unit`(hex: String, error: RTPError) {
        #expect(RTPPayloadReader.read([bytes(hex)], format: .av1) == [.broken(error, timestamp: 7)])
    }

    @Test func `A keyframe gets the sequence header and the mark of a new sequence`() throws {
        let writer = RTPPayloadWriter(format: .av1, maximumPayload: 100)
        let frame = bytes("1200 32 03 10AABB")
        let header = try #require(self.sequenceHeader.getSlice(at: 2, length: 8))
        let payloads = try writer.payloads(of: frame, isKeyframe: true, parameterSets: [self.sequenceHeader])
        #expect(payloads.beginsWithParameterSets)
        #expect(payloads.ranges.count == 1)
        #expect(payloads.payload(at: 0) == bytes("28 09 08").appending(header).appending(bytes("30 10AABB")))
        let own = try writer.payloads(
            of: self.sequenceHeader.appending(frame), isKeyframe: true, parameterSets: [bytes("0A0100")])
        #expect(own.buffer == payloads.buffer)
    }

    @Test func `A broken unit is refused`() {
        let writer = RTPPayloadWriter(format: .av1, maximumPayload: 100)
        #expect(throws: RTPError.malformedFrame(offset: 3)) {
            try writer.payloads(of: bytes("320110 3205 AA"), isKeyframe: false)
        }
    }
}
