import ISOBMFF
import Media
import NIOCore

/// Collects the frames of one track into movie fragments, which are parts, and segments of them.
///
/// A frame's duration is known when the next one comes, so the last frame always waits in `pending`. Decoding times are
/// contiguous from sample to sample and from segment to segment; the durations of the parts of a segment add up to its
/// own.
struct FragmentLane: Sendable {
    private struct Pending {
        var decode: Int64
        var presentation: Int64
        /// What its duration is if no other frame follows.
        var nominal: Int64
        var isSync: Bool
        var payload: ByteBuffer
    }

    let tag: PackagingTag
    private(set) var plan: SegmentPlan
    private(set) var track: MP4Track
    private var clock: AudioClock
    private var pending: Pending?
    /// Where the samples so far end; `nil` before the first of a run.
    private var end: Int64?
    private var lastDuration: Int64
    private var fragmentSequence: UInt32 = 0
    private var events: [FragmentedMP4.EventMessage] = []

    // The open part.
    private var samples: [MP4Sample] = []
    private var partStart: Int64 = 0
    private var partDuration: Int64 = 0

    // The open segment.
    private var pieces: [ByteBuffer] = []
    private var duration: Int64 = 0
    private var frameCount = 0
    private var partCount = 0
    private var decodeStart: Int64?
    private var presentationStart: Int64?
    private var programTime: Int64?
    private(set) var isIndependent = false

    private var timescale: Int64 { Int64(self.track.timescale) }
    private var isAudio: Bool { self.tag == .audio }
    /// The part target is found on this lane.
    private let leads: Bool

    /// Opens the lane with the segment of `plan`. `leads`: its frames decide how long parts are.
    init(tag: PackagingTag, track: MP4Track, plan: SegmentPlan, leads: Bool, sink: inout PackagingSink) {
        self.tag = tag
        self.plan = plan
        self.track = track
        self.leads = leads
        self.clock = AudioClock(timescale: track.timescale)
        self.lastDuration = Int64(track.timescale) / (tag == .audio ? 50 : 25)
        self.announce(&sink)
    }

    private func announce(_ sink: inout PackagingSink) {
        let facts = TrackFacts(
            tag: self.tag, run: self.plan.run, timescale: self.track.timescale, tracks: [self.track.track],
            container: .fragmentedMP4)
        let bytes = FragmentedMP4.initialization(tracks: [self.track])
        sink.outputs.append(.tracks(PackagedTracks(facts: facts, initialization: bytes)))
    }

    // MARK: Frames

    /// Whether the open segment has a frame.
    var hasFrames: Bool { self.frameCount > 0 || self.pending != nil }

    /// Whether a frame at `ticks` would come before what was given out already.
    func isTooLate(ticks: Int64) -> Bool {
        guard self.pending == nil, let end = self.end else { return false }
        return Ticks.convert(ticks, from: Ticks.perSecond, to: self.timescale) < end
    }

    /// Where an audio frame at `ticks` would begin by its sample count, in ticks of 90 kHz.
    func start(ofAudioAt ticks: Int64) -> Int64 {
        guard let next = self.clock.next else { return ticks }
        let counted = Ticks.convert(next, from: self.timescale, to: Ticks.perSecond)
        // A count that will be corrected is no measure.
        return abs(counted - ticks) > Ticks.perSecond / 10 ? ticks : counted
    }

    /// Adds a frame to the open segment.
    mutating func add(_ frame: Frame, sink: inout PackagingSink) {
        sink.counters.frames += 1
        var next: Pending
        if self.isAudio {
            let before = self.clock.corrections
            let samples = AudioFrameLength.samples(of: frame.payload, in: self.track.track)
            let placed = self.clock.place(ticks: frame.dts.ticks, samples: samples, mayCorrect: !self.hasFrames)
            sink.counters.audioCorrections += self.clock.corrections - before
            next = Pending(
                decode: placed.decode, presentation: placed.decode, nominal: placed.duration, isSync: true,
                payload: frame.payload)
        } else {
            // Times that stand still are told apart by one tick; presentation times stay what they are.
            let floor = self.pending.map { $0.decode + 1 } ?? self.end ?? 0
            next = Pending(
                decode: max(frame.dts.ticks, floor, 0), presentation: max(frame.pts.ticks, 0),
                nominal: self.lastDuration, isSync: frame.isKeyframe, payload: frame.payload)
        }
        if self.pending == nil, let end = self.end, next.decode > end, !self.hasFrames {
            // The track was away: the segment begins where the one before ended, its frames later.
            self.duration += next.decode - end
            self.partDuration += next.decode - end
            self.presentationStart = end
        }
        self.settle(until: next.decode, sink: &sink)
        if !self.hasFrames {
            self.isIndependent = next.isSync
            self.decodeStart = next.decode
        }
        self.presentationStart = min(self.presentationStart ?? next.presentation, next.presentation)
        self.pending = next
    }

