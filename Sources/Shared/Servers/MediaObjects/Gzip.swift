import CZlib
package import NIOCore

/// The gzip coding of what many viewers get: made once, by whoever makes the object. Spec: RFC 1952.
package enum Gzip {
    /// Below this many bytes the coding is not worth its header.
    package static let minimumByteCount = 256

    /// The gzip form of the readable bytes; `nil` if it is not smaller, or if they are fewer than `minimumByteCount`.
    ///
    /// Equal bytes give equal forms: the header carries no time and no name. Cost: about 10 ms per megabyte of text; meant
    /// for playlists and manifests, which have a few kilobytes.
    package static func compress(_ bytes: ByteBuffer) -> ByteBuffer? {
        let count = bytes.readableBytes
        guard count >= self.minimumByteCount, count <= Int(UInt32.max) else { return nil }
        var stream = unsafe z_stream()
        // 16 above the window of 2^15 bytes asks for the gzip wrapper.
        guard unsafe weir_deflateInit2(&stream, 6, 15 + 16, 8) == Z_OK else { return nil }
        defer { unsafe _ = deflateEnd(&stream) }
        var output = ByteBufferAllocator().buffer(capacity: count)
        var status = Z_OK
        unsafe bytes.withUnsafeReadableBytes { input in
            unsafe _ = output.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
                // Safety: deflate only reads `next_in`, which its declaration does not say. Both areas outlive the call.
                unsafe stream.next_in = UnsafeMutablePointer(
                    mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
                unsafe stream.avail_in = UInt32(count)
                unsafe stream.next_out = target.baseAddress?.assumingMemoryBound(to: UInt8.self)
                // One byte fewer than there is to save: what does not fit is not smaller.
                unsafe stream.avail_out = UInt32(count - 1)
                unsafe status = deflate(&stream, Z_FINISH)
                return unsafe count - 1 - Int(stream.avail_out)
            }
        }
        return status == Z_STREAM_END ? output : nil
    }
}
