package import NIOCore

/// Cuts bytes that arrive in pieces of any size into whole packets, unchanged.
///
/// What is no packet is left out: from a packet that does not begin with a sync byte on, up to the next sync byte that
/// has another one at the distance of a packet behind it. Packets of 188 bytes only. Spec: ISO 13818-1 §2.4.3.2.
package struct TSPacketCutter: Sendable {
    private var rest = ByteBuffer()
    private var isAligned = false
    /// Bytes that were left out since the start.
    package private(set) var skippedBytes = 0

    package init() {}

    /// The whole packets that are there with these bytes; what is left waits for the next ones, at most two packets of it.
    package mutating func cut(_ bytes: ByteBuffer) -> ByteBuffer {
        if self.rest.readableBytes > 0 {
            self.rest.discardReadBytes()
            self.rest.writeImmutableBuffer(bytes)
        } else {
            self.rest = bytes
        }
        var packets = ByteBuffer()
        while self.align() {
            let length = self.alignedLength()
            if length > 0, let run = self.rest.readSlice(length: length) { packets.writeImmutableBuffer(run) }
            // What is left is less than a packet.
            if self.isAligned { break }
        }
        return packets
    }

    /// Moves to the next packet if it is not known where one begins. Returns whether it is known now.
    private mutating func align() -> Bool {
        guard !self.isAligned else { return true }
        let (offset, isPacket) = Self.nextPacket(self.rest)
        self.skippedBytes += offset
        self.rest.moveReaderIndex(forwardBy: offset)
        self.isAligned = isPacket
        return isPacket
    }

    /// The offset of the next packet, or of the first byte that may be its beginning.
    private static func nextPacket(_ bytes: ByteBuffer) -> (offset: Int, isPacket: Bool) {
        let view = bytes.readableBytesUInt8Span
        var offset = 0
        while offset < view.count {
            if view[offset] == TS.syncByte {
                let next = offset + TS.packetLength
                guard next < view.count else { return (offset, false) }
                if view[next] == TS.syncByte { return (offset, true) }
            }
            offset += 1
        }
        return (offset, false)
    }

    /// The length of the packets that follow one another; ends the alignment where one does not begin as it has to.
    private mutating func alignedLength() -> Int {
        let (length, isWhole) = Self.run(self.rest)
        self.isAligned = isWhole
        return length
    }

    /// The length of the whole packets, and whether what is behind them is the beginning of another one.
    private static func run(_ bytes: ByteBuffer) -> (length: Int, isWhole: Bool) {
        let view = bytes.readableBytesUInt8Span
        var length = 0
        while length < view.count {
            guard view[length] == TS.syncByte else { return (length, false) }
            guard view.count - length >= TS.packetLength else { break }
            length += TS.packetLength
        }
        return (length, true)
    }
}
