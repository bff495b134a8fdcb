import AsyncHTTPClient
import Crypto
import FoundationEssentials
package import Logging
package import Media
package import NIOCore
import NIOPosix
package import Placement
import ServiceLifecycle
import Synchronization

/// A node's connection to the coordinator: joins, sends heartbeats, claims and releases, asks for routes, and follows
/// every change of placement.
///
/// `run()` has four loops: heartbeats (which join anew whenever the coordinator does not know the node), the watch
/// (events, or polls where events do not get through), lookups, of which there is one at a time per key, and requests
/// of the cluster's API that this node answers. All of it runs on an event loop of its own. Nothing here makes the media wait: without a coordinator a claim is provisional,
/// and a route comes from what was known last, for as long as it takes.
package final class ClusterLink: Sendable, Service {
    private let createdAt = NIODeadline.now()
    package let configuration: ClusterLinkConfiguration
    let logger: Logger
    let mutex: Mutex<LinkState>
    /// Wakes the heartbeat before its time.
    let kicks: AsyncStream<Void>.Continuation
    private let kicked: AsyncStream<Void>
    private let lookupQueue: AsyncStream<StreamKey>.Continuation
    private let lookupRequests: AsyncStream<StreamKey>

    /// The configuration must be valid.
    package init(configuration: ClusterLinkConfiguration, logger: Logger) {
        precondition(!configuration.coordinators.isEmpty, "a link needs the address of a coordinator")
        self.configuration = configuration
        self.logger = logger
        self.mutex = Mutex(LinkState(configuration: configuration))
        (self.kicked, self.kicks) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        (self.lookupRequests, self.lookupQueue) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingOldest(Self.maximumLookups))
    }

    /// Lookups of different keys that may wait at the same time; the next asker gets what is cached.
    static let maximumLookups = 1_024
    /// How long a claim that the owner's status does not list yet is reported by the link itself.
    static let claimReportTime = TimeAmount.seconds(5)

    /// Sets the owner's callbacks. Once, before `run()`.
    package func attach(_ handlers: ClusterLinkHandlers) {
        self.mutex.withLock { state in
            precondition(!state.isRunning, "attach the handlers before the link runs")
            state.handlers = handlers
        }
    }

    /// Runs until it is cancelled or shut down gracefully; in the second case it takes leave of the coordinator.
    package func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let http = HTTPClient(eventLoopGroupProvider: .shared(group), configuration: self.clientConfiguration())
        let client = CoordinatorClient(
            http: http, secret: self.configuration.secret,
            deadline: .milliseconds(self.configuration.requestDeadlineMillis),
            maximumAnswerBytes: self.configuration.maximumAnswerBytes)
        self.mutex.withLock { state in
            precondition(!state.isRunning, "a link runs once")
            state.client = client
            state.isRunning = true
        }
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { tasks in
                tasks.addTask { await self.runTimer() }
                tasks.addTask { await self.runHeartbeats(self.kicked) }
                tasks.addTask { await self.runWatch() }
                tasks.addTask { await self.runLookups() }
                tasks.addTask { await self.runRequests() }
            }
        }
        await self.leave()
        self.stop()
        try await http.shutdown()
        try await group.shutdownGracefully()
    }

    private func clientConfiguration() -> HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(
                connect: .milliseconds(self.configuration.requestDeadlineMillis),
                // The watch sends something every few seconds, so silence means that it is dead.
                read: .milliseconds(max(self.configuration.requestDeadlineMillis, Self.watchSilenceMillis))))
        configuration.httpVersion = .http1Only
        // The heartbeat has its own pace of trying again; the pool's would grow to a minute and outlive the outage.
        configuration.connectionPool.retryConnectionEstablishment = false
        return configuration
    }

    private func stop() {
        let (contacts, lookups) = self.mutex.withLock { state in
            state.isRunning = false
            state.isConnected = false
            state.isRegistered = false
            state.client = nil
            defer {
                state.firstContactWaiters = []
                state.lookups = [:]
            }
            return (state.firstContactWaiters, state.lookups)
        }
        for contact in contacts { contact.resume() }
        for waiter in lookups.values.flatMap({ $0 }) { waiter.resume(returning: .unavailable) }
    }

    private func leave() async {
        let target = self.mutex.withLock { state in
            state.isRegistered && state.isConnected ? state.client : nil
        }
        guard let target, !Task.isCancelled else { return }
        let node = self.configuration.node
        do {
            try await target.delete(self.url("nodes/\(node.id)?instance=\(CoordinatorClient.escape(node.instance))"))
        } catch {
            self.logger.debug("could not take leave of the coordinator", metadata: ["error": "\(error.text)"])
        }
    }

    /// How the link stands now.
    package var state: ClusterLinkState {
        self.mutex.withLock { state in
            ClusterLinkState(
                isConnected: state.isConnected, connectedSinceMillis: state.connectedSinceMillis, watch: state.watch,
                coordinator: self.configuration.coordinators[state.coordinatorIndex], lastError: state.lastError,
                lossCount: state.lossCount, knownPlacements: state.cache.entries.count)
        }
    }

    func url(_ path: String) -> String {
        let base = self.mutex.withLock { self.configuration.coordinators[$0.coordinatorIndex] }
        return (base.hasSuffix("/") ? String(base.dropLast()) : base) + "/api/v1/" + path
    }

    static func wallMillis() -> Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }

    /// Returns once the first join was tried, at once while the link does not run.
    private func firstContact() async {
        await withCheckedContinuation { continuation in
            let isOver = self.mutex.withLock { state in
                guard state.isRunning, !state.isFirstContactOver else { return true }
                state.firstContactWaiters.append(continuation)
                return false
            }
            if isOver { continuation.resume() }
        }
    }

    func connectedClient() async -> CoordinatorClient? {
        await self.firstContact()
        return self.mutex.withLock { $0.isConnected ? $0.client : nil }
    }
}

