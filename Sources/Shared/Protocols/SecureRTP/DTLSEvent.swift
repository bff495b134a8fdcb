package import NIOCore

/// Which side of the DTLS handshake an endpoint is. Spec: RFC 5763 §5.
package enum DTLSRole: Sendable, Equatable {
    /// Sends the first message: `a=setup:active`.
    case client
    /// Waits for it: `a=setup:passive`.
    case server
}

/// What became of a DTLS association.
package enum DTLSEvent: Sendable, Equatable {
    /// The peer is whom signalling announced, and these keys protect the media. Comes once.
    case established(SRTPKeys)
    /// There is no association, or no more. The last event.
    case failed(DTLSError)
    /// The peer closed the association after the handshake. The last event.
    case closed
}

/// What a DTLS endpoint wants done after an input.
package struct DTLSOutput: Sendable, Equatable {
    /// To send to the peer, in this order, each as a datagram of its own.
    package var datagrams: [ByteBuffer] = []
    /// What happened, in this order.
    package var events: [DTLSEvent] = []

    package init() {}
}
