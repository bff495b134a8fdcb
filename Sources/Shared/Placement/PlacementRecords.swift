package import Media
package import NIOCore

/// Who holds a stream, and until when.
package struct StreamPlacement: Sendable, Hashable {
    /// Why a placement is over.
    package enum EndReason: String, Sendable, Hashable, Codable {
        /// The node gave it up.
        case released
        /// Nobody renewed it.
        case leaseExpired
        /// It was granted but could not be stored, so the node never learned of it.
        case forfeited
    }

    package var key: StreamKey
    package var epoch: UInt64
    package var node: NodeID
    /// The process of `node` that holds it.
    package var instance: String
    package var state: PlacementState
    package var tokenDigest: String?
    package var leaseUntil: NIODeadline
    package var endReason: EndReason?
    /// How far the stream's segments have come, over all placements that it had.
    package var position: MediaPosition?
    /// Who held the key before this placement; `nil` when nobody is known.
    package var previousNode: NodeID?

    /// Arrival of the last media, as far as the last report tells.
    var lastMedia: NIODeadline
    /// What the last report said.
    var reportedSilence: TimeAmount
    /// The node reported it since the coordinator started.
    var isConfirmed: Bool

    /// A placement as it comes from the database.
    package init(
        key: StreamKey, epoch: UInt64, node: NodeID, instance: String, state: PlacementState,
        tokenDigest: String? = nil, leaseUntil: NIODeadline, endReason: EndReason? = nil,
        position: MediaPosition? = nil
    ) {
        self.key = key
        self.epoch = epoch
        self.node = node
        self.instance = instance
        self.state = state
        self.tokenDigest = tokenDigest
        self.leaseUntil = leaseUntil
        self.endReason = endReason
        self.position = position
        self.lastMedia = leaseUntil
        self.reportedSilence = .zero
        self.isConfirmed = false
    }
}

/// How sure the coordinator is that a node runs.
package enum NodeHealth: String, Sendable, Hashable, Codable {
    /// Known from the database, not heard since the coordinator started.
    case unheard
    case alive, suspect, dead
}

/// A node as the coordinator knows it.
package struct NodeRecord: Sendable, Hashable {
    package var description: NodeDescription
    package var health: NodeHealth
    package var lastHeard: NIODeadline
    package var load: LoadVector
    /// The operator's wish; it outlives restarts of node and coordinator.
    package var isDrained: Bool
    /// The node's own wish.
    package var isDraining: Bool
    /// The node's watch broke off, and nothing was heard since.
    package var isLinkLost: Bool

    package init(
        description: NodeDescription, health: NodeHealth, lastHeard: NIODeadline, load: LoadVector = LoadVector(),
        isDrained: Bool = false, isDraining: Bool = false
    ) {
        self.description = description
        self.health = health
        self.lastHeard = lastHeard
        self.load = load
        self.isDrained = isDrained
        self.isDraining = isDraining
        self.isLinkLost = false
    }

    /// An origin that may get new placements.
    var takesPlacements: Bool {
        self.description.role == .origin && !self.isDrained && !self.isDraining
            && (self.health == .alive || self.health == .suspect)
    }
}

/// Something that an operator may want to read about later.
package struct ClusterEvent: Sendable, Hashable, Codable {
    package enum Kind: String, Sendable, Hashable, Codable, CaseIterable {
        case nodeJoined, nodeLeft, nodeSuspect, nodeDead, nodeBack, nodeLinkLost, drained, undrained
        case claimed, takenOver, adopted, revived, live, grace, ended, superseded, recovered
        /// What operators do through the API.
        case kicked, publisherEnded, recordingStarted, recordingStopped, recordingRemoved, policySet, policyRemoved
        case tokenCreated, tokenRevoked, backedUp
    }

    package var kind: Kind
    package var node: NodeID?
    package var key: StreamKey?
    package var epoch: UInt64?
    /// A closed set of words: reasons and states, never text of a peer.
    package var detail: String?

    package init(kind: Kind, node: NodeID? = nil, key: StreamKey? = nil, epoch: UInt64? = nil, detail: String? = nil) {
        self.kind = kind
        self.node = node
        self.key = key
        self.epoch = epoch
        self.detail = detail
    }
}

/// What follows from an input to the table.
package enum PlacementOutput: Sendable, Hashable {
    /// Store it, then tell those who watch.
    case placement(StreamPlacement, PlacementChange)
    /// The node joined, or its intent changed: store it.
    case node(NodeRecord)
    case nodeRemoved(NodeID)
    /// A tombstone was dropped. `floor` is a count that no later epoch may go below.
    case forgotten(StreamKey, epoch: UInt64, floor: UInt64)
    case event(ClusterEvent)
    /// The time that nodes have to announce themselves after a start is over.
    case recovered
}
