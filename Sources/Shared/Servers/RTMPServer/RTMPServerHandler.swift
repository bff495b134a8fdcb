import AMF
import FLV
import Logging
import Media
import NIOCore
import RTMP
import StreamHub
import Streaming

/// One RTMP connection: feeds the session core and carries out what it says.
///
/// States: deciding nothing → (publish) waiting for the gate → publishing, or (play) waiting → playing; back to the
/// first when the client stops. Runs on the channel's loop.
final class RTMPServerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Activity {
        case none
        /// The gate was asked; `ticket` tells late answers from current ones.
        case deciding(ticket: UInt64)
        case publishing(any MediaSink)
        case playing(Viewer, PlayGrant, selection: TrackSelection)
    }

    let configuration: RTMPServerConfiguration
    private let gate: any SessionGate
    private let hub: StreamHub
    var logger: Logger
    let account: SessionAccount
    let isTLS: Bool

    private var session: RTMPServerSession
    private var activity = Activity.none
    private var ticket: UInt64 = 0
    /// The stream was taken from this publisher before the gate's answer was here.
    private var earlyRevocation: PublishEnd?
    private var ingest = RTMPIngest()
    private var connection: RTMPPublisherConnection?
    private var context: ChannelHandlerContext?
    /// The peer is a node of the cluster, or says so.
    var relay: RelayIdentity?
    /// The client says that it decodes audio other than AAC.
    var knowsEnhancedAudio = false
    private var wantsAudio = true
    private var wantsVideo = true
    /// Whoever takes the media cannot take more.
    private var isFlowBlocked = false
    /// The peer does not read what we answer, so nothing more is read from it.
    private var isOutputBlocked = false
    private var isReadingBlocked = false
    private(set) var isClosing = false
    /// The node shuts down, and the peer was told.
    private var isShuttingDown = false
    private var timer: Scheduled<Void>?
    private var armedDeadline = NIODeadline.distantFuture

    init(
        configuration: RTMPServerConfiguration, gate: any SessionGate, hub: StreamHub, account: SessionAccount,
        isTLS: Bool, logger: Logger
    ) {
        self.configuration = configuration
        self.gate = gate
        self.hub = hub
        self.account = account
        self.isTLS = isTLS
        self.logger = logger
        self.session = RTMPServerSession(
            configuration: configuration.session, randomBytes: .random(count: RTMPServerSession.randomByteCount),
            now: .now())
    }

    var sessions: SessionRegistry { self.configuration.sessions }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.logger[metadataKey: "peer"] = "\(context.channel.remoteAddress?.peerDescription ?? "unknown")"
        self.logger[metadataKey: "session"] = "\(self.account.id)"
        let connection = RTMPPublisherConnection(handler: self, loop: context.eventLoop)
        self.connection = connection
        self.account.onTerminate { connection.terminate($0, $1) }
        self.drain()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isClosing else { return }
        self.session.receive(self.unwrapInboundIn(data), now: .now())
        self.drain()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.forwardMedia()
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.isOutputBlocked = !context.channel.isWritable
        self.applyReading()
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.stopActivity(.left)
        self.isClosing = true
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.logger.debug("connection failed", metadata: ["error": "\(error)"])
        context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent {
            self.endForShutdown()
        } else if let wish = event as? RTMPReconnectWish {
            self.ask(wish)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    // MARK: Session

    private func drain() {
        guard let context = self.context else { return }
        while let output = self.session.nextOutput() {
            switch output {
            case .transmit(let bytes): self.transmit(bytes)
            case .event(let event): self.handle(event)
            case .close(let error): return self.close(error)
            }
        }
        context.flush()
        self.armTimer(context)
    }

    private func transmit(_ bytes: ByteBuffer) {
        if case .playing(let viewer, _, _) = self.activity {
            viewer.send(bytes)
        } else {
            self.context?.write(self.wrapOutboundOut(bytes), promise: nil)
        }
    }

    private func armTimer(_ context: ChannelHandlerContext) {
        guard let next = self.session.nextDeadline, next < self.armedDeadline else { return }
        self.armedDeadline = next
        self.timer?.cancel()
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: next) {
            self.armedDeadline = .distantFuture
            self.deadlineReached(context)
        }
    }

    private func deadlineReached(_ context: ChannelHandlerContext) {
        if self.isFlowBlocked, self.session.deadlineReason == .media {
            // It is us who do not read: the publisher is not to blame for its silence.
            self.timer = context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) {
                self.deadlineReached(context)
            }
            return
        }
        self.session.deadlineReached(now: .now())
        self.drain()
    }

    /// How long a peer that was told of the end may go on sending.
    private static let linger = TimeAmount.seconds(1)

    private func close(_ error: RTMPError?) {
        guard !self.isClosing, let context = self.context else { return }
        self.isClosing = true
        if let error {
            self.logger.info("RTMP session closed", metadata: ["reason": "\(error)"])
        }
        self.forwardMedia()
        self.stopActivity(error == nil ? .left : .failed)
        self.timer?.cancel()
        let isOrderly = error == nil
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer())).assumeIsolated().whenComplete { _ in
            guard isOrderly else { return context.close(promise: nil) }
            // A socket that is closed while its peer sends resets the connection, and what the peer was told is lost.
            context.close(mode: .output, promise: nil)
            context.eventLoop.assumeIsolated().scheduleTask(in: Self.linger) { context.close(promise: nil) }
        }
        // A peer that reads nothing would keep the connection open until its socket times out.
        context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(5)) { context.close(promise: nil) }
    }

    private func handle(_ event: RTMPServerEvent) {
        switch event {
        case .connectRequested(let request):
            self.identify(request)
            self.session.acceptConnect(now: .now())
        case .publishRequested(let request): self.publish(request)
        case .playRequested(let request): self.play(request)
        case .media(let message):
            self.ingest.receive(message)
            if self.ingest.isHopeless { self.rejectMedia() }
        case .metadata(let metadata, _): self.ingest.receive(metadata)
        case .data(let data): self.ingest.receive(data)
        case .unpublished, .stopped:
            self.forwardMedia()
            self.stopActivity(.left)
        case .paused(let isPaused):
            if case .playing(let viewer, _, _) = self.activity { viewer.setPaused(isPaused) }
        case .receiveAudio(let isWanted):
            self.wantsAudio = isWanted
            self.reselect()
        case .receiveVideo(let isWanted):
            self.wantsVideo = isWanted
            self.reselect()
        case .bufferLength: break
        }
    }

    private func stopActivity(_ end: SessionEnd) {
        self.ticket += 1
        let activity = self.activity
        self.activity = .none
        switch activity {
        case .none, .deciding: break
        case .publishing(let sink):
            sink.finish()
            self.ingest = RTMPIngest()
            self.logger.info("publish ended")
        case .playing(let viewer, _, _):
            viewer.leave()
            self.logger.info("play ended", metadata: ["sent": "\(viewer.sentBytes)", "skips": "\(viewer.skipCount)"])
        }
        self.end(self.isShuttingDown ? .shutdown : end)
        self.setReading(true)
    }

    private func logRefusal(_ message: Logger.Message, _ peer: PeerIdentity, _ refusal: SessionRefusal) {
        self.refused(refusal)
        self.logger.info(
            message,
            metadata: [
                "stream": "\(peer.app)/\(peer.name)", "cause": "\(refusal.cause.rawValue)",
                "reason": "\(refusal.text)",
            ])
    }

    /// An operator or a limit ends the session, whatever it does.
    func terminate(_ end: SessionEnd, _ text: String) {
        guard !self.isClosing else { return }
        self.logger.info("session ended", metadata: ["end": "\(end.rawValue)", "reason": "\(text)"])
        self.forwardMedia()
        // A node that pulls finds another way, which the end of a stream would keep it from.
        let isQuiet = if case .playing = self.activity { self.relay != nil } else { false }
        self.stopActivity(end)
        guard !isQuiet else { return self.close(nil) }
        // Each tells the peer in the one state that it is for.
        self.session.publishEnded(
            code: "NetStream.Publish.Rejected", level: .error, description: text, now: .now())
        self.session.playEnded(code: "NetStream.Play.Failed", level: .error, description: text, now: .now())
        self.session.close()
        self.drain()
    }

    /// Asks a publisher that can to go on at another node.
    private func ask(_ wish: RTMPReconnectWish) {
        guard case .publishing(let sink) = self.activity, !self.isClosing else { return }
        var address: String?
        // Who came by a name that is not ours, such as a balancer's, finds another node by it.
        if self.relay == nil, self.session.requestedHost == wish.ownHost,
            let key = sink.key ?? self.account.activity?.key, let other = wish.alternative(key)
        {
            address = self.session.tcURL(atHost: other.host, port: other.port)
        }
        guard self.session.requestReconnect(tcURL: address, description: wish.text) else { return }
        wish.wasAsked(self.account.id)
        self.logger.info("publisher asked to reconnect", metadata: ["to": "\(address ?? "its URL")"])
        self.drain()
    }

    private func endForShutdown() {
        self.isShuttingDown = true
        // A node that pulls looks for the stream elsewhere if the connection breaks, and ends it if it is told of an end.
        if self.relay != nil, case .playing = self.activity {
            self.close(nil)
            return
        }
        switch self.activity {
        case .none, .deciding: self.session.close()
        case .publishing: self.session.publishEnded(description: "The node is shutting down.", now: .now())
        case .playing: self.session.playEnded(description: "The node is shutting down.", now: .now())
        }
        self.session.close()
        self.drain()
    }
}

