import Foundation
import SecureRTP

/// The result of a run as it is printed: one line for people, JSON for programs.
///
/// CPU is in per cent of one core; bit rates are in bits per second; memory is in bytes.
struct WHEPLoadReport: Codable {
    struct Sessions: Codable {
        let requested: Int
        /// Those whose handshake ended well.
        let connected: Int
        /// Those that received packets in the window's last second.
        let playing: Int
        let profiles: [String: Int]
        /// Where some of the others are, for `/rtc/v1/diagnose/`.
        let silent: [String]
    }

    /// How long something took from the start of the request's connection.
    struct Times: Codable {
        let count: Int
        let p50Millis: Double
        let p99Millis: Double
        let maxMillis: Double

        init(_ nanos: [UInt64]) {
            let sorted = nanos.sorted().map { Double($0) / 1e6 }
            func percentile(_ share: Double) -> Double {
                sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
            }
            self.count = sorted.count
            self.p50Millis = percentile(0.5)
            self.p99Millis = percentile(0.99)
            self.maxMillis = sorted.last ?? 0
        }
    }

    struct Packets: Codable {
        let perSecond: Double
        /// SRTP packets, without what UDP and IP add.
        let bitratePerSession: Double
        let bytesMean: Double
        let lost: Int
        let lossPercent: Double
        let late: Int
        let controlPerSecond: Double
        /// Gaps between video packets that are longer than the threshold; the longest one since the start.
        let stalls: Int
        let longestGapMillis: Double
    }

    struct Sampled: Codable {
        let sessions: Int
        let videoFramesPerSecond: Double
        let keyframesPerSecond: Double
        let audioFramesPerSecond: Double
        let brokenFrames: Int
        let undecryptable: Int
    }

    struct Server: Codable {
        let cpuPercent: Double
        let microsPerPacket: Double
        let packetsPerSecondPerCore: Double
        let residentBytesBefore: Int
        let residentBytes: Int
        let residentBytesPerSession: Int
    }

    struct Machine: Codable {
        let cpuPercent: Double
        let microsPerPacket: Double
        let stolenPercent: Double
        let loadGeneratorPercent: Double
        /// Messages that one receive of the load generator found, and datagrams that one message joined.
        let messagesPerReceive: Double
    }

    let windowSeconds: Double
    let sessions: Sessions
    let answer: Times
    let handshake: Times
    let firstPacket: Times
    let firstKeyframe: Times
    let packets: Packets
    let sampled: Sampled
    let server: Server?
    let machine: Machine
    let failures: [String: Int]

