/// The numbers of segments (media sequence numbers) that every node gives out, so that none goes back when another one
/// takes a stream over.
package enum SegmentNumbering {
    /// No segment is shorter, so numbers grow by at most one in this time.
    package static let minimumSegmentMillis: Int64 = 500

    /// The first number of a stream that nothing is known of: half seconds since the start of 2020.
    ///
    /// Whatever number was given out before, under a position that was lost, is smaller.
    package static func base(nowMillis: Int64) -> UInt64 {
        UInt64(max(0, nowMillis - 1_577_836_800_000) / self.minimumSegmentMillis)
    }

    /// The most numbers that can have been given out in `millis`.
    package static func most(in millis: Int64) -> UInt64 { UInt64(max(0, millis) / self.minimumSegmentMillis) }
}
