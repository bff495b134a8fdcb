/// A dictionary that knows which of its keys was not used for the longest time.
///
/// A doubly linked list through an array of slots; every operation is O(1). It does not limit itself: its owner removes
/// the oldest while there is too much.
struct LRUMap<Key: Hashable, Value> {
    private struct Slot {
        var key: Key
        var value: Value
        var newer: Int
        var older: Int
    }

    private static var none: Int { -1 }

    private var slots: [Slot?] = []
    private var free: [Int] = []
    private var positions: [Key: Int] = [:]
    private var newest = LRUMap.none
    private var oldest = LRUMap.none

    var count: Int { self.positions.count }

    /// Reads without counting as use.
    func peek(_ key: Key) -> Value? {
        self.positions[key].flatMap { self.slots[$0]?.value }
    }

    /// Reads, and makes `key` the newest.
    mutating func use(_ key: Key) -> Value? {
        guard let position = self.positions[key] else { return nil }
        self.promote(position)
        return self.slots[position]?.value
    }

    /// Writes, and makes `key` the newest. Returns what was there.
    @discardableResult
    mutating func update(_ key: Key, _ value: Value) -> Value? {
        if let position = self.positions[key] {
            let before = self.slots[position]?.value
            self.slots[position]?.value = value
            self.promote(position)
            return before
        }
        let position = self.free.popLast() ?? self.slots.count
        let slot = Slot(key: key, value: value, newer: Self.none, older: self.newest)
        if position == self.slots.count { self.slots.append(slot) } else { self.slots[position] = slot }
        self.positions[key] = position
        self.link(position, below: self.newest)
        return nil
    }

    /// Removes a key. Returns what was there.
    @discardableResult
    mutating func remove(_ key: Key) -> Value? {
        guard let position = self.positions.removeValue(forKey: key) else { return nil }
        self.unlink(position)
        let value = self.slots[position]?.value
        self.slots[position] = nil
        self.free.append(position)
        return value
    }

    /// Removes the key that was not used for the longest time.
    @discardableResult
    mutating func removeOldest() -> (key: Key, value: Value)? {
        guard self.oldest != Self.none, let slot = self.slots[self.oldest] else { return nil }
        self.remove(slot.key)
        return (slot.key, slot.value)
    }

    /// The keys, newest first.
    var keys: [Key] {
        var keys: [Key] = []
        var position = self.newest
        while position != Self.none, let slot = self.slots[position] {
            keys.append(slot.key)
            position = slot.older
        }
        return keys
    }

    private mutating func promote(_ position: Int) {
        guard position != self.newest else { return }
        self.unlink(position)
        self.link(position, below: self.newest)
    }

    private mutating func link(_ position: Int, below newest: Int) {
        self.slots[position]?.older = newest
        self.slots[position]?.newer = Self.none
        if newest == Self.none { self.oldest = position } else { self.slots[newest]?.newer = position }
        self.newest = position
    }

    private mutating func unlink(_ position: Int) {
        guard let slot = self.slots[position] else { return }
        if slot.newer == Self.none { self.newest = slot.older } else { self.slots[slot.newer]?.older = slot.older }
        if slot.older == Self.none { self.oldest = slot.newer } else { self.slots[slot.older]?.newer = slot.newer }
    }
}
