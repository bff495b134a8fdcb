import Glibc
package import NIOCore
import Synchronization

/// How busy each event loop of the node is: the CPU time of its thread as a share of one core.
///
/// The average over the process hides a loop that is full beside others that are idle, and a viewer on a full loop is
/// late whatever the others do. Any thread may call.
package final class LoopLoad: Sendable {
    private struct Sample {
        /// CPU time of each thread in nanoseconds, by the loop's number.
        var used: [UInt64] = []
        var at: NIODeadline
        var shares: [Double] = []
    }

    /// Samples that are closer say nothing.
    private static let minimumSpan = TimeAmount.milliseconds(200)

    private let clocks: [clockid_t]
    private let sample: Mutex<Sample>

    /// Asks each loop for its thread's clock.
    ///
    /// The clocks are valid as long as the threads are there: do not call `shares` after the loops were shut down.
    package init(_ loops: [any EventLoop]) async {
        var clocks: [clockid_t] = []
        for loop in loops {
            if let clock = try? await loop.submit({ Self.ownClock() }).get() { clocks.append(contentsOf: clock) }
        }
        self.clocks = clocks
        self.sample = Mutex(Sample(used: clocks.map(Self.nanoseconds), at: .now()))
    }

    private static func ownClock() -> [clockid_t] {
        var clock = clockid_t()
        // Safety: the library fills `clock`, which outlives the call, for the thread that calls.
        guard unsafe pthread_getcpuclockid(pthread_self(), &clock) == 0 else { return [] }
        return [clock]
    }

    private static func nanoseconds(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        // Safety: the kernel fills `time`, which outlives the call; of a thread that is gone it returns an error.
        guard unsafe clock_gettime(clock, &time) == 0 else { return 0 }
        return UInt64(max(0, time.tv_sec)) * 1_000_000_000 + UInt64(max(0, time.tv_nsec))
    }

    /// The share of one core that each loop used since the last call, 0…1.
    package func shares(now: NIODeadline = .now()) -> [Double] {
        self.sample.withLock { sample in
            let span = (now - sample.at).nanoseconds
            guard span >= Self.minimumSpan.nanoseconds else { return sample.shares }
            let used = self.clocks.map(Self.nanoseconds)
            sample.shares = zip(used, sample.used).map { new, old in
                new > old ? min(1, Double(new - old) / Double(span)) : 0
            }
            sample.used = used
            sample.at = now
            return sample.shares
        }
    }

    /// The share of the busiest.
    package var busiest: Double { self.shares().max() ?? 0 }
}
