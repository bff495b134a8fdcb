import Logging
import NIOCore
import STUN
import WebRTC

/// Everything of WebRTC on one event loop: its sockets, the sessions that live there, and their deadlines.
///
/// A session belongs to one worker. Packets come to whichever loop the kernel chose; those of others' sessions are handed
/// over in batches. A player that has not been heard of moves to the loop that its first packet came to.
// Safety: all state is touched on `loop` only; other loops pass the reference on.
final class WebRTCWorker: @unchecked Sendable {
    /// A packet on its way to the loop that has its session.
    private struct Parcel {
        var packet: ByteBuffer
        var path: PacketPath
        var link: StreamLink?
        var handle: SessionHandle
        /// The loop that the packet came to.
        var origin: Int
    }

    /// Deadlines that are this close are met together.
    private static let timerSlack = TimeAmount.milliseconds(1)
    /// The most packets that wait to be handed to one other loop.
    private static let maximumParcels = 4_096

    let index: Int
    let loop: any EventLoop
    let directory: SessionDirectory
    let logger: Logger
    /// All workers, by their places; set once before the first packet.
    private(set) var peers: [WebRTCWorker] = []
    /// By listener.
    private var sockets: [DatagramSocket?] = []
    private var localAddresses: [SocketAddress?] = []
    private var sessions: [UInt64: WebRTCSession] = [:]
    private var routes: [PathKey: WebRTCSession] = [:]
    /// Sessions that packets came for since the batch began.
    private var touched: [WebRTCSession] = []
    private var parcels: [Int: [Parcel]] = [:]
    private var deadlines = DeadlineQueue()
    private var timer: Scheduled<Void>?
    private var armedDeadline = NIODeadline.distantFuture
    private var batchTime: NIODeadline?
    private(set) var counters = WorkerCounters()

    init(index: Int, loop: any EventLoop, directory: SessionDirectory, logger: Logger) {
        self.index = index
        self.loop = loop
        self.directory = directory
        self.logger = logger
    }

    /// Before the first packet, on `loop`.
    func setPeers(_ peers: [WebRTCWorker]) { self.peers = peers }

    // MARK: Sockets

    func add(_ socket: DatagramSocket, listener: Int, address: SocketAddress?) {
        self.loop.assertInEventLoop()
        while self.sockets.count <= listener {
            self.sockets.append(nil)
            self.localAddresses.append(nil)
        }
        self.sockets[listener] = socket
        self.localAddresses[listener] = address
    }

    func socketClosed(listener: Int) {
        guard self.sockets.indices.contains(listener) else { return }
        self.sockets[listener]?.close()
        self.sockets[listener] = nil
    }

    func socket(listener: Int) -> DatagramSocket? {
        self.sockets.indices.contains(listener) ? self.sockets[listener] : nil
    }

    /// The path as ICE sees it; `nil` if its socket is gone. Allocates.
    func icePath(_ path: PacketPath) -> ICEPath? {
        switch path.transport {
        case .udp(let listener):
            guard self.localAddresses.indices.contains(listener), var local = self.localAddresses[listener] else {
                return nil
            }
            if let address = path.local, let port = local.port {
                local = address.socketAddress
                local.port = port
            }
            return ICEPath(transport: .udp, local: local, remote: path.remote.socketAddress)
        case .tcp:
            guard let local = path.local else { return nil }
            return ICEPath(transport: .tcp, local: local.socketAddress, remote: path.remote.socketAddress)
        }
    }

    /// Sends what sessions queued.
    func flushSockets() {
        for socket in self.sockets { socket?.flush() }
    }

    var socketCounters: DatagramCounters {
        self.sockets.reduce(into: DatagramCounters()) { sum, socket in
            if let socket { sum.add(socket.counters) }
        }
    }

    // MARK: Packets

    /// How well the sender of a packet is known.
    enum Acquaintance {
        case stranger
        /// It names a session, and has not proved yet that it may.
        case claimant
        /// It proved it.
        case peer
    }

