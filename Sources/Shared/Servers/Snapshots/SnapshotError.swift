package import Media

/// Why there is no picture. Codes are those of libav, negative.
package enum SnapshotError: Error, Equatable, Sendable {
    /// The codec has no pictures, or the library has no decoder for it.
    case unsupportedCodec(Codec)
    /// The decoder does not accept the track's configuration.
    case configuration(Codec, code: Int32)
    /// The frame cannot be decoded.
    case decoding(Codec, code: Int32)
    /// The decoder took the frame and gave no picture.
    case noPicture(Codec)
    /// The decoder gave a picture in which parts are missing or guessed.
    case damagedPicture(Codec)
    /// The picture has more pixels than the limit, or no area.
    case unusableSize(width: Int, height: Int)
    case scaling(code: Int32)
    case encoding(code: Int32)
    case outOfMemory
    /// Too many pictures wait already.
    case busy(waiting: Int)
    /// It was not the picture's turn within the deadline.
    case timedOut
    case closed
}
