import Logging
import Media
import NIOCore
import RTMP
import RTMPServer
import StreamHub
import Streaming

/// Keeps one stream of this node fed from another node, as long as somebody watches.
///
/// States: resolving → connecting → playing → (lost) resolving again, until the stream has ended for good or nobody has
/// watched for the linger time. Runs on the stream's home loop.
// Safety: mutable state is touched on `stream.home` only.
final class StreamPull: @unchecked Sendable {
    struct Settings: Sendable {
        var node: String
        var client: RTMPClientConfiguration
        var connectTimeout: TimeAmount
        var linger: TimeAmount
        /// How long viewers are kept while the stream cannot be had.
        var hold: TimeAmount
        /// The cluster's secret, by which this node proves itself.
        var secret: String?
    }

    enum Outcome: Sendable {
        case playing(epoch: UInt64)
        case failed(SessionRefusal)
        /// The live stream object was closed before the pull began: ask again.
        case streamIsGone
    }

    private enum State {
        case resolving
        case connecting(RTMPPull, to: Upstream)
        case playing(RTMPPull, from: Upstream, session: UInt64)
        case backingOff(Scheduled<Void>)
        case over
    }

    private let stream: LiveStream
    private let hub: StreamHub
    private let routes: RouteSource
    private let settings: Settings
    private let logger: Logger
    private let onOver: @Sendable (StreamKey) -> Void
    private var state = State.resolving
    private var waiters: [EventLoopPromise<Outcome>] = []
    private var hasPlayed = false
    /// The upstream said in order that the stream is over.
    private var endAnnounced = false
    /// What is played now or was last: it tells whether a source's clock goes on.
    private var last: Upstream?
    private var lostAt: NIODeadline?
    private var attempts = 0
    /// The stream is known to be elsewhere, so the end of the pull is no loss.
    private var isSwitching = false
    private var attempt: UInt64 = 0
    private var lingerTimer: Scheduled<Void>?
    /// What the last upstream said when it refused.
    private var refusal: SessionRefusal?

    init(
        stream: LiveStream, hub: StreamHub, routes: RouteSource, settings: Settings, logger: Logger,
        onOver: @escaping @Sendable (StreamKey) -> Void
    ) {
        self.stream = stream
        self.hub = hub
        self.routes = routes
        self.settings = settings
        self.logger = logger
        self.onOver = onOver
    }

    private var home: any EventLoop { self.stream.home }
    private var isOver: Bool { if case .over = self.state { true } else { false } }

    // MARK: Demand

    /// Somebody wants to watch. The future tells whether the stream plays.
    func demand() -> EventLoopFuture<Outcome> {
        self.home.assertInEventLoop()
        if case .playing(_, let upstream, _) = self.state {
            self.armLinger()
            return self.home.makeSucceededFuture(.playing(epoch: upstream.epoch))
        }
        if self.hasPlayed, !self.isOver {
            // The upstream was lost and is looked for; a new viewer waits with the others.
            return self.home.makeSucceededFuture(.playing(epoch: self.last?.epoch ?? 0))
        }
        let promise = self.home.makePromise(of: Outcome.self)
        if self.isOver {
            promise.succeed(.streamIsGone)
        } else {
            self.waiters.append(promise)
        }
        return promise.futureResult
    }

    /// Begins. On the home loop, once.
    func start() {
        self.home.assertInEventLoop()
        guard self.stream.hold() else {
            self.state = .over
            self.onOver(self.stream.key)
            return self.answer(.streamIsGone)
        }
        self.resolve()
    }

    /// The placement of the stream changed: look again, and leave an upstream that is older.
    func placementChanged(epoch: UInt64, node: String?, isEnded: Bool) {
        switch self.state {
        case .over, .resolving: break
        case .connecting(let pull, let upstream):
            guard !isEnded, let node, epoch > upstream.epoch, node != upstream.node else { return }
            self.attempt += 1
            pull.stop()
            self.resolve()
        case .backingOff(let timer):
            guard !isEnded else { return }
            timer.cancel()
            self.resolve()
        case .playing(let pull, let upstream, _):
            guard !isEnded, let node, epoch > upstream.epoch, node != upstream.node else { return }
            self.logger.notice(
                "switching upstream", metadata: ["from": "\(upstream.node)", "to": "\(node)", "epoch": "\(epoch)"])
            self.isSwitching = true
            pull.stop()
        }
    }

