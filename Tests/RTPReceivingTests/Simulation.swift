import Media
import NIOCore
import RTP

@testable import RTPReceiving

/// One direction of a network: each packet may be lost, doubled, and takes its own time.
struct Link {
    var loss = 0.0
    var duplication = 0.0
    var delay = TimeAmount.milliseconds(10)
    var jitter = TimeAmount.zero

    func transits(_ random: inout SeededGenerator) -> [TimeAmount] {
        var copies = random.chance(self.loss) ? 0 : 1
        if random.chance(self.duplication) { copies += 1 }
        return (0..<copies).map { _ in
            self.delay + .nanoseconds(Int64.random(in: 0...self.jitter.nanoseconds, using: &random))
        }
    }
}

/// A publisher, two links and a receiver in virtual time.
final class Simulation {
    private enum Event {
        case videoFrame, audioFrame, report, poll
        case toReceiver(ByteBuffer, isControl: Bool)
        case toSender([RTCPPacket])
    }

    private struct Entry {
        var time: NIODeadline
        var event: Event
    }

    let receiver: RTPReceiver
    var up: Link
    var down: Link
    var random: SeededGenerator
    var video: VideoSource?
    var audioSSRC: UInt32?
    var usesRTX = true
    /// Parts per million by which the sender's clocks run fast: wall, video, audio.
    var wallDrift = 0.0
    var videoDrift = 0.0
    var audioDrift = 0.0
    var sendsReports = true
    var frameLengths = 300...6_000
    /// Seconds between keyframes that the encoder makes by itself.
    var keyframeEvery = 300
    private(set) var now: NIODeadline
    private(set) var events: [(time: NIODeadline, event: MediaEvent)] = []
    private(set) var sentFrames = 0
    private(set) var sentAudio = 0
    private(set) var keyframeRequests = 0
    private(set) var nackedNumbers = 0
    private(set) var retransmissions = 0
    /// The next one last; of those at one time, the earliest scheduled.
    private var queue: [Entry] = []
    private let start: NIODeadline
    private var videoTimestamp: UInt32
    private var audioTimestamp: UInt32
    private var audioSequence: UInt16
    private var rtxSequence: UInt16 = 65_500
    private var history: [UInt16: RTPPacket] = [:]
    private var wantsKeyframe = true
    private var transportSequence: UInt16 = 65_000
    private var pollScheduled: NIODeadline?

    init(
        receiver: RTPReceiver, seed: UInt64, up: Link, down: Link, sequence: UInt16 = 60_000,
        timestamp: UInt32 = .max - 900_000
    ) {
        self.receiver = receiver
        self.random = SeededGenerator(seed: seed)
        self.up = up
        self.down = down
        self.now = arrival(0)
        self.start = self.now
        self.video = VideoSource(ssrc: 0x1000, sequence: sequence)
        self.audioSSRC = 0x2000
        self.videoTimestamp = timestamp
        self.audioTimestamp = timestamp &+ 77
        self.audioSequence = sequence &+ 5_000
        self.schedule(.videoFrame, after: .zero)
        self.schedule(.audioFrame, after: .milliseconds(3))
        self.schedule(.report, after: .milliseconds(150))
    }

    /// Runs for a span of virtual time.
    func run(for span: TimeAmount) throws {
        let end = self.now + span
        while let entry = self.queue.last, entry.time <= end {
            self.queue.removeLast()
            self.now = entry.time
            try self.handle(entry.event)
        }
        self.now = end
    }

    private func schedule(_ event: Event, after span: TimeAmount) {
        let time = (self.now + span).uptimeNanoseconds
        var (low, high) = (0, self.queue.count)
        while low < high {
            let middle = (low + high) / 2
            if self.queue[middle].time.uptimeNanoseconds > time { low = middle + 1 } else { high = middle }
        }
        self.queue.insert(Entry(time: self.now + span, event: event), at: low)
    }

    private func handle(_ event: Event) throws {
        switch event {
        case .videoFrame: try self.sendVideo()
        case .audioFrame: self.sendAudio()
        case .report: self.report()
        case .poll:
            self.pollScheduled = nil
            self.poll()
        case .toReceiver(let datagram, let isControl):
            if isControl {
                self.receiver.receive(rtcp: datagram, now: self.now)
            } else {
                self.receiver.receive(rtp: datagram, arrival: self.now)
            }
            self.poll()
        case .toSender(let packets): self.takeFeedback(packets)
        }
    }

    private func poll() {
        let output = self.receiver.poll(now: self.now)
        self.events += output.events.map { (self.now, $0) }
        if !output.rtcp.isEmpty {
            for transit in self.down.transits(&self.random) { self.schedule(.toSender(output.rtcp), after: transit) }
        }
        guard let next = self.receiver.nextDeadline else { return }
        let due = max(next, self.now + .microseconds(100))
        if let pending = self.pollScheduled, pending <= due { return }
        self.pollScheduled = due
        self.schedule(.poll, after: due - self.now)
    }

    // MARK: The sender

    private var elapsed: Double { Double((self.now - self.start).nanoseconds) / 1e9 }

    private func ticks(_ rate: Double, drift: Double) -> UInt32 {
        UInt32(truncatingIfNeeded: Int64(self.elapsed * rate * (1 + drift / 1e6)))
    }

