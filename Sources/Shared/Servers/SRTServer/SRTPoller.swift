import CSRT
import Glibc
import NIOCore
import NIOPosix
import SRTAccess
import StreamHub
import Synchronization

/// Is told what happens to a socket. All calls come from the poller's thread, and must not block it.
protocol SRTPeer: AnyObject, Sendable {
    /// The connection stands. Only for sockets that connect.
    func connected()
    /// Whole messages, in order.
    func received(_ bytes: ByteBuffer)
    /// Once a second or more often while the connection stands.
    func sampled(_ statistics: PathStatistics)
    /// The connection broke, or did not come about; what it still had was given out.
    func lost(_ loss: SRTLoss)
    /// The last of all calls, whoever ended it: the socket is closed. `statistics`: the figures at that moment; `nil` if
    /// there are none any more, because the connection had broken before.
    func closed(_ statistics: PathStatistics?)
}

/// Is given the peers that were let in, on the poller's thread.
protocol SRTAcceptor: AnyObject, Sendable {
    func accepted(_ socket: SRTSocket, from address: SocketAddress?)
}

enum SRTLoss: Sendable, Hashable {
    case rejected(SRTRejectReason)
    case broken
}

/// The thread that waits for all sockets of a server: it accepts, reads and closes them, and asks for their statistics.
///
/// The library's wait cannot be interrupted; it looks around each 10 ms by itself, which is when wishes of other threads
/// are heard, if nothing arrives before. It is also woken by every acknowledgement of every player, a hundred times a
/// second each; so where nobody publishes and no socket connects, the thread rests by itself instead.
final class SRTPoller: Sendable {
    /// What a socket is there for.
    enum Role: Sendable {
        case listener(any SRTAcceptor)
        /// `isReading`: messages are read; else they wait in the library's buffer.
        case peer(any SRTPeer, isReading: Bool)
        /// The socket connects, and is then a peer that is not read from.
        case caller(any SRTPeer)
    }

    private enum Wish: Sendable {
        case add(SRTSocket, Role)
        case setReading(SRTSocket, Bool)
        case close(SRTSocket)
        case stop
    }

    /// Sockets that one turn looks at, before the room grows with the sockets that are there.
    static let firstEvents = 256
    private static let wait: Int64 = 10
    private static let sampleInterval = TimeAmount.seconds(1)

    private let wishes = Mutex<[Wish]>([])
    private let epoll: CInt
    private let thread = NIOThreadPool(numberOfThreads: 1)
    private let over: EventLoopPromise<Void>

    /// Starts the thread. `loop` makes the promise of its end. `firstEvents`: the room that a turn begins with.
    init(on loop: any EventLoop, firstEvents: Int = SRTPoller.firstEvents) throws(SRTError) {
        precondition(firstEvents > 0, "a turn has room for \(firstEvents) sockets")
        let epoll = srt_epoll_create()
        guard epoll >= 0 else { throw SRTError.last(.epoll) }
        srt_epoll_set(epoll, CInt(SRT_EPOLL_ENABLE_EMPTY.rawValue))
        self.epoll = epoll
        self.over = loop.makePromise()
        self.thread.start()
        self.thread.submit { [self] state in
            guard case .active = state else { return self.over.succeed() }
            var turns = SRTPollerTurns(epoll: epoll, firstEvents: firstEvents)
            while true {
                let wishes = self.wishes.withLock { wishes in
                    defer { wishes.removeAll(keepingCapacity: true) }
                    return wishes
                }
                var isOver = false
                for wish in wishes {
                    switch wish {
                    case .add(let socket, let role): turns.add(socket, role)
                    case .setReading(let socket, let isReading): turns.setReading(socket, isReading)
                    case .close(let socket): turns.close(socket)
                    case .stop: isOver = true
                    }
                }
                if isOver { break }
                turns.turn(wait: Self.wait, sampleInterval: Self.sampleInterval)
            }
            turns.closeAll()
            srt_epoll_release(epoll)
            self.over.succeed()
        }
    }

    /// Watches a socket from now on. Any thread may call, this and the others.
    func add(_ socket: SRTSocket, as role: Role) { self.wish(.add(socket, role)) }
    func setReading(_ socket: SRTSocket, _ isReading: Bool) { self.wish(.setReading(socket, isReading)) }
    /// Forgets and closes a socket. Its peer is told that it is closed, and nothing else.
    func close(_ socket: SRTSocket) { self.wish(.close(socket)) }

    private func wish(_ wish: Wish) { self.wishes.withLock { $0.append(wish) } }

    /// Closes all sockets and ends the thread.
    func stop() async {
        self.wish(.stop)
        try? await self.over.futureResult.get()
        try? await self.thread.shutdownGracefully()
    }
}

