import Access
import AccessControl
import AsyncHTTPClient
import ClusterLink
import Foundation
import GB28181Server
import HTTPMedia
import Hooks
import Logging
import Media
import NIOCore
import NIOPosix
import NodeAPI
import NodeConfiguration
import ObjectCache
import ProcessStats
import RTMPServer
import RTSPServer
import SRTServer
import Recorder
import StreamHub
import TSServer
import Synchronization
import TLSContexts
import Transcoding
import WebRTCServer

/// Whether the node's listeners are bound.
final class ListenerState: Sendable {
    private let flag = Atomic<Bool>(false)
    var isListening: Bool {
        get { self.flag.load(ordering: .relaxed) }
        set { self.flag.store(newValue, ordering: .relaxed) }
    }
}

/// Something that is made later than those who use it.
final class Later<Value: Sendable>: Sendable {
    private let state = Mutex<Value?>(nil)
    var value: Value? {
        get { self.state.withLock { $0 } }
        set { self.state.withLock { $0 = newValue } }
    }
}

/// The modules of a node, put together.
struct NodeParts {
    let live: LiveSettings
    /// Those of the start: for what only a restart changes.
    let settings: NodeSettings
    let group: MultiThreadedEventLoopGroup
    let logger: Logger
    let identity: NodeAPIIdentity
    let registry = SessionRegistry()
    let readiness = ListenerState()
    let hub: StreamHub
    let transcoding: TranscodingService
    let link: ClusterLink?
    let claims: StreamClaims
    let relay: RelayService?
    let forwards: ForwardService?
    let restreams: RestreamService?
    let access: AccessControl
    let hooks: Hooks
    let drain: Drain
    let gate: NodeGate
    let objectSessions: ObjectSessions
    let fileGate: FileGate
    let rtmp: RTMPServer
    /// `nil` where WebRTC is off.
    let webRTC: WebRTCServer?
    /// `nil` where no transport streams are listened for.
    let transportStreams: TSServer?
    /// `nil` where SRT is off.
    let srt: SRTServer?
    let srtPulls: SRTPulls?
    let srtPushes: SRTPushes?
    /// `nil` where RTSP is off.
    let rtsp: RTSPServer?
    let rtspPulls: RTSPPulls?
    let rtspTLS: TLSContextStore?
    /// `nil` where no devices are taken.
    let gb28181: GB28181Server?
    let rtmpTLS: TLSContextStore?
    let httpTLS: TLSContextStore?
    let apiTLS: TLSContextStore?
    let vitals: NodeVitals
    let lag: LoopLagProbe
    let media: OriginMedia?
    let objects: NodeObjects
    let cacheClient: HTTPClient?
    let keyClient: HTTPClient
    let httpConnections: ConnectionLimit
    let rules: AccessRuleBook

