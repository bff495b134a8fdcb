import DequeModule
import ISOBMFF
import MPEGTS
import Media
import NIOCore

// How runs begin and end.
extension StreamPackager {
    /// Begins a run with `frame`, of the track that leads, and the tracks of `kinds` that can be packaged; `audio` is the
    /// first frame of audio if it is known. Returns false, and changes nothing, if the frame's own track cannot be.
    ///
    /// `end`: what was before ended there, in front of a hole; `nil`: the frame follows the one before it. A discontinuity
    /// is announced unless only names change.
    /// `start`: where it is presented from, if not from the frame on.
    mutating func startRun(
        with frame: Frame, kinds: Set<MediaKind>, audio: Frame?, after end: Int64?, from start: Int64? = nil
    ) -> Bool {
        var tracks = RunTracks()
        if kinds.contains(.video) {
            self.resolve(.video, describedBy: frame.kind == .video ? frame.payload : nil, into: &tracks)
        }
        if kinds.contains(.audio) { self.resolve(.audio, describedBy: audio?.payload, into: &tracks) }
        guard var source = self.source, frame.kind == .video ? tracks.videoTrack != nil : tracks.audioTrack != nil
        else { return false }
        let start = start ?? self.start(of: frame)
        let isFirst = self.plans.isEmpty
        let isDiscontinuity = source.breaksRun
        let changesAudio = source.holdsAudio
        if isDiscontinuity {
            self.sink.position.discontinuitySequence += 1
            self.sink.counters.discontinuities += 1
        }
        let isSameEpoch = self.sink.position.epoch == source.epoch
        self.sink.position.initializationIndex = isSameEpoch ? self.sink.position.initializationIndex + 1 : 0
        self.sink.position.epoch = source.epoch
        let run = PackagingRun(
            epoch: source.epoch, initializationIndex: self.sink.position.initializationIndex,
            discontinuitySequence: self.sink.position.discontinuitySequence, startTicks: start,
            startMillis: source.millis(at: start))
        (source.tracks, source.wantsRun, source.breaksRun, source.holdsAudio) = (tracks, false, false, false)
        if frame.kind == .video || tracks.videoTrack == nil { source.leadTime = nil }
        self.source = source
        self.makePlan(start: start, decodeStart: frame.dts.ticks, run: run, isDiscontinuity: isDiscontinuity)
        self.openLanes(with: frame, end: end, audioCrosses: changesAudio || end != nil)
        if frame.kind == .video, changesAudio || end != nil || isFirst {
            self.source?.audioFloor = start
            self.trimHeldAudio(before: start)
        } else {
            self.source?.audioFloor = nil
        }
        return true
    }

    /// Takes the known track of a kind for the next run, or leaves it out for good if its header is of no use.
    private mutating func resolve(_ kind: MediaKind, describedBy frame: ByteBuffer?, into tracks: inout RunTracks) {
        guard let source = self.source, let track = source.candidate(kind, in: self.configuration.container) else {
            return
        }
        if self.configuration.container == .fragmentedMP4 {
            let known = kind == .video ? source.tracks.video : source.tracks.audio
            guard let made = known.flatMap({ $0.track.isCoded(like: track) ? $0 : nil }) ?? self.make(track, frame)
            else { return self.reject(track) }
            if kind == .video { tracks.video = made } else { tracks.audio = made }
        } else if !TransportLane.accepts(track) {
            return self.reject(track)
        }
        if kind == .video { tracks.videoTrack = track } else { tracks.audioTrack = track }
    }

    private func make(_ track: Track, _ frame: ByteBuffer?) -> MP4Track? {
        let (id, timescale): (UInt32, Int)
        switch track.format {
        case .video: (id, timescale) = (1, Int(Ticks.perSecond))
        case .audio(let format): (id, timescale) = (2, format.sampleRate ?? 0)
        }
        guard (1000...1_000_000).contains(timescale) else { return nil }
        // A first frame that is of no use is no reason to leave its track out.
        return (try? MP4Track(id: id, timescale: UInt32(timescale), track: track, describedBy: frame))
            ?? (try? MP4Track(id: id, timescale: UInt32(timescale), track: track))
    }

