import ProcessStats
import Testing

@Suite("What the kernel tells of itself")
struct ParserTests {
    private static let stat = """
        4217 (weir) origin) S 1 4217 4210 34816 4217 4194560 120 3 7 1 250 90 4 5 20 0 9 0 88000 734003200 5120 \
        18446744073709551615 94000 95000 140000 0 0 0 0 4096 81155 0 0 0 17 3 0 0 11 6 2 0 0 0 0 0 0 0 0
        """

    @Test("The process's fields are found by name though its name holds spaces and parentheses")
    func processFields() throws {
        let stat = try #require(SelfStat(Self.stat))
        #expect(stat.pid == 4217)
        #expect(stat.comm == "weir) origin")
        #expect(stat.state == "S")
        #expect(stat.field("ppid") == 1)
        #expect(stat.field("minflt") == 120)
        #expect(stat.field("utime") == 250)
        #expect(stat.field("stime") == 90)
        #expect(stat.ticks == 340)
        #expect(stat.field("num_threads") == 9)
        #expect(stat.field("vsize") == 734_003_200)
        #expect(stat.field("rss") == 5_120)
        #expect(stat.field("rsslim") == .max)
        #expect(stat.field("processor") == 3)
        #expect(stat.field("delayacct_blkio_ticks") == 11)
        #expect(stat.field("cguest_time") == 2)
        #expect(stat.field("nonsense") == nil)
    }

    @Test("A cut text gives what there is, or nothing, and never traps")
    func cutProcess() throws {
        for end in 0...Self.stat.count {
            let text = String(Self.stat.prefix(end))
            guard let stat = SelfStat(text) else { continue }
            #expect(stat.fields.count == SelfStat.fieldNames.count)
        }
        #expect(SelfStat("") == nil)
        #expect(SelfStat("12 origin S 1") == nil)
        #expect(SelfStat("x (origin) S 1") == nil)
        #expect(SelfStat(")12 (") == nil)
        #expect(SelfStat("12 (origin) Sleeping 1") == nil)
        #expect(try #require(SelfStat("12 (o) R 7 x -3")).fields.prefix(4) == [7, 0, -3, 0])
    }

    @Test("Ticks of processors give the share that worked, guests not counted twice")
    func ticks() throws {
        let text =
            "cpu  100 5 50 800 40 3 2 1 60 0\ncpu0 50 5 25 400 20 3 2 1 30 0\ncpu1 50 0 25 400 20 0 0 0 30 0\nintr 5\n"
        let first = try #require(ProcessorTicks(text))
        #expect(first.total == 1_001)
        #expect(first.guest == 60)
        #expect(ProcessorTicks.processorCount(text) == 2)
        let second = try #require(ProcessorTicks("cpu  150 5 75 1000 65 3 2 1 90 0"))
        #expect(second.busyShare(since: first) == 0.25)
        #expect(first.busyShare(since: first) == 0)
        #expect(first.busyShare(since: second) == 0)
        #expect(try #require(ProcessorTicks("cpu 1 2")).total == 3)
        #expect(ProcessorTicks("cpu0 1 2 3") == nil)
        #expect(ProcessorTicks("") == nil)
        #expect(try #require(ProcessorTicks("cpu  \(UInt64.max) 1 x")).total == 0)
    }

    @Test("Memory in use is what programs cannot give back")
    func memory() throws {
        let text = "MemTotal:  8000 kB\nMemFree: 1000 kB\nMemAvailable:  6000 kB\nBuffers: 500 kB\nCached: 4000 kB\n"
        let memory = try #require(MemoryInfo(text + "SwapTotal: 100 kB\nSwapFree: 25 kB\nHugePages_Total: 0\n"))
        #expect(memory.inUse == 2_000)
        #expect(memory.usedShare == 0.25)
        #expect(memory.usedSwapShare == 0.75)
        #expect(memory.buffers == 500)
        #expect(memory.cached == 4_000)
    }

    @Test("Memory of old kernels, and of texts that contradict themselves")
    func oddMemory() throws {
        let old = try #require(MemoryInfo("MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 5 kB\nCached: 15 kB\n"))
        #expect(old.available == 30)
        #expect(old.usedSwapShare == 0)
        let odd = try #require(MemoryInfo("MemTotal: 100\nMemFree: 900\nMemAvailable: 200\nSwapTotal: 1\nSwapFree: 9"))
        #expect(odd.free == 100)
        #expect(odd.inUse == 0)
        #expect(odd.usedSwapShare == 0)
        #expect(MemoryInfo("MemFree: 3 kB") == nil)
        #expect(MemoryInfo("MemTotal: many kB") == nil)
        #expect(MemoryInfo("") == nil)
    }

    @Test("Whole disks are counted, partitions and devices made of others are not")
    func disks() {
        let text = """
               7       0 loop0 9 9 900 9 9 9 900 9 0 9 9
             259       0 nvme0n1 10 0 100 5 20 0 200 7 0 40 12
             259       1 nvme0n1p1 8 0 80 5 18 0 180 7 0 39 12
               8       0 sda 1 0 10 1 1 0 30 1 0 5 2 0 0 0 0
               8       1 sda1 1 0 10 1 1 0 30 1 0 5 2
               8      16 sdb 1 0 2 1 1 0 4 1 0 6 2
             253       0 dm-0 9 0 999 9 9 0 999 9 0 9 9
             254       0 vda 1 0 1
            """
        let disks = DiskCounters(text)
        #expect(disks.readBytes == 112 * 512)
        #expect(disks.writtenBytes == 234 * 512)
        #expect(disks.busyMillis == ["nvme0n1": 40, "sda": 5, "sdb": 6])
        #expect(DiskCounters("") == DiskCounters())
    }