// MARK: - Placements of this node

extension ClusterLink {
    /// Claims `key` for this node, because a publisher wants to send it.
    ///
    /// `token` is what the publisher showed; only its digest travels. `policy` says whom the claim may push aside.
    /// `patience` is how long to wait for a holder that is probably gone; a holder that is well is told at once.
    /// Takes at most the request's deadline plus `patience`.
    package func claim(
        _ key: StreamKey, token: String = "", policy: ClaimPolicy, patience: Duration = .zero
    ) async -> ClaimOutcome {
        let node = self.configuration.node
        let digest = token.isEmpty ? nil : Self.digest(of: token)
        let request = ClaimRequest(
            key: key, node: node.id, instance: node.instance, policy: policy, tokenDigest: digest)
        let giveUp = ContinuousClock.now + patience
        var joins = 0
        while let client = await self.connectedClient() {
            do throws(CoordinatorCallError) {
                let grant = try await client.post(self.url("streams/claim"), request, as: ClaimGrant.self)
                self.hold(key, epoch: grant.epoch)
                return .granted(
                    epoch: grant.epoch, position: grant.position, wasLastHolder: grant.previousNode == node.id)
            } catch {
                guard case .problem(let problem) = error else { break }
                if let conflict = problem.conflict {
                    guard await self.mayRetry(conflict, until: giveUp) else { return .conflict(conflict) }
                    continue
                }
                switch error.problemName {
                case "unknown-node" where joins < 3:
                    joins += 1
                    self.joinAnew()
                    try? await Task.sleep(for: .milliseconds(50 * joins))
                    continue
                case "unknown-node", "recovering", "unavailable":
                    break
                default:
                    return .refused(reason: error.problemName ?? error.text)
                }
                break
            }
        }
        return self.claimProvisionally(key, policy: policy)
    }

    private func mayRetry(_ conflict: ClaimConflict, until giveUp: ContinuousClock.Instant) async -> Bool {
        guard let millis = conflict.retryAfterMillis else { return false }
        let left = giveUp - ContinuousClock.now
        guard left > .zero else { return false }
        do {
            try await Task.sleep(for: min(.milliseconds(millis), left))
            return true
        } catch {
            return false
        }
    }

    /// How long after the coordinator's last answer a holder that it named is not pushed aside.
    private static var trustAfterAnswer: TimeAmount { .seconds(6) }

    /// Without the coordinator the node takes the key itself, unless it knows a holder that the policy protects.
    private func claimProvisionally(_ key: StreamKey, policy: ClaimPolicy) -> ClaimOutcome {
        let node = self.configuration.node
        let wallSeconds = UInt64(clamping: Self.wallMillis() / 1_000)
        let outcome: ClaimOutcome = self.mutex.withLock { state in
            let known = state.cache[key]?.change
            // A coordinator that was well a moment ago is slow rather than gone; its last word of a holder still counts.
            let isRecent = state.lastAnswer.map { NIODeadline.now() - $0 < Self.trustAfterAnswer } ?? false
            if policy == .reject || isRecent, let known, let route = known.route, route.node != node.id,
                known.state == .live || known.state == .claiming
            {
                return .conflict(
                    ClaimConflict(
                        node: route.node, host: route.host, epoch: known.epoch, state: known.state,
                        retryAfterMillis: nil))
            }
            let last = max(known?.epoch ?? 0, state.held[key]?.epoch ?? 0)
            let epoch = PlacementEpoch.provisional(after: last, wallSeconds: wallSeconds, node: node.id)
            state.held[key] = LinkState.Held(epoch: epoch, since: .now(), isReported: false)
            return .provisional(epoch: epoch)
        }
        self.kicks.yield()
        return outcome
    }

