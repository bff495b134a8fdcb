import Media
package import Playlists

/// Which of a stream's sequences of segments. The raw values are those of the names in URLs.
package enum PackagingTag: String, Sendable, Hashable, Codable, CaseIterable {
    case video, audio
    /// Audio and video in one MPEG transport stream.
    case main

    /// What the names of segments and parts end with, without the dot.
    package var segmentSuffix: String { self == .main ? "ts" : "m4s" }
}

/// The file names in a stream's folder, as playlists and manifests refer to them.
package enum PackagingNames {
    package static func playlist(_ tag: PackagingTag) -> String { "_\(tag.rawValue).m3u8" }

    package static func initialization(_ tag: PackagingTag, epoch: UInt64, index: Int) -> String {
        "_\(tag.rawValue)-\(epoch)-init\(index).mp4"
    }

    package static func segment(_ tag: PackagingTag, epoch: UInt64, sequence: UInt64) -> String {
        "_\(tag.rawValue)-\(epoch)-\(sequence).\(tag.segmentSuffix)"
    }

    package static func part(_ tag: PackagingTag, epoch: UInt64, sequence: UInt64, index: Int) -> String {
        "_\(tag.rawValue)-\(epoch)-\(sequence).\(index).\(tag.segmentSuffix)"
    }

    package static func key(epoch: UInt64, index: Int) -> String { "_key-\(epoch)-\(index).key" }
}

/// A stretch without a break: one source with one set of tracks on one run of time.
///
/// All segments of a run share their epoch, their initialization segments and the relation of media time to wall clock.
package struct PackagingRun: Sendable, Hashable, Codable {
    package var epoch: UInt64
    /// Numbers the initialization segments of an epoch; those of all tags share it.
    package var initializationIndex: Int
    package var discontinuitySequence: UInt64
    /// Where the run begins: presentation time in ticks of 90 kHz, and the wall clock then, in milliseconds.
    package var startTicks: Int64
    package var startMillis: Int64

    package init(
        epoch: UInt64, initializationIndex: Int, discontinuitySequence: UInt64, startTicks: Int64, startMillis: Int64
    ) {
        self.epoch = epoch
        self.initializationIndex = initializationIndex
        self.discontinuitySequence = discontinuitySequence
        self.startTicks = startTicks
        self.startMillis = startMillis
    }
}

/// What is known of a segment without its bytes: what playlists, manifests and journals need.
package struct SegmentFacts: Sendable, Hashable, Codable {
    package var tag: PackagingTag
    /// Shared by the tags of a stream: segments of one number cover the same time.
    package var sequence: UInt64
    package var run: PackagingRun
    /// A player must be told that tracks or time do not go on from the segment before.
    package var isDiscontinuity: Bool
    /// Ticks per second of the three below.
    package var timescale: UInt32
    /// Decoding time of the first frame.
    package var decodeStart: Int64
    /// Presentation time of the frame that is presented first.
    package var presentationStart: Int64
    package var duration: Int64
    /// The wall clock at `presentationStart`, in milliseconds since 1970 UTC.
    package var programDateTimeMillis: Int64
    /// The key it is encrypted with, `_key-{epoch}-{index}.key`. The initialization vector is the sequence number.
    package var keyIndex: Int?
    /// Decoding can start with its first frame.
    package var isIndependent: Bool
    /// The source gave nothing for this tag in this time. Its bytes are valid all the same, and hold no frame.
    package var isGap: Bool
    package var byteCount: Int
    /// Frames of video, or of audio where there is no video.
    package var frameCount: Int
    /// How many parts it was offered in; 0 without Low-Latency HLS.
    package var partCount: Int
    package var targetDurationSeconds: Int

    package var epoch: UInt64 { self.run.epoch }
    package var playlistDuration: PlaylistDuration {
        PlaylistDuration(ticks: self.duration, timescale: Int64(self.timescale))
    }
    /// The wall clock at its end, in milliseconds since 1970 UTC, rounded down.
    package var endMillis: Int64 {
        self.programDateTimeMillis + self.duration * 1000 / Int64(max(1, self.timescale))
    }
    /// Its file name.
    package var name: String { PackagingNames.segment(self.tag, epoch: self.epoch, sequence: self.sequence) }
}

/// What is known of a part without its bytes.
package struct PartFacts: Sendable, Hashable {
    package var tag: PackagingTag
    package var sequence: UInt64
    /// From 0 in each segment.
    package var index: Int
    package var run: PackagingRun
    package var isDiscontinuity: Bool
    package var timescale: UInt32
    package var decodeStart: Int64
    package var duration: Int64
    /// The wall clock at the start of its segment.
    package var segmentProgramDateTimeMillis: Int64
    /// It begins with a keyframe.
    package var isIndependent: Bool
    package var byteCount: Int
    /// No part of the stream is longer. It may grow with a new source, never shrink.
    package var partTargetMillis: Int64

    package var epoch: UInt64 { self.run.epoch }
    package var playlistDuration: PlaylistDuration {
        PlaylistDuration(ticks: self.duration, timescale: Int64(self.timescale))
    }
    /// Its file name.
    package var name: String {
        PackagingNames.part(self.tag, epoch: self.epoch, sequence: self.sequence, index: self.index)
    }
}

/// What playlists and manifests say of a tag's tracks in one run. A journal keeps it as long as a segment of the run.
package struct TrackFacts: Sendable, Hashable, Codable {
    package var tag: PackagingTag
    package var epoch: UInt64
    package var index: Int
    package var timescale: UInt32
    /// RFC 6381, of all tracks that the tag carries.
    package var codecs: [String]
    package var hasVideo: Bool
    /// Pixels, where there is video and its header tells.
    package var width: Int?
    package var height: Int?
    package var sampleRate: Int?
    package var channels: Int?
    /// The file name of the initialization segment; `nil` for transport streams, which have none.
    package var initializationName: String? {
        self.tag == .main
            ? nil : PackagingNames.initialization(self.tag, epoch: self.epoch, index: self.index)
    }
}

/// A named moment of the stream, from a data message such as `onCuePoint`, ready for `EXT-X-DATERANGE`.
package struct TimedDataFacts: Sendable, Hashable, Codable {
    /// Unique in the stream.
    package var id: String
    /// The message's name.
    package var name: String
    /// Milliseconds since 1970 UTC.
    package var startMillis: Int64
    /// Names that begin with `X-`, and their values, bounded in number and length.
    package var attributes: [Attribute]

    package struct Attribute: Sendable, Hashable, Codable {
        package var name: String
        package var value: Value

        package enum Value: Sendable, Hashable, Codable {
            case text(String)
            /// Thousandths.
            case number(milli: Int64)
        }
    }
}

extension Track {
    /// The codec's name in playlists.
    func codecName(in container: PackagingContainer) -> String? {
        CodecString.of(self, in: container == .mpegTS ? .mpegTS : .fragmentedMP4)
    }
}
