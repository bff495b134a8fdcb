import Logging
import Media
import NIOCore
import NIOPosix
import NIOSSL
import RTMP
import RTMPServer
import StreamHub
import Streaming
import Synchronization

/// One destination of one stream, for the API.
struct RestreamSnapshot: Sendable, Hashable {
    enum State: String, Sendable, Hashable, CaseIterable {
        case connecting, live
        /// For the next try, or for the publisher.
        case waiting
    }

    var key: StreamKey
    /// Without user, password and the values of its query, and without the stream's name where that is a key.
    var url: String
    var state = State.connecting
    /// Bytes of media that were given to connections.
    var sentBytes: UInt64 = 0
    /// Connections that were tried.
    var attempts = 0
    /// How often frames were left out because the destination was slow.
    var skips = 0
    /// Why the last connection ended; empty if none did.
    var lastError = ""
}

/// Publishes streams of this node on other servers by RTMP, as SRS's `forward` does.
///
/// A destination that is slow skips to the next keyframe; one that is lost is tried again with growing pauses, as long as
/// the stream is published or waited for. Each destination follows the stream as a tap, on its home loop.
final class RestreamService: Sendable {
    struct Settings: Sendable {
        var push = RTMPPushConfiguration()
        /// Destinations of all streams together.
        var maximumDestinations = 1_000
        var firstPause = TimeAmount.seconds(1)
        var longestPause = TimeAmount.seconds(30)
    }

    private struct State {
        var restreams: [StreamKey: [Restream]] = [:]
        var tls: EventLoopFuture<NIOSSLContext>?
        var isClosed = false
    }

    private let settings: Settings
    private let logger: Logger
    private let state = Mutex(State())

    init(settings: Settings, logger: Logger) {
        self.settings = settings
        self.logger = logger
    }

    /// The stream is published here: push it to these destinations from now on, and to no others. Call on the stream's home
    /// loop, for each publisher that is no relay.
    ///
    /// `templates` are URLs with the placeholders `[vhost] [app] [stream] [param]`, or `host[:port]` for the same app and
    /// stream there. `query` is the publisher's, without `?`.
    func published(_ stream: LiveStream, templates: [String], query: String) {
        stream.home.assertInEventLoop()
        var wanted: [String: RTMPPushTarget] = [:]
        for template in templates {
            let url = RestreamURL.make(template, key: stream.key, query: query)
            do throws(RTMPPushError) {
                wanted[url] = try RTMPPushTarget(parsing: url)
            } catch {
                self.logger.error(
                    "a destination of a stream is no RTMP URL: \(error)",
                    metadata: ["stream": "\(stream.key)", "destination": "\(RestreamURL.printable(url, stream.key))"])
            }
        }
        let (begun, ended) = self.state.withLock { state -> ([Restream], [Restream]) in
            guard !state.isClosed else { return ([], []) }
            let former = state.restreams[stream.key] ?? []
            let kept = former.filter { $0.stream === stream && wanted[$0.url] != nil }
            for restream in kept { wanted[restream.url] = nil }
            let room = self.settings.maximumDestinations - state.restreams.values.reduce(0) { $0 + $1.count }
            let begun = wanted.sorted { $0.key < $1.key }.prefix(max(0, room)).map { url, target in
                Restream(stream: stream, url: url, target: target, service: self, self.settings, self.logger)
            }
            let all = kept + begun
            state.restreams[stream.key] = all.isEmpty ? nil : all
            return (begun, former.filter { one in !kept.contains { $0 === one } })
        }
        if begun.count < wanted.count {
            self.logger.error("too many destinations of streams", metadata: ["stream": "\(stream.key)"])
        }
        for restream in ended { restream.stop() }
        for restream in begun { restream.start() }
    }

    /// The stream is published elsewhere now. Any loop may call.
    func withdrawn(_ key: StreamKey) {
        for restream in self.state.withLock({ $0.restreams.removeValue(forKey: key) }) ?? [] { restream.stop() }
    }

    /// Ends all. Nothing is pushed any more.
    func close() {
        let all = self.state.withLock { state in
            defer { state.restreams = [:] }
            state.isClosed = true
            return state.restreams.values.flatMap { $0 }
        }
        for restream in all { restream.stop() }
    }

    /// What is pushed, in the order of streams and URLs.
    func snapshots() -> [RestreamSnapshot] {
        self.state.withLock { $0.restreams.values.flatMap { $0 } }.map { $0.snapshot }
            .sorted { ($0.key.description, $0.url) < ($1.key.description, $1.url) }
    }

    fileprivate func ended(_ restream: Restream) {
        self.state.withLock { state in
            state.restreams[restream.stream.key]?.removeAll { $0 === restream }
            if state.restreams[restream.stream.key]?.isEmpty == true { state.restreams[restream.stream.key] = nil }
        }
    }

