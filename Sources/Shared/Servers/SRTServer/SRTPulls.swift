package import Logging
package import NIOCore
import NIOPosix
package import SRTAccess
package import StreamHub
import Synchronization

/// Fetches streams from other servers for as long as the node runs: each is called again when its connection is lost,
/// after pauses that grow as long as nothing comes of it.
///
/// A URL in the mode `listener` waits for the other server's call instead.
package final class SRTPulls: Sendable {
    private struct State {
        var isStopped = false
        var timers: [Int: Scheduled<Void>] = [:]
        var attempts: [Int: Int] = [:]
        /// The name is looked up, or the socket connects.
        var calling: Set<Int> = []
        var sessions: [Int: SRTSession] = [:]
        var errors: [Int: String] = [:]
    }

    /// One stream and where it comes from.
    package struct Target: Sendable, Hashable {
        /// The stream here, in the mode `publish`.
        package var stream: SRTStreamID
        package var url: SRTURL

        package init(stream: SRTStreamID, url: SRTURL) {
            self.stream = stream
            self.url = url
        }
    }

    private let server: SRTServer
    private let targets: [Target]
    private let pauses: SRTPauses
    private let logger: Logger
    private let state = Mutex(State())

    package init(server: SRTServer, targets: [Target], pauses: SRTPauses = SRTPauses(), logger: Logger) {
        self.server = server
        self.targets = targets
        self.pauses = pauses
        self.logger = logger
    }

    /// What is fetched, or is to be, in the order of the targets. Any thread may ask.
    package var snapshots: [SRTPullSnapshot] {
        self.targets.enumerated().map { index, target in
            self.state.withLock { state in
                var snapshot = SRTPullSnapshot(
                    stream: "\(target.stream.app)/\(target.stream.name)", url: target.url.printable)
                snapshot.attempts = state.attempts[index] ?? 0
                snapshot.lastError = state.errors[index] ?? ""
                if let session = state.sessions[index], session.isActive {
                    snapshot.state = .live
                    snapshot.receivedBytes = session.account.receivedBytes
                    snapshot.path = session.account.path
                } else if state.calling.contains(index) {
                    snapshot.state = .connecting
                }
                return snapshot
            }
        }
    }

    /// The server runs. Errors: an address of a listener that cannot be bound.
    package func start() throws {
        for (index, target) in self.targets.enumerated() {
            if target.url.mode == .listener {
                try self.server.listen(target.url, as: target.stream) { session in
                    self.state.withLock { $0.sessions[index] = session }
                } onEnd: { session, outcome in
                    self.state.withLock { state in
                        state.errors[index] = outcome.text
                        if state.sessions[index] === session { state.sessions[index] = nil }
                    }
                }
            } else {
                self.call(index, failures: 0)
            }
        }
    }

    /// Calls nobody any more. Connections that stand are the server's to end.
    package func stop() {
        let timers = self.state.withLock { state in
            state.isStopped = true
            defer { state.timers = [:] }
            return Array(state.timers.values)
        }
        for timer in timers { timer.cancel() }
    }

    private func call(_ index: Int, failures: Int) {
        let isStopped = self.state.withLock { state in
            guard !state.isStopped else { return true }
            state.calling.insert(index)
            state.attempts[index, default: 0] += 1
            return false
        }
        if isStopped { return }
        let target = self.targets[index]
        SRTAddresses.resolve(target.url, on: self.server.nextLoop).whenComplete { result in
            switch result {
            case .failure(let error):
                self.again(index, failures: failures, SRTSessionOutcome(text: ConnectFailure.text(error)))
            case .success(let address):
                self.server.pull(target.url, at: address, as: target.stream) { session in
                    // It may have ended before this is heard.
                    self.state.withLock { state in
                        if state.calling.contains(index) { state.sessions[index] = session }
                    }
                } onEnd: { outcome in
                    self.again(index, failures: failures, outcome)
                }
            }
        }
    }

    private func again(_ index: Int, failures: Int, _ outcome: SRTSessionOutcome) {
        let target = self.targets[index]
        self.state.withLock { state in
            state.calling.remove(index)
            state.sessions[index] = nil
            state.errors[index] = outcome.text
        }
        // A connection that ends at once is as good as none.
        let isLasting = (outcome.activeFor ?? .zero) >= self.pauses.longest
        let failures = isLasting ? 0 : failures
        // A server that stays away is worth one line.
        if failures == 0 {
            self.logger.warning(
                "a stream cannot be fetched by SRT",
                metadata: [
                    "stream": "\(target.stream.app)/\(target.stream.name)", "from": "\(target.url.printable)",
                    "reason": "\(outcome.text)",
                ])
        }
        let timer = self.server.nextLoop.scheduleTask(in: self.pauses.pause(after: failures)) {
            self.call(index, failures: failures + 1)
        }
        let isStopped = self.state.withLock { state in
            if !state.isStopped { state.timers[index] = timer }
            return state.isStopped
        }
        if isStopped { timer.cancel() }
    }
}

