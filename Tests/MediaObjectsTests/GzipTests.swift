import NIOCore
import Testing

@testable import MediaObjects

@Suite("Gzip")
struct GzipTests {
    private static let playlist = ByteBuffer(
        string: (0..<40).map { "#EXTINF:2.00000,\n_video-7-\($0).m4s\n" }.joined())

    @Test("text becomes smaller, in a gzip wrapper without a time")
    func compresses() throws {
        let form = try #require(Gzip.compress(Self.playlist))
        #expect(form.readableBytes < Self.playlist.readableBytes / 3)
        #expect(form.getBytes(at: form.readerIndex, length: 8) == [0x1F, 0x8B, 8, 0, 0, 0, 0, 0])
        // The last four bytes are the length of the original (RFC 1952 §2.3.1).
        let length = form.getInteger(at: form.writerIndex - 4, endianness: .little, as: UInt32.self)
        #expect(length == UInt32(Self.playlist.readableBytes))
    }

    @Test("equal bytes have equal forms, wherever they lie in their buffer")
    func deterministic() {
        var shifted = ByteBuffer(string: "before")
        shifted.writeImmutableBuffer(Self.playlist)
        shifted.moveReaderIndex(forwardBy: 6)
        #expect(Gzip.compress(shifted) == Gzip.compress(Self.playlist))
    }

    @Test("what is short, or does not become smaller, has no form")
    func notWorthIt() {
        #expect(Gzip.compress(ByteBuffer()) == nil)
        #expect(Gzip.compress(ByteBuffer(repeating: 65, count: Gzip.minimumByteCount - 1)) == nil)
        #expect(Gzip.compress(ByteBuffer(repeating: 65, count: Gzip.minimumByteCount)) != nil)
        var generator = SplitMix(state: 7)
        let noise = ByteBuffer(bytes: (0..<5_000).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
        #expect(Gzip.compress(noise) == nil)
    }
}

/// A small generator with a fixed seed.
struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
