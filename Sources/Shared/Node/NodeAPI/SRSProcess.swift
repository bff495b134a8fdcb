import NIOCore
import ProcessStats
import StreamHub

/// SRS's figures of the process and the machine.
///
/// Shares are numbers from 0 to 1 except where SRS has percent: `cpu_percent` and `disk_busy_percent` of `summaries`.
struct SRSProcess {
    let services: NodeAPIServices

    private func data(_ members: KeyValuePairs<String, JSONValue?>) -> NodeAPIResponse {
        SRSDirectory.answer(self.services, ["data": .object(members)])
    }

    func summaries() -> NodeAPIResponse {
        let sample = self.services.sampler.sample()
        return self.data([
            "ok": .bool(sample.process != nil), "now_ms": .count(sample.unixMillis), "self": self.ownProcess(sample),
            "system": self.machine(sample).merging(self.network(sample)).merging(self.connections(sample)),
        ])
    }

    private func ownProcess(_ sample: ProcessSample) -> JSONValue {
        let facts = self.services.facts
        let kibibytes = sample.residentBytes / 1_024
        let total = Double(max(1, sample.memory.total))
        return .object([
            "version": .string(self.services.identity.version), "pid": .count(facts.pid),
            "ppid": .count(facts.parentPid), "argv": .string(facts.arguments),
            "cwd": .string(facts.workingDirectory), "mem_kbyte": .count(kibibytes),
            "mem_percent": .number(Double(kibibytes) / total),
            "cpu_percent": .number(sample.rates.processCores * 100),
            "srs_uptime": .count(max(0, sample.unixMillis - self.services.identity.startedMillis) / 1_000),
        ])
    }

    private func machine(_ sample: ProcessSample) -> JSONValue {
        .object([
            "cpu_percent": .number(sample.rates.systemShare * 100),
            "disk_read_KBps": .count(Int(sample.rates.diskReadBytes / 1_024)),
            "disk_write_KBps": .count(Int(sample.rates.diskWrittenBytes / 1_024)),
            "disk_busy_percent": .number(sample.rates.diskBusyShare * 100),
            "mem_ram_kbyte": .count(sample.memory.total), "mem_ram_percent": .number(sample.memory.usedShare),
            "mem_swap_kbyte": .count(sample.memory.swapTotal), "mem_swap_percent": .number(sample.memory.usedSwapShare),
            "cpus": .count(sample.configuredProcessors), "cpus_online": .count(sample.onlineProcessors),
            "uptime": .number(sample.uptime.seconds), "ilde_time": .number(sample.uptime.idleSeconds),
            "load_1m": .number(sample.load.oneMinute), "load_5m": .number(sample.load.fiveMinutes),
            "load_15m": .number(sample.load.fifteenMinutes),
        ])
    }

    private func network(_ sample: ProcessSample) -> JSONValue {
        let inner = self.services.facts.innerInterfaces
        let outside = sample.network.sum { !inner.contains($0) }
        let inside = sample.network.sum { inner.contains($0) }
        let own = self.services.sessions.totals()
        return .object([
            "net_sample_time": .count(sample.unixMillis), "net_recv_bytes": .count(outside.received),
            "net_send_bytes": .count(outside.sent), "net_recvi_bytes": .count(inside.received),
            "net_sendi_bytes": .count(inside.sent), "srs_sample_time": .count(sample.unixMillis),
            "srs_recv_bytes": .count(own.receivedBytes), "srs_send_bytes": .count(own.sentBytes),
        ])
    }

    private func connections(_ sample: ProcessSample) -> JSONValue {
        .object([
            "conn_sys": .count(sample.sockets.tcp), "conn_sys_et": .count(sample.sockets.established),
            "conn_sys_tw": .count(sample.sockets.timeWait), "conn_sys_udp": .count(sample.sockets.udp),
            "conn_srs": .count(self.services.sessions.counts.open),
        ])
    }

    func usage() -> NodeAPIResponse {
        let sample = self.services.sampler.sample()
        let usage = sample.usage
        return self.data([
            "ok": .bool(true), "sample_time": .count(sample.unixMillis),
            "ru_utime": .count(Int(usage.userSeconds)), "ru_stime": .count(Int(usage.systemSeconds)),
            "ru_maxrss": .count(usage.maximumResident), "ru_ixrss": .integer(0), "ru_idrss": .integer(0),
            "ru_isrss": .integer(0), "ru_minflt": .count(usage.minorFaults), "ru_majflt": .count(usage.majorFaults),
            "ru_nswap": .integer(0), "ru_inblock": .count(usage.blocksRead), "ru_oublock": .count(usage.blocksWritten),
            "ru_msgsnd": .integer(0), "ru_msgrcv": .integer(0), "ru_nsignals": .integer(0),
            "ru_nvcsw": .count(usage.voluntarySwitches), "ru_nivcsw": .count(usage.involuntarySwitches),
        ])
    }

    func ownStat() -> NodeAPIResponse {
        let sample = self.services.sampler.sample()
        let head = JSONValue.object([
            "ok": .bool(sample.process != nil), "sample_time": .count(sample.unixMillis),
            "percent": .number(sample.rates.processCores), "pid": .count(sample.process?.pid ?? 0),
            "comm": .string(sample.process?.comm ?? ""), "state": .string(sample.process?.state ?? ""),
        ])
        let fields = sample.process?.fields ?? Array(repeating: 0, count: SelfStat.fieldNames.count)
        let members = zip(SelfStat.fieldNames, fields).map { JSONValue.Member(name: $0, value: .integer($1)) }
        return SRSDirectory.answer(self.services, ["data": head.merging(.object(members))])
    }

    func systemStat() -> NodeAPIResponse {
        let sample = self.services.sampler.sample()
        let ticks = sample.processors
        return self.data([
            "ok": .bool(ticks.total > 0), "sample_time": .count(sample.unixMillis),
            "percent": .number(sample.rates.systemShare), "user": .count(ticks.user), "nice": .count(ticks.nice),
            "sys": .count(ticks.sys), "idle": .count(ticks.idle), "iowait": .count(ticks.iowait),
            "irq": .count(ticks.irq), "softirq": .count(ticks.softirq), "steal": .count(ticks.steal),
            "guest": .count(ticks.guest),
        ])
    }

    func memory() -> NodeAPIResponse {
        let sample = self.services.sampler.sample()
        let memory = sample.memory
        let active = memory.total - memory.free
        let inUse = active - min(active, memory.buffers &+ memory.cached)
        return self.data([
            "ok": .bool(memory.total > 0), "sample_time": .count(sample.unixMillis),
            "percent_ram": .number(memory.usedShare), "percent_swap": .number(memory.usedSwapShare),
            "MemActive": .count(active), "RealInUse": .count(inUse), "NotInUse": .count(memory.total - inUse),
            "MemTotal": .count(memory.total), "MemFree": .count(memory.free), "Buffers": .count(memory.buffers),
            "Cached": .count(memory.cached), "SwapTotal": .count(memory.swapTotal),
            "SwapFree": .count(memory.swapFree),
        ])
    }
}
