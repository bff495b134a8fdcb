import NIOCore

/// The keys of SRT.
extension SettingSchema {
    static let srtSection = Section(
        name: "srt", documentation: "SRT: publishing and playing MPEG transport streams, and calls to other servers.",
        roles: [.origin, .edge], fields: srtServerFields + srtDelayFields + srtPathFields)

    private static let srtServerFields: [SettingField<NodeSettings>] = [
        .init("srt.enabled", \.srt.isEnabled, .flag, "Whether there is SRT at all."),
        .init(
            "srt.listen", \.srt.listen, .listenAddresses,
            "UDP addresses for SRT. One port serves all sessions. `[::]` is IPv6 alone here."),
        .init(
            "srt.default_app", \.srt.defaultApp, .label("name"),
            "The app of a stream id that has only the name of a stream."),
        .init(
            "srt.default_stream_id", \.srt.defaultStreamID, .srtStreamID,
            "Stands for an empty stream id; empty turns such clients away."),
        .init(
            "srt.default_mode", \.srt.defaultMode, .choice,
            "What a stream id without `m` wants: to `publish`, or to play (`request`)."),
        .init(
            "srt.maximum_sessions", \.srt.maximumSessions, .integer(1...100_000),
            "SRT publishers and viewers at one time; more are turned away with 1402."),
        .init(
            "srt.threads", \.srt.threads, .integer(1...64), "Threads that hand packets for viewers to the library."),
        .init(
            "srt.publish_first_media_timeout", \.srt.firstMediaTimeout, .duration(.seconds(1) ... .hours(1)),
            "From an accepted publisher to its first frame."),
        .init(
            "srt.publish_idle_timeout", \.srt.idleTimeout, .duration(.seconds(1) ... .hours(1)),
            "The longest silence of a publisher whose connection stands."),
        .init(
            "srt.passphrase", \.srt.passphrase, .passphrase,
            "With it, everything is encrypted, and peers without it are turned away."),
        .init(
            "srt.key_length", \.srt.keyLength, .choice,
            "The AES key that clients are told to take, with this passphrase and with those of streams. `peer`: as the other end wants it, else 128 bits."
        ),
        .init(
            "srt.enforced_encryption", \.srt.options.enforcesEncryption, .flag,
            "Whether peers whose passphrase does not match are turned away; else they get what they cannot read."),
        .init(
            "srt.pulls", \.srt.pulls, .srtPulls,
            "Streams that are fetched from other servers all the time: `live/camera=srt://192.0.2.7:9000?latency=300`. Options have the library's names; `mode` is `caller`, `listener` or `rendezvous`."
        ),
    ]

    private static let srtDelayFields: [SettingField<NodeSettings>] = [
        .init(
            "srt.latency", \.srt.options.latency, .duration(.zero ... .minutes(1)),
            "How long lost packets can be repaired, in both directions. The longer one of both ends counts; four times the round trip is a good value."
        ),
        .init(
            "srt.receive_latency", \.srt.options.receiveLatency, .duration(.zero ... .minutes(1)),
            "The same for what is received; 0: as `srt.latency`."),
        .init(
            "srt.peer_latency", \.srt.options.peerLatency, .duration(.zero ... .minutes(1)),
            "The least that peers are told to have; 0: as `srt.latency`."),
        .init(
            "srt.too_late_drop", \.srt.options.tooLateDrop, .flag,
            "Whether packets that come too late are left out, rather than waited for."),
        .init(
            "srt.timestamps", \.srt.options.timestamps, .flag,
            "Whether packets are delivered at the distances in which they were sent (TSBPD)."),
        .init(
            "srt.connect_timeout", \.srt.options.connectTimeout, .duration(.milliseconds(100) ... .minutes(1)),
            "The longest time for a call to another server."),
        .init(
            "srt.peer_idle_timeout", \.srt.options.peerIdleTimeout, .duration(.seconds(1) ... .hours(1)),
            "The longest time without anything from a peer, keep-alives included, before its connection is over."),
    ]