    init(_ result: WHEPLoadResult, plan: WHEPLoadPlan) {
        let nanos = Double(result.after.taken - result.before.taken)
        let seconds = nanos / 1e9
        func used(_ keyPath: KeyPath<SystemProbe, UInt64>) -> Double {
            Double(result.after[keyPath: keyPath]) - Double(result.before[keyPath: keyPath])
        }
        func percent(_ nanosUsed: Double) -> Double { (nanosUsed / nanos * 10_000).rounded() / 100 }
        func times(_ keyPath: KeyPath<Viewer.Milestones, UInt64?>) -> Times {
            Times(
                result.viewers.compactMap { viewer in
                    viewer.milestones[keyPath: keyPath].map { $0 - viewer.milestones.opened }
                })
        }
        self.windowSeconds = seconds
        self.answer = times(\.answered)
        self.handshake = times(\.connected)
        self.firstPacket = times(\.firstPacket)
        self.firstKeyframe = times(\.firstKeyframe)
        var profiles: [String: Int] = [:]
        for case let profile? in result.viewers.map(\.profile) { profiles[profile.name, default: 0] += 1 }
        self.sessions = Sessions(
            requested: plan.sessions, connected: self.handshake.count,
            playing: result.viewers.count - result.silent.count,
            profiles: profiles, silent: result.silent.compactMap(\.location).prefix(8).map { String($0) })
        var failures: [String: Int] = [:]
        for case let failure? in result.viewers.map(\.failure) { failures[failure, default: 0] += 1 }
        self.failures = failures
        let received = result.received
        self.packets = Self.packets(received, plan, seconds)
        let frames = Double(max(1, plan.sampled)) * seconds
        self.sampled = Sampled(
            sessions: plan.sampled, videoFramesPerSecond: Double(received.videoFrames) / frames,
            keyframesPerSecond: Double(received.keyframes) / frames,
            audioFramesPerSecond: Double(received.audioFrames) / frames, brokenFrames: received.brokenFrames,
            undecryptable: received.undecryptable)
        let count = Double(max(1, received.packets))
        let server = used(\.serverNanos)
        self.server =
            plan.servers.isEmpty
            ? nil
            : Server(
                cpuPercent: percent(server), microsPerPacket: server / 1e3 / count,
                packetsPerSecondPerCore: server > 0 ? count / server * 1e9 : 0,
                residentBytesBefore: result.memoryBefore, residentBytes: result.memoryAfter,
                residentBytesPerSession: (result.memoryAfter - result.memoryBefore) / plan.sessions)
        let machine = used(\.machineNanos)
        self.machine = Machine(
            cpuPercent: percent(machine), microsPerPacket: machine / 1e3 / count,
            stolenPercent: percent(used(\.stolenNanos)), loadGeneratorPercent: percent(used(\.loadNanos)),
            messagesPerReceive: Double(result.receivedMessages) / Double(max(1, result.receiveCalls)))
    }

    private static func packets(_ received: ReceivedTotals, _ plan: WHEPLoadPlan, _ seconds: Double) -> Packets {
        // A late packet was counted as missing first.
        let lost = max(0, received.expected - received.packets)
        return Packets(
            perSecond: Double(received.packets) / seconds,
            bitratePerSession: Double(received.bytes) * 8 / seconds / Double(plan.sessions),
            bytesMean: Double(received.bytes) / Double(max(1, received.packets)), lost: lost,
            lossPercent: Double(lost) / Double(max(1, received.expected)) * 100, late: received.late,
            controlPerSecond: Double(received.controlPackets) / seconds, stalls: received.stalls,
            longestGapMillis: Double(received.longestGapMicros) / 1e3)
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
        var parts = [
            "\(self.sessions.playing)/\(self.sessions.requested) sessions at "
                + "\(text(self.packets.bitratePerSession / 1e6, 3)) Mb/s, \(text(self.packets.perSecond, 0)) packets/s, "
                + "\(text(self.packets.lossPercent, 3)) % lost, \(self.packets.stalls) stalls",
            "answer p50 \(text(self.answer.p50Millis)) ms, first packet p50 \(text(self.firstPacket.p50Millis)) ms, "
                + "first keyframe p50 \(text(self.firstKeyframe.p50Millis)) ms, "
                + "p99 \(text(self.firstKeyframe.p99Millis)) ms",
            "\(self.sampled.sessions) sampled: \(text(self.sampled.videoFramesPerSecond)) + "
                + "\(text(self.sampled.audioFramesPerSecond)) frames/s, \(self.sampled.brokenFrames) broken, "
                + "\(self.sampled.undecryptable) undecryptable",
        ]
        if let server = self.server {
            parts.append(
                "server \(text(server.cpuPercent)) % of a core, \(text(server.microsPerPacket, 2)) µs a packet, "
                    + "\(text(Double(server.residentBytesPerSession) / 1e3)) KB a session")
        }
        parts.append(
            "machine \(text(self.machine.cpuPercent)) %, load generator \(text(self.machine.loadGeneratorPercent)) %")
        for (reason, count) in self.failures.sorted(by: { $0.key < $1.key }) { parts.append("\(count)× \(reason)") }
        return parts.joined(separator: "; ")
    }
}
