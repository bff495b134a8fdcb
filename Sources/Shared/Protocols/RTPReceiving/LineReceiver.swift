import Media
import NIOCore

/// One media line: chooses among its sources, and turns the frames of the chosen one into media events.
///
/// Without simulcast the newest source counts, as soon as it has a keyframe. With simulcast the largest picture counts
/// among the encodings that flow; it is changed at a keyframe, so that decoders can follow. At the start all encodings
/// are held back for a moment, because the smallest one comes first.
struct LineReceiver {
    /// A source as the choice sees it.
    struct Candidate {
        var ssrc: UInt32
        /// Later sources have higher numbers.
        var order: Int
        /// 0 while no keyframe came.
        var pixels: Int
        var lastFrame: NIODeadline?
        /// Between its frames, smoothed.
        var frameInterval: TimeAmount
    }

    private static let heldFrames = 256
    private static let heldBytes = 4 << 20

    let line: RTPReceivedLine
    private let limits: RTPJitterLimits
    /// The source whose frames go on.
    private(set) var forwarded: UInt32?
    private var decodeTimes = DecodeTimes(depth: 0)
    private var lastTrack: Track?
    private var lastAudioTime: Int64?
    /// When the choice at the start is made; `nil` before the first keyframe and after the choice.
    private(set) var settlesAt: NIODeadline?
    private var held: [SourceFrame] = []
    private var heldBytes = 0

    init(line: RTPReceivedLine, limits: RTPJitterLimits) {
        self.line = line
        self.limits = limits
    }

    /// How many encodings may come at once.
    private var encodings: Int {
        let grouped = self.line.ssrcGroups.filter { $0.semantics == .simulcast }.map(\.ssrcs.count).max() ?? 0
        return max(1, self.line.rids.count, grouped)
    }
    var isSimulcast: Bool { self.line.kind == .video && self.encodings > 1 }

    /// Takes a frame of one of the sources, and appends what follows to `events`.
    mutating func take(
        _ frame: SourceFrame, candidates: [Candidate], now: NIODeadline, into events: inout [MediaEvent]
    ) {
        if self.forwarded == nil {
            guard self.isSimulcast else {
                self.forwarded = frame.ssrc
                return self.emit(frame, into: &events)
            }
            return self.hold(frame, candidates: candidates, now: now, into: &events)
        }
        if frame.ssrc != self.forwarded {
            guard frame.isKeyframe, self.isBetter(frame.ssrc, candidates: candidates, now: now) else { return }
            self.forwarded = frame.ssrc
            self.decodeTimes.sourceChanged()
        }
        self.emit(frame, into: &events)
    }

    /// Makes the choice at the start, if it is time.
    mutating func advance(candidates: [Candidate], now: NIODeadline, into events: inout [MediaEvent]) {
        if let settlesAt = self.settlesAt, now >= settlesAt { self.settle(candidates, into: &events) }
    }

    /// The source that should become the forwarded one at its next keyframe; `nil` when the choice is good as it is.
    func wanted(candidates: [Candidate], now: NIODeadline) -> UInt32? {
        guard let forwarded = self.forwarded else { return nil }
        let better = candidates.filter {
            $0.ssrc != forwarded && self.isFlowing($0, now: now)
                && self.isBetter($0.ssrc, candidates: candidates, now: now)
        }
        return better.max(by: Self.isLower)?.ssrc
    }

    /// Whether keyframes of this source would be of no use now.
    func isIdle(_ ssrc: UInt32, candidates: [Candidate], now: NIODeadline) -> Bool {
        guard self.isSimulcast, let forwarded = self.forwarded, ssrc != forwarded,
            let current = candidates.first(where: { $0.ssrc == forwarded }), self.isFlowing(current, now: now),
            let candidate = candidates.first(where: { $0.ssrc == ssrc })
        else { return false }
        return candidate.pixels > 0 && candidate.pixels < current.pixels
    }

    // MARK: The choice

    private static func isLower(_ left: Candidate, _ right: Candidate) -> Bool {
        (left.pixels, left.order) < (right.pixels, right.order)
    }

    private func isFlowing(_ candidate: Candidate, now: NIODeadline) -> Bool {
        guard let last = candidate.lastFrame else { return false }
        // A slide show flows slowly.
        let patience = max(self.limits.layerTimeout, .nanoseconds(candidate.frameInterval.nanoseconds * 2))
        return now - last < patience
    }

    private func isBetter(_ ssrc: UInt32, candidates: [Candidate], now: NIODeadline) -> Bool {
        guard let candidate = candidates.first(where: { $0.ssrc == ssrc }) else { return false }
        guard let current = candidates.first(where: { $0.ssrc == self.forwarded }) else { return true }
        guard self.isSimulcast else { return candidate.order > current.order || !self.isFlowing(current, now: now) }
        return Self.isLower(current, candidate) || !self.isFlowing(current, now: now)
    }

    private mutating func hold(
        _ frame: SourceFrame, candidates: [Candidate], now: NIODeadline, into events: inout [MediaEvent]
    ) {
        if frame.isKeyframe {
            self.settlesAt = self.settlesAt ?? now + self.limits.layerSettling
            for old in self.held where old.ssrc == frame.ssrc { self.heldBytes -= old.payload.readableBytes }
            self.held.removeAll { $0.ssrc == frame.ssrc }
        }
        self.held.append(frame)
        self.heldBytes += frame.payload.readableBytes
        let sources = Set(self.held.map(\.ssrc)).count
        if sources >= self.encodings || self.held.count >= Self.heldFrames || self.heldBytes >= Self.heldBytes {
            self.settle(candidates, into: &events)
        }
    }

    private mutating func settle(_ candidates: [Candidate], into events: inout [MediaEvent]) {
        let held = self.held
        (self.held, self.heldBytes, self.settlesAt) = ([], 0, nil)
        let sources = Set(held.map(\.ssrc))
        guard let best = candidates.filter({ sources.contains($0.ssrc) }).max(by: Self.isLower) else { return }
        self.forwarded = best.ssrc
        for frame in held where frame.ssrc == best.ssrc { self.emit(frame, into: &events) }
    }

    // MARK: Events

    private mutating func emit(_ frame: SourceFrame, into events: inout [MediaEvent]) {
        if frame.track != self.lastTrack {
            self.lastTrack = frame.track
            events.append(.track(frame.track))
        }
        let times: (dts: Int64, pts: Int64)
        if self.line.kind == .video {
            self.decodeTimes.declare(depth: frame.reorderDepth)
            times = self.decodeTimes.place(
                frame.time, isKeyframe: frame.isKeyframe, mayReorder: frame.codec == .h264 || frame.codec == .hevc)
        } else {
            let time = self.lastAudioTime.map { max(frame.time, $0 + 1) } ?? frame.time
            self.lastAudioTime = time
            times = (time, time)
        }
        events.append(
            .frame(
                Frame(
                    codec: frame.codec, dts: MediaTime(ticks: times.dts), pts: MediaTime(ticks: times.pts),
                    isKeyframe: frame.isKeyframe, payload: frame.payload)))
    }
}
