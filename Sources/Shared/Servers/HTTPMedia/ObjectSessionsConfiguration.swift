package import Media
package import MediaObjects
package import NIOCore
import StreamHub

/// What sessions of single requests need to know.
package struct ObjectSessionsConfiguration: Sendable {
    /// By which nodes of the cluster prove themselves; without it, those of this machine need no proof.
    package var clusterSecret: String? {
        didSet { self.nodeAuthorization = Self.authorization(self.clusterSecret) }
    }
    /// Whether that is so. A node that stands alone has no others, and behind a proxy on its machine everybody comes from
    /// there.
    package var trustsLocalNodes = true
    /// The target duration of a stream's playlists. Called when a session begins.
    package var targetDuration: @Sendable (StreamKey) -> TimeAmount = { _ in .seconds(5) }
    /// The epoch of a stream, for the log and the API; 0 where it is not known.
    package var epoch: @Sendable (StreamKey) -> UInt64 = { _ in 0 }
    /// What tells apart viewers with the same address and player: the subject of their token. Called for each request; need
    /// not check what it reads. It may be `nil` for requests that carry no token, such as those for segments: they are those of the newest session of the
    /// same address and player.
    package var subject: @Sendable (MediaObjectAccess) -> String? = { _ in nil }
    /// A session ends after this time without a request, or after three target durations, whichever is longer.
    package var minimumLinger = TimeAmount.seconds(15)
    /// Sessions beyond these are refused, as over a limit.
    package var maximumSessions = 100_000
    package var maximumSessionsPerAddress = 10_000
    /// Requests that wait for a decision, in all and of one client; those beyond are refused.
    package var maximumWaiting = 10_000
    package var maximumWaitingPerClient = 100
    /// A decision that takes longer is a refusal.
    package var decisionDeadline = TimeAmount.seconds(15)
    /// How long a refusal is repeated without asking again.
    package var denialLifetime = TimeAmount.seconds(2)
    /// How long a client that was kicked is kept away.
    package var kickLifetime = TimeAmount.seconds(60)
    /// How long the leave to have a stream's picture lasts.
    package var pictureLifetime = TimeAmount.seconds(10)
    /// How long the credentials of a client that stays away are kept for its return.
    package var returnLifetime = TimeAmount.seconds(600)

    private var nodeAuthorization: [UInt8]?

    package init() {}

    private static func authorization(_ secret: String?) -> [UInt8]? {
        secret.flatMap { $0.isEmpty ? nil : Array("Bearer \($0)".utf8) }
    }

    func linger(_ key: StreamKey) -> TimeAmount {
        let target = self.targetDuration(key)
        return max(target + target + target, self.minimumLinger)
    }

    /// Whether another node asks, and proves it. Takes the same time whatever is wrong with the secret.
    package func isNode(_ access: MediaObjectAccess) -> Bool {
        guard access.node != nil else { return false }
        guard let expected = self.nodeAuthorization else {
            guard self.trustsLocalNodes, access.forwardedAddress == nil else { return false }
            let address = PeerIdentity.withoutPort(access.address)
            return address == "::1" || address.hasPrefix("127.") || address.hasPrefix("::ffff:127.")
        }
        let given = Array((access.authorization ?? "").utf8)
        return zip(given, expected).reduce(UInt8(given.count == expected.count ? 0 : 1)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}

/// A client of one stream.
struct ObjectClient: Hashable {
    /// Longer texts are cut: they are for telling players apart.
    private static let maximumAgentLength = 256

    var address: String
    var agent: String
    var key: StreamKey
    var subject: String?
    /// It asks for pictures, which makes no viewer of it.
    var isPicture: Bool

    init(_ request: MediaObjectRequest, _ access: MediaObjectAccess, subject: String?) {
        self.address = access.forwardedAddress ?? PeerIdentity.withoutPort(access.address)
        self.agent = ClientDescription.bounded(access.userAgent, to: Self.maximumAgentLength)
        self.key = request.key
        self.subject = subject
        self.isPicture = request.name == .snapshot
    }

    var withoutSubject: ObjectClient {
        var client = self
        client.subject = nil
        return client
    }

    /// How a client that begins with `request` is named.
    func transport(_ request: MediaObjectRequest) -> String {
        switch request.name {
        case .manifest: "dash"
        case .snapshot: "snapshot"
        default: "hls"
        }
    }
}

/// What a client proved itself by.
struct ObjectCredentials: Sendable, Equatable {
    var query: String
    var authorization: String?
}

extension MediaObjectAccess {
    /// `nil` if nothing in the request could be one: parameters of the playlists are none.
    var credentials: ObjectCredentials? {
        let hasParameters = self.query.split(separator: "&").contains { item in
            !item.hasPrefix("_HLS_") && !item.hasPrefix("dvr=") && !item.hasPrefix("vhost=")
                && !item.hasPrefix("domain=")
        }
        guard hasParameters || self.authorization != nil else { return nil }
        return ObjectCredentials(query: self.query, authorization: self.authorization)
    }

    /// The same with credentials from before.
    func with(_ credentials: ObjectCredentials?) -> MediaObjectAccess {
        guard let credentials, self.credentials == nil else { return self }
        var access = self
        access.query = credentials.query
        access.authorization = credentials.authorization
        return access
    }
}
