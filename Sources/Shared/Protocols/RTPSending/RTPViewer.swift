import Media
package import NIOCore
package import RTP

/// Sends a stream to one viewer: which frame is next, with what numbers and times, and what the viewer says of it.
///
/// Confined to the viewer's event loop. It holds no media: frames are in the loop's `RTPFrameRing`, and what leaves is
/// told as `RTPBurst`s. Video is in one of these states:
///
/// - *waiting* for a frame that decoding can start with;
/// - *live*: each frame leaves as it comes (`send`), whole, without pacing;
/// - *behind*, after a start or a request for a keyframe: from the last keyframe in the ring on, paced, with times
/// squeezed
///   in front of the live edge, so that the picture is there at once and never late afterwards (`next`).
///
/// Audio is live from its first frame on, and is never held back for video.
///
/// For each batch of frames, the owner appends them to the ring and then, for each viewer: `send` for each frame, and
/// `next` until `nil` if `hasBacklog`. On RTCP: `receive`, then `next`. At `nextDeadline`: `report`, then `next`. After
/// either: `nextEvent` until `nil`.
///
/// Cost: an ordinary frame allocates nothing and touches some hundred bytes. About 3 KB a viewer.
package struct RTPViewer: ~Copyable {
    let configuration: RTPViewerConfiguration
    var video: RTPTrackSender?
    var audio: RTPTrackSender?
    var transportSequence: UInt16 = 0
    var estimator: BandwidthEstimator
    var retransmissions = RetransmissionQueue()
    /// What paced video may send now.
    var burstBudget: ByteBudget
    /// What may be sent again now.
    var repeatBudget: ByteBudget
    var congestion = Congestion()
    /// When the replay began that is under way.
    var replayStart = NIODeadline.uptimeNanoseconds(0)
    /// When the last request for a keyframe was answered, and how long until the next may be.
    var keyframeAnsweredAt: NIODeadline?
    var keyframePatience: TimeAmount
    /// The newest video frame when the last replay began, and whether the viewer told of packets that it lost since and
    /// that it will not get.
    var replayEdge: UInt64?
    var hasUnmendedLoss = false
    /// Why the viewer last left out video.
    var lastSkip: RTPSkipReason?
    /// When the owner was last told that a keyframe is needed.
    var keyframeNeededAt: NIODeadline?
    var streamBitrate = 0
    var roundTrip = TimeAmount.milliseconds(100)
    var events: [RTPViewerEvent] = []
    var status = RTPStreamStatus()
    var clock: ReportClock
    var nextReport: NIODeadline
    /// Bytes that the viewer's transport holds back. The owner of a TCP connection keeps it up to date.
    package var queuedBytes = 0
    /// What was sent and heard.
    package internal(set) var statistics = RTPViewerStatistics()

    /// Whether the path is wide enough for the stream.
    struct Congestion {
        var isOn = false
        /// Since when the estimate is short of the stream.
        var shortSince: NIODeadline?
        var until = NIODeadline.uptimeNanoseconds(0)
        var hold = TimeAmount.seconds(5)
    }

    /// A viewer of whom nothing was sent yet.
    ///
    /// `ntp` is the wall time of `now`; sender reports go by it from then on, whatever happens to the wall clock.
    package init(
        configuration: RTPViewerConfiguration, seeds: RTPViewerSeeds, ntp: NTPTime, now: NIODeadline
    ) {
        self.configuration = configuration
        let delay = configuration.playoutDelayMillis.map {
            RTPPlayoutDelay(minimumMillis: $0.lowerBound, maximumMillis: $0.upperBound)
        }
        self.video = configuration.video.map {
            RTPTrackSender(
                $0, sequence: seeds.videoSequence, timestamp: seeds.videoTimestamp,
                rtxSequence: seeds.videoRTXSequence, maximumRuns: 12, playoutDelay: delay)
        }
        self.audio = configuration.audio.map {
            RTPTrackSender(
                $0, sequence: seeds.audioSequence, timestamp: seeds.audioTimestamp,
                rtxSequence: seeds.audioRTXSequence, maximumRuns: 2, playoutDelay: nil)
        }
        self.estimator = BandwidthEstimator(startBitrate: configuration.startBitrate)
        self.burstBudget = ByteBudget(bytes: 0, now: now)
        self.repeatBudget = ByteBudget(bytes: Self.minimumRepeatBytes, now: now)
        self.keyframePatience = configuration.keyframeInterval
        self.clock = ReportClock(ntp: ntp, at: now)
        self.nextReport = now + configuration.reportInterval
    }

    private static let maximumEvents = 32

    // MARK: Start

    /// The viewer's transport is ready: sends from now on. Video begins at the last keyframe of the ring, audio with
    /// the next frame. `next` follows.
    package mutating func start(from ring: RTPFrameRing, now: NIODeadline) {
        if self.audio != nil { self.audio?.phase = .waiting }
        guard self.video != nil else { return }
        self.video?.phase = .waiting
        if !self.replay(from: ring, now: now) { self.needKeyframe(now: now) }
    }

    /// The viewer has a transport again, after a time without one. What it missed of the video begins with the last keyframe
    /// of the ring. `next` follows.
    package mutating func resume(from ring: RTPFrameRing, now: NIODeadline) {
        guard let video = self.video, video.phase == .live || video.phase == .waiting,
            let last = ring.last(.video), video.phase == .waiting || video.position <= last.number
        else { return }
        if video.phase == .live { self.skip(.lag) }
        if !self.replay(from: ring, now: now) { self.needKeyframe(now: now) }
    }

    /// What the stream has changed. Call it once before `start` as well.
    package mutating func statusChanged(_ status: RTPStreamStatus) {
        let old = self.status
        self.status = status
        for kind in [MediaKind.video, .audio] where old[kind] != status[kind] {
            guard let codec = (kind == .video ? self.video : self.audio)?.codec else { continue }
            switch status[kind] {
            case .unknown: break
            case .absent: self.note(.incompatible(.trackLost(kind)))
            case .refused(let refusal): self.note(.incompatible(.refused(kind, refusal)))
            case .flowing(let now):
                guard now != codec else { continue }
                self.note(.incompatible(.codecChanged(kind, from: codec, to: now)))
            }
        }
    }

    // MARK: Live

    /// The packets of a frame that just came, if the viewer is at the live edge; `nil` if it is not to have the frame,
    /// or not now.
    ///
    /// Hot: called for each frame and viewer.
    package mutating func send(_ frame: RTPFrame, now: NIODeadline) -> RTPBurst? {
        frame.kind == .video ? self.sendVideo(frame, now: now) : self.sendAudio(frame, now: now)
    }

    private mutating func sendAudio(_ frame: RTPFrame, now: NIODeadline) -> RTPBurst? {
        guard let phase = self.audio?.phase, phase != .idle, self.audio?.codec == frame.codec else { return nil }
        if phase == .live, let position = self.audio?.position, frame.number < position { return nil }
        // What a transport does not take at all is worth nothing when it is taken later.
        guard self.queuedBytes <= 2 * self.configuration.maximumQueuedBytes else {
            self.statistics.droppedFrames += 1
            return nil
        }
        self.audio?.follow(from: frame.number)
        self.streamBitrate = frame.streamBitrate
        return self.emit(frame, now: now)
    }

    private mutating func sendVideo(_ frame: RTPFrame, now: NIODeadline) -> RTPBurst? {
        guard let phase = self.video?.phase, self.video?.codec == frame.codec else { return nil }
        switch phase {
        case .idle, .behind: return nil
        case .waiting:
            guard frame.isKeyframe, self.queuedBytes <= self.configuration.maximumQueuedBytes / 2 else { return nil }
            self.video?.follow(from: frame.number)
        case .live:
            guard let position = self.video?.position, frame.number >= position else { return nil }
            if frame.number > position {
                // Frames are missing between, which the loop had no room for: the picture would break.
                self.skip(.lag)
                if !frame.isKeyframe { self.needKeyframe(now: now) }
                return self.sendVideo(frame, now: now)
            }
            if self.queuedBytes > self.configuration.maximumQueuedBytes {
                self.skip(.queue)
                return nil
            }
        }
        if self.congestion.isOn {
            self.video?.phase = .behind
            self.replayStart = now
            return nil
        }
        self.streamBitrate = frame.streamBitrate
        return self.emit(frame, now: now)
    }

    /// Leaves out video up to the next keyframe.
    mutating func skip(_ reason: RTPSkipReason) {
        self.video?.phase = .waiting
        self.lastSkip = reason
        self.statistics.skips[reason] += 1
        self.note(.skipped(reason))
    }

    /// Numbers packets of a frame and counts them.
    mutating func emit(_ frame: RTPFrame, limit: Int = .max, now: NIODeadline) -> RTPBurst? {
        let sendTime = RTPAbsoluteSendTime(nanoseconds: now.uptimeNanoseconds).value
        let first = self.transportSequence
        let burst: RTPBurst?
        if frame.kind == .video {
            burst = self.video?.take(
                frame, limit: limit, sendTime: sendTime, transportSequence: &self.transportSequence)
        } else {
            burst = self.audio?.take(
                frame, limit: limit, sendTime: sendTime, transportSequence: &self.transportSequence)
        }
        guard let burst else { return nil }
        self.count(burst, of: frame, firstTransportSequence: first, now: now)
        return burst
    }

    /// Counts what leaves. Returns its bytes on the wire.
    @discardableResult
    mutating func count(
        _ burst: RTPBurst, of frame: RTPFrame, firstTransportSequence: UInt16, now: NIODeadline
    ) -> Int {
        let count = burst.count
        let payload =
            frame.packets[burst.packets.upperBound - 1].upperBound - frame.packets[burst.packets.lowerBound].lowerBound
        let bytes = payload + count * (burst.headerLength + self.configuration.packetOverhead)
        self.statistics.packets += UInt64(truncatingIfNeeded: count)
        self.statistics.bytes += UInt64(truncatingIfNeeded: bytes)
        if burst.transportSequenceOffset > 0 {
            self.estimator.sent(first: firstTransportSequence, count: count, bytes: bytes, now: now)
        }
        // While the path is too narrow, video gets what the rest leaves.
        if self.congestion.isOn { self.burstBudget.spend(bytes) }
        return bytes
    }

    // MARK: Owner's side

    /// Something waits that `next` may give: a replay, or packets to be sent again.
    package var hasBacklog: Bool {
        self.video?.phase == .behind || !self.retransmissions.isEmpty
    }

    /// When to call `report` and `next` again, if nothing happens before.
    package var nextDeadline: NIODeadline {
        guard self.hasBacklog else { return self.nextReport }
        var due = NIODeadline.distantFuture
        if self.video?.phase == .behind {
            due = self.burstBudget.readyAt(Self.minimumBurstBytes, bitsPerSecond: self.burstRate)
        }
        if !self.retransmissions.isEmpty {
            due = min(due, self.repeatBudget.readyAt(1, bitsPerSecond: self.repeatRate))
        }
        return min(due, self.nextReport)
    }

    /// Queues an event. An owner that never looks loses the newest.
    mutating func note(_ event: RTPViewerEvent) {
        if self.events.count < Self.maximumEvents { self.events.append(event) }
    }

    /// The viewer would be helped by a keyframe. Told once in a while, however often it happens.
    mutating func needKeyframe(now: NIODeadline) {
        if let last = self.keyframeNeededAt, now - last < self.configuration.keyframeInterval { return }
        self.keyframeNeededAt = now
        self.note(.needsKeyframe)
    }

    /// Whether `nextEvent` has something to tell.
    package var hasEvents: Bool { !self.events.isEmpty }

    /// What the owner should know, in order.
    package mutating func nextEvent() -> RTPViewerEvent? { self.events.isEmpty ? nil : self.events.removeFirst() }

    /// Estimated bandwidth of the path to the viewer, in bits per second.
    package var estimatedBitrate: Int { self.estimator.bitsPerSecond }

    /// Bytes of the arrays that belong to this viewer, besides its own size.
    package var heapByteCount: Int {
        self.estimator.heapByteCount + self.retransmissions.heapByteCount + (self.video?.heapByteCount ?? 0)
            + (self.audio?.heapByteCount ?? 0) + self.events.capacity * MemoryLayout<RTPViewerEvent>.stride
    }
}

