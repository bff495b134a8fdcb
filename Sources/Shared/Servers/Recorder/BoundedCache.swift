/// The values that were used last, as many as a bound on their cost allows.
///
/// Meant for some hundred entries: what leaves is searched for.
struct BoundedCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private var entries: [Key: (value: Value, cost: Int, use: UInt64)] = [:]
    private var cost = 0
    private var use: UInt64 = 0
    private let maximumCost: Int

    init(maximumCost: Int) { self.maximumCost = maximumCost }

    mutating func value(_ key: Key) -> Value? {
        self.use += 1
        self.entries[key]?.use = self.use
        return self.entries[key]?.value
    }

    /// Keeps a value; one that costs more than all together may is not kept.
    mutating func insert(_ value: Value, cost: Int, for key: Key) {
        self.remove(key)
        guard cost <= self.maximumCost else { return }
        self.use += 1
        self.entries[key] = (value, cost, self.use)
        self.cost += cost
        while self.cost > self.maximumCost, let oldest = self.entries.min(by: { $0.value.use < $1.value.use }) {
            self.remove(oldest.key)
        }
    }

    mutating func remove(_ key: Key) {
        if let entry = self.entries.removeValue(forKey: key) { self.cost -= entry.cost }
    }
}
