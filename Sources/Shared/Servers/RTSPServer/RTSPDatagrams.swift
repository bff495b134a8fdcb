import DequeModule
import Glibc
import Media
import NIOCore
import RTP
import RTSPSessions
import StreamHub
import Streaming

/// One frame of a stream, cut into RTP packets once for all players by UDP of a node. Immutable.
final class RTSPDatagramFrame: Sendable {
    /// Counts the frames of a feed without gaps.
    let number: UInt64
    let kind: MediaKind
    /// The packets, one behind the other.
    let bytes: ByteBuffer
    /// Where they are in `bytes`.
    let packets: [Range<Int>]
    /// A player can start here.
    let isStart: Bool
    /// Sender reports that go in front, by kind: always of a start, else from time to time.
    let reports: [(kind: MediaKind, bytes: ByteBuffer)]

    init(
        number: UInt64, kind: MediaKind, bytes: ByteBuffer, packets: [Range<Int>], isStart: Bool,
        reports: [(kind: MediaKind, bytes: ByteBuffer)]
    ) {
        self.number = number
        self.kind = kind
        self.bytes = bytes
        self.packets = packets
        self.isStart = isStart
        self.reports = reports
    }
}

/// Makes a stream's datagrams, as long as there are players for them. On the stream's home loop.
final class RTSPDatagramFeed {
    private let rate: Int
    private let cacheBytes: Int
    private var writer: RTSPStreamWriter?
    private var groups: [ObjectIdentifier: RTSPDatagramGroup] = [:]
    private var pending: [RTSPDatagramFrame] = []
    /// What a new player begins with: from the last start on. Empty where it waits for the next one.
    private var cached: [RTSPDatagramFrame] = []
    private var cachedBytes = 0
    private var nextNumber: UInt64 = 0
    private var lastAudioStart: MediaTime?

    /// `cacheBytes`: the largest GOP that players begin within, in bytes of its frames. 0: they wait for the next start.
    init(rate: Int, cacheBytes: Int) {
        self.rate = rate
        self.cacheBytes = min(cacheBytes, RTSPDatagramGroup.maximumBytes)
    }

    var isIdle: Bool { self.writer == nil }

    func begin(_ tracks: RTSPTracks) {
        var generator = SystemRandomNumberGenerator()
        self.writer = RTSPStreamWriter(tracks: tracks, seed: RTSPStreamSeed(using: &generator))
        self.cached = []
        self.pending = []
        self.lastAudioStart = nil
    }

    /// Players were told of other tracks, and go.
    func tracksChanged(_ tracks: RTSPTracks) { if !self.isIdle { self.begin(tracks) } }

    func receive(_ event: MediaEvent, state: StreamState) {
        guard self.writer != nil else { return }
        switch event {
        case .metadata, .data: break
        case .track(let track): self.writer?.adopt(track)
        case .frame(let frame): self.write(frame, state: state)
        }
    }

    private func write(_ frame: Frame, state: StreamState) {
        self.writer?.adopt(state)
        guard self.writer?.isSent(frame) == true else { return }
        let isStart = self.isStart(frame, state: state)
        let isReportDue = self.writer?.isReportDue(at: frame.dts) ?? false
        var (bytes, packets) = (ByteBuffer(), [Range<Int>]())
        self.writer?.write(frame, framing: .none, into: &bytes) { packets.append($0) }
        guard !packets.isEmpty else { return }
        var reports: [(kind: MediaKind, bytes: ByteBuffer)] = []
        if isStart || isReportDue {
            for kind in [MediaKind.video, .audio] {
                var report = ByteBuffer()
                self.writer?.writeReport(kind, at: frame.dts, framing: .none, into: &report)
                if report.readableBytes > 0 { reports.append((kind, report)) }
            }
        }
        let made = RTSPDatagramFrame(
            number: self.nextNumber, kind: frame.kind, bytes: bytes, packets: packets, isStart: isStart,
            reports: reports)
        self.nextNumber += 1
        if isStart { (self.cached, self.cachedBytes) = ([], 0) }
        if isStart || !self.cached.isEmpty {
            self.cached.append(made)
            self.cachedBytes += frame.payload.readableBytes
        }
        if self.cached.count > RTSPDatagramGroup.maximumFrames || self.cachedBytes > self.cacheBytes {
            (self.cached, self.cachedBytes) = ([], 0)
        }
        if !self.groups.isEmpty { self.pending.append(made) }
    }

    /// A stream without video has a start each second.
    private func isStart(_ frame: Frame, state: StreamState) -> Bool {
        guard self.writer?.tracks.video == nil else { return frame.kind == .video && frame.isKeyframe }
        if let last = self.lastAudioStart, frame.dts >= last, frame.dts - last < RenditionFeed.audioStartInterval {
            return false
        }
        self.lastAudioStart = frame.dts
        return true
    }

    /// Gives each group what came since the last time.
    func deliver() {
        guard !self.pending.isEmpty else { return }
        let frames = self.pending
        self.pending.removeAll(keepingCapacity: true)
        self.eachGroup { $0.receive(frames) }
    }

