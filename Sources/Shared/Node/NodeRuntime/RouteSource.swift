import ClusterLink
import Media
import ObjectCache
import Placement
import Synchronization

/// An address that a stream can be pulled from or published to.
struct Upstream: Sendable, Hashable {
    var node: String
    var host: String
    var port: Int
    /// The epoch that the cluster knows; 0 where it knows none.
    var epoch: UInt64

    init(_ route: Route) {
        self.node = route.node.rawValue
        self.host = route.host
        self.port = route.rtmpPort
        self.epoch = route.epoch
    }

    /// A node that may bring the stream; nobody knows an epoch yet.
    init(_ supplier: NodeDescription) {
        self.node = supplier.id.rawValue
        self.host = supplier.host
        self.port = supplier.rtmpPort
        self.epoch = 0
    }

    init(host: String, port: Int) {
        self.node = "\(host):\(port)"
        self.host = host
        self.port = port
        self.epoch = 0
    }
}

extension ObjectUpstream {
    init(_ route: Route) {
        self.init(node: route.node.rawValue, host: route.host, httpPort: route.httpPort, epoch: route.epoch)
    }

    init(_ supplier: NodeDescription) {
        self.init(node: supplier.id.rawValue, host: supplier.host, httpPort: supplier.httpPort)
    }
}

/// Where streams are: asked of the coordinator, or taken from the configured list.
struct RouteSource: Sendable {
    enum Answer: Sendable {
        /// Try these in order. `isAuthoritative`: the cluster says that the stream is there.
        case upstreams([Upstream], isAuthoritative: Bool)
        /// Nobody publishes the stream.
        case notFound
        /// It was published and has ended.
        case ended
        /// Nobody can tell.
        case unavailable(String)
    }

    /// The node's own id, which is never an upstream.
    let node: String
    let link: ClusterLink?
    /// Nodes that are asked in turn where no coordinator answers.
    let configured: [Upstream]

    /// `asksSuppliers`: of a stream that nobody publishes, the origins that can bring such streams are told. Not for
    /// another node that asks: it asks them itself.
    func play(_ key: StreamKey, asksSuppliers: Bool) async -> Answer {
        guard let link = self.link else { return self.fallback(key) }
        switch await link.playRoute(for: key) {
        case .origin(let route):
            guard route.node.rawValue != self.node else { return .notFound }
            return .upstreams([Upstream(route)], isAuthoritative: true)
        case .notFound: return self.suppliers(of: key, asksSuppliers) ?? .notFound
        case .ended: return self.suppliers(of: key, asksSuppliers) ?? .ended
        case .unreachable(let cached?) where cached.node.rawValue != self.node:
            return .upstreams([Upstream(cached)] + self.ordered(key), isAuthoritative: false)
        case .unreachable: return self.fallback(key)
        }
    }

    private func suppliers(of key: StreamKey, _ areAsked: Bool) -> Answer? {
        guard areAsked, let suppliers = self.link?.suppliers, !suppliers.isEmpty else { return nil }
        return .upstreams(self.ordered(suppliers.map { Upstream($0) }, for: key), isAuthoritative: false)
    }

    /// Where files of `key` are: the node that publishes it. The configured nodes are asked at `httpPort`.
    func objects(_ key: StreamKey, httpPort: Int) async -> UpstreamAnswer {
        let others = self.ordered(key).map { ObjectUpstream(node: $0.node, host: $0.host, httpPort: httpPort) }
        let away = "the coordinator cannot be reached"
        guard let link = self.link else {
            return others.isEmpty ? .unavailable("no upstream is configured") : .upstreams(others)
        }
        switch await link.playRoute(for: key) {
        case .origin(let route) where route.node.rawValue == self.node: return .notFound
        case .origin(let route):
            return route.httpPort == 0
                ? .unavailable("\(route.node) serves no HTTP") : .upstreams([ObjectUpstream(route)])
        case .notFound: return self.objectSuppliers(of: key, link, hasEnded: false) ?? .notFound
        case .ended: return self.objectSuppliers(of: key, link, hasEnded: true) ?? .ended
        case .unreachable(let cached?) where cached.node.rawValue != self.node && cached.httpPort != 0:
            return .upstreams([ObjectUpstream(cached)] + others)
        case .unreachable: return others.isEmpty ? .unavailable(away) : .upstreams(others)
        }
    }

    private func objectSuppliers(of key: StreamKey, _ link: ClusterLink, hasEnded: Bool) -> UpstreamAnswer? {
        let nodes = link.suppliers.filter { $0.httpPort != 0 }
        guard !nodes.isEmpty else { return nil }
        let ordered = nodes.sorted { Self.weight(key, $0.id.rawValue) > Self.weight(key, $1.id.rawValue) }
        return .suppliers(ordered.map { ObjectUpstream($0) }, hasEnded: hasEnded)
    }

    func publish(_ key: StreamKey) async -> Answer {
        guard let link = self.link else { return self.fallback(key) }
        switch await link.publishRoute(for: key) {
        case .origins(let routes): return .upstreams(routes.map(Upstream.init), isAuthoritative: true)
        case .noOrigin: return .unavailable("no origin takes publishers now")
        case .unreachable(let cached):
            let known = cached.map(Upstream.init)
            guard !known.isEmpty else { return self.fallback(key) }
            return .upstreams(known, isAuthoritative: false)
        }
    }

    private func fallback(_ key: StreamKey) -> Answer {
        guard !self.configured.isEmpty else {
            return .unavailable(self.link == nil ? "no upstream is configured" : "the coordinator cannot be reached")
        }
        return .upstreams(self.ordered(key), isAuthoritative: false)
    }

    /// The configured nodes in the order of this stream: the same on every edge, so that all try the same one first.
    private func ordered(_ key: StreamKey) -> [Upstream] { self.ordered(self.configured, for: key) }

    private func ordered(_ upstreams: [Upstream], for key: StreamKey) -> [Upstream] {
        upstreams.sorted { Self.weight(key, $0.node) > Self.weight(key, $1.node) }
    }

    /// Rendezvous hashing with FNV-1a.
    private static func weight(_ key: StreamKey, _ node: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in "\(key)\u{0}\(node)".utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash ^ hash >> 29
    }
}
