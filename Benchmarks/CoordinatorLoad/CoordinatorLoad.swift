import Foundation
import Media
import Placement
import Synchronization

/// The threads that play a cluster: heartbeats at their pace, claims at theirs, lookups as fast as they are answered.
final class CoordinatorLoad: Sendable {
    struct Settings: Sendable {
        var port: UInt16
        var heartbeatMillis: UInt64
        var claimsPerSecond: Double
        /// Seconds for which a claimed stream is held.
        var holdSeconds: Double
    }

    /// What a node sends, with and without what it sees of its streams.
    struct Heartbeats: Sendable {
        var full: [UInt8]
        var short: [UInt8]
        /// Every how manyth is a full one.
        var interval: Int

        /// Bytes of one, on the average.
        var meanBytes: Double {
            Double(self.full.count + self.short.count * (self.interval - 1)) / Double(self.interval)
        }
    }

    private let cluster: SimulatedCluster
    private let settings: Settings
    let heartbeats = Latencies()
    let claims = Latencies()
    let releases = Latencies()
    let lookups = Latencies()
    let watchedBytes = Atomic<Int>(0)
    private let isOver = Atomic<Bool>(false)
    private let runs = DispatchGroup()

    init(_ cluster: SimulatedCluster, _ settings: Settings) {
        self.cluster = cluster
        self.settings = settings
    }

    private func thread(_ body: @escaping @Sendable () -> Void) {
        self.runs.enter()
        let thread = Thread {
            body()
            self.runs.leave()
        }
        thread.stackSize = 512 << 10
        thread.start()
    }

    private var goesOn: Bool { !self.isOver.load(ordering: .relaxed) }

    /// All nodes join and announce what they hold. Returns their heartbeats.
    func register() throws -> [Heartbeats] {
        let connection = HTTPConnection(port: self.settings.port)
        var revision: UInt64 = 0
        for node in self.cluster.nodes {
            let answer = try connection.ask(node.register)
            revision = try JSONDecoder().decode(HeartbeatAnswer.self, from: Data(answer.body)).originsRevision
        }
        return try self.cluster.nodes.map { node in
            Heartbeats(
                full: try self.cluster.heartbeat(node, originsRevision: revision, withFacts: true),
                short: try self.cluster.heartbeat(node, originsRevision: revision, withFacts: false),
                interval: SimulatedCluster.factsInterval(node))
        }
    }

    /// Each node sends its heartbeat once a period, spread over it; some threads share the nodes.
    func startHeartbeats(_ heartbeats: [Heartbeats], threads: Int) {
        let period = self.settings.heartbeatMillis * 1_000_000
        let start = monotonicNanos()
        for number in 0..<threads {
            let mine = heartbeats.enumerated().filter { $0.offset % threads == number }
            self.thread {
                let connection = HTTPConnection(port: self.settings.port)
                var round: UInt64 = 0
                while self.goesOn {
                    for (offset, heartbeat) in mine {
                        let share = period * UInt64(offset) / UInt64(heartbeats.count)
                        self.sleep(until: start + round * period + share)
                        guard self.goesOn else { return }
                        let isFull = (round + UInt64(offset)) % UInt64(heartbeat.interval) == 0
                        self.measure(self.heartbeats) {
                            _ = try connection.ask(isFull ? heartbeat.full : heartbeat.short)
                        }
                    }
                    round += 1
                }
            }
        }
    }

    /// Every node follows the changes, and keeps a poll for requests open. A thread for each: they sleep in the kernel.
    func startWatches(withPolls: Bool) {
        for node in self.cluster.nodes {
            self.thread {
                while self.goesOn {
                    let connection = HTTPConnection(port: self.settings.port)
                    if (try? connection.send(node.watch)) != nil {
                        let count = connection.discard { !self.goesOn }
                        self.watchedBytes.wrappingAdd(count, ordering: .relaxed)
                    }
                    usleep(200_000)
                }
            }
            guard withPolls else { continue }
            self.thread {
                let connection = HTTPConnection(port: self.settings.port)
                while self.goesOn {
                    if (try? connection.ask(node.poll)) == nil { usleep(1_000_000) }
                }
            }
        }
    }

    /// Publishers come and go: claim, live, and a while later a release.
    func startClaims() {
        guard self.settings.claimsPerSecond > 0 else { return }
        let interval = UInt64(1e9 / self.settings.claimsPerSecond)
        let hold = UInt64(self.settings.holdSeconds * 1e9)
        self.thread {
            let connection = HTTPConnection(port: self.settings.port)
            let origins = Array(self.cluster.origins)
            var held: [(key: StreamKey, epoch: UInt64, node: SimulatedCluster.Node, until: UInt64)] = []
            var next = monotonicNanos()
            var number = 0
            while self.goesOn {
                self.sleep(until: next)
                next += interval
                let node = origins[number % origins.count]
                number += 1
                guard let key = try? StreamKey(app: "live", name: "guest-\(number % 100_000)") else { continue }
                self.measure(self.claims) {
                    let answer = try connection.ask(try self.cluster.claim(key, node))
                    let grant = try JSONDecoder().decode(ClaimGrant.self, from: Data(answer.body))
                    held.append((key, grant.epoch, node, monotonicNanos() + hold))
                }
                if let last = held.last, last.key == key {
                    self.measure(self.releases) {
                        _ = try connection.ask(try self.cluster.renew(key, epoch: last.epoch, node))
                    }
                }
                while let first = held.first, first.until <= monotonicNanos() {
                    held.removeFirst()
                    self.measure(self.releases) {
                        _ = try connection.ask(
                            try self.cluster.release(first.key, epoch: first.epoch, first.node))
                    }
                }
            }
        }
    }

    /// As many connections ask for routes, each again as soon as it has its answer.
    func startLookups(connections: Int) {
        for number in 0..<connections {
            self.thread {
                let connection = HTTPConnection(port: self.settings.port)
                var index = number * 7_919
                while self.goesOn {
                    index += 101
                    let request = self.cluster.lookups[index % self.cluster.lookups.count]
                    self.measure(self.lookups) { _ = try connection.ask(request) }
                }
            }
        }
    }

    func stop() { self.isOver.store(true, ordering: .relaxed) }

    private func measure(_ latencies: Latencies, _ body: () throws -> Void) {
        let start = monotonicNanos()
        do {
            try body()
            latencies.add(nanos: monotonicNanos() - start)
        } catch {
            latencies.fail(error)
            if self.goesOn { usleep(10_000) }
        }
    }

    private func sleep(until time: UInt64) {
        let now = monotonicNanos()
        guard time > now else { return }
        usleep(UInt32(clamping: (time - now) / 1_000))
    }
}
