package import Media
package import NIOCore

/// The answer to a claim.
package enum ClaimDecision: Sendable, Hashable {
    case granted(StreamPlacement)
    case conflict(ClaimConflict)
}

/// Where a stream is played from.
package enum PlayRoute: Sendable, Hashable {
    case origin(Route)
    case notFound
    case ended
}

extension PlacementTable {
    /// A node wants to hold a key, because a publisher came to it.
    ///
    /// A claim of the node that holds the key already wins a new epoch. `wallSeconds` keeps epochs growing over a lost
    /// database. Throws `unknownNode`, `nodeIDInUse`, `notAnOrigin`, `draining`, `recovering` and `tooManyStreams`.
    package mutating func claim(
        _ request: ClaimRequest, now: NIODeadline, wallSeconds: UInt64
    ) throws(PlacementError) -> ClaimDecision {
        let node = try self.member(request.node, instance: request.instance)
        guard node.description.role == .origin else { throw .notAnOrigin }
        let held = self.placements[request.key].flatMap { $0.state == .ended ? nil : $0 }
        guard !(node.isDrained || node.isDraining) || held?.node == request.node else { throw .draining }
        if let held, held.node != request.node, let obstacle = self.obstacle(to: request, held: held, now: now) {
            return .conflict(self.conflict(with: held, retryAfter: obstacle.retryAfter))
        }
        if held == nil {
            if let ends = self.recoveryEnds, now < ends, self.placements[request.key] == nil {
                throw .recovering(retryAfterMillis: (ends - now).nanoseconds / 1_000_000 + 1)
            }
            guard self.activeCount < self.configuration.maximumStreams else {
                throw .tooManyStreams(limit: self.configuration.maximumStreams)
            }
        }
        let last = max(self.placements[request.key]?.epoch ?? 0, self.epochFloor << 16)
        var placement = StreamPlacement(
            key: request.key, epoch: PlacementEpoch.next(after: last, wallSeconds: wallSeconds), node: request.node,
            instance: request.instance, state: .claiming, tokenDigest: request.tokenDigest,
            leaseUntil: now + self.configuration.lease)
        placement.lastMedia = now
        placement.isConfirmed = true
        placement.position = self.placements[request.key]?.position
        placement.previousNode = self.placements[request.key]?.node
        self.store(placement)
        let isTakeover = held.map { $0.node != request.node } ?? false
        self.emit(isTakeover ? .takenOver : .claimed, placement, detail: request.policy.rawValue)
        return .granted(placement)
    }

    /// What stands between a claim and a key that somebody holds, and when it may be gone.
    private struct Obstacle {
        var retryAfter: TimeAmount?
    }

    private func obstacle(to request: ClaimRequest, held: StreamPlacement, now: NIODeadline) -> Obstacle? {
        if let ends = self.recoveryEnds, now < ends, !held.isConfirmed {
            return Obstacle(retryAfter: ends - now)
        }
        guard held.state != .grace, now < held.leaseUntil, let holder = self.nodes[held.node], holder.health != .dead
        else { return nil }
        let age = now - holder.lastHeard
        let doubtfulAfter = self.configuration.doubtfulAfter
        let isDoubtful = holder.isLinkLost || age > doubtfulAfter
        switch request.policy {
        case .reject:
            return Obstacle(retryAfter: isDoubtful ? self.configuration.deadAfter - age : nil)
        case .takeover where request.tokenDigest != nil && request.tokenDigest == held.tokenDigest:
            return nil
        case .takeover, .grace:
            // A holder that reports in time is taken at its word; one that does not is as silent as its last report is
            // old. One missing report is enough when its watch broke off too: that is what a killed process looks like.
            let trustedFor = holder.isLinkLost ? doubtfulAfter : self.configuration.overdueAfter
            let silence = age > trustedFor ? now - held.lastMedia : held.reportedSilence
            guard silence <= self.configuration.silentAfter else { return nil }
            guard isDoubtful else { return Obstacle(retryAfter: nil) }
            return Obstacle(retryAfter: age > trustedFor ? self.configuration.silentAfter - silence : trustedFor - age)
        }
    }

