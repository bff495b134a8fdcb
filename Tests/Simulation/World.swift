import Media
import NIOCore
import Placement

/// Who talks to whom.
enum Place: Hashable {
    case coordinator
    case node(Int)
    case encoder(Int)
}

/// One run: a coordinator, origins, edges and encoders on a virtual network, with faults drawn from a seed.
final class World {
    static let placement = PlacementConfiguration(tombstoneLifetime: .seconds(30), maximumTombstones: 100)
    static let watchHistory = 64
    private static let originCount = 3
    private static let edgeCount = 2
    private static let keyCount = 4
    /// Faults happen in this time; afterwards all is well.
    private static let faultsEnd = TimeAmount.seconds(60)

    let seed: UInt64
    var random: SeededGenerator
    let scheduler = Scheduler()
    private(set) var keys: [StreamKey] = []
    private(set) var nodes: [SimulatedNode] = []
    private(set) var encoders: [Encoder] = []
    private var theCoordinator: SimulatedCoordinator?
    private var cuts: [Set<Place>: Int] = [:]
    private var loss = 0.0
    private var maximumLatencyMillis: Int64 = 20
    private(set) var failures: [String] = []
    private var notes: [String] = []
    /// Playlists that viewers read.
    var reads = 0

    var coordinator: SimulatedCoordinator {
        guard let coordinator = self.theCoordinator else { preconditionFailure("the world is not complete") }
        return coordinator
    }

    var origins: [SimulatedNode] { self.nodes.filter { $0.role == .origin } }
    var now: NIODeadline { self.scheduler.now }
    /// Some day in 2026.
    var wallMillis: Int64 { 1_780_000_000_000 + self.scheduler.millisSinceStart }

    init(seed: UInt64) throws {
        self.seed = seed
        self.random = SeededGenerator(seed: seed)
        for number in 0..<Self.keyCount { self.keys.append(try StreamKey(app: "live", name: "s\(number)")) }
        self.theCoordinator = SimulatedCoordinator(world: self)
        for number in 0..<Self.originCount + Self.edgeCount {
            let isOrigin = number < Self.originCount
            self.nodes.append(
                try SimulatedNode(
                    world: self, index: number, name: isOrigin ? "origin-\(number)" : "edge-\(number)",
                    role: isOrigin ? .origin : .edge, skewMillis: Int64.random(in: -500...500, using: &self.random)))
        }
        for (index, key) in self.keys.enumerated() {
            self.encoders.append(Encoder(world: self, index: index, key: key))
        }
    }

    // MARK: Network

    func latency() -> TimeAmount { self.random.millis(1...self.maximumLatencyMillis) }

    func isOpen(_ one: Place, _ other: Place) -> Bool { self.cuts[[one, other]] == nil }

    func send(from one: Place, to other: Place, _ body: @escaping () -> Void) {
        guard self.isOpen(one, other), !self.random.chance(self.loss) else { return }
        self.scheduler.after(self.latency()) {
            // What is on its way when a link is cut does not arrive.
            if self.isOpen(one, other) { body() }
        }
    }

    func note(_ text: @autoclosure () -> String) {
        if self.notes.count >= 400 { self.notes.removeFirst(200) }
        self.notes.append("\(self.scheduler.millisSinceStart) ms: \(text())")
    }

    func fail(_ text: String) {
        self.note("VIOLATED: \(text)")
        if self.failures.count < 10 { self.failures.append("\(self.scheduler.millisSinceStart) ms: \(text)") }
    }

    // MARK: Faults

    private func planFaults() {
        for _ in 0..<Int.random(in: 2...10, using: &self.random) {
            self.scheduler.after(self.random.millis(3_000...Self.faultsEnd.nanoseconds / 1_000_000 - 1)) {
                self.makeFault()
            }
        }
    }

    private func makeFault() {
        let length = self.random.millis(100...20_000)
        let origin = self.origins.randomElement(using: &self.random)
        let node = self.nodes.randomElement(using: &self.random)
        let encoder = self.encoders.randomElement(using: &self.random)
        guard let origin, let node, let encoder else { return }
        switch Int.random(in: 0..<13, using: &self.random) {
        case 0:
            node.crash()
            self.scheduler.after(length) { node.start() }
        case 1:
            let losesDisk = self.random.chance(0.15)
            self.coordinator.crash(losesDisk: losesDisk)
            self.scheduler.after(length) { self.coordinator.start() }
        case 2, 3: self.cut(.coordinator, .node(node.index), for: length)
        case 4: self.cut(.node(origin.index), .node(node.index), for: length)
        case 5, 6: self.cut(.encoder(encoder.index), .node(origin.index), for: length)
        case 7: self.disturb(length, loss: 0.2, latencyMillis: 200)
        case 8: self.disturb(length, loss: 0, latencyMillis: 900)
        case 9:
            encoder.turnOff()
            self.scheduler.after(length) { encoder.turnOn() }
        case 10:
            encoder.isFrozen = true
            self.scheduler.after(length) { encoder.isFrozen = false }
        case 11: self.freeze(node, length)
        default: self.rareFault(origin, length)
        }
    }

