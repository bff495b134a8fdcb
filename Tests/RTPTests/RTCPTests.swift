import NIOCore
import RTP
import Testing

@Suite struct RTCPTests {
    /// Each kind with its bytes from the RFCs' figures.
    private static let vectors: [(hex: String, packet: RTCPPacket)] = [
        (
            "81C8000C 00000001 E000000080000000 00000002 00000003 00000004"
                + "0000000A 40FFFFFE 0001FFFF 00000007 00010000 00008000",
            .senderReport(
                RTCPSenderReport(
                    ssrc: 1, ntpTime: NTPTime(value: 0xE000_0000_8000_0000), rtpTimestamp: 2, packetCount: 3,
                    octetCount: 4,
                    reports: [
                        RTCPReportBlock(
                            ssrc: 10, fractionLost: 0x40, cumulativeLost: -2, highestSequenceNumber: 0x1FFFF,
                            jitter: 7, lastSenderReport: 0x10000, delaySinceLastSenderReport: 0x8000)
                    ]))
        ),
        ("80C90001 00000001", .receiverReport(RTCPReceiverReport(ssrc: 1))),
        (
            "82CA0005 00000001 0102 6162 00000000 00000002 0F01 30 00",
            .sourceDescription(
                RTCPSourceDescription(chunks: [
                    .init(ssrc: 1, items: [.init(type: 1, text: ByteBuffer(string: "ab"))]),
                    .init(ssrc: 2, items: [.init(type: 15, text: ByteBuffer(string: "0"))]),
                ]))
        ),
        ("81CB0002 00000005 03627965", .goodbye(RTCPGoodbye(ssrcs: [5], reason: ByteBuffer(string: "bye")))),
        ("82CB0002 00000005 00000006", .goodbye(RTCPGoodbye(ssrcs: [5, 6]))),
        (
            "85CC0003 00000001 74657374 DEADBEEF",
            .application(
                RTCPApplicationPacket(subtype: 5, ssrc: 1, name: 0x7465_7374, data: bytes("DEADBEEF")))
        ),
        (
            "81CD0004 00000001 00000002 FFFE8003 00200000",
            .nack(
                RTCPNack(
                    senderSSRC: 1, mediaSSRC: 2, sequenceNumbers: [0xFFFE, 0xFFFF, 0, 0x000E, 0x0020]))
        ),
        ("81CE0002 00000001 00000002", .pictureLossIndication(senderSSRC: 1, mediaSSRC: 2)),
        (
            "84CE0004 00000001 00000000 00000002 09000000",
            .fullIntraRequest(RTCPFullIntraRequest(senderSSRC: 1, entries: [.init(ssrc: 2, sequenceNumber: 9)]))
        ),
        (
            "8FCE0005 00000001 00000000 52454D42 010BD090 00000007",
            .receiverEstimatedMaximumBitrate(
                RTCPReceiverEstimate(senderSSRC: 1, bitsPerSecond: 0x3D090 << 2, ssrcs: [7]))
        ),
    ]

    @Test(arguments: vectors.indices)
    func `A packet is read from its bytes and written to them`(index: Int) throws {
        let (hex, packet) = Self.vectors[index]
        #expect(try RTCPPacket.parseCompound(bytes(hex)) == [packet])
        #expect(written { packet.write(into: &$0) } == bytes(hex))
    }

    @Test func `A compound of all kinds is read in order, and cut anywhere it is refused or shorter`() throws {
        let whole = bytes(Self.vectors.map(\.hex).joined())
        #expect(try RTCPPacket.parseCompound(whole) == Self.vectors.map(\.packet))
        var borders: Set<Int> = []
        var offset = 0
        for vector in Self.vectors {
            offset += bytes(vector.hex).readableBytes
            borders.insert(offset)
        }
        for count in 0..<whole.readableBytes {
            let cut = try #require(whole.getSlice(at: 0, length: count))
            if borders.contains(count) {
                #expect(try !RTCPPacket.parseCompound(cut).contains { if case .malformed = $0 { true } else { false } })
            } else {
                #expect(throws: RTPError.self) { try RTCPPacket.parseCompound(cut) }
            }
        }
    }

    @Test(arguments: vectors.indices)
    func `A packet whose length tells fewer words than it needs is malformed, and the next one stands`(
        index: Int
    ) throws {
        var packet = bytes(Self.vectors[index].hex)
        let words = try #require(packet.getInteger(at: 2, as: UInt16.self))
        for fewer in 0..<words {
            packet.setInteger(fewer, at: 2)
            var compound = try #require(packet.getSlice(at: 0, length: 4 + Int(fewer) * 4))
            compound.writeImmutableBuffer(bytes("80C90001 00000009"))
            let packets = try RTCPPacket.parseCompound(compound)
            #expect(packets.count == 2)
            #expect(packets.last == .receiverReport(RTCPReceiverReport(ssrc: 9)))
            // Lists without a count end where the packet does: those are shorter, not broken.
            #expect(packets.first != Self.vectors[index].packet)
        }
    }

