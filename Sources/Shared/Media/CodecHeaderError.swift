/// Why a codec's header or configuration record cannot be understood.
///
/// Offsets are bytes from the start of what was parsed. Inside a parameter set they count the bytes after removal of
/// emulation prevention.
package enum CodecHeaderError: Error, Equatable, Sendable {
    /// The data ends before a field does. `offset` is the byte in which the field starts.
    case truncated(offset: Int, neededBits: Int, availableBits: Int)
    /// A sync word, signature or marker is not what the format demands.
    case badSignature(offset: Int)
    case unsupportedVersion(UInt8, offset: Int)
    /// A field has a value that the format forbids or that exceeds its stated range.
    case invalidValue(UInt32, offset: Int)
    /// An Exp-Golomb or variable-length number is longer than any legal one.
    case numberTooLong(offset: Int)
    /// The NAL unit or OBU is not of the type that was asked for.
    case unexpectedUnitType(UInt8, offset: Int)
    /// The codec needs a configuration record and none was given.
    case missingConfiguration(Codec)
    /// A NAL unit is too long for the length field in front of it.
    case unitTooLong(length: Int, lengthSize: Int)
    /// A frame or a configuration record holds more NAL units than any encoder makes.
    case tooManyUnits(limit: Int)
    /// A configuration record is longer than any that a decoder needs.
    case recordTooLong(length: Int, maximum: Int)
}
