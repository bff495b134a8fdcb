/// A count of whole milliseconds, for percentiles. Values past ten seconds count as ten seconds.
package struct MillisHistogram {
    private static let limit = 10_000
    private var counts = [UInt32](repeating: 0, count: Self.limit + 1)
    package private(set) var count = 0
    package private(set) var maximum = 0.0

    package init() {}

    package mutating func add(_ millis: Double) {
        self.counts[max(0, min(Self.limit, Int(millis.rounded())))] += 1
        self.count += 1
        self.maximum = max(self.maximum, millis)
    }

    /// The value that this share (0 to 1) of all values does not exceed; 0 when there are none.
    package func percentile(_ share: Double) -> Double {
        let wanted = Double(self.count) * share
        var seen = 0
        for (millis, count) in self.counts.enumerated() where count > 0 {
            seen += Int(count)
            if Double(seen) >= wanted { return Double(millis) }
        }
        return 0
    }
}
