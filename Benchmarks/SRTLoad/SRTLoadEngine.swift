import CSRT
import LoadSupport
import Polling

/// What one run does.
struct SRTLoadPlan {
    let server: SRTServerAddress
    let streamID: String
    var players = 100
    var passphrase: String?
    var latencyMillis: Int32 = 120
    /// UDP sockets that the players share.
    var sockets = 4
    /// Players opened in a second.
    var ramp = 50
    var warmupNanos: UInt64 = 3_000_000_000
    var windowNanos: UInt64 = 10_000_000_000
    var servers: [Int32] = []

    init(server: SRTServerAddress, streamID: String) {
        self.server = server
        self.streamID = streamID
    }
}

/// What a player counted in the window.
struct SRTPlayerTotals {
    var messages = 0
    var bytes = 0
    var continuityErrors = 0
    var damaged = 0
    // By the library's counters.
    var packets = 0
    var lost = 0
    var retransmitted = 0
    var dropped = 0
    var undecrypted = 0
    var acknowledgements = 0

    static func += (left: inout Self, right: Self) {
        left.messages += right.messages
        left.bytes += right.bytes
        left.continuityErrors += right.continuityErrors
        left.damaged += right.damaged
        left.packets += right.packets
        left.lost += right.lost
        left.retransmitted += right.retransmitted
        left.dropped += right.dropped
        left.undecrypted += right.undecrypted
        left.acknowledgements += right.acknowledgements
    }
}

/// One player and what it got.
final class SRTPlayer {
    let socket: SRTPlayerSocket
    private let opened: UInt64
    private var check = TransportStreamCheck()
    private var units: [TransportStreamCheck.Unit] = []
    private(set) var messages = 0
    private(set) var bytes = 0
    private(set) var lastData: UInt64 = 0
    /// From the call to the end of the first keyframe.
    private(set) var firstKeyframeMillis: Double?
    var isOver = false
    private var atWindowStart = SRTPlayerTotals()

    init(socket: SRTPlayerSocket, opened: UInt64) {
        self.socket = socket
        self.opened = opened
    }

    func received(_ bytes: Span<UInt8>, now: UInt64) {
        self.messages += 1
        self.bytes += bytes.count
        self.lastData = now
        self.check.read(bytes, units: &self.units)
        if self.firstKeyframeMillis == nil, self.units.contains(where: \.isKeyframe) {
            self.firstKeyframeMillis = Double(now - self.opened) / 1e6
        }
        self.units.removeAll(keepingCapacity: true)
    }

    func windowBegins() {
        self.atWindowStart = self.counted
        _ = self.socket.takeStatistics()
    }

    /// Since `windowBegins`.
    func windowTotals() -> SRTPlayerTotals {
        var totals = self.counted
        totals.messages -= self.atWindowStart.messages
        totals.bytes -= self.atWindowStart.bytes
        totals.continuityErrors -= self.atWindowStart.continuityErrors
        totals.damaged -= self.atWindowStart.damaged
        guard let sample = self.socket.takeStatistics() else { return totals }
        totals.packets = Int(sample.pktRecv)
        totals.lost = Int(sample.pktRcvLoss)
        totals.retransmitted = Int(sample.pktRcvRetrans)
        totals.dropped = Int(sample.pktRcvDrop)
        totals.undecrypted = Int(sample.pktRcvUndecrypt)
        totals.acknowledgements = Int(sample.pktSentACK)
        return totals
    }

    private var counted: SRTPlayerTotals {
        var totals = SRTPlayerTotals()
        totals.messages = self.messages
        totals.bytes = self.bytes
        totals.continuityErrors = self.check.continuityErrors
        totals.damaged = self.check.damaged
        return totals
    }
}

/// Runs the players in one thread around one wait of the library, which has threads of its own: one that receives for
/// each UDP socket, and one that delivers in time for each player. States: ramp → warm-up → window → done.
struct SRTLoadEngine {
    private static let maximumEvents = 512
    private static let waitMillis: Int64 = 10
    /// Messages that are read of one player before others get their turn.
    private static let maximumMessages = 64

    let plan: SRTLoadPlan
    private let epoll: CInt
    private var events = [SRT_EPOLL_EVENT](repeating: SRT_EPOLL_EVENT(), count: maximumEvents)
    private var players: [SRTPlayer] = []
    private var bySocket: [SRTSOCKET: SRTPlayer] = [:]
    private var ports: [UInt16] = []
    private var buffer = [UInt8](repeating: 0, count: 1_500)
    private var failures: [String: Int] = [:]

