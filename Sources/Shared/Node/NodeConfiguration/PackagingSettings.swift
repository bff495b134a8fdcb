package import NIOCore

extension StreamSettings {
    /// HLS and MPEG-DASH, which the origin writes.
    package struct HLS: Sendable, Equatable {
        package enum Container: String, Sendable, CaseIterable {
            /// Fragmented MP4 (CMAF), for HLS and DASH.
            case fmp4
            /// MPEG-TS, for old players.
            case mpegts
        }

        package var enabled = true
        package var container = Container.fmp4
        package var segmentDuration = TimeAmount.seconds(2)
        /// Parts, blocking reloads and delta updates, with `fmp4`.
        package var lowLatency = true
        package var partDuration = TimeAmount.milliseconds(200)
        /// What the live playlist lists.
        package var window = TimeAmount.seconds(12)
        /// What `?dvr=` can reach back to.
        package var dvrWindow = TimeAmount.zero
        /// In hundredths: a segment without a keyframe is cut at this part of its duration.
        package var maximumSegmentPercent = 210
        /// Segments are also files.
        package var disk = true
        package var path = "[app]/[stream]/_[track]-[epoch]-[seq].[ext]"
        package var dispose = TimeAmount.seconds(120)
        package var encryption = false
        package var segmentsPerKey = 5
        /// Streams `name_…` are variants of `name`.
        package var groups = true
        /// Groups whose streams are named one by one.
        package var groupMembers: [StreamGroup] = []
        package var dash = true

        package init() {}
    }

    /// Streams of one app that are variants of one picture.
    package struct StreamGroup: Sendable, Equatable {
        package var name: String
        package var members: [String]
    }

    /// Recording.
    package struct DVR: Sendable, Equatable {
        package enum Format: String, Sendable, CaseIterable { case mp4, flv, ts }
        package enum Plan: String, Sendable, CaseIterable {
            /// One file per publish.
            case session
            /// A new file after each `segmentDuration`.
            case segment
        }

        package var enabled = false
        package var format = Format.mp4
        package var plan = Plan.session
        package var segmentDuration = TimeAmount.minutes(30)
        package var path = "[app]/[stream]/[2006]-[01]-[02]T[15]-[04]-[05].[999].[ext]"
        /// A finished MP4 gets its index in front.
        package var progressive = true
        package var onFile: [CallbackURL] = []

        package init() {}
    }

    /// Pictures of the last keyframe.
    package struct Snapshot: Sendable, Equatable {
        package var enabled = true
        package var width = 640
        package var quality = 80
        /// Zero: only on demand.
        package var interval = TimeAmount.zero
        package var path = "[app]/[stream].jpg"

        package init() {}
    }
}

/// Where an origin keeps what it writes, and the limits of it.
package struct MediaSettings: Sendable, Equatable {
    package var directory = "./weir-media"
    package var recordings = "./weir-recordings"
    package var catalog = "./weir-media.sqlite"
    /// Bytes that may wait for the disk.
    package var writeQueueBytes = 256 << 20
    package var utc = true

    package init() {}
}
