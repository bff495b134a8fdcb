import Media
import NIOCore
import NIOPosix
import RTP
import RTSP
import RTSPSessions
import StreamHub
import Synchronization
import TestSupport
import Testing

@testable import RTSPServer

/// What came to a client's two ports of one track.
private final class Ears: Sendable {
    private struct Heard {
        var packets: [ByteBuffer] = []
        var senders: Set<SocketAddress> = []
        var reports = 0
    }

    private final class Ear: ChannelInboundHandler, Sendable {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>

        private let body: @Sendable (InboundIn) -> Void

        init(_ body: @escaping @Sendable (InboundIn) -> Void) { self.body = body }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.body(self.unwrapInboundIn(data)) }
    }

    private let heard = Mutex(Heard())
    private let channels = Mutex<[any Channel]>([])

    /// What SETUP says of the ports, which are opened for it.
    func open(_ scene: Scene, host: String = "127.0.0.1") async throws -> String {
        var ports: [Int] = []
        for isControl in [false, true] {
            let channel = try await DatagramBootstrap(group: scene.group)
                .channelOption(.socketOption(.so_rcvbuf), value: 1 << 20)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            Ear { envelope in self.receive(envelope, isControl: isControl) })
                    }
                }
                .bind(host: host, port: 0).get()
            self.channels.withLock { $0.append(channel) }
            ports.append(channel.localAddress?.port ?? 0)
        }
        return "RTP/AVP;unicast;client_port=\(ports[0])-\(ports[1])"
    }

    private func receive(_ envelope: AddressedEnvelope<ByteBuffer>, isControl: Bool) {
        self.heard.withLock { heard in
            heard.senders.insert(envelope.remoteAddress)
            if isControl { heard.reports += 1 } else { heard.packets.append(envelope.data) }
        }
    }

    var pictures: [ByteBuffer] { PlayTests.pictures(self.heard.withLock { $0.packets }) }
    var reports: Int { self.heard.withLock { $0.reports } }
    var senders: Set<SocketAddress> { self.heard.withLock { $0.senders } }

    func close() async throws {
        for channel in self.channels.withLock({ $0 }) { try await channel.close().get() }
    }
}

