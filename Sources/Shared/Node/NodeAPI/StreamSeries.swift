import Media
import StreamHub
import Synchronization

/// Counters of one stream, or of many.
struct StreamCounts: Sendable, Hashable {
    var receivedBytes: UInt64 = 0
    var sentBytes: UInt64 = 0
    var videoFrames: UInt64 = 0
    var audioFrames: UInt64 = 0
    var droppedFrames: UInt64 = 0
    var skipsByBytes: UInt64 = 0
    var skipsByAge: UInt64 = 0
    var slowViewersClosed: UInt64 = 0
    var timelineJumps: UInt64 = 0
    var restampedFrames: UInt64 = 0

    init() {}

    init(_ stream: NodeStream, _ totals: SessionTotals?) {
        self.receivedBytes = totals?.receivedBytes ?? 0
        self.sentBytes = totals?.sentBytes ?? 0
        self.videoFrames = UInt64(clamping: stream.videoFrames)
        self.audioFrames = UInt64(clamping: stream.audioFrames)
        self.droppedFrames = UInt64(clamping: stream.droppedFrames)
        self.skipsByBytes = UInt64(clamping: stream.skipsByBytes)
        self.skipsByAge = UInt64(clamping: stream.skipsByAge)
        self.slowViewersClosed = UInt64(clamping: stream.slowViewersClosed)
        self.timelineJumps = UInt64(clamping: stream.timelineJumps)
        self.restampedFrames = UInt64(clamping: stream.restampedFrames)
    }

    /// Adds what was counted since `earlier`; all of it where a counter began anew.
    mutating func add(_ counts: StreamCounts, since earlier: StreamCounts?) {
        func grow(_ sum: inout UInt64, _ new: UInt64, _ old: UInt64?) {
            let old = old ?? 0
            sum &+= new >= old ? new - old : new
        }
        grow(&self.receivedBytes, counts.receivedBytes, earlier?.receivedBytes)
        grow(&self.sentBytes, counts.sentBytes, earlier?.sentBytes)
        grow(&self.videoFrames, counts.videoFrames, earlier?.videoFrames)
        grow(&self.audioFrames, counts.audioFrames, earlier?.audioFrames)
        grow(&self.droppedFrames, counts.droppedFrames, earlier?.droppedFrames)
        grow(&self.skipsByBytes, counts.skipsByBytes, earlier?.skipsByBytes)
        grow(&self.skipsByAge, counts.skipsByAge, earlier?.skipsByAge)
        grow(&self.slowViewersClosed, counts.slowViewersClosed, earlier?.slowViewersClosed)
        grow(&self.timelineJumps, counts.timelineJumps, earlier?.timelineJumps)
        grow(&self.restampedFrames, counts.restampedFrames, earlier?.restampedFrames)
    }
}

/// Keeps the sums over all streams growing though streams come and go, and chooses the streams that have a series of
/// their own.
///
/// Streams end, and their counters with them; a sum over those that are there would shrink. So each look at the streams
/// adds what they counted since the last one; what a stream counts between the last look and its end is not in the sums.
/// A stream that has a label keeps it until it ends; a free one goes to the stream with the most viewers.
final class StreamSeries: Sendable {
    /// What one look brought.
    struct Look: Sendable {
        struct Labelled: Sendable {
            var stream: NodeStream
            var totals: SessionTotals
            var counts: StreamCounts
        }

        /// All streams that ever were.
        var all = StreamCounts()
        var labelled: [Labelled] = []
        /// Counters of streams while they had no label.
        var others = StreamCounts()
        var otherStreams: [NodeStream] = []
    }

    private struct State {
        var counts: [StreamKey: StreamCounts] = [:]
        var labelled: Set<StreamKey> = []
        var all = StreamCounts()
        var others = StreamCounts()
    }

    private let state = Mutex(State())

    /// Takes the streams as they are now. `maximum` is how many may have a label; `totals` gives the sessions of a
    /// stream, or `nil` when nobody wants their bytes.
    func look(
        at streams: [NodeStream], maximum: Int, totals: (StreamKey) -> SessionTotals?
    ) -> Look {
        let seen = streams.map { stream in
            let totals = totals(stream.key)
            return (stream: stream, totals: totals, counts: StreamCounts(stream, totals))
        }
        return self.state.withLock { state in
            let present = Set(streams.map(\.key))
            state.labelled.formIntersection(present)
            while state.labelled.count > maximum, let surplus = state.labelled.first { state.labelled.remove(surplus) }
            let free = maximum - state.labelled.count
            if free > 0 {
                let waiting = seen.filter { !state.labelled.contains($0.stream.key) }
                    .map { (viewers: $0.stream.viewers.values.reduce(0, +), key: $0.stream.key) }
                    .sorted { ($1.viewers, "\($0.key)") < ($0.viewers, "\($1.key)") }
                state.labelled.formUnion(waiting.prefix(free).map(\.key))
            }
            var look = Look()
            var counts: [StreamKey: StreamCounts] = [:]
            for entry in seen {
                let before = state.counts[entry.stream.key]
                state.all.add(entry.counts, since: before)
                counts[entry.stream.key] = entry.counts
                if state.labelled.contains(entry.stream.key) {
                    look.labelled.append(
                        .init(stream: entry.stream, totals: entry.totals ?? SessionTotals(), counts: entry.counts))
                } else {
                    state.others.add(entry.counts, since: before)
                    look.otherStreams.append(entry.stream)
                }
            }
            state.counts = counts
            look.all = state.all
            look.others = state.others
            look.labelled.sort { "\($0.stream.key)" < "\($1.stream.key)" }
            return look
        }
    }
}
