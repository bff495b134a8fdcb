package import MediaStorage
package import NIOCore

/// What is to be made of one stream's keyframes.
package struct SnapshotConfiguration: Sendable, Hashable {
    /// The picture is not wider than this, in pixels; narrower ones keep their size.
    package var maximumWidth: Int
    /// 1 to 100, as JPEG programs count it.
    package var quality: Int
    /// What is written to disk; `nil`: nothing is.
    package var periodic: Periodic?

    /// Pictures on disk, replaced or added one after another.
    package struct Periodic: Sendable, Hashable {
        /// At least a second.
        package var interval: TimeAmount
        /// The absolute folder that the paths are in.
        package var root: String
        /// Each picture is written under a temporary name and then renamed to this.
        package var pattern: PathPattern

        package init(interval: TimeAmount, root: String, pattern: PathPattern) {
            precondition(interval >= .seconds(1), "pictures are a second or more apart, got \(interval)")
            self.interval = interval
            self.root = root
            self.pattern = pattern
        }
    }

    /// The widths and qualities that may be asked for.
    package static let widths = 16...4096
    package static let qualities = 1...100

    package init(maximumWidth: Int = 640, quality: Int = 80, periodic: Periodic? = nil) {
        precondition(Self.widths.contains(maximumWidth), "the width is in \(Self.widths), got \(maximumWidth)")
        precondition(Self.qualities.contains(quality), "the quality is in \(Self.qualities), got \(quality)")
        self.maximumWidth = maximumWidth
        self.quality = quality
        self.periodic = periodic
    }
}

/// The limits of a node's snapshots.
package struct SnapshotLimits: Sendable, Hashable {
    /// Threads that decode and encode, 1 or more.
    package var threads = 1
    /// Pictures of different streams that may wait for a thread.
    package var maximumWaiting = 64
    /// Viewers that may wait for one picture.
    package var maximumViewers = 4_096
    /// Streams whose last picture is kept.
    package var maximumStreams = 1_024
    /// How long a viewer waits for a picture.
    package var deadline = TimeAmount.seconds(5)
    /// How long a picture is given out before a newer keyframe is looked for.
    package var lifetime = TimeAmount.seconds(1)
    /// Pixels of the source: 8192 × 8192 by default.
    package var maximumPixels = 1 << 26

    package init() {}
}
