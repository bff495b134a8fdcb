package import NIOCore
import Synchronization

/// Is told what sessions do. Must not block; called on event loops, in order for one session.
package protocol SessionObserver: AnyObject, Sendable {
    /// It publishes or plays from now on: its peer was told so.
    func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity)
    /// It no longer does. The bytes are those of the activity alone.
    func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult)
    /// The connection is gone; called for all, whether or not they published or played. Virtual sessions have none, and
    /// are told by this that nobody will come back to them.
    func sessionClosed(_ account: SessionAccount)
}

/// What an activity came to.
package struct SessionResult: Sendable, Hashable {
    package var end: SessionEnd
    package var receivedBytes: UInt64
    package var sentBytes: UInt64
    package var duration: TimeAmount

    package init(end: SessionEnd, receivedBytes: UInt64, sentBytes: UInt64, duration: TimeAmount) {
        self.end = end
        self.receivedBytes = receivedBytes
        self.sentBytes = sentBytes
        self.duration = duration
    }
}

/// Something that observers are to be told.
enum SessionNotice: Sendable {
    case began(SessionActivity)
    case ended(SessionActivity, SessionResult)
    case closed

    func tell(_ observer: any SessionObserver, _ account: SessionAccount) {
        switch self {
        case .began(let activity): observer.sessionBegan(account, activity)
        case .ended(let activity, let result): observer.sessionEnded(account, activity, result)
        case .closed: observer.sessionClosed(account)
        }
    }
}

/// What the registry does to an account, under its lock.
extension SessionAccount {
    func begin(_ activity: SessionActivity, now: NIODeadline) -> Bool {
        let (received, sent) = (self.receivedBytes, self.sentBytes)
        return self.state.withLock { state in
            guard !state.isClosed, state.end == nil, state.activity == nil else { return false }
            state.activity = activity
            state.activeSince = now
            state.receivedBefore = received
            state.sentBefore = sent
            state.notices.append(.began(activity))
            return true
        }
    }

    func end(_ end: SessionEnd, now: NIODeadline) -> (SessionActivity, SessionResult)? {
        self.state.withLock { state in
            guard let activity = state.activity else { return nil }
            let bytes = self.bytes(since: state)
            let result = SessionResult(
                end: state.end ?? end, receivedBytes: bytes.received, sentBytes: bytes.sent,
                duration: state.activeSince.map { now - $0 } ?? .zero)
            state.activity = nil
            state.activeSince = nil
            state.limits = SessionLimits()
            state.notices.append(.ended(activity, result))
            return (activity, result)
        }
    }

    /// Returns false if it was closed before.
    func close() -> Bool {
        self.state.withLock { state in
            guard !state.isClosed else { return false }
            state.isClosed = true
            state.terminate = nil
            state.notices.append(.closed)
            return true
        }
    }

    /// Bytes of what the session does now. What never left may be taken back after an activity began, so the difference
    /// can be below zero for a moment.
    func bytes(since state: State) -> (received: UInt64, sent: UInt64) {
        func difference(_ now: UInt64, _ before: UInt64) -> UInt64 { now > before ? now - before : 0 }
        return (
            difference(self.receivedBytes, state.receivedBefore), difference(self.sentBytes, state.sentBefore)
        )
    }

    /// The next thing to tell. `nil`: nothing is left, or another thread tells. `continuing`: the caller is the one who
    /// tells.
    func takeNotice(continuing: Bool) -> SessionNotice? {
        self.state.withLock { state in
            guard continuing || !state.isTelling else { return nil }
            state.isTelling = !state.notices.isEmpty
            return state.isTelling ? state.notices.removeFirst() : nil
        }
    }
}
