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
        // Runs for each frame of each stream: the source, the lanes and the plans are not copied here.
        guard self.source?.carries(frame.kind, in: self.configuration.container) == true else {
            return self.drop(frame, reports: false)
        }
        if frame.kind == .video {
            self.routeVideo(frame)
        } else if let floor = self.source?.audioFloor, frame.dts.ticks <= floor, self.end(of: frame) <= floor {
            // It ends before its run begins.
            self.drop(frame, reports: false)
        } else if self.source?.tracks.videoTrack == nil {
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
        let isNew = self.source?.hasNewVideo ?? true
        if isNew || self.source?.awaitsKeyframe == true || self.videoLane?.isTooLate(ticks: frame.dts.ticks) == true {
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
        if isNew, let source = self.source {
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
        let length = frame.dts.ticks - self.openDecodeStart
        guard length >= PackagingConfiguration.minimumSegmentMillis * 90 else { return .none }
        let wantsRun = self.source?.wantsRun == true
        if frame.isKeyframe {
            if wantsRun { return .run(after: nil) }
            if length >= self.wantedTicks || !self.isOpenIndependent { return .segment }
        }
        if self.length(until: frame) + (self.source?.leadInterval ?? 0) > self.maximumTicks {
            return wantsRun ? .run(after: nil) : .segment
        }
        return .none
    }

    /// The open segment begins with a keyframe, or with nothing yet.
    private var isOpenIndependent: Bool {
        if let transport = self.transport?.isIndependent { return transport }
        return self.videoLane?.hasFrames != true || self.videoLane?.isIndependent == true
    }

    /// How long the open segment is if it ends with `frame`, in ticks. Audio is cut by presentation, video by decoding:
    /// neither may be too long.
    private func length(until frame: Frame) -> Int64 {
        max(frame.dts.ticks - self.openDecodeStart, self.start(of: frame) - self.openStart)
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
        guard self.isTooLong(until: frame), let source = self.source, let leadEnd = source.leadEnd else { return false }
        let reach = source.reach
        if frame.dts.ticks - reach > Ticks.perSecond {
            // Audio from before the hole stays there.
            self.flushAudio(upTo: reach + (frame.dts.ticks - reach) / 2)
            self.perform(.run(after: reach), at: frame)
            return true
        }
        while self.isTooLong(until: frame) {
            let boundary = max(self.openDecodeStart + self.wantedTicks, leadEnd)
            guard boundary > self.openDecodeStart, boundary < frame.dts.ticks else { return false }
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
        if self.source?.holdsAudio == true {
            // Without a picture there is nothing to wait for.
            let end = self.isTooLong(until: frame) ? self.source?.reach : nil
            guard self.startRun(with: frame, kinds: [.audio], audio: frame, after: end) else {
                return self.drop(frame, reports: false)
            }
        } else if !self.passHole(before: frame) {
            let time = self.audioLane?.start(ofAudioAt: frame.dts.ticks) ?? frame.dts.ticks
            if time - self.openStart >= self.wantedTicks + self.audioTolerance {
                if self.source?.wantsRun == true {
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
        let holdsAudio = self.source?.holdsAudio == true
        if self.transport != nil, !holdsAudio {
            if frame.dts.ticks - self.openDecodeStart > self.maximumTicks,
                frame.dts.ticks > self.source?.leadEnd ?? .min
            {
                self.startSegment(start: frame.dts.ticks, decodeStart: frame.dts.ticks)
            }
            return self.put(frame)
        }
        self.source?.hold(frame)
        if !holdsAudio { self.releaseAudio(upTo: self.source?.leadTime ?? .min) }
        guard self.source?.holdsTooMuch(self.configuration) == true, let held = self.source else { return }
        if !held.holdsAudio {
            self.leadByAudio()
        } else if let first = held.heldAudio.first, first.dts.ticks > held.leadTime ?? .min {
            // The picture that a new run was to begin with does not come: the run begins without one.
            self.perform(.run(after: self.isTooLong(until: first) ? held.leadEnd : nil), at: first)
        } else if held.exceeds(self.configuration), let oldest = self.source?.takeHeld() {
            self.drop(oldest, reports: true)
        }
    }

    var skewTicks: Int64 { self.configuration.maximumSkewMillis * 90 }

    /// Video is away: audio goes on alone, in segments by time, of `wanted` ticks or the configured duration.
    private mutating func leadByAudio(wanted: Int64? = nil) {
        guard let frame = self.source?.takeHeld() else { return }
        let time = self.audioLane?.start(ofAudioAt: frame.dts.ticks) ?? frame.dts.ticks
        if self.isTooLong(until: frame) {
            let reach = max(self.source?.givenEnd ?? 0, self.openStart)
            if frame.dts.ticks - reach > Ticks.perSecond {
                self.perform(.run(after: reach), at: frame)
            } else {
                // A short hole is cut in front.
                let boundary = min(max(self.openStart + self.wantedTicks, reach), time)
                self.startSegment(start: boundary, decodeStart: boundary, leadsAudio: false)
            }
        } else if time - self.openStart >= wanted ?? self.wantedTicks {
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
        guard let time = self.audioLane?.start(ofAudioAt: frame.dts.ticks) else {
            return self.drop(frame, reports: false)
        }
        if self.audioLane?.isTooLate(ticks: frame.dts.ticks + Ticks.perSecond / 10) == true {
            return self.drop(frame, reports: true)
        }
        while let sequence = self.audioLane?.plan.sequence, let next = self.plan(after: sequence), time >= next.start {
            self.audioLane?.cross(to: next, at: next.start, isContinuous: true, sink: &self.sink)
        }
        self.prune()
        self.source?.audioTime = frame.dts.ticks
        self.audioLane?.add(frame, sink: &self.sink)
    }

    func plan(after sequence: UInt64) -> SegmentPlan? {
        guard sequence + 1 < self.sink.position.nextSequence, let first = self.plans.first?.sequence,
            sequence + 1 >= first
        else { return nil }
        let index = Int(sequence + 1 - first)
        return index < self.plans.count ? self.plans[index] : nil
    }

    /// Forgets the plans that no lane needs; the newest stays.
    mutating func prune() {
        guard self.plans.count > 1 else { return }
        let lowest = min(
            self.videoLane?.plan.sequence ?? .max, self.audioLane?.plan.sequence ?? .max,
            self.transport?.plan.sequence ?? .max)
        while self.plans.count > 1, let first = self.plans.first, first.sequence < lowest { self.plans.removeFirst() }
    }

    mutating func makePlan(start: Int64, decodeStart: Int64, run: PackagingRun, isDiscontinuity: Bool) {
        let sequence = self.sink.position.nextSequence
        self.sink.position.nextSequence += 1
        (self.openStart, self.openDecodeStart) = (start, decodeStart)
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
