import Foundation
import Glibc
import Media
import NIOCore
import Placement
import RTMPServer
import StreamHub
import Synchronization

/// What a node tells of itself: to the coordinator with each heartbeat, and in its API.
final class NodeVitals: Sendable {
    private struct Sample {
        var cpuSeconds: Double
        var at: Double
        var share: Double
    }

    private let hub: StreamHub
    private let claims: StreamClaims
    private let rtmp: RTMPServer
    private let draining = Atomic<Bool>(false)
    private let sample = Mutex(Sample(cpuSeconds: 0, at: 0, share: 0))
    let startedAt = Date()

    init(hub: StreamHub, claims: StreamClaims, rtmp: RTMPServer) {
        self.hub = hub
        self.claims = claims
        self.rtmp = rtmp
    }

    /// A name for this run of the process.
    static func newInstance() -> String {
        String(UInt64.random(in: .min ... .max), radix: 36)
    }

    func setDraining(_ isDraining: Bool) { self.draining.store(isDraining, ordering: .relaxed) }
    var isDraining: Bool { self.draining.load(ordering: .relaxed) }

    func status() async -> NodeStatus {
        let snapshots = await self.hub.snapshots()
        var load = LoadVector()
        load.streams = snapshots.count
        load.viewers = snapshots.reduce(0) { $0 + $1.viewers.values.reduce(0, +) }
        load.busiestLoop = self.cpuShare()
        load.memoryBytes = Self.residentBytes()
        return NodeStatus(load: load, streams: self.claims.reports(snapshots), draining: self.isDraining)
    }

    /// CPU time of the process since the last call, as a share of all cores.
    private func cpuShare() -> Double {
        var usage = rusage()
        guard unsafe getrusage(RUSAGE_SELF.rawValue, &usage) == 0 else { return 0 }
        let seconds =
            Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
        let now = Double(NIODeadline.now().uptimeNanoseconds) / 1e9
        let cores = Double(max(1, System.coreCount))
        return self.sample.withLock { sample in
            if sample.at > 0, now - sample.at > 0.1 {
                sample.share = min(1, (seconds - sample.cpuSeconds) / (now - sample.at) / cores)
            }
            sample = Sample(cpuSeconds: seconds, at: now, share: sample.share)
            return sample.share
        }
    }

    /// Resident memory, from `/proc/self/statm`.
    static func residentBytes() -> UInt64 {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return 0 }
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = UInt64(fields[1]) else { return 0 }
        return pages * UInt64(sysconf(CInt(_SC_PAGESIZE)))
    }

    func snapshots() async -> [StreamSnapshot] { await self.hub.snapshots() }
    var rtmpConnections: Int { self.rtmp.connectionCount }
}