// MARK: - Publishing

extension RTMPServerHandler {
    private func publish(_ request: RTMPStreamRequest) {
        guard let context = self.context, let connection = self.connection else { return }
        let peer = self.peer(request)
        let ticket = self.beginDeciding()
        let gate = self.gate
        let relay = self.relay
        // The gate is asynchronous; its answer comes back to this loop and is checked against the ticket.
        context.eventLoop.makeFutureWithTask {
            await gate.publish(peer, relay: relay, clock: .rtmp, connection: connection)
        }.assumeIsolated().whenSuccess { result in
            self.published(result, peer: peer, ticket: ticket)
        }
    }

    private func beginDeciding() -> UInt64 {
        self.ticket += 1
        self.earlyRevocation = nil
        self.activity = .deciding(ticket: self.ticket)
        return self.ticket
    }

    private func isDeciding(_ ticket: UInt64) -> Bool {
        guard case .deciding(ticket) = self.activity, !self.isClosing else { return false }
        return true
    }

    private func published(
        _ result: Result<NIOLoopBound<any MediaSink>, SessionRefusal>, peer: PeerIdentity, ticket: UInt64
    ) {
        guard self.isDeciding(ticket) else {
            if case .success(let sink) = result { sink.value.finish() }
            return
        }
        switch result {
        case .success(let sink):
            let (key, epoch) = (sink.value.key, sink.value.epoch)
            self.activity = .publishing(sink.value)
            self.nameStream(key, peer, epoch: epoch)
            self.logger.info("publish started")
            self.session.acceptPublish(now: .now())
            self.drain()
            // Media that came ahead of the answer may have ended it.
            if case .publishing = self.activity { self.begin(.publish, key, peer, epoch: epoch) }
        case .failure(let refusal):
            self.activity = .none
            self.logRefusal("publish refused", peer, refusal)
            self.session.rejectPublish(code: refusal.publishCode, description: refusal.text, now: .now())
        }
        self.drain()
        self.forwardMedia()
        if let reason = self.earlyRevocation { self.revoked(reason) }
    }

