import Media
import Placement

/// Counts of placements that lists and metrics show, kept as they change.
struct PlacementTally {
    private struct Known {
        var node: NodeID
        var state: PlacementState
    }

    private var known: [StreamKey: Known] = [:]
    /// Placements that are not ended, by their holder.
    private(set) var held: [NodeID: Int] = [:]
    private(set) var states: [PlacementState: Int] = [:]

    init(_ placements: [StreamPlacement]) {
        for placement in placements { self.note(placement) }
    }

    mutating func note(_ placement: StreamPlacement) {
        self.forget(placement.key)
        self.known[placement.key] = Known(node: placement.node, state: placement.state)
        self.states[placement.state, default: 0] += 1
        if placement.state != .ended { self.held[placement.node, default: 0] += 1 }
    }

    mutating func forget(_ key: StreamKey) {
        guard let known = self.known.removeValue(forKey: key) else { return }
        self.states[known.state, default: 1] -= 1
        guard known.state != .ended, let count = self.held[known.node] else { return }
        self.held[known.node] = count > 1 ? count - 1 : nil
    }
}

/// Streams and nodes that changed since the followers of the live events were last told; bounded.
struct PendingChanges {
    static let limit = 500

    private(set) var streams: Set<StreamKey> = []
    private(set) var nodes: Set<NodeID> = []
    /// There were more than are named.
    private(set) var isOverflowing = false

    var isEmpty: Bool { self.streams.isEmpty && self.nodes.isEmpty && !self.isOverflowing }

    mutating func note(_ key: StreamKey) {
        guard self.streams.count < Self.limit || self.streams.contains(key) else { return self.isOverflowing = true }
        self.streams.insert(key)
    }

    mutating func note(_ node: NodeID) {
        guard self.nodes.count < Self.limit || self.nodes.contains(node) else { return self.isOverflowing = true }
        self.nodes.insert(node)
    }
}
