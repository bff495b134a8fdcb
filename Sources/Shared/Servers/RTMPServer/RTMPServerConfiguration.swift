package import FLV
package import Media
import NIOCore
package import RTMP
import StreamHub

/// What an RTMP listener needs to know.
package struct RTMPServerConfiguration: Sendable {
    package var session: RTMPSessionConfiguration
    /// Connections beyond this are closed at once.
    package var maximumConnections: Int
    /// How HEVC is signalled to the players of a stream.
    package var hevcForm: @Sendable (StreamKey) -> FLVHEVCForm
    /// `TCP_NODELAY` of players; `nil` lets the kernel join small writes while older ones are on their way.
    package var playerNoDelay: Bool?

    package init(
        session: RTMPSessionConfiguration = .init(), maximumConnections: Int = 16_000,
        hevcForm: @escaping @Sendable (StreamKey) -> FLVHEVCForm = { _ in .asPublished }, playerNoDelay: Bool? = nil
    ) {
        self.session = session
        self.maximumConnections = maximumConnections
        self.hevcForm = hevcForm
        self.playerNoDelay = playerNoDelay
    }

    /// Prepares a socket for a viewer.
    func tune(_ channel: any Channel, isRealtime: Bool) {
        PlayerSocket.tune(channel, noDelay: self.playerNoDelay ?? false)
    }
}