    private func forwardMedia() {
        guard case .publishing(let sink) = self.activity else { return }
        let events = self.ingest.takeEvents()
        if !events.isEmpty { sink.receive(events) }
    }

    private func rejectMedia() {
        let reason = self.ingest.lastError.map { "\($0)" } ?? "unreadable media"
        self.logger.info("publisher sends unreadable media", metadata: ["reason": "\(reason)"])
        self.session.publishEnded(
            code: "NetStream.Publish.Rejected", level: .error, description: "Unreadable media: \(reason)", now: .now())
        self.stopActivity(.failed)
    }

    /// Another session or the cluster took the stream.
    func revoked(_ reason: PublishEnd) {
        if case .deciding = self.activity { self.earlyRevocation = reason }
        guard case .publishing = self.activity else { return }
        let text =
            switch reason {
            case .takenOver: "Another publisher took the stream over."
            case .superseded(let epoch): "The cluster knows a newer publisher of the stream, with epoch \(epoch)."
            case .kicked(let why): why
            }
        self.logger.info("publisher revoked", metadata: ["reason": "\(text)"])
        self.stopActivity(reason.sessionEnd)
        self.session.publishEnded(
            code: "NetStream.Publish.BadName", level: .error, description: text, now: .now())
        self.session.close()
        self.drain()
    }

    /// Reads from the peer, or leaves its bytes in the socket.
    func setReading(_ isReading: Bool) {
        self.isFlowBlocked = !isReading
        self.applyReading()
    }

