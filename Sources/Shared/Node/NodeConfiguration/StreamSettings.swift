package import NIOCore

/// How one stream is taken in, kept and handed out.
package struct StreamSettings: Sendable, Equatable {
    /// How often frames are handed to viewers.
    package enum Latency: String, Sendable, CaseIterable {
        /// Each video frame at once.
        case realtime
        /// Every 100 ms.
        case low
        /// Every 350 ms: by far the least work.
        case balanced
    }

    package var latency = Latency.balanced
    /// Whether a new viewer starts with the last group of pictures, rather than at the next keyframe.
    package var gopCache = true
    package var gopCacheMaximumBytes = 32 << 20
    package var publish = Publish()
    package var play = Play()
    /// How long a stream stays that has neither publisher nor viewers.
    package var idleTimeout = TimeAmount.seconds(10)
    package var timeline = Timeline()
    package var flv = FLV()
    package var rtc = RTC()
    package var srt = SRT()
    package var rtsp = RTSP()
    package var audio = Audio()
    package var hls = HLS()
    package var dvr = DVR()
    package var snapshot = Snapshot()
    package var access = Access()
    package var limits = Limits()
    package var hooks = Hooks()
    package var forward = Forward()

    package init() {}

    /// Who may publish, when.
    package struct Publish: Sendable, Equatable {
        /// What happens to a second publisher of one stream.
        package enum Policy: String, Sendable, CaseIterable {
            /// The second is refused as long as the first is connected.
            case reject
            /// The second replaces the first at once.
            case takeover
            /// The second replaces a first that is silent or gone, and viewers wait for it in between.
            case grace
        }

        package var policy = Policy.grace
        /// How long viewers are kept when the publisher has gone.
        package var grace = TimeAmount.seconds(10)
        /// After how long without a frame a publisher may be replaced.
        package var silentAfter = TimeAmount.seconds(1)

        package init() {}
    }

    /// What a viewer is given, and when it is too slow.
    package struct Play: Sendable, Equatable {
        /// Whether the kernel may hold small writes back (Nagle's algorithm).
        package enum TCPNoDelay: String, Sendable, CaseIterable {
            /// On for `realtime`, off otherwise.
            case auto
            case on
            case off
        }

        /// Unsent bytes above which a viewer skips to the next keyframe.
        package var slowViewerBytes = 4 << 20
        /// Age of the oldest unsent byte above which a viewer skips to the next keyframe.
        package var slowViewerAge = TimeAmount.seconds(10)
        /// Skips within `skipWindow` after which the viewer is closed.
        package var skipsBeforeClose = 3
        package var skipWindow = TimeAmount.seconds(60)
        package var tcpNoDelay = TCPNoDelay.auto
        /// The secret of signed URLs of files; empty asks for none.
        package var urlSecret = Secret("")

        package init() {}
    }

    /// How clocks of publishers are healed.
    package struct Timeline: Sendable, Equatable {
        /// A step between neighbouring frames that is larger, in either direction, is taken for a new clock.
        package var jumpThreshold = TimeAmount.seconds(10)

        package init() {}
    }

    /// How codecs are written into FLV and RTMP.
    package struct FLV: Sendable, Equatable {
        /// The form of HEVC.
        package enum HEVC: String, Sendable, CaseIterable {
            /// As the publisher sent it.
            case asPublished = "as_published"
            /// Enhanced RTMP, `hvc1`.
            case enhanced
            /// Codec id 12.
            case legacy
        }

        package var hevc = HEVC.asPublished

        package init() {}
    }
}
