package import NIOCore

/// How much of a peer's chunk layer is accepted.
package struct RTMPChunkLimits: Sendable, Hashable {
    /// The longest message in bytes.
    package var maximumMessageSize: Int
    /// The largest chunk size that a peer may announce, in bytes.
    package var maximumChunkSize: Int
    /// How many chunk streams one connection may use.
    package var maximumChunkStreams: Int
    /// How many bytes of unfinished messages are kept for one connection.
    package var maximumPartialBytes: Int

    package init(
        maximumMessageSize: Int = 8 << 20, maximumChunkSize: Int = 1 << 20, maximumChunkStreams: Int = 64,
        maximumPartialBytes: Int = 16 << 20
    ) {
        self.maximumMessageSize = maximumMessageSize
        self.maximumChunkSize = maximumChunkSize
        self.maximumChunkStreams = maximumChunkStreams
        self.maximumPartialBytes = maximumPartialBytes
    }
}

/// Takes chunks apart into messages.
///
/// Feed it the bytes after the handshake, in any cuts, and drain `nextMessage()` to `nil`. Set chunk size and abort
/// messages take effect here and are not returned. After an error the reader must not be used again.
///
/// A message that lies whole in one receive buffer is a slice of it; any other is assembled once, in a buffer that grows
/// with the bytes that really came.
///
/// **Spec:** RTMP 1.0 §5.3, §5.4.1, §5.4.2.
package struct RTMPChunkReader {
    private struct ChunkStream {
        let id: UInt32
        var timestamp: UInt32 = 0
        /// What a type 3 chunk that opens a message adds to `timestamp`.
        var delta: UInt32 = 0
        /// The value of the extended timestamp field, if the last full header had one.
        var extended: UInt32?
        var length = 0
        var typeID: UInt8 = 0
        var streamID: UInt32 = 0
        /// The bytes so far of a message that is not whole yet.
        var partial: ByteBuffer?
    }

    private enum State {
        case header
        /// Inside a chunk of the stream at `index`, with `remaining` bytes of it to come.
        case body(index: Int, remaining: Int)
    }

    /// What is reserved at once for a message, whatever length it announces.
    private static let initialReserve = 64 << 10

    private let limits: RTMPChunkLimits
    private var input = ByteBuffer()
    private var streams: [ChunkStream] = []
    private var state = State.header
    private var partialBytes = 0
    /// The size of the peer's chunks, in bytes.
    private(set) var chunkSize = 128

    /// Starts with the default chunk size of 128 bytes (§5.4.1).
    package init(limits: RTMPChunkLimits = RTMPChunkLimits()) {
        precondition(limits.maximumChunkSize >= 128, "chunks of 128 bytes are the default of every peer")
        self.limits = limits
    }

    /// Bytes that were received and belong to no returned message yet.
    package var bufferedBytes: Int { self.input.readableBytes + self.partialBytes }

    /// Adds bytes. What the last call left over (less than one header, once drained) is copied in front of them.
    package mutating func receive(_ bytes: ByteBuffer) {
        if self.input.readableBytes == 0 {
            self.input = bytes
        } else {
            var joined = ByteBuffer()
            joined.reserveCapacity(self.input.readableBytes + bytes.readableBytes)
            joined.writeImmutableBuffer(self.input)
            joined.writeImmutableBuffer(bytes)
            self.input = joined
        }
    }

    /// The next whole message, or `nil` when more bytes are needed.
    package mutating func nextMessage() throws(RTMPError) -> RTMPMessage? {
        while let message = try self.readMessage() {
            switch message.typeID {
            case RTMPMessageType.setChunkSize: try self.setChunkSize(message.payload)
            case RTMPMessageType.abort: try self.abort(message.payload)
            default: return message
            }
        }
        if self.input.readableBytes == 0 {
            // An idle connection must not keep the receive buffer alive.
            self.input = ByteBuffer()
        }
        return nil
    }

    private mutating func readMessage() throws(RTMPError) -> RTMPMessage? {
        while true {
            switch self.state {
            case .header:
                guard let index = try self.readHeader() else { return nil }
                let left = self.streams[index].length - (self.streams[index].partial?.readableBytes ?? 0)
                self.state = .body(index: index, remaining: min(left, self.chunkSize))
            case .body(let index, let remaining):
                if let message = try self.readBody(index: index, remaining: remaining) { return message }
                guard case .header = self.state else { return nil }
            }
        }
    }

    /// Takes what is there of the current chunk. Returns the message when it is whole.
    private mutating func readBody(index: Int, remaining: Int) throws(RTMPError) -> RTMPMessage? {
        let length = self.streams[index].length
        if self.streams[index].partial == nil, remaining == length, let payload = self.input.readSlice(length: length) {
            self.state = .header
            return self.message(index: index, payload: payload)
        }
        let available = min(remaining, self.input.readableBytes)
        guard available > 0, let bytes = self.input.readSlice(length: available) else { return nil }
        self.partialBytes += available
        guard self.partialBytes <= self.limits.maximumPartialBytes else {
            throw .tooManyPartialBytes(limit: self.limits.maximumPartialBytes)
        }
        var partial = self.streams[index].partial.take() ?? Self.reserve(length: length)
        partial.writeImmutableBuffer(bytes)
        guard partial.readableBytes == length else {
            self.streams[index].partial = partial
            self.state = available == remaining ? .header : .body(index: index, remaining: remaining - available)
            return nil
        }
        self.partialBytes -= length
        self.state = .header
        return self.message(index: index, payload: partial)
    }

    private static func reserve(length: Int) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(min(length, self.initialReserve))
        return buffer
    }

    private func message(index: Int, payload: ByteBuffer) -> RTMPMessage {
        RTMPMessage(
            typeID: self.streams[index].typeID, timestamp: self.streams[index].timestamp,
            streamID: self.streams[index].streamID, payload: payload)
    }
}

