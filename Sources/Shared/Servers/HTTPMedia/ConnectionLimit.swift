import Synchronization

/// How many connections there may be, and are. Any thread may call.
package final class ConnectionLimit: Sendable {
    package let maximum: Int
    private let state = Mutex<(open: Int, refused: UInt64)>((0, 0))

    package init(maximum: Int) {
        precondition(maximum > 0, "a listener without connections has no use, got \(maximum)")
        self.maximum = maximum
    }

    /// Connections that are open.
    package var count: Int { self.state.withLock { $0.open } }
    /// Connections that were closed at once, since the start.
    package var refused: UInt64 { self.state.withLock { $0.refused } }

    /// Counts a connection; `false` if it is one too many. `leave` must follow when it was counted.
    func enter() -> Bool {
        self.state.withLock { state in
            guard state.open < self.maximum else {
                state.refused += 1
                return false
            }
            state.open += 1
            return true
        }
    }

    func leave() { self.state.withLock { $0.open -= 1 } }
}
