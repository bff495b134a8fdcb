/// Why a text is no session description or no trickle fragment.
package enum SDPError: Error, Equatable, Sendable {
    /// The text is longer than the limit, both in UTF-8 bytes.
    case tooLong(length: Int, limit: Int)
    /// There are more lines than the limit allows.
    case tooManyLines(limit: Int)
    /// There are more m-lines than the limit allows.
    case tooManyMediaDescriptions(limit: Int)
    /// The text has no line at all.
    case empty
    /// A line (counted from 1) that is not `x=value`.
    case malformedLine(Int)
    /// A description does not begin with `v=0`; the line is counted from 1.
    case unsupportedVersion(line: Int)
    /// An `o=` line (counted from 1) without its six fields.
    case malformedOrigin(line: Int)
    /// An `m=` line (counted from 1) without kind, port, protocol and formats.
    case malformedMedia(line: Int)
    /// The description has no `o=` line.
    case missingOrigin
}
