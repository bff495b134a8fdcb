import Foundation
import LoadSupport

/// The result of a run as it is printed: one line for people, JSON for programs.
///
/// CPU is in per cent of one core; bit rates are in bits per second; memory is in bytes; times are in milliseconds.
struct LoadReport: Codable {
    struct Viewers: Codable {
        let requested: Int
        let up: Int
        let expectedBitrate: Double
        let deliveredBitrateMean: Double
        let deliveredBitrateMin: Double
        let deliveredBitrateMax: Double
        /// Gaps longer than the threshold: between video frames of sampled viewers, between bytes of counted ones.
        let stalls: Int
        let longestGapMillis: Double
        let sampled: Int
        let videoFramesPerSecond: Double
        let audioFramesPerSecond: Double
        let timestampsBack: Int
        /// Packets of a transport stream that are missing or damaged, of sampled viewers, from their beginning.
        let transportStreamErrors: Int
        let lagP50Millis: Double
        let lagP99Millis: Double
        let lagMaxMillis: Double
    }

    struct FirstFrame: Codable {
        let count: Int
        let p50Millis: Double
        let p95Millis: Double
        let p99Millis: Double
        let maxMillis: Double
    }

    struct Publishers: Codable {
        let requested: Int
        let up: Int
        let expectedBitrate: Double
        let sentBitrateMean: Double
        let messagesPerSecond: Double
        /// Messages that this program itself sent more than 100 ms late: if there are any, it was the bottleneck.
        let lateMessages: Int
    }

    struct Server: Codable {
        let cpuPercent: Double
        let busiestThreadPercent: Double
        let residentBytesBefore: Int
        let residentBytes: Int
        let proportionalBytes: Int
        let residentBytesPerConnection: Int
        let proportionalBytesPerConnection: Int
    }

    struct Machine: Codable {
        let cpuPercent: Double
        let stolenPercent: Double
        let loadGeneratorPercent: Double
    }

    let protocolName: String
    let windowSeconds: Double
    let viewers: Viewers?
    let firstFrame: FirstFrame?
    let publishers: Publishers?
    let server: Server?
    let machine: Machine
    let failures: [String: Int]

    init(_ result: LoadResult, plan: LoadPlan, expectedBitrate: Double) {
        let nanos = Double(result.after.taken - result.before.taken)
        let seconds = nanos / 1e9
        func percent(_ keyPath: KeyPath<SystemProbe, UInt64>) -> Double {
            let used = Double(result.after[keyPath: keyPath]) - Double(result.before[keyPath: keyPath])
            return (used / nanos * 10_000).rounded() / 100
        }
        self.protocolName = plan.viewers > 0 ? plan.viewerProtocol : "publish"
        self.windowSeconds = seconds
        self.failures = result.failures
        self.machine = Machine(
            cpuPercent: percent(\.machineNanos), stolenPercent: percent(\.stolenNanos),
            loadGeneratorPercent: percent(\.loadNanos))
        self.viewers = plan.viewers == 0 ? nil : Self.viewers(result, plan, seconds, expectedBitrate)
        let first = result.firstFrame
        self.firstFrame =
            first.count == 0
            ? nil
            : FirstFrame(
                count: first.count, p50Millis: first.percentile(0.5), p95Millis: first.percentile(0.95),
                p99Millis: first.percentile(0.99), maxMillis: first.maximum)
        self.publishers = plan.publishers == 0 ? nil : Self.publishers(result, plan, seconds)
        self.server = plan.servers.isEmpty ? nil : Self.server(result, plan, percent(\.serverNanos), nanos)
    }

