import NIOCore

/// The checksum of program tables: polynomial 0x04C11DB7, most significant bit first, no final inversion.
/// Spec: ISO 13818-1 annex A.
enum CRC32MPEG {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index) << 24) { value, _ in
            value & 0x8000_0000 != 0 ? value << 1 ^ 0x04C1_1DB7 : value << 1
        }
    }

    /// The checksum of the readable bytes; 0 for a section with its own checksum at the end.
    static func checksum(of bytes: ByteBuffer) -> UInt32 {
        bytes.readableBytesView.reduce(0xFFFF_FFFF) { value, byte in
            value << 8 ^ self.table[Int(UInt8(truncatingIfNeeded: value >> 24) ^ byte)]
        }
    }
}
