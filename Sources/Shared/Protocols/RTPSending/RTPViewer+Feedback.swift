import Media
package import NIOCore
import RTP

extension RTPViewer {
    /// What a viewer's transport may report of one packet at once is taken; a flood of NACKs beyond this is not.
    private static let maximumNACKs = 512

    /// Takes a decrypted RTCP datagram. `next` and `nextEvent` follow.
    package mutating func receive(rtcp datagram: ByteBuffer, ring: RTPFrameRing, now: NIODeadline) {
        let packets: [RTCPPacket]
        do throws(RTPError) {
            packets = try RTCPPacket.parseCompound(datagram)
        } catch {
            self.statistics.malformedReports += 1
            return
        }
        var feedbacks = 0
        for packet in packets {
            if case .transportFeedback = packet {
                // A few bytes tell of thousands of packets: what no player sends must not keep the loop busy.
                feedbacks += 1
                guard feedbacks <= Self.maximumFeedbacks else { continue }
            }
            self.receive(packet, ring: ring, now: now)
        }
    }

    /// Transport-wide feedback packets that count of one datagram.
    private static let maximumFeedbacks = 2

    private mutating func receive(_ packet: RTCPPacket, ring: RTPFrameRing, now: NIODeadline) {
        switch packet {
        case .nack(let nack): self.receive(nack, ring: ring, now: now)
        case .pictureLossIndication(_, let media):
            if media == self.video?.ssrc { self.keyframeRequested(ring: ring, now: now) }
        case .fullIntraRequest(let request):
            if request.entries.contains(where: { $0.ssrc == self.video?.ssrc }) {
                self.keyframeRequested(ring: ring, now: now)
            }
        case .transportFeedback(let feedback):
            self.estimator.receive(feedback, roundTrip: self.roundTrip, now: now)
            self.judgePath(now: now)
        case .receiverEstimatedMaximumBitrate(let estimate):
            self.estimator.receiveEstimate(bitsPerSecond: estimate.bitsPerSecond, now: now)
            self.judgePath(now: now)
        case .receiverReport(let report): self.receive(report.reports, now: now)
        case .senderReport(let report): self.receive(report.reports, now: now)
        case .goodbye(let goodbye):
            if !goodbye.ssrcs.isEmpty, !self.events.contains(.goodbye) { self.note(.goodbye) }
        case .malformed: self.statistics.malformedReports += 1
        case .sourceDescription, .application, .other: break
        }
    }

    // MARK: NACK

    private mutating func receive(_ nack: RTCPNack, ring: RTPFrameRing, now: NIODeadline) {
        let kind: MediaKind
        if let video = self.video, nack.mediaSSRC == video.ssrc, video.answersNACK {
            kind = .video
        } else if let audio = self.audio, nack.mediaSSRC == audio.ssrc, audio.answersNACK {
            kind = .audio
        } else {
            return
        }
        // A repetition needs a round trip to be seen; what is asked for sooner crossed it on the way.
        let patience = min(max(self.roundTrip, .milliseconds(10)), .milliseconds(200))
        for sequence in nack.sequenceNumbers.prefix(Self.maximumNACKs) {
            self.statistics.nackedPackets += 1
            let isKept = (kind == .video ? self.video?.has(sequence, in: ring) : self.audio?.has(sequence, in: ring))
            if kind == .video, self.video?.isOfReplay(sequence) == true,
                isKept != true
                    || self.retransmissions.isExhausted(
                        sequence, kind, maximumRepeats: self.configuration.maximumRepeats)
            {
                self.hasUnmendedLoss = true
            }
            guard isKept == true else {
                self.statistics.unansweredPackets += 1
                continue
            }
            _ = self.retransmissions.request(
                sequence, kind, maximumRepeats: self.configuration.maximumRepeats, patience: patience, now: now)
        }
    }

    // MARK: PLI and FIR

    /// How often a viewer that keeps asking is sent again what it has had already.
    private static let idleRepeatInterval = TimeAmount.seconds(10)