    private static func viewers(
        _ result: LoadResult, _ plan: LoadPlan, _ seconds: Double, _ expected: Double
    ) -> Viewers {
        let rates = result.viewerRates
        let counters = result.counters
        let sampled = min(plan.sampled, plan.viewers)
        let frames = Double(max(1, sampled)) * seconds
        return Viewers(
            requested: plan.viewers, up: result.viewersUp, expectedBitrate: expected,
            deliveredBitrateMean: rates.reduce(0, +) / Double(max(1, rates.count)),
            deliveredBitrateMin: rates.min() ?? 0, deliveredBitrateMax: rates.max() ?? 0,
            stalls: counters.stalls, longestGapMillis: counters.longestGapMillis, sampled: sampled,
            videoFramesPerSecond: Double(counters.videoFrames) / frames,
            audioFramesPerSecond: Double(counters.audioFrames) / frames,
            timestampsBack: counters.timestampsBack, transportStreamErrors: result.transportStreamErrors,
            lagP50Millis: counters.lag.percentile(0.5),
            lagP99Millis: counters.lag.percentile(0.99), lagMaxMillis: counters.lag.maximum)
    }

    private static func publishers(_ result: LoadResult, _ plan: LoadPlan, _ seconds: Double) -> Publishers {
        let counters = result.counters
        return Publishers(
            requested: plan.publishers, up: result.publishersUp, expectedBitrate: result.publishedBitrate,
            sentBitrateMean: Double(counters.publishedBytes) * 8 / seconds / Double(plan.publishers),
            messagesPerSecond: Double(counters.publishedMessages) / seconds,
            lateMessages: counters.publisherLateMessages)
    }

    private static func server(
        _ result: LoadResult, _ plan: LoadPlan, _ cpuPercent: Double, _ nanos: Double
    ) -> Server {
        let connections = plan.viewers + plan.publishers
        let threads = result.after.threadNanos.map { name, used in
            Double(used) - Double(result.before.threadNanos[name] ?? 0)
        }
        let (before, after) = (result.memoryBefore, result.memoryAfter)
        return Server(
            cpuPercent: cpuPercent,
            busiestThreadPercent: ((threads.max() ?? 0) / nanos * 10_000).rounded() / 100,
            residentBytesBefore: before.resident, residentBytes: after.resident,
            proportionalBytes: after.proportional,
            residentBytesPerConnection: (after.resident - before.resident) / connections,
            proportionalBytesPerConnection: (after.proportional - before.proportional) / connections)
    }

    /// The report as pretty JSON with sorted keys.
    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    /// The report for people.
    func line() -> String {
        func text(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }
        var parts: [String] = []
        if let viewers = self.viewers {
            parts.append(
                "\(viewers.up)/\(viewers.requested) \(self.protocolName) viewers at "
                    + "\(text(viewers.deliveredBitrateMean / 1e6, 3)) Mb/s "
                    + "(least \(text(viewers.deliveredBitrateMin / 1e6, 3)), "
                    + "expected \(text(viewers.expectedBitrate / 1e6, 3)))")
            parts.append(
                "\(viewers.stalls) stalls, longest gap \(text(viewers.longestGapMillis, 0)) ms, "
                    + "lag p99 \(text(viewers.lagP99Millis, 0)) ms, "
                    + "\(text(viewers.videoFramesPerSecond))+\(text(viewers.audioFramesPerSecond)) frames/s")
        }
        if let publishers = self.publishers {
            parts.append(
                "\(publishers.up)/\(publishers.requested) publishers at "
                    + "\(text(publishers.sentBitrateMean / 1e6, 3)) Mb/s, "
                    + "\(text(publishers.messagesPerSecond, 0)) messages/s, \(publishers.lateMessages) late")
        }
        if let first = self.firstFrame {
            parts.append("first keyframe p50 \(text(first.p50Millis, 0)) ms, p99 \(text(first.p99Millis, 0)) ms")
        }
        if let server = self.server {
            parts.append(
                "server \(text(server.cpuPercent)) % of a core, "
                    + "\(text(Double(server.residentBytes) / 1e6)) MB, "
                    + "\(text(Double(server.residentBytesPerConnection) / 1e3)) KB a connection")
        }
        parts.append(
            "machine \(text(self.machine.cpuPercent)) %, load generator \(text(self.machine.loadGeneratorPercent)) %")
        for (reason, count) in self.failures.sorted(by: { $0.key < $1.key }) { parts.append("\(count)× \(reason)") }
        return parts.joined(separator: "; ")
    }
}
