package import Media
package import NIOCore
package import StreamHub
import Streaming

/// One stream of the node as the API and the metrics tell it. A value: made on the stream's home loop.
package struct NodeStream: Sendable {
    package var key: StreamKey
    package var epoch: UInt64
    /// `live`, `grace` (the publisher left and may come back), `claiming` or `free`.
    package var state: String
    /// It is published on this node, rather than pulled from another.
    package var isHeld: Bool
    package var video: Track?
    package var audio: Track?
    /// Connections that play it here, by format; other nodes that pull it are among them.
    package var viewers: [String: Int] = [:]
    package var videoFrames = 0
    package var audioFrames = 0
    package var keyframes = 0
    /// Bytes of frames, without any wire format.
    package var mediaBytes = 0
    package var droppedFrames = 0
    package var skipsByBytes = 0
    package var skipsByAge = 0
    package var slowViewersClosed = 0
    package var timelineJumps = 0
    package var restampedFrames = 0
    package var publishedFor: TimeAmount?
    package var silentFor: TimeAmount?
    /// Of frames, without any wire format, over the last seconds.
    package var ingestBitsPerSecond: UInt64 = 0
    /// Over the last seconds; `nil` when not measured.
    package var framesPerSecond: Double?
    /// The length of the last complete group of pictures; `nil` when not known.
    package var gopMillis: Int?
    /// Bytes that wait for viewers or joiners, and pieces they are kept in.
    package var ringBytes: Int?
    package var slabs: Int?
    /// The most that media waited beyond their turn on the stream's own loop, over the last seconds.
    package var flushLateness: TimeAmount?

    package init(key: StreamKey, epoch: UInt64, state: String, isHeld: Bool) {
        self.key = key
        self.epoch = epoch
        self.state = state
        self.isHeld = isHeld
    }

    /// As the hub sees it; `isHeld` comes from who claims streams.
    package init(_ snapshot: StreamSnapshot, isHeld: Bool) {
        self.init(key: snapshot.key, epoch: snapshot.epoch, state: snapshot.phase.rawValue, isHeld: isHeld)
        self.video = snapshot.state.video
        self.audio = snapshot.state.audio
        self.viewers = snapshot.viewers
        self.videoFrames = snapshot.counters.videoFrames
        self.audioFrames = snapshot.counters.audioFrames
        self.keyframes = snapshot.counters.keyframes
        self.mediaBytes = snapshot.counters.mediaBytes
        self.droppedFrames = snapshot.counters.droppedFrames
        self.skipsByBytes = snapshot.counters.skipsByBytes
        self.skipsByAge = snapshot.counters.skipsByAge
        self.slowViewersClosed = snapshot.counters.slowViewersClosed
        self.timelineJumps = snapshot.joinedJumps
        self.restampedFrames = snapshot.restampedFrames
        self.publishedFor = snapshot.publishedFor
        self.silentFor = snapshot.silentFor
        self.ingestBitsPerSecond = snapshot.ingest.bitsPerSecond
        self.framesPerSecond = snapshot.ingest.videoFramesPerSecond
        self.gopMillis = snapshot.ingest.gopLength.map { Int($0.millis) }
        self.ringBytes = snapshot.renditions.reduce(0) { $0 + $1.bytes }
        self.slabs = snapshot.renditions.reduce(0) { $0 + $1.slabs }
        self.flushLateness = snapshot.renditions.map(\.flushLateness).max()
    }

    /// Somebody publishes it, here or through another node.
    package var isLive: Bool { self.state == "live" }
}
