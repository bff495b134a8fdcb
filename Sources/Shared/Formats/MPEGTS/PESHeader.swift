import Media
package import NIOCore

/// The header of a PES packet, in transport and in program streams. Spec: ISO 13818-1 §2.4.3.6 and §2.4.3.7.
package struct PESHeader: Sendable, Equatable {
    static let audioStream: UInt8 = 0xC0
    static let videoStream: UInt8 = 0xE0
    static let privateStream1: UInt8 = 0xBD
    /// The bytes up to and with `PES_header_data_length`.
    static let fixedLength = 9

    /// Raw 33 bits; `nil` without a time stamp. `dts` is only there where it differs from `pts`.
    package var pts: Int64?
    package var dts: Int64?
    /// Bytes of the packet behind the header; `nil` when the packet goes on until the next begins.
    package var payloadLength: Int?
    /// Bytes of the header.
    package var length: Int
    package var isScrambled: Bool

    /// What stands at the start of the bytes.
    package enum Parsed: Equatable {
        case header(PESHeader)
        /// More bytes are needed.
        case incomplete
        /// Padding, or a stream that has no such header.
        case ignored
        case malformed
    }

    /// Reads the header at the start of `buffer`.
    package static func parse(_ buffer: ByteBuffer) -> Parsed {
        guard
            let (prefix, packetLength) = buffer.getMultipleIntegers(
                at: buffer.readerIndex, as: (UInt32, UInt16).self)
        else { return .incomplete }
        guard prefix >> 8 == 1 else { return .malformed }
        switch UInt8(truncatingIfNeeded: prefix) {
        // Stream map, padding, private 2, ECM, EMM, DSM-CC, H.222.1 type E, directory (table 2-22).
        case 0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF: return .ignored
        default: break
        }
        guard
            let (marker, flags, rest) = buffer.getMultipleIntegers(
                at: buffer.readerIndex + 6, as: (UInt8, UInt8, UInt8).self)
        else { return .incomplete }
        let length = Self.fixedLength + Int(rest)
        guard marker >> 6 == 2, packetLength == 0 || Int(packetLength) >= length - 6 else { return .malformed }
        guard buffer.readableBytes >= length else { return .incomplete }
        var header = PESHeader(
            pts: nil, dts: nil, payloadLength: packetLength == 0 ? nil : Int(packetLength) + 6 - length, length: length,
            isScrambled: marker & 0x30 != 0)
        let stamps = Int(flags >> 6)
        // A DTS alone is forbidden, and there has to be room for what is announced.
        guard stamps != 1, Int(rest) >= [0, 0, 5, 10][stamps] else { return .malformed }
        if stamps >= 2 {
            guard let pts = Self.time(in: buffer, at: Self.fixedLength) else { return .malformed }
            header.pts = pts
        }
        if stamps == 3 {
            guard let dts = Self.time(in: buffer, at: Self.fixedLength + 5) else { return .malformed }
            header.dts = dts
        }
        return .header(header)
    }

    /// Appends the header of a packet with `payloadLength` bytes behind it. Times are reduced to 33 bits; the DTS is
    /// left out when it equals the PTS. A packet that is too long for the length field is left open, which only video
    /// may be.
    static func write(
        streamID: UInt8, pts: Int64, dts: Int64, payloadLength: Int, into buffer: inout ByteBuffer
    ) {
        let hasDTS = pts != dts
        let stamps = hasDTS ? 10 : 5
        let length = 3 + stamps + payloadLength
        let isOpen = length > Int(UInt16.max)
        precondition(!isOpen || streamID == Self.videoStream, "\(payloadLength) bytes are too many for a PES packet")
        // 0x84: no scrambling, aligned to the start of an access unit.
        buffer.writeMultipleIntegers(
            0x0000_0100 | UInt32(streamID), isOpen ? UInt16(0) : UInt16(length), UInt8(0x84),
            UInt8(hasDTS ? 0xC0 : 0x80), UInt8(stamps))
        self.writeTime(pts, marker: hasDTS ? 3 : 2, into: &buffer)
        if hasDTS { self.writeTime(dts, marker: 1, into: &buffer) }
    }

    private static func writeTime(_ ticks: Int64, marker: UInt8, into buffer: inout ByteBuffer) {
        let time = UInt64(ticks & TS.timeMask)
        buffer.writeMultipleIntegers(
            marker << 4 | UInt8(time >> 30) << 1 | 1, UInt16(time >> 15 & 0x7FFF) << 1 | 1,
            UInt16(time & 0x7FFF) << 1 | 1)
    }

    /// The four bits in front and the three marker bits are not checked: some encoders write them wrong, and receivers
    /// do not look.
    private static func time(in buffer: ByteBuffer, at offset: Int) -> Int64? {
        guard
            let (high, middle, low) = buffer.getMultipleIntegers(
                at: buffer.readerIndex + offset, as: (UInt8, UInt16, UInt16).self)
        else { return nil }
        return Int64(high >> 1 & 7) << 30 | Int64(middle >> 1) << 15 | Int64(low >> 1)
    }
}
