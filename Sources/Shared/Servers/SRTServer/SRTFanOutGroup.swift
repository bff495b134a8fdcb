import NIOCore
import SRTAccess
import StreamHub
import Streaming

/// The players of one stream on one worker.
///
/// The stream's home loop hands over slabs in batches; the group walks its players and gives the library the same bytes
/// for each, cut into messages.
// Safety: touched on `loop` only; the home loop passes the reference on.
final class SRTFanOutGroup: @unchecked Sendable {
    /// How soon a player whose buffer was full is looked at again, if nothing new comes before.
    private static let retryPause = TimeAmount.milliseconds(10)

    struct Limits: Sendable {
        var gopCacheBytes: Int
        var slowViewer: SlowViewerPolicy
    }

    let loop: any EventLoop
    private let limits: Limits
    private var ring: SlabRing
    private var players: [SRTPlayer] = []
    private var retry: Scheduled<Void>?
    /// Called for each player that leaves.
    private let onLeave: @Sendable () -> Void

    init(loop: any EventLoop, ring: SlabRing, limits: Limits, onLeave: @escaping @Sendable () -> Void) {
        self.loop = loop
        self.ring = ring
        self.limits = limits
        self.onLeave = onLeave
    }

    // MARK: Players

    /// Takes a player in, and gives it what is cached since the last start point.
    func add(_ player: SRTPlayer) {
        self.loop.assertInEventLoop()
        guard player.phase != .ended else { return self.onLeave() }
        player.join(self)
        player.index = self.players.count
        self.players.append(player)
        if let start = self.ring.lastStart, let bytes = self.ring.bytesBehind(start), bytes <= self.limits.gopCacheBytes
        {
            self.place(player, at: start)
            self.pump(player)
        }
        self.armRetry()
    }

    func remove(_ player: SRTPlayer) {
        guard player.index >= 0 else { return }
        let last = self.players.count - 1
        let moved = self.players[last]
        self.players[player.index] = moved
        moved.index = player.index
        self.players.removeLast()
        player.index = -1
        self.onLeave()
    }

    /// Puts a player at a start point and gives it time to take what is cached behind it.
    private func place(_ player: SRTPlayer, at start: UInt64) {
        player.position = start
        player.offset = 0
        player.needsPrelude = true
        player.prelude.clear()
        player.phase = .following
        player.catchUpEnd = self.ring.end
        player.catchUpDeadline = .now() + self.limits.slowViewer.maximumAge
    }

    // MARK: The stream

    /// What the home loop sealed. `restarts`: it has nothing to do with what came before, as far as decoders know.
    func receive(_ slabs: [Slab], restarts: Bool) {
        self.loop.assertInEventLoop()
        if restarts {
            for player in self.players where player.phase == .following { self.wait(player) }
            self.ring.trim(keeping: self.ring.end, maximumBytes: 0)
        }
        for slab in slabs { self.ring.append(slab) }
        if let start = slabs.first(where: \.isStart) {
            for player in self.players where player.phase == .waiting { self.place(player, at: start.sequence) }
        }
        self.pumpAll()
        self.trim()
    }

    /// The stream is over: players get what was sealed before.
    func end(_ reason: ViewerEnd) {
        for player in Array(self.players) {
            self.pump(player)
            player.end(reason)
        }
    }

    // MARK: Sending

    private func pumpAll() {
        // Whoever leaves takes another's place in the list.
        var index = self.players.count
        while index > 0 {
            index -= 1
            guard index < self.players.count else { continue }
            self.pump(self.players[index])
        }
        self.armRetry()
    }

    private func armRetry() {
        let isNeeded = self.players.contains { $0.phase == .following && $0.position < self.ring.end }
        guard isNeeded, self.retry == nil else { return }
        self.retry = self.loop.assumeIsolated().scheduleTask(in: Self.retryPause) {
            self.retry = nil
            self.pumpAll()
        }
    }

    /// Gives the library as much of the stream as it takes.
    private func pump(_ player: SRTPlayer) {
        while player.phase == .following {
            if player.prelude.readableBytes > 0 {
                let count = player.prelude.readableBytes
                let taken = self.give(player.prelude, from: 0, to: player)
                player.prelude.moveReaderIndex(forwardBy: taken)
                if taken < count { return self.checkBudget(player) }
            }
            guard player.position < self.ring.end else { return }
            guard self.ring.contains(player.position) else { return self.checkBudget(player) }
            let slab = self.ring[player.position]
            if player.needsPrelude {
                player.needsPrelude = false
                guard let start = slab.start else { continue }
                player.prelude.writeImmutableBuffer(start.header)
                player.prelude.writeImmutableBuffer(start.prelude)
                continue
            }
            let taken = self.give(slab.bytes, from: player.offset, to: player)
            player.offset += taken
            if player.offset < slab.bytes.readableBytes { return self.checkBudget(player) }
            player.position += 1
            player.offset = 0
        }
    }

    /// Cuts bytes into messages. Returns how many the library took. Ends a player that is lost.
    private func give(_ bytes: ByteBuffer, from offset: Int, to player: SRTPlayer) -> Int {
        let socket = player.socket
        let messageBytes = player.messageBytes
        var isLost = false
        let taken = unsafe bytes.withUnsafeReadableBytes { bytes in
            var position = offset
            while position < bytes.count {
                let end = min(position + messageBytes, bytes.count)
                switch unsafe socket.send(UnsafeRawBufferPointer(rebasing: bytes[position..<end])) {
                case .sent: position = end
                case .full: return position - offset
                case .lost:
                    isLost = true
                    return position - offset
                }
            }
            return position - offset
        }
        player.sent(taken)
        if isLost { player.end(.socketFailed(errno: 0)) }
        return taken
    }

    // MARK: Slow players

    /// The library dropped messages because the player did not get them in time: the picture is broken until the next
    /// keyframe, so it goes on there.
    func noteDrops(_ drops: Int64, of player: SRTPlayer) {
        guard player.noteDrops(drops), player.phase == .following else { return }
        self.skip(player, .age, now: .now())
    }

    /// Lets a player whose buffer is full skip to a start point if it is over its budget.
    private func checkBudget(_ player: SRTPlayer) {
        guard player.phase == .following else { return }
        let now = NIODeadline.now()
        if player.position < player.catchUpEnd, now < player.catchUpDeadline, self.ring.contains(player.position) {
            return
        }
        guard let reason = self.limits.slowViewer.excess(of: player.position, in: self.ring, now: now) else { return }
        self.skip(player, reason, now: now)
    }

    private func skip(_ player: SRTPlayer, _ reason: SkipReason, now: NIODeadline) {
        guard !player.skips.skipped(now: now, policy: self.limits.slowViewer) else {
            return player.end(.tooSlow(reason))
        }
        if let start = self.ring.lastStart, start > player.position {
            self.place(player, at: start)
        } else {
            self.wait(player)
        }
    }

    private func wait(_ player: SRTPlayer) {
        player.phase = .waiting
        player.position = self.ring.end
        player.offset = 0
        player.needsPrelude = true
        player.prelude.clear()
    }

    private func trim() {
        var keep = self.ring.lastStart ?? self.ring.end
        for player in self.players where player.phase == .following { keep = min(keep, player.position) }
        self.ring.trim(
            keeping: keep, maximumBytes: self.limits.gopCacheBytes + self.limits.slowViewer.maximumBytes)
    }
}
