import Access
import AccessControl
import Foundation
import HTTPMedia
import Hooks
import Media
import MediaObjects
import NIOCore
import StreamHub

/// Who may publish and play, for all protocols: a node that is being drained takes nobody, then the rules decide, then the
/// operator's receivers are asked.
///
/// Nodes of the cluster that pull have proved themselves, and no rule or hook is for them. A publisher that came through
/// an edge is judged here by its own address and URL, which the edge tells: the edge asked the rules as well, and left
/// the hooks to this node.
struct Admission: Sendable {
    let drain: Drain
    let access: AccessControl
    let hooks: Hooks
    /// An edge hands publishers on, and the origin asks the hooks.
    let forwardsPublishers: Bool

    /// Sets the limits of the session's account, and returns what hooks said beyond them.
    func publish(_ key: StreamKey, _ peer: PeerIdentity) async throws(SessionRefusal) -> SessionPolicy {
        if let refusal = self.drain.publishRefusal() { throw refusal }
        return try await self.decide(
            AccessRequest(.publish, key, peer: peer), key, .publish, asksHooks: !self.forwardsPublishers)
    }

    /// The same for a viewer. `isPublishedHere`: the stream's publisher is on this node.
    func play(
        _ key: StreamKey, _ peer: PeerIdentity, relay: RelayIdentity?, isPublishedHere: Bool
    ) async throws(SessionRefusal) {
        let isRelay = relay?.isProved ?? false
        if let refusal = self.drain.playRefusal(isRelay: isRelay, isPublishedHere: isPublishedHere) { throw refusal }
        guard !isRelay else { return }
        _ = try await self.decide(AccessRequest(.play, key, peer: peer), key, .play, asksHooks: true)
    }

    /// A viewer that comes by single requests: HLS, DASH, recordings, pictures.
    func object(_ question: ObjectSessionQuestion) async -> Result<SessionLimits, SessionRefusal> {
        let key = question.request.key
        let isViewer = question.request.name != .snapshot
        if isViewer, let refusal = self.drain.playRefusal(isRelay: false, isPublishedHere: true) {
            return .failure(refusal)
        }
        var request = AccessRequest(files: key, peer: question.peer, access: question.access)
        request.opensSession = isViewer
        do throws(SessionRefusal) {
            _ = try await self.decide(request, key, .play, asksHooks: isViewer)
            return .success(question.peer.account?.limits ?? SessionLimits())
        } catch {
            return .failure(error)
        }
    }

    /// What was allowed comes to nothing.
    func withdraw(_ peer: PeerIdentity) { self.access.withdraw(peer.account) }

    private func decide(
        _ request: AccessRequest, _ key: StreamKey, _ kind: SessionActivity.Kind, asksHooks: Bool
    ) async throws(SessionRefusal) -> SessionPolicy {
        let peer = request.peer
        var limits: SessionLimits
        switch await self.access.decide(request) {
        case .allow(let allowed, let subject):
            limits = allowed
            peer.account?.subject = subject
        case .refuse(let refusal): throw refusal
        }
        var policy = SessionPolicy()
        if asksHooks {
            switch await self.hooks.admit(kind, key, peer) {
            case .allow(let added): policy = added
            case .refuse(let refusal):
                self.access.withdraw(peer.account)
                throw refusal.sessionRefusal
            }
        }
        limits = policy.limits(within: limits, now: .now(), nowSeconds: Int64(Date().timeIntervalSince1970))
        peer.account?.limits = limits
        return policy
    }
}
