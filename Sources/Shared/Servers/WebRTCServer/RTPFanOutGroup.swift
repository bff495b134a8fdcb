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

    var loop: any EventLoop { self.worker.loop }

    init(worker: WebRTCWorker, audience: RTPStreamAudience, ring: RTPFrameRing, status: RTPStreamStatus) {
        self.worker = worker
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

    /// What came in one batch. `status`: what the stream consists of has changed.
    func receive(_ frames: [RTPFrame], status: RTPStreamStatus?) {
        self.loop.assertInEventLoop()
        for frame in frames { self.ring.append(frame) }
        if let status {
            self.status = status
            // Whoever cannot go on ends, and leaves the list.
            for player in Array(self.players) { player.statusChanged(status) }
        }
        guard !frames.isEmpty, !self.players.isEmpty else { return }
        let now = NIODeadline.now()
        let (ring, writer) = (self.ring, self.writer)
        for player in self.players { player.send(frames, ring: ring, writer: writer, now: now) }
        self.worker.flushSockets()
    }

    /// Another source begins: what was kept of the old one is of no use.
    func sourceChanged() { self.ring.removeAll() }

    /// The stream is over. What is on its way to the players, or asked for again, has `grace` to arrive.
    func streamEnded(after grace: TimeAmount) {
        // Who joins within that time does so for a publisher that came back.
        let leaving = self.players
        self.loop.assumeIsolated().scheduleTask(in: grace) {
            for player in leaving where player.index >= 0 { player.end(.streamEnded, "the stream ended") }
            self.worker.flushSockets()
        }
    }

    /// A player reported, or its deadline came.
    func serve(_ player: PlayerMedia, now: NIODeadline) {
        player.serve(ring: self.ring, writer: self.writer, now: now)
    }

    func receive(rtcp packet: ByteBuffer, from player: PlayerMedia, now: NIODeadline) {
        player.take(rtcp: packet, ring: self.ring, now: now)
    }
}
