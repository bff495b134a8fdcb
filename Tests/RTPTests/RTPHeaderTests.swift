import NIOCore
import RTP
import Testing

@Suite struct RTPHeaderTests {
    /// RFC 3550 §5.1: every field of a packet made by hand.
    @Test func `A packet with sources, an extension and padding is read field by field and written the same`() throws {
        let datagram = bytes("B2 E0 FFFE 01020304 AABBCCDD 11111111 22222222 BEDE0001 10AA2055 010203 000003")
        let packet = try RTPPacket(parsing: datagram)
        #expect(packet.header.marker)
        #expect(packet.header.payloadType == 96)
        #expect(packet.header.sequenceNumber == 0xFFFE)
        #expect(packet.header.timestamp == 0x0102_0304)
        #expect(packet.header.ssrc == 0xAABB_CCDD)
        #expect(packet.header.csrcs == [0x1111_1111, 0x2222_2222])
        #expect(packet.header.extensions?.value(id: 1) == bytes("AA"))
        #expect(packet.header.extensions?.value(id: 2) == bytes("55"))
        #expect(packet.payload == bytes("010203"))
        #expect(packet.paddingCount == 3)
        #expect(packet.header.byteCount == 28)
        #expect(written { packet.write(into: &$0) } == datagram)
    }

    @Test func `A packet cut anywhere in its header is refused, and cut in its payload it is shorter`() throws {
        let datagram = bytes("91 60 0001 00000002 00000003 11111111 BEDE0002 10AA0000 00000000 0102030405")
        for count in 0..<datagram.readableBytes {
            let cut = try #require(datagram.getSlice(at: 0, length: count))
            if count < 28 {
                #expect(throws: RTPError.self) { try RTPPacket(parsing: cut) }
            } else {
                #expect(try RTPPacket(parsing: cut).payload.readableBytes == count - 28)
            }
        }
    }

    @Test func `Errors name what is wrong`() {
        #expect(throws: RTPError.truncated(offset: 0, needed: 12, available: 11)) {
            try RTPPacket(parsing: ByteBuffer(repeating: 0x80, count: 11))
        }
        #expect(throws: RTPError.unsupportedVersion(1)) { try RTPPacket(parsing: bytes("40" + zeros(11))) }
        #expect(throws: RTPError.unexpectedPacketType(200)) { try RTPPacket(parsing: bytes("80C8" + zeros(10))) }
        #expect(throws: RTPError.truncated(offset: 12, needed: 8, available: 4)) {
            try RTPPacket(parsing: bytes("8260" + zeros(14)))
        }
        #expect(throws: RTPError.truncated(offset: 12, needed: 4, available: 3)) {
            try RTPPacket(parsing: bytes("9060" + zeros(13)))
        }
        #expect(throws: RTPError.truncated(offset: 16, needed: 8, available: 4)) {
            try RTPPacket(parsing: bytes("9060" + zeros(10) + "BEDE000200000000"))
        }
        #expect(throws: RTPError.invalidPadding(length: 0, available: 1)) {
            try RTPPacket(parsing: bytes("A060" + zeros(10) + "00"))
        }
        #expect(throws: RTPError.invalidPadding(length: 3, available: 2)) {
            try RTPPacket(parsing: bytes("A060" + zeros(10) + "0003"))
        }
        // Without a payload the byte in front of the end is not padding's.
        #expect(throws: RTPError.invalidPadding(length: 0, available: 0)) {
            try RTPPacket(parsing: bytes("A060" + zeros(10)))
        }
    }

    @Test func `A packet of padding alone has an empty payload`() throws {
        let packet = try RTPPacket(parsing: bytes("A060" + zeros(10) + "00000004"))
        #expect(packet.payload.readableBytes == 0)
        #expect(packet.paddingCount == 4)
    }

    @Test func `RTP, RTCP and what is neither are told apart by their first bytes`() {
        #expect(RTPPacket.isRTCP(secondByte: 192) && RTPPacket.isRTCP(secondByte: 223))
        #expect(!RTPPacket.isRTCP(secondByte: 191) && !RTPPacket.isRTCP(secondByte: 224))
        #expect(RTPPacket.isRTPOrRTCP(firstByte: 128) && RTPPacket.isRTPOrRTCP(firstByte: 191))
        #expect(!RTPPacket.isRTPOrRTCP(firstByte: 127) && !RTPPacket.isRTPOrRTCP(firstByte: 192))
    }

    @Test(arguments: 0..<60 as Range<UInt64>)
    func `What is written is read again`(seed: UInt64) throws {
        var random = Generator(seed: seed)
        let header = RTPHeader(
            marker: Bool.random(using: &random),
            payloadType: [0, 8, 35, 63, 96, 127].randomElement(using: &random) ?? 0,
            sequenceNumber: .random(in: 0...UInt16.max, using: &random),
            timestamp: .random(in: 0...UInt32.max, using: &random), ssrc: .random(in: 0...UInt32.max, using: &random),
            csrcs: (0..<Int.random(in: 0...15, using: &random)).map { UInt32($0) &* 77_777_777 },
            extensions: Bool.random(using: &random)
                ? RTPHeaderExtensions(
                    (1...UInt8.random(in: 1...20, using: &random)).map { id in
                        .init(id: id, value: random.data([], count: Int.random(in: 0...20, using: &random)))
                    }) : nil)
        let packet = RTPPacket(
            header: header, payload: random.data([], count: Int.random(in: 0...50, using: &random)),
            paddingCount: Int.random(in: 0...255, using: &random))
        let again = try RTPPacket(parsing: written { packet.write(into: &$0) })
        #expect(again == packet)
    }

    private func zeros(_ count: Int) -> String { String(repeating: "00", count: count) }
}

