import Logging
import Synchronization

/// What goes wrong with receivers, as one log line a second for each event at most.
final class HookProblems: Sendable {
    private struct Note {
        var url: String
        var text: String
        var count = 0
    }

    private struct State {
        var notes: [HookEvent: Note] = [:]
        var dropped: [HookEvent: Note] = [:]
    }

    private let logger: Logger
    private let state = Mutex(State())

    init(_ logger: Logger) { self.logger = logger }

    /// A call failed. `text` names no peer.
    func note(_ event: HookEvent, _ url: String, _ text: String) {
        self.state.withLock { state in
            let count = (state.notes[event]?.count ?? 0) + 1
            state.notes[event] = Note(url: HookCall.printable(url), text: text, count: count)
        }
    }

    /// A call was not made, because too many wait.
    func dropped(_ event: HookEvent, _ url: String) {
        self.state.withLock { state in
            let count = (state.dropped[event]?.count ?? 0) + 1
            state.dropped[event] = Note(url: HookCall.printable(url), text: "", count: count)
        }
    }

    /// Writes what was noted since the last time.
    func flush() {
        let state = self.state.withLock { state in
            defer { state = State() }
            return state
        }
        for (event, note) in state.notes {
            self.logger.warning(
                "a hook failed: \(note.text)",
                metadata: ["hook": "\(event.rawValue)", "url": "\(note.url)", "count": "\(note.count)"])
        }
        for (event, note) in state.dropped {
            self.logger.error(
                "hooks are dropped, because too many wait for their receiver",
                metadata: ["hook": "\(event.rawValue)", "url": "\(note.url)", "count": "\(note.count)"])
        }
    }

    func lost(_ count: Int) {
        self.logger.error("hooks that waited were given up at the end", metadata: ["count": "\(count)"])
    }
}