    /// A packet came. `link`: the connection that it came by, if it was one.
    ///
    /// `batchEnded` has to follow.
    @discardableResult
    func received(_ packet: ByteBuffer, path: PacketPath, link: StreamLink?) -> Acquaintance {
        self.counters.packets += 1
        let named = self.namedSession(packet)
        if let session = self.routes[path.key] {
            guard let named, named !== session.handle else {
                self.hand(packet, path, link, to: session)
                return .peer
            }
            // A client begins anew from the port that it had. The old session keeps the path until the new one proves it.
            if self.directory.session(path: path.key) !== session.handle { self.routes[path.key] = nil }
        }
        let known = self.directory.session(path: path.key)
        guard let handle = named ?? known else {
            self.counters.strangers += 1
            return .stranger
        }
        let parcel = Parcel(packet: packet, path: path, link: link, handle: handle, origin: self.index)
        if handle.ownerIndex == self.index {
            self.accept(parcel)
        } else {
            self.forward(parcel)
        }
        return known === handle ? .peer : .claimant
    }

    /// The session that a connectivity check names.
    private func namedSession(_ packet: ByteBuffer) -> SessionHandle? {
        guard STUNMessage.isSTUN(packet), let name = STUNMessage.username(of: packet)?.receiver else { return nil }
        return self.directory.session(name: name)
    }

    private func hand(_ packet: ByteBuffer, _ path: PacketPath, _ link: StreamLink?, to session: WebRTCSession) {
        if !session.isTouched {
            session.isTouched = true
            self.touched.append(session)
        }
        session.receive(packet, path: path, link: link, now: self.now)
    }

    /// One time for all packets that are read together.
    private var now: NIODeadline {
        if let time = self.batchTime { return time }
        let time = NIODeadline.now()
        self.batchTime = time
        return time
    }

    private func forward(_ parcel: Parcel) {
        let owner = parcel.handle.ownerIndex
        guard self.peers.indices.contains(owner), owner != self.index else { return }
        self.counters.forwarded += 1
        guard self.parcels[owner]?.count ?? 0 < Self.maximumParcels else { return }
        self.parcels[owner, default: []].append(parcel)
    }

    /// A packet of a session that should be here.
    private func accept(_ parcel: Parcel) {
        guard let session = self.sessions[parcel.handle.number] else { return }
        if parcel.origin != self.index, self.peers.indices.contains(parcel.origin), session.mayMove {
            self.move(session, to: parcel.origin, parcel)
        } else {
            self.hand(parcel.packet, parcel.path, parcel.link, to: session)
        }
    }

    /// The packets that were read together are done: their sessions act, and everything leaves.
    func batchEnded() {
        let now = self.now
        self.batchTime = nil
        if !self.touched.isEmpty {
            // A session that acts may end others, which then ignore it.
            let touched = self.touched
            self.touched.removeAll(keepingCapacity: true)
            for session in touched {
                session.isTouched = false
                session.act(now: now)
                self.arm(session)
            }
        }
        for (owner, parcels) in self.parcels where !parcels.isEmpty {
            self.parcels[owner] = nil
            // None are left at the end of the server.
            guard self.peers.indices.contains(owner) else { continue }
            let peer = self.peers[owner]
            peer.loop.execute { peer.accept(parcels) }
        }
        self.flushSockets()
        self.armTimer()
    }

    private func accept(_ parcels: [Parcel]) {
        for parcel in parcels {
            if parcel.handle.ownerIndex == self.index {
                self.accept(parcel)
            } else {
                // It moved on meanwhile.
                self.forward(parcel)
            }
        }
        self.batchEnded()
    }

    func linkClosed(_ link: StreamLink) {
        guard let handle = self.directory.session(path: link.path.key),
            self.peers.indices.contains(handle.ownerIndex)
        else { return }
        self.peers[handle.ownerIndex].run { worker in
            guard let session = worker.sessions[handle.number] else { return }
            session.linkClosed(link, now: .now())
            worker.finishTurn(of: session)
        }
    }

    // MARK: Sessions

    /// Takes a session in. It is in the directory already, with this worker as its owner.
    func add(_ session: WebRTCSession) {
        self.loop.assertInEventLoop()
        self.sessions[session.handle.number] = session
        session.joined(self)
        self.arm(session)
        self.armTimer()
    }

    /// The session is over, and forgotten.
    func remove(_ session: WebRTCSession, names: [String], paths: [PathKey]) {
        guard self.sessions.removeValue(forKey: session.handle.number) != nil else { return }
        for path in paths where self.routes[path] === session { self.routes[path] = nil }
        self.directory.remove(session.handle, names: names, paths: paths)
    }

    /// Packets of `path` are the session's: a connectivity check proved it.
    func addRoute(_ path: PathKey, to session: WebRTCSession) {
        self.routes[path] = session
        self.directory.add(path: path, of: session.handle)
    }

