import Glibc
import Media
import NIOCore
import RTP
import RTPSending
import SecureRTP
import StreamHub

/// What a player is sent: its place in the stream, from when its transport is ready.
///
/// States: *waiting* for the transport, *joining* its loop's group, *playing*, *stopped*.
// Safety: touched on the loop of the session's worker only; the stream's home loop passes the reference on.
final class PlayerMedia: SessionMedia, @unchecked Sendable {
    private let audience: RTPStreamAudience
    /// What a TCP connection may hold back before a replay waits for it, in bytes.
    private let tcpLimit: Int
    private var viewer: RTPViewer
    private let codecs: [String]
    private let notes: [String]
    /// What the client asked for and the stream did not have then.
    private let missing: [MediaKind]
    private var group: RTPFanOutGroup?
    private weak var session: WebRTCSession?
    private let account: SessionAccount
    private var sender: SRTPSender?
    private var target: BurstWriter.Target?
    private var link: StreamLink?
    private var isStopped = false
    private var hasJoined = false
    private var droppedPackets = 0
    /// Its place in the group; -1 outside.
    var index = -1

    /// `audience` has a seat for the player, which `stop` gives back. `missing`: what the client asked for and the stream
    /// does not have so far; the session ends when it comes, for the answer cannot be changed any more.
    init(
        audience: RTPStreamAudience, configuration: RTPViewerConfiguration, account: SessionAccount, notes: [String],
        missing: [MediaKind] = [], now: NIODeadline
    ) {
        self.audience = audience
        self.tcpLimit = configuration.maximumQueuedBytes
        self.account = account
        self.notes = notes
        self.missing = missing
        self.codecs = [configuration.video?.codec, configuration.audio?.codec].compactMap { $0?.rawValue }
        var generator = SystemRandomNumberGenerator()
        self.viewer = RTPViewer(
            configuration: configuration, seeds: RTPViewerSeeds(using: &generator), ntp: WallClock.ntp, now: now)
    }

    // MARK: Joining

    /// Who has no way to its client can do nothing at a deadline.
    var nextDeadline: NIODeadline? {
        guard self.group != nil, self.target != nil else { return nil }
        let deadline = self.viewer.nextDeadline
        guard let link = self.link, link.pendingBytes > self.tcpLimit else { return deadline }
        // The connection is full: it takes a while to empty itself.
        return max(deadline, .now() + .milliseconds(20))
    }

    func established(_ session: WebRTCSession, now: NIODeadline) {
        guard !self.isStopped, let worker = session.worker else { return }
        self.session = session
        self.sender = session.sender
        self.targetChanged(session)
        let audience = self.audience
        self.hasJoined = true
        audience.stream.home.execute { audience.add(self, on: worker) }
    }

    /// Takes part from now on. Returns false if it is too late.
    func join(_ group: RTPFanOutGroup) -> Bool {
        guard !self.isStopped else { return false }
        self.group = group
        return true
    }

    func start(from ring: RTPFrameRing, status: RTPStreamStatus, writer: BurstWriter, now: NIODeadline) {
        self.viewer.statusChanged(status)
        self.viewer.start(from: ring, now: now)
        self.drain(ring: ring, writer: writer, now: now)
        self.endIfComplete(status)
        self.finishTurn()
    }

    func targetChanged(_ session: WebRTCSession) {
        let hadTarget = self.target != nil
        self.target = session.target
        if case .stream(let link)? = self.target { self.link = link } else { self.link = nil }
        if self.link == nil { self.viewer.queuedBytes = 0 }
        if !hadTarget, self.target != nil { self.group?.resume(self) }
    }

    /// It can be sent to again, and may have missed something.
    func resume(from ring: RTPFrameRing, writer: BurstWriter, now: NIODeadline) {
        self.viewer.resume(from: ring, now: now)
        self.drain(ring: ring, writer: writer, now: now)
        self.finishTurn()
    }

    func setReading(_ isReading: Bool) {}

    func requestKeyframe(now: NIODeadline) {}

    // MARK: Frames

    /// Frames of the stream, which the ring has. `late`: those in front of them that came too late.
    func send(
        _ frames: ArraySlice<RTPFrame>, after late: RTPLagPolicy.Verdict, ring: RTPFrameRing, writer: BurstWriter,
        now: NIODeadline
    ) {
        guard let sender = self.sender, let target = self.target else { return }
        if let link = self.link { self.viewer.queuedBytes = link.pendingBytes }
        if late.lateCount > 0 { self.viewer.leaveOut(late, ring: ring, now: now) }
        for frame in frames {
            guard let burst = self.viewer.send(frame, now: now) else { continue }
            self.count(writer.write(burst, of: frame, with: sender, to: target))
        }
        defer { if self.viewer.hasEvents { self.handleEvents() } }
        guard self.viewer.hasBacklog else { return }
        self.drain(ring: ring, writer: writer, now: now)
        if let session = self.session { session.worker?.rearm(session) }
    }

    private func count(_ outcome: BurstWriter.Outcome) {
        self.account.sent(outcome.bytes)
        self.droppedPackets += outcome.dropped
    }

