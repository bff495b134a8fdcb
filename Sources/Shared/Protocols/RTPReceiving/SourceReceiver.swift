import Media
import NIOCore
import RTP

/// A whole frame of one source that a decoder can take, placed on the session's timeline.
struct SourceFrame {
    /// The SSRC that it came from.
    var ssrc: UInt32
    var codec: Codec
    var track: Track
    /// Presentation time in 90 kHz ticks of the session.
    var time: Int64
    var isKeyframe: Bool
    /// As far as the parameter sets tell; see `DecodeTimes`.
    var reorderDepth: Int
    var payload: ByteBuffer
}

/// One source: puts its packets into order, asks for missing ones, gives them up, and makes frames.
///
/// States of video: *waiting* for a keyframe (at the start, after a packet was given up, after a change of codec), in
/// which whole frames are dropped, and *flowing*. So no frame comes out that refers to one that did not.
///
/// Cost of a packet in order: no allocation but what the payload reader needs.
final class SourceReceiver {
    /// A packet after routing; an empty payload only takes up its number.
    struct Packet {
        var sequence: UInt16
        var payloadType: UInt8
        var marker: Bool
        var timestamp: UInt32
        var payload: ByteBuffer
        /// It came as a retransmission or inside of redundant coding, so it says nothing of the network.
        var isRepair = false
        /// It came on the source of retransmissions.
        var isRetransmission = false
    }

    /// Numbers this far ahead or behind are another run of numbers, if a second packet agrees (RFC 3550 §A.1).
    private static let maximumDropout: Int64 = 3_000
    private static let maximumMisorder: Int64 = 500
    /// So many packets behind the turn, one after another, are another run as well.
    private static let staleBeforeRestart = 100
    /// Two packets agree on a new run when they are this close.
    private static let maximumJumpSpan = 16
    private static let openingPackets = 128
    private static let openingSpan = TimeAmount.milliseconds(200)
    private static let missingCapacity = 512
    private static let nacksAtOnce = 128

    let ssrc: UInt32
    let lineIndex: Int
    let line: RTPReceivedLine
    let created: NIODeadline
    let order: Int
    var rid: String?
    /// The retransmission source, once it is known.
    var repairSSRC: UInt32?
    private(set) var lastPacket: NIODeadline
    private(set) var lastFrame: NIODeadline?
    private(set) var frameInterval = TimeAmount.zero
    private(set) var hasEnded = false
    var clock: SourceClock
    private(set) var counter: ReceptionCounter
    var rate = RateMeter()
    private var frames: [SourceFrame] = []
    var statistics: RTPSourceStatistics
    private(set) var builder: TrackBuilder?
    var keyframes: KeyframeRequester
    /// The middle of the last sender report's wall time, and when it came.
    var lastSenderReport: (compactNTP: UInt32, arrival: NIODeadline)?

    private let session: SessionClock
    private let limits: RTPJitterLimits
    private var buffer: PacketBuffer
    private(set) var losses: LossTracker
    private var highest: Int64
    private var reader: RTPPayloadReader?
    private var hasStarted = false
    /// A packet far away from the others, which starts another run of numbers if a second one agrees.
    private var jumped: Packet?
    private var staleCount = 0
    /// The packets of the first moments; `nil` once a frame was whole.
    private var opening: [(number: Int64, packet: BufferedPacket)]? = []
    /// When the packets of the open access unit and of the one before began to come.
    private var unitStart: (timestamp: UInt32, arrival: NIODeadline)?
    private var lastUnitStart: (timestamp: UInt32, arrival: NIODeadline)?
    /// The last runs of numbers that were given up.
    private var abandoned: [Range<Int64>] = []

