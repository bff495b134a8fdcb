import Media
import NIOCore

/// One point of a chart.
struct HistorySample: Sendable, Hashable {
    var viewers = 0
    /// Bits a second.
    var ingest = 0.0
    var egress = 0.0
}

/// The last hour of the cluster and of its streams, in samples of 10 s.
///
/// A sample belongs to a slot of time on the monotonic clock; slots in which nothing was heard stay empty. Streams are
/// bounded in number: there is no history of those that came when it was full.
struct HistoryBook {
    static let step = TimeAmount.seconds(10)
    static let capacity = 360

    private struct Ring {
        /// The slot of the newest sample.
        var last: Int64
        /// `Float` is exact to a part in 16 million, which no chart shows.
        var samples: [Compact] = []
    }

    private struct Compact {
        static let missing = Compact(viewers: -1, ingest: 0, egress: 0)

        /// -1 in a slot in which nothing was heard.
        var viewers: Int32
        var ingest: Float
        var egress: Float
    }

    private let maximumStreams: Int
    private var cluster: Ring?
    private var streams: [StreamKey: Ring] = [:]

    init(maximumStreams: Int) { self.maximumStreams = maximumStreams }

    private static func slot(_ now: NIODeadline) -> Int64 {
        Int64(clamping: now.uptimeNanoseconds / UInt64(self.step.nanoseconds))
    }

    /// Whether the slot of `now` has no sample yet. `nil` is the cluster.
    func wantsSample(of key: StreamKey?, now: NIODeadline) -> Bool {
        let ring = key.map { self.streams[$0] } ?? self.cluster
        guard let ring else { return key == nil || self.streams.count < self.maximumStreams }
        return ring.last < Self.slot(now)
    }

    mutating func append(_ sample: HistorySample, of key: StreamKey?, now: NIODeadline) {
        let slot = Self.slot(now)
        let compact = Compact(
            viewers: Int32(clamping: sample.viewers), ingest: Float(sample.ingest), egress: Float(sample.egress))
        guard let key else {
            Self.append(compact, at: slot, to: &self.cluster)
            return
        }
        Self.append(compact, at: slot, to: &self.streams[key])
    }

    private static func append(_ sample: Compact, at slot: Int64, to ring: inout Ring?) {
        var next = ring ?? Ring(last: slot - 1)
        ring = nil
        let missing = min(max(slot - next.last - 1, 0), Int64(self.capacity))
        for _ in 0..<missing { next.samples.append(.missing) }
        next.samples.append(sample)
        if next.samples.count > self.capacity { next.samples.removeFirst(next.samples.count - self.capacity) }
        next.last = slot
        ring = next
    }

    /// Forgets streams of which nothing was heard for as long as a history reaches back.
    mutating func dropStale(now: NIODeadline) {
        let oldest = Self.slot(now) - Int64(Self.capacity)
        for (key, ring) in self.streams where ring.last <= oldest { self.streams[key] = nil }
    }

    /// Samples up to the slot before `now`'s or `now`'s, the oldest first; `nil` if nothing is kept.
    func samples(of key: StreamKey?, now: NIODeadline) -> [HistorySample?]? {
        guard let ring = key.map({ self.streams[$0] }) ?? self.cluster else { return nil }
        let late = min(max(Self.slot(now) - ring.last - 1, 0), Int64(Self.capacity))
        let samples = ring.samples.map { sample -> HistorySample? in
            guard sample.viewers >= 0 else { return nil }
            return HistorySample(
                viewers: Int(sample.viewers), ingest: Double(sample.ingest), egress: Double(sample.egress))
        }
        return (samples + Array(repeating: nil, count: Int(late))).suffix(Self.capacity)
    }
}
