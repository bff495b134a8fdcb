import Media
import NIOCore

/// Cuts an H.264 or HEVC elementary stream into access units, wherever PES packets begin and end.
///
/// A PES packet may hold several access units, and one may go on in the next packet. A time stamp belongs to the first
/// access unit that begins in its packet (ISO 13818-1 §2.4.3.7); others get the next time at the stream's frame rate.
struct AccessUnitAssembler: Sendable {
    /// The last NAL unit of a packet, which may go on in the next.
    private struct OpenUnit: Sendable {
        var bytes: ByteBuffer
        /// Of the packet in which it began.
        var stamp: PESStamp
        /// No unit before it took the stamp's times.
        var ownsTimes: Bool
    }

    private struct AccessUnit: Sendable {
        var stamp: PESStamp
        /// Without delimiters, filler data and parameter sets.
        var units: [ByteBuffer] = []
        var parameterSets: [ByteBuffer] = []
        var length = 0
        var hasSlices = false
        var isRandomAccess = false
        var hasRecoveryPoint = false
    }

    /// Units of an access unit: each keeps the memory of its packet. No encoder makes as many slices.
    static let maximumUnits = 4096

    private let pid: UInt16
    private let codec: Codec
    private let codes: NALUnitCodes
    private let maximumLength: Int
    private var stamp: PESStamp?
    /// No access unit has taken the stamp's times yet.
    private var isStampUnused = false
    private var open: OpenUnit?
    private var current: AccessUnit?
    private var parameterSets: ParameterSetStore
    private var track: Track?
    private var lastDTS: Int64?
    /// The last distance of decoding times.
    private var interval: Int64?

    init(pid: UInt16, codec: Codec, maximumLength: Int) {
        self.pid = pid
        self.codec = codec
        self.codes = NALUnitCodes(codec)
        self.maximumLength = maximumLength
        self.parameterSets = ParameterSetStore(codec: codec)
    }

    /// A PES packet begins; `first` is what is there of its payload. If that shows the start of an access unit, the one
    /// before is given out without waiting for the packet's end.
    mutating func begin(_ stamp: PESStamp, first: ByteBuffer, into outputs: inout OutputQueue) {
        if let offset = Self.firstUnit(in: first) {
            self.closeOpenUnit(into: &outputs)
            if self.current?.hasSlices == true, self.startsAccessUnit(first, at: first.readerIndex + offset) {
                self.closeAccessUnit(into: &outputs)
            }
        }
        self.stamp = stamp
        self.isStampUnused = true
    }

    /// Takes the whole payload of the packet that began.
    mutating func feed(_ payload: ByteBuffer, into outputs: inout OutputQueue) {
        guard let stamp = self.stamp else { return }
        guard var open = self.open else {
            return self.cut(payload, stamp: stamp, continued: nil, from: 0, into: &outputs)
        }
        // The packet goes on with a unit: only then is anything copied. What was searched before is not searched again,
        // but for two zeros at its end, which may begin a start code.
        self.open = nil
        let searched = max(0, open.bytes.readableBytes - 2)
        open.bytes.writeImmutableBuffer(payload)
        if Self.hasStartCode(open.bytes, from: searched) {
            self.cut(open.bytes, stamp: stamp, continued: open, from: searched, into: &outputs)
        } else if open.bytes.readableBytes > self.maximumLength {
            self.dropTooLong(stamp, into: &outputs)
        } else {
            self.open = open
        }
    }

    /// Cuts `data` into units. `continued` is the unit at its beginning, if that began in a packet before; start codes
    /// are looked for behind `from`.
    private mutating func cut(
        _ data: ByteBuffer, stamp: PESStamp, continued: OpenUnit?, from: Int, into outputs: inout OutputQueue
    ) {
        var begin: Int? = continued == nil ? nil : 0
        Self.forEachStartCode(in: data, from: from) { zeros, next in
            if let start = begin, let unit = data.getSlice(at: data.readerIndex + start, length: zeros - start) {
                // A unit of this packet has a start code in front, so it does not begin at 0.
                if let continued, start == 0 {
                    self.receive(unit, stamp: continued.stamp, ownsTimes: continued.ownsTimes, into: &outputs)
                } else {
                    self.receive(unit, stamp: stamp, ownsTimes: self.isStampUnused, into: &outputs)
                }
            }
            begin = next
        }
        guard let start = begin,
            let rest = data.getSlice(at: data.readerIndex + start, length: data.readableBytes - start)
        else { return }
        guard rest.readableBytes <= self.maximumLength else { return self.dropTooLong(stamp, into: &outputs) }
        self.open = OpenUnit(bytes: rest, stamp: stamp, ownsTimes: self.isStampUnused)
    }

