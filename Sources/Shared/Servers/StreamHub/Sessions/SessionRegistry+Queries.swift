package import Media
package import NIOCore
import Synchronization

/// Which sessions are asked for.
package struct SessionFilter: Sendable, Hashable {
    package var key: StreamKey?
    package var vhost: String?
    package var app: String?
    package var kind: SessionActivity.Kind?
    package var transport: String?
    package var ip: String?
    /// Connections that neither publish nor play, too.
    package var includesIdle = false

    package init() {}

    func matches(_ account: SessionAccount, _ activity: SessionActivity?) -> Bool {
        guard let activity else {
            return self.includesIdle && self.key == nil && self.vhost == nil && self.app == nil && self.kind == nil
                && self.transport == nil && (self.ip.map { account.ip == $0 } ?? true)
        }
        return (self.key.map { activity.key == $0 } ?? true) && (self.vhost.map { activity.key.vhost == $0 } ?? true)
            && (self.app.map { activity.key.app == $0 } ?? true) && (self.kind.map { activity.kind == $0 } ?? true)
            && (self.transport.map { activity.transport == $0 } ?? true) && (self.ip.map { account.ip == $0 } ?? true)
    }
}

/// Counts since the start of the process, for metrics.
package struct SessionCounts: Sendable, Hashable {
    /// Sessions that were opened.
    package var opened: UInt64 = 0
    /// Connections that were refused at the accept, by reason.
    package var refused: [String: UInt64] = [:]
    /// Activities that ended, by reason.
    package var ends: [SessionEnd: UInt64] = [:]
    /// Sessions that are open.
    package var open = 0
}

extension SessionRegistry {
    /// The open session with this id.
    package func account(_ id: String) -> SessionAccount? { self.state.withLock { $0.accounts[id] } }

    /// Sessions in the order of their ids after `after`, at most `limit`.
    package func list(_ filter: SessionFilter, after: String = "", limit: Int) -> [SessionSnapshot] {
        let candidates = self.state.withLock { state in
            filter.key.map { Array(state.active[$0] ?? []) } ?? Array(state.accounts.values)
        }
        let now = NIODeadline.now()
        let matching = candidates.filter { $0.id > after && filter.matches($0, $0.activity) }
        return matching.sorted { $0.id < $1.id }.prefix(limit).map { $0.snapshot(now: now) }
    }

    /// How many sessions match.
    package func count(_ filter: SessionFilter) -> Int {
        let candidates = self.state.withLock { state in
            filter.key.map { Array(state.active[$0] ?? []) } ?? Array(state.accounts.values)
        }
        return candidates.reduce(0) { $0 + (filter.matches($1, $1.activity) ? 1 : 0) }
    }

    /// Ends a session by an operator's wish. Returns false if there is none with this id.
    @discardableResult
    package func kick(_ id: String, reason: String) -> Bool {
        self.account(id)?.terminate(.kicked, reason) ?? false
    }

    /// Streams that somebody publishes or plays.
    package var activeStreams: [StreamKey] { self.state.withLock { Array($0.active.keys) } }

    /// Sums of one stream: its sessions now, and those that were.
    package func totals(of key: StreamKey) -> SessionTotals {
        let (accounts, ended) = self.state.withLock {
            (Array($0.active[key] ?? []), $0.endedByStream[key] ?? Ended())
        }
        return Self.sum(accounts, ended)
    }

    /// Sums of one vhost.
    package func totals(ofVhost vhost: String) -> SessionTotals {
        let (accounts, ended) = self.state.withLock { state in
            (
                state.active.filter { $0.key.vhost == vhost }.flatMap { Array($0.value) },
                state.endedByVhost[vhost] ?? Ended()
            )
        }
        return Self.sum(accounts, ended)
    }

