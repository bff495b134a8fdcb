/// A length of time as playlists and manifests print it: whole microseconds, never negative.
///
/// Integer arithmetic keeps rendering exact and cheap. A duration made from ticks is rounded to the nearest
/// microsecond, so each printed segment is off by half a microsecond at most and the errors do not lean to one side.
package struct PlaylistDuration: Sendable, Hashable, Comparable {
    package static let zero = PlaylistDuration(micros: 0)

    package let micros: Int64

    /// A negative number becomes 0.
    package init(micros: Int64) { self.micros = max(0, micros) }

    /// A negative number becomes 0; past 292,000 years it stays at the largest value.
    package init(millis: Int64) {
        let (micros, overflows) = millis.multipliedReportingOverflow(by: 1000)
        self.init(micros: overflows && millis > 0 ? .max : micros)
    }

    /// `ticks` of a clock that counts `timescale` of them in a second, rounded to the nearest microsecond.
    ///
    /// `timescale` is positive.
    package init(ticks: Int64, timescale: Int64) {
        precondition(timescale > 0, "a timescale must be positive, got \(timescale)")
        let (seconds, rest) = max(0, ticks).quotientAndRemainder(dividingBy: timescale)
        // The quotient of the full-width product is below 1,000,001, because `rest` is below `timescale`.
        let fraction = timescale.dividingFullWidth(rest.multipliedFullWidth(by: 1_000_000))
        let roundsUp = fraction.remainder >= timescale - fraction.remainder
        let (whole, overflows) = seconds.multipliedReportingOverflow(by: 1_000_000)
        let (sum, exceeds) = whole.addingReportingOverflow(fraction.quotient + (roundsUp ? 1 : 0))
        self.init(micros: overflows || exceeds ? .max : sum)
    }

    /// Rounded to the nearest whole second, as `EXT-X-TARGETDURATION` limits `EXTINF`. Spec: RFC 8216 §4.3.3.1.
    package var roundedSeconds: Int64 { self.micros / 1_000_000 + (self.micros % 1_000_000 >= 500_000 ? 1 : 0) }

    package static func < (left: Self, right: Self) -> Bool { left.micros < right.micros }

    /// Stays at the largest value rather than to overflow.
    package static func + (left: Self, right: Self) -> Self {
        let (sum, overflows) = left.micros.addingReportingOverflow(right.micros)
        return Self(micros: overflows ? .max : sum)
    }

    package static func += (left: inout Self, right: Self) { left = left + right }

    /// Stays at the largest value rather than to overflow; a negative factor gives 0.
    package static func * (left: Self, factor: Int64) -> Self {
        let (product, overflows) = left.micros.multipliedReportingOverflow(by: factor)
        return Self(micros: overflows ? (factor > 0 ? .max : 0) : product)
    }
}