    /// Nothing continues what is there: it is complete.
    mutating func flush(into outputs: inout OutputQueue) {
        self.closeOpenUnit(into: &outputs)
        self.closeAccessUnit(into: &outputs)
    }

    /// What is there is damaged.
    mutating func discard() {
        (self.open, self.current, self.stamp) = (nil, nil, nil)
    }

    // MARK: NAL units

    private mutating func closeOpenUnit(into outputs: inout OutputQueue) {
        guard let open = self.open else { return }
        self.open = nil
        self.receive(open.bytes, stamp: open.stamp, ownsTimes: open.ownsTimes, into: &outputs)
    }

    /// `stamp` is the one of the packet in which the unit began; an access unit that begins with the unit has its times
    /// if `ownsTimes`.
    private mutating func receive(
        _ unit: ByteBuffer, stamp: PESStamp, ownsTimes: Bool, into outputs: inout OutputQueue
    ) {
        var unit = unit
        // Zero bytes may stand behind a unit (annex B, trailing_zero_8bits).
        while unit.readableBytes > 0, unit.getInteger(at: unit.writerIndex - 1, as: UInt8.self) == 0 {
            unit.moveWriterIndex(to: unit.writerIndex - 1)
        }
        guard unit.readableBytes > 0 else { return }
        if self.current?.hasSlices == true, self.startsAccessUnit(unit, at: unit.readerIndex) {
            self.closeAccessUnit(into: &outputs)
        }
        var access = self.current ?? self.startAccessUnit(stamp, ownsTimes: ownsTimes)
        self.current = nil
        access.length += unit.readableBytes + 4
        guard access.length <= self.maximumLength,
            access.units.count + access.parameterSets.count < Self.maximumUnits
        else { return self.dropTooLong(stamp, into: &outputs) }
        let type = self.codes.type(of: unit)
        switch self.codes.role(ofType: type) {
        case .slice(let isRandomAccess):
            access.hasSlices = true
            if isRandomAccess { access.isRandomAccess = true }
            access.units.append(unit)
        case .parameterSet: access.parameterSets.append(unit)
        case .dropped: break
        case .supplemental:
            if !access.hasRecoveryPoint { access.hasRecoveryPoint = self.codes.isRecoveryPoint(unit) }
            access.units.append(unit)
        case .other: access.units.append(unit)
        }
        self.current = access
    }

    private mutating func startAccessUnit(_ stamp: PESStamp, ownsTimes: Bool) -> AccessUnit {
        if ownsTimes {
            if stamp == self.stamp { self.isStampUnused = false }
            return AccessUnit(stamp: stamp)
        }
        return AccessUnit(stamp: PESStamp(pts: nil, dts: nil, position: stamp.position))
    }

    private mutating func dropTooLong(_ stamp: PESStamp, into outputs: inout OutputQueue) {
        (self.open, self.current) = (nil, nil)
        outputs.append(.problem(.tooLong(pid: self.pid, maximum: self.maximumLength, position: stamp.position)))
    }

    private func startsAccessUnit(_ buffer: ByteBuffer, at index: Int) -> Bool {
        guard let header = buffer.getInteger(at: index, as: UInt8.self) else { return false }
        // The bit behind the header is 1 in the first slice: `first_slice_segment_in_pic_flag`, and
        // `first_mb_in_slice` of 0 as an Exp-Golomb code.
        let payload = buffer.getInteger(at: index + self.codes.headerLength, as: UInt8.self) ?? 0
        let layer =
            self.codes.isHEVC ? self.codes.layer(header, buffer.getInteger(at: index + 1, as: UInt8.self) ?? 0) : 0
        return layer == 0
            && self.codes.startsAccessUnit(type: self.codes.type(ofHeader: header), isFirstSlice: payload & 0x80 != 0)
    }

