package import NIOCore

/// What a node learns from its registration or heartbeat.
package struct HeartbeatResult: Sendable, Hashable {
    /// Streams of the report whose claim no longer counts.
    package var superseded: [SupersededStream]
    /// The operator drained the node.
    package var isDrained: Bool
}

extension PlacementTable {
    /// A node joins, or joins again after a restart of either side, and announces all that it holds.
    ///
    /// A placement with an epoch that is higher than the known one is adopted. What an earlier process of the node held
    /// and this one does not announce has lost its publisher and goes to `grace`. Throws `nodeIDInUse` while another
    /// process of that name is heard, and `tooManyNodes`.
    package mutating func register(
        _ request: RegisterRequest, now: NIODeadline
    ) throws(PlacementError) -> HeartbeatResult {
        let id = request.node.id
        let known = self.nodes[id]
        if let known, known.description.instance != request.node.instance, known.health == .alive, !known.isLinkLost {
            throw .nodeIDInUse
        }
        if known == nil { try self.makeRoomForNode() }
        var node = NodeRecord(
            description: request.node, health: .alive, lastHeard: now, load: request.status.load,
            isDrained: known?.isDrained ?? false, isDraining: request.status.draining)
        node.isLinkLost = false
        self.nodes[id] = node
        self.outputs.append(.node(node))
        if known?.description.instance != request.node.instance || known?.health == .unheard {
            self.emit(.nodeJoined, node: id)
        } else if known?.health != .alive {
            self.emit(.nodeBack, node: id)
        }
        self.originsChanged(from: known, to: node)
        let announced = Set(request.status.streams.map(\.key))
        let orphans = self.placements(heldBy: id).filter { placement in
            placement.instance != request.node.instance && !announced.contains(placement.key)
        }
        for orphan in orphans { self.orphan(orphan, detail: "restart", now: now) }
        let superseded = self.observe(
            request.status, released: request.released, node: id, instance: request.node.instance, now: now)
        if let known, known.health == .dead || known.description != request.node { self.retell(placementsOf: id) }
        return HeartbeatResult(superseded: superseded, isDrained: node.isDrained)
    }

    /// The way to a node is back or is another one: who watches knows none, or the old one.
    private mutating func retell(placementsOf id: NodeID) {
        for placement in self.placements(heldBy: id) { self.store(placement) }
    }

    /// A node is alive and reports all that it holds. Throws `unknownNode` and `nodeIDInUse`.
    package mutating func heartbeat(
        _ id: NodeID, instance: String, status: NodeStatus, released: [StreamRelease] = [], now: NIODeadline
    ) throws(PlacementError) -> HeartbeatResult {
        let before = try self.member(id, instance: instance)
        var node = before
        node.health = .alive
        node.isLinkLost = false
        node.lastHeard = now
        node.load = status.load
        node.isDraining = status.draining
        self.nodes[id] = node
        if before.health != .alive { self.emit(.nodeBack, node: id) }
        self.originsChanged(from: before, to: node)
        let superseded = self.observe(status, released: released, node: id, instance: instance, now: now)
        if before.health == .dead { self.retell(placementsOf: id) }
        return HeartbeatResult(superseded: superseded, isDrained: node.isDrained)
    }

    /// The node goes on purpose. What it did not release keeps its viewers until the lease is over.
    package mutating func leave(_ id: NodeID, instance: String, now: NIODeadline) throws(PlacementError) {
        let node = try self.member(id, instance: instance)
        for placement in self.placements(heldBy: id) { self.orphan(placement, detail: "left", now: now) }
        self.nodes[id]?.health = .dead
        self.emit(.nodeLeft, node: id)
        self.originsChanged(from: node, to: self.nodes[id])
        // A drained node stays known, so that the operator's wish holds when it comes back.
        guard !node.isDrained else { return }
        self.nodes[id] = nil
        self.outputs.append(.nodeRemoved(id))
    }

    /// The node's watch broke off. The next heartbeat takes this back.
    package mutating func linkLost(_ id: NodeID, instance: String, now: NIODeadline) {
        guard var node = self.nodes[id], node.description.instance == instance, node.health == .alive, !node.isLinkLost
        else { return }
        node.isLinkLost = true
        self.nodes[id] = node
        self.emit(.nodeLinkLost, node: id)
    }

