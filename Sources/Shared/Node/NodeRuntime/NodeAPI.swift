import Foundation
import HTTPTypes
import Hummingbird
import Logging
import Media
import NIOPosix
import NodeConfiguration
import ObjectCache
import Placement
import StreamHub
import Streaming

/// The HTTP API of a node: health, version and streams.
struct NodeAPI {
    let settings: NodeSettings
    let group: MultiThreadedEventLoopGroup
    let vitals: NodeVitals
    /// `nil` on an edge.
    let media: OriginMedia?
    let cache: ObjectCache?
    let logger: Logger
    /// Called when the address is bound.
    let onBound: @Sendable () -> Void

    func application() -> some ApplicationProtocol {
        let router = Router()
        router.middlewares.add(TokenCheck(token: self.settings.api.token.value))
        let vitals = self.vitals
        let settings = self.settings
        router.get("/api/v1/health") { _, _ in
            Health(status: vitals.isDraining ? "draining" : "ok", node: settings.node.id)
        }
        router.get("/api/v1/versions") { _, _ in Version(role: settings.role.rawValue, version: WeirVersion.current) }
        router.get("/api/v1/streams") { _, _ in
            StreamList(streams: await vitals.snapshots().map(StreamView.init).sorted { $0.key < $1.key })
        }
        router.get("/api/v1/summaries") { _, _ in
            let status = await vitals.status()
            return Summary(
                streams: status.load.streams, viewers: status.load.viewers, cpu: status.load.busiestLoop,
                residentBytes: status.load.memoryBytes, rtmpConnections: vitals.rtmpConnections,
                uptimeSeconds: Int(Date().timeIntervalSince(vitals.startedAt)))
        }
        if let media = self.media { RecordingAPI(recorder: media.recorder).add(to: router) }
        MediaStateAPI(media: self.media, cache: self.cache).add(to: router)
        return Application(
            router: router,
            configuration: .init(
                address: .hostname(self.settings.api.listen.host, port: self.settings.api.listen.port),
                serverName: "Weir"),
            onServerRunning: { _ in self.onBound() }, eventLoopGroupProvider: .shared(self.group),
            logger: self.logger.quiet)
    }

    private struct Health: ResponseEncodable {
        let status: String
        let node: String
    }

    private struct Version: ResponseEncodable {
        let role: String
        let version: String
    }

    private struct Summary: ResponseEncodable {
        let streams: Int
        let viewers: Int
        let cpu: Double
        let residentBytes: UInt64
        let rtmpConnections: Int
        let uptimeSeconds: Int
    }

    private struct StreamList: ResponseEncodable {
        let streams: [StreamView]
    }
}

/// One stream as the API shows it.
private struct StreamView: ResponseEncodable {
    struct TrackView: Encodable {
        let kind: String
        let codec: String
        let width: Int?
        let height: Int?
        let profile: String?
        let level: String?
        let frameRate: Double?
        let sampleRate: Int?
        let channels: Int?

        init(_ track: Track) {
            self.kind = track.kind.rawValue
            self.codec = track.codec.rawValue
            switch track.format {
            case .video(let format):
                self.width = format.width
                self.height = format.height
                self.profile = format.profile
                self.level = format.level
                self.frameRate = format.frameRate
                self.sampleRate = nil
                self.channels = nil
            case .audio(let format):
                self.width = nil
                self.height = nil
                self.profile = format.profile
                self.level = nil
                self.frameRate = nil
                self.sampleRate = format.sampleRate
                self.channels = format.channels
            }
        }
    }

    let key: String
    let vhost: String
    let app: String
    let name: String
    let epoch: UInt64
    let state: String
    let tracks: [TrackView]
    let viewers: [String: Int]
    let videoFrames: Int
    let audioFrames: Int
    let keyframes: Int
    let mediaBytes: Int
    let droppedFrames: Int
    let viewerSkipsByBytes: Int
    let viewerSkipsByAge: Int
    let slowViewersClosed: Int
    let timelineJumps: Int
    let restampedFrames: Int
    let publishedSeconds: Double?

    init(_ snapshot: StreamSnapshot) {
        self.key = "\(snapshot.key)"
        self.vhost = snapshot.key.vhost
        self.app = snapshot.key.app
        self.name = snapshot.key.name
        self.epoch = snapshot.epoch
        self.state = snapshot.phase.rawValue
        self.tracks = [snapshot.state.video, snapshot.state.audio].compactMap { $0 }.map(TrackView.init)
        self.viewers = snapshot.viewers
        self.videoFrames = snapshot.counters.videoFrames
        self.audioFrames = snapshot.counters.audioFrames
        self.keyframes = snapshot.counters.keyframes
        self.mediaBytes = snapshot.counters.mediaBytes
        self.droppedFrames = snapshot.counters.droppedFrames
        self.viewerSkipsByBytes = snapshot.counters.skipsByBytes
        self.viewerSkipsByAge = snapshot.counters.skipsByAge
        self.slowViewersClosed = snapshot.counters.slowViewersClosed
        self.timelineJumps = snapshot.joinedJumps
        self.restampedFrames = snapshot.restampedFrames
        self.publishedSeconds = snapshot.publishedFor.map { Double($0.nanoseconds) / 1e9 }
    }
}

/// Lets only those in who know the API's token, if there is one. Health is open: probes carry no tokens.
private struct TokenCheck: RouterMiddleware {
    let token: String

    typealias Context = BasicRequestContext

    func handle(
        _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        guard !self.token.isEmpty, request.uri.path != "/api/v1/health" else {
            return try await next(request, context)
        }
        let given = Array((request.headers[.authorization] ?? "").utf8)
        let wanted = Array("Bearer \(self.token)".utf8)
        // Every byte is compared, so that the time tells nothing of the token.
        let difference = zip(given, wanted).reduce(UInt8(given.count == wanted.count ? 0 : 1)) { $0 | ($1.0 ^ $1.1) }
        guard difference == 0 else { throw HTTPError(.unauthorized, message: "a bearer token is required") }
        return try await next(request, context)
    }
}
