package import Logging
package import NIOCore
import NIOPosix
package import SRTAccess
package import StreamHub
import Synchronization

/// SRT: one port for all who publish and play, and calls to other servers.
///
/// Threads: the library's own; the poller's, which accepts, reads and closes; the workers', which give players their
/// packets and begin calls. Streams and gate are on the node's event loops as ever. Nothing of the library is called there,
/// because its locks may wait.
package final class SRTServer: Sendable {
    private struct State {
        var poller: SRTPoller?
        var listeners: [SRTSocket] = []
        var bound: [SocketAddress] = []
        var sessions: [SRTSocket: SRTSession] = [:]
        /// Who wants to know of the end of a session.
        var watchers: [SRTSocket: @Sendable (SRTSessionOutcome) -> Void] = [:]
        /// Connections that take streams elsewhere, which are no sessions.
        var pushes: [SRTSocket: PathStatistics] = [:]
        var isClosed = false
        var opened: UInt64 = 0
        var ended = SRTTotals()
    }

    let configuration: SRTServerConfiguration
    private let gate: any SessionGate
    let hub: StreamHub
    let logger: Logger
    private let group: any EventLoopGroup
    private let workers: MultiThreadedEventLoopGroup
    let audiences = SRTAudienceTable()
    private let state = Mutex(State())
    /// Lives as long as the listeners, which ask it.
    private let doorkeeper: SRTDoorkeeper
    private let room: SRTRoom

    /// - Parameter group: the node's event loops, for publishers.
    package init(
        group: any EventLoopGroup, configuration: SRTServerConfiguration, gate: any SessionGate, hub: StreamHub,
        logger: Logger
    ) {
        self.group = group
        self.configuration = configuration
        self.gate = gate
        self.hub = hub
        self.logger = logger
        self.workers = MultiThreadedEventLoopGroup(numberOfThreads: max(1, configuration.threads))
        let room = SRTRoom(maximum: configuration.maximumSessions)
        self.room = room
        self.doorkeeper = SRTDoorkeeper(configuration: configuration, logger: logger) { room.isFull }
    }

    /// Where peers are listened for; in the order of the settings.
    package var boundAddresses: [SocketAddress] { self.state.withLock { $0.bound } }

    // MARK: Life

    /// Starts the library, binds the listeners and takes peers.
    package func start() async throws {
        try SRTLibrary.start(logger: self.logger)
        let poller = try SRTPoller(on: self.workers.any())
        self.state.withLock { $0.poller = poller }
        do {
            for listener in self.configuration.listeners {
                try self.listen(listener, poller, acceptor: self, options: self.configuration.options)
            }
        } catch {
            await self.shutdown()
            throw error
        }
    }

    /// `asksDoorkeeper`: stream ids say what peers want.
    func listen(
        _ listener: SRTListenAddress, _ poller: SRTPoller, acceptor: any SRTAcceptor, options: SRTOptions,
        asksDoorkeeper: Bool = true
    ) throws {
        let address = try SocketAddress(ipAddress: listener.host, port: listener.port)
        var options = options
        if address.protocol == .inet6, options[.ipv6Only] == nil { try options.set(.ipv6Only, to: .integer(1)) }
        let socket = try SRTSocket.make(options)
        do {
            try socket.bind(address)
            try socket.listen(backlog: 1_024, doorkeeper: asksDoorkeeper ? self.doorkeeper : nil)
        } catch {
            socket.close()
            throw error
        }
        let bound = socket.localAddress ?? address
        self.state.withLock { state in
            state.listeners.append(socket)
            state.bound.append(bound)
        }
        poller.add(socket, as: .listener(acceptor))
    }

    /// Takes nobody any more, and ends all sessions at once: nodes that are drained told their viewers to leave before.
    package func shutdown() async {
        let (poller, listeners, sessions) = self.state.withLock { state in
            defer {
                state.isClosed = true
                state.poller = nil
                state.listeners = []
            }
            return (state.poller, state.listeners, Array(state.sessions.values))
        }
        if let poller {
            for listener in listeners { poller.close(listener) }
            for session in sessions { session.end(.shutdown, "the node is shutting down") }
            await poller.stop()
        }
        try? await self.workers.shutdownGracefully()
    }

    // MARK: Sessions

    /// What is known of all connections.
    package var sessions: [SRTSessionSnapshot] {
        self.state.withLock { Array($0.sessions.values) }.map { $0.snapshot }
    }

    /// Sums over all connections, those that are over included.
    package var totals: SRTTotals {
        let (ended, opened, sessions, pushes) = self.state.withLock { state in
            (state.ended, state.opened, Array(state.sessions.values), Array(state.pushes.values))
        }
        var totals = ended
        totals.opened = opened
        totals.open = sessions.count + pushes.count
        for session in sessions { totals.add(session.snapshot.statistics) }
        for push in pushes { totals.add(push) }
        totals.turnedAway = self.doorkeeper.counts
        return totals
    }

    private var context: SRTSessionContext? {
        guard let poller = self.state.withLock({ $0.poller }) else { return nil }
        let (group, workers) = (self.group, self.workers)
        return SRTSessionContext(
            configuration: self.configuration, gate: self.gate, poller: poller, audiences: self.audiences,
            logger: self.logger, nextLoop: { group.next() }, nextWorker: { workers.next() },
            onEnd: { [weak self] session, outcome in self?.ended(session, outcome) })
    }

    /// Makes a session of a socket. Returns `nil` if there is no room for it; the socket is closed then.
    ///
    /// On the poller's thread or a worker. `onEnd` is called once if there is a session.
    @discardableResult
    func open(
        _ socket: SRTSocket, _ request: SRTStreamID, _ settings: SRTStreamSettings, from address: SocketAddress?,
        calls: Bool = false, onEnd: (@Sendable (SRTSessionOutcome) -> Void)? = nil
    ) -> SRTSession? {
        guard let context = self.context, self.room.enter() else {
            socket.close()
            return nil
        }
        guard let account = self.configuration.sessions.open(address, transport: "srt") else {
            self.room.leave()
            socket.close()
            return nil
        }
        let session = SRTSession(
            socket: socket, request: request, account: account, settings: settings, calls: calls, context: context)
        let isOpen = self.state.withLock { state in
            guard !state.isClosed else { return false }
            state.sessions[socket] = session
            state.watchers[socket] = onEnd
            state.opened += 1
            return true
        }
        guard isOpen else {
            self.room.leave()
            self.configuration.sessions.close(account, .shutdown)
            socket.close()
            return nil
        }
        session.prepare()
        context.poller.add(socket, as: calls ? .caller(session) : .peer(session, isReading: false))
        if !calls { session.start() }
        return session
    }

    private func ended(_ session: SRTSession, _ outcome: SRTSessionOutcome) {
        let statistics = session.snapshot.statistics
        let watcher = self.state.withLock { state in
            state.sessions[session.socket] = nil
            state.ended.add(statistics)
            return state.watchers.removeValue(forKey: session.socket)
        }
        self.room.leave()
        watcher?(outcome)
    }

    // MARK: Connections that are no sessions

    func pushOpened(_ socket: SRTSocket) {
        self.state.withLock { state in
            state.pushes[socket] = PathStatistics()
            state.opened += 1
        }
    }

    func pushSampled(_ socket: SRTSocket, _ statistics: PathStatistics) {
        self.state.withLock { if $0.pushes[socket] != nil { $0.pushes[socket] = statistics } }
    }

    /// `statistics`: the last ones, if there are any since the last sample.
    func pushClosed(_ socket: SRTSocket, _ statistics: PathStatistics?) {
        self.state.withLock { state in
            guard let last = state.pushes.removeValue(forKey: socket) else { return }
            state.ended.add(statistics ?? last)
        }
    }
}

