import Glibc
package import NIOCore
import Synchronization

/// The process and its machine at one moment, with rates since an earlier one.
package struct ProcessSample: Sendable {
    /// Wall clock, milliseconds since 1970.
    package var unixMillis: Int64 = 0
    package var process: SelfStat?
    package var usage = ResourceUsage()
    package var descriptors = DescriptorUse()
    /// Bytes of memory that the process holds.
    package var residentBytes: UInt64 = 0
    package var virtualBytes: UInt64 = 0
    package var processors = ProcessorTicks()
    package var memory = MemoryInfo()
    package var disks = DiskCounters()
    package var network = NetworkCounters()
    package var sockets = SocketCounts()
    package var load = LoadAverages()
    package var uptime = Uptime()
    package var cgroup = CgroupLimits()
    /// Processors that the machine has, and those of them that are on.
    package var configuredProcessors = 1
    package var onlineProcessors = 1
    package var rates = Rates()

    /// What happened between this sample and one before.
    package struct Rates: Sendable, Hashable {
        /// Processors that the process used: 1.5 is one and a half of them.
        package var processCores = 0.0
        /// The share of all processors that the machine used, 0…1.
        package var systemShare = 0.0
        /// Bytes a second of all disks.
        package var diskReadBytes = 0.0
        package var diskWrittenBytes = 0.0
        /// The share of the time in which the busiest disk worked, 0…1.
        package var diskBusyShare = 0.0

        package init() {}
    }

    package init() {}

    /// The rates from `earlier`, `seconds` before; zeros if no time passed.
    package func rates(since earlier: ProcessSample, seconds: Double) -> Rates {
        var rates = Rates()
        guard seconds > 0 else { return rates }
        func growth(_ new: UInt64, _ old: UInt64) -> Double { new > old ? Double(new - old) : 0 }
        let used = self.usage.userSeconds + self.usage.systemSeconds
        let usedBefore = earlier.usage.userSeconds + earlier.usage.systemSeconds
        rates.processCores = max(0, used - usedBefore) / seconds
        rates.systemShare = self.processors.busyShare(since: earlier.processors)
        rates.diskReadBytes = growth(self.disks.readBytes, earlier.disks.readBytes) / seconds
        rates.diskWrittenBytes = growth(self.disks.writtenBytes, earlier.disks.writtenBytes) / seconds
        let busiest = self.disks.busyMillis.map { name, millis in
            earlier.disks.busyMillis[name].map { growth(millis, $0) } ?? 0
        }.max()
        rates.diskBusyShare = min(1, (busiest ?? 0) / (seconds * 1_000))
        return rates
    }
}

/// Samples the process and its machine, and knows their rates. Any thread may call.
///
/// Reads some ten files that the kernel makes up, about a millisecond; call it from a task rather than an event loop.
/// A sample is taken at most once an `interval`, whoever asks; `run` takes one each interval, so that rates are always
/// those of the last moments, even if nobody asked for hours.
package final class ProcessSampler: Sendable {
    private struct State {
        var sample = ProcessSample()
        var at: NIODeadline
    }

    /// How far samples are apart.
    package static let interval = TimeAmount.seconds(3)
    /// Two samples that are closer give no rates.
    private static let minimumSpan = TimeAmount.milliseconds(100)

    private let state: Mutex<State>

    /// Takes the first sample.
    package init() {
        self.state = Mutex(State(sample: Self.read(), at: .now()))
    }

    /// The latest sample, which is not older than the interval.
    package func sample() -> ProcessSample {
        let now = NIODeadline.now()
        let (latest, at) = self.state.withLock { ($0.sample, $0.at) }
        return now - at < Self.interval ? latest : self.refresh()
    }

    /// Takes a sample now, if the last one is not from the same moment.
    @discardableResult
    package func refresh() -> ProcessSample {
        let (latest, at) = self.state.withLock { ($0.sample, $0.at) }
        let now = NIODeadline.now()
        guard now - at >= Self.minimumSpan else { return latest }
        var sample = Self.read()
        sample.rates = sample.rates(since: latest, seconds: Double((now - at).nanoseconds) / 1e9)
        self.state.withLock { state in
            if state.at < now { state = State(sample: sample, at: now) }
        }
        return sample
    }

    /// Samples until it is cancelled.
    package func run() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .nanoseconds(Self.interval.nanoseconds))
            if !Task.isCancelled { self.refresh() }
        }
    }

    private static func read() -> ProcessSample {
        var sample = ProcessSample()
        sample.unixMillis = Self.unixMillis()
        sample.process = SelfStat.read()
        sample.usage = .read()
        sample.descriptors = .read()
        let page = UInt64(max(1, sysconf(Int32(_SC_PAGESIZE))))
        sample.residentBytes = UInt64(clamping: sample.process?.field("rss") ?? 0) &* page
        sample.virtualBytes = UInt64(clamping: sample.process?.field("vsize") ?? 0)
        func text(_ path: String) -> String { ProcText.read("/proc/\(path)") ?? "" }
        let stat = text("stat")
        sample.processors = ProcessorTicks(stat) ?? ProcessorTicks()
        sample.memory = MemoryInfo(text("meminfo")) ?? MemoryInfo()
        sample.disks = DiskCounters(text("diskstats"))
        sample.network = NetworkCounters(text("net/dev"))
        sample.sockets = SocketCounts(
            sockstat: text("net/sockstat"), sockstat6: text("net/sockstat6"), snmp: text("net/snmp"))
        sample.load = LoadAverages(text("loadavg"))
        sample.uptime = Uptime(text("uptime"))
        sample.cgroup = .read()
        sample.configuredProcessors = max(1, sysconf(Int32(_SC_NPROCESSORS_CONF)))
        sample.onlineProcessors = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        return sample
    }

    private static func unixMillis() -> Int64 {
        var now = timespec()
        // Safety: the kernel fills the structure, which outlives the call.
        guard unsafe clock_gettime(CLOCK_REALTIME, &now) == 0 else { return 0 }
        return Int64(now.tv_sec) * 1_000 + Int64(now.tv_nsec) / 1_000_000
    }
}
