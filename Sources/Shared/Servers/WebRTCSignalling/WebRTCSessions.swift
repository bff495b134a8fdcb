package import NIOCore

/// Makes, changes and ends WebRTC sessions. The routes turn HTTP into these calls, and what they return into HTTP.
///
/// Every call answers within the deadlines of who implements it.
package protocol WebRTCSessions: Sendable {
    /// Answers a publisher's offer.
    func publish(_ request: SignallingRequest) async -> Result<SignallingAnswer, SignallingRefusal>
    /// Answers a player's offer.
    func play(_ request: SignallingRequest) async -> Result<SignallingAnswer, SignallingRefusal>
    /// Takes candidates of the client, or begins ICE anew. Spec: RFC 9725 §4.3.
    func patch(
        _ id: String, fragment: String, ifMatch: SignallingPrecondition
    ) async -> Result<SignallingPatchAnswer, SignallingRefusal>
    /// Ends a session that its client no longer wants. Returns whether there was one.
    func delete(_ id: String) async -> Bool
    /// What was tried to connect the client, as a JSON object; `nil` if there is no such session.
    func diagnose(_ id: String) async -> String?
}

/// An offer, with all that its request says of who sent it.
package struct SignallingRequest: Sendable, Equatable {
    /// The client's SDP.
    package var offer: String
    package var app: String
    package var stream: String
    /// The vhost that the query names outright.
    package var vhost: String?
    /// The host that the stream's URL names, without port, in lower case.
    package var host: String
    /// The query of the stream's URL, without `?`. Holds secrets: never log it.
    package var query: String
    /// `token` of the query.
    package var token: String
    /// `Authorization`, as it came. Holds secrets: never log it.
    package var authorization: String?
    /// The URL of the request without its query.
    package var url: String
    package var userAgent: String
    package var referer: String
    /// The peer of the request's connection.
    package var peer: SocketAddress?
    /// The client's address without a port, if `peer` is a trusted proxy that tells it.
    package var forwardedAddress: String?
    /// By which names and addresses the client reaches this node, `HOST` or `HOST:PORT`: those of the request and of the
    /// stream's URL, then the addresses that the query adds.
    package var candidateHosts: [String]
}

/// The answer to an offer.
package struct SignallingAnswer: Sendable, Equatable {
    /// The server's SDP.
    package var sdp: String
    /// Names the session for `patch`, `delete` and `diagnose`, in characters that URLs need not escape. Whoever knows it
    /// may end the session.
    package var id: String
    /// Names the ICE credentials, without quotes.
    package var etag: String
    /// `local:remote` ICE names, by which SRS names sessions.
    package var iceNames: String

    package init(sdp: String, id: String, etag: String, iceNames: String) {
        self.sdp = sdp
        self.id = id
        self.etag = etag
        self.iceNames = iceNames
    }
}

/// What a fragment was meant for. Spec: RFC 9725 §4.3.1.
package enum SignallingPrecondition: Sendable, Equatable {
    /// `*`: whatever credentials there are. A restart of ICE has it.
    case any
    /// Entity tags without quotes; one of them has to be the session's.
    case tags([String])

    /// Whether a session with this entity tag is meant.
    package func matches(_ etag: String) -> Bool {
        switch self {
        case .any: true
        case .tags(let tags): tags.contains(etag)
        }
    }
}

/// What became of a fragment.
package enum SignallingPatchAnswer: Sendable, Equatable {
    /// The candidates were noted.
    case noted
    /// ICE begins anew: the server's fragment, and the entity tag from now on.
    case restarted(fragment: String, etag: String)
}

/// Why something was not done, in words for the client. Texts hold no secrets.
package enum SignallingRefusal: Error, Sendable, Equatable {
    /// The URL names no stream.
    case badName(String)
    /// Nobody publishes the stream.
    case streamNotFound(String)
    /// Somebody else publishes it.
    case busy(String)
    /// No or no valid credentials.
    case unauthorized(String)
    /// A rule or a hook says no.
    case forbidden(String)
    /// A limit of the stream, the client or the node is reached.
    case limited(String)
    /// The node or the cluster cannot serve it now.
    case unavailable(String)
    /// The node has as many WebRTC sessions as it may have.
    case tooManySessions
    /// WebRTC is off for the stream.
    case disabled
    /// The SDP cannot be read.
    case badOffer(String)
    /// The SDP can be read, but asks for what cannot be.
    case unprocessable(String)
    /// Both sides have nothing in common, such as a codec.
    case notAcceptable(String)
    /// There is no such session, or no more.
    case unknownSession
    /// The session has other ICE credentials by now.
    case preconditionFailed(etag: String)
}
