import ClusterLink
import Foundation
import Media
import MediaObjects
import NIOCore
import NodeConfiguration
import ObjectCache
import Placement
import Recorder
import SegmentStore
import Snapshots
import StreamHub
import Synchronization

/// The files of streams as this node has them: made here, or taken from the node that makes them.
struct NodeObjects: MediaObjectSource {
    /// `nil` on an edge.
    let media: OriginMedia?
    /// `nil` on a node that stands alone.
    let cache: ObjectCache?
    let claims: StreamClaims
    let suppliers: StreamSuppliers

    func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        let key = request.key
        guard !self.suppliers.isEmpty else { return self.known(request, on: loop) }
        self.suppliers.filesWanted(of: key)
        guard request.name.beginsPlaying, !self.claims.hasPublisher(key), !self.claims.isElsewhere(key) else {
            return self.known(request, on: loop)
        }
        guard self.claims.grant(key) == nil else {
            // It waits for its publisher; what there is of it is served.
            let suppliers = self.suppliers
            Task { await suppliers.demand(key) }
            return self.known(request, on: loop)
        }
        return self.brought(request, on: loop)
    }

    /// Somebody wants a stream that nobody publishes: it may be one that can be brought.
    private func brought(_ request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        let (key, claims, suppliers) = (request.key, self.claims, self.suppliers)
        // Suppliers have deadlines of their own, and the wait has one.
        let answer = loop.makeFutureWithTask {
            await suppliers.object(
                of: key, on: loop, isHere: { claims.hasPublisher(key) || claims.isElsewhere(key) },
                reply: { self.known(request, on: loop) })
        }
        return .later(
            answer.flatMap { answer in
                if let answer { return loop.makeSucceededFuture(answer) }
                switch self.known(request, on: loop) {
                case .now(let answer): return loop.makeSucceededFuture(answer)
                case .later(let future): return future
                }
            })
    }

    /// What is published, as far as this node knows.
    private func known(_ request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        guard let media = self.media else { return self.fromElsewhere(request, on: loop) }
        switch request.name {
        case .recording: return media.recorder.reply(to: request, on: loop)
        case .snapshot:
            return self.claims.grant(request.key) == nil
                ? self.fromElsewhere(request, on: loop) : media.snapshots.reply(to: request, on: loop)
        case .multivariant where !self.isOurs(request.key, media):
            // A group whose streams are published here.
            let own = media.segments.reply(to: request, on: loop)
            if case .now(.object) = own { return own }
            return self.fromElsewhere(request, on: loop)
        default:
            return self.isOurs(request.key, media)
                ? media.segments.reply(to: request, on: loop) : self.fromElsewhere(request, on: loop)
        }
    }

    /// Published here, or kept from before while nobody else is known to have it.
    private func isOurs(_ key: StreamKey, _ media: OriginMedia) -> Bool {
        if self.cache == nil || self.claims.grant(key) != nil { return true }
        return media.segments.holds(key) && !self.claims.isElsewhere(key)
    }

    private func fromElsewhere(_ request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        self.cache?.reply(to: request, on: loop) ?? .now(.notFound("nobody publishes \(request.key)"))
    }
}

/// Finds the nodes that have the files of a stream.
final class ObjectRoutes: Sendable {
    private struct Nodes {
        var upstreams: [String: ObjectUpstream] = [:]
        var until = NIODeadline.uptimeNanoseconds(0)
    }

    private let routes: RouteSource
    private let link: ClusterLink?
    private let httpPort: Int
    private let hasGroups: @Sendable (StreamKey) -> Bool
    private let declared: @Sendable (StreamKey) -> [StreamKey]
    private let nodes = Mutex(Nodes())
    /// The origins of recordings that were asked for.
    private let recordings = Mutex<[String: String]>([:])

    private static let maximumRecordings = 10_000

    init(
        routes: RouteSource, link: ClusterLink?, httpPort: Int, hasGroups: @escaping @Sendable (StreamKey) -> Bool,
        declared: @escaping @Sendable (StreamKey) -> [StreamKey]
    ) {
        self.hasGroups = hasGroups
        self.declared = declared
        self.routes = routes
        self.link = link
        self.httpPort = httpPort
    }

    func upstreams(of key: StreamKey, _ name: MediaObjectName) async -> UpstreamAnswer {
        guard case .recording(let recording) = name, let link = self.link else {
            return await self.routes.objects(key, httpPort: self.httpPort)
        }
        switch recording {
        case .playlist(let from, let to), .file(let from, let to):
            return await self.recorders(of: key, from: from, to: to, link)
        case .initialization(let id), .segment(let id, _, _): return await self.recorder(of: id, link)
        }
    }

    private func recorders(of key: StreamKey, from: Int64, to: Int64, _ link: ClusterLink) async -> UpstreamAnswer {
        guard let recordings = await link.recordings(of: key, fromMillis: from, toMillis: to) else {
            return .unavailable("the coordinator cannot be reached")
        }
        var names: [String] = []
        for entry in recordings where !names.contains(entry.node) { names.append(entry.node) }
        guard !names.isEmpty else { return .notFound }
        var upstreams: [ObjectUpstream] = []
        for name in names {
            // An origin that is away keeps nobody from what the others have.
            if let upstream = await self.node(name, link) { upstreams.append(upstream) }
        }
        guard !upstreams.isEmpty else { return .unavailable("\(names[0]), which has the recording, is away") }
        return upstreams.count == 1 ? .upstreams(upstreams) : .spread(upstreams)
    }

    private func recorder(of id: String, _ link: ClusterLink) async -> UpstreamAnswer {
        var name = self.recordings.withLock { $0[id] }
        if name == nil {
            switch await link.recording(id) {
            case .unknown: return .notFound
            case .unreachable: return .unavailable("the coordinator cannot be reached")
            case .found(let entry):
                name = entry.node
                self.recordings.withLock { known in
                    if known.count >= Self.maximumRecordings { known.removeAll() }
                    known[id] = entry.node
                }
            }
        }
        guard let name, let upstream = await self.node(name, link) else {
            return .unavailable("the origin that has the recording is away")
        }
        return .upstreams([upstream])
    }

    /// Where a node serves files; the list is asked for at most once in 2 s.
    private func node(_ name: String, _ link: ClusterLink) async -> ObjectUpstream? {
        let now = NIODeadline.now()
        if let known = self.nodes.withLock({ $0.until > now ? $0 : nil }) { return known.upstreams[name] }
        guard let nodes = await link.nodes() else { return self.nodes.withLock { $0.upstreams[name] } }
        let upstreams = Dictionary(
            nodes.filter { $0.role == .origin && $0.httpPort > 0 }.map { node in
                (
                    node.id.rawValue,
                    ObjectUpstream(node: node.id.rawValue, host: node.host, httpPort: node.httpPort)
                )
            }, uniquingKeysWith: { $1 })
        self.nodes.withLock { $0 = Nodes(upstreams: upstreams, until: now + .seconds(2)) }
        return upstreams[name]
    }

    /// The live streams `name_…` that are variants of `name`; empty if `name` itself is live.
    func members(of key: StreamKey) -> [StreamKey] {
        // A stream that waits for its publisher is no group.
        guard self.hasGroups(key), let link = self.link, link.cachedRoute(for: key) == nil else { return [] }
        let live = link.liveStreams
        let declared = self.declared(key)
        if !declared.isEmpty { return declared.filter(live.contains) }
        return live.filter { $0.vhost == key.vhost && $0.app == key.app && $0.name.hasPrefix(key.name + "_") }
            .sorted { $0.name < $1.name }
    }
}