    /// Sums of the node: of all its sockets, whatever they do.
    package func totals() -> SessionTotals {
        let (accounts, ended) = self.state.withLock { (Array($0.accounts.values), $0.ended) }
        let now = NIODeadline.now()
        var totals = SessionTotals()
        totals.receivedBytes = ended.receivedBytes
        totals.sentBytes = ended.sentBytes
        for account in accounts {
            let snapshot = account.snapshot(now: now)
            totals.count(snapshot.activity)
            guard !account.isVirtual else { continue }
            totals.receivedBytes &+= snapshot.receivedBytes
            totals.sentBytes &+= snapshot.sentBytes
            totals.receivedBitsPerSecond += snapshot.receivedBitsPerSecond
            totals.sentBitsPerSecond += snapshot.sentBitsPerSecond
        }
        return totals
    }

    private static func sum(_ accounts: [SessionAccount], _ ended: Ended) -> SessionTotals {
        let now = NIODeadline.now()
        var totals = SessionTotals()
        totals.receivedBytes = ended.receivedBytes
        totals.sentBytes = ended.sentBytes
        for account in accounts {
            let active = account.activeBytes
            totals.receivedBytes &+= active.received
            totals.sentBytes &+= active.sent
            let snapshot = account.snapshot(now: now)
            totals.receivedBitsPerSecond += snapshot.receivedBitsPerSecond
            totals.sentBitsPerSecond += snapshot.sentBitsPerSecond
            totals.count(snapshot.activity)
        }
        return totals
    }

    package var counts: SessionCounts {
        self.state.withLock { state in
            var counts = SessionCounts()
            counts.opened = state.opened
            counts.refused = state.refused
            counts.ends = state.ends
            counts.open = state.accounts.count
            return counts
        }
    }

    /// Takes samples for the bit rates, and ends sessions that are beyond their limits. Call once a second.
    package func tick(now: NIODeadline = .now()) {
        let accounts = self.state.withLock { Array($0.accounts.values) }
        for account in accounts {
            guard let text = account.excess(now: now) else { continue }
            account.terminate(.limited, text)
        }
    }
}

extension SessionTotals {
    fileprivate mutating func count(_ activity: SessionActivity?) {
        guard let activity else { return }
        switch activity.kind {
        case _ where activity.isRelay: self.relays += 1
        case .publish: self.publishers += 1
        case .play: self.players[activity.transport, default: 0] += 1
        }
    }
}

extension SessionAccount {
    package func snapshot(now: NIODeadline = .now()) -> SessionSnapshot {
        let (received, sent) = (self.receivedBytes, self.sentBytes)
        return self.state.withLock { state in
            let rates = state.rates.bitsPerSecond(over: .seconds(30), received: received, sent: sent, now: now)
            return SessionSnapshot(
                account: self, activity: state.activity, client: state.client, receivedBytes: received,
                sentBytes: sent, receivedBitsPerSecond: rates.received, sentBitsPerSecond: rates.sent,
                age: now - self.startedAt)
        }
    }

    /// Bytes of what the session does now.
    var activeBytes: (received: UInt64, sent: UInt64) {
        let (received, sent) = (self.receivedBytes, self.sentBytes)
        return self.state.withLock { state in
            state.activity == nil ? (0, 0) : (received &- state.receivedBefore, sent &- state.sentBefore)
        }
    }

    /// Takes a sample, and says which limit the session is beyond.
    func excess(now: NIODeadline) -> String? {
        let (received, sent) = (self.receivedBytes, self.sentBytes)
        return self.state.withLock { state in
            state.rates.sample(received: received, sent: sent, now: now)
            guard let activity = state.activity else { return nil }
            if let until = state.limits.until, now >= until { return "The time of this session is over." }
            guard activity.kind == .publish, let limit = state.limits.bitsPerSecond,
                let since = state.activeSince, now - since >= .seconds(10)
            else { return nil }
            let rate = state.rates.bitsPerSecond(over: .seconds(15), received: received, sent: sent, now: now).received
            return rate > limit ? "The bit rate is \(rate) b/s, and \(limit) b/s are allowed." : nil
        }
    }
}
