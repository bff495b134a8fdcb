import DequeModule
package import Media
import NIOCore

/// Cuts one live stream into segments and parts.
///
/// Run loop: `sourceStarted`, any number of `receive`, `sourceEnded`, and again; after each call `nextOutput()` to `nil`.
/// `nowMillis` is the wall clock in milliseconds since 1970 UTC; it is read where a source begins and while tracks are
/// waited for, never to measure media.
///
/// States of a source:
/// - *gathering*: frames wait until both tracks have one, or until it is known or taken that there is only one.
/// - *running*: video leads. It is cut at keyframes; audio follows at the same times, and waits for video so that it is
///   never cut too late. A track that lags by more than `maximumSkewMillis` gets gap segments, and the other one leads.
///
/// A *run* has one set of tracks on one stretch of time. A new one, with new initialization segments and a discontinuity,
/// begins with each source; where a codec changes or a track appears; and where time jumps so far that no segment could
/// span it. Changes of audio beside video wait for the next keyframe, so that video can be decoded from there.
///
/// Rules of length: see `PackagingConfiguration`. A segment is shorter than half a second only where its source or its
/// run ends. Nothing of a source is given out twice; what is left out is counted.
package struct StreamPackager: Sendable {
    let configuration: PackagingConfiguration
    var sink: PackagingSink
    var source: PackagingSource?
    /// Nothing was known of the stream, so its first source follows nothing.
    private var isFresh: Bool
    /// The segments that some lane has yet to begin or has open, by sequence. The last one is the newest.
    var plans = Deque<SegmentPlan>()
    /// Where the newest segment begins, in ticks of 90 kHz: in presentation, and in decoding.
    var openStart: Int64 = 0
    var openDecodeStart: Int64 = 0
    var videoLane: FragmentLane?
    var audioLane: FragmentLane?
    var transport: TransportLane?
    private var dataCount: UInt64 = 0

    /// Where a packager of the same stream goes on, here or elsewhere. Changes with each segment.
    package var position: PackagingPosition { self.sink.position }
    package var counters: PackagingCounters { self.sink.counters }

    /// `position`: what is known of the stream's segments so far; `nil` if nothing. `configuration` is valid.
    package init(configuration: PackagingConfiguration, position: PackagingPosition?, nowMillis: Int64) {
        self.configuration = configuration
        let base = PackagingPosition.base(nowMillis: nowMillis)
        self.isFresh = position == nil
        self.sink = PackagingSink(
            configuration: configuration,
            position: position ?? PackagingPosition(nextSequence: base, discontinuitySequence: base, endMillis: 0))
    }

    // MARK: Sources

    /// A publisher holds the stream under `epoch`. `continues`: time and tracks go on from the source before.
    package mutating func sourceStarted(epoch: UInt64, continues: Bool, nowMillis: Int64) {
        if self.source != nil, continues {
            guard self.source?.epoch != epoch else { return }
            self.source?.epoch = epoch
            // Names carry the epoch, so the new one begins with a segment.
            if self.source?.isRunning == true { self.source?.wantsRun = true }
            self.sink.outputs.append(.started(epoch: epoch))
            return
        }
        if self.source != nil { self.sourceEnded(isFinal: false, nowMillis: nowMillis) }
        self.source = PackagingSource(epoch: epoch)
        self.sink.measuresParts = true
        self.sink.outputs.append(.started(epoch: epoch))
    }

    /// One event on the stream's timeline. `video` and `audio` are the stream's tracks, which already contain it.
    package mutating func receive(_ event: MediaEvent, video: Track?, audio: Track?, nowMillis: Int64) {
        guard self.source != nil else { return }
        switch event {
        case .track:
            self.learn(video: video, audio: audio)
        case .metadata(let metadata):
            self.source?.learn(metadata)
        case .data(let data):
            self.receive(data)
        case .frame(let frame):
            // A packager that joins a source later is told of its tracks by its state only.
            if frame.kind == .video ? self.source?.video == nil : self.source?.audio == nil {
                self.learn(video: video, audio: audio)
            }
            if self.source?.isRunning == true {
                self.route(frame)
            } else {
                self.gather(frame, nowMillis: nowMillis)
            }
        }
    }

    /// The publisher left: everything that waits is given out. `isFinal`: nobody waits for its return.
    package mutating func sourceEnded(isFinal: Bool, nowMillis: Int64) {
        guard self.source != nil else {
            // It had left before, and is no longer waited for.
            if isFinal { self.sink.outputs.append(.ended(isFinal: true)) }
            return
        }
        if self.source?.isRunning == false { self.begin(nowMillis: nowMillis) }
        self.finishLanes()
        self.source = nil
        self.sink.outputs.append(.ended(isFinal: isFinal))
    }

    /// No playlist lists a segment any more (`StreamWindow.removeAll`), so the next source may have a target duration of
    /// its own.
    package mutating func playlistsWereForgotten() {
        if self.source == nil { self.sink.position.targetDurationSeconds = nil }
    }

    /// The next thing to hand on; `nil` when there is nothing.
    package mutating func nextOutput() -> PackagingOutput? { self.sink.outputs.popFirst() }

    // MARK: Tracks

    private mutating func learn(video: Track?, audio: Track?) {
        guard var source = self.source else { return }
        source.learn(video: video, audio: audio)
        for track in [video, audio].compactMap({ $0 }) where !self.configuration.container.supports(track.codec) {
            let problem = PackagingProblem.unsupportedCodec(track.codec, self.configuration.container)
            if source.reports(problem) { self.sink.outputs.append(.problem(problem)) }
        }
        self.source = source
        guard source.isRunning else { return }
        if let audio = source.candidate(.audio, in: self.configuration.container),
            source.tracks.audioTrack.map({ !audio.isCoded(like: $0) }) ?? true
        {
            // What waits is of the old track; what comes from here on begins with the new run.
            if !source.holdsAudio { self.flushAudio() }
            self.source?.wantsRun = true
            self.source?.breaksRun = true
            self.source?.holdsAudio = true
        }
    }

    // MARK: The start of a source

    private mutating func gather(_ frame: Frame, nowMillis: Int64) {
        guard var source = self.source else { return }
        if source.candidate(frame.kind, in: self.configuration.container) == nil
            || (frame.kind == .video && !frame.isKeyframe && !source.gathered.contains { $0.kind == .video })
        {
            self.sink.counters.droppedFrames += 1
            return
        }
        if source.firstMillis == nil { source.firstMillis = nowMillis }
        source.gather(frame)
        self.source = source
        if self.isReady(source, nowMillis: nowMillis) { self.begin(nowMillis: nowMillis) }
    }

    /// Whether there is nothing left to wait for.
    private func isReady(_ source: PackagingSource, nowMillis: Int64) -> Bool {
        if source.exceeds(self.configuration) { return true }
        let kinds = Set(source.gathered.map(\.kind))
        let isComplete = [MediaKind.video, .audio].allSatisfy { kind in
            if kinds.contains(kind) { return true }
            let track = kind == .video ? source.video : source.audio
            // A track that cannot be carried, or that the metadata does not mention, will not come.
            if track != nil { return source.candidate(kind, in: self.configuration.container) == nil }
            return source.announced.map { !$0.contains(kind) } ?? false
        }
        if isComplete { return true }
        guard let first = source.gathered.first, let last = source.gathered.last else { return false }
        let span = Ticks.millis(last.dts.ticks - first.dts.ticks)
        return max(span, nowMillis - (source.firstMillis ?? nowMillis)) >= self.configuration.trackWaitMillis
    }

    /// Begins the first run with what was gathered.
    private mutating func begin(nowMillis: Int64) {
        guard var source = self.source, let first = source.gathered.first else { return }
        let frames = source.takeGathered()
        let lead = frames.first { $0.kind == .video } ?? first
        // Pictures are shown a little after they are decoded; the audio of that time is kept.
        let sound = frames.first { $0.kind == .audio && $0.dts.ticks >= lead.pts.ticks - Self.leadInTicks }
        let start = min(lead.pts.ticks, sound?.dts.ticks ?? lead.pts.ticks)
        let wall = (source.firstMillis ?? nowMillis) + max(0, Ticks.millis(start - first.dts.ticks))
        source.anchorTicks = start
        source.anchorMillis = max(wall, self.sink.position.endMillis)
        source.isRunning = true
        source.breaksRun = !self.isFresh
        self.source = source
        let kinds = Set(frames.map(\.kind))
        guard self.startRun(with: lead, kinds: kinds, audio: sound, after: nil, from: start)
        else {
            self.source?.isRunning = false
            self.sink.counters.droppedFrames += frames.count
            return
        }
        self.isFresh = false
        let data = source.gatheredData
        self.source?.gatheredData = []
        for message in data { self.receive(message) }
        for frame in frames { self.route(frame) }
    }

    /// How much audio a source may begin with before the first picture.
    private static let leadInTicks: Int64 = 300 * 90

    /// About where an audio frame ends, in ticks of 90 kHz.
    func end(of frame: Frame) -> Int64 {
        guard let track = self.source?.audio, case .audio(let format) = track.format,
            let samples = AudioFrameLength.samples(of: frame.payload, in: track), let rate = format.sampleRate, rate > 0
        else { return frame.dts.ticks + 1800 }
        return frame.dts.ticks + Ticks.convert(Int64(samples), from: Int64(rate), to: Ticks.perSecond)
    }

    // MARK: Data

    private mutating func receive(_ data: TimedData) {
        guard let source = self.source else { return }
        guard source.isRunning else {
            if source.gatheredData.count < 32 { self.source?.gatheredData.append(data) }
            return
        }
        guard let message = TimedDataReader.read(data) else {
            self.sink.counters.droppedData += 1
            return
        }
        self.dataCount += 1
        let facts = TimedDataFacts(
            id: "\(source.epoch)-\(self.dataCount)-\(data.time.millis)", name: message.name,
            startMillis: source.millis(at: data.time.ticks), attributes: message.attributes)
        self.sink.outputs.append(.timedData(facts))
        self.write(message.id3, at: data.time, number: UInt32(truncatingIfNeeded: self.dataCount))
    }
}