    private static let srtPathFields: [SettingField<NodeSettings>] = [
        .init("srt.mss", \.srt.options.mss, .integer(576...1_500), "The longest datagram with its headers, in bytes."),
        .init(
            "srt.payload_size", \.srt.options.payloadSize, .integer(188...1_456),
            "The longest message, in bytes; 1316 is seven packets of a transport stream."),
        .init(
            "srt.maximum_bandwidth", \.srt.options.maximumBandwidth, .integer(-1...1_000_000_000_000),
            "Bytes a second that a connection may send; -1: no limit, 0: by its input and `srt.overhead_percent`."),
        .init(
            "srt.input_bandwidth", \.srt.options.inputBandwidth, .integer(0...1_000_000_000_000),
            "Bytes a second of the input; 0: it is measured."),
        .init(
            "srt.overhead_percent", \.srt.options.overheadPercent, .integer(5...100),
            "What may be sent again, above the input."),
        .init(
            "srt.send_buffer", \.srt.options.sendBuffer, .size((64 << 10)...(1 << 30)),
            "Bytes that are kept for one connection until they are acknowledged."),
        .init(
            "srt.receive_buffer", \.srt.options.receiveBuffer, .size((64 << 10)...(1 << 30)),
            "Bytes that are kept of one connection until they are read."),
        .init(
            "srt.udp_send_buffer", \.srt.options.udpSendBuffer, .size((64 << 10)...(1 << 30)),
            "The kernel's buffer of the socket. The kernel may have a lower limit."),
        .init(
            "srt.udp_receive_buffer", \.srt.options.udpReceiveBuffer, .size((64 << 10)...(1 << 30)), "The same."),
        .init(
            "srt.flight_window", \.srt.options.flightWindow, .integer(64...10_000_000),
            "Packets on their way that are not acknowledged; no less than the receive buffer holds."),
        .init(
            "srt.periodic_nak", \.srt.options.periodicNAK, .flag,
            "Whether losses are reported again until they are repaired."),
        .init(
            "srt.reorder_tolerance", \.srt.options.reorderTolerance, .integer(0...10_000),
            "How many packets may overtake one before it is reported lost, at most."),
        .init(
            "srt.type_of_service", \.srt.options.typeOfService, .integer(0...255), "The TOS byte of datagrams."),
        .init("srt.time_to_live", \.srt.options.timeToLive, .integer(1...255), "Hops that datagrams may take."),
        .init(
            "srt.packet_filter", \.srt.options.packetFilter, .text("filter", maximumLength: 256),
            "Forward error correction, such as `fec,cols:10,rows:5`; peers have to agree."),
    ]

    static let srtFields: [SettingField<StreamSettings>] = [
        .init("srt.enabled", \.srt.isEnabled, .flag, "Whether clients may publish and play by SRT."),
        .init(
            "srt.passphrase", \.srt.passphrase, .passphrase,
            "The passphrase of these streams' clients; empty: `srt.passphrase` of the node."),
        .init(
            "srt.passphrases", \.srt.passphrases, .srtPassphrases,
            "Passphrases of single streams, by name: `door=a-passphrase`. They count before `passphrase`."),
        .init(
            "srt.latency", \.srt.latency, .duration(.zero ... .minutes(1)),
            "The latency of these streams' clients; 0: that of the node."),
        .init(
            "srt.passthrough", \.srt.passesThrough, .flag,
            "Whether SRT players on the node where a stream is published by SRT get its packets as they came, with all programs and tracks. They start at the next table of programs."
        ),
        .init(
            "srt.program", \.srt.program, .integer(0...65_535),
            "The program of an SRT publisher's transport stream that is read; 0: the first."),
        .init(
            "srt.audio", \.srt.audio, .audioChoice,
            "Its audio, where there are several: the packet identifier or the language; empty: the first."),
        .init(
            "srt.wait_for_keyframe", \.srt.waitsForKeyframe, .flag,
            "Whether an SRT publisher's video waits for a keyframe after a loss, so that no broken picture goes out."),
        .init(
            "srt.push", \.srt.pushes, .srtPushes,
            "SRT servers that streams are sent to, too: `srt://backup.example:10080?streamid=#!::r=[app]/[stream],m=publish`; `[vhost]` works, too."
        ),
    ]
}
