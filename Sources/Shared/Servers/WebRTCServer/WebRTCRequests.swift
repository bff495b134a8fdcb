package import NIOCore
package import StreamHub

/// A client's wish to publish or to play, as the signalling got it.
package struct WebRTCRequest: Sendable {
    /// The SDP of the client.
    package var offer: String
    /// Who asks, and for what. `transport` and `account` are set by the server.
    package var peer: PeerIdentity
    /// The peer of the request's connection.
    package var address: SocketAddress?
    /// The client's address behind a proxy that the node trusts.
    package var forwardedAddress: String?
    /// More names and addresses by which the client reaches this node, `host` or `host:port`: the host of the request,
    /// `eip` of SRS. Names are looked up once the gate has let the client in.
    package var candidateHosts: [String]

    package init(
        offer: String, peer: PeerIdentity, address: SocketAddress? = nil, forwardedAddress: String? = nil,
        candidateHosts: [String] = []
    ) {
        self.offer = offer
        self.peer = peer
        self.address = address
        self.forwardedAddress = forwardedAddress
        self.candidateHosts = candidateHosts
    }
}

/// The answer to an offer: the session waits for the client from now on.
package struct WebRTCAnswer: Sendable, Hashable {
    /// The SDP of the server.
    package var sdp: String
    /// Names the session for `patch`, `delete` and `diagnose`; 128 random bits, so whoever knows it may end it.
    package var id: String
    /// Names the ICE generation (RFC 9725 §4.3.1), without quotes.
    package var etag: String
    /// The ICE names of both sides, `local:remote`, by which SRS names sessions.
    package var iceNames: String
    /// `client_id` of hooks and the API.
    package var account: String
}

/// What became of a trickle fragment.
package enum WebRTCPatchAnswer: Sendable, Hashable {
    /// The candidates were noted: 204.
    case noted
    /// ICE begins anew: the server's fragment, and the entity tag from now on.
    case restarted(fragment: String, etag: String)
}

/// Why a session was not made, or not changed.
package enum WebRTCRefusal: Error, Sendable, Hashable {
    /// The gate says no.
    case refused(SessionRefusal)
    /// The offer or fragment cannot be understood.
    case badOffer(String)
    /// Both sides have nothing in common, such as a codec.
    case notAcceptable(String)
    /// WebRTC is off for the stream.
    case disabled
    /// The node has as many sessions as it may have.
    case tooManySessions
    /// The stream did not say in time what it consists of.
    case noTracks
    case shuttingDown
    /// There is no such session, or no more.
    case unknownSession
    /// The entity tag is not that of the session's ICE generation.
    case preconditionFailed(etag: String)
}

extension WebRTCRefusal: CustomStringConvertible {
    package var description: String {
        switch self {
        case .refused(let refusal): refusal.text
        case .badOffer(let text), .notAcceptable(let text): text
        case .disabled: "WebRTC is off for this stream."
        case .tooManySessions: "The node has as many WebRTC sessions as it may have."
        case .noTracks: "The stream has not said yet what it consists of."
        case .shuttingDown: "The node is shutting down."
        case .unknownSession: "There is no such session."
        case .preconditionFailed: "The session's ICE credentials have changed since."
        }
    }
}
