import Foundation
import Glibc
import Polling

/// What processes and the machine have used up to one moment, from `/proc`. Spec: proc(5).
package struct SystemProbe: Sendable {
    /// Nanoseconds of CPU of the watched processes together, and of their busiest thread.
    package let serverNanos: UInt64
    package let threadNanos: [String: UInt64]
    /// Nanoseconds of CPU of this process.
    package let loadNanos: UInt64
    /// Nanoseconds in which a CPU of the machine was not idle, and in which the hypervisor took it away.
    package let machineNanos: UInt64
    package let stolenNanos: UInt64
    package let taken: UInt64

    /// Reads all counters; a process that is gone counts as zero.
    package init(servers: [Int32]) {
        var threads: [String: UInt64] = [:]
        for pid in servers { threads.merge(Self.threads(of: pid)) { first, _ in first } }
        self.threadNanos = threads
        self.serverNanos = threads.values.reduce(0, +)
        self.loadNanos = Self.threads(of: getpid()).values.reduce(0, +)
        (self.machineNanos, self.stolenNanos) = Self.machine()
        self.taken = monotonicNanos()
    }

    /// Resident and proportional memory of the watched processes together, in bytes.
    package static func memory(of servers: [Int32]) -> (resident: Int, proportional: Int) {
        var resident = 0
        var proportional = 0
        for pid in servers {
            for line in Self.text("/proc/\(pid)/smaps_rollup").split(separator: "\n") {
                let fields = line.split(separator: " ")
                guard fields.count >= 2, let kibibytes = Int(fields[1]) else { continue }
                if fields[0] == "Rss:" { resident += kibibytes * 1024 }
                if fields[0] == "Pss:" { proportional += kibibytes * 1024 }
            }
        }
        return (resident, proportional)
    }

    /// Each thread's time on a CPU. `schedstat` counts nanoseconds where `stat` counts ticks of 10 ms.
    private static func threads(of pid: Int32) -> [String: UInt64] {
        let folder = "/proc/\(pid)/task"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        var result: [String: UInt64] = [:]
        for name in names {
            let fields = Self.text("\(folder)/\(name)/schedstat").split(separator: " ")
            if let first = fields.first, let nanos = UInt64(first) {
                result[name] = nanos
            } else if let ticks = Self.ticks("\(folder)/\(name)/stat") {
                result[name] = ticks * Self.nanosPerTick
            }
        }
        return result
    }

    /// User and system time from a `stat` file, whose second field may hold spaces.
    private static func ticks(_ path: String) -> UInt64? {
        let text = Self.text(path)
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12]) else { return nil }
        return user + system
    }

    private static func machine() -> (busy: UInt64, stolen: UInt64) {
        let line = Self.text("/proc/stat").split(separator: "\n").first ?? ""
        let fields = line.split(separator: " ").dropFirst().compactMap { UInt64($0) }
        guard fields.count >= 8 else { return (0, 0) }
        // user nice system idle iowait irq softirq steal
        let busy = fields[0] + fields[1] + fields[2] + fields[5] + fields[6]
        return (busy * Self.nanosPerTick, fields[7] * Self.nanosPerTick)
    }

    private static let nanosPerTick = 1_000_000_000 / UInt64(max(1, sysconf(Int32(_SC_CLK_TCK))))

    /// What a thread of a watched process is called; empty if it is gone.
    package static func threadName(_ thread: String, of servers: [Int32]) -> String {
        for pid in servers {
            let name = Self.text("/proc/\(pid)/task/\(thread)/comm")
            if !name.isEmpty { return String(name.prefix { $0 != "\n" }) }
        }
        return ""
    }

    private static func text(_ path: String) -> String {
        guard let data = FileManager.default.contents(atPath: path) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }
}
