import CoordinatorStore
import Media
import NIOCore
import Placement

/// Answer of `GET /healthz` and `GET /api/v1/health`.
struct HealthAnswer: Codable, Equatable {
    /// `ok`, or `failing` while the database does not take writes.
    var status: String
    var instance: String
    var recovering: Bool
    var nodes: Int
    var streams: Int
    var watchers: Int
}

/// Answer of `GET /readyz`.
struct ReadinessAnswer: Codable, Equatable {
    enum Status: String, Codable { case ready, recovering, failing }

    var status: Status
}

/// What an operator sees of a node's life.
enum NodeState: String, Codable, Hashable, CaseIterable {
    case unheard, alive, draining, drained, suspect, dead

    /// `isEmpty`: it holds nothing and serves nobody.
    init(_ record: NodeRecord, isEmpty: Bool) {
        switch record.health {
        case .unheard: self = .unheard
        case .suspect: self = .suspect
        case .dead: self = .dead
        case .alive:
            if record.isDrained || record.isDraining {
                self = isEmpty ? .drained : .draining
            } else {
                self = .alive
            }
        }
    }
}

/// Answer of `GET /api/v1/nodes`.
struct NodeList: Codable, Hashable {
    struct Entry: Codable, Hashable {
        var node: NodeDescription
        var health: NodeHealth
        var state: NodeState
        var isDrained: Bool
        var isDraining: Bool
        var utilisation: Double
        var load: LoadVector
        var silentMillis: Int64
        var facts: NodeFacts?
        var heldStreams: Int
        var pulledStreams: Int
        var isReachable: Bool

        /// Without what changes by itself, for the validator of the list.
        var steady: Entry {
            var steady = self
            steady.silentMillis = 0
            return steady
        }
    }

    var nodes: [Entry]
    /// `after` of the next page; missing on the last one.
    var next: String?
}

/// Answer of `GET /api/v1/streams`.
struct StreamList: Codable, Hashable {
    /// How a stream is, from the placement and from what its holder tells.
    enum Health: String, Codable, Hashable {
        case ok, stalled, starting, waiting, orphaned, ended
    }

    struct Entry: Codable, Hashable {
        var key: StreamKey
        var epoch: UInt64
        var isProvisional: Bool
        var state: PlacementState
        var node: NodeID
        /// What is left of the lease; 0 for an ended stream.
        var leaseMillis: Int64
        var route: Route?
        var health: Health
        var tracks: [TrackFacts]
        var publisher: PublisherFacts?
        var uptimeSeconds: Double?
        var ingestBitsPerSecond: UInt64
        var egressBitsPerSecond: UInt64
        var framesPerSecond: Double
        var gopMillis: Int
        var silentMillis: Int64?
        var viewers: [String: Int]
        var viewersByNode: [String: Int]
        var isRecording: Bool

        /// Without what changes by itself, for the validator of the list.
        var steady: Entry {
            var steady = self
            steady.leaseMillis = 0
            steady.silentMillis = nil
            steady.uptimeSeconds = nil
            steady.publisher?.seconds = 0
            return steady
        }
    }

    var streams: [Entry]
    /// `after` of the next page; missing on the last one.
    var next: String?
}

extension StreamList.Entry {
    /// A publisher that was silent for longer is stalled.
    private static let stalledAfterMillis: Int64 = 3_000
    /// Nodes that are named with their viewers.
    private static let maximumNodes = 256

    init(_ row: StreamRow, _ view: FactsBook.StreamView, now: NIODeadline) {
        let placement = row.placement
        self.key = placement.key
        self.epoch = placement.epoch
        self.isProvisional = PlacementEpoch.isProvisional(placement.epoch)
        self.state = placement.state
        self.node = placement.node
        self.leaseMillis = max((placement.leaseUntil - now).nanoseconds / 1_000_000, 0)
        self.route = row.route
        let holder = view.nodes.first { $0.id == placement.node }?.facts
        self.tracks = holder?.tracks ?? []
        self.publisher = view.publisher?.publisher
        self.uptimeSeconds = self.publisher?.seconds
        self.ingestBitsPerSecond = holder?.ingestBitsPerSecond ?? 0
        self.framesPerSecond = holder?.framesPerSecond ?? 0
        self.gopMillis = holder?.gopMillis ?? 0
        self.silentMillis = holder?.silentMillis
        self.isRecording = holder?.isRecording ?? false
        self.egressBitsPerSecond = 0
        self.viewers = [:]
        self.viewersByNode = [:]
        for (id, facts) in view.nodes {
            self.egressBitsPerSecond = self.egressBitsPerSecond.addingClamped(facts.egressBitsPerSecond)
            self.viewers.merge(facts.viewers) { $0.addingClamped($1) }
            guard self.viewersByNode.count < Self.maximumNodes else { continue }
            self.viewersByNode[id.rawValue] = facts.viewers.values.reduce(0) { $0.addingClamped($1) }
        }
        self.health = Self.health(placement, nodeHealth: row.nodeHealth, silentMillis: holder?.silentMillis)
    }

