import Media
import NIOCore
import RTPSending
import StreamHub
import Streaming
import Synchronization

/// What a stream has for a player, when the answer is made.
struct AudienceTracks: Sendable {
    var status: RTPStreamStatus
    var state: StreamState
    /// B-frames are left out.
    var hasDroppedFrames: Bool
}

/// All WebRTC viewers of a stream on this node, as far as they take the same audio: cuts its frames into packets, once.
///
/// On the stream's home loop. The frames of a batch go to a group on each event loop that has viewers. It follows the
/// stream while somebody has a seat: a player from its request on, so that what is pulled from another node keeps coming.
// Safety: touched on the stream's home loop only; others pass the reference on.
final class RTPStreamAudience: StreamAudience, @unchecked Sendable {
    private struct Member {
        let group: RTPFanOutGroup
        var viewers: Int
    }

    /// How long a second track may come behind the first one.
    private static let settling = TimeAmount.milliseconds(400)

    let format = "webrtc"
    let audioForm: AudioForm
    let stream: LiveStream
    private let table: AudienceTable
    private let ringConfiguration: RTPFrameRingConfiguration
    private let endGrace: TimeAmount
    private var packetizer = RTPStreamPacketizer()
    /// What a new group begins with.
    private var ring: RTPFrameRing
    private var members: [Int: Member] = [:]
    private var pending: [RTPFrame] = []
    private var toldStatus = RTPStreamStatus()
    private var state = StreamState()
    private var seats = 0
    /// Those whose answers want to be made.
    private lazy var waiters = TrackWaiters<AudienceTracks>(loop: self.stream.home, settling: Self.settling) {
        [unowned self] in
        let status = self.packetizer.status
        return (self.known, status.video != .unknown && status.audio != .unknown)
    }
    private var hasLeft = false
    /// The stream has ended for good. A publisher that comes all the same begins it anew.
    private var isOver = false

    init(
        stream: LiveStream, audioForm: AudioForm, table: AudienceTable, settings: WebRTCStreamSettings,
        endGrace: TimeAmount
    ) {
        self.stream = stream
        self.audioForm = audioForm
        self.table = table
        self.endGrace = endGrace
        self.ringConfiguration = RTPFrameRingConfiguration(maximumBytes: settings.ringBytes)
        self.ring = RTPFrameRing(configuration: self.ringConfiguration)
    }

    var viewerCount: Int { self.seats }

    // MARK: The stream

