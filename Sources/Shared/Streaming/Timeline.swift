package import Media
package import NIOCore

/// The clock that an ingest's timestamps come from.
package struct SourceClock: Sendable, Hashable {
    /// The number of 90 kHz ticks after which the clock starts again at 0; `nil` for a clock that never wraps.
    package var period: Int64?

    package init(period: Int64?) { self.period = period }

    /// RTMP and FLV: 32 bits of milliseconds (RTMP 1.0 §5.3.1.3).
    package static let rtmp = SourceClock(period: (1 << 32) * 90)
    /// MPEG-TS: 33 bits of 90 kHz (ISO 13818-1 §2.4.3.7).
    package static let mpegTS = SourceClock(period: 1 << 33)
}

/// The limits of a `Timeline`.
package struct TimelineConfiguration: Sendable, Hashable {
    /// A step forward by more than this, beyond the time that passed on arrival, is a jump of the source's clock.
    package var forwardTolerance: TimeAmount
    /// A step backward by more than this is a jump; a smaller one is held at the last time until the source caught up.
    package var backwardTolerance: TimeAmount
    /// A track whose clock stands still this long while frames arrive is stamped by arrival.
    package var frozenAfter: TimeAmount
    /// How long a jump that one frame proposed waits for a second frame to confirm it, and how long the clock before a
    /// confirmed jump is still understood for the tracks that have not jumped yet.
    package var confirmationTime: TimeAmount

    package init(
        forwardTolerance: TimeAmount = .seconds(3), backwardTolerance: TimeAmount = .seconds(1),
        frozenAfter: TimeAmount = .milliseconds(500), confirmationTime: TimeAmount = .seconds(2)
    ) {
        self.forwardTolerance = forwardTolerance
        self.backwardTolerance = backwardTolerance
        self.frozenAfter = frozenAfter
        self.confirmationTime = confirmationTime
    }
}

