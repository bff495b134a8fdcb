import Foundation
import Glibc
import Synchronization

/// How long the requests of one kind took. Any thread may add.
final class Latencies: Sendable {
    private struct State {
        var micros: [UInt32] = []
        var failures = 0
        var lastFailure = ""
    }

    private let state = Mutex(State())

    func add(nanos: UInt64) { self.state.withLock { $0.micros.append(UInt32(clamping: nanos / 1_000)) } }

    func fail(_ error: any Error) {
        self.state.withLock { state in
            state.failures += 1
            state.lastFailure = "\(error)"
        }
    }

    func reset() { self.state.withLock { $0 = State() } }

    struct Summary: Encodable {
        var count: Int
        var failures: Int
        var lastFailure: String
        var p50Millis: Double
        var p99Millis: Double
        var maximumMillis: Double
    }

    var summary: Summary {
        let state = self.state.withLock { $0 }
        let sorted = state.micros.sorted()
        func percentile(_ share: Double) -> Double {
            sorted.isEmpty ? 0 : Double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]) / 1_000
        }
        return Summary(
            count: sorted.count, failures: state.failures, lastFailure: state.lastFailure,
            p50Millis: percentile(0.5), p99Millis: percentile(0.99),
            maximumMillis: sorted.last.map { Double($0) / 1_000 } ?? 0)
    }
}

/// What the coordinator used up to one moment, from `/proc`. Spec: proc(5).
struct ProcessProbe {
    let cpuNanos: UInt64
    let residentBytes: Int
    let peakBytes: Int
    let taken: UInt64

    init(pid: Int32) {
        let folder = "/proc/\(pid)/task"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        self.cpuNanos = names.reduce(0) { sum, name in
            let fields = Self.text("\(folder)/\(name)/schedstat").split(separator: " ")
            return sum + (fields.first.flatMap { UInt64($0) } ?? 0)
        }
        let status = Self.text("/proc/\(pid)/status").split(separator: "\n")
        func kibibytes(_ name: String) -> Int {
            let line = status.first { $0.hasPrefix(name) }
            return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0
        }
        self.residentBytes = kibibytes("VmRSS:") * 1_024
        self.peakBytes = kibibytes("VmHWM:") * 1_024
        self.taken = monotonicNanos()
    }

    private static func text(_ path: String) -> String {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    /// Cores that were used since `earlier`.
    func cores(since earlier: ProcessProbe) -> Double {
        Double(self.cpuNanos - earlier.cpuNanos) / Double(max(1, self.taken - earlier.taken))
    }
}