/// A stream that is fetched from elsewhere, for the API.
package struct SRTPullSnapshot: Sendable, Hashable {
    /// The stream here, as `app/name`.
    package var stream: String
    /// Without what is secret.
    package var url: String
    package var state = SRTCallState.waiting
    package var attempts = 0
    /// Why the last connection ended, or did not come about; empty if there was none.
    package var lastError = ""
    /// Of the connection that stands.
    package var receivedBytes: UInt64 = 0
    package var path: PathStatistics?
}

/// How far a call to another server is.
package enum SRTCallState: String, Sendable, CaseIterable {
    case connecting, live
    /// For the next try, for the stream's publisher, or for the other server's call.
    case waiting
}

/// How long to wait before another server is called again.
package struct SRTPauses: Sendable, Hashable {
    package var first: TimeAmount
    /// No pause is longer. Failures are forgotten when a connection stood for so long.
    package var longest: TimeAmount

    package init(first: TimeAmount = .seconds(1), longest: TimeAmount = .seconds(30)) {
        self.first = first
        self.longest = longest
    }

    /// A pause that doubles with each failure, less up to a half of it.
    func pause(after failures: Int) -> TimeAmount {
        let doubled = min(self.first.nanoseconds << min(max(failures, 0), 20), self.longest.nanoseconds)
        return .nanoseconds(doubled / 2 + Int64.random(in: 0...(doubled / 2)))
    }
}

/// What calls have in common.
enum SRTAddresses {
    /// The remote end of a URL. Names are looked up on a thread for such work.
    static func resolve(_ url: SRTURL, on loop: any EventLoop) -> EventLoopFuture<SocketAddress> {
        if let address = try? SocketAddress(ipAddress: url.host, port: url.port) {
            return loop.makeSucceededFuture(address)
        }
        return NIOThreadPool.singleton.runIfActive(eventLoop: loop) {
            try SocketAddress.makeAddressResolvingHost(url.host, port: url.port)
        }
    }
}

extension SRTServer {
    /// Takes whoever calls at the URL's address as the publisher of one stream, whatever its stream id says.
    fileprivate func listen(
        _ url: SRTURL, as request: SRTStreamID, onOpen: @escaping @Sendable (SRTSession) -> Void,
        onEnd: @escaping @Sendable (SRTSession?, SRTSessionOutcome) -> Void
    ) throws {
        guard let poller = self.poller else { return }
        let acceptor = SRTFixedAcceptor(server: self, request: request, onOpen: onOpen, onEnd: onEnd)
        try self.listen(
            SRTListenAddress(host: url.host.isEmpty ? "0.0.0.0" : url.host, port: url.port), poller,
            acceptor: acceptor, options: url.options, asksDoorkeeper: false)
    }
}

/// Takes all peers of one listener for the same stream.
private final class SRTFixedAcceptor: SRTAcceptor {
    private let server: SRTServer
    private let request: SRTStreamID
    private let onOpen: @Sendable (SRTSession) -> Void
    private let onEnd: @Sendable (SRTSession?, SRTSessionOutcome) -> Void

    init(
        server: SRTServer, request: SRTStreamID, onOpen: @escaping @Sendable (SRTSession) -> Void,
        onEnd: @escaping @Sendable (SRTSession?, SRTSessionOutcome) -> Void
    ) {
        self.server = server
        self.request = request
        self.onOpen = onOpen
        self.onEnd = onEnd
    }

    func accepted(_ socket: SRTSocket, from address: SocketAddress?) {
        let settings = self.server.configuration.settings(of: self.request)
        // The poller's thread closes sessions, and is here now: the end comes after this.
        let opened = WeakSession()
        guard
            let session = self.server.open(
                socket, self.request, settings, from: address, onEnd: { [onEnd] in onEnd(opened.session, $0) })
        else { return }
        opened.session = session
        self.onOpen(session)
    }

    /// A session that is known after its end was provided for.
    // Safety: touched on the poller's thread only.
    private final class WeakSession: @unchecked Sendable {
        weak var session: SRTSession?
    }
}
