import NIOCore

/// The deadlines of many sessions behind one timer: a binary heap of the earliest.
///
/// An entry names its session by number and the entry's own generation, so that nothing is kept alive and nothing has to
/// be found in order to be forgotten: an outdated entry is dropped when it comes up.
struct DeadlineQueue {
    struct Entry: Hashable {
        var deadline: NIODeadline
        /// The session, by a number that is never used again.
        var session: UInt64
        /// The session's newest entry has its newest generation.
        var generation: UInt32
    }

    private var heap: [Entry] = []

    var count: Int { self.heap.count }
    var first: NIODeadline? { self.heap.first?.deadline }

    /// Cost: the logarithm of the number of entries.
    mutating func insert(_ entry: Entry) {
        self.heap.append(entry)
        var child = self.heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard self.heap[child].deadline < self.heap[parent].deadline else { return }
            self.heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes the earliest entry if it is due at `now`.
    mutating func popDue(now: NIODeadline) -> Entry? {
        guard let first = self.heap.first, first.deadline <= now else { return nil }
        let last = self.heap.removeLast()
        guard !self.heap.isEmpty else { return first }
        self.heap[0] = last
        self.sink(0)
        return first
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var child = 2 * parent + 1
            guard child < self.heap.count else { return }
            if child + 1 < self.heap.count, self.heap[child + 1].deadline < self.heap[child].deadline { child += 1 }
            guard self.heap[child].deadline < self.heap[parent].deadline else { return }
            self.heap.swapAt(child, parent)
            parent = child
        }
    }

    /// Drops what `isCurrent` denies, when that is most of it: entries of sessions that moved their deadline or ended.
    mutating func compact(where isCurrent: (Entry) -> Bool) {
        self.heap.removeAll { !isCurrent($0) }
        for index in stride(from: self.heap.count / 2 - 1, through: 0, by: -1) { self.sink(index) }
    }
}
