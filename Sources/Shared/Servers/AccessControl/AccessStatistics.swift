package import Access
import Synchronization

/// Counts since the start of the process, for metrics. All names are of closed sets.
package struct AccessStatistics: Sendable, Hashable {
    package struct Admission: Sendable, Hashable {
        package var action: AccessAction
        package var rule: AccessRule
    }

    package struct Refusal: Sendable, Hashable {
        package var action: AccessAction
        package var cause: AccessRefusalCause
    }

    /// What was allowed, by the rule that opened.
    package var allowed: [Admission: UInt64] = [:]
    package var refused: [Refusal: UInt64] = [:]
    /// Connections that were not accepted.
    package var connectionsRefused: [ConnectionRefusal: UInt64] = [:]
    /// Connections that are open.
    package var connections = 0
    /// Addresses that are counted.
    package var addresses = 0
    /// Connections that found the table of addresses full and were let in.
    package var connectionsUncounted: UInt64 = 0
    /// Fetches of the key set, and those of them that failed.
    package var keySetFetches: UInt64 = 0
    package var keySetFailures: UInt64 = 0
    /// Keys of the set that can be used.
    package var keySetKeys = 0
    /// Tokens whose signature was checked, and those for which an earlier check was good enough.
    package var tokensChecked: UInt64 = 0
    package var tokensRemembered: UInt64 = 0

    package init() {}
}

/// Counters of closed sets. Any thread may call.
final class AccessCounters: Sendable {
    private struct State {
        var allowed: [AccessStatistics.Admission: UInt64] = [:]
        var refused: [AccessStatistics.Refusal: UInt64] = [:]
        var connectionsRefused: [ConnectionRefusal: UInt64] = [:]
    }

    private let state = Mutex(State())
    private let checked = Atomic<UInt64>(0)
    private let remembered = Atomic<UInt64>(0)

    func allowed(_ action: AccessAction, by rule: AccessRule) {
        self.state.withLock { $0.allowed[.init(action: action, rule: rule), default: 0] += 1 }
    }

    func refused(_ action: AccessAction, _ cause: AccessRefusalCause) {
        self.state.withLock { $0.refused[.init(action: action, cause: cause), default: 0] += 1 }
    }

    func refused(_ cause: ConnectionRefusal) {
        self.state.withLock { $0.connectionsRefused[cause, default: 0] += 1 }
    }

    func tokenChecked() { self.checked.wrappingAdd(1, ordering: .relaxed) }
    func tokenRemembered() { self.remembered.wrappingAdd(1, ordering: .relaxed) }

    func write(to statistics: inout AccessStatistics) {
        self.state.withLock { state in
            statistics.allowed = state.allowed
            statistics.refused = state.refused
            statistics.connectionsRefused = state.connectionsRefused
        }
        statistics.tokensChecked = self.checked.load(ordering: .relaxed)
        statistics.tokensRemembered = self.remembered.load(ordering: .relaxed)
    }
}
