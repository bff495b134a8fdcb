package import Media
package import NIOCore

/// Everything that one node reads at its start: the built-in defaults, changed by file, environment and command line.
///
/// A value that `ConfigurationLoader` returned is complete and free of contradictions; nothing looks a key up later.
/// Each member is one section of the YAML file, and `SettingSchema` ties members to keys.
package struct NodeSettings: Sendable, Equatable {
    /// Which of the three executables runs.
    package enum Role: String, Sendable, CaseIterable {
        case origin, edge, coordinator
    }

    package var role: Role
    package var node = NodeIdentitySettings()
    /// Event loops that serve media. Zero before `resolve(hostName:coreCount:)`, which makes it the core count.
    package var eventLoops = 0
    package var log = LogSettings()
    package var shutdown = ShutdownSettings()
    package var limits = LimitSettings()
    package var rtmp = RTMPSettings()
    package var http = HTTPSettings()
    package var rtc = WebRTCSettings()
    package var srt = SRTSettings()
    package var ts = TSSettings()
    package var rtsp = RTSPSettings()
    package var gb28181 = GB28181Settings()
    package var api = APISettings()
    package var access = AccessSettings()
    package var hooks = HookSettings()
    package var heartbeat = HeartbeatSettings()
    package var metrics = MetricsSettings()
    package var cluster = ClusterSettings()
    package var edge = EdgeSettings()
    package var media = MediaSettings()
    /// What holds for a stream unless its vhost or app says otherwise.
    package var stream = StreamSettings()
    /// The vhosts in the file's order, with `stream` already merged in.
    package var vhosts: [VhostSettings] = []
    package var coordinator = CoordinatorSettings()

    /// The built-in defaults.
    package init(role: Role) {
        self.role = role
    }

    /// Fills in what depends on the machine: `node.id`, `node.advertise` and `event_loops`, where they were left out.
    ///
    /// - Parameters:
    ///   - hostName: the name that other machines know this one by.
    ///   - coreCount: cores that this process may use, at least 1.
    package mutating func resolve(hostName: String, coreCount: Int) {
        precondition(coreCount > 0, "a machine has at least one core, got \(coreCount)")
        if self.eventLoops == 0 {
            self.eventLoops = coreCount
        }
        let main = self.mainListenAddress
        if self.node.id.isEmpty {
            self.node.id = "\(hostName)-\(self.role.rawValue)-\(main?.port ?? 0)"
        }
        if self.node.advertise.isEmpty {
            self.node.advertise = main?.isLoopback == true ? "127.0.0.1" : hostName
        }
    }

    /// The address that stands for the node: its first RTMP listener, else its first of another kind.
    private var mainListenAddress: ListenAddress? {
        switch self.role {
        case .coordinator: self.coordinator.listen
        case .origin, .edge:
            self.rtmp.listen.first ?? self.rtmp.tls.listen.first ?? self.http.listen.first ?? self.http.tls.listen.first
        }
    }
}

// MARK: - Vhosts

extension NodeSettings {
    /// Finds the vhost that serves `domain`, the host of a `tcUrl` or of an HTTP `Host` header.
    ///
    /// A port, a trailing dot and case do not matter. The names of vhosts count as domains, `*.example.com` matches
    /// every host below `example.com`, and an exact match wins over a wildcard. Unknown domains get
    /// `StreamKey.defaultVhost`.
    package func vhost(forDomain domain: String) -> String {
        let host = DomainPattern.normalize(domain)
        for vhost in self.vhosts where vhost.domains.contains(.exact(host)) || vhost.name.lowercased() == host {
            return vhost.name
        }
        for vhost in self.vhosts where vhost.domains.contains(where: { $0.matches(host) }) {
            return vhost.name
        }
        return StreamKey.defaultVhost
    }

    /// The settings of the streams of one app: the app's, else its vhost's, else the node's.
    package func streamSettings(vhost: String, app: String) -> StreamSettings {
        guard let found = self.vhosts.first(where: { $0.name == vhost }) else { return self.stream }
        return found.apps[app] ?? found.stream
    }

    /// The settings of one stream.
    package func streamSettings(for key: StreamKey) -> StreamSettings {
        self.streamSettings(vhost: key.vhost, app: key.app)
    }
}

/// One tenant of the node: the domains it answers to, and what differs for its streams.
package struct VhostSettings: Sendable, Equatable {
    package var name: String
    package var domains: [DomainPattern] = []
    /// The node's `stream` section with this vhost's changes.
    package var stream: StreamSettings
    /// By app: the vhost's settings with the app's changes.
    package var apps: [String: StreamSettings] = [:]

    package init(name: String, domains: [DomainPattern] = [], stream: StreamSettings = StreamSettings()) {
        self.name = name
        self.domains = domains
        self.stream = stream
    }
}

// MARK: - Sections

/// Who this node is to the rest of the cluster.
package struct NodeIdentitySettings: Sendable, Equatable {
    /// Unique in the cluster. Empty before `NodeSettings.resolve`, then `HOST-ROLE-PORT`.
    package var id = ""
    /// A label that placement prefers to keep within. Empty means none.
    package var region = ""
    /// The host by which other nodes reach this one. Empty before `NodeSettings.resolve`.
    package var advertise = ""

    package init() {}
}

