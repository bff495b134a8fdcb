package import FLV
package import Media
package import RTMP
package import StreamHub
package import Streaming

/// What an RTMP listener needs to know.
package struct RTMPServerConfiguration: Sendable {
    package var session: RTMPSessionConfiguration
    /// Connections beyond this are closed at once.
    package var maximumConnections: Int
    /// How HEVC is signalled to the players of a stream.
    package var hevcForm: @Sendable (StreamKey) -> FLVHEVCForm
    /// In which codec players of a stream get its audio that do not say in `connect` that they know more than AAC. Nodes
    /// of the cluster get the source's.
    package var audioForm: @Sendable (StreamKey) -> AudioForm
    /// `TCP_NODELAY` of players. `nil`: on for nodes that pull; off for players, which lets the kernel join small writes
    /// while older ones are on their way.
    package var playerNoDelay: @Sendable (StreamKey) -> Bool?
    /// Where the accounts of connections are kept.
    package var sessions: SessionRegistry
    /// By which nodes of the cluster prove themselves; without it, those of this machine need no proof.
    package var clusterSecret: String?
    /// Whether that is so. A node that stands alone has no others, and behind a proxy on its machine everybody comes from
    /// there.
    package var trustsLocalNodes = true
    /// Seconds since 1970 UTC.
    var wallSeconds: @Sendable () -> Int64 = { wallClockSeconds() }

    package init(
        session: RTMPSessionConfiguration = .init(), maximumConnections: Int = 16_000,
        hevcForm: @escaping @Sendable (StreamKey) -> FLVHEVCForm = { _ in .asPublished },
        audioForm: @escaping @Sendable (StreamKey) -> AudioForm = { _ in .source },
        playerNoDelay: @escaping @Sendable (StreamKey) -> Bool? = { _ in nil },
        sessions: SessionRegistry = SessionRegistry(), clusterSecret: String? = nil
    ) {
        self.session = session
        self.maximumConnections = maximumConnections
        self.hevcForm = hevcForm
        self.audioForm = audioForm
        self.playerNoDelay = playerNoDelay
        self.sessions = sessions
        self.clusterSecret = clusterSecret.flatMap { $0.isEmpty ? nil : $0 }
    }
}
