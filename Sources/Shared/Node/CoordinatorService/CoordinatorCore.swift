import CoordinatorStore
import FoundationEssentials
import Logging
import Media
import NIOCore
import Placement
import Synchronization

/// The coordinator without its HTTP: the placement table, its storing, and those who follow it.
///
/// The table decides at once; what it decided is stored in the order of decisions, as many as came together in one
/// transaction, and only then told to watchers and to the node that claimed.
actor CoordinatorCore {
    /// What one step of a watcher brings.
    struct WatchStep: Sendable {
        var batch: WatchBatch
        var hasRecovered: Bool
    }

    enum CoreError: Error, Equatable {
        /// The decision could not be stored.
        case unavailable
        case tooManyWatchers(limit: Int)
    }

    /// Random name of this process.
    nonisolated let instance = String(UInt64.random(in: 1 << 60...UInt64.max), radix: 16)
    nonisolated let watchers: WatcherList
    private let configuration: CoordinatorConfiguration
    nonisolated let store: CoordinatorStore
    private let logger: Logger
    private var table: PlacementTable
    private var ring: WatchRing

    private var writes: [StoreWrite] = []
    private var news: [WatchRing.Item] = []
    private var waiters: [CheckedContinuation<Bool, Never>] = []
    private var isStoreFailing = false
    private let commits: AsyncStream<Void>
    private let commitSignal: AsyncStream<Void>.Continuation
    private var nextRefresh = NIODeadline.now()
    private var nextPrune = NIODeadline.now()

    init(configuration: CoordinatorConfiguration, store: CoordinatorStore, logger: Logger) async throws {
        let state = try await store.load()
        let now = NIODeadline.now()
        let wall = Self.wallMillis()
        let placements = state.placements.map { stored in
            StreamPlacement(
                key: stored.key, epoch: stored.epoch, node: stored.node, instance: stored.instance,
                state: stored.state, tokenDigest: stored.tokenDigest,
                leaseUntil: now + .milliseconds(min(max(stored.leaseUntilMillis - wall, 0), configuration.leaseMillis)),
                endReason: stored.endReason, position: stored.position)
        }
        let nodes = state.nodes.map { stored in
            NodeRecord(
                description: stored.description, health: .unheard, lastHeard: now, isDrained: stored.isDrained)
        }
        if state.skippedRows > 0 {
            logger.warning("unreadable rows in the database were left out", metadata: ["rows": "\(state.skippedRows)"])
        }
        self.configuration = configuration
        self.store = store
        self.logger = logger
        self.table = PlacementTable(
            configuration: configuration.placement, restored: placements, nodes: nodes, epochFloor: state.epochFloor,
            now: now)
        self.ring = WatchRing(capacity: configuration.watchHistory)
        self.watchers = WatcherList(limit: configuration.maximumWatchers)
        (self.commits, self.commitSignal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    static func wallMillis() -> Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }

    // MARK: Storing

    /// Stores what was decided, until cancelled; then what is left, once more.
    func runCommits() async {
        for await _ in self.commits { await self.commit() }
    }

    func finish() async {
        await self.commit()
        self.commitSignal.finish()
    }

    private func commit() async {
        while !self.writes.isEmpty || !self.waiters.isEmpty || !self.news.isEmpty {
            let (news, waiters) = (self.news, self.waiters)
            let writes = self.isStoreFailing ? self.everything() : self.writes
            (self.news, self.waiters, self.writes) = ([], [], [])
            var isStored = true
            do throws(CoordinatorStoreError) {
                try await self.store.commit(writes)
                if self.isStoreFailing { self.logger.notice("the database works again") }
                self.isStoreFailing = false
            } catch {
                if !self.isStoreFailing { self.logger.error("the database failed", metadata: ["error": "\(error)"]) }
                self.isStoreFailing = true
                isStored = false
            }
            for item in news { self.ring.append(item) }
            if !news.isEmpty { self.watchers.wakeAll() }
            for waiter in waiters { waiter.resume(returning: isStored) }
        }
    }

    /// After a failed write the table knows more than the file, so all of it is written.
    private func everything() -> [StoreWrite] {
        let now = NIODeadline.now()
        let wall = Self.wallMillis()
        return self.table.nodes.values.map { .node(StoredNode(description: $0.description, isDrained: $0.isDrained)) }
            + self.table.placements.values.map { .placement(Self.stored($0, now: now, wall: wall)) } + self.writes
    }

    /// Takes the table's outputs over. Call after each change of it.
    private func drain(now: NIODeadline) {
        let wall = Self.wallMillis()
        while let output = self.table.nextOutput() {
            switch output {
            case .placement(let placement, let change):
                self.writes.append(.placement(Self.stored(placement, now: now, wall: wall)))
                self.news.append(.change(change))
            case .node(let node):
                self.writes.append(.node(StoredNode(description: node.description, isDrained: node.isDrained)))
            case .nodeRemoved(let id):
                self.writes.append(.removeNode(id))
            case .forgotten(let key, let epoch, let floor):
                self.writes.append(.forget(key, epoch: epoch, floor: floor))
            case .event(let event):
                self.writes.append(.event(event, atMillis: wall))
                self.log(event)
            case .recovered:
                self.news.append(.recovered)
            }
        }
        if !self.writes.isEmpty || !self.news.isEmpty { self.commitSignal.yield() }
    }

    private static func stored(_ placement: StreamPlacement, now: NIODeadline, wall: Int64) -> StoredPlacement {
        StoredPlacement(
            key: placement.key, epoch: placement.epoch, node: placement.node, instance: placement.instance,
            state: placement.state, tokenDigest: placement.tokenDigest,
            leaseUntilMillis: wall + (placement.leaseUntil - now).nanoseconds / 1_000_000,
            endReason: placement.endReason, position: placement.position)
    }

    private func log(_ event: ClusterEvent) {
        var metadata: Logger.Metadata = [:]
        if let node = event.node { metadata["node"] = "\(node)" }
        if let key = event.key { metadata["stream"] = "\(key)" }
        if let epoch = event.epoch { metadata["epoch"] = "\(epoch)" }
        if let detail = event.detail { metadata["detail"] = "\(detail)" }
        let level: Logger.Level =
            switch event.kind {
            case .nodeSuspect, .nodeDead, .superseded: .warning
            default: .info
            }
        self.logger.log(level: level, "\(event.kind.rawValue)", metadata: metadata)
    }

    /// Waits until all that was decided so far is stored.
    private func stored() async throws(CoreError) {
        let isStored = await withCheckedContinuation { continuation in
            self.waiters.append(continuation)
            self.commitSignal.yield()
        }
        guard isStored else { throw .unavailable }
    }

    // MARK: Time

    /// Does what is due. Call a few times a second.
    func tick() {
        let now = NIODeadline.now()
        self.table.deadlineReached(now: now)
        if now >= self.nextRefresh {
            self.nextRefresh = now + .seconds(5)
            self.watchers.wakeAll()
            let nodes = self.table.nodes.filter { $0.value.health == .alive }.map(\.key)
            if self.table.activeCount > 0, !nodes.isEmpty {
                let until = Self.wallMillis() + self.configuration.leaseMillis
                self.writes.append(.leases(nodes: nodes, untilMillis: until))
            }
        }
        if now >= self.nextPrune {
            self.nextPrune = now + .minutes(10)
            let before = Self.wallMillis() - self.configuration.eventRetentionMillis
            self.writes.append(.pruneEvents(beforeMillis: before, keeping: self.configuration.maximumEvents))
            self.commitSignal.yield()
        }
        self.drain(now: now)
    }

    // MARK: Nodes

    func register(_ request: RegisterRequest) throws(PlacementError) -> HeartbeatAnswer {
        let now = NIODeadline.now()
        defer { self.drain(now: now) }
        return self.answer(try self.table.register(request, now: now), knownRevision: 0)
    }

    func heartbeat(_ id: NodeID, _ request: HeartbeatRequest) throws(PlacementError) -> HeartbeatAnswer {
        let now = NIODeadline.now()
        defer { self.drain(now: now) }
        let result = try self.table.heartbeat(
            id, instance: request.instance, status: request.status, released: request.released, now: now)
        return self.answer(result, knownRevision: request.originsRevision)
    }

    private func answer(_ result: HeartbeatResult, knownRevision: UInt64) -> HeartbeatAnswer {
        let revision = self.table.originsRevision
        return HeartbeatAnswer(
            instance: self.instance, superseded: result.superseded, draining: result.isDrained,
            originsRevision: revision,
            origins: revision == knownRevision ? nil : Array(self.table.origins().prefix(Self.maximumOriginsTold)))
    }

    /// Origins that a node is told for the time without a coordinator.
    private static let maximumOriginsTold = 256

    func leave(_ id: NodeID, instance: String) throws(PlacementError) {
        let now = NIODeadline.now()
        defer { self.drain(now: now) }
        try self.table.leave(id, instance: instance, now: now)
    }

    func setDrained(_ id: NodeID, _ isDrained: Bool) async throws {
        try self.table.setDrained(id, isDrained)
        self.drain(now: .now())
        try await self.stored()
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

    // MARK: Lists

    func health() -> HealthAnswer {
        HealthAnswer(
            status: self.isStoreFailing ? "failing" : "ok", instance: self.instance,
            recovering: self.table.isRecovering, nodes: self.table.nodes.count, streams: self.table.activeCount,
            watchers: self.watchers.count)
    }

    func nodes() -> NodeList {
        let now = NIODeadline.now()
        let entries = self.table.nodes.values.map { NodeList.Entry($0, now: now) }
        return NodeList(nodes: entries.sorted { $0.node.id.rawValue < $1.node.id.rawValue })
    }

    /// Streams whose text form comes after `after`, sorted, at most `limit`; ended ones only if asked for.
    func streams(after: String, limit: Int, includingEnded: Bool) -> StreamList {
        let now = NIODeadline.now()
        let named = self.table.placements.values.compactMap { placement -> (name: String, StreamPlacement)? in
            guard includingEnded || placement.state != .ended else { return nil }
            let name = "\(placement.key.vhost)/\(placement.key.app)/\(placement.key.name)"
            return name > after ? (name, placement) : nil
        }
        let page = named.sorted { $0.name < $1.name }.prefix(limit)
        return StreamList(
            streams: page.map { entry in
                StreamList.Entry(entry.1, route: self.table.change(for: entry.1).route, now: now)
            },
            next: named.count > limit ? page.last?.name : nil)
    }

    func events(after: Int64, limit: Int) async throws -> [StoredEvent] {
        try await self.store.events(after: after, limit: limit)
    }

    // MARK: Watching

    /// What is new after `cursor`, or all placements when that cannot be told.
    func watchStep(after cursor: String?) -> WatchStep {
        let end = "\(self.instance).\(self.ring.newest)"
        if let cursor, let items = self.sequence(in: cursor).flatMap({ self.ring.items(after: $0) }) {
            let changes = items.compactMap { item -> PlacementChange? in
                if case .change(let change) = item { change } else { nil }
            }
            let batch = WatchBatch(
                cursor: end, isSnapshot: false, isRecovering: self.table.isRecovering, changes: changes)
            return WatchStep(batch: batch, hasRecovered: items.contains(.recovered))
        }
        let batch = WatchBatch(
            cursor: end, isSnapshot: true, isRecovering: self.table.isRecovering, changes: self.table.snapshot())
        return WatchStep(batch: batch, hasRecovered: false)
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
