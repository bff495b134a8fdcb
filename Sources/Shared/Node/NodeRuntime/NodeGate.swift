import ClusterLink
import Hooks
import Logging
import Media
import NIOCore
import NodeConfiguration
import RTMP
import RTMPServer
import SRTServer
import StreamHub
import Streaming
import Synchronization

/// Decides for all protocols of a node who may publish and play, and where the media go.
final class NodeGate: SessionGate {
    private let settings: LiveSettings
    private let admission: Admission
    private let policies: HookPolicies
    private let hub: StreamHub
    private let claims: StreamClaims
    private let relay: RelayService?
    private let forwards: ForwardService?
    private let restreams: RestreamService?
    private let pushes: Later<SRTPushes>
    private let suppliers: StreamSuppliers
    private let waitingViewers = Atomic<Int>(0)
    private let logger: Logger

    /// The most viewers that wait for a stream to appear.
    private static let maximumWaitingViewers = 10_000
    /// Nodes wait 5 s for the answer to a request.
    private static let nodePatience = TimeAmount.seconds(4)

    init(
        settings: LiveSettings, admission: Admission, policies: HookPolicies, hub: StreamHub, claims: StreamClaims,
        relay: RelayService?, forwards: ForwardService?, restreams: RestreamService?, pushes: Later<SRTPushes>,
        suppliers: StreamSuppliers, logger: Logger
    ) {
        self.restreams = restreams
        self.pushes = pushes
        self.suppliers = suppliers
        self.settings = settings
        self.admission = admission
        self.policies = policies
        self.hub = hub
        self.claims = claims
        self.relay = relay
        self.forwards = forwards
        self.logger = logger
    }

    private func key(_ peer: PeerIdentity) throws(SessionRefusal) -> StreamKey {
        let vhost = self.settings.vhost(forDomain: peer.vhost ?? peer.host)
        do {
            return try StreamKey(vhost: vhost, app: peer.app, name: peer.name)
        } catch {
            throw SessionRefusal(.badName, "the URL names no stream: \(error)")
        }
    }

