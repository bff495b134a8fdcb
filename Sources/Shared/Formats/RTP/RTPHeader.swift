package import NIOCore

/// The fixed header of an RTP packet with its contributing sources and header extensions. Spec: RFC 3550 §5.1.
package struct RTPHeader: Sendable, Hashable {
    /// Bytes of a header without contributing sources and extensions.
    package static let minimumByteCount = 12

    /// For video the last packet of an access unit, for audio the first after silence (of its payload format).
    package var marker: Bool
    /// 0 to 127.
    package var payloadType: UInt8
    package var sequenceNumber: UInt16
    /// In ticks of the payload format's clock, with a random start.
    package var timestamp: UInt32
    package var ssrc: UInt32
    /// Contributing sources; at most 15.
    package var csrcs: [UInt32]
    /// `nil` without the extension bit.
    package var extensions: RTPHeaderExtensions?

    package init(
        marker: Bool, payloadType: UInt8, sequenceNumber: UInt16, timestamp: UInt32, ssrc: UInt32,
        csrcs: [UInt32] = [], extensions: RTPHeaderExtensions? = nil
    ) {
        precondition(payloadType < 128, "a payload type has 7 bits, got \(payloadType)")
        precondition(csrcs.count < 16, "at most 15 contributing sources, got \(csrcs.count)")
        self.marker = marker
        self.payloadType = payloadType
        self.sequenceNumber = sequenceNumber
        self.timestamp = timestamp
        self.ssrc = ssrc
        self.csrcs = csrcs
        self.extensions = extensions
    }

    /// Bytes that `write(into:)` appends.
    package var byteCount: Int {
        Self.minimumByteCount + self.csrcs.count * 4 + (self.extensions?.byteCount ?? 0)
    }

    /// Appends the header. The payload follows as it is; `hasPadding` sets the padding bit, for which the caller
    /// appends the padding with its count in the last byte.
    package func write(into buffer: inout ByteBuffer, hasPadding: Bool = false) {
        let first: UInt8 =
            0x80 | (hasPadding ? 0x20 : 0) | (self.extensions == nil ? 0 : 0x10)
            | UInt8(truncatingIfNeeded: self.csrcs.count)
        buffer.writeMultipleIntegers(
            first, (self.marker ? 0x80 : 0) | self.payloadType, self.sequenceNumber, self.timestamp, self.ssrc)
        for csrc in self.csrcs { buffer.writeInteger(csrc) }
        self.extensions?.write(into: &buffer)
    }
}

/// A parsed RTP packet whose payload shares the memory of the datagram.
package struct RTPPacket: Sendable, Hashable {
    package var header: RTPHeader
    /// Without padding. Empty in packets that only pad (probes, keep-alives).
    package var payload: ByteBuffer
    /// Bytes of padding behind the payload, the count itself included.
    package var paddingCount: Int

    package init(header: RTPHeader, payload: ByteBuffer, paddingCount: Int = 0) {
        precondition((0...255).contains(paddingCount), "padding is at most 255 bytes, got \(paddingCount)")
        self.header = header
        self.payload = payload
        self.paddingCount = paddingCount
    }

    /// Parses one packet: all readable bytes of `datagram`. Copies nothing but contributing sources.
    ///
    /// Errors: `truncated`, `unsupportedVersion`, `invalidPadding`, `unexpectedPacketType` for RTCP's packet types.
    package init(parsing datagram: ByteBuffer) throws(RTPError) {
        var rest = datagram
        guard
            let (first, second, sequence, timestamp, ssrc) = rest.readMultipleIntegers(
                as: (UInt8, UInt8, UInt16, UInt32, UInt32).self)
        else {
            throw .truncated(offset: 0, needed: RTPHeader.minimumByteCount, available: datagram.readableBytes)
        }
        guard first >> 6 == 2 else { throw .unsupportedVersion(first >> 6) }
        guard !Self.isRTCP(secondByte: second) else { throw .unexpectedPacketType(second) }
        self.header = RTPHeader(
            marker: second & 0x80 != 0, payloadType: second & 0x7F, sequenceNumber: sequence, timestamp: timestamp,
            ssrc: ssrc)
        self.paddingCount = 0
        self.payload = rest
        let sources = Int(first & 0x0F)
        guard rest.readableBytes >= sources * 4 else {
            throw .truncated(offset: 12, needed: sources * 4, available: rest.readableBytes)
        }
        for _ in 0..<sources {
            if let csrc = rest.readInteger(as: UInt32.self) { self.header.csrcs.append(csrc) }
        }
        if first & 0x10 != 0 {
            self.header.extensions = try RTPHeaderExtensions(readingFrom: &rest, offset: 12 + sources * 4)
        }
        if first & 0x20 != 0 {
            // §5.1: the last byte counts the padding, itself included.
            let count = Int(rest.getInteger(at: rest.writerIndex - 1, as: UInt8.self) ?? 0)
            guard rest.readableBytes > 0, count > 0, count <= rest.readableBytes else {
                throw .invalidPadding(length: count, available: rest.readableBytes)
            }
            rest.moveWriterIndex(to: rest.writerIndex - count)
            self.paddingCount = count
        }
        self.payload = rest
    }

    /// Appends the packet, padding included.
    package func write(into buffer: inout ByteBuffer) {
        self.header.write(into: &buffer, hasPadding: self.paddingCount > 0)
        buffer.writeImmutableBuffer(self.payload)
        guard self.paddingCount > 0 else { return }
        buffer.writeRepeatingByte(0, count: self.paddingCount - 1)
        buffer.writeInteger(UInt8(truncatingIfNeeded: self.paddingCount))
    }

    /// Tells RTCP from RTP on a shared port by the second byte: 192 to 223 is RTCP. Spec: RFC 5761 §4.
    package static func isRTCP(secondByte: UInt8) -> Bool { (192...223).contains(secondByte) }

    /// Whether a datagram is RTP or RTCP (first byte 128 to 191), not STUN, DTLS or TURN. Spec: RFC 7983 §7.
    package static func isRTPOrRTCP(firstByte: UInt8) -> Bool { (128...191).contains(firstByte) }
}
