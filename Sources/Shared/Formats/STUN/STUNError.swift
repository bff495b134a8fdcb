/// Why bytes are no STUN message.
package enum STUNError: Error, Equatable, Sendable {
    /// Fewer bytes than the header or the message's length asks for.
    case truncated(needed: Int, available: Int)
    /// More bytes than the message's length says.
    case trailingBytes(length: Int, available: Int)
    /// The first two bits are not zero, or the magic cookie is missing.
    case notSTUN
    /// The length is no multiple of four.
    case unalignedLength(Int)
    /// An attribute reaches beyond the message; the offset counts from the header's first byte.
    case truncatedAttribute(offset: Int, needed: Int, available: Int)
    /// There are more attributes than a message may have.
    case tooManyAttributes(limit: Int)
    /// FINGERPRINT is not the checksum of the message.
    case wrongFingerprint
}
