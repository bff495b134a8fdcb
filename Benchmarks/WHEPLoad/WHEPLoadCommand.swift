import ArgumentParser
import Glibc
import SecureRTP

/// Puts WebRTC viewers on a server and measures what it delivers and costs.
@main
struct WHEPLoadCommand: ParsableCommand {
    enum Profile: String, ExpressibleByArgument {
        case gcm, gcm256, cm

        var profile: SRTPProfile {
            switch self {
            case .gcm: .aeadAES128GCM
            case .gcm256: .aeadAES256GCM
            case .cm: .aes128CMSHA1With80BitTag
            }
        }
    }

    static let configuration = CommandConfiguration(
        commandName: "weir-bench-whep",
        abstract: "A load of WHEP viewers from one process.",
        discussion: """
            Viewers are opened at --ramp a second, then the load runs for --warmup seconds, then --seconds are
            measured. Each does what a browser does: checks of ICE, the handshake of DTLS, reports and feedback.

              weir-bench-whep --url http://127.0.0.1:8080/live/demo/whep --sessions 300 --server-pid 4242
            """)

    @Option(help: "Where the offers go: http:// with a numeric IPv4 host.")
    var url: String

    @Option(help: "How many viewers.")
    var sessions = 300

    @Option(help: "The protection that viewers offer: gcm, gcm256 or cm.")
    var profile = Profile.gcm

    @Option(help: "Viewers opened in a second.")
    var ramp = 50

    @Option(help: "Seconds between the last viewer and the measuring window.")
    var warmup = 5.0

    @Option(help: "Seconds of the measuring window.")
    var seconds = 20.0

    @Option(help: "How many viewers are decrypted to the end; by default one in 20. The others' packets are counted.")
    var sample: Int?

    @Option(help: "A gap between video packets longer than this many milliseconds is a stall.")
    var stall = 1000

    @Option(help: "Milliseconds between two messages of transport-wide feedback of a viewer; 0 offers none.")
    var feedback = 50

    @Option(help: "Sockets of viewers that play are emptied every so many milliseconds.")
    var drain = 20

    @Flag(
        inversion: .prefixedNo,
        help: "Take what the server sent with one call as one message (UDP_GRO). Without, the kernel cuts it first.")
    var gro = true

    @Option(help: "A process of the server to measure; repeatable.")
    var serverPid: [Int32] = []

    @Flag(help: "Print JSON instead of a line for people.")
    var json = false

    func validate() throws {
        guard (1...15_000).contains(self.sessions), (1...10_000).contains(self.ramp), self.drain > 0 else {
            throw ValidationError("--sessions must be 1 to 15,000, --ramp 1 to 10,000, --drain positive.")
        }
        guard (0...3600).contains(self.warmup), self.seconds > 0, self.seconds <= 3600 * 3 else {
            throw ValidationError("--warmup must be at most an hour, --seconds positive and at most three hours.")
        }
        guard self.stall > 0, (0...10_000).contains(self.feedback), (self.sample ?? 0) >= 0 else {
            throw ValidationError("--stall must be positive, --feedback 0 to 10,000, --sample not negative.")
        }
    }

    func run() throws {
        guard let endpoint = Endpoint(self.url) else {
            throw ValidationError("--url must be http:// with a numeric IPv4 host: '\(self.url)'.")
        }
        var settings = DTLSConfiguration.Settings()
        settings.profiles = [self.profile.profile]
        let certificate = try DTLSCertificate.makeSelfSigned(now: Int64(time(nil)), lifetime: 86_400)
        let common = Viewer.Common(
            endpoint: endpoint, dtls: try DTLSConfiguration(certificate: certificate, settings: settings),
            joinsDatagrams: self.gro, feedbackNanos: UInt64(self.feedback) * 1_000_000,
            stallMicros: Int64(self.stall) * 1_000)
        var plan = WHEPLoadPlan()
        plan.sessions = self.sessions
        plan.ramp = self.ramp
        plan.warmupNanos = UInt64(self.warmup * 1e9)
        plan.windowNanos = UInt64(self.seconds * 1e9)
        plan.sampled = min(self.sample ?? (self.sessions + 19) / 20, self.sessions)
        plan.drainNanos = UInt64(self.drain) * 1_000_000
        plan.servers = self.serverPid
        var engine = try WHEPLoadEngine(plan: plan, common: common)
        let report = WHEPLoadReport(try engine.run(), plan: plan)
        print(self.json ? try report.json() : report.line())
    }
}
