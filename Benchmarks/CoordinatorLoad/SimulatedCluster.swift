import Foundation
import Media
import Placement

/// Requests of nodes that do not exist, made once and sent again and again.
struct SimulatedCluster: Sendable {
    struct Node: Sendable {
        let id: NodeID
        let instance: String
        let register: [UInt8]
        /// The heartbeat but for the revision of the origins that the node knows.
        let status: HeartbeatRequest
        let watch: [UInt8]
        let poll: [UInt8]
    }

    let nodes: [Node]
    let keys: [StreamKey]
    /// A play route of each stream.
    let lookups: [[UInt8]]
    private let secret: String

    /// `streams` streams on half of `count` nodes, which are origins; the others are edges, which pull five of them each.
    init(nodes count: Int, streams: Int, secret: String, withFacts: Bool) throws {
        self.secret = secret
        let keys = try (0..<streams).map { try StreamKey(app: "live", name: "stream-\($0)") }
        self.keys = keys
        self.lookups = keys.map {
            Self.request("GET", "routes/play?vhost=\($0.vhost)&app=\($0.app)&name=\($0.name)", nil, secret)
        }
        let origins = max(1, count / 2)
        self.nodes = try (0..<count).map { number in
            let isOrigin = number < origins
            let held = isOrigin ? stride(from: number, to: streams, by: origins).map { $0 } : []
            let pulled = isOrigin ? [] : (0..<5).map { (number * 7 + $0 * 13) % max(1, streams) }
            var status = NodeStatus(
                load: LoadVector(
                    egressBitsPerSecond: 1_000_000_000, busiestLoop: 0.3, memoryBytes: 200_000_000, streams: 100,
                    viewers: 1_000),
                streams: held.map { StreamReport(key: keys[$0], epoch: Self.epoch(of: $0), state: .live) })
            status.node = NodeFacts(startedMillis: 1_700_000_000_000)
            if withFacts {
                status.facts = (held + pulled).map { Self.facts(keys[$0], Self.epoch(of: $0), isHolder: isOrigin) }
            }
            let node = NodeDescription(
                id: try NodeID("node-\(number)"), instance: "bench-\(number)", role: isOrigin ? .origin : .edge,
                host: "10.0.\(number / 250).\(number % 250 + 1)", rtmpPort: 1935, httpPort: 8080,
                version: "benchmark")
            let path = "nodes/\(node.id)"
            return Node(
                id: node.id, instance: node.instance,
                register: Self.request(
                    "POST", "nodes", try JSONEncoder().encode(RegisterRequest(node: node, status: status)), secret),
                status: HeartbeatRequest(instance: node.instance, status: status),
                watch: Self.request(
                    "GET", "watch?node=\(node.id)&instance=\(node.instance)", nil, secret,
                    accept: "text/event-stream"),
                poll: Self.request(
                    "GET", "\(path)/requests?instance=\(node.instance)&wait=10000", nil, secret))
        }
    }

    var origins: ArraySlice<Node> { self.nodes.prefix(max(1, self.nodes.count / 2)) }

    private static func epoch(of number: Int) -> UInt64 { UInt64(1_700_000_000 + number) << 16 }

    private static func facts(_ key: StreamKey, _ epoch: UInt64, isHolder: Bool) -> StreamFacts {
        var facts = StreamFacts(key: key, epoch: epoch, isHolder: isHolder)
        var video = TrackFacts(kind: "video", codec: "h264")
        (video.width, video.height, video.profile, video.level) = (1_920, 1_080, "High", "4.1")
        video.frameRate = 30
        var audio = TrackFacts(kind: "audio", codec: "aac")
        (audio.sampleRate, audio.channels, audio.profile) = (48_000, 2, "LC")
        facts.tracks = [video, audio]
        facts.publisher = PublisherFacts(
            session: "abcd1234", address: "192.0.2.17", transport: "rtmp",
            userAgent: "FMLE/3.0 (compatible; FMSc/1.0)", seconds: 4_321.5)
        facts.ingestBitsPerSecond = 4_500_000
        facts.egressBitsPerSecond = 90_000_000
        facts.framesPerSecond = 29.97
        facts.gopMillis = 2_000
        facts.videoFrames = 129_600
        facts.viewers = ["rtmp": 3, "http-flv": 12, "hls": 40]
        facts.relays = 2
        facts.receivedBytes = 2_400_000_000
        facts.sentBytes = 48_000_000_000
        facts.silentMillis = 12
        return facts
    }

    // MARK: Requests

    private static func request(
        _ method: String, _ path: String, _ body: Data?, _ secret: String, accept: String = "application/json"
    ) -> [UInt8] {
        var text = "\(method) /api/v1/\(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: \(accept)\r\n"
        text += "Authorization: Bearer \(secret)\r\n"
        if let body { text += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        return Array((text + "\r\n").utf8) + (body.map { Array($0) } ?? [])
    }

    /// How often a node tells what it sees of its streams: the more it has, the less often, as nodes do.
    static func factsInterval(_ node: Node) -> Int {
        min(5, 1 + max(0, (node.status.status.facts?.count ?? 0) - 1) / 20)
    }

    /// A node that has this revision of the list of origins is not sent it again.
    func heartbeat(_ node: Node, originsRevision: UInt64, withFacts: Bool) throws -> [UInt8] {
        var body = node.status
        if !withFacts { body.status.facts = nil }
        body.originsRevision = originsRevision
        return Self.request("POST", "nodes/\(node.id)/heartbeat", try JSONEncoder().encode(body), self.secret)
    }

    func claim(_ key: StreamKey, _ node: Node) throws -> [UInt8] {
        let body = ClaimRequest(key: key, node: node.id, instance: node.instance, policy: .takeover)
        return Self.request("POST", "streams/claim", try JSONEncoder().encode(body), self.secret)
    }

    func renew(_ key: StreamKey, epoch: UInt64, _ node: Node) throws -> [UInt8] {
        let body = RenewRequest(
            node: node.id, instance: node.instance, report: StreamReport(key: key, epoch: epoch, state: .live))
        return Self.request("POST", "streams/renew", try JSONEncoder().encode(body), self.secret)
    }

    func release(_ key: StreamKey, epoch: UInt64, _ node: Node) throws -> [UInt8] {
        let body = ReleaseRequest(
            node: node.id, instance: node.instance,
            release: StreamRelease(key: key, epoch: epoch, reason: .unpublished))
        return Self.request("POST", "streams/release", try JSONEncoder().encode(body), self.secret)
    }
}
