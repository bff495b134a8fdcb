import NIOCore
import Streaming

/// The viewers of one rendition on one event loop.
///
/// The stream's home loop hands over each slab once; the group walks its viewers and writes the same bytes to each.
/// Everything here runs on `loop`. Steady state costs a viewer one `sendmsg` a turn, and no allocation.
// Safety: touched on `loop` only; the home loop passes the reference on.
final class FanOutGroup: @unchecked Sendable {
    /// What one viewer may have on its way through its channel.
    private static let maximumChannelBytes = 256 << 10

    let loop: any EventLoop
    private let policy: SlowViewerPolicy
    private let gopCacheBytes: Int
    private var ring: SlabRing
    private var turns: [[Viewer]]
    /// Where the viewers of a turn are if they keep up.
    private var turnPositions: [UInt64]
    /// The oldest position that a lagging viewer of a turn needs.
    private var laggingPositions: [UInt64?]
    private var nextTurn = 0
    private var writer = SocketWriter()
    /// Viewers that need more than the common write, handled after the walk.
    private var postponed: [Viewer] = []
    private var lastSentBytes: UInt64 = 0
    /// Room for the slabs of a turn in one piece. The writer points into it during a walk.
    private var joint = ByteBuffer()

    /// Called on `loop` for each viewer that leaves.
    private let onLeave: @Sendable () -> Void
    /// Called on `loop` for each skip of a slow viewer; `true`: it was one too many.
    private let onSkip: @Sendable (SkipReason, Bool) -> Void

    init(
        loop: any EventLoop, ring: SlabRing, turns: Int, policy: SlowViewerPolicy, gopCacheBytes: Int,
        onLeave: @escaping @Sendable () -> Void, onSkip: @escaping @Sendable (SkipReason, Bool) -> Void
    ) {
        self.loop = loop
        self.ring = ring
        self.policy = policy
        self.gopCacheBytes = gopCacheBytes
        self.turns = Array(repeating: [], count: turns)
        self.turnPositions = Array(repeating: ring.end, count: turns)
        self.laggingPositions = Array(repeating: nil, count: turns)
        self.onLeave = onLeave
        self.onSkip = onSkip
    }

    // MARK: Viewers

    /// Takes a viewer in and sends it what is cached since the last start point.
    func add(_ viewer: Viewer) {
        self.loop.assertInEventLoop()
        guard viewer.phase != .ended else { return self.onLeave() }
        viewer.join(self)
        viewer.turn = self.nextTurn
        viewer.index = self.turns[viewer.turn].count
        self.turns[viewer.turn].append(viewer)
        self.nextTurn = (self.nextTurn + 1) % self.turns.count
        self.start(viewer)
    }

    func remove(_ viewer: Viewer) {
        guard viewer.index >= 0 else { return }
        let last = self.turns[viewer.turn].count - 1
        let moved = self.turns[viewer.turn][last]
        self.turns[viewer.turn][viewer.index] = moved
        moved.index = viewer.index
        self.turns[viewer.turn].removeLast()
        viewer.index = -1
        self.lastSentBytes += viewer.sentBytes
        self.onLeave()
    }

    /// A paused viewer continues.
    func restart(_ viewer: Viewer) {
        guard viewer.phase != .ended else { return }
        viewer.phase = .waiting
        self.start(viewer)
    }

    /// Puts a viewer at the last start point, or lets it wait for the next.
    private func start(_ viewer: Viewer) {
        viewer.offset = 0
        viewer.needsPrelude = true
        guard !viewer.isPaused, let start = self.ring.lastStart, let bytes = self.ring.bytesBehind(start),
            bytes <= self.gopCacheBytes
        else {
            viewer.phase = .waiting
            return
        }
        self.place(viewer, at: start)
        self.pump(viewer)
        self.noteLag(of: viewer)
    }

