import DequeModule
package import Media
package import NIOCore

/// The bounds of an `RTPFrameRing`.
package struct RTPFrameRingConfiguration: Sendable, Hashable {
    /// The most payload bytes that are kept. The newest frame is always kept.
    package var maximumBytes: Int
    /// The greatest age of a frame that is kept for viewers who start.
    package var maximumAge: TimeAmount
    /// How long frames from before the last keyframe are kept for retransmission.
    package var historyAge: TimeAmount

    package init(
        maximumBytes: Int = 16 << 20, maximumAge: TimeAmount = .seconds(20), historyAge: TimeAmount = .seconds(1)
    ) {
        self.maximumBytes = maximumBytes
        self.maximumAge = maximumAge
        self.historyAge = historyAge
    }
}

/// The recent frames of a stream as one event loop holds them: what new viewers start with, and what is sent again.
///
/// All rings of a stream hold the same `RTPFrame` objects, so a ring costs eight bytes a frame. A ring that is copied
/// to another event loop goes on there on its own.
package struct RTPFrameRing: Sendable {
    private let configuration: RTPFrameRingConfiguration
    private var video: Deque<RTPFrame> = []
    private var audio: Deque<RTPFrame> = []
    private var bytes = 0
    /// The number of the newest video keyframe that is kept.
    package private(set) var lastKeyframe: UInt64?

    package init(configuration: RTPFrameRingConfiguration = .init()) { self.configuration = configuration }

    /// Adds the next frame of its kind. A frame that does not follow the newest one empties the ring of that kind
    /// first.
    ///
    /// Cost: constant on average.
    package mutating func append(_ frame: RTPFrame) {
        if frame.kind == .video {
            if let last = self.video.last, last.number + 1 != frame.number { self.removeAll(.video) }
            self.video.append(frame)
            if frame.isKeyframe { self.lastKeyframe = frame.number }
        } else {
            if let last = self.audio.last, last.number + 1 != frame.number { self.removeAll(.audio) }
            self.audio.append(frame)
        }
        self.bytes += frame.byteCount
        self.trim(now: frame.arrival)
    }

    /// Forgets all frames of a kind, or of both.
    package mutating func removeAll(_ kind: MediaKind? = nil) {
        if kind != .audio {
            for frame in self.video { self.bytes -= frame.byteCount }
            self.video.removeAll()
            self.lastKeyframe = nil
        }
        if kind != .video {
            for frame in self.audio { self.bytes -= frame.byteCount }
            self.audio.removeAll()
        }
    }

    /// Payload bytes of all frames that are kept.
    package var byteCount: Int { self.bytes }
    /// Frames of both kinds that are kept.
    package var count: Int { self.video.count + self.audio.count }

    /// The newest frame of a kind.
    package func last(_ kind: MediaKind) -> RTPFrame? { kind == .video ? self.video.last : self.audio.last }

    /// The frame with a number; `nil` if it is not here yet or not any more.
    package func frame(_ kind: MediaKind, number: UInt64) -> RTPFrame? {
        let frames = kind == .video ? self.video : self.audio
        guard let first = frames.first, number >= first.number, number - first.number < UInt64(frames.count) else {
            return nil
        }
        return frames[Int(number - first.number)]
    }

    /// The frame that has a packet, counted since the stream began; `nil` if it is not kept.
    ///
    /// Cost: logarithmic.
    package func frame(_ kind: MediaKind, containingPacket packet: UInt64) -> RTPFrame? {
        let frames = kind == .video ? self.video : self.audio
        guard let first = frames.first, packet >= first.firstPacket else { return nil }
        var low = 0
        var high = frames.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if frames[middle].firstPacket <= packet { low = middle } else { high = middle }
        }
        let frame = frames[low]
        return packet - frame.firstPacket < UInt64(frame.packets.count) ? frame : nil
    }

    /// The payload bytes of the video frames from a number on; `nil` if the first of them is not kept.
    package func videoBytes(from number: UInt64) -> Int? {
        guard let first = self.video.first, let last = self.video.last, number >= first.number else { return nil }
        guard number <= last.number else { return 0 }
        var bytes = 0
        for index in Int(number - first.number)..<self.video.count { bytes += self.video[index].byteCount }
        return bytes
    }

    private mutating func trim(now: NIODeadline) {
        while self.video.count > 1, let first = self.video.first {
            let age = now - first.arrival
            let isHistory = self.lastKeyframe.map { first.number < $0 } ?? true
            guard
                age > self.configuration.maximumAge || self.bytes > self.configuration.maximumBytes
                    || isHistory && age > self.configuration.historyAge
            else { break }
            self.video.removeFirst()
            self.bytes -= first.byteCount
            if self.lastKeyframe == first.number { self.lastKeyframe = nil }
        }
        while self.audio.count > 1, let first = self.audio.first {
            guard now - first.arrival > self.configuration.historyAge || self.bytes > self.configuration.maximumBytes
            else { break }
            self.audio.removeFirst()
            self.bytes -= first.byteCount
        }
    }
}
