import NIOCore

/// Counts wrong passwords, so that nobody guesses one: after some for a device from a host, no answer for that device from
/// there is looked at until a minute has passed.
struct GuessBook: Sendable {
    private struct Entry: Sendable {
        var count: Int
        var since: NIODeadline
    }

    private static let maximumGuesses = 20
    private static let window = TimeAmount.minutes(1)
    private static let capacity = 8_192

    private var entries: [String: Entry] = [:]

    private func key(_ device: String, _ host: String) -> String { "\(host)|\(device)" }

    func isBlocked(_ device: String, at host: String, now: NIODeadline) -> Bool {
        guard let entry = self.entries[self.key(device, host)] else { return false }
        return entry.count >= Self.maximumGuesses && now < entry.since + Self.window
    }

    /// A password was wrong, or was not looked at.
    mutating func failed(_ device: String, at host: String, now: NIODeadline) {
        let key = self.key(device, host)
        if let entry = self.entries[key], now < entry.since + Self.window {
            self.entries[key]?.count = min(entry.count + 1, Self.maximumGuesses)
            return
        }
        if self.entries.count >= Self.capacity {
            self.entries = self.entries.filter { now < $0.value.since + Self.window }
            // A flood from forged addresses: those who are known go first, rather than memory.
            if self.entries.count >= Self.capacity { self.entries.removeAll(keepingCapacity: true) }
        }
        self.entries[key] = Entry(count: 1, since: now)
    }
}
