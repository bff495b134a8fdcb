import Media
import NIOCore
import Placement

/// What a request of a node came to.
enum Answer {
    case beat(HeartbeatResult)
    case granted(StreamPlacement)
    case conflict(ClaimConflict)
    case route(PlayRoute)
    case watch(WatchStep)
    case done
    case refused(PlacementError)
    /// The database does not take writes.
    case unavailable
}

/// What a node that watches gets at one step.
struct WatchStep {
    var cursor: WatchCursor
    var isSnapshot: Bool
    var isRecovering: Bool
    var changes: [PlacementChange]
    var hasRecovered: Bool
}

/// A place in the changes of one life of the coordinator.
struct WatchCursor: Equatable {
    var life: Int
    var position: Int
}

/// The coordinator's process around the real placement table: it stores in transactions, tells watchers, and dies.
final class SimulatedCoordinator {
    /// What a crash leaves.
    private struct Disk {
        var placements: [StreamKey: StreamPlacement] = [:]
        var nodes: [NodeID: NodeRecord] = [:]
        var floor: UInt64 = 0
    }

    private enum Item {
        case change(PlacementChange)
        case recovered
    }

    private unowned let world: World
    private var disk = Disk()
    private(set) var table: PlacementTable?
    private var life = 0
    private var items: [Item] = []
    private var writes: [PlacementOutput] = []
    private var waiters: [(Bool) -> Void] = []
    private var isCommitting = false
    /// The disk is full.
    var isStoreFailing = false
    /// The process is stopped for a while: it answers nothing.
    var isFrozen = false
    /// The highest epoch that was accepted, and by whom.
    private var accepted: [StreamKey: (epoch: UInt64, node: NodeID)] = [:]
    private var holders: [StreamKey: [UInt64: NodeID]] = [:]

    init(world: World) { self.world = world }

    var isUp: Bool { self.table != nil && !self.isFrozen }

    // MARK: Life

    func start() {
        guard self.table == nil else { return }
        self.life += 1
        self.items = []
        let now = self.world.now
        let lease = World.placement.lease
        let restored = self.disk.placements.values.map { stored in
            StreamPlacement(
                key: stored.key, epoch: stored.epoch, node: stored.node, instance: stored.instance,
                state: stored.state, tokenDigest: stored.tokenDigest, leaseUntil: min(stored.leaseUntil, now + lease),
                endReason: stored.endReason, position: stored.position)
        }
        self.table = PlacementTable(
            configuration: World.placement, restored: restored.sorted { $0.epoch < $1.epoch },
            nodes: self.disk.nodes.values.sorted { $0.description.id.rawValue < $1.description.id.rawValue },
            epochFloor: self.disk.floor, now: now)
        self.world.note("coordinator starts, life \(self.life)")
        self.tick(self.life)
    }

    func crash(losesDisk: Bool) {
        guard self.table != nil else { return }
        self.table = nil
        self.writes = []
        self.waiters = []
        self.isCommitting = false
        self.world.note("coordinator dies\(losesDisk ? " and loses its disk" : "")")
        if losesDisk { self.disk = Disk() }
        // What was not stored is forgotten, and may be decided anew.
        self.accepted = self.disk.placements.mapValues { ($0.epoch, $0.node) }
    }

    private func tick(_ life: Int) {
        guard self.life == life, self.table != nil else { return }
        if !self.isFrozen {
            self.table?.deadlineReached(now: self.world.now)
            self.drain()
            self.checkLeases()
        }
        self.world.scheduler.after(.milliseconds(100)) { self.tick(life) }
    }

    // MARK: Storing

    private func drain() {
        while let output = self.table?.nextOutput() {
            if case .placement(let placement, _) = output { self.check(placement) }
            self.writes.append(output)
        }
        self.commitSoon()
    }

    private func commitSoon() {
        guard !self.isCommitting, !self.writes.isEmpty || !self.waiters.isEmpty else { return }
        self.isCommitting = true
        let life = self.life
        self.world.scheduler.after(self.world.random.millis(1...10)) {
            guard self.life == life, self.table != nil else { return }
            self.commit()
        }
    }

    private func commit() {
        self.isCommitting = false
        let (writes, waiters) = (self.writes, self.waiters)
        (self.writes, self.waiters) = ([], [])
        let isStored = !self.isStoreFailing
        for write in writes {
            if isStored { self.store(write) }
            switch write {
            case .placement(_, let change): self.items.append(.change(change))
            case .recovered: self.items.append(.recovered)
            case .node, .nodeRemoved, .forgotten, .event: break
            }
        }
        if isStored, !writes.isEmpty, let table = self.table {
            // After a failure the table knows more than the disk; storing all of it is what the coordinator does.
            self.disk.placements = table.placements
        }
        for waiter in waiters { waiter(isStored) }
        self.commitSoon()
    }

    private func store(_ write: PlacementOutput) {
        switch write {
        case .placement(let placement, _): self.disk.placements[placement.key] = placement
        case .node(let node): self.disk.nodes[node.description.id] = node
        case .nodeRemoved(let id): self.disk.nodes[id] = nil
        case .forgotten(let key, let epoch, let floor):
            if self.disk.placements[key]?.epoch == epoch { self.disk.placements[key] = nil }
            self.disk.floor = max(self.disk.floor, floor)
        case .event, .recovered: break
        }
    }

