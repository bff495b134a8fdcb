import Synchronization

/// Those who wait for changes. Each has a signal and nothing else, so a slow one holds nothing up.
final class WatcherList: Sendable {
    private struct State {
        var signals: [UInt64: AsyncStream<Void>.Continuation] = [:]
        var nextID: UInt64 = 0
        var isClosed = false
    }

    private let limit: Int
    private let state = Mutex(State())

    init(limit: Int) { self.limit = limit }

    var count: Int { self.state.withLock { $0.signals.count } }

    /// A watcher's signal, which ends when the list closes; `nil` when there are too many, or it is closed.
    func open() -> (id: UInt64, signal: AsyncStream<Void>)? {
        self.state.withLock { state in
            guard !state.isClosed, state.signals.count < self.limit else { return nil }
            let (signal, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
            state.nextID += 1
            state.signals[state.nextID] = continuation
            return (state.nextID, signal)
        }
    }

    func close(_ id: UInt64) {
        let signal = self.state.withLock { $0.signals.removeValue(forKey: id) }
        signal?.finish()
    }

    /// What wakes each watcher.
    var signals: [AsyncStream<Void>.Continuation] { self.state.withLock { Array($0.signals.values) } }

    func wakeAll() {
        for signal in self.signals { signal.yield() }
    }

    /// Ends all watchers, and lets nobody in any more.
    func closeAll() {
        let signals = self.state.withLock { state in
            state.isClosed = true
            defer { state.signals = [:] }
            return Array(state.signals.values)
        }
        for signal in signals { signal.finish() }
    }
}
