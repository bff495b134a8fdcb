import ArgumentParser
import Foundation
import Synchronization

/// Plays a large cluster to one coordinator and measures what it answers and costs.
@main
struct CoordinatorLoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weir-bench-coordinator",
        abstract: "Nodes that heartbeat, claim and ask for routes, from one process.",
        discussion: """
            Half of the nodes are origins, which hold the streams; the others are edges. After --warmup seconds, claims
            and heartbeats are measured for --seconds, and then once more beside lookups at full speed.

              weir-bench-coordinator --port 7000 --pid 4242 --secret of-the-cluster
            """)

    @Option(help: "The coordinator's port on 127.0.0.1.")
    var port: UInt16

    @Option(help: "The coordinator's process, for its CPU and memory.")
    var pid: Int32

    @Option(help: "The cluster's secret.")
    var secret: String

    @Option(help: "Nodes in the cluster.")
    var nodes = 200

    @Option(help: "Streams that they hold.")
    var streams = 10_000

    @Option(help: "Milliseconds between two heartbeats of a node.")
    var heartbeat: UInt64 = 1_000

    @Option(help: "Streams that are claimed, and released, in a second.")
    var claims = 20.0

    @Option(help: "Seconds that such a stream is held.")
    var hold = 2.0

    @Option(help: "Connections that ask for routes.")
    var connections = 16

    @Option(help: "Seconds before the first measurement.")
    var warmup = 8.0

    @Option(help: "Seconds of each measurement.")
    var seconds = 15.0

    @Flag(inversion: .prefixedNo, help: "Heartbeats tell what nodes see of their streams.")
    var facts = true

    @Flag(inversion: .prefixedNo, help: "Each node follows the changes, and keeps a poll for requests open.")
    var watches = true

    private struct Phase: Encodable {
        var cores: Double
        var residentMegabytes: Double
        var heartbeats: Latencies.Summary
        var claims: Latencies.Summary
        var renewsAndReleases: Latencies.Summary
        var lookups: Latencies.Summary
    }

    private struct Report: Encodable {
        var nodes: Int
        var streams: Int
        var heartbeatKilobytes: Double
        var steady: Phase
        var lookups: Phase
        var lookupsPerSecond: Double
        /// By what the lookups cost beyond the steady load.
        var lookupsPerSecondAndCore: Double
        var peakMegabytes: Double
        var watchedMegabytes: Double
    }

    func run() throws {
        let cluster = try SimulatedCluster(
            nodes: self.nodes, streams: self.streams, secret: self.secret, withFacts: self.facts)
        let load = CoordinatorLoad(
            cluster,
            CoordinatorLoad.Settings(
                port: self.port, heartbeatMillis: self.heartbeat, claimsPerSecond: self.claims,
                holdSeconds: self.hold))
        let heartbeats = try load.register()
        load.startHeartbeats(heartbeats, threads: 4)
        if self.watches { load.startWatches(withPolls: true) }
        load.startClaims()
        Thread.sleep(forTimeInterval: self.warmup)
        let steady = self.measure(load)
        load.startLookups(connections: self.connections)
        Thread.sleep(forTimeInterval: 1)
        let busy = self.measure(load)
        let peak = ProcessProbe(pid: self.pid)
        load.stop()
        let rate = Double(busy.lookups.count) / self.seconds
        let report = Report(
            nodes: self.nodes, streams: self.streams,
            heartbeatKilobytes: heartbeats.reduce(0) { $0 + $1.meanBytes } / Double(max(1, heartbeats.count)) / 1e3,
            steady: steady,
            lookups: busy, lookupsPerSecond: rate,
            lookupsPerSecondAndCore: rate / max(0.001, busy.cores - steady.cores),
            peakMegabytes: Double(peak.peakBytes) / 1e6,
            watchedMegabytes: Double(load.watchedBytes.load(ordering: .relaxed)) / 1e6)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        print(String(decoding: try encoder.encode(report), as: UTF8.self))
        // The threads that wait in the kernel for a watch need not be waited for.
        Self.exit()
    }

    private func measure(_ load: CoordinatorLoad) -> Phase {
        for latencies in [load.heartbeats, load.claims, load.releases, load.lookups] { latencies.reset() }
        let before = ProcessProbe(pid: self.pid)
        Thread.sleep(forTimeInterval: self.seconds)
        let after = ProcessProbe(pid: self.pid)
        return Phase(
            cores: after.cores(since: before), residentMegabytes: Double(after.residentBytes) / 1e6,
            heartbeats: load.heartbeats.summary, claims: load.claims.summary,
            renewsAndReleases: load.releases.summary, lookups: load.lookups.summary)
    }
}
