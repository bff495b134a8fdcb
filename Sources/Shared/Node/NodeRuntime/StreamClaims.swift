import ClusterLink
import Foundation
import Logging
import Media
import NIOCore
import NodeConfiguration
import Placement
import StreamHub
import Streaming
import Synchronization

/// The streams that are published on this node, with the epochs under which the cluster knows them.
///
/// Watches the hub: tells the cluster when a stream goes live, waits for its publisher, or ends.
final class StreamClaims: StreamObserver {
    private struct Claim {
        var epoch: UInt64
        var stream: LiveStream
        var state: PlacementState
    }

    private let link: ClusterLink?
    private let logger: Logger
    private let claims = Mutex<[StreamKey: Claim]>([:])
    private let lastEpoch = Mutex<UInt64>(0)
    private let relay = Mutex<RelayService?>(nil)
    private let media = Mutex<OriginMedia?>(nil)
    private let restreams = Mutex<RestreamService?>(nil)

    init(link: ClusterLink?, logger: Logger) {
        self.link = link
        self.logger = logger
    }

    /// Is told when a stream has no viewers left.
    func attach(_ relay: RelayService) { self.relay.withLock { $0 = relay } }

    /// Is told which streams are published here.
    func attach(_ media: OriginMedia) { self.media.withLock { $0 = media } }

    /// Is told when a stream is published elsewhere.
    func attach(_ restreams: RestreamService) { self.restreams.withLock { $0 = restreams } }

    private func position(of key: StreamKey) -> MediaPosition? { self.media.withLock { $0 }?.position(of: key) }

    /// Whether the cluster says that another node has the stream.
    func isElsewhere(_ key: StreamKey) -> Bool {
        guard let link = self.link, let route = link.cachedRoute(for: key) else { return false }
        return route.node != link.configuration.node.id
    }

    /// The stream, if it is published here or waits for its publisher's return.
    func grant(_ key: StreamKey) -> PlayGrant? {
        self.claims.withLock { claims in
            claims[key].map { PlayGrant(stream: $0.stream, epoch: $0.epoch) }
        }
    }

    /// Somebody publishes the stream here now; it does not wait for a publisher's return.
    func hasPublisher(_ key: StreamKey) -> Bool { self.claims.withLock { $0[key]?.state == .live } }

    // MARK: Claiming

    /// Asks the cluster for the stream. A publisher that returns within the grace time goes on under its epoch.
    func claim(_ key: StreamKey, token: String, policy: ClaimPolicy) async throws(SessionRefusal) -> UInt64 {
        if let own = self.claims.withLock({ $0[key]?.epoch }) { return own }
        guard let link = self.link else { return self.nextLocalEpoch() }
        switch await link.claim(key, token: token, policy: policy, patience: .seconds(2)) {
        case .granted(let epoch, let position, let wasLastHolder):
            self.media.withLock { $0 }?.resume(key, reported: position, wasLastHolder: wasLastHolder)
            return epoch
        case .provisional(let epoch):
            self.media.withLock { $0 }?.resume(key, reported: nil, wasLastHolder: false)
            return epoch
        case .conflict(let conflict): throw SessionRefusal(.busy, conflict.description)
        case .refused(let reason): throw SessionRefusal(.unavailable, reason)
        }
    }

    /// Epochs of a node without a cluster: wall-clock milliseconds, so that they also grow over a restart.
    private func nextLocalEpoch() -> UInt64 {
        self.lastEpoch.withLock { last in
            last = max(last + 1, UInt64(Date().timeIntervalSince1970 * 1_000))
            return last
        }
    }

    /// The publisher went away before it held the stream.
    func giveUp(_ key: StreamKey, epoch: UInt64) async {
        guard !self.claims.withLock({ $0.keys.contains(key) }) else { return }
        await self.link?.release(key, epoch: epoch, reason: .failed)
    }

    /// A publisher holds the stream now. On the stream's home loop.
    func activated(_ stream: LiveStream, epoch: UInt64) {
        self.claims.withLock {
            $0[stream.key] = Claim(epoch: epoch, stream: stream, state: .live)
        }
        self.media.withLock { $0 }?.published(stream)
        self.report(stream.key, epoch: epoch, .live)
    }

