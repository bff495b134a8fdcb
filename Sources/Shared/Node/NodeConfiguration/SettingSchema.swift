import NIOCore

/// Every key there is: the one place from which loading, `--print-config`, the reference and its test are made.
package enum SettingSchema {
    /// One section of the YAML file.
    struct Section: Sendable {
        /// Empty for keys at the top level.
        let name: String
        let documentation: String
        let roles: [NodeSettings.Role]
        let fields: [SettingField<NodeSettings>]
    }

    static let sections: [Section] = [
        general, node, log, shutdown, limitsSection, rtmp, http, rtcSection, srtSection, tsSection, rtspSection,
        gb28181Section, api, accessSection, hooksSection,
        heartbeatSection,
        metricsSection, cluster, edge, mediaSection, streamSection, coordinator,
    ]

    /// The keys of `stream`, which a vhost and an app may set again.
    static let stream: [SettingField<StreamSettings>] = streamFields

    private static let all = NodeSettings.Role.allCases
    private static let media: [NodeSettings.Role] = [.origin, .edge]
    private static let second = TimeAmount.seconds(1)

    private static let general = Section(
        name: "", documentation: "The process.", roles: all,
        fields: [
            .init(
                "event_loops", \.eventLoops, .integer(0...1_024), computedDefault: "one per core",
                "Threads that serve connections.")
        ])

    private static let node = Section(
        name: "node", documentation: "Who this node is to the rest of the cluster.", roles: all,
        fields: [
            .init(
                "node.id", \.node.id, .label("name"), computedDefault: "HOST-ROLE-PORT",
                "Unique in the cluster. Give it a name of its own when hosts share one."),
            .init(
                "node.region", \.node.region, .label("name"),
                "A label that placement prefers to keep within; empty means none."),
            .init(
                "node.advertise", \.node.advertise, .host("host"),
                computedDefault: "the host name; on loopback 127.0.0.1",
                "The host by which other nodes reach this one."),
        ])

    private static let log = Section(
        name: "log", documentation: "What is written to standard error.", roles: all,
        fields: [
            .init("log.level", \.log.level, .choice, "The least severe level that is written."),
            .init("log.format", \.log.format, .choice, "Lines for people, or one JSON object a line."),
        ])

    private static let shutdown = Section(
        name: "shutdown", documentation: "How a node leaves on SIGTERM and SIGINT.", roles: all,
        fields: [
            .init(
                "shutdown.drain_deadline", \.shutdown.drainDeadline, .duration(.zero ... .hours(24)),
                "The longest that a stopping node waits for its peers to leave, once they were told to."),
            .init(
                "shutdown.viewer_wait", \.shutdown.viewerWait, .duration(.zero ... .hours(24)),
                "How long viewers may stay at a node that takes no new ones, before they are told to leave."),
            .init(
                "shutdown.publisher_wait", \.shutdown.publisherWait, .duration(.zero ... .hours(24)),
                "The same for publishers."),
        ])

    private static let rtmp = Section(
        name: "rtmp", documentation: "The RTMP server, and the limits that every RTMP peer is held to.", roles: media,
        fields: [
            .init(
                "rtmp.listen", \.rtmp.listen, .listenAddresses,
                "Addresses for RTMP. `:1935` is every IPv4 address, `[::]:1935` every IPv6 and IPv4 address.")
        ] + tls("rtmp.tls", \.rtmp.tls, "RTMPS") + [
            .init(
                "rtmp.chunk_size", \.rtmp.chunkSize, .integer(128...65_536),
                "The chunk size that we send with, in bytes."),
            .init(
                "rtmp.handshake_timeout", \.rtmp.handshakeTimeout, .duration(second ... .minutes(5)),
                "From the connection to the end of the handshake."),
            .init(
                "rtmp.command_timeout", \.rtmp.commandTimeout, .duration(second ... .hours(1)),
                "From the end of the handshake to `publish` or `play`."),
            .init(
                "rtmp.publish_first_media_timeout", \.rtmp.publishFirstMediaTimeout,
                .duration(second ... .hours(1)),
                "From an accepted `publish` to its first frame."),
            .init(
                "rtmp.publish_idle_timeout", \.rtmp.publishIdleTimeout, .duration(second ... .hours(1)),
                "The longest silence of a publisher before its connection is closed."),
            .init(
                "rtmp.maximum_message_size", \.rtmp.maximumMessageBytes, .size((64 << 10)...(16 << 20)),
                "The longest message that a peer may send; a keyframe is one message."),
            .init(
                "rtmp.maximum_chunk_size", \.rtmp.maximumChunkBytes, .size(128...(16 << 20)),
                "The largest chunk size that a peer may announce."),
            .init(
                "rtmp.maximum_chunk_streams", \.rtmp.maximumChunkStreams, .integer(8...1_024),
                "Chunk streams that a peer may use in one connection."),
            .init(
                "rtmp.maximum_partial_bytes", \.rtmp.maximumPartialBytes, .size((64 << 10)...(1 << 30)),
                "Bytes of unfinished messages that are kept for one connection."),
            .init(
                "rtmp.maximum_held_bytes", \.rtmp.maximumHeldBytes, .size((64 << 10)...(1 << 30)),
                "Bytes that a client may send while it is decided whether it may publish or play."),
            .init(
                "rtmp.window_ack_size", \.rtmp.windowAckBytes, .integer(10_000...100_000_000),
                "The acknowledgement window that we announce, in bytes."),
            .init(
                "rtmp.amf_maximum_depth", \.rtmp.amfMaximumDepth, .integer(4...128),
                "How deep objects and arrays may nest in a command."),
            .init(
                "rtmp.amf_maximum_values", \.rtmp.amfMaximumValues, .integer(64...1_000_000),
                "How many values a command may hold."),
            .init(
                "rtmp.maximum_connections", \.rtmp.maximumConnections, .integer(1...10_000_000),
                "RTMP connections at one time; more are closed at once. The limit of open files has to allow them."),
        ])

    private static let http = Section(
        name: "http",
        documentation:
            "The HTTP server of media: HTTP-FLV, WebSocket-FLV, HLS, DASH, recordings, snapshots and the player page.",
        roles: media,
        fields: [
            .init("http.listen", \.http.listen, .listenAddresses, "Addresses for HTTP.")
        ] + tls("http.tls", \.http.tls, "HTTPS") + [
            .init(
                "http.cors", \.http.corsOrigins, .webOrigins,
                "Web origins whose pages may play; `*` allows all, an empty list sends no CORS headers."),
            .init(
                "http.maximum_connections", \.http.maximumConnections, .integer(1...10_000_000),
                "HTTP connections at one time; more are closed at once. The limit of open files has to allow them."),
            .init(
                "http.player_page", \.http.playerPage, .flag,
                "Whether `/` is a page that lists and plays the live streams; anybody who can play can see it."),
            .init(
                "http.publish", \.http.takesPublishers, .flag,
                "Whether FLV may be published by `POST` and `PUT`, under the rules for all publishers."),
            .init(
                "http.trusted_proxies", \.http.trustedProxies, .networks(allowsAll: false),
                "Networks of reverse proxies, whose `X-Forwarded-For` names the client; of others it is ignored."),
        ])

    private static let api = Section(
        name: "api", documentation: "The node's administration: status, streams, sessions and metrics.", roles: media,
        fields: [
            .init("api.listen", \.api.listen, .listenAddress, "The address of the API.")
        ] + tls("api.tls", \.api.tls, "the API over HTTPS") + [
            .init(
                "api.token", \.api.token, .secret,
                "The bearer token that requests carry. Without it and `api.username` the API may be on loopback only."),
            .init(
                "api.username", \.api.username, .label("name"),
                "The name for HTTP Basic authentication, which is accepted beside the token; empty means none."),
            .init("api.password", \.api.password, .secret, "The password of `api.username`."),
            .init(
                "api.cors", \.api.corsOrigins, .webOrigins,
                "Web origins whose pages may use the API; `*` allows all, an empty list sends no CORS headers."),
            .init(
                "api.hosts", \.api.hosts, .hosts,
                "Names that requests without credentials may use in `Host`, beside addresses and `localhost`."),
        ])

    private static let cluster = Section(
        name: "cluster", documentation: "How the nodes find and trust each other.", roles: all,
        fields: [
            .init(
                "cluster.coordinator", \.cluster.coordinator, .serviceURLs,
                "Base URLs of the coordinator, tried in order. Without one the node stands alone."),
            .init(
                "cluster.secret", \.cluster.secret, .secret,
                "The secret that nodes and coordinator share. Required unless the coordinator is on loopback."),
            .init(
                "cluster.origins", \.cluster.origins, .peers(defaultPort: 1_935),
                "Upstreams that are asked when there is no coordinator, or it knows no origin."),
            .init(
                "cluster.heartbeat", \.cluster.heartbeat, .duration(.milliseconds(100) ... .minutes(1)),
                "How often a node reports to the coordinator."),
            .init(
                "cluster.request_timeout", \.cluster.requestTimeout, .duration(.milliseconds(100) ... .minutes(1)),
                "The longest that a node waits for an answer of the coordinator."),
        ])

    private static let edge = Section(
        name: "edge",
        documentation: "How streams are pulled from other nodes, and what viewers of a missing stream get.",
        roles: media,
        fields: [
            .init(
                "edge.linger", \.edge.linger, .duration(.zero ... .hours(24)),
                "How long a stream is still pulled after its last viewer left."),
            .init(
                "edge.connect_timeout", \.edge.connectTimeout, .duration(.milliseconds(100) ... .minutes(5)),
                "The longest time for the TCP connection to an upstream; its RTMP answers then have 5 s."),
            .init(
                "edge.media_timeout", \.edge.mediaTimeout, .duration(.milliseconds(100) ... .minutes(5)),
                "The longest silence of an upstream before it is given up and another one is tried."),
            .init(
                "edge.missing_stream", \.edge.missingStream, .choice,
                "What a viewer of a stream that nobody publishes gets: an error at once, or a wait for it."),
            .init(
                "edge.missing_stream_wait", \.edge.missingStreamWait, .duration(.zero ... .hours(1)),
                "The longest such wait."),
            .init(
                "edge.maximum_upstreams", \.edge.maximumUpstreams, .integer(1...10_000_000),
                "Streams that are pulled at one time; viewers of more are refused."),
            .init(
                "edge.negative_cache", \.edge.negativeCache, .duration(.zero ... .minutes(5)),
                "How long \"nobody publishes this\" is believed without asking again."),
            .init(
                "edge.http_port_of_origins", \.edge.originHTTPPort, .integer(1...65_535),
                "Where the nodes in `cluster.origins` serve HLS, DASH and recordings."),
            .init(
                "edge.cache_bytes", \.edge.cacheBytes, .size((1 << 20)...(1 << 40)),
                "Memory for files of HLS, DASH and recordings that come from other nodes."),
            .init(
                "edge.cache_object_bytes", \.edge.cacheObjectBytes, .size((64 << 10)...(1 << 30)),
                "A file that is larger passes through without being kept."),
        ])

    private static let streamSection = Section(
        name: "stream",
        documentation: "What holds for every stream. A vhost and an app may set each of these keys again (see Vhosts).",
        roles: media, fields: streamFields.map { $0.lifted(to: \.stream, prefix: "stream") })

    private static let coordinator = Section(
        name: "coordinator", documentation: "The coordinator's own server and rules.", roles: [.coordinator],
        fields: [
            .init(
                "coordinator.listen", \.coordinator.listen, .listenAddress,
                "The address of the API. Another one than loopback requires `cluster.secret`.")
        ] + tls("coordinator.tls", \.coordinator.tls, "the API over HTTPS") + [
            .init(
                "coordinator.admin_token", \.coordinator.adminToken, .secret,
                "The token of the first administrator. Without it one is made and printed at the first start."),
            .init(
                "coordinator.cors", \.coordinator.corsOrigins, .webOrigins,
                "Web origins whose pages may use the API; `*` allows all, an empty list sends no CORS headers."),
            .init(
                "coordinator.hosts", \.coordinator.hosts, .hosts,
                "Names that requests without credentials may use in `Host`, beside addresses and `localhost`."),
            .init(
                "coordinator.database", \.coordinator.database, .text("path"),
                "The SQLite file, which is created where it is missing. `-wal` and `-shm` files appear beside it."),
            .init(
                "coordinator.lease", \.coordinator.lease, .duration(second ... .hours(1)),
                "How long an origin's claim on a stream holds without a renewal."),
            .init(
                "coordinator.suspect_after", \.coordinator.suspectAfter, .duration(.milliseconds(100) ... .minutes(10)),
                "Silence after which a node is given no new streams."),
            .init(
                "coordinator.dead_after", \.coordinator.deadAfter, .duration(.milliseconds(100) ... .minutes(10)),
                "Silence after which a node's streams are free for others."),
            .init(
                "coordinator.event_retention", \.coordinator.eventRetention,
                .duration(.minutes(1) ... .hours(24 * 3_650)),
                "How long events are kept."),
            .init(
                "coordinator.maximum_watchers", \.coordinator.maximumWatchers, .integer(1...1_000_000),
                "Nodes and consoles that may follow changes at one time."),
            .init(
                "coordinator.desired.viewers_per_edge", \.coordinator.desired.viewersPerEdge,
                .integer(0...10_000_000), "Viewers that one edge is meant to serve; 0: they do not count."),
            .init(
                "coordinator.desired.egress_per_edge", \.coordinator.desired.egressPerEdge,
                .bitRate(0...100_000_000_000_000), "What one edge is meant to send; 0: it does not count."),
            .init(
                "coordinator.desired.minimum_edges", \.coordinator.desired.minimumEdges, .integer(0...10_000),
                "The fewest edges that `cluster_desired_edges` asks for."),
            .init(
                "coordinator.desired.target_load", \.coordinator.desired.targetLoadPercent, .integer(10...100),
                "The load of edges, in percent, that is aimed at; the rest is for what comes suddenly."),
        ])

    static func tls(
        _ name: String, _ path: any WritableKeyPath<NodeSettings, TLSSettings> & Sendable, _ product: String
    ) -> [SettingField<NodeSettings>] {
        let fields: [SettingField<TLSSettings>] = [
            .init("listen", \.listen, .listenAddresses, "Addresses for \(product)."),
            .init(
                "certificate", \.certificate, .text("path"),
                "PEM file with the certificate chain of \(product), leaf first. Read again when it changes."),
            .init("key", \.key, .text("path"), "PEM file with the private key of \(product)."),
        ]
        return fields.map { $0.lifted(to: path, prefix: name) }
    }

    private static let basicStreamFields: [SettingField<StreamSettings>] = [
        .init(
            "latency", \.latency, .choice,
            "How often viewers are sent to: each frame at once, every 100 ms, or every 350 ms, which costs least."),
        .init(
            "gop_cache", \.gopCache, .flag,
            "Whether a new viewer starts with the last group of pictures rather than at the next keyframe."),
        .init(
            "gop_cache_maximum_bytes", \.gopCacheMaximumBytes, .size((64 << 10)...(1 << 30)),
            "The most that is kept of one stream for new and slow viewers, in each format."),
        .init(
            "publish.policy", \.publish.policy, .choice,
            "`reject`: a second publisher is refused. `grace`: it replaces one that is silent. `takeover`: also one with the same token."
        ),
        .init(
            "publish.grace", \.publish.grace, .duration(.zero ... .hours(1)),
            "How long viewers are kept after the publisher left; with `reject` the stream ends at once."),
        .init(
            "publish.silent_after", \.publish.silentAfter, .duration(.milliseconds(100) ... .minutes(5)),
            "Time without a frame after which a publisher may be replaced."),
        .init(
            "play.slow_viewer_bytes", \.play.slowViewerBytes, .size((64 << 10)...(1 << 30)),
            "Unsent bytes above which a viewer skips to the next keyframe."),
        .init(
            "play.slow_viewer_age", \.play.slowViewerAge, .duration(.seconds(1) ... .minutes(10)),
            "Age of the oldest unsent byte above which a viewer skips to the next keyframe."),
        .init(
            "play.skips_before_close", \.play.skipsBeforeClose, .integer(0...1_000),
            "Skips within `play.skip_window` after which a viewer is closed."),
        .init(
            "play.skip_window", \.play.skipWindow, .duration(.seconds(1) ... .hours(1)),
            "The window in which skips are counted."),
        .init(
            "play.tcp_nodelay", \.play.tcpNoDelay, .choice,
            "`TCP_NODELAY` of viewers. `auto`: on for nodes that pull, off for players, so that the kernel joins small writes while older ones are on their way."
        ),
        .init(
            "play.url_secret", \.play.urlSecret, .secret,
            "With it, players need a signature: in front of the path of files, in the query of RTMP and FLV."),
        .init(
            "idle_timeout", \.idleTimeout, .duration(.zero ... .hours(24)),
            "How long a stream is kept that has neither publisher nor viewers."),
        .init(
            "timeline.jump_threshold", \.timeline.jumpThreshold, .duration(.milliseconds(500) ... .hours(1)),
            "A step forward of a publisher's clock by more than this is joined to what was before; so is a step back by more than 1 s."
        ),
        .init(
            "flv.hevc", \.flv.hevc, .choice,
            "How HEVC is written into FLV and RTMP: as published, as enhanced RTMP, or as the older codec id 12."),
    ]

    private static let streamFields =
        basicStreamFields + rtcFields + srtFields + rtspFields + accessFields + limitFields + hookFields + forwardFields
        + packagingFields
}

