import Foundation
import Glibc
import Media
import NIOCore
import Placement
import ProcessStats
import RTMPServer
import StreamHub
import Synchronization

/// What a node tells of itself: to the coordinator with each heartbeat, and in its API.
final class NodeVitals: Sendable {
    /// Where the numbers come from, beside the streams. What is missing counts as zero.
    struct Sources: Sendable {
        var registry: SessionRegistry?
        var loops: LoopLoad?
        var lag: LoopLagProbe?
        var process: ProcessSampler?
        /// Bits a second that the node may send; 0 when nobody set it.
        var egressCapacity: UInt64 = 0
        /// Used share of the fullest disk that the node writes to, 0…1.
        var diskUsed: @Sendable () -> Double? = { nil }
        /// Words for an operator, from a closed set.
        var alarms: @Sendable () -> [String] = { [] }
        var isRecording: @Sendable (StreamKey) -> Bool = { _ in false }

        init() {}
    }

    let hub: StreamHub
    let claims: StreamClaims
    let sources: Sources
    private let rtmp: RTMPServer
    private let draining = Atomic<Bool>(false)
    private let beats = Atomic<UInt64>(0)
    let startedAt = Date()

    /// What is seen of so many streams goes out with each heartbeat; of twice as many with every second one, and so on
    /// up to `maximumFactsInterval`. In a large cluster the coordinator spends most of its time on reading it.
    private static let streamsWithEachHeartbeat = 20
    private static let maximumFactsInterval = 5

    init(hub: StreamHub, claims: StreamClaims, rtmp: RTMPServer, sources: Sources = Sources()) {
        self.hub = hub
        self.claims = claims
        self.rtmp = rtmp
        self.sources = sources
    }

    /// A name for this run of the process.
    static func newInstance() -> String {
        String(UInt64.random(in: .min ... .max), radix: 36)
    }

    func setDraining(_ isDraining: Bool) { self.draining.store(isDraining, ordering: .relaxed) }
    var isDraining: Bool { self.draining.load(ordering: .relaxed) }

    /// The status for one heartbeat.
    func heartbeat() async -> NodeStatus {
        let snapshots = await self.hub.snapshots()
        let beat = self.beats.wrappingAdd(1, ordering: .relaxed).oldValue
        let hasFacts = beat % UInt64(Self.factsInterval(streams: snapshots.count)) == 0
        return NodeStatus(
            load: self.load(snapshots), streams: self.claims.reports(snapshots), draining: self.isDraining,
            facts: hasFacts ? self.facts(snapshots) : nil, node: self.nodeFacts())
    }

    /// The heartbeats from one with facts to the next.
    static func factsInterval(streams: Int) -> Int {
        min(Self.maximumFactsInterval, 1 + max(0, streams - 1) / Self.streamsWithEachHeartbeat)
    }

    /// The status without what is seen of the streams.
    func status() async -> NodeStatus {
        let snapshots = await self.hub.snapshots()
        return NodeStatus(
            load: self.load(snapshots), streams: self.claims.reports(snapshots), draining: self.isDraining)
    }

    private func load(_ snapshots: [StreamSnapshot]) -> LoadVector {
        let totals = self.sources.registry?.totals()
        let process = self.sources.process?.sample()
        return LoadVector(
            egressBitsPerSecond: totals?.sentBitsPerSecond ?? 0,
            egressCapacityBitsPerSecond: self.sources.egressCapacity,
            busiestLoop: self.sources.loops?.busiest ?? 0,
            memoryBytes: process?.residentBytes ?? Self.residentBytes(),
            memoryLimitBytes: process?.cgroup.memoryBytes ?? 0, streams: snapshots.count,
            viewers: totals?.playerCount ?? snapshots.reduce(0) { $0 + $1.viewers.values.reduce(0, +) },
            loopLagMillis: self.lagMillis())
    }

    private func lagMillis() -> Int {
        let lags = self.sources.lag?.lags().map(\.last.nanoseconds) ?? []
        return Int((lags.max() ?? 0) / 1_000_000)
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