/// Maps the clock of any source, and of one source after another, to one continuous timeline.
///
/// All tracks of a source share one offset, so audio and video keep their distance. The rules:
/// - wire clocks are unwrapped at their own width;
/// - one frame with a stray time is re-stamped behind its predecessor; a second frame that agrees with it makes it a
///   jump, and the new clock is joined where the old one ended;
/// - tracks that jump a little later than the first are understood by the old clock meanwhile;
/// - a track never goes backward; a clock that stands still is replaced by arrival;
/// - a new source continues where the last one ended, plus the time that passed on arrival.
///
/// Cost: a few comparisons a frame, no allocation.
package struct Timeline: Sendable {
    /// `output = source + offset`; `reference` is the unwrapped source time it last placed.
    private struct Mapping {
        var offset: Int64
        var reference: Int64
    }

    private struct TrackState {
        var lastOutput: Int64?
        /// The last distance between two frames, in ticks.
        var interval: Int64
        var lastArrival: NIODeadline = .uptimeNanoseconds(0)
        /// Where the track stood when its clock last moved, on both clocks.
        var movedOutput: Int64 = 0
        var movedArrival: NIODeadline = .uptimeNanoseconds(0)
        var lastSource: Int64?
    }

    private let configuration: TimelineConfiguration
    private var clock: SourceClock
    private var current: Mapping?
    private var previous: (mapping: Mapping, until: NIODeadline)?
    private var proposed: (mapping: Mapping, until: NIODeadline)?
    private var video = TrackState(interval: 3_600)
    private var audio = TrackState(interval: 1_920)
    private var lastOutput: Int64?
    private var lastArrival: NIODeadline = .uptimeNanoseconds(0)

    /// How many jumps were joined, and how many single frames were re-stamped.
    package private(set) var joinedJumps = 0
    package private(set) var restampedFrames = 0

    package init(clock: SourceClock = .rtmp, configuration: TimelineConfiguration = .init()) {
        self.clock = clock
        self.configuration = configuration
    }

    /// The latest time that was given out on any track.
    package var end: MediaTime? { self.lastOutput.map(MediaTime.init(ticks:)) }

    /// A source starts, or replaces another.
    ///
    /// `continuesClock`: it is the same source clock as before, such as a second pull of one origin's stream.
    package mutating func sourceChanged(clock: SourceClock, continuesClock: Bool) {
        self.clock = clock
        self.proposed = nil
        self.previous = nil
        self.video.lastSource = nil
        self.audio.lastSource = nil
        if !continuesClock { self.current = nil }
    }

    /// The decoding time of a frame on the stream's timeline. `source` is its time on the source's clock.
    package mutating func place(_ kind: MediaKind, at source: MediaTime, arrival: NIODeadline) -> MediaTime {
        var track = kind == .video ? self.video : self.audio
        let mapped = self.map(source.ticks, track: track, arrival: arrival)
        let output = self.settle(mapped, source: source.ticks, track: &track, arrival: arrival)
        if kind == .video { self.video = track } else { self.audio = track }
        self.lastOutput = max(self.lastOutput ?? output, output)
        self.lastArrival = max(self.lastArrival, arrival)
        return MediaTime(ticks: output)
    }

    /// Whether a frame of a source that continues its clock was placed before, such as the frames that a second pull of
    /// the same stream repeats.
    package func wasPlaced(_ kind: MediaKind, at source: MediaTime) -> Bool {
        guard let current = self.current else { return false }
        guard let last = (kind == .video ? self.video : self.audio).lastOutput else { return false }
        return self.unwrap(source.ticks, near: current.reference) + current.offset <= last
    }

    // MARK: The offset

    private mutating func map(_ source: Int64, track: TrackState, arrival: NIODeadline) -> Int64 {
        guard let current = self.current else { return self.start(at: source, arrival: arrival) }
        // A clock that stands still says nothing of the offset, which the other track shares.
        if source == track.lastSource, let last = track.lastOutput { return last }
        if let time = self.fit(source, to: current, track: track, arrival: arrival) {
            self.current?.reference = time - current.offset
            return time
        }
        if let previous = self.previous, arrival <= previous.until,
            let time = self.fit(source, to: previous.mapping, track: track, arrival: arrival)
        {
            self.previous?.mapping.reference = time - previous.mapping.offset
            return time
        }
        if let proposed = self.proposed, arrival <= proposed.until,
            let time = self.fit(source, to: proposed.mapping, track: track, arrival: arrival)
        {
            self.previous = (current, arrival + self.configuration.confirmationTime)
            self.current = Mapping(offset: proposed.mapping.offset, reference: time - proposed.mapping.offset)
            self.proposed = nil
            self.joinedJumps += 1
            self.restampedFrames -= 1
            return time
        }
        return self.propose(source, track: track, arrival: arrival)
    }

    /// The first frame of a source: at its own time if the stream is new, else behind what was there.
    private mutating func start(at source: Int64, arrival: NIODeadline) -> Int64 {
        let output: Int64
        if let last = self.lastOutput {
            output = last + max(self.video.interval, (arrival - self.lastArrival).ticks)
        } else {
            output = source
        }
        self.current = Mapping(offset: output - source, reference: source)
        return output
    }

    /// Re-stamps a stray frame and remembers the clock that it would mean.
    private mutating func propose(_ source: Int64, track: TrackState, arrival: NIODeadline) -> Int64 {
        let last = track.lastOutput ?? self.lastOutput ?? source
        let output = last + track.interval
        self.proposed = (
            Mapping(offset: output - source, reference: source), arrival + self.configuration.confirmationTime
        )
        self.restampedFrames += 1
        return output
    }

    /// The time of `source` by `mapping`, if it is near where the track must be by now.
    private func fit(_ source: Int64, to mapping: Mapping, track: TrackState, arrival: NIODeadline) -> Int64? {
        let time = self.unwrap(source, near: mapping.reference) + mapping.offset
        let last: Int64
        let elapsed: Int64
        if let own = track.lastOutput, track.lastSource != nil {
            last = own
            elapsed = (arrival - track.lastArrival).ticks
        } else {
            guard let any = self.lastOutput else { return time }
            last = any
            elapsed = (arrival - self.lastArrival).ticks
        }
        let earliest = last - self.configuration.backwardTolerance.ticks
        let latest = last + max(0, elapsed) + self.configuration.forwardTolerance.ticks
        // A second track may lag behind the first by as much as it may lead.
        let slack = track.lastSource == nil ? self.configuration.forwardTolerance.ticks : 0
        return time >= earliest - slack && time <= latest ? time : nil
    }

    private func unwrap(_ source: Int64, near reference: Int64) -> Int64 {
        guard let period = self.clock.period else { return source }
        var distance = (source - reference) % period
        if distance > period / 2 { distance -= period }
        if distance < -period / 2 { distance += period }
        return reference + distance
    }

    // MARK: The track

    /// Keeps a track from going backward and from standing still.
    private mutating func settle(
        _ mapped: Int64, source: Int64, track: inout TrackState, arrival: NIODeadline
    ) -> Int64 {
        var output = mapped
        if let last = track.lastOutput {
            if output <= last {
                output = self.thaw(last, source: source, track: track, arrival: arrival)
            } else {
                let interval = output - last
                if interval < MediaTime.ticksPerSecond { track.interval = interval }
                track.movedOutput = output
                track.movedArrival = arrival
            }
        } else {
            track.movedOutput = output
            track.movedArrival = arrival
        }
        track.lastOutput = output
        track.lastSource = source
        track.lastArrival = arrival
        return output
    }

    /// The time of a frame whose clock did not move: the last one, or by arrival once it has been standing too long.
    private func thaw(_ last: Int64, source: Int64, track: TrackState, arrival: NIODeadline) -> Int64 {
        guard arrival - track.movedArrival >= self.configuration.frozenAfter, source == track.lastSource else {
            return last
        }
        return max(last, track.movedOutput + (arrival - track.movedArrival).ticks)
    }
}

extension TimeAmount {
    /// This amount in ticks of 90 kHz, rounded toward zero.
    package var ticks: Int64 { self.nanoseconds / 100_000 * 9 + self.nanoseconds % 100_000 * 9 / 100_000 }
}