    init(
        ssrc: UInt32, lineIndex: Int, line: RTPReceivedLine, rid: String?, order: Int, first: UInt16, clockRate: Int,
        limits: RTPJitterLimits, reports: RTPReportSettings, session: SessionClock, now: NIODeadline
    ) {
        self.ssrc = ssrc
        self.lineIndex = lineIndex
        self.line = line
        self.rid = rid
        self.order = order
        self.created = now
        self.lastPacket = now
        self.limits = limits
        self.session = session
        // Room below, for packets that the first one overtook.
        let start = Int64(first) + 65_536
        self.highest = start
        self.clock = SourceClock(clockRate: clockRate, now: now)
        self.counter = ReceptionCounter(first: start, clockRate: clockRate, arrival: now)
        self.buffer = PacketBuffer(
            next: start,
            maximumPackets: line.kind == .video ? limits.maximumVideoPackets : limits.maximumAudioPackets,
            maximumBytes: limits.maximumBytes)
        self.losses = LossTracker(capacity: Self.missingCapacity)
        self.statistics = RTPSourceStatistics(ssrc: ssrc, mid: line.mid, rid: rid, kind: line.kind)
        self.keyframes = KeyframeRequester(settings: reports, isVideo: line.kind == .video, now: now)
    }

    var isVideo: Bool { self.line.kind == .video }
    var asksForPackets: Bool { self.line.feedback.contains(.nack) }
    /// The pixels of the last keyframe; 0 while they are not known.
    var pixels: Int {
        guard case .video(let format) = self.builder?.track?.format else { return 0 }
        return (format.width ?? 0) * (format.height ?? 0)
    }

    /// How long a missing packet is waited for.
    var patience: TimeAmount {
        let limits = self.limits
        guard self.asksForPackets else {
            return self.isVideo ? limits.reorderWait : min(limits.reorderWait, limits.maximumAudioWait)
        }
        let wanted = TimeAmount.nanoseconds(self.losses.assumedRoundTrip.nanoseconds * 4) + .milliseconds(100)
        let wait = min(max(wanted, limits.minimumWait), limits.maximumWait)
        return self.isVideo ? wait : min(wait, limits.maximumAudioWait)
    }

    // MARK: Packets in

    /// Takes a packet of the source, of its retransmissions or out of redundant coding. Returns whether it was new.
    @discardableResult
    func receive(_ packet: Packet, arrival: NIODeadline) -> Bool {
        self.lastPacket = max(self.lastPacket, arrival)
        self.hasEnded = false
        guard let number = self.widen(packet, arrival: arrival) else { return false }
        return self.accept(packet, number: number, arrival: arrival)
    }

    private func accept(_ packet: Packet, number: Int64, arrival: NIODeadline) -> Bool {
        let buffered = BufferedPacket(
            payload: packet.payload, payloadType: packet.payloadType, marker: packet.marker,
            timestamp: packet.timestamp, arrival: arrival)
        if self.buffer.isKnown(number) {
            guard !packet.isRepair, self.rewind(to: number, with: buffered, now: arrival) else {
                self.countStale(packet, number: number, arrival: arrival)
                return false
            }
            self.count(packet, number: number, arrival: arrival)
            return true
        }
        self.staleCount = 0
        self.count(packet, number: number, arrival: arrival)
        if number > self.highest {
            if number > self.highest + 1 { self.losses.missed(self.highest + 1..<number, now: arrival) }
            self.highest = number
        }
        self.keepForOpening(buffered, number: number, now: arrival)
        if self.buffer.isEmpty, number == self.buffer.next {
            self.buffer.passNext()
            self.deliver(buffered, now: arrival)
            return true
        }
        while !self.buffer.fits(number) { self.giveUpGap(orAllBefore: number, now: arrival) }
        // Cannot be: what is given up is in front of it.
        guard !self.buffer.isKnown(number) else { return false }
        self.buffer.insert(buffered, number: number)
        self.drain(now: arrival)
        while self.buffer.bytes > self.buffer.maximumBytes { self.giveUpGap(orAllBefore: number, now: arrival) }
        return true
    }

    private func count(_ packet: Packet, number: Int64, arrival: NIODeadline) {
        let wasAskedFor = self.losses.arrived(number, isAnswer: packet.isRetransmission, now: arrival)
        if wasAskedFor { self.statistics.recovered += 1 }
        if !packet.isRepair {
            self.counter.receive(number, timestamp: packet.timestamp, arrival: arrival, isOriginal: !wasAskedFor)
            self.statistics.packets += 1
        }
        self.statistics.bytes += packet.payload.readableBytes
        self.rate.add(packet.payload.readableBytes, now: arrival)
    }

