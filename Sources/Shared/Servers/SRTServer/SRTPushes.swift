package import Logging
package import Media
import NIOCore
package import SRTAccess
package import StreamHub
import Streaming
import Synchronization

/// Sends streams of this node to other servers by SRT.
///
/// A destination that is lost is called again with growing pauses, as long as the stream is published or waited for.
package final class SRTPushes: Sendable {
    private struct State {
        var pushes: [ObjectIdentifier: [SRTPush]] = [:]
        var isClosed = false
    }

    private static let maximumPushes = 1_000

    let server: SRTServer
    fileprivate let pauses: SRTPauses
    private let logger: Logger
    private let state = Mutex(State())

    package init(server: SRTServer, pauses: SRTPauses = SRTPauses(), logger: Logger) {
        self.server = server
        self.pauses = pauses
        self.logger = logger
    }

    /// The stream is published here: it goes to these URLs from now on, and to no others. On its home loop.
    package func published(_ stream: LiveStream, to urls: [SRTURL]) {
        stream.home.assertInEventLoop()
        let id = ObjectIdentifier(stream)
        let (begun, ended) = self.state.withLock { state -> ([SRTPush], [SRTPush]) in
            guard !state.isClosed else { return ([], []) }
            let former = state.pushes[id] ?? []
            let kept = former.filter { urls.contains($0.url) }
            let room = Self.maximumPushes - state.pushes.values.reduce(0) { $0 + $1.count }
            let begun = Set(urls).filter { url in !kept.contains { $0.url == url } }.prefix(max(0, room)).map {
                SRTPush(stream: stream, url: $0, service: self, logger: self.logger)
            }
            let all = kept + begun
            state.pushes[id] = all.isEmpty ? nil : all
            return (begun, former.filter { one in !kept.contains { $0 === one } })
        }
        for push in ended { push.finish() }
        for push in begun { push.start() }
    }

    /// Ends all. Nothing is pushed any more when it returns.
    package func close() async {
        let all = self.state.withLock { state in
            defer { state.pushes = [:] }
            state.isClosed = true
            return state.pushes.values.flatMap { $0 }
        }
        for push in all { try? await push.stream.home.submit { push.finish() }.get() }
    }

    /// What is pushed now.
    package var snapshots: [SRTPushSnapshot] {
        self.state.withLock { $0.pushes.values.flatMap { $0 } }.map(\.snapshot)
    }

    fileprivate func ended(_ push: SRTPush) {
        let id = ObjectIdentifier(push.stream)
        self.state.withLock { state in
            state.pushes[id]?.removeAll { $0 === push }
            if state.pushes[id]?.isEmpty == true { state.pushes[id] = nil }
        }
    }
}

/// One stream on its way to one destination, for the API.
package struct SRTPushSnapshot: Sendable, Hashable {
    package var key: StreamKey
    /// Without what is secret.
    package var url: String
    package var state = SRTCallState.waiting
    package var attempts = 0
    /// Why the last connection ended, or did not come about; empty if there was none.
    package var lastError = ""
    /// Over all connections.
    package var sentBytes: UInt64 = 0
    /// Of the connection that stands.
    package var path: PathStatistics?
}

/// States: idle → calling → live → (lost) waiting → calling…, until the stream has ended. On the stream's home loop.
// Safety: mutable state is touched on `stream.home` only, but for `shared`, which has its lock.
private final class SRTPush: StreamTap, @unchecked Sendable {
    private enum State {
        case idle
        /// `nil`: the name is looked up.
        case calling(SRTSocket?)
        case live(SRTSocket, SRTPlayer, SRTStreamAudience, worker: any EventLoop, since: NIODeadline)
        case waiting(Scheduled<Void>)
        case over
    }

    private struct Shared {
        var snapshot: SRTPushSnapshot
        /// Of the connection that stands.
        var player: SRTPlayer?
    }

