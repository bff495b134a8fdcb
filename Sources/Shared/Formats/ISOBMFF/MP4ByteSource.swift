package import NIOCore

/// The bytes of a file that somebody else has opened.
package protocol MP4ByteSource {
    /// The file's length now.
    var byteCount: Int64 { get }
    /// Reads `count` bytes at `offset`; the range lies within the file. Fewer bytes are an error of the file.
    func read(at offset: Int64, count: Int) throws -> ByteBuffer
}

/// A file in memory.
package struct MP4MemorySource: MP4ByteSource, Sendable {
    private let bytes: ByteBuffer

    package init(_ bytes: ByteBuffer) { self.bytes = bytes }

    package var byteCount: Int64 { Int64(self.bytes.readableBytes) }

    package func read(at offset: Int64, count: Int) throws -> ByteBuffer {
        self.bytes.getSlice(at: self.bytes.readerIndex + Int(offset), length: count) ?? ByteBuffer()
    }
}
