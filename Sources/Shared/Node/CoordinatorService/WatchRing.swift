import DequeModule
import Placement

/// The last changes, for watchers that are a little behind.
///
/// A watcher is only a number, the last change that it has; nothing is queued per watcher.
struct WatchRing {
    enum Item: Equatable {
        case change(PlacementChange)
        case recovered
    }

    private let capacity: Int
    private var items: Deque<Item> = []
    /// The number of the newest item; 0 before the first.
    private(set) var newest: UInt64 = 0

    init(capacity: Int) {
        precondition(capacity > 0, "a ring needs room")
        self.capacity = capacity
    }

    mutating func append(_ item: Item) {
        if self.items.count == self.capacity { self.items.removeFirst() }
        self.items.append(item)
        self.newest += 1
    }

    /// Whether everything after number `sequence` is still here.
    func has(after sequence: UInt64) -> Bool {
        sequence <= self.newest && self.newest - sequence <= UInt64(self.items.count)
    }

    /// The items after number `sequence`; `nil` when some of them are gone, or the number was never given out.
    func items(after sequence: UInt64) -> [Item]? {
        guard self.has(after: sequence) else { return nil }
        return Array(self.items.suffix(Int(self.newest - sequence)))
    }
}
