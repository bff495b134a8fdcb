/// A point on a stream's media timeline, in ticks of 90 kHz.
///
/// 64 bits at 90 kHz last for three million years, so nothing wraps here; the wire formats wrap at their own width.
package struct MediaTime: Hashable, Comparable, Sendable {
    package static let ticksPerSecond: Int64 = 90_000
    package static let zero = MediaTime(ticks: 0)

    package var ticks: Int64

    package init(ticks: Int64) { self.ticks = ticks }

    /// Exact: a millisecond is 90 ticks.
    package init(millis: Int64) { self.ticks = millis * 90 }

    /// Rounded toward negative infinity. Exact for times that were made from milliseconds.
    package var millis: Int64 {
        let (quotient, remainder) = self.ticks.quotientAndRemainder(dividingBy: 90)
        return remainder < 0 ? quotient - 1 : quotient
    }

    package static func < (left: MediaTime, right: MediaTime) -> Bool { left.ticks < right.ticks }
    package static func + (left: MediaTime, right: MediaTime) -> MediaTime {
        MediaTime(ticks: left.ticks + right.ticks)
    }
    package static func - (left: MediaTime, right: MediaTime) -> MediaTime {
        MediaTime(ticks: left.ticks - right.ticks)
    }
}
