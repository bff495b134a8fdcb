package import Media

/// The arithmetic of epochs.
///
/// An epoch is a `UInt64` that grows with each claim of a key and is never used twice: the upper 48 bits count, the
/// lower 16 are 0 when the coordinator granted it and a mark of the node when that node claimed on its own because
/// the coordinator was away. A plain comparison of integers says which is newer. The count is never below the wall
/// clock in seconds, so that a lost database cannot make an epoch come back. Epochs stay below 2^53, which is what a
/// JSON number can carry.
package enum PlacementEpoch {
    package static let maximum: UInt64 = 1 << 53 - 1
    private static let markBits: UInt64 = 16

    /// The part that counts.
    package static func counter(of epoch: UInt64) -> UInt64 { epoch >> self.markBits }

    /// The epoch came from a node on its own, not from the coordinator.
    package static func isProvisional(_ epoch: UInt64) -> Bool { epoch & 0xFFFF != 0 }

    /// The next epoch that the coordinator grants after `last`, which is 0 for a key that it does not know.
    package static func next(after last: UInt64, wallSeconds: UInt64) -> UInt64 {
        max(self.counter(of: last) + 1, wallSeconds) << self.markBits
    }

    /// The next epoch that `node` takes on its own after `last`.
    package static func provisional(after last: UInt64, wallSeconds: UInt64, node: NodeID) -> UInt64 {
        let hash = StableHash.hash(node.rawValue)
        let mark = UInt64(truncatingIfNeeded: hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48) & 0xFFFF
        return self.next(after: last, wallSeconds: wallSeconds) | (mark == 0 ? 1 : mark)
    }
}

/// Where a placement stands.
package enum PlacementState: String, Sendable, Hashable, Codable, CaseIterable {
    /// The key is claimed; no media yet.
    case claiming
    case live
    /// No publisher at the moment, or its node died. Viewers are kept; the next claim wins.
    case grace
    /// Over. Kept for a while so that "ended" can be told from "never heard of".
    case ended
}

/// Whom a claim may push aside.
package enum ClaimPolicy: String, Sendable, Hashable, Codable {
    /// Nobody: only a free key is won.
    case reject
    /// A session that has been silent for more than a second, or was started with the same token.
    case takeover
    /// A session that has been silent for more than a second.
    case grace
}

/// Why a node gave a placement up.
package enum ReleaseReason: String, Sendable, Hashable, Codable {
    case unpublished, graceOver, shutdown, superseded, failed
}

/// How far the segments of a stream have come, so that another origin can go on from there.
package struct MediaPosition: Sendable, Hashable, Codable {
    /// The media sequence number that comes next, and the discontinuity sequence of the segments before it.
    package var nextSequence: UInt64
    package var discontinuitySequence: UInt64
    /// The wall-clock end of the last segment, in milliseconds since 1970; 0 if it is not known.
    package var endMillis: Int64

    package init(nextSequence: UInt64, discontinuitySequence: UInt64, endMillis: Int64) {
        self.nextSequence = nextSequence
        self.discontinuitySequence = discontinuitySequence
        self.endMillis = endMillis
    }

    /// Numbers that leave room to count on, and a time that a calendar can show.
    package var isValid: Bool {
        self.nextSequence < 1 << 53 && self.discontinuitySequence < 1 << 53
            && (0...253_402_300_799_999).contains(self.endMillis)
    }

    /// Numbers that a node skips which takes a stream over: for segments whose report did not arrive.
    private static let slack: UInt64 = 4
    /// Numbers that a node skips which nobody told anything: the skips of others that it cannot know.
    private static let blindSlack: UInt64 = 64

    /// Where a source goes on that starts on a node now, so that no number is given out twice.
    ///
    /// `own` is what the node itself wrote last, `reported` what the coordinator heard of all nodes. Only a node that held
    /// the key last knows exactly how far it came; all others leave room for what may have been written since the last
    /// that is known. A node that is told nothing, or a number without a time, starts beyond every number that can have
    /// been given out.
    package static func resumption(
        own: MediaPosition?, reported: MediaPosition?, wasLastHolder: Bool, nowMillis: Int64
    ) -> MediaPosition {
        if wasLastHolder, let own, own.nextSequence >= reported?.nextSequence ?? 0 { return own }
        let base = SegmentNumbering.base(nowMillis: nowMillis) + self.blindSlack
        guard var position = self.farthest(own, reported) else {
            return MediaPosition(nextSequence: base, discontinuitySequence: base, endMillis: nowMillis)
        }
        let isTimed = position.endMillis > 0
        let skipped = (isTimed ? SegmentNumbering.most(in: nowMillis - position.endMillis) : 0) + self.slack
        position.nextSequence += skipped
        position.discontinuitySequence += skipped
        if reported == nil || !isTimed {
            position.nextSequence = max(position.nextSequence, base)
            position.discontinuitySequence = max(position.discontinuitySequence, base)
        }
        // The time until now is counted; the next node must not count it again.
        position.endMillis = max(position.endMillis, nowMillis)
        return position
    }

    /// The farther of two reports in each of their numbers: none of them may go back.
    package static func farthest(_ one: MediaPosition?, _ other: MediaPosition?) -> MediaPosition? {
        guard let one else { return other }
        guard let other else { return one }
        return MediaPosition(
            nextSequence: max(one.nextSequence, other.nextSequence),
            discontinuitySequence: max(one.discontinuitySequence, other.discontinuitySequence),
            endMillis: max(one.endMillis, other.endMillis))
    }
}