    private func keepForOpening(_ packet: BufferedPacket, number: Int64, now: NIODeadline) {
        guard let count = self.opening?.count else { return }
        if count < Self.openingPackets, now - self.created < Self.openingSpan {
            self.opening?.append((number, packet))
        } else {
            self.opening = nil
        }
    }

    /// The first packet to arrive need not be the first that was sent. Until a frame is whole, an earlier packet makes
    /// everything start again from there. Returns whether it did.
    private func rewind(to number: Int64, with packet: BufferedPacket, now: NIODeadline) -> Bool {
        guard var opening = self.opening, let first = opening.map(\.number).min(), number < first,
            first - number < Int64(Self.openingPackets), opening.count < Self.openingPackets,
            self.highest - number < Int64(self.buffer.maximumPackets), now - self.created < Self.openingSpan
        else { return false }
        opening.append((number, packet))
        opening.sort { $0.number < $1.number }
        self.opening = opening
        self.buffer.restart(at: number)
        self.losses.forgetAll()
        (self.reader, self.builder, self.unitStart, self.lastUnitStart) = (nil, nil, nil, nil)
        var previous = number
        for (number, packet) in opening {
            if number > previous + 1 { self.losses.missed(previous + 1..<number, now: now) }
            previous = number
            self.buffer.insert(packet, number: number)
        }
        self.drain(now: now)
        return true
    }

    /// Whether `sequence`, which comes before `later`, is neither here nor had its turn.
    func isMissing(_ sequence: UInt16, before later: UInt16) -> Bool {
        guard self.hasStarted else { return false }
        let number = RTPSequence.unwrap(sequence, near: RTPSequence.unwrap(later, near: self.highest))
        return !self.buffer.isKnown(number) && self.buffer.fits(number)
    }

    /// The number in 64 bits; `nil` for a packet that starts another run of numbers and waits for a second one.
    private func widen(_ packet: Packet, arrival: NIODeadline) -> Int64? {
        let number = RTPSequence.unwrap(packet.sequence, near: self.highest)
        guard self.hasStarted else {
            guard !packet.isRepair else { return nil }
            self.hasStarted = true
            return number
        }
        guard number > self.highest + Self.maximumDropout || number < self.highest - Self.maximumMisorder else {
            return number
        }
        guard !packet.isRepair else { return nil }
        guard let jumped = self.jumped,
            (1...Self.maximumJumpSpan).contains(abs(RTPSequence.distance(from: jumped.sequence, to: packet.sequence)))
        else {
            self.jumped = packet
            return nil
        }
        let isLater = RTPSequence.isNewer(packet.sequence, than: jumped.sequence)
        let (first, second) = isLater ? (jumped, packet) : (packet, jumped)
        let start = self.restart(at: first.sequence, arrival: arrival)
        let distance = Int64(RTPSequence.distance(from: first.sequence, to: second.sequence))
        _ = self.accept(jumped, number: isLater ? start : start + distance, arrival: arrival)
        return isLater ? start + distance : start
    }

    /// The sender counts anew: what was held back is lost, and the next packet is the first.
    private func restart(at sequence: UInt16, arrival: NIODeadline) -> Int64 {
        let number = (self.highest >> 16 + 2) << 16 + Int64(sequence)
        self.counter.restart(at: number)
        self.losses.forgetAll()
        self.buffer.restart(at: number)
        self.abandoned = []
        self.highest = number
        self.jumped = nil
        self.opening = nil
        self.staleCount = 0
        self.breakFlow(now: arrival)
        return number
    }

    private func countStale(_ packet: Packet, number: Int64, arrival: NIODeadline) {
        guard !packet.isRepair else { return }
        if self.abandoned.contains(where: { $0.contains(number) }) {
            self.statistics.late += 1
            // A late packet arrived all the same, as far as the network is concerned.
            self.counter.receive(number, timestamp: packet.timestamp, arrival: arrival, isOriginal: false)
        } else {
            self.statistics.duplicates += 1
        }
        self.staleCount += 1
        guard self.staleCount >= Self.staleBeforeRestart, number < self.buffer.next else { return }
        _ = self.restart(at: packet.sequence &+ 1, arrival: arrival)
    }

