/// Finds the messages in a stream of RTMP chunks and keeps only what a load generator looks at.
///
/// Media messages keep their first two bytes, all others their first 4,096. Spec: RTMP 1.0 §5.3.
struct RTMPChunkReader {
    struct Message: Equatable {
        let type: UInt8
        let timestamp: UInt32
        let byteCount: Int
        /// The beginning of the payload.
        let prefix: [UInt8]
    }

    enum ReadError: Error, Equatable {
        /// A chunk without a header of its own on a chunk stream that never had one.
        case headerMissing(chunkStream: Int)
    }

    private struct ChunkStream {
        var timestamp: UInt32 = 0
        var delta: UInt32 = 0
        var length = 0
        var type: UInt8 = 0
        var hasExtendedTimestamp = false
        var received = 0
        var prefix: [UInt8] = []
    }

    private var header: [UInt8] = []
    /// Payload bytes of the current chunk still to come, and its chunk stream; zero between chunks.
    private var chunkLeft = 0
    private var current = 0
    private var streams: [Int: ChunkStream] = [:]
    private var chunkSize = 128

    init() {
        self.header.reserveCapacity(18)
    }

    /// Reads `bytes` and appends each message that they complete.
    mutating func read(_ bytes: Span<UInt8>, into messages: inout [Message]) throws(ReadError) {
        var index = 0
        while index < bytes.count {
            if self.chunkLeft > 0 {
                let count = min(self.chunkLeft, bytes.count - index)
                self.take(bytes.extracting(index..<index + count), into: &messages)
                index += count
            } else {
                self.header.append(bytes[index])
                index += 1
                try self.headerGrew(into: &messages)
            }
        }
    }

    private mutating func headerGrew(into messages: inout [Message]) throws(ReadError) {
        let basic = Self.basicHeader(self.header)
        let format = self.header[0] >> 6
        let base = basic.byteCount + [11, 7, 3, 0][Int(format)]
        guard self.header.count >= base else { return }
        var stream = self.streams[basic.chunkStream]
        if format < 3, self.header.count == base {
            var fields = stream ?? ChunkStream()
            fields.hasExtendedTimestamp = self.uint24(at: basic.byteCount) == 0xFF_FFFF
            self.streams[basic.chunkStream] = fields
            stream = fields
        }
        guard let known = stream else { throw .headerMissing(chunkStream: basic.chunkStream) }
        guard self.header.count >= base + (known.hasExtendedTimestamp ? 4 : 0) else { return }
        self.begin(known, chunkStream: basic.chunkStream, format: format, fieldsAt: basic.byteCount, base: base)
        self.header.removeAll(keepingCapacity: true)
        if self.chunkLeft == 0 { self.finish(into: &messages) }
    }

    private mutating func begin(
        _ known: ChunkStream, chunkStream: Int, format: UInt8, fieldsAt: Int, base: Int
    ) {
        var stream = known
        if format < 3 {
            let field = stream.hasExtendedTimestamp ? self.uint32(at: base) : self.uint24(at: fieldsAt)
            if format < 2 {
                stream.length = Int(self.uint24(at: fieldsAt + 3))
                stream.type = self.header[fieldsAt + 6]
            }
            // After an absolute timestamp servers repeat it in type 3 headers, so there is no delta to add.
            stream.delta = format == 0 ? 0 : field
            stream.timestamp = format == 0 ? field : stream.timestamp &+ field
            stream.received = 0
            stream.prefix.removeAll(keepingCapacity: true)
        } else if stream.received == 0 {
            // §5.3.1.2.4: a new message with a type 3 header repeats the last delta.
            stream.timestamp &+= stream.delta
        }
        self.current = chunkStream
        self.chunkLeft = min(self.chunkSize, stream.length - stream.received)
        self.streams[chunkStream] = stream
    }

    private mutating func take(_ bytes: Span<UInt8>, into messages: inout [Message]) {
        self.chunkLeft -= bytes.count
        let chunkLeft = self.chunkLeft
        var isComplete = false
        // Looked up in place, so that the prefix is not copied for each chunk.
        if let slot = self.streams.index(forKey: self.current) {
            isComplete = Self.keep(bytes, in: &self.streams.values[slot])
        }
        if chunkLeft == 0, isComplete { self.finish(into: &messages) }
    }

    private static func keep(_ bytes: Span<UInt8>, in stream: inout ChunkStream) -> Bool {
        let limit = stream.type == 8 || stream.type == 9 ? 2 : 4096
        var index = 0
        while stream.prefix.count < limit, index < bytes.count {
            stream.prefix.append(bytes[index])
            index += 1
        }
        stream.received += bytes.count
        return stream.received >= stream.length
    }

    private mutating func finish(into messages: inout [Message]) {
        guard var stream = self.streams[self.current] else { return }
        messages.append(
            Message(
                type: stream.type, timestamp: stream.timestamp, byteCount: stream.length, prefix: stream.prefix))
        if stream.type == 1, stream.prefix.count >= 4 {
            self.chunkSize = max(1, Int(bigEndianUInt32(stream.prefix, at: 0) & 0x7FFF_FFFF))
        }
        stream.received = 0
        stream.prefix.removeAll(keepingCapacity: true)
        self.streams[self.current] = stream
    }

    private static func basicHeader(_ header: [UInt8]) -> (chunkStream: Int, byteCount: Int) {
        switch header[0] & 0x3F {
        case 0: (header.count > 1 ? 64 + Int(header[1]) : 0, 2)
        case 1: (header.count > 2 ? 64 + Int(header[1]) + Int(header[2]) * 256 : 0, 3)
        case let small: (Int(small), 1)
        }
    }

    private func uint24(at index: Int) -> UInt32 {
        UInt32(self.header[index]) << 16 | UInt32(self.header[index + 1]) << 8 | UInt32(self.header[index + 2])
    }

    private func uint32(at index: Int) -> UInt32 {
        bigEndianUInt32(self.header, at: index)
    }
}

/// The big-endian number in the four bytes at `index`, which must be there.
func bigEndianUInt32(_ bytes: [UInt8], at index: Int) -> UInt32 {
    UInt32(bytes[index]) << 24 | UInt32(bytes[index + 1]) << 16 | UInt32(bytes[index + 2]) << 8
        | UInt32(bytes[index + 3])
}
