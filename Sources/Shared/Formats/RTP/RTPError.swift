/// Why bytes are not RTP, RTCP or a payload, or why a frame cannot be put into packets.
///
/// Offsets are bytes from the start of what was parsed: the packet, or the payload.
package enum RTPError: Error, Hashable, Sendable {
    /// The data ends before a field does.
    case truncated(offset: Int, needed: Int, available: Int)
    /// The two bits in front of every packet are not 2.
    case unsupportedVersion(UInt8)
    /// The last byte of a packet says that more bytes are padding than there are, or none.
    case invalidPadding(length: Int, available: Int)
    /// The second byte is one of RTCP where RTP was asked for, or the other way round (RFC 5761 §4).
    case unexpectedPacketType(UInt8)
    /// A compound holds more packets than the limit, or a report more entries than its count.
    case tooManyPackets(limit: Int)
    /// A field has a value that the format forbids.
    case invalidValue(UInt32, offset: Int)

    /// A fragment came without the one before it.
    case unexpectedFragment(offset: Int)
    /// A NAL unit, OBU or frame began to arrive in fragments and was not finished when the next thing began.
    case unfinishedFragment
    /// The payload structure, NAL unit or OBU is of a type that the payload format does not have.
    case unsupportedUnit(type: UInt8, offset: Int)
    /// A unit of no bytes.
    case emptyUnit(offset: Int)
    /// The picture's first slice is not there, although no packet is known to be missing.
    case missingFirstSlice
    /// Packets in front of or inside the access unit are missing.
    case packetsMissing
    /// The access unit grew beyond the reader's limit.
    case accessUnitTooLong(limit: Int)

    /// A NAL unit's length goes beyond the frame, or an OBU is broken: the frame cannot be put into packets.
    case malformedFrame(offset: Int)
    /// The frame, with the parameter sets that go in front of it, has more NAL units or OBUs than any coded picture.
    case tooManyUnits(limit: Int)
    /// The codec has no payload format here.
    case unsupportedCodec
    /// The frame would take more packets, or the audio packet more bytes, than allowed.
    case frameTooLong(length: Int, maximum: Int)
}