    // MARK: Gaps

    /// When `advance` has something to do.
    var nextDeadline: NIODeadline? {
        var earliest: NIODeadline?
        func consider(_ deadline: NIODeadline?) {
            if let deadline { earliest = min(earliest ?? deadline, deadline) }
        }
        if self.asksForPackets, !self.hasEnded { consider(self.losses.nextDue) }
        if !self.buffer.isEmpty { consider((self.losses.noticed(self.buffer.next) ?? self.lastPacket) + self.patience) }
        if !self.line.feedback.isDisjoint(with: [.pli, .fir]), !self.hasEnded { consider(self.keyframes.nextDeadline) }
        return earliest
    }

    /// Gives up what was waited for long enough.
    func advance(now: NIODeadline) {
        while !self.buffer.isEmpty {
            // A packet that is not remembered as missing is beyond what can be asked for.
            if let noticed = self.losses.noticed(self.buffer.next), now < noticed + self.patience { return }
            self.giveUpGap(orAllBefore: self.highest, now: now)
        }
        // Beyond the newest packet nothing is missing.
        self.losses.forget(before: self.buffer.next)
    }

    /// The sequence numbers that are due to be asked for.
    func takeNacks(now: NIODeadline) -> [UInt16] {
        guard self.asksForPackets, !self.hasEnded else { return [] }
        let numbers = self.losses.takeDue(now: now, limit: Self.nacksAtOnce)
        self.statistics.nacksSent += numbers.count
        return numbers
    }

    /// Gives up the missing packets in front of the first that is here, or everything before `number`.
    private func giveUpGap(orAllBefore number: Int64, now: NIODeadline) {
        let start = self.buffer.next
        if self.buffer.isEmpty {
            self.buffer.restart(at: number)
        } else {
            _ = self.buffer.skipGap()
        }
        let gap = start..<self.buffer.next
        self.statistics.abandoned += gap.count
        if self.abandoned.count >= 8 { self.abandoned.removeFirst() }
        self.abandoned.append(gap)
        self.losses.forget(before: self.buffer.next)
        self.breakFlow(now: now)
        self.drain(now: now)
    }

    private func breakFlow(now: NIODeadline) {
        self.reader?.packetsAreMissing()
        self.takeUnits(now: now)
        if self.isVideo { self.keyframes.need(now: now) }
    }

    // MARK: Frames out

    private func drain(now: NIODeadline) {
        while let packet = self.buffer.popNext() { self.deliver(packet, now: now) }
    }

    private func deliver(_ packet: BufferedPacket, now: NIODeadline) {
        guard packet.payload.readableBytes > 0, case .media(let payload) = self.line.payloadTypes[packet.payloadType]
        else { return }
        if payload != self.builder?.payload { self.begin(payload, now: now) }
        if packet.timestamp != self.unitStart?.timestamp {
            self.lastUnitStart = self.unitStart
            self.unitStart = (packet.timestamp, packet.arrival)
        }
        self.reader?.append(packet.payload, marker: packet.marker, timestamp: packet.timestamp)
        self.takeUnits(now: now)
    }

    /// The first packet, or another codec than before.
    private func begin(_ payload: RTPMediaPayload, now: NIODeadline) {
        if self.builder != nil, self.isVideo { self.keyframes.need(now: now) }
        if payload.clockRate != self.clock.clockRate {
            self.clock = SourceClock(clockRate: payload.clockRate, now: now)
        }
        self.builder = TrackBuilder(payload: payload)
        self.reader = RTPPayloadReader(format: payload.format, maximumLength: self.limits.maximumFrameBytes)
        self.statistics.codec = payload.format.codec
    }

    private func takeUnits(now: NIODeadline) {
        while let output = self.reader?.nextOutput() {
            switch output {
            case .accessUnit(let unit): self.take(unit, now: now)
            case .broken(let error, _):
                self.statistics.droppedFrames += 1
                if error != .packetsMissing { self.statistics.malformedPayloads += 1 }
                if self.isVideo { self.keyframes.need(now: now) }
            }
        }
    }

