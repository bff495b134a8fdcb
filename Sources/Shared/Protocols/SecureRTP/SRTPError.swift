/// Why a packet was not protected, or not accepted.
package enum SRTPError: Error, Equatable, Sendable {
    /// The master key or salt does not have the length of the profile.
    case wrongKeyLength(key: Int, salt: Int)
    /// OpenSSL refused a cipher or ran out of memory.
    case cipherUnavailable
    /// Not an RTP or RTCP packet of version 2: what is in the version's place.
    case wrongVersion(Int)
    /// The packet, its header or its tag is longer than what there is.
    case truncated(needed: Int, available: Int)
    /// The destination is too small.
    case noRoom(needed: Int, available: Int)
    /// The given index does not belong to the sequence number in the header.
    case indexMismatch(index: UInt64, sequenceNumber: UInt16)
    /// The tag is wrong: the packet was altered, or is not the peer's.
    case authenticationFailed
    /// The packet was received before. Spec: RFC 3711 §3.3.2.
    case replayed(index: UInt64)
    /// The packet is older than what the replay window remembers.
    case tooOld(index: UInt64, highest: UInt64)
    /// More SSRCs than the bound allows.
    case tooManySources(limit: Int)
    /// The key protected as many packets as it may: 2^48 of an SSRC, or 2^31 of RTCP. Spec: RFC 3711 §9.2.
    case keyExhausted
}
