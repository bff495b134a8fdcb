import Media
import NIOCore
import RTP
import Testing

/// H.264, by bytes made from the figures of RFC 6184.
@Suite struct H264PayloadTests {
    private let format = RTPPayloadFormat.h264(packetizationMode: 1)
    private let sequenceSet = bytes("67 42C01E 95A0")
    private let pictureSet = bytes("68 CE3C80")

    @Test func `Single units, an aggregate and fragments make one access unit without parameter sets`() throws {
        let outputs = RTPPayloadReader.read(
            [
                bytes("09 F0"),
                bytes("78 0006 6742C01E95A0 0004 68CE3C80 0003 060501"),
                bytes("7C 85 88AA"), bytes("7C 05 BB"), bytes("7C 45 CCDD"),
                bytes("65 08EE"),
            ], format: self.format)
        #expect(outputs.count == 1)
        let unit = try #require(outputs.first?.accessUnit)
        #expect(unit.timestamp == 7)
        #expect(unit.isKeyframe)
        #expect(!unit.isDisposable)
        #expect(unit.parameterSets.sequence == [self.sequenceSet])
        #expect(unit.parameterSets.picture == [self.pictureSet])
        #expect(
            unit.payload == lengthPrefixed([bytes("060501"), bytes("65 88AABBCCDD"), bytes("65 08EE")]))
    }

    /// §5.7.1 and §5.8: decoding order numbers stand in front of the units.
    @Test func `STAP-B and FU-B are read without their order numbers`() throws {
        let outputs = RTPPayloadReader.read(
            [bytes("79 0001 0003 41E001 0002 4101"), bytes("5D 81 0002 AA"), bytes("5C 41 BB")], format: self.format)
        let unit = try #require(outputs.first?.accessUnit)
        #expect(unit.payload == lengthPrefixed([bytes("41E001"), bytes("4101"), bytes("41AABB")]))
        #expect(!unit.isKeyframe)
    }

    /// §5.7.2: each unit has its own time.
    @Test func `MTAP16 and MTAP24 give an access unit for each time`() throws {
        for payload in [
            bytes("7A 0000 0003 00 0000 41E001 0002 01 0BB8 01E0"),
            bytes("7B 0000 0003 00 000000 41E001 0002 01 000BB8 01E0"),
        ] {
            let units = RTPPayloadReader.read([payload], format: self.format).compactMap(\.accessUnit)
            #expect(units.map(\.timestamp) == [7, 3007])
            #expect(units.map(\.payload) == [lengthPrefixed([bytes("41E001")]), lengthPrefixed([bytes("01E0")])])
            #expect(units.map(\.isDisposable) == [false, true])
        }
    }

    @Test(arguments: [
        ("00", RTPError.unsupportedUnit(type: 0, offset: 0)), ("7E 01", .unsupportedUnit(type: 30, offset: 0)),
        ("7F", .unsupportedUnit(type: 31, offset: 0)), ("7C", .truncated(offset: 1, needed: 1, available: 0)),
        ("7C 05 AA", .unexpectedFragment(offset: 0)), ("7C 85 AA", .unfinishedFragment),
        ("78 0000", .emptyUnit(offset: 3)), ("78 0003 4101", .truncated(offset: 3, needed: 3, available: 2)),
        ("78 00", .truncated(offset: 1, needed: 2, available: 1)),
        ("78 0002 7800", .unsupportedUnit(type: 24, offset: 0)),
        ("79 00", .truncated(offset: 1, needed: 2, available: 1)), ("7A 0000 0000 00 0000", .emptyUnit(offset: 8)),
        ("41 40", .missingFirstSlice), ("43 80", .missingFirstSlice),
    ])
    func `A broken payload breaks its access unit`(hex: String, error: RTPError) {
        let outputs = RTPPayloadReader.read([bytes(hex)], format: self.format)
        #expect(outputs == [.broken(error, timestamp: 7)])
    }

    @Test func `A fragment that is interrupted breaks the access unit once, and the next one stands`() {
        var reader = RTPPayloadReader(format: self.format)
        reader.append(bytes("5C 81 E0"), marker: false, timestamp: 1)
        reader.append(bytes("41 E0"), marker: false, timestamp: 1)
        reader.append(bytes("5C 41 00"), marker: false, timestamp: 1)
        reader.append(bytes("41 E0"), marker: true, timestamp: 1)
        reader.append(bytes("41 E1"), marker: true, timestamp: 2)
        let outputs = reader.drain()
        #expect(outputs.count == 2)
        #expect(outputs.first == .broken(.unfinishedFragment, timestamp: 1))
        #expect(outputs.last?.accessUnit?.payload == lengthPrefixed([bytes("41E1")]))
    }

    @Test func `Without markers the next timestamp ends an access unit, and padding does nothing`() {
        var reader = RTPPayloadReader(format: self.format)
        reader.append(bytes("41 E0"), marker: false, timestamp: .max)
        reader.append(ByteBuffer(), marker: true, timestamp: 5)
        #expect(reader.drain().isEmpty)
        reader.append(bytes("41 E1"), marker: false, timestamp: 2000)
        #expect(reader.drain().compactMap(\.accessUnit?.timestamp) == [.max])
    }

    @Test func `Parameter sets with a time of their own go with the next picture`() throws {
        var reader = RTPPayloadReader(format: self.format)
        reader.append(self.sequenceSet, marker: true, timestamp: 1)
        reader.append(self.pictureSet, marker: false, timestamp: 2)
        reader.append(bytes("65 88"), marker: true, timestamp: 3)
        let outputs = reader.drain()
        #expect(outputs.count == 1)
        let unit = try #require(outputs.first?.accessUnit)
        #expect(unit.timestamp == 3)
        #expect(unit.parameterSets.sequence == [self.sequenceSet])
        #expect(unit.parameterSets.picture == [self.pictureSet])
    }

    @Test func `A unit cut up by fragments of a parameter set is taken out as well`() throws {
        let outputs = RTPPayloadReader.read(
            [bytes("7C 87 42C0"), bytes("7C 47 1E95A0"), bytes("65 88")], format: self.format)
        let unit = try #require(outputs.first?.accessUnit)
        #expect(unit.parameterSets.sequence == [self.sequenceSet])
        #expect(unit.payload == lengthPrefixed([bytes("6588")]))
    }

    @Test func `An access unit and its parameter sets are bounded`() {
        var reader = RTPPayloadReader(format: self.format, maximumLength: 20)
        reader.append(bytes("5C 81 E000000000000000"), marker: false, timestamp: 1)
        reader.append(bytes("5C 01 0000000000000000"), marker: false, timestamp: 1)
        reader.append(bytes("41 E0"), marker: true, timestamp: 2)
        #expect(reader.drain().first == .broken(.accessUnitTooLong(limit: 20), timestamp: 1))
        var sets = RTPPayloadReader(format: self.format)
        for index in 0..<65 { sets.append(self.pictureSet, marker: true, timestamp: UInt32(index)) }
        #expect(sets.drain() == [.broken(.accessUnitTooLong(limit: 16 << 20), timestamp: 64)])
    }

    @Test func `Small units are aggregated, large ones cut into equal fragments`() throws {
        var random = Generator(seed: 1)
        let slice = random.data([0x65, 0x88], count: 2500)
        let writer = RTPPayloadWriter(format: self.format, maximumPayload: 1000)
        let payloads = try writer.payloads(
            of: lengthPrefixed([bytes("09F0"), bytes("060501"), slice, bytes("0C FF")]), isKeyframe: true,
            parameterSets: [self.sequenceSet, self.pictureSet])
        #expect(payloads.beginsWithParameterSets)
        #expect(payloads.payload(at: 0) == bytes("78 0006 6742C01E95A0 0004 68CE3C80 0003 060501"))
        #expect(payloads.ranges.map(\.count) == [20, 835, 835, 835])
        #expect(payloads.equalSizedRuns == [0..<1, 1..<4])
        #expect(payloads.ranges.indices.map { payloads.hasMarker(at: $0) } == [false, false, false, true])
        #expect(payloads.payload(at: 1).prefix(2) == bytes("7C85"))
        #expect(payloads.payload(at: 2).prefix(2) == bytes("7C05"))
        #expect(payloads.payload(at: 3).prefix(2) == bytes("7C45"))
    }

    @Test func `Parameter sets that the frame has itself are not repeated, and a frame of nothing makes no packet`()
        throws
    {
        let writer = RTPPayloadWriter(format: self.format, maximumPayload: 1000)
        let own = bytes("67 4D001F")
        let payloads = try writer.payloads(
            of: lengthPrefixed([own, bytes("6588")]), isKeyframe: true,
            parameterSets: [self.sequenceSet, self.pictureSet])
        #expect(payloads.payload(at: 0) == bytes("78 0004 68CE3C80 0004 674D001F 0002 6588"))
        let none = try writer.payloads(of: lengthPrefixed([bytes("09F0")]), isKeyframe: true, parameterSets: [own])
        #expect(none.ranges.isEmpty)
        #expect(none.equalSizedRuns.isEmpty)
    }

    @Test func `Mode 0 sends each unit by itself and refuses what it cannot fragment`() throws {
        let writer = RTPPayloadWriter(format: .h264(packetizationMode: 0), maximumPayload: 100)
        let payloads = try writer.payloads(of: lengthPrefixed([bytes("0605"), bytes("4180")]), isKeyframe: false)
        #expect(
            payloads.ranges.map { payloads.buffer.getSlice(at: $0.lowerBound, length: $0.count) }
                == [bytes("0605"), bytes("4180")])
        #expect(throws: RTPError.frameTooLong(length: 101, maximum: 100)) {
            var random = Generator(seed: 1)
            _ = try writer.payloads(of: lengthPrefixed([random.data([0x41, 0x80], count: 101)]), isKeyframe: false)
        }
    }

    @Test func `A frame whose lengths do not add up is refused`() {
        let writer = RTPPayloadWriter(format: self.format, maximumPayload: 100)
        #expect(throws: RTPError.malformedFrame(offset: 6)) {
            try writer.payloads(of: bytes("00000002 4180 00000005 41"), isKeyframe: false)
        }
    }
}

