import Synchronization

/// What serving a big object made of it, such as a file of the kernel's that sockets are sent without copying.
///
/// Shared by all copies of a `MediaObject`. Only the module that serves knows what is in it. Any thread may call.
package final class ServingCache: Sendable {
    /// Smaller bodies are copied faster than anything is looked up.
    package static let minimumByteCount = 128 << 10

    private struct State {
        var uses = 0
        var value: (any Sendable)?
    }

    private let state = Mutex(State())

    package init() {}

    /// What is kept; if nothing is, what `make` gives at the second use, since most objects are served once or often.
    ///
    /// `make` runs under a lock: it must not block for long. It is tried once.
    package func value<Value: Sendable>(of type: Value.Type, make: () -> Value?) -> Value? {
        self.state.withLock { state in
            if let value = state.value { return value as? Value }
            state.uses += 1
            guard state.uses == 2 else { return nil }
            let value = make()
            state.value = value
            return value
        }
    }
}
