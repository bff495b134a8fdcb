import Media

/// The names of all placements in order, so that a page of a list costs its own length.
///
/// The order is that of `vhost/app/name` as text, which is also what cursors are made of. Inserting and removing move
/// the entries behind; looking up is a binary search.
struct StreamIndex {
    struct Entry: Equatable {
        var name: String
        var key: StreamKey
    }

    private var entries: [Entry] = []

    init(_ keys: some Sequence<StreamKey>) {
        self.entries = keys.map { Entry(name: Self.name(of: $0), key: $0) }.sorted { $0.name < $1.name }
    }

    static func name(of key: StreamKey) -> String { "\(key.vhost)/\(key.app)/\(key.name)" }

    var count: Int { self.entries.count }

    /// The first place whose name is not below `name`, or not below and not equal.
    private func position(of name: String, after: Bool) -> Int {
        var (low, high) = (0, self.entries.count)
        while low < high {
            let middle = (low + high) / 2
            let isBefore = after ? self.entries[middle].name <= name : self.entries[middle].name < name
            if isBefore { low = middle + 1 } else { high = middle }
        }
        return low
    }

    mutating func insert(_ key: StreamKey) {
        let name = Self.name(of: key)
        // Different keys may have the same text (`a/b` + `c`, `a` + `b/c`): they stand side by side.
        var place = self.position(of: name, after: false)
        while place < self.entries.count, self.entries[place].name == name {
            if self.entries[place].key == key { return }
            place += 1
        }
        self.entries.insert(Entry(name: name, key: key), at: place)
    }

    mutating func remove(_ key: StreamKey) {
        let name = Self.name(of: key)
        var place = self.position(of: name, after: false)
        while place < self.entries.count, self.entries[place].name == name {
            if self.entries[place].key == key {
                self.entries.remove(at: place)
                return
            }
            place += 1
        }
    }

    /// Entries behind `after`, at most `limit`; with `prefix` only those whose name begins with it. Entries of one name
    /// are never torn apart, so there may be a few more.
    func entries(after: String, prefix: String, limit: Int) -> ArraySlice<Entry> {
        let start = max(
            after.isEmpty ? 0 : self.position(of: after, after: true),
            prefix.isEmpty ? 0 : self.position(of: prefix, after: false))
        var end = start
        while end < self.entries.count {
            let name = self.entries[end].name
            guard prefix.isEmpty || name.hasPrefix(prefix) else { break }
            if end - start >= limit, self.entries[end - 1].name != name { break }
            end += 1
        }
        return self.entries[start..<end]
    }
}
