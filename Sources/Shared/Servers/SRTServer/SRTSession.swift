import Logging
import MPEGTS
import Media
import NIOCore
import SRTAccess
package import StreamHub
import Streaming
import Synchronization
import TransportStreams

/// What the sessions of a server share.
struct SRTSessionContext: Sendable {
    let configuration: SRTServerConfiguration
    let gate: any SessionGate
    let poller: SRTPoller
    let audiences: SRTAudienceTable
    let logger: Logger
    /// The loop of a new publisher, and the worker of a new player.
    let nextLoop: @Sendable () -> any EventLoop
    let nextWorker: @Sendable () -> any EventLoop
    /// Called once for each session, when its socket is closed.
    let onEnd: @Sendable (SRTSession, SRTSessionOutcome) -> Void
}

/// What became of a session.
struct SRTSessionOutcome: Sendable, Hashable {
    /// How long it published or played; `nil` if it never did.
    var activeFor: TimeAmount?
    var text: String
}

/// One peer that publishes or plays: from its connection to its end.
///
/// States: calling → deciding → publishing or playing → ended; peers that called are deciding at once. Calls come from the
/// poller's thread, the publisher's loop, the player's worker and whoever ends sessions; `state` has its lock, and nobody
/// is called within it.
final class SRTSession: SRTPeer, SRTPublisherOwner, Sendable {
    enum Phase {
        case calling
        case deciding
        case publishing(SRTPublisher, since: NIODeadline)
        case playing(SRTPlayer, SRTStreamAudience, worker: any EventLoop)
        /// The stream is over; what is on its way has some time.
        case draining(SRTStreamAudience)
        case ended
    }

    private struct State {
        var phase: Phase
        var statistics = PathStatistics()
        var isEncrypted = false
        /// Where this side of the connection is bound.
        var localAddress: SocketAddress?
        /// What the publisher sent up to the last look, and when it grew.
        var silence = SRTSilence()
        /// Since when it publishes or plays.
        var activeSince: NIODeadline?
        /// Set at the end.
        var outcome: SRTSessionOutcome?
    }

    let socket: SRTSocket
    let request: SRTStreamID
    let account: SessionAccount
    private let calls: Bool
    private let settings: SRTStreamSettings
    private let context: SRTSessionContext
    private let logger: Logger
    private let state: Mutex<State>

    /// `calls`: the socket connects; else it is connected.
    init(
        socket: SRTSocket, request: SRTStreamID, account: SessionAccount, settings: SRTStreamSettings, calls: Bool,
        context: SRTSessionContext
    ) {
        self.socket = socket
        self.request = request
        self.account = account
        self.calls = calls
        self.settings = settings
        self.context = context
        var logger = context.logger
        logger[metadataKey: "session"] = "\(account.id)"
        logger[metadataKey: "stream"] = "\(request.app)/\(request.name)"
        logger[metadataKey: "peer"] = "\(account.address.map(\.peerDescription) ?? "unknown")"
        self.logger = logger
        self.state = Mutex(State(phase: calls ? .calling : .deciding))
    }

    /// What is known of the session, for the API.
    var snapshot: SRTSessionSnapshot {
        self.state.withLock { state in
            SRTSessionSnapshot(
                account: self.account.id, isEncrypted: state.isEncrypted, statistics: state.statistics)
        }
    }

    /// It publishes or plays.
    var isActive: Bool { self.state.withLock { $0.activeSince != nil && $0.outcome == nil } }

    // MARK: Beginning

    /// From now on the session can be ended. Call once, before the socket is in the poller.
    func prepare() {
        self.account.onTerminate { [weak self] end, text in self?.end(end, text) }
    }

    /// The socket of a peer that called is in the poller. Call once.
    func start() {
        let isDeciding = self.state.withLock { if case .deciding = $0.phase { true } else { false } }
        if isDeciding { self.decide() }
    }

