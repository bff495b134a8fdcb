import Media
import NIOCore
import RTP

/// One track of one viewer: where the viewer is in the stream, and how frames become sequence numbers and timestamps.
///
/// Packets are numbered as they leave. A *run* is a stretch of the stream that left without a gap and by one rule of
/// time; within it, a sequence number tells which packet of the stream it was, so nothing is kept per packet.
struct RTPTrackSender {
    enum Phase: UInt8 {
        /// Not started.
        case idle
        /// Until a frame that decoding can start with.
        case waiting
        /// Every frame leaves as it comes.
        case live
        /// In the ring, on the way to the live edge.
        case behind
    }

    /// A stretch of packets whose numbers, and of frames whose times, follow from the first.
    struct Run {
        /// Widened sequence number of the first packet.
        var firstSequence: UInt64
        /// The same packet in the stream's count.
        var firstPacket: UInt64
        var firstFrame: UInt64
        /// Time of the first frame if `spacing` is not 0.
        var ticks: Int64
        /// Ticks between frames; 0: frames have their own times.
        var spacing: Int32

        func ticks(of frame: RTPFrame) -> Int64 {
            guard self.spacing != 0 else { return frame.ticks }
            return self.ticks + Int64(bitPattern: frame.number &- self.firstFrame) * Int64(self.spacing)
        }
    }

    /// Frames before `end` get times of their own, so that they all fit before the live edge.
    private struct Squeeze {
        var first: UInt64 = 0
        var end: UInt64 = 0
        var ticks: Int64 = 0
        var spacing: Int32 = 0
    }

    let codec: Codec
    let ssrc: UInt32
    let answersNACK: Bool
    let rtx: RTPTrackConfiguration.RTX?
    private let clockRate: Int32
    private let timestampOffset: UInt32
    private let maximumRuns: Int
    private let template: RTPHeaderTemplate

    var phase = Phase.idle
    /// The number of the next frame to send, and how many of its packets were sent.
    private(set) var position: UInt64 = 0
    private(set) var packetsSent = 0
    /// The frame of which some packets were sent: it is finished even if the ring forgets it.
    private(set) var begun: RTPFrame?
    /// The next widened sequence numbers: SRTP's packet indices.
    private(set) var nextSequence: UInt64
    private var nextRTXSequence: UInt64
    private var runs: [Run] = []
    private var squeeze = Squeeze()
    /// The widened sequence number that the last replay began with.
    private var replaySequence: UInt64 = 0
    /// The greatest time that was sent, before the offset.
    private(set) var lastTicks: Int64?

    /// Counts for sender reports; they wrap. Spec: RFC 3550 §6.4.1.
    private(set) var packetCount: UInt32 = 0
    private(set) var octetCount: UInt32 = 0
    /// A point of the track on both clocks: the last frame's.
    private var pointTicks: Int64 = 0
    private(set) var pointTime = MediaTime.zero
    private(set) var pointArrival = NIODeadline.uptimeNanoseconds(0)

    init(
        _ configuration: RTPTrackConfiguration, sequence: UInt16, timestamp: UInt32, rtxSequence: UInt16,
        maximumRuns: Int, playoutDelay: RTPPlayoutDelay?
    ) {
        self.codec = configuration.codec
        self.ssrc = configuration.ssrc
        self.answersNACK = configuration.answersNACK
        self.rtx = configuration.rtx
        self.clockRate = Int32(configuration.clockRate)
        self.timestampOffset = timestamp
        self.nextSequence = UInt64(sequence)
        self.nextRTXSequence = UInt64(rtxSequence)
        self.maximumRuns = maximumRuns
        // A packet that is sent again under its own index must not differ by a bit: GCM falls if one nonce covers two
        // headers (RFC 7714 §8.1).
        self.template = RTPHeaderTemplate(
            ssrc: configuration.ssrc, payloadType: configuration.payloadType, track: configuration,
            hasVariableExtensions: !configuration.answersNACK || configuration.rtx != nil,
            playoutDelay: playoutDelay)
    }

    var hasTransportSequence: Bool { self.template.transportSequenceOffset > 0 }
    /// Bytes of the array of runs.
    var heapByteCount: Int { self.runs.capacity * MemoryLayout<Run>.stride }

