import Media
import NIOCore
import Recording
import Synchronization

/// A file from its beginning to its last form, for those who list and play it meanwhile.
final class ActiveRecording: Sendable {
    private struct State {
        var entry: RecordingEntry
        var index = RecordingIndex()
        var lastSaved: NIODeadline
    }

    let id: String
    let key: StreamKey
    /// Where the bytes are until the file is finished.
    let partPath: String
    private let state: Mutex<State>

    init(_ entry: RecordingEntry) {
        self.id = entry.id
        self.key = entry.key
        self.partPath = Self.partPath(of: entry)
        self.state = Mutex(State(entry: entry, lastSaved: .now()))
    }

    /// Where the bytes of a recording are until it is finished.
    static func partPath(of entry: RecordingEntry) -> String { Self.path(beside: entry, suffix: "part") }

    /// A name that no other recording has, in the folder of the file.
    static func path(beside entry: RecordingEntry, suffix: String) -> String {
        let folder = entry.path.lastIndex(of: "/").map { entry.path[...$0] } ?? ""
        return "\(folder)\(entry.id).\(suffix)"
    }

    var entry: RecordingEntry { self.state.withLock { $0.entry } }

    /// What can be played: the intervals that are whole on the disk.
    var playable: (entry: RecordingEntry, index: RecordingIndex) {
        self.state.withLock { state in
            guard state.entry.state == .recording else { return (state.entry, state.index) }
            return (state.entry, state.index.withoutLast())
        }
    }

    /// Bytes are on the disk. Returns the entry if it is time to put it into the catalogue.
    func wrote(_ piece: RecordingPiece, saveInterval: TimeAmount) -> RecordingEntry? {
        self.state.withLock { state in
            for interval in piece.intervals { state.index.append(time: interval.time, position: interval.position) }
            state.index.endTime = max(state.index.endTime, piece.endTime)
            state.entry.bytes += Int64(piece.bytes.readableBytes)
            state.index.endPosition = state.entry.bytes
            state.entry.endMillis = max(state.entry.endMillis, state.entry.startMillis + piece.endTime.millis)
            let now = NIODeadline.now()
            guard now - state.lastSaved >= saveInterval else { return nil }
            state.lastSaved = now
            return state.entry
        }
    }

    /// The header is on the disk.
    func wroteHeader(_ byteCount: Int) {
        self.state.withLock { state in
            state.entry.bytes += Int64(byteCount)
            state.index.endPosition = state.entry.bytes
        }
    }

    /// Nothing is added any more. `summary` is `nil` for a file that broke off.
    func closed(_ summary: RecordingSummary?) -> RecordingEntry {
        self.state.withLock { state in
            state.entry.state = .finishing
            if let summary {
                state.entry.endMillis = summary.endMillis
                state.entry.bytes = summary.byteCount
                state.index = summary.index
            }
            return state.entry
        }
    }
}

extension RecordingIndex {
    /// The intervals whose successor has begun, which are whole.
    fileprivate func withoutLast() -> RecordingIndex {
        var whole = RecordingIndex()
        whole.isPartial = true
        guard self.count > 1 else { return whole }
        for number in 0..<self.count - 1 { whole.append(time: self.times[number], position: self.positions[number]) }
        whole.endTime = self.times[self.count - 1]
        whole.endPosition = self.positions[self.count - 1]
        return whole
    }
}
