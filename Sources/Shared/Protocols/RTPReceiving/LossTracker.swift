import NIOCore

/// When missing packets are asked for again, and when they are given up.
struct LossTiming: Sendable, Hashable {
    /// A first request goes out no earlier than this after the gap was seen, because packets overtake each other.
    var minimumReorderDelay: TimeAmount = .milliseconds(5)
    var maximumReorderDelay: TimeAmount = .milliseconds(50)
    /// Requests for one packet are at least this far apart.
    var minimumInterval: TimeAmount = .milliseconds(20)
    /// A packet is asked for at most this often.
    var maximumRequests = 12
    /// What the round trip is taken for until one was measured.
    var assumedRoundTrip: TimeAmount = .milliseconds(100)
}

/// The packets of one source that are missing: which are due to be asked for, and since when the oldest is waited for.
///
/// Bounded: beyond `capacity` missing packets, the oldest are forgotten, which gives them up.
struct LossTracker {
    private struct Entry {
        var number: Int64
        var noticed: NIODeadline
        var due: NIODeadline
        var firstAsked: NIODeadline?
        var requests = 0
    }

    private let timing: LossTiming
    private let capacity: Int
    /// Ascending by number.
    private var entries: [Entry] = []
    /// How late packets come that were only overtaken.
    private var reorderDelay: TimeAmount
    /// The time from a request to the packet, smoothed; `nil` until one was measured or told.
    private(set) var roundTrip: TimeAmount?
    /// Retransmissions come on a source of their own.
    private var answersAreMarked = false
    /// Packets that came after they were asked for.
    private(set) var recovered = 0
    private(set) var requested = 0

    init(timing: LossTiming = .init(), capacity: Int) {
        self.timing = timing
        self.capacity = capacity
        self.reorderDelay = timing.minimumReorderDelay
    }

    var count: Int { self.entries.count }
    var assumedRoundTrip: TimeAmount { self.roundTrip ?? self.timing.assumedRoundTrip }

    /// The first missing packets of `range` were noticed. Only the last `capacity` of them are remembered.
    mutating func missed(_ range: Range<Int64>, now: NIODeadline) {
        let first = max(range.lowerBound, range.upperBound - Int64(self.capacity))
        for number in first..<range.upperBound {
            self.entries.append(Entry(number: number, noticed: now, due: now + self.reorderDelay))
        }
        if self.entries.count > self.capacity { self.entries.removeFirst(self.entries.count - self.capacity) }
    }

    /// A packet came that is not a duplicate. `isAnswer`: it is known to be a retransmission; where retransmissions
    /// look like any packet, one that comes in under half a round trip after the request is taken for overtaken.
    ///
    /// Returns whether it was recovered by a request.
    mutating func arrived(_ number: Int64, isAnswer: Bool, now: NIODeadline) -> Bool {
        if isAnswer { self.answersAreMarked = true }
        guard let index = self.index(of: number) else { return false }
        let entry = self.entries.remove(at: index)
        guard let asked = entry.firstAsked, isAnswer || self.canBeAnswer(after: now - asked) else {
            self.measureReordering(now - entry.noticed)
            return false
        }
        self.recovered += 1
        self.measure(answer: now - asked, requests: entry.requests)
        return true
    }

    private func canBeAnswer(after span: TimeAmount) -> Bool {
        if self.answersAreMarked { return false }
        guard let roundTrip = self.roundTrip else { return true }
        return span.nanoseconds * 2 > roundTrip.nanoseconds
    }

    /// Everything before `number` is given up or had its turn.
    mutating func forget(before number: Int64) {
        guard let first = self.entries.first, first.number < number else { return }
        self.entries.removeFirst(self.entries.firstIndex { $0.number >= number } ?? self.entries.count)
    }

    mutating func forgetAll() { self.entries.removeAll(keepingCapacity: false) }

    /// When the gap at `number` was seen; `nil` when it is not remembered.
    func noticed(_ number: Int64) -> NIODeadline? { self.index(of: number).map { self.entries[$0].noticed } }

    /// The next time that `takeDue` has something.
    var nextDue: NIODeadline? {
        var earliest: NIODeadline?
        for entry in self.entries where entry.requests < self.timing.maximumRequests {
            if earliest.map({ entry.due < $0 }) ?? true { earliest = entry.due }
        }
        return earliest
    }

    /// The packets that are due to be asked for, ascending, at most `limit`.
    mutating func takeDue(now: NIODeadline, limit: Int) -> [UInt16] {
        var numbers: [UInt16] = []
        for index in self.entries.indices where self.entries[index].due <= now {
            guard self.entries[index].requests < self.timing.maximumRequests else { continue }
            guard numbers.count < limit else { break }
            // Requests get lost like packets do: asking twice in a round trip costs a packet and saves a keyframe.
            let half = TimeAmount.nanoseconds(self.assumedRoundTrip.nanoseconds / 2)
            self.entries[index].requests += 1
            if self.entries[index].requests == 1 { self.entries[index].firstAsked = now }
            self.entries[index].due = now + max(self.timing.minimumInterval, half)
            numbers.append(UInt16(truncatingIfNeeded: self.entries[index].number))
        }
        self.requested += numbers.count
        return numbers
    }

    /// The second request leaves after half a round trip, so it is mostly the first one that is answered. Where it took
    /// more of them, either packets were lost or the round trip is longer than believed: it is raised carefully.
    private mutating func measure(answer span: TimeAmount, requests: Int) {
        guard requests > 2, let known = self.roundTrip else { return self.measure(roundTrip: span) }
        let raised = min(span.nanoseconds, known.nanoseconds * 2)
        if raised > known.nanoseconds {
            self.roundTrip = .nanoseconds(known.nanoseconds + (raised - known.nanoseconds) / 4)
        }
    }

    mutating func measure(roundTrip sample: TimeAmount) {
        let bounded = min(max(sample, .milliseconds(1)), .seconds(2))
        guard let known = self.roundTrip else { return self.roundTrip = bounded }
        self.roundTrip = .nanoseconds(known.nanoseconds + (bounded.nanoseconds - known.nanoseconds) / 8)
    }

    /// Follows lateness up quickly and down slowly, so that overtaken packets are rarely asked for.
    private mutating func measureReordering(_ lateness: TimeAmount) {
        let target = min(
            max(lateness + .milliseconds(2), self.timing.minimumReorderDelay), self.timing.maximumReorderDelay)
        let difference = target.nanoseconds - self.reorderDelay.nanoseconds
        self.reorderDelay = .nanoseconds(self.reorderDelay.nanoseconds + difference / (difference > 0 ? 2 : 32))
    }

    private func index(of number: Int64) -> Int? {
        guard let first = self.entries.first, let last = self.entries.last, number >= first.number,
            number <= last.number
        else { return nil }
        var (low, high) = (0, self.entries.count)
        while low < high {
            let middle = (low + high) / 2
            if self.entries[middle].number < number { low = middle + 1 } else { high = middle }
        }
        return low < self.entries.count && self.entries[low].number == number ? low : nil
    }
}