    private func hold(_ key: StreamKey, epoch: UInt64) {
        self.mutex.withLock { $0.held[key] = LinkState.Held(epoch: epoch, since: .now(), isReported: false) }
    }

    private static func digest(of token: String) -> String {
        SHA256.hash(data: Data(token.utf8)).map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }

    /// Tells a change of state at once. If that fails, the next heartbeat tells it.
    package func report(
        _ key: StreamKey, epoch: UInt64, state: PlacementState, position: MediaPosition? = nil
    ) async {
        guard let client = await self.connectedClient() else { return }
        let node = self.configuration.node
        let request = RenewRequest(
            node: node.id, instance: node.instance,
            report: StreamReport(key: key, epoch: epoch, state: state, position: position))
        do throws(CoordinatorCallError) {
            _ = try await client.post(self.url("streams/renew"), request, as: EmptyAnswer.self)
        } catch {
            guard case .problem(let problem) = error, let conflict = problem.conflict, conflict.epoch > epoch else {
                return
            }
            self.superseded(key, epoch: conflict.epoch)
        }
    }

    /// Gives `key` up. Remembered and told with the next heartbeat if the coordinator cannot be reached now.
    package func release(
        _ key: StreamKey, epoch: UInt64, reason: ReleaseReason, position: MediaPosition? = nil
    ) async {
        let node = self.configuration.node
        let release = StreamRelease(key: key, epoch: epoch, reason: reason, position: position)
        self.mutex.withLock { state in
            if let held = state.held[key], held.epoch <= epoch { state.held[key] = nil }
        }
        if let client = await self.connectedClient() {
            let request = ReleaseRequest(node: node.id, instance: node.instance, release: release)
            do throws(CoordinatorCallError) {
                _ = try await client.post(self.url("streams/release"), request, as: EmptyAnswer.self)
                return
            } catch {
                // A newer epoch counts already: nothing is left to give up.
                if case .problem(let problem) = error, problem.conflict != nil { return }
            }
        }
        self.mutex.withLock { state in
            state.pendingReleases.append(release)
            // The oldest one's lease is the next to run out by itself.
            if state.pendingReleases.count > self.configuration.maximumPendingReleases {
                state.pendingReleases.removeFirst()
            }
        }
    }

    func superseded(_ key: StreamKey, epoch: UInt64) {
        let handler = self.mutex.withLock { state in
            if let held = state.held[key], held.epoch < epoch { state.held[key] = nil }
            return state.handlers.onSuperseded
        }
        handler(key, epoch)
    }

    /// Sends the next heartbeat now, because something in the node's status must not wait.
    package func reportNow() { self.kicks.yield() }

    /// The coordinator does not know this node: it restarted.
    func joinAnew() {
        self.mutex.withLock { $0.isRegistered = false }
        self.kicks.yield()
    }
}

// MARK: - Routes

extension ClusterLink {
    /// The last known way to `key`, without asking anybody.
    package func cachedRoute(for key: StreamKey) -> Route? {
        self.mutex.withLock { state in
            guard let entry = state.cache[key], entry.change.state != .ended else { return nil }
            return entry.change.route
        }
    }

    /// The streams that somebody publishes, as far as this node was told.
    package var liveStreams: [StreamKey] {
        self.mutex.withLock { state in
            state.cache.entries.values.filter { $0.change.state == .live && $0.change.route != nil }.map(\.change.key)
        }
    }

    /// Where to pull `key` from.
    ///
    /// Answers from what the watch told, without suspending on the network; asks the coordinator otherwise, once for all
    /// askers of a key, for at most the request's deadline.
    package func playRoute(for key: StreamKey) async -> RouteOutcome {
        await self.firstContact()
        if let known = self.mutex.withLock({ self.knownRoute(for: key, state: &$0, now: .now()) }) { return known }
        switch await self.lookUp(key) {
        case .origin(let route): return .origin(route)
        case .notFound: return .notFound
        case .ended: return .ended
        case .unavailable: return .unreachable(cached: self.cachedRoute(for: key))
        }
    }

    private func knownRoute(for key: StreamKey, state: inout LinkState, now: NIODeadline) -> RouteOutcome? {
        let entry = state.cache[key]
        guard state.isConnected else {
            if let entry, entry.change.state == .ended { return .ended }
            return .unreachable(cached: entry?.change.route)
        }
        let lifetime = TimeAmount.milliseconds(self.configuration.routeCacheMillis)
        if let entry, state.watch != .none || now < entry.learned + lifetime {
            if entry.change.state == .ended { return .ended }
            return entry.change.route.map { .origin($0) } ?? .notFound
        }
        return state.cache.isKnownMissing(key, now: now) ? .notFound : nil
    }

