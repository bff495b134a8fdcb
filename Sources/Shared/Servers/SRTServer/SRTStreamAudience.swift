import Media
import NIOCore
import StreamHub
import Streaming
import Synchronization
import TransportStreams

/// All SRT players of a stream on this node that take the same audio: renders its transport stream once, and hands it to
/// a group on each worker that has players.
///
/// Where the publisher's own packets are to be passed on, they take the place of what is rendered.
// Safety: touched on the stream's home loop only; others pass the reference on.
final class SRTStreamAudience: StreamAudience, @unchecked Sendable {
    private struct Member {
        let group: SRTFanOutGroup
        var players: Int
    }

    /// What a worker is told apart by.
    private typealias LoopID = ObjectIdentifier

    let format = "srt"
    let audioForm: AudioForm
    let stream: LiveStream
    private let table: SRTAudienceTable
    private let limits: SRTFanOutGroup.Limits
    private let encoder: @Sendable () -> any RenditionEncoder
    private var feed: RenditionFeed
    /// What a new group begins with.
    private var ring = SlabRing()
    private var members: [LoopID: Member] = [:]
    private var pending: [Slab] = []
    private var hasVideo = false
    private var timer: Scheduled<Void>?
    private var seats = 0
    /// Seats of those who are no viewers: streams on their way to other servers.
    private var silentSeats = 0
    private var hasLeft = false
    /// The publisher's packets go out as they come.
    private var isPassing = false
    /// The next slab has nothing to do with those before.
    private var restarts = false

    init(
        stream: LiveStream, audioForm: AudioForm, table: SRTAudienceTable, limits: SRTFanOutGroup.Limits,
        encoder: @escaping @Sendable () -> any RenditionEncoder
    ) {
        self.stream = stream
        self.audioForm = audioForm
        self.table = table
        self.limits = limits
        self.encoder = encoder
        self.feed = Self.feed(audioForm, encoder)
    }

    private static func feed(_ form: AudioForm, _ encoder: () -> any RenditionEncoder) -> RenditionFeed {
        RenditionFeed(id: TSRendition.id(audio: form, flush: .realtime), encoder: encoder())
    }

    var viewerCount: Int { self.seats - self.silentSeats }

    // MARK: The stream

    func sourceStarted(epoch: UInt64, continues: Bool) {}

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        guard !self.isPassing else { return }
        if let sealed = self.feed.append(event, state: state, now: now) { self.keep(sealed) }
        if case .frame(let frame) = event, frame.kind == .video { self.hasVideo = true }
    }

    func batchEnded(now: NIODeadline) {
        guard !self.isPassing else { return }
        if self.hasVideo || !self.pending.isEmpty { self.sealAndDeliver(now: now) } else { self.armTimer() }
    }

    func sourceEnded(isFinal: Bool) {
        self.sealAndDeliver(now: .now())
        if isFinal { self.eachGroup { $0.end(.streamEnded) } }
    }

    /// The slabs of packets and of renditions are counted through.
    private func keep(_ slab: Slab) {
        let slab = Slab(
            sequence: self.ring.end, bytes: slab.bytes, start: slab.start, sealedAt: slab.sealedAt, frames: slab.frames)
        self.ring.append(slab)
        self.ring.trim(keeping: self.ring.lastStart ?? self.ring.end, maximumBytes: self.limits.gopCacheBytes)
        self.pending.append(slab)
    }

    private func sealAndDeliver(now: NIODeadline) {
        self.timer?.cancel()
        self.timer = nil
        self.hasVideo = false
        if !self.isPassing, let slab = self.feed.seal(now: now) { self.keep(slab) }
        let slabs = self.pending
        guard !slabs.isEmpty else { return }
        self.pending.removeAll(keepingCapacity: true)
        let restarts = self.restarts
        self.restarts = false
        self.eachGroup { $0.receive(slabs, restarts: restarts) }
    }

    private func armTimer() {
        guard self.timer == nil, self.feed.hasOpenBytes else { return }
        self.timer = self.stream.home.assumeIsolated().scheduleTask(in: FlushPolicy.audioWait) { [weak self] in
            self?.timer = nil
            self?.sealAndDeliver(now: .now())
        }
    }

    private func eachGroup(_ body: @escaping @Sendable (SRTFanOutGroup) -> Void) {
        for member in self.members.values {
            let group = member.group
            group.loop.execute { body(group) }
        }
    }

    // MARK: Passing packets on

    /// The publisher's packets are there from now on, or are no more. Players go on at the next place to start.
    func setPassing(_ isPassing: Bool) {
        self.stream.home.assertInEventLoop()
        guard isPassing != self.isPassing else { return }
        self.restart(isPassing: isPassing)
    }

    /// The packets of another publisher come from now on.
    func restartPassing() { self.restart(isPassing: true) }

    private func restart(isPassing: Bool) {
        self.stream.home.assertInEventLoop()
        guard !self.hasLeft else { return }
        self.sealAndDeliver(now: .now())
        self.isPassing = isPassing
        self.ring.trim(keeping: self.ring.end, maximumBytes: 0)
        self.restarts = true
        // What the encoder had gathered belongs to what was before.
        self.feed = Self.feed(self.audioForm, self.encoder)
    }

    /// Packets as the publisher sent them. `isStart`: a decoder finds the tables in front of them.
    func pass(_ packets: ByteBuffer, isStart: Bool) {
        self.stream.home.assertInEventLoop()
        guard self.isPassing, packets.readableBytes > 0 else { return }
        let start = isStart ? SlabStart(header: ByteBuffer(), prelude: ByteBuffer()) : nil
        self.keep(Slab(sequence: 0, bytes: packets, start: start, sealedAt: .now(), frames: 0))
        self.sealAndDeliver(now: .now())
    }

    // MARK: Seats

    /// Somebody needs the stream. False if it is gone.
    func takeSeat(isViewer: Bool) -> Bool {
        self.stream.home.assertInEventLoop()
        guard !self.hasLeft else { return false }
        self.seats += 1
        if !isViewer { self.silentSeats += 1 }
        guard self.seats == 1 else { return true }
        self.isPassing = self.table.isPassing(self.stream.key)
        guard self.stream.join(self) else {
            self.hasLeft = true
            self.seats = 0
            self.table.remove(self)
            return false
        }
        return true
    }

    func leaveSeat(isViewer: Bool) {
        self.stream.home.assertInEventLoop()
        self.seats -= 1
        if !isViewer { self.silentSeats -= 1 }
        guard self.seats == 0 else { return }
        self.hasLeft = true
        self.timer?.cancel()
        self.timer = nil
        self.table.remove(self)
        self.stream.leave(self)
    }

    /// A player with a seat joins the group of its worker's loop.
    func add(_ player: SRTPlayer, on loop: any EventLoop) {
        self.stream.home.assertInEventLoop()
        // What waits for the next flush would come to a new group twice.
        self.sealAndDeliver(now: .now())
        let id = LoopID(loop)
        let group =
            self.members[id]?.group
            ?? SRTFanOutGroup(loop: loop, ring: self.ring, limits: self.limits) { [stream] in
                stream.home.execute { self.playerLeft(id) }
            }
        self.members[id] = Member(group: group, players: (self.members[id]?.players ?? 0) + 1)
        loop.execute { group.add(player) }
    }

    private func playerLeft(_ id: LoopID) {
        guard var member = self.members[id] else { return }
        member.players -= 1
        self.members[id] = member.players > 0 ? member : nil
    }
}

