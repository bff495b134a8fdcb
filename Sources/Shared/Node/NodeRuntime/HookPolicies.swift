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
    private let sessions = Mutex<[String: StreamKey]>([:])

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
        self.sessions.withLock { $0[account.id] = key }
        self.set(records, key)
    }

    func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity) {}

    func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult) {
        self.forget(account)
    }

    func sessionClosed(_ account: SessionAccount) { self.forget(account) }

    private func forget(_ account: SessionAccount) {
        guard let key = self.sessions.withLock({ $0.removeValue(forKey: account.id) }) else { return }
        self.set(nil, key)
    }

    private func set(_ records: Bool?, _ key: StreamKey) {
        guard let setIntent = self.recorder.withLock({ $0 }) else { return }
        // A callback starts a short piece of work on the database's own queue.
        Task { [logger] in
            guard await !setIntent(records, key) else { return }
            logger.warning("the recorder cannot keep what a hook said", metadata: ["stream": "\(key)"])
        }
    }
}
