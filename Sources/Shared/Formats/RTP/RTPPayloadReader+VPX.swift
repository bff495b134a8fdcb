import Media
import NIOCore

/// VP8. Spec: RFC 7741 §4.
extension RTPPayloadReader {
    mutating func addVP8(_ payload: ByteBuffer) throws(RTPError) {
        var reader = RTPBytes(payload)
        let flags = try reader.integer(as: UInt8.self)
        var layers = RTPLayerIDs()
        if flags & 0x80 != 0 {
            let extensions = try reader.integer(as: UInt8.self)
            if extensions & 0x80 != 0 { try Self.readPictureID(&reader, into: &layers) }
            if extensions & 0x40 != 0 { layers.temporalBaseIndex = try reader.integer(as: UInt8.self) }
            if extensions & 0x30 != 0 {
                let layer = try reader.integer(as: UInt8.self)
                if extensions & 0x20 != 0 {
                    layers.temporalLayer = layer >> 6
                    layers.isSwitchingPoint = layer & 0x20 != 0
                }
            }
        }
        // S of partition 0: a frame begins. Another one of the same time follows a picture that is not shown.
        if flags & 0x17 == 0x10 {
            if self.unit.hasPicture {
                let timestamp = self.unit.timestamp
                self.finish()
                self.begin(timestamp)
            }
            self.unit.hasPicture = true
            self.unit.layers = layers
            self.unit.isReferred = flags & 0x20 == 0
        }
        guard self.unit.hasPicture else { throw .unexpectedFragment(offset: 0) }
        guard reader.bytesLeft > 0 else { throw .emptyUnit(offset: reader.offset) }
        try self.require(reader.bytesLeft)
        self.unit.buffer.writeImmutableBuffer(reader.rest)
    }

    mutating func finishedVP8() throws(RTPError) -> RTPAccessUnit? {
        let payload = self.unit.buffer
        let isKeyframe = (payload.getInteger(at: payload.readerIndex, as: UInt8.self) ?? 1) & 1 == 0
        var unit = RTPAccessUnit(timestamp: self.unit.timestamp, payload: payload, isKeyframe: isKeyframe)
        if isKeyframe {
            guard let format = try? VP8KeyframeHeader.videoFormat(of: payload), let width = format.width,
                let height = format.height
            else { throw .invalidValue(0, offset: 0) }
            unit.pictureSize = RTPPictureSize(width: width, height: height)
        }
        unit.isDisposable = !self.unit.isReferred
        unit.layers = self.unit.layers
        return unit
    }

    /// 7 or 15 bits. The same in both formats.
    private static func readPictureID(_ reader: inout RTPBytes, into layers: inout RTPLayerIDs) throws(RTPError) {
        let first = try reader.integer(as: UInt8.self)
        layers.hasLongPictureID = first & 0x80 != 0
        layers.pictureID = UInt16(first & 0x7F)
        if layers.hasLongPictureID {
            layers.pictureID = UInt16(first & 0x7F) << 8 | UInt16(try reader.integer(as: UInt8.self))
        }
    }
}

/// VP9. Spec: RFC 9628 §4.2.
extension RTPPayloadReader {
    /// What a payload descriptor says.
    private struct VP9Descriptor {
        var flags: UInt8
        var layers = RTPLayerIDs()
        /// The picture uses the layer below of the same time.
        var dependsOnLowerLayer = false
        /// Sizes of the spatial layers, lowest first.
        var sizes: [RTPPictureSize] = []

        var beginsFrame: Bool { self.flags & 0x08 != 0 }
        var endsFrame: Bool { self.flags & 0x04 != 0 }

        init(parsing reader: inout RTPBytes) throws(RTPError) {
            self.flags = try reader.integer(as: UInt8.self)
            if self.flags & 0x80 != 0 { try RTPPayloadReader.readPictureID(&reader, into: &self.layers) }
            let isFlexible = self.flags & 0x10 != 0
            if self.flags & 0x20 != 0 {
                let layer = try reader.integer(as: UInt8.self)
                self.layers.temporalLayer = layer >> 5
                self.layers.isSwitchingPoint = layer & 0x10 != 0
                self.layers.spatialLayer = layer >> 1 & 7
                self.dependsOnLowerLayer = layer & 1 != 0
                if !isFlexible { self.layers.temporalBaseIndex = try reader.integer(as: UInt8.self) }
            }
            if isFlexible, self.flags & 0x40 != 0 {
                var count = 1
                while try reader.integer(as: UInt8.self) & 1 != 0 {
                    count += 1
                    guard count <= 3 else { throw .invalidValue(UInt32(count), offset: reader.offset) }
                }
            }
            if self.flags & 0x02 != 0 { try self.readStructure(&reader) }
        }

