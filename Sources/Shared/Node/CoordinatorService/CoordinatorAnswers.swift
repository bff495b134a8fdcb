import CoordinatorStore
import Media
import NIOCore
import Placement

/// Answer of `GET /api/v1/health`.
struct HealthAnswer: Codable, Equatable {
    /// `ok`, or `failing` while the database does not take writes.
    var status: String
    var instance: String
    var recovering: Bool
    var nodes: Int
    var streams: Int
    var watchers: Int
}

/// Answer of `GET /api/v1/nodes`.
struct NodeList: Codable, Equatable {
    struct Entry: Codable, Equatable {
        var node: NodeDescription
        var health: NodeHealth
        var isDrained: Bool
        var isDraining: Bool
        var utilisation: Double
        var load: LoadVector
        var silentMillis: Int64

        init(_ record: NodeRecord, now: NIODeadline) {
            self.node = record.description
            self.health = record.health
            self.isDrained = record.isDrained
            self.isDraining = record.isDraining
            self.utilisation = record.load.utilisation
            self.load = record.load
            self.silentMillis = (now - record.lastHeard).nanoseconds / 1_000_000
        }
    }

    var nodes: [Entry]
}

/// Answer of `GET /api/v1/streams`.
struct StreamList: Codable, Equatable {
    struct Entry: Codable, Equatable {
        var key: StreamKey
        var epoch: UInt64
        var isProvisional: Bool
        var state: PlacementState
        var node: NodeID
        /// What is left of the lease; 0 for an ended stream.
        var leaseMillis: Int64
        var route: Route?

        init(_ placement: StreamPlacement, route: Route?, now: NIODeadline) {
            self.key = placement.key
            self.epoch = placement.epoch
            self.isProvisional = PlacementEpoch.isProvisional(placement.epoch)
            self.state = placement.state
            self.node = placement.node
            self.leaseMillis = max((placement.leaseUntil - now).nanoseconds / 1_000_000, 0)
            self.route = route
        }
    }

    var streams: [Entry]
    /// `after` of the next page; missing on the last one.
    var next: String?
}

/// Answer of `GET /api/v1/events`.
struct EventList: Codable, Equatable {
    var events: [StoredEvent]
}
