package import NIOCore

/// Cuts the bytes of a TCP connection into packets, each behind its length in 16 bits. Spec: RFC 4571 §2.
///
/// A device that writes a wrong length puts everything behind it out of step: what follows is then looked through for a
/// length with an RTP packet of the same source behind it.
package struct PacketFraming: Sendable {
    private var buffer = ByteBuffer()
    /// The last eight bytes of the fixed header: the source by which packets are found again. `nil` before the first.
    private var ssrc: UInt32?
    private var isLost = false
    /// Bytes that were passed over to find packets again.
    package private(set) var skippedBytes = 0
    /// How often packets had to be found again.
    package private(set) var resynchronisations = 0

    package init() {}

    /// Bytes that wait for the rest of their packet: at most 64 KiB and one read.
    package var waitingBytes: Int { self.buffer.readableBytes }

    package mutating func append(_ bytes: ByteBuffer) {
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            self.buffer.discardReadBytes()
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next packet, without its length; `nil` until it is complete. Empty ones are passed over.
    package mutating func next() -> ByteBuffer? {
        while true {
            if self.isLost, !self.findPacket() { return nil }
            guard let length = self.buffer.getInteger(at: self.buffer.readerIndex, as: UInt16.self) else { return nil }
            if length == 0 {
                self.buffer.moveReaderIndex(forwardBy: 2)
                continue
            }
            guard let first = self.buffer.getInteger(at: self.buffer.readerIndex + 2, as: UInt8.self) else {
                return nil
            }
            // RTP and RTCP both begin with version 2.
            guard first >> 6 == 2 else {
                self.isLost = true
                self.resynchronisations += 1
                continue
            }
            guard let packet = self.buffer.getSlice(at: self.buffer.readerIndex + 2, length: Int(length)) else {
                return nil
            }
            self.buffer.moveReaderIndex(forwardBy: 2 + Int(length))
            if let second = packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self), second & 0x7F < 72,
                let ssrc = packet.getInteger(at: packet.readerIndex + 8, as: UInt32.self)
            {
                self.ssrc = ssrc
            }
            return packet
        }
    }

    /// Looks for a length, version 2 and the source. Returns whether one was found; what is certainly none is dropped.
    private mutating func findPacket() -> Bool {
        while self.buffer.readableBytes >= 14 {
            let index = self.buffer.readerIndex
            if let (length, first) = self.buffer.getMultipleIntegers(at: index, as: (UInt16, UInt8).self),
                length >= 12, first >> 6 == 2,
                let found = self.buffer.getInteger(at: index + 10, as: UInt32.self),
                self.ssrc == nil || found == self.ssrc
            {
                self.isLost = false
                return true
            }
            self.buffer.moveReaderIndex(forwardBy: 1)
            self.skippedBytes += 1
        }
        return false
    }
}
