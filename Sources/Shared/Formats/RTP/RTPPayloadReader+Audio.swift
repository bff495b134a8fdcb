import Media
package import NIOCore

extension RTPPayloadReader {
    /// Spec: RFC 7587 §4.2.
    mutating func addOpus(_ payload: ByteBuffer) throws(RTPError) {
        guard let duration = OpusPacket.duration(of: payload) else { throw .invalidValue(0, offset: 0) }
        var unit = RTPAccessUnit(timestamp: self.unit.timestamp, payload: payload, isKeyframe: true)
        unit.duration = duration
        self.giveOut(unit)
    }

    /// Spec: RFC 3551 §4.5.14.
    mutating func addG711(_ payload: ByteBuffer, channels: Int) {
        var unit = RTPAccessUnit(timestamp: self.unit.timestamp, payload: payload, isKeyframe: true)
        unit.duration = UInt32(truncatingIfNeeded: payload.readableBytes / channels)
        self.giveOut(unit)
    }

    /// Whole access units, or a fragment of one. Interleaving is not taken. Spec: RFC 3640 §3.2.
    mutating func addAAC(_ payload: ByteBuffer, layout: AACPayloadLayout) throws(RTPError) {
        var reader = RTPBytes(payload)
        let sizes = try Self.aacSizes(&reader, layout: layout)
        if layout.auxiliarySizeLength > 0 { try Self.skipAuxiliarySection(&reader, layout: layout) }
        let timestamp = self.unit.timestamp
        if sizes.count == 1, sizes[0] > reader.bytesLeft || self.unit.expectedLength > 0 {
            return try self.addAACFragment(reader.rest, of: sizes[0], layout: layout)
        }
        guard self.unit.expectedLength == 0 else { throw .unfinishedFragment }
        guard !sizes.isEmpty else { throw .emptyUnit(offset: reader.offset) }
        for (index, size) in sizes.enumerated() {
            guard size > 0 else { throw .emptyUnit(offset: reader.offset) }
            let data = try reader.slice(length: size)
            self.giveOutAAC(
                data, timestamp: timestamp &+ UInt32(truncatingIfNeeded: index &* layout.constantDuration),
                layout: layout)
        }
    }

    private mutating func addAACFragment(
        _ data: ByteBuffer, of size: Int, layout: AACPayloadLayout
    ) throws(RTPError) {
        guard data.readableBytes > 0 else { throw .emptyUnit(offset: 0) }
        try self.require(data.readableBytes)
        guard self.unit.expectedLength == 0 || self.unit.expectedLength == size else { throw .unfinishedFragment }
        self.unit.expectedLength = size
        self.unit.buffer.writeImmutableBuffer(data)
        let length = self.unit.buffer.writerIndex
        guard length <= size else { throw .invalidValue(UInt32(truncatingIfNeeded: size), offset: 2) }
        if length == size { self.giveOutAAC(self.unit.buffer, timestamp: self.unit.timestamp, layout: layout) }
    }

    private mutating func giveOutAAC(_ data: ByteBuffer, timestamp: UInt32, layout: AACPayloadLayout) {
        var unit = RTPAccessUnit(timestamp: timestamp, payload: data, isKeyframe: true)
        unit.duration = UInt32(truncatingIfNeeded: layout.constantDuration)
        self.giveOut(unit)
    }

    /// Access units that one packet may hold.
    private static var maximumAACUnits: Int { 256 }

    /// Reads the header section: the size of each access unit.
    private static func aacSizes(_ reader: inout RTPBytes, layout: AACPayloadLayout) throws(RTPError) -> [Int] {
        guard layout.hasHeaders else {
            // `constantSize` is above 0, or the layout would not be.
            let size = max(layout.constantSize ?? 0, 1)
            guard reader.bytesLeft % size == 0, reader.bytesLeft / size <= self.maximumAACUnits else {
                throw .invalidValue(UInt32(truncatingIfNeeded: reader.bytesLeft), offset: 0)
            }
            return Array(repeating: size, count: reader.bytesLeft / size)
        }
        let bits = Int(try reader.integer(as: UInt16.self))
        let start = reader.offset
        var headers = BitReader(try reader.slice(length: (bits + 7) / 8))
        var sizes: [Int] = []
        do throws(CodecHeaderError) {
            while headers.bitOffset < bits, sizes.count <= self.maximumAACUnits {
                let size = layout.sizeLength > 0 ? try headers.int(layout.sizeLength) : layout.constantSize ?? 0
                let index = try headers.int(sizes.isEmpty ? layout.indexLength : layout.indexDeltaLength)
                if layout.ctsDeltaLength > 0, try headers.flag() { try headers.skip(layout.ctsDeltaLength) }
                if layout.dtsDeltaLength > 0, try headers.flag() { try headers.skip(layout.dtsDeltaLength) }
                if layout.hasRandomAccessIndication { try headers.skip(1) }
                try headers.skip(layout.streamStateLength)
                // §3.2.1.1: only interleaved units have an index or a gap between them.
                guard index == 0 else { throw .invalidValue(UInt32(truncatingIfNeeded: index), offset: 0) }
                sizes.append(size)
            }
        } catch {
            guard case .invalidValue(let value, _) = error else {
                throw .truncated(offset: start, needed: (bits + 7) / 8 + 1, available: (bits + 7) / 8)
            }
            throw .invalidValue(value, offset: start)
        }
        guard sizes.count <= self.maximumAACUnits else { throw .tooManyPackets(limit: self.maximumAACUnits) }
        return sizes
    }

