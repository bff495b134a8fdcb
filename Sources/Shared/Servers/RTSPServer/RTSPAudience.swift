import Media
import NIOCore
import RTSPSessions
import StreamHub
import Streaming
import Synchronization

/// A player's place in an audience: from its DESCRIBE to its end, whatever it watches by.
///
/// Calls come on the stream's home loop.
protocol RTSPSeat: AnyObject, Sendable {
    /// What the stream consists of for players has changed.
    func tracksChanged(_ tracks: RTSPTracks)
    /// The stream is over.
    func streamEnded()
}

/// What a stream has for a player, when the description is written.
struct RTSPOffer: Sendable {
    var tracks: RTSPTracks
    var state: StreamState
}

/// All RTSP players of a stream on this node: tells them what it consists of, and sends those of UDP its packets.
///
/// On the stream's home loop. Players by TCP follow a rendition; they have a seat here only to be told of changes. It
/// follows the stream while somebody has a seat, so that what is pulled from another node keeps coming.
// Safety: touched on the stream's home loop only; others pass the reference on.
final class RTSPAudience: StreamAudience, @unchecked Sendable {
    private struct Place {
        let seat: any RTSPSeat
        /// It watches by a rendition, which counts it.
        var isCountedElsewhere = false
    }

    /// How long a second track may come behind the first one.
    private static let settling = TimeAmount.milliseconds(400)

    let format = "rtsp"
    let audioForm = AudioForm.rtsp
    let stream: LiveStream
    private let table: RTSPAudienceTable
    private var seats: [ObjectIdentifier: Place] = [:]
    private var state = StreamState()
    private var tracks = RTSPTracks(StreamState())
    /// A new source shows one track after the other: what the one before had counts until it has shown as much, or until
    /// then. `distantFuture` before its first track; `nil` where what is there counts.
    private var returnsBy: NIODeadline?
    /// The time of the source's first frame, and whether one of each kind came.
    private var sourceStart: MediaTime?
    private var gop: GOPCache
    /// Those who want a description.
    private lazy var waiters = TrackWaiters<RTSPOffer>(loop: self.stream.home, settling: Self.settling) {
        [unowned self] in (self.known, self.state.video != nil && self.state.audio != nil)
    }
    private var hasLeft = false
    private var isOver = false
    private let packets: RTSPDatagramFeed

    init(stream: LiveStream, table: RTSPAudienceTable, rate: Int) {
        self.stream = stream
        self.table = table
        self.gop = GOPCache(maximumBytes: stream.settings.gopCacheBytes)
        self.packets = RTSPDatagramFeed(rate: rate, cacheBytes: stream.settings.gopCacheBytes)
    }

    var viewerCount: Int { self.seats.values.count { !$0.isCountedElsewhere } }

    // MARK: The stream

