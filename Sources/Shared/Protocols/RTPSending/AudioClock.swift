import Media
import NIOCore

/// Gives audio frames RTP times without gaps as long as the source has none.
///
/// Times that were rounded to milliseconds on their way, or that drift, would make players stretch samples. So each
/// frame follows the one before by its duration, and only a step of the source (lost frames, a pause) moves it. What
/// this differs from the stream's timeline is told to players by sender reports.
struct AudioClock {
    private let rate: Int64
    private var next: Int64?
    private var error: Int64 = 0

    /// `rate`: ticks per second.
    init(rate: Int) { self.rate = Int64(rate) }

    /// The time of the next frame in ticks. `duration` in ticks; `nil` if the frame does not tell.
    mutating func place(_ time: MediaTime, duration: Int64?) -> Int64 {
        let second = MediaTime.ticksPerSecond
        let (whole, rest) = time.ticks.quotientAndRemainder(dividingBy: second)
        let ideal = whole * self.rate + (rest * self.rate + (rest < 0 ? -second / 2 : second / 2)) / second
        guard let next = self.next else {
            self.next = ideal + max(duration ?? 1, 1)
            return ideal
        }
        let error = ideal - next
        let step = error - self.error
        // Half a frame, or 5 ms, is no gap; 200 ms of drift are too much.
        let tolerance = max((duration ?? 0) / 2, self.rate / 200)
        let isGap = duration == nil || step > tolerance || error > self.rate / 5
        let ticks = isGap ? max(ideal, next) : next
        self.error = ideal - ticks
        self.next = ticks + max(duration ?? 1, 1)
        return ticks
    }
}

/// Durations that audio packets tell of themselves.
enum AudioDuration {
    /// In ticks of the codec's RTP clock; `nil` if the packet does not tell.
    static func ticks(of packet: ByteBuffer, codec: Codec, channels: Int) -> Int64? {
        switch codec {
        case .opus: return self.opus(packet)
        case .g711ALaw, .g711MuLaw:
            let samples = packet.readableBytes / max(channels, 1)
            return samples > 0 ? Int64(samples) : nil
        default: return nil
        }
    }

    /// From the table-of-contents byte. Spec: RFC 6716 §3.1 and §3.2.5.
    private static func opus(_ packet: ByteBuffer) -> Int64? {
        guard let first = packet.getInteger(at: packet.readerIndex, as: UInt8.self) else { return nil }
        let configuration = Int(first >> 3)
        let frame: Int64
        if configuration < 12 {
            frame = [480, 960, 1920, 2880][configuration & 3]
        } else if configuration < 16 {
            frame = configuration & 1 == 0 ? 480 : 960
        } else {
            frame = 120 << Int64(configuration & 3)
        }
        switch first & 3 {
        case 0: return frame
        case 1, 2: return frame * 2
        default:
            guard let second = packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self) else { return nil }
            let count = Int64(second & 0x3F)
            // §3.2.5: at most 120 ms.
            return count > 0 && count * frame <= 5760 ? count * frame : nil
        }
    }
}
