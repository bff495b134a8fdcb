import Media

/// What the segments of a stream are written as.
package enum PackagingContainer: String, Sendable, Hashable, Codable {
    /// CMAF: one track a segment, initialization segments of their own; for HLS and DASH.
    case fragmentedMP4
    /// All tracks in one MPEG transport stream; for HLS only.
    case mpegTS
}

/// How a stream is cut into parts and segments, and how much of it playlists list. Times are milliseconds.
package struct PackagingConfiguration: Sendable, Hashable {
    package var container: PackagingContainer
    /// A segment ends at the first keyframe at or after this.
    package var segmentDurationMillis: Int64
    /// About how long a part is; `nil` turns Low-Latency HLS off. Parts hold whole frames, so their real bound, the part
    /// target, is found from the frames. Parts exist in fragmented MP4 without encryption only.
    package var partDurationMillis: Int64?
    /// Live playlists reach back at least this far.
    package var windowMillis: Int64
    /// Live playlists list at least this many segments.
    package var minimumWindowSegments: Int
    /// How far back playlists reach when a viewer asks for it (`dvr=`); 0 is no rewind.
    package var dvrWindowMillis: Int64
    /// Video that gives no keyframe is cut after this multiple of the segment duration.
    package var maximumSegmentRatio: Double
    /// Segments are encrypted (AES-128), with a new key after this many; `nil` is no encryption.
    package var segmentsPerKey: Int?
    /// How long a source that has announced no tracks, or two of which one is missing, is waited for.
    package var trackWaitMillis: Int64
    /// How far one track may be ahead of the other before it goes on alone.
    package var maximumSkewMillis: Int64
    /// Playlists say `EXT-X-ENDLIST` when a stream has ended. Players then stop for good, so a publisher's return is
    /// not seen.
    package var endsPlaylists: Bool
    /// Frames that wait for a decision (a second track, a keyframe) are at most this many, and at most this many bytes.
    package var maximumHeldFrames: Int
    package var maximumHeldBytes: Int
    /// The shortest segment, unless the source, its tracks or its time change.
    package static let minimumSegmentMillis: Int64 = 500

    package init(
        container: PackagingContainer = .fragmentedMP4, segmentDurationMillis: Int64 = 2000,
        partDurationMillis: Int64? = 200, windowMillis: Int64 = 12_000, minimumWindowSegments: Int = 3,
        dvrWindowMillis: Int64 = 0, maximumSegmentRatio: Double = 2.1, segmentsPerKey: Int? = nil,
        trackWaitMillis: Int64 = 2000, maximumSkewMillis: Int64 = 3000, endsPlaylists: Bool = false,
        maximumHeldFrames: Int = 4096, maximumHeldBytes: Int = 32 << 20
    ) {
        self.container = container
        self.segmentDurationMillis = segmentDurationMillis
        self.partDurationMillis = partDurationMillis
        self.windowMillis = windowMillis
        self.minimumWindowSegments = minimumWindowSegments
        self.dvrWindowMillis = dvrWindowMillis
        self.maximumSegmentRatio = maximumSegmentRatio
        self.segmentsPerKey = segmentsPerKey
        self.trackWaitMillis = trackWaitMillis
        self.maximumSkewMillis = maximumSkewMillis
        self.endsPlaylists = endsPlaylists
        self.maximumHeldFrames = maximumHeldFrames
        self.maximumHeldBytes = maximumHeldBytes
    }

    /// Whether parts are made and offered.
    package var offersParts: Bool {
        self.partDurationMillis != nil && self.container == .fragmentedMP4 && self.segmentsPerKey == nil
    }

    /// Refuses what cannot work. Errors: `outOfRange`, which names the field.
    package func validate() throws(PackagingConfigurationError) {
        try Self.check(.segmentDuration, self.segmentDurationMillis, in: Self.minimumSegmentMillis...60_000)
        if let part = self.partDurationMillis {
            try Self.check(.partDuration, part, in: 50...min(5000, self.segmentDurationMillis))
        }
        try Self.check(.window, self.windowMillis, in: self.segmentDurationMillis...3_600_000)
        try Self.check(.minimumWindowSegments, Int64(self.minimumWindowSegments), in: 3...1000)
        try Self.check(.dvrWindow, self.dvrWindowMillis, in: 0...604_800_000)
        // In thousandths, because an error's bounds are whole numbers.
        let ratio = self.maximumSegmentRatio.isFinite ? self.maximumSegmentRatio : 0
        try Self.check(.maximumSegmentRatioMilli, Int64(min(max(ratio, 0), 1000) * 1000), in: 1100...100_000)
        if let count = self.segmentsPerKey { try Self.check(.segmentsPerKey, Int64(count), in: 1...1_000_000) }
        try Self.check(.trackWait, self.trackWaitMillis, in: 0...30_000)
        try Self.check(.maximumSkew, self.maximumSkewMillis, in: 500...30_000)
        try Self.check(.maximumHeldFrames, Int64(self.maximumHeldFrames), in: 64...1_000_000)
        try Self.check(.maximumHeldBytes, Int64(self.maximumHeldBytes), in: 1 << 20...1 << 32)
    }

    private static func check(
        _ field: PackagingConfigurationError.Field, _ value: Int64, in range: ClosedRange<Int64>
    ) throws(PackagingConfigurationError) {
        guard range.contains(value) else {
            throw .outOfRange(field, value: value, minimum: range.lowerBound, maximum: range.upperBound)
        }
    }
}

