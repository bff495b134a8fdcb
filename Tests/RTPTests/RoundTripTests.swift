import Media
import NIOCore
import RTP
import Testing

/// What goes out comes back, for frames of every size around the limits.
@Suite struct RoundTripTests {
    static let maximum = 100

    /// A frame of `size` bytes (roughly, for several units).
    static func frame(_ codec: Codec, size: Int, isKeyframe: Bool, _ random: inout Generator) -> ByteBuffer {
        switch codec {
        case .h264:
            let count = Int.random(in: 1...4, using: &random)
            return lengthPrefixed(
                (0..<count).map { _ in
                    random.data([isKeyframe ? 0x65 : 0x41, 0x80], count: max(2, size / count))
                })
        case .hevc:
            let count = Int.random(in: 1...4, using: &random)
            return lengthPrefixed(
                (0..<count).map { _ in
                    random.data([isKeyframe ? 0x26 : 0x02, 1, 0x80], count: max(3, size / count))
                })
        case .vp8: return random.data(isKeyframe ? TestFrames.vp8Keyframe : [0x11], count: size)
        case .vp9: return random.data(isKeyframe ? TestFrames.vp9Keyframe : TestFrames.vp9Interframe, count: size)
        case .av1:
            var buffer = isKeyframe ? TestFrames.av1SequenceHeader : ByteBuffer()
            let count = Int.random(in: 1...5, using: &random)
            for index in 0..<count {
                // A frame, then tile groups and metadata, some with a layer byte.
                let payload = random.data([isKeyframe ? 0x10 : 0x30], count: max(1, size / count))
                let hasLayer = Bool.random(using: &random)
                buffer.writeInteger(UInt8(index == 0 ? 0x32 : index % 2 == 0 ? 0x2A : 0x22) | (hasLayer ? 4 : 0))
                if hasLayer { buffer.writeInteger(UInt8(0x20)) }
                var rest = payload.readableBytes
                while rest > 127 {
                    buffer.writeInteger(UInt8(rest & 127 | 128))
                    rest >>= 7
                }
                buffer.writeInteger(UInt8(rest))
                buffer.writeImmutableBuffer(payload)
            }
            return buffer
        default: return random.data([0xF8], count: size)
        }
    }

    @Test(arguments: [Codec.h264, .hevc, .vp8, .vp9, .av1, .aac])
    func `Frames of every size come back, in packets within the limit`(codec: Codec) throws {
        let format = try #require(RTPPayloadFormat(codec: codec))
        let writer = RTPPayloadWriter(format: format, maximumPayload: Self.maximum)
        var reader = RTPPayloadReader(format: format)
        var random = Generator(seed: 5)
        for size in Array(1...420) + [997, 1000, 4096, 65_000] where codec != .aac || size < 8192 {
            let isKeyframe = codec == .aac || size % 3 == 0
            let frame = Self.frame(codec, size: size, isKeyframe: isKeyframe, &random)
            let timestamp = UInt32(truncatingIfNeeded: size) &* 0x3FFF_FFFF
            let payloads = try writer.payloads(of: frame, isKeyframe: isKeyframe)
            #expect(payloads.ranges.allSatisfy { $0.count <= Self.maximum })
            #expect(payloads.ranges.last?.upperBound == payloads.buffer.readableBytes)
            reader.append(payloads, timestamp: timestamp)
            let outputs = reader.drain()
            let unit = try #require(outputs.first?.accessUnit, "\(size): \(outputs)")
            #expect(outputs.count == 1)
            #expect(unit.payload == frame, "\(size)")
            #expect(unit.isKeyframe == isKeyframe, "\(size)")
            #expect(unit.timestamp == timestamp)
        }
    }