/// What was sent to a viewer, and what it said.
package struct RTPViewerStatistics: Sendable, Hashable {
    /// All packets, repeated ones included.
    package internal(set) var packets: UInt64 = 0
    /// Bytes on the wire, with the configured overhead.
    package internal(set) var bytes: UInt64 = 0
    package internal(set) var repeatedPackets: UInt64 = 0
    /// Packets that were asked for again.
    package internal(set) var nackedPackets: UInt64 = 0
    /// Of these, packets that were not kept any more.
    package internal(set) var unansweredPackets: UInt64 = 0
    /// Requests for keyframes, and those that were answered by a replay.
    package internal(set) var keyframeRequests: UInt64 = 0
    package internal(set) var replays: UInt64 = 0
    /// Frames that were left out one by one.
    package internal(set) var droppedFrames: UInt64 = 0
    package internal(set) var skips = RTPSkipCounts()
    /// RTCP datagrams or packets that could not be parsed.
    package internal(set) var malformedReports: UInt64 = 0
    /// The last share of lost packets that the viewer reported, 0 to 1.
    package internal(set) var videoLoss = 0.0
    package internal(set) var audioLoss = 0.0
    /// Packets lost since the start, by the viewer's count.
    package internal(set) var lostPackets: Int64 = 0
    /// The last interarrival jitter that the viewer reported.
    package internal(set) var videoJitterMillis = 0.0
    package internal(set) var audioJitterMillis = 0.0
    /// `nil` until the viewer answered a sender report.
    package internal(set) var roundTripMillis: Double?

    package init() {}
}

/// Skips by their reason.
package struct RTPSkipCounts: Sendable, Hashable {
    private var bandwidth = 0
    private var lag = 0
    private var queue = 0

    package init() {}

    package internal(set) subscript(reason: RTPSkipReason) -> Int {
        get {
            switch reason {
            case .bandwidth: self.bandwidth
            case .lag: self.lag
            case .queue: self.queue
            }
        }
        set {
            switch reason {
            case .bandwidth: self.bandwidth = newValue
            case .lag: self.lag = newValue
            case .queue: self.queue = newValue
            }
        }
    }
}
