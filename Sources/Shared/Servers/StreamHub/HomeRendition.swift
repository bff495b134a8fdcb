import Media
import NIOCore
import Streaming

/// One rendition of a stream, on the stream's home loop: encodes, seals, and hands slabs to the groups.
final class HomeRendition {
    private struct Member {
        let group: FanOutGroup
        var viewers: Int
    }

    private let stream: LiveStream
    private var feed: RenditionFeed
    /// What a new group begins with.
    private var ring = SlabRing()
    private var members: [ObjectIdentifier: Member] = [:]
    private var pending: [Slab] = []
    private var timer: Scheduled<Void>?
    private var turn = 0
    /// Turns that still have something to send.
    private var turnsLeft = 0
    private(set) var viewerCount = 0
    private var lateness = FlushLateness()
    /// Where the stream gets its events from.
    var place = AudioPlace()

    var id: RenditionID { self.feed.id }

    init(stream: LiveStream, feed: RenditionFeed) {
        self.stream = stream
        self.feed = feed
    }

    // MARK: Events

    func append(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        if let sealed = self.feed.append(event, state: state, now: now) { self.keep(sealed) }
    }

    /// The events that arrived together were appended. `hasVideo`: one of them was a video frame.
    func batchEnded(hasVideo: Bool, now: NIODeadline) {
        let flush = self.id.flush
        if flush.slabInterval == nil, hasVideo || !flush.holdsAudio || !self.pending.isEmpty {
            self.sealAndDeliver(now: now)
        } else {
            self.armTimer()
        }
    }

    private func keep(_ slab: Slab) {
        self.ring.append(slab)
        self.ring.trim(
            keeping: self.ring.lastStart ?? self.ring.end, maximumBytes: self.stream.settings.gopCacheBytes)
        self.pending.append(slab)
    }

    private func sealAndDeliver(now: NIODeadline) {
        if let slab = self.feed.seal(now: now) { self.keep(slab) }
        let slabs = self.pending
        self.pending.removeAll(keepingCapacity: true)
        self.turnsLeft = slabs.isEmpty ? self.turnsLeft - 1 : self.id.flush.turns
        self.turn = (self.turn + 1) % self.id.flush.turns
        let turn = self.turn
        for member in self.members.values {
            let group = member.group
            if group.loop.inEventLoop {
                group.receive(slabs, turn: turn)
            } else {
                group.loop.execute { group.receive(slabs, turn: turn) }
            }
        }
    }

    private func armTimer() {
        guard self.timer == nil, self.feed.hasOpenBytes || !self.pending.isEmpty || self.turnsLeft > 0 else { return }
        let due = NIODeadline.now() + self.id.flush.sealWait
        self.timer = self.stream.home.assumeIsolated().scheduleTask(deadline: due) { [weak self] in
            guard let self else { return }
            let now = NIODeadline.now()
            self.timer = nil
            self.lateness.note(now - due, now: now)
            self.sealAndDeliver(now: now)
            if self.id.flush.slabInterval != nil { self.armTimer() }
        }
    }

    // MARK: Viewers

    func add(_ viewer: Viewer) {
        self.viewerCount += 1
        let loopID = ObjectIdentifier(viewer.loop)
        let group: FanOutGroup
        if let member = self.members[loopID] {
            group = member.group
            // A keyframe that waits for the next turn is where the viewer shall start; this happens once a keyframe.
            if self.feed.opensWithStart || self.pending.contains(where: \.isStart) {
                self.sealAndDeliver(now: .now())
            }
        } else {
            // The slabs that wait for the next turn would come to the new group twice.
            self.sealAndDeliver(now: .now())
            group = self.makeGroup(on: viewer.loop)
        }
        self.members[loopID] = Member(group: group, viewers: (self.members[loopID]?.viewers ?? 0) + 1)
        if group.loop.inEventLoop {
            group.add(viewer)
        } else {
            group.loop.execute { group.add(viewer) }
        }
        self.armTimer()
    }

    private func makeGroup(on loop: any EventLoop) -> FanOutGroup {
        let stream = self.stream
        let id = self.id
        return FanOutGroup(
            loop: loop, ring: self.ring, turns: id.flush.turns, policy: stream.settings.slowViewer,
            gopCacheBytes: stream.settings.gopCacheBytes
        ) {
            stream.viewerLeft(id, on: loop)
        } onSkip: { reason, closes in
            stream.viewerSkipped(reason, closes: closes)
        }
    }

    /// A viewer left its group.
    func viewerLeft(on loop: any EventLoop) {
        let loopID = ObjectIdentifier(loop)
        guard var member = self.members[loopID] else { return }
        self.viewerCount -= 1
        member.viewers -= 1
        self.members[loopID] = member.viewers > 0 ? member : nil
    }

    /// Tells all viewers that the stream is over.
    func end(_ reason: ViewerEnd) {
        self.sealAndDeliver(now: .now())
        self.eachGroup { $0.end(reason) }
    }

    /// The rendition is not used any more.
    func stop() {
        self.timer?.cancel()
        self.timer = nil
    }

    func eachGroup(_ body: @escaping @Sendable (FanOutGroup) -> Void) {
        for member in self.members.values {
            let group = member.group
            if group.loop.inEventLoop {
                body(group)
            } else {
                group.loop.execute { body(group) }
            }
        }
    }

    func snapshot(now: NIODeadline) -> RenditionSnapshot {
        RenditionSnapshot(
            id: self.id, viewers: self.viewerCount, slabs: Int(self.ring.end - self.ring.begin),
            bytes: self.ring.bytesBehind(self.ring.begin) ?? 0, flushLateness: self.lateness.value(now: now))
    }

    /// Bytes sent to the viewers, counted on their loops.
    func sentBytes() -> [EventLoopFuture<UInt64>] {
        self.members.values.map { member in
            let group = member.group
            return group.loop.submit { group.sentBytes }
        }
    }
}