/// The audiences of a node's streams, and which streams' packets are passed on. Any thread may call.
final class SRTAudienceTable: Sendable {
    private struct Key: Hashable {
        let stream: ObjectIdentifier
        let form: AudioForm
    }

    private struct State {
        var audiences: [StreamKey: [Key: SRTStreamAudience]] = [:]
        /// Which publisher's packets are passed on, by stream.
        var passing: [StreamKey: UInt64] = [:]
    }

    private let state = Mutex(State())

    init() {}

    /// Takes a seat in the audience of `stream`, made if there is none; `nil` if the stream is gone. On its home loop.
    func takeSeat(
        of stream: LiveStream, settings: SRTStreamSettings, isViewer: Bool
    ) -> SRTStreamAudience? {
        stream.home.assertInEventLoop()
        let key = Key(stream: ObjectIdentifier(stream), form: settings.audio)
        let limits = SRTFanOutGroup.Limits(
            gopCacheBytes: settings.gopCacheBytes, slowViewer: settings.slowViewer)
        let audience = self.state.withLock { state in
            if let audience = state.audiences[stream.key]?[key] { return audience }
            let audience = SRTStreamAudience(
                stream: stream, audioForm: settings.audio, table: self, limits: limits
            ) { TSRendition() }
            state.audiences[stream.key, default: [:]][key] = audience
            return audience
        }
        return audience.takeSeat(isViewer: isViewer) ? audience : nil
    }

    func remove(_ audience: SRTStreamAudience) {
        let stream = audience.stream.key
        let key = Key(stream: ObjectIdentifier(audience.stream), form: audience.audioForm)
        self.state.withLock { state in
            guard state.audiences[stream]?[key] === audience else { return }
            state.audiences[stream]?[key] = nil
            if state.audiences[stream]?.isEmpty == true { state.audiences[stream] = nil }
        }
    }

    func isPassing(_ key: StreamKey) -> Bool { self.state.withLock { $0.passing[key] != nil } }

    /// Who gets the packets of `publisher`: nobody, once another one's are passed on.
    func audiences(of key: StreamKey, passing publisher: UInt64) -> [SRTStreamAudience] {
        self.state.withLock { state in
            guard state.passing[key] == publisher, let audiences = state.audiences[key] else { return [] }
            return Array(audiences.values)
        }
    }

    /// The packets of `publisher` are passed on from now on, and those of nobody else.
    func beginPassing(_ key: StreamKey, publisher: UInt64) {
        let (former, audiences) = self.state.withLock { state in
            let former = state.passing.updateValue(publisher, forKey: key)
            return (former, Array((state.audiences[key] ?? [:]).values))
        }
        let isAnother = former != nil && former != publisher
        for audience in audiences {
            audience.stream.home.execute {
                if isAnother { audience.restartPassing() } else { audience.setPassing(true) }
            }
        }
    }

    /// They are no more, unless another's are.
    func endPassing(_ key: StreamKey, publisher: UInt64) {
        let audiences = self.state.withLock { state -> [SRTStreamAudience] in
            guard state.passing[key] == publisher else { return [] }
            state.passing[key] = nil
            return Array((state.audiences[key] ?? [:]).values)
        }
        for audience in audiences { audience.stream.home.execute { audience.setPassing(false) } }
    }
}
