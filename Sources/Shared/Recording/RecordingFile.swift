import Media
import NIOCore

/// One file while it is written: places frames, cuts intervals and decides when bytes leave.
struct RecordingFile: Sendable {
    let tracks: [Track]
    /// The time on the stream's timeline that is 0 in the file.
    let base: MediaTime
    /// Bytes that were given out.
    private(set) var bytes: Int64
    /// The end of the last audio frame, on the stream's timeline.
    private(set) var audioEnd: MediaTime?
    private let startMillis: Int64
    private var muxer: RecordingMuxer
    private var index = RecordingIndex()
    /// What is rendered and not yet given out.
    private var ready = ByteBuffer()
    private var newIntervals: [RecordingPiece.Interval] = []
    private var intervalHasVideo = false
    private var lastFlush = MediaTime.zero
    private var endTime = MediaTime.zero

    /// The file, and the bytes that it begins with.
    static func begin(
        format: RecordingFormat, tracks: [Track], metadata: StreamMetadata?, frames: [Frame], base: MediaTime,
        startMillis: Int64
    ) -> (file: RecordingFile, header: ByteBuffer) {
        let muxer = RecordingMuxer(format: format, tracks: tracks, frames: frames)
        let header = muxer.header(metadata: metadata)
        let file = RecordingFile(
            tracks: tracks, base: base, bytes: Int64(header.readableBytes), startMillis: startMillis, muxer: muxer)
        return (file, header)
    }

    private init(tracks: [Track], base: MediaTime, bytes: Int64, startMillis: Int64, muxer: RecordingMuxer) {
        self.tracks = tracks
        self.base = base
        self.bytes = bytes
        self.startMillis = startMillis
        self.muxer = muxer
    }

    func track(of kind: MediaKind) -> Track? { self.tracks.first { $0.kind == kind } }

    mutating func write(_ data: TimedData) {
        guard data.time >= self.base, self.index.count > 0 else { return }
        self.muxer.write(
            TimedData(name: data.name, time: data.time - self.base, payload: data.payload), into: &self.ready)
    }

    /// Adds a frame of one of the file's tracks, not before `base`. Returns the bytes that leave, which are all in front
    /// of the frame. `flushInterval` is in ticks.
    mutating func write(_ frame: Frame, flushInterval: Int64) -> RecordingPiece? {
        guard let track = self.track(of: frame.kind) else { return nil }
        var placed = frame
        placed.dts = frame.dts - self.base
        placed.pts = frame.pts - self.base
        var piece: RecordingPiece?
        let nextVideo = placed.kind == .video ? placed.dts : nil
        if self.beginsInterval(placed) {
            self.muxer.cut(nextVideo: nextVideo, into: &self.ready)
            self.noteEnd()
            piece = self.flush()
            self.beginInterval(at: placed)
        } else if self.isFlushDue(placed, interval: flushInterval) {
            self.muxer.cut(nextVideo: nextVideo, into: &self.ready)
            self.noteEnd()
            self.lastFlush = placed.dts
            piece = self.flush()
        }
        self.muxer.write(placed, track: track, into: &self.ready)
        if placed.kind == .video {
            self.intervalHasVideo = true
        } else {
            self.audioEnd = frame.dts + Self.length(of: placed, track: track)
        }
        return piece
    }

    /// Ends the file. `nextVideo` is when the first video frame behind it comes, `next` where the next file begins, both
    /// on the stream's timeline. Sound may end behind that: the file's time does not.
    mutating func finish(
        _ reason: RecordingSummary.Reason, nextVideo: MediaTime?, next: MediaTime? = nil
    ) -> (piece: RecordingPiece?, summary: RecordingSummary) {
        self.muxer.finish(nextVideo: nextVideo.map { $0 - self.base }, into: &self.ready)
        self.noteEnd()
        let piece = self.flush()
        self.index.endTime = next.map { min($0 - self.base, self.endTime) } ?? self.endTime
        self.index.endPosition = self.bytes
        let summary = RecordingSummary(
            startMillis: self.startMillis, endMillis: self.startMillis + self.index.endTime.millis, tracks: self.tracks,
            byteCount: self.bytes, index: self.index,
            patches: self.muxer.patches(byteCount: self.bytes, duration: self.endTime), reason: reason)
        return (piece, summary)
    }

    private mutating func noteEnd() { self.endTime = max(self.endTime, self.muxer.endTime) }

    private static func length(of frame: Frame, track: Track) -> MediaTime {
        guard case .audio(let format) = track.format, let rate = format.sampleRate, rate > 0,
            let samples = AudioFrameLength.samples(of: frame, track: track)
        else { return MediaTime(millis: 20) }
        return MediaTime(ticks: Int64(samples) * MediaTime.ticksPerSecond / Int64(rate))
    }

    private func beginsInterval(_ frame: Frame) -> Bool {
        guard let last = self.index.times.last else { return true }
        if self.track(of: .video) != nil {
            return frame.kind == .video && frame.isKeyframe && self.intervalHasVideo
        }
        return frame.dts - last >= RecordingIndex.audioInterval
    }

    private mutating func beginInterval(at frame: Frame) {
        let position = self.bytes + Int64(self.ready.readableBytes)
        // The first interval begins with the file, also where its first frame comes a little later.
        let time = self.index.count == 0 ? .zero : frame.dts
        self.index.append(time: time, position: position)
        self.newIntervals.append(RecordingPiece.Interval(time: time, position: position))
        self.muxer.beginInterval(into: &self.ready)
        self.intervalHasVideo = false
        self.lastFlush = frame.dts
    }

    /// Bytes leave with video frames, because these complete the picture before them; where video stalls, with audio.
    private func isFlushDue(_ frame: Frame, interval: Int64) -> Bool {
        let since = (frame.dts - self.lastFlush).ticks
        if frame.kind == .video || self.track(of: .video) == nil { return since >= interval }
        return since >= interval * 2
    }

    private mutating func flush() -> RecordingPiece? {
        guard self.ready.readableBytes > 0 else { return nil }
        let piece = RecordingPiece(bytes: self.ready, intervals: self.newIntervals, endTime: self.endTime)
        self.bytes += Int64(self.ready.readableBytes)
        // The shell keeps these bytes until they are written, so the next ones get a buffer of their own.
        self.ready = ByteBuffer()
        self.newIntervals = []
        return piece
    }
}