    @Test("Disks that stand for no number, and thousands of them, are bounded")
    func manyDisks() {
        let many = (0..<1_000).map { "8 0 disk\($0)x 1 0 1 1 1 0 1 1 0 1 1" }.joined(separator: "\n")
        #expect(DiskCounters(many).busyMillis.count == DiskCounters.maximumDisks)
        #expect(DiskCounters("8 0 7 a b c d e f g h i j").busyMillis == ["7": 0])
    }

    @Test("Interfaces are told apart, loopback left out")
    func interfaces() {
        let text = """
            Inter-|   Receive                                                |  Transmit
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
                lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0
              eth0:1000 2 0 0 0 0 0 0 2000 3 0 0 0 0 0 0
             wlan0: 10 2 0 0 0 0 0 0 20 3 0 0 0 0 0 0
               bad: 1 2 3
            """
        let network = NetworkCounters(text)
        #expect(network.receivedBytes == ["eth0": 1_000, "wlan0": 10])
        #expect(network.sentBytes == ["eth0": 2_000, "wlan0": 20])
        #expect(network.sum { $0 == "eth0" } == (1_000, 2_000))
        #expect(network.sum { _ in true } == (1_010, 2_020))
    }

    @Test("Sockets of both families are added up")
    func sockets() {
        let counts = SocketCounts(
            sockstat: "sockets: used 300\nTCP: inuse 5 orphan 0 tw 7 alloc 9 mem 3\nUDP: inuse 4 mem 2\n",
            sockstat6: "TCP6: inuse 11\nUDP6: inuse 2\n",
            snmp: "Ip: A B\nIp: 1 2\nTcp: RtoMin CurrEstab InSegs\nTcp: 200 13 77\n")
        #expect(counts.tcp == 23)
        #expect(counts.timeWait == 7)
        #expect(counts.udp == 6)
        #expect(counts.established == 13)
        #expect(SocketCounts(sockstat: "", sockstat6: "", snmp: "") == SocketCounts())
        #expect(
            SocketCounts(sockstat: "TCP: inuse", sockstat6: "TCP6: inuse -5", snmp: "Tcp: CurrEstab") == SocketCounts())
        #expect(SocketCounts(sockstat: "", sockstat6: "", snmp: "Tcp: A CurrEstab\nTcp: 1").established == 0)
    }

    @Test("Load and uptime are read, nonsense counts as 0")
    func loadAndUptime() {
        let load = LoadAverages("0.50 1.25 2.00 3/400 5000\n")
        #expect([load.oneMinute, load.fiveMinutes, load.fifteenMinutes] == [0.5, 1.25, 2])
        #expect(LoadAverages("nan inf -1") == LoadAverages())
        #expect(LoadAverages("1 2") == LoadAverages())
        let uptime = Uptime("100.5 350.25\n")
        #expect([uptime.seconds, uptime.idleSeconds] == [100.5, 350.25])
        #expect(Uptime("") == Uptime())
    }

    @Test("Limits of containers are read in both versions of control groups")
    func controlGroups() {
        let second = CgroupLimits(cpuMax: "150000 100000\n", memoryMax: "1048576\n", memoryCurrent: "4096\n")
        #expect(second.processors == 1.5)
        #expect(second.memoryBytes == 1 << 20)
        #expect(second.memoryUsedBytes == 4_096)
        let unlimited = CgroupLimits(cpuMax: "max 100000\n", memoryMax: "max\n", memoryCurrent: "4096\n")
        #expect(unlimited.processors == nil)
        #expect(unlimited.memoryBytes == nil)
        let first = CgroupLimits(quota: "50000\n", period: "100000\n", memoryLimit: "2048\n", memoryUsage: "1\n")
        #expect(first.processors == 0.5)
        #expect(first.memoryBytes == 2_048)
        let free = CgroupLimits(
            quota: "-1\n", period: "100000\n", memoryLimit: "9223372036854771712\n", memoryUsage: "1\n")
        #expect(free.processors == nil)
        #expect(free.memoryBytes == nil)
        #expect(CgroupLimits(cpuMax: "", memoryMax: "", memoryCurrent: "") == CgroupLimits())
        #expect(CgroupLimits(cpuMax: "100 0", memoryMax: "", memoryCurrent: "").processors == nil)
        #expect(CgroupLimits(cpuMax: "100000", memoryMax: "", memoryCurrent: "").processors == 1)
    }

    @Test(
        "The command line is shown without secrets",
        arguments: [
            (["origin", "--config", "a.yaml"], "origin --config a.yaml"),
            (["origin", "--api-token=abc"], "origin --api-token=***"),
            (["origin", "--api-token", "abc", "x"], "origin --api-token *** x"),
            (["origin", "--set", "cluster.secret=abc"], "origin --set cluster.secret=***"),
            (["origin", "--token", "--verbose", "x"], "origin --token --verbose x"),
            (["/opt/keys/origin"], "/opt/keys/origin"), ([], ""),
        ])
    func commandLine(arguments: [String], shown: String) {
        #expect(ProcessFacts.masked(arguments) == shown)
    }

    @Test(
        "Addresses that the Internet does not route are inner ones",
        arguments: [
            ("10.1.2.3", true), ("192.168.0.1", true), ("172.16.0.1", true), ("172.32.0.1", false), ("8.8.8.8", false),
            ("100.64.0.1", true), ("100.128.0.1", false), ("169.254.1.1", true), ("fe80::1", true), ("fd00::1", true),
            ("2001:db8::1", false), ("::1", true), ("127.0.0.1", true), ("10.1.2", false), ("", false),
        ])
    func inner(address: String, isInner: Bool) {
        #expect(ProcessFacts.isInner(address) == isInner)
    }
}