    private mutating func reject(_ track: Track) {
        self.source?.reject(track.kind)
        let problem = PackagingProblem.unreadableTrack(track.codec)
        if self.source?.reports(problem) == true { self.sink.outputs.append(.problem(problem)) }
    }

    /// Brings the lanes into the segment of the newest plan, which begins a run with `frame`; what was before it ended at
    /// `end`, or goes on until then.
    private mutating func openLanes(with frame: Frame, end: Int64?, audioCrosses: Bool) {
        guard let plan = self.plans.last else { return }
        let decode = min(end ?? .max, frame.dts.ticks)
        let isContinuous = end == nil
        if self.configuration.container == .mpegTS {
            if self.transport == nil {
                self.transport = TransportLane(plan: plan, sink: &self.sink)
            } else {
                self.transport?.cross(to: plan, at: decode, isContinuous: isContinuous, sink: &self.sink)
            }
            return self.prune()
        }
        if plan.tracks.video == nil {
            self.videoLane?.finish(at: decode, sink: &self.sink)
            self.videoLane = nil
        } else if self.videoLane == nil {
            self.videoLane = plan.tracks.video.map {
                FragmentLane(tag: .video, track: $0, plan: plan, leads: true, sink: &self.sink)
            }
        } else if frame.kind == .video {
            self.videoLane?.cross(to: plan, at: decode, isContinuous: isContinuous, sink: &self.sink)
        } else {
            self.videoLane?.skip(to: plan, until: end, sink: &self.sink)
        }
        if self.audioLane == nil {
            self.audioLane = plan.tracks.audio.map {
                FragmentLane(
                    tag: .audio, track: $0, plan: plan, leads: plan.tracks.video == nil, sink: &self.sink)
            }
        } else if audioCrosses || frame.kind == .audio {
            // What comes next belongs to the new run whatever its time.
            self.crossAudio(end: end)
        }
        self.prune()
    }

    /// Brings audio into the newest segment; the one before it ended at `end`.
    private mutating func crossAudio(end: Int64? = nil) {
        while let sequence = self.audioLane?.plan.sequence, let next = self.plan(after: sequence) {
            let isNewest = next.sequence == self.plans.last?.sequence
            let start = isNewest ? min(end ?? .max, next.start) : next.start
            self.audioLane?.cross(to: next, at: start, isContinuous: false, sink: &self.sink)
        }
    }

    /// Audio that ends before its run begins belongs to no segment.
    private mutating func trimHeldAudio(before start: Int64) {
        while let first = self.source?.heldAudio.first, self.end(of: first) <= start {
            _ = self.source?.takeHeld()
            self.sink.counters.droppedFrames += 1
        }
    }

    /// Closes everything at the end of a source.
    mutating func finishLanes() {
        guard let source = self.source, source.isRunning else { return }
        if source.holdsAudio {
            // Its run never began.
            self.sink.counters.droppedFrames += source.heldAudio.count
        } else {
            self.flushAudio()
        }
        self.crossAudio()
        self.transport?.finish(sink: &self.sink)
        let end = self.source?.givenEnd ?? 0
        self.videoLane?.finish(at: end, sink: &self.sink)
        self.audioLane?.finish(at: end, sink: &self.sink)
        (self.transport, self.videoLane, self.audioLane) = (nil, nil, nil)
        self.plans.removeAll()
    }

    /// Puts an ID3 tag at `time` into the media.
    mutating func write(_ tag: ByteBuffer, at time: MediaTime, number: UInt32) {
        if self.transport != nil {
            self.transport?.add(id3: tag, at: time)
            return
        }
        let timescale = (self.videoLane ?? self.audioLane)?.track.timescale ?? UInt32(Ticks.perSecond)
        let ticks = Ticks.convert(max(0, time.ticks), from: Ticks.perSecond, to: Int64(timescale))
        let event = FragmentedMP4.EventMessage(
            schemeID: "https://aomedia.org/emsg/ID3", timescale: timescale, presentationTime: UInt64(ticks),
            duration: .max, id: number, payload: tag)
        if self.videoLane != nil { self.videoLane?.add(event) } else { self.audioLane?.add(event) }
    }
}
