import DequeModule
import ISOBMFF
import MPEGTS
import Media
import NIOCore

// How frames find their segment.
extension StreamPackager {
    /// What happens in front of a frame of the track that leads.
    private enum Cut {
        case none
        case segment
        /// What was before ended at a time before a hole; without one it lasts until the frame.
        case run(after: Int64?)
    }

    /// One frame of a source that is running.
    mutating func route(_ frame: Frame) {
        guard let source = self.source,
            source.candidate(frame.kind, in: self.configuration.container) != nil
        else {
            self.drop(frame, reports: false)
            return
        }
        if frame.kind == .audio, let floor = source.audioFloor, self.end(of: frame) <= floor {
            // It ends before its run begins.
            self.drop(frame, reports: false)
        } else if frame.kind == .video {
            self.routeVideo(frame)
        } else if source.tracks.videoTrack == nil {
            self.routeLeadingAudio(frame)
        } else {
            self.routeFollowingAudio(frame)
        }
    }

    private mutating func drop(_ frame: Frame, reports: Bool) {
        self.sink.counters.droppedFrames += 1
        let problem = PackagingProblem.droppedFrames(frame.kind)
        if reports, self.source?.reports(problem) == true { self.sink.outputs.append(.problem(problem)) }
    }

    // MARK: Video

    private mutating func routeVideo(_ frame: Frame) {
        guard let source = self.source, let track = source.video else { return }
        let isNew = source.tracks.videoTrack.map { !track.isCoded(like: $0) } ?? true
        if isNew || source.awaitsKeyframe || self.videoLane?.isTooLate(ticks: frame.dts.ticks) == true {
            guard frame.isKeyframe, self.videoLane?.isTooLate(ticks: frame.dts.ticks) != true else {
                if !isNew { self.source?.awaitsKeyframe = true }
                return self.drop(frame, reports: true)
            }
            self.source?.awaitsKeyframe = false
        }
        if self.videoLane?.hasFrames == false {
            // Audio led while video was away: what it has before this frame is cut by time as well.
            while let first = self.source?.heldAudio.first, self.source?.holdsAudio == false,
                first.dts.ticks <= frame.dts.ticks
            {
                self.leadByAudio()
            }
        }
        if isNew {
            self.source?.breaksRun = true
            var kinds: Set<MediaKind> = [.video]
            if source.tracks.audioTrack != nil || source.holdsAudio { kinds.insert(.audio) }
            // Audio led until here: its segment ends where the picture begins.
            let end = self.isTooLong(until: frame) ? source.reach : nil
            guard self.startRun(with: frame, kinds: kinds, audio: source.heldAudio.first, after: end) else {
                return self.drop(frame, reports: false)
            }
        } else if !self.passHole(before: frame) {
            self.perform(self.decide(frame), at: frame)
        }
        self.noteLead(frame)
        self.put(frame)
        self.releaseAudio(upTo: frame.dts.ticks)
        self.skipLaggingAudio(behind: frame.dts.ticks)
    }

    private mutating func noteLead(_ frame: Frame) {
        if frame.isKeyframe { self.source?.leadOffset = frame.pts.ticks - frame.dts.ticks }
        let last = self.source?.leadTime
        if let last, frame.dts.ticks > last {
            self.source?.leadInterval = min(frame.dts.ticks - last, Ticks.perSecond)
        }
        self.source?.leadTime = max(last ?? .min, frame.dts.ticks)
    }

    /// What a segment may be longer than wanted before the time in front of a frame is given to the next one. Together
    /// with a frame of audio it stays below what a target duration is rounded by.
    private static let slackTicks: Int64 = 50 * 90

    /// The longest segment, in ticks: no longer than the target duration lets it be by rounding.
    var maximumTicks: Int64 {
        let configured = Int64(
            Double(self.configuration.segmentDurationMillis) * self.configuration.maximumSegmentRatio)
        guard let target = self.sink.position.targetDurationSeconds else { return configured * 90 }
        return min(configured, Int64(target) * 1000 + 400) * 90
    }

