import Hooks
import Logging
import Media
import NIOCore
import StreamHub
import Synchronization

/// What hooks set for a stream beyond its session's limits: whether it is recorded, for as long as the session lasts.
final class HookPolicies: SessionObserver {
    private let logger: Logger
    private let recorder: Mutex<(@Sendable (Bool?, StreamKey) async -> Bool)?>
    private let sessions = Mutex<[String: Wish]>([:])

    private struct Wish {
        var key: StreamKey
        var records: Bool
        /// A publisher that replaces another begins before that one ends: the newest decides.
        var number: UInt64
    }

    private let count = Atomic<UInt64>(0)

    init(logger: Logger) {
        self.logger = logger
        self.recorder = Mutex(nil)
    }

    /// `setIntent`: whether a stream is recorded whatever the settings say; `nil` leaves it to them. Returns false if
    /// that could not be kept.
    func attach(setIntent: @escaping @Sendable (Bool?, StreamKey) async -> Bool) {
        self.recorder.withLock { $0 = setIntent }
    }

    /// A publisher was let in with `policy`.
    func began(_ policy: SessionPolicy, _ key: StreamKey, _ peer: PeerIdentity) {
        guard let records = policy.records, let account = peer.account else { return }
        let number = self.count.wrappingAdd(1, ordering: .relaxed).newValue
        self.sessions.withLock { $0[account.id] = Wish(key: key, records: records, number: number) }
        // One that left meanwhile was forgotten before it was known.
        if account.isClosed { self.forget(account) } else { self.set(key) }
    }

    func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity) {}

    func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult) {
        self.forget(account)
    }

    func sessionClosed(_ account: SessionAccount) { self.forget(account) }

    private func forget(_ account: SessionAccount) {
        guard let wish = self.sessions.withLock({ $0.removeValue(forKey: account.id) }) else { return }
        self.set(wish.key)
    }

    /// What the newest session of the stream wants.
    private func wish(_ key: StreamKey) -> Bool? {
        self.sessions.withLock { sessions in
            sessions.values.filter { $0.key == key }.max { $0.number < $1.number }?.records
        }
    }

    private func set(_ key: StreamKey) {
        guard let setIntent = self.recorder.withLock({ $0 }) else { return }
        // A callback starts a short piece of work on the database's own queue. Two of them may overtake each other, so each
        // looks again when it is done.
        Task {
            var told: Bool?
            repeat {
                told = self.wish(key)
                guard await !setIntent(told, key) else { continue }
                return self.logger.warning(
                    "the recorder cannot keep what a hook said", metadata: ["stream": "\(key)"])
            } while told != self.wish(key)
        }
    }
}
