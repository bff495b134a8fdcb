import Media
import NIOCore
import Placement

/// What nodes ask and tell.
extension CoordinatorCore {
    // MARK: Nodes

    func register(_ request: RegisterRequest) throws(PlacementError) -> HeartbeatAnswer {
        let now = NIODeadline.now()
        defer { self.drain(now: now) }
        let result = try self.table.register(request, now: now)
        // A new process has told nothing yet.
        self.facts.drop(request.node.id)
        return self.answer(result, knownRevision: 0, knownPolicies: nil)
    }

    func heartbeat(_ id: NodeID, _ request: HeartbeatRequest) throws(PlacementError) -> HeartbeatAnswer {
        let now = NIODeadline.now()
        defer { self.drain(now: now) }
        let result = try self.table.heartbeat(
            id, instance: request.instance, status: request.status, released: request.released, now: now)
        return self.answer(
            result, knownRevision: request.originsRevision, knownPolicies: request.policiesRevision)
    }

    private func answer(
        _ result: HeartbeatResult, knownRevision: UInt64, knownPolicies: UInt64?
    ) -> HeartbeatAnswer {
        let revision = self.table.originsRevision
        return HeartbeatAnswer(
            instance: self.instance, superseded: result.superseded, draining: result.isDrained,
            originsRevision: revision,
            origins: revision == knownRevision ? nil : Array(self.table.origins().prefix(Self.maximumOriginsTold)),
            policies: self.policies.revision == knownPolicies ? nil : self.policies)
    }

    /// Origins that a node is told for the time without a coordinator.
    private static let maximumOriginsTold = 256

    func leave(_ id: NodeID, instance: String) throws(PlacementError) {
        let now = NIODeadline.now()
        defer { self.drain(now: now) }
        try self.table.leave(id, instance: instance, now: now)
    }

    func setDrained(_ id: NodeID, _ isDrained: Bool, actor: String) async throws {
        try self.table.setDrained(id, isDrained)
        self.drain(now: .now(), actor: actor)
        try await self.stored()
    }

    /// Throws `unknownNode` and `nodeIDInUse` unless `instance` is the process that is in the cluster under this id.
    func checkMember(_ id: NodeID, instance: String) throws(PlacementError) {
        guard let node = self.table.nodes[id], node.health != .unheard else { throw .unknownNode }
        guard node.description.instance == instance else { throw .nodeIDInUse }
    }

    // MARK: Streams

    func claim(_ request: ClaimRequest) async throws -> ClaimDecision {
        let now = NIODeadline.now()
        let wallSeconds = UInt64(clamping: Self.wallMillis() / 1_000)
        let decision = try self.table.claim(request, now: now, wallSeconds: wallSeconds)
        self.drain(now: now)
        guard case .granted(let placement) = decision else { return decision }
        do {
            try await self.stored()
        } catch {
            self.table.forfeit(placement.key, epoch: placement.epoch, now: .now())
            self.drain(now: .now())
            throw error
        }
        return decision
    }

    func renew(_ request: RenewRequest) throws(PlacementError) {
        let now = NIODeadline.now()
        defer { self.drain(now: now) }
        try self.table.renew(request, now: now)
    }

    func release(_ request: ReleaseRequest) throws(PlacementError) {
        let now = NIODeadline.now()
        defer { self.drain(now: now) }
        try self.table.release(request, now: now)
    }

    func playRoute(for key: StreamKey) throws(PlacementError) -> PlayRoute {
        try self.table.playRoute(for: key, now: .now())
    }

    func publishRoutes(for key: StreamKey, region: String) -> [Route] {
        let draws = (UInt64.random(in: 0...UInt64.max), UInt64.random(in: 0...UInt64.max))
        return self.table.publishRoutes(for: key, region: region, draws: draws)
    }

    // MARK: Watching

    /// What is new after `cursor`, or all placements when that cannot be told.
    func watchStep(after cursor: String?) -> WatchStep {
        guard let sequence = cursor.flatMap({ self.sequence(in: $0) }), self.ring.has(after: sequence) else {
            let snapshot = self.snapshot()
            return WatchStep(
                cursor: "\(self.instance).\(snapshot.sequence)", isSnapshot: true,
                isRecovering: snapshot.isRecovering, hasRecovered: false, rendered: snapshot.rendered)
        }
        let newest = self.ring.newest
        if let last = self.lastStep, last.after == sequence, last.newest == newest,
            last.step.isRecovering == self.table.isRecovering
        {
            return last.step
        }
        let items = self.ring.items(after: sequence) ?? []
        let changes = items.compactMap { item -> PlacementChange? in
            if case .change(let change) = item { change } else { nil }
        }
        let step = WatchStep(
            cursor: "\(self.instance).\(newest)", isSnapshot: false, isRecovering: self.table.isRecovering,
            hasRecovered: items.contains(.recovered), rendered: RenderedChanges(changes))
        self.lastStep = (sequence, newest, step)
        return step
    }

    /// All placements: those of a moment ago, if the ring still has everything since.
    private func snapshot() -> WatchSnapshot {
        let now = NIODeadline.now()
        if let last = self.lastSnapshot, now - last.taken <= WatchSnapshot.lifetime,
            self.ring.has(after: last.sequence)
        {
            return last
        }
        let made = WatchSnapshot(
            sequence: self.ring.newest, taken: now, isRecovering: self.table.isRecovering,
            rendered: RenderedChanges(self.table.snapshot()))
        self.lastSnapshot = made
        return made
    }

    private func sequence(in cursor: String) -> UInt64? {
        let parts = cursor.split(separator: ".", maxSplits: 1)
        guard parts.count == 2, parts[0] == self.instance else { return nil }
        return UInt64(parts[1])
    }

    /// The event stream of a node broke off.
    func watchBroke(node: NodeID, instance: String) {
        let now = NIODeadline.now()
        self.table.linkLost(node, instance: instance, now: now)
        self.drain(now: now)
    }
}