    @Test(arguments: [Codec.vp8, .vp9, .h264, .hevc, .av1])
    func `Packets of one large unit are of one size but the last, and no more than needed`(codec: Codec) throws {
        let format = try #require(RTPPayloadFormat(codec: codec))
        let writer = RTPPayloadWriter(format: format, maximumPayload: 1180)
        var random = Generator(seed: 6)
        for size in stride(from: 1300, to: 40_000, by: 777) {
            let frame: ByteBuffer
            switch codec {
            case .h264: frame = lengthPrefixed([random.data([0x41, 0x80], count: size)])
            case .hevc: frame = lengthPrefixed([random.data([0x02, 1, 0x80], count: size)])
            case .av1: frame = bytes("30").appending(random.data([0x30], count: size))
            default: frame = Self.frame(codec, size: size, isKeyframe: false, &random)
            }
            let payloads = try writer.payloads(of: frame, isKeyframe: false)
            #expect(payloads.equalSizedRuns == [payloads.ranges.indices], "\(size): \(payloads.ranges.map(\.count))")
            #expect(payloads.ranges.count <= size / 1170 + 1)
        }
    }

    @Test(arguments: [Codec.h264, .hevc, .vp8, .vp9, .av1, .aac])
    func `A frame without any one of its packets never comes out, told or not`(codec: Codec) throws {
        let format = try #require(RTPPayloadFormat(codec: codec))
        var random = Generator(seed: 7)
        for round in 0..<60 {
            let writer = RTPPayloadWriter(format: format, maximumPayload: Self.maximum)
            let frames = (0..<3).map { Self.frame(codec, size: 60 + round * 17, isKeyframe: $0 == 1, &random) }
            let packets = try frames.map { try writer.payloads(of: $0, isKeyframe: false) }
            let lost = Int.random(in: packets[1].ranges.indices, using: &random)
            var reader = RTPPayloadReader(format: format)
            for (index, payloads) in packets.enumerated() {
                for packet in payloads.ranges.indices {
                    if index == 1, packet == lost {
                        reader.packetsAreMissing()
                        continue
                    }
                    reader.append(
                        payloads.payload(at: packet), marker: payloads.hasMarker(at: packet),
                        timestamp: UInt32(index) &* 3000)
                }
            }
            // The last frame may be given up as well: nobody knows whether it lost its beginning.
            let whole = reader.drain().compactMap(\.accessUnit?.payload)
            #expect(whole.first == frames[0])
            #expect(whole.allSatisfy { $0 == frames[0] || $0 == frames[2] }, "\(codec) \(round) lost \(lost)")
        }
    }

    @Test(arguments: [Codec.h264, .hevc, .vp8, .vp9, .av1, .opus, .aac])
    func `Payloads cut at any byte and random ones are read without a trap, and recovery follows`(codec: Codec) throws {
        let format = try #require(RTPPayloadFormat(codec: codec))
        var random = Generator(seed: 8)
        let writer = RTPPayloadWriter(format: format, maximumPayload: Self.maximum)
        var reader = RTPPayloadReader(format: format, maximumLength: 5000)
        let frame = Self.frame(codec, size: codec == .opus ? 90 : 350, isKeyframe: true, &random)
        let payloads = try writer.payloads(of: frame, isKeyframe: true)
        var timestamp: UInt32 = 0
        for index in payloads.ranges.indices {
            let payload = payloads.payload(at: index)
            for length in 1..<payload.readableBytes {
                timestamp &+= 3000
                for other in payloads.ranges.indices {
                    let data = other == index ? payload.prefix(length) : payloads.payload(at: other)
                    reader.append(data, marker: payloads.hasMarker(at: other), timestamp: timestamp)
                }
                reader.append(payloads, timestamp: timestamp &+ 1)
                #expect(reader.drain().last?.accessUnit?.payload == frame)
            }
        }
        for _ in 0..<3000 {
            timestamp &+= UInt32.random(in: 0...1, using: &random)
            reader.append(
                random.data([], count: Int.random(in: 0...40, using: &random)), marker: Bool.random(using: &random),
                timestamp: timestamp)
            if Int.random(in: 0..<10, using: &random) == 0 { reader.packetsAreMissing() }
            for unit in reader.drain().compactMap(\.accessUnit) { #expect(unit.payload.readableBytes <= 5100) }
        }
        reader.append(Self.boundary(of: payloads), marker: true, timestamp: timestamp &+ 1)
        reader.append(payloads, timestamp: timestamp &+ 2)
        #expect(reader.drain().last?.accessUnit?.payload == frame)
    }

    /// Any packet with a marker ends what was there.
    private static func boundary(of payloads: RTPPayloads) -> ByteBuffer { payloads.payload(at: 0) }
}

@Suite struct GapTests {
    @Test func `After a gap an H.264 keyframe needs its parameter sets, other pictures their first slice`() {
        var reader = RTPPayloadReader(format: .h264(packetizationMode: 1))
        reader.packetsAreMissing()
        reader.append(bytes("6588"), marker: true, timestamp: 1)
        #expect(reader.drain() == [.broken(.packetsMissing, timestamp: 1)])
        reader.packetsAreMissing()
        reader.append(bytes("78 0004 67420000 0002 6588"), marker: true, timestamp: 2)
        #expect(reader.drain().first?.accessUnit?.isKeyframe == true)
        reader.packetsAreMissing()
        reader.append(bytes("4140"), marker: true, timestamp: 3)
        #expect(reader.drain() == [.broken(.missingFirstSlice, timestamp: 3)])
        reader.packetsAreMissing()
        reader.append(bytes("41E0"), marker: true, timestamp: 4)
        #expect(reader.drain().first?.accessUnit != nil)
    }

