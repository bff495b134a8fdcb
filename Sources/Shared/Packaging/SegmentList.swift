import DequeModule
import Playlists

/// The segments of one tag in order, without a hole, with the parts of the newest.
struct SegmentList: Sendable {
    struct Entry: Sendable {
        var facts: SegmentFacts
        /// Microseconds from the list's own beginning to this segment's start. Rounding may make it a little wrong over a
        /// day; it only decides what is listed.
        var offset: Int64
        var parts: [PartFacts]

        var end: Int64 { self.offset + self.facts.playlistDuration.micros }
    }

    private(set) var entries = Deque<Entry>()
    /// The parts of the segment that is being made.
    private(set) var open: [PartFacts] = []
    /// What was pushed out by a hole, for the owner.
    private var dropped: [SegmentFacts] = []
    /// How many of the first segments the owner was told to have left memory.
    private(set) var outOfMemory = 0

    var first: Entry? { self.entries.first }
    var last: Entry? { self.entries.last }

    mutating func append(_ facts: SegmentFacts) {
        if let last = self.entries.last {
            guard facts.sequence > last.facts.sequence else { return }
            if facts.sequence != last.facts.sequence + 1 {
                self.dropped += self.entries.map(\.facts)
                self.entries.removeAll()
                self.outOfMemory = 0
            }
        }
        let parts = self.open.first?.sequence == facts.sequence ? self.open : []
        self.entries.append(Entry(facts: facts, offset: self.entries.last?.end ?? 0, parts: parts))
        self.open.removeAll()
    }

    mutating func append(_ part: PartFacts) {
        if let first = self.open.first, first.sequence != part.sequence { self.open.removeAll() }
        guard part.index == self.open.count, self.entries.last.map({ part.sequence > $0.facts.sequence }) ?? true
        else { return }
        self.open.append(part)
    }

    /// Parts that no playlist shows any more: of segments that end `micros` from the end, or more.
    mutating func dropParts(olderThan micros: Int64) {
        guard let end = self.entries.last?.end else { return }
        var index = self.entries.count - 1
        while index >= 0, end - self.entries[index].end < micros { index -= 1 }
        while index >= 0, !self.entries[index].parts.isEmpty {
            self.entries[index].parts = []
            index -= 1
        }
    }

    mutating func takeDropped() -> [SegmentFacts] {
        defer { self.dropped = [] }
        return self.dropped
    }

    mutating func dropOpen() { self.open.removeAll() }

    /// The index of the first segment to list so that the list is at least `micros` long and has `count` segments, as far
    /// as there are. It never falls as segments are appended.
    func firstIndex(spanning micros: Int64, count: Int) -> Int {
        guard let end = self.entries.last?.end else { return 0 }
        // A segment is listed if less than that comes after it.
        var low = 0
        var high = self.entries.count
        while low < high {
            let middle = (low + high) / 2
            if end - self.entries[middle].end < micros { high = middle } else { low = middle + 1 }
        }
        return max(0, min(low, self.entries.count - count))
    }

    /// The index of the segment with this number, or of the one to come next to it.
    func index(of sequence: UInt64) -> Int {
        guard let first = self.entries.first?.facts.sequence, sequence > first else { return 0 }
        return Int(min(sequence - first, UInt64(self.entries.count)))
    }

    mutating func removeFirst() -> SegmentFacts? {
        self.outOfMemory = max(0, self.outOfMemory - 1)
        return self.entries.popFirst()?.facts
    }

    /// The segments before `index` that have not left memory yet: they have now.
    mutating func leaveMemory(before index: Int) -> [SegmentFacts] {
        guard index > self.outOfMemory else { return [] }
        defer { self.outOfMemory = index }
        return self.entries[self.outOfMemory..<index].map(\.facts)
    }

    /// The segment with this number.
    func segment(_ sequence: UInt64) -> SegmentFacts? {
        guard let first = self.entries.first?.facts.sequence, sequence >= first else { return nil }
        let offset = sequence - first
        return offset < UInt64(self.entries.count) ? self.entries[Int(offset)].facts : nil
    }

    /// The number and part that players have last; `nil` when there is nothing.
    var lastReport: (sequence: UInt64, part: Int?)? {
        if let part = self.open.last { return (part.sequence, part.index) }
        guard let last = self.entries.last else { return nil }
        return (last.facts.sequence, last.facts.partCount > 0 ? last.facts.partCount - 1 : nil)
    }
}
