import Glibc
import NIOCore
import Synchronization

/// Slows down who guesses credentials: counts failures by address, in a table of fixed size. Any thread may call.
///
/// IPv6 addresses count by their first 64 bits, which one client has for itself. Credentials that were right once are
/// let through even then, so that a stranger behind the same address locks nobody out.
final class SignInLimiter: Sendable {
    enum Verdict: Equatable {
        case allowed
        /// Not before so many seconds are over.
        case refused(seconds: Int)
    }

    private struct Entry {
        var failures: Int
        var windowEnd: NIODeadline
    }

    private struct State {
        var entries: [String: Entry] = [:]
        /// Digests of credentials that were right, in the order in which they came.
        var known: Set<[UInt8]> = []
        var knownOrder: [[UInt8]] = []
        var failures: UInt64 = 0
    }

    /// Addresses that are remembered; the oldest make room.
    private let capacity: Int
    private let maximumFailures: Int
    private let window: TimeAmount
    private let state = Mutex(State())

    private static let knownCapacity = 1_024

    init(maximumFailures: Int, window: TimeAmount, capacity: Int = 4_096) {
        self.maximumFailures = maximumFailures
        self.window = window
        self.capacity = capacity
    }

    /// Wrong credentials since the start.
    var failureCount: UInt64 { self.state.withLock { $0.failures } }

    /// Whether credentials of `address` are looked at now.
    func check(_ address: String, digest: [UInt8], now: NIODeadline) -> Verdict {
        let key = Self.key(of: address)
        return self.state.withLock { state in
            guard let entry = state.entries[key], now < entry.windowEnd, entry.failures >= self.maximumFailures,
                !state.known.contains(digest)
            else { return .allowed }
            return .refused(seconds: Int((entry.windowEnd - now).nanoseconds / 1_000_000_000) + 1)
        }
    }

    func failed(_ address: String, digest: [UInt8], now: NIODeadline) {
        let key = Self.key(of: address)
        self.state.withLock { state in
            state.failures += 1
            if state.known.remove(digest) != nil { state.knownOrder.removeAll { $0 == digest } }
            if var entry = state.entries[key], now < entry.windowEnd {
                entry.failures += 1
                state.entries[key] = entry
                return
            }
            if state.entries[key] == nil, state.entries.count >= self.capacity { self.makeRoom(&state, now: now) }
            state.entries[key] = Entry(failures: 1, windowEnd: now + self.window)
        }
    }

    func succeeded(digest: [UInt8]) {
        self.state.withLock { state in
            guard state.known.insert(digest).inserted else { return }
            state.knownOrder.append(digest)
            if state.knownOrder.count > Self.knownCapacity {
                state.known.remove(state.knownOrder.removeFirst())
            }
        }
    }

    /// Drops what is over, or else the window that ends first.
    private func makeRoom(_ state: inout State, now: NIODeadline) {
        state.entries = state.entries.filter { now < $0.value.windowEnd }
        guard state.entries.count >= self.capacity,
            let oldest = state.entries.min(by: { $0.value.windowEnd < $1.value.windowEnd })
        else { return }
        state.entries[oldest.key] = nil
    }

    /// What failures of `address` count under.
    static func key(of address: String) -> String {
        var parsed = [UInt8](repeating: 0, count: 16)
        guard address.contains(":"), unsafe inet_pton(AF_INET6, address, &parsed) == 1 else { return address }
        let bytes = parsed.prefix(8)
        // An IPv4 address in IPv6 form is one client of its own.
        guard bytes.contains(where: { $0 != 0 }) else { return address }
        return bytes.map { String($0, radix: 16) }.joined(separator: ":")
    }
}
