import CoordinatorStore
import FoundationEssentials
import Logging
import Media
import NIOCore
import Placement
import ProcessStats

/// The coordinator without its HTTP: the placement table, its storing, and those who follow it.
///
/// The table decides at once; what it decided is stored in the order of decisions, as many as came together in one
/// transaction, and only then told to watchers and to the node that claimed.
actor CoordinatorCore {
    /// What one step of a watcher brings.
    struct WatchStep: Sendable {
        /// Where the watcher is after it.
        var cursor: String
        /// `rendered` is all placements, and what the watcher knows besides is void.
        var isSnapshot: Bool
        var isRecovering: Bool
        var hasRecovered: Bool
        var rendered: RenderedChanges

        var batch: WatchBatch {
            WatchBatch(
                cursor: self.cursor, isSnapshot: self.isSnapshot, isRecovering: self.isRecovering,
                changes: self.rendered.changes)
        }
    }

    enum CoreError: Error, Equatable {
        /// The decision could not be stored.
        case unavailable
        case tooManyWatchers(limit: Int)
    }

    /// Random name of this process.
    nonisolated let instance = String(UInt64.random(in: 1 << 60...UInt64.max), radix: 16)
    nonisolated let startedMillis = CoordinatorCore.wallMillis()
    nonisolated let watchers: WatcherList
    nonisolated let pacer: WakePacer
    nonisolated let configuration: CoordinatorConfiguration
    nonisolated let store: CoordinatorStore
    nonisolated let facts: FactsBook
    nonisolated let broker: RequestBroker
    nonisolated let feed: EventFeed
    nonisolated let callers: CallerBook
    nonisolated let backups: BackupFolder
    nonisolated let metrics = CoordinatorMetrics()
    nonisolated let sampler = ProcessSampler()
    let logger: Logger
    var table: PlacementTable
    var ring: WatchRing
    /// What watchers that started anew were last given.
    var lastSnapshot: WatchSnapshot?
    /// What a watcher behind `after` was last given, for the next one that is there, too.
    var lastStep: (after: UInt64, newest: UInt64, step: WatchStep)?
    var index: StreamIndex
    /// Active placements by holder, and those of them that are live.
    var tally: PlacementTally
    var policies: PolicyList
    /// What changed since followers were last told.
    var changes = PendingChanges()

    private var writes: [StoreWrite] = []
    private var news: [WatchRing.Item] = []
    private var waiters: [CheckedContinuation<Bool, Never>] = []
    var isStoreFailing = false
    private let commits: AsyncStream<Void>
    private let commitSignal: AsyncStream<Void>.Continuation
    /// Seconds since the start, as `pulse` counts them.
    private var beats = 0
    private var toldOverview: Overview?
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
        self.index = StreamIndex(placements.lazy.map(\.key))
        self.tally = PlacementTally(placements)
        self.policies = try await store.policies()
        self.watchers = WatcherList(limit: configuration.maximumWatchers)
        self.pacer = WakePacer(self.watchers)
        self.facts = FactsBook(
            maximumRows: configuration.maximumFacts, maximumHistories: configuration.maximumHistories)
        self.broker = RequestBroker(queueLimit: configuration.maximumNodeRequests)
        self.feed = EventFeed(capacity: Self.feedCapacity, maximumFollowers: configuration.maximumEventStreams)
        self.backups = BackupFolder(
            folder: configuration.backupFolder ?? Self.folder(of: configuration.databasePath) + "backups",
            maximumBackups: configuration.maximumBackups)
        self.callers = CallerBook(secret: configuration.secret, adminToken: configuration.adminToken)
        (self.commits, self.commitSignal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Messages that a follower of the live events may be behind.
    private static let feedCapacity = 4_096

    /// The folder that `path` is in, with a slash at its end; empty for a file in the working directory.
    private static func folder(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
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
            let began = NIODeadline.now()
            do throws(CoordinatorStoreError) {
                let events = try await self.store.commit(writes)
                self.metrics.committed(writes: writes.count, took: .now() - began)
                self.feed.append(events)
                if self.isStoreFailing { self.logger.notice("the database works again") }
                self.isStoreFailing = false
            } catch {
                if !self.isStoreFailing { self.logger.error("the database failed", metadata: ["error": "\(error)"]) }
                self.isStoreFailing = true
                self.metrics.commitFailed()
                isStored = false
            }
            for item in news { self.ring.append(item) }
            if !news.isEmpty { self.pacer.request() }
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

    /// Takes the table's outputs over. Call after each change of it. `actor` is the operator whose wish it was.
    func drain(now: NIODeadline, actor: String? = nil) {
        let wall = Self.wallMillis()
        while let output = self.table.nextOutput() {
            switch output {
            case .placement(let placement, let change):
                self.writes.append(.placement(Self.stored(placement, now: now, wall: wall)))
                self.news.append(.change(change))
                self.index.insert(placement.key)
                self.tally.note(placement)
                self.changes.note(placement.key)
            case .node(let node):
                self.writes.append(.node(StoredNode(description: node.description, isDrained: node.isDrained)))
                self.changes.note(node.description.id)
            case .nodeRemoved(let id):
                self.writes.append(.removeNode(id))
                self.facts.drop(id)
                self.broker.drop(id)
                self.changes.note(id)
            case .forgotten(let key, let epoch, let floor):
                self.writes.append(.forget(key, epoch: epoch, floor: floor))
                self.index.remove(key)
                self.tally.forget(key)
            case .event(let event):
                self.writes.append(.event(event, atMillis: wall, actor: actor))
                self.noteNode(of: event)
                self.log(event, actor: actor)
            case .recovered:
                self.news.append(.recovered)
            }
        }
        if !self.writes.isEmpty || !self.news.isEmpty { self.commitSignal.yield() }
    }

    private func noteNode(of event: ClusterEvent) {
        guard let node = event.node, event.key == nil else { return }
        self.changes.note(node)
        // What a dead node told is no longer so.
        if event.kind == .nodeDead { self.facts.drop(node) }
    }

    /// Writes something that operators did into the log of events, and waits until it is stored.
    func record(_ event: ClusterEvent, actor: String) async throws(CoreError) {
        self.writes.append(.event(event, atMillis: Self.wallMillis(), actor: actor))
        self.log(event, actor: actor)
        try await self.stored()
    }

    private static func stored(_ placement: StreamPlacement, now: NIODeadline, wall: Int64) -> StoredPlacement {
        StoredPlacement(
            key: placement.key, epoch: placement.epoch, node: placement.node, instance: placement.instance,
            state: placement.state, tokenDigest: placement.tokenDigest,
            leaseUntilMillis: wall + (placement.leaseUntil - now).nanoseconds / 1_000_000,
            endReason: placement.endReason, position: placement.position)
    }

    private func log(_ event: ClusterEvent, actor: String?) {
        var metadata: Logger.Metadata = [:]
        if let node = event.node { metadata["node"] = "\(node)" }
        if let key = event.key { metadata["stream"] = "\(key)" }
        if let epoch = event.epoch { metadata["epoch"] = "\(epoch)" }
        if let detail = event.detail { metadata["detail"] = "\(detail)" }
        if let actor { metadata["actor"] = "\(actor)" }
        let level: Logger.Level =
            switch event.kind {
            case .nodeSuspect, .nodeDead, .superseded: .warning
            default: .info
            }
        self.logger.log(level: level, "\(event.kind.rawValue)", metadata: metadata)
    }

    /// Waits until all that was decided so far is stored.
    func stored() async throws(CoreError) {
        let isStored = await withCheckedContinuation { continuation in
            self.waiters.append(continuation)
            self.commitSignal.yield()
        }
        guard isStored else { throw .unavailable }
    }

    // MARK: Tokens

    /// Reads the tokens. Where no admin could get in, a random admin token is made, kept as a digest, and announced.
    func prepareTokens() async throws {
        for token in try await self.store.tokens() { self.callers.add(token) }
        let now = Self.wallMillis()
        guard !self.callers.hasAdmin(nowMillis: now) else { return }
        let secret = CallerBook.makeToken()
        for attempt in 1...100 {
            let token = StoredToken(
                id: 0, name: attempt == 1 ? "admin" : "admin-\(attempt)", role: .admin,
                digest: CallerBook.digest(of: secret), createdMillis: now)
            let limit = self.configuration.maximumTokens + attempt
            guard case .added(let added) = try await self.store.addToken(token, limit: limit, nowMillis: now)
            else { continue }
            self.callers.add(added)
            self.configuration.announceAdminToken(secret)
            return
        }
    }

    // MARK: Following

    /// Tells those who follow the live events what changed within the last second. Call once a second.
    func pulse() async {
        self.beats += 1
        guard self.feed.followers.count > 0 else {
            self.changes = PendingChanges()
            return
        }
        if let changes = self.takeChanges() { self.feed.append("changes", changes) }
        let overview = self.overview()
        if overview.steady != self.toldOverview?.steady {
            self.toldOverview = overview
            self.feed.append("overview", overview)
        }
        // Those whose token was revoked have to notice; the others' connections stay warm.
        if self.beats.isMultiple(of: 15) || self.callers.takeRevocation() { self.feed.followers.wakeAll() }
    }

    /// Ends all answers that go on: event streams and polls.
    nonisolated func endStreams() {
        self.watchers.closeAll()
        self.feed.followers.closeAll()
        self.broker.close()
    }

    // MARK: Time

    /// Does what is due. Call a few times a second.
    func tick() {
        let now = NIODeadline.now()
        self.table.deadlineReached(now: now)
        self.broker.tick(now: now)
        self.facts.sampleCluster(now: now)
        if now >= self.nextRefresh {
            self.nextRefresh = now + .seconds(5)
            self.pacer.request()
        }
        if let last = self.lastSnapshot, now - last.taken > WatchSnapshot.lifetime { self.lastSnapshot = nil }
        if now >= self.nextPrune {
            self.nextPrune = now + .minutes(10)
            let before = Self.wallMillis() - self.configuration.eventRetentionMillis
            self.writes.append(.pruneEvents(beforeMillis: before, keeping: self.configuration.maximumEvents))
            self.commitSignal.yield()
        }
        self.drain(now: now)
    }
}
