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

    private struct Entry {
        let pull: StreamPull
        let stream: LiveStream
    }

    init(
        hub: StreamHub, routes: RouteSource, settings: StreamPull.Settings, maximumUpstreams: Int, logger: Logger
    ) {
        self.hub = hub
        self.routes = routes
        self.settings = settings
        self.maximumUpstreams = maximumUpstreams
        self.logger = logger
    }

    var upstreamCount: Int { self.pulls.withLock { $0.count } }

    /// Makes the stream play here, if it plays anywhere.
    func demand(_ key: StreamKey, on loop: any EventLoop) async -> Result<PlayGrant, SessionRefusal> {
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
        guard let entry else {
            return .failure(SessionRefusal(.unavailable, "this node pulls as many streams as it may"))
        }
        let outcome = try? await entry.stream.home.flatSubmit {
            let answer = entry.pull.demand()
            if isNew { entry.pull.start() }
            return answer
        }.get()
        switch outcome {
        case .playing(let epoch): return .success(PlayGrant(stream: entry.stream, epoch: epoch))
        case .failed(let refusal): return .failure(refusal)
        case nil: return .failure(SessionRefusal(.unavailable, "the node is shutting down"))
        }
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
