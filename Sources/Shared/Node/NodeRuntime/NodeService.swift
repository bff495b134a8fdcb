import AsyncHTTPClient
import ClusterLink
import HTTPMedia
package import Logging
import Media
import NIOCore
import NIOPosix
package import NodeConfiguration
import ObjectCache
import Placement
import RTMPServer
import SegmentStore
import ServiceLifecycle
import StreamHub
import Streaming
import TLSContexts

/// An origin or an edge: wires the modules by the settings, and runs them until it is told to stop.
///
/// Shutdown order: stop accepting, tell publishers and viewers, let their last bytes leave, close.
package struct NodeService: Service {
    private let settings: NodeSettings
    private let logger: Logger

    package init(settings: NodeSettings, logger: Logger) {
        self.settings = settings
        self.logger = logger
    }

    package func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: max(1, self.settings.eventLoops))
        do {
            try await self.serve(on: group)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    private func serve(on group: MultiThreadedEventLoopGroup) async throws {
        let parts = try await NodeParts(settings: self.settings, group: group, logger: self.logger)
        let bound = try await parts.listen()
        let (binds, bind) = AsyncStream.makeStream(of: Void.self)
        let services = parts.services { bind.yield() }
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for service in services {
                tasks.addTask { try await service.run() }
            }
            for store in parts.tlsStores {
                tasks.addTask { await cancelWhenGracefulShutdown { await store.watch(logger: self.logger) } }
            }
            tasks.addTask {
                var iterator = binds.makeAsyncIterator()
                for _ in 0..<parts.httpListenerCount { await iterator.next() }
                if !Task.isCancelled { self.logReady(bound) }
                try? await gracefulShutdown()
            }
            // A service that fails ends the node, such as one whose port is taken: the wait is a task, because a group
            // that is cancelled does not wake its own body.
            try await tasks.next()
            // The HTTP services and the link were told at the same moment and end by themselves; the service group cancels
            // what has not ended by its deadline.
            await parts.shutDown(within: self.settings.shutdown.drainDeadline)
            try await tasks.waitForAll()
        }
        await parts.close()
    }

    private func logReady(_ bound: NodeParts.Bound) {
        self.logger.notice(
            "\(self.settings.role.rawValue) ready",
            metadata: [
                "node": "\(self.settings.node.id)", "rtmp": "\(bound.rtmp)", "http": "\(bound.http)",
                "api": "\(self.settings.api.listen)", "loops": "\(self.settings.eventLoops)",
            ])
    }
}

/// The modules of a node, put together.
private struct NodeParts {
    let settings: NodeSettings
    let group: MultiThreadedEventLoopGroup
    let logger: Logger
    let hub: StreamHub
    let link: ClusterLink?
    let claims: StreamClaims
    let relay: RelayService?
    let gate: NodeGate
    let rtmp: RTMPServer
    let rtmpTLS: TLSContextStore?
    let httpTLS: TLSContextStore?
    let vitals: NodeVitals
    let media: OriginMedia?
    let objects: NodeObjects
    let cacheClient: HTTPClient?
    let httpConnections: ConnectionLimit

