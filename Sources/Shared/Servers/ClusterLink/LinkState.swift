import DequeModule
import Media
import NIOCore
import Placement

/// All that changes in a link, guarded by its mutex.
struct LinkState {
    /// The answer to a lookup that several askers wait for.
    enum LookupResult: Sendable {
        case origin(Route), notFound, ended, unavailable
    }

    /// A claim that this node won, and that its status may not list yet.
    struct Held {
        var epoch: UInt64
        var since: NIODeadline
        var isReported: Bool
    }

    var handlers = ClusterLinkHandlers()
    var client: CoordinatorClient?
    var cache: RouteCache
    var held: [StreamKey: Held] = [:]
    var pendingReleases: Deque<StreamRelease> = []
    var origins: [NodeDescription] = []
    var originsRevision: UInt64 = 0
    var policiesRevision: UInt64?

    var isRunning = false
    /// The first join succeeded or failed.
    var isFirstContactOver = false
    var isRegistered = false
    /// The last heartbeat was answered.
    var isConnected = false
    /// When the last heartbeat was answered.
    var lastAnswer: NIODeadline?
    var connectedSinceMillis: Int64?
    var lastError: String?
    var lossCount = 0
    var coordinatorIndex = 0
    var isDrained = false
    var failures = 0

    var watch = ClusterLinkState.Watch.none
    var cursor: String?

    var firstContactWaiters: [CheckedContinuation<Void, Never>] = []
    var lookups: [StreamKey: [CheckedContinuation<LookupResult, Never>]] = [:]

    init(configuration: ClusterLinkConfiguration) {
        self.cache = RouteCache(
            maximumEntries: configuration.routeCacheEntries, maximumNegatives: configuration.negativeCacheEntries)
    }

    /// Another process holds what this node thought to hold. Returns whether that is news.
    mutating func isSuperseded(by change: PlacementChange, node: NodeID) -> Bool {
        guard let held = self.held[change.key], change.epoch > held.epoch, let route = change.route, route.node != node
        else { return false }
        self.held[change.key] = nil
        return true
    }
}