    /// The operator wants the node to be empty, or takes that back. Throws `unknownNode`.
    package mutating func setDrained(_ id: NodeID, _ isDrained: Bool) throws(PlacementError) {
        guard let before = self.nodes[id] else { throw .unknownNode }
        guard before.isDrained != isDrained else { return }
        var node = before
        node.isDrained = isDrained
        self.nodes[id] = node
        self.outputs.append(.node(node))
        self.emit(isDrained ? .drained : .undrained, node: id)
        self.originsChanged(from: before, to: node)
    }

    /// Does what time alone brings about: suspects and buries nodes, ends leases, drops tombstones, ends the recovery.
    package mutating func deadlineReached(now: NIODeadline) {
        self.checkNodes(now: now)
        self.checkRecovery(now: now)
        self.checkLeases(now: now)
        while let tombstone = self.tombstones.first, tombstone.until <= now { self.forgetOldestTombstone() }
    }

    /// The origins that take placements now.
    package func origins() -> [NodeDescription] {
        self.nodes.values.filter(\.takesPlacements).map(\.description).sorted { $0.id.rawValue < $1.id.rawValue }
    }

    func member(_ id: NodeID, instance: String) throws(PlacementError) -> NodeRecord {
        guard let node = self.nodes[id], node.health != .unheard else { throw .unknownNode }
        guard node.description.instance == instance else { throw .nodeIDInUse }
        return node
    }

    private mutating func observe(
        _ status: NodeStatus, released: [StreamRelease], node: NodeID, instance: String, now: NIODeadline
    ) -> [SupersededStream] {
        // Only origins hold placements; what another node reports has no meaning here.
        guard self.nodes[node]?.description.role == .origin else { return [] }
        for release in released { self.apply(release, node: node, instance: instance, now: now) }
        var superseded: [SupersededStream] = []
        for report in status.streams {
            guard let stream = self.observe(report, node: node, instance: instance, now: now) else { continue }
            superseded.append(stream)
        }
        return superseded
    }

    private mutating func checkNodes(now: NIODeadline) {
        for (id, node) in self.nodes {
            let age = now - node.lastHeard
            switch node.health {
            case .alive where age >= self.configuration.deadAfter, .suspect where age >= self.configuration.deadAfter:
                self.bury(id, now: now)
            case .alive where age >= self.configuration.suspectAfter:
                self.nodes[id]?.health = .suspect
                self.emit(.nodeSuspect, node: id)
            case .alive, .suspect, .unheard, .dead:
                continue
            }
        }
    }

    private mutating func bury(_ id: NodeID, now: NIODeadline) {
        let before = self.nodes[id]
        self.nodes[id]?.health = .dead
        self.emit(.nodeDead, node: id)
        self.originsChanged(from: before, to: self.nodes[id])
        for placement in self.placements(heldBy: id) { self.orphan(placement, detail: "nodeDead", now: now) }
    }

    /// The holder is gone: viewers are kept, and the next claim wins.
    private mutating func orphan(_ placement: StreamPlacement, detail: String, now: NIODeadline) {
        var orphan = placement
        orphan.state = .grace
        orphan.isConfirmed = true
        orphan.leaseUntil = max(orphan.leaseUntil, now + self.configuration.lease)
        self.store(orphan)
        self.emit(.grace, orphan, detail: detail)
    }

    private mutating func checkRecovery(now: NIODeadline) {
        guard let ends = self.recoveryEnds, now >= ends else { return }
        self.recoveryEnds = nil
        for (id, node) in self.nodes where node.health == .unheard { self.bury(id, now: now) }
        for placement in self.placements.values where !placement.isConfirmed && placement.state != .ended {
            self.orphan(placement, detail: "notAnnounced", now: now)
        }
        self.outputs.append(.event(ClusterEvent(kind: .recovered)))
        self.outputs.append(.recovered)
    }

    /// Drops the node that has been dead for longest, when the table is full.
    private mutating func makeRoomForNode() throws(PlacementError) {
        guard self.nodes.count >= self.configuration.maximumNodes else { return }
        let dead = self.nodes.filter { $0.value.health == .dead && !$0.value.isDrained }
        guard let oldest = dead.min(by: { $0.value.lastHeard < $1.value.lastHeard }) else {
            throw .tooManyNodes(limit: self.configuration.maximumNodes)
        }
        self.nodes[oldest.key] = nil
        self.outputs.append(.nodeRemoved(oldest.key))
    }

    private mutating func originsChanged(from before: NodeRecord?, to after: NodeRecord?) {
        let had = before?.takesPlacements ?? false
        let has = after?.takesPlacements ?? false
        guard had != has || (has && before?.description != after?.description) else { return }
        self.originsRevision += 1
    }
}