extension SRTServer: SRTAcceptor {
    func accepted(_ socket: SRTSocket, from address: SocketAddress?) {
        // The doorkeeper read it, or nobody would have been let in.
        guard let request = try? SRTStreamID(parsing: socket.streamID, defaults: self.configuration.streamIDs) else {
            return socket.close()
        }
        let settings = self.configuration.settings(of: request)
        self.open(socket, request, settings, from: address)
    }
}

// MARK: - Calls

extension SRTServer {
    /// Fetches a stream from another server and publishes it here as `request` says, once: the connection, and what
    /// it carries, is a session like others. `onOpen` is given it; `onEnd` tells of its end, or why it did not begin. Both
    /// are called on a worker or the poller's thread.
    ///
    /// `address`: the remote end, resolved.
    func pull(
        _ url: SRTURL, at address: SocketAddress, as request: SRTStreamID,
        onOpen: @escaping @Sendable (SRTSession) -> Void, onEnd: @escaping @Sendable (SRTSessionOutcome) -> Void
    ) {
        guard self.poller != nil else { return onEnd(SRTSessionOutcome(text: "the server is stopping")) }
        let options = self.configuration.callOptions(url)
        self.nextWorker.execute {
            var settings = self.configuration.settings(of: request)
            settings.options = options
            do {
                let socket = try Self.call(url, address, options)
                guard let session = self.open(socket, request, settings, from: address, calls: true, onEnd: onEnd)
                else { return onEnd(SRTSessionOutcome(text: "there is no room for the session")) }
                onOpen(session)
            } catch {
                onEnd(SRTSessionOutcome(text: "\(error)"))
            }
        }
    }

