import Foundation
import LoadSupport

/// The result of a run as it is printed: one line for people, JSON for programs.
///
/// CPU is in per cent of one core; bit rates are in bits per second of the transport stream; memory is in bytes.
struct SRTLoadReport: Codable {
    struct Players: Codable {
        let requested: Int
        /// Those that received bytes in the window's last second.
        let playing: Int
        let bitrateMean: Double
        let bitrateMin: Double
        let messagesPerSecond: Double
        let messageBytesMean: Double
        /// Packets of the transport stream that are missing or damaged.
        let continuityErrors: Int
        let damaged: Int
        /// Packets of SRT: missing at first, sent again, given up, not to be decrypted.
        let lost: Int
        let retransmitted: Int
        let dropped: Int
        let undecrypted: Int
        let acknowledgementsPerSecond: Double
    }

    struct FirstKeyframe: Codable {
        let count: Int
        let p50Millis: Double
        let p99Millis: Double
    }

    struct Server: Codable {
        let cpuPercent: Double
        let playersPerCore: Double
        let microsPerMessage: Double
        let residentBytesPerPlayer: Int
        /// Per cent of one core by the names of the threads.
        let threads: [String: Double]
    }

    struct Machine: Codable {
        let cpuPercent: Double
        let stolenPercent: Double
        let loadGeneratorPercent: Double
    }

    let windowSeconds: Double
    let players: Players
    let firstKeyframe: FirstKeyframe
    let server: Server?
    let machine: Machine
    let failures: [String: Int]

    init(_ result: SRTLoadResult, plan: SRTLoadPlan) {
        let nanos = Double(result.after.taken - result.before.taken)
        let seconds = nanos / 1e9
        func used(_ keyPath: KeyPath<SystemProbe, UInt64>) -> Double {
            Double(result.after[keyPath: keyPath]) - Double(result.before[keyPath: keyPath])
        }
        func percent(_ used: Double) -> Double { (used / nanos * 10_000).rounded() / 100 }
        self.windowSeconds = seconds
        self.failures = result.failures
        var first = MillisHistogram()
        for millis in result.firstKeyframes { first.add(millis) }
        self.firstKeyframe = FirstKeyframe(
            count: first.count, p50Millis: first.percentile(0.5), p99Millis: first.percentile(0.99))
        let players = Self.players(result, plan, seconds)
        self.players = players
        let server = used(\.serverNanos)
        self.server =
            plan.servers.isEmpty
            ? nil
            : Server(
                cpuPercent: percent(server),
                playersPerCore: server > 0 ? Double(players.playing) * nanos / server : 0,
                microsPerMessage: server / 1e3 / max(1, players.messagesPerSecond * seconds),
                residentBytesPerPlayer: (result.memoryAfter - result.memoryBefore) / plan.players,
                threads: Self.threads(result, plan).mapValues(percent))
        self.machine = Machine(
            cpuPercent: percent(used(\.machineNanos)), stolenPercent: percent(used(\.stolenNanos)),
            loadGeneratorPercent: percent(used(\.loadNanos)))
    }

    private static func players(_ result: SRTLoadResult, _ plan: SRTLoadPlan, _ seconds: Double) -> Players {
        var totals = SRTPlayerTotals()
        for player in result.players { totals += player }
        let rates = result.players.map { Double($0.bytes) * 8 / seconds }
        return Players(
            requested: plan.players, playing: result.playing,
            bitrateMean: rates.reduce(0, +) / Double(max(1, rates.count)), bitrateMin: rates.min() ?? 0,
            messagesPerSecond: Double(totals.messages) / seconds,
            messageBytesMean: Double(totals.bytes) / Double(max(1, totals.messages)),
            continuityErrors: totals.continuityErrors, damaged: totals.damaged, lost: totals.lost,
            retransmitted: totals.retransmitted, dropped: totals.dropped, undecrypted: totals.undecrypted,
            acknowledgementsPerSecond: Double(totals.acknowledgements) / seconds)
    }

    /// Nanoseconds by the names of the server's threads.
    private static func threads(_ result: SRTLoadResult, _ plan: SRTLoadPlan) -> [String: Double] {
        var threads: [String: Double] = [:]
        for (thread, nanos) in result.after.threadNanos {
            let used = Double(nanos) - Double(result.before.threadNanos[thread] ?? 0)
            guard used > 0 else { continue }
            threads[SystemProbe.threadName(thread, of: plan.servers), default: 0] += used
        }
        return threads
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
        let players = self.players
        var parts = [
            "\(players.playing)/\(players.requested) players at \(text(players.bitrateMean / 1e6, 3)) Mb/s "
                + "(least \(text(players.bitrateMin / 1e6, 3))), \(text(players.messagesPerSecond, 0)) messages/s of "
                + "\(text(players.messageBytesMean, 0)) bytes",
            "\(players.continuityErrors) gaps, \(players.damaged) damaged, \(players.lost) lost, "
                + "\(players.retransmitted) sent again, \(players.dropped) dropped, "
                + "\(players.undecrypted) undecrypted",
            "first keyframe p50 \(text(self.firstKeyframe.p50Millis, 0)) ms, "
                + "p99 \(text(self.firstKeyframe.p99Millis, 0)) ms",
        ]
        if let server = self.server {
            parts.append(
                "server \(text(server.cpuPercent)) % of a core, \(text(server.microsPerMessage, 2)) µs a message, "
                    + "\(text(server.playersPerCore, 0)) players a core, "
                    + "\(text(Double(server.residentBytesPerPlayer) / 1e3)) KB a player")
            let busiest = server.threads.sorted { $0.value > $1.value }.prefix(6)
            parts.append(busiest.map { "\($0.key) \(text($0.value)) %" }.joined(separator: ", "))
        }
        parts.append(
            "machine \(text(self.machine.cpuPercent)) %, load generator \(text(self.machine.loadGeneratorPercent)) %")
        for (reason, count) in self.failures.sorted(by: { $0.key < $1.key }) { parts.append("\(count)× \(reason)") }
        return parts.joined(separator: "; ")
    }
}
