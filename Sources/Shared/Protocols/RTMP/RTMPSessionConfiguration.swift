package import AMF
package import NIOCore

/// The settings of a server session. Bounds and deadlines; the defaults suit a public server.
package struct RTMPSessionConfiguration: Sendable, Hashable {
    /// What is accepted of the chunk layer.
    package var chunkLimits = RTMPChunkLimits()
    /// What is accepted of commands and data messages.
    package var amfLimits = AMFLimits.default
    /// The size of our chunks in bytes, announced with the answer to `connect`. 128 to 65,536.
    package var chunkSize = 60_000
    /// After how many bytes the client shall acknowledge.
    package var windowAcknowledgementSize: UInt32 = 2_500_000
    /// From the connection to the end of the handshake.
    package var handshakeTimeout = TimeAmount.seconds(10)
    /// From the handshake to `connect`, and from each return to the idle state to `publish` or `play`.
    package var commandTimeout = TimeAmount.seconds(30)
    /// From the answer to `publish` to the first audio, video or data message.
    package var firstMediaTimeout = TimeAmount.seconds(20)
    /// How long a publisher may send nothing.
    package var mediaTimeout = TimeAmount.seconds(10)
    /// How long a client that was refused, or whose stream ended, may take for another command.
    package var rejectionLinger = TimeAmount.seconds(3)
    /// How often players are pinged; `nil` never.
    package var pingInterval: TimeAmount? = .seconds(30)
    /// How long a player may send no byte at all; `nil` for ever, since many players never answer.
    package var silentPlayerTimeout: TimeAmount?
    /// How many bytes a client may send while the owner decides over its request.
    package var maximumHeldBytes = 4 << 20
    /// Whether a proxy header (`F3`) is understood in front of the handshake.
    package var acceptsProxyHeader = true
    /// Named in the answer to `connect`.
    package var serverName = "Weir"
    /// Named in the answer to `connect` unless empty.
    package var serverVersion = ""

    package init() {}

    /// Checks the ranges that the protocol sets.
    package func validate() throws(RTMPConfigurationError) {
        guard 128...65_536 ~= self.chunkSize else { throw .chunkSize(self.chunkSize) }
        guard self.windowAcknowledgementSize > 0 else { throw .windowAcknowledgementSize }
        try self.chunkLimits.validate()
    }
}

/// The settings of a client session.
package struct RTMPClientConfiguration: Sendable, Hashable {
    /// What is accepted of the chunk layer.
    package var chunkLimits = RTMPChunkLimits()
    /// What is accepted of commands and data messages.
    package var amfLimits = AMFLimits.default
    /// The size of our chunks in bytes, announced before `createStream`. 128 to 65,536.
    package var chunkSize = 60_000
    /// After how many bytes the server shall acknowledge.
    package var windowAcknowledgementSize: UInt32 = 2_500_000
    /// From the connection to the server's consent to play or publish.
    package var negotiationTimeout = TimeAmount.seconds(5)
    /// How long a stream that is played may be silent; `nil` for ever.
    package var mediaTimeout: TimeAmount? = .seconds(5)
    /// The buffer that is claimed to the server when playing.
    package var bufferLengthMillis: UInt32 = 1000
    /// Whether C1 is signed, which servers of Adobe's line demand for H.264.
    package var usesDigestHandshake = true

    package init() {}

    /// Checks the ranges that the protocol sets.
    package func validate() throws(RTMPConfigurationError) {
        guard 128...65_536 ~= self.chunkSize else { throw .chunkSize(self.chunkSize) }
        guard self.windowAcknowledgementSize > 0 else { throw .windowAcknowledgementSize }
        try self.chunkLimits.validate()
    }
}

extension RTMPChunkLimits {
    fileprivate func validate() throws(RTMPConfigurationError) {
        guard 128...0xFF_FFFF ~= self.maximumChunkSize else { throw .maximumChunkSize(self.maximumChunkSize) }
        guard 1024...0xFF_FFFF ~= self.maximumMessageSize else { throw .maximumMessageSize(self.maximumMessageSize) }
        guard 4...65_600 ~= self.maximumChunkStreams else { throw .maximumChunkStreams(self.maximumChunkStreams) }
        guard self.maximumPartialBytes >= self.maximumMessageSize else {
            throw .maximumPartialBytes(self.maximumPartialBytes)
        }
    }
}

/// Which setting is out of range.
package enum RTMPConfigurationError: Error, Hashable, Sendable {
    /// Outside 128 to 65,536.
    case chunkSize(Int)
    case windowAcknowledgementSize
    /// Outside 128 to 16,777,215.
    case maximumChunkSize(Int)
    /// Outside 1,024 to 16,777,215.
    case maximumMessageSize(Int)
    /// Outside 4 to 65,600.
    case maximumChunkStreams(Int)
    /// Less than one message.
    case maximumPartialBytes(Int)
}
