/// The few facts about RTP and RTCP headers that SRTP needs. Spec: RFC 3550 §5.1, §6.4.
enum PacketHeader {
    static let minimumRTPLength = 12
    static let minimumRTCPLength = 8

    /// The length of an RTP header with its CSRCs and extension, in a packet that has `available` bytes for it.
    @inline(__always)
    static func length(_ bytes: UnsafeRawBufferPointer, available: Int) throws(SRTPError) -> Int {
        unsafe try self.check(bytes, minimum: self.minimumRTPLength, available: available)
        let first = unsafe bytes[0]
        var length = self.minimumRTPLength + 4 * Int(first & 0x0F)
        if first & 0x10 != 0 {
            guard available >= length + 4 else { throw .truncated(needed: length + 4, available: available) }
            length += 4 + 4 * Int(unsafe self.uint16(bytes, at: length + 2))
        }
        guard available >= length else { throw .truncated(needed: length, available: available) }
        return length
    }

    /// Throws unless there are `minimum` of the available bytes, of version 2.
    @inline(__always)
    static func check(_ bytes: UnsafeRawBufferPointer, minimum: Int, available: Int) throws(SRTPError) {
        guard available >= minimum else { throw .truncated(needed: minimum, available: max(available, 0)) }
        let version = Int(unsafe bytes[0] >> 6)
        guard version == 2 else { throw .wrongVersion(version) }
    }

    @inline(__always)
    static func uint16(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt16 {
        unsafe UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    @inline(__always)
    static func uint32(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt32 {
        unsafe UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
}

/// A packet's index in its stream: rollover counter << 16 | sequence number. Spec: RFC 3711 §3.3.1.
enum PacketIndex {
    /// Indices end before this one: 2^48.
    static let limit: UInt64 = 1 << 48
    /// RTCP indices end before this one: 2^31.
    static let controlLimit: UInt64 = 1 << 31

    /// The index closest to the highest one that has this sequence number; `nil` if that is before the first of all.
    @inline(__always)
    static func estimate(_ sequenceNumber: UInt16, highest: UInt64) -> UInt64? {
        let difference = Int16(bitPattern: sequenceNumber &- UInt16(truncatingIfNeeded: highest))
        let index = Int64(highest) + Int64(difference)
        return index < 0 ? nil : UInt64(index)
    }
}
