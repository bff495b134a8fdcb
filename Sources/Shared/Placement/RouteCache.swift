import DequeModule
package import Media
package import NIOCore

/// What a node knows of the cluster's placements.
///
/// Fed by the watch and by answers to lookups. After a gap the watch sends all placements anew: `beginSnapshot()`, each
/// `apply(_:)`, then `sweep()`, which tells what is gone. A coordinator that just started is not believed that
/// something is gone until it says that it heard all nodes; until then there is no sweep.
package struct RouteCache: Sendable {
    /// What is known of one key.
    package struct Entry: Sendable {
        package var change: PlacementChange
        var generation: UInt64
        /// When it was told last.
        package var learned: NIODeadline
    }

    private let maximumEntries: Int
    private let maximumNegatives: Int
    package private(set) var entries: [StreamKey: Entry] = [:]
    private var generation: UInt64 = 0
    private var negatives: [StreamKey: NIODeadline] = [:]
    private var negativeOrder: Deque<(key: StreamKey, until: NIODeadline)> = []
    /// Ended streams in the order in which they ended, so that the oldest make room.
    private var endedOrder: Deque<(key: StreamKey, epoch: UInt64)> = []

    /// Both bounds are at least 1. `maximumNegatives` also bounds the ended streams that are remembered.
    package init(maximumEntries: Int, maximumNegatives: Int) {
        precondition(maximumEntries > 0 && maximumNegatives > 0, "a cache needs room")
        self.maximumEntries = maximumEntries
        self.maximumNegatives = maximumNegatives
    }

    package subscript(key: StreamKey) -> Entry? { self.entries[key] }

    /// Keys that are known to be missing.
    package var negativeCount: Int { self.negatives.count }

    /// Takes a change. Returns it if it says something new, `nil` if it is known or older than what is known.
    package mutating func apply(_ change: PlacementChange, now: NIODeadline) -> PlacementChange? {
        self.negatives[change.key] = nil
        if let known = self.entries[change.key] {
            guard change.epoch >= known.change.epoch else { return nil }
            self.entries[change.key] = Entry(change: change, generation: self.generation, learned: now)
            if change.state == .ended { self.noteEnded(change) }
            return known.change == change ? nil : change
        }
        if self.entries.count < self.maximumEntries {
            self.entries[change.key] = Entry(change: change, generation: self.generation, learned: now)
            if change.state == .ended { self.noteEnded(change) }
        }
        // What ended before this node heard of it is no news.
        return change.state == .ended ? nil : change
    }

    private mutating func noteEnded(_ change: PlacementChange) {
        self.endedOrder.append((change.key, change.epoch))
        while self.endedOrder.count > self.maximumNegatives, let oldest = self.endedOrder.popFirst() {
            guard let entry = self.entries[oldest.key], entry.change.state == .ended,
                entry.change.epoch == oldest.epoch
            else { continue }
            self.entries[oldest.key] = nil
        }
    }

    /// All placements follow.
    package mutating func beginSnapshot() { self.generation += 1 }

    /// The snapshot is complete, and nothing is left to be announced. Returns what is gone, as ended.
    package mutating func sweep() -> [PlacementChange] {
        var gone: [PlacementChange] = []
        for (key, entry) in self.entries where entry.generation < self.generation {
            self.entries[key] = nil
            guard entry.change.state != .ended else { continue }
            gone.append(PlacementChange(key: key, epoch: entry.change.epoch, state: .ended, route: nil))
        }
        return gone
    }

    /// Takes the answer to a lookup. What the watch told meanwhile is newer and stays.
    package mutating func learn(_ route: Route, for key: StreamKey, now: NIODeadline) {
        if let known = self.entries[key], known.change.epoch > route.epoch { return }
        let state = self.entries[key].map { $0.change.epoch == route.epoch ? $0.change.state : .live } ?? .live
        let change = PlacementChange(
            key: key, epoch: route.epoch, state: state == .ended ? .live : state, route: route)
        guard self.entries[key] != nil || self.entries.count < self.maximumEntries else { return }
        self.entries[key] = Entry(change: change, generation: self.generation, learned: now)
    }

    /// Takes a lookup's answer that nobody publishes `key`.
    package mutating func learnMissing(_ key: StreamKey, until: NIODeadline) {
        guard self.negatives.updateValue(until, forKey: key) == nil else { return }
        self.negativeOrder.append((key, until))
        while self.negativeOrder.count > self.maximumNegatives, let oldest = self.negativeOrder.popFirst() {
            self.negatives[oldest.key] = nil
        }
    }

    /// Nobody published `key` a moment ago.
    package mutating func isKnownMissing(_ key: StreamKey, now: NIODeadline) -> Bool {
        while let oldest = self.negativeOrder.first, oldest.until <= now {
            self.negativeOrder.removeFirst()
            if let until = self.negatives[oldest.key], until <= now { self.negatives[oldest.key] = nil }
        }
        return self.negatives[key].map { now < $0 } ?? false
    }
}
