import Access
import AccessControl
import APIServer
import ClusterLink
import Exposition
import Foundation
import Hooks
import HTTPMedia
import HTTPTypes
import Hummingbird
import Media
import MediaCatalog
import MediaObjects
import MediaStorage
import NIOCore
import NodeAPI
import NodeConfiguration
import ObjectCache
import ProcessStats
import RTMPServer
import RTSPServer
import SRTServer
import Recorder
import SegmentStore
import ServiceLifecycle
import Snapshots
import StreamHub
import TSServer
import WebRTCSignalling

/// What the node's API tells and does.
extension NodeParts {
    func apiServices() -> NodeAPIServices {
        let (hub, claims, live) = (self.hub, self.claims, self.live)
        let view: @Sendable (StreamSnapshot) -> NodeStream = {
            NodeStream($0, isHeld: claims.grant($0.key) != nil)
        }
        var services = NodeAPIServices(
            identity: self.identity, sessions: self.registry, sampler: self.vitals.sources.process ?? ProcessSampler(),
            loops: self.lag,
            streams: { await hub.snapshots().map(view) },
            stream: { key in
                guard let stream = hub.existing(key) else { return nil }
                return (try? await stream.home.submit { stream.snapshot() }.get()).map(view)
            },
            readiness: { [readiness = self.apiReadiness()] in readiness() })
        services.options = { live.current.apiOptions }
        services.vhosts = { live.current.apiVhosts }
        services.vhostOfDomain = { live.vhost(forDomain: $0) }
        services.setDraining = { [drain] in drain.set(.node, $0) }
        services.reload = { [logger] in
            let report = await live.reload()
            report.log(logger)
            return NodeReload(report)
        }
        services.settings = {
            NodeDocument(contentType: "application/yaml", text: ConfigurationPrinter.yaml(live.current))
        }
        services.hooks = { [hooks] in NodeHooks(hooks.statistics()) }
        services.figures = { [figures = self.apiFigures()] in figures() }
        if let cache = self.objects.cache { services.cache = { cache.statistics } }
        let (restreams, pushes) = (self.restreams, self.srtPushes)
        if restreams != nil || pushes != nil {
            services.forwards = {
                (restreams?.snapshots() ?? []).map(NodeForward.init) + (pushes?.snapshots ?? []).map(NodeForward.init)
            }
        }
        if let srt = self.srt { services.srt = { NodeSRTFigures(srt.totals) } }
        let calls = self.srtPulls
        let cameras = self.rtspPulls.flatMap { $0.isEmpty ? nil : $0 }
        if calls != nil || cameras != nil {
            services.pulls = {
                (calls?.snapshots ?? []).map(NodePull.init) + (cameras?.snapshots ?? []).map(NodePull.init)
            }
        }
        if let server = self.transportStreams {
            services.transportStreams = { NodeTSFigures(await server.statistics()) }
        }
        services.gb28181 = self.gb28181
        services.snapshot = self.apiSnapshot()
        if let media = self.media { Self.add(media, to: &services) }
        return services
    }

    /// A picture, made here or fetched from the node that has the stream.
    private func apiSnapshot() -> @Sendable (StreamKey) async -> NodeSnapshot {
        let objects = self.objects
        let loop = self.group.any()
        return { key in
            let request = MediaObjectRequest(key: key, name: .snapshot)
            switch await loop.submit({ objects.reply(to: request, on: loop) }).getOrNil() {
            case .now(let answer): return NodeSnapshot(answer)
            case .later(let answer): return NodeSnapshot(await answer.getOrNil())
            case nil: return NodeSnapshot(nil)
            }
        }
    }

    private static func add(_ media: OriginMedia, to services: inout NodeAPIServices) {
        services.recordings = NodeRecordings(media.recorder)
        services.storage = {
            NodeStorage(
                catalog: "\(media.database.status)", folders: media.storageStates,
                streams: media.segments.statistics())
        }
    }

    private func apiReadiness() -> @Sendable () -> NodeReadiness {
        let link = self.link
        let (readiness, drain, rtmp, connections) = (self.readiness, self.drain, self.rtmp, self.httpConnections)
        let maximum = self.settings.rtmp.maximumConnections
        return {
            let cluster: NodeReadiness.Cluster = link.map { $0.silence.map { .silent(for: $0) } ?? .joined } ?? .alone
            var state = NodeReadiness(
                isListening: readiness.isListening, isDraining: drain.isDraining, cluster: cluster)
            if rtmp.connectionCount >= maximum { state.limitsReached.append("rtmp.maximum_connections") }
            if connections.count >= connections.maximum { state.limitsReached.append("http.maximum_connections") }
            return state
        }
    }

    private func apiFigures() -> @Sendable () -> NodeFigures {
        let (registry, rtmp, relay, live, access) = (self.registry, self.rtmp, self.relay, self.live, self.access)
        return {
            var figures = NodeFigures()
            figures.refusals = registry.counts.refusals.map {
                NodeRefusals(transport: $0.key.transport, cause: $0.key.cause.rawValue, count: $0.value)
            }
            let rules = access.statistics
            for (refusal, count) in rules.refused {
                figures.accessRefusals[refusal.action.rawValue, default: [:]][refusal.cause.rawValue] = count
            }
            figures.keySetFetches = rules.keySetFetches
            figures.keySetFailures = rules.keySetFailures
            figures.keySetKeys = rules.keySetKeys
            figures.rtmpConnections = rtmp.connectionCount
            figures.upstreams = relay?.upstreamCount ?? 0
            (figures.reloads, figures.failedReloads) = (live.reloadCounts.succeeded, live.reloadCounts.failed)
            return figures
        }
    }

