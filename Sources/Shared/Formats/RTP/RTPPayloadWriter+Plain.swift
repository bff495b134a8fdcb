import NIOCore

extension RTPPayloadWriter {
    /// Descriptors of four bytes with a 15-bit picture id. Spec: RFC 7741 §4.2.
    func vp8Payloads(of frame: ByteBuffer) -> RTPPayloadBuilder {
        var builder = RTPPayloadBuilder(capacity: self.capacity(frame, descriptor: 4))
        RTPPayloadBuilder.forEachPiece(of: frame, room: self.maximumPayload - 4) { piece, isFirst, _ in
            builder.append { buffer in
                // X; S on the first. I. M with the id.
                buffer.writeMultipleIntegers(
                    UInt8(isFirst ? 0x90 : 0x80), UInt8(0x80), 0x8000 | self.nextPictureID)
                buffer.writeImmutableBuffer(piece)
            }
        }
        return builder
    }

    /// Descriptors of three bytes with a 15-bit picture id, without layer indices: each picture refers to the one
    /// before, or to none. The first of a keyframe has a scalability structure that tells the size.
    /// Spec: RFC 9628 §4.2.
    func vp9Payloads(of frame: ByteBuffer, isKeyframe: Bool) -> RTPPayloadBuilder {
        var builder = RTPPayloadBuilder(capacity: self.capacity(frame, descriptor: 3) + 5)
        guard frame.readableBytes > 0 else { return builder }
        let size = isKeyframe ? (try? VP9FrameHeader(parsing: frame))?.pictureSize : nil
        let extra = size == nil ? 0 : 5
        // The structure counts as data of the first packet, so that all are of one size.
        let room = self.maximumPayload - 3
        let count = (frame.readableBytes + extra + room - 1) / room
        let pieceLength = (frame.readableBytes + extra + count - 1) / count
        var rest = frame
        while rest.readableBytes > 0 {
            let isFirst = rest.readableBytes == frame.readableBytes
            let length = min(rest.readableBytes, max(pieceLength - (isFirst ? extra : 0), 1))
            guard let piece = rest.readSlice(length: length) else { break }
            builder.append { buffer in
                // I, P, B, E, V.
                let flags: UInt8 =
                    0x80 | (isKeyframe ? 0 : 0x40) | (isFirst ? 0x08 : 0) | (rest.readableBytes == 0 ? 0x04 : 0)
                    | (isFirst && size != nil ? 0x02 : 0)
                buffer.writeMultipleIntegers(flags, 0x8000 | self.nextPictureID)
                if isFirst, let size {
                    // One spatial layer (N_S 0), its size follows (Y), no picture group (G 0).
                    buffer.writeMultipleIntegers(
                        UInt8(0x10), UInt16(truncatingIfNeeded: size.width), UInt16(truncatingIfNeeded: size.height))
                }
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

    private func capacity(_ frame: ByteBuffer, descriptor: Int) -> Int {
        frame.readableBytes + (frame.readableBytes / (self.maximumPayload - descriptor) + 1) * descriptor
    }
}