    func removeRoute(_ path: PathKey, of session: WebRTCSession) {
        if self.routes[path] === session { self.routes[path] = nil }
        self.directory.remove(path: path, of: session.handle)
    }

    func session(_ handle: SessionHandle) -> WebRTCSession? { self.sessions[handle.number] }

    /// Calls `body` on the loop of the worker.
    func run(_ body: @escaping @Sendable (WebRTCWorker) -> Void) {
        if self.loop.inEventLoop { body(self) } else { self.loop.execute { body(self) } }
    }

    /// Something other than a packet made the session do something.
    func finishTurn(of session: WebRTCSession) {
        self.arm(session)
        self.flushSockets()
        self.armTimer()
    }

    /// The session may want to be woken sooner; sockets are flushed by others.
    func rearm(_ session: WebRTCSession) {
        self.arm(session)
        self.armTimer()
    }

    /// Gives a session that has no packets yet to the worker that its first packet came to.
    private func move(_ session: WebRTCSession, to target: Int, _ parcel: Parcel) {
        self.sessions[session.handle.number] = nil
        session.left(self)
        let peer = self.peers[target]
        session.handle.ownerIndex = target
        self.counters.moved += 1
        peer.loop.execute {
            peer.add(session)
            peer.accept([parcel])
        }
    }

    /// All sessions that are here now.
    var allSessions: [WebRTCSession] { Array(self.sessions.values) }

    // MARK: Deadlines

    /// Notes when the session wants to be woken, if that is sooner than was noted.
    private func arm(_ session: WebRTCSession, notBefore: NIODeadline = .uptimeNanoseconds(0)) {
        guard let wanted = session.nextDeadline else { return }
        let deadline = max(wanted, notBefore)
        guard deadline < session.armedDeadline else { return }
        session.armedDeadline = deadline
        session.armedGeneration &+= 1
        self.deadlines.insert(
            .init(deadline: deadline, session: session.handle.number, generation: session.armedGeneration))
        if self.deadlines.count > 4 * self.sessions.count + 256 { self.compactDeadlines() }
    }

    private func compactDeadlines() {
        let sessions = self.sessions
        self.deadlines.compact { sessions[$0.session]?.armedGeneration == $0.generation }
    }

    private func armTimer() {
        guard let first = self.deadlines.first, first < self.armedDeadline else { return }
        self.armedDeadline = first
        self.timer?.cancel()
        self.timer = self.loop.assumeIsolated().scheduleTask(deadline: first) { [weak self] in
            guard let self else { return }
            self.armedDeadline = .distantFuture
            self.timer = nil
            self.deadlinesReached()
        }
    }

    private func deadlinesReached() {
        let now = NIODeadline.now()
        var due: [WebRTCSession] = []
        while let entry = self.deadlines.popDue(now: now + Self.timerSlack) {
            guard let session = self.sessions[entry.session], session.armedGeneration == entry.generation else {
                continue
            }
            session.armedDeadline = .distantFuture
            due.append(session)
        }
        for session in due {
            // What is due within the slack is done now.
            session.deadlineReached(now: now + Self.timerSlack)
            // Who cannot do yet what is due, such as a player whose connection is full, does not keep the loop busy.
            self.arm(session, notBefore: now + 2 * Self.timerSlack)
        }
        self.flushSockets()
        self.armTimer()
    }

    /// No session is left, and none will come.
    func stop() {
        self.timer?.cancel()
        self.timer = nil
        self.deadlines = DeadlineQueue()
        self.parcels = [:]
    }

    /// Entries of deadlines; for tests.
    var deadlineCount: Int { self.deadlines.count }
    var isEmpty: Bool { self.sessions.isEmpty && self.routes.isEmpty }
}

/// What the worker of one loop has seen.
struct WorkerCounters: Sendable, Hashable {
    var packets: UInt64 = 0
    /// Packets from nobody who has a session.
    var strangers: UInt64 = 0
    /// Packets that another loop had to handle.
    var forwarded: UInt64 = 0
    /// Sessions that were given to the loop of their client's first packet.
    var moved: UInt64 = 0
}

extension DatagramCounters {
    mutating func add(_ other: DatagramCounters) {
        self.datagrams += other.datagrams
        self.bytes += other.bytes
        self.sends += other.sends
        self.calls += other.calls
        self.delayed += other.delayed
        self.dropped += other.dropped
        self.failed += other.failed
    }
}
