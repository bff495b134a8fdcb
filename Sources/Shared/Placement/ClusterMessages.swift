package import Media

/// Body of `POST /api/v1/nodes`: a node joins, or joins again, and announces what it holds.
package struct RegisterRequest: Sendable, Hashable, Codable {
    package var node: NodeDescription
    package var status: NodeStatus
    /// What was given up while the coordinator could not be told.
    package var released: [StreamRelease]

    package init(node: NodeDescription, status: NodeStatus, released: [StreamRelease] = []) {
        self.node = node
        self.status = status
        self.released = released
    }
}

/// Body of `POST /api/v1/nodes/{id}/heartbeat`.
package struct HeartbeatRequest: Sendable, Hashable, Codable {
    package var instance: String
    package var status: NodeStatus
    package var released: [StreamRelease]
    /// The revision of the list of origins that the node has; 0 for none.
    package var originsRevision: UInt64
    /// The revision of the policies that the node has; `nil` for none.
    package var policiesRevision: UInt64?

    package init(
        instance: String, status: NodeStatus, released: [StreamRelease] = [], originsRevision: UInt64 = 0,
        policiesRevision: UInt64? = nil
    ) {
        self.instance = instance
        self.status = status
        self.released = released
        self.originsRevision = originsRevision
        self.policiesRevision = policiesRevision
    }
}

/// A claim that is no longer valid, and what replaced it.
package struct SupersededStream: Sendable, Hashable, Codable {
    package var key: StreamKey
    /// The epoch that counts now.
    package var epoch: UInt64
    package var node: NodeID

    package init(key: StreamKey, epoch: UInt64, node: NodeID) {
        self.key = key
        self.epoch = epoch
        self.node = node
    }
}

/// Answer to a registration and to a heartbeat.
package struct HeartbeatAnswer: Sendable, Hashable, Codable {
    /// Names the coordinator's process. A new one means that it restarted.
    package var instance: String
    /// Streams of the report that the node must drop.
    package var superseded: [SupersededStream]
    /// The operator wants the node to take no new placements.
    package var draining: Bool
    package var originsRevision: UInt64
    /// The origins of the cluster that take placements; `nil` when the node has this revision already.
    package var origins: [NodeDescription]?
    /// The policies; `nil` when the node has them already.
    package var policies: PolicyList?

    package init(
        instance: String, superseded: [SupersededStream], draining: Bool, originsRevision: UInt64,
        origins: [NodeDescription]?, policies: PolicyList? = nil
    ) {
        self.instance = instance
        self.superseded = superseded
        self.draining = draining
        self.originsRevision = originsRevision
        self.origins = origins
        self.policies = policies
    }
}

/// Body of `POST /api/v1/streams/claim`.
package struct ClaimRequest: Sendable, Hashable, Codable {
    package var key: StreamKey
    package var node: NodeID
    package var instance: String
    package var policy: ClaimPolicy
    /// SHA-256 of the publisher's token in hexadecimal; `nil` without a token. Tokens themselves do not travel.
    package var tokenDigest: String?

    package init(key: StreamKey, node: NodeID, instance: String, policy: ClaimPolicy, tokenDigest: String? = nil) {
        self.key = key
        self.node = node
        self.instance = instance
        self.policy = policy
        self.tokenDigest = tokenDigest
    }
}

/// Answer to a claim that won.
package struct ClaimGrant: Sendable, Hashable, Codable {
    package var epoch: UInt64
    /// For how long the placement holds without a renewal.
    package var leaseMillis: Int64
    /// How far the segments of the stream had come when they were last reported, by whatever node.
    package var position: MediaPosition?
    /// Who held the key before; `nil` when the coordinator knows of nobody.
    package var previousNode: NodeID?

    package init(
        epoch: UInt64, leaseMillis: Int64, position: MediaPosition? = nil, previousNode: NodeID? = nil
    ) {
        self.epoch = epoch
        self.leaseMillis = leaseMillis
        self.position = position
        self.previousNode = previousNode
    }
}

/// Why a claim lost: who holds the key.
package struct ClaimConflict: Sendable, Hashable, Codable {
    package var node: NodeID
    /// Empty when the coordinator does not know where the node is.
    package var host: String
    package var epoch: UInt64
    package var state: PlacementState
    /// When a second try may succeed, because the holder is probably gone. `nil` when it is well.
    package var retryAfterMillis: Int64?

    package init(node: NodeID, host: String, epoch: UInt64, state: PlacementState, retryAfterMillis: Int64?) {
        self.node = node
        self.host = host
        self.epoch = epoch
        self.state = state
        self.retryAfterMillis = retryAfterMillis
    }
}

extension ClaimConflict: CustomStringConvertible {
    package var description: String { "held by \(self.node) at epoch \(self.epoch), \(self.state.rawValue)" }
}

/// Body of `POST /api/v1/streams/renew`: a change of state that does not wait for the heartbeat.
package struct RenewRequest: Sendable, Hashable, Codable {
    package var node: NodeID
    package var instance: String
    package var report: StreamReport

    package init(node: NodeID, instance: String, report: StreamReport) {
        self.node = node
        self.instance = instance
        self.report = report
    }
}

/// Body of `POST /api/v1/streams/release`.
package struct ReleaseRequest: Sendable, Hashable, Codable {
    package var node: NodeID
    package var instance: String
    package var release: StreamRelease

    package init(node: NodeID, instance: String, release: StreamRelease) {
        self.node = node
        self.instance = instance
        self.release = release
    }
}

/// Answer of `GET /api/v1/routes/publish`: origins for a publisher, the best first.
package struct PublishRoutes: Sendable, Hashable, Codable {
    package var origins: [Route]

    package init(origins: [Route]) { self.origins = origins }
}

/// One answer of the long poll of `GET /api/v1/watch`.
package struct WatchBatch: Sendable, Hashable, Codable {
    /// Where the next poll goes on.
    package var cursor: String
    /// `changes` are all placements there are, not what is new since the cursor that was sent.
    package var isSnapshot: Bool
    /// The coordinator started a moment ago; placements that are missing may still be announced.
    package var isRecovering: Bool
    package var changes: [PlacementChange]

    package init(cursor: String, isSnapshot: Bool, isRecovering: Bool, changes: [PlacementChange]) {
        self.cursor = cursor
        self.isSnapshot = isSnapshot
        self.isRecovering = isRecovering
        self.changes = changes
    }
}

/// An error as the HTTP API tells it. Spec: RFC 9457.
package struct ProblemDetails: Sendable, Hashable, Codable {
    /// `urn:weir:problem:` and the name of the case.
    package var type: String
    package var title: String
    package var status: Int
    package var detail: String?
    /// Who holds the key, for a claim or a report that came too late.
    package var conflict: ClaimConflict?

    package init(type: String, title: String, status: Int, detail: String? = nil, conflict: ClaimConflict? = nil) {
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.conflict = conflict
    }

    /// What `type` begins with.
    package static let typePrefix = "urn:weir:problem:"
}