    /// The duration from which on a keyframe ends a segment, in ticks. A keyframe that is a little early by the rounding
    /// of its time counts, or segments would be twice as long.
    private var wantedTicks: Int64 {
        var wanted = self.configuration.segmentDurationMillis
        if let target = self.sink.position.targetDurationSeconds { wanted = min(wanted, Int64(target) * 1000) }
        return (wanted - min(100, wanted / 20)) * 90
    }

    private func decide(_ frame: Frame) -> Cut {
        guard let source = self.source, let plan = self.plans.last else { return .none }
        let length = frame.dts.ticks - plan.decodeStart
        let isLongEnough = length >= PackagingConfiguration.minimumSegmentMillis * 90
        guard isLongEnough else { return .none }
        let isIndependent =
            self.videoLane.map { !$0.hasFrames || $0.isIndependent } ?? self.transport?.isIndependent ?? true
        if frame.isKeyframe {
            if source.wantsRun { return .run(after: nil) }
            if length >= self.wantedTicks || !isIndependent { return .segment }
        }
        if self.length(until: frame) + source.leadInterval > self.maximumTicks {
            return source.wantsRun ? .run(after: nil) : .segment
        }
        return .none
    }

    /// How long the open segment is if it ends with `frame`, in ticks. Audio is cut by presentation, video by decoding:
    /// neither may be too long.
    private func length(until frame: Frame) -> Int64 {
        guard let plan = self.plans.last else { return 0 }
        return max(frame.dts.ticks - plan.decodeStart, self.start(of: frame) - plan.start)
    }

    /// Whether the open segment would be longer than it may if it ended with `frame`.
    func isTooLong(until frame: Frame) -> Bool { self.length(until: frame) > self.maximumTicks + Self.slackTicks }

    /// Where a segment that begins with `frame` is presented from. Frames between keyframes are presented out of order, so
    /// they count as if they were keyframes.
    func start(of frame: Frame) -> Int64 {
        frame.isKeyframe ? frame.pts.ticks : frame.dts.ticks + (self.source?.leadOffset ?? 0)
    }

    /// Deals with a hole in front of a frame of the leading track that no segment can span. One in which nothing came at
    /// all is a new run; one of this track alone is left to segments by time. Returns whether the run was begun.
    private mutating func passHole(before frame: Frame) -> Bool {
        guard let source = self.source, let leadEnd = source.leadEnd, self.isTooLong(until: frame) else { return false }
        let reach = source.reach
        if frame.dts.ticks - reach > Ticks.perSecond {
            // Audio from before the hole stays there.
            self.flushAudio(upTo: reach + (frame.dts.ticks - reach) / 2)
            self.perform(.run(after: reach), at: frame)
            return true
        }
        while let plan = self.plans.last, self.isTooLong(until: frame) {
            let boundary = max(plan.decodeStart + self.wantedTicks, leadEnd)
            guard boundary > plan.decodeStart, boundary < frame.dts.ticks else { return false }
            self.startSegment(start: boundary, decodeStart: boundary, leadsAudio: frame.kind == .audio)
        }
        return false
    }

    private mutating func perform(_ cut: Cut, at frame: Frame) {
        switch cut {
        case .none: break
        case .segment:
            self.startSegment(start: self.start(of: frame), decodeStart: frame.dts.ticks)
        case .run(let end):
            guard let source = self.source else { return }
            var kinds: Set<MediaKind> = [frame.kind]
            if source.tracks.videoTrack != nil { kinds.insert(.video) }
            if source.tracks.audioTrack != nil || source.holdsAudio { kinds.insert(.audio) }
            if end != nil { self.source?.breaksRun = true }
            _ = self.startRun(with: frame, kinds: kinds, audio: source.heldAudio.first, after: end)
        }
    }

