import ISOBMFF
import Media
import NIOCore
import DequeModule

/// A segment that all tags of a stream share, from when its start is known.
struct SegmentPlan: Sendable {
    var sequence: UInt64
    var run: PackagingRun
    var isDiscontinuity: Bool
    var keyIndex: Int?
    /// Where it begins, in ticks of 90 kHz: in presentation, and in decoding for the measure of its length.
    var start: Int64
    var decodeStart: Int64
    var tracks: RunTracks
}

/// The tracks of a run, as its container writes them.
struct RunTracks: Sendable, Hashable {
    var video: MP4Track?
    var audio: MP4Track?
    /// For transport streams.
    var videoTrack: Track?
    var audioTrack: Track?

    var isEmpty: Bool { self.videoTrack == nil && self.audioTrack == nil }
}

/// Where lanes put what they made, with what all tags of a stream share.
struct PackagingSink: Sendable {
    let configuration: PackagingConfiguration
    var outputs = Deque<PackagingOutput>()
    var counters = PackagingCounters()
    var position: PackagingPosition
    /// The longest part, in milliseconds; `nil` until the first part shows how long frames are.
    private(set) var partTargetMillis: Int64?
    private var lastProgramTimes: [PackagingTag: Int64] = [:]

    init(configuration: PackagingConfiguration, position: PackagingPosition) {
        self.configuration = configuration
        self.position = position
    }

    // MARK: Parts

    /// Frames per second that sources count in milliseconds, so that the duration of a part is known better than they
    /// tell.
    private static let frameRates: [(frames: Int64, seconds: Int64)] = [
        (24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1), (48, 1), (50, 1), (60_000, 1001), (60, 1),
        (120_000, 1001), (120, 1),
    ]

    /// The first part shows how long a part of whole frames is: `count` frames of `ticks`.
    ///
    /// The target is that duration in milliseconds, rounded up, at the frame rates that explain it within a millisecond,
    /// and never below what was announced before.
    mutating func measuredPart(ticks: Int64, count: Int, timescale: Int64) {
        let micros = ticks * 1_000_000 / timescale
        var target = Self.ceilMillis(micros)
        for rate in Self.frameRates {
            let span = Int64(count) * rate.seconds * 1_000_000 / rate.frames
            if abs(span - micros) <= 1000 { target = max(target, Self.ceilMillis(span)) }
        }
        self.partTargetMillis = max(self.partTargetMillis ?? 0, target)
    }

    /// A part was made. One that is a single frame cannot be shorter: sources of few frames a second raise the target
    /// so, up to three times what is configured; a source that once stands still for longer does not.
    mutating func madePart(of samples: [MP4Sample], timescale: Int64) {
        let configured = self.configuration.partDurationMillis ?? 0
        guard let target = self.partTargetMillis else {
            let ticks = samples.reduce(0) { $0 + Int64($1.duration) }
            self.partTargetMillis = min(
                max(configured, Self.ceilMillis(ticks * 1_000_000 / timescale)), 3 * configured)
            return
        }
        guard samples.count == 1, let first = samples.first else { return }
        let millis = Self.ceilMillis(Int64(first.duration) * 1_000_000 / timescale)
        if millis > target, millis <= 3 * configured { self.partTargetMillis = millis }
    }

    private static func ceilMillis(_ micros: Int64) -> Int64 { (micros + 999) / 1000 }

    /// A new source has frames of its own: the next part measures anew. What was announced stays a lower bound.
    var measuresParts = true

    // MARK: Segments

    /// The wall clock at a presentation time of a run; never before that of the tag's segment before.
    mutating func programTime(of ticks: Int64, timescale: Int64, run: PackagingRun, tag: PackagingTag) -> Int64 {
        let time = Ticks.convert(ticks, from: timescale, to: Ticks.perSecond)
        let millis = run.startMillis + Ticks.millis(time - run.startTicks)
        let result = max(millis, self.lastProgramTimes[tag] ?? .min)
        self.lastProgramTimes[tag] = result
        return result
    }

    /// The target duration that segments of `duration` have, chosen with the first of them.
    ///
    /// It is the configured duration, or what the first segment shows of the distance of the source's keyframes, in whole
    /// seconds, rounded up; it never changes as long as a segment of then is listed. Later segments are cut to fit.
    mutating func targetDuration(ticks: Int64, timescale: Int64) -> Int {
        if let known = self.position.targetDurationSeconds { return known }
        let configured = (self.configuration.segmentDurationMillis + 999) / 1000
        // A few milliseconds more than a whole second are no reason: durations count rounded. Spec: RFC 8216 §4.3.3.1.
        let measured = (ticks * 1000 / timescale - 50 + 999) / 1000
        let chosen = Int(max(configured, measured, 1))
        self.position.targetDurationSeconds = chosen
        return chosen
    }

    mutating func give(_ facts: SegmentFacts, _ pieces: [ByteBuffer]) {
        self.counters.segments += 1
        if facts.isGap { self.counters.gapSegments += 1 }
        if !facts.isIndependent, !facts.isGap { self.counters.dependentSegments += 1 }
        self.position.endMillis = max(self.position.endMillis, facts.endMillis)
        self.outputs.append(.segment(PackagedSegment(facts: facts, pieces: pieces)))
    }
}
