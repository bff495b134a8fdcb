import Media
import NIOCore
import RTP

/// Knows the track of one source from what its packets and the session description told.
struct TrackBuilder {
    let payload: RTPMediaPayload
    private var book: ParameterSetBook?
    /// The track as of the last access unit; `nil` while frames cannot be decoded yet.
    private(set) var track: Track? {
        didSet { self.reorderDepth = self.track.flatMap(ReorderDepth.declared(by:)) ?? 0 }
    }
    /// Frames that may be out of order as far as the parameter sets tell; 0 when they do not.
    private(set) var reorderDepth = 0

    init(payload: RTPMediaPayload) {
        self.payload = payload
        let codec = payload.format.codec
        switch codec {
        case .h264, .hevc:
            var book = ParameterSetBook(codec: codec)
            _ = book.take(payload.parameterSets, startsSequence: true)
            self.book = book
            self.setTrack(Self.track(codec, record: book.record()))
        case .vp8, .vp9, .av1, .mp3: break
        default: self.track = Self.audio(payload)
        }
    }

    /// Observers are not called from an initializer itself.
    private mutating func setTrack(_ track: Track?) { self.track = track }

    /// Takes what an access unit tells. Returns whether the unit can be decoded with `track`.
    mutating func take(_ unit: RTPAccessUnit) -> Bool {
        let made: Track?
        switch self.payload.format.codec {
        case .h264, .hevc:
            let sets = unit.parameterSets
            if !sets.isEmpty,
                self.book?.take(sets.video + sets.sequence + sets.picture, startsSequence: unit.isKeyframe) == true
            {
                let record = self.book?.record()
                if record != self.track?.configuration {
                    made = Self.track(self.payload.format.codec, record: record)
                } else {
                    made = nil
                }
            } else {
                made = nil
            }
        case .vp8 where unit.isKeyframe: made = CodecRecords.vp8(unit)
        case .vp9 where unit.isKeyframe: made = CodecRecords.vp9(unit)
        case .mp3 where self.track == nil: made = try? Track(codec: .mp3, describedBy: unit.payload)
        case .av1: made = unit.sequenceHeader.flatMap(CodecRecords.av1(sequenceHeader:))
        default: made = nil
        }
        if let made, made != self.track { self.track = made }
        return self.track != nil
    }

    private static func track(_ codec: Codec, record: ByteBuffer?) -> Track? {
        guard let record else { return nil }
        return try? Track(codec: codec, parsingConfiguration: record)
    }

    private static func audio(_ payload: RTPMediaPayload) -> Track? {
        let codec = payload.format.codec
        switch payload.format {
        case .opus:
            var record = ByteBuffer()
            OpusHead(channels: min(max(payload.channels, 1), 2)).write(into: &record)
            return try? Track(codec: codec, parsingConfiguration: record)
        case .g711ALaw(let channels), .g711MuLaw(let channels):
            let format = AudioFormat(sampleRate: payload.clockRate, channels: channels)
            return Track(codec: codec, configuration: nil, format: .audio(format))
        default: return try? Track(codec: codec, parsingConfiguration: payload.codecHeader)
        }
    }
}
