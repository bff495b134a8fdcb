/// Ticks of all processors together, from the first line of `/proc/stat`. Spec: proc(5).
package struct ProcessorTicks: Sendable, Hashable {
    package var user: UInt64 = 0
    package var nice: UInt64 = 0
    package var sys: UInt64 = 0
    package var idle: UInt64 = 0
    package var iowait: UInt64 = 0
    package var irq: UInt64 = 0
    package var softirq: UInt64 = 0
    package var steal: UInt64 = 0
    package var guest: UInt64 = 0

    package init() {}

    /// `nil` without a line `cpu`; fields that are missing are 0.
    package init?(_ text: String) {
        guard let line = ProcText.lines(text).first(where: { $0.hasPrefix("cpu ") }) else { return nil }
        let ticks = ProcText.numbers(line.dropFirst(4)) + Array(repeating: 0, count: 9)
        (self.user, self.nice, self.sys, self.idle) = (ticks[0], ticks[1], ticks[2], ticks[3])
        (self.iowait, self.irq, self.softirq, self.steal) = (ticks[4], ticks[5], ticks[6], ticks[7])
        self.guest = ticks[8]
    }

    /// Processors that the text lists.
    package static func processorCount(_ text: String) -> Int {
        ProcText.lines(text).reduce(0) { count, line in
            let isProcessor = line.hasPrefix("cpu") && line.dropFirst(3).first.map { $0.isNumber } == true
            return count + (isProcessor ? 1 : 0)
        }
    }

    /// `guest` is in `user` already.
    package var total: UInt64 {
        [self.user, self.nice, self.sys, self.idle, self.iowait, self.irq, self.softirq, self.steal].reduce(0, &+)
    }

    /// The share of the time since `earlier` in which processors worked, 0…1.
    package func busyShare(since earlier: ProcessorTicks) -> Double {
        let total = self.total &- earlier.total
        let idle = (self.idle &+ self.iowait) &- (earlier.idle &+ earlier.iowait)
        guard self.total > earlier.total, idle <= total else { return 0 }
        return Double(total - idle) / Double(total)
    }
}

/// Memory of the machine in KiB, from `/proc/meminfo`. Spec: proc(5).
package struct MemoryInfo: Sendable, Hashable {
    package var total: UInt64 = 0
    package var free: UInt64 = 0
    package var available: UInt64 = 0
    package var buffers: UInt64 = 0
    package var cached: UInt64 = 0
    package var swapTotal: UInt64 = 0
    package var swapFree: UInt64 = 0

    package init() {}

    /// `nil` without a total. Kernels without `MemAvailable` get free, buffers and cached for it.
    package init?(_ text: String) {
        var values: [Substring: UInt64] = [:]
        for line in ProcText.lines(text) {
            guard let colon = line.firstIndex(of: ":"),
                let number = line[line.index(after: colon)...].split(whereSeparator: \.isWhitespace).first
            else { continue }
            values[line[..<colon]] = UInt64(number) ?? 0
        }
        guard let total = values["MemTotal"], total > 0 else { return nil }
        self.total = total
        self.free = min(total, values["MemFree"] ?? 0)
        self.buffers = values["Buffers"] ?? 0
        self.cached = values["Cached"] ?? 0
        self.available = min(total, values["MemAvailable"] ?? (self.free &+ self.buffers &+ self.cached))
        self.swapTotal = values["SwapTotal"] ?? 0
        self.swapFree = min(self.swapTotal, values["SwapFree"] ?? 0)
    }

    /// Memory that programs use and the kernel cannot take back, in KiB.
    package var inUse: UInt64 { self.total - self.available }
    /// 0…1.
    package var usedShare: Double { self.total == 0 ? 0 : Double(self.inUse) / Double(self.total) }
    /// 0…1.
    package var usedSwapShare: Double {
        self.swapTotal == 0 ? 0 : Double(self.swapTotal - self.swapFree) / Double(self.swapTotal)
    }
}

/// Bytes that whole disks moved, from `/proc/diskstats`. Spec: Documentation/admin-guide/iostats of Linux.
package struct DiskCounters: Sendable, Hashable {
    package var readBytes: UInt64 = 0
    package var writtenBytes: UInt64 = 0
    /// Milliseconds in which a disk worked, by its name.
    package var busyMillis: [String: UInt64] = [:]

    /// The most disks that are told apart.
    package static let maximumDisks = 256

    package init() {}

    /// Partitions, and devices that are made of others or of memory, are left out: their bytes would count twice.
    package init(_ text: String) {
        var whole: Set<String> = []
        for line in ProcText.lines(text) {
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count >= 13, whole.count < Self.maximumDisks else { continue }
            let name = String(fields[2])
            guard !Self.isMadeOfOthers(name), !Self.isPartition(name, of: whole) else { continue }
            whole.insert(name)
            // Sectors of 512 bytes, whatever the disk's own size is.
            self.readBytes &+= (UInt64(fields[5]) ?? 0) &* 512
            self.writtenBytes &+= (UInt64(fields[9]) ?? 0) &* 512
            self.busyMillis[name] = UInt64(fields[12]) ?? 0
        }
    }

    private static func isMadeOfOthers(_ name: String) -> Bool {
        ["loop", "ram", "zram", "dm-", "md", "sr", "fd"].contains { name.hasPrefix($0) }
    }

    /// A disk stands before its partitions: `sda1` of `sda`, `nvme0n1p2` of `nvme0n1`.
    private static func isPartition(_ name: String, of disks: Set<String>) -> Bool {
        let base = name.reversed().drop { $0.isNumber }
        guard base.count < name.count, !base.isEmpty else { return false }
        let trunk = String(base.reversed())
        if disks.contains(trunk) { return true }
        return trunk.hasSuffix("p") && disks.contains(String(trunk.dropLast()))
    }
}

