package import NIOCore

/// A retransmission: a packet's payload behind its own sequence number, on another SSRC. Spec: RFC 4588 §4.
package enum RTXPacket {
    /// Bytes in front of the original payload.
    package static let headerByteCount = 2

    /// Takes the original sequence number off the front. The payload shares memory.
    ///
    /// An empty payload (padding sent as a probe) gives `nil`. Errors: `truncated` for a single byte.
    package static func unwrap(
        _ payload: ByteBuffer
    ) throws(RTPError) -> (originalSequenceNumber: UInt16, payload: ByteBuffer)? {
        guard payload.readableBytes > 0 else { return nil }
        var rest = payload
        guard let sequence = rest.readInteger(as: UInt16.self) else {
            throw .truncated(offset: 0, needed: self.headerByteCount, available: payload.readableBytes)
        }
        return (sequence, rest)
    }

    /// Rebuilds the packet that was sent again: the RTX packet's time and extensions, the number and payload
    /// of the original.
    ///
    /// `ssrc` and `payloadType` are those of the source that is repaired. `nil` and errors as `unwrap`.
    package static func original(
        of packet: RTPPacket, ssrc: UInt32, payloadType: UInt8
    ) throws(RTPError) -> RTPPacket? {
        guard let (sequence, payload) = try self.unwrap(packet.payload) else { return nil }
        var header = packet.header
        header.ssrc = ssrc
        header.payloadType = payloadType
        header.sequenceNumber = sequence
        return RTPPacket(header: header, payload: payload)
    }

    /// Appends the payload of a retransmission.
    package static func write(
        originalSequenceNumber: UInt16, payload: ByteBuffer, into buffer: inout ByteBuffer
    ) {
        buffer.writeInteger(originalSequenceNumber)
        buffer.writeImmutableBuffer(payload)
    }
}

/// A payload of redundant coding: blocks of several payload types in one packet, the primary one last.
///
/// ULPFEC (RFC 5109) comes as a block, or as the only block, with FEC's payload type: the user passes over it.
/// Spec: RFC 2198 §3.
package struct REDPayload: Sendable, Hashable {
    package struct Block: Sendable, Hashable {
        package var payloadType: UInt8
        /// Ticks by which the block is older than the packet: 0 to 16,383.
        package var timestampOffset: UInt16
        /// Shares the packet's memory.
        package var payload: ByteBuffer

        package init(payloadType: UInt8, timestampOffset: UInt16, payload: ByteBuffer) {
            self.payloadType = payloadType
            self.timestampOffset = timestampOffset
            self.payload = payload
        }
    }

    /// Blocks that are accepted; senders use two or three.
    package static let maximumBlocks = 32

    /// Older data, oldest first.
    package var redundant: [Block]
    /// What a packet without redundancy would carry; its offset is 0.
    package var primary: Block

    package init(redundant: [Block] = [], primary: Block) {
        self.redundant = redundant
        self.primary = primary
    }

    /// Parses a payload. Errors: `truncated`; `tooManyPackets`.
    package init(parsing payload: ByteBuffer) throws(RTPError) {
        var rest = payload
        var headers: [(type: UInt8, offset: UInt16, length: Int)] = []
        while true {
            let offset = rest.readerIndex - payload.readerIndex
            guard let first = rest.readInteger(as: UInt8.self) else {
                throw .truncated(offset: offset, needed: 1, available: 0)
            }
            guard first & 0x80 != 0 else {
                self.primary = Block(payloadType: first, timestampOffset: 0, payload: rest)
                break
            }
            guard headers.count < Self.maximumBlocks else { throw .tooManyPackets(limit: Self.maximumBlocks) }
            guard let fields = rest.readUInt24() else {
                throw .truncated(offset: offset, needed: 4, available: 1 + rest.readableBytes)
            }
            headers.append((first & 0x7F, UInt16(truncatingIfNeeded: fields >> 10), Int(fields & 0x3FF)))
        }
        self.redundant = []
        for header in headers {
            let offset = rest.readerIndex - payload.readerIndex
            guard let data = rest.readSlice(length: header.length) else {
                throw .truncated(offset: offset, needed: header.length, available: rest.readableBytes)
            }
            self.redundant.append(
                Block(payloadType: header.type, timestampOffset: header.offset, payload: data))
        }
        self.primary.payload = rest
    }

    /// Appends the payload. Redundant blocks have at most 1,023 bytes and offsets of 14 bits.
    package func write(into buffer: inout ByteBuffer) {
        for block in self.redundant {
            let length = block.payload.readableBytes
            precondition(length < 1024, "a redundant block has at most 1023 bytes, got \(length)")
            precondition(block.timestampOffset < 1 << 14, "an offset has 14 bits, got \(block.timestampOffset)")
            buffer.writeInteger(0x80 | block.payloadType)
            buffer.writeUInt24(UInt32(block.timestampOffset) << 10 | UInt32(truncatingIfNeeded: length))
        }
        buffer.writeInteger(self.primary.payloadType & 0x7F)
        for block in self.redundant { buffer.writeImmutableBuffer(block.payload) }
        buffer.writeImmutableBuffer(self.primary.payload)
    }
}