    /// The grant of `epoch` could not be stored and was not told: it counts as used, and the key is free.
    package mutating func forfeit(_ key: StreamKey, epoch: UInt64, now: NIODeadline) {
        guard let placement = self.placements[key], placement.epoch == epoch, placement.state != .ended else { return }
        self.end(placement, reason: .forfeited, detail: StreamPlacement.EndReason.forfeited.rawValue, now: now)
    }

    /// The holder says where its stream stands. Throws `unknownNode`, `unknownStream`, `fenced`, `transition`.
    package mutating func renew(_ request: RenewRequest, now: NIODeadline) throws(PlacementError) {
        _ = try self.member(request.node, instance: request.instance)
        let report = request.report
        guard let placement = self.placements[report.key] else { throw .unknownStream }
        guard placement.epoch == report.epoch, placement.node == request.node, placement.state != .ended else {
            throw .fenced(self.conflict(with: placement))
        }
        guard Self.isAllowed(from: placement.state, to: report.state) else {
            throw .transition(from: placement.state, to: report.state)
        }
        if report.state == .ended {
            self.end(placement, reason: .released, detail: ReleaseReason.unpublished.rawValue, now: now)
        } else {
            self.apply(report, to: placement, instance: request.instance, now: now)
        }
    }

    /// The holder gives its stream up. Repeating it is harmless. Throws `unknownNode`, `fenced`.
    package mutating func release(_ request: ReleaseRequest, now: NIODeadline) throws(PlacementError) {
        _ = try self.member(request.node, instance: request.instance)
        let release = request.release
        if let placement = self.placements[release.key], placement.epoch > release.epoch {
            throw .fenced(self.conflict(with: placement))
        }
        self.apply(release, node: request.node, instance: request.instance, now: now)
    }

    /// A release with an epoch that the table does not know yet leaves a tombstone, so that the epoch is remembered.
    mutating func apply(_ release: StreamRelease, node: NodeID, instance: String, now: NIODeadline) {
        if let placement = self.placements[release.key] {
            guard placement.epoch <= release.epoch else { return }
            if placement.epoch == release.epoch, placement.state == .ended || placement.node != node { return }
        }
        let placement = StreamPlacement(
            key: release.key, epoch: release.epoch, node: node, instance: instance, state: .ended, leaseUntil: now,
            position: .farthest(self.placements[release.key]?.position, release.position))
        self.end(placement, reason: .released, detail: release.reason.rawValue, now: now)
    }

    /// Takes one line of a heartbeat or an announcement. Returns what supersedes it, if its claim no longer counts.
    mutating func observe(
        _ report: StreamReport, node: NodeID, instance: String, now: NIODeadline
    ) -> SupersededStream? {
        guard let placement = self.placements[report.key] else {
            self.adopt(report, node: node, instance: instance, now: now)
            return nil
        }
        let isOlder = report.epoch < placement.epoch
        if isOlder || (report.epoch == placement.epoch && placement.node != node) {
            return SupersededStream(key: report.key, epoch: placement.epoch, node: placement.node)
        }
        if report.epoch > placement.epoch {
            if placement.state != .ended, placement.node != node { self.emit(.superseded, placement) }
            self.adopt(report, node: node, instance: instance, now: now)
            return nil
        }
        if placement.state == .ended {
            // A release and an older heartbeat may cross; a lease that ran out while the node was cut off is renewed.
            guard placement.endReason == .leaseExpired, report.state != .ended else { return nil }
            var revived = placement
            revived.state = report.state
            revived.endReason = nil
            self.apply(report, to: revived, instance: instance, now: now, isForced: true)
            self.emit(.revived, revived)
            return nil
        }
        if report.state == .ended {
            self.end(placement, reason: .released, detail: ReleaseReason.unpublished.rawValue, now: now)
        } else {
            self.apply(report, to: placement, instance: instance, now: now)
        }
        return nil
    }