    /// Puts an event in front of the next part.
    mutating func add(_ event: FragmentedMP4.EventMessage) {
        if self.events.count < 32 { self.events.append(event) }
    }

    /// The frame that waits lasts until `decode`.
    private mutating func settle(until decode: Int64, sink: inout PackagingSink) {
        guard let frame = self.pending else { return }
        self.pending = nil
        let duration = min(max(1, decode - frame.decode), Int64(UInt32.max))
        if !self.isAudio { self.lastDuration = min(duration, self.timescale) }
        if self.offersParts(sink), let limit = self.partLimit(sink), !self.samples.isEmpty,
            self.partDuration + duration > limit
        {
            self.closePart(&sink)
        }
        if self.samples.isEmpty { self.partStart = frame.decode }
        let offset = Int32(clamping: frame.presentation - frame.decode)
        self.samples.append(
            MP4Sample(
                duration: UInt32(duration), compositionOffset: offset, isSync: frame.isSync, payload: frame.payload))
        self.partDuration += duration
        self.duration += duration
        self.frameCount += 1
        self.end = frame.decode + duration
        if self.offersParts(sink) { self.partGrew(by: duration, sink: &sink) }
    }

    // MARK: Parts

    private func offersParts(_ sink: PackagingSink) -> Bool { sink.configuration.offersParts }

    private func partLimit(_ sink: PackagingSink) -> Int64? {
        if self.leads, sink.measuresParts { return nil }
        return sink.partTargetMillis.map { $0 * self.timescale / 1000 }
    }

    /// Closes the part if it is as long as it can be.
    private mutating func partGrew(by duration: Int64, sink: inout PackagingSink) {
        if self.leads, sink.measuresParts {
            let wanted = (sink.configuration.partDurationMillis ?? 0) * self.timescale / 1000
            guard self.partDuration >= wanted - self.timescale / 500 else { return }
            sink.measuredPart(ticks: self.partDuration, count: self.samples.count, timescale: self.timescale)
            sink.measuresParts = false
            self.closePart(&sink)
        } else if let limit = self.partLimit(sink), self.partDuration + duration > limit + self.timescale / 500 {
            // Another frame like this one does not fit, whatever a millisecond of rounding does.
            self.closePart(&sink)
        }
    }

    private mutating func closePart(_ sink: inout PackagingSink) {
        guard !self.samples.isEmpty else { return }
        let bytes = self.fragment()
        self.pieces.append(bytes)
        if self.offersParts(sink) {
            sink.madePart(of: self.samples, timescale: self.timescale)
            let facts = PartFacts(
                tag: self.tag, sequence: self.plan.sequence, index: self.partCount, run: self.plan.run,
                isDiscontinuity: self.plan.isDiscontinuity, timescale: self.track.timescale,
                decodeStart: self.partStart, duration: self.partDuration,
                segmentProgramDateTimeMillis: self.settledProgramTime(&sink),
                isIndependent: self.samples.first?.isSync == true, byteCount: bytes.readableBytes,
                partTargetMillis: sink.partTargetMillis ?? 0)
            sink.counters.parts += 1
            sink.outputs.append(.part(PackagedPart(facts: facts, bytes: bytes)))
            self.partCount += 1
        }
        self.samples.removeAll(keepingCapacity: true)
        self.partDuration = 0
    }

    /// The samples of the open part as a movie fragment.
    private mutating func fragment() -> ByteBuffer {
        self.fragmentSequence &+= 1
        var buffer = ByteBuffer()
        let fragment = FragmentedMP4.Fragment(
            trackID: self.track.id, decodeTime: UInt64(max(0, self.partStart)), samples: self.samples)
        FragmentedMP4.write(
            [fragment], sequence: self.fragmentSequence, styp: self.pieces.isEmpty, events: self.events, into: &buffer)
        self.events.removeAll(keepingCapacity: true)
        return buffer
    }

    // MARK: Segments

    /// The segment of `plan` begins, and the open one ends at `end` (90 kHz).
    ///
    /// `isContinuous`: the frame of video that waits lasts until then; otherwise as long as frames do. Audio lasts as long
    /// as its samples, but for a hole that reaches over the boundary.
    mutating func cross(to plan: SegmentPlan, at end: Int64, isContinuous: Bool, sink: inout PackagingSink) {
        let decode = Ticks.convert(end, from: Ticks.perSecond, to: self.timescale)
        if let frame = self.pending {
            let nominalEnd = frame.decode + frame.nominal
            let isHole = decode - nominalEnd > self.timescale / 10
            self.settle(until: (self.isAudio ? isHole : isContinuous) ? decode : nominalEnd, sink: &sink)
            if self.isAudio, isHole { self.clock.skip(to: decode) }
        }
        self.close(until: decode, sink: &sink)
        self.open(plan, sink: &sink)
    }

