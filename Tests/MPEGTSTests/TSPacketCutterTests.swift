import NIOCore
import Testing

@testable import MPEGTS

/// Packets out of bytes that arrive in any pieces.
@Suite struct TSPacketCutterTests {
    /// Packets with their number in them, and 0x47 at places where none begins.
    private static func packets(_ count: Int) -> [UInt8] {
        (0..<count).flatMap { number -> [UInt8] in
            var packet = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 188)
            packet[0] = 0x47
            // Never twice at the distance of a packet.
            packet[4 + number * 13 % 170] = 0x47
            return packet
        }
    }

    private static func cut(_ bytes: [UInt8], every size: Int, with cutter: inout TSPacketCutter) -> [UInt8] {
        var found: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            let piece = cutter.cut(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)]))
            #expect(piece.readableBytes % 188 == 0)
            found += Array(piece.readableBytesView)
        }
        return found
    }

    @Test("pieces of any size give the same packets", arguments: [1, 7, 187, 188, 189, 376, 1_316, 1_456, 5_000])
    func sizes(_ size: Int) {
        var cutter = TSPacketCutter()
        let bytes = Self.packets(40)
        #expect(Self.cut(bytes, every: size, with: &cutter) == bytes)
        #expect(cutter.skippedBytes == 0)
    }

    @Test("what stands before, between and within packets is left out, wherever the pieces end", arguments: 1...60)
    func garbage(_ size: Int) {
        var cutter = TSPacketCutter()
        let packets = Self.packets(12)
        let noise = [UInt8](repeating: 0x47, count: 3) + [1, 2, 3]
        // Behind the fifth packet something was lost: its successor begins in the middle.
        let bytes = noise + packets[0..<940] + packets[1_000..<2_256]
        let found = Self.cut(bytes, every: size * 7, with: &cutter)
        #expect(found == Array(packets[0..<940]) + Array(packets[1_128..<2_256]))
        #expect(cutter.skippedBytes == 6 + 128)
    }

    @Test("bytes without any packet are not kept")
    func noise() {
        var cutter = TSPacketCutter()
        for _ in 0..<100 { #expect(cutter.cut(ByteBuffer(repeating: 0, count: 1_000)).readableBytes == 0) }
        #expect(cutter.skippedBytes == 100_000)
        #expect(cutter.cut(ByteBuffer(bytes: Self.packets(3))).readableBytes == 564)
    }
}
