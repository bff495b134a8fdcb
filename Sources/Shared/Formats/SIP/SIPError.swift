/// Why bytes are no SIP message, or a field is not what it has to be.
package enum SIPError: Error, Equatable, Sendable {
    /// The head, or one of its lines, is longer than the limit.
    case headTooLong(length: Int, limit: Int)
    case bodyTooLong(length: Int, limit: Int)
    case tooManyFields(limit: Int)
    /// The first line is neither a request's nor a response's.
    case malformedStartLine
    case unsupportedVersion
    /// Line `line`, counted from 1 behind the start line, has no colon or no name.
    case malformedField(line: Int)
    /// A field that every message has, or that this one needs, is missing.
    case missing(field: String)
    /// A field has a value that its grammar does not have.
    case malformed(field: String)
    /// The head says more bytes than came, in a datagram.
    case truncatedBody(declared: Int, available: Int)
}
