package import MPEGTS
package import Media

/// What was wrong with a piece of a program stream. The demuxer goes on after each of them.
///
/// `position` is the offset in bytes, from the start of the input, of what is concerned.
package enum PSProblem: Error, Equatable, Sendable {
    /// Bytes that are no unit of a program stream: `skipped` bytes from `position` on were passed over, up to a pack.
    case garbage(position: Int64, skipped: Int64)
    /// A packet of an elementary stream has no valid header; reading goes on with the next pack.
    case malformedPES(streamID: UInt8, position: Int64)
    /// The stream map cannot be understood; it was ignored.
    case malformedMap(position: Int64)
    /// A packet without a length grew beyond the limit; it was dropped.
    case tooLong(streamID: UInt8, maximum: Int, position: Int64)
    /// A scrambled packet was dropped.
    case scrambled(streamID: UInt8, position: Int64)
    /// The map names a coding that is not carried further. Told once for each stream and type.
    case unsupportedStream(streamID: UInt8, type: UInt8, position: Int64)
    /// The map says one codec and the parameter sets are those of another, which was believed.
    case contradictoryMap(declared: Codec, found: Codec, position: Int64)
    /// What was wrong inside of an elementary stream; its identifier stands in the place of a packet identifier.
    case elementary(TSProblem)
}
