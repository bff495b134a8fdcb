import Glibc
import Logging
import Media
import NIOCore
import NIOPosix
import RTSP
import RTSPSessions
import StreamHub
import TestSupport
import Testing

@testable import RTSPServer

/// One server fetches from another.
@Suite(.timeLimit(.minutes(2))) struct PullTests {
    static func pulls(
        _ scene: Scene, _ targets: [RTSPPullTarget], requestTimeout: TimeAmount = .seconds(10)
    ) -> RTSPPulls {
        var configuration = RTSPPullConfiguration()
        configuration.requestTimeout = requestTimeout
        configuration.firstPause = .milliseconds(20)
        configuration.longestPause = .milliseconds(100)
        configuration.linger = .milliseconds(500)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return RTSPPulls(server: scene.server, targets: targets, configuration: configuration, logger: logger)
    }

    private static func target(_ port: Int, delivery: RTSPPullTarget.Delivery, isOnDemand: Bool = false) throws
        -> RTSPPullTarget
    {
        RTSPPullTarget(
            app: "live", name: "copy", url: try RTSPURL(parsing: "rtsp://127.0.0.1:\(port)/live/a"),
            delivery: delivery, isOnDemand: isOnDemand)
    }

    @Test(arguments: [RTSPPullTarget.Delivery.auto, .udp])
    func `A stream is fetched, and again when it comes back`(_ delivery: RTSPPullTarget.Delivery) async throws {
        let port = delivery == .udp ? 31_040 : 31_060
        let camera = try await Scene(ports: port...port + 7)
        let scene = try await Scene(ports: port + 8...port + 15)
        let pulls = Self.pulls(scene, [try Self.target(camera.port, delivery: delivery)])
        pulls.start()
        let key = try StreamKey(app: "live", name: "copy")
        try await eventually("it is waited for") { pulls.snapshots[0].state == .waiting }
        #expect(pulls.snapshots[0].lastError == "DESCRIBE was answered with 404")
        for _ in 0..<2 {
            let feed = try await camera.publish("a")
            try await feed.pictures(5)
            try await eventually("it is fetched") { !scene.accounts(on: key).isEmpty }
            let client = try await scene.client()
            try await eventually("pictures come") {
                try await feed.pictures(1)
                return try await client.request(.describe, "/live/copy").status == .ok
            }
            let told = pulls.snapshots[0]
            #expect(told.stream == "live/copy" && told.url == "rtsp://127.0.0.1:\(camera.port)/live/a")
            #expect(told.state == .live && told.receivedBytes > 100 && told.attempts > 1)
            try await client.close()
            try await feed.finish()
            try await feed.stream.home.submit { feed.stream.endNow(.streamEnded) }.get()
            try await eventually("its end is noticed") { scene.accounts(on: key).isEmpty }
            try await eventually("and told") { pulls.snapshots[0].state != .live }
        }
        pulls.stop()
        try await eventually("it is fetched no more") { pulls.snapshots[0].state == .idle }
        try await scene.close()
        try await camera.close()
    }

    /// Resets each connection that says something.
    private final class Resetting: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let channel = context.channel
            (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
                .whenComplete { _ in channel.close(promise: nil) }
        }
    }

    @Test(
        "Why a camera on demand did not come is told when nobody waits for it any more",
        arguments: [
            (true, "the connection broke: Connection reset by peer"), (false, "OPTIONS was not answered"),
        ])
    func failures(resets: Bool, text: String) async throws {
        let camera = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if resets { try channel.pipeline.syncOperations.addHandler(Resetting()) }
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let scene = try await Scene()
        let port = try #require(camera.localAddress?.port)
        // Longer than the stream is kept without viewers.
        let pulls = Self.pulls(
            scene, [try Self.target(port, delivery: .auto, isOnDemand: true)], requestTimeout: .seconds(2))
        #expect(pulls.snapshots[0].state == .idle && pulls.snapshots[0].lastError.isEmpty)
        _ = await pulls.demand(try StreamKey(app: "live", name: "copy"))
        try await eventually("the try is told") { pulls.snapshots[0].lastError == text }
        try await eventually("nobody watches") { pulls.snapshots[0].state == .idle }
        pulls.stop()
        try await scene.close()
        try await camera.close()
    }

    @Test func `A stream on demand is fetched while somebody watches`() async throws {
        let camera = try await Scene()
        let scene = try await Scene()
        let pulls = Self.pulls(scene, [try Self.target(camera.port, delivery: .tcp, isOnDemand: true)])
        pulls.start()
        let feed = try await camera.publish("a")
        try await feed.pictures(5)
        let key = try StreamKey(app: "live", name: "copy")
        #expect(await pulls.demand(try StreamKey(app: "live", name: "other")) == nil)
        #expect(scene.accounts(on: key).isEmpty && pulls.snapshots[0].state == .idle)
        #expect(await pulls.demand(key) == .seconds(10))
        try await eventually("it is fetched") {
            try await feed.pictures(1)
            return !scene.accounts(on: key).isEmpty
        }
        let client = try await scene.client()
        try await client.play("/live/copy")
        // Longer than it would stay without a viewer.
        for _ in 0..<20 {
            try await feed.pictures(1)
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(!client.isClosed && !scene.accounts(on: key).isEmpty)
        try await client.close()
        // Nor does it end for those who read files of it.
        for _ in 0..<20 {
            pulls.filesWanted(of: key)
            try await feed.pictures(1)
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(scene.accounts(on: key).contains { $0.activity?.kind == .publish })
        try await eventually("nobody watches, so it is not fetched") {
            try await feed.pictures(1)
            return scene.accounts(on: key).allSatisfy { $0.activity?.kind != .publish }
        }
        try await eventually("the camera is left alone") { camera.server.connectionCount == 0 }
        #expect(pulls.snapshots[0].state == .idle && pulls.snapshots[0].attempts == 1)
        pulls.stop()
        try await scene.close()
        try await camera.close()
    }
}
