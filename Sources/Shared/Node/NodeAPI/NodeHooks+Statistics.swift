import Exposition
package import Hooks
import NIOCore

extension NodeHooks {
    /// As the hooks count themselves; all events, whether they happened or not.
    package init(_ statistics: HooksStatistics) {
        self.init(
            events: HookEvent.allCases.map { name in
                let counts = statistics.events[name] ?? HookEventStatistics()
                var event = Event(name: name.rawValue)
                event.allowed = counts.delivered
                event.denied = counts.refused
                event.failed = counts.failed
                event.dropped = counts.dropped
                event.retried = counts.retried
                event.latency = MetricHistogram(
                    bounds: HookEventStatistics.bucketMillis.map { Double($0) / 1_000 }, counts: counts.latency,
                    sum: Double(counts.latencySum.nanoseconds) / 1e9)
                return event
            })
        self.queued = statistics.queued
        self.deciding = statistics.deciding
        self.unreachable = statistics.unreachable
    }
}
