import Media
import NIOCore
import TestSupport

@testable import MPEGTS

/// Streams put together packet by packet, for what a good muxer does not write.
enum Streams {
    /// A packet with `payload`, which is at most 184 bytes; stuffing is in the adaptation field.
    static func packet(
        pid: UInt16, continuity: UInt8, isStart: Bool = false, payload: ByteBuffer, scrambling: UInt8 = 0,
        adaptationFlags: UInt8 = 0
    ) -> ByteBuffer {
        var packet = ByteBuffer()
        let field = 184 - payload.readableBytes
        precondition(field >= 0 && (adaptationFlags == 0 || field >= 2), "no room")
        packet.writeMultipleIntegers(
            UInt8(0x47), pid | (isStart ? 0x4000 : 0), scrambling << 6 | (field > 0 ? 0x30 : 0x10) | continuity & 15)
        if field > 0 {
            packet.writeInteger(UInt8(field - 1))
            if field > 1 {
                packet.writeInteger(adaptationFlags)
                packet.writeRepeatingByte(0xFF, count: field - 2)
            }
        }
        packet.writeImmutableBuffer(payload)
        return packet
    }

    /// `unit` cut into packets. Returns the packets; `continuity` goes on.
    static func packets(pid: UInt16, continuity: inout UInt8, unit: ByteBuffer) -> [ByteBuffer] {
        var rest = unit
        var packets: [ByteBuffer] = []
        while let piece = rest.readSlice(length: min(184, rest.readableBytes)), piece.readableBytes > 0 {
            packets.append(packet(pid: pid, continuity: continuity, isStart: packets.isEmpty, payload: piece))
            continuity = (continuity + 1) & 15
        }
        return packets
    }

    static func section(_ section: ByteBuffer, pid: UInt16, continuity: UInt8 = 0) -> ByteBuffer {
        var payload = ByteBuffer(bytes: [0])
        payload.writeImmutableBuffer(section)
        payload.writeRepeatingByte(0xFF, count: 184 - payload.readableBytes)
        return self.packet(pid: pid, continuity: continuity, isStart: true, payload: payload)
    }

    /// Both tables of a program with `streams`, as (type, PID, descriptors).
    static func tables(
        _ streams: [(UInt8, UInt16, String)], version: UInt8 = 0, continuity: UInt8 = 0, program: UInt16 = 1,
        mapPID: UInt16 = 0x1000
    ) -> ByteBuffer {
        let association = TSTableWriter.association(transportStreamID: 1, programNumber: program, mapPID: mapPID)
        let map = TSTableWriter.map(
            programNumber: program, version: version, clockPID: streams.first?.1 ?? 0x1FFF, descriptors: ByteBuffer(),
            entries: streams.map { .init(streamType: $0.0, pid: $0.1, descriptors: bytes($0.2)) })
        return join([
            self.section(association, pid: 0, continuity: continuity),
            self.section(map, pid: mapPID, continuity: continuity),
        ])
    }

    /// A PES packet; `length` is what its header says, by default the truth.
    static func pes(
        stream: UInt8 = 0xE0, pts: Int64?, dts: Int64? = nil, length: Int? = nil, payload: ByteBuffer
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        if let pts {
            PESHeader.write(
                streamID: stream, pts: pts, dts: dts ?? pts, payloadLength: payload.readableBytes, into: &buffer)
        } else {
            buffer.writeMultipleIntegers(
                0x0000_0100 | UInt32(stream), UInt16(3 + payload.readableBytes), UInt8(0x80), UInt8(0), UInt8(0))
        }
        if let length { buffer.setInteger(UInt16(length), at: 4) }
        buffer.writeImmutableBuffer(payload)
        return buffer
    }

    /// `units` in Annex B.
    static func annexB(_ units: [ByteBuffer]) -> ByteBuffer {
        var buffer = ByteBuffer()
        for unit in units {
            buffer.writeInteger(UInt32(1))
            buffer.writeImmutableBuffer(unit)
        }
        return buffer
    }

    /// A stream of PES packets on one identifier behind its tables.
    static func stream(type: UInt8, descriptors: String = "", pes: [ByteBuffer]) -> ByteBuffer {
        var continuity: UInt8 = 0
        return join(
            [self.tables([(type, 0x100, descriptors)])]
                + pes.flatMap { self.packets(pid: 0x100, continuity: &continuity, unit: $0) })
    }

    /// 48 kHz, 64 kb/s, stereo: 256 bytes.
    static func ac3Frame(seed: UInt8 = 0) -> ByteBuffer {
        var frame = bytes("0b77 0000 08 40 43 e0")
        for index in 8..<256 { frame.writeInteger(UInt8(truncatingIfNeeded: index) & 0x7F ^ (seed & 0x7F)) }
        return frame
    }

    /// An ADTS frame, 48 kHz stereo, with `payload`.
    static func adts(_ payload: ByteBuffer, checksum: Bool = false, channels: UInt8 = 2, blocks: UInt8 = 1)
        -> ByteBuffer
    {
        let length = UInt64(payload.readableBytes + (checksum ? 9 : 7))
        let bits: UInt64 =
            0xFFF0 << 40 | (checksum ? 0 : 1) << 40 | 1 << 38 | 3 << 34 | UInt64(channels) << 30 | length << 13
            | 0x7FF << 2 | UInt64(blocks - 1)
        var frame = ByteBuffer()
        for shift in (0..<7).reversed() { frame.writeInteger(UInt8(truncatingIfNeeded: bits >> UInt64(shift * 8))) }
        if checksum { frame.writeInteger(UInt16(0xABCD)) }
        frame.writeImmutableBuffer(payload)
        return frame
    }
}