/// One stream as its origin reports it.
package struct StreamReport: Sendable, Hashable, Codable {
    package var key: StreamKey
    package var epoch: UInt64
    package var state: PlacementState
    /// Time since the last media of the publisher.
    package var silentMillis: Int64
    /// `nil` for a stream without segments.
    package var position: MediaPosition?

    package init(
        key: StreamKey, epoch: UInt64, state: PlacementState, silentMillis: Int64 = 0, position: MediaPosition? = nil
    ) {
        self.key = key
        self.epoch = epoch
        self.state = state
        self.silentMillis = silentMillis
        self.position = position
    }
}

/// A placement that a node gave up, perhaps while nobody was there to be told.
package struct StreamRelease: Sendable, Hashable, Codable {
    package var key: StreamKey
    package var epoch: UInt64
    package var reason: ReleaseReason
    package var position: MediaPosition?

    package init(key: StreamKey, epoch: UInt64, reason: ReleaseReason, position: MediaPosition? = nil) {
        self.key = key
        self.epoch = epoch
        self.reason = reason
        self.position = position
    }
}

/// What a node tells in each heartbeat.
package struct NodeStatus: Sendable, Hashable, Codable {
    package var load: LoadVector
    /// Every placement that the node holds.
    package var streams: [StreamReport]
    /// The node itself wants no new placements.
    package var draining: Bool
    /// What the node sees of its streams, those that it only pulls included; `nil` when it is not said this time.
    package var facts: [StreamFacts]?
    package var node: NodeFacts?

    package init(
        load: LoadVector = LoadVector(), streams: [StreamReport] = [], draining: Bool = false,
        facts: [StreamFacts]? = nil, node: NodeFacts? = nil
    ) {
        self.load = load
        self.streams = streams
        self.draining = draining
        self.facts = facts
        self.node = node
    }

    /// Checks the count of streams and the range of each epoch and number.
    package func validate(maximumStreams: Int) throws(PlacementValueError) {
        guard self.streams.count <= maximumStreams else {
            throw .tooMany(.streams, found: self.streams.count, allowed: maximumStreams)
        }
        for report in self.streams {
            guard report.epoch > 0, report.epoch <= PlacementEpoch.maximum else { throw .outOfRange(.epoch) }
            // A year is beyond any session's silence and far from overflowing nanoseconds.
            guard (0...31_536_000_000).contains(report.silentMillis) else { throw .outOfRange(.silentMillis) }
            guard report.position?.isValid ?? true else { throw .outOfRange(.position) }
        }
        if let facts = self.facts, facts.count > maximumStreams {
            throw .tooMany(.streams, found: facts.count, allowed: maximumStreams)
        }
        guard self.load.busiestLoop.isFinite, self.load.streams >= 0, self.load.viewers >= 0 else {
            throw .outOfRange(.load)
        }
    }
}

/// Where to pull a stream from, or forward a publisher to.
package struct Route: Sendable, Hashable, Codable {
    package var node: NodeID
    package var host: String
    package var rtmpPort: Int
    /// 0 when the node serves no media over HTTP.
    package var httpPort: Int
    /// The placement's epoch; 0 when the stream is not placed yet.
    package var epoch: UInt64

    package init(node: NodeID, host: String, rtmpPort: Int, httpPort: Int, epoch: UInt64) {
        self.node = node
        self.host = host
        self.rtmpPort = rtmpPort
        self.httpPort = httpPort
        self.epoch = epoch
    }

    /// The way to `node` at `epoch`.
    package init(_ node: NodeDescription, epoch: UInt64) {
        self.init(
            node: node.id, host: node.host, rtmpPort: node.rtmpPort, httpPort: node.httpPort, epoch: epoch)
    }
}

/// What those who follow the cluster learn when a placement changes.
package struct PlacementChange: Sendable, Hashable, Codable {
    package var key: StreamKey
    package var epoch: UInt64
    package var state: PlacementState
    /// `nil` when the stream ended, or its node is not known or is dead.
    package var route: Route?

    package init(key: StreamKey, epoch: UInt64, state: PlacementState, route: Route?) {
        self.key = key
        self.epoch = epoch
        self.state = state
        self.route = route
    }
}

/// A hash that gives the same result in every process and version, for choices that all nodes must agree on.
package enum StableHash {
    /// FNV-1a over the bytes, finished with a mixer, because FNV alone leaves the upper bits of short texts alike.
    package static func hash(_ parts: String...) -> UInt64 {
        var value: UInt64 = 0xCBF2_9CE4_8422_2325
        for part in parts {
            for byte in part.utf8 {
                value = (value ^ UInt64(byte)) &* 0x100_0000_01B3
            }
            value = (value ^ 0xFF) &* 0x100_0000_01B3
        }
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}
