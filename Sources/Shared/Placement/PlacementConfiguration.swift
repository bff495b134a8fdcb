package import NIOCore

/// The times and bounds of the placement rules.
package struct PlacementConfiguration: Sendable, Hashable {
    /// How long a placement holds without a renewal.
    package var lease: TimeAmount
    /// How often nodes report.
    package var heartbeat: TimeAmount
    /// A node that was not heard for this long gets no new placements.
    package var suspectAfter: TimeAmount
    /// A node that was not heard for this long has lost its publishers.
    package var deadAfter: TimeAmount
    /// A session without media for longer than this may be pushed aside.
    package var silentAfter: TimeAmount
    /// How long after the start placements of nodes that were not heard yet are held for them.
    package var recovery: TimeAmount
    /// How long an ended stream is told apart from one that never was.
    package var tombstoneLifetime: TimeAmount
    package var maximumTombstones: Int
    package var maximumNodes: Int
    /// Placements that are not ended.
    package var maximumStreams: Int

    package init(
        lease: TimeAmount = .seconds(10), heartbeat: TimeAmount = .seconds(1), suspectAfter: TimeAmount = .seconds(3),
        deadAfter: TimeAmount = .seconds(5), silentAfter: TimeAmount = .seconds(1),
        recovery: TimeAmount = .seconds(4), tombstoneLifetime: TimeAmount = .minutes(10),
        maximumTombstones: Int = 10_000, maximumNodes: Int = 4_096, maximumStreams: Int = 200_000
    ) {
        self.lease = lease
        self.heartbeat = heartbeat
        self.suspectAfter = suspectAfter
        self.deadAfter = deadAfter
        self.silentAfter = silentAfter
        self.recovery = recovery
        self.tombstoneLifetime = tombstoneLifetime
        self.maximumTombstones = maximumTombstones
        self.maximumNodes = maximumNodes
        self.maximumStreams = maximumStreams
    }

    /// A heartbeat that is this old should have been followed by another, jitter included.
    var doubtfulAfter: TimeAmount { self.heartbeat + .milliseconds(200) }

    /// A holder whose heartbeat is this old is no longer taken at its last word.
    var overdueAfter: TimeAmount { self.heartbeat + self.heartbeat }
}

/// Why the table refuses a request.
package enum PlacementError: Error, Equatable {
    /// The node has not joined, or the coordinator restarted since. It joins again and repeats.
    case unknownNode
    /// Another process with the same node id is in the cluster.
    case nodeIDInUse
    /// Only origins hold placements.
    case notAnOrigin
    /// The node is being drained.
    case draining
    case unknownStream
    /// The epoch is not the one that counts.
    case fenced(ClaimConflict)
    case transition(from: PlacementState, to: PlacementState)
    /// The coordinator started a moment ago and does not know yet whether somebody holds the key.
    case recovering(retryAfterMillis: Int64)
    case tooManyNodes(limit: Int)
    case tooManyStreams(limit: Int)
    /// The stream is over.
    case ended
}
