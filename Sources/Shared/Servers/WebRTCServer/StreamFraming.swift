import NIOCore

/// Cuts the bytes of a TCP connection into packets, each behind its length in 16 bits.
///
/// Spec: RFC 4571 §2.
struct StreamFraming {
    enum Failure: Error, Equatable {
        /// The peer announced a packet that nobody sends over UDP either.
        case tooLong(length: Int, limit: Int)
    }

    private let limit: Int
    private var buffer = ByteBuffer()

    /// Packets of more than `limit` bytes end the connection.
    init(limit: Int) { self.limit = limit }

    /// Bytes that wait for the rest of their packet: at most `limit` and one read.
    var waitingBytes: Int { self.buffer.readableBytes }

    mutating func append(_ bytes: ByteBuffer) {
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            // What was read is no longer needed; the rest is less than a packet.
            self.buffer.discardReadBytes()
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next packet, without its length; `nil` until it is complete. Empty packets are skipped.
    mutating func next() throws(Failure) -> ByteBuffer? {
        while let length = self.buffer.getInteger(at: self.buffer.readerIndex, as: UInt16.self).map(Int.init) {
            guard length <= self.limit else { throw .tooLong(length: length, limit: self.limit) }
            guard self.buffer.readableBytes >= 2 + length else { return nil }
            self.buffer.moveReaderIndex(forwardBy: 2)
            guard length > 0 else { continue }
            return self.buffer.readSlice(length: length)
        }
        return nil
    }
}
