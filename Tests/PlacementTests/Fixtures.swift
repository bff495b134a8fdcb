import Media
import NIOCore
@testable import Placement

/// A table with some nodes, driven by a clock that only the test moves.
struct Fixture {
    static let wallSeconds: UInt64 = 1_000

    var table: PlacementTable
    var now: NIODeadline
    let key: StreamKey
    let a: NodeDescription
    let b: NodeDescription

    /// Two origins that joined, and a table whose recovery is over.
    init(configuration: PlacementConfiguration = PlacementConfiguration()) throws {
        self.now = .uptimeNanoseconds(1_000_000_000_000)
        self.key = try StreamKey(app: "live", name: "demo")
        self.a = try Self.node("a")
        self.b = try Self.node("b")
        self.table = PlacementTable(configuration: configuration, now: self.now)
        self.now = self.now + configuration.recovery
        self.table.deadlineReached(now: self.now)
        try self.join(self.a)
        try self.join(self.b)
        self.drop()
    }

    static func node(
        _ name: String, instance: String = "one", role: NodeRole = .origin, region: String = ""
    ) throws -> NodeDescription {
        NodeDescription(
            id: try NodeID(name), instance: instance, role: role, region: region, host: "\(name).test", rtmpPort: 1935,
            httpPort: 8080)
    }

    mutating func advance(_ time: TimeAmount) {
        self.now = self.now + time
        self.table.deadlineReached(now: self.now)
    }

    @discardableResult
    mutating func join(_ node: NodeDescription, _ reports: [StreamReport] = []) throws -> HeartbeatResult {
        try self.table.register(RegisterRequest(node: node, status: NodeStatus(streams: reports)), now: self.now)
    }

    @discardableResult
    mutating func beat(_ node: NodeDescription, _ reports: [StreamReport] = []) throws -> HeartbeatResult {
        try self.table.heartbeat(
            node.id, instance: node.instance, status: NodeStatus(streams: reports), now: self.now)
    }

    mutating func claim(
        _ node: NodeDescription, _ policy: ClaimPolicy = .reject, token: String? = nil, wall: UInt64 = Self.wallSeconds
    ) throws -> ClaimDecision {
        try self.table.claim(
            ClaimRequest(
                key: self.key, node: node.id, instance: node.instance, policy: policy, tokenDigest: token),
            now: self.now, wallSeconds: wall)
    }

    /// Claims, and returns the epoch; fails on a conflict.
    mutating func won(
        _ node: NodeDescription, _ policy: ClaimPolicy = .reject, token: String? = nil, wall: UInt64 = Self.wallSeconds
    ) throws -> UInt64 {
        guard case .granted(let placement) = try self.claim(node, policy, token: token, wall: wall) else {
            throw NotGranted()
        }
        return placement.epoch
    }

    struct NotGranted: Error {}

    mutating func renew(_ node: NodeDescription, _ epoch: UInt64, _ state: PlacementState) throws {
        try self.table.renew(
            RenewRequest(node: node.id, instance: node.instance, report: self.report(epoch, state)), now: self.now)
    }

    mutating func release(_ node: NodeDescription, _ epoch: UInt64) throws {
        try self.table.release(
            ReleaseRequest(
                node: node.id, instance: node.instance,
                release: StreamRelease(key: self.key, epoch: epoch, reason: .unpublished)), now: self.now)
    }

    func report(_ epoch: UInt64, _ state: PlacementState = .live, silent: Int64 = 0) -> StreamReport {
        StreamReport(key: self.key, epoch: epoch, state: state, silentMillis: silent)
    }

    var state: PlacementState? { self.table.placements[self.key]?.state }
    var holder: NodeID? { self.table.placements[self.key]?.node }

    mutating func drop() { while self.table.nextOutput() != nil {} }

    mutating func outputs() -> [PlacementOutput] {
        var outputs: [PlacementOutput] = []
        while let output = self.table.nextOutput() { outputs.append(output) }
        return outputs
    }

    mutating func changes() -> [PlacementChange] {
        self.outputs().compactMap { output in
            if case .placement(_, let change) = output { change } else { nil }
        }
    }
}
