package import NIOCore
package import RTPReceiving
package import RTSP

/// What a client asks a server or camera for.
package struct RTSPClientConfiguration: Sendable {
    package enum Delivery: String, Sendable, Hashable, CaseIterable {
        case tcp
        case udp
    }

    /// With user and password, if there are any. Holds secrets: never log it whole.
    package var url: RTSPURL
    package var delivery: Delivery
    package var userAgent: String
    /// The longest time for the answer to a request.
    package var requestTimeout: TimeAmount
    /// The longest silence of media.
    package var mediaTimeout: TimeAmount
    package var reader: RTSPReader.Limits

    package init(
        url: RTSPURL, delivery: Delivery = .tcp, userAgent: String = "Weir",
        requestTimeout: TimeAmount = .seconds(10), mediaTimeout: TimeAmount = .seconds(10),
        reader: RTSPReader.Limits = .init()
    ) {
        self.url = url
        self.delivery = delivery
        self.userAgent = userAgent
        self.requestTimeout = requestTimeout
        self.mediaTimeout = mediaTimeout
        self.reader = reader
    }
}

/// Where a server sends a track from, by UDP.
package struct RTSPRemotePorts: Sendable, Hashable {
    /// `nil` where the server does not tell them: whatever comes from it counts.
    package var ports: RTSPTransport.Pair?
    /// The address, where it is another than the connection's.
    package var source: String?
}

package enum RTSPClientEvent: Sendable, Hashable {
    /// A track is to travel by UDP: bind two ports, and call `provide(ports:)`.
    case portsNeeded(track: Int)
    /// A track was set up by UDP: send something to these ports, so that address translators let packets in.
    case remotePorts(track: Int, RTSPRemotePorts)
    /// Packets follow. The lines are in the order of the tracks.
    case playing(lines: [RTPReceivedLine], ignored: [RTSPIgnoredReason])
    case packet(track: Int, isControl: Bool, ByteBuffer)
}

/// Why a client's session is over.
package enum RTSPClientEnd: Error, Sendable, Equatable {
    /// We said so.
    case closed
    /// The server closed the connection, or said that the stream is over.
    case ended
    case protocolViolation(RTSPError)
    /// The answer to a request.
    case refused(RTSPMethod, RTSPStatus)
    /// User and password are wrong, or missing.
    case unauthorized
    /// The server does not send in this way: another may do.
    case transportRefused
    /// The stream is at another place.
    case redirected(RTSPURL)
    /// A description of which nothing can be used.
    case unusable(RTSPSource.Failure)
    case requestTimeout(RTSPMethod)
    case mediaTimeout
}

package enum RTSPClientOutput: Sendable, Equatable {
    case transmit(ByteBuffer)
    case event(RTSPClientEvent)
    /// Close the connection when everything is written. Nothing follows.
    case close(RTSPClientEnd)
}
