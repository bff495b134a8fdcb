import Media
package import NIOCore
import RTP

extension RTPViewer {
    /// What may always be sent again at once.
    static let minimumRepeatBytes = 24_000

    /// The next packets that do not belong to a live frame and may leave now: packets that are sent again, and those of
    /// a replay. `nil` when there is nothing, or not before `nextDeadline`.
    package mutating func next(
        from ring: RTPFrameRing, now: NIODeadline
    ) -> (frame: RTPFrame, burst: RTPBurst)? {
        if let repeated = self.nextRepeated(from: ring, now: now) { return repeated }
        return self.nextReplayed(from: ring, now: now)
    }

    // MARK: Replay

    /// Ticks of video that a viewer catches up with so soon that a new keyframe would not help it.
    private static let convenientReplay: Int64 = 2 * 90_000

    /// What leaves at least at a time, so that the owner's timers have a decent distance.
    static let minimumBurstBytes = 4_800
    private static let packetBytes = 1_200

    /// Bits per second at which bursts leave.
    var burstRate: Int {
        if self.congestion.isOn { return self.estimator.bitsPerSecond }
        return max(
            Int(Double(self.streamBitrate) * self.configuration.burstFactor), self.estimator.bitsPerSecond,
            300_000)
    }

    /// Bytes that may leave at once within a burst: 10 ms of it, or 8 packets.
    private var maximumBurstBytes: Int { max(self.burstRate / 800, 2 * Self.minimumBurstBytes) }

    /// Goes back to the last keyframe of the ring. Returns false if there is none, or if it is too far back. One that is
    /// far enough back to cost the viewer time is told as the need of a nearer one.
    mutating func replay(from ring: RTPFrameRing, now: NIODeadline) -> Bool {
        guard let number = ring.lastKeyframe, let first = ring.frame(.video, number: number),
            let last = ring.last(.video), let bytes = ring.videoBytes(from: number),
            bytes <= self.configuration.maximumReplayBytes, first.codec == self.video?.codec
        else { return false }
        self.streamBitrate = last.streamBitrate
        if self.video?.phase != .behind, !self.congestion.isOn {
            // The first picture comes at once, unless it is a very large one.
            self.burstBudget = ByteBudget(bytes: self.configuration.burstPackets * Self.packetBytes, now: now)
        }
        self.replayStart = now
        self.replayEdge = last.number
        self.hasUnmendedLoss = false
        self.video?.replay(from: first, to: last)
        if last.ticks - first.ticks > Self.convenientReplay { self.needKeyframe(now: now) }
        return true
    }

    private mutating func nextReplayed(
        from ring: RTPFrameRing, now: NIODeadline
    ) -> (frame: RTPFrame, burst: RTPBurst)? {
        guard self.video?.phase == .behind else { return nil }
        self.burstBudget.fill(bitsPerSecond: self.burstRate, maximum: self.maximumBurstBytes, now: now)
        guard self.burstBudget.bytes > 0, self.queuedBytes <= self.configuration.maximumQueuedBytes else { return nil }
        while let frame = self.replayFrame(in: ring, now: now) {
            let isSpare = self.congestion.isOn || self.video?.isReplayed(frame) == true
            if frame.isDiscardable, isSpare, self.video?.packetsSent == 0 {
                self.video?.pass(frame)
                self.statistics.droppedFrames += 1
                continue
            }
            let limit = min(
                self.configuration.burstPackets,
                max(self.burstBudget.bytes, Self.minimumBurstBytes) / Self.packetBytes)
            let before = self.statistics.bytes
            guard let burst = self.emit(frame, limit: limit, now: now) else { return nil }
            if !self.congestion.isOn { self.burstBudget.spend(Int(self.statistics.bytes - before)) }
            self.noteEdge(in: ring)
            return (frame, burst)
        }
        return nil
    }

    /// The frame that a replay is at; `nil` when the replay is over, one way or the other.
    private mutating func replayFrame(in ring: RTPFrameRing, now: NIODeadline) -> RTPFrame? {
        guard let track = self.video, let last = ring.last(.video) else {
            self.video?.phase = .waiting
            return nil
        }
        self.streamBitrate = last.streamBitrate
        guard track.position <= last.number else {
            self.video?.phase = .live
            return nil
        }
        let frame = track.begun ?? ring.frame(.video, number: track.position)
        // A keyframe that came meanwhile is the shorter way, as soon as the frame that was begun is whole.
        if track.packetsSent == 0, let newest = ring.lastKeyframe, newest > track.position,
            self.replay(from: ring, now: self.congestion.isOn ? now : self.replayStart)
        {
            return ring.frame(.video, number: newest)
        }
        guard let frame, frame.codec == track.codec else {
            self.skip(.lag)
            self.needKeyframe(now: now)
            return nil
        }
        guard self.isLate(frame, now: now) else { return frame }
        self.skip(self.congestion.isOn ? .bandwidth : .lag)
        if !self.congestion.isOn { self.needKeyframe(now: now) }
        return nil
    }

    /// Whether the frame that is next has waited too long. A frame that was begun is finished in any case.
    private func isLate(_ frame: RTPFrame, now: NIODeadline) -> Bool {
        guard let track = self.video, track.packetsSent == 0 else { return false }
        if self.congestion.isOn, !track.isReplayed(frame) {
            return now - frame.arrival > self.configuration.maximumDelay
        }
        return now - self.replayStart > self.configuration.maximumLag
    }

    /// Live again when everything was sent.
    private mutating func noteEdge(in ring: RTPFrameRing) {
        guard let track = self.video, let last = ring.last(.video) else { return }
        if track.position > last.number { self.video?.phase = .live }
    }

    // MARK: Retransmission

    /// Bits per second that may be sent again: as much as the stream itself.
    var repeatRate: Int { max(self.streamBitrate, 1_000_000) }

    private mutating func nextRepeated(
        from ring: RTPFrameRing, now: NIODeadline
    ) -> (frame: RTPFrame, burst: RTPBurst)? {
        guard !self.retransmissions.isEmpty else { return nil }
        self.repeatBudget.fill(
            bitsPerSecond: self.repeatRate, maximum: max(self.repeatRate / 16, Self.minimumRepeatBytes), now: now)
        guard self.repeatBudget.bytes > 0 else { return nil }
        let sendTime = RTPAbsoluteSendTime(nanoseconds: now.uptimeNanoseconds).value
        while let (sequence, kind) = self.retransmissions.first {
            let first = self.transportSequence
            let found =
                kind == .video
                ? self.video?.repeated(
                    sequence, ring: ring, sendTime: sendTime, transportSequence: &self.transportSequence)
                : self.audio?.repeated(
                    sequence, ring: ring, sendTime: sendTime, transportSequence: &self.transportSequence)
            self.retransmissions.removeFirst(wasSent: found != nil, now: now)
            guard let found else {
                self.statistics.unansweredPackets += 1
                continue
            }
            self.statistics.repeatedPackets += 1
            self.repeatBudget.spend(
                self.count(found.burst, of: found.frame, firstTransportSequence: first, now: now))
            return found
        }
        return nil
    }
}