    func sourceStarted(epoch: UInt64, continues: Bool) {
        self.isOver = false
        guard !continues else { return }
        self.state = StreamState()
        self.gop.clear()
        self.sourceStart = nil
        self.returnsBy = self.tracks.isEmpty ? nil : .distantFuture
    }

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        self.state = state
        if case .track = event { self.updateTracks(now: now) }
        if case .frame(let frame) = event {
            if self.sourceStart == nil { self.sourceStart = frame.dts }
            if self.tracks.isEmpty { self.updateTracks(now: now) }
        }
        self.gop.append(event, state: state)
        self.packets.receive(event, state: state)
    }

    func batchEnded(now: NIODeadline) {
        self.packets.deliver()
        if let returnsBy = self.returnsBy, now >= returnsBy { self.updateTracks(now: now) }
        self.waiters.streamChanged(now: now)
    }

    func sourceEnded(isFinal: Bool) {
        self.packets.deliver()
        guard isFinal else { return }
        self.isOver = true
        self.tracks = RTSPTracks(StreamState())
        self.waiters.streamEnded()
        self.packets.end()
        for place in self.seats.values { place.seat.streamEnded() }
    }

    private func updateTracks(now: NIODeadline) {
        let tracks = RTSPTracks(self.state)
        if let returnsBy = self.returnsBy, tracks != self.tracks, tracks.isPart(of: self.tracks), now < returnsBy {
            if returnsBy == .distantFuture { self.returnsBy = now + Self.settling }
            return
        }
        self.returnsBy = nil
        guard tracks != self.tracks else { return }
        self.tracks = tracks
        self.packets.tracksChanged(tracks)
        for place in self.seats.values { place.seat.tracksChanged(tracks) }
    }

    // MARK: Seats

    /// Somebody needs the stream. False if it is gone.
    func take(_ seat: any RTSPSeat) -> Bool {
        self.stream.home.assertInEventLoop()
        guard !self.hasLeft else { return false }
        let isFirst = self.seats.isEmpty
        self.seats[ObjectIdentifier(seat)] = Place(seat: seat)
        guard isFirst else { return true }
        guard self.stream.join(self) else {
            self.seats = [:]
            self.hasLeft = true
            self.table.remove(self)
            return false
        }
        return true
    }

    /// The seat's player joined a rendition of the stream, or left it.
    func setCountedElsewhere(_ isCounted: Bool, _ seat: any RTSPSeat) {
        self.seats[ObjectIdentifier(seat)]?.isCountedElsewhere = isCounted
    }

    func leave(_ seat: any RTSPSeat) {
        self.stream.home.assertInEventLoop()
        guard self.seats.removeValue(forKey: ObjectIdentifier(seat)) != nil, self.seats.isEmpty else { return }
        self.hasLeft = true
        self.table.remove(self)
        self.waiters.stop()
        self.packets.end()
        self.stream.leave(self)
    }

    // MARK: Datagrams

    /// A player by UDP gets packets from now on, which begin with what is cached.
    func add(_ player: RTSPDatagramPlayer) {
        self.stream.home.assertInEventLoop()
        self.packets.deliver()
        if self.packets.isIdle {
            self.packets.begin(self.tracks)
            self.gop.replay { self.packets.receive($0, state: $1) }
        }
        self.packets.add(player)
    }

    func remove(_ player: RTSPDatagramPlayer) { self.packets.remove(player) }

    // MARK: Waiting

    /// What the stream consists of, once that is known, or what is known of it at `deadline`; `nil` if nothing is, or if
    /// the stream ended. `isSettled`: the stream is no new one, so what is missing now will not come.
    func offer(until deadline: NIODeadline, isSettled: Bool) -> EventLoopFuture<RTSPOffer?> {
        guard !self.isOver else { return self.stream.home.makeSucceededFuture(nil) }
        return self.waiters.wait(until: deadline, isSettled: isSettled)
    }

    private var known: RTSPOffer? {
        self.tracks.isEmpty ? nil : RTSPOffer(tracks: self.tracks, state: self.state)
    }
}

/// The audiences of a node's streams, each found on its stream's home loop.
final class RTSPAudienceTable: Sendable {
    private let entries = Mutex<[ObjectIdentifier: RTSPAudience]>([:])
    private let rate: Int

    /// `rate`: what a player by UDP is sent in a second at most, in bytes.
    init(rate: Int) { self.rate = rate }

    /// Takes a seat in the audience of `stream`, made if there is none. `nil` if the stream is gone. On its home loop.
    func take(_ seat: any RTSPSeat, of stream: LiveStream) -> RTSPAudience? {
        stream.home.assertInEventLoop()
        let audience = self.entries.withLock { entries in
            if let audience = entries[ObjectIdentifier(stream)] { return audience }
            let audience = RTSPAudience(stream: stream, table: self, rate: self.rate)
            entries[ObjectIdentifier(stream)] = audience
            return audience
        }
        return audience.take(seat) ? audience : nil
    }

    fileprivate func remove(_ audience: RTSPAudience) {
        self.entries.withLock { entries in
            let key = ObjectIdentifier(audience.stream)
            if entries[key] === audience { entries[key] = nil }
        }
    }

    var count: Int { self.entries.withLock { $0.count } }
}