    @Test func `Extended reports, unknown feedback and foreign application feedback are passed over`() throws {
        #expect(
            try RTCPPacket.parseCompound(bytes("80CF0002 00000001 04000000 82CE0003 00000001 00000002 00000000"))
                == [.other(type: 207, count: 0), .other(type: 206, count: 2)])
        #expect(
            try RTCPPacket.parseCompound(bytes("8FCE0003 00000001 00000002 41424344"))
                == [.other(type: 206, count: 15)])
        #expect(written { RTCPPacket.other(type: 207, count: 0).write(into: &$0) }.readableBytes == 0)
    }

    @Test func `Padding is taken off, and impossible padding is refused`() throws {
        #expect(
            try RTCPPacket.parseCompound(bytes("A1CB0002 00000005 00000004"))
                == [.goodbye(RTCPGoodbye(ssrcs: [5]))])
        #expect(throws: RTPError.invalidPadding(length: 9, available: 8)) {
            try RTCPPacket.parseCompound(bytes("A1CB0002 00000005 00000009"))
        }
        #expect(throws: RTPError.invalidPadding(length: 0, available: 0)) {
            try RTCPPacket.parseCompound(bytes("A0CB0000"))
        }
    }

    @Test func `What is not RTCP is refused`() {
        #expect(throws: RTPError.unsupportedVersion(0)) { try RTCPPacket.parseCompound(bytes("00C90001 00000001")) }
        #expect(throws: RTPError.unexpectedPacketType(96)) { try RTCPPacket.parseCompound(bytes("80600001 00000001")) }
        #expect(throws: RTPError.truncated(offset: 0, needed: 4, available: 0)) {
            try RTCPPacket.parseCompound(ByteBuffer())
        }
    }

    @Test func `The number of packets in a compound and of numbers in a NACK is bounded`() throws {
        let many = bytes(String(repeating: "80CB0000", count: 65))
        #expect(throws: RTPError.tooManyPackets(limit: 64)) { try RTCPPacket.parseCompound(many) }
        var nack = bytes("81CD0000 00000001 00000002")
        for _ in 0..<300 { nack.writeInteger(0x0001_FFFF as UInt32) }
        nack.setInteger(UInt16(302), at: 2)
        #expect(
            try RTCPPacket.parseCompound(nack)
                == [.malformed(type: 205, count: 1, .tooManyPackets(limit: RTCPNack.maximumSequenceNumbers))])
    }

    @Test(arguments: 0..<30 as Range<UInt64>)
    func `Ascending numbers of a NACK come back over the wrap, densely`(seed: UInt64) throws {
        var random = Generator(seed: seed)
        var next = UInt16.random(in: 0xFF00...0xFFFF, using: &random)
        let numbers = (0..<Int.random(in: 1...100, using: &random)).map { _ in
            next &+= UInt16.random(in: 1...30, using: &random)
            return next
        }
        let nack = RTCPPacket.nack(RTCPNack(senderSSRC: 1, mediaSSRC: 2, sequenceNumbers: numbers))
        let buffer = written { nack.write(into: &$0) }
        #expect(try RTCPPacket.parseCompound(buffer) == [nack])
        #expect(buffer.readableBytes <= 12 + numbers.count * 4)
        let run = RTCPNack(senderSSRC: 1, mediaSSRC: 2, sequenceNumbers: (0..<17).map { 0xFFF8 &+ $0 })
        #expect(written { RTCPPacket.nack(run).write(into: &$0) }.readableBytes == 16)
    }

    @Test(arguments: [0, 1, 0x3FFFF, 0x40000, 2_500_000, 1 << 40, UInt64.max])
    func `An estimate keeps 18 significant bits and is never rounded up`(bits: UInt64) throws {
        let packet = RTCPPacket.receiverEstimatedMaximumBitrate(
            RTCPReceiverEstimate(senderSSRC: 1, bitsPerSecond: bits, ssrcs: [3, 4]))
        let again = try RTCPPacket.parseCompound(written { packet.write(into: &$0) })
        guard case .receiverEstimatedMaximumBitrate(let estimate) = try #require(again.first) else {
            Issue.record("\(again)")
            return
        }
        #expect(estimate.bitsPerSecond <= bits)
        #expect(bits - estimate.bitsPerSecond <= bits >> 17)
        #expect(estimate.ssrcs == [3, 4])
    }

    @Test func `An estimate beyond 64 bits is the highest number`() throws {
        let packets = try RTCPPacket.parseCompound(bytes("8FCE0004 00000001 00000000 52454D42 00FFFFFF"))
        #expect(
            packets == [
                .receiverEstimatedMaximumBitrate(
                    RTCPReceiverEstimate(senderSSRC: 1, bitsPerSecond: .max, ssrcs: []))
            ])
    }

    @Test func `NTP time and the round trip of a report block are right to the microsecond`() {
        let time = NTPTime(unixNanoseconds: 1_500_000_000)
        #expect(time.value == (2_208_988_801 as UInt64) << 32 | 1 << 31)
        #expect(NTPTime(unixNanoseconds: -500_000_000).value == (2_208_988_799 as UInt64) << 32 | 1 << 31)
        let later = NTPTime(unixNanoseconds: 1_750_000_000)
        #expect(NTPTime.micros(from: time, to: later) == 250_000)
        #expect(NTPTime.micros(from: later, to: time) == -250_000)
        var block = RTCPReportBlock(
            ssrc: 1, fractionLost: 0, cumulativeLost: 0, highestSequenceNumber: 0, jitter: 0,
            lastSenderReport: time.compact, delaySinceLastSenderReport: 0x2000)
        #expect(block.roundTripMicros(now: later) == 125_000)
        block.delaySinceLastSenderReport = 0x10000
        #expect(block.roundTripMicros(now: later) == nil)
        block.lastSenderReport = 0
        #expect(block.roundTripMicros(now: later) == nil)
    }

    @Test func `The sum of lost packets is cut to its 24 bits`() {
        let block = RTCPReportBlock(
            ssrc: 1, fractionLost: 0, cumulativeLost: 99_999_999, highestSequenceNumber: 0, jitter: 0,
            lastSenderReport: 0, delaySinceLastSenderReport: 0)
        #expect(block.cumulativeLost == 0x7F_FFFF)
    }
}
