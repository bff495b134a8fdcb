import Media
import NIOCore

/// AV1. Spec: RTP Payload Format For AV1 §4.3 to §4.5.
extension RTPPayloadReader {
    mutating func addAV1(_ payload: ByteBuffer) throws(RTPError) {
        var reader = RTPBytes(payload)
        let header = try reader.integer(as: UInt8.self)
        let (continues, goesOn) = (header & 0x80 != 0, header & 0x40 != 0)
        let count = Int(header >> 4 & 3)
        // §4.4: a new coded video sequence does not begin with the rest of an element.
        guard header & 0x88 != 0x88 else { throw .invalidValue(UInt32(header), offset: 0) }
        guard continues == (self.unit.openFragment != nil) else {
            throw continues ? .unexpectedFragment(offset: 0) : .unfinishedFragment
        }
        guard reader.bytesLeft > 0 else { throw .emptyUnit(offset: 1) }
        var index = 0
        while reader.bytesLeft > 0 {
            index += 1
            let isLastCounted = count != 0 && index == count
            let length = isLastCounted ? reader.bytesLeft : try reader.leb128()
            let element = try reader.slice(length: length)
            let isOpen = goesOn && reader.bytesLeft == 0
            try self.require(element.readableBytes + 8)
            if index == 1 && continues || isOpen {
                self.unit.fragment.writeImmutableBuffer(element)
                self.unit.openFragment = isOpen ? 0 : nil
                if isOpen { continue }
                let whole = self.unit.fragment
                self.unit.fragment = ByteBuffer()
                try self.addElement(whole)
            } else {
                try self.addElement(element)
            }
        }
        guard count == 0 || index == count else { throw .truncated(offset: reader.offset, needed: 1, available: 0) }
    }

    /// Takes one whole element: an OBU, usually without its size. Empty ones are passed over.
    private mutating func addElement(_ element: ByteBuffer) throws(RTPError) {
        guard element.readableBytes > 0 else { return }
        var reader = RTPBytes(element)
        let unit = try OBU(readingFrom: &reader)
        guard ![OBU.temporalDelimiter, OBU.tileList, OBU.padding].contains(unit.type) else { return }
        let start = self.unit.buffer.writerIndex
        unit.writeHeader(into: &self.unit.buffer, hasSize: true)
        self.unit.buffer.writeImmutableBuffer(unit.payload)
        switch unit.type {
        case OBU.sequenceHeader:
            self.unit.sequenceHeader = self.unit.buffer.getSlice(
                at: start, length: self.unit.buffer.writerIndex - start
            ).map { ByteBuffer(bytes: $0.readableBytesView) }
        case OBU.frame, OBU.frameHeader:
            guard !self.unit.hasPicture else { return }
            self.unit.hasPicture = true
            // §5.9.2 of AV1: `show_existing_frame`, then `frame_type` in two bits with 0 for a keyframe.
            let first = unit.payload.getInteger(at: unit.payload.readerIndex, as: UInt8.self) ?? 0xFF
            self.unit.isKeyframe = first & 0xE0 == 0 || self.isReducedStillPicture
        default: break
        }
    }

    /// Frames of still pictures have no frame type. Spec: AV1 §5.5.1: profile in 3 bits, then two flags.
    private var isReducedStillPicture: Bool {
        guard let header = self.unit.sequenceHeader else { return false }
        var reader = RTPBytes(header)
        guard let unit = try? OBU(readingFrom: &reader) else { return false }
        return (unit.payload.getInteger(at: unit.payload.readerIndex, as: UInt8.self) ?? 0) & 0x08 != 0
    }

    mutating func finishedAV1() throws(RTPError) -> RTPAccessUnit? {
        guard self.unit.openFragment == nil else { throw .unfinishedFragment }
        guard self.unit.buffer.writerIndex > 0 else { return nil }
        guard self.unit.hasPicture else { throw .missingFirstSlice }
        // Decoding starts at a keyframe with its sequence header (AV1 §7.6.1).
        var unit = RTPAccessUnit(
            timestamp: self.unit.timestamp, payload: self.unit.buffer,
            isKeyframe: self.unit.isKeyframe && self.unit.sequenceHeader != nil)
        unit.sequenceHeader = self.unit.sequenceHeader
        if let header = self.unit.sequenceHeader {
            do throws(CodecHeaderError) {
                let parsed = try AV1SequenceHeader(findingIn: header)
                unit.pictureSize = RTPPictureSize(width: parsed.width, height: parsed.height)
            } catch {
                throw .invalidValue(0, offset: 0)
            }
        }
        return unit
    }

    /// Whether a temporal unit surely begins here: a coded video sequence, a sequence header or a delimiter does.
    static func beginsTemporalUnit(_ payload: ByteBuffer) -> Bool {
        var reader = RTPBytes(payload)
        guard let header = try? reader.integer(as: UInt8.self), header & 0x80 == 0 else { return false }
        if header & 0x08 != 0 { return true }
        if header & 0x30 != 0x10 { guard (try? reader.leb128()) != nil else { return false } }
        guard let first = try? reader.integer(as: UInt8.self) else { return false }
        return [OBU.sequenceHeader, OBU.temporalDelimiter].contains(first >> 3 & 0x0F)
    }
}
