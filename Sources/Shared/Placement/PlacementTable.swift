import DequeModule
package import Media
package import NIOCore

/// The rules of the coordinator: who holds which stream, and who may take it over.
///
/// States of a placement: `claiming → live ⇄ grace → ended`. A claim starts at `claiming` with a new epoch; reports of
/// the holder move it; a dead holder puts it into `grace`; a release or an unrenewed lease ends it. States of a node:
/// `unheard` (restored) or `alive → suspect → dead`, and back with each heartbeat.
///
/// Pure: time and wall clock come in with each call, and what has to be stored and told comes out of `nextOutput()`,
/// which the owner drains to `nil` after each call. Wake it with `deadlineReached(now:)` at `nextDeadline`.
package struct PlacementTable: Sendable {
    package let configuration: PlacementConfiguration

    package internal(set) var nodes: [NodeID: NodeRecord] = [:]
    package internal(set) var placements: [StreamKey: StreamPlacement] = [:]
    /// Counts changes in the list of origins that take placements.
    package internal(set) var originsRevision: UInt64 = 1
    /// Placements that are not ended.
    package internal(set) var activeCount = 0

    /// When the time to announce after a start is over; `nil` afterwards.
    var recoveryEnds: NIODeadline?
    /// The highest count of an epoch whose key was forgotten.
    var epochFloor: UInt64
    /// Active placements by node and by lease: `store` keeps it.
    var index = PlacementIndex()
    var tombstones: Deque<Tombstone> = []
    var outputs: Deque<PlacementOutput> = []

    struct Tombstone: Sendable {
        var key: StreamKey
        var epoch: UInt64
        var until: NIODeadline
    }

    /// Starts with what the database knows, which may be nothing.
    ///
    /// The placements in `restored` are held for their nodes until `configuration.recovery` has passed, whatever their
    /// lease says: nobody could renew it while the coordinator was away. `epochFloor` is what the last
    /// `PlacementOutput.forgotten` said.
    package init(
        configuration: PlacementConfiguration, restored placements: [StreamPlacement] = [],
        nodes: [NodeRecord] = [], epochFloor: UInt64 = 0, now: NIODeadline
    ) {
        self.configuration = configuration
        self.epochFloor = epochFloor
        self.recoveryEnds = now + configuration.recovery
        for var node in nodes {
            node.health = .unheard
            node.lastHeard = now
            self.nodes[node.description.id] = node
        }
        for var placement in placements {
            placement.isConfirmed = false
            placement.lastMedia = now
            if placement.state == .ended {
                self.buryRestored(placement, now: now)
            } else {
                placement.leaseUntil = max(placement.leaseUntil, now + configuration.recovery + configuration.lease)
                self.activeCount += 1
            }
            self.index.note(placement, instead: self.placements[placement.key])
            self.placements[placement.key] = placement
        }
    }

    private mutating func buryRestored(_ placement: StreamPlacement, now: NIODeadline) {
        let until = now + self.configuration.tombstoneLifetime
        self.tombstones.append(Tombstone(key: placement.key, epoch: placement.epoch, until: until))
    }

    /// Takes the next output, in the order in which they came to be.
    package mutating func nextOutput() -> PlacementOutput? { self.outputs.popFirst() }

    /// When `deadlineReached(now:)` may have something to do; in the distant future when nothing is known.
    package var nextDeadline: NIODeadline {
        var next = self.index.leases.earliest ?? .distantFuture
        if let ends = self.recoveryEnds { next = min(next, ends) }
        if let first = self.tombstones.first { next = min(next, first.until) }
        for node in self.nodes.values {
            switch node.health {
            case .alive: next = min(next, node.lastHeard + self.configuration.suspectAfter)
            case .suspect: next = min(next, node.lastHeard + self.configuration.deadAfter)
            case .unheard, .dead: continue
            }
        }
        return next
    }

    /// The coordinator started less than `configuration.recovery` ago, so what is missing may still be announced.
    package var isRecovering: Bool { self.recoveryEnds != nil }

    /// What a watcher is told of `placement`.
    package func change(for placement: StreamPlacement) -> PlacementChange {
        PlacementChange(
            key: placement.key, epoch: placement.epoch, state: placement.state, route: self.route(to: placement))
    }

    /// All placements, ended ones included, as a watcher that starts anew is told.
    package func snapshot() -> [PlacementChange] { self.placements.values.map { self.change(for: $0) } }

    func route(to placement: StreamPlacement) -> Route? {
        guard placement.state != .ended, let node = self.nodes[placement.node], node.health != .dead else { return nil }
        return Route(node.description, epoch: placement.epoch)
    }

    func conflict(with placement: StreamPlacement, retryAfter: TimeAmount? = nil) -> ClaimConflict {
        ClaimConflict(
            node: placement.node, host: self.nodes[placement.node]?.description.host ?? "", epoch: placement.epoch,
            state: placement.state,
            retryAfterMillis: retryAfter.map { max($0.nanoseconds, 0) / 1_000_000 + 1 })
    }

    /// Puts `placement` into the table, keeps the counts, and queues what follows from it.
    mutating func store(_ placement: StreamPlacement) {
        let before = self.placements[placement.key]
        let wasActive = before.map { $0.state != .ended } ?? false
        let isActive = placement.state != .ended
        self.activeCount += (isActive ? 1 : 0) - (wasActive ? 1 : 0)
        self.placements[placement.key] = placement
        self.index.note(placement, instead: before)
        self.outputs.append(.placement(placement, self.change(for: placement)))
    }

    mutating func emit(_ kind: ClusterEvent.Kind, _ placement: StreamPlacement, detail: String? = nil) {
        self.outputs.append(
            .event(
                ClusterEvent(
                    kind: kind, node: placement.node, key: placement.key, epoch: placement.epoch, detail: detail)))
    }

    mutating func emit(_ kind: ClusterEvent.Kind, node: NodeID, detail: String? = nil) {
        self.outputs.append(.event(ClusterEvent(kind: kind, node: node, detail: detail)))
    }

    /// Ends `placement` and keeps a tombstone of it.
    mutating func end(_ placement: StreamPlacement, reason: StreamPlacement.EndReason, detail: String, now: NIODeadline)
    {
        var ended = placement
        ended.state = .ended
        ended.endReason = reason
        ended.leaseUntil = now
        self.store(ended)
        self.emit(.ended, ended, detail: detail)
        let until = now + self.configuration.tombstoneLifetime
        self.tombstones.append(Tombstone(key: ended.key, epoch: ended.epoch, until: until))
        while self.tombstones.count > self.configuration.maximumTombstones { self.forgetOldestTombstone() }
    }

    mutating func forgetOldestTombstone() {
        guard let tombstone = self.tombstones.popFirst(), let placement = self.placements[tombstone.key],
            placement.state == .ended, placement.epoch == tombstone.epoch
        else { return }
        self.placements[tombstone.key] = nil
        self.epochFloor = max(self.epochFloor, PlacementEpoch.counter(of: tombstone.epoch))
        self.outputs.append(.forgotten(tombstone.key, epoch: tombstone.epoch, floor: self.epochFloor))
    }
}
