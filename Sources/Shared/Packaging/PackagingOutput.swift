package import Media
package import NIOCore

/// What a packager gives out, in order. Drain it to `nil` after each input.
package enum PackagingOutput: Sendable, Hashable {
    /// A source's media begins: what was said of an ended stream no longer holds.
    case started(epoch: UInt64)
    /// Precedes the first part and segment that needs it. Once per tag and run; for transport streams without bytes.
    case tracks(PackagedTracks)
    /// Only with Low-Latency HLS; precedes its segment.
    case part(PackagedPart)
    case segment(PackagedSegment)
    case timedData(TimedDataFacts)
    /// The source left; all its segments were given out.
    case ended(isFinal: Bool)
    /// For a log line and a counter; packaging goes on.
    case problem(PackagingProblem)
}

/// The tracks of a tag, with their initialization segment.
package struct PackagedTracks: Sendable, Hashable {
    package var facts: TrackFacts
    /// The initialization segment; `nil` for transport streams.
    package var initialization: ByteBuffer?
}

/// A partial segment.
package struct PackagedPart: Sendable, Hashable {
    package var facts: PartFacts
    package var bytes: ByteBuffer
}

/// A whole segment.
package struct PackagedSegment: Sendable, Hashable {
    package var facts: SegmentFacts
    /// The segment's bytes, piece after piece: with parts, each piece is one part and shares its memory.
    package var pieces: [ByteBuffer]
}

/// What a packager could not do. Each is reported once for a source.
package enum PackagingProblem: Sendable, Hashable {
    /// A track is left out, because the container cannot carry its codec.
    case unsupportedCodec(Codec, PackagingContainer)
    /// A track is left out, because its header is missing or broken.
    case unreadableTrack(Codec)
    /// Frames are left out because they can belong to no segment: before the first keyframe, or far too late.
    case droppedFrames(MediaKind)
}

/// What a packager has counted since it was made.
package struct PackagingCounters: Sendable, Hashable {
    package var segments = 0
    package var parts = 0
    package var frames = 0
    /// Frames that were left out: before a keyframe, or before the start of the other track; or too late.
    package var droppedFrames = 0
    /// Audio whose sample count had to be brought back to the timeline.
    package var audioCorrections = 0
    /// Segments that do not begin with a keyframe.
    package var dependentSegments = 0
    package var gapSegments = 0
    package var discontinuities = 0
    /// Data messages that were no readable AMF, or more than the bounds allow.
    package var droppedData = 0
}
