import NIOCore
import RTP

/// Estimates what a viewer's path carries, from transport-wide feedback, or from receiver reports and REMB where a
/// viewer has nothing better.
///
/// Packets that leave together are one *group*. Feedback tells when the last packet of a group arrived; by how much the
/// way of groups grows longer is the delay that they wait in queues, and what arrives while queues grow is what the
/// path carries. Loss alone does not count below 40 % while no queue is seen: radio loses packets without being full.
///
/// The estimate serves to pace bursts and to notice that the stream does not fit. It never slows down a stream that
/// does, so it need not be exact, but must not be too low for long.
struct BandwidthEstimator {
    /// Packets that left together.
    private struct Group {
        var firstSequence: UInt16
        var count: UInt16
        var bytes: UInt32
        /// On the sender's clock, wrapped.
        var sentMicros: UInt32
    }

    /// A group that feedback told of. Times are wrapped.
    private struct Sample {
        var sentMicros: UInt32
        var arrivalMicros: UInt32
        var bytes: UInt32
        var receivedBytes: UInt32
    }

    /// What feedback said so far of the oldest group that is not settled.
    private struct Progress {
        var received: UInt32 = 0
        var lastArrival: Int64?
    }

    static let maximumGroups = 64
    static let maximumSamples = 32
    private static let minimumBitrate = 50_000.0
    /// Standing queues that count, in microseconds.
    private static let shortQueue: Int64 = 25_000
    private static let longQueue: Int64 = 60_000

    /// A ring: `groupCount` groups from `firstGroup` on.
    private var groups: [Group] = []
    private var firstGroup = 0
    private var groupCount = 0
    private var progress = Progress()
    private var samples: [Sample] = []
    private var nextSample = 0

    private var estimate: Double
    private var remb: (bits: Double, until: NIODeadline)?
    /// Arrival minus departure of the first sample, which is the zero of all ways: the clocks know nothing of each
    /// other.
    private var origin: UInt32?
    /// The shortest way seen, in two halves of a window.
    private var base: Int64 = .max
    private var previousBase: Int64 = .max
    private var baseUntil = NIODeadline.uptimeNanoseconds(0)
    private var holdUntil = NIODeadline.uptimeNanoseconds(0)
    private var updatedAt: NIODeadline?
    private var reportedLossAt: NIODeadline?

    /// The share of packets that the last feedback or report missed, 0 to 1.
    private(set) var loss = 0.0
    /// When feedback last came.
    private(set) var feedbackAt: NIODeadline?
    /// The time that packets stand in queues, in microseconds.
    private(set) var queueMicros: Int64 = 0

    init(startBitrate: Int) { self.estimate = Double(startBitrate) }

    /// Bits per second.
    var bitsPerSecond: Int {
        guard let remb = self.remb else { return Int(self.estimate) }
        return Int(min(self.estimate, remb.bits))
    }

    /// Something was heard from the viewer that the estimate rests on.
    var isInformed: Bool { self.feedbackAt != nil || self.remb != nil || self.reportedLossAt != nil }

    /// Bytes of both arrays.
    var heapByteCount: Int {
        self.groups.capacity * MemoryLayout<Group>.stride + self.samples.capacity * MemoryLayout<Sample>.stride
    }

    // MARK: Sending

    /// Packets left, with successive transport-wide numbers. `bytes`: on the wire.
    mutating func sent(first: UInt16, count: Int, bytes: Int, now: NIODeadline) {
        let micros = UInt32(truncatingIfNeeded: now.uptimeNanoseconds / 1_000)
        if self.groupCount > 0 {
            let last = (self.firstGroup + self.groupCount - 1) % Self.maximumGroups
            let group = self.groups[last]
            if group.sentMicros == micros, group.firstSequence &+ group.count == first,
                Int(group.count) + count < 0x8000
            {
                self.groups[last].count += UInt16(truncatingIfNeeded: count)
                self.groups[last].bytes += UInt32(truncatingIfNeeded: bytes)
                return
            }
        }
        if self.groups.isEmpty {
            self.groups = Array(
                repeating: Group(firstSequence: 0, count: 0, bytes: 0, sentMicros: 0), count: Self.maximumGroups)
        }
        if self.groupCount == Self.maximumGroups { self.removeFirstGroup() }
        self.groups[(self.firstGroup + self.groupCount) % Self.maximumGroups] = Group(
            firstSequence: first, count: UInt16(truncatingIfNeeded: count), bytes: UInt32(truncatingIfNeeded: bytes),
            sentMicros: micros)
        self.groupCount += 1
    }