    @Test func `The rest of a frame that lost a packet is passed over, and told once`() {
        var reader = RTPPayloadReader(format: .vp8)
        reader.append(bytes("10 01AA"), marker: false, timestamp: 1)
        reader.packetsAreMissing()
        reader.append(bytes("00 BB"), marker: false, timestamp: 1)
        reader.packetsAreMissing()
        reader.append(bytes("00 CC"), marker: false, timestamp: 1)
        reader.append(bytes("00 DD"), marker: true, timestamp: 1)
        reader.append(bytes("10 01EE"), marker: true, timestamp: 2)
        let outputs = reader.drain()
        #expect(outputs.count == 2)
        #expect(outputs.first == .broken(.packetsMissing, timestamp: 1))
        #expect(outputs.last?.accessUnit?.payload == bytes("01EE"))
    }

    @Test func `After a gap only what shows to be a beginning is taken`() {
        let cases: [(RTPPayloadFormat, begins: [String], continues: [String])] = [
            (.vp8, ["10 01AA"], ["00 AA", "11 AA"]),
            (.vp9, ["0C 860040", "AC 01 00 05 860040"], ["04 86", "AC 01 03 05 86", "AC 01 02 05 86"]),
            (.av1, ["18 30 30", "20 02 1200 3030"], ["10 3030", "90 AA", "00 FF"]),
            (.hevc(usesDecodingOrderNumbers: false), ["0201 80", "6201 C1 80"], ["6201 41 80", "0201 00"]),
            (.opus, ["F8AA"], []),
        ]
        for (format, begins, continues) in cases {
            for (hex, isTaken) in begins.map({ ($0, true) }) + continues.map({ ($0, false) }) {
                var reader = RTPPayloadReader(format: format)
                reader.packetsAreMissing()
                reader.append(bytes(hex), marker: true, timestamp: 1)
                let outputs = reader.drain()
                #expect(outputs.count == 1)
                #expect((outputs.first?.accessUnit != nil) == isTaken, "\(format) \(hex): \(outputs)")
            }
        }
    }

    @Test func `A gap drops parameter sets that came alone`() {
        var reader = RTPPayloadReader(format: .h264(packetizationMode: 1))
        reader.append(bytes("67420000"), marker: true, timestamp: 1)
        reader.packetsAreMissing()
        reader.append(bytes("41E0"), marker: true, timestamp: 2)
        #expect(reader.drain().first?.accessUnit?.parameterSets.isEmpty == true)
    }
}
