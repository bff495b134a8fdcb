import NIOCore

/// Bit rates of one session, from samples that the registry takes.
struct SessionRates: Sendable, Hashable {
    struct Sample: Sendable, Hashable {
        var at: NIODeadline
        var received: UInt64
        var sent: UInt64
    }

    /// Samples at most 5 s apart, the oldest first; at most 8, so about 30 s.
    private(set) var samples: [Sample] = []
    private static let maximumSamples = 8
    private static let interval = TimeAmount.seconds(5)

    mutating func sample(received: UInt64, sent: UInt64, now: NIODeadline) {
        if let last = self.samples.last, now - last.at < Self.interval { return }
        if self.samples.count == Self.maximumSamples { self.samples.removeFirst() }
        self.samples.append(Sample(at: now, received: received, sent: sent))
    }

    /// Bits a second over at most `window`, by what was counted until now.
    func bitsPerSecond(
        over window: TimeAmount, received: UInt64, sent: UInt64, now: NIODeadline
    ) -> (received: UInt64, sent: UInt64) {
        // The first sample within the window. The first of all is taken when the session opens, so one that is younger
        // than the window is measured since then.
        guard let from = self.samples.first(where: { now - $0.at <= window }) ?? self.samples.last
        else { return (0, 0) }
        let nanoseconds = (now - from.at).nanoseconds
        guard nanoseconds > 0 else { return (0, 0) }
        let seconds = Double(nanoseconds) / 1e9
        func rate(_ new: UInt64, _ old: UInt64) -> UInt64 {
            new > old ? UInt64(Double(new - old) * 8 / seconds) : 0
        }
        return (rate(received, from.received), rate(sent, from.sent))
    }
}
