import MPEGTS
package import Media
package import NIOCore

/// Reads frames out of an MPEG program stream as it arrives, such as the one of GB/T 28181 cameras.
///
/// Run loop: `receive` bytes in pieces of any size, `lose` where bytes are missing, `finish` at the end; after each,
/// drain `nextOutput()` to `nil`. The same bytes give the same outputs however they are cut.
///
/// - The first video stream and the first audio stream of the stream map; without a map, what the packets show.
/// - H.264, HEVC, AAC (ADTS and LATM), MPEG audio, G.711 (one packet is one frame).
/// - Video frames over any number of packets, packets of unknown length, MPEG-1 packs.
/// - Damage ends the frame that it is in, is told as a `PSProblem`, and reading goes on with the next pack.
/// - Times are raw and frames have the shape that `TSDemuxer` documents. A packet without time stamps in a stream that
///   has none takes the clock of its pack.
///
/// Spec: ISO 13818-1 §2.5, GB/T 28181-2016 annex C.
package struct PSDemuxer: Sendable {
    /// How much is kept.
    package struct Configuration: Sendable, Hashable {
        /// Bytes of an access unit, and of a packet of unknown length.
        package var maximumAccessUnitLength = 8 << 20
        /// Entries of a stream map that are looked at.
        package var maximumStreams = 32

        package init() {}
    }

    /// What was read. A position is the offset in bytes, from the start of the input, of the packet in which the frame
    /// begins.
    package enum Output: Sendable, Equatable {
        /// The stream map, when it comes first and whenever it changes.
        case map(PSMap)
        /// A track or a frame.
        case event(MediaEvent, position: Int64)
        case problem(PSProblem)
    }

    /// What was counted since the start.
    package struct Statistics: Sendable, Hashable {
        package var packs = 0
        package var packets = 0
        package var skippedBytes = 0
        package var losses = 0

        package init() {}
    }

    private enum Code {
        static let end: UInt8 = 0xB9
        static let pack: UInt8 = 0xBA
        static let map: UInt8 = 0xBC
    }

    private let configuration: Configuration
    package private(set) var statistics = Statistics()
    private var input = ByteBuffer()
    /// The offset of the input's first byte.
    private var position: Int64 = 0
    /// Reading is not in step with the units: everything up to a pack is passed over.
    private var isLost = false
    private var garbage: (position: Int64, count: Int64)?
    /// How far the end of a packet of unknown length was looked for.
    private var searched = 0
    /// The clock of the last pack: 33 bits of 90 kHz.
    private var clock: Int64?
    private var map: PSMap?
    private var video: PSLane?
    private var audio: PSLane?
    /// Streams of unsupported types that were told, by identifier and type.
    private var told: Set<UInt16> = []
    private var outputs: [Output] = []
    private var nextIndex = 0
    private var isFinished = false

    package init(configuration: Configuration = .init()) {
        precondition(configuration.maximumAccessUnitLength > 0, "an access unit has to have some bytes")
        self.configuration = configuration
    }

    /// Takes the next bytes of the input.
    package mutating func receive(_ bytes: ByteBuffer) {
        precondition(!self.isFinished, "bytes after the end")
        if self.input.readableBytes == 0 {
            self.input = bytes
        } else {
            self.input.discardReadBytes()
            self.input.writeImmutableBuffer(bytes)
        }
    }

    /// Bytes are missing between those that came and those that come. Frames that are unfinished are dropped.
    package mutating func lose() {
        // What is complete was not hurt.
        while self.readUnit() {}
        self.statistics.losses += 1
        self.position += Int64(self.input.readableBytes)
        self.input.clear()
        self.loseStep()
    }

    /// The input has ended: the last frame is given out.
    package mutating func finish() {
        guard !self.isFinished else { return }
        while self.readUnit() {}
        self.isFinished = true
        self.reportGarbage()
        self.video?.flush(into: &self.outputs)
        self.audio?.flush(into: &self.outputs)
    }

    /// The next output; `nil` when more bytes are needed.
    package mutating func nextOutput() -> Output? {
        while true {
            if self.nextIndex < self.outputs.count {
                defer { self.nextIndex += 1 }
                return self.outputs[self.nextIndex]
            }
            self.outputs.removeAll(keepingCapacity: self.outputs.capacity <= 64)
            self.nextIndex = 0
            guard !self.isFinished, self.readUnit() else { return nil }
        }
    }

    // MARK: Units

    /// Reads or skips the next unit. Returns false when more bytes are needed.
    private mutating func readUnit() -> Bool {
        if self.isLost { return self.findPack() }
        guard let prefix = self.input.getInteger(at: self.input.readerIndex, as: UInt32.self) else { return false }
        guard prefix >> 8 == 1 else { return self.loseStep() }
        switch UInt8(truncatingIfNeeded: prefix) {
        case Code.pack: return self.readPack()
        case Code.end:
            self.consume(4)
            return true
        case Code.map: return self.readMap()
        case 0xBD, 0xC0...0xEF: return self.readPacket(UInt8(truncatingIfNeeded: prefix))
        case 0xBB...0xFF: return self.skipUnit()
        default: return self.loseStep()
        }
    }

    /// What follows is not in step.
    @discardableResult
    private mutating func loseStep() -> Bool {
        self.isLost = true
        self.searched = 0
        self.video?.discard()
        self.audio?.discard()
        return true
    }

    private mutating func consume(_ count: Int) {
        self.input.moveReaderIndex(forwardBy: count)
        self.position += Int64(count)
    }

    /// Passes over everything in front of a pack.
    private mutating func findPack() -> Bool {
        let found = Self.firstCode(in: self.input, from: 0) { $0 == Code.pack }
        let skipped = found ?? max(0, self.input.readableBytes - 3)
        if skipped > 0 {
            self.garbage = (self.garbage?.position ?? self.position, (self.garbage?.count ?? 0) + Int64(skipped))
            self.statistics.skippedBytes += skipped
            self.consume(skipped)
        }
        guard found != nil else { return false }
        self.reportGarbage()
        self.isLost = false
        return true
    }

    private mutating func reportGarbage() {
        guard let garbage = self.garbage else { return }
        self.garbage = nil
        self.outputs.append(.problem(.garbage(position: garbage.position, skipped: garbage.count)))
    }

    /// The offset of the first start code at `from` or later whose last byte is wanted.
    private static func firstCode(in bytes: ByteBuffer, from: Int, _ isWanted: (UInt8) -> Bool) -> Int? {
        let span = bytes.readableBytesUInt8Span
        var index = from + 2
        while index + 1 < span.count {
            if span[index] > 1 {
                index += 3
            } else if span[index] == 1, span[index - 1] == 0, span[index - 2] == 0 {
                if isWanted(span[index + 1]) { return index - 2 }
                index += 3
            } else {
                index += 1
            }
        }
        return nil
    }

    /// §2.5.3.4, and the pack of MPEG-1 (ISO 11172-1 §2.4.3.2).
    private mutating func readPack() -> Bool {
        guard let first = self.input.getInteger(at: self.input.readerIndex + 4, as: UInt8.self) else { return false }
        if first >> 4 == 2 {
            guard self.input.readableBytes >= 12 else { return false }
            self.clock = nil
            self.consume(12)
        } else {
            guard first >> 6 == 1 else {
                self.consume(4)
                return self.loseStep()
            }
            guard self.input.readableBytes >= 14,
                let scr = self.input.getInteger(at: self.input.readerIndex + 2, as: UInt64.self),
                let stuffing = self.input.getInteger(at: self.input.readerIndex + 13, as: UInt8.self)
            else { return false }
            let length = 14 + Int(stuffing & 7)
            guard self.input.readableBytes >= length else { return false }
            // The 48 bits at offset 4: 2 marks, 3 bits, mark, 15 bits, mark, 15 bits, mark, 9 bits, mark.
            let bits = scr & 0xFFFF_FFFF_FFFF
            let (high, middle, low) = (bits >> 43 & 7, bits >> 27 & 0x7FFF, bits >> 11 & 0x7FFF)
            self.clock = Int64(high << 30 | middle << 15 | low)
            self.consume(length)
        }
        self.statistics.packs += 1
        return true
    }

    private mutating func skipUnit() -> Bool {
        guard let length = self.input.getInteger(at: self.input.readerIndex + 4, as: UInt16.self),
            self.input.readableBytes >= 6 + Int(length)
        else { return false }
        self.consume(6 + Int(length))
        return true
    }

    private mutating func readMap() -> Bool {
        guard let length = self.input.getInteger(at: self.input.readerIndex + 4, as: UInt16.self),
            let body = self.input.getSlice(at: self.input.readerIndex + 6, length: Int(length))
        else { return false }
        let position = self.position
        self.consume(6 + Int(length))
        if let map = PSMap(parsing: body, maximumStreams: self.configuration.maximumStreams) {
            if map != self.map { self.apply(map, position: position) }
        } else {
            self.outputs.append(.problem(.malformedMap(position: position)))
        }
        return true
    }

    // MARK: Streams

    private mutating func apply(_ map: PSMap, position: Int64) {
        self.map = map
        self.outputs.append(.map(map))
        for stream in map.streams where PSContent(type: stream.type) == nil {
            guard self.told.insert(UInt16(stream.id) << 8 | UInt16(stream.type)).inserted else { continue }
            self.outputs.append(
                .problem(.unsupportedStream(streamID: stream.id, type: stream.type, position: position)))
        }
        func first(_ kind: MediaKind) -> (id: UInt8, content: PSContent)? {
            for stream in map.streams {
                if let content = PSContent(type: stream.type), content.codec?.kind == kind {
                    return (stream.id, content)
                }
            }
            return nil
        }
        if let found = first(.video), self.video?.streamID != found.id || self.video?.content != found.content {
            self.video?.flush(into: &self.outputs)
            self.video = self.lane(found.id, found.content)
        }
        if let found = first(.audio), self.audio?.streamID != found.id || self.audio?.content != found.content {
            self.audio?.flush(into: &self.outputs)
            self.audio = self.lane(found.id, found.content)
        }
    }

    private func lane(_ id: UInt8, _ content: PSContent) -> PSLane {
        PSLane(streamID: id, content: content, maximumLength: self.configuration.maximumAccessUnitLength)
    }

    private func isUnsupported(_ id: UInt8) -> Bool {
        self.map?.streams.contains { $0.id == id && PSContent(type: $0.type) == nil } ?? false
    }

    private mutating func readPacket(_ id: UInt8) -> Bool {
        guard let length = self.input.getInteger(at: self.input.readerIndex + 4, as: UInt16.self) else { return false }
        let total: Int
        if length == 0 {
            guard let end = self.findEnd(id) else { return self.isLost }
            total = end
        } else {
            total = 6 + Int(length)
        }
        guard let packet = self.input.getSlice(at: self.input.readerIndex, length: total) else { return false }
        let position = self.position
        self.consume(total)
        self.searched = 0
        self.statistics.packets += 1
        switch PESHeader.parse(packet) {
        case .ignored: break
        case .incomplete, .malformed:
            self.outputs.append(.problem(.malformedPES(streamID: id, position: position)))
            self.loseStep()
        case .header(let header) where header.isScrambled:
            self.outputs.append(.problem(.scrambled(streamID: id, position: position)))
            if id >= 0xE0 { self.video?.discard() } else { self.audio?.discard() }
        case .header(let header):
            var payload = packet
            payload.moveReaderIndex(forwardBy: header.length)
            self.receive(payload, id: id, header: header, position: position)
        }
        return true
    }

    /// The length of a packet of unknown length: up to the next unit, whose code no NAL unit begins with.
    private mutating func findEnd(_ id: UInt8) -> Int? {
        let maximum = self.configuration.maximumAccessUnitLength
        let end = Self.firstCode(in: self.input, from: max(6, self.searched)) { $0 >= Code.end }
        if let end, end <= maximum { return end }
        self.searched = max(6, self.input.readableBytes - 3)
        // The same however the bytes are cut: a code at `maximum` would have been seen.
        if end != nil || self.input.readableBytes >= maximum + 4 {
            self.outputs.append(.problem(.tooLong(streamID: id, maximum: maximum, position: self.position)))
            self.consume(4)
            self.loseStep()
        }
        return nil
    }

    private mutating func receive(_ payload: ByteBuffer, id: UInt8, header: PESHeader, position: Int64) {
        if 0xE0...0xEF ~= id {
            self.chooseVideo(payload, id: id, position: position)
            guard self.video?.streamID == id else { return }
            self.video?.receive(
                payload, header: header, clock: self.clock, position: position, into: &self.outputs)
        } else if 0xC0...0xDF ~= id {
            if self.audio == nil, payload.readableBytes > 0, !self.isUnsupported(id) {
                self.audio = self.lane(id, PSContent.sniff(audio: payload))
            }
            guard self.audio?.streamID == id else { return }
            self.audio?.receive(
                payload, header: header, clock: self.clock, position: position, into: &self.outputs)
        }
    }

    /// Believes parameter sets more than the map: some cameras say H.264 and send HEVC.
    private mutating func chooseVideo(_ payload: ByteBuffer, id: UInt8, position: Int64) {
        guard self.video == nil || self.video?.streamID == id, !self.isUnsupported(id) || self.video != nil,
            let found = PSContent.sniff(video: payload)
        else { return }
        guard let declared = self.video?.content.codec else {
            if !self.isUnsupported(id) { self.video = self.lane(id, .elementary(.media(found))) }
            return
        }
        guard declared != found else { return }
        self.outputs.append(
            .problem(.contradictoryMap(declared: declared, found: found, position: position)))
        self.video?.flush(into: &self.outputs)
        self.video = self.lane(id, .elementary(.media(found)))
    }
}