    private func take(_ unit: RTPAccessUnit, now: NIODeadline) {
        guard let codec = self.builder?.payload.format.codec else { return }
        let canDecode = self.builder?.take(unit) == true
        guard canDecode, let track = self.builder?.track, unit.isKeyframe || !self.keyframes.isNeeded else {
            self.statistics.droppedFrames += 1
            if self.isVideo { self.keyframes.hurry(now: now) }
            return
        }
        if self.isVideo, unit.isKeyframe {
            self.keyframes.satisfied(now: now)
            self.statistics.keyframes += 1
            if case .video(let format) = track.format {
                (self.statistics.width, self.statistics.height) = (format.width, format.height)
            }
        }
        self.statistics.frames += 1
        self.opening = nil
        if let last = self.lastFrame {
            let gap = min(now - last, .seconds(2)).nanoseconds - self.frameInterval.nanoseconds
            self.frameInterval = .nanoseconds(self.frameInterval.nanoseconds + gap / 8)
        }
        self.lastFrame = now
        let arrival = unit.timestamp == self.lastUnitStart?.timestamp ? self.lastUnitStart : self.unitStart
        let time = self.clock.map(unit.timestamp, arrival: arrival?.arrival ?? now, session: self.session)
        self.frames.append(
            SourceFrame(
                ssrc: self.ssrc, codec: codec, track: track, time: time, isKeyframe: unit.isKeyframe,
                reorderDepth: self.builder?.reorderDepth ?? 0, payload: Self.compact(unit.payload)))
    }

    /// A frame that is a slice of its datagram would keep the datagram's memory for as long as the frame is cached.
    private static func compact(_ payload: ByteBuffer) -> ByteBuffer {
        guard payload.storageCapacity > 2 * payload.readableBytes + 256 else { return payload }
        return ByteBuffer(bytes: payload.readableBytesView)
    }

    /// Frames in decoding order since the last call.
    func takeFrames() -> [SourceFrame] {
        defer { self.frames.removeAll(keepingCapacity: true) }
        return self.frames
    }

    /// The sender said goodbye.
    func end() { self.hasEnded = true }

    // MARK: Reports

    /// The round trip as something else measured it.
    func tell(roundTrip: TimeAmount) { self.losses.measure(roundTrip: roundTrip) }

    /// Whether it is time to ask for a keyframe.
    func takeKeyframeRequest(now: NIODeadline) -> Bool {
        guard self.isVideo,
            self.keyframes.takeDue(
                now: now, lastPacket: self.lastPacket, roundTrip: self.losses.assumedRoundTrip)
        else { return false }
        self.statistics.keyframeRequestsSent += 1
        return true
    }

    /// Ends a reporting interval. Spec: RFC 3550 §6.4.1.
    func takeReport(now: NIODeadline) -> RTCPReportBlock {
        let report = self.counter.report()
        var delay: UInt32 = 0
        if let last = self.lastSenderReport {
            let nanoseconds = max(0, (now - last.arrival).nanoseconds)
            let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
            delay = UInt32(clamping: (seconds << 16) + (rest << 16) / 1_000_000_000)
        }
        return RTCPReportBlock(
            ssrc: self.ssrc, fractionLost: report.fractionLost, cumulativeLost: report.cumulativeLost,
            highestSequenceNumber: report.highestSequence, jitter: report.jitter,
            lastSenderReport: self.lastSenderReport?.compactNTP ?? 0, delaySinceLastSenderReport: delay)
    }

    func currentStatistics(now: NIODeadline) -> RTPSourceStatistics {
        self.rate.advance(now: now)
        var result = self.statistics
        result.rid = self.rid
        result.bitsPerSecond = self.rate.bitsPerSecond
        result.lost = Int(self.counter.lost)
        result.jitter = self.counter.jitterTime
        result.roundTrip = self.losses.roundTrip
        result.patience = self.patience
        result.heldPackets = self.buffer.count
        result.timestampJumps = self.clock.jumps
        return result
    }
}
