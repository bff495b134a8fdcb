import DequeModule

/// A dictionary with room for so many; a new key takes the place of the one that has been there longest.
struct BoundedTable<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private let capacity: Int
    private var values: [Key: Value] = [:]
    /// Each key once, the oldest first.
    private var order: Deque<Key> = []

    init(capacity: Int) {
        precondition(capacity > 0, "a table has room, got \(capacity)")
        self.capacity = capacity
    }

    subscript(_ key: Key) -> Value? { self.values[key] }

    mutating func insert(_ value: Value, for key: Key) {
        if self.values.updateValue(value, forKey: key) != nil { return }
        self.order.append(key)
        guard self.values.count > self.capacity, let oldest = self.order.popFirst() else { return }
        self.values[oldest] = nil
    }
}
