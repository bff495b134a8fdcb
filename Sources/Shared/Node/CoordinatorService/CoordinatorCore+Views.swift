import Media
import NIOCore
import Placement

/// A placement as lists need it, without what the nodes tell of it.
struct StreamRow: Sendable, Hashable {
    var name: String
    var placement: StreamPlacement
    var route: Route?
    var nodeHealth: NodeHealth?
}

/// A node that may serve a player or a publisher.
struct MediaNode: Sendable, Hashable {
    var node: NodeDescription
    var utilisation: Double
    var isSuspect: Bool
}

/// What lists, sums and charts show. Each call does a bounded piece of work, so that no claim waits behind a list; what
/// is made of the pieces is made outside of the actor.
extension CoordinatorCore {
    // MARK: Health

    func health() -> HealthAnswer {
        HealthAnswer(
            status: self.isStoreFailing ? "failing" : "ok", instance: self.instance,
            recovering: self.table.isRecovering, nodes: self.table.nodes.count, streams: self.table.activeCount,
            watchers: self.watchers.count)
    }

    func readiness() -> ReadinessAnswer {
        if self.isStoreFailing { return ReadinessAnswer(status: .failing) }
        return ReadinessAnswer(status: self.table.isRecovering ? .recovering : .ready)
    }

    // MARK: Nodes

    /// All nodes, in the order of their ids.
    func nodes() -> [NodeList.Entry] {
        let now = NIODeadline.now()
        return self.table.nodes.values.map { self.entry($0, now: now) }.sorted {
            $0.node.id.rawValue < $1.node.id.rawValue
        }
    }

    func node(_ id: NodeID) throws(PlacementError) -> NodeList.Entry {
        guard let record = self.table.nodes[id] else { throw .unknownNode }
        return self.entry(record, now: .now())
    }

    private func entry(_ record: NodeRecord, now: NIODeadline) -> NodeList.Entry {
        let id = record.description.id
        let known = self.facts.node(id)
        return NodeList.Entry(
            node: record.description, health: record.health, state: self.state(of: record, facts: known.facts),
            isDrained: record.isDrained, isDraining: record.isDraining, utilisation: record.load.utilisation,
            load: record.load, silentMillis: max((now - record.lastHeard).nanoseconds / 1_000_000, 0),
            facts: known.facts, heldStreams: self.tally.held[id] ?? 0,
            pulledStreams: max(known.streams - known.held, 0), isReachable: self.broker.isReachable(id, now: now))
    }

    private func state(of record: NodeRecord, facts: NodeFacts?) -> NodeState {
        let viewers = facts?.viewers.values.reduce(0) { $0.addingClamped($1) } ?? record.load.viewers
        let isEmpty =
            viewers == 0 && facts?.publishers ?? 0 == 0 && self.tally.held[record.description.id] ?? 0 == 0
        return NodeState(record, isEmpty: isEmpty)
    }

    /// Ids of nodes that are alive, sorted.
    func liveNodes() -> [NodeID] {
        self.table.nodes.filter { $0.value.health == .alive || $0.value.health == .suspect }.map(\.key)
            .sorted { $0.rawValue < $1.rawValue }
    }

    func description(of id: NodeID) -> NodeDescription? { self.table.nodes[id]?.description }

    // MARK: Streams

    /// Placements behind `after` in the order of names, about `limit`; ended ones, too.
    func streamRows(after: String, prefix: String, limit: Int) -> [StreamRow] {
        self.index.entries(after: after, prefix: prefix, limit: limit).compactMap { entry in
            self.table.placements[entry.key].map { self.row($0, name: entry.name) }
        }
    }

    func streamRow(_ key: StreamKey) -> StreamRow? {
        self.table.placements[key].map { self.row($0, name: StreamIndex.name(of: key)) }
    }

    private func row(_ placement: StreamPlacement, name: String) -> StreamRow {
        StreamRow(
            name: name, placement: placement, route: self.table.change(for: placement).route,
            nodeHealth: self.table.nodes[placement.node]?.health)
    }

