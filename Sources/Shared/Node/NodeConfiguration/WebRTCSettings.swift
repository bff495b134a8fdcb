package import NIOCore

/// WebRTC: the sockets that all sessions of the node share, and what clients are told of them.
package struct WebRTCSettings: Sendable, Equatable {
    /// Whether several datagrams of one viewer leave in one system call.
    package enum SegmentationOffload: String, Sendable, CaseIterable {
        /// Where the kernel can.
        case auto
        case off
    }

    package var isEnabled = true
    /// UDP. One port serves all sessions. `::` is every IPv6 address and no IPv4 one.
    package var listen = [ListenAddress(host: "0.0.0.0", port: 8_000), ListenAddress(host: "::", port: 8_000)]
    package var tcp = TCP()
    /// By which names and addresses clients reach the node, beside the host that a request was sent to. Empty: by the
    /// addresses of `interfaces`.
    package var candidates: [AdvertisedHost] = []
    /// Interfaces whose addresses are candidates. Empty: all but loopback.
    package var interfaces: [String] = []
    /// `stun:`, `stuns:`, `turn:` and `turns:` URLs that clients are told. Spec: RFC 7064, RFC 7065.
    package var iceServers: [String] = []
    /// For those of `iceServers` that are TURN servers. Clients are told both.
    package var iceUsername = ""
    package var iceCredential = Secret("")
    /// Path of the PEM file with the certificate for DTLS. Empty: one is made at each start.
    package var certificate = ""
    /// Path of the PEM file with its private key.
    package var key = ""
    /// From the answer to the end of the DTLS handshake.
    package var handshakeTimeout = TimeAmount.seconds(15)
    /// The longest time without a connectivity check. Spec: RFC 7675 §5.1.
    package var consentTimeout = TimeAmount.seconds(30)
    /// Publishers and viewers at one time.
    package var maximumSessions = 10_000
    package var segmentationOffload = SegmentationOffload.auto

    package init() {}

    /// ICE over TCP, for clients whose network has no UDP. Spec: RFC 6544.
    package struct TCP: Sendable, Equatable {
        package var isEnabled = true
        /// Empty: the addresses of UDP. `WebRTCSettings.tcpListeners` has what counts.
        package var listen: [ListenAddress] = []

        package init() {}
    }

    /// Where TCP is listened on; nowhere if it, or all of WebRTC, is off.
    package var tcpListeners: [ListenAddress] {
        guard self.isEnabled, self.tcp.isEnabled else { return [] }
        return self.tcp.listen.isEmpty ? self.listen : self.tcp.listen
    }

    /// Where UDP is listened on; nowhere if WebRTC is off.
    package var udpListeners: [ListenAddress] { self.isEnabled ? self.listen : [] }
}

extension StreamSettings {
    /// How a stream is taken from and given to WebRTC peers.
    package struct RTC: Sendable, Equatable {
        /// What becomes of pictures that are not sent in the order in which they are shown. WebRTC has no way to show them.
        package enum BFrames: String, Sendable, CaseIterable {
            /// Those that no other picture refers to are left out. What is still out of order after that is refused.
            case drop
            /// Players are refused the video of such a stream.
            case refuse
        }

        /// Whether lost packets are asked for and sent again.
        package var nack = true
        /// Whether transport-wide feedback is agreed upon.
        package var twcc = true
        /// How often a publisher is asked for a keyframe. Zero: by need only.
        package var keyframeInterval = TimeAmount.seconds(2)
        /// How long a publisher's packets wait for one that is missing.
        package var receiveWait = TimeAmount.milliseconds(500)
        package var bFrames = BFrames.drop
        /// How long the answer to a player waits for the first tracks of a stream.
        package var playWait = TimeAmount.seconds(5)
        /// Bits a second that a publisher is told to send at most. Zero: it is not told.
        package var maximumBitRate = 0
        /// What players are told to keep as their delay. Zero: they are not told.
        package var playoutDelay = TimeAmount.zero

        package init() {}
    }

    /// In which codec the audio of a stream is delivered. WebRTC players get Opus in any case.
    package struct Audio: Sendable, Equatable {
        package enum Form: String, Sendable, CaseIterable {
            /// As it was published.
            case source
            /// Opus and G.711 become AAC.
            case aac
        }

        /// RTMP and HTTP-FLV.
        package var live = Form.aac
        /// HLS, DASH and recordings.
        package var packaged = Form.aac
        /// Bits a second of AAC that is made.
        package var aacBitRate = 128_000
        /// Bits a second of Opus that is made.
        package var opusBitRate = 96_000

        package init() {}
    }
}