/// Bytes that network interfaces moved, from `/proc/net/dev`. Spec: proc(5).
package struct NetworkCounters: Sendable, Hashable {
    /// By interface, loopback left out.
    package var receivedBytes: [String: UInt64] = [:]
    package var sentBytes: [String: UInt64] = [:]

    /// The most interfaces that are told apart.
    package static let maximumInterfaces = 256

    package init() {}

    package init(_ text: String) {
        for line in ProcText.lines(text) {
            guard let colon = line.lastIndex(of: ":"), self.receivedBytes.count < Self.maximumInterfaces else {
                continue
            }
            let name = String(line[..<colon].filter { !$0.isWhitespace })
            let numbers = ProcText.numbers(line[line.index(after: colon)...])
            guard !name.isEmpty, name != "lo", numbers.count >= 16 else { continue }
            self.receivedBytes[name] = numbers[0]
            self.sentBytes[name] = numbers[8]
        }
    }

    /// The sum over the interfaces that `isIncluded` names.
    package func sum(_ isIncluded: (String) -> Bool) -> (received: UInt64, sent: UInt64) {
        self.receivedBytes.keys.filter(isIncluded).reduce(into: (received: 0, sent: 0)) { sum, name in
            sum.received &+= self.receivedBytes[name] ?? 0
            sum.sent &+= self.sentBytes[name] ?? 0
        }
    }
}

/// Sockets of the machine, from `/proc/net/sockstat`, `/proc/net/sockstat6` and `/proc/net/snmp`. Spec: proc(5).
package struct SocketCounts: Sendable, Hashable {
    /// TCP sockets that are in use, those that wait after their end included.
    package var tcp = 0
    /// TCP connections that are established.
    package var established = 0
    /// TCP sockets in TIME-WAIT.
    package var timeWait = 0
    package var udp = 0

    package init() {}

    /// Texts that cannot be read count as 0.
    package init(sockstat: String, sockstat6: String, snmp: String) {
        let ipv4 = Self.values(sockstat)
        let ipv6 = Self.values(sockstat6)
        self.timeWait = ipv4["TCP:tw"] ?? 0
        self.tcp = Self.sum([ipv4["TCP:inuse"], ipv6["TCP6:inuse"], self.timeWait])
        self.udp = Self.sum([ipv4["UDP:inuse"], ipv6["UDP6:inuse"]])
        self.established = Self.established(snmp)
    }

    private static func sum(_ values: [Int?]) -> Int { values.reduce(0) { $0 &+ ($1 ?? 0) } }

    /// Lines such as `TCP: inuse 5 orphan 0`, by `TCP:inuse`.
    private static func values(_ text: String) -> [String: Int] {
        var values: [String: Int] = [:]
        for line in ProcText.lines(text).prefix(64) {
            let words = line.split(separator: " ")
            guard let subject = words.first else { continue }
            var index = 1
            while index + 1 < words.count {
                values["\(subject)\(words[index])"] = Int32(words[index + 1]).map { max(0, Int($0)) } ?? 0
                index += 2
            }
        }
        return values
    }

    /// A line of names and one of numbers, both beginning with `Tcp:`.
    private static func established(_ text: String) -> Int {
        let lines = ProcText.lines(text).filter { $0.hasPrefix("Tcp:") }.map { $0.split(separator: " ") }
        guard lines.count >= 2, let index = lines[0].firstIndex(of: "CurrEstab"), lines[1].indices.contains(index)
        else { return 0 }
        return Int32(lines[1][index]).map { max(0, Int($0)) } ?? 0
    }
}

/// The three averages of `/proc/loadavg`. Spec: proc(5).
package struct LoadAverages: Sendable, Hashable {
    package var oneMinute = 0.0
    package var fiveMinutes = 0.0
    package var fifteenMinutes = 0.0

    package init() {}

    /// What cannot be read is 0.
    package init(_ text: String) {
        let values = text.split(whereSeparator: \.isWhitespace).prefix(3).map { word in
            Double(word).flatMap { $0.isFinite && $0 >= 0 ? $0 : nil } ?? 0
        }
        guard values.count == 3 else { return }
        (self.oneMinute, self.fiveMinutes, self.fifteenMinutes) = (values[0], values[1], values[2])
    }
}

/// Seconds since the machine started, and seconds that its processors idled, from `/proc/uptime`. Spec: proc(5).
package struct Uptime: Sendable, Hashable {
    package var seconds = 0.0
    /// The sum over all processors.
    package var idleSeconds = 0.0

    package init() {}

    /// What cannot be read is 0.
    package init(_ text: String) {
        let values = text.split(whereSeparator: \.isWhitespace).prefix(2).map { word in
            Double(word).flatMap { $0.isFinite && $0 >= 0 ? $0 : nil } ?? 0
        }
        guard values.count == 2 else { return }
        (self.seconds, self.idleSeconds) = (values[0], values[1])
    }
}
