package import Media
package import NIOCore
package import StreamHub

/// What the UDP and TCP side of WebRTC needs to know.
package struct WebRTCServerConfiguration: Sendable {
    /// A local address to listen on. Port 0 takes one that is free, the same for all event loops.
    package struct Listener: Sendable, Hashable {
        /// An IP address; `0.0.0.0` or `::` for all of its family.
        package var host: String
        package var port: Int

        package init(host: String, port: Int) {
            self.host = host
            self.port = port
        }
    }

    /// Where sessions of UDP arrive. On each address every event loop has a socket of its own.
    package var udp: [Listener] = [Listener(host: "0.0.0.0", port: 8_000), Listener(host: "::", port: 8_000)]
    /// Where sessions of TCP arrive (RFC 6544, passive); none by default.
    package var tcp: [Listener] = []
    /// Names and addresses that clients reach this node by, `host` or `host:port`, `[v6]:port`. Empty: the addresses that
    /// are listened on, those of the interfaces for the ones that mean all.
    package var candidates: [String] = []
    /// Interfaces whose addresses stand for a listener of all addresses; empty: all but loopback, and loopback if there is
    /// nothing else.
    package var interfaces: [String] = []
    /// Sessions beyond this are refused.
    package var maximumSessions = 10_000
    /// A session that is not connected so long after its answer ends; a publisher's stream is free then.
    package var handshakeTimeout = TimeAmount.seconds(15)
    /// A session ends when its client was silent for so long (RFC 7675 §5.1).
    package var consentTimeout = TimeAmount.seconds(30)
    /// How long viewers of a stream that ended are kept for what is still on its way to them.
    package var endGrace = TimeAmount.milliseconds(250)
    /// The datagrams that are read with one call, and the batches that are read in a row before others get their turn.
    package var receiveBatch = 32
    package var maximumReadsPerTurn = 8
    /// The kernel's buffers of a socket, in bytes. The kernel may have a lower limit.
    package var receiveBufferBytes = 4 << 20
    package var sendBufferBytes = 4 << 20
    /// Whether the kernel cuts what is sent into datagrams (UDP_SEGMENT), where it can.
    package var usesSegmentation = true
    /// What a TCP connection may have on its way before packets for it are dropped, in bytes.
    package var tcpBufferBytes = 512 << 10
    /// TCP connections that have not shown a session yet are closed after this.
    package var tcpFirstFrameTimeout = TimeAmount.seconds(10)
    package var maximumTCPConnections = 10_000
    /// A certificate and its key in PEM; `nil` makes one at start.
    package var certificate: CertificateFiles?
    /// The settings of the sessions of one stream.
    package var settings: @Sendable (StreamKey) -> WebRTCStreamSettings = { _ in .init() }
    /// Where the accounts of sessions are kept.
    package var sessions: SessionRegistry

    /// Finds the numeric addresses of a name; may block. Tests have one of their own.
    var askForAddresses: @Sendable (String) -> [String]? = NameResolver.askSystem

    /// The PEM texts of a certificate chain and of its private key.
    package struct CertificateFiles: Sendable, Hashable {
        package var certificate: String
        package var key: String

        package init(certificate: String, key: String) {
            self.certificate = certificate
            self.key = key
        }
    }

    package init(sessions: SessionRegistry = SessionRegistry()) {
        self.sessions = sessions
    }
}

/// The settings of the WebRTC sessions of one stream.
package struct WebRTCStreamSettings: Sendable, Hashable {
    /// Whether clients may publish and play by WebRTC.
    package var isEnabled = true
    /// Whether lost packets are asked for and sent again, and whether transport-wide feedback is agreed upon.
    package var usesNACK = true
    package var usesTransportFeedback = true
    /// Publishers are asked for a keyframe this often; `nil` only when one is needed.
    package var keyframeInterval: TimeAmount? = .seconds(2)
    /// How long a publisher's packets wait for one that is missing.
    package var receiveWait = TimeAmount.milliseconds(500)
    /// Bits per second: what a publisher is told that it may send (REMB); `nil` tells nothing.
    package var maximumPublishBitrate: Int?
    /// Whether pictures that nothing refers to are left out, where a stream has pictures out of order; else such streams
    /// are refused.
    package var dropsBFrames = true
    /// How long the answer to a player waits for the first tracks of a stream.
    package var playWait = TimeAmount.seconds(3)
    /// What players are told to keep as their delay; `nil` tells nothing.
    package var playoutDelay: TimeAmount?
    /// Bits per second: where the estimate of what a viewer can take begins.
    package var startBitrate = 5_000_000
    /// The packets since the last keyframe that are kept for viewers, in bytes.
    package var ringBytes = 32 << 20

    package init() {}
}
