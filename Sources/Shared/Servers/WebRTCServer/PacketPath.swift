import NIOCore

/// How a packet came, and how others go back: what ICE calls a transport address, seen from here.
struct PacketPath: Hashable, Sendable {
    enum Transport: Hashable, Sendable {
        /// The listener's place in the configuration. Each event loop has a socket of it.
        case udp(listener: Int)
        /// A connection, by a number that is never used again.
        case tcp(connection: UInt64)
    }

    var transport: Transport
    var remote: PeerAddress
    /// The address that the client sent to, where the socket has several.
    var local: PeerAddress?

    /// By what the sender of a datagram is recognized.
    var key: PathKey { PathKey(transport: self.transport, remote: self.remote) }
}

/// A sender of datagrams, as the map of routes knows it.
struct PathKey: Hashable, Sendable {
    var transport: PacketPath.Transport
    var remote: PeerAddress
}

/// What a packet is, by its first byte.
///
/// Spec: RFC 7983 §7, RFC 5761 §4.
enum PacketClass: Hashable, Sendable {
    case stun, dtls, rtp, rtcp, unknown

    init(_ packet: ByteBuffer) {
        guard let first = packet.getInteger(at: packet.readerIndex, as: UInt8.self) else {
            self = .unknown
            return
        }
        switch first {
        case 0...3: self = .stun
        case 20...63: self = .dtls
        case 128...191:
            let second = packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self) ?? 0
            // Payload types 64 to 95 with the marker bit are RTCP's packet types 192 to 223.
            self = (192...223).contains(second) ? .rtcp : .rtp
        default: self = .unknown
        }
    }
}