    init(plan: SRTLoadPlan) throws {
        guard srt_startup() >= 0 else { throw SRTFailure("srt_startup") }
        srt_setloglevel(2)  // LOG_CRIT: what goes wrong is told at the end.
        self.plan = plan
        self.epoll = srt_epoll_create()
        guard self.epoll >= 0 else { throw SRTFailure("srt_epoll_create") }
    }

    /// Runs to the end of the window.
    mutating func run() throws -> SRTLoadResult {
        let memoryBefore = SystemProbe.memory(of: self.plan.servers).resident
        let start = monotonicNanos()
        let nanosPerOpen = 1_000_000_000 / UInt64(self.plan.ramp)
        let windowStart = start + UInt64(self.plan.players) * nanosPerOpen + self.plan.warmupNanos
        while monotonicNanos() < windowStart || self.players.count < self.plan.players {
            let due = min(self.plan.players, Int((monotonicNanos() - start) / nanosPerOpen) + 1)
            while self.players.count < due { try self.open() }
            self.turn()
        }
        for player in self.players { player.windowBegins() }
        let before = SystemProbe(servers: self.plan.servers)
        while monotonicNanos() < before.taken + self.plan.windowNanos { self.turn() }
        let after = SystemProbe(servers: self.plan.servers)
        let totals = self.players.map { $0.windowTotals() }
        return SRTLoadResult(
            before: before, after: after, memoryBefore: memoryBefore,
            memoryAfter: SystemProbe.memory(of: self.plan.servers).resident, players: totals,
            playing: self.players.count { !$0.isOver && $0.lastData + 1_000_000_000 > after.taken },
            firstKeyframes: self.players.compactMap(\.firstKeyframeMillis), failures: self.failures)
    }

    private mutating func open() throws {
        let group = self.players.count % self.plan.sockets
        let isKnown = group < self.ports.count
        let socket = try SRTPlayerSocket(plan: self.plan, localPort: isKnown ? self.ports[group] : 0)
        if !isKnown { self.ports.append(socket.localPort) }
        let player = SRTPlayer(socket: socket, opened: monotonicNanos())
        self.players.append(player)
        self.bySocket[socket.id] = player
        var flags = CInt(bitPattern: SRT_EPOLL_IN.rawValue | SRT_EPOLL_ERR.rawValue)
        // Safety: the library reads one number.
        guard unsafe srt_epoll_add_usock(self.epoll, socket.id, &flags) >= 0 else {
            throw SRTFailure("srt_epoll_add_usock")
        }
        try socket.connect(self.plan.server)
    }

    private mutating func turn() {
        // Safety: the library fills at most as many events as there is room for.
        let count = unsafe self.events.withUnsafeMutableBufferPointer { events in
            unsafe srt_epoll_uwait(self.epoll, events.baseAddress, CInt(events.count), Self.waitMillis)
        }
        let now = monotonicNanos()
        for index in 0..<min(Self.maximumEvents, max(0, Int(count))) {
            guard let player = self.bySocket[self.events[index].fd] else { continue }
            self.read(player, now: now)
        }
    }

    private mutating func read(_ player: SRTPlayer, now: UInt64) {
        for _ in 0..<Self.maximumMessages {
            switch player.socket.receive(into: &self.buffer) {
            case .bytes(let count):
                player.received(self.buffer.span.extracting(0..<count), now: now)
            case .nothing:
                if player.socket.isOver { self.lose(player) }
                return
            case .lost:
                return self.lose(player)
            }
        }
    }

    private mutating func lose(_ player: SRTPlayer) {
        player.isOver = true
        let reason = player.bytes > 0 ? "the connection broke" : "not let in: \(player.socket.rejection)"
        self.failures[reason, default: 0] += 1
        srt_epoll_remove_usock(self.epoll, player.socket.id)
        self.bySocket[player.socket.id] = nil
    }
}

/// What a run measured, before it is turned into a report.
struct SRTLoadResult {
    let before: SystemProbe
    let after: SystemProbe
    let memoryBefore: Int
    let memoryAfter: Int
    let players: [SRTPlayerTotals]
    let playing: Int
    let firstKeyframes: [Double]
    let failures: [String: Int]
}