    private func eachGroup(_ body: @escaping @Sendable (RTSPDatagramGroup) -> Void) {
        for group in self.groups.values {
            if group.loop.inEventLoop { body(group) } else { group.loop.execute { body(group) } }
        }
    }

    func add(_ player: RTSPDatagramPlayer) {
        let first = self.cached.first?.number ?? self.nextNumber
        let key = ObjectIdentifier(player.loop)
        let group =
            self.groups[key] ?? RTSPDatagramGroup(loop: player.loop, frames: self.cached, rate: self.rate)
        group.count += 1
        self.groups[key] = group
        if group.loop.inEventLoop {
            group.add(player, from: first)
        } else {
            group.loop.execute { group.add(player, from: first) }
        }
    }

    func remove(_ player: RTSPDatagramPlayer) {
        let key = ObjectIdentifier(player.loop)
        guard let group = self.groups[key] else { return }
        group.count -= 1
        if group.loop.inEventLoop { group.remove(player) } else { group.loop.execute { group.remove(player) } }
        guard group.count <= 0 else { return }
        self.groups[key] = nil
        guard self.groups.isEmpty else { return }
        self.writer = nil
        self.cached = []
        self.pending = []
    }

    /// The stream is over.
    func end() {
        var goodbyes: [(kind: MediaKind, bytes: ByteBuffer)] = []
        for kind in [MediaKind.video, .audio] {
            var bytes = ByteBuffer()
            self.writer?.writer(kind)?.writeGoodbye(framing: .none, into: &bytes)
            if bytes.readableBytes > 0 { goodbyes.append((kind, bytes)) }
        }
        let all = goodbyes
        self.eachGroup { $0.end(all) }
    }
}

extension RTSPStreamSeed {
    /// With the system's wall clock.
    init(using generator: inout some RandomNumberGenerator) {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        let nanoseconds = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        self.init(
            video: RTSPTrackSeed(using: &generator), audio: RTSPTrackSeed(using: &generator),
            ntp: NTPTime(unixNanoseconds: nanoseconds), cname: String(generator.next() as UInt64, radix: 16))
    }
}

/// The players by UDP of one stream on one event loop.
///
/// A player that begins, or has to be sent a large frame, is sent no more than its rate allows; it is then behind for a
/// while and catches up. Who is so far behind that the frames are gone starts again at the newest keyframe.
// Safety: touched on `loop` only, but for `count`, which is the home loop's.
final class RTSPDatagramGroup: @unchecked Sendable {
    /// What is kept for those who begin or are behind.
    static let maximumFrames = 4_096
    static let maximumBytes = 32 << 20
    private static let tick = TimeAmount.milliseconds(10)

    let loop: any EventLoop
    /// The players that the home loop knows of.
    var count = 0
    private let rate: Int
    private var frames: Deque<RTSPDatagramFrame>
    private var bytes: Int
    private var players: [RTSPDatagramPlayer] = []
    private var timer: Scheduled<Void>?

    init(loop: any EventLoop, frames: [RTSPDatagramFrame], rate: Int) {
        self.loop = loop
        self.frames = Deque(frames)
        self.bytes = frames.reduce(0) { $0 + $1.bytes.readableBytes }
        self.rate = rate
    }

    /// `first`: the number of the first frame that the player may be sent.
    func add(_ player: RTSPDatagramPlayer, from first: UInt64) {
        self.loop.assertInEventLoop()
        self.players.append(player)
        player.position = nil
        player.first = first
        self.start(player)
        self.serve(now: .now())
    }

    func remove(_ player: RTSPDatagramPlayer) { self.players.removeAll { $0 === player } }

    func receive(_ frames: [RTSPDatagramFrame]) {
        self.loop.assertInEventLoop()
        for frame in frames {
            // A number that does not follow belongs to another source: nobody is to be sent what was before.
            if let last = self.frames.last, frame.number != last.number + 1 { self.forgetAll() }
            self.frames.append(frame)
            self.bytes += frame.bytes.readableBytes
        }
        self.serve(now: .now())
        self.trim()
    }

    /// Keeps what is behind the last start, and what players still need.
    private func trim() {
        guard let start = self.frames.last(where: \.isStart)?.number else {
            if self.isFull { self.forgetAll() }
            return
        }
        var needed = start
        for player in self.players { if let position = player.position { needed = min(needed, position) } }
        while let first = self.frames.first, first.number < needed || self.isFull {
            self.frames.removeFirst()
            self.bytes -= first.bytes.readableBytes
        }
    }

    private var isFull: Bool { self.frames.count > Self.maximumFrames || self.bytes > Self.maximumBytes }

    private func forgetAll() {
        self.frames.removeAll()
        self.bytes = 0
    }

    private func start(_ player: RTSPDatagramPlayer) {
        guard let start = self.frames.last(where: \.isStart), start.number >= player.first else { return }
        player.position = start.number
        player.packetsSent = 0
    }

