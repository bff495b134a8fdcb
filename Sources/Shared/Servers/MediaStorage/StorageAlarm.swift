/// Whether a disk takes what is written, as one state with few log lines.
///
/// The first failure raises it; as long as it lasts there is one line a minute; it is cleared when writes have succeeded
/// for a while without a failure between them. A value: the writer feeds it, times are monotonic nanoseconds.
package struct StorageAlarm: Sendable, Hashable {
    /// What to log.
    package enum Report: Sendable, Hashable {
        /// Writing begins to fail.
        case raised(StorageError)
        /// It fails for another reason than before.
        case changed(StorageError)
        /// Once a minute: it lasts, and so many writes failed since the last line.
        case lasting(StorageError, failures: Int)
        /// Writes succeed again, after so many failures.
        case cleared(StorageError, failures: Int)
    }

    private struct Active: Sendable, Hashable {
        var error: StorageError
        var sinceUnixMillis: Int64
        var lastFailure: UInt64
        var lastReport: UInt64
        var failures = 1
        var unreportedFailures = 0
    }

    /// How often a line is written while it lasts, in nanoseconds.
    package static let reportInterval: UInt64 = 60_000_000_000
    /// How long after the last failure a success clears it, in nanoseconds.
    package static let quietTime: UInt64 = 5_000_000_000

    private var active: Active?

    package init() {}

    /// The reason, if it is raised.
    package var error: StorageError? { self.active?.error }
    /// When it was raised.
    package var sinceUnixMillis: Int64? { self.active?.sinceUnixMillis }
    /// Failed writes since it was raised.
    package var failures: Int { self.active?.failures ?? 0 }

    /// Whether it is raised and a successful write would clear it.
    package func mayClear(now: UInt64) -> Bool {
        guard let active = self.active else { return false }
        return now >= active.lastFailure + Self.quietTime
    }

    /// A write failed at `now`, or was left out because the queue is full.
    package mutating func failed(_ error: StorageError, now: UInt64, unixMillis: Int64) -> Report? {
        guard error.concernsDisk else { return nil }
        guard var active = self.active else {
            self.active = Active(error: error, sinceUnixMillis: unixMillis, lastFailure: now, lastReport: now)
            return .raised(error)
        }
        active.failures += 1
        active.unreportedFailures += 1
        active.lastFailure = max(active.lastFailure, now)
        var report: Report?
        // A full queue is what any other failure looks like from outside: it does not replace its cause.
        if active.error != error, error != .queueFull {
            active.error = error
            report = .changed(error)
        }
        if report == nil, now >= active.lastReport + Self.reportInterval {
            report = .lasting(active.error, failures: active.unreportedFailures)
        }
        if report != nil {
            active.lastReport = now
            active.unreportedFailures = 0
        }
        self.active = active
        return report
    }

    /// A write succeeded at `now`.
    package mutating func succeeded(now: UInt64) -> Report? {
        guard let active = self.active, now >= active.lastFailure + Self.quietTime else { return nil }
        self.active = nil
        return .cleared(active.error, failures: active.failures)
    }

    /// Time passed, and nothing was written.
    package mutating func timePassed(now: UInt64) -> Report? {
        guard var active = self.active, now >= active.lastReport + Self.reportInterval else { return nil }
        let report = Report.lasting(active.error, failures: active.unreportedFailures)
        active.lastReport = now
        active.unreportedFailures = 0
        self.active = active
        return report
    }
}
