import AccessControl
import AsyncHTTPClient
import ClusterLink
import Foundation
import HTTPMedia
import Hooks
import Logging
import Media
import NIOCore
import NIOPosix
import NodeAPI
import NodeConfiguration
import ObjectCache
import Placement
import ProcessStats
import RTMPServer
import Recorder
import SegmentStore
import StreamHub
import TLSContexts

extension ClusterSettings {
    /// The secret, if there is one.
    var secretText: String? { self.secret.isEmpty ? nil : self.secret.value }
    /// The node is one of several, as far as it knows.
    var isUsed: Bool { !self.coordinator.isEmpty || !self.origins.isEmpty }
}

/// How the settings become modules.
extension NodeParts {
    static func identity(_ settings: NodeSettings, instance: String) -> NodeAPIIdentity {
        NodeAPIIdentity(
            node: settings.node.id, role: settings.role.rawValue, region: settings.node.region,
            version: WeirVersion.current, server: SRSIdentifiers.server(node: settings.node.id),
            service: String(instance.prefix(8)), startedMillis: Int64(Date().timeIntervalSince1970 * 1_000))
    }

    static func hooks(_ settings: NodeSettings, _ identity: NodeAPIIdentity) -> HooksConfiguration {
        var configuration = HooksConfiguration(
            serverID: identity.server, serviceID: identity.service, node: identity.node, version: identity.version)
        configuration.timeout = settings.hooks.timeout
        configuration.retries = settings.hooks.retries
        configuration.secret = settings.hooks.secret.value
        configuration.queue = settings.hooks.queue
        configuration.concurrency = settings.hooks.concurrency
        return configuration
    }

    static func rtmp(
        _ settings: NodeSettings, live: LiveSettings, registry: SessionRegistry
    ) -> RTMPServerConfiguration {
        var configuration = RTMPServerConfiguration(
            session: settings.rtmp.session, maximumConnections: settings.rtmp.maximumConnections,
            hevcForm: { live.streamSettings(for: $0).hevcForm },
            playerNoDelay: { live.streamSettings(for: $0).play.tcpNoDelay.option }, sessions: registry,
            clusterSecret: settings.cluster.secretText)
        configuration.trustsLocalNodes = settings.cluster.isUsed
        configuration.audioForm = { live.streamSettings(for: $0).audio.live.form }
        return configuration
    }

    static func restreams(_ settings: NodeSettings) -> RestreamService.Settings {
        var restreams = RestreamService.Settings()
        restreams.push.client = settings.rtmp.client(mediaTimeout: settings.edge.mediaTimeout)
        return restreams
    }

    static func objectSessions(
        _ settings: NodeSettings, live: LiveSettings, claims: StreamClaims, access: AccessControl
    ) -> ObjectSessionsConfiguration {
        var configuration = ObjectSessionsConfiguration()
        configuration.clusterSecret = settings.cluster.secretText
        configuration.trustsLocalNodes = settings.cluster.isUsed
        configuration.targetDuration = { live.streamSettings(for: $0).hls.segmentDuration }
        configuration.subject = { access.claimedSubject($0) }
        configuration.epoch = { claims.grant($0)?.epoch ?? 0 }
        return configuration
    }

    static func drain(
        _ settings: NodeSettings, registry: SessionRegistry, routes: RouteSource, link: ClusterLink?,
        server: Later<RTMPServer>, vitals: Later<NodeVitals>, logger: Logger
    ) -> Drain {
        var plan = DrainPlan.Settings()
        plan.publisherWait = settings.shutdown.publisherWait
        plan.viewerWait = settings.shutdown.viewerWait
        let node = Drain.Node(
            registry: registry,
            requestReconnects: {
                await server.value?.requestReconnects(
                    ownHost: settings.node.advertise, text: "This node is being drained."
                ) { link?.otherOrigin(for: $0).map { ($0.host, $0.rtmpPort) } } ?? []
            },
            hasOtherNodes: { link?.hasOtherOrigins ?? !routes.configured.isEmpty },
            announce: { isDraining in
                vitals.value?.setDraining(isDraining)
                link?.reportNow()
            })
        // It begins when those who may stay for a while are told to leave.
        let deadline =
            settings.shutdown.drainDeadline + max(settings.shutdown.viewerWait, settings.shutdown.publisherWait)
        return Drain(node: node, settings: plan, deadline: deadline, logger: logger)
    }

    static func sources(
        _ settings: NodeSettings, loops: [any EventLoop], lag: LoopLagProbe, registry: SessionRegistry,
        media: OriginMedia?
    ) async -> NodeVitals.Sources {
        var sources = NodeVitals.Sources()
        sources.registry = registry
        sources.loops = await LoopLoad(loops)
        sources.lag = lag
        sources.process = ProcessSampler()
        if let media {
            sources.diskUsed = { media.diskUsed }
            sources.alarms = { media.alarms }
            sources.isRecording = { media.recorder.status(of: $0).current != nil }
        }
        return sources
    }