    /// Puts a viewer at a start point and gives it time to take what is cached behind it.
    private func place(_ viewer: Viewer, at start: UInt64) {
        viewer.position = start
        viewer.offset = 0
        viewer.phase = .following
        viewer.catchUpEnd = self.ring.end
        viewer.catchUpDeadline = .now() + self.policy.maximumAge
    }

    /// Keeps what a viewer that is behind still needs.
    private func noteLag(of viewer: Viewer) {
        guard viewer.phase == .following, viewer.position < self.ring.end else { return }
        let oldest = self.laggingPositions[viewer.turn] ?? viewer.position
        self.laggingPositions[viewer.turn] = min(oldest, viewer.position)
    }

    /// The channel has written everything that it was given.
    func becameIdle(_ viewer: Viewer) {
        guard viewer.phase == .following else { return }
        self.pump(viewer)
    }

    /// The stream is over. Viewers whose turn has not come get the last slabs first.
    func end(_ reason: ViewerEnd) {
        for viewer in self.turns.joined() {
            self.becameIdle(viewer)
            viewer.end(reason)
        }
    }

    /// Bytes that were sent to viewers that are here or have been.
    var sentBytes: UInt64 {
        self.turns.joined().reduce(self.lastSentBytes) { $0 + $1.sentBytes }
    }

    // MARK: Fan-out

    /// Takes what the home loop sealed and serves the viewers whose turn it is.
    func receive(_ slabs: [Slab], turn: Int) {
        self.loop.assertInEventLoop()
        for slab in slabs { self.ring.append(slab) }
        if let start = slabs.first(where: \.isStart) { self.startWaiting(at: start.sequence) }
        self.serve(turn: turn % self.turns.count)
        self.trim()
    }

    /// Viewers that wait get all that came since `start`.
    private func startWaiting(at start: UInt64) {
        for viewers in self.turns {
            for viewer in viewers where viewer.phase == .waiting && !viewer.isPaused {
                self.place(viewer, at: start)
                self.postponed.append(viewer)
            }
        }
        self.pumpPostponed()
    }

    private func serve(turn: Int) {
        let from = self.turnPositions[turn]
        let to = self.ring.end
        self.turnPositions[turn] = to
        let isPlain = to > from && to - from <= UInt64(SocketWriter.maximumParts) && self.ring.contains(from)
        self.writer.removeAll()
        if isPlain, !self.turns[turn].isEmpty { self.writer.append(self.joined(from..<to), from: 0) }
        let total = self.writer.total
        for viewer in self.turns[turn] {
            guard
                total > 0, viewer.position == from, viewer.phase == .following, viewer.outstandingWrites == 0,
                viewer.descriptor >= 0, !viewer.needsPrelude
            else {
                if viewer.phase == .following { self.postponed.append(viewer) }
                continue
            }
            switch self.writer.write(to: viewer.descriptor) {
            case .wrote(total):
                viewer.position = to
                viewer.wroteDirectly(total)
            case .wrote(let count):
                self.advance(viewer, by: count)
                self.postponed.append(viewer)
            case .failed:
                // The general path meets the same error and ends the viewer.
                self.postponed.append(viewer)
            }
        }
        self.laggingPositions[turn] = nil
        self.pumpPostponed()
    }

    /// The bytes of some slabs in one piece: cheaper for the kernel to take a thousand times than several pieces.
    private func joined(_ positions: Range<UInt64>) -> ByteBuffer {
        guard positions.count > 1 else { return self.ring[positions.lowerBound].bytes }
        self.joint.clear()
        for position in positions { self.joint.writeImmutableBuffer(self.ring[position].bytes) }
        return self.joint
    }

    private func pumpPostponed() {
        guard !self.postponed.isEmpty else { return }
        var viewers: [Viewer] = []
        swap(&viewers, &self.postponed)
        for viewer in viewers where viewer.phase == .following {
            if viewer.isIdle { self.pump(viewer) } else { self.checkBudget(viewer) }
            self.noteLag(of: viewer)
        }
        viewers.removeAll(keepingCapacity: true)
        if self.postponed.isEmpty { swap(&viewers, &self.postponed) }
    }