    // MARK: Audio

    private mutating func routeLeadingAudio(_ frame: Frame) {
        guard let source = self.source, let plan = self.plans.last else { return }
        if source.holdsAudio {
            // Without a picture there is nothing to wait for.
            let end = self.isTooLong(until: frame) ? source.reach : nil
            guard self.startRun(with: frame, kinds: [.audio], audio: frame, after: end) else {
                return self.drop(frame, reports: false)
            }
        } else if !self.passHole(before: frame) {
            let time = self.audioLane?.start(ofAudioAt: frame.dts.ticks) ?? frame.dts.ticks
            if time - plan.start >= self.wantedTicks + self.audioTolerance {
                if source.wantsRun {
                    self.perform(.run(after: nil), at: frame)
                } else {
                    self.startSegment(start: time, decodeStart: time)
                }
            }
        }
        self.noteLead(frame)
        self.put(frame)
    }

    /// Audio can be cut anywhere, so it is cut at the configured duration.
    private var audioTolerance: Int64 {
        let wanted = self.configuration.segmentDurationMillis
        return min(100, wanted / 20) * 90
    }

    private mutating func routeFollowingAudio(_ frame: Frame) {
        guard let source = self.source else { return }
        if self.transport != nil, !source.holdsAudio {
            if let plan = self.plans.last, frame.dts.ticks - plan.decodeStart > self.maximumTicks,
                frame.dts.ticks > source.leadEnd ?? .min
            {
                self.startSegment(start: frame.dts.ticks, decodeStart: frame.dts.ticks)
            }
            return self.put(frame)
        }
        self.source?.hold(frame)
        if !source.holdsAudio { self.releaseAudio(upTo: source.leadTime ?? .min) }
        guard let held = self.source, held.heldSpan > self.skewTicks || held.exceeds(self.configuration) else { return }
        if !held.holdsAudio {
            self.leadByAudio()
        } else if let first = held.heldAudio.first, first.dts.ticks > held.leadTime ?? .min {
            // The picture that a new run was to begin with does not come: the run begins without one.
            self.perform(.run(after: self.isTooLong(until: first) ? held.leadEnd : nil), at: first)
        } else if held.exceeds(self.configuration), let oldest = self.source?.takeHeld() {
            self.drop(oldest, reports: true)
        }
    }

    private var skewTicks: Int64 { self.configuration.maximumSkewMillis * 90 }

    /// Video is away: audio goes on alone, in segments by time, of `wanted` ticks or the configured duration.
    private mutating func leadByAudio(wanted: Int64? = nil) {
        guard let frame = self.source?.takeHeld(), let plan = self.plans.last else { return }
        let time = self.audioLane?.start(ofAudioAt: frame.dts.ticks) ?? frame.dts.ticks
        if self.isTooLong(until: frame) {
            let reach = max(self.source?.givenEnd ?? 0, plan.start)
            if frame.dts.ticks - reach > Ticks.perSecond {
                self.perform(.run(after: reach), at: frame)
            } else {
                // A short hole is cut in front.
                let boundary = min(max(plan.start + self.wantedTicks, reach), time)
                self.startSegment(start: boundary, decodeStart: boundary, leadsAudio: false)
            }
        } else if time - plan.start >= wanted ?? self.wantedTicks {
            self.startSegment(start: time, decodeStart: time, leadsAudio: false)
        }
        self.put(frame)
    }

    /// Gives out the audio that waits, in segments that are no longer than they may be.
    mutating func flushAudio(upTo ticks: Int64 = .max) {
        while let first = self.source?.heldAudio.first, first.dts.ticks <= ticks {
            let wanted = self.videoLane?.hasFrames == true ? self.maximumTicks : nil
            self.leadByAudio(wanted: wanted)
        }
    }

