import CoordinatorStore
import DequeModule
import FoundationEssentials
import Synchronization

/// The messages of the live event streams, made once for all who follow.
///
/// A follower is a number, the last message that it has; nothing is queued for it. While nobody follows, nothing is made.
final class EventFeed: Sendable {
    struct Message: Sendable {
        /// The stored event that it tells of, for those that read it from the database already.
        var event: Int64?
        /// The message as it is sent.
        var text: String
    }

    private struct State {
        var messages: Deque<Message> = []
        var newest: UInt64 = 0
    }

    let followers: WatcherList
    private let capacity: Int
    private let state = Mutex(State())

    init(capacity: Int, maximumFollowers: Int) {
        self.capacity = capacity
        self.followers = WatcherList(limit: maximumFollowers)
    }

    var newest: UInt64 { self.state.withLock { $0.newest } }

    /// Tells of events that were stored.
    func append(_ events: [StoredEvent]) {
        guard !events.isEmpty, self.followers.count > 0 else { return }
        self.append(events.compactMap { Self.message($0) })
    }

    /// Tells of something that is not in the log of events.
    func append(_ name: String, _ value: some Encodable) {
        guard self.followers.count > 0, let text = Self.text(name, value) else { return }
        self.append([Message(event: nil, text: text)])
    }

    private func append(_ messages: [Message]) {
        self.state.withLock { state in
            for message in messages {
                if state.messages.count == self.capacity { state.messages.removeFirst() }
                state.messages.append(message)
                state.newest += 1
            }
        }
        self.followers.wakeAll()
    }

    static func message(_ event: StoredEvent) -> Message? {
        self.text("event", event, id: event.id).map { Message(event: event.id, text: $0) }
    }

    /// One message in the form of the event stream. Spec: WHATWG HTML §9.2.6; JSON has no line breaks.
    static func text(_ name: String, _ value: some Encodable, id: Int64? = nil) -> String? {
        guard let data = try? JSONEncoder().encode(value) else { return nil }
        let mark = id.map { "id: \($0)\n" } ?? ""
        return "event: \(name)\n\(mark)data: \(String(decoding: data, as: UTF8.self))\n\n"
    }

    /// Messages after number `sequence` and the number of the last one; `nil` when some of them are gone.
    func messages(after sequence: UInt64) -> (messages: [Message], newest: UInt64)? {
        self.state.withLock { state in
            let missing = state.newest - min(sequence, state.newest)
            guard missing <= UInt64(state.messages.count) else { return nil }
            return (Array(state.messages.suffix(Int(missing))), state.newest)
        }
    }
}