    private mutating func removeFirstGroup() {
        self.firstGroup = (self.firstGroup + 1) % Self.maximumGroups
        self.groupCount -= 1
        self.progress = Progress()
    }

    // MARK: Feedback

    /// Takes transport-wide feedback. `roundTrip` is the last known.
    mutating func receive(_ feedback: TransportFeedback, roundTrip: TimeAmount, now: NIODeadline) {
        var received = 0
        var missing = 0
        feedback.forEachPacket { sequence, arrival in
            if arrival == nil { missing += 1 } else { received += 1 }
            self.note(sequence, arrival: arrival)
        }
        // The last packet of a group is told: the group is settled, without waiting for the next feedback.
        let end = feedback.baseSequenceNumber &+ UInt16(truncatingIfNeeded: feedback.statuses.count)
        self.settle(before: end)
        guard received + missing > 0 else { return }
        // Feedback of a few packets says little: by chance, half of them may be missing where a quarter is lost.
        let weight = min(0.3, Double(received + missing) / 60)
        self.loss += weight * (Double(missing) / Double(received + missing) - self.loss)
        self.feedbackAt = now
        self.update(roundTrip: roundTrip, now: now)
    }

    private mutating func note(_ sequence: UInt16, arrival: Int64?) {
        self.settle(before: sequence)
        guard self.groupCount > 0, let arrival else { return }
        let group = self.groups[self.firstGroup]
        guard sequence &- group.firstSequence < group.count else { return }
        self.progress.received += 1
        self.progress.lastArrival = max(self.progress.lastArrival ?? arrival, arrival)
    }

    /// Makes samples of the groups that end before `sequence`.
    private mutating func settle(before sequence: UInt16) {
        while self.groupCount > 0 {
            let group = self.groups[self.firstGroup]
            guard RTPSequence.distance(from: group.firstSequence &+ group.count, to: sequence) >= 0 else { return }
            if let arrival = self.progress.lastArrival, group.count > 0 {
                let bytes = UInt64(group.bytes) * UInt64(self.progress.received) / UInt64(group.count)
                self.append(
                    Sample(
                        sentMicros: group.sentMicros, arrivalMicros: UInt32(truncatingIfNeeded: arrival),
                        bytes: group.bytes, receivedBytes: UInt32(truncatingIfNeeded: bytes)))
            } else if self.samples.count > 0 {
                // Lost as a whole: it counts as sent with the group before.
                let last = (self.nextSample + self.samples.count - 1) % self.samples.count
                self.samples[last].bytes &+= group.bytes
            }
            self.removeFirstGroup()
        }
    }

    private mutating func append(_ sample: Sample) {
        if self.origin == nil { self.origin = sample.arrivalMicros &- sample.sentMicros }
        if self.samples.count < Self.maximumSamples {
            if self.samples.capacity == 0 { self.samples.reserveCapacity(Self.maximumSamples) }
            self.samples.append(sample)
        } else {
            self.samples[self.nextSample] = sample
            self.nextSample = (self.nextSample + 1) % Self.maximumSamples
        }
    }

    // MARK: The estimate

    /// What the samples say: rates in bits per second, delays in microseconds.
    private struct Window {
        var sentRate: Double
        var deliveredRate: Double
        /// What arrived of late, or in all: the more, which is what the path carries while a queue stands in it.
        var capacity: Double
        /// The shortest way, and by how much the way grows, in seconds per second.
        var shortest: Int64
        var slope: Double
    }

    private mutating func update(roundTrip: TimeAmount, now: NIODeadline) {
        let elapsed = self.updatedAt.map { Double((now - $0).nanoseconds) / 1e9 } ?? 0
        self.updatedAt = now
        guard let window = self.window() else { return }
        self.noteBase(window.shortest, now: now)
        let base = min(self.base, self.previousBase)
        self.queueMicros = max(0, window.shortest - base)
        let isFallingBehind = window.deliveredRate < 0.95 * window.sentRate
        let isGrowing = window.slope > 0.05
        let isOverused =
            self.queueMicros > Self.longQueue && (isFallingBehind || isGrowing)
            || self.queueMicros > Self.shortQueue && window.slope > 0.1
        let isLossy = self.loss > 0.4 || self.loss > 0.1 && self.queueMicros > Self.shortQueue
        if isOverused || isLossy {
            guard now >= self.holdUntil else { return }
            self.estimate = max(Self.minimumBitrate, min(self.estimate, 0.92 * window.capacity))
            self.holdUntil = now + min(max(roundTrip, .milliseconds(50)), .seconds(1)) + .milliseconds(200)
        } else if self.queueMicros > Self.longQueue, !isFallingBehind, window.slope > -0.02 {
            // The way is longer, and nothing waits: a new route.
            self.base = window.shortest
            self.previousBase = window.shortest
        } else if window.slope > -0.1, self.estimate < 1.5 * window.deliveredRate + 100_000 {
            self.estimate *= 1 + 0.08 * min(elapsed, 1)
        }
    }

