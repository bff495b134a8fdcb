import Media
import NIOCore

/// What stands in front of each Opus packet in a transport stream: `opus_control_header`.
/// Spec: Opus in MPEG-TS (ETSI TS 103 491 annex), draft 0.1.3 of the Opus project.
enum OpusControlHeader {
    /// The sync prefix 0x3FF in 11 bits, no trims, no extension.
    static let prefix: UInt16 = 0x7FE0

    /// Reads a header and moves behind it. Returns the length of the packet; `nil` when it is none or is cut off.
    static func read(_ buffer: inout ByteBuffer) -> Int? {
        guard let head = buffer.readInteger(as: UInt16.self), head & 0xFFE0 == self.prefix else { return nil }
        var length = 0
        repeat {
            guard let byte = buffer.readInteger(as: UInt8.self) else { return nil }
            length += Int(byte)
            if byte < 255 { break }
        } while true
        if head & 0x10 != 0 { guard buffer.readInteger(as: UInt16.self) != nil else { return nil } }
        if head & 0x08 != 0 { guard buffer.readInteger(as: UInt16.self) != nil else { return nil } }
        if head & 0x04 != 0 {
            guard let count = buffer.readInteger(as: UInt8.self), buffer.readSlice(length: Int(count)) != nil
            else { return nil }
        }
        return length
    }
}

/// The table of contents of an Opus packet. Spec: RFC 6716 §3.1 and §3.2.
enum OpusPacket {
    /// Samples at 48 kHz; `nil` for a packet that tells none or more than 120 ms.
    static func sampleCount(of packet: ByteBuffer) -> Int? {
        guard let contents = packet.getInteger(at: packet.readerIndex, as: UInt8.self) else { return nil }
        let configuration = Int(contents >> 3)
        let samples: Int =
            switch configuration {
            case 0..<12: [480, 960, 1920, 2880][configuration & 3]
            case 12..<16: [480, 960][configuration & 1]
            default: [120, 240, 480, 960][configuration & 3]
            }
        let count: Int
        switch contents & 3 {
        case 0: count = 1
        case 1, 2: count = 2
        default:
            guard let second = packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self) else { return nil }
            count = Int(second & 0x3F)
        }
        return count > 0 && count * samples <= 5760 ? count * samples : nil
    }
}

/// Opus' header for a channel code of a transport stream.
enum OpusHeadRecord {
    /// Streams, coupled streams and the order of the channels, by their number (RFC 7845 §5.1.1.2).
    private static let mappings: [(streams: UInt8, coupled: UInt8, order: [UInt8])] = [
        (1, 0, [0]), (1, 1, [0, 1]), (2, 1, [0, 2, 1]), (2, 2, [0, 1, 2, 3]), (3, 2, [0, 4, 1, 2, 3]),
        (4, 2, [0, 4, 1, 2, 3, 5]), (4, 3, [0, 4, 1, 2, 3, 5, 6]), (5, 3, [0, 6, 1, 2, 3, 4, 5, 7]),
    ]

    /// The header for `channel_config_code` 1 to 8; `nil` for others: dual mono and explicit mappings.
    static func make(channelCode: UInt8) -> ByteBuffer? {
        guard (1...8).contains(channelCode) else { return nil }
        var record = ByteBuffer()
        OpusHead(channels: min(Int(channelCode), 2)).write(into: &record)
        if channelCode > 2 {
            let mapping = self.mappings[Int(channelCode) - 1]
            record.setInteger(channelCode, at: record.readerIndex + 9)
            record.setInteger(UInt8(1), at: record.readerIndex + 18)
            record.writeMultipleIntegers(mapping.streams, mapping.coupled)
            record.writeBytes(mapping.order)
        }
        return record
    }

    /// Whether a record of mapping family 1 maps its channels as the transport stream's code implies.
    static func hasDefaultMapping(_ record: ByteBuffer, channels: Int) -> Bool {
        guard self.mappings.indices.contains(channels - 1),
            let bytes = record.getSlice(at: record.readerIndex + 19, length: 2 + channels)
        else { return false }
        let mapping = self.mappings[channels - 1]
        return bytes.readableBytesView.elementsEqual([mapping.streams, mapping.coupled] + mapping.order)
    }
}
