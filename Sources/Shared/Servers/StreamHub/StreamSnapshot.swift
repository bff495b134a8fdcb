package import Media
package import NIOCore
package import Streaming

/// What a stream received.
package struct StreamCounters: Sendable, Hashable {
    package var videoFrames = 0
    package var audioFrames = 0
    package var keyframes = 0
    /// Bytes of frames, without any wire format.
    package var mediaBytes = 0
    /// Frames that could not be shown: video before the first keyframe of a source.
    package var droppedFrames = 0
    /// Skips of viewers that had too many bytes before them, and whose oldest byte was too old.
    package var skipsByBytes = 0
    package var skipsByAge = 0
    /// Viewers that were closed because they skipped too often.
    package var slowViewersClosed = 0

    mutating func count(_ frame: Frame) {
        self.mediaBytes += frame.payload.readableBytes
        if frame.kind == .video {
            self.videoFrames += 1
            if frame.isKeyframe { self.keyframes += 1 }
        } else {
            self.audioFrames += 1
        }
    }
}

/// A stream at one moment, for the API and the heartbeat.
package struct StreamSnapshot: Sendable {
    package let key: StreamKey
    package let epoch: UInt64
    package let phase: PublisherSlot.Phase
    package let state: StreamState
    package let counters: StreamCounters
    /// The number of viewers by format.
    package let viewers: [String: Int]
    /// The time since the publisher's last media; `nil` without a publisher.
    package let silentFor: TimeAmount?
    package let publishedFor: TimeAmount?
    /// The latest time on the stream's timeline.
    package let end: MediaTime?
    package let joinedJumps: Int
    package let restampedFrames: Int
    /// What came in over the last seconds.
    package let ingest: IngestFacts
    package let renditions: [RenditionSnapshot]
    /// Audio that is made of the source's.
    package let derivations: [DerivationSnapshot]
}

/// Audio that is made for those who cannot take the source's.
package struct DerivationSnapshot: Sendable, Hashable {
    package let track: Track
    /// The renditions and taps that get it; 0 while it lingers.
    package let followers: Int
    package let statistics: AudioTranscoderStatistics
}

/// What a rendition of a stream holds, on the stream's home loop; the loops of its viewers hold the same slabs, and more
/// for those who are behind.
package struct RenditionSnapshot: Sendable, Hashable {
    package let id: RenditionID
    package let viewers: Int
    package let slabs: Int
    package let bytes: Int
    /// The most that a flush was late within the last seconds: how long the loop kept its timer waiting.
    package let flushLateness: TimeAmount
}

/// What happened to a stream.
package enum StreamChange: Sendable, Hashable {
    case live(epoch: UInt64)
    /// The publisher left; the stream waits for its return.
    case waiting(epoch: UInt64)
    case ended(epoch: UInt64)
    case tracks
    /// The last viewer left.
    case unwatched
}

/// Is told about all streams of a hub, each on the stream's home loop. Must not block.
package protocol StreamObserver: AnyObject, Sendable {
    func streamChanged(_ stream: LiveStream, _ change: StreamChange)
}
