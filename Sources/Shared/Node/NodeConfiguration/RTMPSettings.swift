package import NIOCore

/// The RTMP server, and the limits that every RTMP peer is held to.
package struct RTMPSettings: Sendable, Equatable {
    package var listen = [ListenAddress(host: "0.0.0.0", port: 1935)]
    /// RTMPS.
    package var tls = TLSSettings()
    /// The chunk size that we send with, in bytes.
    package var chunkSize = 60_000
    package var handshakeTimeout = TimeAmount.seconds(10)
    /// From the end of the handshake to `publish` or `play`.
    package var commandTimeout = TimeAmount.seconds(30)
    /// From an accepted `publish` to its first frame.
    package var publishFirstMediaTimeout = TimeAmount.seconds(20)
    /// The longest silence of a publisher.
    package var publishIdleTimeout = TimeAmount.seconds(10)
    /// The longest message that a peer may send, in bytes.
    package var maximumMessageBytes = 8 << 20
    /// The largest chunk size that a peer may announce, in bytes.
    package var maximumChunkBytes = 1 << 20
    /// Chunk streams that a peer may use in one connection.
    package var maximumChunkStreams = 64
    /// Bytes of unfinished messages that are kept for one connection.
    package var maximumPartialBytes = 16 << 20
    /// Bytes that a client may send while it is decided whether it may publish or play.
    package var maximumHeldBytes = 4 << 20
    /// The acknowledgement window that we announce, in bytes.
    package var windowAckBytes = 2_500_000
    /// How deep objects and arrays may nest in one AMF value.
    package var amfMaximumDepth = 32
    /// How many values one AMF message may hold.
    package var amfMaximumValues = 4_096
    package var maximumConnections = 16_000

    package init() {}
}
