import Media
import NIOCore
import Placement

/// One encoder, which publishes one key at one node at a time and returns when its connection breaks.
final class Encoder {
    private enum State {
        /// It does not want to publish.
        case off
        case waiting
        case connecting(SimulatedNode)
        case publishing(SimulatedNode)
    }

    private unowned let world: World
    let index: Int
    let key: StreamKey
    let policy: ClaimPolicy
    let token: String?
    private let segmentMillis: Int64
    private var state = State.off
    private var turn = 0
    private var lastSegment: NIODeadline
    private var lastDelivered: NIODeadline
    /// It is connected and sends nothing.
    var isFrozen = false

    init(world: World, index: Int, key: StreamKey) {
        self.world = world
        self.index = index
        self.key = key
        self.policy = [.grace, .grace, .takeover, .reject].randomElement(using: &world.random) ?? .grace
        self.token = world.random.chance(0.5) ? "token-\(key.name)" : nil
        self.segmentMillis = Int64.random(in: 600...4_000, using: &world.random)
        self.lastSegment = world.now
        self.lastDelivered = world.now
        self.tick()
    }

    var node: SimulatedNode? {
        if case .publishing(let node) = self.state { node } else { nil }
    }

    func turnOn() {
        guard case .off = self.state else { return }
        self.retry(after: .milliseconds(10))
    }

    func turnOff() {
        let node = self.node
        self.state = .off
        self.turn += 1
        guard let node else { return }
        self.world.send(from: .encoder(self.index), to: .node(node.index)) { node.left(self.key, self) }
    }

    private func retry(after delay: TimeAmount) {
        self.state = .waiting
        self.turn += 1
        let turn = self.turn
        self.world.scheduler.after(delay) {
            guard self.turn == turn, case .waiting = self.state else { return }
            self.connect()
        }
    }

    private func connect() {
        guard let node = self.world.origins.randomElement(using: &self.world.random) else { return }
        self.state = .connecting(node)
        self.turn += 1
        let turn = self.turn
        self.world.scheduler.after(.seconds(8)) {
            guard self.turn == turn, case .connecting = self.state else { return }
            self.retry(after: .milliseconds(500))
        }
        self.world.send(from: .encoder(self.index), to: .node(node.index)) {
            guard node.runs else { return }
            node.publish(self) { isAccepted in self.answered(isAccepted, node, turn) }
        }
    }

    private func answered(_ isAccepted: Bool, _ node: SimulatedNode, _ turn: Int) {
        // The connection is the same in both directions: what it carries arrives in order, or it breaks.
        guard self.turn == turn, case .connecting = self.state else {
            if isAccepted { node.left(self.key, self) }
            return
        }
        guard isAccepted else { return self.retry(after: self.world.random.millis(300...1_500)) }
        self.state = .publishing(node)
        self.lastDelivered = self.world.now
        self.lastSegment = self.world.now
    }

    /// The node closed the connection.
    func kicked(by node: SimulatedNode) {
        guard self.node === node else { return }
        self.retry(after: self.world.random.millis(300...1_500))
    }

    /// The node died.
    func connectionBroke(_ node: SimulatedNode) {
        switch self.state {
        case .publishing(let peer) where peer === node, .connecting(let peer) where peer === node:
            self.retry(after: self.world.random.millis(300...1_500))
        default: break
        }
    }

    private func tick() {
        self.world.scheduler.after(.milliseconds(100)) {
            self.send()
            self.tick()
        }
    }

    private func send() {
        guard let node = self.node, !self.isFrozen else { return }
        let now = self.world.now
        guard self.world.isOpen(.encoder(self.index), .node(node.index)), node.runs else {
            // Nothing is acknowledged any more: the encoder gives the connection up and goes elsewhere.
            if now - self.lastDelivered > .seconds(3) {
                self.retry(after: .milliseconds(100))
                self.world.scheduler.after(.milliseconds(50)) { self.breakLater(node) }
            }
            return
        }
        self.lastDelivered = now
        let hasSegment = now - self.lastSegment >= .milliseconds(self.segmentMillis)
        if hasSegment { self.lastSegment = now }
        node.media(from: self, hasSegment: hasSegment)
    }

    /// The node learns that the old connection is gone when the network lets it.
    private func breakLater(_ node: SimulatedNode) {
        guard node.isUp, node.slots[self.key]?.encoder === self, self.node !== node else { return }
        if self.world.isOpen(.encoder(self.index), .node(node.index)), node.runs { return node.left(self.key, self) }
        self.world.scheduler.after(.milliseconds(200)) { self.breakLater(node) }
    }
}
