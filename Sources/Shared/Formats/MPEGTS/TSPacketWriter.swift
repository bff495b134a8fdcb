import Media
import NIOCore

/// Writes the packets of one packet identifier: keeps its continuity, places adaptation fields and stuffing.
///
/// A PES packet is begun with its whole length, then given piece by piece; nothing is copied but into the output.
/// Spec: ISO 13818-1 §2.4.3.
struct TSPacketWriter: Sendable {
    /// What stands in the adaptation field of the first packet.
    struct Flags: Sendable {
        /// 33 bits of 90 kHz.
        var clock: Int64?
        var isRandomAccess = false
        var isDiscontinuity = false

        var byteCount: Int { self.clock != nil ? 8 : self.isRandomAccess || self.isDiscontinuity ? 2 : 0 }
    }

    let pid: UInt16
    private var continuity: UInt8 = 0
    /// Bytes of the unit that are not yet given.
    private var remaining = 0
    /// Bytes left in the packet that is being filled.
    private var room = 0

    init(pid: UInt16) { self.pid = pid }

    private static let payloadLength = TS.packetLength - 4

    /// Begins a unit of `length` bytes.
    mutating func begin(length: Int, flags: Flags = Flags(), into buffer: inout ByteBuffer) {
        precondition(self.remaining == 0, "\(self.remaining) bytes of a unit were never written")
        self.remaining = length
        self.startPacket(isFirst: true, flags: flags, into: &buffer)
    }

    /// Writes the next bytes of the unit.
    mutating func append(_ bytes: ByteBuffer, into buffer: inout ByteBuffer) {
        precondition(bytes.readableBytes <= self.remaining, "\(bytes.readableBytes) bytes, \(self.remaining) announced")
        var bytes = bytes
        while bytes.readableBytes > 0 {
            if self.room == 0 { self.startPacket(isFirst: false, flags: Flags(), into: &buffer) }
            guard let piece = bytes.readSlice(length: min(self.room, bytes.readableBytes)) else { return }
            buffer.writeImmutableBuffer(piece)
            self.room -= piece.readableBytes
            self.remaining -= piece.readableBytes
        }
    }

    /// Writes a section in one packet, with `0xFF` behind it (§2.4.4). It fits: 183 bytes at most, 2 fewer where the
    /// packet announces a discontinuity.
    mutating func writeSection(_ section: ByteBuffer, isDiscontinuity: Bool = false, into buffer: inout ByteBuffer) {
        let flags = Flags(isDiscontinuity: isDiscontinuity)
        let padding = Self.payloadLength - flags.byteCount - 1 - section.readableBytes
        precondition(padding >= 0, "a section of \(section.readableBytes) bytes does not fit into one packet")
        self.writeHeader(isFirst: true, control: isDiscontinuity ? 3 : 1, into: &buffer)
        if isDiscontinuity { Self.writeAdaptationField(flags, length: flags.byteCount, into: &buffer) }
        buffer.writeInteger(UInt8(0))
        buffer.writeImmutableBuffer(section)
        buffer.writeRepeatingByte(0xFF, count: padding)
    }

    /// Writes a packet that holds nothing but the program's clock.
    mutating func writeClock(_ clock: Int64, isDiscontinuity: Bool, into buffer: inout ByteBuffer) {
        // §2.4.3.3: a packet without payload repeats the counter of the packet before it.
        self.continuity = (self.continuity &- 1) & 15
        self.writeHeader(isFirst: false, control: 2, into: &buffer)
        let flags = Flags(clock: clock, isDiscontinuity: isDiscontinuity)
        Self.writeAdaptationField(flags, length: Self.payloadLength, into: &buffer)
    }

    /// Writes a packet that says that what this identifier's next packet continues was never seen by the reader. The
    /// writer's own state stays: others go on without it.
    func writeDiscontinuity(into buffer: inout ByteBuffer) {
        var copy = self.beforeNext
        copy.writeHeader(isFirst: false, control: 2, into: &buffer)
        Self.writeAdaptationField(Flags(isDiscontinuity: true), length: Self.payloadLength, into: &buffer)
    }

    /// Writes a section as `writeSection` does, announced as a discontinuity. The writer's own state stays.
    func writeDiscontinuity(_ section: ByteBuffer, into buffer: inout ByteBuffer) {
        var copy = self.beforeNext
        copy.writeSection(section, isDiscontinuity: true, into: &buffer)
    }

    /// A writer whose next packet has the counter in front of this one's next.
    private var beforeNext: TSPacketWriter {
        var copy = self
        copy.continuity = (copy.continuity &- 1) & 15
        return copy
    }

    private mutating func startPacket(isFirst: Bool, flags: Flags, into buffer: inout ByteBuffer) {
        let payload = min(self.remaining, Self.payloadLength - flags.byteCount)
        let field = Self.payloadLength - payload
        self.writeHeader(isFirst: isFirst, control: field > 0 ? 3 : 1, into: &buffer)
        if field > 0 { Self.writeAdaptationField(flags, length: field, into: &buffer) }
        self.room = payload
    }

    /// `control`: bit 0 payload, bit 1 adaptation field.
    private mutating func writeHeader(isFirst: Bool, control: UInt8, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            TS.syncByte, self.pid | (isFirst ? 0x4000 : 0), control << 4 | self.continuity)
        self.continuity = (self.continuity &+ 1) & 15
    }

    /// Writes an adaptation field of `length` bytes with its length byte; what the flags leave is stuffing (§2.4.3.5).
    private static func writeAdaptationField(_ flags: Flags, length: Int, into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(length - 1))
        guard length > 1 else { return }
        buffer.writeInteger(
            UInt8(
                (flags.isDiscontinuity ? 0x80 : 0) | (flags.isRandomAccess ? 0x40 : 0) | (flags.clock != nil ? 0x10 : 0)
            ))
        var used = 2
        if let clock = flags.clock {
            // 33 bits of 90 kHz, 6 reserved, 9 bits of 27 MHz, which are 0.
            buffer.writeMultipleIntegers(
                UInt32(truncatingIfNeeded: clock >> 1), UInt16(truncatingIfNeeded: clock & 1) << 15 | 0x7E00)
            used += 6
        }
        buffer.writeRepeatingByte(0xFF, count: length - used)
    }
}
