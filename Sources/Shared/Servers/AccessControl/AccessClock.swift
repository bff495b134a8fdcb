import Glibc
package import NIOCore

/// The clocks that access control reads; tests have their own.
package struct AccessClock: Sendable {
    /// For rates and pauses.
    package var now: @Sendable () -> NIODeadline
    /// Seconds since 1970 UTC, for what tokens and signatures say.
    package var seconds: @Sendable () -> Int64

    package init(now: @escaping @Sendable () -> NIODeadline, seconds: @escaping @Sendable () -> Int64) {
        self.now = now
        self.seconds = seconds
    }

    package static let system = AccessClock(now: { .now() }, seconds: { Int64(time(nil)) })
}