    init(settings: NodeSettings, group: MultiThreadedEventLoopGroup, logger: Logger) async throws {
        self.settings = settings
        self.group = group
        self.logger = logger
        self.rtmpTLS = try Self.tls(settings.rtmp.tls)
        self.httpTLS = try Self.tls(settings.http.tls, protocols: ["h2", "http/1.1"])
        self.hub = StreamHub { settings.streamSettings(for: $0).live }
        let instance = NodeVitals.newInstance()
        self.link = try Self.link(settings, instance: instance, logger: logger)
        self.claims = StreamClaims(link: self.link, logger: logger)
        self.hub.observer = self.claims
        let routes = RouteSource(
            node: settings.node.id, link: self.link,
            configured: settings.cluster.origins.map { Upstream(host: $0.host, port: $0.port) })
        let isClustered = self.link != nil || !routes.configured.isEmpty
        self.relay = isClustered ? Self.relay(settings, hub: self.hub, routes: routes, logger: logger) : nil
        if let relay = self.relay { self.claims.attach(relay) }
        self.gate = NodeGate(
            settings: settings, hub: self.hub, claims: self.claims, relay: self.relay,
            forwards: settings.role == .edge ? Self.forwards(settings, routes: routes, logger: logger) : nil,
            logger: logger)
        self.rtmp = RTMPServer(
            group: group,
            configuration: RTMPServerConfiguration(
                session: settings.rtmp.session, maximumConnections: settings.rtmp.maximumConnections,
                hevcForm: { settings.streamSettings(for: $0).hevcForm },
                playerNoDelay: { settings.streamSettings(for: $0).play.tcpNoDelay.option }),
            gate: self.gate, hub: self.hub, logger: logger)
        self.vitals = NodeVitals(hub: self.hub, claims: self.claims, rtmp: self.rtmp)
        self.media =
            settings.role == .origin
            ? await OriginMedia.start(
                settings: settings, instance: instance, hub: self.hub, link: self.link, logger: logger) : nil
        if let media = self.media { self.claims.attach(media) }
        let cache = isClustered ? Self.cache(settings, routes: routes, link: self.link, group, logger) : nil
        self.cacheClient = cache?.client
        self.objects = NodeObjects(media: self.media, cache: cache?.cache, claims: self.claims)
        self.httpConnections = ConnectionLimit(maximum: settings.http.maximumConnections)
        self.link?.attach(
            Self.handlers(
                claims: self.claims, relay: self.relay, cache: cache?.cache, vitals: self.vitals, logger: logger))
    }