    // MARK: Requests

    func register(_ request: RegisterRequest, _ reply: @escaping (Answer) -> Void) {
        self.immediate(reply) { table, now throws(PlacementError) in
            .beat(try table.register(request, now: now))
        }
    }

    func heartbeat(_ id: NodeID, _ request: HeartbeatRequest, _ reply: @escaping (Answer) -> Void) {
        self.immediate(reply) { table, now throws(PlacementError) in
            .beat(
                try table.heartbeat(
                    id, instance: request.instance, status: request.status, released: request.released, now: now))
        }
    }

    func renew(_ request: RenewRequest, _ reply: @escaping (Answer) -> Void) {
        self.immediate(reply) { table, now throws(PlacementError) in
            try table.renew(request, now: now)
            return .done
        }
    }

    func release(_ request: ReleaseRequest, _ reply: @escaping (Answer) -> Void) {
        self.immediate(reply) { table, now throws(PlacementError) in
            try table.release(request, now: now)
            return .done
        }
    }

    func playRoute(_ key: StreamKey, _ reply: @escaping (Answer) -> Void) {
        self.immediate(reply) { table, now throws(PlacementError) in .route(try table.playRoute(for: key, now: now)) }
    }

    private func immediate(
        _ reply: (Answer) -> Void, _ body: (inout PlacementTable, NIODeadline) throws(PlacementError) -> Answer
    ) {
        guard var table = self.table else { return }
        self.table = nil
        let answer: Answer
        do throws(PlacementError) { answer = try body(&table, self.world.now) } catch { answer = .refused(error) }
        self.table = table
        self.drain()
        reply(answer)
    }

    func claim(_ request: ClaimRequest, _ reply: @escaping (Answer) -> Void) {
        do throws(PlacementError) {
            let decision = try self.table?.claim(
                request, now: self.world.now, wallSeconds: UInt64(self.world.wallMillis / 1_000))
            self.drain()
            switch decision {
            case .granted(let placement):
                self.waiters.append { isStored in
                    if !isStored {
                        self.table?.forfeit(placement.key, epoch: placement.epoch, now: self.world.now)
                        self.drain()
                    }
                    reply(isStored ? .granted(placement) : .unavailable)
                }
                self.commitSoon()
            case .conflict(let conflict): reply(.conflict(conflict))
            case nil: break
            }
        } catch {
            reply(.refused(error))
        }
    }

    func linkLost(_ id: NodeID, instance: String) {
        self.table?.linkLost(id, instance: instance, now: self.world.now)
        self.drain()
    }

    func setDrained(_ id: NodeID, _ isDrained: Bool) {
        try? self.table?.setDrained(id, isDrained)
        self.drain()
    }

    func watch(after cursor: WatchCursor?, _ reply: @escaping (Answer) -> Void) {
        guard let table = self.table else { return }
        let end = WatchCursor(life: self.life, position: self.items.count)
        guard let cursor, cursor.life == self.life, self.items.count - cursor.position <= World.watchHistory else {
            return reply(
                .watch(
                    WatchStep(
                        cursor: end, isSnapshot: true, isRecovering: table.isRecovering, changes: table.snapshot(),
                        hasRecovered: false)))
        }
        let news = self.items[cursor.position...]
        let changes = news.compactMap { item -> PlacementChange? in
            if case .change(let change) = item { change } else { nil }
        }
        let hasRecovered = news.contains { if case .recovered = $0 { true } else { false } }
        reply(
            .watch(
                WatchStep(
                    cursor: end, isSnapshot: false, isRecovering: table.isRecovering, changes: changes,
                    hasRecovered: hasRecovered)))
    }

    // MARK: Invariants

    /// An epoch belongs to one node, and what counts only grows.
    private func check(_ placement: StreamPlacement) {
        let key = placement.key
        if let holder = self.holders[key]?[placement.epoch], holder != placement.node {
            self.world.fail("epoch \(placement.epoch) of \(key) is \(holder)'s and \(placement.node)'s")
        }
        self.holders[key, default: [:]][placement.epoch] = placement.node
        if let last = self.accepted[key], placement.epoch < last.epoch, placement.state != .ended {
            self.world.fail(
                "\(key) went back from epoch \(last.epoch) of \(last.node) to \(placement.epoch) of \(placement.node)")
        }
        if placement.epoch >= self.accepted[key]?.epoch ?? 0 {
            self.accepted[key] = (placement.epoch, placement.node)
        }
    }

    private func checkLeases() {
        guard let table = self.table else { return }
        let active = table.placements.values.filter { $0.state != .ended }
        if active.count != table.activeCount {
            self.world.fail("\(active.count) placements are active, and \(table.activeCount) are counted")
        }
        for placement in active where placement.leaseUntil + .milliseconds(200) < self.world.now {
            self.world.fail("the lease of \(placement.key) is over and \(placement.node) still holds it")
        }
    }
}