// MARK: - Headers

extension RTMPChunkReader {
    /// Reads a whole chunk header and applies it; `nil`, and nothing consumed, when it is not all there.
    private mutating func readHeader() throws(RTMPError) -> Int? {
        var cursor = self.input
        guard let (format, id) = Self.basicHeader(&cursor) else { return nil }
        let index = self.streams.firstIndex { $0.id == id }
        let headerLength = [11, 7, 3, 0][Int(format)]
        guard cursor.readableBytes >= headerLength else { return nil }
        let isContinuation = index.map { self.streams[$0].partial != nil } ?? false
        var stream = index.map { self.streams[$0] } ?? ChunkStream(id: id)
        // librtmp opens a chunk stream with type 1 when it sends a ping, which needs no previous header but its
        // message stream; 0 is meant.
        guard index != nil || format <= 1 else { throw .missingChunkHeader(chunkStream: id, format: format) }
        if format == 3 {
            guard Self.skipRepeatedTimestamp(of: stream, in: &cursor) else { return nil }
            if !isContinuation {
                stream.timestamp &+= stream.delta
            }
        } else {
            guard !isContinuation else {
                throw .unfinishedMessage(
                    chunkStream: id, format: format, received: stream.partial?.readableBytes ?? 0,
                    length: stream.length)
            }
            guard try self.readMessageHeader(format: format, into: &stream, from: &cursor) else { return nil }
        }
        self.input = cursor
        if let index {
            self.streams[index] = stream
            return index
        }
        guard self.streams.count < self.limits.maximumChunkStreams else {
            throw .tooManyChunkStreams(limit: self.limits.maximumChunkStreams)
        }
        self.streams.append(stream)
        return self.streams.count - 1
    }

    /// §5.3.1.1: the format and the chunk stream in one, two or three bytes.
    private static func basicHeader(_ cursor: inout ByteBuffer) -> (format: UInt8, id: UInt32)? {
        guard let first = cursor.readInteger(as: UInt8.self) else { return nil }
        switch first & 0x3F {
        case 0:
            guard let second = cursor.readInteger(as: UInt8.self) else { return nil }
            return (first >> 6, UInt32(second) + 64)
        case 1:
            guard let rest = cursor.readInteger(endianness: .little, as: UInt16.self) else { return nil }
            return (first >> 6, UInt32(rest) + 64)
        case let id:
            return (first >> 6, UInt32(id))
        }
    }