    /// Takes over a placement that the node made, or got from an earlier life of the coordinator.
    private mutating func adopt(_ report: StreamReport, node: NodeID, instance: String, now: NIODeadline) {
        guard report.state != .ended, self.activeCount < self.configuration.maximumStreams else { return }
        var placement = StreamPlacement(
            key: report.key, epoch: report.epoch, node: node, instance: instance, state: report.state,
            tokenDigest: self.placements[report.key].flatMap { $0.node == node ? $0.tokenDigest : nil },
            leaseUntil: now + self.configuration.lease)
        placement.reportedSilence = .milliseconds(report.silentMillis)
        placement.lastMedia = now - placement.reportedSilence
        placement.isConfirmed = true
        placement.position = .farthest(self.placements[report.key]?.position, report.position)
        self.store(placement)
        self.emit(
            .adopted, placement, detail: PlacementEpoch.isProvisional(report.epoch) ? "provisional" : "announced")
    }

    /// Renews the lease, and moves the state if that is allowed.
    private mutating func apply(
        _ report: StreamReport, to placement: StreamPlacement, instance: String, now: NIODeadline,
        isForced: Bool = false
    ) {
        var renewed = placement
        renewed.instance = instance
        renewed.leaseUntil = now + self.configuration.lease
        renewed.reportedSilence = .milliseconds(report.silentMillis)
        renewed.lastMedia = now - renewed.reportedSilence
        renewed.isConfirmed = true
        renewed.position = .farthest(placement.position, report.position)
        let moves = report.state != placement.state && Self.isAllowed(from: placement.state, to: report.state)
        guard moves || isForced else {
            self.placements[placement.key] = renewed
            return
        }
        renewed.state = report.state
        self.store(renewed)
        if moves { self.emit(report.state == .live ? .live : .grace, renewed) }
    }

    private static func isAllowed(from: PlacementState, to: PlacementState) -> Bool {
        switch (from, to) {
        case (.ended, _): false
        case (_, .claiming): from == .claiming
        default: true
        }
    }

    /// Where to pull `key` from. Throws `recovering` when nobody announced it yet.
    package func playRoute(for key: StreamKey, now: NIODeadline) throws(PlacementError) -> PlayRoute {
        guard let placement = self.placements[key] else {
            if let ends = self.recoveryEnds, now < ends {
                throw .recovering(retryAfterMillis: (ends - now).nanoseconds / 1_000_000 + 1)
            }
            return .notFound
        }
        if placement.state == .ended { return .ended }
        guard let route = self.route(to: placement) else { return .notFound }
        return .origin(route)
    }

    /// Origins that a publisher of `key` may be sent to, the best first, at most `limit`.
    ///
    /// A key that is placed stays where it is, as long as its node is well. `draws` are two random numbers.
    package func publishRoutes(
        for key: StreamKey, region: String, draws: (UInt64, UInt64), limit: Int = 8
    ) -> [Route] {
        let candidates = self.nodes.values.filter(\.takesPlacements).map { node in
            OriginChoice.Candidate(
                node: node.description, utilisation: node.load.utilisation,
                isHealthy: node.health == .alive && !node.isLinkLost)
        }
        var routes = OriginChoice.rank(candidates, for: key, region: region, draws: draws).map { Route($0, epoch: 0) }
        if let placement = self.placements[key], let route = self.route(to: placement),
            let holder = self.nodes[placement.node], holder.health == .alive, !holder.isLinkLost,
            !holder.isDrained, !holder.isDraining
        {
            routes.removeAll { $0.node == route.node }
            routes.insert(route, at: 0)
        }
        return Array(routes.prefix(limit))
    }
}
