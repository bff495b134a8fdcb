package import Media
package import NIOCore
import Synchronization

/// Decides at the accept of a connection whether it may stay. Must not block; called on event loops.
package protocol ConnectionAdmission: Sendable {
    /// `nil` lets it in, and `connectionClosed` follows; else the reason for log and counter, from a closed set.
    func connectionOpened(_ address: SocketAddress?, transport: String) -> String?
    func connectionClosed(_ address: SocketAddress?, transport: String)
}

/// Is told what sessions do. Must not block; called on event loops, in order for one session.
package protocol SessionObserver: AnyObject, Sendable {
    /// It publishes or plays from now on: its peer was told so.
    func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity)
    /// It no longer does. The bytes are those of the activity alone.
    func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult)
    /// The connection is gone; called for all, whether or not they published or played.
    func sessionClosed(_ account: SessionAccount)
}

/// What an activity came to.
package struct SessionResult: Sendable, Hashable {
    package var end: SessionEnd
    package var receivedBytes: UInt64
    package var sentBytes: UInt64
    package var duration: TimeAmount
}

/// Bytes and counts of the sessions of a stream, a vhost or the node; those that are over are included in the bytes.
package struct SessionTotals: Sendable, Hashable {
    package var receivedBytes: UInt64 = 0
    package var sentBytes: UInt64 = 0
    /// Bits a second over the last 30 s.
    package var receivedBitsPerSecond: UInt64 = 0
    package var sentBitsPerSecond: UInt64 = 0
    package var publishers = 0
    /// By transport; relays are not in it.
    package var players: [String: Int] = [:]
    /// Nodes of the cluster that pull or push.
    package var relays = 0

    package init() {}

    package var playerCount: Int { self.players.values.reduce(0, +) }
}

/// One session at one moment.
package struct SessionSnapshot: Sendable {
    package let account: SessionAccount
    package let activity: SessionActivity?
    package let client: ClientDescription
    package let receivedBytes: UInt64
    package let sentBytes: UInt64
    /// Bits a second over the last 30 s.
    package let receivedBitsPerSecond: UInt64
    package let sentBitsPerSecond: UInt64
    /// Since the connection was accepted.
    package let age: TimeAmount
}

/// All sessions of a node. Any thread may call.
///
/// `open` → (`begin` → `end`)… → `close`. A stream's totals are kept as long as it has sessions, or is held by
/// `keepTotals`; a vhost's as long as the process runs, up to a bound.
package final class SessionRegistry: Sendable {
    struct Ended {
        var receivedBytes: UInt64 = 0
        var sentBytes: UInt64 = 0
    }

    struct State {
        var accounts: [String: SessionAccount] = [:]
        /// By stream: accounts that are active on it.
        var active: [StreamKey: Set<SessionAccount>] = [:]
        /// Bytes of activities that are over, by stream.
        var endedByStream: [StreamKey: Ended] = [:]
        var endedByVhost: [String: Ended] = [:]
        /// Bytes of connections that are over.
        var ended = Ended()
        var opened: UInt64 = 0
        var refused: [String: UInt64] = [:]
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

    // MARK: Life

    /// A connection was accepted. `nil`: it has to be closed at once; the refusal is counted.
    package func open(_ address: SocketAddress?, transport: String) -> SessionAccount? {
        let admission = self.state.withLock { $0.admission }
        if let reason = admission?.connectionOpened(address, transport: transport) {
            self.state.withLock { $0.refused[reason, default: 0] += 1 }
            return nil
        }
        return self.make(address, isVirtual: false)
    }

    /// A viewer that comes by single requests appeared.
    package func openVirtual(_ address: SocketAddress?) -> SessionAccount { self.make(address, isVirtual: true) }

    private func make(_ address: SocketAddress?, isVirtual: Bool) -> SessionAccount {
        let now = NIODeadline.now()
        return self.state.withLock { state in
            var id = Self.randomID()
            while state.accounts[id] != nil { id = Self.randomID() }
            let account = SessionAccount(id: id, address: address, isVirtual: isVirtual, now: now)
            state.accounts[id] = account
            state.opened += 1
            return account
        }
    }

    private static func randomID() -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
        return String(decoding: (0..<8).map { _ in alphabet[Int.random(in: 0..<alphabet.count)] }, as: UTF8.self)
    }

    /// The session publishes or plays from now on. What it did before must have ended.
    package func begin(_ account: SessionAccount, _ activity: SessionActivity) {
        let isNew = account.state.withLock { state in
            guard !state.isClosed, state.activity == nil else { return false }
            state.activity = activity
            state.activeSince = .now()
            state.receivedBefore = account.receivedBytes
            state.sentBefore = account.sentBytes
            state.end = nil
            return true
        }
        guard isNew else { return }
        let observers = self.state.withLock { state in
            _ = state.active[activity.key, default: []].insert(account)
            return state.observers
        }
        for observer in observers { observer.sessionBegan(account, activity) }
    }

    /// The session no longer publishes or plays. `end` is overruled by what `terminate` said. Harmless if it did not.
    package func end(_ account: SessionAccount, _ end: SessionEnd) {
        let taken: (SessionActivity, SessionResult)? = account.state.withLock { state in
            guard let activity = state.activity else { return nil }
            let result = SessionResult(
                end: state.end ?? end, receivedBytes: account.receivedBytes &- state.receivedBefore,
                sentBytes: account.sentBytes &- state.sentBefore,
                duration: state.activeSince.map { .now() - $0 } ?? .zero)
            state.activity = nil
            state.activeSince = nil
            state.limits = SessionLimits()
            return (activity, result)
        }
        guard let (activity, result) = taken else { return }
        let observers = self.state.withLock { state in
            if state.active[activity.key]?.remove(account) != nil, state.active[activity.key]?.isEmpty == true {
                state.active[activity.key] = nil
            }
            state.ends[result.end, default: 0] += 1
            Self.add(result.receivedBytes, result.sentBytes, to: &state.endedByStream[activity.key, default: Ended()])
            let vhost =
                state.endedByVhost[activity.key.vhost] != nil || state.endedByVhost.count < Self.maximumVhosts
                ? activity.key.vhost : StreamKey.defaultVhost
            Self.add(result.receivedBytes, result.sentBytes, to: &state.endedByVhost[vhost, default: Ended()])
            return state.observers
        }
        for observer in observers { observer.sessionEnded(account, activity, result) }
    }

    private static func add(_ received: UInt64, _ sent: UInt64, to ended: inout Ended) {
        ended.receivedBytes &+= received
        ended.sentBytes &+= sent
    }

    /// The connection is gone, or the viewer of single requests stayed away. Ends what it did.
    package func close(_ account: SessionAccount, _ end: SessionEnd = .left) {
        self.end(account, end)
        let isFirst = account.state.withLock { state in
            defer {
                state.isClosed = true
                state.terminate = nil
            }
            return !state.isClosed
        }
        guard isFirst else { return }
        let (observers, admission) = self.state.withLock { state in
            state.accounts[account.id] = nil
            if !account.isVirtual {
                Self.add(account.receivedBytes, account.sentBytes, to: &state.ended)
            }
            return (state.observers, account.isVirtual ? nil : state.admission)
        }
        admission?.connectionClosed(account.address, transport: "")
        for observer in observers { observer.sessionClosed(account) }
    }

    /// The stream is over: its totals are dropped when its last session is.
    package func forgetTotals(of key: StreamKey) {
        self.state.withLock { state in
            if state.active[key] == nil { state.endedByStream[key] = nil }
        }
    }
}