/// What a hostile publisher's frames may cost.
@Suite struct UnitBoundTests {
    private static let limit = RTPPayloadWriter.maximumUnits

    private func frame(_ unit: ByteBuffer, count: Int) -> ByteBuffer {
        lengthPrefixed(Array(repeating: unit, count: count))
    }

    @Test(
        arguments: [
            (.h264(packetizationMode: 1), "41"), (.h264(packetizationMode: 0), "41"),
            (.hevc(usesDecodingOrderNumbers: false), "0201"),
        ] as [(RTPPayloadFormat, String)])
    func `A frame of as many units as may be is cut up, and one of more is refused`(
        format: RTPPayloadFormat, unit: String
    ) throws {
        let writer = RTPPayloadWriter(format: format, maximumPayload: 1_000)
        let payloads = try writer.payloads(of: self.frame(bytes(unit), count: Self.limit), isKeyframe: false)
        let perPacket = format == .h264(packetizationMode: 0) ? 1 : (1_000 - unit.count / 2) / (2 + unit.count / 2)
        #expect(payloads.ranges.count == (Self.limit + perPacket - 1) / perPacket)
        #expect(throws: RTPError.tooManyUnits(limit: Self.limit)) {
            try writer.payloads(of: self.frame(bytes(unit), count: Self.limit + 1), isKeyframe: false)
        }
    }

    /// Empty units and delimiters are passed over, but not without looking at them.
    @Test(arguments: ["", "09"]) func `Units that are not sent count`(unit: String) {
        let writer = RTPPayloadWriter(format: .h264(packetizationMode: 1), maximumPayload: 1_000)
        #expect(throws: RTPError.tooManyUnits(limit: Self.limit)) {
            try writer.payloads(
                of: self.frame(bytes(unit), count: Self.limit).appending(lengthPrefixed([bytes("4180")])),
                isKeyframe: false)
        }
    }

    @Test func `Parameter sets in front of the frame count`() throws {
        let writer = RTPPayloadWriter(format: .h264(packetizationMode: 1), maximumPayload: 1_000)
        let sets = Array(repeating: bytes("68CE"), count: Self.limit)
        let frame = lengthPrefixed([bytes("6588")])
        #expect(throws: RTPError.tooManyUnits(limit: Self.limit)) {
            try writer.payloads(of: frame, isKeyframe: true, parameterSets: sets)
        }
        let most = try writer.payloads(of: frame, isKeyframe: true, parameterSets: Array(sets.dropLast()))
        #expect(most.beginsWithParameterSets)
    }

    /// A temporal delimiter (not sent), and a tile group of no bytes.
    @Test(arguments: ["1200", "2200"]) func `OBUs are bounded, whether they are sent or not`(unit: String) throws {
        let writer = RTPPayloadWriter(format: .av1, maximumPayload: 1_000)
        var frame = ByteBuffer()
        for _ in 0..<Self.limit - 1 { frame.writeImmutableBuffer(bytes(unit)) }
        frame.writeImmutableBuffer(bytes("32 02 30AA"))
        let payloads = try writer.payloads(of: frame, isKeyframe: false)
        #expect(unit == "1200" ? payloads.ranges.count == 1 : payloads.ranges.count > 1)
        let header = TestFrames.av1SequenceHeader
        #expect(throws: RTPError.tooManyUnits(limit: Self.limit)) {
            try writer.payloads(of: frame, isKeyframe: true, parameterSets: [header])
        }
        frame.writeImmutableBuffer(bytes(unit))
        #expect(throws: RTPError.tooManyUnits(limit: Self.limit)) {
            try writer.payloads(of: frame, isKeyframe: false)
        }
    }
}