    /// The offset of the first unit if the bytes open with a start code.
    private static func firstUnit(in bytes: ByteBuffer) -> Int? {
        var zeros = 0
        for (offset, byte) in bytes.readableBytesView.enumerated() {
            if byte == 0 {
                zeros += 1
            } else {
                return byte == 1 && zeros >= 2 ? offset + 1 : nil
            }
        }
        return nil
    }

    private static func hasStartCode(_ payload: ByteBuffer, from: Int) -> Bool {
        var found = false
        self.forEachStartCode(in: payload, from: from) { _, _ in found = true }
        return found
    }

    /// Calls `body` with the offset of each `00 00 01` that begins at `from` or later, and the offset behind it.
    private static func forEachStartCode(in payload: ByteBuffer, from: Int, _ body: (Int, Int) -> Void) {
        let bytes = payload.readableBytesUInt8Span
        var index = from + 2
        while index < bytes.count {
            // Three bytes can only be skipped at once when the last of them cannot be part of a start code.
            if bytes[index] > 1 {
                index += 3
            } else if bytes[index] == 1, bytes[index - 1] == 0, bytes[index - 2] == 0 {
                body(index - 2, index + 1)
                index += 3
            } else {
                index += 1
            }
        }
    }

    // MARK: Access units

    private mutating func closeAccessUnit(into outputs: inout OutputQueue) {
        guard let access = self.current else { return }
        self.current = nil
        let isKeyframe =
            access.isRandomAccess
            || access.hasRecoveryPoint && access.parameterSets.contains(where: self.codes.isSequenceParameterSet)
        let changed = self.parameterSets.receive(access.parameterSets, mayReplace: isKeyframe || self.track == nil)
        guard access.hasSlices else { return }
        let times = self.times(of: access.stamp)
        if self.parameterSets.isChanged, isKeyframe || self.track == nil {
            self.makeTrack(position: access.stamp.position, into: &outputs)
        }
        guard let (dts, pts) = times, self.track != nil else {
            outputs.append(.problem(.unusableFrame(pid: self.pid, position: access.stamp.position)))
            return
        }
        // What changes between keyframes reaches decoders with the frame itself.
        let units = isKeyframe || self.parameterSets.isClean ? access.units : changed + access.units
        var payload = ByteBufferAllocator().buffer(capacity: units.reduce(0) { $0 + 4 + $1.readableBytes })
        for unit in units {
            payload.writeInteger(UInt32(unit.readableBytes))
            payload.writeImmutableBuffer(unit)
        }
        outputs.append(
            .event(
                .frame(
                    Frame(
                        codec: self.codec, dts: MediaTime(ticks: dts), pts: MediaTime(ticks: pts),
                        isKeyframe: isKeyframe, payload: payload)),
                position: access.stamp.position))
    }

    private mutating func makeTrack(position: Int64, into outputs: inout OutputQueue) {
        do throws(CodecHeaderError) {
            guard let record = try self.parameterSets.record() else { return }
            self.parameterSets.isChanged = false
            let track = try Track(codec: self.codec, parsingConfiguration: record)
            guard track != self.track else { return }
            self.track = track
            outputs.append(.event(.track(track), position: position))
        } catch {
            self.parameterSets.isChanged = false
            outputs.append(.problem(.configuration(self.codec, error, position: position)))
        }
    }

    /// Raw 33 bits for decoding, and presentation not before it. `nil` before the first time stamp.
    private mutating func times(of stamp: PESStamp) -> (dts: Int64, pts: Int64)? {
        guard let pts = stamp.pts, let dts = stamp.dts else {
            guard let last = self.lastDTS else { return nil }
            let dts = (last + (self.interval ?? self.nominalInterval)) & TS.timeMask
            self.lastDTS = dts
            return (dts, dts)
        }
        if let last = self.lastDTS {
            let distance = (dts - last) & TS.timeMask
            if distance > 0, distance < MediaTime.ticksPerSecond { self.interval = distance }
        }
        self.lastDTS = dts
        let distance = (pts - dts) & TS.timeMask
        return (dts, distance < TS.timePeriod / 2 ? dts + distance : dts)
    }

    private var nominalInterval: Int64 {
        guard case .video(let format)? = self.track?.format, let rate = format.frameRate, rate >= 1, rate <= 1000 else {
            return 3_600
        }
        return Int64(90_000 / rate)
    }
}
