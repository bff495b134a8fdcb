package import NIOCore

/// Cuts messages into chunks.
///
/// Stateless: a message is a type 0 chunk and type 3 continuations, so its bytes are the same on every connection that
/// uses the same chunk size, and can be written once for all viewers.
///
/// **Spec:** RTMP 1.0 §5.3.1.
package enum RTMPChunkWriter {
    /// Appends one message whose body is `header` followed by `payload`.
    ///
    /// Grows `output` at most once and allocates nothing else.
    /// - Parameters:
    ///   - timestamp: absolute, in milliseconds modulo 2³².
    ///   - header: the first bytes of the body, such as the header of an FLV tag body. May be empty.
    ///   - chunkSize: the size that was announced to the receiver, in bytes.
    package static func write(
        typeID: UInt8, timestamp: UInt32, messageStreamID: UInt32, chunkStreamID: UInt32, header: ByteBuffer,
        payload: ByteBuffer, chunkSize: Int, into output: inout ByteBuffer
    ) {
        precondition(chunkSize > 0, "chunks have at least one byte, got \(chunkSize)")
        let length = header.readableBytes + payload.readableBytes
        precondition(length <= 0xFF_FFFF, "a message has at most 16,777,215 bytes, got \(length)")
        output.reserveCapacity(
            minimumWritableBytes: self.encodedLength(
                bodyLength: length, timestamp: timestamp, chunkStreamID: chunkStreamID, chunkSize: chunkSize))
        let isExtended = timestamp >= 0xFF_FFFF
        self.writeBasicHeader(format: 0, chunkStreamID: chunkStreamID, into: &output)
        output.writeUInt24(isExtended ? 0xFF_FFFF : timestamp)
        output.writeUInt24(UInt32(length))
        output.writeInteger(typeID)
        output.writeInteger(messageStreamID, endianness: .little)
        if isExtended {
            output.writeInteger(timestamp)
        }
        let continuation = Continuation(
            chunkStreamID: chunkStreamID, timestamp: isExtended ? timestamp : nil, chunkSize: chunkSize)
        var room = chunkSize
        self.write(header, room: &room, continuation: continuation, into: &output)
        self.write(payload, room: &room, continuation: continuation, into: &output)
    }

    /// Appends one message whose body is `payload`.
    package static func write(
        typeID: UInt8, timestamp: UInt32, messageStreamID: UInt32, chunkStreamID: UInt32, payload: ByteBuffer,
        chunkSize: Int, into output: inout ByteBuffer
    ) {
        self.write(
            typeID: typeID, timestamp: timestamp, messageStreamID: messageStreamID, chunkStreamID: chunkStreamID,
            header: ByteBuffer(), payload: payload, chunkSize: chunkSize, into: &output)
    }

    /// How many bytes `write` appends for a message of `bodyLength` bytes.
    package static func encodedLength(
        bodyLength: Int, timestamp: UInt32, chunkStreamID: UInt32, chunkSize: Int
    ) -> Int {
        let basic = chunkStreamID < 64 ? 1 : chunkStreamID < 320 ? 2 : 3
        let extended = timestamp >= 0xFF_FFFF ? 4 : 0
        let continuations = max(0, (bodyLength - 1) / chunkSize)
        return basic + 11 + extended + bodyLength + continuations * (basic + extended)
    }

    private static func writeBasicHeader(format: UInt8, chunkStreamID: UInt32, into output: inout ByteBuffer) {
        precondition(2...65_599 ~= chunkStreamID, "chunk stream \(chunkStreamID) has no encoding")
        switch chunkStreamID {
        case 2..<64:
            output.writeInteger(format << 6 | UInt8(chunkStreamID))
        case 64..<320:
            output.writeInteger(format << 6)
            output.writeInteger(UInt8(chunkStreamID - 64))
        default:
            output.writeInteger(format << 6 | 1)
            output.writeInteger(UInt16(chunkStreamID - 64), endianness: .little)
        }
    }

    /// What begins each further chunk of a message.
    private struct Continuation {
        let chunkStreamID: UInt32
        /// Repeated where the message has an extended timestamp (§5.3.1.3).
        let timestamp: UInt32?
        let chunkSize: Int
    }

    /// Appends a part of a body, of whose current chunk `room` bytes are left.
    private static func write(
        _ part: ByteBuffer, room: inout Int, continuation: Continuation, into output: inout ByteBuffer
    ) {
        unsafe part.withUnsafeReadableBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                if room == 0 {
                    self.writeBasicHeader(format: 3, chunkStreamID: continuation.chunkStreamID, into: &output)
                    if let timestamp = continuation.timestamp {
                        output.writeInteger(timestamp)
                    }
                    room = continuation.chunkSize
                }
                let count = min(room, bytes.count - offset)
                // Safety: `offset + count` is at most the length of `bytes`.
                unsafe output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count]))
                offset += count
                room -= count
            }
        }
    }
}