    /// The system's trust, read on a thread for such work at the first use.
    fileprivate func tlsContext(on loop: any EventLoop) -> EventLoopFuture<NIOSSLContext> {
        if let context = self.settings.push.tls { return loop.makeSucceededFuture(context) }
        let made = self.state.withLock { state in
            if let made = state.tls { return made }
            let made = NIOThreadPool.singleton.runIfActive(eventLoop: loop) {
                try NIOSSLContext(configuration: .makeClientConfiguration())
            }
            state.tls = made
            return made
        }
        made.whenFailure { _ in self.state.withLock { $0.tls = nil } }
        return made.hop(to: loop)
    }
}

/// One stream on its way to one destination.
///
/// States: connecting → live → (lost) waiting → connecting…, until the stream has ended. Runs on the stream's home loop.
// Safety: mutable state is touched on `stream.home` only, but for `shared`, which has its lock.
private final class Restream: StreamTap, @unchecked Sendable {
    private enum State {
        case idle
        case connecting(RTMPPush?)
        case live(RTMPPush)
        case waiting(Scheduled<Void>)
        case over
    }

    let stream: LiveStream
    let url: String
    private let target: RTMPPushTarget
    private let service: RestreamService
    private let settings: RestreamService.Settings
    private let logger: Logger
    private let shared: Mutex<RestreamSnapshot>
    private var state = State.idle
    /// Which connection what is heard belongs to.
    private var attempt = 0
    /// Connections that failed one after another.
    private var failures = 0
    private var liveSince: NIODeadline?
    /// Whether somebody publishes.
    private var hasSource = false
    /// Frames are left out until a decoder can start.
    private var isSkipping = true
    /// What was sent by connections that are over.
    private var sentBefore: UInt64 = 0

    init(
        stream: LiveStream, url: String, target: RTMPPushTarget, service: RestreamService,
        _ settings: RestreamService.Settings, _ logger: Logger
    ) {
        self.stream = stream
        self.url = url
        self.target = target
        self.service = service
        self.settings = settings
        let printable = RestreamURL.printable(url, stream.key)
        var logger = logger
        logger[metadataKey: "stream"] = "\(stream.key)"
        logger[metadataKey: "destination"] = "\(printable)"
        self.logger = logger
        self.shared = Mutex(RestreamSnapshot(key: stream.key, url: printable))
    }

    private var home: any EventLoop { self.stream.home }

    var snapshot: RestreamSnapshot { self.shared.withLock { $0 } }

    private func note(_ body: (inout RestreamSnapshot) -> Void) { self.shared.withLock { body(&$0) } }

    // MARK: Life

    /// On the home loop, once.
    func start() {
        self.stream.attach(self)
        if case .idle = self.state { self.connect() }
    }

    /// Any loop may call.
    func stop() {
        if self.home.inEventLoop { self.finish() } else { self.home.execute { self.finish() } }
    }

    private func finish() {
        let state = self.state
        if case .over = state { return }
        self.state = .over
        self.attempt += 1
        switch state {
        case .connecting(let push): push?.stop()
        case .live(let push): push.stop()
        case .waiting(let timer): timer.cancel()
        case .idle, .over: break
        }
        self.stream.detach(self)
        self.service.ended(self)
    }

    private func connect() {
        self.attempt += 1
        self.note {
            $0.state = .connecting
            $0.attempts += 1
        }
        let attempt = self.attempt
        guard self.target.usesTLS, self.settings.push.tls == nil else {
            return self.connect(attempt, self.settings.push)
        }
        self.state = .connecting(nil)
        self.service.tlsContext(on: self.home).assumeIsolated().whenComplete { result in
            guard attempt == self.attempt else { return }
            switch result {
            case .success(let context):
                var configuration = self.settings.push
                configuration.tls = context
                self.connect(attempt, configuration)
            case .failure(let error):
                self.lost(.failed("no TLS: \(error)"), attempt)
            }
        }
    }

    private func connect(_ attempt: Int, _ configuration: RTMPPushConfiguration) {
        let push = RTMPPush(
            on: self.home, configuration: configuration, onLive: { self.established(attempt) },
            onEnd: { self.lost($0, attempt) })
        self.state = .connecting(push)
        push.start(self.target)
    }

    private func established(_ attempt: Int) {
        guard attempt == self.attempt, case .connecting(.some(let push)) = self.state else { return }
        self.state = .live(push)
        self.isSkipping = true
        self.liveSince = .now()
        self.note { $0.state = .live }
        self.logger.info("a stream is forwarded")
        // Attached anew, a tap is given what the GOP cache holds: the destination starts at the last keyframe.
        self.stream.detach(self)
        self.stream.attach(self)
    }

