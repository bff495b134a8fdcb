import NIOCore

/// One event of a `text/event-stream`.
struct ServerSentEvent: Equatable {
    var name: String
    var data: String
    /// The id that the event itself carries.
    var id: String?
}

enum EventStreamError: Error, Equatable {
    /// One event is larger than is accepted.
    case tooLarge(limit: Int)
}

/// Cuts a byte stream into events. Spec: WHATWG HTML §9.2.6.
///
/// Knows `event`, `data`, `id` and comments; lines end with LF or CRLF, which is all that a coordinator sends.
struct EventStreamParser {
    private let maximumBytes: Int
    private var line: [UInt8] = []
    private var name = ""
    private var data: [String] = []
    private var dataBytes = 0
    private var id: String?

    init(maximumBytes: Int) { self.maximumBytes = maximumBytes }

    /// Returns the events that `buffer` completes.
    mutating func receive(_ buffer: ByteBuffer) throws(EventStreamError) -> [ServerSentEvent] {
        var events: [ServerSentEvent] = []
        for byte in buffer.readableBytesView {
            guard byte == UInt8(ascii: "\n") else {
                guard self.line.count + self.dataBytes < self.maximumBytes else {
                    throw .tooLarge(limit: self.maximumBytes)
                }
                self.line.append(byte)
                continue
            }
            if self.line.last == UInt8(ascii: "\r") { self.line.removeLast() }
            if let event = self.endLine() { events.append(event) }
            self.line.removeAll(keepingCapacity: true)
        }
        return events
    }

    private mutating func endLine() -> ServerSentEvent? {
        guard !self.line.isEmpty else { return self.dispatch() }
        let colon = self.line.firstIndex(of: UInt8(ascii: ":")) ?? self.line.endIndex
        var value = self.line[min(colon + 1, self.line.endIndex)...]
        if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
        let text = String(decoding: value, as: UTF8.self)
        switch String(decoding: self.line[..<colon], as: UTF8.self) {
        case "event": self.name = text
        case "data":
            self.data.append(text)
            self.dataBytes += value.count + 1
        case "id": self.id = text
        default: break  // Comments and fields that the specification says to ignore.
        }
        return nil
    }

    private mutating func dispatch() -> ServerSentEvent? {
        defer {
            self.name = ""
            self.data = []
            self.dataBytes = 0
            self.id = nil
        }
        guard !self.data.isEmpty else { return nil }
        return ServerSentEvent(
            name: self.name.isEmpty ? "message" : self.name, data: self.data.joined(separator: "\n"), id: self.id)
    }
}
