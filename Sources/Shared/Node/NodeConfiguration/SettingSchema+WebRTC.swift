import NIOCore

/// The keys of WebRTC and of audio forms.
extension SettingSchema {
    static let rtcSection = Section(
        name: "rtc",
        documentation: "WebRTC: publishing by WHIP, playing by WHEP. The requests come to the listeners of `http`.",
        roles: [.origin, .edge], fields: listenerFields + candidateFields + sessionFields)

    private static let listenerFields: [SettingField<NodeSettings>] = [
        .init("rtc.enabled", \.rtc.isEnabled, .flag, "Whether there is WebRTC at all."),
        .init(
            "rtc.listen", \.rtc.listen, .listenAddresses,
            "UDP addresses for media. One port serves all sessions; firewalls have to let it through. `[::]` is IPv6 alone here."
        ),
        .init(
            "rtc.tcp.enabled", \.rtc.tcp.isEnabled, .flag,
            "Whether media may also come and go over TCP, for clients whose network has no UDP."),
        .init(
            "rtc.tcp.listen", \.rtc.tcp.listen, .listenAddresses, computedDefault: "those of `rtc.listen`",
            "TCP addresses for media."),
    ]

    private static let candidateFields: [SettingField<NodeSettings>] = [
        .init(
            "rtc.candidates", \.rtc.candidates, .advertisedHosts,
            computedDefault: "the interfaces' addresses",
            "Names and addresses by which clients reach the node: needed behind NAT and in containers. With `:PORT` where a forwarded port has another number. The host of a request counts, too."
        ),
        .init(
            "rtc.interfaces", \.rtc.interfaces, .interfaceNames, computedDefault: "all but loopback",
            "Interfaces whose addresses are offered where `rtc.candidates` is empty."),
        .init(
            "rtc.ice_servers", \.rtc.iceServers, .iceServers,
            "STUN and TURN servers that clients are told in `Link` headers. The node itself needs none."),
        .init(
            "rtc.ice_username", \.rtc.iceUsername, .text("text", maximumLength: 256),
            "The user name of the TURN servers; clients are told it."),
        .init(
            "rtc.ice_credential", \.rtc.iceCredential, .secret,
            "The password of the TURN servers. Clients that may publish or play are told it."),
    ]

    private static let sessionFields: [SettingField<NodeSettings>] = [
        .init(
            "rtc.certificate", \.rtc.certificate, .text("path"),
            computedDefault: "one that is made at the start",
            "PEM file with a certificate for DTLS. Clients know it by its fingerprint, so nobody has to sign it."),
        .init("rtc.key", \.rtc.key, .text("path"), "PEM file with its private key."),
        .init(
            "rtc.handshake_timeout", \.rtc.handshakeTimeout, .duration(.seconds(1) ... .minutes(5)),
            "From the answer to a request to the end of the DTLS handshake."),
        .init(
            "rtc.consent_timeout", \.rtc.consentTimeout, .duration(.seconds(5) ... .minutes(10)),
            "The longest time without a connectivity check of a client before its session ends."),
        .init(
            "rtc.maximum_sessions", \.rtc.maximumSessions, .integer(1...1_000_000),
            "WebRTC publishers and viewers at one time; more are refused with 503."),
        .init(
            "rtc.gso", \.rtc.segmentationOffload, .choice,
            "Whether the packets of a frame leave in one system call (UDP segmentation offload), where the kernel can."
        ),
    ]

    static let rtcFields: [SettingField<StreamSettings>] = [
        .init("rtc.nack", \.rtc.nack, .flag, "Whether lost WebRTC packets are asked for and sent again."),
        .init(
            "rtc.twcc", \.rtc.twcc, .flag,
            "Whether transport-wide feedback is agreed upon, by which senders learn what the path can carry."),
        .init(
            "rtc.keyframe_interval", \.rtc.keyframeInterval, .duration(.zero ... .minutes(1)),
            "How often a WebRTC publisher is asked for a keyframe, which segments and new viewers begin with; 0: by need only."
        ),
        .init(
            "rtc.receive_wait", \.rtc.receiveWait, .duration(.milliseconds(20) ... .seconds(5)),
            "How long a publisher's packets wait for one that is missing. Then its frame is given up, and a keyframe is asked for."
        ),
        .init(
            "rtc.b_frames", \.rtc.bFrames, .choice,
            "Streams with B-frames, which WebRTC cannot show. `drop`: those that nothing refers to are left out. `refuse`: players get no video."
        ),
        .init(
            "rtc.play_wait", \.rtc.playWait, .duration(.zero ... .minutes(1)),
            "How long the answer to a WebRTC player waits for the tracks of a stream that is just starting."),
        .init(
            "rtc.maximum_bit_rate", \.rtc.maximumBitRate, .bitRate(0...1_000_000_000),
            "What WebRTC publishers are told to send at most; 0: they are not told."),
        .init(
            "rtc.playout_delay", \.rtc.playoutDelay, .duration(.zero ... .seconds(40)),
            "The delay that WebRTC players are told to keep, as a buffer against jitter; 0: they are not told."),
        .init(
            "audio.live", \.audio.live, .choice,
            "The audio of RTMP and HTTP-FLV. `aac`: Opus and G.711 become AAC. `source`: as published."),
        .init("audio.packaged", \.audio.packaged, .choice, "The same for HLS, DASH and recordings."),
        .init(
            "audio.aac_bit_rate", \.audio.aacBitRate, .bitRate(8_000...512_000), "The bit rate of AAC that is made."),
        .init(
            "audio.opus_bit_rate", \.audio.opusBitRate, .bitRate(6_000...510_000),
            "The bit rate of Opus that is made for WebRTC players."),
    ]
}
