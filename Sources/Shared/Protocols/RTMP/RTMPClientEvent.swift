package import AMF
package import Media
package import NIOCore

/// What a client session wants done. Write what is transmitted, in order; after `close` nothing follows.
package enum RTMPClientOutput: Equatable, Sendable {
    case transmit(ByteBuffer)
    case event(RTMPClientEvent)
    /// End the connection when all was written. `nil` when it ends in good order.
    case close(RTMPError?)
}

/// What a server did, for the session's owner.
package enum RTMPClientEvent: Equatable, Sendable {
    /// The server accepted `connect`. Members of its information object.
    case connected(information: [AMFProperty])
    /// The stream plays. Members of the status object; empty when the server sent media without a status.
    case playing(information: [AMFProperty])
    /// The owner may write media messages now. Members of the status object.
    case publishing(information: [AMFProperty])
    case media(RTMPMediaMessage)
    case metadata(StreamMetadata, timestamp: UInt32)
    case data(RTMPDataMessage)
    /// The server refused the connection or the stream; `close` follows. `redirect` is the full URL of a stream, or a
    /// `tcUrl`, where it may be had.
    case rejected(code: String, description: String, redirect: String?)
    /// The stream ended. The connection stays until the owner stops it, since the stream may restart.
    case ended(code: String, description: String)
    /// Media goes on after `ended`.
    case restarted
    /// The server wants this connection to be given up for a new one soon, to `tcURL` if it names one. Nothing ends yet.
    /// **Spec:** enhanced RTMP v2, "Reconnect Request".
    case reconnectRequested(tcURL: String?, description: String)
}

/// What a client session connects to, and what for.
package struct RTMPClientTarget: Sendable, Hashable {
    package enum Role: Sendable, Hashable {
        case play, publish
    }

    package var tcURL: String
    package var app: String
    /// With its parameters, as in `camera?token=x`.
    package var streamName: String
    package var role: Role
    /// Added to the command object of `connect`.
    package var connectProperties: [AMFProperty]
    package var flashVersion: String?
    package var pageURL: String?
    package var swfURL: String?
    /// The owner acts on `RTMPClientEvent.reconnectRequested`, and the server is told so.
    package var takesReconnectRequests: Bool

    package init(
        tcURL: String, app: String, streamName: String, role: Role, connectProperties: [AMFProperty] = [],
        flashVersion: String? = nil, pageURL: String? = nil, swfURL: String? = nil,
        takesReconnectRequests: Bool = false
    ) {
        self.tcURL = tcURL
        self.app = app
        self.streamName = streamName
        self.role = role
        self.connectProperties = connectProperties
        self.flashVersion = flashVersion
        self.pageURL = pageURL
        self.swfURL = swfURL
        self.takesReconnectRequests = takesReconnectRequests
    }
}
