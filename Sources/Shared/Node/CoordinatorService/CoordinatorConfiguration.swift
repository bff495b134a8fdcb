package import APIServer
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
    /// Of what nodes send; a heartbeat names all streams of its node.
    package var maximumBodyBytes: Int
    package var maximumNodes: Int
    package var maximumStreams: Int
    /// A bearer token with the role admin; without one, a random token is made at the first start.
    package var adminToken: String?
    /// Is told the random token, once.
    package var announceAdminToken: @Sendable (String) -> Void = { _ in }
    /// Shown in answers.
    package var version = ""
    /// What `cluster_desired_edges` is computed from.
    package var desired = DesiredEdges()
    /// Where `POST /api/v1/backup` writes; `nil` for the folder `backups` beside the database.
    package var backupFolder: String?
    /// Backups that are kept; older ones are removed.
    package var maximumBackups = 24
    /// Says what is wrong with a policy's setting, a key below `stream` and its value as text; `nil` if nothing is.
    package var checkSetting: @Sendable (_ key: String, _ value: String) -> String? = { _, _ in nil }
    /// Of what users of the API send.
    package var maximumRequestBytes = 64 << 10
    /// Connections that follow `GET /api/v1/events/stream` at the same time.
    package var maximumEventStreams = 256
    /// Facts that are kept, one for each stream at each node that has it.
    package var maximumFacts = 400_000
    /// Streams with a history for charts, about 4 KiB each.
    package var maximumHistories = 10_000
    package var maximumPolicies = 1_000
    package var maximumTokens = 1_000
    /// How long a node may take to answer a request of the API.
    package var nodeRequestMillis: Int64 = 5_000
    /// Requests that wait for one node.
    package var maximumNodeRequests = 64

    /// A second listener, with TLS; its files are read again when they change.
    package var tls: TLSListener?
    /// What one client of the API may take; connections and requests have to allow two for each node.
    package var apiLimits: APILimits = {
        var limits = APILimits()
        limits.connections = 20_000
        limits.requestsInFlight = 20_000
        limits.bodyByteCount = 16 << 20
        return limits
    }()
    /// Whether an address is a reverse proxy, whose `X-Forwarded-For` names the client.
    package var isTrustedProxy: @Sendable (String) -> Bool = { _ in false }
    /// Names under which the API is reached without a token, beside addresses and `localhost`.
    package var hostNames: [String] = []

    /// Where and with what the listener with TLS listens.
    package struct TLSListener: Sendable, Hashable {
        package var host: String
        package var port: Int
        /// PEM files.
        package var certificate: String
        package var key: String

        package init(host: String, port: Int, certificate: String, key: String) {
            self.host = host
            self.port = port
            self.certificate = certificate
            self.key = key
        }
    }

    package init(
        host: String = "127.0.0.1", port: Int = 7000, databasePath: String = "weir-coordinator.sqlite",
        secret: String? = nil, leaseMillis: Int64 = 10_000, heartbeatMillis: Int64 = 1_000,
        suspectAfterMillis: Int64 = 3_000, deadAfterMillis: Int64 = 5_000, recoveryMillis: Int64 = 4_000,
        eventRetentionMillis: Int64 = 7 * 86_400_000, maximumEvents: Int = 1_000_000, maximumWatchers: Int = 10_000,
        watchHistory: Int = 8_192, servesEvents: Bool = true, maximumBodyBytes: Int = 16 << 20,
        maximumNodes: Int = 4_096, maximumStreams: Int = 200_000
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
        for host in [self.host] + (self.tls.map { [$0.host] } ?? []) where (self.secret ?? "").isEmpty {
            guard Self.isLoopback(host) else { throw .missingSecret(host: host) }
        }
        if let tls = self.tls, !(0...65_535).contains(tls.port) { throw .portOutOfRange(tls.port) }
        let numbers: [(String, Int64)] = [
            ("lease", self.leaseMillis), ("heartbeat", self.heartbeatMillis),
            ("suspect_after", self.suspectAfterMillis), ("dead_after", self.deadAfterMillis),
            ("event_retention", self.eventRetentionMillis), ("maximum_events", Int64(self.maximumEvents)),
            ("maximum_watchers", Int64(self.maximumWatchers)), ("watch_history", Int64(self.watchHistory)),
            ("maximum_body", Int64(self.maximumBodyBytes)), ("maximum_nodes", Int64(self.maximumNodes)),
            ("maximum_streams", Int64(self.maximumStreams)), ("maximum_backups", Int64(self.maximumBackups)),
            ("maximum_request", Int64(self.maximumRequestBytes)),
            ("maximum_event_streams", Int64(self.maximumEventStreams)),
            ("maximum_policies", Int64(self.maximumPolicies)), ("maximum_tokens", Int64(self.maximumTokens)),
            ("node_request", self.nodeRequestMillis), ("maximum_node_requests", Int64(self.maximumNodeRequests)),
        ]
        for (name, value) in numbers where value <= 0 { throw .notPositive(name) }
        guard self.recoveryMillis >= 0 else { throw .notPositive("recovery") }
        guard self.heartbeatMillis < self.suspectAfterMillis, self.suspectAfterMillis < self.deadAfterMillis,
            self.deadAfterMillis <= self.leaseMillis
        else { throw .timesOutOfOrder }
        if let token = self.adminToken, token.utf8.count < Self.minimumTokenBytes { throw .adminTokenTooShort }
        guard self.desired.isValid else { throw .desiredEdges }
    }

    /// Shorter tokens could be guessed.
    package static let minimumTokenBytes = 16

    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host == "[::1]" || host.hasPrefix("127.")
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
    /// `coordinator.admin_token` has fewer than `CoordinatorConfiguration.minimumTokenBytes` bytes.
    case adminTokenTooShort
    /// `coordinator.desired`: nothing may be negative, and `target_load` is above 0 and at most 1.
    case desiredEdges
}
