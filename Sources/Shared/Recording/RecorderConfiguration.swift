package import Media
package import NIOCore

/// When a recording begins a new file.
package enum RecordingPlan: Sendable, Hashable {
    /// One file for each time the stream is published, unless its codecs change.
    case session
    /// A new file at the first keyframe after this time.
    case segment(TimeAmount)
}

/// Which kinds of track are recorded.
package enum RecordedKinds: String, Sendable, Hashable, Codable {
    case all, audioOnly, videoOnly

    package func includes(_ kind: MediaKind) -> Bool {
        switch self {
        case .all: true
        case .audioOnly: kind == .audio
        case .videoOnly: kind == .video
        }
    }
}

/// How a stream is recorded.
package struct RecorderConfiguration: Sendable, Hashable {
    package var format: RecordingFormat
    package var plan: RecordingPlan
    package var kinds: RecordedKinds
    /// A closed fragmented MP4 is rewritten into a progressive one. FLV and TS have one form only.
    package var finishesProgressive: Bool
    /// How much media time is gathered before it goes to the file: what a crash can lose.
    package var fragmentDuration: TimeAmount
    /// How long a file waits for the second kind of track before it is begun with the one that is there.
    package var trackWait: TimeAmount
    /// How long a file waits for the first keyframe of an announced video track before it is begun with audio alone.
    package var keyframeWait: TimeAmount
    /// Media that may wait for a file to begin, in bytes; beyond it is dropped and counted.
    package var maximumPendingBytes: Int
    /// A larger file ends at the next keyframe.
    package var maximumFileBytes: Int64

    package init(
        format: RecordingFormat = .mp4, plan: RecordingPlan = .session, kinds: RecordedKinds = .all,
        finishesProgressive: Bool = true, fragmentDuration: TimeAmount = .milliseconds(500),
        trackWait: TimeAmount = .seconds(1), keyframeWait: TimeAmount = .seconds(10),
        maximumPendingBytes: Int = 64 << 20, maximumFileBytes: Int64 = 1 << 40
    ) {
        self.format = format
        self.plan = plan
        self.kinds = kinds
        self.finishesProgressive = finishesProgressive
        self.fragmentDuration = fragmentDuration
        self.trackWait = trackWait
        self.keyframeWait = keyframeWait
        self.maximumPendingBytes = maximumPendingBytes
        self.maximumFileBytes = maximumFileBytes
    }

    /// Errors: `invalid` with the field that is out of its range.
    package func validate() throws(RecordingError) {
        guard (TimeAmount.milliseconds(50)...TimeAmount.seconds(1)).contains(self.fragmentDuration) else {
            throw .invalid(.fragmentDuration)
        }
        if case .segment(let duration) = self.plan {
            guard (TimeAmount.seconds(1)...TimeAmount.hours(24)).contains(duration) else {
                throw .invalid(.segmentDuration)
            }
        }
        guard (TimeAmount.zero...TimeAmount.seconds(10)).contains(self.trackWait) else { throw .invalid(.trackWait) }
        guard (TimeAmount.zero...TimeAmount.minutes(1)).contains(self.keyframeWait) else {
            throw .invalid(.keyframeWait)
        }
        guard self.maximumPendingBytes > 0 else { throw .invalid(.maximumPendingBytes) }
        guard self.maximumFileBytes > 0 else { throw .invalid(.maximumFileBytes) }
    }
}

/// Why a recording cannot be written or read.
package enum RecordingError: Error, Equatable, Sendable {
    package enum Field: String, Sendable {
        case fragmentDuration, segmentDuration, trackWait, keyframeWait, maximumPendingBytes, maximumFileBytes
    }

    case invalid(Field)
    /// The format has no mapping of the codec.
    case unsupported(Codec, RecordingFormat)
    /// The file's header cannot be read.
    case badHeader(RecordingFormat)
    /// The bytes of an interval are not what the index says.
    case badMedia(RecordingFormat, offset: Int64)
    /// An index of `count` bytes cannot be read.
    case badIndex(count: Int)
    /// The files of a range have different tracks, which one MP4 cannot hold.
    case tracksDiffer
    /// There is no media in the range.
    case empty
}

extension TimeAmount {
    /// In ticks of 90 kHz.
    var ticks: Int64 { self.nanoseconds / 100_000 * 9 }
}