    private func applyReading() {
        let isBlocked = self.isFlowBlocked || self.isOutputBlocked
        guard isBlocked != self.isReadingBlocked, let context = self.context else { return }
        self.isReadingBlocked = isBlocked
        context.channel.setOption(.autoRead, value: !isBlocked).whenComplete { _ in }
    }
}

// MARK: - Playing

extension RTMPServerHandler: ViewerDelegate {
    private func play(_ request: RTMPStreamRequest) {
        guard let context = self.context else { return }
        let peer = self.peer(request)
        let ticket = self.beginDeciding()
        let gate = self.gate
        let relay = self.relay
        let loop = context.eventLoop
        // As for publishing: the answer is checked against the ticket.
        loop.makeFutureWithTask {
            await gate.play(peer, relay: relay, on: loop)
        }.assumeIsolated().whenSuccess { result in
            self.played(result, peer: peer, ticket: ticket)
        }
    }

    private func played(_ result: Result<PlayGrant, SessionRefusal>, peer: PeerIdentity, ticket: UInt64) {
        guard self.isDeciding(ticket) else { return }
        switch result {
        case .success(let grant):
            self.nameStream(grant.stream.key, peer, epoch: grant.epoch)
            self.logger.info("play started")
            self.session.acceptPlay(information: grant.information, now: .now())
            // The answer must be queued before the first byte of the stream.
            self.drain()
            guard self.isDeciding(ticket) else { return }
            self.begin(.play, grant.stream.key, peer, epoch: grant.epoch)
            self.watch(grant)
        case .failure(let refusal):
            self.activity = .none
            self.logRefusal("play refused", peer, refusal)
            self.session.rejectPlay(code: refusal.playCode, description: refusal.text, now: .now())
        }
        self.drain()
    }

    private func watch(_ grant: PlayGrant) {
        guard let context = self.context, !self.isClosing else { return }
        let viewer = Viewer(
            id: self.hub.nextSessionID(), context: context, writesDirectly: !self.isTLS, account: self.account,
            delegate: self)
        let selection: TrackSelection = self.wantsVideo ? (self.wantsAudio ? .all : .videoOnly) : .audioOnly
        self.activity = .playing(viewer, grant, selection: selection)
        let chunkSize = self.configuration.session.chunkSize
        let hevc = self.configuration.hevcForm(grant.stream.key)
        // An edge pulls without delay: its viewers are batched there.
        let flush = self.relay == nil ? grant.stream.settings.flush : .immediate
        PlayerSocket.tune(
            context.channel, noDelay: self.configuration.playerNoDelay(grant.stream.key) ?? (self.relay != nil))
        grant.stream.join(viewer, rendition: self.rendition(of: grant, selection: selection, flush: flush)) {
            RTMPRendition(chunkSize: chunkSize, hevc: hevc)
        }.hop(to: context.eventLoop).assumeIsolated().whenComplete { result in
            if case .success(true) = result { return }
            self.viewerEnded(.streamEnded)
        }
    }

    /// The client switched a kind of track on or off.
    private func reselect() {
        guard case .playing(let viewer, let grant, let selection) = self.activity else { return }
        let wanted: TrackSelection = self.wantsVideo ? (self.wantsAudio ? .all : .videoOnly) : .audioOnly
        guard wanted != selection else { return }
        viewer.leave()
        self.watch(grant)
    }

    func viewerEnded(_ reason: ViewerEnd) {
        guard case .playing(let viewer, _, _) = self.activity else { return }
        self.activity = .none
        self.logger.info(
            "play ended",
            metadata: ["reason": "\(reason)", "sent": "\(viewer.sentBytes)", "skips": "\(viewer.skipCount)"])
        self.end(reason.sessionEnd)
        switch reason {
        case .streamEnded:
            self.session.playEnded(description: "The stream ended.", now: .now())
        case .tooSlow:
            self.session.playEnded(
                code: "NetStream.Play.InsufficientBW", level: .warning, description: "The viewer is too slow.",
                now: .now())
            self.session.close()
        case .socketFailed:
            self.context?.close(promise: nil)
        case .kicked where self.relay != nil:
            self.context?.close(promise: nil)
        case .kicked(let text):
            self.session.playEnded(description: text, now: .now())
            self.session.close()
        }
        self.drain()
    }
}
