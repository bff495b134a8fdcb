import Logging
import Media
import NIOCore
import NIOPosix
import NIOSSL
import RTSP
import RTSPSessions
import StreamHub
import Synchronization

/// A stream that is fetched, for the API.
package struct RTSPPullSnapshot: Sendable, Hashable {
    package enum State: String, Sendable, CaseIterable {
        /// Nobody watches what is fetched on demand only, or the node begins or ends.
        case idle
        case connecting
        /// The stream is published here.
        case live
        /// For the next try.
        case waiting
    }

    /// The stream here, as `app/name`.
    package var stream: String
    /// Without what may be secret.
    package var url: String
    package var state = State.idle
    /// Those in which the server was found elsewhere, or UDP had to be tried, count once.
    package var attempts = 0
    /// Why a connection broke or did not come about last; empty if that never happened.
    package var lastError = ""
    /// Of the connection that stands.
    package var receivedBytes: UInt64 = 0
}

/// Keeps one stream fetched.
///
/// States: *idle* → (demand) *connected*, which begins with the connecting and ends with the connection → *waiting* for the
/// next try, or *idle* if nobody watches → … → *stopped*.
// Safety: mutable state is touched on `loop` only.
final class RTSPPull: @unchecked Sendable {
    private enum State {
        case idle
        case connected(RTSPPullConnection)
        case waiting(Scheduled<Void>)
        case stopped
    }

    private static let maximumRedirects = 3
    private static let lookInterval = TimeAmount.seconds(1)

    let target: RTSPPullTarget
    let server: RTSPServer
    let configuration: RTSPPullConfiguration
    let loop: any EventLoop
    private(set) var logger: Logger
    private var state = State.idle
    private var failures = 0
    /// Where the server sent us, and how often.
    private var redirected: (url: RTSPURL, count: Int)?
    /// The server has no TCP.
    private var usesDatagrams: Bool
    private var lookTimer: Scheduled<Void>?
    private var lastWatched = NIODeadline.now()
    /// What is told from any thread, and whose bytes.
    private let told: Mutex<(snapshot: RTSPPullSnapshot, account: SessionAccount?)>
    /// When somebody read files of the stream last.
    private let filesWantedAt = Atomic<UInt64>(0)

    init(server: RTSPServer, target: RTSPPullTarget, configuration: RTSPPullConfiguration, logger: Logger) {
        self.server = server
        self.target = target
        self.configuration = configuration
        self.loop = server.nextLoop
        self.usesDatagrams = target.delivery == .udp
        self.told = Mutex((RTSPPullSnapshot(stream: "\(target.app)/\(target.name)", url: target.url.printable), nil))
        self.logger = logger
        self.logger[metadataKey: "stream"] = "\(target.app)/\(target.name)"
        self.logger[metadataKey: "from"] = "\(target.url.printable)"
    }

    /// From any thread.
    var snapshot: RTSPPullSnapshot {
        self.told.withLock { told in
            var snapshot = told.snapshot
            snapshot.receivedBytes = told.account?.receivedBytes ?? 0
            return snapshot
        }
    }

    private func tell(_ state: RTSPPullSnapshot.State, of account: SessionAccount? = nil) {
        self.told.withLock { told in
            told.snapshot.state = state
            told.account = account
        }
    }

    /// From any loop.
    func demand() {
        self.loop.execute {
            self.lastWatched = .now()
            if case .idle = self.state { self.attempt() }
        }
    }

    /// From any thread.
    func filesWanted() { self.filesWantedAt.store(NIODeadline.now().uptimeNanoseconds, ordering: .relaxed) }

    /// From any loop.
    func stop() {
        self.loop.execute {
            let state = self.state
            self.state = .stopped
            self.tell(.idle)
            self.lookTimer?.cancel()
            switch state {
            case .connected(let connection): connection.close()
            case .waiting(let timer): timer.cancel()
            case .idle, .stopped: break
            }
        }
    }

    // MARK: Connecting

    private func attempt() {
        self.told.withLock { $0.snapshot.attempts += 1 }
        self.connect()
    }

    private func connect() {
        let url = self.redirected?.url ?? self.target.url
        let connection = RTSPPullConnection(pull: self, url: url, delivery: self.usesDatagrams ? .udp : .tcp)
        self.state = .connected(connection)
        self.tell(.connecting)
        connection.connect()
        if self.target.isOnDemand { self.look() }
    }

    /// The stream is published.
    func began(_ connection: RTSPPullConnection, _ account: SessionAccount) {
        guard case .connected(let own) = self.state, own === connection else { return }
        self.tell(.live, of: account)
    }