/// What is written to standard error, and how.
package struct LogSettings: Sendable, Equatable {
    package enum Level: String, Sendable, CaseIterable {
        case trace, debug, info, notice, warning, error, critical
    }
    package enum Format: String, Sendable, CaseIterable {
        case text, json
    }

    package var level = Level.info
    package var format = Format.text

    package init() {}
}

/// How a node leaves.
package struct ShutdownSettings: Sendable, Equatable {
    /// The longest that a stopping node waits for its peers to leave.
    package var drainDeadline = TimeAmount.seconds(10)
    /// How long viewers may stay before they are told to leave.
    package var viewerWait = TimeAmount.zero
    /// How long publishers may stay before they are told to leave.
    package var publisherWait = TimeAmount.zero

    package init() {}
}

/// A listener with TLS. Without addresses there is none.
package struct TLSSettings: Sendable, Equatable {
    package var listen: [ListenAddress] = []
    /// Path of the PEM file with the certificate chain, leaf first.
    package var certificate = ""
    /// Path of the PEM file with the private key.
    package var key = ""

    package init() {}
}

/// The HTTP server of media.
package struct HTTPSettings: Sendable, Equatable {
    package var listen = [ListenAddress(host: "0.0.0.0", port: 8080)]
    package var tls = TLSSettings()
    /// Origins that browsers may play from; `*` alone allows all, empty sends no CORS headers.
    package var corsOrigins = ["*"]
    /// Connections of all HTTP listeners at one time.
    package var maximumConnections = 100_000
    /// Whether `/` is a page that lists and plays the live streams.
    package var playerPage = true
    /// FLV may be published by `POST` and `PUT`.
    package var takesPublishers = true
    /// Networks whose `X-Forwarded-For` is believed, in CIDR notation.
    package var trustedProxies: [String] = []

    package init() {}
}

/// The HTTP server of the node's administration.
package struct APISettings: Sendable, Equatable {
    package var listen = ListenAddress(host: "127.0.0.1", port: 1985)
    /// The same over TLS.
    package var tls = TLSSettings()
    /// The bearer token that requests carry. Without it and `username` none is asked for, which is allowed on loopback
    /// only.
    package var token = Secret("")
    /// HTTP Basic authentication, beside the token. Empty means none.
    package var username = ""
    package var password = Secret("")
    /// Origins whose pages may use the API; `*` alone allows all, empty sends no CORS headers.
    package var corsOrigins: [String] = []
    /// Names in `Host` that requests without credentials may have, beside addresses and `localhost`.
    package var hosts: [String] = []

    package init() {}
}

/// How this node finds and talks to the others.
package struct ClusterSettings: Sendable, Equatable {
    /// Base URLs of the coordinator, tried in order. Empty means that the node stands alone.
    package var coordinator: [ServiceURL] = []
    /// The secret that nodes and coordinator share. Empty is allowed on loopback only.
    package var secret = Secret("")
    /// Upstreams that an edge asks when no coordinator tells it one.
    package var origins: [PeerAddress] = []
    package var heartbeat = TimeAmount.seconds(1)
    package var requestTimeout = TimeAmount.seconds(1)

    package init() {}
}

/// How an edge pulls streams.
package struct EdgeSettings: Sendable, Equatable {
    /// What a viewer hears of a stream that nobody publishes.
    package enum MissingStream: String, Sendable, CaseIterable {
        /// An error at once.
        case notFound = "not_found"
        /// Nothing, until the stream starts or `missingStreamWait` is over.
        case wait
    }

    /// How long an upstream stays without viewers.
    package var linger = TimeAmount.seconds(10)
    package var connectTimeout = TimeAmount.seconds(5)
    /// The longest silence of an upstream before it is given up.
    package var mediaTimeout = TimeAmount.seconds(5)
    package var missingStream = MissingStream.notFound
    package var missingStreamWait = TimeAmount.seconds(10)
    package var maximumUpstreams = 10_000
    /// How long "nobody publishes this" is believed.
    package var negativeCache = TimeAmount.seconds(1)
    /// Memory for files of HLS, DASH and recordings.
    package var cacheBytes = 512 << 20
    /// Larger files pass through without being kept.
    package var cacheObjectBytes = 32 << 20
    /// The HTTP port of the nodes in `cluster.origins`.
    package var originHTTPPort = 8_080

    package init() {}
}

/// The coordinator's own server and rules.
package struct CoordinatorSettings: Sendable, Equatable {
    package var listen = ListenAddress(host: "127.0.0.1", port: 7000)
    /// The same over TLS.
    package var tls = TLSSettings()
    /// The token of the first administrator. Empty: one is made at the first start.
    package var adminToken = Secret("")
    /// Origins whose pages may use the API; `*` alone allows all, empty sends no CORS headers.
    package var corsOrigins: [String] = []
    /// Names in `Host` that requests without credentials may have, beside addresses and `localhost`.
    package var hosts: [String] = []
    /// Path of the SQLite file; it and its folder are created.
    package var database = "./weir-coordinator.sqlite"
    /// How long a claim holds without a renewal.
    package var lease = TimeAmount.seconds(10)
    package var suspectAfter = TimeAmount.seconds(3)
    package var deadAfter = TimeAmount.seconds(5)
    package var eventRetention = TimeAmount.hours(7 * 24)
    package var maximumWatchers = 1_000
    package var desired = Desired()

    package init() {}
}
