import Media
package import NIOCore

/// Cuts the frames of one track into RTP payloads, of equal size as far as the payload format allows it, so that one
/// segmented send takes them.
///
/// A payload depends on its frame alone, so frames can be sent in any order, again, or not at all.
package struct RTPPayloadWriter: Sendable {
    /// Packets that one frame may take: half the circle of sequence numbers.
    package static let maximumPackets = 32_767
    /// NAL units or OBUs that one frame may have, with its parameter sets and what is not sent of it. Encoders make some
    /// tens; every one costs time however short it is.
    package static let maximumUnits = LengthPrefixedNALUnits.maximumUnits

    package let format: RTPPayloadFormat
    /// Bytes of a payload at most.
    package let maximumPayload: Int

    /// `maximumPayload` is at least 64.
    package init(format: RTPPayloadFormat, maximumPayload: Int) {
        precondition(maximumPayload >= 64, "a payload needs room, got \(maximumPayload) bytes")
        self.format = format
        self.maximumPayload = maximumPayload
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
    /// Cost: linear in the bytes, and bounded by `maximumUnits` where units are short.
    ///
    /// Errors: `malformedFrame`; `tooManyUnits`; `frameTooLong` for too many packets, for a NAL unit that packetization
    /// mode 0 cannot fragment, and for an Opus packet that does not fit.
    package func payloads(
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
        case .vp9:
            builder = self.vp9Payloads(of: frame, isKeyframe: isKeyframe)
        case .av1:
            builder = try AV1Packetizer(maximumPayload: self.maximumPayload).payloads(
                of: frame, isKeyframe: isKeyframe, configurationUnits: parameterSets)
        case .opus: builder = try self.opusPayloads(of: frame)
        case .g711ALaw(let channels), .g711MuLaw(let channels):
            builder = self.g711Payloads(of: frame, channels: channels)
        case .aac: builder = try self.aacPayloads(of: frame)
        case .mpegAudio: builder = self.mpegAudioPayloads(of: frame)
        case .latm: throw .unsupportedCodec
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