    private func lookUp(_ key: StreamKey) async -> LinkState.LookupResult {
        await withCheckedContinuation { continuation in
            enum Next { case wait, ask, refuse }
            let next: Next = self.mutex.withLock { state in
                guard state.isRunning else { return .refuse }
                if state.lookups[key] != nil {
                    state.lookups[key]?.append(continuation)
                    return .wait
                }
                guard state.lookups.count < Self.maximumLookups else { return .refuse }
                state.lookups[key] = [continuation]
                return .ask
            }
            switch next {
            case .wait: break
            case .ask: self.lookupQueue.yield(key)
            case .refuse: continuation.resume(returning: .unavailable)
            }
        }
    }

    private func runLookups() async {
        await withDiscardingTaskGroup { tasks in
            for await key in self.lookupRequests {
                tasks.addTask {
                    let result = await self.ask(key)
                    let waiters = self.mutex.withLock { $0.lookups.removeValue(forKey: key) ?? [] }
                    for waiter in waiters { waiter.resume(returning: result) }
                }
            }
        }
    }

    private func ask(_ key: StreamKey) async -> LinkState.LookupResult {
        guard let client = self.mutex.withLock({ $0.client }) else { return .unavailable }
        let result: Result<Route, CoordinatorCallError>
        do throws(CoordinatorCallError) {
            result = .success(
                try await client.get(self.url("routes/play?\(CoordinatorClient.query(key))"), as: Route.self))
        } catch {
            result = .failure(error)
        }
        return self.mutex.withLock { state in
            let now = NIODeadline.now()
            switch result {
            case .success(let route):
                state.cache.learn(route, for: key, now: now)
                return .origin(route)
            case .failure(let error) where error.problemName == "not-found" || error.problemName == "ended":
                // The watch may have brought the stream while the answer was on its way.
                if state.watch != .none, let entry = state.cache[key], let route = entry.change.route {
                    return .origin(route)
                }
                guard error.problemName == "not-found" else { return .ended }
                let lifetime = TimeAmount.milliseconds(self.configuration.negativeCacheMillis)
                state.cache.learnMissing(key, until: now + lifetime)
                return .notFound
            case .failure:
                return .unavailable
            }
        }
    }

    /// The other origins of the cluster that take placements, as the coordinator told last.
    package var otherOrigins: [NodeDescription] {
        let own = self.configuration.node.id
        return self.mutex.withLock { $0.origins.filter { $0.id != own } }
    }

    /// The other origins that can bring streams which nobody publishes.
    package var suppliers: [NodeDescription] { self.otherOrigins.filter { $0.suppliesStreams == true } }

    /// Whether there is another origin that takes placements.
    package var hasOtherOrigins: Bool { !self.otherOrigins.isEmpty }

    /// Another origin that a publisher of `key` may go to: the same for each of its tries.
    package func otherOrigin(for key: StreamKey) -> NodeDescription? {
        let others = self.otherOrigins.sorted { $0.id.rawValue < $1.id.rawValue }
        guard !others.isEmpty else { return nil }
        return others[Int(StableHash.hash("\(key)") % UInt64(others.count))]
    }

    /// For how long the coordinator has not answered; `nil` while it does.
    package var silence: TimeAmount? {
        self.mutex.withLock { state in
            guard !state.isConnected else { return nil }
            return .now() - (state.lastAnswer ?? self.createdAt)
        }
    }

    /// Where to forward a publisher of `key` to: the origin that holds it, or those that the coordinator chooses.
    package func publishRoute(for key: StreamKey) async -> PublishRouteOutcome {
        let region = self.configuration.node.region
        if let client = await self.connectedClient() {
            let query = "\(CoordinatorClient.query(key))&region=\(CoordinatorClient.escape(region))"
            do throws(CoordinatorCallError) {
                let routes = try await client.get(self.url("routes/publish?\(query)"), as: PublishRoutes.self)
                return routes.origins.isEmpty ? .noOrigin : .origins(routes.origins)
            } catch {
                self.logger.debug("no publish route", metadata: ["stream": "\(key)", "error": "\(error.text)"])
            }
        }
        let (origins, placed) = self.mutex.withLock { ($0.origins, $0.cache[key]?.change.route) }
        let candidates = origins.map { OriginChoice.Candidate(node: $0, utilisation: 0) }
        var routes = OriginChoice.rank(candidates, for: key, region: region, draws: (0, 0)).map {
            Route($0, epoch: 0)
        }
        if let placed {
            routes.removeAll { $0.node == placed.node }
            routes.insert(placed, at: 0)
        }
        return .unreachable(cached: routes)
    }
}
