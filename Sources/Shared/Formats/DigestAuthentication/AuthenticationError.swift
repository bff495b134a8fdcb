/// Why the value of an authentication header cannot be read.
package enum AuthenticationError: Error, Equatable, Sendable {
    /// The value is longer than the limit, both in UTF-8 bytes.
    case tooLong(length: Int, limit: Int)
    case tooManyParameters(limit: Int)
    /// A character at an offset in UTF-8 bytes that can stand there by no grammar.
    case unexpectedByte(UInt8, offset: Int)
    /// The value ends inside of a parameter.
    case truncated(offset: Int)
    /// A parameter without which there is no answer.
    case missingParameter(String)
    /// The same parameter twice: two readers could understand different things.
    case repeatedParameter(String)
    /// A hash function that is not ours, or a form of protection that we do not have.
    case unsupportedAlgorithm(String)
    case unsupportedProtection(String)
    /// Neither Digest nor Basic.
    case unsupportedScheme(String)
    /// A value that is not what its parameter may be.
    case invalidValue(String)
    /// The text of Basic is no Base64, or has no colon.
    case malformedBasic
}