    /// Spec: RFC 3640 §3.2.2.
    private static func skipAuxiliarySection(
        _ reader: inout RTPBytes, layout: AACPayloadLayout
    ) throws(RTPError) {
        let fieldLength = (layout.auxiliarySizeLength + 7) / 8
        let offset = reader.offset
        guard reader.bytesLeft >= fieldLength,
            let field = reader.rest.getSlice(at: reader.rest.readerIndex, length: fieldLength)
        else { throw .truncated(offset: offset, needed: fieldLength, available: reader.bytesLeft) }
        var bits = BitReader(field)
        guard let length = try? bits.int(layout.auxiliarySizeLength) else {
            throw .truncated(offset: offset, needed: fieldLength, available: reader.bytesLeft)
        }
        _ = try reader.slice(length: (layout.auxiliarySizeLength + length + 7) / 8)
    }
}

extension RTPPayloadReader {
    /// Part of an audio multiplex element, or all of it. Spec: RFC 6416 §6.1.
    mutating func addLATM(_ payload: ByteBuffer) throws(RTPError) {
        try self.require(payload.readableBytes)
        self.unit.buffer.writeImmutableBuffer(payload)
    }

    /// The element, which holds a length and a frame for each of `subframes`, one behind the other.
    /// Spec: ISO/IEC 14496-3 §1.7.3.
    mutating func finishedLATM(subframes: Int) throws(RTPError) -> RTPAccessUnit? {
        var reader = RTPBytes(self.unit.buffer)
        let timestamp = self.unit.timestamp
        var units: [RTPAccessUnit] = []
        for index in 0..<subframes {
            var length = 0
            var byte: UInt8 = 255
            while byte == 255 {
                byte = try reader.integer(as: UInt8.self)
                length += Int(byte)
            }
            guard length > 0 else { throw .emptyUnit(offset: reader.offset) }
            var unit = RTPAccessUnit(
                timestamp: timestamp &+ UInt32(index * 1_024), payload: try reader.slice(length: length),
                isKeyframe: true)
            unit.duration = 1_024
            units.append(unit)
        }
        // What is left is not what was announced: a packet in front may be missing.
        guard reader.bytesLeft == 0 else {
            throw .invalidValue(UInt32(truncatingIfNeeded: reader.bytesLeft), offset: reader.offset)
        }
        for unit in units.dropLast() { self.giveOut(unit) }
        return units.last
    }

    /// Whole frames, or a fragment of one. Spec: RFC 2250 §3.5.
    mutating func addMPEGAudio(_ payload: ByteBuffer) throws(RTPError) {
        var reader = RTPBytes(payload)
        _ = try reader.integer(as: UInt16.self)
        let offset = Int(try reader.integer(as: UInt16.self))
        guard offset == 0 else {
            guard self.unit.expectedLength > 0, offset == self.unit.buffer.writerIndex else {
                throw .unfinishedFragment
            }
            try self.require(reader.bytesLeft)
            self.unit.buffer.writeImmutableBuffer(reader.rest)
            guard self.unit.buffer.writerIndex <= self.unit.expectedLength else {
                throw .invalidValue(UInt32(truncatingIfNeeded: offset), offset: 2)
            }
            if self.unit.buffer.writerIndex == self.unit.expectedLength {
                self.giveOutMPEGAudio(self.unit.buffer, timestamp: self.unit.timestamp)
            }
            return
        }
        guard self.unit.expectedLength == 0 else { throw .unfinishedFragment }
        var timestamp = self.unit.timestamp
        while reader.bytesLeft > 0 {
            guard let header = try? MPEGAudioHeader(parsing: reader.rest) else {
                throw .invalidValue(0, offset: reader.offset)
            }
            let length = header.frameLength ?? reader.bytesLeft
            guard length <= reader.bytesLeft else {
                try self.require(length)
                self.unit.expectedLength = length
                self.unit.buffer.writeImmutableBuffer(reader.rest)
                return
            }
            timestamp &+= self.giveOutMPEGAudio(try reader.slice(length: length), timestamp: timestamp)
        }
    }

    /// Returns the frame's length in ticks.
    @discardableResult
    private mutating func giveOutMPEGAudio(_ data: ByteBuffer, timestamp: UInt32) -> UInt32 {
        var unit = RTPAccessUnit(timestamp: timestamp, payload: data, isKeyframe: true)
        if let header = try? MPEGAudioHeader(parsing: data) {
            unit.duration = UInt32(header.samplesPerFrame * 90_000 / header.sampleRate)
        }
        self.giveOut(unit)
        return unit.duration ?? 0
    }
}

/// What the first bytes of an Opus packet tell. Spec: RFC 6716 §3.
package enum OpusPacket {
    /// Length in samples at 48 kHz; `nil` for a packet that breaks the rules (empty, above 120 ms).
    package static func duration(of packet: ByteBuffer) -> UInt32? {
        guard let toc = packet.getInteger(at: packet.readerIndex, as: UInt8.self) else { return nil }
        let configuration = Int(toc >> 3)
        let samples: Int
        switch configuration {
        case 0..<12: samples = [480, 960, 1920, 2880][configuration & 3]
        case 12..<16: samples = [480, 960][configuration & 1]
        default: samples = [120, 240, 480, 960][configuration & 3]
        }
        let frames: Int
        switch toc & 3 {
        case 0: frames = 1
        case 1, 2: frames = 2
        default:
            guard let count = packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self) else { return nil }
            frames = Int(count & 0x3F)
        }
        guard frames > 0, frames * samples <= 5760 else { return nil }
        return UInt32(truncatingIfNeeded: frames * samples)
    }
}