        /// The scalability structure. Spec: §4.2.1.
        private mutating func readStructure(_ reader: inout RTPBytes) throws(RTPError) {
            let fields = try reader.integer(as: UInt8.self)
            if fields & 0x10 != 0 {
                for _ in 0...(fields >> 5) {
                    let (width, height) = (try reader.integer(as: UInt16.self), try reader.integer(as: UInt16.self))
                    self.sizes.append(RTPPictureSize(width: Int(width), height: Int(height)))
                }
            }
            guard fields & 0x08 != 0 else { return }
            for _ in 0..<(try reader.integer(as: UInt8.self)) {
                let picture = try reader.integer(as: UInt8.self)
                _ = try reader.slice(length: Int(picture >> 2 & 3))
            }
        }
    }

    /// Layer frames that one picture may have: what a superframe's index can count.
    private static var maximumLayerFrames: Int { 8 }

    mutating func addVP9(_ payload: ByteBuffer) throws(RTPError) {
        var reader = RTPBytes(payload)
        let descriptor = try VP9Descriptor(parsing: &reader)
        guard reader.bytesLeft > 0 else { throw .emptyUnit(offset: reader.offset) }
        try self.require(reader.bytesLeft + 64)
        if descriptor.beginsFrame {
            guard self.unit.openFragment == nil else { throw .unfinishedFragment }
            guard self.unit.frameStarts.count < Self.maximumLayerFrames else {
                throw .tooManyPackets(limit: Self.maximumLayerFrames)
            }
            let start = self.unit.buffer.writerIndex
            self.unit.openFragment = start
            if self.unit.frameStarts.isEmpty {
                self.unit.layers = descriptor.layers
                // §4.2, P: not predicted from another picture.
                self.unit.isKeyframe = descriptor.flags & 0x40 == 0
            }
            self.unit.frameStarts.append(start)
            self.unit.layers.spatialLayer = descriptor.layers.spatialLayer
        }
        guard self.unit.openFragment != nil else { throw .unexpectedFragment(offset: 0) }
        if let largest = descriptor.sizes.last { self.unit.pictureSize = largest }
        self.unit.buffer.writeImmutableBuffer(reader.rest)
        if descriptor.endsFrame { self.unit.openFragment = nil }
    }

    mutating func finishedVP9() throws(RTPError) -> RTPAccessUnit? {
        guard self.unit.openFragment == nil else { throw .unfinishedFragment }
        var payload = self.unit.buffer
        let header: VP9FrameHeader
        do throws(CodecHeaderError) {
            header = try VP9FrameHeader(parsing: payload)
        } catch {
            throw .invalidValue(0, offset: 0)
        }
        if self.unit.frameStarts.count > 1 { Self.writeSuperframeIndex(self.unit.frameStarts, into: &payload) }
        var unit = RTPAccessUnit(
            timestamp: self.unit.timestamp, payload: payload, isKeyframe: self.unit.isKeyframe && header.isKeyframe)
        if unit.isKeyframe { unit.pictureSize = self.unit.pictureSize ?? header.pictureSize }
        unit.layers = self.unit.layers
        return unit
    }

    /// Whether a picture begins here that needs nothing in front of it at its own time.
    static func beginsVP9Picture(_ payload: ByteBuffer) -> Bool {
        var reader = RTPBytes(payload)
        guard let descriptor = try? VP9Descriptor(parsing: &reader) else { return false }
        return descriptor.beginsFrame && !descriptor.dependsOnLowerLayer && (descriptor.layers.spatialLayer ?? 0) == 0
    }

    /// Decoders find the frames of a superframe by an index at its end. Spec: VP9 bitstream annex B.
    private static func writeSuperframeIndex(_ starts: [Int], into payload: inout ByteBuffer) {
        let ends = starts.dropFirst() + [payload.writerIndex]
        let marker = 0xC0 | 3 << 3 | UInt8(truncatingIfNeeded: starts.count - 1)
        payload.writeInteger(marker)
        for (start, end) in zip(starts, ends) {
            payload.writeInteger(UInt32(truncatingIfNeeded: end - start), endianness: .little)
        }
        payload.writeInteger(marker)
    }
}
