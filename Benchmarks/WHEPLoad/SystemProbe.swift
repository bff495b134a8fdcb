import Foundation
import Glibc
import Polling

/// What processes and the machine have used up to one moment, from `/proc`. Spec: proc(5).
struct SystemProbe {
    /// Nanoseconds of CPU, in user mode and in the kernel, of the watched processes together.
    let serverNanos: UInt64
    /// Of this process.
    let loadNanos: UInt64
    /// Of the whole machine: nanoseconds in which a CPU was not idle, and in which the hypervisor took it away.
    let machineNanos: UInt64
    let stolenNanos: UInt64
    let taken: UInt64

    /// Reads all counters; a process that is gone counts as zero.
    init(servers: [Int32]) {
        self.serverNanos = servers.reduce(0) { $0 + Self.processNanos($1) }
        self.loadNanos = Self.processNanos(getpid())
        let line = Self.text("/proc/stat").split(separator: "\n").first ?? ""
        let fields = line.split(separator: " ").dropFirst().compactMap { UInt64($0) }
        // user nice system idle iowait irq softirq steal
        self.machineNanos =
            fields.count >= 8
            ? (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) * Self.nanosPerTick : 0
        self.stolenNanos = fields.count >= 8 ? fields[7] * Self.nanosPerTick : 0
        self.taken = monotonicNanos()
    }

    /// Resident memory of processes together.
    static func residentBytes(of processes: [Int32]) -> Int {
        processes.reduce(0) { sum, pid in
            let line = Self.text("/proc/\(pid)/status").split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
            let kibibytes = line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
            return sum + (kibibytes ?? 0) * 1024
        }
    }

    /// Time of all threads, of those that ended too.
    private static func processNanos(_ pid: Int32) -> UInt64 {
        let text = Self.text("/proc/\(pid)/stat")
        guard let end = text.lastIndex(of: ")") else { return 0 }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12]) else { return 0 }
        return (user + system) * Self.nanosPerTick
    }

    private static let nanosPerTick = 1_000_000_000 / UInt64(max(1, sysconf(Int32(_SC_CLK_TCK))))

    private static func text(_ path: String) -> String {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
}