    /// Nobody watches any more, perhaps for a short time only.
    func unwatched() { self.armLinger() }

    private func armLinger() {
        self.lingerTimer?.cancel()
        self.lingerTimer = self.home.assumeIsolated().scheduleTask(in: self.settings.linger) {
            self.lingerTimer = nil
            guard self.stream.viewerCount == 0 else { return }
            self.finish(nil)
        }
    }

    // MARK: The way to the upstream

    private func resolve() {
        self.state = .resolving
        self.attempt += 1
        let attempt = self.attempt
        let routes = self.routes
        let key = self.stream.key
        // The answer comes back to the home loop and is checked against the attempt.
        let answer = self.home.makeFutureWithTask { await routes.play(key, asksSuppliers: true) }
        answer.assumeIsolated().whenSuccess { answer in
            guard attempt == self.attempt, case .resolving = self.state else { return }
            self.resolved(answer)
        }
    }

    private func resolved(_ answer: RouteSource.Answer) {
        switch answer {
        case .upstreams(let upstreams, _):
            self.connect(upstreams[...])
        case .notFound, .ended:
            self.refusal = nil
            self.failed(isEnded: true)
        case .unavailable(let text):
            self.refusal = SessionRefusal(.unavailable, text)
            self.failed(isEnded: false)
        }
    }

    private func connect(_ upstreams: ArraySlice<Upstream>) {
        guard let upstream = upstreams.first else { return self.failed(isEnded: self.refusal?.cause == .notFound) }
        let rest = upstreams.dropFirst()
        self.attempt += 1
        let attempt = self.attempt
        let pull = RTMPPull(on: self.home) { epoch in
            attempt == self.attempt ? self.established(upstream, epoch: epoch) : nil
        } onEnd: { end in
            guard attempt == self.attempt else { return }
            self.ended(end, upstream: upstream, rest: rest)
        }
        self.state = .connecting(pull, to: upstream)
        let remote = RTMPRemote(
            host: upstream.host, port: upstream.port, key: self.stream.key,
            relay: RelayIdentity(node: self.settings.node, epoch: upstream.epoch), secret: self.settings.secret)
        pull.start(remote, configuration: self.settings.client, connectTimeout: self.settings.connectTimeout)
    }

    private func established(_ upstream: Upstream, epoch: UInt64?) -> (any MediaSink)? {
        guard case .connecting(let pull, _) = self.state else { return nil }
        var upstream = upstream
        upstream.epoch = max(upstream.epoch, epoch ?? 0)
        let id = self.hub.nextSessionID()
        if let refusal = self.stream.claim(.init(id: id, token: "", isRelay: true)) {
            // A publisher came to this node meanwhile, which is the better source.
            self.logger.info("pull not needed", metadata: ["reason": "\(refusal)"])
            self.finish(.playing(epoch: upstream.epoch))
            return nil
        }
        let continues = self.last.map { $0.node == upstream.node && $0.epoch == upstream.epoch } ?? false
        let publisher = PullPublisher { [weak self] in self?.replaced(session: id) }
        guard
            self.stream.activate(
                id, publisher: publisher, epoch: upstream.epoch, clock: .rtmp, continuesClock: continues)
        else { return nil }
        self.logger.info(
            "pulling",
            metadata: ["from": "\(upstream.node)", "epoch": "\(upstream.epoch)", "continues": "\(continues)"])
        self.last = upstream
        self.lostAt = nil
        self.attempts = 0
        self.hasPlayed = true
        self.endAnnounced = false
        self.state = .playing(pull, from: upstream, session: id)
        self.answer(.playing(epoch: upstream.epoch))
        self.armLinger()
        return Publication(stream: self.stream, id: id, epoch: upstream.epoch)
    }

