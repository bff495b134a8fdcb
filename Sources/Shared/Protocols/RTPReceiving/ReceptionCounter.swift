import NIOCore
import RTP

/// Counts the packets of one source for receiver reports. Spec: RFC 3550 §6.4.1, §A.1, §A.3, §A.8.
struct ReceptionCounter {
    /// What a receiver report says of a source.
    struct Report: Equatable {
        /// 256ths of the packets since the report before.
        var fractionLost: UInt8
        /// In all; 24 bits with a sign.
        var cumulativeLost: Int32
        /// The highest number with the count of wraps above it.
        var highestSequence: UInt32
        /// In ticks of the source's clock.
        var jitter: UInt32
    }

    private let clockRate: Int
    private let base: Int64
    private(set) var highest: Int64
    private(set) var received: Int64 = 0
    /// What earlier runs of numbers, before the source restarted, expected.
    private var expectedBefore: Int64 = 0
    private var runStart: Int64
    private var reportedExpected: Int64 = 0
    private var reportedReceived: Int64 = 0
    /// 16 times the jitter, as §A.8 keeps it.
    private var scaledJitter: Int64 = 0
    private var lastTransit: Int64?
    private var lastTimestamp: UInt32?
    private let startArrival: NIODeadline

    /// Starts with the extended number of the first packet, which `received` must still count.
    init(first: Int64, clockRate: Int, arrival: NIODeadline) {
        self.base = first
        self.runStart = first
        self.highest = first
        self.clockRate = clockRate
        self.startArrival = arrival
    }

    var expected: Int64 { self.expectedBefore + self.highest - self.runStart + 1 }
    /// Packets that did not come; retransmissions on another SSRC do not count as having come.
    var lost: Int64 { max(0, self.expected - self.received) }
    /// Interarrival jitter in ticks.
    var jitter: Int64 { self.scaledJitter >> 4 }
    var jitterTime: TimeAmount { .nanoseconds(self.jitter * 1_000_000_000 / Int64(self.clockRate)) }

    /// A packet came on the source's own SSRC, duplicates excluded. `isOriginal`: it was not sent again.
    mutating func receive(_ number: Int64, timestamp: UInt32, arrival: NIODeadline, isOriginal: Bool) {
        self.received += 1
        let isNewest = number >= self.highest
        self.highest = max(self.highest, number)
        // Packets that the first one overtook belong to the run; what is far behind does not.
        if self.runStart - number < 512 { self.runStart = min(self.runStart, number) }
        // Further packets of one picture wait for the first ones; only the first tells of the network.
        guard isOriginal, isNewest, timestamp != self.lastTimestamp else { return }
        self.lastTimestamp = timestamp
        let elapsed = (arrival - self.startArrival).nanoseconds
        let ticks =
            elapsed / 1_000_000_000 * Int64(self.clockRate)
            + elapsed % 1_000_000_000 * Int64(self.clockRate) / 1_000_000_000
        let transit = ticks - Int64(timestamp)
        if let last = self.lastTransit {
            // Both wrap with the timestamp.
            let difference = min(abs(Int64(Int32(truncatingIfNeeded: transit - last))), Int64(self.clockRate) * 10)
            self.scaledJitter += difference - (self.scaledJitter + 8) >> 4
        }
        self.lastTransit = transit
    }

    /// The source started over at `number`.
    mutating func restart(at number: Int64) {
        self.expectedBefore = self.expected
        self.runStart = number
        self.highest = number
        self.lastTransit = nil
        self.lastTimestamp = nil
    }

    /// Ends a reporting interval.
    mutating func report() -> Report {
        let expected = self.expected - self.reportedExpected
        let lost = expected - (self.received - self.reportedReceived)
        self.reportedExpected = self.expected
        self.reportedReceived = self.received
        let fraction = expected > 0 && lost > 0 ? min(255, lost << 8 / expected) : 0
        return Report(
            fractionLost: UInt8(fraction),
            cumulativeLost: Int32(clamping: min(max(self.expected - self.received, -0x80_0000), 0x7F_FFFF)),
            highestSequence: UInt32(truncatingIfNeeded: self.highest), jitter: UInt32(clamping: self.jitter))
    }
}

/// The bit rate of a source over about the last second.
struct RateMeter {
    private static let interval = TimeAmount.milliseconds(500)

    private var start: NIODeadline?
    private var bytes = 0
    private var previous = 0
    private(set) var bitsPerSecond = 0

    mutating func add(_ count: Int, now: NIODeadline) {
        self.advance(now: now)
        self.bytes += count
    }

    mutating func advance(now: NIODeadline) {
        guard let start = self.start else { return self.start = now }
        guard now - start >= Self.interval else { return }
        let elapsed = now - start
        if elapsed < .seconds(2) {
            self.bitsPerSecond = (self.previous + self.bytes) * 8_000 / Int(elapsed.nanoseconds / 1_000_000 + 500)
            self.previous = self.bytes * 500 / Int(elapsed.nanoseconds / 1_000_000)
        } else {
            self.bitsPerSecond = 0
            self.previous = 0
        }
        self.bytes = 0
        self.start = now
    }
}
