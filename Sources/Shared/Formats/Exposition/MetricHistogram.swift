/// Counts values by size, for one histogram. Not synchronized: its owner guards it.
package struct MetricHistogram: Sendable, Hashable {
    /// Upper bounds of the buckets, inclusive, growing; a last one without a bound is implied.
    package let bounds: [Double]
    /// Values by bucket, not cumulative; one more than there are bounds.
    package private(set) var counts: [UInt64]
    /// The sum of all values.
    package private(set) var sum: Double = 0

    /// Seconds from 1 ms to 10 s, for calls over a network.
    package static let latencySeconds: [Double] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    /// The bounds are finite and grow.
    package init(bounds: [Double] = MetricHistogram.latencySeconds) {
        precondition(
            bounds.allSatisfy(\.isFinite) && zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 },
            "the bounds of a histogram are finite and grow, got \(bounds)")
        self.bounds = bounds
        self.counts = Array(repeating: 0, count: bounds.count + 1)
    }

    /// What was counted elsewhere: `counts` has one number more than there are bounds.
    package init(bounds: [Double], counts: [UInt64], sum: Double) {
        self.init(bounds: bounds)
        precondition(
            counts.count == bounds.count + 1, "\(bounds.count) bounds need \(bounds.count + 1) counts, got \(counts)")
        self.counts = counts
        self.sum = sum
    }

    /// All values that were counted.
    package var count: UInt64 { self.counts.reduce(0, &+) }

    /// Counts a value; what is not a number is left out.
    package mutating func observe(_ value: Double) {
        guard !value.isNaN else { return }
        let bucket = self.bounds.firstIndex { value <= $0 } ?? self.bounds.count
        self.counts[bucket] &+= 1
        self.sum += value
    }
}