    /// A socket that connects as the URL says, with the given options. On a worker: the library's locks may wait.
    ///
    /// Errors: options that the library does not take, or an address that cannot be bound.
    static func call(_ url: SRTURL, _ address: SocketAddress, _ options: SRTOptions) throws -> SRTSocket {
        var options = options
        if options[.reuseAddress] == nil { try options.set(.reuseAddress, to: .flag(true)) }
        let socket = try SRTSocket.make(options)
        do {
            let wildcard = address.protocol == .inet6 ? "::" : "0.0.0.0"
            let local = try SocketAddress(
                ipAddress: url.localAddress ?? wildcard,
                port: url.localPort ?? (url.mode == .rendezvous ? url.port : 0))
            switch url.mode {
            case .rendezvous: try socket.rendezvous(address, from: local)
            case .caller, .listener:
                if url.localAddress != nil || url.localPort != nil { try socket.bind(local) }
                try socket.connect(address)
            }
        } catch {
            socket.close()
            throw error
        }
        return socket
    }

    /// The poller, while the server runs.
    var poller: SRTPoller? { self.state.withLock { $0.poller } }
    var nextWorker: any EventLoop { self.workers.next() }
    var nextLoop: any EventLoop { self.group.next() }
}

/// Counts the sessions that there may be.
final class SRTRoom: Sendable {
    private let maximum: Int
    private let count = Atomic<Int>(0)

    init(maximum: Int) { self.maximum = maximum }

    var isFull: Bool { self.count.load(ordering: .relaxed) >= self.maximum }

    func enter() -> Bool {
        guard self.count.wrappingAdd(1, ordering: .relaxed).newValue <= self.maximum else {
            self.leave()
            return false
        }
        return true
    }

    func leave() { self.count.wrappingSubtract(1, ordering: .relaxed) }
}

/// Sums over the connections of a server.
package struct SRTTotals: Sendable, Hashable {
    package var open = 0
    package var opened: UInt64 = 0
    package var sentPackets: Int64 = 0
    package var receivedPackets: Int64 = 0
    package var sendLoss: Int64 = 0
    package var receiveLoss: Int64 = 0
    package var retransmittedPackets: Int64 = 0
    package var sendDrops: Int64 = 0
    package var receiveDrops: Int64 = 0
    package var undecryptedPackets: Int64 = 0
    /// Peers whose handshake was refused, by reason.
    package var turnedAway: [SRTRejection: UInt64] = [:]

    package init() {}

    mutating func add(_ statistics: PathStatistics) {
        self.sentPackets += statistics.sentPackets
        self.receivedPackets += statistics.receivedPackets
        self.sendLoss += statistics.sendLoss
        self.receiveLoss += statistics.receiveLoss
        self.retransmittedPackets += statistics.retransmittedPackets
        self.sendDrops += statistics.sendDrops
        self.receiveDrops += statistics.receiveDrops
        self.undecryptedPackets += statistics.undecryptedPackets
    }
}
