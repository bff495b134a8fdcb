package import Media
package import Packaging
import Synchronization

/// Counters and state of one packaged stream, for the API and metrics.
package struct SegmentStoreStatistics: Sendable, Hashable {
    package var key: StreamKey
    package var epoch: UInt64?
    package var isLive: Bool
    /// When its source ended, in milliseconds since 1970; `nil` while it is live.
    package var endedAtMillis: Int64?
    package var targetDurationSeconds: Int?
    package var partTargetMillis: Int64?
    /// Segments that are in memory or on disk, and those of them that are on disk.
    package var knownSegments: Int
    package var storedSegments: Int
    package var storedBytes: Int64
    /// Bytes of segments and parts in memory. With parts, a segment shares theirs and both count.
    package var memoryBytes: Int
    /// Since the stream was first packaged here.
    package var madeSegments: Int
    package var madeParts: Int
    /// Segments that are not on disk because it failed, was too slow, or could not be listed.
    package var unwrittenSegments: Int
    /// Requests that wait, were refused because too many did, and waited in vain.
    package var waiters: Int
    package var refusedWaiters: Int
    package var expiredWaiters: Int
    package var problems: Int
    /// `nil` before the first source.
    package var packaging: PackagingCounters?
}

extension StreamShelf {
    func statistics() -> SegmentStoreStatistics {
        self.state.withLock { state in
            SegmentStoreStatistics(
                key: self.key, epoch: state.epoch, isLive: state.window.isLive, endedAtMillis: state.endedAtMillis,
                targetDurationSeconds: state.window.targetDurationSeconds,
                partTargetMillis: state.window.partTargetMillis, knownSegments: state.known.count,
                storedSegments: state.known.keys.count { state.files[$0] != nil },
                storedBytes: state.files.values.reduce(0) { $0 + $1.byteCount }, memoryBytes: state.memoryBytes,
                madeSegments: state.counters.segmentCount, madeParts: state.counters.partCount,
                unwrittenSegments: state.counters.unwrittenSegments, waiters: state.waiters.count,
                refusedWaiters: state.counters.refusedWaiters, expiredWaiters: state.counters.expiredWaiters,
                problems: state.counters.problems, packaging: state.counters.packaging)
        }
    }

    /// Whether there is, or soon will be, something to play.
    var isServing: Bool { self.state.withLock { $0.window.isLive || !$0.window.tags.isEmpty } }

    /// What a multivariant playlist says of the stream.
    var variant: (facts: VariantFacts, targetDurationSeconds: Int?)? {
        let window = self.state.withLock { $0.window }
        return window.variant().map { ($0, window.targetDurationSeconds) }
    }
}