    let stream: LiveStream
    let url: SRTURL
    private let service: SRTPushes
    private let logger: Logger
    private let shared: Mutex<Shared>
    private var state = State.idle
    private var hasSource = false
    /// The stream is over; its last packets are on their way.
    private var isEnding = false
    private var isDraining = false
    /// Calls of which nothing came, or not for long, since the last that stood for the longest pause.
    private var failures = 0
    /// Which call what is heard belongs to.
    private var attempt = 0

    init(stream: LiveStream, url: SRTURL, service: SRTPushes, logger: Logger) {
        self.stream = stream
        self.url = url
        self.service = service
        var logger = logger
        logger[metadataKey: "stream"] = "\(stream.key)"
        logger[metadataKey: "destination"] = "\(url.printable)"
        self.logger = logger
        self.shared = Mutex(Shared(snapshot: SRTPushSnapshot(key: stream.key, url: url.printable)))
    }

    var server: SRTServer { self.service.server }

    var snapshot: SRTPushSnapshot {
        self.shared.withLock { shared in
            var snapshot = shared.snapshot
            snapshot.sentBytes += shared.player?.sentBytes ?? 0
            return snapshot
        }
    }

    // MARK: Life

    func start() {
        self.stream.attach(self)
        if case .idle = self.state { self.call() }
    }

    func finish() {
        let state = self.state
        if case .over = state { return }
        self.state = .over
        self.attempt += 1
        self.release(state)
        self.stream.detach(self)
        self.service.ended(self)
    }

    /// Gives back what a state holds.
    private func release(_ state: State) {
        switch state {
        case .idle, .over: break
        case .waiting(let timer): timer.cancel()
        case .calling(let socket):
            if let socket { self.service.server.poller?.close(socket) }
        case .live(let socket, let player, let audience, let worker, _):
            self.shared.withLock { shared in
                shared.snapshot.sentBytes += player.sentBytes
                shared.snapshot.path = nil
                shared.player = nil
            }
            worker.execute { player.leave() }
            audience.leaveSeat(isViewer: false)
            self.service.server.poller?.close(socket)
        }
    }

    private func call() {
        guard self.hasSource else {
            self.state = .idle
            return
        }
        self.attempt += 1
        let attempt = self.attempt
        self.state = .calling(nil)
        self.shared.withLock { shared in
            shared.snapshot.state = .connecting
            shared.snapshot.attempts += 1
        }
        SRTAddresses.resolve(self.url, on: self.stream.home).assumeIsolated().whenComplete { result in
            guard attempt == self.attempt, case .calling = self.state else { return }
            switch result {
            case .success(let address): self.call(address, attempt)
            case .failure(let error): self.failed(ConnectFailure.text(error))
            }
        }
    }

    private func call(_ address: SocketAddress, _ attempt: Int) {
        let (server, url) = (self.service.server, self.url)
        guard server.poller != nil else { return self.failed("the server is stopping") }
        let options = server.configuration.callOptions(url)
        server.nextWorker.execute { [stream] in
            let made: Result<SRTSocket, any Error> = Result { try SRTServer.call(url, address, options) }
            stream.home.execute { self.called(made, attempt) }
        }
    }

    private func called(_ made: Result<SRTSocket, any Error>, _ attempt: Int) {
        let isCurrent = if case .calling = self.state { attempt == self.attempt } else { false }
        switch made {
        case .failure(let error): if isCurrent { self.failed("\(error)") }
        case .success(let socket):
            // Without a poller the process ends.
            guard let poller = self.service.server.poller else { return }
            guard isCurrent else { return poller.close(socket) }
            self.state = .calling(socket)
            poller.add(socket, as: .caller(SRTPushCall(push: self, socket: socket, attempt: attempt)))
        }
    }

