package import Media
package import NIOCore
import Synchronization

/// Decides at the accept of a connection whether it may stay. Must not block; called on event loops.
package protocol ConnectionAdmission: Sendable {
    /// `nil` lets it in, and `connectionClosed` follows; else the reason for log and counter, from a closed set.
    func connectionOpened(_ address: SocketAddress?, transport: String) -> String?
    func connectionClosed(_ address: SocketAddress?, transport: String)
}

/// All sessions of a node. Any thread may call.
///
/// `open` → (`begin` → `end`)… → `close`. A stream's totals are kept as long as it has sessions, or is held by
/// `keepTotals`; a vhost's as long as the process runs, up to a bound. One lock guards the lists, and inside it each
/// account has its own; observers are called outside of both.
package final class SessionRegistry: Sendable {
    struct Ended {
        var receivedBytes: UInt64 = 0
        var sentBytes: UInt64 = 0
    }

    struct State {
        var accounts: [String: SessionAccount] = [:]
        /// By stream: accounts that are active on it.
        var active: [StreamKey: Set<SessionAccount>] = [:]
        /// Bytes of activities that are over, by stream: of streams that are active or held.
        var endedByStream: [StreamKey: Ended] = [:]
        var held: Set<StreamKey> = []
        var endedByVhost: [String: Ended] = [:]
        /// Bytes of connections that are over.
        var ended = Ended()
        var opened: UInt64 = 0
        var refusedConnections: [String: UInt64] = [:]
        var refusals: [SessionRefusalKind: UInt64] = [:]
        var ends: [SessionEnd: UInt64] = [:]
        var observers: [any SessionObserver] = []
        var admission: (any ConnectionAdmission)?
    }

    /// Vhosts whose bytes are told apart; those of more are added up under the default vhost.
    private static let maximumVhosts = 1_000

    let state = Mutex(State())

    package init() {}

    package func setAdmission(_ admission: any ConnectionAdmission) { self.state.withLock { $0.admission = admission } }
    package func add(_ observer: any SessionObserver) { self.state.withLock { $0.observers.append(observer) } }

    // MARK: Opening

    /// A connection was accepted. `nil`: it has to be closed at once; the refusal is counted.
    ///
    /// `transport` is `rtmp`, `rtmps`, `http` or `https`.
    package func open(_ address: SocketAddress?, transport: String) -> SessionAccount? {
        let admission = self.state.withLock { $0.admission }
        if let reason = admission?.connectionOpened(address, transport: transport) {
            self.refusedConnection(reason)
            return nil
        }
        return self.make(address, transport, isVirtual: false, admission)
    }

    /// A viewer that comes by single requests, or by a stream of HTTP/2, appeared.
    package func openVirtual(_ address: SocketAddress?, transport: String = "") -> SessionAccount {
        self.make(address, transport, isVirtual: true, nil)
    }

    private func make(
        _ address: SocketAddress?, _ transport: String, isVirtual: Bool, _ admission: (any ConnectionAdmission)?
    ) -> SessionAccount {
        let now = NIODeadline.now()
        return self.state.withLock { state in
            var id = Self.randomID()
            while state.accounts[id] != nil { id = Self.randomID() }
            let account = SessionAccount(
                id: id, address: address, transport: transport, isVirtual: isVirtual, admission: admission, now: now)
            state.accounts[id] = account
            state.opened += 1
            return account
        }
    }

    private static func randomID() -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
        return String(decoding: (0..<8).map { _ in alphabet[Int.random(in: 0..<alphabet.count)] }, as: UTF8.self)
    }

    /// Counts a connection that was closed at its accept. `reason` is from a closed set.
    package func refusedConnection(_ reason: String) {
        self.state.withLock { $0.refusedConnections[reason, default: 0] += 1 }
    }

    /// Counts a session that was told that it may not publish or play. `transport` is from a closed set.
    package func refused(_ transport: String, _ cause: SessionRefusal.Cause) {
        self.state.withLock {
            $0.refusals[SessionRefusalKind(transport: transport, cause: cause), default: 0] += 1
        }
    }

    // MARK: Activities

    /// The session publishes or plays from now on. What it did before must have ended.
    ///
    /// Returns false, and does nothing, for a session that is active, was closed or was terminated.
    @discardableResult
    package func begin(_ account: SessionAccount, _ activity: SessionActivity) -> Bool {
        let now = NIODeadline.now()
        let hasBegun = self.state.withLock { state in
            let hasBegun = account.begin(activity, now: now)
            if hasBegun { _ = state.active[activity.key, default: []].insert(account) }
            return hasBegun
        }
        if hasBegun { self.tell(account) }
        return hasBegun
    }

    /// The session no longer publishes or plays. `end` is overruled by what `terminate` said. Harmless if it did not.
    package func end(_ account: SessionAccount, _ end: SessionEnd) {
        let now = NIODeadline.now()
        let hasEnded = self.state.withLock { self.end(account, end, now: now, &$0) }
        if hasEnded { self.tell(account) }
    }

    /// The connection is gone, or the viewer of single requests stayed away. Ends what it did. Harmless if it has closed.
    package func close(_ account: SessionAccount, _ end: SessionEnd = .left) {
        let now = NIODeadline.now()
        let isFirst = self.state.withLock { state in
            _ = self.end(account, end, now: now, &state)
            guard account.close() else { return false }
            state.accounts[account.id] = nil
            if !account.isVirtual { Self.add(account.receivedBytes, account.sentBytes, to: &state.ended) }
            return true
        }
        guard isFirst else { return }
        account.admission?.connectionClosed(account.address, transport: account.transport)
        self.tell(account)
    }

    private func end(_ account: SessionAccount, _ end: SessionEnd, now: NIODeadline, _ state: inout State) -> Bool {
        guard let (activity, result) = account.end(end, now: now) else { return false }
        let key = activity.key
        state.active[key]?.remove(account)
        state.ends[result.end, default: 0] += 1
        Self.add(result.receivedBytes, result.sentBytes, to: &state.endedByStream[key, default: Ended()])
        if state.active[key]?.isEmpty == true {
            state.active[key] = nil
            if !state.held.contains(key) { state.endedByStream[key] = nil }
        }
        let isKnown = state.endedByVhost[key.vhost] != nil || state.endedByVhost.count < Self.maximumVhosts
        let vhost = isKnown ? key.vhost : StreamKey.defaultVhost
        Self.add(result.receivedBytes, result.sentBytes, to: &state.endedByVhost[vhost, default: Ended()])
        return true
    }

    private static func add(_ received: UInt64, _ sent: UInt64, to ended: inout Ended) {
        ended.receivedBytes &+= received
        ended.sentBytes &+= sent
    }

    /// Tells the observers what happened to a session, in order, although several threads may have made it happen: one of
    /// them tells at a time.
    private func tell(_ account: SessionAccount) {
        let observers = self.state.withLock { $0.observers }
        var isTelling = false
        while let notice = account.takeNotice(continuing: isTelling) {
            isTelling = true
            for observer in observers { notice.tell(observer, account) }
        }
    }

    // MARK: Totals

    /// The stream exists on this node: its totals are kept although it has no sessions. `forgetTotals` must follow.
    package func keepTotals(of key: StreamKey) { self.state.withLock { _ = $0.held.insert(key) } }

    /// The stream is over: its totals are dropped when its last session is.
    package func forgetTotals(of key: StreamKey) {
        self.state.withLock { state in
            state.held.remove(key)
            if state.active[key] == nil { state.endedByStream[key] = nil }
        }
    }
}
