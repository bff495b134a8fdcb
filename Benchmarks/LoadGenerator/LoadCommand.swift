import ArgumentParser
import Foundation

/// Puts players by RTMP, HTTP-FLV and HTTP-TS and RTMP publishers on a server and measures what it delivers and costs.
@main
struct LoadCommand: ParsableCommand {
    enum ViewerProtocol: String, ExpressibleByArgument {
        case rtmp, flv, ts
    }

    static let configuration = CommandConfiguration(
        commandName: "weir-bench-load",
        abstract: "A load of RTMP, HTTP-FLV and HTTP-TS viewers and RTMP publishers from one process.",
        discussion: """
            Viewers are opened at --ramp a second, then the load runs for --warmup seconds, then --seconds are
            measured. Counted viewers do not answer RTMP pings: keep a run shorter than the server's ping timeout.

              weir-bench-load --url rtmp://127.0.0.1/live/demo --connections 1000 --server-pid 4242
              weir-bench-load --publishers 500 --publish-url rtmp://127.0.0.1/live/p{n} --media bench.flv
            """)

    @Option(help: "What viewers speak; by default what the URL says (rtmp://, or http:// and its ending).")
    var `protocol`: ViewerProtocol?

    @Option(help: "Where viewers go, with a numeric IPv4 host. {n} is the number of the stream.")
    var url: String?

    @Option(help: "How many viewers.")
    var connections = 0

    @Option(help: "How many streams {n} counts through for viewers.")
    var streams = 1

    @Option(help: "How many publishers.")
    var publishers = 0

    @Option(help: "Where publishers go: rtmp://HOST:PORT/APP/NAME{n}.")
    var publishUrl: String?

    @Option(help: "The FLV file that publishers loop; it must begin with a keyframe.")
    var media: String?

    @Option(help: "The chunk size that publishers announce.")
    var chunkSize = 4096

    @Option(help: "Connections opened in a second.")
    var ramp = 500

    @Option(help: "Seconds between the last connection and the measuring window.")
    var warmup = 5.0

    @Option(help: "Seconds of the measuring window.")
    var seconds = 14.0

    @Option(help: "Bits per second that each viewer should get.")
    var bitrate = 1_000_000.0

    @Option(help: "How many viewers are parsed and timed frame by frame; the others' bytes are counted.")
    var sample = 50

    @Option(help: "A gap longer than this many milliseconds is a stall.")
    var stall = 1000.0

    @Option(help: "Counted viewers' sockets are emptied every so many milliseconds.")
    var drain = 100

    @Option(help: "A process of the server to measure; repeatable.")
    var serverPid: [Int32] = []

    @Flag(help: "Print JSON instead of a line for people.")
    var json = false

    func validate() throws {
        guard self.connections > 0 || self.publishers > 0 else {
            throw ValidationError("Nothing to do: give --connections or --publishers.")
        }
        guard self.connections >= 0, self.publishers >= 0, self.connections + self.publishers <= 60_000 else {
            throw ValidationError("--connections and --publishers must be 0 to 60,000 together.")
        }
        guard (1...100_000).contains(self.ramp), self.streams > 0, self.sample >= 0, self.drain > 0 else {
            throw ValidationError("--ramp must be 1 to 100,000; --streams and --drain positive; --sample not negative.")
        }
        guard (0...3600).contains(self.warmup), self.seconds > 0, self.seconds <= 3600 * 3 else {
            throw ValidationError("--warmup must be at most an hour, --seconds positive and at most three hours.")
        }
        guard (128...65_536).contains(self.chunkSize) else {
            throw ValidationError("--chunk-size must be 128 to 65,536.")
        }
        guard self.publishers == 0 || self.media != nil else {
            throw ValidationError("--publishers needs --media FILE.flv.")
        }
    }

    func run() throws {
        let plan = try self.plan()
        var media: PublishedMedia?
        if let path = self.media, self.publishers > 0 {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            media = try PublishedMedia(flv: Array(bytes), chunkSize: self.chunkSize)
        }
        var engine = try LoadEngine(plan: plan, media: media)
        let report = LoadReport(try engine.run(), plan: plan, expectedBitrate: self.bitrate)
        print(self.json ? try report.json() : report.line())
    }

    private func plan() throws -> LoadPlan {
        var plan = LoadPlan()
        plan.viewers = self.connections
        plan.publishers = self.publishers
        if self.connections > 0 {
            plan.viewerEndpoint = try self.endpoint(self.url, option: "--url")
            guard self.protocol.map({ $0.rawValue == plan.viewerProtocol }) ?? true else {
                throw ValidationError("--protocol and --url contradict each other.")
            }
        }
        if self.publishers > 0 {
            plan.publisherEndpoint = try self.endpoint(self.publishUrl ?? self.url, option: "--publish-url")
            guard plan.publisherEndpoint?.scheme == .rtmp else {
                throw ValidationError("--publish-url must begin with rtmp://.")
            }
        }
        plan.streams = self.streams
        plan.ramp = self.ramp
        plan.warmupNanos = UInt64(self.warmup * 1e9)
        plan.windowNanos = UInt64(self.seconds * 1e9)
        plan.sampled = min(self.sample, self.connections)
        plan.stallMillis = self.stall
        plan.drainNanos = UInt64(self.drain) * 1_000_000
        plan.chunkSize = self.chunkSize
        plan.servers = self.serverPid
        return plan
    }

    private func endpoint(_ url: String?, option: String) throws -> Endpoint {
        guard let url else { throw ValidationError("\(option) is missing.") }
        guard let endpoint = Endpoint(url) else {
            throw ValidationError("\(option) must be rtmp:// or http:// with a numeric IPv4 host: '\(url)'.")
        }
        return endpoint
    }
}
