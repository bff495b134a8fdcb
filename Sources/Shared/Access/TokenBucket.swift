package import NIOCore

/// Lets so many things a second pass, and so many at once.
///
/// Keeps one number: when the bucket will be full again (the generic cell rate algorithm, ITU-T I.371). Holds for any
/// sequence of times that does not go back.
package struct TokenBucket: Sendable, Hashable {
    /// When all that was taken is filled up again.
    private var fullAt: NIODeadline

    /// Full.
    package init(now: NIODeadline) { self.fullAt = now }

    /// Takes one if there is one. `rate` is in things a second; `burst` is how many a full bucket holds, at least 1.
    ///
    /// Both may differ from call to call: a reload changes them.
    package mutating func take(rate: Int, burst: Int, now: NIODeadline) -> Bool {
        precondition(rate > 0 && burst > 0, "a bucket has a rate and a size, got \(rate) and \(burst)")
        // A rate of more than one each nanosecond is none.
        let interval = max(1, 1_000_000_000 / Int64(rate))
        let room = TimeAmount.nanoseconds(interval.multipliedSaturated(Int64(burst - 1)))
        let fullAt = max(self.fullAt, now)
        guard fullAt - now <= room else { return false }
        self.fullAt = fullAt + .nanoseconds(interval)
        return true
    }

    /// Whether it tells nothing that a new one would not.
    package func isFull(now: NIODeadline) -> Bool { self.fullAt <= now }
}

extension Int64 {
    fileprivate func multipliedSaturated(_ other: Int64) -> Int64 {
        let (product, overflow) = self.multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}