    private func sendVideo() throws {
        guard var video = self.video else { return }
        self.schedule(.videoFrame, after: .nanoseconds(33_333_333))
        let isKeyframe = self.wantsKeyframe || self.sentFrames % (30 * self.keyframeEvery) == 0
        self.wantsKeyframe = false
        self.sentFrames += 1
        video.timestamp = self.videoTimestamp &+ self.ticks(90_000, drift: self.videoDrift)
        video.frameLength =
            isKeyframe ? 3 * self.frameLengths.upperBound : Int.random(in: self.frameLengths, using: &self.random)
        for packet in try video.frame(isKeyframe: isKeyframe) {
            self.history[packet.header.sequenceNumber] = packet
            self.history[packet.header.sequenceNumber &- 2_000] = nil
            self.send(packet)
        }
        self.video = video
    }

    private func sendAudio() {
        guard let ssrc = self.audioSSRC else { return }
        self.schedule(.audioFrame, after: .milliseconds(20))
        self.sentAudio += 1
        let timestamp = self.audioTimestamp &+ self.ticks(48_000, drift: self.audioDrift)
        var payload = ByteBuffer(bytes: [0xFC])
        payload.writeInteger(UInt32(self.sentAudio))
        payload.writeRepeatingByte(7, count: 100)
        self.send(
            RTPPacket(
                header: RTPHeader(
                    marker: false, payloadType: 111, sequenceNumber: self.audioSequence, timestamp: timestamp,
                    ssrc: ssrc), payload: payload))
        self.audioSequence &+= 1
    }

    private func send(_ packet: RTPPacket) {
        var packet = packet
        packet.header.extensions = RTPHeaderExtensions([
            .init(id: 1, value: ByteBuffer(string: packet.header.ssrc == self.audioSSRC ? "1" : "0")),
            .init(id: 2, value: ByteBuffer(integer: self.transportSequence)),
        ])
        self.transportSequence &+= 1
        var datagram = ByteBuffer()
        packet.write(into: &datagram)
        for transit in self.up.transits(&self.random) {
            self.schedule(.toReceiver(datagram, isControl: false), after: transit)
        }
    }

    private func report() {
        self.schedule(.report, after: .seconds(1))
        guard self.sendsReports else { return }
        let wall = Int64(self.elapsed * 1e9 * (1 + self.wallDrift / 1e6))
        let ntp = NTPTime(unixNanoseconds: 1_700_000_000_000_000_000 + wall)
        for (ssrc, timestamp) in [
            (self.video?.ssrc, self.videoTimestamp &+ self.ticks(90_000, drift: self.videoDrift)),
            (self.audioSSRC, self.audioTimestamp &+ self.ticks(48_000, drift: self.audioDrift)),
        ] {
            guard let ssrc else { continue }
            var datagram = ByteBuffer()
            RTCPPacket.senderReport(
                RTCPSenderReport(
                    ssrc: ssrc, ntpTime: ntp, rtpTimestamp: timestamp, packetCount: 0, octetCount: 0)
            ).write(into: &datagram)
            for transit in self.up.transits(&self.random) {
                self.schedule(.toReceiver(datagram, isControl: true), after: transit)
            }
        }
    }

    private func takeFeedback(_ packets: [RTCPPacket]) {
        for packet in packets {
            switch packet {
            case .pictureLossIndication:
                self.keyframeRequests += 1
                self.wantsKeyframe = true
            case .nack(let nack):
                self.nackedNumbers += nack.sequenceNumbers.count
                for sequence in nack.sequenceNumbers where nack.mediaSSRC == self.video?.ssrc {
                    guard let original = self.history[sequence] else { continue }
                    self.retransmissions += 1
                    self.send(self.usesRTX ? self.retransmission(of: original) : original)
                }
            default: continue
            }
        }
    }

    private func retransmission(of original: RTPPacket) -> RTPPacket {
        var payload = ByteBuffer()
        RTXPacket.write(
            originalSequenceNumber: original.header.sequenceNumber, payload: original.payload, into: &payload)
        var packet = RTPPacket(header: original.header, payload: payload)
        packet.header.ssrc = 0x1001
        packet.header.payloadType = 97
        packet.header.sequenceNumber = self.rtxSequence
        self.rtxSequence &+= 1
        return packet
    }

    // MARK: What came out

    func frames(_ kind: MediaKind) -> [(time: NIODeadline, frame: Frame)] {
        self.events.compactMap { time, event in
            if case .frame(let frame) = event, frame.kind == kind { (time, frame) } else { nil }
        }
    }

    /// Plays all video frames as a decoder would. Returns the numbers of the frames; an empty list and the reason when
    /// one of them is broken or refers to a frame that did not come out.
    func decode() -> (numbers: [UInt32], fault: String?) {
        var last: UInt32?
        var numbers: [UInt32] = []
        var lastDTS = Int64.min
        for (_, frame) in self.frames(.video) {
            guard let (number, reference) = H264.check(frame.payload) else { return ([], "broken after \(last ?? 0)") }
            guard frame.isKeyframe || reference == last else {
                return ([], "frame \(number) refers to \(reference), the last was \(last ?? 0)")
            }
            guard frame.dts.ticks > lastDTS, frame.dts <= frame.pts else { return ([], "times of frame \(number)") }
            (last, lastDTS) = (number, frame.dts.ticks)
            numbers.append(number)
        }
        return (numbers, nil)
    }
}
