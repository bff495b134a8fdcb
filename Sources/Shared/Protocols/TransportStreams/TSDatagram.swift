import MPEGTS
package import NIOCore

/// Finds the packets of a transport stream in a datagram: bare, or behind a header of RTP. Spec: RFC 3550 §5.1, RFC 2250 §2.
package struct TSDatagram: Sendable, Equatable {
    /// What stands in front of the packets.
    package struct RTPFields: Sendable, Equatable {
        /// 33 (MP2T) as a rule; senders with a payload type of their own are believed, too.
        package var payloadType: UInt8
        package var sequenceNumber: UInt16
        package var ssrc: UInt32

        package init(payloadType: UInt8, sequenceNumber: UInt16, ssrc: UInt32) {
            self.payloadType = payloadType
            self.sequenceNumber = sequenceNumber
            self.ssrc = ssrc
        }
    }

    /// Why a datagram holds no packets.
    package enum Fault: Error, Sendable, Equatable {
        case empty
        /// It begins with neither a packet nor an RTP header with packets behind it.
        case noPackets(firstByte: UInt8)
        /// An RTP header whose lists, extension or padding reach beyond the datagram.
        case malformedRTP(length: Int)
    }

    /// Whole packets of 188 bytes, at least one.
    package var packets: ByteBuffer
    /// `nil` without RTP.
    package var rtp: RTPFields?
    /// Bytes behind the last whole packet, which are left out.
    package var excess: Int

    /// Reads a datagram. Copies nothing.
    package init(_ datagram: ByteBuffer) throws(Fault) {
        guard let first = datagram.getInteger(at: datagram.readerIndex, as: UInt8.self) else { throw .empty }
        var content = datagram
        // A packet begins with 0x47, whose upper two bits are 1: no RTP header of version 2 begins so.
        if first != TS.syncByte {
            guard first >> 6 == 2 else { throw .noPackets(firstByte: first) }
            self.rtp = try Self.readHeader(&content)
            guard content.getInteger(at: content.readerIndex, as: UInt8.self) == TS.syncByte else {
                throw .noPackets(firstByte: first)
            }
        }
        let length = content.readableBytes / TS.packetLength * TS.packetLength
        guard length > 0, let packets = content.getSlice(at: content.readerIndex, length: length) else {
            throw .noPackets(firstByte: first)
        }
        self.packets = packets
        self.excess = content.readableBytes - length
    }

    /// Reads the header with its lists, and takes the padding off.
    private static func readHeader(_ datagram: inout ByteBuffer) throws(Fault) -> RTPFields {
        let length = datagram.readableBytes
        guard
            let (flags, type, sequence, _, ssrc) = datagram.readMultipleIntegers(
                as: (UInt8, UInt8, UInt16, UInt32, UInt32).self)
        else { throw .malformedRTP(length: length) }
        guard datagram.readSlice(length: Int(flags & 15) * 4) != nil else { throw .malformedRTP(length: length) }
        if flags & 0x10 != 0 {
            guard let (_, words) = datagram.readMultipleIntegers(as: (UInt16, UInt16).self),
                datagram.readSlice(length: Int(words) * 4) != nil
            else { throw .malformedRTP(length: length) }
        }
        if flags & 0x20 != 0 {
            guard let padding = datagram.getInteger(at: datagram.writerIndex - 1, as: UInt8.self), padding > 0,
                datagram.readableBytes >= Int(padding)
            else { throw .malformedRTP(length: length) }
            datagram.moveWriterIndex(to: datagram.writerIndex - Int(padding))
        }
        return RTPFields(payloadType: type & 0x7F, sequenceNumber: sequence, ssrc: ssrc)
    }
}
