import LoadSupport

/// How one sampled viewer's frames came in.
struct ArrivalTracker {
    private var lastVideo: UInt64?
    private var lastTimestamp: UInt32 = 0
    private var earliestOffsetMillis: Double?

    /// What a video frame tells: the gap before it, and how much later it came than this viewer's most punctual one.
    struct Arrival {
        let gapMillis: Double
        let lagMillis: Double
        let timestampWentBack: Bool
    }

    mutating func video(timestamp: UInt32, at now: UInt64) -> Arrival {
        let nowMillis = Double(now) / 1e6
        let offset = nowMillis - Double(timestamp)
        let earliest = min(self.earliestOffsetMillis ?? offset, offset)
        self.earliestOffsetMillis = earliest
        let gap = self.lastVideo.map { Double(now - $0) / 1e6 } ?? 0
        let wentBack = timestamp < self.lastTimestamp
        self.lastVideo = now
        self.lastTimestamp = timestamp
        return Arrival(gapMillis: gap, lagMillis: offset - earliest, timestampWentBack: wentBack)
    }
}

/// What the measuring window counts.
struct WindowCounters {
    var videoFrames = 0
    var audioFrames = 0
    var stalls = 0
    var longestGapMillis = 0.0
    var timestampsBack = 0
    var lag = MillisHistogram()
    var publisherLateMessages = 0
    var publishedMessages = 0
    var publishedBytes = 0
}