    private func lost(_ end: RTMPLinkEnd, _ attempt: Int) {
        guard attempt == self.attempt else { return }
        if case .over = self.state { return }
        if case .live(let push) = self.state { self.sentBefore += push.sentBytes }
        if let since = self.liveSince, .now() - since > self.settings.longestPause { self.failures = 0 }
        self.liveSince = nil
        self.failures += 1
        let text = end.text
        self.note {
            $0.state = .waiting
            $0.lastError = text
        }
        // A destination that stays away is worth one line.
        if self.failures == 1 { self.logger.warning("forwarding failed: \(text)") }
        let doubled = self.settings.firstPause.nanoseconds << min(self.failures - 1, 20)
        let longest = min(max(doubled, 1), self.settings.longestPause.nanoseconds)
        let pause = TimeAmount.nanoseconds(longest / 2 + Int64.random(in: 0...(longest / 2)))
        self.state = .waiting(
            self.home.assumeIsolated().scheduleTask(in: pause) { [weak self] in
                guard let self, case .waiting = self.state else { return }
                self.state = .idle
                if self.hasSource { self.connect() }
            })
    }

    // MARK: The tap

    func sourceStarted(epoch: UInt64, continues: Bool) {
        self.hasSource = true
        if case .idle = self.state { self.connect() }
    }

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        guard case .live(let push) = self.state else { return }
        if case .frame(let frame) = event {
            if !push.isWritable, !self.isSkipping {
                self.isSkipping = true
                self.note { $0.skips += 1 }
            }
            if self.isSkipping {
                guard push.isWritable, frame.isKeyframe, frame.kind == .video || state.video == nil else { return }
                self.isSkipping = false
                push.begin(state)
            }
        } else if self.isSkipping {
            // The destination is told what holds when it goes on.
            return
        }
        push.send(event, state: state)
    }

    func batchEnded(now: NIODeadline) {
        guard case .live(let push) = self.state else { return }
        push.flush()
        let sent = self.sentBefore + push.sentBytes
        self.note { $0.sentBytes = sent }
    }

    func sourceEnded(isFinal: Bool) {
        self.hasSource = false
        if isFinal { self.finish() }
    }
}

extension RTMPLinkEnd {
    /// For log and API: what a server wrote is made printable and short.
    fileprivate var text: String {
        switch self {
        case .rejected(let code, let description): "refused: " + Self.printable("\(code) \(description)")
        case .streamEnded: "the server ended the stream"
        case .failed(let text): Self.printable(text)
        case .closed: "closed"
        }
    }

    private static func printable(_ text: String) -> String {
        String(text.unicodeScalars.filter { $0.properties.generalCategory != .control }.map(Character.init).prefix(200))
    }
}

/// The URLs of destinations.
enum RestreamURL {
    /// Fills the placeholders in, each once; what is filled in is not looked at again.
    static func make(_ template: String, key: StreamKey, query: String) -> String {
        let template = template.contains("://") ? template : "rtmp://\(template)/[app]/[stream][param]"
        var url = ""
        var rest = template[...]
        while let open = rest.firstIndex(of: "["), let close = rest[open...].firstIndex(of: "]") {
            url += rest[..<open]
            switch rest[rest.index(after: open)..<close] {
            case "vhost": url += key.vhost
            case "app": url += key.app
            case "stream": url += key.name
            case "param":
                // `?` where the query begins, nothing where it goes on behind `?` or `&`.
                if !query.isEmpty {
                    url += url.hasSuffix("?") || url.hasSuffix("&") ? query : (url.contains("?") ? "&" : "?") + query
                }
            default: url += rest[open...close]
            }
            rest = rest[rest.index(after: close)...]
        }
        return url + rest
    }

    /// The URL for logs and the API: no user or password, no values of the query, and no stream name that is not the
    /// stream's own, since platforms hand out keys in its place.
    static func printable(_ url: String, _ key: StreamKey) -> String {
        let bare = url.prefix { $0 != "?" && $0 != "#" }
        let names = url.dropFirst(bare.count).dropFirst().split(separator: "&").map { $0.prefix { $0 != "=" } + "=***" }
        guard let scheme = bare.firstRange(of: "://") else { return "***" }
        var rest = bare[scheme.upperBound...]
        let authority = rest.prefix { $0 != "/" }
        if let at = authority.lastIndex(of: "@") { rest = rest[rest.index(after: at)...] }
        if let slash = rest.lastIndex(of: "/"), !rest.hasSuffix("/\(key.name)") {
            rest = rest[...slash] + "***"
        }
        return bare[..<scheme.upperBound] + rest + (names.isEmpty ? "" : "?" + names.joined(separator: "&"))
    }
}