    /// The track is far behind: the open segment ends where the next one starts, or at `end` (90 kHz), with what there is
    /// or as a gap.
    mutating func skip(to plan: SegmentPlan, until end: Int64? = nil, sink: inout PackagingSink) {
        let decode = end.map { Ticks.convert($0, from: Ticks.perSecond, to: self.timescale) } ?? self.start(of: plan)
        if let frame = self.pending { self.settle(until: max(decode, frame.decode + frame.nominal), sink: &sink) }
        self.close(until: decode, sink: &sink)
        self.end = max(self.end ?? decode, decode)
        if self.isAudio { self.clock.skip(to: decode) }
        self.open(plan, sink: &sink)
    }

    /// The source ends, at `ticks` (90 kHz) for a segment without frames.
    mutating func finish(at ticks: Int64, sink: inout PackagingSink) {
        if let frame = self.pending { self.settle(until: frame.decode + frame.nominal, sink: &sink) }
        self.close(until: Ticks.convert(ticks, from: Ticks.perSecond, to: self.timescale), sink: &sink)
    }

    /// Where a segment begins on this lane's decoding time.
    private func start(of plan: SegmentPlan) -> Int64 {
        Ticks.convert(self.isAudio ? plan.start : plan.decodeStart, from: Ticks.perSecond, to: self.timescale)
    }

    private mutating func open(_ plan: SegmentPlan, sink: inout PackagingSink) {
        let isNewRun = plan.run != self.plan.run
        self.plan = plan
        guard isNewRun else { return }
        if let track = self.isAudio ? plan.tracks.audio : plan.tracks.video { self.track = track }
        if plan.isDiscontinuity {
            self.end = nil
            self.clock = AudioClock(timescale: self.track.timescale)
        }
        self.announce(&sink)
    }

    private mutating func close(until decode: Int64, sink: inout PackagingSink) {
        let isGap = self.frameCount == 0
        if isGap {
            let start = self.end ?? max(0, self.start(of: self.plan))
            self.duration = max(1, decode - start)
            self.decodeStart = start
            self.partStart = start
            self.presentationStart = start
            self.pieces = [self.fragment()]
            self.isIndependent = true
            self.end = start + self.duration
        } else {
            self.closePart(&sink)
        }
        let programTime = self.settledProgramTime(&sink)
        let facts = SegmentFacts(
            tag: self.tag, sequence: self.plan.sequence, run: self.plan.run, isDiscontinuity: self.plan.isDiscontinuity,
            timescale: self.track.timescale, decodeStart: self.decodeStart ?? 0,
            presentationStart: self.presentationStart ?? 0, duration: self.duration,
            programDateTimeMillis: programTime, keyIndex: self.plan.keyIndex, isIndependent: self.isIndependent,
            isGap: isGap, byteCount: self.pieces.reduce(0) { $0 + $1.readableBytes }, frameCount: self.frameCount,
            partCount: self.partCount,
            targetDurationSeconds: sink.targetDuration(ticks: self.duration, timescale: self.timescale))
        sink.give(facts, self.pieces)
        self.pieces.removeAll(keepingCapacity: true)
        (self.duration, self.frameCount, self.partCount) = (0, 0, 0)
        (self.decodeStart, self.presentationStart, self.programTime) = (nil, nil, nil)
        self.isIndependent = false
    }

    /// The wall clock at the segment's start: fixed with its first part, so that it does not change under players.
    private mutating func settledProgramTime(_ sink: inout PackagingSink) -> Int64 {
        if let known = self.programTime { return known }
        let time = sink.programTime(
            of: self.presentationStart ?? 0, timescale: self.timescale, run: self.plan.run, tag: self.tag)
        self.programTime = time
        return time
    }
}

extension TrackFacts {
    init(
        tag: PackagingTag, run: PackagingRun, timescale: UInt32, tracks: [Track], container: PackagingContainer
    ) {
        self.init(
            tag: tag, epoch: run.epoch, index: run.initializationIndex, timescale: timescale,
            codecs: tracks.compactMap { $0.codecName(in: container) }, hasVideo: tracks.contains { $0.kind == .video })
        for track in tracks {
            switch track.format {
            case .video(let format): (self.width, self.height) = (format.width, format.height)
            case .audio(let format): (self.sampleRate, self.channels) = (format.sampleRate, format.channels)
            }
        }
    }
}