    func connected() {
        let wasCalling = self.state.withLock { state in
            guard case .calling = state.phase else { return false }
            state.phase = .deciding
            return true
        }
        if wasCalling { self.decide() }
    }

    /// A callback of the poller starts work that ends by the gate's deadlines.
    private func decide() {
        let (isEncrypted, address) = (self.socket.isEncrypted, self.socket.localAddress)
        self.state.withLock { state in
            state.isEncrypted = isEncrypted
            state.localAddress = address
        }
        let loop = self.context.nextLoop()
        // Nobody waits for it: not for a promise either, which a loop that is shut down meanwhile would leave open.
        Task {
            switch self.request.mode {
            case .publish: await self.publish(on: loop)
            case .request: await self.play(on: loop)
            }
        }
    }

    private func identity() -> PeerIdentity {
        let query = self.request.query
        var client = ClientDescription()
        client.query = ClientDescription.bounded(query, to: ClientDescription.maximumQueryLength)
        let local = self.state.withLock { $0.localAddress }
        client.tcURL = "srt://\(local?.peerDescription ?? "")/\(self.request.app)"
        self.account.client = client
        var peer = PeerIdentity(
            transport: "srt", address: self.account.address?.peerDescription ?? "unknown", vhost: self.request.host,
            host: "", app: self.request.app, name: self.request.name, query: query,
            token: self.request.parameter("token") ?? "")
        peer.client = client
        peer.account = self.account
        return peer
    }

    private func refused(_ refusal: SessionRefusal) {
        self.context.configuration.sessions.refused("srt", refusal.cause)
        self.end(.failed, "\(refusal.cause.rawValue): \(refusal.text)")
    }

    // MARK: Publishing

    private func publish(on loop: any EventLoop) async {
        let publisher = SRTPublisher(loop: loop)
        switch await self.context.gate.publish(
            self.identity(), relay: nil, clock: .mpegTS, connection: publisher)
        {
        case .failure(let refusal): self.refused(refusal)
        case .success(let sink):
            let isStarted: Void? = try? await loop.submit { self.begin(publisher, sink.value) }.get()
            if isStarted == nil { self.end(.shutdown, "the node is shutting down") }
        }
    }

    /// On the publisher's loop. Whatever goes wrong, the sink is finished.
    private func begin(_ publisher: SRTPublisher, _ sink: any MediaSink) {
        guard let key = sink.key ?? (try? StreamKey(app: self.request.app, name: self.request.name)) else {
            sink.finish()
            return self.refused(SessionRefusal(.badName, "the stream id names no stream"))
        }
        let now = NIODeadline.now()
        let isDeciding = self.state.withLock { state in
            guard case .deciding = state.phase else { return false }
            state.phase = .publishing(publisher, since: now)
            state.activeSince = now
            state.silence = SRTSilence(now: now)
            return true
        }
        let activity = SessionActivity(kind: .publish, key: key, transport: "srt", epoch: sink.epoch)
        guard isDeciding, self.context.configuration.sessions.begin(self.account, activity) else {
            sink.finish()
            return self.end(.failed, "the session was ended")
        }
        let publication = TSPublication(
            configuration: .init(
                demuxer: self.settings.demuxer, waitsForKeyframeAfterLoss: self.settings.waitsForKeyframeAfterLoss))
        let passage =
            self.settings.passesThrough
            ? SRTPassage(table: self.context.audiences, key: key, publisher: UInt64(UInt32(bitPattern: self.socket.id)))
            : nil
        var logger = self.logger
        logger[metadataKey: "epoch"] = "\(sink.epoch)"
        if let revoked = publisher.start(
            sink, publication: publication, passage: passage, owner: self, logger: logger)
        {
            passage?.end()
            sink.finish()
            return self.revoked(revoked)
        }
        self.logger.info("SRT publish", metadata: ["encrypted": "\(self.snapshot.isEncrypted)"])
    }