    fileprivate func connected(_ attempt: Int) {
        guard attempt == self.attempt, case .calling(.some(let socket)) = self.state else { return }
        let server = self.service.server
        var settings = server.configuration.settings(
            self.stream.key.vhost, self.stream.key.app, self.stream.key.name)
        settings.options = server.configuration.callOptions(self.url)
        guard let audience = server.audiences.takeSeat(of: self.stream, settings: settings, isViewer: false) else {
            return self.finish()
        }
        let worker = server.nextWorker
        let player = SRTPlayer(
            socket: socket, messageBytes: settings.messageBytes, account: nil
        ) { [stream, weak self] end in
            stream.home.execute { [weak self] in self?.ended(attempt, "\(end)") }
        }
        self.state = .live(socket, player, audience, worker: worker, since: .now())
        self.shared.withLock { shared in
            shared.snapshot.state = .live
            shared.player = player
        }
        // Where connections do not last, the next one is told when it does.
        if self.failures == 0 { self.logger.info("a stream is sent on by SRT") }
        audience.add(player, on: worker)
    }

    /// On the poller's thread, while the connection stands.
    fileprivate func sampled(_ attempt: Int, _ statistics: PathStatistics) {
        self.shared.withLock { shared in
            if shared.player != nil { shared.snapshot.path = statistics }
        }
        self.stream.home.execute {
            guard attempt == self.attempt, self.failures > 0, case .live(_, _, _, _, let since) = self.state,
                NIODeadline.now() - since >= self.service.pauses.longest
            else { return }
            self.failures = 0
            self.logger.info("a stream is sent on by SRT")
        }
    }

    fileprivate func ended(_ attempt: Int, _ text: String) {
        guard attempt == self.attempt else { return }
        if case .over = self.state { return }
        guard self.isEnding, case .live(let socket, _, _, let worker, _) = self.state else { return self.failed(text) }
        // A second call, because the connection broke meanwhile, ends it.
        if self.isDraining { return self.finish() }
        self.isDraining = true
        let drain = SRTDrain(socket, grace: self.service.server.configuration.endGrace, now: .now())
        drain.run(on: worker) { [stream] in stream.home.execute { self.finish() } }
    }

    private func failed(_ text: String) {
        let state = self.state
        if case .live(_, _, _, _, let since) = state, NIODeadline.now() - since >= self.service.pauses.longest {
            self.failures = 0
        }
        self.attempt += 1
        self.state = .idle
        self.release(state)
        // A destination that stays away is worth one line.
        if self.failures == 0 { self.logger.warning("sending on by SRT failed", metadata: ["reason": "\(text)"]) }
        self.failures += 1
        self.shared.withLock { shared in
            shared.snapshot.state = .waiting
            shared.snapshot.lastError = text
        }
        let pause = self.service.pauses.pause(after: self.failures - 1)
        self.state = .waiting(
            self.stream.home.assumeIsolated().scheduleTask(in: pause) { [weak self] in
                guard let self, case .waiting = self.state else { return }
                self.call()
            })
    }

    // MARK: The stream

    func sourceStarted(epoch: UInt64, continues: Bool) {
        self.hasSource = true
        if case .idle = self.state { self.call() }
    }

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {}
    func batchEnded(now: NIODeadline) {}

    func sourceEnded(isFinal: Bool) {
        self.hasSource = false
        guard isFinal else { return }
        // The player's group tells when the last packets were handed over.
        if case .live = self.state { self.isEnding = true } else { self.finish() }
    }
}

/// One call of a push, as the poller sees it.
private final class SRTPushCall: SRTPeer {
    private let push: SRTPush
    private let socket: SRTSocket
    private let attempt: Int

    init(push: SRTPush, socket: SRTSocket, attempt: Int) {
        self.push = push
        self.socket = socket
        self.attempt = attempt
    }

    func connected() {
        self.push.server.pushOpened(self.socket)
        self.push.stream.home.execute { self.push.connected(self.attempt) }
    }

    func received(_ bytes: ByteBuffer) {}

    func sampled(_ statistics: PathStatistics) {
        self.push.server.pushSampled(self.socket, statistics)
        self.push.sampled(self.attempt, statistics)
    }

    func lost(_ loss: SRTLoss) {
        let text =
            switch loss {
            case .rejected(let reason): "no connection: \(reason)"
            case .broken: "the connection is over"
            }
        self.push.stream.home.execute { self.push.ended(self.attempt, text) }
    }

    func closed(_ statistics: PathStatistics?) { self.push.server.pushClosed(self.socket, statistics) }
}
