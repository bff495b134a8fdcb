package import Media

/// Why an MP4 file cannot be read, or a track cannot be put into one.
///
/// Offsets are bytes from the start of the file or of the buffer that was given.
package enum ISOBMFFError: Error, Equatable, Sendable {
    /// The format has no mapping for the codec, or none that is written here.
    case unsupportedCodec(Codec)
    /// The track's configuration record cannot be understood.
    case configuration(Codec, CodecHeaderError)
    /// The track lacks a sample rate or a count of channels, which its sample entry must state.
    case missingFormat(Codec)
    /// A box ends before a field of it does. `offset` is where the field starts.
    case truncated(BoxType, offset: Int64, needed: Int, available: Int)
    /// A box is smaller than its own header, or larger than what contains it.
    case invalidBoxSize(BoxType, size: UInt64, offset: Int64)
    /// A box that is read as a whole exceeds the limit for such boxes.
    case boxTooLarge(BoxType, size: Int64, limit: Int64)
    /// `parent` is `nil` for the top level of a file.
    case missingBox(BoxType, parent: BoxType?)
    case repeatedBox(BoxType, offset: Int64)
    case unsupportedVersion(BoxType, version: UInt8, offset: Int64)
    /// A field has a value that the format forbids or that exceeds its stated range.
    case invalidValue(BoxType, value: Int64, offset: Int64)
    /// More entries than the limits allow.
    case tooMany(BoxType, count: Int64, limit: Int64)
    /// A sample's bytes lie behind the end of the file or of the fragment.
    case sampleOutside(trackID: UInt32, end: Int64, byteCount: Int64)
    /// The sample tables of a track contradict each other; `box` ran out after `samples` of `expected` samples.
    case inconsistentTables(BoxType, samples: Int, expected: Int)
    /// Files that are to become one have tracks of this kind that need different sample entries or timescales.
    case incompatibleTracks(MediaKind)
    /// There is nothing in the range of time that was asked for.
    case emptyRange
}
