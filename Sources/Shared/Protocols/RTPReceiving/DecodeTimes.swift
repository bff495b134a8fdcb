/// Gives frames that come in decoding order a decoding time, from their presentation times alone.
///
/// With a reordering depth of n, the decoding time of a frame is the smallest presentation time that was not used yet
/// among the last n + 1 frames: it never passes the presentation time, and nothing is held back. The depth comes from
/// the stream's parameter sets where they tell it, and grows when a frame proves it too small.
struct DecodeTimes {
    /// The deepest reordering of H.264 and HEVC (§A.3.1, 16 frames); real encoders stay far below.
    static let maximumDepth = 16

    /// Frames that are reordered are not further apart than this (1 s).
    private static let reorderingSpan: Int64 = 90_000

    private var depth: Int
    /// Presentation times that are not used yet, ascending; at most `depth`.
    private var waiting: [Int64] = []
    private var last: Int64?
    private var lastPTS: Int64?
    /// The distance between frames, in ticks.
    private var interval: Int64 = 3_000

    /// `depth`: frames that may precede another in decoding order and follow it in presentation. 0 for codecs that
    /// never reorder.
    init(depth: Int) { self.depth = min(max(0, depth), Self.maximumDepth) }

    /// The stream's parameter sets tell a depth.
    mutating func declare(depth: Int) { self.depth = min(max(self.depth, depth), Self.maximumDepth) }

    /// What follows comes from another encoder: its frames are not compared with those before.
    mutating func sourceChanged() {
        self.waiting = []
        self.lastPTS = nil
    }

    /// Places the next frame in decoding order. Decoding times ascend strictly; a presentation time that is before its
    /// decoding time, because the depth was not known in time, is raised to it.
    ///
    /// `mayReorder`: `false` for codecs whose frames are presented in the order of decoding.
    mutating func place(_ presentation: Int64, isKeyframe: Bool, mayReorder: Bool) -> (dts: Int64, pts: Int64) {
        if let previous = self.lastPTS {
            let step = abs(presentation - previous)
            if step > 0, step < 9_000 { self.interval = self.depth == 0 ? step : min(self.interval, step) }
            self.learn(presentation, isKeyframe: isKeyframe, mayReorder: mayReorder)
        }
        self.lastPTS = presentation
        let index = self.waiting.firstIndex { $0 > presentation } ?? self.waiting.count
        self.waiting.insert(presentation, at: index)
        var decoding = self.waiting[0]
        if self.waiting.count > self.depth {
            self.waiting.removeFirst(self.waiting.count - self.depth)
        } else {
            decoding -= self.interval * Int64(self.depth + 1 - self.waiting.count)
        }
        if let last = self.last { decoding = max(decoding, last + 1) }
        self.last = decoding
        return (decoding, max(decoding, presentation))
    }

    /// A frame that would be presented before the decoding time of the one before it shows that the depth is too small,
    /// unless the clock was set back.
    private mutating func learn(_ presentation: Int64, isKeyframe: Bool, mayReorder: Bool) {
        guard let last = self.last, presentation < last else { return }
        if mayReorder, !isKeyframe, last - presentation < Self.reorderingSpan {
            self.depth = min(self.depth + 1, Self.maximumDepth)
        } else {
            self.waiting = []
        }
    }
}
