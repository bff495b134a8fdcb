import NIOCore

extension RTPPayloadWriter {
    /// Descriptors of one byte. Spec: RFC 7741 §4.2.
    ///
    /// There are no picture ids, because viewers get frames again, or leave some out, while they share payloads: the ids
    /// would go back or jump for one viewer, and a player that goes by them would drop what came again. Without temporal
    /// layers nothing needs them; sequence numbers tell all.
    func vp8Payloads(of frame: ByteBuffer) -> RTPPayloadBuilder {
        var builder = RTPPayloadBuilder(capacity: self.capacity(frame, descriptor: 1))
        RTPPayloadBuilder.forEachPiece(of: frame, room: self.maximumPayload - 1) { piece, isFirst, _ in
            builder.append { buffer in
                // S on the first.
                buffer.writeInteger(UInt8(isFirst ? 0x10 : 0))
                buffer.writeImmutableBuffer(piece)
            }
        }
        return builder
    }

    /// Descriptors of one byte, without layer indices: each picture refers to the one before, or to none. There are no
    /// picture ids, as for VP8, and so no scalability structure either: in this mode it would demand them on every
    /// packet. A keyframe's own header tells its size. Spec: RFC 9628 §4.2, bits I and V.
    func vp9Payloads(of frame: ByteBuffer, isKeyframe: Bool) -> RTPPayloadBuilder {
        var builder = RTPPayloadBuilder(capacity: self.capacity(frame, descriptor: 1))
        RTPPayloadBuilder.forEachPiece(of: frame, room: self.maximumPayload - 1) { piece, isFirst, isLast in
            builder.append { buffer in
                // P, B, E.
                buffer.writeInteger(UInt8((isKeyframe ? 0 : 0x40) | (isFirst ? 0x08 : 0) | (isLast ? 0x04 : 0)))
                buffer.writeImmutableBuffer(piece)
            }
        }
        return builder
    }

    /// A packet of Opus is a payload. Spec: RFC 7587 §4.2.
    func opusPayloads(of frame: ByteBuffer) throws(RTPError) -> RTPPayloadBuilder {
        guard frame.readableBytes <= self.maximumPayload else {
            throw .frameTooLong(length: frame.readableBytes, maximum: self.maximumPayload)
        }
        var builder = RTPPayloadBuilder(capacity: frame.readableBytes)
        builder.hasMarkerOnLast = false
        builder.append { $0.writeImmutableBuffer(frame) }
        return builder
    }

    /// Samples can be cut anywhere; each further packet is later. Spec: RFC 3551 §4.2.
    func g711Payloads(of frame: ByteBuffer, channels: Int) -> RTPPayloadBuilder {
        var builder = RTPPayloadBuilder(capacity: frame.readableBytes)
        builder.hasMarkerOnLast = false
        let samples = frame.readableBytes / channels
        guard samples > 0 else { return builder }
        let room = max(self.maximumPayload / channels, 1)
        let count = (samples + room - 1) / room
        let step = (samples + count - 1) / count
        if count > 1 { builder.timestampStep = UInt32(truncatingIfNeeded: step) }
        var rest = frame
        while rest.readableBytes >= channels {
            guard let piece = rest.readSlice(length: min(step * channels, rest.readableBytes)) else { break }
            builder.append { $0.writeImmutableBuffer(piece) }
        }
        return builder
    }

    /// One access unit in a packet, or in several that all name its size. Spec: RFC 3640 §3.2.1 and §3.2.3.
    func aacPayloads(of frame: ByteBuffer) throws(RTPError) -> RTPPayloadBuilder {
        guard case .aac(let layout) = self.format, frame.readableBytes > 0 else {
            return RTPPayloadBuilder(capacity: 0)
        }
        guard layout.canBeWritten else { throw .unsupportedCodec }
        guard frame.readableBytes < 1 << min(layout.sizeLength, 30) else {
            throw .frameTooLong(length: frame.readableBytes, maximum: 1 << min(layout.sizeLength, 30) - 1)
        }
        var builder = RTPPayloadBuilder(capacity: self.capacity(frame, descriptor: 4))
        let bits = layout.sizeLength + layout.indexLength
        let headerLength = (bits + 7) / 8
        let header = UInt64(frame.readableBytes) << UInt64(headerLength * 8 - layout.sizeLength)
        RTPPayloadBuilder.forEachPiece(of: frame, room: self.maximumPayload - 2 - headerLength) { piece, _, _ in
            builder.append { buffer in
                buffer.writeInteger(UInt16(truncatingIfNeeded: bits))
                for index in (0..<headerLength).reversed() {
                    buffer.writeInteger(UInt8(truncatingIfNeeded: header >> UInt64(index * 8)))
                }
                buffer.writeImmutableBuffer(piece)
            }
        }
        return builder
    }

    /// A frame in a packet, or in several that say where they begin. Spec: RFC 2250 §3.5.
    func mpegAudioPayloads(of frame: ByteBuffer) -> RTPPayloadBuilder {
        var builder = RTPPayloadBuilder(capacity: self.capacity(frame, descriptor: 4))
        builder.hasMarkerOnLast = false
        var offset = 0
        RTPPayloadBuilder.forEachPiece(of: frame, room: self.maximumPayload - 4) { piece, _, _ in
            builder.append { buffer in
                buffer.writeMultipleIntegers(UInt16(0), UInt16(truncatingIfNeeded: offset))
                buffer.writeImmutableBuffer(piece)
            }
            offset += piece.readableBytes
        }
        return builder
    }

    private func capacity(_ frame: ByteBuffer, descriptor: Int) -> Int {
        frame.readableBytes + (frame.readableBytes / (self.maximumPayload - descriptor) + 1) * descriptor
    }
}
