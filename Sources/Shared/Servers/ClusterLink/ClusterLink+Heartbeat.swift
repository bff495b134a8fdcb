import Logging
import Media
import NIOCore
import Placement
import Synchronization

extension ClusterLink {
    /// Ticks at the pace of the heartbeat, or at that of the backoff while nobody answers.
    func runTimer() async {
        self.kicks.yield()
        while !Task.isCancelled {
            let failures = self.mutex.withLock { $0.failures }
            let pause = failures == 0 ? self.jittered(self.configuration.heartbeatMillis) : self.backoff(failures)
            do { try await Task.sleep(for: .milliseconds(pause)) } catch { return }
            self.kicks.yield()
        }
    }

    /// A tenth up or down, so that nodes that were started together do not stay together.
    private func jittered(_ millis: Int64) -> Int64 {
        Int64(Double(millis) * Double.random(in: 0.9...1.1))
    }

    /// Doubles with each failure, up to the maximum but never slower than the heartbeat: the coordinator's first seconds
    /// are when it must hear everybody.
    private func backoff(_ failures: Int) -> Int64 {
        let doubled = self.configuration.minimumBackoffMillis << Int64(min(failures - 1, 16))
        let limit = min(self.configuration.maximumBackoffMillis, self.configuration.heartbeatMillis)
        return max(1, Int64(Double(min(doubled, limit)) * Double.random(in: 0.5...1)))
    }

    func runHeartbeats(_ kicked: AsyncStream<Void>) async {
        for await _ in kicked {
            await self.beat()
            if Task.isCancelled { return }
        }
    }

    private func beat() async {
        let (client, handlers, wasRegistered) = self.mutex.withLock { ($0.client, $0.handlers, $0.isRegistered) }
        guard let client else { return }
        let (status, released) = await self.status(handlers)
        do throws(CoordinatorCallError) {
            if wasRegistered {
                do throws(CoordinatorCallError) {
                    let answer = try await self.heartbeat(client, status: status, released: released)
                    self.beatSucceeded(answer, sent: released.count, isJoin: false)
                    return
                } catch {
                    guard error.problemName == "unknown-node" || error.problemName == "node-id-in-use" else {
                        throw error
                    }
                    self.mutex.withLock { $0.isRegistered = false }
                }
            }
            let request = RegisterRequest(node: self.configuration.node, status: status, released: released)
            let answer = try await client.post(self.url("nodes"), request, as: HeartbeatAnswer.self)
            self.beatSucceeded(answer, sent: released.count, isJoin: true)
        } catch {
            self.beatFailed(error)
        }
    }

    private func heartbeat(
        _ client: CoordinatorClient, status: NodeStatus, released: [StreamRelease]
    ) async throws(CoordinatorCallError) -> HeartbeatAnswer {
        let (revision, policies) = self.mutex.withLock { ($0.originsRevision, $0.policiesRevision) }
        let node = self.configuration.node
        let request = HeartbeatRequest(
            instance: node.instance, status: status, released: released, originsRevision: revision,
            policiesRevision: policies)
        return try await client.post(self.url("nodes/\(node.id)/heartbeat"), request, as: HeartbeatAnswer.self)
    }

    /// The owner's status, with claims that it may not list yet.
    private func status(_ handlers: ClusterLinkHandlers) async -> (NodeStatus, [StreamRelease]) {
        var status = await handlers.status()
        let listed = Dictionary(status.streams.map { ($0.key, $0.epoch) }, uniquingKeysWith: max)
        let (claims, released) = self.mutex.withLock { state in
            let now = NIODeadline.now()
            var claims: [StreamReport] = []
            for (key, held) in state.held {
                if let epoch = listed[key], epoch >= held.epoch {
                    state.held[key]?.isReported = true
                } else if held.isReported || now >= held.since + Self.claimReportTime {
                    state.held[key] = nil
                } else {
                    claims.append(StreamReport(key: key, epoch: held.epoch, state: .claiming))
                }
            }
            return (claims, Array(state.pendingReleases))
        }
        let claimed = Set(claims.map(\.key))
        // The owner may still list the session that its own new claim replaces.
        status.streams.removeAll { claimed.contains($0.key) }
        status.streams += claims
        return (status, released)
    }

    private func beatSucceeded(_ answer: HeartbeatAnswer, sent: Int, isJoin: Bool) {
        let (waiters, isBack, drained, policies, handlers) = self.mutex.withLock { state in
            let isBack = !state.isConnected
            if isBack { state.connectedSinceMillis = Self.wallMillis() }
            state.isConnected = true
            state.lastAnswer = .now()
            // A wish to join anew that came while this heartbeat was on its way still holds.
            state.isRegistered = isJoin || state.isRegistered
            state.isFirstContactOver = true
            state.failures = 0
            state.pendingReleases.removeFirst(min(sent, state.pendingReleases.count))
            if isJoin { (state.originsRevision, state.policiesRevision) = (0, nil) }
            if let origins = answer.origins {
                state.origins = origins
                state.originsRevision = answer.originsRevision
            }
            let policies = answer.policies?.revision == state.policiesRevision ? nil : answer.policies
            if let policies { state.policiesRevision = policies.revision }
            let drained = state.isDrained == answer.draining ? nil : answer.draining
            state.isDrained = answer.draining
            defer { state.firstContactWaiters = [] }
            return (state.firstContactWaiters, isBack, drained, policies, state.handlers)
        }
        if isBack {
            self.logger.info("connected to the coordinator", metadata: ["coordinator": "\(self.state.coordinator)"])
        }
        for waiter in waiters { waiter.resume() }
        if let drained { handlers.onDrain(drained) }
        if let policies { handlers.onPolicies(policies) }
        for stream in answer.superseded { self.superseded(stream.key, epoch: stream.epoch) }
    }

    private func beatFailed(_ error: CoordinatorCallError) {
        let (waiters, isLoss, isFirst) = self.mutex.withLock { state in
            let isLoss = state.isConnected
            let isFirst = !state.isFirstContactOver
            state.isConnected = false
            state.connectedSinceMillis = nil
            state.isFirstContactOver = true
            state.lastError = error.text
            state.failures += 1
            if isLoss { state.lossCount += 1 }
            if self.configuration.coordinators.count > 1 {
                state.coordinatorIndex = (state.coordinatorIndex + 1) % self.configuration.coordinators.count
                state.isRegistered = false
            }
            defer { state.firstContactWaiters = [] }
            return (state.firstContactWaiters, isLoss, isFirst)
        }
        // One line for the loss; its repetitions are in the counters.
        if isLoss || isFirst, !Task.isCancelled {
            self.logger.warning("no connection to the coordinator", metadata: ["error": "\(error.text)"])
        }
        for waiter in waiters { waiter.resume() }
    }
}
