import APIServer
import AccessControl
import AsyncHTTPClient
import ClusterLink
import GB28181Server
import HTTPMedia
import Hooks
import Logging
import NIOCore
import NodeAPI
import NodeConfiguration
import ObjectCache
import Placement
import ProcessStats
import RTMPServer
import RTSPServer
import SRTAccess
import SRTServer
import ServiceLifecycle
import StreamHub
import TLSContexts
import TSServer
import Transcoding
import WebRTCServer

/// What runs, from the first listener to the last byte.
extension NodeParts {
    struct Bound {
        var rtmp: [ListenAddress]
        var http: [ListenAddress]
        /// The port of WebRTC's first UDP listener.
        var webRTC: Int?
        /// The port of SRT's first listener.
        var srt: Int?
        /// The ports for transport streams.
        var ts: [Int]?
        /// Where RTSP is listened on.
        var rtsp: [ListenAddress] = []
        /// The ports of SIP, and the one of the devices' media.
        var gb28181: (sip: [Int], media: Int)?
    }

    /// How long a stopping node waits for the receivers of hooks.
    private static let hookDeadline = TimeAmount.seconds(5)

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
        let webRTC = try await self.listenForWebRTC()
        return Bound(
            rtmp: rtmp, http: self.settings.http.listen, webRTC: webRTC, srt: try await self.listenForSRT(),
            ts: try await self.listenForTransportStreams(),
            rtsp: try await self.listenForRTSP(), gb28181: try await self.listenForGB28181())
    }

    /// The port of the first UDP listener; `nil` where WebRTC is off.
    private func listenForWebRTC() async throws -> Int? {
        guard let server = self.webRTC else { return nil }
        do {
            try await server.start()
        } catch {
            let addresses = self.settings.rtc.listen.map(\.description).joined(separator: ", ")
            throw ListenError(key: "rtc.listen", address: addresses, cause: "\(error)")
        }
        return server.boundAddresses.first.flatMap { $0.address.port }
    }

    /// Where RTSP is listened on; nowhere if it is off.
    private func listenForRTSP() async throws -> [ListenAddress] {
        guard let server = self.rtsp else { return [] }
        var bound: [ListenAddress] = []
        for address in self.settings.rtsp.listen {
            let port = try await self.named("rtsp.listen", address) {
                try await server.listen(host: address.host, port: address.port)
            }
            bound.append(ListenAddress(host: address.host, port: port))
        }
        for address in self.settings.rtsp.tls.listen {
            _ = try await self.named("rtsp.tls.listen", address) {
                try await server.listen(host: address.host, port: address.port, tls: self.rtspTLS)
            }
        }
        self.rtspPulls?.start()
        return bound
    }

    /// The port of the first SRT listener; `nil` where SRT is off.
    private func listenForSRT() async throws -> Int? {
        guard let server = self.srt else { return nil }
        do {
            try await server.start()
        } catch {
            let addresses = self.settings.srt.listen.map(\.description).joined(separator: ", ")
            throw ListenError(key: "srt.listen", address: addresses, cause: "\(error)")
        }
        do {
            try self.srtPulls?.start()
        } catch {
            let pulls = self.settings.srt.pulls.map { "\($0.stream.app)/\($0.stream.name)" }.joined(separator: ", ")
            throw ListenError(key: "srt.pulls", address: pulls, cause: "\(error)")
        }
        return server.boundAddresses.first.flatMap { $0.port }
    }

    /// The ports for devices; `nil` where none are taken.
    private func listenForGB28181() async throws -> (sip: [Int], media: Int)? {
        guard let server = self.gb28181 else { return nil }
        do {
            try await server.start()
        } catch {
            let addresses = (self.settings.gb28181.listen + [self.settings.gb28181.mediaListen]).map(\.description)
            throw ListenError(
                key: "gb28181.listen, gb28181.media_listen", address: addresses.joined(separator: ", "),
                cause: "\(error)")
        }
        return server.boundPorts
    }

    /// Says which setting an address that cannot be bound comes from.
    private func named<T>(_ key: String, _ address: ListenAddress, _ body: () async throws -> T) async throws -> T {
        do {
            return try await body()
        } catch {
            throw ListenError(key: key, address: "\(address)", cause: "\(error)")
        }
    }

    var httpListenerCount: Int {
        self.settings.http.listen.count + self.settings.http.tls.listen.count + 1 + self.settings.api.tls.listen.count
    }

    /// What runs, in the order of starting; it ends in the opposite order. `onBound` is called once for each HTTP listener.
    func services(onBound: @escaping @Sendable () -> Void) -> [any Service] {
        let api = self.makeAPI()
        self.link?.attach(self.handlers(api))
        var services: [any Service] = [
            HookService(hooks: self.hooks, deadline: Self.hookDeadline),
            RegistryService(registry: self.registry, objects: self.objectSessions),
        ]
        services.append(TaskService { [access] in await access.prepare() })
        for store in [self.rtmpTLS, self.httpTLS, self.apiTLS, self.rtspTLS].compactMap({ $0 }) {
            services.append(TaskService { [logger] in await store.watch(logger: logger) })
        }
        if let heartbeat = self.heartbeat(api) { services.append(heartbeat) }
        if let media = self.media { services.append(media) }
        if let link = self.link { services.append(link) }
        services += self.apiListeners(api, onBound)
        for address in self.settings.http.listen {
            services.append(ListeningService("http.listen", address, self.media(address, tls: nil, onBound)))
        }
        for address in self.settings.http.tls.listen {
            services.append(
                ListeningService("http.tls.listen", address, self.media(address, tls: self.httpTLS, onBound)))
        }
        return services + [RTMPEnd(parts: self)]
    }

    private func handlers(_ api: NodeAPI) -> ClusterLinkHandlers {
        ClusterLinkHandlers(
            status: { [vitals] in await vitals.heartbeat() },
            onChange: { [relay, objects] change in
                relay?.placementChanged(change)
                objects.cache?.streamMoved(change.key)
            },
            onSuperseded: { [claims] key, epoch in claims.superseded(key, by: epoch) },
            onDrain: { [drain] isDraining in drain.set(.cluster, isDraining) },
            onPolicies: { [live, logger] policies in
                for problem in live.apply(policies) {
                    logger.error("a policy of the cluster is left out", metadata: ["problem": "\(problem)"])
                }
            },
            onRequest: { request in
                let answer = await api.respond(method: request.method, path: request.path, body: request.body)
                return NodeAnswer(status: answer.status, contentType: answer.contentType, body: answer.body)
            })
    }

    private func apiListeners(_ api: NodeAPI, _ onBound: @escaping @Sendable () -> Void) -> [any Service] {
        let server = self.apiServer(api)
        let address = self.settings.api.listen
        var services: [any Service] = [
            ListeningService(
                "api.listen", address,
                server.listener(host: address.host, port: address.port, onBound: { _ in onBound() }))
        ]
        for address in self.settings.api.tls.listen {
            let listener = server.listener(
                host: address.host, port: address.port, isTLS: true, onBound: { _ in onBound() })
            services.append(ListeningService("api.tls.listen", address, listener))
        }
        return services
    }

    private func media(
        _ address: ListenAddress, tls: TLSContextStore?, _ onBound: @escaping @Sendable () -> Void
    ) -> any Service {
        let live = self.live
        let rules = self.rules
        var configuration = MediaHTTPConfiguration(
            corsOrigins: self.settings.http.corsOrigins, hevcForm: { live.streamSettings(for: $0).hevcForm },
            playerNoDelay: { live.streamSettings(for: $0).play.tcpNoDelay.option }, isTLS: tls != nil,
            vhost: { live.vhost(forDomain: $0) }, objectGate: self.fileGate, sessions: self.registry,
            connectionLimit: self.httpConnections)
        configuration.trustsProxy = { rules.trusts($0) }
        configuration.audioForm = { live.streamSettings(for: $0).audio.live.form }
        configuration.publish = self.settings.httpPublish
        let listing =
            self.settings.http.playerPage
            ? StreamListing(settings: live, vitals: self.vitals, link: self.link) : nil
        return MediaListener(
            address: address, configuration: configuration, gate: self.gate, hub: self.hub, objects: self.objects,
            listing: listing, webRTC: self.webRTCRoutes(corsOrigins: self.settings.http.corsOrigins), tls: tls,
            group: self.group, logger: self.logger, onBound: onBound
        ).application()
    }

    // MARK: Ending

    /// The node is empty, or its time is over: those who are left are told, and their last bytes leave.
    func stopAccepting() async {
        await self.webRTC?.shutdown()
        self.srtPulls?.stop()
        self.rtspPulls?.stop()
        await self.rtsp?.stopAccepting()
        self.rtsp?.endConnections()
        await self.srtPushes?.close()
        await self.srt?.shutdown()
        await self.transportStreams?.shutdown()
        await self.gb28181?.shutdown()
        await self.rtmp.stopAccepting()
        self.rtmp.endConnections()
        let end = NIODeadline.now() + .seconds(2)
        while self.rtmp.connectionCount > 0, NIODeadline.now() < end {
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    /// What is on its way to the disk gets there.
    func close() async {
        self.restreams?.close()
        self.objects.cache?.shutdown()
        try? await self.cacheClient?.shutdown()
        await self.media?.close()
        await self.transcoding.close()
        try? await self.keyClient.shutdown()
        self.lag.stop()
    }
}

/// Ends what is left of RTMP when the node is to stop.
private struct RTMPEnd: Service {
    let parts: NodeParts

    func run() async throws {
        try? await gracefulShutdown()
        await self.parts.stopAccepting()
    }
}

/// Calls the receivers of hooks until the last session has ended and was told.
private struct HookService: Service {
    let hooks: Hooks
    let deadline: TimeAmount

    func run() async throws {
        await withDiscardingTaskGroup { tasks in
            tasks.addTask { await self.hooks.run() }
            try? await gracefulShutdown()
            await self.hooks.close(within: self.deadline)
        }
    }
}

/// Lets sessions know what time it is.
private struct RegistryService: Service {
    let registry: SessionRegistry
    let objects: ObjectSessions

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                self.registry.tick()
                self.objects.tick()
                try? await Task.sleep(for: .seconds(1))
            }
        }
        self.objects.endAll(.shutdown)
    }
}

/// Work that lasts as long as the node, or ends before.
struct TaskService: Service {
    let body: @Sendable () async -> Void

    init(_ body: @escaping @Sendable () async -> Void) { self.body = body }

    func run() async throws {
        await cancelWhenGracefulShutdown { await self.body() }
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
