import NIOCore
import RTP
import Testing

@Suite struct RedundancyTests {
    @Test func `A retransmission gives the packet that was lost`() throws {
        let sent = RTPPacket(
            header: RTPHeader(marker: true, payloadType: 97, sequenceNumber: 9, timestamp: 5, ssrc: 2),
            payload: written { RTXPacket.write(originalSequenceNumber: 0xFFFF, payload: bytes("AABB"), into: &$0) })
        #expect(sent.payload == bytes("FFFF AABB"))
        let original = try #require(try RTXPacket.original(of: sent, ssrc: 1, payloadType: 96))
        #expect(
            original
                == RTPPacket(
                    header: RTPHeader(marker: true, payloadType: 96, sequenceNumber: 0xFFFF, timestamp: 5, ssrc: 1),
                    payload: bytes("AABB")))
    }

    @Test func `A retransmission of nothing is a probe, and half a number is an error`() throws {
        #expect(try RTXPacket.unwrap(ByteBuffer()) == nil)
        #expect(throws: RTPError.truncated(offset: 0, needed: 2, available: 1)) { try RTXPacket.unwrap(bytes("01")) }
        #expect(try RTXPacket.unwrap(bytes("0102"))?.payload.readableBytes == 0)
    }

    /// RFC 2198 §3: F, type, 14 bits of offset, 10 bits of length.
    @Test func `Redundant blocks and the primary one are read and written`() throws {
        let payload = bytes("EF 0F0002 EF 078003 6F A1A2 B1B2B3 C1C2C3C4")
        let red = try REDPayload(parsing: payload)
        #expect(
            red.redundant == [
                .init(payloadType: 111, timestampOffset: 960, payload: bytes("A1A2")),
                .init(payloadType: 111, timestampOffset: 480, payload: bytes("B1B2B3")),
            ])
        #expect(red.primary == .init(payloadType: 111, timestampOffset: 0, payload: bytes("C1C2C3C4")))
        #expect(written { red.write(into: &$0) } == payload)
        for count in 0..<14 {
            #expect(throws: RTPError.self) { try REDPayload(parsing: payload.prefix(count)) }
        }
        #expect(try REDPayload(parsing: payload.prefix(14)).primary.payload.readableBytes == 0)
    }

    @Test func `Without redundancy one byte is in front`() throws {
        let red = try REDPayload(parsing: bytes("60 0102"))
        #expect(red.redundant.isEmpty)
        #expect(red.primary == .init(payloadType: 96, timestampOffset: 0, payload: bytes("0102")))
    }

    @Test func `Blocks are bounded`() {
        let many = bytes(String(repeating: "80000000", count: 33) + "60")
        #expect(throws: RTPError.tooManyPackets(limit: 32)) { try REDPayload(parsing: many) }
    }
}
