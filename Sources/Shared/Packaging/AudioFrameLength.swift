import Media
import NIOCore

/// How many samples a frame of audio holds, by what the frame or the track's header says.
enum AudioFrameLength {
    /// Samples per channel at the track's sample rate; `nil` when neither says.
    static func samples(of frame: ByteBuffer, in track: Track) -> Int? {
        var format = AudioFormat()
        if case .audio(let known) = track.format { format = known }
        switch track.codec {
        case .aac: return format.samplesPerFrame ?? 1024
        case .opus: return self.opusSamples(of: frame)
        case .mp3: return (try? MPEGAudioHeader(parsing: frame))?.samplesPerFrame ?? format.samplesPerFrame
        case .ac3: return 1536
        case .eac3: return (try? AC3Header(parsing: frame))?.samplesPerFrame ?? format.samplesPerFrame
        case .flac: return self.flacSamples(of: frame) ?? format.samplesPerFrame
        default: return format.samplesPerFrame
        }
    }

    /// Spec: RFC 6716 §3.1, §3.2; always at 48 kHz.
    private static func opusSamples(of frame: ByteBuffer) -> Int? {
        let start = frame.readerIndex
        guard let toc = frame.getInteger(at: start, as: UInt8.self) else { return nil }
        let configuration = Int(toc >> 3)
        let perFrame: Int =
            switch configuration {
            case 0..<12: [480, 960, 1920, 2880][configuration & 3]
            case 12..<16: [480, 960][configuration & 1]
            default: [120, 240, 480, 960][configuration & 3]
            }
        let count: Int
        switch toc & 3 {
        case 0: count = 1
        case 1, 2: count = 2
        default:
            guard let second = frame.getInteger(at: start + 1, as: UInt8.self), second & 0x3F > 0 else { return nil }
            count = Int(second & 0x3F)
        }
        // A packet has 120 ms at most.
        return perFrame * count <= 5760 ? perFrame * count : nil
    }

    /// The block size in a frame's header. Spec: RFC 9639 §9.1.
    private static func flacSamples(of frame: ByteBuffer) -> Int? {
        let start = frame.readerIndex
        guard let head = frame.getInteger(at: start, as: UInt32.self), head >> 17 == 0x7FFC else { return nil }
        let code = Int(head >> 12 & 15)
        switch code {
        case 1: return 192
        case 2...5: return 576 << (code - 2)
        case 8...15: return 256 << (code - 8)
        case 6, 7:
            // The coded number of the frame, as long as its first byte tells, stands in front of the size.
            guard let first = frame.getInteger(at: start + 4, as: UInt8.self) else { return nil }
            let length = first & 0x80 == 0 ? 1 : (~first).leadingZeroBitCount
            guard length != 0, length <= 7 else { return nil }
            if code == 6 { return frame.getInteger(at: start + 4 + length, as: UInt8.self).map { Int($0) + 1 } }
            return frame.getInteger(at: start + 4 + length, as: UInt16.self).map { Int($0) + 1 }
        default: return nil
        }
    }
}

/// Conversions between timescales that cannot overflow for times of less than a million years.
enum Ticks {
    static let perSecond: Int64 = 90_000

    /// `ticks` of `from` in ticks of `to`, rounded to the nearest, halves up. Both scales are positive.
    static func convert(_ ticks: Int64, from: Int64, to: Int64) -> Int64 {
        guard from != to else { return ticks }
        var (seconds, rest) = ticks.quotientAndRemainder(dividingBy: from)
        if rest < 0 {
            rest += from
            seconds -= 1
        }
        return seconds * to + (rest * to + from / 2) / from
    }

    /// Milliseconds of `ticks` at 90 kHz, rounded down.
    static func millis(_ ticks: Int64) -> Int64 { MediaTime(ticks: ticks).millis }
}

/// Gives audio frames decoding times that follow from their sample counts.
///
/// Source times are rounded, often to milliseconds, so each says little; their sum says where the audio belongs. The
/// count is followed, and only brought back to the timeline when it is off by more than a tolerance: forward by what the
/// frame before is lengthened, backward by shortening frames a little until it fits. Time so never runs backward.
struct AudioClock: Sendable {
    private let timescale: Int64
    /// Samples that the count may be off.
    private let tolerance: Int64
    /// A step of the source's times by this much more than the frame is a hole, which is left open at once.
    private let hole: Int64
    /// Where the next frame begins; `nil` before the first.
    private(set) var next: Int64?
    private var lastActual: Int64?
    private var lastSamples: Int64
    /// Samples that frames must still lose.
    private var excess: Int64 = 0
    private(set) var corrections = 0

    init(timescale: UInt32) {
        self.timescale = Int64(timescale)
        self.tolerance = self.timescale / 10
        self.hole = self.timescale / 20
        self.lastSamples = self.timescale / 50
    }

    /// The decoding time and duration of a frame at `ticks` (90 kHz) with `samples`, or as long as the one before it.
    ///
    /// `mayCorrect`: the frame begins a segment, so a drift may be corrected here.
    mutating func place(ticks: Int64, samples: Int?, mayCorrect: Bool) -> (decode: Int64, duration: Int64) {
        let actual = Ticks.convert(ticks, from: Ticks.perSecond, to: self.timescale)
        let nominal = Int64(samples ?? Int(self.stated(actual)))
        var decode = self.next ?? max(0, actual)
        let offset = actual - decode
        let isHole = self.lastActual.map { actual - $0 - self.lastSamples > self.hole } ?? true
        if offset > self.tolerance, mayCorrect || isHole {
            decode = actual
            self.excess = 0
            self.corrections += 1
        } else if offset < -self.tolerance, mayCorrect, self.excess == 0 {
            self.excess = -offset
            self.corrections += 1
        }
        let cut = min(self.excess, nominal / 8)
        self.excess -= cut
        let duration = max(1, nominal - cut)
        self.next = decode + duration
        self.lastActual = actual
        self.lastSamples = nominal
        return (decode, duration)
    }

    /// The track was cut off at `decode`, before which nothing may come any more.
    mutating func skip(to decode: Int64) {
        self.next = max(self.next ?? decode, decode)
        self.excess = 0
    }

    /// The duration of a frame that does not tell it: as the source's times have it.
    private func stated(_ actual: Int64) -> Int64 {
        guard let last = self.lastActual, actual > last, actual - last < self.timescale else { return self.lastSamples }
        return actual - last
    }
}