    private func cut(_ one: Place, _ other: Place, for length: TimeAmount) {
        guard one != other else { return }
        self.note("cut between \(one) and \(other)")
        self.cuts[[one, other], default: 0] += 1
        self.scheduler.after(length) {
            let count = (self.cuts[[one, other]] ?? 1) - 1
            self.cuts[[one, other]] = count == 0 ? nil : count
            self.note("no cut between \(one) and \(other): \(count == 0)")
        }
    }

    private func disturb(_ length: TimeAmount, loss: Double, latencyMillis: Int64) {
        self.note("loss \(loss), latency up to \(latencyMillis) ms")
        (self.loss, self.maximumLatencyMillis) = (loss, latencyMillis)
        self.scheduler.after(length) { (self.loss, self.maximumLatencyMillis) = (0, 20) }
    }

    private func freeze(_ node: SimulatedNode, _ length: TimeAmount) {
        self.note("\(node.id) is stopped")
        node.isFrozen = true
        self.scheduler.after(length) {
            node.isFrozen = false
            self.note("\(node.id) goes on")
        }
    }

    private func rareFault(_ origin: SimulatedNode, _ length: TimeAmount) {
        switch Int.random(in: 0..<3, using: &self.random) {
        case 0:
            self.note("the coordinator's disk fails")
            self.coordinator.isStoreFailing = true
            self.scheduler.after(length) { self.coordinator.isStoreFailing = false }
        case 1:
            self.note("the coordinator is stopped")
            self.coordinator.isFrozen = true
            self.scheduler.after(length) { self.coordinator.isFrozen = false }
        default:
            self.note("\(origin.id) is drained")
            self.coordinator.setDrained(origin.id, true)
            self.scheduler.after(length) { self.coordinator.setDrained(origin.id, false) }
        }
    }

    /// All that is broken is mended, and the operator takes drains back.
    private func mend() {
        self.note("all is mended")
        self.cuts = [:]
        (self.loss, self.maximumLatencyMillis) = (0, 20)
        self.coordinator.isStoreFailing = false
        self.coordinator.isFrozen = false
        self.coordinator.start()
        for node in self.nodes {
            node.isFrozen = false
            node.start()
        }
        for origin in self.origins { self.coordinator.setDrained(origin.id, false) }
        for encoder in self.encoders { encoder.isFrozen = false }
    }

    // MARK: Running

    /// Runs to the end. What is wrong is in `failures`.
    func run() {
        self.coordinator.start()
        for node in self.nodes { node.start() }
        for encoder in self.encoders {
            self.scheduler.after(self.random.millis(0...6_000)) { encoder.turnOn() }
        }
        self.planFaults()
        self.scheduler.run(until: Scheduler.start + Self.faultsEnd)
        self.mend()
        // What was planned to end later than the mending must not begin anew: faults have ended, restarts are harmless.
        self.scheduler.run(until: Scheduler.start + Self.faultsEnd + .seconds(25))
        for encoder in self.encoders { encoder.turnOn() }
        for origin in self.origins { self.coordinator.setDrained(origin.id, false) }
        self.scheduler.run(until: Scheduler.start + Self.faultsEnd + .seconds(60))
        self.checkConvergence()
        for encoder in self.encoders { encoder.turnOff() }
        self.scheduler.run(until: Scheduler.start + Self.faultsEnd + .seconds(90))
        self.checkFreed()
        self.scheduler.run(until: Scheduler.start + Self.faultsEnd + .seconds(130))
        if let left = self.coordinator.table?.placements, !left.isEmpty {
            self.fail("the coordinator still remembers \(left.keys.map(\.name).sorted())")
        }
        if self.reads == 0 { self.fail("no viewer ever read anything, so nothing was tested") }
    }

    /// Every encoder publishes; exactly one node holds its key, and everybody knows which.
    private func checkConvergence() {
        for encoder in self.encoders {
            let key = encoder.key
            guard let node = encoder.node else {
                self.fail("the encoder of \(key) publishes nowhere")
                continue
            }
            let holders = self.nodes.filter { $0.slots[key] != nil }
            guard holders.count == 1, holders[0] === node, let slot = node.slots[key] else {
                self.fail("\(key) is published at \(node.id) and held by \(holders.map(\.id.rawValue))")
                continue
            }
            guard let placement = self.coordinator.table?.placements[key], placement.node == node.id,
                placement.epoch == slot.epoch, placement.state == .live
            else {
                self.fail("the coordinator does not know that \(node.id) holds \(key) at \(slot.epoch)")
                continue
            }
            for other in self.nodes {
                guard let change = other.cache[key]?.change, change.epoch == slot.epoch, change.route?.node == node.id
                else {
                    self.fail("\(other.id) does not know that \(node.id) holds \(key)")
                    continue
                }
            }
        }
    }

    /// All encoders left: no node and not the coordinator holds anything.
    private func checkFreed() {
        for node in self.nodes where !node.slots.isEmpty || !node.held.isEmpty || !node.pendingReleases.isEmpty {
            self.fail("\(node.id) still holds \(node.slots.keys.map(\.name)), or has not given it up")
        }
        if let table = self.coordinator.table, table.activeCount != 0 {
            let left = table.placements.values.filter { $0.state != .ended }
            self.fail("the claims of \(left.map { "\($0.key) by \($0.node)" }.sorted()) were not freed")
        }
    }

    var history: [String] { self.notes }
}
