package import NIOCore

/// Decides how long packets of sound wait for the next picture, to leave with it.
///
/// A send costs the kernel nearly the same whether it is of one packet or of a picture's many, and most of a stream's
/// frames are sound. What would come just before a picture is worth a wait; what comes long before one is not, nor anything
/// while pictures are late.
package struct AudioHold: Sendable {
    /// How much later than expected a picture may come, and still be waited for.
    package static let patience = TimeAmount.milliseconds(4)

    private let limit: TimeAmount
    private var lastPicture: NIODeadline?
    /// Between pictures, smoothed, in ns; 0 while it is not known.
    private var interval: Int64 = 0

    /// `limit`: the longest wait; zero makes nothing wait.
    package init(limit: TimeAmount) { self.limit = limit }

    /// A picture came.
    package mutating func picturePassed(now: NIODeadline) {
        defer { self.lastPicture = now }
        guard let last = self.lastPicture else { return }
        let distance = (now - last).nanoseconds
        // Pictures that come in one batch, or after a pause, say nothing of the rate.
        guard distance > 1_000_000, distance < 1_000_000_000 else { return }
        self.interval = self.interval == 0 ? distance : self.interval + (distance - self.interval) / 8
    }

    /// Until when sound that came now waits for a picture; `nil` if it does not.
    package func deadline(now: NIODeadline) -> NIODeadline? {
        guard self.limit > .zero, self.interval > 0, let last = self.lastPicture else { return nil }
        let expected = last + .nanoseconds(self.interval)
        guard expected + Self.patience > now, expected <= now + self.limit else { return nil }
        return min(expected + Self.patience, now + self.limit)
    }

    /// Another source begins, whose pictures come at a rate of their own.
    package mutating func sourceChanged() {
        self.lastPicture = nil
        self.interval = 0
    }
}