/// What the poller's thread keeps. Only it touches this.
private struct SRTPollerTurns {
    private struct Entry {
        var role: SRTPoller.Role
        /// Whether `lost` may come: the socket stands, or stood.
        var isConnected: Bool
        /// It seemed to have failed to connect when it was looked at last.
        var seemsOver = false
        /// The connection broke, and what it has is read as it falls due, until then.
        var leavesAt: NIODeadline?
        var sampledAt = NIODeadline.uptimeNanoseconds(0)
    }

    /// Messages that are read of one socket before others get their turn.
    private static let maximumMessages = 64
    /// A socket that is read from is asked for its figures so often, because a connection that breaks tells none.
    private static let readSampleInterval = TimeAmount.milliseconds(100)
    /// How long a message may be late at the end.
    private static let lateness = TimeAmount.milliseconds(200)

    private let epoll: CInt
    private var entries: [SRTSocket: Entry] = [:]
    /// Those whose events cannot wait: they are read from, or connect.
    private var urgent: Set<SRTSocket> = []
    /// Sockets whose connections broke, and that have messages which are not due yet.
    private var leaving: Set<SRTSocket> = []
    private var events: [SRT_EPOLL_EVENT]
    private var lastSample = NIODeadline.now()

    init(epoll: CInt, firstEvents: Int) {
        self.epoll = epoll
        self.events = [SRT_EPOLL_EVENT](repeating: SRT_EPOLL_EVENT(), count: firstEvents)
    }

    // MARK: Sockets

    mutating func add(_ socket: SRTSocket, _ role: SRTPoller.Role) {
        var events: UInt32
        var isConnected = true
        switch role {
        case .listener: events = SRT_EPOLL_IN.rawValue
        case .peer(_, let isReading): events = isReading ? SRT_EPOLL_IN.rawValue : 0
        case .caller:
            events = SRT_EPOLL_OUT.rawValue
            isConnected = false
        }
        events |= SRT_EPOLL_ERR.rawValue
        var flags = CInt(bitPattern: events)
        self.keep(socket, Entry(role: role, isConnected: isConnected))
        // Safety: the library reads one number.
        guard unsafe srt_epoll_add_usock(self.epoll, socket.id, &flags) >= 0 else { return self.lose(socket) }
        // Of what happened before this moment the library tells nothing.
        switch role {
        case .listener(let acceptor):
            while let (peer, address) = socket.accept() { acceptor.accepted(peer, from: address) }
        case .peer: if socket.isOver { self.leave(socket, now: .now()) }
        case .caller: self.check(caller: socket)
        }
    }

    /// Whether a socket that connects has failed to, and its event is missed.
    ///
    /// For a moment before a connection stands the library shows it as broken, without a reason.
    private mutating func check(caller socket: SRTSocket) {
        guard socket.isOver else { return }
        if socket.rejection.code != 0 || self.entries[socket]?.seemsOver == true { return self.lose(socket) }
        self.entries[socket]?.seemsOver = true
    }

    /// `nil` forgets the socket.
    private mutating func keep(_ socket: SRTSocket, _ entry: Entry?) {
        self.entries[socket] = entry
        switch entry?.role {
        case .peer(_, isReading: true), .caller: self.urgent.insert(socket)
        case .peer, .listener, nil: self.urgent.remove(socket)
        }
    }

    mutating func setReading(_ socket: SRTSocket, _ isReading: Bool) {
        guard var entry = self.entries[socket], entry.leavesAt == nil, case .peer(let peer, _) = entry.role else {
            return
        }
        entry.role = .peer(peer, isReading: isReading)
        self.keep(socket, entry)
        self.watch(socket, isReading ? SRT_EPOLL_IN.rawValue : 0)
    }

    private mutating func watch(_ socket: SRTSocket, _ events: UInt32) {
        var flags = CInt(bitPattern: events | SRT_EPOLL_ERR.rawValue)
        // Safety: the library reads one number.
        if unsafe srt_epoll_update_usock(self.epoll, socket.id, &flags) < 0 { self.lose(socket) }
    }

    mutating func close(_ socket: SRTSocket) {
        guard let entry = self.entries[socket] else { return socket.close() }
        let statistics = self.forget(socket)
        entry.role.peer?.closed(statistics)
    }

    mutating func closeAll() {
        for socket in Array(self.entries.keys) { self.close(socket) }
    }

    /// Returns the last figures; a connection that broke has none.
    private mutating func forget(_ socket: SRTSocket) -> PathStatistics? {
        let statistics = socket.statistics()
        self.keep(socket, nil)
        self.leaving.remove(socket)
        srt_epoll_remove_usock(self.epoll, socket.id)
        socket.close()
        return statistics
    }

    private mutating func lose(_ socket: SRTSocket) {
        guard let entry = self.entries[socket] else { return }
        let loss: SRTLoss = entry.isConnected ? .broken : .rejected(socket.rejection)
        let statistics = self.forget(socket)
        entry.role.peer?.lost(loss)
        entry.role.peer?.closed(statistics)
    }

    // MARK: Turns

