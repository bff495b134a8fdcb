/// An MPEG-DASH manifest whose segments are addressed by number with an explicit timeline.
///
/// A value to be rendered by `write(into:)` as valid XML, all text escaped. Spec: ISO/IEC 23009-1 §5; DASH-IF IOP.
package struct DASHManifest: Sendable, Hashable {
    /// Whether segments are still being added.
    package enum Kind: Sendable, Hashable {
        case live(Live)
        /// Everything is there, for as long as `duration`.
        case onDemand(duration: PlaylistDuration)
    }

    /// The attributes of a manifest of type `dynamic`. Times are milliseconds since 1970 UTC.
    package struct Live: Sendable, Hashable {
        /// The wall clock at which the timeline's 0 was, so to speak, live: period starts count from it. Never changes.
        package var availabilityStartMillis: Int64
        package var publishMillis: Int64
        /// How soon players ask again.
        package var minimumUpdatePeriod: PlaylistDuration
        /// How far back segments are kept.
        package var timeShiftBufferDepth: PlaylistDuration?
        /// How far behind the live edge players stay.
        package var suggestedPresentationDelay: PlaylistDuration?
        /// From where players learn what time it is.
        package var utcTiming: UTCTiming?

        package init(
            availabilityStartMillis: Int64, publishMillis: Int64, minimumUpdatePeriod: PlaylistDuration,
            timeShiftBufferDepth: PlaylistDuration? = nil, suggestedPresentationDelay: PlaylistDuration? = nil,
            utcTiming: UTCTiming? = nil
        ) {
            self.availabilityStartMillis = availabilityStartMillis
            self.publishMillis = publishMillis
            self.minimumUpdatePeriod = minimumUpdatePeriod
            self.timeShiftBufferDepth = timeShiftBufferDepth
            self.suggestedPresentationDelay = suggestedPresentationDelay
            self.utcTiming = utcTiming
        }
    }

    /// `UTCTiming`. Spec: ISO/IEC 23009-1 §5.8.4.11.
    package enum UTCTiming: Sendable, Hashable {
        /// The time itself, in milliseconds since 1970 UTC: right only where the manifest is not cached for long.
        case direct(millis: Int64)
        /// A URL whose body is an ISO 8601 time.
        case iso(url: String)
        /// A URL whose `Date` header is the time.
        case head(url: String)
    }

    package var kind: Kind
    /// What a player buffers before it starts.
    package var minimumBufferTime: PlaylistDuration
    /// The longest segment; written if known.
    package var maximumSegmentDuration: PlaylistDuration?
    /// What relative addresses are relative to, if not the manifest.
    package var baseURL: String?
    package var periods: [Period]

    package init(
        kind: Kind, minimumBufferTime: PlaylistDuration, maximumSegmentDuration: PlaylistDuration? = nil,
        baseURL: String? = nil, periods: [Period] = []
    ) {
        self.kind = kind
        self.minimumBufferTime = minimumBufferTime
        self.maximumSegmentDuration = maximumSegmentDuration
        self.baseURL = baseURL
        self.periods = periods
    }
}

extension DASHManifest {
    /// A span in which tracks and time run without a break: one per epoch, one more per change of codec.
    package struct Period: Sendable, Hashable {
        /// Unique in the manifest, and the same in each update.
        package var id: String
        /// After the availability start (live), or after the beginning.
        package var start: PlaylistDuration
        /// `nil` for the last one of a live manifest.
        package var duration: PlaylistDuration?
        package var adaptationSets: [AdaptationSet]

        package init(
            id: String, start: PlaylistDuration, duration: PlaylistDuration? = nil, adaptationSets: [AdaptationSet]
        ) {
            self.id = id
            self.start = start
            self.duration = duration
            self.adaptationSets = adaptationSets
        }
    }

    /// Representations between which a player may switch.
    package struct AdaptationSet: Sendable, Hashable {
        package enum Content: String, Sendable, Hashable { case video, audio }

        package var id: Int
        package var content: Content
        /// RFC 5646, such as `en`.
        package var language: String?
        package var representations: [Representation]

        package init(id: Int, content: Content, language: String? = nil, representations: [Representation]) {
            self.id = id
            self.content = content
            self.language = language
            self.representations = representations
        }
    }

    /// One encoding of a track.
    package struct Representation: Sendable, Hashable {
        /// What only one kind of track has.
        package enum Format: Sendable, Hashable {
            /// Pixels; the frame rate as a fraction such as 30000/1001.
            case video(width: Int?, height: Int?, frameRate: FrameRate?)
            case audio(sampleRate: Int?, channels: Int?)
        }

        package struct FrameRate: Sendable, Hashable {
            package var numerator: Int
            package var denominator: Int

            package init(numerator: Int, denominator: Int = 1) {
                self.numerator = numerator
                self.denominator = denominator
            }
        }

        /// Unique in its period, without white space.
        package var id: String
        /// See `CodecString`.
        package var codecs: String
        /// Bits per second that suffice to play without a break.
        package var bandwidth: Int
        package var format: Format
        package var segments: SegmentTemplate

        package init(id: String, codecs: String, bandwidth: Int, format: Format, segments: SegmentTemplate) {
            self.id = id
            self.codecs = codecs
            self.bandwidth = bandwidth
            self.format = format
            self.segments = segments
        }
    }

    /// `SegmentTemplate` with `SegmentTimeline`. Spec: ISO/IEC 23009-1 §5.3.9.4, §5.3.9.6.
    package struct SegmentTemplate: Sendable, Hashable {
        /// Ticks per second of the times below.
        package var timescale: Int
        /// The address of the initialization segment.
        package var initialization: String
        /// The addresses of the segments, with `$Number$` in place of the number. A `$` of a name is `%24`, as
        /// `RelativeURI` writes it.
        package var media: String
        /// The number of the timeline's first segment.
        package var startNumber: UInt64
        /// The media time at the period's start.
        package var presentationTimeOffset: UInt64
        package var timeline: SegmentTimeline

        package init(
            timescale: Int, initialization: String, media: String, startNumber: UInt64,
            presentationTimeOffset: UInt64 = 0, timeline: SegmentTimeline
        ) {
            self.timescale = timescale
            self.initialization = initialization
            self.media = media
            self.startNumber = startNumber
            self.presentationTimeOffset = presentationTimeOffset
            self.timeline = timeline
        }
    }

    /// The start and duration of each segment, as runs of equal durations.
    package struct SegmentTimeline: Sendable, Hashable {
        /// `S`: `repeats` + 1 segments of equal `duration`.
        package struct Run: Sendable, Hashable {
            package var start: UInt64
            package var duration: UInt64
            package var repeats: Int
            /// It does not begin where the run before ends, or is the first: its start is written.
            package var hasOwnStart: Bool
        }

        package private(set) var runs: [Run] = []
        /// Where the last segment ends; `nil` when there is none.
        package private(set) var end: UInt64?

        package init() {}

        /// Adds the next segment, in ticks.
        package mutating func append(start: UInt64, duration: UInt64) {
            let follows = self.end == start
            self.end = start &+ duration
            if follows, let last = self.runs.indices.last, self.runs[last].duration == duration {
                self.runs[last].repeats += 1
            } else {
                self.runs.append(Run(start: start, duration: duration, repeats: 0, hasOwnStart: !follows))
            }
        }
    }
}