    init(settings live: LiveSettings, group: MultiThreadedEventLoopGroup, logger: Logger) async throws {
        let settings = live.current
        let instance = NodeVitals.newInstance()
        (self.live, self.settings, self.group, self.logger) = (live, settings, group, logger)
        self.identity = Self.identity(settings, instance: instance)
        self.rtmpTLS = try Self.tls(settings.rtmp.tls)
        self.httpTLS = try Self.tls(settings.http.tls, protocols: ["h2", "http/1.1"])
        self.apiTLS = try Self.tls(settings.api.tls, protocols: ["h2", "http/1.1"])
        self.rtspTLS = try settings.rtsp.isEnabled ? Self.tls(settings.rtsp.tls) : nil

        // Who is in.
        self.hub = StreamHub(sessions: self.registry) { live.streamSettings(for: $0).live }
        self.transcoding = TranscodingService(logger: logger) { live.streamSettings(for: $0).audio.transcoding }
        self.hub.audioTranscoders = self.transcoding
        self.rules = try AccessRuleBook(settings: live, logger: logger)
        self.keyClient = HTTPClient(
            eventLoopGroupProvider: .shared(group), configuration: .init(redirectConfiguration: .disallow))
        self.access = AccessControl(
            configuration: { [rules] in rules.configuration }, rules: { [rules] in rules.rules(for: $0) },
            http: self.keyClient, group: group, logger: logger)
        self.hooks = Hooks(
            configuration: Self.hooks(settings, self.identity), logger: logger,
            urls: { live.streamSettings(for: $0).hookURLs })
        let policies = HookPolicies(logger: logger)

        // The cluster.
        self.link = try Self.link(settings, instance: instance, logger: logger)
        self.claims = StreamClaims(link: self.link, logger: logger)
        let routes = RouteSource(
            node: settings.node.id, link: self.link,
            configured: settings.cluster.origins.map { Upstream(host: $0.host, port: $0.port) })
        let isClustered = self.link != nil || !routes.configured.isEmpty
        self.relay = isClustered ? Self.relay(settings, hub: self.hub, routes: routes, logger: logger) : nil
        if let relay = self.relay { self.claims.attach(relay) }
        self.forwards = settings.role == .edge ? Self.forwards(settings, routes: routes, logger: logger) : nil

        self.restreams =
            settings.role == .origin ? RestreamService(settings: Self.restreams(settings), logger: logger) : nil
        if let restreams = self.restreams { self.claims.attach(restreams) }

        // The way in.
        let server = Later<RTMPServer>()
        let vitals = Later<NodeVitals>()
        let pushes = Later<SRTPushes>()
        let suppliers = StreamSuppliers()
        self.drain = Self.drain(
            settings, registry: self.registry, routes: routes, link: self.link, server: server, vitals: vitals,
            logger: logger)
        let admission = Admission(
            drain: self.drain, access: self.access, hooks: self.hooks, forwardsPublishers: settings.role == .edge)
        self.gate = NodeGate(
            settings: live, admission: admission, policies: policies, hub: self.hub, claims: self.claims,
            relay: self.relay, forwards: self.forwards, restreams: self.restreams, pushes: pushes,
            suppliers: suppliers, logger: logger)
        let files = Self.objectSessions(settings, live: live, claims: self.claims, access: self.access)
        self.objectSessions = ObjectSessions(
            registry: self.registry, configuration: files, logger: logger, decide: { await admission.object($0) })
        self.fileGate = FileGate(sessions: self.objectSessions, access: self.access, configuration: files)
        self.rtmp = RTMPServer(
            group: group, configuration: Self.rtmp(settings, live: live, registry: self.registry), gate: self.gate,
            hub: self.hub, logger: logger)
        server.value = self.rtmp
        self.webRTC = try Self.webRTC(live, registry: self.registry).map { [gate, hub] configuration in
            try WebRTCServer(group: group, configuration: configuration, gate: gate, hub: hub, logger: logger)
        }

        self.srt = Self.srt(
            live, claims: self.claims, registry: self.registry, mayAppear: { !suppliers.isEmpty }
        ).map { [gate, hub] configuration in
            SRTServer(group: group, configuration: configuration, gate: gate, hub: hub, logger: logger)
        }
        self.transportStreams = Self.transportStreams(settings, registry: self.registry).map { [gate] configuration in
            TSServer(group: group, configuration: configuration, gate: gate, logger: logger)
        }
        self.srtPulls = self.srt.map { SRTPulls(server: $0, targets: Self.srtPulls(settings), logger: logger) }
        self.srtPushes = self.srt.map { SRTPushes(server: $0, logger: logger) }
        pushes.value = self.srtPushes
        self.rtsp = Self.rtsp(live, registry: self.registry).map { [gate, hub] configuration in
            RTSPServer(group: group, configuration: configuration, gate: gate, hub: hub, logger: logger)
        }
        self.rtspPulls = try self.rtsp.map { try Self.rtspPulls($0, settings, logger: logger) }
        self.gb28181 = Self.gb28181(settings, registry: self.registry).map { [gate] configuration in
            GB28181Server(group: group, configuration: configuration, gate: gate, logger: logger) {
                Int64(Date().timeIntervalSince1970)
            }
        }
        let all: [(any StreamSupplier)?] = [self.gb28181, self.rtspPulls]
        suppliers.attach(all.compactMap { $0 })

        // What is made of streams.
        self.media =
            settings.role == .origin
            ? await OriginMedia.start(settings: live, hooks: self.hooks, hub: self.hub, link: self.link, logger: logger)
            : nil
        if let media = self.media {
            self.claims.attach(media)
            policies.attach { records, key in
                (try? await media.recorder.setIntent(records, for: key)) != nil
            }
        }
        self.hub.observer = self.claims
        let cache = isClustered ? Self.cache(live, routes: routes, link: self.link, group, logger) : nil
        self.cacheClient = cache?.client
        self.objects = NodeObjects(
            media: self.media, cache: cache?.cache, claims: self.claims, suppliers: suppliers)
        self.httpConnections = ConnectionLimit(maximum: settings.http.maximumConnections)

        // What the node tells.
        let loops = Array(group.makeIterator())
        self.lag = LoopLagProbe(loops)
        self.vitals = NodeVitals(
            hub: self.hub, claims: self.claims, rtmp: self.rtmp,
            sources: await Self.sources(
                settings, loops: loops, lag: self.lag, registry: self.registry, media: self.media))
        vitals.value = self.vitals
        self.registry.setAdmission(self.access)
        self.registry.add(self.access)
        self.registry.add(self.hooks)
        self.registry.add(policies)
    }

    /// The node's API, which its port and the coordinator use.
    func makeAPI() -> NodeAPI { NodeAPI(self.apiServices()) }
}