    /// §5.3.1.2: the message header of types 0, 1 and 2 with its extended timestamp.
    /// `false` when the extended timestamp is not there yet; the caller has checked the rest.
    private func readMessageHeader(
        format: UInt8, into stream: inout ChunkStream, from cursor: inout ByteBuffer
    ) throws(RTMPError) -> Bool {
        var time = cursor.readUInt24() ?? 0
        if format <= 1 {
            stream.length = Int(cursor.readUInt24() ?? 0)
            stream.typeID = cursor.readInteger() ?? 0
            guard stream.length <= self.limits.maximumMessageSize else {
                throw .messageTooLong(length: stream.length, limit: self.limits.maximumMessageSize)
            }
        }
        if format == 0 {
            stream.streamID = cursor.readInteger(endianness: .little) ?? 0
        }
        stream.extended = nil
        if time == 0xFF_FFFF {
            guard let extended = cursor.readInteger(as: UInt32.self) else { return false }
            stream.extended = extended
            time = extended
        }
        if format == 0 {
            stream.timestamp = time
            // §5.3.1.2.4: after type 0, type 3 adds the timestamp itself. No sender means that of a time of more than
            // four hours; those that repeat the extended field mean the same time.
            stream.delta = stream.extended == nil ? time : 0
        } else {
            stream.timestamp &+= time
            stream.delta = time
        }
        return true
    }

    /// §5.3.1.3: a type 3 chunk repeats the extended timestamp. Old encoders leave it out, which shows in that the next
    /// four bytes differ from it. `false` when these bytes are not there yet.
    private static func skipRepeatedTimestamp(of stream: ChunkStream, in cursor: inout ByteBuffer) -> Bool {
        guard let extended = stream.extended else { return true }
        guard let next = cursor.getInteger(at: cursor.readerIndex, as: UInt32.self) else {
            // The last bytes of a message without the field may be fewer than four, and nothing may follow them.
            let left = stream.length - (stream.partial?.readableBytes ?? 0)
            return left < 4 && cursor.readableBytes >= left && !Self.couldBegin(extended, cursor)
        }
        if next == extended {
            cursor.moveReaderIndex(forwardBy: 4)
        }
        return true
    }

    /// Whether the bytes that are there are the first of `extended`.
    private static func couldBegin(_ extended: UInt32, _ cursor: ByteBuffer) -> Bool {
        var expected = extended.bigEndian
        return unsafe withUnsafeBytes(of: &expected) { unsafe $0.starts(with: cursor.readableBytesView) }
    }
}

// MARK: - Control messages of the chunk layer

extension RTMPChunkReader {
    private mutating func setChunkSize(_ payload: ByteBuffer) throws(RTMPError) {
        guard let size = payload.getInteger(at: payload.readerIndex, as: UInt32.self) else {
            throw .truncatedMessage(
                typeID: RTMPMessageType.setChunkSize, needed: 4, available: payload.readableBytes)
        }
        // §5.4.1: the first bit must be 0; at least 1 byte. An open chunk keeps the size that it began with.
        guard size >= 1, size <= UInt32(clamping: self.limits.maximumChunkSize) else {
            throw .chunkSizeOutOfRange(size: size, limit: self.limits.maximumChunkSize)
        }
        self.chunkSize = Int(size)
    }

    /// §5.4.2: the unfinished message of a chunk stream is dropped. One that is unknown or idle has none.
    private mutating func abort(_ payload: ByteBuffer) throws(RTMPError) {
        guard let id = payload.getInteger(at: payload.readerIndex, as: UInt32.self) else {
            throw .truncatedMessage(typeID: RTMPMessageType.abort, needed: 4, available: payload.readableBytes)
        }
        guard let index = self.streams.firstIndex(where: { $0.id == id }),
            let partial = self.streams[index].partial.take()
        else { return }
        self.partialBytes -= partial.readableBytes
    }
}

extension ByteBuffer {
    /// Reads a big-endian integer of three bytes.
    mutating func readUInt24() -> UInt32? {
        guard let (high, low) = self.readMultipleIntegers(as: (UInt16, UInt8).self) else { return nil }
        return UInt32(high) << 8 | UInt32(low)
    }

    /// Appends the low 24 bits of `value`, big-endian.
    mutating func writeUInt24(_ value: UInt32) {
        self.writeMultipleIntegers(UInt16(truncatingIfNeeded: value >> 8), UInt8(truncatingIfNeeded: value))
    }
}