    // MARK: Playing

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        do throws(SessionRefusal) {
            let key = try self.key(peer)
            try await self.admission.play(key, peer, relay: relay, isPublishedHere: self.claims.grant(key) != nil)
            return .success(try await self.grant(key, relay: relay, on: loop))
        } catch {
            self.admission.withdraw(peer)
            return .failure(error)
        }
    }

    private func grant(
        _ key: StreamKey, relay: RelayIdentity?, on loop: any EventLoop
    ) async throws(SessionRefusal) -> PlayGrant {
        let grant = try await self.grant(key, isForNode: relay != nil, on: loop)
        if let relay, grant.epoch > 0, relay.epoch > grant.epoch {
            throw SessionRefusal(
                .notFound, "\(key) has epoch \(grant.epoch) here, older than \(relay.epoch) that was asked for")
        }
        return grant
    }

    private func grant(
        _ key: StreamKey, isForNode: Bool, on loop: any EventLoop
    ) async throws(SessionRefusal) -> PlayGrant {
        if let grant = self.claims.grant(key) {
            // It may wait for a publisher whom nobody told that there are viewers again.
            if !self.claims.hasPublisher(key) { await self.suppliers.demand(key) }
            return grant
        }
        // Two nodes may know of the same camera: the one that has it already is asked.
        if !self.claims.isElsewhere(key), let patience = await self.suppliers.demand(key) {
            return try await self.waitForSupplier(of: key, atMost: patience, isForNode: isForNode, on: loop)
        }
        if let relay = self.relay {
            switch await relay.demand(key, asksSuppliers: !isForNode, on: loop) {
            case .success(let grant): return grant
            case .failure(let refusal):
                // Who may wait for a publisher may also wait for the coordinator.
                guard self.settings.current.edge.missingStream == .wait else { throw refusal }
            }
        } else if self.settings.current.edge.missingStream == .notFound {
            throw SessionRefusal(.notFound, "nobody publishes \(key)")
        }
        return try await self.wait(for: key, atMost: self.settings.current.edge.missingStreamWait, on: loop)
    }

    /// Another node is answered before it takes us for dead; it asks again.
    private func waitForSupplier(
        of key: StreamKey, atMost patience: TimeAmount, isForNode: Bool, on loop: any EventLoop
    ) async throws(SessionRefusal) -> PlayGrant {
        guard isForNode, patience > Self.nodePatience else {
            return try await self.wait(for: key, atMost: patience, on: loop)
        }
        do throws(SessionRefusal) {
            return try await self.wait(for: key, atMost: Self.nodePatience, on: loop)
        } catch {
            throw SessionRefusal(.unavailable, "\(key) is on its way")
        }
    }

    /// Lets a viewer wait for a publisher, for a bounded time.
    private func wait(
        for key: StreamKey, atMost patience: TimeAmount, on loop: any EventLoop
    ) async throws(SessionRefusal) -> PlayGrant {
        let count = self.waitingViewers.wrappingAdd(1, ordering: .relaxed).newValue
        defer { self.waitingViewers.wrappingSubtract(1, ordering: .relaxed) }
        guard count <= Self.maximumWaitingViewers else {
            throw SessionRefusal(.notFound, "nobody publishes \(key), and too many viewers wait")
        }
        let deadline = NIODeadline.now() + patience
        var pause = Duration.milliseconds(100)
        while NIODeadline.now() < deadline, !Task.isCancelled {
            try? await Task.sleep(for: pause)
            if let grant = self.claims.grant(key) { return grant }
            if let relay = self.relay,
                case .success(let grant) = await relay.demand(key, asksSuppliers: false, on: loop)
            {
                return grant
            }
            pause = min(pause * 2, .seconds(1))
        }
        throw SessionRefusal(.notFound, "nobody publishes \(key)")
    }

    // MARK: Publishing

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        do throws(SessionRefusal) {
            let key = try self.key(peer)
            let policy = try await self.admission.publish(key, peer)
            if let forwards = self.forwards {
                return .success(try await forwards.publish(key, peer: peer, connection: connection))
            }
            let destinations = try await self.destinations(of: key, peer)
            let (sink, stream) = try await self.publishHere(
                key, peer: peer, policy: policy, clock: clock, connection: connection)
            self.policies.began(policy, key, peer)
            if let restreams = self.restreams, !destinations.isEmpty {
                stream.home.execute { restreams.published(stream, templates: destinations, query: peer.query) }
            }
            self.push(stream)
            return .success(sink)
        } catch {
            self.admission.withdraw(peer)
            return .failure(error)
        }
    }

    /// Sends the stream on by SRT, as its settings say.
    private func push(_ stream: LiveStream) {
        let key = stream.key
        let templates = self.settings.streamSettings(for: key).srt.pushes
        // Where there are none any more, those that were begun before a reload end.
        guard let pushes = self.pushes.value else { return }
        let urls = templates.compactMap { $0.url(vhost: key.vhost, app: key.app, stream: key.name) }
        stream.home.execute { pushes.published(stream, to: urls) }
    }

    /// Other servers that get the stream, too: those that a hook names, else those of the settings.
    private func destinations(of key: StreamKey, _ peer: PeerIdentity) async throws(SessionRefusal) -> [String] {
        switch await self.admission.hooks.forwards(key, peer) {
        case .success(let urls):
            return urls ?? self.settings.streamSettings(for: key).forward.destinations.map { "\($0)" }
        case .failure(let refusal): throw refusal.sessionRefusal
        }
    }

    private func publishHere(
        _ key: StreamKey, peer: PeerIdentity, policy: SessionPolicy, clock: SourceClock,
        connection: any PublisherConnection
    ) async throws(SessionRefusal) -> (NIOLoopBound<any MediaSink>, LiveStream) {
        let id = self.hub.nextSessionID()
        let stream = try await self.claimSlot(
            key, session: .init(id: id, token: peer.token), policy: policy.publishPolicy, on: connection.loop)
        let setting = policy.publishPolicy?.setting ?? self.settings.streamSettings(for: key).publish.policy
        let epoch: UInt64
        do throws(SessionRefusal) {
            epoch = try await self.claims.claim(key, token: peer.token, policy: setting.claim)
        } catch {
            stream.home.execute { stream.abandon(id) }
            throw error
        }
        let isActive = try? await stream.home.submit {
            guard stream.activate(id, publisher: connection, epoch: epoch, clock: clock) else { return false }
            self.claims.activated(stream, epoch: epoch)
            return true
        }.get()
        guard isActive == true else {
            await self.claims.giveUp(key, epoch: epoch)
            throw SessionRefusal(.unavailable, "the claim of \(key) was given up")
        }
        let loop = connection.loop
        let sink = try? await loop.submit {
            NIOLoopBound<any MediaSink>(Publication(stream: stream, id: id, epoch: epoch), eventLoop: loop)
        }.get()
        guard let sink else { throw SessionRefusal(.unavailable, "the node is shutting down") }
        return (sink, stream)
    }

    private enum SlotAnswer {
        case granted
        case refused(PublisherSlot.Refusal)
        case streamIsGone
    }

    private func claimSlot(
        _ key: StreamKey, session: PublisherSlot.Session, policy: SessionPolicy.PublishPolicy?, on loop: any EventLoop
    ) async throws(SessionRefusal) -> LiveStream {
        // A stream that was found may be on its way out; the next look-up then makes a new one.
        for _ in 0..<3 {
            let stream = self.hub.stream(key, home: loop)
            let answer = try? await stream.home.submit { () -> SlotAnswer in
                if stream.isClosed { return .streamIsGone }
                return stream.claim(session, policy: policy?.slot).map { .refused($0) } ?? .granted
            }.get()
            switch answer {
            case .granted: return stream
            case .refused(let refusal): throw SessionRefusal(.busy, refusal.text(key))
            case .streamIsGone: continue
            case nil: throw SessionRefusal(.unavailable, "the node is shutting down")
            }
        }
        throw SessionRefusal(.unavailable, "\(key) is being closed")
    }
}

extension PublisherSlot.Refusal {
    fileprivate func text(_ key: StreamKey) -> String {
        switch self {
        case .busy(_, let silence):
            "\(key) has a publisher on this node, which sent media \(silence.nanoseconds / 1_000_000) ms ago"
        case .claiming: "\(key) is being claimed by another publisher on this node"
        }
    }
}
