/// What the control group of a container lets the process have. Spec: Documentation/admin-guide/cgroup-v2 of Linux, and
/// for version 1 its cpu and memory controllers.
package struct CgroupLimits: Sendable, Hashable {
    /// Processors, such as 1.5; `nil`: as many as there are.
    package var processors: Double?
    /// Bytes; `nil`: as many as there are.
    package var memoryBytes: UInt64?
    /// Bytes that the group uses, files in the page cache included; `nil` if it does not tell.
    package var memoryUsedBytes: UInt64?

    package init() {}

    /// Version 2: `cpu.max` (`max 100000` or `150000 100000`), `memory.max` (`max` or bytes), `memory.current`.
    package init(cpuMax: String, memoryMax: String, memoryCurrent: String) {
        let words = cpuMax.split(whereSeparator: \.isWhitespace)
        if let quota = words.first.flatMap({ UInt64($0) }) {
            let period = words.count > 1 ? UInt64(words[1]) ?? 0 : 100_000
            self.processors = Self.share(quota: quota, period: period)
        }
        self.memoryBytes = Self.bytes(memoryMax)
        self.memoryUsedBytes = Self.bytes(memoryCurrent)
    }

    /// Version 1: `cpu.cfs_quota_us` (-1: none), `cpu.cfs_period_us`, `memory.limit_in_bytes`, `memory.usage_in_bytes`.
    package init(quota: String, period: String, memoryLimit: String, memoryUsage: String) {
        if let quota = Self.bytes(quota), let period = Self.bytes(period) {
            self.processors = Self.share(quota: quota, period: period)
        }
        // Without a limit version 1 says a number beyond every machine.
        self.memoryBytes = Self.bytes(memoryLimit).flatMap { $0 < 1 << 60 ? $0 : nil }
        self.memoryUsedBytes = Self.bytes(memoryUsage)
    }

    private static func share(quota: UInt64, period: UInt64) -> Double? {
        quota > 0 && period > 0 ? Double(quota) / Double(period) : nil
    }

    private static func bytes(_ text: String) -> UInt64? {
        text.split(whereSeparator: \.isWhitespace).first.flatMap { UInt64($0) }
    }

    /// The limits of the group that this process sees as its root, as containers do.
    static func read() -> CgroupLimits {
        let root = "/sys/fs/cgroup"
        func text(_ path: String) -> String { ProcText.read("\(root)/\(path)") ?? "" }
        if ProcText.read("\(root)/cgroup.controllers") != nil {
            return CgroupLimits(
                cpuMax: text("cpu.max"), memoryMax: text("memory.max"), memoryCurrent: text("memory.current"))
        }
        return CgroupLimits(
            quota: text("cpu/cpu.cfs_quota_us"), period: text("cpu/cpu.cfs_period_us"),
            memoryLimit: text("memory/memory.limit_in_bytes"), memoryUsage: text("memory/memory.usage_in_bytes"))
    }
}