    mutating func turn(wait: Int64, sampleInterval: TimeAmount) {
        let isUrgent = !self.urgent.isEmpty
        // Safety: the library fills at most as many events as there is room for.
        let count = unsafe self.events.withUnsafeMutableBufferPointer { events in
            unsafe srt_epoll_uwait(self.epoll, events.baseAddress, CInt(events.count), isUrgent ? wait : 0)
        }
        if count <= 0, !isUrgent { usleep(useconds_t(wait * 1_000)) }
        // Where more sockets are ready than there is room for, the library answers with one more than that.
        let room = self.events.count
        for index in 0..<min(max(0, Int(count)), room) {
            let event = self.events[index]
            self.handle(SRTSocket(id: event.fd), UInt32(bitPattern: event.events))
        }
        if Int(count) > room {
            // The others would have to wait until none of these is ready.
            let wanted = max(room, min(room * 2, self.entries.count))
            self.events += [SRT_EPOLL_EVENT](repeating: SRT_EPOLL_EVENT(), count: wanted - room)
        }
        let now = NIODeadline.now()
        for socket in self.leaving { self.readLast(socket, now: now) }
        guard now - self.lastSample >= sampleInterval else { return }
        self.lastSample = now
        for (socket, entry) in self.entries where entry.leavesAt == nil {
            switch entry.role {
            case .listener: break
            case .caller: self.check(caller: socket)
            case .peer(let peer, _):
                if let statistics = socket.statistics() {
                    peer.sampled(statistics)
                } else if socket.isOver {
                    self.leave(socket, now: now)
                }
            }
        }
    }

    private mutating func handle(_ socket: SRTSocket, _ events: UInt32) {
        guard let entry = self.entries[socket] else {
            srt_epoll_remove_usock(self.epoll, socket.id)
            return
        }
        let isError = events & SRT_EPOLL_ERR.rawValue != 0
        switch entry.role {
        case .listener(let acceptor):
            // One for each event: the library logs a failure of each call that finds nobody.
            if let (peer, address) = socket.accept() { acceptor.accepted(peer, from: address) }
        case .caller(let peer):
            guard !isError, socket.isConnected else { return self.lose(socket) }
            self.keep(socket, Entry(role: .peer(peer, isReading: false), isConnected: true))
            self.watch(socket, 0)
            peer.connected()
        case .peer(let peer, let isReading):
            if socket.isOver || isError && !socket.isConnected { return self.leave(socket, now: .now()) }
            guard isReading else { return }
            if self.read(socket, for: peer) == .lost { return self.leave(socket, now: .now()) }
            self.sampleWhileRead(socket, entry, peer)
        }
    }

    private mutating func sampleWhileRead(_ socket: SRTSocket, _ entry: Entry, _ peer: any SRTPeer) {
        let now = NIODeadline.now()
        guard now - entry.sampledAt >= Self.readSampleInterval, let statistics = socket.statistics() else { return }
        self.entries[socket]?.sampledAt = now
        peer.sampled(statistics)
    }

    // MARK: Broken connections

    /// The other end closed, or is gone. What came before is read even where reading was held, and as it falls due: within
    /// the latency of the connection.
    private mutating func leave(_ socket: SRTSocket, now: NIODeadline) {
        guard var entry = self.entries[socket], entry.leavesAt == nil else { return }
        let latency = (try? socket.value(of: .receiveLatency)) ?? .integer(0)
        guard case .integer(let millis) = latency else { preconditionFailure("a latency is a number, got \(latency)") }
        entry.leavesAt = now + .milliseconds(Int64(millis)) + Self.lateness
        self.entries[socket] = entry
        // It would be told of in each turn.
        srt_epoll_remove_usock(self.epoll, socket.id)
        self.urgent.insert(socket)
        self.leaving.insert(socket)
        self.readLast(socket, now: now)
    }

    private mutating func readLast(_ socket: SRTSocket, now: NIODeadline) {
        guard let entry = self.entries[socket], let end = entry.leavesAt, let peer = entry.role.peer else {
            self.leaving.remove(socket)
            return
        }
        while self.read(socket, for: peer) == .more {}
        if socket.unreadPackets == 0 || now >= end { self.lose(socket) }
    }

    private enum Reading {
        /// There may be more.
        case more
        case nothing
        /// The connection broke, and nothing is due.
        case lost
    }

    /// Reads what is there.
    private func read(_ socket: SRTSocket, for peer: any SRTPeer) -> Reading {
        var bytes = ByteBuffer()
        defer { if bytes.readableBytes > 0 { peer.received(bytes) } }
        for _ in 0..<Self.maximumMessages {
            switch socket.receive(into: &bytes) {
            case .bytes: continue
            case .nothing: return .nothing
            case .lost: return .lost
            }
        }
        return .more
    }
}

extension SRTPoller.Role {
    fileprivate var peer: (any SRTPeer)? {
        switch self {
        case .listener: nil
        case .peer(let peer, _), .caller(let peer): peer
        }
    }
}
