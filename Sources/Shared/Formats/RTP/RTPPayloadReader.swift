package import NIOCore

/// Puts the payloads of one source together to whole access units.
///
/// The caller hands over payloads in the order of their sequence numbers, without duplicates, and says where numbers
/// are missing (`packetsAreMissing()`); then drains `nextOutput()` to `nil`. An access unit ends with the marker or,
/// for senders that set none, with the next timestamp. What cannot be whole does not come out.
///
/// States: at a boundary (the next packet begins an access unit), inside one, passing over the rest of a broken one,
/// and after a gap, where only a packet that shows to be the first of its access unit is taken.
package struct RTPPayloadReader: Sendable {
    package enum Output: Sendable, Hashable {
        case accessUnit(RTPAccessUnit)
        /// The access unit of this timestamp was given up. Told once for each.
        case broken(RTPError, timestamp: UInt32)
    }

    enum Position: Sendable, Equatable {
        case boundary
        case inside
        /// The rest of a broken access unit is passed over, until its marker or another timestamp.
        case skipping(timestamp: UInt32)
        /// Packets are missing. `broken` is the access unit that was given up before them.
        case afterGap(broken: UInt32?)
    }

    package let format: RTPPayloadFormat
    /// Bytes of one access unit that are accepted.
    package let maximumLength: Int
    private var position = Position.boundary
    private var outputs: [Output] = []
    /// What is there of the access unit that `position` is inside of.
    var unit = RTPUnitAssembly(timestamp: 0)
    /// Sub-layers of the last HEVC sequence parameter set.
    var subLayers: UInt8?

    /// `maximumLength` bounds what is kept of an unfinished access unit.
    package init(format: RTPPayloadFormat, maximumLength: Int = 16 * 1024 * 1024) {
        precondition(maximumLength > 0, "an access unit has at least a byte, got \(maximumLength)")
        self.format = format
        self.maximumLength = maximumLength
    }

    /// Takes the payload of the next packet. An empty one (padding) is passed over.
    ///
    /// Cost: one copy of the payload for video and for fragments of AAC, else none.
    package mutating func append(_ payload: ByteBuffer, marker: Bool, timestamp: UInt32) {
        guard payload.readableBytes > 0 else { return }
        switch self.position {
        case .boundary: break
        case .skipping(let broken):
            if timestamp == broken {
                if marker { self.position = .boundary }
                return
            }
            self.position = .boundary
        case .inside:
            if self.unit.timestamp != timestamp { self.finish() }
        case .afterGap(let broken):
            guard timestamp != broken, self.showsBeginning(payload) else {
                if timestamp != broken { self.outputs.append(.broken(.packetsMissing, timestamp: timestamp)) }
                self.position = marker ? .boundary : .skipping(timestamp: timestamp)
                return
            }
        }
        if self.position != .inside { self.begin(timestamp) }
        do throws(RTPError) {
            try self.add(payload, timestamp: timestamp)
        } catch {
            self.outputs.append(.broken(error, timestamp: self.unit.timestamp))
            self.position = marker ? .boundary : .skipping(timestamp: timestamp)
            self.unit = RTPUnitAssembly(timestamp: timestamp)
            return
        }
        if marker, self.position == .inside { self.finish() }
    }

    /// Numbers are missing in front of the next packet: an access unit that is open is given up.
    package mutating func packetsAreMissing() {
        switch self.position {
        case .boundary: self.position = .afterGap(broken: nil)
        case .inside:
            self.outputs.append(.broken(.packetsMissing, timestamp: self.unit.timestamp))
            self.position = .afterGap(broken: self.unit.timestamp)
            self.unit = RTPUnitAssembly(timestamp: self.unit.timestamp)
        case .skipping(let timestamp): self.position = .afterGap(broken: timestamp)
        case .afterGap: break
        }
    }

    /// The next access unit or fault; `nil` when there is none.
    package mutating func nextOutput() -> Output? {
        self.outputs.isEmpty ? nil : self.outputs.removeFirst()
    }

    // MARK: One access unit

    /// Opens an access unit. Parameter sets that came without a picture go with it.
    mutating func begin(_ timestamp: UInt32) {
        var unit = RTPUnitAssembly(timestamp: timestamp)
        if case .afterGap = self.position {
            unit.isAfterGap = true
        } else {
            unit.parameterSets = self.unit.parameterSets
            unit.parameterSetLength = self.unit.parameterSetLength
        }
        self.unit = unit
        self.position = .inside
    }

    /// Closes the access unit, inside of which we are, and gives it out if it is whole.
    mutating func finish() {
        self.position = .boundary
        let timestamp = self.unit.timestamp
        var next = RTPUnitAssembly(timestamp: timestamp)
        do throws(RTPError) {
            if let whole = try self.finishedUnit() {
                self.outputs.append(.accessUnit(whole))
            } else {
                next.parameterSets = self.unit.parameterSets
                next.parameterSetLength = self.unit.parameterSetLength
            }
        } catch {
            self.outputs.append(.broken(error, timestamp: timestamp))
        }
        self.unit = next
    }

    /// Closes the access unit and opens one of another time, in the middle of a packet.
    mutating func proceed(to timestamp: UInt32) {
        guard timestamp != self.unit.timestamp else { return }
        self.finish()
        self.begin(timestamp)
    }

    /// Gives out a frame that is a packet, or part of one, by itself: there is no open access unit.
    mutating func giveOut(_ unit: RTPAccessUnit) {
        self.outputs.append(.accessUnit(unit))
        self.position = .boundary
    }

    /// Checks the bound in front of `count` more bytes.
    func require(_ count: Int) throws(RTPError) {
        guard count <= self.maximumLength - self.unit.length else {
            throw .accessUnitTooLong(limit: self.maximumLength)
        }
    }

    private mutating func add(_ payload: ByteBuffer, timestamp: UInt32) throws(RTPError) {
        switch self.format {
        case .h264: try self.addH264(payload, timestamp: timestamp)
        case .hevc(let usesNumbers): try self.addHEVC(payload, usesDecodingOrderNumbers: usesNumbers)
        case .vp8: try self.addVP8(payload)
        case .vp9: try self.addVP9(payload)
        case .av1: try self.addAV1(payload)
        case .opus: try self.addOpus(payload)
        case .g711ALaw(let channels), .g711MuLaw(let channels): self.addG711(payload, channels: channels)
        case .aac(let layout): try self.addAAC(payload, layout: layout)
        case .latm: try self.addLATM(payload)
        case .mpegAudio: try self.addMPEGAudio(payload)
        }
    }

    /// `nil` when there is no picture in it.
    private mutating func finishedUnit() throws(RTPError) -> RTPAccessUnit? {
        switch self.format {
        case .h264, .hevc: try self.finishedNALUnits()
        case .vp8: try self.finishedVP8()
        case .vp9: try self.finishedVP9()
        case .av1: try self.finishedAV1()
        case .aac, .mpegAudio: throw .unfinishedFragment
        case .latm(_, let subframes): try self.finishedLATM(subframes: subframes)
        case .opus, .g711ALaw, .g711MuLaw: nil
        }
    }

    /// Whether a packet after a gap is surely the first of its access unit, or cannot pass for it unnoticed.
    private func showsBeginning(_ payload: ByteBuffer) -> Bool {
        let first = payload.getInteger(at: payload.readerIndex, as: UInt8.self) ?? 0
        switch self.format {
        case .h264:
            // Slices are checked at the end; fragments here.
            guard [28, 29].contains(first & 0x1F) else { return true }
            return (payload.getInteger(at: payload.readerIndex + 1, as: UInt8.self) ?? 0) & 0x80 != 0
        case .hevc:
            guard first >> 1 & 0x3F == 49 else { return true }
            return (payload.getInteger(at: payload.readerIndex + 2, as: UInt8.self) ?? 0) & 0x80 != 0
        case .vp8: return first & 0x17 == 0x10
        case .vp9: return Self.beginsVP9Picture(payload)
        case .av1: return Self.beginsTemporalUnit(payload)
        case .opus, .g711ALaw, .g711MuLaw, .aac, .latm, .mpegAudio: return true
        }
    }
}

/// What is there of an access unit. Each payload format uses some of it.
struct RTPUnitAssembly: Sendable {
    var timestamp: UInt32
    var buffer = ByteBuffer()
    var parameterSets = RTPParameterSets()
    var isAfterGap = false
    var hasPicture = false
    var isKeyframe = false
    /// Something refers to the picture, as far as headers tell.
    var isReferred = false
    var layers = RTPLayerIDs()
    var sequenceHeader: ByteBuffer?
    var pictureSize: RTPPictureSize?
    /// Offset in `buffer` of the unit that arrives in fragments.
    var openFragment: Int?
    /// AV1: the element that arrives in fragments.
    var fragment = ByteBuffer()
    /// VP9: offsets in `buffer` where layer frames begin.
    var frameStarts: [Int] = []
    /// AAC: the size that the headers tell.
    var expectedLength = 0
    /// Bytes of parameter sets.
    var parameterSetLength = 0

    init(timestamp: UInt32) { self.timestamp = timestamp }

    var length: Int { self.buffer.writerIndex + self.fragment.readableBytes + self.parameterSetLength }
}
