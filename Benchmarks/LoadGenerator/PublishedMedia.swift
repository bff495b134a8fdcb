import Foundation

/// An FLV file as the RTMP messages of a live stream that plays it in a loop, rendered to chunks once for all
/// publishers.
///
/// Only the timestamp and the message stream id in a message's first chunk header differ from publisher to publisher
/// and from loop to loop; `render(_:timestamp:messageStream:)` patches them in place. Timestamps stay below the
/// extended ones (RTMP 1.0 §5.3.1.3), so a run lasts at most `maximumMillis`.
struct PublishedMedia {
    enum LoadError: Error, Equatable {
        case notFLV
        case truncated(offset: Int)
        case empty
    }

    private struct Message {
        var bytes: [UInt8]
        let millis: UInt32
    }

    /// A little less than four and a half hours.
    static let maximumMillis: UInt32 = 0xFF_0000

    /// How long one loop takes.
    let durationMillis: UInt32
    /// Bits per second of one loop, chunk headers included.
    let bitrate: Double
    /// Metadata and codec headers come first; a loop begins after them.
    let loopStart: Int
    private var messages: [Message]

    var count: Int { self.messages.count }

    /// Reads an FLV file that begins with a keyframe.
    init(flv: [UInt8], chunkSize: Int) throws(LoadError) {
        guard flv.count > 13, flv.starts(with: [0x46, 0x4C, 0x56]) else { throw .notFLV }
        var headers: [Message] = []
        var frames: [Message] = []
        var offset = 13
        while offset + 11 <= flv.count {
            let size = Int(flv[offset + 1]) << 16 | Int(flv[offset + 2]) << 8 | Int(flv[offset + 3])
            guard offset + 11 + size <= flv.count else { throw .truncated(offset: offset) }
            let type = flv[offset] & 0x1F
            let millis = UInt32(flv[offset + 4]) << 16 | UInt32(flv[offset + 5]) << 8 | UInt32(flv[offset + 6])
            let payload = flv[offset + 11..<offset + 11 + size]
            offset += 11 + size + 4
            guard let kind = MediaEvent.Kind(rawValue: type), payload.count >= 2 else { continue }
            let first = UInt16(payload[payload.startIndex]) << 8 | UInt16(payload[payload.startIndex + 1])
            let event = MediaEvent(kind: kind, timestamp: millis, firstBytes: first, byteCount: size)
            let message = Self.render(type: type, payload, millis: millis, chunkSize: chunkSize)
            if kind == .script || event.isSequenceHeader {
                // ffmpeg ends its files with an end-of-sequence tag or repeats headers; the first ones will do.
                if frames.isEmpty { headers.append(message) }
            } else {
                frames.append(message)
            }
        }
        guard let first = frames.first, let last = frames.last, frames.count > 1 else { throw .empty }
        self.loopStart = headers.count
        self.durationMillis = last.millis - first.millis + (last.millis - first.millis) / UInt32(frames.count)
        self.messages =
            headers.map { Message(bytes: $0.bytes, millis: 0) }
            + frames.map { Message(bytes: $0.bytes, millis: $0.millis - first.millis) }
        let bytes = frames.reduce(0) { $0 + $1.bytes.count }
        self.bitrate = Double(bytes) * 8000 / Double(max(1, self.durationMillis))
    }

    /// When message `index` is due, in milliseconds since its loop began.
    func millis(of index: Int) -> UInt32 {
        self.messages[index].millis
    }

    /// The chunks of message `index` with this timestamp, valid until the next call.
    mutating func render(_ index: Int, timestamp: UInt32, messageStream: UInt32) -> [UInt8] {
        for (position, shift) in [(1, 16), (2, 8), (3, 0)] as [(Int, UInt32)] {
            self.messages[index].bytes[position] = UInt8(truncatingIfNeeded: timestamp >> shift)
        }
        for (position, shift) in [(8, 0), (9, 8), (10, 16), (11, 24)] as [(Int, UInt32)] {
            self.messages[index].bytes[position] = UInt8(truncatingIfNeeded: messageStream >> shift)
        }
        return self.messages[index].bytes
    }

    private static func render(
        type: UInt8, _ payload: ArraySlice<UInt8>, millis: UInt32, chunkSize: Int
    ) -> Message {
        var body = Array(payload)
        if type == MediaEvent.Kind.script.rawValue {
            var name = AMF0Writer()
            name.string("@setDataFrame")
            body = name.bytes + body
        }
        var bytes: [UInt8] = []
        bytes.append(
            message: type, chunkStream: type == MediaEvent.Kind.video.rawValue ? 6 : 4, messageStream: 1, body,
            chunkSize: chunkSize)
        return Message(bytes: bytes, millis: millis)
    }
}
