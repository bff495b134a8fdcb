import Logging
import Media
import NIOCore
import RTPReceiving
import RTSP
import RTSPSessions
import StreamHub
import Streaming

/// One RTSP connection: feeds the session core and carries out what it says.
///
/// States: nothing → (DESCRIBE, ANNOUNCE) waiting for the gate → watching or publishing, to the connection's end. Runs on
/// the channel's loop.
final class RTSPHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Activity {
        case none
        /// The gate was asked; `ticket` tells late answers from current ones.
        case deciding(ticket: UInt64)
        case watching(RTSPWatch)
        case publishing(RTSPPublication)
    }

    let configuration: RTSPServerConfiguration
    let gate: any SessionGate
    let hub: StreamHub
    let audiences: RTSPAudienceTable
    let ports: PortPool?
    let account: SessionAccount
    let isTLS: Bool
    var logger: Logger
    var session: RTSPServerSession
    var authenticator: RTSPAuthenticator
    var activity = Activity.none
    private var ticket: UInt64 = 0
    /// The stream was taken from this publisher before the gate's answer was here.
    var earlyRevocation: PublishEnd?
    var link: RTSPConnectionLink?
    private(set) var context: ChannelHandlerContext?
    private(set) var isClosing = false
    private var isDraining = false
    private var isReadingBlocked = false
    private var isFlowBlocked = false
    private var isShuttingDown = false
    private var timer: Scheduled<Void>?
    private var armedDeadline = NIODeadline.distantFuture

    init(
        configuration: RTSPServerConfiguration, gate: any SessionGate, hub: StreamHub, audiences: RTSPAudienceTable,
        ports: PortPool?, account: SessionAccount, isTLS: Bool, logger: Logger
    ) {
        self.configuration = configuration
        self.gate = gate
        self.hub = hub
        self.audiences = audiences
        self.ports = ports
        self.account = account
        self.isTLS = isTLS
        self.logger = logger
        var session = configuration.session
        if ports == nil { session.allowsDatagrams = false }
        self.session = RTSPServerSession(configuration: session, id: Self.sessionID(), now: .now())
        self.authenticator = RTSPAuthenticator(
            realm: configuration.realm, methods: configuration.authentication,
            maximumAttempts: configuration.maximumAttempts)
    }

    /// Sixteen hexadecimal digits that nobody can guess.
    private static func sessionID() -> String {
        let digits = String(UInt64.random(in: 0...UInt64.max), radix: 16, uppercase: true)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    var sessions: SessionRegistry { self.configuration.sessions }
    var transport: String { self.isTLS ? "rtsps" : "rtsp" }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.logger[metadataKey: "peer"] = "\(context.channel.remoteAddress?.peerDescription ?? "unknown")"
        self.logger[metadataKey: "session"] = "\(self.account.id)"
        let link = RTSPConnectionLink(handler: self, loop: context.eventLoop)
        self.link = link
        self.account.onTerminate { link.terminate($0, $1) }
        self.armTimer(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isClosing else { return }
        self.session.receive(self.unwrapInboundIn(data), now: .now())
        self.drain()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.turnEnded()
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        // A peer that reads no answers is not read from; when a viewer is too slow the fan-out says.
        self.applyReading()
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.isClosing = true
        self.stopActivity(.left)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.logger.debug("connection failed", metadata: ["error": "\(error)"])
        context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is ChannelShouldQuiesceEvent else { return context.fireUserInboundEventTriggered(event) }
        self.isShuttingDown = true
        self.session.close()
        self.drain()
    }

    // MARK: Session

    /// Carries out what the session said. Outputs that come while one is carried out are carried out after it.
    func drain() {
        guard let context = self.context, !self.isDraining else { return }
        self.isDraining = true
        while !self.isClosing, let output = self.session.nextOutput() {
            switch output {
            case .transmit(let bytes): self.transmit(bytes)
            case .event(let event): self.handle(event)
            case .close(let reason): self.close(reason)
            }
        }
        self.isDraining = false
        context.flush()
        self.armTimer(context)
    }

    func transmit(_ bytes: ByteBuffer) {
        if case .watching(let watch) = self.activity, let viewer = watch.viewer {
            viewer.send(bytes)
        } else {
            self.context?.write(self.wrapOutboundOut(bytes), promise: nil)
        }
    }

    private func handle(_ event: RTSPServerEvent) {
        switch event {
        case .requested(let request): self.decide(request)
        case .portsNeeded(let setup): self.bind(setup)
        case .play(let setups): self.play(setups)
        case .record(let setups): self.record(setups)
        case .paused: self.pause()
        case .packet(let track, let isControl, let packet):
            guard case .publishing(let publication) = self.activity else { return }
            publication.receive(packet, track: track, isControl: isControl, now: .now())
        }
    }

    /// A batch of packets was given: hand on what came of it.
    func turnEnded() {
        guard case .publishing(let publication) = self.activity, let context = self.context else { return }
        publication.poll(now: .now()) { bytes, track in self.sendControl(bytes, track: track) }
        context.flush()
        self.armTimer(context)
    }

    private func sendControl(_ bytes: ByteBuffer, track: Int) {
        guard case .publishing(let publication) = self.activity else { return }
        switch publication.way(of: track) {
        case .interleaved(let channel):
            var framed = ByteBuffer()
            framed.writeMultipleIntegers(UInt8(ascii: "$"), channel, UInt16(clamping: bytes.readableBytes))
            framed.writeImmutableBuffer(bytes)
            self.context?.write(self.wrapOutboundOut(framed), promise: nil)
        case .datagrams(let channel, let address):
            self.account.sent(bytes.readableBytes)
            channel.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: bytes), promise: nil)
        case nil: break
        }
    }

    private func armTimer(_ context: ChannelHandlerContext) {
        var next = self.session.nextDeadline
        if case .publishing(let publication) = self.activity, let deadline = publication.nextDeadline {
            next = min(next ?? deadline, deadline)
        }
        guard let next, next < self.armedDeadline, !self.isClosing else { return }
        self.armedDeadline = next
        self.timer?.cancel()
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: next) {
            self.armedDeadline = .distantFuture
            self.deadlineReached(context)
        }
    }

    private func deadlineReached(_ context: ChannelHandlerContext) {
        // While we do not read, the publisher is not to blame for its silence.
        if self.isFlowBlocked { self.session.receivedElsewhere(isMedia: true, now: .now()) }
        self.session.deadlineReached(now: .now())
        self.turnEnded()
        self.drain()
    }

    // MARK: Ending

    private func close(_ reason: RTSPServerEnd) {
        guard !self.isClosing, let context = self.context else { return }
        self.turnEnded()
        let end: SessionEnd
        switch reason {
        case .closed: end = .left
        case .protocolViolation, .tooMuchWaiting, .requestTimeout, .mediaTimeout, .sessionTimeout:
            end = .failed
            self.logger.info("RTSP session closed", metadata: ["reason": "\(reason)"])
        }
        self.stopActivity(end)
        self.isClosing = true
        self.timer?.cancel()
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer())).assumeIsolated().whenComplete { _ in
            context.close(promise: nil)
        }
        // A peer that reads nothing would keep the connection open until its socket times out.
        context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(5)) { context.close(promise: nil) }
    }

    /// Ends what the connection does, whatever it is.
    func stopActivity(_ end: SessionEnd) {
        self.ticket += 1
        let activity = self.activity
        self.activity = .none
        switch activity {
        case .none, .deciding: break
        case .publishing(let publication):
            publication.stop()
            if publication.hasBegun { self.logger.info("publish ended") }
        case .watching(let watch):
            watch.stop()
            if watch.hasBegun {
                self.logger.info(
                    "play ended", metadata: ["sent": "\(watch.sentBytes)", "skips": "\(watch.viewer?.skipCount ?? 0)"])
            }
        }
        self.sessions.end(self.account, self.isShuttingDown ? .shutdown : end)
    }

    /// An operator or a limit ends the session, the stream's end does, or another publisher.
    func finish(_ end: SessionEnd, _ text: String) {
        guard !self.isClosing else { return }
        self.logger.info("session ended", metadata: ["end": "\(end.rawValue)", "reason": "\(text)"])
        self.turnEnded()
        self.stopActivity(end)
        self.session.close()
        self.drain()
    }

    func revoked(_ reason: PublishEnd) {
        if case .deciding = self.activity { self.earlyRevocation = reason }
        guard case .publishing = self.activity else { return }
        switch reason {
        case .takenOver: self.finish(.takenOver, "another publisher took the stream over")
        case .superseded(let epoch): self.finish(.takenOver, "the cluster knows a newer publisher, with epoch \(epoch)")
        case .kicked(let why): self.finish(.kicked, why)
        }
    }

    // MARK: Deciding

    func beginDeciding() -> UInt64 {
        self.ticket += 1
        self.earlyRevocation = nil
        self.activity = .deciding(ticket: self.ticket)
        return self.ticket
    }

    func isDeciding(_ ticket: UInt64) -> Bool {
        guard case .deciding(ticket) = self.activity, !self.isClosing else { return false }
        return true
    }

    // MARK: Reading

    /// Reads from a publisher, or leaves its bytes in the socket.
    func setReading(_ isReading: Bool) {
        self.isFlowBlocked = !isReading
        if case .publishing(let publication) = self.activity { publication.isReading = isReading }
        self.applyReading()
    }

    private func applyReading() {
        guard let context = self.context else { return }
        let isBlocked = self.isFlowBlocked || !context.channel.isWritable
        guard isBlocked != self.isReadingBlocked else { return }
        self.isReadingBlocked = isBlocked
        context.channel.setOption(.autoRead, value: !isBlocked).whenComplete { _ in }
    }
}

/// Lets streams and operators reach a connection from any loop.
final class RTSPConnectionLink: PublisherConnection {
    let loop: any EventLoop
    private let handler: NIOLoopBound<WeakHandler>

    private struct WeakHandler { weak var handler: RTSPHandler? }

    init(handler: RTSPHandler, loop: any EventLoop) {
        self.loop = loop
        self.handler = NIOLoopBound(WeakHandler(handler: handler), eventLoop: loop)
    }

    func publishingRevoked(_ reason: PublishEnd) {
        self.loop.execute { self.handler.value.handler?.revoked(reason) }
    }

    func setReading(_ isReading: Bool) {
        self.loop.execute { self.handler.value.handler?.setReading(isReading) }
    }

    func terminate(_ end: SessionEnd, _ text: String) {
        self.loop.execute { self.handler.value.handler?.finish(end, text) }
    }

    /// On any loop: calls `body` on the connection's, if it is still there.
    func run(_ body: @escaping @Sendable (RTSPHandler) -> Void) {
        self.loop.execute { if let handler = self.handler.value.handler { body(handler) } }
    }
}