    // MARK: Port

    func apiServer(_ api: NodeAPI) -> APIServer {
        let settings = self.settings.api
        let live = self.live
        var configuration = APIServerConfiguration(
            name: "node API",
            authenticate: { credentials in
                let api = live.current.api
                let isKnown =
                    credentials.matches(token: api.token.value)
                    || credentials.matches(user: api.username, password: api.password.value)
                return isKnown ? APIPrincipal(role: .admin, name: "api") : nil
            },
            requirement: { NodeAPI.requirement($0, $1) })
        configuration.anonymous = {
            let api = live.current.api
            return api.token.isEmpty && api.username.isEmpty ? APIPrincipal(role: .admin, name: "local") : nil
        }
        configuration.isTrustedProxy = { [rules] in rules.trusts($0) }
        configuration.offersBasic = !settings.username.isEmpty
        configuration.corsOrigins = settings.corsOrigins
        configuration.hosts = settings.hosts
        // SRS has WHIP and WHEP on this port.
        let routes = self.webRTCRoutes(corsOrigins: settings.corsOrigins)
        return APIServer(
            configuration: configuration, router: api.router { routes?.add(to: $0) }, tls: self.apiTLS,
            group: self.group, logger: self.logger
        )
    }

    /// SRS's report to an operator's server, if it is wanted.
    func heartbeat(_ api: NodeAPI) -> (any Service)? {
        let settings = self.settings.heartbeat
        guard settings.enabled, let url = settings.url else { return nil }
        var configuration = ServerHeartbeatConfiguration(
            url: url.description, interval: settings.interval, deviceID: settings.deviceID,
            ip: self.settings.node.advertise, serverID: self.identity.server, serviceID: self.identity.service,
            version: self.identity.version)
        configuration.secret = self.settings.hooks.secret.value
        if settings.summaries {
            configuration.summaries = {
                let answer = await api.respond(method: "GET", path: "/api/v1/summaries", body: nil)
                return String(buffer: answer.body)
            }
        }
        if settings.ports {
            configuration.ports = [
                "rtmp": self.settings.rtmp.listen.map(\.description),
                "http": self.settings.http.listen.map(\.description), "api": [self.settings.api.listen.description],
            ]
            let srt = self.settings.srt
            if srt.isEnabled { configuration.ports["srt"] = srt.listen.map { "udp://\($0)" } }
        }
        return ServerHeartbeat(configuration: configuration, logger: self.logger)
    }
}

extension EventLoopFuture where Value: Sendable {
    /// The value, or `nil` if the future fails.
    fileprivate func getOrNil() async -> Value? { try? await self.get() }
}

extension NodeSettings {
    fileprivate var apiOptions: NodeAPIOptions {
        var options = NodeAPIOptions()
        options.apiHost = self.api.listen.host
        options.apiPort = self.api.listen.port
        if let rtmp = self.rtmp.listen.first { (options.rtmpHost, options.rtmpPort) = (rtmp.host, rtmp.port) }
        options.crossdomain = !self.api.corsOrigins.isEmpty
        options.allowsRawReload = !self.api.token.isEmpty || !self.api.username.isEmpty
        options.metricsOfStreams = self.metrics.streams
        options.maximumMetricStreams = self.metrics.maximumStreams
        return options
    }

    fileprivate var apiVhosts: [NodeVhost] {
        func view(_ name: String, _ stream: StreamSettings) -> NodeVhost {
            NodeVhost(
                name: name, isHLSEnabled: stream.hls.enabled,
                hlsSegmentSeconds: Double(stream.hls.segmentDuration.nanoseconds) / 1e9)
        }
        let named = self.vhosts.map { view($0.name, $0.stream) }
        let hasDefault = named.contains { $0.name == StreamKey.defaultVhost }
        return hasDefault ? named : [view(StreamKey.defaultVhost, self.stream)] + named
    }
}

extension NodeReload {
    init(_ report: ReloadReport) {
        struct Change: Encodable {
            let key: String
            let old: String
            let new: String
            let effect: String
        }
        struct Body: Encodable {
            let id: Int
            let changes: [Change]
            let problems: [String]
        }
        let body = Body(
            id: report.id,
            changes: report.changes.map {
                Change(key: $0.key, old: "\($0.old)", new: "\($0.new)", effect: $0.effect.rawValue)
            }, problems: report.problems)
        let json = (try? JSONEncoder().encode(body)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
        let restarts = report.changes.count { $0.effect == .restart }
        let message =
            report.problems.first
            ?? "\(report.changes.count) settings changed, \(restarts) of them count after a restart"
        self.init(succeeded: report.isApplied, message: message, json: json)
    }
}

extension NodeForward {
    init(_ snapshot: RestreamSnapshot) {
        self.init(
            key: snapshot.key, destination: snapshot.url, state: snapshot.state.rawValue,
            sentBytes: snapshot.sentBytes, attempts: snapshot.attempts)
    }
}

extension NodeSnapshot {
    init(_ answer: MediaObjectAnswer?) {
        switch answer {
        case .object(let object):
            if case .bytes(let bytes) = object.body { self = .jpeg(bytes) } else { self = .none("there is no picture") }
        case .notFound(let text), .badRequest(let text), .forbidden(let text), .conflict(let text): self = .none(text)
        case .unavailable(let text): self = .busy(text)
        case nil: self = .busy("the node is shutting down")
        }
    }
}
