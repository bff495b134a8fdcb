package import Media
import NIOCore

/// What a stream received over the last seconds.
package struct IngestFacts: Sendable, Hashable {
    /// Of frames, without any wire format. 0 until half a second is known.
    package var bitsPerSecond: UInt64 = 0
    package var videoFramesPerSecond: Double = 0
    /// From one keyframe to the next, of the last complete group of pictures; `nil` before there was one.
    package var gopLength: MediaTime?
    /// Its video frames, the keyframe included.
    package var gopFrames: Int?

    package init() {}
}

/// Measures what a stream receives, by its arrival, over the last 5 s. Allocates nothing.
struct IngestMeter {
    private struct Second {
        var number: Int64 = -1
        var videoFrames = 0
        var bytes = 0
    }

    /// Whole seconds that are looked back at, beside the one that is not over.
    private static let window: Int64 = 5
    private static let nanosPerSecond: Int64 = 1_000_000_000

    private var seconds = InlineArray<8, Second>(repeating: Second())
    private var startedAt: NIODeadline?
    private var lastKeyframe: MediaTime?
    private var framesSinceKeyframe = 0
    private var gop: (length: MediaTime, frames: Int)?

    mutating func count(_ frame: Frame, now: NIODeadline) {
        if self.startedAt == nil { self.startedAt = now }
        let number = Int64(clamping: now.uptimeNanoseconds) / Self.nanosPerSecond
        let index = Int(number % 8)
        if self.seconds[index].number != number { self.seconds[index] = Second(number: number) }
        self.seconds[index].bytes += frame.payload.readableBytes
        guard frame.kind == .video else { return }
        self.seconds[index].videoFrames += 1
        if frame.isKeyframe {
            if let last = self.lastKeyframe, frame.dts > last {
                self.gop = (frame.dts - last, self.framesSinceKeyframe)
            }
            self.lastKeyframe = frame.dts
            self.framesSinceKeyframe = 0
        }
        self.framesSinceKeyframe += 1
    }

    /// Another source publishes: its groups of pictures do not go on from those of the last.
    mutating func sourceChanged() {
        self.lastKeyframe = nil
        self.gop = nil
    }

    func facts(now: NIODeadline) -> IngestFacts {
        var facts = IngestFacts()
        facts.gopLength = self.gop?.length
        facts.gopFrames = self.gop?.frames
        guard let startedAt = self.startedAt else { return facts }
        let nanos = Int64(clamping: now.uptimeNanoseconds)
        let first = nanos / Self.nanosPerSecond - Self.window
        let from = max(Int64(clamping: startedAt.uptimeNanoseconds), first * Self.nanosPerSecond)
        guard nanos - from >= Self.nanosPerSecond / 2 else { return facts }
        let duration = Double(nanos - from) / Double(Self.nanosPerSecond)
        var (bytes, frames) = (0, 0)
        for index in self.seconds.indices where self.seconds[index].number >= first {
            bytes += self.seconds[index].bytes
            frames += self.seconds[index].videoFrames
        }
        facts.bitsPerSecond = UInt64(Double(bytes) * 8 / duration)
        facts.videoFramesPerSecond = Double(frames) / duration
        return facts
    }
}

/// The most that something was late, within the last 5 to 10 s.
struct FlushLateness {
    private static let window = TimeAmount.seconds(5)

    private var since = NIODeadline.uptimeNanoseconds(0)
    private var current = TimeAmount.zero
    private var before = TimeAmount.zero

    mutating func note(_ lateness: TimeAmount, now: NIODeadline) {
        if now - self.since >= Self.window {
            self.before = now - self.since < Self.window + Self.window ? self.current : .zero
            self.current = .zero
            self.since = now
        }
        self.current = max(self.current, lateness)
    }

    func value(now: NIODeadline) -> TimeAmount {
        now - self.since >= Self.window + Self.window ? .zero : max(self.current, self.before)
    }
}
