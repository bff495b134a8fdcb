package import Media

/// A segment that is complete, for those who are told of each.
package struct FinishedSegment: Sendable, Hashable {
    package var key: StreamKey
    package var epoch: UInt64
    package var sequence: UInt64
    /// Which of the stream's segments of this number it is: `main`, `video` or `audio`.
    package var track: String
    package var durationMillis: Int64
    package var byteCount: Int64
    /// The segment's file; `nil` when it is in memory only, because there is no disk or it failed.
    package var path: String?
    /// Where it is had over HTTP, relative to the root of the server, without a leading slash.
    package var url: String
    /// The file of the stream's multivariant playlist; `nil` when none is written.
    package var playlistPath: String?
    /// Where the multivariant playlist is had over HTTP, relative as `url`.
    package var playlistURL: String
}