    /// The connection is over, or there is none. `wasPlaying`: media came.
    func ended(_ connection: RTSPPullConnection, _ reason: RTSPPullEnd, wasPlaying: Bool) {
        guard case .connected(let own) = self.state, own === connection else { return }
        if wasPlaying { self.failures = 0 }
        switch reason {
        case .session(.redirected(let url)):
            let count = (self.redirected?.count ?? 0) + 1
            guard count <= Self.maximumRedirects else { break }
            self.redirected = (url, count)
            self.logger.info("redirected", metadata: ["to": "\(url.printable)"])
            return self.connect()
        case .session(.transportRefused) where self.target.delivery == .auto && !self.usesDatagrams:
            self.usesDatagrams = true
            self.logger.info("the server has no TCP: trying UDP")
            return self.connect()
        default: break
        }
        // The next try begins where the first did.
        self.redirected = nil
        if self.target.delivery == .auto { self.usesDatagrams = false }
        if self.target.isOnDemand, reason == .session(.closed) { return self.rest() }
        self.told.withLock { $0.snapshot.lastError = reason.text }
        // One line for a loss; a server that stays away is worth one line, too.
        if self.failures == 0 {
            self.logger.warning("fetching by RTSP failed", metadata: ["reason": "\(reason.text)"])
        }
        if self.target.isOnDemand, self.isUnwatched { return self.rest() }
        self.failures += 1
        self.tell(.waiting)
        let first = max(self.configuration.firstPause.nanoseconds, 1)
        let doubled = first << Int64(min(self.failures - 1, 20))
        let longest = max(min(doubled, self.configuration.longestPause.nanoseconds), 1)
        let pause = TimeAmount.nanoseconds(longest / 2 + Int64.random(in: 0...(longest / 2)))
        self.state = .waiting(
            self.loop.assumeIsolated().scheduleTask(in: pause) {
                guard case .waiting = self.state else { return }
                if self.target.isOnDemand, self.isUnwatched { return self.rest() }
                self.attempt()
            })
    }

    private func rest() {
        self.lookTimer?.cancel()
        self.lookTimer = nil
        self.failures = 0
        self.state = .idle
        self.tell(.idle)
    }

    // MARK: Demand

    private var isUnwatched: Bool {
        let files = NIODeadline.uptimeNanoseconds(self.filesWantedAt.load(ordering: .relaxed))
        // Who left was seen at the last look.
        return NIODeadline.now() - max(self.lastWatched, files) > self.configuration.linger + Self.lookInterval
    }

    /// Looks every second whether somebody watches.
    private func look() {
        self.lookTimer?.cancel()
        self.lookTimer = self.loop.assumeIsolated().scheduleTask(in: Self.lookInterval) {
            self.countViewers()
            self.look()
        }
    }

    private func countViewers() {
        // Until the stream is there nobody can watch it; the connection has deadlines of its own.
        guard case .connected(let connection) = self.state, let key = connection.key else { return }
        let totals = self.server.sessions.totals(of: key)
        if totals.playerCount + totals.relays > 0 { self.lastWatched = .now() }
        if let stream = self.server.hub.existing(key) {
            stream.home.submit { stream.viewerCount }.hop(to: self.loop).assumeIsolated().whenSuccess { count in
                if count > 0 { self.lastWatched = .now() }
            }
        }
        guard self.isUnwatched else { return }
        self.logger.info("nobody watches: no longer fetched")
        self.rest()
        connection.close()
    }
}

/// Why a connection ended.
enum RTSPPullEnd: Error, Equatable {
    case connecting(String)
    /// The connection broke.
    case lost(String)
    case session(RTSPClientEnd)
    /// The gate did not let the stream in, or took it away.
    case refused(String)

    /// In words for the log. Nothing in it is secret.
    var text: String {
        switch self {
        case .connecting(let text): "cannot connect: \(text)"
        case .lost(let text): "the connection broke: \(text)"
        case .refused(let text): text
        case .session(let end):
            switch end {
            case .closed: "closed"
            case .ended: "the server ended the stream"
            case .protocolViolation(let error): "the server sent what is no RTSP: \(error)"
            case .refused(let method, let status): "\(method.rawValue) was answered with \(status.rawValue)"
            case .unauthorized: "user or password are wrong, or missing"
            case .transportRefused: "the server does not send in this way"
            case .redirected: "the server redirects too often"
            case .unusable(let failure): "the server's description is of no use: \(failure)"
            case .requestTimeout(let method): "\(method.rawValue) was not answered"
            case .mediaTimeout: "no media came"
            }
        }
    }
}