    mutating func releaseAudio(upTo ticks: Int64) {
        while self.source?.holdsAudio == false, let first = self.source?.heldAudio.first, first.dts.ticks <= ticks {
            guard let frame = self.source?.takeHeld() else { return }
            self.put(frame)
        }
    }

    /// Audio that does not come must not hold up its playlist for ever.
    private mutating func skipLaggingAudio(behind ticks: Int64) {
        while let sequence = self.audioLane?.plan.sequence, let next = self.plan(after: sequence),
            ticks - next.start > self.skewTicks
        {
            self.audioLane?.skip(to: next, sink: &self.sink)
            self.prune()
        }
    }

    // MARK: Lanes

    /// Puts a frame into the open segment of its lane.
    private mutating func put(_ frame: Frame) {
        if self.transport != nil {
            self.transport?.add(frame, sink: &self.sink)
        } else if frame.kind == .video {
            self.videoLane?.add(frame, sink: &self.sink)
        } else {
            self.putAudio(frame)
        }
    }

    private mutating func putAudio(_ frame: Frame) {
        guard let lane = self.audioLane else { return self.drop(frame, reports: false) }
        if lane.isTooLate(ticks: frame.dts.ticks + Ticks.perSecond / 10) { return self.drop(frame, reports: true) }
        let time = lane.start(ofAudioAt: frame.dts.ticks)
        while let sequence = self.audioLane?.plan.sequence, let next = self.plan(after: sequence), time >= next.start {
            self.audioLane?.cross(to: next, at: next.start, isContinuous: true, sink: &self.sink)
        }
        self.prune()
        self.source?.audioTime = frame.dts.ticks
        self.audioLane?.add(frame, sink: &self.sink)
    }

    func plan(after sequence: UInt64) -> SegmentPlan? {
        guard let first = self.plans.first?.sequence, sequence + 1 >= first else { return nil }
        let index = Int(sequence + 1 - first)
        return index < self.plans.count ? self.plans[index] : nil
    }

    /// Forgets the plans that no lane needs; the newest stays.
    mutating func prune() {
        let lowest = min(
            self.videoLane?.plan.sequence ?? .max, self.audioLane?.plan.sequence ?? .max,
            self.transport?.plan.sequence ?? .max)
        while self.plans.count > 1, let first = self.plans.first, first.sequence < lowest { self.plans.removeFirst() }
    }

    mutating func makePlan(start: Int64, decodeStart: Int64, run: PackagingRun, isDiscontinuity: Bool) {
        let sequence = self.sink.position.nextSequence
        self.sink.position.nextSequence += 1
        self.plans.append(
            SegmentPlan(
                sequence: sequence, run: run, isDiscontinuity: isDiscontinuity,
                keyIndex: self.configuration.segmentsPerKey.map { Int(truncatingIfNeeded: sequence / UInt64($0)) },
                start: start, decodeStart: decodeStart, tracks: self.source?.tracks ?? RunTracks()))
    }

    /// A new segment of the same run, from the leading track's frame at these times. Audio that leads because video is
    /// away (`leadsAudio` is false) leaves video behind.
    private mutating func startSegment(
        start: Int64, decodeStart: Int64, leadsAudio: Bool = true
    ) {
        guard let run = self.plans.last?.run else { return }
        self.makePlan(start: start, decodeStart: decodeStart, run: run, isDiscontinuity: false)
        guard let plan = self.plans.last else { return }
        if self.transport != nil {
            self.transport?.cross(to: plan, at: decodeStart, isContinuous: true, sink: &self.sink)
        } else if self.videoLane != nil {
            if leadsAudio {
                self.videoLane?.cross(to: plan, at: decodeStart, isContinuous: true, sink: &self.sink)
            } else {
                self.videoLane?.skip(to: plan, sink: &self.sink)
            }
        } else {
            self.audioLane?.cross(to: plan, at: start, isContinuous: true, sink: &self.sink)
        }
        self.prune()
    }
}