    private func window() -> Window? {
        guard self.samples.count >= 6, let origin = self.origin else { return nil }
        let count = self.samples.count
        let first = self.samples[self.nextSample % count]
        let last = self.samples[(self.nextSample + count - 1) % count]
        let sentSpan = Double(Self.distance(first.sentMicros, last.sentMicros)) / 1e6
        let arrivalSpan = Double(Self.distance(first.arrivalMicros, last.arrivalMicros)) / 1e6
        guard sentSpan > 0.1, arrivalSpan > 0.01 else { return nil }
        let middle = self.samples[(self.nextSample + count / 2) % count]
        var (sent, delivered, late) = (0.0, 0.0, 0.0)
        var shortest = Int64.max
        var (sumX, sumY, sumXX, sumXY) = (0.0, 0.0, 0.0, 0.0)
        for index in 0..<count {
            let sample = self.samples[(self.nextSample + index) % count]
            if index > 0 {
                sent += Double(sample.bytes)
                delivered += Double(sample.receivedBytes)
                if index > count / 2 { late += Double(sample.receivedBytes) }
            }
            // Both clocks wrap at 32 bits, so their difference does too.
            let way = Int64(Int32(bitPattern: sample.arrivalMicros &- sample.sentMicros &- origin))
            shortest = min(shortest, way)
            let x = Double(Self.distance(first.sentMicros, sample.sentMicros)) / 1e6
            let y = Double(way) / 1e6
            sumX += x
            sumY += y
            sumXX += x * x
            sumXY += x * y
        }
        let size = Double(count)
        let variance = size * sumXX - sumX * sumX
        // Packets that a queue let go together on the last link say nothing of the links before.
        let deliveredRate = delivered * 8 / max(arrivalSpan, sentSpan * 0.5)
        let lateSent = Double(Self.distance(middle.sentMicros, last.sentMicros)) / 1e6
        let lateSpan = max(Double(Self.distance(middle.arrivalMicros, last.arrivalMicros)) / 1e6, lateSent * 0.5)
        return Window(
            sentRate: sent * 8 / sentSpan, deliveredRate: deliveredRate,
            capacity: lateSpan > 0.05 ? max(deliveredRate, late * 8 / lateSpan) : deliveredRate, shortest: shortest,
            slope: variance > 0 ? (size * sumXY - sumX * sumY) / variance : 0)
    }

    /// Keeps the shortest way of the last 10 to 20 seconds.
    private mutating func noteBase(_ way: Int64, now: NIODeadline) {
        if now >= self.baseUntil {
            self.previousBase = self.base
            self.base = way
            self.baseUntil = now + .seconds(10)
        }
        self.base = min(self.base, way)
    }

    private static func distance(_ first: UInt32, _ second: UInt32) -> Int32 {
        Int32(bitPattern: second &- first)
    }

    // MARK: Reports

    /// A receiver report: `lost` is the share of packets (0 to 1) since the last, `sentRate` what was sent meanwhile.
    /// Counts only for viewers who send no transport-wide feedback.
    mutating func receiveReport(lost: Double, sentRate: Double, now: NIODeadline) {
        if let feedbackAt = self.feedbackAt, now - feedbackAt < .seconds(3) { return }
        let isRepeated = self.loss > 0.1 && lost > 0.1
        self.loss = lost
        self.reportedLossAt = now
        if isRepeated {
            self.estimate = max(Self.minimumBitrate, min(self.estimate, sentRate * (1 - lost)))
        } else if lost < 0.02, self.estimate < 2 * sentRate + 100_000 {
            self.estimate *= 1.08
        }
    }

    /// The receiver's own estimate, which holds for some seconds. Spec: draft-alvestrand-rmcat-remb §2.
    mutating func receiveEstimate(bitsPerSecond: UInt64, now: NIODeadline) {
        self.remb = (max(Self.minimumBitrate, Double(bitsPerSecond)), now + .seconds(5))
    }

    /// Forgets an estimate of the receiver that is too old.
    mutating func expire(now: NIODeadline) {
        if let remb = self.remb, now >= remb.until { self.remb = nil }
    }
}
