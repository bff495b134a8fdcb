package import Media

/// Why the body of an audio or video message, or an FLV file, cannot be understood.
///
/// Offsets are bytes from the start of the body; for files, from the start of the file.
package enum FLVError: Error, Equatable, Sendable {
    case truncated(offset: Int, needed: Int, available: Int)
    /// The codec's configuration record is broken. Offsets inside are those of the record.
    case configuration(Codec, CodecHeaderError)
    /// Packet type, multitrack type or command value that the enhanced RTMP specification does not define.
    case undefinedValue(UInt8, offset: Int)
    /// A file does not begin with `FLV` and version 1.
    case notFLV(offset: Int)
    /// A file's header or a tag's body is larger than allowed.
    case tooLong(length: Int, maximum: Int, offset: Int)
    /// The tag is encrypted (`Filter` bit).
    case encrypted(offset: Int)
}

/// Why a well-formed packet yields neither a track nor a frame.
package enum FLVIgnoredReason: Error, Equatable, Hashable, Sendable {
    /// The body has no bytes, or a frame has no payload. Encoders send such messages as keep-alives.
    case empty
    /// A legacy codec id that Weir does not carry, such as 2 (Sorenson H.263) or 4 (VP6).
    case unsupportedVideoCodec(id: UInt8)
    /// A legacy sound format that Weir does not carry, such as 1 (ADPCM).
    case unsupportedSoundFormat(UInt8)
    /// An enhanced RTMP codec that Weir does not carry; four ASCII characters, the first in the highest byte.
    case unsupportedFourCC(UInt32)
    /// Frame type 5: a command for the player, not a picture.
    case command
    /// Colour information and the like of enhanced RTMP.
    case metadata
    /// The configuration as an MPEG-TS descriptor.
    case transportStreamConfiguration
    case multichannelConfiguration
    case endOfSequence
    /// A further track of a multitrack stream.
    case otherTrack(id: UInt8)
    /// A frame that came before the configuration it needs, or before the first VP8 key frame.
    case missingConfiguration
    /// The configuration that is already in use was sent again.
    case repeatedConfiguration
    /// A frame in Annex B form that does not fit the track's NAL unit length size, or a first frame without a header.
    case unusableFrame
}
