import ArgumentParser

/// Puts SRT players on a server and measures what it delivers and costs.
@main
struct SRTLoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weir-bench-srt",
        abstract: "A load of SRT players of one stream from one process.",
        discussion: """
            Players are opened at --ramp a second, then the load runs for --warmup seconds, then --seconds are
            measured. All bytes are read, and each packet's counter is looked at.

              weir-bench-srt --server 127.0.0.1:10080 --stream-id live/demo --players 100 --server-pid 4242
            """)

    @Option(help: "Where players call: a numeric IPv4 address and a port.")
    var server: String

    @Option(help: "The stream id of the players.")
    var streamId: String

    @Option(help: "How many players.")
    var players = 100

    @Option(help: "The passphrase of the connections; without one they are not encrypted.")
    var passphrase: String?

    @Option(help: "The latency that players ask for, in milliseconds.")
    var latency = 120

    @Option(help: "UDP sockets that the players share.")
    var sockets = 4

    @Option(help: "Players opened in a second.")
    var ramp = 50

    @Option(help: "Seconds between the last player and the measuring window.")
    var warmup = 3.0

    @Option(help: "Seconds of the measuring window.")
    var seconds = 10.0

    @Option(help: "A process of the server to measure; repeatable.")
    var serverPid: [Int32] = []

    @Flag(help: "Print JSON instead of a line for people.")
    var json = false

    func validate() throws {
        guard (1...10_000).contains(self.players), (1...10_000).contains(self.ramp) else {
            throw ValidationError("--players and --ramp must be 1 to 10,000.")
        }
        guard (1...64).contains(self.sockets), (0...60_000).contains(self.latency) else {
            throw ValidationError("--sockets must be 1 to 64, --latency 0 to 60,000.")
        }
        guard (0...3600).contains(self.warmup), self.seconds > 0, self.seconds <= 3600 * 3 else {
            throw ValidationError("--warmup must be at most an hour, --seconds positive and at most three hours.")
        }
        guard self.passphrase.map({ (10...79).contains($0.utf8.count) }) ?? true else {
            throw ValidationError("--passphrase must have 10 to 79 bytes.")
        }
    }

    func run() throws {
        guard let server = SRTServerAddress(self.server) else {
            throw ValidationError("--server must be a.b.c.d:port: '\(self.server)'.")
        }
        var plan = SRTLoadPlan(server: server, streamID: self.streamId)
        plan.players = self.players
        plan.passphrase = self.passphrase
        plan.latencyMillis = Int32(self.latency)
        plan.sockets = self.sockets
        plan.ramp = self.ramp
        plan.warmupNanos = UInt64(self.warmup * 1e9)
        plan.windowNanos = UInt64(self.seconds * 1e9)
        plan.servers = self.serverPid
        var engine = try SRTLoadEngine(plan: plan)
        let report = SRTLoadReport(try engine.run(), plan: plan)
        print(self.json ? try report.json() : report.line())
    }
}
