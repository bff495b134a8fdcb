/// Why bytes are no RTSP message, or a header's value cannot be read.
package enum RTSPError: Error, Equatable, Sendable {
    /// The start line is neither a request nor a status line. The length is that of the line.
    case malformedStartLine(length: Int)
    /// A version of RTSP that is not 1.x or 2.0.
    case unsupportedVersion(String)
    /// A header line without a name or a colon; `line` counts from 1, behind the start line.
    case malformedHeader(line: Int)
    /// The head of a message is longer than the limit, in bytes.
    case headTooLong(limit: Int)
    case tooManyHeaders(limit: Int)
    /// `Content-Length` is no number, or there are several that differ.
    case malformedLength
    case bodyTooLong(length: Int, limit: Int)
    /// A byte that begins neither a message nor an interleaved packet.
    case unexpectedByte(UInt8)
    /// A `Transport` that cannot be read; `entry` counts from 0.
    case malformedTransport(entry: Int)
    case malformedURL
    case malformedRange
}
