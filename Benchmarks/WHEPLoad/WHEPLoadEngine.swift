import Polling
import SecureRTP

/// What one run does.
struct WHEPLoadPlan {
    var sessions = 0
    /// Sessions opened in a second.
    var ramp = 50
    var warmupNanos: UInt64 = 5_000_000_000
    var windowNanos: UInt64 = 20_000_000_000
    /// How many sessions are decrypted and put together to the end instead of counted.
    var sampled = 15
    /// How often a session that plays is read.
    var drainNanos: UInt64 = 20_000_000
    var servers: [Int32] = []
}

/// Runs all viewers in one thread around one epoll set.
///
/// A viewer is read whenever something comes until its first keyframe is whole. Then its socket leaves the set and is
/// emptied every `drainNanos`, so that many sessions cost few calls; when packets came, the kernel has noted.
/// States: ramp → warm-up → window → done.
struct WHEPLoadEngine: ~Copyable {
    private static let tickMillis: Int32 = 5

    private let plan: WHEPLoadPlan
    private let common: Viewer.Common
    private var poller: Poller
    private var viewers: [Viewer] = []
    /// Those whose sockets are emptied in turn.
    private var drained: [Viewer] = []
    private var drainCursor = 0
    private var lastDrain: UInt64 = 0
    private var lastTick: UInt64 = 0
    private var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    private let room = DatagramRoom()

    init(plan: WHEPLoadPlan, common: Viewer.Common) throws(SystemError) {
        self.plan = plan
        self.common = common
        self.poller = try Poller()
    }

    /// Runs to the end of the window, and ends all sessions.
    mutating func run() throws(SystemError) -> WHEPLoadResult {
        let memoryBefore = SystemProbe.residentBytes(of: self.plan.servers)
        let start = monotonicNanos()
        let nanosPerOpen = 1_000_000_000 / UInt64(self.plan.ramp)
        let windowStart = start + UInt64(self.plan.sessions) * nanosPerOpen + self.plan.warmupNanos
        while monotonicNanos() < windowStart {
            let due = min(self.plan.sessions, Int((monotonicNanos() - start) / nanosPerOpen) + 1)
            while self.viewers.count < due { try self.open() }
            try self.turn()
        }
        let totalsBefore = self.totals
        let before = SystemProbe(servers: self.plan.servers)
        while monotonicNanos() < before.taken + self.plan.windowNanos { try self.turn() }
        let after = SystemProbe(servers: self.plan.servers)
        let memoryAfter = SystemProbe.residentBytes(of: self.plan.servers)
        let received = self.totals.since(totalsBefore)
        let silent = self.viewers.filter {
            $0.phase != .playing || $0.lastPacket + 1_000_000_000 < after.taken
        }
        for viewer in self.viewers { viewer.close() }
        return WHEPLoadResult(
            before: before, after: after, memoryBefore: memoryBefore, memoryAfter: memoryAfter, received: received,
            silent: silent, viewers: self.viewers, receiveCalls: self.room.calls, receivedMessages: self.room.messages
        )
    }

    private var totals: ReceivedTotals {
        var totals = ReceivedTotals()
        for viewer in self.viewers { totals += viewer.totals }
        return totals
    }

    private mutating func open() throws(SystemError) {
        let number = self.viewers.count
        // Spread evenly, so that the sample is not only those who came first.
        let isSampled =
            number * self.plan.sampled / self.plan.sessions != (number + 1) * self.plan.sampled / self.plan.sessions
        let viewer = try Viewer(self.common, isSampled: isSampled, now: monotonicNanos())
        self.viewers.append(viewer)
        if let stream = viewer.stream { try self.poller.add(stream.descriptor, token: number * 2, writable: true) }
    }

    private mutating func turn() throws(SystemError) {
        let count = self.poller.wait(timeoutMillis: Self.tickMillis)
        for index in 0..<count {
            let event = self.poller.event(at: index)
            let viewer = self.viewers[event.token / 2]
            guard viewer.phase != .ended else { continue }
            if event.token % 2 == 0 {
                try self.streamEvent(event, viewer)
            } else {
                self.read(viewer, now: monotonicNanos())
                guard viewer.milestones.firstKeyframe != nil, let socket = viewer.datagrams else { continue }
                self.poller.remove(socket.descriptor)
                self.drained.append(viewer)
            }
        }
        let now = monotonicNanos()
        self.drain(now: now)
        guard now >= self.lastTick + UInt64(Self.tickMillis) * 1_000_000 else { return }
        self.lastTick = now
        let wallMicros = wallClockMicros()
        for viewer in self.viewers { viewer.tick(now: now, wallMicros: wallMicros) }
    }

    private mutating func streamEvent(_ event: Poller.Event, _ viewer: Viewer) throws(SystemError) {
        guard let stream = viewer.stream else { return }
        if event.writable, viewer.phase == .connecting {
            viewer.connected()
            if viewer.phase == .requesting {
                try self.poller.modify(stream.descriptor, token: event.token, writable: false)
            }
        }
        guard event.readable else { return }
        if viewer.readResponse(into: &self.buffer, now: monotonicNanos()), let socket = viewer.datagrams {
            try self.poller.add(socket.descriptor, token: event.token + 1, writable: false)
        }
    }

    private func read(_ viewer: Viewer, now: UInt64) {
        guard let socket = viewer.datagrams else { return }
        let error = unsafe self.room.receive(from: socket) { datagram, micros in
            unsafe viewer.receive(datagram, micros: micros, now: now)
        }
        if let error { viewer.end("the socket failed with error \(error)") }
    }

    /// Empties the sockets of as many viewers as are due since the last call, in turn.
    private mutating func drain(now: UInt64) {
        defer { self.lastDrain = now }
        guard !self.drained.isEmpty else { return }
        let elapsed = min(now - self.lastDrain, self.plan.drainNanos)
        let share = Double(elapsed) / Double(self.plan.drainNanos)
        for _ in 0..<Int((Double(self.drained.count) * share).rounded(.up)) {
            self.drainCursor = self.drainCursor + 1 < self.drained.count ? self.drainCursor + 1 : 0
            let viewer = self.drained[self.drainCursor]
            if viewer.phase == .playing { self.read(viewer, now: now) }
        }
    }
}

/// What a run measured, before it is turned into a report.
struct WHEPLoadResult {
    let before: SystemProbe
    let after: SystemProbe
    let memoryBefore: Int
    let memoryAfter: Int
    /// Of all viewers in the window.
    let received: ReceivedTotals
    /// Those that received nothing in the last second.
    let silent: [Viewer]
    let viewers: [Viewer]
    let receiveCalls: Int
    let receivedMessages: Int
}
