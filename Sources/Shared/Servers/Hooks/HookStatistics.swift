package import NIOCore

/// What became of the calls of one event, since the start.
package struct HookEventStatistics: Sendable, Hashable {
    /// Upper bounds of `latency`'s buckets, in milliseconds; a last bucket takes what is above.
    package static let bucketMillis: [Int64] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]

    /// Calls that were agreed to.
    package var delivered: UInt64 = 0
    /// Calls that were answered with anything else.
    package var refused: UInt64 = 0
    /// Calls without an answer, at their last try.
    package var failed: UInt64 = 0
    /// Tries after the first.
    package var retried: UInt64 = 0
    /// Calls that were not made, because too many waited.
    package var dropped: UInt64 = 0
    /// How many tries took how long; not cumulative.
    package var latency = [UInt64](repeating: 0, count: HookEventStatistics.bucketMillis.count + 1)
    /// The time of all tries together.
    package var latencySum = TimeAmount.zero

    package init() {}

    mutating func took(_ time: TimeAmount) {
        let bucket = Self.bucketMillis.firstIndex { time <= .milliseconds($0) } ?? Self.bucketMillis.count
        self.latency[bucket] += 1
        self.latencySum = self.latencySum + time
    }
}

/// How the hooks of a node fare.
package struct HooksStatistics: Sendable, Hashable {
    package var events: [HookEvent: HookEventStatistics] = [:]
    /// Calls that wait or are being made and that no session waits for.
    package var queued = 0
    /// Sessions that wait for answers.
    package var deciding = 0
    /// Receivers (scheme, host and port) that could not be reached lately.
    package var unreachable = 0

    package init() {}
}