/// Why a configuration is refused.
package enum PackagingConfigurationError: Error, Equatable {
    package enum Field: String, Sendable {
        case segmentDuration, partDuration, window, minimumWindowSegments, dvrWindow, segmentsPerKey, trackWait
        case maximumSkew, maximumHeldFrames, maximumHeldBytes
        /// In thousandths.
        case maximumSegmentRatioMilli
    }

    case outOfRange(Field, value: Int64, minimum: Int64, maximum: Int64)
}

/// Where a stream's numbering goes on: what must survive a restart, a republish and a move to another origin.
package struct PackagingPosition: Sendable, Hashable, Codable {
    /// The sequence number of the next segment.
    package var nextSequence: UInt64
    /// The discontinuity sequence number of the last segment. The next source gets the one after it.
    package var discontinuitySequence: UInt64
    /// The wall clock at the end of the last segment, in milliseconds since 1970 UTC. The next one does not begin before.
    package var endMillis: Int64
    /// The epoch of the last segment, and the index of its initialization segments, which names no other.
    package var epoch: UInt64
    package var initializationIndex: Int
    /// What playlists announced; kept as long as a segment of then is listed, `nil` to choose anew.
    package var targetDurationSeconds: Int?

    package init(
        nextSequence: UInt64, discontinuitySequence: UInt64, endMillis: Int64, epoch: UInt64 = 0,
        initializationIndex: Int = 0, targetDurationSeconds: Int? = nil
    ) {
        self.nextSequence = nextSequence
        self.discontinuitySequence = discontinuitySequence
        self.endMillis = endMillis
        self.epoch = epoch
        self.initializationIndex = initializationIndex
        self.targetDurationSeconds = targetDurationSeconds
    }

    /// The first sequence number of a stream that nothing is known of: half seconds since the start of 2020.
    ///
    /// Segments take half a second at least, so whatever number was given out before, under a position that was lost, is
    /// smaller.
    package static func base(nowMillis: Int64) -> UInt64 { SegmentNumbering.base(nowMillis: nowMillis) }

    /// This position for a node that cannot know how many segments were written since it was reported: `slack` numbers
    /// further on.
    package func advanced(by slack: UInt64) -> PackagingPosition {
        var copy = self
        copy.nextSequence += slack
        copy.discontinuitySequence += slack
        return copy
    }
}