    /// A publisher of this node took the stream.
    private func replaced(session id: UInt64) {
        guard case .playing(_, _, id) = self.state else { return }
        self.finish(nil)
    }

    private func ended(_ end: RTMPLinkEnd, upstream: Upstream, rest: ArraySlice<Upstream>) {
        let wasPlaying = if case .playing = self.state { true } else { false }
        // One line for a loss; the attempts that follow are news only to someone who looks for them.
        self.logger.log(
            level: self.attempts == 0 ? .info : .debug, "upstream ended",
            metadata: ["from": "\(upstream.node)", "reason": "\(end)"])
        switch end {
        case .rejected(let code, let description):
            self.refusal = SessionRefusal(
                code == "NetStream.Play.StreamNotFound" ? .notFound : .unavailable, description)
            if !rest.isEmpty { return self.connect(rest) }
            self.failed(isEnded: self.refusal?.cause == .notFound)
        case .streamEnded where wasPlaying:
            // It may have ended there only: a publisher that moved is already known to the cluster, or will be soon.
            guard self.routes.link != nil else { return self.finish(nil) }
            self.endAnnounced = true
            self.failed(isEnded: true)
        case .closed where self.isSwitching:
            self.isSwitching = false
            self.lostAt = .now()
            self.resolve()
        case .streamEnded, .failed, .closed:
            self.refusal = SessionRefusal(.unavailable, "the upstream \(upstream.node) cannot be reached")
            if !wasPlaying, !rest.isEmpty { return self.connect(rest) }
            self.failed(isEnded: false)
        }
    }

    /// The stream cannot be had now. `isEnded`: somebody who knows said that nobody publishes it.
    private func failed(isEnded: Bool) {
        let now = NIODeadline.now()
        let lostAt = self.lostAt ?? now
        self.lostAt = lostAt
        let limit: TimeAmount = !isEnded ? .seconds(60) : self.endAnnounced ? .seconds(2) : self.settings.hold
        let isHopeless = self.hasPlayed ? now - lostAt > limit : (isEnded || self.attempts >= 2)
        guard !isHopeless else {
            return self.finish(
                .failed(self.refusal ?? SessionRefusal(.notFound, "nobody publishes \(self.stream.key)")))
        }
        self.attempts += 1
        let base = min(1_000, 50 << min(self.attempts, 6))
        let delay = TimeAmount.milliseconds(Int64(base / 2 + Int.random(in: 0...base / 2)))
        self.state = .backingOff(
            self.home.scheduleTask(in: delay) {
                guard case .backingOff = self.state else { return }
                self.resolve()
            })
    }

    private func answer(_ outcome: Outcome) {
        let waiters = self.waiters
        self.waiters = []
        for waiter in waiters { waiter.succeed(outcome) }
    }

    /// Ends the pull, and the stream with it.
    private func finish(_ outcome: Outcome?) {
        let state = self.state
        guard !self.isOver else { return }
        self.state = .over
        self.attempt += 1
        self.lingerTimer?.cancel()
        switch state {
        case .connecting(let pull, _), .playing(let pull, _, _): pull.stop()
        case .backingOff(let timer): timer.cancel()
        case .resolving, .over: break
        }
        self.onOver(self.stream.key)
        self.answer(outcome ?? .failed(SessionRefusal(.notFound, "\(self.stream.key) has ended")))
        self.stream.endNow(.streamEnded)
        self.stream.letGo(closesNow: !self.hasPlayed)
    }
}

/// The pull as the stream's publisher.
private final class PullPublisher: Publisher {
    private let onRevoked: @Sendable () -> Void

    init(_ onRevoked: @escaping @Sendable () -> Void) { self.onRevoked = onRevoked }

    func publishingRevoked(_ reason: PublishEnd) { self.onRevoked() }
}