@Suite struct RTPHeaderExtensionTests {
    private func block(_ hex: String) throws -> RTPHeaderExtensions {
        let packet = try RTPPacket(parsing: bytes("9060 0000 00000000 00000000" + hex))
        return try #require(packet.header.extensions)
    }

    /// RFC 8285 §4.2: padding between elements, an id of 15 that ends, lengths one above the field.
    @Test func `Elements with one-byte headers are found between padding and in front of id 15`() throws {
        let extensions = try self.block("BEDE 0004 10AA 00 00 33 01020304 00 25 A1A2A3 0000")
        #expect(extensions.form == .oneByte)
        #expect(extensions.map(\.id) == [1, 3])
        #expect(extensions.value(id: 3) == bytes("01020304"))
        #expect(extensions.value(id: 2) == nil)
        let ended = try self.block("BEDE 0002 10AA F0BB 20CC 0000")
        #expect(ended.map(\.id) == [1])
    }

    /// RFC 8285 §4.3.
    @Test func `Elements with two-byte headers may be empty, and any application bits are accepted`() throws {
        let extensions = try self.block("1005 0003 0100 00 10 03 AABBCC FF 01 DD 00")
        #expect(extensions.form == .twoByte)
        #expect(extensions.map(\.id) == [1, 16, 255])
        #expect(extensions.value(id: 1) == ByteBuffer())
        #expect(extensions.value(id: 16) == bytes("AABBCC"))
        #expect(extensions.value(id: 255) == bytes("DD"))
    }

    @Test func `Another profile has no elements and is written as it was`() throws {
        let extensions = try self.block("ABCD 0001 10AA20BB")
        #expect(extensions.form == .other(profile: 0xABCD))
        #expect(Array(extensions).isEmpty)
        #expect(written { extensions.write(into: &$0) } == bytes("ABCD 0001 10AA20BB"))
    }

    @Test func `An element that is cut off ends the walk`() throws {
        #expect(try self.block("BEDE 0001 10AA 2FBB").map(\.id) == [1])
        #expect(try self.block("1000 0001 0101AA 02").map(\.id) == [1])
        #expect(try self.block("1000 0001 0101AA 00").map(\.id) == [1])
    }

    @Test func `The smallest form that holds all elements is written`() {
        let small = RTPHeaderExtensions([.init(id: 3, value: bytes("01")), .init(id: 14, value: bytes("0203"))])
        #expect(written { small.write(into: &$0) } == bytes("BEDE 0002 3001 E10203 000000"))
        let empty = RTPHeaderExtensions([.init(id: 3, value: ByteBuffer())])
        #expect(written { empty.write(into: &$0) } == bytes("1000 0001 0300 0000"))
        let highID = RTPHeaderExtensions([.init(id: 15, value: bytes("01"))])
        #expect(written { highID.write(into: &$0) } == bytes("1000 0001 0F01 01 00"))
    }

    @Test func `Absolute send time counts 64 seconds in 24 bits and its distance goes the shorter way round`() throws {
        #expect(RTPAbsoluteSendTime(nanoseconds: 1_000_000_000).value == 1 << 18)
        #expect(RTPAbsoluteSendTime(nanoseconds: 65_500_000_000).value == 1 << 18 | 1 << 17)
        let late = RTPAbsoluteSendTime(nanoseconds: 63_900_000_000)
        let wrapped = RTPAbsoluteSendTime(nanoseconds: 64_100_000_000)
        #expect((199_990...200_010).contains(RTPAbsoluteSendTime.micros(from: late, to: wrapped)))
        #expect((-200_010 ... -199_990).contains(RTPAbsoluteSendTime.micros(from: wrapped, to: late)))
        #expect(RTPAbsoluteSendTime(parsing: written { late.write(into: &$0) }) == late)
        #expect(RTPAbsoluteSendTime(parsing: bytes("0102")) == nil)
    }

    @Test func `Playout delay holds two times in steps of 10 ms`() {
        let delay = RTPPlayoutDelay(minimumMillis: 100, maximumMillis: 99_999)
        #expect(written { delay.write(into: &$0) } == bytes("00AFFF"))
        #expect(RTPPlayoutDelay(parsing: bytes("00AFFF")) == delay)
        #expect(RTPPlayoutDelay(parsing: bytes("00AFFF00")) == nil)
    }
}