    static func cache(
        _ live: LiveSettings, routes: RouteSource, link: ClusterLink?, _ group: MultiThreadedEventLoopGroup,
        _ logger: Logger
    ) -> (cache: ObjectCache, client: HTTPClient) {
        let settings = live.current
        let objects = ObjectRoutes(
            routes: routes, link: link, httpPort: settings.edge.originHTTPPort,
            hasGroups: { live.streamSettings(for: $0).hls.groups }, declared: { live.groupMembers(of: $0) })
        let resolver = ObjectCacheResolver(
            upstreams: { await objects.upstreams(of: $0, $1) }, groupMembers: { objects.members(of: $0) },
            multivariant: { GroupPlaylist.playlist(of: $1.map { ($0.key.name, $0.info) }) })
        let configuration = ObjectCacheConfiguration(
            node: settings.node.id, secret: settings.cluster.secret.isEmpty ? nil : settings.cluster.secret.value,
            maximumBytes: settings.edge.cacheBytes,
            maximumObjectBytes: min(settings.edge.cacheObjectBytes, settings.edge.cacheBytes),
            negativeLifetime: max(settings.edge.negativeCache, .milliseconds(100)))
        let client = HTTPClient(
            eventLoopGroupProvider: .shared(group), configuration: ObjectCache.clientConfiguration(configuration))
        return (ObjectCache(configuration: configuration, http: client, resolver: resolver, logger: logger), client)
    }

    static func tls(_ settings: TLSSettings, protocols: [String] = []) throws -> TLSContextStore? {
        guard !settings.listen.isEmpty else { return nil }
        return try TLSContextStore(
            TLSFiles(certificate: settings.certificate, key: settings.key), applicationProtocols: protocols)
    }

    static func link(_ settings: NodeSettings, instance: String, logger: Logger) throws -> ClusterLink? {
        guard !settings.cluster.coordinator.isEmpty else { return nil }
        let node = NodeDescription(
            id: try NodeID(settings.node.id), instance: instance,
            role: settings.role == .edge ? .edge : .origin, region: settings.node.region,
            host: settings.node.advertise, rtmpPort: settings.rtmp.listen.first?.port ?? 0,
            httpPort: settings.http.listen.first?.port ?? 0, apiPort: settings.api.listen.port,
            srtPort: settings.srt.isEnabled ? settings.srt.listen.first?.port ?? 0 : 0,
            rtspPort: settings.rtsp.isEnabled ? settings.rtsp.listen.first?.port ?? 0 : 0,
            rtspsPort: settings.rtsp.isEnabled ? settings.rtsp.tls.listen.first?.port ?? 0 : 0,
            suppliesStreams: settings.role == .origin && settings.bringsStreams,
            takesPostedFLV: settings.http.takesPublishers,
            version: WeirVersion.current)
        var configuration = ClusterLinkConfiguration(
            coordinators: settings.cluster.coordinator.map(\.description), secret: settings.cluster.secret.value,
            node: node)
        configuration.heartbeatMillis = settings.cluster.heartbeat.nanoseconds / 1_000_000
        configuration.requestDeadlineMillis = settings.cluster.requestTimeout.nanoseconds / 1_000_000
        configuration.negativeCacheMillis = settings.edge.negativeCache.nanoseconds / 1_000_000
        try configuration.validate()
        return ClusterLink(configuration: configuration, logger: logger)
    }

    static func relay(
        _ settings: NodeSettings, hub: StreamHub, routes: RouteSource, logger: Logger
    ) -> RelayService {
        RelayService(
            hub: hub, routes: routes,
            settings: StreamPull.Settings(
                node: settings.node.id, client: settings.rtmp.client(mediaTimeout: settings.edge.mediaTimeout),
                connectTimeout: settings.edge.connectTimeout, linger: settings.edge.linger,
                hold: settings.stream.publish.grace + .seconds(5), secret: settings.cluster.secretText),
            maximumUpstreams: settings.edge.maximumUpstreams, negativeCache: settings.edge.negativeCache,
            logger: logger)
    }

    static func forwards(_ settings: NodeSettings, routes: RouteSource, logger: Logger) -> ForwardService {
        ForwardService(
            routes: routes, client: settings.rtmp.client(mediaTimeout: settings.edge.mediaTimeout),
            connectTimeout: settings.edge.connectTimeout, patience: settings.stream.publish.grace,
            secret: settings.cluster.secretText, logger: logger)
    }
}
