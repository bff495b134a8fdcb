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
    /// Nodes of the cluster that pull.
    package var relays = 0

    package init() {}

    package var playerCount: Int { self.players.values.reduce(0, +) }

    fileprivate init(_ ended: SessionRegistry.Ended) {
        self.receivedBytes = ended.receivedBytes
        self.sentBytes = ended.sentBytes
    }

    fileprivate mutating func count(_ activity: SessionActivity?) {
        guard let activity else { return }
        if activity.isRelay {
            self.relays += 1
        } else if activity.kind == .publish {
            self.publishers += 1
        } else {
            self.players[activity.transport, default: 0] += 1
        }
    }

    fileprivate mutating func add(_ snapshot: SessionSums) {
        self.receivedBytes &+= snapshot.received
        self.sentBytes &+= snapshot.sent
        self.receivedBitsPerSecond += snapshot.rates.received
        self.sentBitsPerSecond += snapshot.rates.sent
    }
}

/// One session at one moment.
package struct SessionSnapshot: Sendable {
    package let account: SessionAccount
    package let activity: SessionActivity?
    package let client: ClientDescription
    /// The client's address without a port: what a trusted proxy named, else the peer's.
    package let ip: String
    /// Of the connection, since it was accepted.
    package let receivedBytes: UInt64
    package let sentBytes: UInt64
    /// Bits a second over the last 30 s.
    package let receivedBitsPerSecond: UInt64
    package let sentBitsPerSecond: UInt64
    /// Since the connection was accepted.
    package let age: TimeAmount
    /// Since it publishes or plays; `nil` if it does neither.
    package let activeFor: TimeAmount?
}

/// A transport and a cause, for counts of refusals.
package struct SessionRefusalKind: Sendable, Hashable {
    package var transport: String
    package var cause: SessionRefusal.Cause

    package init(transport: String, cause: SessionRefusal.Cause) {
        self.transport = transport
        self.cause = cause
    }
}

/// Counts since the start of the process, for metrics.
package struct SessionCounts: Sendable, Hashable {
    /// Sessions that were opened.
    package var opened: UInt64 = 0
    /// Connections that were refused at the accept, by reason.
    package var refused: [String: UInt64] = [:]
    /// Sessions that were told that they may not publish or play.
    package var refusals: [SessionRefusalKind: UInt64] = [:]
    /// Activities that ended, by reason.
    package var ends: [SessionEnd: UInt64] = [:]
    /// Sessions that are open.
    package var open = 0
}

extension SessionRegistry {
    /// The open session with this id.
    package func account(_ id: String) -> SessionAccount? { self.state.withLock { $0.accounts[id] } }

    /// Sessions in the order of their ids after `after`, at most `limit`. Cost: a look at each session of the stream that
    /// the filter names, or of the node.
    package func list(_ filter: SessionFilter, after: String = "", limit: Int) -> [SessionSnapshot] {
        let matching = self.candidates(filter).filter { $0.id > after && filter.matches($0, $0.activity) }
        let now = NIODeadline.now()
        return matching.sorted { $0.id < $1.id }.prefix(max(0, limit)).map { $0.snapshot(now: now) }
    }

    /// How many sessions match.
    package func count(_ filter: SessionFilter) -> Int {
        self.candidates(filter).reduce(0) { $0 + (filter.matches($1, $1.activity) ? 1 : 0) }
    }

    private func candidates(_ filter: SessionFilter) -> [SessionAccount] {
        self.state.withLock { state in
            filter.key.map { Array(state.active[$0] ?? []) } ?? Array(state.accounts.values)
        }
    }

    /// Ends a session by an operator's wish. Returns false if there is none with this id, or if it is ending.
    @discardableResult
    package func kick(_ id: String, reason: String) -> Bool {
        self.account(id)?.terminate(.kicked, reason) ?? false
    }

    /// Streams that somebody publishes or plays.
    package var activeStreams: [StreamKey] { self.state.withLock { Array($0.active.keys) } }

    /// Sums of one stream: its sessions now, and those that were.
    package func totals(of key: StreamKey) -> SessionTotals {
        self.sum { state in (Array(state.active[key] ?? []), state.endedByStream[key] ?? Ended()) }
    }

    /// Sums of one vhost.
    package func totals(ofVhost vhost: String) -> SessionTotals {
        self.sum { state in
            let accounts = state.active.filter { $0.key.vhost == vhost }.flatMap { Array($0.value) }
            return (accounts, state.endedByVhost[vhost] ?? Ended())
        }
    }

    /// Sums of activities. An account that ends while they are made is counted as it was.
    private func sum(_ part: (borrowing State) -> ([SessionAccount], Ended)) -> SessionTotals {
        let now = NIODeadline.now()
        let (sums, ended) = self.state.withLock { state in
            let (accounts, ended) = part(state)
            // Under the lock: an activity must be counted once, as one that goes on or as one that is over.
            return (accounts.map { $0.sums(ofActivity: true, now: now) }, ended)
        }
        var totals = SessionTotals(ended)
        for sum in sums {
            totals.add(sum)
            totals.count(sum.activity)
        }
        return totals
    }

    /// Sums of the node: of all its sockets, whatever they do.
    package func totals() -> SessionTotals {
        let now = NIODeadline.now()
        let (accounts, ended) = self.state.withLock { state in
            (state.accounts.values.map { ($0.isVirtual, $0.sums(ofActivity: false, now: now)) }, state.ended)
        }
        var totals = SessionTotals(ended)
        for (isVirtual, sum) in accounts {
            totals.count(sum.activity)
            if !isVirtual { totals.add(sum) }
        }
        return totals
    }

    package var counts: SessionCounts {
        self.state.withLock { state in
            var counts = SessionCounts()
            counts.opened = state.opened
            counts.refused = state.refusedConnections
            counts.refusals = state.refusals
            counts.ends = state.ends
            counts.open = state.accounts.count
            return counts
        }
    }

    /// Takes samples for the bit rates, and ends sessions that are beyond their limits. Call once a second, from no event
    /// loop that has media: the cost is that of a lock for each session.
    package func tick(now: NIODeadline = .now()) {
        let accounts = self.state.withLock { Array($0.accounts.values) }
        for account in accounts {
            guard let text = account.excess(now: now) else { continue }
            account.terminate(.limited, text)
        }
    }
}

/// What sums are made of.
private struct SessionSums {
    var activity: SessionActivity?
    var received: UInt64
    var sent: UInt64
    var rates: (received: UInt64, sent: UInt64)
}

extension SessionAccount {
    package func snapshot(now: NIODeadline = .now()) -> SessionSnapshot {
        let ip = self.ip
        let (received, sent) = (self.receivedBytes, self.sentBytes)
        return self.state.withLock { state in
            let rates = state.rates.bitsPerSecond(over: .seconds(30), received: received, sent: sent, now: now)
            return SessionSnapshot(
                account: self, activity: state.activity, client: state.client, ip: ip, receivedBytes: received,
                sentBytes: sent, receivedBitsPerSecond: rates.received, sentBitsPerSecond: rates.sent,
                age: now - self.startedAt, activeFor: state.activeSince.map { now - $0 })
        }
    }

    fileprivate func sums(ofActivity: Bool, now: NIODeadline) -> SessionSums {
        self.state.withLock { state in
            let (received, sent) = (self.receivedBytes, self.sentBytes)
            let bytes = ofActivity ? self.bytes(since: state) : (received, sent)
            return SessionSums(
                activity: state.activity, received: bytes.0, sent: bytes.1,
                rates: state.rates.bitsPerSecond(over: .seconds(30), received: received, sent: sent, now: now))
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
