package import NIOCore

/// Cuts the frames of one track into RTP payloads, of equal size as far as the payload format allows it, so that one
/// segmented send takes them.
///
/// It counts picture ids of VP8 and VP9, so frames go through it in the order in which they are sent.
package struct RTPPayloadWriter: Sendable {
    /// Packets that one frame may take: half the circle of sequence numbers.
    package static let maximumPackets = 32_767

    package let format: RTPPayloadFormat
    /// Bytes of a payload at most.
    package let maximumPayload: Int
    /// The 15-bit picture id of the next frame (VP8, VP9).
    package private(set) var nextPictureID: UInt16

    /// `maximumPayload` is at least 64. `firstPictureID` should be random (RFC 7741 §4.2); its low 15 bits are used.
    package init(format: RTPPayloadFormat, maximumPayload: Int, firstPictureID: UInt16 = 0) {
        precondition(maximumPayload >= 64, "a payload needs room, got \(maximumPayload) bytes")
        self.format = format
        self.maximumPayload = maximumPayload
        self.nextPictureID = firstPictureID & 0x7FFF
    }

    /// Cuts one frame.
    ///
    /// - Parameters:
    ///   - frame: in the form of `Frame.payload`.
    ///   - isKeyframe: as in `Frame`.
    ///   - nalUnitLengthSize: of the track's configuration record: 1 to 4.
    ///   - parameterSets: NAL units (H.264, HEVC) that go in front, aggregated if they fit into one packet, unless the
    ///     frame has units of their types itself. For AV1, OBUs with sizes that go in front unless the frame has a
    ///     sequence header.
    ///
    /// Errors: `malformedFrame`; `frameTooLong` for too many packets, for a NAL unit that packetization mode 0 cannot
    /// fragment, and for an Opus packet that does not fit.
    package mutating func payloads(
        of frame: ByteBuffer, isKeyframe: Bool, nalUnitLengthSize: Int = 4, parameterSets: [ByteBuffer] = []
    ) throws(RTPError) -> RTPPayloads {
        let builder: RTPPayloadBuilder
        switch self.format {
        case .h264(let mode):
            builder = try NALUnitPacketizer(
                isHEVC: false, canCombine: mode != 0, maximumPayload: self.maximumPayload
            ).payloads(of: frame, lengthSize: nalUnitLengthSize, parameterSets: parameterSets)
        case .hevc:
            builder = try NALUnitPacketizer(isHEVC: true, canCombine: true, maximumPayload: self.maximumPayload)
                .payloads(of: frame, lengthSize: nalUnitLengthSize, parameterSets: parameterSets)
        case .vp8:
            builder = self.vp8Payloads(of: frame)
            self.nextPictureID = (self.nextPictureID + 1) & 0x7FFF
        case .vp9:
            builder = self.vp9Payloads(of: frame, isKeyframe: isKeyframe)
            self.nextPictureID = (self.nextPictureID + 1) & 0x7FFF
        case .av1:
            builder = try AV1Packetizer(maximumPayload: self.maximumPayload).payloads(
                of: frame, isKeyframe: isKeyframe, configurationUnits: parameterSets)
        case .opus: builder = try self.opusPayloads(of: frame)
        case .g711ALaw(let channels), .g711MuLaw(let channels):
            builder = self.g711Payloads(of: frame, channels: channels)
        case .aac: builder = try self.aacPayloads(of: frame)
        }
        guard builder.payloads.ranges.count <= Self.maximumPackets else {
            throw .frameTooLong(length: frame.readableBytes, maximum: Self.maximumPackets)
        }
        return builder.payloads
    }
}

/// Collects payloads in one buffer.
struct RTPPayloadBuilder {
    private(set) var payloads = RTPPayloads()
    private var start = 0

    init(capacity: Int) { self.payloads.buffer = ByteBufferAllocator().buffer(capacity: capacity) }

    var hasMarkerOnLast: Bool {
        get { self.payloads.hasMarkerOnLast }
        set { self.payloads.hasMarkerOnLast = newValue }
    }
    var timestampStep: UInt32 {
        get { self.payloads.timestampStep }
        set { self.payloads.timestampStep = newValue }
    }
    var beginsWithParameterSets: Bool {
        get { self.payloads.beginsWithParameterSets }
        set { self.payloads.beginsWithParameterSets = newValue }
    }

    /// Writes one payload by `body`.
    mutating func append(_ body: (inout ByteBuffer) -> Void) {
        body(&self.payloads.buffer)
        let end = self.payloads.buffer.writerIndex
        if end > self.start { self.payloads.ranges.append(self.start..<end) }
        self.start = end
    }

    /// Cuts `data` into the fewest pieces of at most `room` bytes, all of the same size but the last. Calls `body` with
    /// each piece, whether it is the first, and whether it is the last.
    static func forEachPiece(
        of data: ByteBuffer, room: Int, _ body: (_ piece: ByteBuffer, _ isFirst: Bool, _ isLast: Bool) -> Void
    ) {
        guard data.readableBytes > 0 else { return }
        let count = (data.readableBytes + room - 1) / room
        let size = (data.readableBytes + count - 1) / count
        var rest = data
        var isFirst = true
        while let piece = rest.readSlice(length: min(size, rest.readableBytes)), piece.readableBytes > 0 {
            body(piece, isFirst, rest.readableBytes == 0)
            isFirst = false
        }
    }
}