/// HEVC, by bytes made from the figures of RFC 7798.
@Suite struct HEVCPayloadTests {
    private let format = RTPPayloadFormat.hevc(usesDecodingOrderNumbers: false)

    @Test func `Single units, an aggregate and fragments make one access unit without parameter sets`() throws {
        let outputs = RTPPayloadReader.read(
            [
                bytes("4601 50"),
                bytes("6001 0004 40010C01 0005 4201010160 0003 4401C1"),
                bytes("6201 93 AFAA"), bytes("6201 13 BB"), bytes("6201 53 CC"),
            ], format: self.format)
        let unit = try #require(outputs.first?.accessUnit)
        #expect(unit.isKeyframe)
        #expect(unit.parameterSets.video == [bytes("40010C01")])
        #expect(unit.parameterSets.sequence == [bytes("4201010160")])
        #expect(unit.parameterSets.picture == [bytes("4401C1")])
        #expect(unit.payload == lengthPrefixed([bytes("2601 AFAABBCC")]))
    }

    @Test func `Decoding order numbers are passed over where they were negotiated`() throws {
        let outputs = RTPPayloadReader.read(
            [
                bytes("0201 0001 80AA"), bytes("6001 0002 0003 020100 01 0003 020101"),
                bytes("6201 81 0003 02"), bytes("6201 41 03"),
            ], format: .hevc(usesDecodingOrderNumbers: true))
        #expect(
            outputs.first?.accessUnit?.payload
                == lengthPrefixed([bytes("020180AA"), bytes("020100"), bytes("020101"), bytes("02010203")]))
    }

    @Test func `A PACI packet is what it holds`() {
        // cType 1, three bytes of extension.
        let outputs = RTPPayloadReader.read([bytes("6401 0230 AABBCC 80EE")], format: self.format)
        #expect(outputs.first?.accessUnit?.payload == lengthPrefixed([bytes("020180EE")]))
        let nested = RTPPayloadReader.read([bytes("6401 6400 6400 80")], format: self.format)
        #expect(nested == [.broken(.unsupportedUnit(type: 50, offset: 0), timestamp: 7)])
    }

    @Test(arguments: [
        ("02", RTPError.truncated(offset: 0, needed: 2, available: 1)),
        ("6601 00", .unsupportedUnit(type: 51, offset: 0)), ("6201", .truncated(offset: 2, needed: 1, available: 0)),
        ("6201 01 AA", .unexpectedFragment(offset: 0)), ("6201 81 80", .unfinishedFragment),
        ("6001 0000", .emptyUnit(offset: 4)), ("6001 0001 02", .truncated(offset: 0, needed: 2, available: 1)),
        ("0201 40", .missingFirstSlice),
    ])
    func `A broken payload breaks its access unit`(hex: String, error: RTPError) {
        #expect(RTPPayloadReader.read([bytes(hex)], format: self.format) == [.broken(error, timestamp: 7)])
    }

    @Test func `A picture is disposable when nothing in the highest sub-layer refers to it`() {
        var reader = RTPPayloadReader(format: self.format)
        // Two sub-layers; TRAIL_N of the lower, TSA_N and TSA_R of the higher.
        reader.append(bytes("4201 03 0160"), marker: false, timestamp: 1)
        reader.append(bytes("2601 80"), marker: true, timestamp: 1)
        reader.append(bytes("0001 80"), marker: true, timestamp: 2)
        reader.append(bytes("0402 80"), marker: true, timestamp: 3)
        reader.append(bytes("0602 80"), marker: true, timestamp: 4)
        #expect(reader.drain().map { $0.accessUnit?.isDisposable } == [false, false, true, false])
    }

    @Test func `Small units are aggregated, large ones cut into equal fragments`() throws {
        var random = Generator(seed: 1)
        let slice = random.data([0x26, 0x01, 0x80], count: 2502)
        let writer = RTPPayloadWriter(format: self.format, maximumPayload: 1000)
        let payloads = try writer.payloads(
            of: lengthPrefixed([bytes("4E0505")]).appending(lengthPrefixed([slice])), isKeyframe: true,
            parameterSets: [bytes("40010C01"), bytes("42010101"), bytes("4401C1")])
        #expect(payloads.payload(at: 0) == bytes("6001 0004 40010C01 0004 42010101 0003 4401C1 0003 4E0505"))
        #expect(payloads.ranges.dropFirst().map(\.count) == [837, 837, 835])
        #expect(payloads.payload(at: 1).prefix(3) == bytes("620193"))
        #expect(payloads.payload(at: 2).prefix(3) == bytes("620113"))
        #expect(payloads.payload(at: 3).prefix(3) == bytes("620153"))
    }
}

extension ByteBuffer {
    func appending(_ other: ByteBuffer) -> ByteBuffer {
        var result = self
        result.writeImmutableBuffer(other)
        return result
    }
}
