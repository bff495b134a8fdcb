package import NIOCore

/// How far behind a viewer may fall, and what follows.
package struct SlowViewerPolicy: Sendable, Hashable {
    /// The most bytes between a viewer and the live end.
    package var maximumBytes: Int
    /// The greatest age of the oldest byte that was not sent.
    package var maximumAge: TimeAmount
    /// This many skips within `skipWindow` close the viewer.
    package var skipsBeforeClose: Int
    package var skipWindow: TimeAmount

    package init(
        maximumBytes: Int = 4 << 20, maximumAge: TimeAmount = .seconds(10), skipsBeforeClose: Int = 3,
        skipWindow: TimeAmount = .seconds(60)
    ) {
        self.maximumBytes = maximumBytes
        self.maximumAge = maximumAge
        self.skipsBeforeClose = skipsBeforeClose
        self.skipWindow = skipWindow
    }

    /// Why a viewer at `position` of `ring` is over its budget; `nil` if it is not.
    package func excess(of position: UInt64, in ring: SlabRing, now: NIODeadline) -> SkipReason? {
        guard position < ring.end else { return nil }
        guard let bytes = ring.bytesBehind(position) else { return .bytes }
        if bytes > self.maximumBytes { return .bytes }
        if now - ring[position].sealedAt > self.maximumAge { return .age }
        return nil
    }
}

/// Which budget made a viewer skip.
package enum SkipReason: String, Sendable, Hashable {
    case bytes, age
}

/// Counts a viewer's skips within the window of its policy.
package struct SkipHistory: Sendable {
    package private(set) var total = 0
    private var recent: [NIODeadline] = []

    package init() {}

    /// Notes a skip. Returns whether it was one too many.
    package mutating func skipped(now: NIODeadline, policy: SlowViewerPolicy) -> Bool {
        self.total += 1
        self.recent.removeAll { now - $0 > policy.skipWindow }
        self.recent.append(now)
        return self.recent.count >= policy.skipsBeforeClose
    }
}
