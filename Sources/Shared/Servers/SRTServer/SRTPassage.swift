import MPEGTS
import Media
import NIOCore
import StreamHub

/// The way of one publisher's packets to the players of its stream, unchanged.
///
/// Cuts the packets where a table of programs begins, because a decoder can start there. On the publisher's loop.
struct SRTPassage: Sendable {
    private let table: SRTAudienceTable
    private let key: StreamKey
    private let publisher: UInt64
    private var cutter = TSPacketCutter()

    init(table: SRTAudienceTable, key: StreamKey, publisher: UInt64) {
        self.table = table
        self.key = key
        self.publisher = publisher
        table.beginPassing(key, publisher: publisher)
    }

    /// Passes on what is whole packets, in messages of any size; anything else is left out.
    mutating func pass(_ bytes: ByteBuffer) {
        let packets = self.cutter.cut(bytes)
        let audiences = self.table.audiences(of: self.key, passing: self.publisher)
        guard packets.readableBytes > 0, !audiences.isEmpty else { return }
        let pieces = Self.pieces(of: packets)
        for audience in audiences {
            audience.stream.home.execute {
                for piece in pieces { audience.pass(piece.bytes, isStart: piece.isStart) }
            }
        }
    }

    func end() { self.table.endPassing(self.key, publisher: self.publisher) }

    /// Whole packets, cut in front of each that begins a table of programs (PID 0). Spec: ISO 13818-1 §2.4.3.2.
    private static func pieces(of bytes: ByteBuffer) -> [(bytes: ByteBuffer, isStart: Bool)] {
        var pieces: [(bytes: ByteBuffer, isStart: Bool)] = []
        var rest = bytes
        var open = ByteBuffer()
        var isStart = false
        while let packet = rest.readSlice(length: TS.packetLength) {
            let header = packet.getInteger(at: packet.readerIndex + 1, as: UInt16.self) ?? 0
            // The unit start bit and the PID.
            if header & 0x5FFF == 0x4000 {
                if open.readableBytes > 0 { pieces.append((open, isStart)) }
                open = ByteBuffer()
                isStart = true
            }
            open.writeImmutableBuffer(packet)
        }
        if open.readableBytes > 0 { pieces.append((open, isStart)) }
        return pieces
    }
}