    private func serve(now: NIODeadline) {
        var isAnyBehind = false
        for player in self.players where !player.isPaused {
            if player.position == nil { self.start(player) }
            if self.pump(player, now: now) { isAnyBehind = true }
        }
        guard isAnyBehind, self.timer == nil else { return }
        self.timer = self.loop.assumeIsolated().scheduleTask(in: Self.tick) { [weak self] in
            guard let self else { return }
            self.timer = nil
            self.serve(now: .now())
        }
    }

    /// Sends what the player may be sent now. Returns whether something is left.
    private func pump(_ player: RTSPDatagramPlayer, now: NIODeadline) -> Bool {
        player.refill(rate: self.rate, now: now)
        defer { player.flush() }
        while let position = player.position, let first = self.frames.first, let last = self.frames.last {
            guard position <= last.number else { return false }
            guard position >= first.number else {
                player.position = nil
                self.start(player)
                if player.position == nil { return false }
                continue
            }
            let frame = self.frames[self.frames.startIndex + Int(position - first.number)]
            guard player.send(frame) else { return true }
            player.position = position + 1
        }
        return false
    }

    func end(_ goodbyes: [(kind: MediaKind, bytes: ByteBuffer)]) {
        for player in self.players {
            for goodbye in goodbyes { player.send(control: goodbye.bytes, of: goodbye.kind) }
            player.flush()
        }
    }
}

/// A player by UDP: where its packets go, and how far it is. On its connection's loop.
// Safety: touched on `loop` only; the stream's home loop passes the reference on.
final class RTSPDatagramPlayer: @unchecked Sendable {
    /// The sockets and the client's addresses of one track.
    struct Lane {
        let rtp: any Channel
        let rtcp: any Channel
        var rtpAddress: SocketAddress
        var rtcpAddress: SocketAddress
    }

    /// What may leave at once, in bytes.
    private static let burst = 96 << 10

    let loop: any EventLoop
    private let account: SessionAccount
    private var video: Lane?
    private var audio: Lane?
    var isPaused = false
    /// The frame that is next; `nil`: the next start.
    var position: UInt64?
    /// No frame before this one.
    var first: UInt64 = 0
    var packetsSent = 0
    private var budget = RTSPDatagramPlayer.burst
    private var refilled = NIODeadline.now()
    private(set) var sentBytes: UInt64 = 0

    init(loop: any EventLoop, account: SessionAccount, video: Lane?, audio: Lane?) {
        self.loop = loop
        self.account = account
        self.video = video
        self.audio = audio
    }

    private func lane(_ kind: MediaKind) -> Lane? { kind == .video ? self.video : self.audio }

    /// The client's packets come from another port than it said: an address translator is in between.
    func redirect(_ kind: MediaKind, isControl: Bool, to address: SocketAddress) {
        switch (kind, isControl) {
        case (.video, false): self.video?.rtpAddress = address
        case (.video, true): self.video?.rtcpAddress = address
        case (.audio, false): self.audio?.rtpAddress = address
        case (.audio, true): self.audio?.rtcpAddress = address
        }
    }

    func refill(rate: Int, now: NIODeadline) {
        guard now > self.refilled else { return }
        let elapsed = min((now - self.refilled).nanoseconds, 1_000_000_000)
        self.refilled = now
        self.budget = min(Self.burst, self.budget + Int(elapsed) * rate / 1_000_000_000)
    }

    /// Sends a frame, or what is left of it. Returns false if there is more to send than may leave now.
    func send(_ frame: RTSPDatagramFrame) -> Bool {
        guard let lane = self.lane(frame.kind) else { return true }
        if self.packetsSent == 0 {
            for report in frame.reports { self.send(control: report.bytes, of: report.kind) }
        }
        while self.packetsSent < frame.packets.count {
            guard self.budget > 0 else { return false }
            let range = frame.packets[self.packetsSent]
            guard let packet = frame.bytes.getSlice(at: range.lowerBound, length: range.count) else { break }
            self.packetsSent += 1
            self.budget -= range.count
            // A socket that is full loses packets, as the network does.
            if !lane.rtp.isWritable { lane.rtp.flush() }
            guard lane.rtp.isWritable else { continue }
            self.count(range.count)
            lane.rtp.write(AddressedEnvelope(remoteAddress: lane.rtpAddress, data: packet), promise: nil)
        }
        self.packetsSent = 0
        return true
    }

    func send(control bytes: ByteBuffer, of kind: MediaKind) {
        guard let lane = self.lane(kind) else { return }
        self.count(bytes.readableBytes)
        lane.rtcp.write(AddressedEnvelope(remoteAddress: lane.rtcpAddress, data: bytes), promise: nil)
    }

    private func count(_ bytes: Int) {
        self.sentBytes += UInt64(bytes)
        self.account.sent(bytes)
    }

    func flush() {
        for lane in [self.video, self.audio] {
            lane?.rtp.flush()
            lane?.rtcp.flush()
        }
    }
}
