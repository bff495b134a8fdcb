import ISOBMFF
import Media
import NIOCore

/// Writes the bytes of one file. Times are the file's own, from 0.
enum RecordingMuxer: Sendable {
    case mp4(FragmentedMuxer)
    case flv(FLVMuxer)
    case ts(TransportMuxer)

    /// Whether the format has a mapping of the track.
    static func supports(_ track: Track, format: RecordingFormat) -> Bool {
        switch format {
        case .mp4: FragmentedMuxer.supports(track)
        case .flv: true
        case .ts: TransportMuxer.supports(track)
        }
    }

    /// `tracks` are supported by the format; `frames` are the first ones of the file.
    init(format: RecordingFormat, tracks: [Track], frames: [Frame]) {
        switch format {
        case .mp4: self = .mp4(FragmentedMuxer(tracks: tracks, frames: frames))
        case .flv: self = .flv(FLVMuxer(tracks: tracks))
        case .ts: self = .ts(TransportMuxer(tracks: tracks))
        }
    }

    /// Everything in front of the first interval.
    func header(metadata: StreamMetadata?) -> ByteBuffer {
        switch self {
        case .mp4(let muxer): muxer.header()
        case .flv(let muxer): muxer.header(metadata: metadata)
        case .ts: ByteBuffer()
        }
    }

    /// The end of what was written.
    var endTime: MediaTime {
        switch self {
        case .mp4(let muxer): muxer.endTime
        case .flv(let muxer): muxer.endTime
        case .ts(let muxer): muxer.endTime
        }
    }

    mutating func write(_ frame: Frame, track: Track, into buffer: inout ByteBuffer) {
        switch self {
        case .mp4(var muxer):
            self = .flv(FLVMuxer(tracks: []))
            muxer.write(frame, track: track, into: &buffer)
            self = .mp4(muxer)
        case .flv(var muxer):
            muxer.write(frame, track: track, into: &buffer)
            self = .flv(muxer)
        case .ts(var muxer):
            self = .flv(FLVMuxer(tracks: []))
            muxer.write(frame, track: track, into: &buffer)
            self = .ts(muxer)
        }
    }

    /// Timed messages are kept in FLV, which has a form for them.
    func write(_ data: TimedData, into buffer: inout ByteBuffer) {
        if case .flv(let muxer) = self { muxer.write(data, into: &buffer) }
    }

    /// Writes what was gathered. `nextVideo` is when the next video frame comes; without it the last one may stay behind.
    mutating func cut(nextVideo: MediaTime?, into buffer: inout ByteBuffer) {
        switch self {
        case .mp4(var muxer):
            self = .flv(FLVMuxer(tracks: []))
            muxer.cut(nextVideo: nextVideo, isFinal: false, into: &buffer)
            self = .mp4(muxer)
        case .flv: return
        case .ts(var muxer):
            self = .flv(FLVMuxer(tracks: []))
            muxer.cut(into: &buffer)
            self = .ts(muxer)
        }
    }

    /// A keyframe interval begins with the next frame, behind a `cut`.
    mutating func beginInterval(into buffer: inout ByteBuffer) {
        guard case .ts(var muxer) = self else { return }
        muxer.writeTables(into: &buffer)
        self = .ts(muxer)
    }

    /// Writes all that is left.
    mutating func finish(nextVideo: MediaTime?, into buffer: inout ByteBuffer) {
        if case .mp4(var muxer) = self {
            muxer.cut(nextVideo: nextVideo, isFinal: true, into: &buffer)
            self = .mp4(muxer)
        } else {
            self.cut(nextVideo: nextVideo, into: &buffer)
        }
    }

    /// What the header says only now.
    func patches(byteCount: Int64, duration: MediaTime) -> [RecordingPatch] {
        guard case .flv = self else { return [] }
        return FLVMuxer.patches(byteCount: byteCount, duration: duration)
    }
}

/// Fragmented MP4 with all tracks in each fragment.
struct FragmentedMuxer: Sendable {
    private struct AudioSample {
        var decodeTime: Int64
        var sample: MP4Sample
    }

    private let tracks: [MP4Track]
    private let videoID: UInt32?
    private let audioID: UInt32?
    private var video: [Frame] = []
    private var lastDuration = VideoPlacement.defaultDuration
    private var audio: [AudioSample] = []
    private var placement: AudioPlacement?
    private var sequence: UInt32 = 0
    private(set) var endTime = MediaTime.zero

    static func supports(_ track: Track) -> Bool {
        (try? MP4Track(id: 1, timescale: RecordingTimescale.of(track), track: track)) != nil
    }

    init(tracks: [Track], frames: [Frame]) {
        self.tracks = Self.tracks(tracks, frames: frames)
        self.videoID = self.tracks.first { $0.track.kind == .video }?.id
        self.audioID = self.tracks.first { $0.track.kind == .audio }?.id
        self.placement = tracks.first { $0.kind == .audio }.map(AudioPlacement.init(track:))
    }

    /// Numbered from 1 in the order given. Tracks without a mapping are left out.
    static func tracks(_ tracks: [Track], frames: [Frame]) -> [MP4Track] {
        tracks.enumerated().compactMap { index, track in
            let first = frames.first { $0.codec == track.codec && $0.isKeyframe }
            return try? MP4Track(
                id: UInt32(index + 1), timescale: RecordingTimescale.of(track), track: track,
                describedBy: first?.payload)
        }
    }

    func header() -> ByteBuffer { FragmentedMP4.initialization(tracks: self.tracks) }

    mutating func write(_ frame: Frame, track: Track, into buffer: inout ByteBuffer) {
        guard frame.kind == .audio else { return self.video.append(frame) }
        guard let place = self.placement?.place(frame, track: track) else { return }
        // The samples of a fragment follow each other, so a gap begins another one.
        if place.isJump, !self.audio.isEmpty { self.cut(nextVideo: nil, isFinal: false, into: &buffer) }
        self.audio.append(
            AudioSample(
                decodeTime: place.decodeTime,
                sample: MP4Sample(duration: UInt32(clamping: place.duration), payload: frame.payload)))
    }

    mutating func cut(nextVideo: MediaTime?, isFinal: Bool, into buffer: inout ByteBuffer) {
        var fragments: [FragmentedMP4.Fragment] = []
        // A frame whose successor is not known has no duration yet.
        let ready = nextVideo != nil || isFinal ? self.video.count : max(0, self.video.count - 1)
        if ready > 0, let id = self.videoID {
            let next = ready < self.video.count ? self.video[ready].dts : nextVideo
            let frames = self.video[..<ready]
            let samples = VideoPlacement.samples(of: frames, next: next, fallback: self.lastDuration)
            let start = self.video[0].dts.ticks
            self.lastDuration = samples.last.map { Int64($0.duration) } ?? self.lastDuration
            let end = self.video[ready - 1].dts.ticks + self.lastDuration
            self.endTime = max(self.endTime, MediaTime(ticks: end))
            fragments.append(
                FragmentedMP4.Fragment(trackID: id, decodeTime: UInt64(clamping: start), samples: samples))
            self.video.removeFirst(ready)
        }
        if let first = self.audio.first, let id = self.audioID {
            fragments.append(
                FragmentedMP4.Fragment(
                    trackID: id, decodeTime: UInt64(clamping: first.decodeTime), samples: self.audio.map(\.sample)))
            self.audio.removeAll(keepingCapacity: true)
            if let end = self.placement?.end { self.endTime = max(self.endTime, end) }
        }
        guard !fragments.isEmpty else { return }
        self.sequence &+= 1
        FragmentedMP4.write(fragments, sequence: self.sequence, into: &buffer)
    }
}
