import NIOCore
import Placement

/// How the coordinator listens, what it keeps, and the times of the placement rules.
package struct CoordinatorConfiguration: Sendable {
    /// Host name or address to listen on.
    package var host: String
    /// 0 lets the kernel choose.
    package var port: Int
    package var databasePath: String
    /// The cluster's shared secret; `nil` or empty for none, which is accepted on loopback only.
    package var secret: String?
    /// How long a placement holds without a renewal.
    package var leaseMillis: Int64
    package var heartbeatMillis: Int64
    package var suspectAfterMillis: Int64
    package var deadAfterMillis: Int64
    /// How long after its start placements are held for nodes that were not heard yet.
    package var recoveryMillis: Int64
    package var eventRetentionMillis: Int64
    package var maximumEvents: Int
    /// Connections that follow the changes at the same time.
    package var maximumWatchers: Int
    /// Changes that are kept for watchers that come back. Who was away for longer gets all placements anew.
    package var watchHistory: Int
    /// Off where a proxy in front holds event streams back; nodes then poll.
    package var servesEvents: Bool
    package var maximumBodyBytes: Int
    package var maximumNodes: Int
    package var maximumStreams: Int

    package init(
        host: String = "127.0.0.1", port: Int = 7000, databasePath: String = "weir-coordinator.sqlite",
        secret: String? = nil, leaseMillis: Int64 = 10_000, heartbeatMillis: Int64 = 1_000,
        suspectAfterMillis: Int64 = 3_000, deadAfterMillis: Int64 = 5_000, recoveryMillis: Int64 = 4_000,
        eventRetentionMillis: Int64 = 7 * 86_400_000, maximumEvents: Int = 1_000_000, maximumWatchers: Int = 10_000,
        watchHistory: Int = 8_192, servesEvents: Bool = true, maximumBodyBytes: Int = 4 << 20,
        maximumNodes: Int = 4_096,
        maximumStreams: Int = 200_000
    ) {
        self.host = host
        self.port = port
        self.databasePath = databasePath
        self.secret = secret
        self.leaseMillis = leaseMillis
        self.heartbeatMillis = heartbeatMillis
        self.suspectAfterMillis = suspectAfterMillis
        self.deadAfterMillis = deadAfterMillis
        self.recoveryMillis = recoveryMillis
        self.eventRetentionMillis = eventRetentionMillis
        self.maximumEvents = maximumEvents
        self.maximumWatchers = maximumWatchers
        self.watchHistory = watchHistory
        self.servesEvents = servesEvents
        self.maximumBodyBytes = maximumBodyBytes
        self.maximumNodes = maximumNodes
        self.maximumStreams = maximumStreams
    }

    /// Names the first setting that cannot work.
    package func validate() throws(CoordinatorConfigurationError) {
        guard (0...65_535).contains(self.port) else { throw .portOutOfRange(self.port) }
        guard !self.databasePath.isEmpty else { throw .missingDatabasePath }
        guard !(self.secret ?? "").isEmpty || self.listensOnLoopback else { throw .missingSecret(host: self.host) }
        let numbers: [(String, Int64)] = [
            ("lease", self.leaseMillis), ("heartbeat", self.heartbeatMillis),
            ("suspect_after", self.suspectAfterMillis), ("dead_after", self.deadAfterMillis),
            ("event_retention", self.eventRetentionMillis), ("maximum_events", Int64(self.maximumEvents)),
            ("maximum_watchers", Int64(self.maximumWatchers)), ("watch_history", Int64(self.watchHistory)),
            ("maximum_body", Int64(self.maximumBodyBytes)), ("maximum_nodes", Int64(self.maximumNodes)),
            ("maximum_streams", Int64(self.maximumStreams)),
        ]
        for (name, value) in numbers where value <= 0 { throw .notPositive(name) }
        guard self.recoveryMillis >= 0 else { throw .notPositive("recovery") }
        guard self.heartbeatMillis < self.suspectAfterMillis, self.suspectAfterMillis < self.deadAfterMillis,
            self.deadAfterMillis <= self.leaseMillis
        else { throw .timesOutOfOrder }
    }

    private var listensOnLoopback: Bool {
        self.host == "localhost" || self.host == "::1" || self.host == "[::1]" || self.host.hasPrefix("127.")
    }

    var placement: PlacementConfiguration {
        PlacementConfiguration(
            lease: .milliseconds(self.leaseMillis), heartbeat: .milliseconds(self.heartbeatMillis),
            suspectAfter: .milliseconds(self.suspectAfterMillis), deadAfter: .milliseconds(self.deadAfterMillis),
            recovery: .milliseconds(self.recoveryMillis), maximumNodes: self.maximumNodes,
            maximumStreams: self.maximumStreams)
    }
}

/// What is wrong with the coordinator's configuration.
package enum CoordinatorConfigurationError: Error, Equatable {
    case portOutOfRange(Int)
    case missingDatabasePath
    /// Without a secret anybody who reaches the port could move streams, so only loopback is allowed.
    case missingSecret(host: String)
    /// The named setting must be above zero.
    case notPositive(String)
    /// It must hold: heartbeat < suspect_after < dead_after ≤ lease.
    case timesOutOfOrder
}
