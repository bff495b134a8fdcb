package import Media
package import Placement

/// A placement as a row: its lease is on the wall clock, because it outlives the process.
package struct StoredPlacement: Sendable, Hashable {
    package var key: StreamKey
    package var epoch: UInt64
    package var node: NodeID
    package var instance: String
    package var state: PlacementState
    package var tokenDigest: String?
    /// Milliseconds since 1970.
    package var leaseUntilMillis: Int64
    package var endReason: StreamPlacement.EndReason?
    package var position: MediaPosition?

    package init(
        key: StreamKey, epoch: UInt64, node: NodeID, instance: String, state: PlacementState,
        tokenDigest: String? = nil, leaseUntilMillis: Int64, endReason: StreamPlacement.EndReason? = nil,
        position: MediaPosition? = nil
    ) {
        self.key = key
        self.epoch = epoch
        self.node = node
        self.instance = instance
        self.state = state
        self.tokenDigest = tokenDigest
        self.leaseUntilMillis = leaseUntilMillis
        self.endReason = endReason
        self.position = position
    }
}

/// A node as a row.
package struct StoredNode: Sendable, Hashable {
    package var description: NodeDescription
    package var isDrained: Bool

    package init(description: NodeDescription, isDrained: Bool) {
        self.description = description
        self.isDrained = isDrained
    }
}

/// One line of the cluster's history.
package struct StoredEvent: Sendable, Hashable, Codable {
    /// Grows with each event and is never used twice.
    package var id: Int64
    /// Milliseconds since 1970.
    package var atMillis: Int64
    package var event: ClusterEvent
    /// Who did it, for what operators do: the name of their token.
    package var actor: String?

    package init(id: Int64, atMillis: Int64, event: ClusterEvent, actor: String? = nil) {
        self.id = id
        self.atMillis = atMillis
        self.event = event
        self.actor = actor
    }
}

/// All that the coordinator starts with.
package struct StoredState: Sendable, Hashable {
    package var placements: [StoredPlacement]
    package var nodes: [StoredNode]
    /// The count that no new epoch may go below.
    package var epochFloor: UInt64
    /// Rows that no longer hold a valid key, node or state, and were left out.
    package var skippedRows: Int

    package init(
        placements: [StoredPlacement] = [], nodes: [StoredNode] = [], epochFloor: UInt64 = 0, skippedRows: Int = 0
    ) {
        self.placements = placements
        self.nodes = nodes
        self.epochFloor = epochFloor
        self.skippedRows = skippedRows
    }
}

/// One change. Changes that are handed over together are written in one transaction.
package enum StoreWrite: Sendable, Hashable {
    /// Inserts or replaces, unless the row has a higher epoch already.
    case placement(StoredPlacement)
    /// Moves the leases of all streams of these nodes.
    case leases(nodes: [NodeID], untilMillis: Int64)
    /// Deletes the row of the key if it still has this epoch, and remembers the floor.
    case forget(StreamKey, epoch: UInt64, floor: UInt64)
    case node(StoredNode)
    case removeNode(NodeID)
    /// `actor` is who did it, for what operators do.
    case event(ClusterEvent, atMillis: Int64, actor: String? = nil)
    /// Deletes events before a time, and the oldest ones beyond a number.
    case pruneEvents(beforeMillis: Int64, keeping: Int)
}
