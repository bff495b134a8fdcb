import Glibc
package import Logging
package import NIOCore
import NIOPosix
import SecureRTP
package import StreamHub
import Synchronization

/// Everything that WebRTC clients send and get: sockets, sessions, and the players' way from the hub.
///
/// The signalling makes sessions with `createPublisher` and `createPlayer`; from then on the client talks to the sockets
/// that `start` opened. Order of life: `init`, `start`, sessions, `shutdown`.
package final class WebRTCServer: Sendable {
    struct State {
        var listeners: [Bound] = []
        var channels: [any Channel] = []
        var isStarted = false
        var isStopped = false
    }

    /// A listener that is open.
    struct Bound: Sendable {
        var address: SocketAddress
        var isTCP: Bool
    }

    let configuration: WebRTCServerConfiguration
    let gate: any SessionGate
    let hub: StreamHub
    let logger: Logger
    let directory: SessionDirectory
    let archive = DiagnosisArchive()
    let audiences: AudienceTable
    let addresses: AddressBook
    let dtls: DTLSConfiguration
    let fingerprint: DTLSFingerprint
    let workers: [WebRTCWorker]
    private let group: any EventLoopGroup
    private let state = Mutex(State())
    private let connectionNumbers = Atomic<UInt64>(0)
    private let openConnections = Atomic<Int>(0)
    private let nextWorker = Atomic<Int>(0)

    /// Reads or makes the certificate. Throws if it cannot be used.
    ///
    /// - Parameters:
    ///   - group: sessions are spread over all of its loops.
    ///   - wallSeconds: seconds since 1970, for the certificate that is made.
    package init(
        group: any EventLoopGroup, configuration: WebRTCServerConfiguration, gate: any SessionGate, hub: StreamHub,
        logger: Logger, wallSeconds: Int64 = WallClock.seconds
    ) throws {
        self.group = group
        self.configuration = configuration
        self.gate = gate
        self.hub = hub
        self.logger = logger
        let certificate =
            if let files = configuration.certificate {
                try DTLSCertificate.load(certificateChain: files.certificate, privateKey: files.key)
            } else {
                try DTLSCertificate.makeSelfSigned(now: wallSeconds, lifetime: 365 * 86_400)
            }
        var settings = DTLSConfiguration.Settings()
        settings.handshakeTimeout = configuration.handshakeTimeout
        // A third of all packets may be lost, and the handshake has to end in time: many tries rather than rare ones.
        settings.firstRetransmission = .milliseconds(200)
        settings.longestRetransmission = .seconds(1)
        self.dtls = try DTLSConfiguration(certificate: certificate, settings: settings)
        self.fingerprint = certificate.fingerprint(.sha256)
        let directory = SessionDirectory(maximum: configuration.maximumSessions)
        self.directory = directory
        self.audiences = AudienceTable(endGrace: configuration.endGrace)
        self.addresses = AddressBook(
            configured: configuration.candidates.compactMap { AddressBook.Host($0) },
            interfaces: configuration.interfaces,
            ownNames: NameResolver(loop: group.any(), settings: .unbounded, ask: configuration.askForAddresses),
            names: NameResolver(loop: group.any(), ask: configuration.askForAddresses))
        self.workers = group.makeIterator().enumerated().map { index, loop in
            WebRTCWorker(index: index, loop: loop, directory: directory, logger: logger)
        }
    }

    // MARK: Listening

    /// Opens the sockets. Throws if one cannot be bound; then nothing stays open.
    package func start() async throws {
        let workers = self.workers
        for worker in workers { try await worker.loop.submit { worker.setPeers(workers) }.get() }
        do {
            for (index, listener) in self.configuration.udp.enumerated() {
                try await self.unlessMissing(listener) { try await self.listenUDP(listener, index: index) }
            }
            for listener in self.configuration.tcp {
                try await self.unlessMissing(listener) { try await self.listenTCP(listener) }
            }
        } catch {
            await self.closeSockets()
            throw error
        }
        self.addresses.prepare()
        self.state.withLock { $0.isStarted = true }
    }

    /// A machine without IPv6 listens without it.
    private func unlessMissing(
        _ listener: WebRTCServerConfiguration.Listener, _ body: () async throws -> Void
    ) async throws {
        do {
            try await body()
        } catch let error as IOError
            where listener.host == "::" && [EAFNOSUPPORT, EADDRNOTAVAIL].contains(error.errnoCode)
        {
            self.logger.warning("no IPv6 here: not listened on", metadata: ["address": "[::]:\(listener.port)"])
        }
    }

    /// The addresses that are listened on, with the ports that were bound: UDP in the order of the configuration, then
    /// TCP.
    package var boundAddresses: [(address: SocketAddress, isTCP: Bool)] {
        self.state.withLock { $0.listeners.map { ($0.address, $0.isTCP) } }
    }

    /// One socket for each event loop: the kernel deals clients out among them by their addresses.
    private func listenUDP(_ listener: WebRTCServerConfiguration.Listener, index: Int) async throws {
        var port = listener.port
        let isV6 = listener.host.contains(":")
        if port != 0 { try await self.checkFree(listener, isV6: isV6) }
        for worker in self.workers {
            let channel = try await self.openDatagrams(listener.host, port, isV6: isV6, index, worker)
            port = channel.localAddress?.port ?? port
            self.state.withLock { state in
                state.channels.append(channel)
                guard worker.index == 0, let address = channel.localAddress else { return }
                state.listeners.append(Bound(address: address, isTCP: false))
            }
        }
    }

    /// Sockets that may share a port share it with those of other programs, too: half of the clients would go there.
    private func checkFree(_ listener: WebRTCServerConfiguration.Listener, isV6: Bool) async throws {
        var bootstrap = DatagramBootstrap(group: self.group)
        if isV6 { bootstrap = bootstrap.channelOption(Self.onlyV6, value: 1) }
        try await bootstrap.bind(host: listener.host, port: listener.port).get().close().get()
    }

    private func openDatagrams(
        _ host: String, _ port: Int, isV6: Bool, _ index: Int, _ worker: WebRTCWorker
    ) async throws -> any Channel {
        let configuration = self.configuration
        let hasOneAddress = try !SocketAddress(ipAddress: host, port: port).isUnspecified
        var bootstrap = DatagramBootstrap(group: worker.loop)
            .channelOption(.socketOption(.init(rawValue: SO_REUSEPORT)), value: 1)
            .channelOption(.socketOption(.so_rcvbuf), value: .init(configuration.receiveBufferBytes))
            .channelOption(.socketOption(.so_sndbuf), value: .init(configuration.sendBufferBytes))
            .channelOption(.datagramVectorReadMessageCount, value: configuration.receiveBatch)
            .channelOption(.maxMessagesPerRead, value: UInt(configuration.maximumReadsPerTurn))
            .channelOption(
                .recvAllocator,
                value: FixedSizeRecvByteBufferAllocator(
                    capacity: configuration.receiveBatch * Self.maximumDatagramLength))
        // Each family has its own socket, so that both can have one port.
        if isV6 {
            bootstrap = bootstrap.channelOption(Self.onlyV6, value: 1)
        }
        let channel = try await bootstrap.channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(
                    DatagramHandler(listener: index, worker: worker, hasOneAddress: hasOneAddress))
            }
        }.bind(host: host, port: port).get()
        if !hasOneAddress { try await channel.setOption(.receivePacketInfo, value: true).get() }
        try await worker.loop.submit {
            let descriptor = try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
                of: NIOBSDSocket.Handle.self
            ) { $0 }
            worker.add(
                DatagramSocket(
                    descriptor: descriptor ?? -1, loop: worker.loop, usesSegmentation: configuration.usesSegmentation),
                listener: index, address: channel.localAddress)
        }.get()
        return channel
    }

    private static let onlyV6 = ChannelOptions.Types.SocketOption(level: .ipv6, name: .ipv6_v6only)

    /// Longer datagrams are cut off: nobody sends them, as paths carry 1,500 bytes.
    private static let maximumDatagramLength = 2_048

    private func listenTCP(_ listener: WebRTCServerConfiguration.Listener) async throws {
        var bootstrap = ServerBootstrap(group: self.group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { self.accept($0) }
        if listener.host.contains(":") {
            bootstrap = bootstrap.serverChannelOption(Self.onlyV6, value: 1)
        }
        let channel = try await bootstrap.bind(host: listener.host, port: listener.port).get()
        self.state.withLock { state in
            state.channels.append(channel)
            guard let address = channel.localAddress else { return }
            state.listeners.append(Bound(address: address, isTCP: true))
        }
    }

    private func accept(_ channel: any Channel) -> EventLoopFuture<Void> {
        guard let worker = self.workers.first(where: { $0.loop === channel.eventLoop }),
            self.openConnections.load(ordering: .relaxed) < self.configuration.maximumTCPConnections
        else { return channel.close() }
        self.openConnections.wrappingAdd(1, ordering: .relaxed)
        channel.closeFuture.whenComplete { _ in self.openConnections.wrappingSubtract(1, ordering: .relaxed) }
        let number = self.connectionNumbers.wrappingAdd(1, ordering: .relaxed).newValue
        let configuration = self.configuration
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(
                StreamConnection(
                    number: number, worker: worker, timeout: configuration.tcpFirstFrameTimeout,
                    limit: configuration.tcpBufferBytes))
        }
    }

    var bound: [Bound] { self.state.withLock { $0.listeners } }
    var isRunning: Bool { self.state.withLock { $0.isStarted && !$0.isStopped } }

    // MARK: Workers

    /// The worker for a new session: each in turn, which spreads them as evenly as anything that looks at load, because
    /// players then go to where their packets come.
    func pickWorker() -> WebRTCWorker {
        let turn = self.nextWorker.wrappingAdd(1, ordering: .relaxed).newValue
        return self.workers[abs(turn % self.workers.count)]
    }

    /// Runs `body` on the loop that has the session; `nil` if there is none. The session may move while it is looked for.
    func withSession<Value: Sendable>(
        id: String, _ body: @escaping @Sendable (WebRTCSession, WebRTCWorker) -> Value
    ) async -> Value? {
        for _ in 0..<4 {
            guard let handle = self.directory.session(id: id) else { return nil }
            let worker = self.workers[handle.ownerIndex]
            let value = try? await worker.loop.submit { () -> Value? in
                guard let session = worker.session(handle) else { return nil }
                defer { worker.finishTurn(of: session) }
                return body(session, worker)
            }.get()
            if let value = value ?? nil { return value }
        }
        return nil
    }

    // MARK: Counting

    /// Sessions that live: those that wait for their clients included.
    package var sessions: Int { self.directory.count }

    /// What the sockets and workers of all loops have done.
    package func statistics() async -> WebRTCServerStatistics {
        var statistics = WebRTCServerStatistics()
        statistics.sessions = self.sessions
        for worker in self.workers {
            let counts = try? await worker.loop.submit { (worker.counters, worker.socketCounters) }.get()
            guard let (packets, sockets) = counts else { continue }
            statistics.receivedPackets += packets.packets
            statistics.unknownPackets += packets.strangers
            statistics.forwardedPackets += packets.forwarded
            statistics.movedSessions += packets.moved
            statistics.sentDatagrams += sockets.datagrams
            statistics.sentBytes += sockets.bytes
            statistics.sendCalls += sockets.calls
            statistics.delayedSends += sockets.delayed
            statistics.droppedSends += sockets.dropped
            statistics.failedSends += sockets.failed
        }
        return statistics
    }

    // MARK: Shutdown

    /// Ends all sessions, telling the clients, and closes the sockets. New sessions are refused from now on.
    package func shutdown() async {
        let isFirst = self.state.withLock { state in
            defer { state.isStopped = true }
            return !state.isStopped
        }
        guard isFirst else { return }
        self.directory.close()
        self.addresses.close()
        // A session that is on its way between two loops is met in the second round.
        for _ in 0..<3 where self.directory.count > 0 {
            for worker in self.workers {
                _ = try? await worker.loop.submit {
                    for session in worker.allSessions { session.end(.shutdown, "the node shuts down") }
                    worker.flushSockets()
                }.get()
            }
        }
        await self.closeSockets()
        for worker in self.workers {
            _ = try? await worker.loop.submit {
                worker.stop()
                worker.setPeers([])
            }.get()
        }
    }

    private func closeSockets() async {
        let channels = self.state.withLock { state in
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { try? await channel.close().get() }
    }
}

/// What a server has done since its start.
package struct WebRTCServerStatistics: Sendable, Hashable {
    package var sessions = 0
    package var receivedPackets: UInt64 = 0
    /// Packets from nobody who has a session.
    package var unknownPackets: UInt64 = 0
    /// Packets that came to another event loop than their session's.
    package var forwardedPackets: UInt64 = 0
    /// Players that moved to the loop that their packets come to.
    package var movedSessions: UInt64 = 0
    /// Over UDP.
    package var sentDatagrams: UInt64 = 0
    package var sentBytes: UInt64 = 0
    /// Calls of the kernel for them.
    package var sendCalls: UInt64 = 0
    /// Sends that waited for a full socket, those of them that were given up, and those that the kernel refused.
    package var delayedSends: UInt64 = 0
    package var droppedSends: UInt64 = 0
    package var failedSends: UInt64 = 0
}
