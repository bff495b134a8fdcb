package import Media

/// Why a transport stream cannot carry a set of tracks.
package enum MPEGTSError: Error, Equatable, Sendable {
    /// The codec has no mapping into a transport stream that players know.
    case unsupportedCodec(Codec)
    /// The codec is carried, but not with this configuration: AAC that ADTS cannot express (object types above 4, a
    /// channel layout in a program config element, frames of 960 samples, an unlisted sample rate), or Opus with a
    /// channel mapping of its own.
    case unsupportedConfiguration(Codec)
    /// The track's configuration record is missing or broken. Offsets inside are those of the record.
    case configuration(Codec, CodecHeaderError)
    /// Neither video nor audio nor ID3 was asked for.
    case noStreams
}

/// What was wrong with a piece of a transport stream. The demuxer goes on after each of them.
///
/// `position` is the offset in bytes, from the start of the input, of the packet concerned.
package enum TSProblem: Error, Equatable, Sendable {
    /// No packets where packets should be: `skipped` bytes from `position` on were passed over.
    case garbage(position: Int64, skipped: Int64)
    /// The receiver in front marked the packet as damaged (`transport_error_indicator`); it was dropped.
    case transportError(pid: UInt16, position: Int64)
    /// The packet's header or adaptation field contradicts itself; it was dropped.
    case malformedPacket(pid: UInt16, position: Int64)
    /// Packets are missing in front of this one. What they damaged was dropped.
    case continuity(pid: UInt16, expected: UInt8, found: UInt8, position: Int64)
    /// The first of a run of scrambled packets, which were dropped.
    case scrambled(pid: UInt16, position: Int64)
    /// A section's checksum does not fit; it was ignored.
    case sectionChecksum(pid: UInt16, position: Int64)
    /// A section of a table that we follow cannot be understood; it was ignored.
    case malformedSection(pid: UInt16, position: Int64)
    /// A table lists more programs or streams than the limits allow; those beyond were ignored.
    case tooManyEntries(pid: UInt16, count: Int, maximum: Int, position: Int64)
    /// A packetized elementary stream's packet has no valid header; it was dropped.
    case malformedPES(pid: UInt16, position: Int64)
    /// A PES packet ended with fewer bytes than its header said. What came was used.
    case shortPES(pid: UInt16, declared: Int, found: Int, position: Int64)
    /// A PES packet, an access unit or an audio frame grew beyond the limits; it was dropped.
    case tooLong(pid: UInt16, maximum: Int, position: Int64)
    /// Audio frames do not follow each other: bytes up to the next one were passed over.
    case audioSyncLost(pid: UInt16, position: Int64)
    /// A frame before the first timestamp, or before the first parameter sets, was dropped.
    case unusableFrame(pid: UInt16, position: Int64)
    /// The parameter sets or the audio header cannot be understood, so there is no track yet.
    case configuration(Codec, CodecHeaderError, position: Int64)
    /// The audio is coded in a way that is not carried further, such as AAC with a program config element.
    case unsupportedConfiguration(Codec, position: Int64)
}