    /// The viewer's decoder cannot go on. The answer is the keyframe that the ring has, with what follows.
    private mutating func keyframeRequested(ring: RTPFrameRing, now: NIODeadline) {
        self.statistics.keyframeRequests += 1
        guard let phase = self.video?.phase, phase != .idle else { return }
        // A path that does not take the stream, or not its last seconds, has no room for them again.
        guard phase != .waiting || self.lastSkip == .lag, self.isReplayOfUse(ring, now: now) else {
            return self.needKeyframe(now: now)
        }
        if let last = self.keyframeAnsweredAt {
            // Who keeps asking is answered more and more rarely, until it is quiet for a while.
            if now - last > self.keyframePatience * 4 { self.keyframePatience = self.configuration.keyframeInterval }
            guard now - last >= max(self.keyframePatience, self.roundTrip) else { return }
            self.keyframePatience = min(self.keyframePatience * 2, self.configuration.keyframeInterval * 8)
        }
        guard self.replay(from: ring, now: now) else { return self.needKeyframe(now: now) }
        self.keyframeAnsweredAt = now
        self.statistics.replays += 1
    }

    /// Whether a replay would tell the viewer more than the last one did.
    ///
    /// While nothing new comes, players ask because they see nothing new. What they had would only be shown again, so they
    /// get it once in a while, for the case that it never came through; at once if they tell that it did not.
    private func isReplayOfUse(_ ring: RTPFrameRing, now: NIODeadline) -> Bool {
        guard let edge = self.replayEdge, let last = ring.last(.video), last.number <= edge else { return true }
        guard !self.hasUnmendedLoss, let answered = self.keyframeAnsweredAt else { return true }
        return now - answered >= Self.idleRepeatInterval
    }

    // MARK: Reports

    private mutating func receive(_ blocks: [RTCPReportBlock], now: NIODeadline) {
        for block in blocks {
            guard let kind = self.kind(of: block.ssrc) else { continue }
            let loss = Double(block.fractionLost) / 256
            let rate = kind == .video ? 90_000 : RTPClock.rate(of: self.audio?.codec ?? .opus)
            let jitter = Double(block.jitter) * 1_000 / Double(rate)
            if kind == .video {
                if loss > 0, self.video?.answersNACK == false { self.hasUnmendedLoss = true }
                self.statistics.videoLoss = loss
                self.statistics.videoJitterMillis = jitter
            } else {
                self.statistics.audioLoss = loss
                self.statistics.audioJitterMillis = jitter
            }
            self.clock.lost(block.cumulativeLost, kind: kind)
            if let micros = block.roundTripMicros(now: self.clock.ntp(at: now)), micros < 10_000_000 {
                self.roundTrip = .microseconds(micros)
                self.statistics.roundTripMillis = Double(micros) / 1_000
            }
            // The track that carries most of the stream tells of the path.
            if kind == .video || self.video == nil {
                let rate = self.clock.sentRate(bytes: self.statistics.bytes, now: now)
                self.estimator.receiveReport(lost: loss, sentRate: rate, now: now)
                self.judgePath(now: now)
            }
        }
        self.statistics.lostPackets = self.clock.lostPackets
    }

    private func kind(of ssrc: UInt32) -> MediaKind? {
        if ssrc == self.video?.ssrc { return .video }
        return ssrc == self.audio?.ssrc ? .audio : nil
    }

    // MARK: The path

    /// Notices that the stream does not fit through the path, and that it does again.
    private mutating func judgePath(now: NIODeadline) {
        guard self.estimator.isInformed, self.streamBitrate > 0, self.video != nil else { return }
        self.estimator.expire(now: now)
        let needed = self.streamBitrate + self.streamBitrate / 16
        let estimate = self.estimator.bitsPerSecond
        if self.congestion.isOn {
            guard now >= self.congestion.until, estimate >= needed else { return }
            self.congestion.isOn = false
            self.replayStart = now
            self.congestion.shortSince = nil
            self.note(.recovered)
            return
        }
        guard estimate * 10 < needed * 9 else {
            self.congestion.shortSince = nil
            // A path that was wide enough for a minute is trusted like a new one.
            if now - self.congestion.until > .seconds(60) { self.congestion.hold = .seconds(5) }
            return
        }
        guard let since = self.congestion.shortSince else {
            self.congestion.shortSince = now
            return
        }
        guard now - since >= .seconds(1) else { return }
        self.congestion.isOn = true
        self.congestion.until = now + self.congestion.hold
        // Each relapse lets the next attempt wait longer.
        self.congestion.hold = min(self.congestion.hold * 2, .seconds(60))
        self.burstBudget = ByteBudget(bytes: 0, now: now)
        self.note(.congested(estimate: estimate, needed: needed))
    }
}
