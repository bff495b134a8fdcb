package import Media
import NIOCore

/// Turns the events of a stream into files.
///
/// Feed it the events of each source in order, end each batch with `batchEnded`, and drain `nextOutput`. Without a
/// file it waits for the tracks that are to be expected and a frame to begin with, holding the media meanwhile; with a
/// file it goes on until the source ends, the plan asks for a new file, or a track changes, which always begins a new
/// file at a keyframe, so that the tracks of a file never change. Audio that belongs to the new tracks waits for that
/// keyframe.
package struct RecordingWriter: Sendable {
    /// What did not get into a file.
    package struct Counters: Sendable, Hashable {
        /// Before a keyframe, late at the border of two files, or beyond `maximumPendingBytes`.
        package var droppedFrames = 0
        /// Of a codec that the format has no mapping of.
        package var unsupportedFrames = 0

        package init() {}
    }

    private struct Known {
        var track: Track
        /// It is wanted, and the format has a mapping of it.
        var isRecordable: Bool
        /// The open file has this track.
        var isInFile = false
    }

    private let configuration: RecorderConfiguration
    private var video: Known?
    private var audio: Known?
    private var metadata: StreamMetadata?
    private var file: RecordingFile?
    /// Frames that wait for a file whose tracks are `tracks`.
    private var pending: [Frame] = []
    private var pendingBytes = 0
    /// The latest decoding time of this source.
    private var latest: MediaTime?
    /// Wall clock of the timeline's zero, for this source.
    private var wallOffset: Int64?
    /// No file begins before the one in front of it ended.
    private var lastEndMillis: Int64
    private var outputs: [RecordingOutput] = []
    private var nextOutputIndex = 0
    package private(set) var counters = Counters()

    /// `configuration` must be valid. No file starts before `notBeforeMillis`, where the stream's last one ended.
    package init(configuration: RecorderConfiguration, notBeforeMillis: Int64 = .min) {
        precondition((try? configuration.validate()) != nil, "the recorder's configuration is not valid")
        self.configuration = configuration
        self.lastEndMillis = notBeforeMillis
    }

    /// Whether a file is begun and not ended.
    package var isWriting: Bool { self.file != nil }

    /// Whether the tracks say that nothing of the stream can be recorded in this format.
    package var recordsNothing: Bool {
        (self.video != nil || self.audio != nil) && self.recordable.isEmpty
    }

    package mutating func nextOutput() -> RecordingOutput? {
        guard self.nextOutputIndex < self.outputs.count else {
            self.outputs.removeAll(keepingCapacity: true)
            self.nextOutputIndex = 0
            return nil
        }
        defer { self.nextOutputIndex += 1 }
        return self.outputs[self.nextOutputIndex]
    }

    // MARK: What happens to the stream

    /// A source begins. Unless it `continues` the one before it, the open file ends.
    package mutating func sourceStarted(continues: Bool) {
        guard !continues else { return }
        self.end(.sourceEnded)
        self.reset()
    }

    /// The source is gone: the open file ends.
    package mutating func sourceEnded() {
        // What waited for a track or a keyframe that never came is better in a file than lost.
        if self.file == nil, let millis = self.wallOffset { self.openIfPossible(wallOffset: millis, isFinal: true) }
        self.end(.sourceEnded)
        self.reset()
    }

    /// Nothing more is to be recorded: the open file ends.
    package mutating func stop() { self.end(.stopped) }

    /// The file could not be written: it is forgotten, and another begins at the next keyframe.
    package mutating func fileLost() {
        self.file = nil
        self.noteFileTracks()
        self.dropPending()
        self.outputs.removeAll(keepingCapacity: true)
        self.nextOutputIndex = 0
    }

    private mutating func reset() {
        self.video = nil
        self.audio = nil
        self.metadata = nil
        self.latest = nil
        self.wallOffset = nil
        self.dropPending()
    }

    private mutating func dropPending() {
        self.counters.droppedFrames += self.pending.count
        self.pending.removeAll()
        self.pendingBytes = 0
    }

    package mutating func receive(_ event: MediaEvent) {
        switch event {
        case .track(let track): self.trackChanged(track)
        case .metadata(let metadata): self.metadata = metadata
        case .data(let data): self.file?.write(data)
        case .frame(let frame): self.receive(frame)
        }
    }

    /// The events that came together were given. `wallMillis` is the wall clock now.
    package mutating func batchEnded(wallMillis: Int64) {
        guard self.file == nil, let latest = self.latest else { return }
        if self.wallOffset == nil { self.wallOffset = wallMillis - latest.millis }
        guard let offset = self.wallOffset else { return }
        self.openIfPossible(wallOffset: offset, isFinal: false)
    }

    private func known(_ kind: MediaKind) -> Known? { kind == .video ? self.video : self.audio }

    /// The tracks that the next file has, video first.
    private var recordable: [Track] {
        [self.video, self.audio].compactMap { known in
            known.flatMap { $0.isRecordable ? $0.track : nil }
        }
    }

    private mutating func trackChanged(_ track: Track) {
        guard self.known(track.kind)?.track != track else { return }
        let isRecordable =
            self.configuration.kinds.includes(track.kind)
            && RecordingMuxer.supports(track, format: self.configuration.format)
        let known = Known(
            track: track, isRecordable: isRecordable, isInFile: self.file?.track(of: track.kind) == track)
        if track.kind == .video { self.video = known } else { self.audio = known }
        // Frames of the old configuration that still wait can no longer be told to belong to it.
        let before = self.pending.count
        self.pending.removeAll { $0.kind == track.kind }
        self.counters.droppedFrames += before - self.pending.count
        self.pendingBytes = self.pending.reduce(0) { $0 + $1.payload.readableBytes }
    }

    private mutating func noteFileTracks() {
        for kind in [MediaKind.video, .audio] {
            let isInFile = self.known(kind).map { self.file?.track(of: kind) == $0.track } ?? false
            if kind == .video { self.video?.isInFile = isInFile } else { self.audio?.isInFile = isInFile }
        }
    }

    private mutating func receive(_ frame: Frame) {
        guard let (isRecordable, isInFile) = self.known(frame.kind).map({ ($0.isRecordable, $0.isInFile) }),
            self.configuration.kinds.includes(frame.kind)
        else { return }
        self.latest = max(self.latest ?? frame.dts, frame.dts)
        guard isRecordable else {
            self.counters.unsupportedFrames += 1
            return
        }
        if self.file == nil {
            self.wait(frame)
        } else if let reason = self.reasonForNewFile(at: frame) {
            self.rotate(at: frame, reason)
        } else if isInFile {
            self.write(frame)
        } else {
            self.wait(frame)
        }
    }

    // MARK: Without a file

    /// Keeps a frame for the file to come. Video that nothing can begin with is of no use there.
    private mutating func wait(_ frame: Frame) {
        let hasStart = self.pending.contains { $0.kind == .video }
        guard frame.kind == .audio || frame.isKeyframe || hasStart else {
            self.counters.droppedFrames += 1
            return
        }
        self.pendingBytes += frame.payload.readableBytes
        self.pending.append(frame)
        guard self.pendingBytes > self.configuration.maximumPendingBytes else { return }
        self.dropPending()
    }

    private mutating func openIfPossible(wallOffset: Int64, isFinal: Bool) {
        guard let first = self.pending.lazy.map(\.dts).min(), let latest = self.latest else { return }
        let waited = latest - first
        let tracks = self.recordable
        let key = self.pending.first { $0.kind == .video }
        if let key {
            let expectsAudio = !tracks.contains { $0.kind == .audio } && self.expects(.audio)
            guard isFinal || !expectsAudio || waited.ticks >= self.configuration.trackWait.ticks else { return }
            // Sound without its picture in front of the first keyframe is not worth a file's beginning.
            let before = self.pending.count
            self.pending.removeAll { $0.kind == .audio && $0.dts < key.dts }
            self.counters.droppedFrames += before - self.pending.count
            self.open(tracks: tracks, base: key.dts, wallOffset: wallOffset)
        } else if let audio = tracks.last, audio.kind == .audio {
            let hasVideo = tracks.count > 1
            let wait = hasVideo ? self.configuration.keyframeWait : self.configuration.trackWait
            guard isFinal || !(hasVideo || self.expects(.video)) || waited.ticks >= wait.ticks else { return }
            self.open(tracks: [audio], base: first, wallOffset: wallOffset)
        }
    }

    /// Whether a track of `kind` may still come.
    private func expects(_ kind: MediaKind) -> Bool {
        self.configuration.kinds.includes(kind) && self.known(kind) == nil
    }

    /// `goesOn`: right behind the file before, whose sound and picture do not end at the same moment. The clock must not
    /// be moved for that, or it would be again with each file.
    private mutating func open(tracks: [Track], base: MediaTime, wallOffset: Int64, goesOn: Bool = false) {
        let clock = base.millis + wallOffset
        let start = goesOn ? clock : max(clock, self.lastEndMillis)
        self.wallOffset = start - base.millis
        let (file, header) = RecordingFile.begin(
            format: self.configuration.format, tracks: tracks, metadata: self.metadata, frames: self.pending,
            base: base, startMillis: start)
        self.outputs.append(
            .begin(
                RecordingStart(
                    startMillis: start, format: self.configuration.format, tracks: tracks, header: header)))
        self.file = file
        self.noteFileTracks()
        let waiting = self.pending
        self.pending.removeAll()
        self.pendingBytes = 0
        for frame in waiting {
            if tracks.contains(where: { $0.kind == frame.kind }) { self.write(frame) } else { self.wait(frame) }
        }
    }

    // MARK: With a file

    private func reasonForNewFile(at frame: Frame) -> RecordingSummary.Reason? {
        // Video begins files where there is any; a file of sound alone may end at any frame.
        guard frame.kind == .video ? frame.isKeyframe : self.video?.isRecordable != true else { return nil }
        guard let tracks = self.file?.tracks, let base = self.file?.base, let bytes = self.file?.bytes else {
            return nil
        }
        if self.recordable != tracks { return .tracksChanged }
        if case .segment(let duration) = self.configuration.plan, (frame.dts - base).ticks >= duration.ticks {
            return .segmentDuration
        }
        return bytes >= self.configuration.maximumFileBytes ? .fileSize : nil
    }

    private mutating func rotate(at frame: Frame, _ reason: RecordingSummary.Reason) {
        let audioEnd = self.file?.audioEnd
        self.pending.append(frame)
        var base = self.pending.lazy.map(\.dts).min() ?? frame.dts
        // Sound that is still on its way belongs between the last that was written and this keyframe.
        if frame.kind == .video, let audioEnd, audioEnd < base, base - audioEnd < MediaTime(millis: 500) {
            base = audioEnd
        }
        self.end(reason, nextVideo: frame.kind == .video ? frame.dts : nil, next: base)
        self.open(tracks: self.recordable, base: base, wallOffset: self.wallOffset ?? 0, goesOn: true)
    }

    private mutating func write(_ frame: Frame) {
        guard let base = self.file?.base, frame.dts >= base else {
            self.counters.droppedFrames += 1
            return
        }
        guard let piece = self.file?.write(frame, flushInterval: self.configuration.fragmentDuration.ticks)
        else { return }
        self.outputs.append(.append(piece))
    }

    private mutating func end(
        _ reason: RecordingSummary.Reason, nextVideo: MediaTime? = nil, next: MediaTime? = nil
    ) {
        guard self.file != nil else { return }
        var file = self.file.take()
        self.noteFileTracks()
        guard let (piece, summary) = file?.finish(reason, nextVideo: nextVideo, next: next) else { return }
        if let piece { self.outputs.append(.append(piece)) }
        self.lastEndMillis = summary.endMillis
        self.outputs.append(.close(summary))
    }
}