    // MARK: Position

    /// Goes on at a frame that leaves whole when it comes.
    mutating func follow(from number: UInt64) {
        self.phase = .live
        self.position = number
        self.packetsSent = 0
        self.begun = nil
    }

    /// Leaves out a frame.
    mutating func pass(_ frame: RTPFrame) {
        self.position = frame.number + 1
        self.packetsSent = 0
    }

    /// Goes back to `first` in the ring. Frames up to `last`, the newest, get times that rise from above what was sent
    /// to the time of `last`, or as near to it as they can; so whatever comes next is later.
    mutating func replay(from first: RTPFrame, to last: RTPFrame) {
        let count = Int64(bitPattern: last.number &- first.number) + 1
        var spacing = min(90, max(1, (last.ticks - first.ticks) / count))
        var start = last.ticks - (count - 1) * spacing
        if let lastTicks = self.lastTicks, start <= lastTicks {
            // The times must fit before the next live frame, which comes a frame interval after the newest.
            let room = max(0, last.ticks - lastTicks) + Int64(self.clockRate) / 60
            spacing = min(spacing, max(1, room / (count + 1)))
            start = lastTicks + 1
        }
        self.squeeze = Squeeze(
            first: first.number, end: last.number + 1, ticks: start, spacing: Int32(truncatingIfNeeded: spacing))
        self.replaySequence = self.nextSequence
        self.position = first.number
        self.packetsSent = 0
        self.begun = nil
        self.phase = .behind
    }

    /// Whether a sequence number that was sent is of the last replay, or of what followed it.
    func isOfReplay(_ sequence: UInt16) -> Bool {
        let wide = RTPSequence.unwrap(sequence, near: Int64(bitPattern: self.nextSequence))
        return wide >= Int64(bitPattern: self.replaySequence) && wide < Int64(bitPattern: self.nextSequence)
    }

    /// Whether a frame is one of those that a replay brings, rather than a live one.
    func isReplayed(_ frame: RTPFrame) -> Bool { frame.number < self.squeeze.end }

    // MARK: Packets

    /// Numbers the next packets of a frame, at most `limit`, and moves on.
    mutating func take(
        _ frame: RTPFrame, limit: Int = .max, sendTime: UInt32, transportSequence: inout UInt16
    ) -> RTPBurst {
        if self.packetsSent == 0 { self.openRun(for: frame) }
        let first = self.packetsSent
        let end = limit < frame.packets.count - first ? first + limit : frame.packets.count
        // Safety of the index: `openRun` left at least one run.
        let ticks = self.runs[self.runs.count - 1].ticks(of: frame)
        let burst = self.burst(
            frame, packets: first..<end, firstIndex: self.nextSequence, ticks: ticks, sendTime: sendTime,
            transportSequence: &transportSequence)
        let count = end - first
        self.nextSequence += UInt64(truncatingIfNeeded: count)
        self.packetCount &+= UInt32(truncatingIfNeeded: count)
        self.octetCount &+= UInt32(
            truncatingIfNeeded: frame.packets[end - 1].upperBound - frame.packets[first].lowerBound)
        if end == frame.packets.count {
            self.position = frame.number + 1
            self.packetsSent = 0
            if first > 0 { self.begun = nil }
        } else {
            self.packetsSent = end
            self.begun = frame
        }
        self.lastTicks = max(self.lastTicks ?? ticks, ticks)
        self.pointTicks = frame.ticks
        self.pointTime = frame.time
        self.pointArrival = frame.arrival
        return burst
    }

    /// Begins a new run unless the frame continues the last one.
    private mutating func openRun(for frame: RTPFrame) {
        var wanted = Run(
            firstSequence: self.nextSequence, firstPacket: frame.firstPacket, firstFrame: frame.number, ticks: 0,
            spacing: 0)
        if frame.number < self.squeeze.end {
            wanted.spacing = self.squeeze.spacing
            wanted.ticks =
                self.squeeze.ticks
                + Int64(bitPattern: frame.number &- self.squeeze.first) * Int64(self.squeeze.spacing)
        } else if let lastTicks = self.lastTicks, frame.ticks <= lastTicks {
            wanted.spacing = 1
            wanted.ticks = lastTicks + 1
        }
        if let last = self.runs.last,
            last.firstPacket &+ (self.nextSequence &- last.firstSequence) == frame.firstPacket,
            (last.spacing == 0) == (wanted.spacing == 0),
            wanted.spacing == 0 || last.ticks(of: frame) == wanted.ticks && last.spacing == wanted.spacing
        {
            return
        }
        if self.runs.count >= self.maximumRuns { self.runs.removeFirst() }
        if self.runs.capacity < self.maximumRuns { self.runs.reserveCapacity(self.maximumRuns) }
        self.runs.append(wanted)
    }

