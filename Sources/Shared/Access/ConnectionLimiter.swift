import DequeModule
package import NIOCore

/// How many connections a node accepts, and how fast. `nil`: any number.
package struct ConnectionLimits: Sendable, Hashable {
    /// Connections of the node.
    package var sessions: Int?
    /// New connections of the node each second; as many may come at once.
    package var handshakesPerSecond: Int?
    /// Connections of one address; with IPv6, of one /64.
    package var connectionsPerAddress: Int?
    /// New connections of one address each second; as many may come at once, and at least 4.
    package var handshakesPerAddressPerSecond: Int?
    /// Addresses that the limits per address are not for, such as those of proxies, which stand for many clients.
    package var exempt: [CIDR] = []

    package init() {}
}

/// Why a connection is not accepted. A closed set: labels and logs take the raw value.
package enum ConnectionRefusal: String, Sendable, Hashable, CaseIterable {
    case nodeSessions = "node_sessions"
    case nodeHandshakes = "node_handshakes"
    case addressConnections = "address_connections"
    case addressHandshakes = "address_handshakes"
}

/// Counts a node's connections, and those of each address.
///
/// At most `maximumAddresses` addresses are known. Those without connections are forgotten once their bucket is full
/// again, or when room is needed, the one that has been idle longest first. If all have connections, a new address is
/// let in uncounted: the node's limits hold for it, too, and strangers can keep nobody out by filling the table.
package struct ConnectionLimiter: Sendable {
    private struct Peer {
        var connections = 0
        var bucket: TokenBucket
        /// It stands in `idle`, perhaps with connections since.
        var isQueued = false
    }

    private let maximumAddresses: Int
    private var peers: [IPAddress: Peer] = [:]
    /// Addresses that had no connections when they were appended; each stands here once.
    private var idle: Deque<IPAddress> = []
    private var bucket: TokenBucket
    /// Connections that are open.
    package private(set) var connections = 0
    /// Connections that were let in without a place in the table.
    package private(set) var uncounted: UInt64 = 0

    /// The smallest burst of one address: browsers open several connections at once.
    private static let minimumBurst = 4

    package init(maximumAddresses: Int = 100_000, now: NIODeadline) {
        precondition(maximumAddresses > 0, "a table of addresses has room, got \(maximumAddresses)")
        self.maximumAddresses = maximumAddresses
        self.bucket = TokenBucket(now: now)
    }

    /// Addresses that are known.
    package var addressCount: Int { self.peers.count }

    /// A connection came. `nil`: it stays, and `closed` follows. `address` is `nil` for sockets without one.
    ///
    /// What the address may not have takes nothing of what the node may.
    package mutating func opened(
        _ address: IPAddress?, limits: ConnectionLimits, now: NIODeadline
    ) -> ConnectionRefusal? {
        if let sessions = limits.sessions, self.connections >= sessions { return .nodeSessions }
        self.forget(2, now: now)
        let subscriber = address?.subscriber
        var peer = self.peer(subscriber, now: now)
        let isLimited = address.map { address in !limits.exempt.contains { $0.contains(address) } } ?? false
        if peer != nil, isLimited {
            if let limit = limits.connectionsPerAddress, peer?.connections ?? 0 >= limit {
                return .addressConnections
            }
            if let rate = limits.handshakesPerAddressPerSecond,
                peer?.bucket.take(rate: rate, burst: max(rate, Self.minimumBurst), now: now) == false
            {
                return .addressHandshakes
            }
        }
        if let rate = limits.handshakesPerSecond, !self.bucket.take(rate: rate, burst: rate, now: now) {
            if let subscriber, let peer { self.keep(peer, for: subscriber) }
            return .nodeHandshakes
        }
        self.connections += 1
        if let subscriber {
            peer?.connections += 1
            if let peer { self.keep(peer, for: subscriber) } else { self.uncounted += 1 }
        }
        return nil
    }

    /// A connection that `opened` let in is gone.
    package mutating func closed(_ address: IPAddress?) {
        self.connections = max(0, self.connections - 1)
        guard let subscriber = address?.subscriber, var peer = self.peers[subscriber] else { return }
        peer.connections = max(0, peer.connections - 1)
        self.keep(peer, for: subscriber)
    }

    private mutating func keep(_ peer: Peer, for address: IPAddress) {
        var peer = peer
        if peer.connections == 0, !peer.isQueued {
            peer.isQueued = true
            self.idle.append(address)
        }
        self.peers[address] = peer
    }

    /// What is known of the address, or nothing yet; `nil` if there is no room.
    private mutating func peer(_ address: IPAddress?, now: NIODeadline) -> Peer? {
        guard let address else { return nil }
        if let known = self.peers[address] { return known }
        while self.peers.count >= self.maximumAddresses, let oldest = self.idle.popFirst() {
            self.drop(oldest)
        }
        return self.peers.count < self.maximumAddresses ? Peer(bucket: TokenBucket(now: now)) : nil
    }

    /// Forgets up to `count` idle addresses of which nothing is to be remembered.
    private mutating func forget(_ count: Int, now: NIODeadline) {
        for _ in 0..<count {
            guard let oldest = self.idle.first else { return }
            guard let peer = self.peers[oldest], peer.connections == 0, !peer.bucket.isFull(now: now) else {
                self.idle.removeFirst()
                self.drop(oldest)
                continue
            }
            return
        }
    }

    /// Takes back that the address is queued, and forgets it if it has no connections.
    private mutating func drop(_ address: IPAddress) {
        guard let peer = self.peers[address] else { return }
        if peer.connections == 0 {
            self.peers[address] = nil
        } else {
            self.peers[address]?.isQueued = false
        }
    }
}