    /// Brings an idle viewer as near to the end as its socket allows.
    private func pump(_ viewer: Viewer) {
        while viewer.phase == .following, viewer.isIdle, viewer.position < self.ring.end {
            self.checkBudget(viewer)
            guard viewer.phase == .following, viewer.position < self.ring.end else { return }
            self.queuePrelude(viewer)
            // What was queued on the channel must not be overtaken.
            if viewer.writesDirectly, !viewer.hasQueuedBytes {
                self.writeDirectly(viewer)
            } else {
                self.writeToChannel(viewer)
            }
        }
    }

    private func queuePrelude(_ viewer: Viewer) {
        guard viewer.needsPrelude else { return }
        viewer.needsPrelude = false
        guard let start = self.ring[viewer.position].start else { return }
        if viewer.needsHeader {
            viewer.needsHeader = false
            viewer.write(start.header)
        }
        viewer.write(start.prelude)
    }

    private func writeDirectly(_ viewer: Viewer) {
        self.writer.removeAll()
        self.writer.append(self.ring[viewer.position].bytes, from: viewer.offset)
        var position = viewer.position + 1
        while position < self.ring.end, !self.writer.isFull, self.writer.total < Self.maximumChannelBytes {
            self.writer.append(self.ring[position].bytes, from: 0)
            position += 1
        }
        let total = self.writer.total
        switch self.writer.write(to: viewer.descriptor) {
        case .failed(let error):
            viewer.end(.socketFailed(errno: error))
        case .wrote(let count):
            self.advance(viewer, by: count)
            // The channel waits until the socket takes more.
            if count < total { self.writeToChannel(viewer) }
        }
    }

    private func writeToChannel(_ viewer: Viewer) {
        var budget = Self.maximumChannelBytes
        while viewer.position < self.ring.end, budget > 0 {
            var bytes = self.ring[viewer.position].bytes
            bytes.moveReaderIndex(forwardBy: viewer.offset)
            budget -= bytes.readableBytes
            viewer.write(bytes)
            viewer.position += 1
            viewer.offset = 0
        }
        viewer.flush()
    }

    /// Moves a viewer over bytes that its socket took.
    private func advance(_ viewer: Viewer, by count: Int) {
        viewer.wroteDirectly(count)
        var rest = viewer.offset + count
        while viewer.position < self.ring.end {
            let length = self.ring[viewer.position].bytes.readableBytes
            guard rest >= length else { break }
            rest -= length
            viewer.position += 1
        }
        viewer.offset = rest
    }

    // MARK: Slow viewers

    /// Lets a viewer that is over its budget skip to a start point, or ends it if it did so too often.
    private func checkBudget(_ viewer: Viewer) {
        let now = NIODeadline.now()
        if viewer.position < viewer.catchUpEnd, now < viewer.catchUpDeadline, self.ring.contains(viewer.position) {
            return
        }
        guard viewer.offset == 0, let reason = self.policy.excess(of: viewer.position, in: self.ring, now: now) else {
            return
        }
        let isOneTooMany = viewer.skips.skipped(now: now, policy: self.policy)
        self.onSkip(reason, isOneTooMany)
        if isOneTooMany { return viewer.end(.tooSlow(reason)) }
        viewer.needsPrelude = true
        if let start = self.ring.lastStart, start > viewer.position {
            self.place(viewer, at: start)
        } else {
            viewer.position = self.ring.end
            viewer.phase = .waiting
        }
    }

    private func trim() {
        var keep = self.ring.lastStart ?? self.ring.end
        for position in self.turnPositions { keep = min(keep, position) }
        for case .some(let position) in self.laggingPositions { keep = min(keep, position) }
        self.ring.trim(keeping: keep, maximumBytes: self.gopCacheBytes + self.policy.maximumBytes)
    }
}