    /// Sends what is behind the live edge, as far as it may leave now.
    private func drain(ring: RTPFrameRing, writer: BurstWriter, now: NIODeadline) {
        guard let sender = self.sender, let target = self.target else { return }
        if let link = self.link { self.viewer.queuedBytes = link.pendingBytes }
        while let (frame, burst) = self.viewer.next(from: ring, now: now) {
            self.count(writer.write(burst, of: frame, with: sender, to: target))
            if let link = self.link { self.viewer.queuedBytes = link.pendingBytes }
        }
    }

    // MARK: The peer

    func receiveRTP(_ packet: ByteBuffer, now: NIODeadline) {}

    func receiveRTCP(_ packet: ByteBuffer, now: NIODeadline) {
        self.group?.receive(rtcp: packet, from: self, now: now)
    }

    func take(rtcp packet: ByteBuffer, ring: RTPFrameRing, now: NIODeadline) {
        self.viewer.receive(rtcp: packet, ring: ring, now: now)
    }

    func act(_ session: WebRTCSession, now: NIODeadline) { self.group?.serve(self, now: now) }

    func serve(ring: RTPFrameRing, writer: BurstWriter, now: NIODeadline) {
        var report = ByteBuffer()
        if self.viewer.report(into: &report, now: now) { self.session?.send(rtcp: report) }
        self.drain(ring: ring, writer: writer, now: now)
        self.handleEvents()
    }

    func statusChanged(_ status: RTPStreamStatus) {
        self.viewer.statusChanged(status)
        self.handleEvents()
        self.endIfComplete(status)
    }

    /// Ends the session when the stream has what it lacked, so that the client asks anew and gets it.
    private func endIfComplete(_ status: RTPStreamStatus) {
        for kind in self.missing {
            guard case .flowing = kind == .video ? status.video : status.audio else { continue }
            return self.end(.streamEnded, "the stream has \(kind.rawValue) now, and had none when the session began")
        }
    }

    private func handleEvents() {
        while let event = self.viewer.nextEvent() {
            switch event {
            case .incompatible(let reason): self.handle(reason)
            case .needsKeyframe: self.group?.needsKeyframe()
            case .skipped, .congested, .recovered, .goodbye: break
            }
        }
    }

    /// What was agreed on no longer holds: the client has to ask anew.
    private func handle(_ reason: RTPIncompatibility) {
        switch reason {
        case .codecChanged(let kind, let old, let new):
            self.end(.streamEnded, "the stream's \(kind.rawValue) changed from \(old.rawValue) to \(new.rawValue)")
        case .refused(.video, let refusal): self.end(.failed, refusal.text)
        case .refused(.audio, _), .trackLost: break
        }
    }

    private func finishTurn() {
        self.handleEvents()
        guard let session = self.session else { return }
        session.worker?.finishTurn(of: session)
    }

    // MARK: Ending

    func end(_ reason: SessionEnd, _ text: String) { self.session?.end(reason, text) }

    func stop(_ session: WebRTCSession) {
        guard !self.isStopped else { return }
        self.isStopped = true
        if self.group != nil {
            var goodbye = ByteBuffer()
            self.viewer.goodbye(into: &goodbye, now: .now())
            if goodbye.readableBytes > 0 { session.send(rtcp: goodbye) }
        }
        self.group?.remove(self)
        self.group = nil
        self.sender = nil
        self.target = nil
        self.link = nil
        let audience = self.audience
        audience.stream.home.execute { audience.leaveSeat() }
    }

    // MARK: Diagnosis

    func diagnosis(now: NIODeadline) -> WebRTCMediaDiagnosis {
        let statistics = self.viewer.statistics
        var diagnosis = WebRTCMediaDiagnosis()
        diagnosis.codecs = self.codecs
        diagnosis.notes = self.notes
        diagnosis.counters = [
            "packets": Int64(clamping: statistics.packets),
            "repeatedPackets": Int64(clamping: statistics.repeatedPackets),
            "nackedPackets": Int64(clamping: statistics.nackedPackets),
            "unansweredPackets": Int64(clamping: statistics.unansweredPackets),
            "keyframeRequests": Int64(clamping: statistics.keyframeRequests),
            "replays": Int64(clamping: statistics.replays),
            "droppedFrames": Int64(clamping: statistics.droppedFrames),
            "skipsForBandwidth": Int64(statistics.skips[.bandwidth]), "skipsForLag": Int64(statistics.skips[.lag]),
            "skipsForQueue": Int64(statistics.skips[.queue]), "lostPackets": statistics.lostPackets,
            "unsentPackets": Int64(self.droppedPackets), "estimatedBitrate": Int64(self.viewer.estimatedBitrate),
        ]
        if let millis = statistics.roundTripMillis { diagnosis.counters["roundTripMicros"] = Int64(millis * 1_000) }
        return diagnosis
    }
}

extension RTPRefusal {
    /// In words for the peer and the log.
    var text: String {
        switch self {
        case .unsupportedCodec(let codec): "WebRTC cannot carry \(codec.rawValue)"
        case .reorderedReferences:
            "the stream has B-frames that others refer to, which WebRTC players cannot show: publish without B-frames"
        case .malformed(let codec): "the stream's \(codec.rawValue) cannot be parsed"
        }
    }
}

/// The clock on the wall, which nothing below layer 4 reads.
package enum WallClock {
    private static var time: timespec {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        return time
    }

    /// Seconds since 1970 UTC.
    package static var seconds: Int64 { Int64(self.time.tv_sec) }

    static var ntp: NTPTime {
        let time = self.time
        return NTPTime(unixNanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
