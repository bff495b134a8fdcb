import NIOCore

/// How far a connection, or an HTTP/2 stream, is with its requests, and until when it has to go on.
///
/// Several requests of one connection may be on their way: the last of them is read while earlier ones are answered.
struct RequestDeadlines {
    /// What is being read.
    enum Reading: Equatable {
        /// Nothing since then.
        case nothing(since: NIODeadline)
        /// A head whose first byte came then.
        case head(since: NIODeadline, byteCount: Int)
        /// A body whose head was complete then.
        case body(since: NIODeadline, byteCount: Int)
    }

    enum Verdict: Equatable {
        case wait(until: NIODeadline)
        /// Nothing is being waited for.
        case idle
        /// The client did not go on. `hasRequest`: an answer would be understood.
        case timedOut(hasRequest: Bool)
        /// Between requests, which is no fault.
        case close
    }

    private let limits: APILimits
    private(set) var reading: Reading
    /// Requests whose answers are not complete.
    private(set) var unanswered = 0
    /// Since when nothing of the answer could be sent.
    private var stalledSince: NIODeadline?

    init(limits: APILimits, now: NIODeadline) {
        self.limits = limits
        self.reading = .nothing(since: now)
    }

    /// Bytes arrived, before they are parsed.
    mutating func receivedBytes(_ count: Int, now: NIODeadline) {
        switch self.reading {
        case .nothing: self.reading = .head(since: now, byteCount: count)
        case .head(let since, let before): self.reading = .head(since: since, byteCount: before + count)
        case .body: break
        }
    }

    /// Whether more bytes of a head came than there may be.
    var isHeadTooLong: Bool {
        if case .head(_, let count) = self.reading { count > self.limits.headByteCount } else { false }
    }

    /// Whether what is being read is the rest of a request that has its answer.
    var isReadingAnswered: Bool {
        if case .body = self.reading { self.unanswered == 0 } else { false }
    }

    mutating func receivedHead(now: NIODeadline) {
        self.reading = .body(since: now, byteCount: 0)
        self.unanswered += 1
    }

    /// Returns whether the body is still as short as it may be.
    mutating func receivedBody(_ count: Int) -> Bool {
        guard case .body(let since, let before) = self.reading else { return true }
        self.reading = .body(since: since, byteCount: before + count)
        return before + count <= self.limits.bodyByteCount
    }

    mutating func receivedEnd(now: NIODeadline) {
        self.reading = .nothing(since: now)
    }

    /// Returns whether nothing is on its way any more.
    mutating func answered(now: NIODeadline) -> Bool {
        self.unanswered -= 1
        guard self.unanswered == 0, case .nothing = self.reading else { return false }
        self.reading = .nothing(since: now)
        return true
    }

    mutating func writabilityChanged(_ isWritable: Bool, now: NIODeadline) {
        self.stalledSince = isWritable ? nil : self.stalledSince ?? now
    }

    func verdict(now: NIODeadline) -> Verdict {
        if let since = self.stalledSince {
            let end = since + self.limits.stallTimeout
            guard now < end else { return .timedOut(hasRequest: false) }
            return self.earlier(end, self.readingVerdict(now: now))
        }
        return self.readingVerdict(now: now)
    }

    private func readingVerdict(now: NIODeadline) -> Verdict {
        switch self.reading {
        case .nothing(let since):
            guard self.unanswered == 0 else { return .idle }
            let end = since + self.limits.idleTimeout
            return now < end ? .wait(until: end) : .close
        case .head(let since, _):
            let end = since + self.limits.headTimeout
            // The decoder has no bytes left over behind a request while it is answered, so this is a request of its own.
            return now < end ? .wait(until: end) : .timedOut(hasRequest: self.unanswered == 0)
        case .body(let since, _):
            let end = since + self.limits.bodyTimeout
            return now < end ? .wait(until: end) : .timedOut(hasRequest: self.unanswered == 1)
        }
    }

    private func earlier(_ deadline: NIODeadline, _ other: Verdict) -> Verdict {
        switch other {
        case .wait(let until): .wait(until: min(deadline, until))
        case .idle: .wait(until: deadline)
        case .timedOut, .close: other
        }
    }
}
