import Glibc

/// What `getrusage` says of this process. Spec: getrusage(2).
package struct ResourceUsage: Sendable, Hashable {
    package var userSeconds = 0.0
    package var systemSeconds = 0.0
    /// KiB.
    package var maximumResident: Int = 0
    package var minorFaults: Int = 0
    package var majorFaults: Int = 0
    package var blocksRead: Int = 0
    package var blocksWritten: Int = 0
    package var voluntarySwitches: Int = 0
    package var involuntarySwitches: Int = 0

    package init() {}

    /// All zeros if the kernel refuses, which it does not.
    static func read() -> ResourceUsage {
        var usage = rusage()
        // Safety: the kernel fills the structure, which outlives the call.
        guard unsafe getrusage(RUSAGE_SELF.rawValue, &usage) == 0 else { return ResourceUsage() }
        var result = ResourceUsage()
        result.userSeconds = Double(usage.ru_utime.tv_sec) + Double(usage.ru_utime.tv_usec) / 1e6
        result.systemSeconds = Double(usage.ru_stime.tv_sec) + Double(usage.ru_stime.tv_usec) / 1e6
        result.maximumResident = usage.ru_maxrss
        result.minorFaults = usage.ru_minflt
        result.majorFaults = usage.ru_majflt
        result.blocksRead = usage.ru_inblock
        result.blocksWritten = usage.ru_oublock
        result.voluntarySwitches = usage.ru_nvcsw
        result.involuntarySwitches = usage.ru_nivcsw
        return result
    }
}

/// Open file descriptors and how many there may be.
package struct DescriptorUse: Sendable, Hashable {
    package var open = 0
    package var limit = 0

    package init() {}

    /// The most that are counted.
    private static let maximumCounted = 4_000_000

    static func read() -> DescriptorUse {
        var use = DescriptorUse()
        // The folder that is read is open itself while it is counted.
        use.open = max(0, (ProcText.entryCount("/proc/self/fd", limit: Self.maximumCounted) ?? 1) - 1)
        var limits = rlimit()
        // Safety: the kernel fills the structure, which outlives the call.
        if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits) == 0 {
            use.limit = Int(clamping: limits.rlim_cur)
        }
        return use
    }
}