    func received(_ bytes: ByteBuffer) {
        self.account.received(bytes.readableBytes)
        let publisher: SRTPublisher? = self.state.withLock { state in
            if case .publishing(let publisher, _) = state.phase { publisher } else { nil }
        }
        publisher?.received(bytes)
    }

    func setReading(_ isReading: Bool) { self.context.poller.setReading(self.socket, isReading) }

    func revoked(_ reason: PublishEnd) {
        switch reason {
        case .takenOver: self.end(.takenOver, "another publisher took the stream")
        case .superseded(let epoch): self.end(.takenOver, "the cluster has epoch \(epoch) of the stream")
        case .kicked(let text): self.end(.kicked, text)
        }
    }

    // MARK: Playing

    private func play(on loop: any EventLoop) async {
        let grant: PlayGrant
        switch await self.context.gate.play(self.identity(), relay: nil, on: loop) {
        case .failure(let refusal): return self.refused(refusal)
        case .success(let granted): grant = granted
        }
        let (audiences, settings) = (self.context.audiences, self.settings)
        let audience = try? await grant.stream.home.submit {
            audiences.takeSeat(of: grant.stream, settings: settings, isViewer: true)
        }.get()
        guard let audience = audience ?? nil else {
            return self.refused(SessionRefusal(.notFound, "\(grant.stream.key) has ended"))
        }
        self.begin(grant, audience)
    }

    private func begin(_ grant: PlayGrant, _ audience: SRTStreamAudience) {
        let worker = self.context.nextWorker()
        let player = SRTPlayer(
            socket: self.socket, messageBytes: self.settings.messageBytes, account: self.account
        ) { [weak self] in self?.playerEnded($0) }
        let isDeciding = self.state.withLock { state in
            guard case .deciding = state.phase else { return false }
            state.phase = .playing(player, audience, worker: worker)
            state.activeSince = .now()
            return true
        }
        guard isDeciding else { return grant.stream.home.execute { audience.leaveSeat(isViewer: true) } }
        let activity = SessionActivity(kind: .play, key: grant.stream.key, transport: "srt", epoch: grant.epoch)
        guard self.context.configuration.sessions.begin(self.account, activity) else {
            return self.end(.failed, "the session was ended")
        }
        self.logger.info("SRT play", metadata: ["encrypted": "\(self.snapshot.isEncrypted)"])
        grant.stream.home.execute { audience.add(player, on: worker) }
    }

    /// On the worker's loop: the stream sends nothing more.
    private func playerEnded(_ reason: ViewerEnd) {
        guard reason == .streamEnded else { return self.end(reason.sessionEnd, "\(reason)") }
        let worker: (any EventLoop)? = self.state.withLock { state in
            guard case .playing(_, let audience, let worker) = state.phase else { return nil }
            state.phase = .draining(audience)
            return worker
        }
        guard let worker else { return }
        let drain = SRTDrain(self.socket, grace: self.context.configuration.endGrace, now: .now())
        drain.run(on: worker) { self.end(.streamEnded, "the stream ended") }
    }

    // MARK: Watching

    func sampled(_ statistics: PathStatistics) {
        let now = NIODeadline.now()
        let phase = self.state.withLock { state in
            state.statistics = statistics
            return state.phase
        }
        self.account.path = statistics
        switch phase {
        case .playing(let player, _, let worker):
            let drops = statistics.sendDrops
            worker.execute { player.group?.noteDrops(drops, of: player) }
        case .publishing(let publisher, let since): self.check(publisher, since: since, now: now)
        default: break
        }
    }

    private func check(_ publisher: SRTPublisher, since: NIODeadline, now: NIODeadline) {
        let (bytes, frames) = (self.account.receivedBytes, publisher.frameCount)
        let isReading = publisher.isReading
        let silence = self.state.withLock { state in
            state.silence.look(bytes: bytes, frames: frames, isReading: isReading, now: now)
            return state.silence
        }
        let configuration = self.context.configuration
        if now - silence.lastBytesAt > configuration.idleTimeout {
            self.end(.failed, "the publisher is silent")
        } else if frames == 0, now - since > configuration.firstMediaTimeout {
            self.end(.failed, "the publisher sends no frames")
        } else if frames > 0, now - silence.lastFramesAt > configuration.idleTimeout {
            self.end(.failed, "the publisher sends no frames any more")
        }
    }