    // MARK: The hub's changes

    func streamChanged(_ stream: LiveStream, _ change: StreamChange) {
        switch change {
        case .waiting(let epoch): self.move(stream, epoch, to: .grace)
        case .ended(let epoch): self.release(stream, epoch)
        case .unwatched: self.relay.withLock { $0 }?.unwatched(stream)
        case .live, .tracks: break
        }
    }

    private func move(_ stream: LiveStream, _ epoch: UInt64, to state: PlacementState) {
        let isOurs = self.claims.withLock { claims in
            guard claims[stream.key]?.epoch == epoch, claims[stream.key]?.stream === stream else { return false }
            claims[stream.key]?.state = state
            return true
        }
        if isOurs { self.report(stream.key, epoch: epoch, state) }
    }

    private func release(_ stream: LiveStream, _ epoch: UInt64) {
        let isOurs = self.claims.withLock { claims in
            guard claims[stream.key]?.epoch == epoch, claims[stream.key]?.stream === stream else { return false }
            claims[stream.key] = nil
            return true
        }
        guard isOurs, let link = self.link else { return }
        let position = self.position(of: stream.key)
        self.run(on: stream.home) {
            await link.release(stream.key, epoch: epoch, reason: .graceOver, position: position)
        }
    }

    private func report(_ key: StreamKey, epoch: UInt64, _ state: PlacementState) {
        guard let link = self.link, let home = self.claims.withLock({ $0[key]?.stream.home }) else { return }
        let position = self.position(of: key)
        self.run(on: home) { await link.report(key, epoch: epoch, state: state, position: position) }
    }

    /// Starts a short call of the link, which has its own deadline, from a callback that cannot wait.
    private func run(on loop: any EventLoop, _ body: @escaping @Sendable () async -> Void) {
        loop.makeFutureWithTask { await body() }.whenFailure { [logger] error in
            logger.warning("the cluster was not told", metadata: ["error": "\(error)"])
        }
    }

    /// The cluster knows a newer epoch: the publisher here must go, and its claim is not ours to release.
    func superseded(_ key: StreamKey, by epoch: UInt64) {
        let stream = self.claims.withLock { claims -> LiveStream? in
            guard let claim = claims[key], claim.epoch < epoch else { return nil }
            claims[key] = nil
            return claim.stream
        }
        guard let stream else { return }
        self.logger.notice("stream superseded", metadata: ["stream": "\(key)", "epoch": "\(epoch)"])
        let relay = self.relay.withLock { $0 }
        let media = self.media.withLock { $0 }
        self.restreams.withLock { $0 }?.withdrawn(key)
        stream.home.execute {
            media?.withdrawn(stream)
            stream.revoke(.superseded(epoch: epoch))
            guard let relay, stream.viewerCount > 0 else {
                return stream.endNow(.kicked(reason: "the stream moved to another node"))
            }
            // Its viewers stay, and get it from where it is now.
            self.run(on: stream.home) {
                guard case .failure = await relay.demand(key, asksSuppliers: false, on: stream.home) else { return }
                stream.home.execute { stream.endNow(.kicked(reason: "the stream moved to another node")) }
            }
        }
    }

    /// What the heartbeat reports. `snapshots` tell how long each publisher has been silent.
    func reports(_ snapshots: [StreamSnapshot]) -> [StreamReport] {
        let silence = Dictionary(
            snapshots.compactMap { snapshot in snapshot.silentFor.map { (snapshot.key, $0.nanoseconds / 1_000_000) } },
            uniquingKeysWith: max)
        let media = self.media.withLock { $0 }
        return self.claims.withLock { claims in
            claims.map {
                StreamReport(
                    key: $0.key, epoch: $0.value.epoch, state: $0.value.state, silentMillis: silence[$0.key] ?? 0,
                    position: media?.position(of: $0.key))
            }
        }
    }

    var count: Int { self.claims.withLock { $0.count } }
}
