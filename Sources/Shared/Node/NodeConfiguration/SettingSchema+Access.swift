import NIOCore

/// The keys of access, limits, callbacks and metrics.
extension SettingSchema {
    private static let media: [NodeSettings.Role] = [.origin, .edge]

    static let limitsSection = Section(
        name: "limits", documentation: "Limits of a node for all protocols together. 0 means none.", roles: media,
        fields: [
            .init(
                "limits.connections_per_address", \.limits.connectionsPerAddress, .integer(0...1_000_000),
                "Open connections of one address; more are closed at once. Many viewers may share one."),
            .init(
                "limits.handshakes_per_second", \.limits.handshakesPerSecond, .integer(0...1_000_000),
                "New connections in a second, of all addresses; more are closed at once."),
            .init(
                "limits.handshakes_per_address_per_second", \.limits.handshakesPerAddressPerSecond,
                .integer(0...1_000_000), "New connections in a second, of one address; more are closed at once."),
            .init(
                "limits.sessions", \.limits.sessions, .integer(0...10_000_000),
                "Connections of publishers and viewers at one time; more are closed at once."),
        ])

    static let accessSection = Section(
        name: "access",
        documentation:
            "How clients prove who they are: JSON Web Tokens. `stream.access` says where one has to be there.",
        roles: media,
        fields: [
            .init(
                "access.jwt.secret", \.access.jwt.secret, .secret,
                "The key of HS256 tokens, 32 bytes or more; empty accepts none of them."),
            .init(
                "access.jwt.public_key", \.access.jwt.publicKey, .text("path"),
                "PEM file with the public key of RS256 or ES256 tokens."),
            .init(
                "access.jwt.jwks_url", \.access.jwt.jwksURL, .url,
                "Where the public keys of an identity provider are (JWKS)."),
            .init(
                "access.jwt.jwks_refresh", \.access.jwt.jwksRefresh, .duration(.seconds(10) ... .hours(24)),
                "How often they are read again; a key that is not known is looked for sooner."),
            .init(
                "access.jwt.issuer", \.access.jwt.issuer, .text("text"), "What `iss` has to be; empty accepts all."),
            .init(
                "access.jwt.audience", \.access.jwt.audience, .text("text"),
                "What `aud` has to hold; empty accepts all."),
            .init(
                "access.jwt.leeway", \.access.jwt.leeway, .duration(.zero ... .minutes(10)),
                "How far the clocks of who makes tokens and of this node may differ."),
            .init(
                "access.jwt.parameter", \.access.jwt.parameter, .label("name"),
                "The parameter of a stream's URL that carries the token; `Authorization: Bearer` works, too."),
            .init(
                "access.jwt.require_expiry", \.access.jwt.requiresExpiry, .flag,
                "Whether tokens without `exp` are refused."),
        ])

    static let hooksSection = Section(
        name: "hooks",
        documentation: "How HTTP callbacks are called. `stream.hooks` says which there are.", roles: media,
        fields: [
            .init(
                "hooks.timeout", \.hooks.timeout, .duration(.milliseconds(100) ... .minutes(1)),
                "From a call to the end of its answer. A publisher or player waits for it."),
            .init(
                "hooks.retries", \.hooks.retries, .integer(0...10),
                "How often a call that decides nothing is made again when nobody answered."),
            .init(
                "hooks.secret", \.hooks.secret, .secret,
                "The key of the header `Weir-Signature: t=SECONDS,v1=HEX`, an HMAC-SHA256 of `SECONDS.BODY`; empty sends none."
            ),
            .init(
                "hooks.queue", \.hooks.queue, .integer(1...1_000_000),
                "Calls that may wait; more are dropped and counted."),
            .init("hooks.concurrency", \.hooks.concurrency, .integer(1...10_000), "Calls at one time."),
        ])

    static let heartbeatSection = Section(
        name: "heartbeat", documentation: "A report to a server of your own, with the body that SRS sends.",
        roles: media,
        fields: [
            .init("heartbeat.enabled", \.heartbeat.enabled, .flag, "Whether reports are sent."),
            .init(
                "heartbeat.interval", \.heartbeat.interval, .duration(.seconds(1) ... .hours(24)), "How often."),
            .init("heartbeat.url", \.heartbeat.url, .url, "Where to, by POST."),
            .init(
                "heartbeat.device_id", \.heartbeat.deviceID, .text("text", maximumLength: 256),
                "What the server knows this node by; sent as `device_id`."),
            .init("heartbeat.summaries", \.heartbeat.summaries, .flag, "Whether load and memory are in the report."),
            .init("heartbeat.ports", \.heartbeat.ports, .flag, "Whether the addresses listened on are in the report."),
        ])

