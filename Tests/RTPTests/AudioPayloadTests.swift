import Media
import NIOCore
import RTP
import Testing

@Suite struct AudioPayloadTests {
    @Test func `An Opus packet is a frame, and its first bytes tell its length`() throws {
        let vectors: [(hex: String, duration: UInt32)] = [
            ("00AA", 480), ("18AA", 2880), ("60AA", 480), ("68AA", 960), ("80AA", 120), ("F8AA", 960), ("F9AA", 1920),
            ("FA01AA", 1920), ("FB06AA", 5760),
        ]
        for (hex, duration) in vectors {
            let unit = try #require(RTPPayloadReader.read([bytes(hex)], format: .opus).first?.accessUnit)
            #expect(unit.duration == duration, "\(hex)")
            #expect(unit.payload == bytes(hex))
            #expect(unit.isKeyframe)
        }
        for hex in ["FB", "FB00", "FB07", "1B03"] {
            #expect(
                RTPPayloadReader.read([bytes(hex)], format: .opus) == [
                    .broken(.invalidValue(0, offset: 0), timestamp: 7)
                ])
        }
        let writer = RTPPayloadWriter(format: .opus, maximumPayload: 64)
        let payloads = try writer.payloads(of: bytes("F8AA"), isKeyframe: true)
        #expect(payloads.ranges == [0..<2] && !payloads.hasMarker(at: 0))
        #expect(throws: RTPError.frameTooLong(length: 65, maximum: 64)) {
            try writer.payloads(of: ByteBuffer(repeating: 0xF8, count: 65), isKeyframe: true)
        }
    }

    @Test func `G.711 is cut between samples, and each packet is later by the samples before it`() throws {
        let writer = RTPPayloadWriter(format: .g711ALaw(channels: 2), maximumPayload: 101)
        var random = Generator(seed: 1)
        let frame = random.data([], count: 250)
        let payloads = try writer.payloads(of: frame, isKeyframe: true)
        #expect(payloads.ranges.map(\.count) == [84, 84, 82])
        #expect(payloads.timestampStep == 42)
        var reader = RTPPayloadReader(format: .g711ALaw(channels: 2))
        reader.append(payloads, timestamp: .max - 41)
        let units = reader.drain().compactMap(\.accessUnit)
        #expect(units.map(\.timestamp) == [.max - 41, 0, 42])
        #expect(units.map(\.duration) == [42, 42, 41])
        #expect(units.reduce(into: ByteBuffer()) { $0.writeImmutableBuffer($1.payload) } == frame)
        #expect(try writer.payloads(of: ByteBuffer(), isKeyframe: true).ranges.isEmpty)
    }

    /// RFC 3640 §3.3.6: sizes of 13 bits, indexes of 3.
    @Test func `Several AAC access units in a packet follow each other in time`() throws {
        let format = try #require(RTPPayloadFormat(codec: .aac, clockRate: 44_100))
        let outputs = RTPPayloadReader.read([bytes("0020 0010 0018 AABB CCDDEE")], format: format)
        let units = outputs.compactMap(\.accessUnit)
        #expect(units.map(\.timestamp) == [7, 1031])
        #expect(units.map(\.payload) == [bytes("AABB"), bytes("CCDDEE")])
        #expect(units.map(\.duration) == [1024, 1024])
    }

    @Test(arguments: [
        ("00", RTPError.truncated(offset: 0, needed: 2, available: 1)),
        ("0010 00", .truncated(offset: 2, needed: 2, available: 1)), ("0010 0011 AABB", .invalidValue(1, offset: 2)),
        ("0020 0010 0019 AABB CCDDEE", .invalidValue(1, offset: 2)), ("0000", .emptyUnit(offset: 2)),
        ("0010 0000 AA", .emptyUnit(offset: 4)),
        ("0020 0010 0018 AABB CC", .truncated(offset: 8, needed: 3, available: 1)),
        ("0008 00 AA", .truncated(offset: 2, needed: 2, available: 1)), ("0010 0010 AA", .unfinishedFragment),
    ])
    func `A broken AAC payload is told`(hex: String, error: RTPError) throws {
        let format = try #require(RTPPayloadFormat(codec: .aac))
        let outputs = RTPPayloadReader.read([bytes(hex)], format: format)
        #expect(outputs.compactMap(\.error) == [error])
    }

    @Test func `A long AAC access unit is cut into packets that all name its size`() throws {
        let format = try #require(RTPPayloadFormat(codec: .aac))
        let writer = RTPPayloadWriter(format: format, maximumPayload: 100)
        var random = Generator(seed: 1)
        let frame = random.data([], count: 250)
        let payloads = try writer.payloads(of: frame, isKeyframe: true)
        #expect(payloads.ranges.map(\.count) == [88, 88, 86])
        #expect(payloads.payload(at: 2).prefix(4) == bytes("0010 07D0"))
        #expect(payloads.hasMarker(at: 2) && !payloads.hasMarker(at: 1))
        var reader = RTPPayloadReader(format: format)
        reader.append(payloads, timestamp: 9)
        #expect(reader.drain().compactMap(\.accessUnit?.payload) == [frame])
        // Without its first packet the access unit is never whole.
        reader.packetsAreMissing()
        for index in 1...2 {
            reader.append(payloads.payload(at: index), marker: payloads.hasMarker(at: index), timestamp: 9)
        }
        #expect(reader.drain() == [.broken(.unfinishedFragment, timestamp: 9)])
        #expect(throws: RTPError.frameTooLong(length: 8192, maximum: 8191)) {
            try writer.payloads(of: ByteBuffer(repeating: 0, count: 8192), isKeyframe: true)
        }
    }

    @Test func `AAC with time deltas, random access marks and an auxiliary section is read`() throws {
        let format = try #require(
            RTPPayloadFormat(
                encodingName: "MPEG4-GENERIC", clockRate: 48_000, channels: 2,
                formatParameters:
                    "streamtype=5;sizelength=13; indexlength=3 ;IndexDeltaLength=3;ctsdeltalength=7;"
                    + "randomaccessindication=1;auxiliarydatasizelength=8;constantduration=960"))
        // 13 bits of size, 3 of index, a flag with 7 bits, a mark; then 8 bits that tell of 8 more.
        let outputs = RTPPayloadReader.read([bytes("0019 0010 8580 08 EE AABB")], format: format)
        let unit = try #require(outputs.first?.accessUnit, "\(outputs)")
        #expect(unit.payload == bytes("AABB"))
        #expect(unit.duration == 960)
        let writer = RTPPayloadWriter(format: format, maximumPayload: 100)
        #expect(throws: RTPError.unsupportedCodec) { try writer.payloads(of: bytes("AA"), isKeyframe: true) }
    }

    @Test func `AAC of constant size has no headers`() throws {
        let format = try #require(
            RTPPayloadFormat(encodingName: "mpeg4-generic", clockRate: 8000, formatParameters: "constantsize=2"))
        #expect(
            RTPPayloadReader.read([bytes("AABBCCDD")], format: format).compactMap(\.accessUnit?.payload)
                == [bytes("AABB"), bytes("CCDD")])
        #expect(
            RTPPayloadReader.read([bytes("AABBCC")], format: format)
                == [.broken(.invalidValue(3, offset: 0), timestamp: 7)])
    }

    // MARK: LATM

    private static func latm(_ config: String = "40002420") -> RTPPayloadFormat? {
        RTPPayloadFormat(
            encodingName: "MP4A-LATM", clockRate: 44_100, formatParameters: "cpresent=0;config=\(config)")
    }

    @Test func `AAC in LATM is found behind its length, in one packet or several`() throws {
        let format = try #require(Self.latm())
        #expect(format.codec == .aac && format.clockRate == 44_100)
        #expect(
            RTPPayloadReader.read([bytes("03 AABBCC")], format: format).compactMap(\.accessUnit?.payload)
                == [bytes("AABBCC")])
        // 255 says that another byte of the length follows.
        var random = Generator(seed: 2)
        let frame = random.data([], count: 300)
        var whole = bytes("FF 2D")
        whole.writeImmutableBuffer(frame)
        for cut in [1, 2, 3, 150, 301] {
            let parts = [whole.getSlice(at: 0, length: cut), whole.getSlice(at: cut, length: 302 - cut)].compactMap(
                \.self)
            let units = RTPPayloadReader.read(parts, format: format).compactMap(\.accessUnit)
            #expect(units.map(\.payload) == [frame] && units.map(\.duration) == [1_024], "\(cut)")
        }
        // Two frames in each element.
        let two = try #require(Self.latm("41002420"))
        let units = RTPPayloadReader.read([bytes("02 AABB 01 CC")], format: two).compactMap(\.accessUnit)
        #expect(units.map(\.payload) == [bytes("AABB"), bytes("CC")] && units.map(\.timestamp) == [7, 1_031])
    }

    @Test(arguments: [
        ("05 AABB", RTPError.truncated(offset: 1, needed: 5, available: 2)),
        ("FF", .truncated(offset: 1, needed: 1, available: 0)), ("00 AA", .emptyUnit(offset: 1)),
        ("01 AABB", .invalidValue(1, offset: 2)),
    ])
    func `A broken LATM element is told`(hex: String, error: RTPError) throws {
        let format = try #require(Self.latm())
        #expect(RTPPayloadReader.read([bytes(hex)], format: format).compactMap(\.error) == [error])
        let writer = RTPPayloadWriter(format: format, maximumPayload: 100)
        #expect(throws: RTPError.unsupportedCodec) { try writer.payloads(of: bytes("AA"), isKeyframe: true) }
    }

    @Test func `LATM needs a configuration out of band, of the simple kind`() {
        #expect(Self.latm("C0002420") == nil && Self.latm("00002420") == nil && Self.latm("") == nil)
        for parameters in ["", "config=40002420", "cpresent=1;config=40002420"] {
            let format = RTPPayloadFormat(
                encodingName: "MP4A-LATM", clockRate: 44_100, formatParameters: parameters)
            #expect(format == nil)
        }
    }

    // MARK: MP3

    /// 64 kbit/s at 44.1 kHz, one channel: 208 bytes.
    private static func mp3(_ fill: UInt8) -> ByteBuffer {
        var frame = bytes("FFFB 50C4")
        frame.writeRepeatingByte(fill, count: 204)
        return frame
    }

    @Test func `Several MP3 frames in a packet follow each other in time`() {
        var payload = bytes("0000 0000")
        payload.writeImmutableBuffer(Self.mp3(1))
        payload.writeImmutableBuffer(Self.mp3(2))
        let units = RTPPayloadReader.read([payload], format: .mpegAudio).compactMap(\.accessUnit)
        #expect(units.map(\.payload) == [Self.mp3(1), Self.mp3(2)])
        #expect(units.map(\.timestamp) == [7, 7 + 2_351] && units.map(\.duration) == [2_351, 2_351])
    }

    @Test func `A long MP3 frame is cut into packets that say where they begin`() throws {
        let writer = RTPPayloadWriter(format: .mpegAudio, maximumPayload: 100)
        let payloads = try writer.payloads(of: Self.mp3(3), isKeyframe: true)
        #expect(payloads.ranges.map(\.count) == [74, 74, 72] && !payloads.hasMarker(at: 2))
        #expect(payloads.payload(at: 1).prefix(4) == bytes("0000 0046"))
        var reader = RTPPayloadReader(format: .mpegAudio)
        reader.append(payloads, timestamp: 9)
        #expect(reader.drain().compactMap(\.accessUnit?.payload) == [Self.mp3(3)])
        // Without its first packet, or with one missing in the middle, it is never whole.
        for missing in [0, 1] {
            for index in 0..<3 {
                if index == missing {
                    reader.packetsAreMissing()
                } else {
                    reader.append(payloads.payload(at: index), marker: false, timestamp: 20 + UInt32(missing))
                }
            }
            reader.append(payloads.payload(at: 0), marker: false, timestamp: 30 + UInt32(missing))
            #expect(reader.drain().compactMap(\.accessUnit).isEmpty)
        }
    }

    @Test(arguments: [
        ("00", RTPError.truncated(offset: 0, needed: 2, available: 1)),
        ("0000", .truncated(offset: 2, needed: 2, available: 0)), ("0000 0000 AABBCCDD", .invalidValue(0, offset: 4)),
        ("0000 0005 AA", .unfinishedFragment),
    ])
    func `A broken payload of MP3 is told`(hex: String, error: RTPError) {
        #expect(RTPPayloadReader.read([bytes(hex)], format: .mpegAudio).compactMap(\.error) == [error])
    }

    @Test func `Formats are made from an rtpmap and its parameters`() {
        func format(_ name: String, _ parameters: String = "") -> RTPPayloadFormat? {
            RTPPayloadFormat(encodingName: name, clockRate: 8000, channels: 2, formatParameters: parameters)
        }
        #expect(format("h264", "profile-level-id=42e01f;packetization-mode=1") == .h264(packetizationMode: 1))
        #expect(format("H264") == .h264(packetizationMode: 0))
        #expect(format("H265", "sprop-max-don-diff=0") == .hevc(usesDecodingOrderNumbers: false))
        #expect(format("H265", "sprop-max-don-diff = 2") == .hevc(usesDecodingOrderNumbers: true))
        #expect(format("PCMU") == .g711MuLaw(channels: 2))
        #expect(format("OPUS") == .opus)
        #expect(format("rtx") == nil)
        #expect(format("mpeg4-generic") == nil)
        #expect(format("mpeg4-generic", "sizelength=99") == nil)
        for codec in Codec.allCases {
            guard let format = RTPPayloadFormat(codec: codec) else { continue }
            #expect(format.codec == codec)
            #expect(format.clockRate > 0)
            #expect(
                RTPPayloadFormat(encodingName: format.encodingName, clockRate: format.clockRate) != nil
                    || codec == .aac)
        }
        #expect(RTPPayloadFormat(codec: .flac) == nil)
    }
}
