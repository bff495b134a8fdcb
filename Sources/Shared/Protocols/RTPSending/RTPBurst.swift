/// Packets of one frame that leave for one viewer at once.
///
/// All have the same header length; their payloads lie in the frame's buffer. For each packet: reserve
/// `headerLength` bytes, `writeHeader(of:into:)`, then encrypt `payload(of:in:)` behind it with `packetIndex(of:)`.
/// A retransmission on its own SSRC (`originalSequence` is set) has these two bytes in front of its payload, encrypted
/// with it; it is always a single packet.
package struct RTPBurst {
    /// Bytes of the longest header: the fixed part, and extensions with a mid of 16 bytes in the two-byte form.
    package static let maximumHeaderLength = 64

    /// Which packets of the frame: indices of `RTPFrame.packets`.
    package let packets: Range<Int>
    package let ssrc: UInt32
    /// Bytes in front of each payload. They are authenticated, not encrypted.
    package let headerLength: Int
    /// The 48-bit index of the first packet that SRTP encrypts with: rollover counter and sequence number
    /// (RFC 3711 §3.3.1). The others follow one by one.
    package let firstIndex: UInt64
    /// The number of the packet that is sent again, to be put in front of the payload. Spec: RFC 4588 §4.
    package let originalSequence: UInt16?
    /// Packet of `packets` that ends the frame; it has the marker bit. -1 if none is to have it.
    let markedPacket: Int
    let transportSequence: UInt16
    /// Where the transport-wide sequence number is in the header; 0 if it has none.
    let transportSequenceOffset: Int
    var header: RTPHeaderTemplate

    /// The number of packets.
    package var count: Int { self.packets.count }

    /// SRTP's packet index of the packet at `offset` (0 to `count` − 1) of the burst.
    package func packetIndex(of offset: Int) -> UInt64 { self.firstIndex + UInt64(truncatingIfNeeded: offset) }

    /// The sequence number of the packet at `offset` of the burst.
    package func sequence(of offset: Int) -> UInt16 { UInt16(truncatingIfNeeded: self.packetIndex(of: offset)) }

    /// The rollover counter of the packet at `offset` of the burst.
    package func rolloverCounter(of offset: Int) -> UInt32 {
        UInt32(truncatingIfNeeded: self.packetIndex(of: offset) >> 16)
    }

    /// Where the payload of the packet at `offset` of the burst lies in `frame.payload` (indices of the buffer).
    package func payload(of offset: Int, in frame: RTPFrame) -> Range<Int> {
        frame.packets[self.packets.lowerBound + offset]
    }

    /// Writes the header of the packet at `offset` of the burst: the first `headerLength` bytes of `destination`, which
    /// has that many at least.
    ///
    /// Cost: a copy of some 20 bytes and the patches; no allocation.
    package func writeHeader(of offset: Int, into destination: UnsafeMutableRawBufferPointer) {
        precondition(destination.count >= self.headerLength, "a header needs \(self.headerLength) bytes")
        unsafe self.header.copy(count: self.headerLength, to: destination)
        if self.packets.lowerBound + offset == self.markedPacket { unsafe destination[1] |= 0x80 }
        unsafe destination.storeBytes(of: self.sequence(of: offset).bigEndian, toByteOffset: 2, as: UInt16.self)
        guard self.transportSequenceOffset > 0 else { return }
        let number = self.transportSequence &+ UInt16(truncatingIfNeeded: offset)
        unsafe destination.storeBytes(
            of: number.bigEndian, toByteOffset: self.transportSequenceOffset, as: UInt16.self)
    }
}
