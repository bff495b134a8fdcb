package import NIOCore

/// The settings of one live stream on one node.
package struct LiveStreamSettings: Sendable, Hashable {
    /// When the bytes of RTMP and FLV leave.
    package var flush: FlushPolicy
    /// The largest GOP that is kept for new viewers, in bytes; 0 lets them wait for the next keyframe.
    package var gopCacheBytes: Int
    package var publish: PublishSettings
    package var slowViewer: SlowViewerPolicy
    /// How long a stream with neither publisher nor viewer is kept.
    package var idleTimeout: TimeAmount
    package var timeline: TimelineConfiguration
    /// How long transcoding of audio goes on when nobody needs it any more.
    package var audioLinger: TimeAmount

    package init(
        flush: FlushPolicy = .balanced, gopCacheBytes: Int = 32 << 20, publish: PublishSettings = .init(),
        slowViewer: SlowViewerPolicy = .init(), idleTimeout: TimeAmount = .seconds(10),
        timeline: TimelineConfiguration = .init(), audioLinger: TimeAmount = .seconds(5)
    ) {
        self.flush = flush
        self.gopCacheBytes = gopCacheBytes
        self.publish = publish
        self.slowViewer = slowViewer
        self.idleTimeout = idleTimeout
        self.timeline = timeline
        self.audioLinger = audioLinger
    }
}