    private static func health(
        _ placement: StreamPlacement, nodeHealth: NodeHealth?, silentMillis: Int64?
    ) -> StreamList.Health {
        if placement.state == .ended { return .ended }
        guard nodeHealth == .alive else { return .orphaned }
        switch placement.state {
        case .claiming: return .starting
        case .grace: return .waiting
        case .live, .ended: return silentMillis ?? 0 > self.stalledAfterMillis ? .stalled : .ok
        }
    }
}

extension FactsBook.StreamView {
    /// Where the publisher connects: the node that forwards it, or else the one that holds the stream.
    var publisher: (node: NodeID, publisher: PublisherFacts)? {
        let known = self.nodes.compactMap { node in
            node.facts.publisher.map { (node: node.id, publisher: $0, isHolder: node.facts.isHolder) }
        }
        return (known.first { !$0.isHolder } ?? known.first).map { ($0.node, $0.publisher) }
    }
}

/// Answer of `GET /api/v1/stream`.
struct StreamDetail: Codable, Hashable {
    struct Node: Codable, Hashable {
        var node: NodeID
        var role: NodeRole?
        var facts: StreamFacts
    }

    var stream: StreamList.Entry
    var nodes: [Node]
}

/// Answer of `GET /api/v1/stream/route`.
struct StreamWay: Codable, Hashable {
    enum Kind: String, Codable, Hashable { case publisher, holder, relay }

    struct Node: Codable, Hashable {
        var node: NodeID
        var kind: Kind
        var role: NodeRole?
        var region: String?
        var state: NodeState?
        var viewers: [String: Int]
        var receivedBitsPerSecond: UInt64
        var sentBitsPerSecond: UInt64
        var publisher: PublisherFacts?
    }

    struct Link: Codable, Hashable {
        var from: NodeID
        var to: NodeID
    }

    var key: StreamKey
    var state: PlacementState
    var nodes: [Node]
    var links: [Link]
}

/// Answer of `GET /api/v1/overview`.
struct Overview: Codable, Hashable {
    var instance: String
    var version: String
    var atMillis: Int64
    var startedMillis: Int64
    var recovering: Bool
    var streams: Int
    var liveStreams: Int
    var publishers: Int
    var viewers: [String: Int]
    var receivedBitsPerSecond: UInt64
    var sentBitsPerSecond: UInt64
    var nodes: [String: Int]
    var alarms: Int
    var desiredEdges: Int

    var steady: Overview {
        var steady = self
        steady.atMillis = 0
        return steady
    }
}

/// Answer of `GET /api/v1/autoscaling`.
struct AutoscalingAnswer: Codable, Hashable {
    enum CodingKeys: String, CodingKey {
        case desiredEdges = "cluster_desired_edges"
        case reason, inputs
    }

    var desiredEdges: Int
    var reason: DesiredEdges.Reason
    var inputs: DesiredEdges.Inputs
}

/// Answer of `GET /api/v1/history`.
struct HistoryAnswer: Codable, Hashable {
    var key: StreamKey?
    var stepSeconds: Int
    var endMillis: Int64
    var viewers: [Int?]
    var ingestBitsPerSecond: [UInt64?]
    var egressBitsPerSecond: [UInt64?]

    init(_ samples: [HistorySample?], of key: StreamKey?, endMillis: Int64) {
        self.key = key
        self.stepSeconds = Int(HistoryBook.step.nanoseconds / 1_000_000_000)
        self.endMillis = endMillis
        self.viewers = samples.map { $0?.viewers }
        self.ingestBitsPerSecond = samples.map { sample in sample.map { UInt64($0.ingest) } }
        self.egressBitsPerSecond = samples.map { sample in sample.map { UInt64($0.egress) } }
    }
}

/// Data of the message `changes` of `GET /api/v1/events/stream`.
struct StreamChanges: Codable, Hashable {
    struct Stream: Codable, Hashable {
        var key: StreamKey
        var epoch: UInt64
        var state: PlacementState
        var node: NodeID
    }

    struct Node: Codable, Hashable {
        var id: NodeID
        /// A `NodeState`, or `gone`.
        var state: String
    }

    var streams: [Stream]
    var nodes: [Node]
    var isComplete: Bool
}