    static let metricsSection = Section(
        name: "metrics", documentation: "What `/metrics` of the API shows.", roles: media,
        fields: [
            .init("metrics.streams", \.metrics.streams, .flag, "Whether single streams have series of their own."),
            .init(
                "metrics.maximum_streams", \.metrics.maximumStreams, .integer(1...100_000),
                "How many have; those with the most viewers first."),
        ])

    static let accessFields: [SettingField<StreamSettings>] =
        rules("access.publish", \.access.publish, "publish") + rules("access.play", \.access.play, "play") + [
            .init(
                "access.referer.allow", \.access.referer.allow, .domains,
                "Domains of the pages that may play; empty allows all. `*.example.com` stands for all below."),
            .init(
                "access.referer.allow_empty", \.access.referer.allowEmpty, .flag,
                "With such a list: whether players that name no page may play."),
        ]

    private static func rules(
        _ name: String, _ path: any WritableKeyPath<StreamSettings, StreamSettings.Access.Rules> & Sendable,
        _ action: String
    ) -> [SettingField<StreamSettings>] {
        let fields: [SettingField<StreamSettings.Access.Rules>] = [
            .init(
                "allow", \.allow, .networks(allowsAll: true),
                "Addresses and networks that may \(action); empty allows all that `deny` does not name."),
            .init(
                "deny", \.deny, .networks(allowsAll: true),
                "Addresses and networks that may not \(action). Of all entries that hold an address the longest prefix decides."
            ),
            .init(
                "token", \.token, .choice,
                "`required`: who wants to \(action) needs a token (see `access.jwt`). `none`: tokens are not looked at."
            ),
        ]
        return fields.map { $0.lifted(to: path, prefix: name) }
    }

    static let limitFields: [SettingField<StreamSettings>] = [
        .init(
            "limits.publishers_per_app", \.limits.publishersPerApp, .integer(0...1_000_000),
            "Publishers of one app at one time, at one node; 0: no limit."),
        .init(
            "limits.viewers_per_stream", \.limits.viewersPerStream, .integer(0...10_000_000),
            "Viewers of one stream at one time, at one node; 0: no limit."),
        .init(
            "limits.publish_bit_rate", \.limits.publishBitRate, .bitRate(0...100_000_000_000),
            "What a publisher may send, over some seconds; one that sends more is closed. 0: no limit."),
        .init(
            "limits.session_duration", \.limits.sessionDuration, .duration(.zero ... .hours(24 * 365)),
            "How long one publisher or viewer may stay; 0: no limit."),
    ]

    static let hookFields: [SettingField<StreamSettings>] = [
        .init(
            "hooks.on_connect", \.hooks.onConnect, .callbackURLs,
            "Called for RTMP connections once they tell their app. Decides."),
        .init("hooks.on_close", \.hooks.onClose, .callbackURLs, "Called when such a connection ends."),
        .init("hooks.on_publish", \.hooks.onPublish, .callbackURLs, "Called for each publisher. Decides."),
        .init("hooks.on_unpublish", \.hooks.onUnpublish, .callbackURLs, "Called when a publisher ends."),
        .init("hooks.on_play", \.hooks.onPlay, .callbackURLs, "Called for each viewer. Decides."),
        .init("hooks.on_stop", \.hooks.onStop, .callbackURLs, "Called when a viewer ends."),
        .init("hooks.on_dvr", \.hooks.onDVR, .callbackURLs, "Called when a recording is finished."),
        .init("hooks.on_hls", \.hooks.onHLS, .callbackURLs, "Called when a segment is finished."),
        .init(
            "hooks.on_hls_notify", \.hooks.onHLSNotify, .callbackURLs,
            "Fetched when a segment is finished, with `[app]`, `[stream]`, `[ts_url]`, `[param]`, `[server_id]` and `[service_id]` replaced."
        ),
        .init(
            "hooks.on_forward", \.hooks.onForward, .callbackURLs,
            "Asked for each publisher where else the stream is to be published. Decides."),
        .init(
            "hooks.unreachable", \.hooks.unreachable, .choice,
            "What holds when a callback that decides does not answer, or not in time."),
    ]

    static let forwardFields: [SettingField<StreamSettings>] = [
        .init(
            "forward.destinations", \.forward.destinations, .rtmpTemplates,
            "RTMP servers that streams are published to again, such as `rtmp://backup.example/[app]/[stream]`; `[vhost]` works, too."
        )
    ]
}
