import Media
import NIOCore
import Placement

/// An origin or an edge, by the rules of a node's link to the coordinator.
final class SimulatedNode {
    /// A stream's place on this node.
    struct Slot {
        var epoch: UInt64
        /// Who sends; `nil` while the slot waits for a return.
        var encoder: Encoder?
        var state: PlacementState
        var lastMedia: NIODeadline
        /// Changes with each publisher, so that late timers know.
        var turn: Int
    }

    struct Held {
        var epoch: UInt64
        var since: NIODeadline
        var isReported: Bool
    }

    unowned let world: World
    let index: Int
    let id: NodeID
    let role: NodeRole
    /// What this machine's wall clock is off.
    let skewMillis: Int64
    var life = 0
    var isUp = false
    var isFrozen = false

    // What a process forgets.
    var slots: [StreamKey: Slot] = [:]
    var claiming: Set<StreamKey> = []
    var held: [StreamKey: Held] = [:]
    var pendingReleases: [StreamRelease] = []
    var cache = RouteCache(maximumEntries: 1_000, maximumNegatives: 100)
    var cursor: WatchCursor?
    var needsSweep = false
    var isRegistered = false
    var isConnected = false
    var lastAnswer: NIODeadline?
    var failures = 0
    var isBeating = false
    var turn = 0
    /// What the disk keeps: how far the segments of each stream came.
    var journal: [StreamKey: MediaPosition] = [:]
    /// The newest number that a viewer here saw.
    private var seen: [StreamKey: (epoch: UInt64, sequence: UInt64)] = [:]

    init(world: World, index: Int, name: String, role: NodeRole, skewMillis: Int64) throws {
        self.world = world
        self.index = index
        self.id = try NodeID(name)
        self.role = role
        self.skewMillis = skewMillis
    }

    var instance: String { "\(self.id)-\(self.life)" }
    var runs: Bool { self.isUp && !self.isFrozen }
    var wallMillis: Int64 { self.world.wallMillis + self.skewMillis }

    var description: NodeDescription {
        NodeDescription(id: self.id, instance: self.instance, role: self.role, host: "\(self.id).test", rtmpPort: 1_935)
    }

    // MARK: Life

    func start() {
        guard !self.isUp else { return }
        self.life += 1
        self.isUp = true
        self.slots = [:]
        self.claiming = []
        self.held = [:]
        self.pendingReleases = []
        self.cache = RouteCache(maximumEntries: 1_000, maximumNegatives: 100)
        self.cursor = nil
        self.needsSweep = false
        self.isRegistered = false
        self.isConnected = false
        self.lastAnswer = nil
        self.failures = 0
        self.isBeating = false
        self.world.note("\(self.id) starts, life \(self.life)")
        self.beatRegularly(self.life)
        self.watchRegularly(self.life)
        if self.role == .edge { self.readRegularly(self.life) }
    }

    func crash() {
        guard self.isUp else { return }
        self.isUp = false
        self.world.note("\(self.id) dies")
        for slot in self.slots.values { slot.encoder?.connectionBroke(self) }
        self.slots = [:]
        // The kernel closes the watch's connection, and the coordinator sees that, if the network lets it.
        let instance = self.instance
        self.world.scheduler.after(self.world.latency()) {
            guard self.world.isOpen(.coordinator, .node(self.index)), self.world.coordinator.isUp else { return }
            self.world.coordinator.linkLost(self.id, instance: instance)
        }
    }

    /// Asks the coordinator. `done` gets `nil` when there is no answer within a second, or this process died.
    func call(
        _ request: @escaping (SimulatedCoordinator, @escaping (Answer) -> Void) -> Void,
        _ done: @escaping (Answer?) -> Void
    ) {
        let life = self.life
        var isOver = false
        let finish = { (answer: Answer?) in
            guard !isOver else { return }
            isOver = true
            guard self.isUp, self.life == life else { return }
            guard !self.isFrozen else {
                // A process that is stopped finds the answer, or its absence, when it goes on.
                return self.whenThawed(life) { done(answer) }
            }
            done(answer)
        }
        self.world.scheduler.after(.seconds(1)) { finish(nil) }
        self.world.send(from: .node(self.index), to: .coordinator) {
            guard self.world.coordinator.isUp else { return }
            request(self.world.coordinator) { answer in
                self.world.send(from: .coordinator, to: .node(self.index)) { finish(answer) }
            }
        }
    }

    private func whenThawed(_ life: Int, _ body: @escaping () -> Void) {
        guard self.isUp, self.life == life else { return }
        guard self.isFrozen else { return body() }
        self.world.scheduler.after(.milliseconds(50)) { self.whenThawed(life, body) }
    }

    // MARK: Heartbeat

