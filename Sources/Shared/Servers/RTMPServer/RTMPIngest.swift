import FLV
import Media
import NIOCore
import RTMP

/// Turns the messages of an RTMP publisher, or of an upstream that is pulled, into media events.
struct RTMPIngest {
    /// This many bad messages in a row end the session; single ones are dropped.
    static let maximumConsecutiveErrors = 50

    private var reader = FLVTrackReader()
    private var events: [MediaEvent] = []
    private var consecutiveErrors = 0
    private(set) var droppedMessages = 0
    /// The newest error, for the log.
    private(set) var lastError: FLVError?

    /// Too many bad messages came in a row.
    var isHopeless: Bool { self.consecutiveErrors >= Self.maximumConsecutiveErrors }

    mutating func receive(_ message: RTMPMediaMessage) {
        do {
            let time = Int64(message.timestamp)
            let result =
                switch message.kind {
                case .video: try self.reader.video(timestampMillis: time, body: message.body)
                case .audio: try self.reader.audio(timestampMillis: time, body: message.body)
                }
            if let track = result.track { self.events.append(.track(track)) }
            if let frame = result.frame { self.events.append(.frame(frame)) }
            self.consecutiveErrors = 0
        } catch {
            self.lastError = error
            self.droppedMessages += 1
            self.consecutiveErrors += 1
        }
    }

    mutating func receive(_ metadata: StreamMetadata) {
        self.events.append(.metadata(metadata))
    }

    mutating func receive(_ data: RTMPDataMessage) {
        self.events.append(
            .data(TimedData(name: data.name, time: MediaTime(millis: Int64(data.timestamp)), payload: data.payload)))
    }

    /// The events since the last call.
    mutating func takeEvents() -> [MediaEvent] {
        guard !self.events.isEmpty else { return [] }
        let taken = self.events
        self.events = []
        self.events.reserveCapacity(taken.count)
        return taken
    }
}
