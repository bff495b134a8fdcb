import Foundation
import NIOCore
import StreamHub
import WebRTCServer
import WebRTCSignalling

/// Lets the routes of WHIP and WHEP reach the sessions of this node.
struct WebRTCSignals: WebRTCSessions {
    let server: WebRTCServer

    func publish(_ request: SignallingRequest) async -> Result<SignallingAnswer, SignallingRefusal> {
        Self.answer(await self.server.createPublisher(Self.request(request)))
    }

    func play(_ request: SignallingRequest) async -> Result<SignallingAnswer, SignallingRefusal> {
        Self.answer(await self.server.createPlayer(Self.request(request)))
    }

    func patch(
        _ id: String, fragment: String, ifMatch: SignallingPrecondition
    ) async -> Result<SignallingPatchAnswer, SignallingRefusal> {
        switch await self.server.patch(id: id, fragment: fragment, ifMatch: await self.tag(ifMatch, of: id)) {
        case .success(.noted): return .success(.noted)
        case .success(.restarted(let fragment, let etag)): return .success(.restarted(fragment: fragment, etag: etag))
        case .failure(let refusal): return .failure(SignallingRefusal(refusal))
        }
    }

    /// The one entity tag that the sessions compare: the session's own if it is among those that the client named.
    private func tag(_ precondition: SignallingPrecondition, of id: String) async -> String {
        guard case .tags(let tags) = precondition else { return "*" }
        guard let current = await self.server.etag(id: id), tags.contains(current) else { return tags.first ?? "" }
        return current
    }

    func delete(_ id: String) async -> Bool { await self.server.delete(id: id) }

    func diagnose(_ id: String) async -> String? {
        guard let diagnosis = await self.server.diagnose(id: id) else { return nil }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .withoutEscapingSlashes]
        return (try? encoder.encode(diagnosis)).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func answer(
        _ result: Result<WebRTCAnswer, WebRTCRefusal>
    ) -> Result<SignallingAnswer, SignallingRefusal> {
        result.map { SignallingAnswer(sdp: $0.sdp, id: $0.id, etag: $0.etag, iceNames: $0.iceNames) }
            .mapError(SignallingRefusal.init)
    }

    private static func request(_ request: SignallingRequest) -> WebRTCRequest {
        var peer = PeerIdentity(
            transport: "webrtc", address: request.peer?.peerDescription ?? "unknown", vhost: request.vhost,
            host: request.host, app: request.app, name: request.stream, query: request.query, token: request.token)
        peer.authorization = request.authorization
        peer.client.tcURL = ClientDescription.withoutQuery(request.url)
        peer.client.userAgent = ClientDescription.bounded(request.userAgent)
        peer.client.referer = ClientDescription.bounded(request.referer)
        peer.client.query = ClientDescription.bounded(request.query, to: ClientDescription.maximumQueryLength)
        return WebRTCRequest(
            offer: request.offer, peer: peer, address: request.peer, forwardedAddress: request.forwardedAddress,
            candidateHosts: request.candidateHosts)
    }
}

extension SignallingRefusal {
    init(_ refusal: WebRTCRefusal) {
        switch refusal {
        case .refused(let refusal): self.init(refusal)
        case .badOffer(let text): self = .badOffer(text)
        case .notAcceptable(let text): self = .notAcceptable(text)
        case .disabled: self = .disabled
        case .tooManySessions: self = .tooManySessions
        case .noTracks, .shuttingDown: self = .unavailable("\(refusal)")
        case .unknownSession: self = .unknownSession
        case .preconditionFailed(let etag): self = .preconditionFailed(etag: etag)
        }
    }

    private init(_ refusal: SessionRefusal) {
        switch refusal.cause {
        case .badName: self = .badName(refusal.text)
        case .notFound: self = .streamNotFound(refusal.text)
        case .busy: self = .busy(refusal.text)
        case .unavailable: self = .unavailable(refusal.text)
        case .unauthorized: self = .unauthorized(refusal.text)
        case .forbidden: self = .forbidden(refusal.text)
        case .limited: self = .limited(refusal.text)
        }
    }
}