/// What concerns UDP, beside publishing by it.
@Suite(.timeLimit(.minutes(2))) struct DatagramTests {
    /// DESCRIBE to PLAY of the picture. Returns the server's ports.
    private static func play(
        _ client: TestClient, _ path: String, _ transport: String
    ) async throws -> RTSPTransport.Pair {
        #expect(try await client.request(.describe, path).status == .ok)
        let setup = try await client.request(.setup, "\(path)/trackID=0", [("Transport", transport)])
        #expect(setup.status == .ok)
        #expect(try await client.request(.play, path).status == .ok)
        return try #require(try RTSPTransport.parse(setup.headers["Transport"] ?? "").first?.serverPorts)
    }

    @Test func `Each client is sent to from the address that it called, whatever the family`() async throws {
        let scene = try await Scene(ports: 31_140...31_147)
        // Beside 127.0.0.1; the clients' packets may come from any of them.
        let second = try await scene.server.listen(host: "127.0.0.3", port: 0)
        let third = try await scene.server.listen(host: "::1", port: 0)
        let feed = try await scene.publish("a")
        try await feed.pictures(1)
        for (host, port) in [("127.0.0.1", scene.port), ("127.0.0.3", second), ("::1", third)] {
            let client = try await TestClient(host: host, port: port, group: scene.group)
            let ears = Ears()
            let ports = try await Self.play(
                client, "/live/a", try await ears.open(scene, host: host == "::1" ? host : "127.0.0.1"))
            try await eventually("pictures come from \(host)") {
                try await feed.pictures(1)
                return ears.pictures.count > 2 && ears.reports > 0
            }
            #expect(
                ears.senders == [
                    try SocketAddress(ipAddress: host, port: ports.rtp),
                    try SocketAddress(ipAddress: host, port: ports.rtcp),
                ])
            try await client.close()
            try await ears.close()
        }
        try await scene.close()
    }

    @Test func `A camera by IPv6 is fetched by UDP`() async throws {
        let camera = try await Scene(ports: 31_150...31_157)
        let scene = try await Scene(ports: 31_160...31_167)
        let port = try await camera.server.listen(host: "::1", port: 0)
        let pulls = PullTests.pulls(
            scene,
            [
                RTSPPullTarget(
                    app: "live", name: "copy", url: try RTSPURL(parsing: "rtsp://[::1]:\(port)/live/a"),
                    delivery: .udp)
            ])
        let feed = try await camera.publish("a")
        try await feed.pictures(5)
        pulls.start()
        let client = try await scene.client()
        try await eventually("pictures come") {
            try await feed.pictures(1)
            return try await client.request(.describe, "/live/copy").status == .ok
        }
        pulls.stop()
        try await client.close()
        try await scene.close()
        try await camera.close()
    }

    @Test(arguments: [(0, [10, 10, 20, 20]), (20_000, [10, 10, 10, 20]), (1 << 20, [0, 0, 10, 10])])
    func `Players begin within a GOP if it is kept, and else wait for the next one`(
        _ bytes: Int, _ firsts: [Int]
    ) async throws {
        let scene = try await Scene(ports: 31_200...31_239, gopCacheBytes: bytes)
        let feed = try await scene.publish("a", hasAudio: false)
        let early = try await scene.client()
        async let asked = early.request(.describe, "/live/a")
        try await eventually("somebody asks") { scene.server.audienceCount == 1 }
        var sent = try await feed.pictures(8)
        #expect(try await asked.status == .ok)
        var players: [(client: TestClient, ears: Ears)] = []
        // They come behind the pictures 7, 8, 12 and 18, of 3,000 bytes; those with 0, 10 and 20 are keyframes.
        for count in [1, 4, 6, 4] {
            let (client, ears) = (try await scene.client(), Ears())
            _ = try await Self.play(client, "/live/a", try await ears.open(scene))
            players.append((client, ears))
            sent += try await feed.pictures(count)
        }
        let payloads = sent.map(\.payload)
        for ((client, ears), first) in zip(players, firsts) {
            try await eventually("pictures came") { ears.pictures.count >= payloads.count - first }
            #expect(ears.pictures == Array(payloads[first...]))
            try await client.close()
            try await ears.close()
        }
        try await early.close()
        try await scene.close()
    }

    @Test(arguments: ["UDP", "TCP", "DESCRIBE"])
    func `Who reads no answers is not read from for long`(_ way: String) async throws {
        let scene = try await Scene(ports: 31_180...31_183) { $0.session.requestTimeout = .minutes(2) }
        let feed = try await scene.publish("a")
        try await feed.pictures(1)
        let (client, ears) = (try await scene.client(), Ears())
        switch way {
        case "UDP": _ = try await Self.play(client, "/live/a", try await ears.open(scene))
        case "TCP": try await client.play("/live/a")
        default: #expect(try await client.request(.describe, "/live/a").status == .ok)
        }
        var every = SessionFilter()
        every.includesIdle = true
        let sessions = scene.sessions.list(every, limit: 9)
        let account = try #require(sessions.first { $0.account.transport == "rtsp" }?.account)
        try await client.channel.setOption(.socketOption(.so_rcvbuf), value: 65_536).get()
        try await client.channel.setOption(.autoRead, value: false).get()
        let count = 600
        for number in 0..<count {
            var wire = ByteBuffer()
            RTSPRequest(
                .options, "*", headers: RTSPHeaders([("CSeq", "\(number)" + String(repeating: "0", count: 12_000))])
            ).write(into: &wire)
            client.channel.write(wire, promise: nil)
        }
        client.channel.flush()
        // Until nothing moves any more.
        var taken: UInt64 = 0
        repeat {
            taken = account.receivedBytes
            try await Task.sleep(for: .milliseconds(700))
        } while account.receivedBytes != taken
        // Of 7 MB what the kernel keeps for both sides, and little more.
        #expect(taken < 5_500_000, "\(taken) bytes were read")
        if way == "UDP" {
            try await client.channel.setOption(.autoRead, value: true).get()
            try await eventually("the rest is read when the answers are", within: .seconds(60)) {
                account.receivedBytes > UInt64(count * 12_000) || client.isClosed
            }
        }
        #expect(!client.isClosed)
        try await client.close()
        try await eventually("it is gone") { scene.server.connectionCount == 0 }
        try await ears.close()
        try await scene.close()
    }
}
