package import Media

/// Why audio could not be decoded or encoded. `code`: libav's own, negative.
package enum TranscodingError: Error, Sendable, Hashable {
    case unsupportedCodec(Codec)
    case outOfMemory
    /// The decoder or encoder did not take the parameters.
    case configuration(Codec, code: Int32)
    /// A packet that the decoder did not understand.
    case decoding(Codec, code: Int32)
    /// The decoder gives samples that are not made anything of.
    case unusableFormat(Codec, rate: Int, channels: Int)
    case resampling(code: Int32)
    case encoding(Codec, code: Int32)
}
