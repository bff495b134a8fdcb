import Synchronization

/// The counters that all listeners of an API server share. Any thread may call.
final class APILoad: Sendable {
    /// Why a request was ended before it was routed.
    enum Rejection { case timedOut, malformed }

    private let limits: APILimits
    private let state = Mutex(APIServerStatistics())

    init(limits: APILimits) {
        self.limits = limits
    }

    var statistics: APIServerStatistics { self.state.withLock { $0 } }

    /// Counts a connection; `false` if it is one too many. `leaveConnection` must follow when it was counted.
    func enterConnection() -> Bool {
        self.state.withLock { state in
            guard state.connections < self.limits.connections else {
                state.refusedConnections += 1
                return false
            }
            state.connections += 1
            return true
        }
    }

    func leaveConnection() { self.state.withLock { $0.connections -= 1 } }

    /// Counts a request; `false` if it is one too many. `leaveRequest` must follow when it was counted.
    func enterRequest() -> Bool {
        self.state.withLock { state in
            guard state.requestsInFlight < self.limits.requestsInFlight else {
                state.refusedRequests += 1
                return false
            }
            state.requestsInFlight += 1
            return true
        }
    }

    func leaveRequests(_ count: Int) { self.state.withLock { $0.requestsInFlight -= count } }

    func count(_ rejection: Rejection) {
        self.state.withLock { state in
            switch rejection {
            case .timedOut: state.timedOut += 1
            case .malformed: state.rejected += 1
            }
        }
    }
}
