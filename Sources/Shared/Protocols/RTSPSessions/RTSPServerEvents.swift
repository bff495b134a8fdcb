package import Media
package import NIOCore
package import RTSP

/// What a client wants of a stream, before anybody decided whether it may.
package struct RTSPStreamRequest: Sendable, Hashable {
    package enum Action: Sendable, Hashable {
        case play
        case publish(RTSPSource)
    }

    package var action: Action
    package var method: RTSPMethod
    package var url: RTSPURL
    /// The URL as it stands in the request: what digests are made of.
    package var uri: String
    /// `Authorization`; `nil` if there is none. Holds secrets: never log it.
    package var authorization: String?
    package var userAgent: String
}

/// What players are told of a stream.
package struct RTSPPlayDescription: Sendable, Hashable {
    package var text: String
    /// The kinds of the tracks, in the order of their controls.
    package var tracks: [MediaKind]

    package init(text: String, tracks: [MediaKind]) {
        self.text = text
        self.tracks = tracks
    }
}

/// How the packets of a track travel, once it is agreed upon.
package enum RTSPDelivery: Sendable, Hashable {
    case interleaved(rtp: UInt8, rtcp: UInt8)
    /// The client's ports.
    case datagrams(RTSPTransport.Pair)
}

/// A track that was set up.
package struct RTSPTrackSetup: Sendable, Hashable {
    /// In the order of the session description.
    package var index: Int
    package var kind: MediaKind
    package var delivery: RTSPDelivery
    /// A publisher sends it, and nobody wants it.
    package var isIgnored = false
}

/// What a server's session tells its owner.
package enum RTSPServerEvent: Sendable, Hashable {
    /// May this client do that? Answer with `acceptDescribe`, `acceptAnnounce` or `refuse`; until then no further request
    /// is looked at.
    case requested(RTSPStreamRequest)
    /// A track is to travel by UDP: bind ports, and answer with `acceptSetup` or `refuse`.
    case portsNeeded(RTSPTrackSetup)
    /// Send the tracks; what was paused goes on. Answer with `acceptPlay` or `refuse`, before the first packet.
    case play([RTSPTrackSetup])
    /// The client sends the tracks from now on. Answer with `acceptRecord` or `refuse`.
    case record([RTSPTrackSetup])
    /// Send nothing until the next `play`.
    case paused
    /// A packet came on the connection: RTP or RTCP of a publisher, RTCP of a player.
    case packet(track: Int, isControl: Bool, ByteBuffer)
}

/// Why a session is over.
package enum RTSPServerEnd: Error, Sendable, Equatable {
    /// The client said goodbye, or we did.
    case closed
    /// Bytes that are no RTSP.
    case protocolViolation(RTSPError)
    /// More requests than a client may send before it got an answer, in bytes.
    case tooMuchWaiting(limit: Int)
    /// The client did not begin to play or publish in time.
    case requestTimeout
    /// A publisher sent nothing for too long.
    case mediaTimeout
    /// A player gave no sign of life for too long.
    case sessionTimeout
}

/// One thing for the owner to do.
package enum RTSPServerOutput: Sendable, Equatable {
    case transmit(ByteBuffer)
    case event(RTSPServerEvent)
    /// Close the connection when everything is written. Nothing follows.
    case close(RTSPServerEnd)
}

/// The limits of a server's session.
package struct RTSPServerSessionConfiguration: Sendable, Hashable {
    /// `Server` of each response.
    package var name: String
    /// From the beginning to PLAY or RECORD.
    package var requestTimeout: TimeAmount
    /// The longest silence of a client that plays by UDP, or pauses. Clients are told it.
    package var sessionTimeout: TimeAmount
    /// The longest time without media from a publisher, from RECORD on.
    package var mediaTimeout: TimeAmount
    package var reader: RTSPReader.Limits
    /// Bytes of requests that may wait while one is decided.
    package var maximumWaiting: Int
    /// Whether tracks may travel by UDP.
    package var allowsDatagrams: Bool

    package init(
        name: String = "Weir", requestTimeout: TimeAmount = .seconds(30), sessionTimeout: TimeAmount = .seconds(60),
        mediaTimeout: TimeAmount = .seconds(10), reader: RTSPReader.Limits = .init(), maximumWaiting: Int = 1 << 20,
        allowsDatagrams: Bool = true
    ) {
        self.name = name
        self.requestTimeout = requestTimeout
        self.sessionTimeout = sessionTimeout
        self.mediaTimeout = mediaTimeout
        self.reader = reader
        self.maximumWaiting = maximumWaiting
        self.allowsDatagrams = allowsDatagrams
    }
}