// MARK: - Lookup

extension SettingSchema {
    /// A key of the node, with those who have it.
    struct Entry: Sendable {
        let field: SettingField<NodeSettings>
        let roles: [NodeSettings.Role]
    }

    /// Every key by its full path, except for those of `vhosts`.
    static let entries: [String: Entry] = Dictionary(
        uniqueKeysWithValues: sections.flatMap { section in
            section.fields.map { ($0.name, Entry(field: $0, roles: section.roles)) }
        })

    /// All keys, in the order of the reference.
    static let keys: [String] = sections.flatMap { $0.fields.map(\.name) }

    /// Full paths of mappings: `rtmp`, `rtmp.tls`, `stream.publish`, …
    static let mappings: Set<String> = Set(mappings(of: keys))

    /// Keys by environment variable.
    static let environmentNames: [String: String] = Dictionary(
        uniqueKeysWithValues: keys.map { (environmentName(of: $0), $0) })

    /// `rtmp.chunk_size` is `WEIR_RTMP_CHUNK_SIZE`.
    package static func environmentName(of key: String) -> String {
        "WEIR_" + key.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
    }

    /// The mappings that hold `keys`, each once.
    static func mappings(of keys: [String]) -> [String] {
        var found: [String] = []
        for key in keys {
            let parts = key.split(separator: ".")
            for count in 1..<max(1, parts.count) {
                let mapping = parts.prefix(count).joined(separator: ".")
                if !found.contains(mapping) {
                    found.append(mapping)
                }
            }
        }
        return found
    }
}
