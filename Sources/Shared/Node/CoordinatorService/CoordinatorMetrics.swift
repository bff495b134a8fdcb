import Exposition
import NIOCore
import Synchronization

/// Counts since the start of the process. Any thread may call.
final class CoordinatorMetrics: Sendable {
    struct Counts: Sendable {
        /// Claims by what came of them.
        var claims: [ClaimResult: UInt64] = [:]
        var claimSeconds = MetricHistogram()
        var commits: UInt64 = 0
        var failedCommits: UInt64 = 0
        var committedWrites: UInt64 = 0
        var commitSeconds = MetricHistogram()
        var heartbeats: UInt64 = 0
        var routeLookups: UInt64 = 0
        /// Requests by the first digit of their status.
        var requests: [Int: UInt64] = [:]
        var refusedCallers: UInt64 = 0
        var nodeRequests: [NodeRequestResult: UInt64] = [:]
    }

    enum ClaimResult: String, Sendable, CaseIterable {
        case granted, conflict, refused, failed
    }

    enum NodeRequestResult: String, Sendable, CaseIterable {
        case answered, timedOut = "timed_out", unreachable, busy, cancelled

        init(_ error: RequestBroker.BrokerError) {
            switch error {
            case .unreachable: self = .unreachable
            case .busy: self = .busy
            case .timedOut: self = .timedOut
            case .cancelled: self = .cancelled
            }
        }
    }

    private let state = Mutex(Counts())

    var counts: Counts { self.state.withLock { $0 } }

    func claimed(_ result: ClaimResult, took: TimeAmount) {
        self.state.withLock { counts in
            counts.claims[result, default: 0] += 1
            counts.claimSeconds.observe(took.seconds)
        }
    }

    func committed(writes: Int, took: TimeAmount) {
        self.state.withLock { counts in
            counts.commits += 1
            counts.committedWrites += UInt64(writes)
            counts.commitSeconds.observe(took.seconds)
        }
    }

    func commitFailed() { self.state.withLock { $0.failedCommits += 1 } }
    func heartbeat() { self.state.withLock { $0.heartbeats += 1 } }
    func routeLookup() { self.state.withLock { $0.routeLookups += 1 } }
    func answered(status: Int) { self.state.withLock { $0.requests[status / 100, default: 0] += 1 } }
    func refusedCaller() { self.state.withLock { $0.refusedCallers += 1 } }

    func nodeRequest(_ result: NodeRequestResult) {
        self.state.withLock { $0.nodeRequests[result, default: 0] += 1 }
    }
}

extension TimeAmount {
    fileprivate var seconds: Double { Double(self.nanoseconds) / 1e9 }
}
