import ClusterLink
import Logging
import Media
import NIOCore
import NodeConfiguration
import RTMP
import RTMPServer
import StreamHub
import Streaming
import Synchronization

/// Decides for all protocols of a node who may publish and play, and where the media go.
final class NodeGate: SessionGate {
    private let settings: NodeSettings
    private let hub: StreamHub
    private let claims: StreamClaims
    private let relay: RelayService?
    private let forwards: ForwardService?
    private let waitingViewers = Atomic<Int>(0)
    private let logger: Logger

    /// The most viewers that wait for a stream to appear.
    private static let maximumWaitingViewers = 10_000

    init(
        settings: NodeSettings, hub: StreamHub, claims: StreamClaims, relay: RelayService?, forwards: ForwardService?,
        logger: Logger
    ) {
        self.settings = settings
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
            guard relay != nil || self.settings.streamSettings(for: key).play.urlSecret.isEmpty else {
                throw SessionRefusal(.notFound, "\(key) is played below signed paths only, by HLS and DASH")
            }
            let grant = try await self.grant(key, on: loop)
            if let relay, grant.epoch > 0, relay.epoch > grant.epoch {
                throw SessionRefusal(
                    .notFound, "\(key) has epoch \(grant.epoch) here, older than \(relay.epoch) that was asked for")
            }
            return .success(grant)
        } catch {
            return .failure(error)
        }
    }

    private func grant(_ key: StreamKey, on loop: any EventLoop) async throws(SessionRefusal) -> PlayGrant {
        if let grant = self.claims.grant(key) { return grant }
        if let relay = self.relay {
            switch await relay.demand(key, on: loop) {
            case .success(let grant): return grant
            case .failure(let refusal):
                // Who may wait for a publisher may also wait for the coordinator.
                guard self.settings.edge.missingStream == .wait else { throw refusal }
            }
        } else if self.settings.edge.missingStream == .notFound {
            throw SessionRefusal(.notFound, "nobody publishes \(key)")
        }
        return try await self.wait(for: key, on: loop)
    }

    /// Lets a viewer wait for a publisher, for a bounded time.
    private func wait(for key: StreamKey, on loop: any EventLoop) async throws(SessionRefusal) -> PlayGrant {
        let count = self.waitingViewers.wrappingAdd(1, ordering: .relaxed).newValue
        defer { self.waitingViewers.wrappingSubtract(1, ordering: .relaxed) }
        guard count <= Self.maximumWaitingViewers else {
            throw SessionRefusal(.notFound, "nobody publishes \(key), and too many viewers wait")
        }
        let deadline = NIODeadline.now() + self.settings.edge.missingStreamWait
        var pause = Duration.milliseconds(100)
        while NIODeadline.now() < deadline, !Task.isCancelled {
            try? await Task.sleep(for: pause)
            if let grant = self.claims.grant(key) { return grant }
            if let relay = self.relay, case .success(let grant) = await relay.demand(key, on: loop) { return grant }
            pause = min(pause * 2, .seconds(1))
        }
        throw SessionRefusal(.notFound, "nobody publishes \(key)")
    }

    // MARK: Publishing

    func publish(
        _ peer: PeerIdentity, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        do throws(SessionRefusal) {
            let key = try self.key(peer)
            if let forwards = self.forwards {
                return .success(try await forwards.publish(key, peer: peer, connection: connection))
            }
            return .success(try await self.publishHere(key, peer: peer, clock: clock, connection: connection))
        } catch {
            return .failure(error)
        }
    }

    private func publishHere(
        _ key: StreamKey, peer: PeerIdentity, clock: SourceClock, connection: any PublisherConnection
    ) async throws(SessionRefusal) -> NIOLoopBound<any MediaSink> {
        let id = self.hub.nextSessionID()
        let stream = try await self.claimSlot(key, session: .init(id: id, token: peer.token), on: connection.loop)
        let epoch: UInt64
        do throws(SessionRefusal) {
            epoch = try await self.claims.claim(
                key, token: peer.token, policy: self.settings.streamSettings(for: key).publish.policy.claim)
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
        return sink
    }

    private enum SlotAnswer {
        case granted
        case refused(PublisherSlot.Refusal)
        case streamIsGone
    }

    private func claimSlot(
        _ key: StreamKey, session: PublisherSlot.Session, on loop: any EventLoop
    ) async throws(SessionRefusal) -> LiveStream {
        // A stream that was found may be on its way out; the next look-up then makes a new one.
        for _ in 0..<3 {
            let stream = self.hub.stream(key, home: loop)
            let answer = try? await stream.home.submit { () -> SlotAnswer in
                if stream.isClosed { return .streamIsGone }
                return stream.claim(session).map { .refused($0) } ?? .granted
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
