package import Media
package import Placement

/// How a node reaches the coordinator, and what it keeps of the answers.
package struct ClusterLinkConfiguration: Sendable {
    /// Base addresses such as `http://127.0.0.1:7000`, without a path. The next one is tried when one fails.
    package var coordinators: [String]
    /// The cluster's shared secret; `nil` or empty for none.
    package var secret: String?
    package var node: NodeDescription
    package var heartbeatMillis: Int64
    /// The longest that one request, and so one answer to a viewer or publisher, may take.
    package var requestDeadlineMillis: Int64
    /// How long "nobody publishes this" is believed without asking again.
    package var negativeCacheMillis: Int64
    package var negativeCacheEntries: Int
    /// Placements that are kept. What does not fit is asked for when it is needed.
    package var routeCacheEntries: Int
    /// Lifetime of a route that was asked for while the watch is not connected.
    package var routeCacheMillis: Int64
    package var minimumBackoffMillis: Int64
    package var maximumBackoffMillis: Int64
    /// The largest answer and the largest event of the watch.
    package var maximumAnswerBytes: Int
    /// Releases that are remembered while the coordinator is away.
    package var maximumPendingReleases: Int

    package init(
        coordinators: [String], secret: String? = nil, node: NodeDescription, heartbeatMillis: Int64 = 1_000,
        requestDeadlineMillis: Int64 = 1_000, negativeCacheMillis: Int64 = 1_000, negativeCacheEntries: Int = 10_000,
        routeCacheEntries: Int = 200_000, routeCacheMillis: Int64 = 5_000, minimumBackoffMillis: Int64 = 100,
        maximumBackoffMillis: Int64 = 2_000, maximumAnswerBytes: Int = 64 << 20, maximumPendingReleases: Int = 10_000
    ) {
        self.coordinators = coordinators
        self.secret = secret
        self.node = node
        self.heartbeatMillis = heartbeatMillis
        self.requestDeadlineMillis = requestDeadlineMillis
        self.negativeCacheMillis = negativeCacheMillis
        self.negativeCacheEntries = negativeCacheEntries
        self.routeCacheEntries = routeCacheEntries
        self.routeCacheMillis = routeCacheMillis
        self.minimumBackoffMillis = minimumBackoffMillis
        self.maximumBackoffMillis = maximumBackoffMillis
        self.maximumAnswerBytes = maximumAnswerBytes
        self.maximumPendingReleases = maximumPendingReleases
    }

    /// Checks what can be checked without the network.
    package func validate() throws(ClusterLinkConfigurationError) {
        guard !self.coordinators.isEmpty else { throw .noCoordinator }
        for coordinator in self.coordinators {
            guard coordinator.hasPrefix("http://") || coordinator.hasPrefix("https://") else {
                throw .invalidCoordinator(coordinator)
            }
        }
        do { try self.node.validate() } catch { throw .invalidNode(error) }
        let times = [
            ("heartbeatMillis", self.heartbeatMillis), ("requestDeadlineMillis", self.requestDeadlineMillis),
            ("minimumBackoffMillis", self.minimumBackoffMillis), ("maximumBackoffMillis", self.maximumBackoffMillis),
        ]
        for (name, value) in times where value <= 0 { throw .notPositive(name) }
        guard self.minimumBackoffMillis <= self.maximumBackoffMillis else { throw .backoffOrder }
    }
}

/// What is wrong with the configuration of the link.
package enum ClusterLinkConfigurationError: Error, Equatable {
    case noCoordinator
    /// Neither `http://` nor `https://`.
    case invalidCoordinator(String)
    case invalidNode(PlacementValueError)
    /// The named time must be above zero.
    case notPositive(String)
    /// `minimumBackoffMillis` is above `maximumBackoffMillis`.
    case backoffOrder
}

/// What the link asks of, and tells to, the node that owns it.
///
/// All are called on the link's own tasks, never on a media loop. They must not block.
package struct ClusterLinkHandlers: Sendable {
    /// All that the node holds, asked for at each heartbeat.
    package var status: @Sendable () async -> NodeStatus
    /// A placement changed somewhere in the cluster. Called in order; after a gap only the differences come.
    package var onChange: @Sendable (PlacementChange) -> Void
    /// The node's claim no longer counts: drop the publisher. May repeat until the stream has left `status`.
    package var onSuperseded: @Sendable (_ key: StreamKey, _ currentEpoch: UInt64) -> Void
    /// The operator wants the node drained, or takes that back.
    package var onDrain: @Sendable (_ isDraining: Bool) -> Void
    /// The operator's policies, at the first join and whenever they change. In order.
    package var onPolicies: @Sendable (PolicyList) -> Void
    /// A request of the cluster's API for this node; `nil` when the node answers none. Several run at the same time. It
    /// is cancelled when its deadline is over, and should then return.
    package var onRequest: (@Sendable (NodeRequest) async -> NodeAnswer)?

    package init(
        status: @escaping @Sendable () async -> NodeStatus = { NodeStatus() },
        onChange: @escaping @Sendable (PlacementChange) -> Void = { _ in },
        onSuperseded: @escaping @Sendable (_ key: StreamKey, _ currentEpoch: UInt64) -> Void = { _, _ in },
        onDrain: @escaping @Sendable (_ isDraining: Bool) -> Void = { _ in },
        onPolicies: @escaping @Sendable (PolicyList) -> Void = { _ in },
        onRequest: (@Sendable (NodeRequest) async -> NodeAnswer)? = nil
    ) {
        self.status = status
        self.onChange = onChange
        self.onSuperseded = onSuperseded
        self.onDrain = onDrain
        self.onPolicies = onPolicies
        self.onRequest = onRequest
    }
}

/// The answer to a claim.
package enum ClaimOutcome: Sendable, Hashable {
    /// `position`: how far the stream's segments had come; `wasLastHolder`: nobody else held the stream since this node.
    case granted(epoch: UInt64, position: MediaPosition?, wasLastHolder: Bool)
    /// Somebody else holds the key.
    case conflict(ClaimConflict)
    /// The coordinator cannot be asked. Publish; it is told as soon as it is back, and the epoch stays.
    case provisional(epoch: UInt64)
    /// The coordinator does not want this node to hold anything: `draining`, `not-an-origin`, `too-many-streams`, …
    case refused(reason: String)
}

/// Where to pull a stream from.
package enum RouteOutcome: Sendable, Hashable {
    case origin(Route)
    /// Nobody publishes it.
    case notFound
    /// It was published, and is over.
    case ended
    /// The coordinator cannot be asked. The last known way may still work.
    case unreachable(cached: Route?)
}

/// Where to forward a publisher to.
package enum PublishRouteOutcome: Sendable, Hashable {
    /// The best first; never empty.
    case origins([Route])
    /// No origin takes publishers.
    case noOrigin
    /// The coordinator cannot be asked. The origins that it named last, the best first.
    case unreachable(cached: [Route])
}

/// How the link stands, for metrics and the API.
package struct ClusterLinkState: Sendable, Hashable {
    /// How changes reach this node.
    package enum Watch: String, Sendable, Hashable, Codable { case none, events, polling }

    package var isConnected = false
    /// Wall clock of the last successful join; `nil` while it is not connected.
    package var connectedSinceMillis: Int64?
    package var watch = Watch.none
    /// The address in use.
    package var coordinator = ""
    package var lastError: String?
    /// How often the connection was lost.
    package var lossCount = 0
    package var knownPlacements = 0
}