    private static func cache(
        _ settings: NodeSettings, routes: RouteSource, link: ClusterLink?, _ group: MultiThreadedEventLoopGroup,
        _ logger: Logger
    ) -> (cache: ObjectCache, client: HTTPClient) {
        let objects = ObjectRoutes(
            routes: routes, link: link, httpPort: settings.edge.originHTTPPort,
            hasGroups: { settings.streamSettings(for: $0).hls.groups }, declared: { settings.groupMembers(of: $0) })
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

    private static func tls(_ settings: TLSSettings, protocols: [String] = []) throws -> TLSContextStore? {
        guard !settings.listen.isEmpty else { return nil }
        return try TLSContextStore(
            TLSFiles(certificate: settings.certificate, key: settings.key), applicationProtocols: protocols)
    }

    private static func link(_ settings: NodeSettings, instance: String, logger: Logger) throws -> ClusterLink? {
        guard !settings.cluster.coordinator.isEmpty else { return nil }
        let node = NodeDescription(
            id: try NodeID(settings.node.id), instance: instance,
            role: settings.role == .edge ? .edge : .origin, region: settings.node.region,
            host: settings.node.advertise, rtmpPort: settings.rtmp.listen.first?.port ?? 0,
            httpPort: settings.http.listen.first?.port ?? 0, apiPort: settings.api.listen.port,
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

    private static func relay(
        _ settings: NodeSettings, hub: StreamHub, routes: RouteSource, logger: Logger
    ) -> RelayService {
        RelayService(
            hub: hub, routes: routes,
            settings: StreamPull.Settings(
                node: settings.node.id, client: settings.rtmp.client(mediaTimeout: settings.edge.mediaTimeout),
                connectTimeout: settings.edge.connectTimeout, linger: settings.edge.linger,
                hold: settings.stream.publish.grace + .seconds(5)),
            maximumUpstreams: settings.edge.maximumUpstreams, negativeCache: settings.edge.negativeCache,
            logger: logger)
    }

    private static func forwards(_ settings: NodeSettings, routes: RouteSource, logger: Logger) -> ForwardService {
        ForwardService(
            routes: routes, client: settings.rtmp.client(mediaTimeout: settings.edge.mediaTimeout),
            connectTimeout: settings.edge.connectTimeout, patience: settings.stream.publish.grace, logger: logger)
    }

    private static func handlers(
        claims: StreamClaims, relay: RelayService?, cache: ObjectCache?, vitals: NodeVitals, logger: Logger
    ) -> ClusterLinkHandlers {
        ClusterLinkHandlers(
            status: { await vitals.status() },
            onChange: { change in
                relay?.placementChanged(change)
                cache?.streamMoved(change.key)
            },
            onSuperseded: { key, epoch in claims.superseded(key, by: epoch) },
            onDrain: { isDraining in
                vitals.setDraining(isDraining)
                logger.notice(isDraining ? "draining" : "no longer draining")
            })
    }

    // MARK: Running

    struct Bound {
        var rtmp: [ListenAddress]
        var http: [ListenAddress]
    }

    func listen() async throws -> Bound {
        var rtmp: [ListenAddress] = []
        for address in self.settings.rtmp.listen {
            let port = try await self.named("rtmp.listen", address) {
                try await self.rtmp.listen(host: address.host, port: address.port)
            }
            rtmp.append(ListenAddress(host: address.host, port: port))
        }
        for address in self.settings.rtmp.tls.listen {
            _ = try await self.named("rtmp.tls.listen", address) {
                try await self.rtmp.listen(host: address.host, port: address.port, tls: self.rtmpTLS)
            }
        }
        return Bound(rtmp: rtmp, http: self.settings.http.listen)
    }

    /// Says which setting an address that cannot be bound comes from.
    private func named<T>(_ key: String, _ address: ListenAddress, _ body: () async throws -> T) async throws -> T {
        do {
            return try await body()
        } catch {
            throw ListenError(key: key, address: "\(address)", cause: "\(error)")
        }
    }

    var httpListenerCount: Int { self.settings.http.listen.count + self.settings.http.tls.listen.count + 1 }

    /// What runs beside RTMP. `onBound` is called once for each HTTP listener.
    func services(onBound: @escaping @Sendable () -> Void) -> [any Service] {
        var services: [any Service] = []
        for address in self.settings.http.listen {
            services.append(ListeningService("http.listen", address, self.media(address, tls: nil, onBound)))
        }
        for address in self.settings.http.tls.listen {
            services.append(
                ListeningService("http.tls.listen", address, self.media(address, tls: self.httpTLS, onBound)))
        }
        let api = NodeAPI(
            settings: self.settings, group: self.group, vitals: self.vitals, media: self.media,
            cache: self.objects.cache, logger: self.logger, onBound: onBound)
        services.append(ListeningService("api.listen", self.settings.api.listen, api.application()))
        if let link = self.link { services.append(link) }
        if let media = self.media { services.append(media) }
        return services
    }

    private func media(
        _ address: ListenAddress, tls: TLSContextStore?, _ onBound: @escaping @Sendable () -> Void
    ) -> any Service {
        let settings = self.settings
        let access = ObjectAccess(settings: settings)
        let configuration = MediaHTTPConfiguration(
            corsOrigins: settings.http.corsOrigins, hevcForm: { settings.streamSettings(for: $0).hevcForm },
            playerNoDelay: { settings.streamSettings(for: $0).play.tcpNoDelay.option }, isTLS: tls != nil,
            vhost: { settings.vhost(forDomain: $0) }, authorize: { access.check($0, $1) },
            connectionLimit: self.httpConnections)
        let listing =
            settings.http.playerPage
            ? StreamListing(settings: settings, vitals: self.vitals, link: self.link) : nil
        return MediaListener(
            address: address, configuration: configuration, gate: self.gate, hub: self.hub, objects: self.objects,
            listing: listing, tls: tls,
            group: self.group, logger: self.logger, onBound: onBound
        ).application()
    }

    var tlsStores: [TLSContextStore] { [self.rtmpTLS, self.httpTLS].compactMap { $0 } }

    func shutDown(within deadline: TimeAmount) async {
        self.logger.notice("shutting down")
        self.vitals.setDraining(true)
        await self.rtmp.stopAccepting()
        self.rtmp.endConnections()
        let end = NIODeadline.now() + deadline
        while self.rtmp.connectionCount > 0, NIODeadline.now() < end {
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    /// What is on its way to the disk gets there.
    func close() async {
        self.objects.cache?.shutdown()
        try? await self.cacheClient?.shutdown()
        await self.media?.close()
    }
}

/// A service that fails only if its address cannot be listened on; the error then names the setting.
private struct ListeningService: Service {
    let key: String
    let address: ListenAddress
    let base: any Service

    init(_ key: String, _ address: ListenAddress, _ base: any Service) {
        self.key = key
        self.address = address
        self.base = base
    }

    func run() async throws {
        do {
            try await self.base.run()
        } catch let error as IOError {
            throw ListenError(key: self.key, address: "\(self.address)", cause: "\(error)")
        }
    }
}

/// An address that could not be listened on.
struct ListenError: Error, CustomStringConvertible {
    let key: String
    let address: String
    let cause: String

    var description: String { "cannot listen on \(self.address) (\(self.key)): \(self.cause)" }
}
