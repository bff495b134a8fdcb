import NIOCore
import RTPSending
import StreamHub

/// The players of one stream on one event loop.
///
/// Gets each frame of the stream once, keeps what may be asked for again, and walks its players: for each, headers are
/// patched and packets encrypted into the socket's buffer, and all leave with as few calls as the kernel allows.
// Safety: touched on `loop` only; the stream's home loop passes the reference on.
final class RTPFanOutGroup: @unchecked Sendable {
    let worker: WebRTCWorker
    private let audience: RTPStreamAudience
    private var ring: RTPFrameRing
    private var status: RTPStreamStatus
    private var players: [PlayerMedia] = []
    private let writer = BurstWriter()
    private let inbox: RTPFrameInbox
    private var lag = RTPLagPolicy()
    /// When the stream was last told that a keyframe would help.
    private var keyframeNeededAt: NIODeadline?

    var loop: any EventLoop { self.worker.loop }

    /// `inboxBytes`: payload that may wait for the loop.
    init(
        worker: WebRTCWorker, audience: RTPStreamAudience, ring: RTPFrameRing, status: RTPStreamStatus, inboxBytes: Int
    ) {
        self.worker = worker
        self.inbox = RTPFrameInbox(maximumBytes: inboxBytes)
        self.audience = audience
        self.ring = ring
        self.status = status
    }

    // MARK: Players

    func add(_ player: PlayerMedia) {
        self.loop.assertInEventLoop()
        player.index = self.players.count
        self.players.append(player)
        guard player.join(self) else { return self.remove(player) }
        player.start(from: self.ring, status: self.status, writer: self.writer, now: .now())
    }

    func remove(_ player: PlayerMedia) {
        guard player.index >= 0 else { return }
        let last = self.players.count - 1
        let moved = self.players[last]
        self.players[player.index] = moved
        moved.index = player.index
        self.players.removeLast()
        player.index = -1
        let (audience, worker) = (self.audience, self.worker)
        audience.stream.home.execute { audience.playerLeft(on: worker) }
    }

    // MARK: The stream

    /// What came in one batch. `status`: what the stream consists of has changed. On the stream's home loop.
    func deliver(_ frames: [RTPFrame], status: RTPStreamStatus?) {
        if self.inbox.add(frames, status: status) { self.wake() }
    }

    /// Another source begins: what was kept of the old one is of no use. On the stream's home loop.
    func sourceChanged() {
        if self.inbox.sourceChanged() { self.wake() }
    }

    private func wake() {
        if self.loop.inEventLoop { self.takeIn() } else { self.loop.execute { self.takeIn() } }
    }

    /// Takes all that came since the loop last had the time.
    private func takeIn() {
        let news = self.inbox.take()
        if news.clearsRing { self.ring.removeAll() }
        self.receive(news.frames, status: news.status)
    }

    private func receive(_ frames: [RTPFrame], status: RTPStreamStatus?) {
        self.loop.assertInEventLoop()
        for frame in frames { self.ring.append(frame) }
        if let status {
            self.status = status
            // Whoever cannot go on ends, and leaves the list.
            for player in Array(self.players) { player.statusChanged(status) }
        }
        guard !frames.isEmpty, !self.players.isEmpty else { return }
        let now = NIODeadline.now()
        let late = self.lag.judge(frames, now: now)
        let live = frames[late.lateCount...]
        let (ring, writer) = (self.ring, self.writer)
        for player in self.players { player.send(live, after: late, ring: ring, writer: writer, now: now) }
        self.worker.flushSockets()
    }

    /// The stream is over. What is on its way to the players, or asked for again, has `grace` to arrive.
    func streamEnded(after grace: TimeAmount) {
        // Who joins within that time does so for a publisher that came back.
        let leaving = self.players
        self.loop.assumeIsolated().scheduleTask(in: grace) {
            for player in leaving where player.index >= 0 { player.end(.streamEnded, "the stream ended") }
            self.worker.flushSockets()
        }
    }

    /// A player cannot go on before the next keyframe, or has a long way to it. Those who say so together are one.
    func needsKeyframe() {
        let now = NIODeadline.now()
        if let last = self.keyframeNeededAt, now - last < .milliseconds(50) { return }
        self.keyframeNeededAt = now
        let stream = self.audience.stream
        stream.home.execute { stream.requestKeyframe() }
    }

    /// A player has a way to its client again.
    func resume(_ player: PlayerMedia) { player.resume(from: self.ring, writer: self.writer, now: .now()) }

    /// A player reported, or its deadline came.
    func serve(_ player: PlayerMedia, now: NIODeadline) {
        player.serve(ring: self.ring, writer: self.writer, now: now)
    }

    func receive(rtcp packet: ByteBuffer, from player: PlayerMedia, now: NIODeadline) {
        player.take(rtcp: packet, ring: self.ring, now: now)
    }
}