    /// Nodes that may be named to players: edges, or origins while there is no edge. `holder` is the stream's own.
    func playNodes(for key: StreamKey) -> (nodes: [MediaNode], isLive: Bool) {
        let placement = self.table.placements[key]
        let open = self.table.nodes.values.filter { node in
            !node.isDrained && !node.isDraining && (node.health == .alive || node.health == .suspect)
        }
        let edges = open.filter { $0.description.role == .edge }
        var chosen = edges
        if edges.isEmpty {
            // Every origin can pull from another, but the holder need not.
            chosen = open.filter { $0.description.id == placement?.node && placement?.state != .ended }
            if chosen.isEmpty { chosen = open }
        }
        let nodes = chosen.map { node in
            MediaNode(
                node: node.description, utilisation: node.load.utilisation,
                isSuspect: node.health != .alive || node.isLinkLost)
        }
        return (nodes, placement?.state == .live)
    }

    func utilisation(of id: NodeID) -> Double { self.table.nodes[id]?.load.utilisation ?? 0 }
    func isLive(_ key: StreamKey) -> Bool { self.table.placements[key]?.state == .live }

    // MARK: Sums

    func overview() -> Overview {
        let sums = self.facts.sums()
        var nodes: [String: Int] = [:]
        for record in self.table.nodes.values {
            let state = self.state(of: record, facts: self.facts.node(record.description.id).facts)
            nodes[state.rawValue, default: 0] += 1
        }
        return Overview(
            instance: self.instance, version: self.configuration.version, atMillis: Self.wallMillis(),
            startedMillis: self.startedMillis, recovering: self.table.isRecovering, streams: self.table.activeCount,
            liveStreams: self.tally.states[.live] ?? 0, publishers: sums.publishers, viewers: sums.viewers,
            receivedBitsPerSecond: sums.receivedBitsPerSecond, sentBitsPerSecond: sums.sentBitsPerSecond,
            nodes: nodes, alarms: sums.alarms, desiredEdges: self.autoscaling().desiredEdges)
    }

    func autoscaling() -> AutoscalingAnswer {
        let desired = self.configuration.desired
        var inputs = DesiredEdges.Inputs()
        inputs.viewersPerEdge = desired.viewersPerEdge
        inputs.egressBitsPerEdge = desired.egressBitsPerEdge
        inputs.targetLoad = desired.targetLoad
        inputs.minimumEdges = desired.minimumEdges
        var utilisation = 0.0
        for node in self.table.nodes.values where node.health == .alive {
            inputs.viewers = inputs.viewers.addingClamped(node.load.viewers)
            guard node.description.role == .edge, !node.isDrained, !node.isDraining else { continue }
            inputs.edges += 1
            inputs.egressBitsPerSecond = inputs.egressBitsPerSecond.addingClamped(node.load.egressBitsPerSecond)
            utilisation += node.load.utilisation
            inputs.highestUtilisation = max(inputs.highestUtilisation, node.load.utilisation)
        }
        if inputs.edges > 0 { inputs.meanUtilisation = utilisation / Double(inputs.edges) }
        let (edges, reason) = desired.decide(inputs)
        return AutoscalingAnswer(desiredEdges: edges, reason: reason, inputs: inputs)
    }

    /// Placements by state.
    func placementCounts() -> [PlacementState: Int] { self.tally.states }

    // MARK: Live events

    /// What changed since the last call, for the followers of the live events; `nil` if nothing did.
    func takeChanges() -> StreamChanges? {
        guard !self.changes.isEmpty else { return nil }
        let changes = self.changes
        self.changes = PendingChanges()
        let streams = changes.streams.compactMap { key in
            self.table.placements[key].map {
                StreamChanges.Stream(key: key, epoch: $0.epoch, state: $0.state, node: $0.node)
            }
        }
        let nodes = changes.nodes.map { id in
            let record = self.table.nodes[id]
            let state = record.map { self.state(of: $0, facts: self.facts.node(id).facts).rawValue }
            return StreamChanges.Node(id: id, state: state ?? "gone")
        }
        return StreamChanges(streams: streams, nodes: nodes, isComplete: !changes.isOverflowing)
    }

    // MARK: Policies

    /// Takes over what was stored; nodes get it with their next heartbeat.
    func adopt(_ policies: PolicyList) {
        guard policies.revision > self.policies.revision else { return }
        self.policies = policies
    }
}