    // MARK: Ending

    func lost(_ loss: SRTLoss) {
        switch loss {
        case .broken: self.end(.left, "the connection is over")
        case .rejected(let reason): self.end(.failed, "no connection: \(reason)")
        }
    }

    /// Any thread may call; the first one counts.
    func end(_ end: SessionEnd, _ text: String) {
        let now = NIODeadline.now()
        let phase: Phase = self.state.withLock { state in
            defer { state.phase = .ended }
            if state.outcome == nil {
                state.outcome = SRTSessionOutcome(activeFor: state.activeSince.map { now - $0 }, text: text)
            }
            return state.phase
        }
        switch phase {
        case .ended: return
        case .calling, .deciding: break
        case .publishing(let publisher, _): publisher.loop.execute { publisher.finish() }
        case .playing(let player, let audience, let worker):
            worker.execute { player.leave() }
            audience.stream.home.execute { audience.leaveSeat(isViewer: true) }
        case .draining(let audience): audience.stream.home.execute { audience.leaveSeat(isViewer: true) }
        }
        self.context.poller.close(self.socket)
        self.context.configuration.sessions.close(self.account, end)
    }

    func closed(_ last: PathStatistics?) {
        // The server stopped before anybody ended the session.
        self.end(.shutdown, "the node is shutting down")
        let (outcome, statistics) = self.state.withLock { state in
            if let last { state.statistics = last }
            return (state.outcome ?? SRTSessionOutcome(text: ""), state.statistics)
        }
        // Whoever makes calls tells of those of which nothing comes.
        self.logger.log(
            level: self.calls && outcome.activeFor == nil ? .debug : .info, "SRT session ended",
            metadata: [
                "reason": "\(outcome.text)", "rtt": "\(statistics.roundTripMillis)",
                "lost": "\(statistics.sendLoss + statistics.receiveLoss)",
                "dropped": "\(statistics.sendDrops + statistics.receiveDrops)",
            ])
        self.context.onEnd(self, outcome)
    }
}

/// How long a publisher has been silent, by what came up to each look.
///
/// While it was us who did not read, it is not to blame.
struct SRTSilence: Sendable {
    private var bytes: UInt64 = 0
    private var frames: UInt64 = 0
    private(set) var lastBytesAt: NIODeadline
    private(set) var lastFramesAt: NIODeadline

    init(now: NIODeadline = .now()) {
        self.lastBytesAt = now
        self.lastFramesAt = now
    }

    mutating func look(bytes: UInt64, frames: UInt64, isReading: Bool, now: NIODeadline) {
        if bytes != self.bytes || !isReading { self.lastBytesAt = now }
        if frames != self.frames || !isReading { self.lastFramesAt = now }
        (self.bytes, self.frames) = (bytes, frames)
    }
}

/// One session's connection at one moment.
package struct SRTSessionSnapshot: Sendable, Hashable {
    /// The id of the session's account.
    package let account: String
    /// Both ends share a key.
    package let isEncrypted: Bool
    package let statistics: PathStatistics
}

extension SRTStreamSettings {
    /// Whole packets of a transport stream in one message.
    var messageBytes: Int {
        guard case .integer(let bytes) = self.options[.payloadSize] else { return 1_316 }
        return max(TS.packetLength, bytes / TS.packetLength * TS.packetLength)
    }
}

extension ViewerEnd {
    var sessionEnd: SessionEnd {
        switch self {
        case .streamEnded: .streamEnded
        case .tooSlow: .tooSlow
        case .socketFailed: .left
        case .kicked: .kicked
        }
    }
}