    private func burst(
        _ frame: RTPFrame, packets: Range<Int>, firstIndex: UInt64, ticks: Int64, sendTime: UInt32,
        transportSequence: inout UInt16
    ) -> RTPBurst {
        let isVideo = frame.kind == .video
        let (header, length) = self.template.header(
            timestamp: UInt32(truncatingIfNeeded: ticks) &+ self.timestampOffset, sendTime: sendTime,
            isKeyframe: isVideo && frame.isKeyframe)
        let first = transportSequence
        if self.hasTransportSequence { transportSequence &+= UInt16(truncatingIfNeeded: packets.count) }
        return RTPBurst(
            packets: packets, ssrc: self.ssrc, headerLength: length, firstIndex: firstIndex & 0xFFFF_FFFF_FFFF,
            originalSequence: nil, markedPacket: isVideo ? frame.packets.count - 1 : -1, transportSequence: first,
            transportSequenceOffset: self.template.transportSequenceOffset, header: header)
    }

    /// A packet that was sent, by its sequence number, again; `nil` if it is not known or not kept any more.
    ///
    /// With RTX it goes out under a new number of its own; without, it is the same to the bit.
    mutating func repeated(
        _ sequence: UInt16, ring: RTPFrameRing, sendTime: UInt32, transportSequence: inout UInt16
    ) -> (frame: RTPFrame, burst: RTPBurst)? {
        guard let (frame, packet, index, ticks) = self.find(sequence, in: ring) else { return nil }
        var original = self.burst(
            frame, packets: packet..<packet + 1, firstIndex: index, ticks: ticks, sendTime: sendTime,
            transportSequence: &transportSequence)
        guard let rtx = self.rtx else { return (frame, original) }
        original.header.setSource(ssrc: rtx.ssrc, payloadType: rtx.payloadType)
        let burst = RTPBurst(
            packets: original.packets, ssrc: rtx.ssrc, headerLength: original.headerLength,
            firstIndex: self.nextRTXSequence & 0xFFFF_FFFF_FFFF, originalSequence: sequence,
            markedPacket: original.markedPacket, transportSequence: original.transportSequence,
            transportSequenceOffset: original.transportSequenceOffset, header: original.header)
        self.nextRTXSequence += 1
        return (frame, burst)
    }

    /// Whether a packet was sent and is kept.
    func has(_ sequence: UInt16, in ring: RTPFrameRing) -> Bool { self.find(sequence, in: ring) != nil }

    private func find(
        _ sequence: UInt16, in ring: RTPFrameRing
    ) -> (frame: RTPFrame, packet: Int, index: UInt64, ticks: Int64)? {
        let wide = RTPSequence.unwrap(sequence, near: Int64(bitPattern: self.nextSequence))
        guard wide >= 0, UInt64(wide) < self.nextSequence else { return nil }
        let index = UInt64(wide)
        guard let run = self.runs.last(where: { $0.firstSequence <= index }) else { return nil }
        let packet = run.firstPacket &+ (index &- run.firstSequence)
        guard let frame = ring.frame(self.codec.kind, containingPacket: packet) else { return nil }
        return (frame, Int(packet - frame.firstPacket), index, run.ticks(of: frame))
    }

    // MARK: Reports

    /// The RTP timestamp that belongs to a point of the stream's timeline.
    func timestamp(at time: MediaTime) -> UInt32 {
        let ticks = self.pointTicks + (time - self.pointTime).ticks * Int64(self.clockRate) / MediaTime.ticksPerSecond
        return UInt32(truncatingIfNeeded: ticks) &+ self.timestampOffset
    }
}
