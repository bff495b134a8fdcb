import ClusterLink
import Logging
import Media
import NIOCore
import Placement
import RTMP
import StreamHub
import Synchronization

/// Pulls streams from other nodes while they are watched here: one upstream per stream, whatever the number of viewers.
final class RelayService: Sendable {
    private let hub: StreamHub
    private let routes: RouteSource
    private let settings: StreamPull.Settings
    private let maximumUpstreams: Int
    private let logger: Logger
    private let pulls = Mutex<[StreamKey: Entry]>([:])
    private let missing: MissingStreams

    private struct Entry {
        let pull: StreamPull
        let stream: LiveStream
    }

    init(
        hub: StreamHub, routes: RouteSource, settings: StreamPull.Settings, maximumUpstreams: Int,
        negativeCache: TimeAmount, logger: Logger
    ) {
        self.missing = MissingStreams(lifetime: negativeCache)
        self.hub = hub
        self.routes = routes
        self.settings = settings
        self.maximumUpstreams = maximumUpstreams
        self.logger = logger
    }

    var upstreamCount: Int { self.pulls.withLock { $0.count } }

    /// Makes the stream play here, if it plays anywhere. A name that nobody publishes leaves no stream behind.
    ///
    /// `asksSuppliers`: origins that can bring streams are asked for one that nobody publishes. Another node that wants
    /// the stream asks them itself, so that no circle of nodes waits for itself.
    func demand(
        _ key: StreamKey, asksSuppliers: Bool, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        if !self.isPulling(key) {
            if self.missing.contains(key) { return .failure(Self.notFound(key)) }
            switch await self.routes.play(key, asksSuppliers: asksSuppliers) {
            case .upstreams: break
            case .notFound, .ended: return .failure(Self.notFound(key))
            case .unavailable(let text): return .failure(SessionRefusal(.unavailable, text))
            }
        }
        // A stream that was found may be on its way out; the next look-up then makes a new one.
        for _ in 0..<3 {
            guard let entry = self.entry(key, on: loop) else {
                return .failure(SessionRefusal(.unavailable, "this node pulls as many streams as it may"))
            }
            let outcome = try? await entry.stream.home.flatSubmit { entry.pull.demand() }.get()
            switch outcome {
            case .playing(let epoch): return .success(PlayGrant(stream: entry.stream, epoch: epoch))
            case .failed(let refusal):
                if refusal.cause == .notFound { self.missing.insert(key) }
                return .failure(refusal)
            case .streamIsGone: continue
            case nil: return .failure(SessionRefusal(.unavailable, "the node is shutting down"))
            }
        }
        return .failure(SessionRefusal(.unavailable, "\(key) is being closed"))
    }

    private static func notFound(_ key: StreamKey) -> SessionRefusal {
        SessionRefusal(.notFound, "nobody publishes \(key)")
    }

    /// The pull of the stream, begun if there is none; `nil` if there are too many.
    private func entry(_ key: StreamKey, on loop: any EventLoop) -> Entry? {
        let (entry, isNew) = self.pulls.withLock { pulls -> (Entry?, Bool) in
            if let entry = pulls[key] { return (entry, false) }
            guard pulls.count < self.maximumUpstreams else { return (nil, false) }
            var logger = self.logger
            logger[metadataKey: "stream"] = "\(key)"
            let stream = self.hub.stream(key, home: loop)
            let pull = StreamPull(
                stream: stream, hub: self.hub, routes: self.routes, settings: self.settings, logger: logger
            ) { [weak self] key in
                self?.forget(key)
            }
            let entry = Entry(pull: pull, stream: stream)
            pulls[key] = entry
            return (entry, true)
        }
        if isNew, let entry { entry.stream.home.execute { entry.pull.start() } }
        return entry
    }

    private func forget(_ key: StreamKey) {
        _ = self.pulls.withLock { $0.removeValue(forKey: key) }
    }

    /// Whether the stream is fed by a pull.
    func isPulling(_ key: StreamKey) -> Bool { self.pulls.withLock { $0[key] != nil } }

    func placementChanged(_ change: PlacementChange) {
        guard let entry = self.pulls.withLock({ $0[change.key] }) else { return }
        let node = change.route?.node.rawValue
        entry.stream.home.execute {
            entry.pull.placementChanged(epoch: change.epoch, node: node, isEnded: change.state == .ended)
        }
    }

    func unwatched(_ stream: LiveStream) {
        guard let entry = self.pulls.withLock({ $0[stream.key] }), entry.stream === stream else { return }
        entry.pull.unwatched()
    }
}

/// Names that an upstream did not know a moment ago. Bounded: when it is full, the oldest half is forgotten.
private final class MissingStreams: Sendable {
    private static let capacity = 10_000

    private let lifetime: TimeAmount
    private let names = Mutex<[StreamKey: NIODeadline]>([:])

    init(lifetime: TimeAmount) { self.lifetime = lifetime }

    func contains(_ key: StreamKey) -> Bool {
        self.names.withLock { names in
            guard let until = names[key] else { return false }
            if until > .now() { return true }
            names[key] = nil
            return false
        }
    }

    func insert(_ key: StreamKey) {
        let now = NIODeadline.now()
        self.names.withLock { names in
            if names.count >= Self.capacity {
                names = names.filter { $0.value > now }
                if names.count >= Self.capacity {
                    let kept = names.sorted { $0.value > $1.value }.prefix(Self.capacity / 2)
                    names = Dictionary(uniqueKeysWithValues: Array(kept))
                }
            }
            names[key] = now + self.lifetime
        }
    }
}
