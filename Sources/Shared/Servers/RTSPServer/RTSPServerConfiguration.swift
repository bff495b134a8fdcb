package import Media
package import NIOCore
package import RTSPSessions
package import StreamHub

/// A name and a password of which RTSP clients prove that they know it.
package struct RTSPAccount: Sendable, Hashable {
    package var name: String
    package var password: String

    package init(name: String, password: String) {
        self.name = name
        self.password = password
    }
}

/// How clients may prove who they are.
package enum RTSPAuthentication: String, Sendable, Hashable, CaseIterable {
    case sha256
    case md5
    /// The password goes over the network as it is.
    case basic
}

/// The settings of one stream's sessions.
package struct RTSPStreamSettings: Sendable {
    /// Whether clients may publish and play by RTSP.
    package var isEnabled = true
    /// Who may publish; empty: whoever the access rules let in.
    package var publishers: [RTSPAccount] = []
    /// Who may play; empty: whoever the access rules let in.
    package var players: [RTSPAccount] = []
    /// How long the answer to a player waits for the first tracks of a stream.
    package var playWait = TimeAmount.seconds(5)

    package init() {}
}

/// What the RTSP server needs to know.
package struct RTSPServerConfiguration: Sendable {
    package var session: RTSPServerSessionConfiguration
    /// Connections beyond this are closed at once.
    package var maximumConnections = 10_000
    /// The ports that tracks by UDP get, two each; `nil`: there is no UDP.
    package var ports: ClosedRange<Int>?
    package var realm = "Weir"
    /// What clients are offered, the first is preferred.
    package var authentication: [RTSPAuthentication] = [.sha256, .md5, .basic]
    /// Wrong passwords that a connection may send.
    package var maximumAttempts = 3
    /// How long a publisher's packets by UDP wait for one that is missing.
    package var receiveWait = TimeAmount.milliseconds(200)
    /// What players by UDP are sent in a second at most, in bytes: above it a keyframe, or what is cached when a player
    /// comes, is stretched.
    package var datagramRate = 8 << 20
    /// The kernel's buffers of the UDP sockets, in bytes.
    package var receiveBufferBytes = 1 << 20
    package var sendBufferBytes = 1 << 20
    /// The settings of a stream that a client names, before anybody has looked whether there is such a stream.
    package var settings: @Sendable (_ host: String, _ app: String, _ name: String) -> RTSPStreamSettings
    /// `TCP_NODELAY` of players; `nil`: on.
    package var playerNoDelay: @Sendable (StreamKey) -> Bool? = { _ in nil }
    /// Where the accounts of connections are kept.
    package var sessions: SessionRegistry

    package init(
        session: RTSPServerSessionConfiguration = .init(), sessions: SessionRegistry = SessionRegistry(),
        settings: @escaping @Sendable (String, String, String) -> RTSPStreamSettings = { _, _, _ in .init() }
    ) {
        self.session = session
        self.sessions = sessions
        self.settings = settings
    }
}
