package import GB28181
package import Logging
import MANSCDP
package import Media
package import NIOCore
import NIOPosix
package import StreamHub
import Synchronization

/// Takes devices of GB/T 28181: their signalling over SIP, and their media.
///
/// States: made → `start` → running → `shutdown`. Everything that is signalled happens on one event loop; media are
/// received on all. Any thread may call.
package final class GB28181Server: StreamSupplier {
    private let configuration: GB28181ServerConfiguration
    private let group: any EventLoopGroup
    private let signalling: Signalling
    private let directory = MediaDirectory()
    private let door: MediaDoor
    private let ports: MediaPorts
    private let logger: Logger
    private let channels = Mutex<[any Channel]>([])
    private let connectionNumbers = Atomic<UInt64>(0)
    private let openConnections = Atomic<Int>(0)

    /// `wallSeconds`: seconds since 1970 UTC; devices set their clocks by it.
    package init(
        group: any EventLoopGroup, configuration: GB28181ServerConfiguration, gate: any SessionGate, logger: Logger,
        wallSeconds: @escaping @Sendable () -> Int64
    ) {
        self.configuration = configuration
        self.group = group
        self.logger = logger
        let signalling = Signalling(
            loop: group.next(), configuration: configuration, directory: self.directory, logger: logger,
            wallSeconds: wallSeconds)
        self.signalling = signalling
        self.door = MediaDoor(
            configuration: configuration, directory: self.directory, gate: gate, logger: logger
        ) { slot, notice in
            signalling.loop.execute { signalling.noted(slot, notice) }
        }
        self.ports = MediaPorts(group: group, configuration: configuration, door: self.door)
    }

    // MARK: Sockets

    /// Listens. Throws what the first address that cannot be bound gives; nothing is listened on then.
    package func start() async throws {
        do {
            try await self.ports.start()
            try await self.signalling.loop.submit { [signalling, ports] in
                signalling.ports = ports
                signalling.start()
            }.get()
            for listener in self.configuration.sip { try await self.listen(listener) }
        } catch {
            await self.closeSockets()
            throw error
        }
    }

    private func listen(_ listener: GB28181ServerConfiguration.Listener) async throws {
        let limits = self.configuration.platform.limits
        let server = try await ServerBootstrap(group: self.signalling.loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { [self] channel in
                guard self.admit(channel) else { return channel.close() }
                let number = self.connectionNumbers.wrappingAdd(1, ordering: .relaxed).newValue
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        SIPConnection(number: number, signalling: self.signalling, limits: limits))
                }
            }
            .bind(host: listener.host, port: listener.port).get()
        self.channels.withLock { $0.append(server) }
        let port = server.localAddress?.port ?? listener.port
        let datagrams = try await DatagramBootstrap(group: self.signalling.loop)
            .channelOption(.socketOption(.so_rcvbuf), value: 1 << 20)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 65_536))
            .channelInitializer { [signalling] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        SIPDatagrams(signalling: signalling, limits: limits))
                }
            }
            .bind(host: listener.host, port: port).get()
        self.channels.withLock { $0.append(datagrams) }
        // By which of our addresses a device reached us, it can be told to send.
        try await datagrams.setOption(.receivePacketInfo, value: true).get()
        try await self.signalling.loop.submit { [signalling] in
            signalling.add(datagrams: datagrams, isV6: listener.host.contains(":"))
        }.get()
    }

    /// Counts a connection until it is closed; `false` if there are too many.
    private func admit(_ channel: any Channel) -> Bool {
        let count = self.openConnections.wrappingAdd(1, ordering: .relaxed).newValue
        guard count <= self.configuration.maximumConnections else {
            self.openConnections.wrappingSubtract(1, ordering: .relaxed)
            return false
        }
        channel.closeFuture.whenComplete { [self] _ in
            self.openConnections.wrappingSubtract(1, ordering: .relaxed)
        }
        return true
    }

    /// The ports of SIP in the order of the configuration, each once, and the port of media.
    package var boundPorts: (sip: [Int], media: Int) {
        let ports = self.channels.withLock { $0.compactMap { $0.localAddress?.port } }
        return (stride(from: 0, to: ports.count, by: 2).map { ports[$0] }, self.ports.sharedPort)
    }

    /// Ends all sessions, telling the devices, and closes the sockets.
    package func shutdown() async {
        try? await self.signalling.loop.submit { [signalling] in
            if !signalling.isStopped { signalling.stop() }
        }.get()
        for receiver in self.directory.closeAll() { receiver.stop(.shutdown, notifies: false) }
        await self.closeSockets()
    }

    private func closeSockets() async {
        let channels = self.channels.withLock { channels in
            defer { channels = [] }
            return channels
        }
        for channel in channels { try? await channel.close().get() }
        await self.ports.stop()
    }

    /// Runs `body` where the devices are known.
    func onLoop<Value: Sendable>(_ body: @escaping @Sendable (Signalling) -> Value) async -> Value? {
        try? await self.signalling.loop.submit { [signalling] in body(signalling) }.get()
    }

    // MARK: Streams

    /// A viewer asks for a stream that nobody publishes: its channel is invited. Returns how long the viewer may wait
    /// for it; `nil` if the stream is no channel's.
    package func demand(_ key: StreamKey) async -> TimeAmount? {
        await self.onLoop { $0.demand(key) } == true ? self.configuration.demandWait : nil
    }

    package func filesWanted(of key: StreamKey) {
        guard key.app == self.configuration.app else { return }
        self.signalling.fileReaders.note(key, now: .now())
    }

    /// Invites a channel, and keeps its session until `stop`.
    package func play(
        _ source: DeviceChannel, transport: DeviceTransport? = nil
    ) async -> Result<UInt64, DeviceRefusal> {
        await self.onLoop { $0.play(source, pins: true, transport: transport) } ?? .failure(.deviceOffline)
    }

    /// Plays a recording of a device, as a stream of its own.
    package func playback(_ source: DeviceChannel, _ what: DeviceSource) async -> Result<UInt64, DeviceRefusal> {
        await self.onLoop { $0.playback(source, what) } ?? .failure(.deviceOffline)
    }

    /// Ends a session. `false`: there is none.
    package func stop(session: UInt64) async -> Bool { await self.onLoop { $0.stop(session: session) } ?? false }

    /// The live session of a channel.
    package func liveSession(of source: DeviceChannel) async -> UInt64? {
        await self.onLoop { $0.platform.liveSession(of: source)?.id } ?? nil
    }

    /// Asks a device, and waits for its answer, at most for the time of a transaction.
    package func request(_ device: String, _ request: DeviceRequest) async -> Result<DeviceAnswer, DeviceRefusal> {
        await self.signalling.request(device, request)
    }

    /// Sends a device away. `false`: it is not known.
    package func forget(device: String) async -> Bool {
        await self.onLoop { signalling in
            let isKnown = signalling.platform.forget(device: device, signalling.clock)
            signalling.drain()
            return isKnown
        } ?? false
    }

    // MARK: From outside

    /// Another SIP server will have media sent here as `ssrc`: they become the stream `id`. Returns the port for TCP
    /// and UDP; `nil` if `id` sends already, or something else has the source.
    package func expect(_ id: String, ssrc: UInt32) -> Int? {
        let slot = MediaSlot(
            session: nil, app: self.configuration.app, name: id, label: id, deviceHost: nil)
        guard (try? StreamKey(app: slot.app, name: id)) != nil,
            self.directory.announce(id, ssrc: ssrc, slot) == .added
        else { return nil }
        return self.ports.sharedPort
    }

    /// Takes an announcement back, and ends what came of it. `false`: there is none.
    package func withdraw(_ id: String) -> Bool {
        guard let slot = self.directory.withdraw(id) else { return false }
        slot.close()?.stop(.kicked, notifies: false)
        return true
    }

    // MARK: Views

    /// All devices by identifier.
    package func devices() async -> [GB28181DeviceView] {
        await self.onLoop { signalling in
            let now = NIODeadline.now()
            return signalling.platform.devices.values.map { GB28181DeviceView($0, now: now) }.sorted { $0.id < $1.id }
        } ?? []
    }

    package func device(_ id: String) async -> GB28181DeviceView? {
        await self.onLoop { signalling in
            signalling.platform.devices[id].map { GB28181DeviceView($0, now: .now()) }
        } ?? nil
    }

    /// The channels of a device by identifier; `nil` for one that is not known.
    package func channels(of id: String) async -> [GB28181ChannelView]? {
        await self.onLoop { signalling in
            guard let device = signalling.platform.devices[id] else { return nil }
            let playable = device.playableChannels
            let directories = device.channels.filter { item in !playable.contains { $0.id == item.id } }
            return (playable + directories).map { item in
                let source = DeviceChannel(device: id, channel: item.id)
                let name = signalling.configuration.name(of: source)
                let isStream = signalling.sources[name] == source
                return GB28181ChannelView(
                    item: item, stream: isStream ? "\(signalling.configuration.app)/\(name)" : nil,
                    session: signalling.platform.liveSession(of: source)?.id)
            }.sorted { $0.item.id < $1.item.id }
        } ?? nil
    }

    /// All sessions by number.
    package func sessions() async -> [GB28181SessionView] {
        let found = await self.onLoop { signalling in
            signalling.platform.sessions.values.map { session in
                let own = signalling.sessions[session.id]
                let view = GB28181SessionView(session, own)
                return (view, own?.slot.receiver)
            }.sorted { $0.0.id < $1.0.id }
        }
        var views: [GB28181SessionView] = []
        for (view, receiver) in found ?? [] {
            var view = view
            if let receiver { view.media = try? await receiver.loop.submit { receiver.statistics }.get() }
            views.append(view)
        }
        return views
    }

    /// The alarms behind number `after`, the oldest first.
    package func alarms(after: UInt64, limit: Int) async -> [GB28181Alarm] {
        await self.onLoop { Array($0.alarms.drop { $0.number <= after }.prefix(limit)) } ?? []
    }

    package func totals() async -> GB28181Totals {
        let strangers = self.door.strangerCount
        return await self.onLoop { signalling in
            var totals = GB28181Totals()
            let devices = signalling.platform.devices.values
            totals.devices = devices.count
            totals.onlineDevices = devices.count { $0.isOnline }
            totals.channels = signalling.sources.count
            totals.sessions = signalling.platform.sessions.count
            totals.receiving = signalling.platform.sessions.values.count { $0.hasMedia }
            totals.strangers = strangers
            totals.platform = signalling.platform.statistics
            return totals
        } ?? GB28181Totals()
    }
}

