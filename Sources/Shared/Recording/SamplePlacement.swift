import ISOBMFF
import Media
import NIOCore

/// The timescales of MP4 tracks.
enum RecordingTimescale {
    static let video: UInt32 = 90_000

    static func of(_ track: Track) -> UInt32 {
        guard case .audio(let format) = track.format, let rate = format.sampleRate, rate > 0 else { return self.video }
        return UInt32(clamping: rate)
    }
}

/// Makes the samples of a video track: each lasts until the next one.
enum VideoPlacement {
    /// How long a single frame lasts of which nothing else is known.
    static let defaultDuration: Int64 = 3_600

    /// `next` is when the frame behind `frames` comes. Without it the last one lasts as long as the one before, or
    /// `fallback` ticks.
    static func samples(of frames: some Collection<Frame>, next: MediaTime?, fallback: Int64) -> [MP4Sample] {
        var samples: [MP4Sample] = []
        samples.reserveCapacity(frames.count)
        var previous = fallback
        var index = frames.startIndex
        while index < frames.endIndex {
            let frame = frames[index]
            frames.formIndex(after: &index)
            let end = index < frames.endIndex ? frames[index].dts : next
            let duration = end.map { max(0, ($0 - frame.dts).ticks) } ?? previous
            samples.append(
                MP4Sample(
                    duration: UInt32(clamping: duration),
                    compositionOffset: Int32(clamping: (frame.pts - frame.dts).ticks), isSync: frame.isKeyframe,
                    payload: frame.payload))
            previous = duration
        }
        return samples
    }
}

/// Places audio frames by counting their samples, in ticks of the track's sample rate.
///
/// The count is corrected to the frames' own times only when both are more than 100 ms apart: forward by a gap, backward
/// by shortening frames, because decoding times never go back.
struct AudioPlacement: Sendable {
    struct Place {
        var decodeTime: Int64
        var duration: Int64
        /// There is a gap in front of the frame.
        var isJump: Bool
    }

    private let rate: Int64
    private var next: Int64?
    private var lastLength: Int64 = 1_024
    private var lastTime: Int64?

    init(track: Track) { self.rate = Int64(RecordingTimescale.of(track)) }

    /// Where the frame behind the last one begins, in ticks of 90 kHz.
    var end: MediaTime { MediaTime(ticks: (self.next ?? 0) * MediaTime.ticksPerSecond / self.rate) }

    /// A time in ticks of `rate`, rounded to the nearest.
    static func ticks(of time: MediaTime, rate: Int64) -> Int64 {
        let (seconds, rest) = time.ticks.quotientAndRemainder(dividingBy: MediaTime.ticksPerSecond)
        return seconds * rate + (rest * rate + MediaTime.ticksPerSecond / 2) / MediaTime.ticksPerSecond
    }

    mutating func place(_ frame: Frame, track: Track) -> Place {
        let time = max(0, Self.ticks(of: frame.dts, rate: self.rate))
        if let samples = AudioFrameLength.samples(of: frame, track: track), samples > 0 {
            self.lastLength = Int64(samples)
        } else if let last = self.lastTime, time > last, time - last < self.rate {
            self.lastLength = time - last
        }
        self.lastTime = time
        let counted = self.next ?? time
        let tolerance = self.rate / 10
        let isJump = self.next != nil && time - counted > tolerance
        let start = isJump ? time : counted
        let ahead = start - time
        let duration = ahead > tolerance ? max(1, self.lastLength - ahead) : self.lastLength
        self.next = start + duration
        return Place(decodeTime: start, duration: duration, isJump: isJump)
    }
}
