import Media
import NIOCore
import StreamHub
import Synchronization

/// Which sessions the receivers were told of, so that they are told of their ends, and who published what.
final class HookSessions: Sendable {
    private struct Asked: Hashable {
        var kind: SessionActivity.Kind
        var key: StreamKey
    }

    private struct Entry {
        weak var account: SessionAccount?
        /// What `on_connect` was called with last.
        var connected: (key: StreamKey, peer: HookPeer)?
        /// What `on_publish` and `on_play` were called with, for what has not ended.
        var asked: [Asked: HookPeer] = [:]
    }

    private struct Publisher {
        var peer: HookPeer
        var account: String
        /// When it left.
        var until: NIODeadline?
    }

    private struct State {
        var entries: [String: Entry] = [:]
        var publishers: [StreamKey: Publisher] = [:]
    }

    /// What one connection may be asked for before it begins something; RTMP begins what it asks for, or is refused.
    private static let maximumAsked = 16
    /// How long the client of a stream that ended is known, for recordings that are finished late.
    private static let publisherLifetime = TimeAmount.minutes(5)

    private let state = Mutex(State())

    /// `on_connect` is about to be called.
    func connecting(_ account: SessionAccount?, _ key: StreamKey, _ peer: HookPeer) {
        guard let account else { return }
        self.state.withLock { state in
            state.entries[account.id, default: Entry(account: account)].connected = (key, peer)
        }
    }

    /// `on_publish` or `on_play` is about to be called.
    func asking(_ account: SessionAccount?, _ kind: SessionActivity.Kind, _ key: StreamKey, _ peer: HookPeer) {
        guard let account else { return }
        self.state.withLock { state in
            var entry = state.entries[account.id] ?? Entry(account: account)
            if entry.asked.count >= Self.maximumAsked { entry.asked.removeAll() }
            entry.asked[Asked(kind: kind, key: key)] = peer
            state.entries[account.id] = entry
        }
    }

    /// The receivers refused it, so nothing will begin.
    func refused(_ account: SessionAccount?, _ kind: SessionActivity.Kind, _ key: StreamKey) {
        guard let account else { return }
        self.state.withLock { state in
            state.entries[account.id]?.asked[Asked(kind: kind, key: key)] = nil
            if let entry = state.entries[account.id], entry.connected == nil, entry.asked.isEmpty {
                state.entries[account.id] = nil
            }
        }
    }

    func began(_ account: SessionAccount, _ activity: SessionActivity) {
        guard activity.kind == .publish else { return }
        self.state.withLock { state in
            let client = account.client
            let asked = state.entries[account.id]?.asked[Asked(kind: .publish, key: activity.key)]
            let peer =
                asked
                ?? HookPeer(
                    id: account.id, ip: account.ip, tcURL: client.tcURL, pageURL: client.pageURL,
                    query: client.query, transport: activity.transport)
            state.publishers[activity.key] = Publisher(peer: peer, account: account.id)
        }
    }

    /// The peer as its receivers were told of it; `nil` if they were not. `hasFiles`: somebody is to be told of files of the
    /// stream, which may be finished later.
    func ended(
        _ account: SessionAccount, _ activity: SessionActivity, hasFiles: Bool, now: NIODeadline
    ) -> HookPeer? {
        self.state.withLock { state in
            if activity.kind == .publish, state.publishers[activity.key]?.account == account.id {
                state.publishers[activity.key]?.until = now + Self.publisherLifetime
                if !hasFiles { state.publishers[activity.key] = nil }
            }
            return state.entries[account.id]?.asked.removeValue(forKey: Asked(kind: activity.kind, key: activity.key))
        }
    }

    /// What `on_connect` was called with, if it was.
    func closed(_ account: SessionAccount) -> (key: StreamKey, peer: HookPeer)? {
        self.state.withLock { $0.entries.removeValue(forKey: account.id)?.connected }
    }

    /// Who publishes the stream, or did so last.
    func publisher(of key: StreamKey) -> HookPeer? { self.state.withLock { $0.publishers[key]?.peer } }

    /// Lets go what is over. Returns connections that closed while they were being asked for: nobody told of their ends.
    func sweep(now: NIODeadline) -> [(key: StreamKey, peer: HookPeer)] {
        self.state.withLock { state in
            state.publishers = state.publishers.filter { $0.value.until.map { $0 > now } ?? true }
            let gone = state.entries.filter { $0.value.account == nil }
            for id in gone.keys { state.entries[id] = nil }
            return gone.values.compactMap(\.connected)
        }
    }

    /// Sessions and streams that are remembered.
    var counts: (sessions: Int, publishers: Int) {
        self.state.withLock { ($0.entries.count, $0.publishers.count) }
    }
}
