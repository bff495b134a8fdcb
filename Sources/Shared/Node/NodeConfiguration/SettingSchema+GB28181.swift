import NIOCore

/// The keys of GB/T 28181.
extension SettingSchema {
    static let gb28181Section = Section(
        name: "gb28181",
        documentation: "GB/T 28181: cameras that register by SIP and send their media when they are invited.",
        roles: [.origin], fields: signallingFields + mediaFields + streamFields + timeFields)

    private static let signallingFields: [SettingField<NodeSettings>] = [
        .init("gb28181.enabled", \.gb28181.isEnabled, .flag, "Whether devices are taken."),
        .init(
            "gb28181.listen", \.gb28181.listen, .listenAddresses,
            "Addresses for SIP, over UDP and TCP. Empty: devices register elsewhere, and media are announced by `/gb/v1/publish/`."
        ),
        .init(
            "gb28181.server_id", \.gb28181.serverID, .deviceIdentifier,
            "The identifier of this server, as devices are set up with it."),
        .init(
            "gb28181.domain", \.gb28181.domain, .text("text", maximumLength: 64),
            computedDefault: "the first ten digits of `gb28181.server_id`",
            "The SIP domain, which is the realm of the devices' passwords, too."),
        .init(
            "gb28181.password", \.gb28181.password, .secret,
            "The password of all devices that have none of their own. Empty: they register without one."),
        .init(
            "gb28181.devices", \.gb28181.devices, .gb28181Devices,
            "The devices that may register, each as `ID` or `ID=PASSWORD`. Empty: all."),
        .init(
            "gb28181.maximum_devices", \.gb28181.maximumDevices, .integer(1...100_000),
            "Devices that are known at one time; those that have been gone for longest make way."),
        .init(
            "gb28181.subscribe", \.gb28181.subscriptions, .deviceEvents,
            "What devices are asked to tell by themselves: `catalog` (changes of channels), `alarm`, `position`."),
    ]

    private static let mediaFields: [SettingField<NodeSettings>] = [
        .init(
            "gb28181.media_listen", \.gb28181.mediaListen, .listenAddress,
            "The port that media come to, over UDP and TCP."),
        .init(
            "gb28181.media_host", \.gb28181.mediaHost, .text("host", maximumLength: 255),
            computedDefault: "the address at which a device reached us",
            "The host that devices are told to send to: needed behind NAT and in containers."),
        .init(
            "gb28181.session_ports", \.gb28181.sessionPorts, .optionalPortRange,
            "Each session gets a port of its own from this range, over UDP or TCP. Empty: all use `gb28181.media_listen`."
        ),
        .init(
            "gb28181.transport", \.gb28181.transport, .choice,
            "How media travel. `tcp_passive`: the device connects. `tcp_active`: we connect to it. `udp`."),
    ]

    private static let streamFields: [SettingField<NodeSettings>] = [
        .init(
            "gb28181.invite", \.gb28181.invites, .choice,
            "When channels are invited. `on_demand`: when somebody wants to play their stream. `always`: as soon as they are known."
        ),
        .init(
            "gb28181.vhost", \.gb28181.vhost, .text("vhost", maximumLength: 255),
            computedDefault: "the default vhost", "The vhost of the streams."),
        .init("gb28181.app", \.gb28181.app, .label("app"), "The app of the streams."),
        .init(
            "gb28181.stream_name", \.gb28181.streamName, .text("text", maximumLength: 255),
            "How streams are called. `[device]` and `[channel]` stand for the identifiers."),
    ]

    private static let timeFields: [SettingField<NodeSettings>] = [
        .init(
            "gb28181.keepalive_timeout", \.gb28181.keepaliveTimeout, .duration(.seconds(10) ... .hours(24)),
            "A device that is silent for so long counts as gone."),
        .init(
            "gb28181.catalog_interval", \.gb28181.catalogInterval, .duration(.zero ... .hours(168)),
            "How often a device is asked again for its channels; 0: only when it registers."),
        .init(
            "gb28181.invite_timeout", \.gb28181.inviteTimeout, .duration(.seconds(1) ... .minutes(5)),
            "From a device's answer to an invitation to its first packet."),
        .init(
            "gb28181.media_timeout", \.gb28181.mediaTimeout, .duration(.seconds(1) ... .minutes(5)),
            "A device that sends no packet for so long is invited anew."),
        .init(
            "gb28181.reinvite_delay", \.gb28181.reinviteDelay, .duration(.milliseconds(100) ... .minutes(5)),
            "The pause before that. It doubles with each failure, up to a minute."),
        .init(
            "gb28181.idle_timeout", \.gb28181.idleTimeout, .duration(.seconds(1) ... .hours(24)),
            "A channel that was invited on demand is left when nobody played its stream for so long."),
        .init(
            "gb28181.demand_wait", \.gb28181.demandWait, .duration(.seconds(1) ... .minutes(1)),
            "How long a player waits for a channel that is invited for it."),
        .init(
            "gb28181.reorder_wait", \.gb28181.reorderWait, .duration(.zero ... .seconds(5)),
            "How long a packet of UDP waits for one before it."),
        .init(
            "gb28181.utc_offset", \.gb28181.utcOffsetMinutes, .integer(-720...840),
            "Minutes that the devices' clocks are ahead of UTC. Their times have no zone."),
    ]
}
