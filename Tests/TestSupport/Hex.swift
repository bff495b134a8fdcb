package import NIOCore

/// The bytes that hexadecimal `text` spells; white space is ignored.
package func bytes(_ text: String) -> ByteBuffer {
    var buffer = ByteBuffer()
    var high: Int?
    for digit in text.compactMap(\.hexDigitValue) {
        if let first = high {
            buffer.writeInteger(UInt8(first << 4 | digit))
            high = nil
        } else {
            high = digit
        }
    }
    precondition(high == nil, "an odd number of digits")
    return buffer
}

/// Every prefix of `buffer` that is shorter than it.
package func prefixes(of buffer: ByteBuffer) -> [ByteBuffer] {
    (0..<buffer.readableBytes).compactMap { buffer.getSlice(at: buffer.readerIndex, length: $0) }
}