    func sourceStarted(epoch: UInt64, continues: Bool) {
        self.isOver = false
        guard !continues else { return }
        self.deliver()
        self.packetizer.sourceChanged()
        self.ring.removeAll()
        self.state = StreamState()
        for member in self.members.values { member.group.sourceChanged() }
    }

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        self.state = state
        for frame in self.packetizer.append(event, state: state, now: now) {
            self.ring.append(frame)
            if !self.members.isEmpty { self.pending.append(frame) }
        }
    }

    func batchEnded(now: NIODeadline) {
        self.deliver()
        self.waiters.streamChanged(now: now)
    }

    func sourceEnded(isFinal: Bool) {
        self.deliver()
        guard isFinal else { return }
        self.isOver = true
        self.waiters.streamEnded()
        let grace = self.endGrace
        for member in self.members.values {
            let group = member.group
            if group.loop.inEventLoop {
                group.streamEnded(after: grace)
            } else {
                group.loop.execute { group.streamEnded(after: grace) }
            }
        }
    }

    /// Gives each group what came since the last time.
    private func deliver() {
        let status = self.packetizer.status
        guard !self.pending.isEmpty || status != self.toldStatus else { return }
        let news = status == self.toldStatus ? nil : status
        self.toldStatus = status
        let frames = self.pending
        self.pending.removeAll(keepingCapacity: true)
        for member in self.members.values { member.group.deliver(frames, status: news) }
    }

    // MARK: Seats

    /// Somebody needs the stream. False if it is gone.
    func takeSeat() -> Bool {
        self.stream.home.assertInEventLoop()
        guard !self.hasLeft else { return false }
        self.seats += 1
        guard self.seats == 1 else { return true }
        guard self.stream.join(self) else {
            self.hasLeft = true
            self.seats = 0
            self.table.remove(self)
            return false
        }
        return true
    }

    func leaveSeat() {
        self.stream.home.assertInEventLoop()
        self.seats -= 1
        guard self.seats == 0 else { return }
        self.hasLeft = true
        self.table.remove(self)
        self.waiters.stop()
        self.stream.leave(self)
    }

    /// A player with a seat is ready for packets: it joins the group of its loop, unless the stream has ended meanwhile.
    func add(_ player: PlayerMedia, on worker: WebRTCWorker) {
        self.stream.home.assertInEventLoop()
        guard !self.isOver else { return worker.run { _ in player.end(.streamEnded, "the stream ended") } }
        self.deliver()
        let group =
            self.members[worker.index]?.group
            ?? RTPFanOutGroup(
                worker: worker, audience: self, ring: self.ring, status: self.toldStatus,
                inboxBytes: self.ringConfiguration.maximumBytes)
        self.members[worker.index] = Member(group: group, viewers: (self.members[worker.index]?.viewers ?? 0) + 1)
        if group.loop.inEventLoop { group.add(player) } else { group.loop.execute { group.add(player) } }
    }

    /// A player that had joined is gone from its group.
    func playerLeft(on worker: WebRTCWorker) {
        guard var member = self.members[worker.index] else { return }
        member.viewers -= 1
        self.members[worker.index] = member.viewers > 0 ? member : nil
    }

    // MARK: Waiting

    /// What the stream consists of, once that is known, or what is known of it at `deadline`; `nil` if nothing is, or if
    /// the stream ended. `isSettled`: the stream is no new one, so what is missing now will not come.
    func tracks(until deadline: NIODeadline, isSettled: Bool) -> EventLoopFuture<AudienceTracks?> {
        guard !self.isOver else { return self.stream.home.makeSucceededFuture(nil) }
        return self.waiters.wait(until: deadline, isSettled: isSettled)
    }

    private var known: AudienceTracks? {
        let status = self.packetizer.status
        guard [status.video, status.audio].contains(where: { $0.isDecided }) else { return nil }
        return AudienceTracks(
            status: status, state: self.state, hasDroppedFrames: self.packetizer.droppedFrames > 0)
    }
}

extension RTPTrackStatus {
    /// Something is known of the track.
    fileprivate var isDecided: Bool {
        switch self {
        case .unknown, .absent: false
        case .flowing, .refused: true
        }
    }
}

/// The audiences of a node's streams, each found on its stream's home loop.
final class AudienceTable: Sendable {
    private struct Key: Hashable {
        let stream: ObjectIdentifier
        let form: AudioForm
    }

    private let entries = Mutex<[Key: RTPStreamAudience]>([:])
    private let endGrace: TimeAmount

    init(endGrace: TimeAmount) { self.endGrace = endGrace }

    /// Takes a seat in the audience of `stream`, made if there is none. `nil` if the stream is gone. On its home loop.
    func takeSeat(
        of stream: LiveStream, audioForm: AudioForm, settings: WebRTCStreamSettings
    ) -> RTPStreamAudience? {
        stream.home.assertInEventLoop()
        let key = Key(stream: ObjectIdentifier(stream), form: audioForm)
        let audience = self.entries.withLock { entries in
            if let audience = entries[key] { return audience }
            let audience = RTPStreamAudience(
                stream: stream, audioForm: audioForm, table: self, settings: settings, endGrace: self.endGrace)
            entries[key] = audience
            return audience
        }
        return audience.takeSeat() ? audience : nil
    }

    fileprivate func remove(_ audience: RTPStreamAudience) {
        let key = Key(stream: ObjectIdentifier(audience.stream), form: audience.audioForm)
        self.entries.withLock { entries in
            if entries[key] === audience { entries[key] = nil }
        }
    }

    var count: Int { self.entries.withLock { $0.count } }
}
