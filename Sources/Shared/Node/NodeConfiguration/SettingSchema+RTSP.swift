import NIOCore

/// The keys of RTSP.
extension SettingSchema {
    static let rtspSection = Section(
        name: "rtsp",
        documentation: "RTSP: publishing and playing by TCP and UDP, and streams that are fetched from cameras.",
        roles: [.origin, .edge], fields: rtspServerFields + rtspPullFields)

    private static let rtspServerFields: [SettingField<NodeSettings>] =
        [
            .init("rtsp.enabled", \.rtsp.isEnabled, .flag, "Whether there is RTSP at all."),
            .init("rtsp.listen", \.rtsp.listen, .listenAddresses, "TCP addresses for RTSP."),
        ] + tls("rtsp.tls", \.rtsp.tls, "RTSPS") + [
            .init(
                "rtsp.udp", \.rtsp.udp, .flag,
                "Whether the packets of a track may travel by UDP; else clients have to take them by the connection."),
            .init(
                "rtsp.ports", \.rtsp.ports, .portRange,
                "UDP ports, of which each track by UDP takes two; firewalls have to let them through."),
            .init(
                "rtsp.authentication", \.rtsp.authentication, .rtspAuthentication,
                "How clients may prove that they know a password, the preferred way first: digests, or `basic`, which sends it."
            ),
            .init(
                "rtsp.realm", \.rtsp.realm, .text("text", maximumLength: 64),
                "What clients are told that the password is for."),
            .init(
                "rtsp.request_timeout", \.rtsp.requestTimeout, .duration(.seconds(1) ... .minutes(10)),
                "From the connection to PLAY or RECORD."),
            .init(
                "rtsp.session_timeout", \.rtsp.sessionTimeout, .duration(.seconds(5) ... .hours(1)),
                "The longest silence of a player by UDP, or of one that paused: clients are told, and send something in time."
            ),
            .init(
                "rtsp.publish_idle_timeout", \.rtsp.publishIdleTimeout, .duration(.seconds(1) ... .hours(1)),
                "The longest silence of a publisher before its connection is closed."),
            .init(
                "rtsp.receive_wait", \.rtsp.receiveWait, .duration(.milliseconds(10) ... .seconds(5)),
                "How long packets that come by UDP wait for one that is missing."),
            .init(
                "rtsp.maximum_connections", \.rtsp.maximumConnections, .integer(1...1_000_000),
                "RTSP connections at one time; more are closed at once."),
        ]

    private static let rtspPullFields: [SettingField<NodeSettings>] = [
        .init(
            "rtsp.pulls", \.rtsp.pulls, .rtspPulls,
            "Streams that are fetched: `live/door=rtsp://user:password@192.0.2.7/stream1`. Words behind it: `udp` or `tcp` (else TCP first), `on_demand` (only while somebody watches), `insecure` (any certificate will do)."
        ),
        .init(
            "rtsp.pull_linger", \.rtsp.pullLinger, .duration(.seconds(1) ... .hours(24)),
            "How long a stream on demand is still fetched after its last viewer left."),
        .init(
            "rtsp.pull_wait", \.rtsp.pullWait, .duration(.zero ... .minutes(1)),
            "How long the first viewer of a stream on demand waits for it."),
        .init(
            "rtsp.pull_media_timeout", \.rtsp.pullMediaTimeout, .duration(.seconds(1) ... .minutes(5)),
            "The longest silence of a camera before it is called again."),
    ]

    static let rtspFields: [SettingField<StreamSettings>] = [
        .init("rtsp.enabled", \.rtsp.isEnabled, .flag, "Whether clients may publish and play by RTSP."),
        .init(
            "rtsp.publishers", \.rtsp.publishers, .credentials,
            "Who may publish by RTSP, each a name with a password. Empty: whoever the access rules let in, who may give a token as the password."
        ),
        .init("rtsp.players", \.rtsp.players, .credentials, "The same for playing."),
        .init(
            "rtsp.play_wait", \.rtsp.playWait, .duration(.zero ... .minutes(1)),
            "How long the answer to an RTSP player waits for the tracks of a stream that is just starting."),
    ]
}
