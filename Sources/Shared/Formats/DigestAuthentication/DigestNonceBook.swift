package import NIOCore

/// The nonces that a server handed out, and how often each was used.
///
/// An answer counts only with a nonce of the book that has not expired, and each time with a higher count than before, so
/// that nobody can send an answer again that somebody else gave. The older form without counts, which most RTSP and SIP
/// clients speak, may use its nonce as often as it likes until it expires. Spec: RFC 7616 §3.3 and §5.4.
package struct DigestNonceBook: Sendable {
    package enum Judgement: Sendable, Hashable {
        /// Nothing speaks against the nonce.
        case usable
        /// It has expired, or makes way for others, or is none of ours: challenge anew with `stale`, if the answer is
        /// right otherwise.
        case stale
        /// The count is not above the last one: a repetition.
        case replayed
    }

    private struct Entry: Sendable {
        var expires: NIODeadline
        var lastCount: UInt32
    }

    /// Nonces that are remembered at most; the oldest make way.
    package let capacity: Int
    package let lifetime: TimeAmount
    private var entries: [String: Entry] = [:]
    /// In the order in which they were handed out.
    private var order: [String] = []

    /// `capacity` and `lifetime` are positive.
    package init(capacity: Int = 1_024, lifetime: TimeAmount = .minutes(5)) {
        precondition(capacity > 0 && lifetime > .zero, "a book of \(capacity) nonces for \(lifetime)")
        self.capacity = capacity
        self.lifetime = lifetime
    }

    package var count: Int { self.entries.count }

    /// Makes a nonce of `randomBytes`, of which there should be at least 16.
    package mutating func issue(randomBytes: some Sequence<UInt8>, now: NIODeadline) -> String {
        let nonce = Hexadecimal.text(randomBytes)
        while self.order.count >= self.capacity || self.isFirstExpired(now: now) {
            self.entries[self.order.removeFirst()] = nil
        }
        if self.entries.updateValue(Entry(expires: now + self.lifetime, lastCount: 0), forKey: nonce) == nil {
            self.order.append(nonce)
        }
        return nonce
    }

    /// Judges the nonce of an answer whose password was right, and notes its count.
    package mutating func use(_ credentials: DigestCredentials, now: NIODeadline) -> Judgement {
        guard let entry = self.entries[credentials.nonce], now < entry.expires else { return .stale }
        guard credentials.protection != nil else { return .usable }
        guard credentials.nonceCount > entry.lastCount else { return .replayed }
        self.entries[credentials.nonce]?.lastCount = credentials.nonceCount
        return .usable
    }

    private func isFirstExpired(now: NIODeadline) -> Bool {
        guard let first = self.order.first else { return false }
        return self.entries[first].map { now >= $0.expires } ?? true
    }
}