extension GB28181DeviceView {
    fileprivate init(_ device: DeviceRecord, now: NIODeadline) {
        let isDatagram = device.path.transport == .udp
        let host = device.path.host.contains(":") ? "[\(device.path.host)]" : device.path.host
        self.init(
            id: device.id, isOnline: device.isOnline, transport: isDatagram ? "udp" : "tcp",
            address: "\(host):\(device.path.port)", userAgent: device.userAgent, keepalives: device.keepalives,
            registeredSecondsAgo: (now - device.registeredAt).nanoseconds / 1_000_000_000,
            silentSeconds: (now - device.lastSeen).nanoseconds / 1_000_000_000, information: device.information,
            status: device.status, position: device.position, channels: device.playableChannels.count)
    }
}

extension GB28181SessionView {
    fileprivate init(_ session: DeviceSession, _ own: Signalling.Session?) {
        let state =
            switch session.phase {
            case .opening: "opening"
            case .inviting: "inviting"
            case .established: session.hasMedia ? "playing" : "established"
            case .waiting: "waiting"
            }
        self.init(
            id: session.id, source: session.source, what: session.what, transport: session.transport, state: state,
            ssrc: session.ssrc, app: own?.key.app ?? "", name: own?.key.name ?? "", isPinned: own?.isPinned ?? false,
            invitations: session.invitations, media: nil)
    }
}
