import Media
import NIOCore
import Placement
import Synchronization

/// What the nodes' heartbeats told of streams and of the nodes themselves, kept beside the placement table.
///
/// Bounded by the number of rows (a stream at a node is one), and dropped with the node. Any thread may call; a
/// heartbeat costs its own streams, a question the nodes that have the stream.
final class FactsBook: Sendable {
    /// What is known of one stream.
    struct StreamView: Sendable, Hashable {
        /// By node, the holder first, then by id.
        var nodes: [(id: NodeID, facts: StreamFacts)] = []

        static func == (left: Self, right: Self) -> Bool {
            left.nodes.elementsEqual(right.nodes) { $0.id == $1.id && $0.facts == $1.facts }
        }

        func hash(into hasher: inout Hasher) {
            for (id, facts) in self.nodes {
                hasher.combine(id)
                hasher.combine(facts)
            }
        }
    }

    /// Sums of the cluster.
    struct Sums: Sendable, Hashable {
        var viewers: [String: Int] = [:]
        var publishers = 0
        var sessions = 0
        var receivedBitsPerSecond: UInt64 = 0
        var sentBitsPerSecond: UInt64 = 0
        var alarms = 0
    }

    private struct Node {
        var facts: NodeFacts?
        var streams: [StreamKey: StreamFacts] = [:]
    }

    private struct State {
        var nodes: [NodeID: Node] = [:]
        var byStream: [StreamKey: [NodeID]] = [:]
        var rows = 0
        var refusedRows: UInt64 = 0
        var histories: HistoryBook
    }

    private let maximumRows: Int
    private let state: Mutex<State>

    init(maximumRows: Int, maximumHistories: Int) {
        self.maximumRows = maximumRows
        self.state = Mutex(State(histories: HistoryBook(maximumStreams: maximumHistories)))
    }

    // MARK: Heartbeats

    /// Takes a heartbeat's facts over. Without a list of streams the ones that are known stay.
    func update(_ id: NodeID, _ status: NodeStatus, now: NIODeadline) {
        guard status.facts != nil || status.node != nil else { return }
        self.state.withLock { state in
            var node = state.nodes[id] ?? Node()
            if let facts = status.node { node.facts = facts }
            if let facts = status.facts { self.replace(facts, of: id, in: &node, &state) }
            state.nodes[id] = node
            guard let facts = status.facts else { return }
            for fact in facts where fact.isHolder { Self.sample(fact.key, in: &state, now: now) }
        }
    }

    private func replace(_ facts: [StreamFacts], of id: NodeID, in node: inout Node, _ state: inout State) {
        var streams: [StreamKey: StreamFacts] = [:]
        streams.reserveCapacity(facts.count)
        for fact in facts { streams[fact.key] = fact }
        for key in node.streams.keys where streams[key] == nil { Self.forget(key, at: id, in: &state) }
        for key in streams.keys where node.streams[key] == nil {
            guard state.rows < self.maximumRows else {
                streams[key] = nil
                state.refusedRows += 1
                continue
            }
            state.byStream[key, default: []].append(id)
            state.rows += 1
        }
        node.streams = streams
    }

    private static func forget(_ key: StreamKey, at id: NodeID, in state: inout State) {
        state.rows -= 1
        guard var nodes = state.byStream[key], let index = nodes.firstIndex(of: id) else { return }
        nodes.remove(at: index)
        state.byStream[key] = nodes.isEmpty ? nil : nodes
    }

    private static func sample(_ key: StreamKey, in state: inout State, now: NIODeadline) {
        guard state.histories.wantsSample(of: key, now: now) else { return }
        var sample = HistorySample()
        for id in state.byStream[key] ?? [] {
            guard let facts = state.nodes[id]?.streams[key] else { continue }
            sample.viewers = sample.viewers.addingClamped(facts.viewers.values.reduce(0) { $0.addingClamped($1) })
            sample.egress += Double(facts.egressBitsPerSecond)
            if facts.isHolder { sample.ingest += Double(facts.ingestBitsPerSecond) }
        }
        state.histories.append(sample, of: key, now: now)
    }

    /// The node is gone: nothing of it holds any more.
    func drop(_ id: NodeID) {
        self.state.withLock { state in
            guard let node = state.nodes.removeValue(forKey: id) else { return }
            for key in node.streams.keys { Self.forget(key, at: id, in: &state) }
        }
    }

    // MARK: Questions

    func node(_ id: NodeID) -> (facts: NodeFacts?, streams: Int, held: Int) {
        self.state.withLock { state in
            guard let node = state.nodes[id] else { return (nil, 0, 0) }
            return (node.facts, node.streams.count, node.streams.values.count(where: \.isHolder))
        }
    }

    /// What the nodes see of each of `keys`, in the same order.
    func streams(_ keys: [StreamKey]) -> [StreamView] {
        self.state.withLock { state in
            keys.map { key in
                var view = StreamView()
                for id in state.byStream[key] ?? [] {
                    guard let facts = state.nodes[id]?.streams[key] else { continue }
                    view.nodes.append((id, facts))
                }
                view.nodes.sort { left, right in
                    left.facts.isHolder != right.facts.isHolder
                        ? left.facts.isHolder : left.id.rawValue < right.id.rawValue
                }
                return view
            }
        }
    }

    /// Nodes that have the stream.
    func nodes(having key: StreamKey) -> [NodeID] { self.state.withLock { $0.byStream[key] ?? [] } }

    func sums() -> Sums {
        self.state.withLock { state in
            var sums = Sums()
            for facts in state.nodes.values.lazy.compactMap(\.facts) {
                sums.viewers.merge(facts.viewers) { $0.addingClamped($1) }
                sums.publishers = sums.publishers.addingClamped(facts.publishers)
                sums.sessions = sums.sessions.addingClamped(facts.sessions)
                sums.receivedBitsPerSecond = sums.receivedBitsPerSecond.addingClamped(facts.receivedBitsPerSecond)
                sums.sentBitsPerSecond = sums.sentBitsPerSecond.addingClamped(facts.sentBitsPerSecond)
                sums.alarms += facts.alarms.count
            }
            return sums
        }
    }

    /// Rows that are kept, and those that there was no room for since the start.
    var rows: (kept: Int, refused: UInt64) { self.state.withLock { ($0.rows, $0.refusedRows) } }

    // MARK: History

    /// Takes a sample of the whole cluster, if it is time for one.
    func sampleCluster(now: NIODeadline) {
        guard self.state.withLock({ $0.histories.wantsSample(of: nil, now: now) }) else { return }
        let sums = self.sums()
        var sample = HistorySample()
        sample.viewers = sums.viewers.values.reduce(0) { $0.addingClamped($1) }
        sample.ingest = Double(sums.receivedBitsPerSecond)
        sample.egress = Double(sums.sentBitsPerSecond)
        self.state.withLock { state in
            state.histories.append(sample, of: nil, now: now)
            state.histories.dropStale(now: now)
        }
    }

    /// The last hour of a stream, or of the cluster; `nil` when nothing is kept of it.
    func history(of key: StreamKey?, now: NIODeadline) -> [HistorySample?]? {
        self.state.withLock { $0.histories.samples(of: key, now: now) }
    }
}

extension FixedWidthInteger {
    /// The sum, or the largest number: what nodes tell must not make the coordinator trap.
    func addingClamped(_ other: Self) -> Self {
        let (sum, overflow) = self.addingReportingOverflow(other)
        return overflow ? (other > 0 ? .max : .min) : sum
    }
}