    private func beatRegularly(_ life: Int) {
        guard self.isUp, self.life == life else { return }
        if !self.isFrozen { self.beat() }
        let millis: Int64 = self.failures == 0 ? 1_000 : min(100 << Int64(min(self.failures - 1, 5)), 1_000)
        self.world.scheduler.after(self.world.random.millis(millis * 9 / 10...millis * 11 / 10)) {
            self.beatRegularly(life)
        }
    }

    func beat() {
        guard !self.isBeating else { return }
        self.isBeating = true
        let (status, released) = self.status()
        if self.isRegistered {
            let request = HeartbeatRequest(instance: self.instance, status: status, released: released)
            let id = self.id
            self.call({ $0.heartbeat(id, request, $1) }, { self.beatAnswered($0, sent: released.count) })
        } else {
            let request = RegisterRequest(node: self.description, status: status, released: released)
            self.call({ $0.register(request, $1) }, { self.beatAnswered($0, sent: released.count) })
        }
    }

    private func beatAnswered(_ answer: Answer?, sent: Int) {
        self.isBeating = false
        switch answer {
        case .beat(let result):
            self.isRegistered = true
            self.isConnected = true
            self.lastAnswer = self.world.now
            self.failures = 0
            self.pendingReleases.removeFirst(min(sent, self.pendingReleases.count))
            for stream in result.superseded { self.superseded(stream.key, by: stream.epoch) }
        case .refused(.unknownNode) where self.isRegistered, .refused(.nodeIDInUse) where self.isRegistered:
            self.isRegistered = false
            self.beat()
        default:
            self.isConnected = false
            self.failures += 1
        }
    }

    private func status() -> (NodeStatus, [StreamRelease]) {
        let now = self.world.now
        var reports = self.slots.sorted { $0.value.epoch < $1.value.epoch }.map { key, slot in
            StreamReport(
                key: key, epoch: slot.epoch, state: slot.state,
                silentMillis: (now - slot.lastMedia).nanoseconds / 1_000_000, position: self.journal[key])
        }
        let listed = Dictionary(reports.map { ($0.key, $0.epoch) }, uniquingKeysWith: max)
        var claims: [StreamReport] = []
        for (key, held) in self.held.sorted(by: { $0.value.epoch < $1.value.epoch }) {
            if let epoch = listed[key], epoch >= held.epoch {
                self.held[key]?.isReported = true
            } else if held.isReported || now >= held.since + .seconds(5) {
                self.held[key] = nil
            } else {
                claims.append(StreamReport(key: key, epoch: held.epoch, state: .claiming))
            }
        }
        let claimed = Set(claims.map(\.key))
        reports.removeAll { claimed.contains($0.key) }
        return (NodeStatus(streams: reports + claims), self.pendingReleases)
    }

    // MARK: Watch

    private func watchRegularly(_ life: Int) {
        guard self.isUp, self.life == life else { return }
        let again = { (pause: TimeAmount) in self.world.scheduler.after(pause) { self.watchRegularly(life) } }
        guard !self.isFrozen else { return again(.milliseconds(100)) }
        let cursor = self.cursor
        self.call({ $0.watch(after: cursor, $1) }) { answer in
            guard case .watch(let step) = answer else { return again(.milliseconds(300)) }
            self.take(step)
            again(.milliseconds(100))
        }
    }

    private func take(_ step: WatchStep) {
        if step.isSnapshot {
            self.cache.beginSnapshot()
            self.needsSweep = true
        }
        for change in step.changes {
            guard let news = self.cache.apply(change, now: self.world.now) else { continue }
            if let held = self.held[news.key], news.epoch > held.epoch, let route = news.route, route.node != self.id {
                self.held[news.key] = nil
                self.superseded(news.key, by: news.epoch)
            }
        }
        self.cursor = step.cursor
        if self.needsSweep, !step.isRecovering {
            self.needsSweep = false
            _ = self.cache.sweep()
        }
    }

    // MARK: Viewers

    /// A viewer on an edge reads the playlist of each stream from where the stream is.
    private func readRegularly(_ life: Int) {
        guard self.isUp, self.life == life else { return }
        if !self.isFrozen {
            for key in self.world.keys { self.read(key) }
        }
        self.world.scheduler.after(.milliseconds(500)) { self.readRegularly(life) }
    }

    private func read(_ key: StreamKey) {
        guard let change = self.cache[key]?.change, change.state != .ended, let route = change.route,
            let holder = self.world.nodes.first(where: { $0.id == route.node }), holder.runs,
            self.world.isOpen(.node(self.index), .node(holder.index)), let slot = holder.slots[key],
            slot.epoch >= change.epoch, let position = holder.journal[key]
        else { return }
        if let seen = self.seen[key], position.nextSequence < seen.sequence {
            self.world.fail(
                """
                a viewer of \(key) at \(self.id) saw the sequence go back from \(seen.sequence) (epoch \(seen.epoch)) \
                to \(position.nextSequence) (epoch \(slot.epoch) at \(holder.id))
                """)
        }
        self.seen[key] = (slot.epoch, position.nextSequence)
        self.world.reads += 1
    }
}
