package import Media
package import NIOCore
package import Streaming

/// Who asks, as every protocol can tell it.
package struct PeerIdentity: Sendable, Hashable {
    /// The protocol as the API and the logs name it, such as `rtmp` or `http-flv`.
    package var transport: String
    /// The peer's address with its port.
    package var address: String
    /// The vhost that the URL names outright, and the host that it was sent to.
    package var vhost: String?
    package var host: String
    package var app: String
    package var name: String
    /// The URL's query, without `?`.
    package var query: String
    /// The secret part of the URL, by which a returning publisher is known.
    package var token: String
    /// What the peer says of itself.
    package var client = ClientDescription()
    /// Where its bytes are counted; the gate sets limits there. `nil` in tests of single modules only.
    package var account: SessionAccount?
    /// `Authorization` of HTTP. Holds secrets: never log it.
    package var authorization: String?

    /// The client's address without a port: what a trusted proxy or node told, else the peer's.
    package var clientAddress: String { self.account?.ip ?? Self.withoutPort(self.address) }

    /// An address without the port that `SocketAddress.peerDescription` adds.
    package static func withoutPort(_ address: String) -> String {
        guard let colon = address.utf8.lastIndex(of: UInt8(ascii: ":")) else { return address }
        let host = address[..<colon]
        return host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : String(host)
    }

    package init(
        transport: String, address: String, vhost: String?, host: String, app: String, name: String, query: String,
        token: String
    ) {
        self.transport = transport
        self.address = address
        self.vhost = vhost
        self.host = host
        self.app = app
        self.name = name
        self.query = query
        self.token = token
    }
}

/// Another node that pulls a stream, or pushes one.
package struct RelayIdentity: Sendable, Hashable {
    package var node: String
    /// The epoch that the node was told to expect; an older stream is refused.
    package var epoch: UInt64
    /// It proved that it belongs to the cluster; else anybody could have said so, and it is a client like others.
    package var isProved: Bool

    package init(node: String, epoch: UInt64, isProved: Bool = false) {
        self.node = node
        self.epoch = epoch
        self.isProved = isProved
    }
}

/// Why a session was refused, in words for the peer and for the log.
package struct SessionRefusal: Error, Sendable, Hashable {
    package enum Cause: String, Sendable {
        /// The URL cannot name a stream.
        case badName
        /// Nobody publishes the stream.
        case notFound
        /// Somebody else publishes it.
        case busy
        /// The node or the cluster cannot serve it now.
        case unavailable
        /// No or no valid credentials.
        case unauthorized
        /// A rule or a hook says no.
        case forbidden
        /// A limit is reached: sessions, viewers, publishers, handshakes a second.
        case limited
    }

    package var cause: Cause
    package var text: String

    package init(_ cause: Cause, _ text: String) {
        self.cause = cause
        self.text = text
    }
}

/// Takes what a publisher sends: a stream of this node, or one on its way to another.
///
/// Called on the publisher's event loop.
package protocol MediaSink: AnyObject {
    /// The epoch under which the stream is known to the cluster.
    var epoch: UInt64 { get }
    /// The stream, as the gate understood its name.
    var key: StreamKey? { get }
    /// Media in the order of arrival, in batches as they were read.
    func receive(_ events: [MediaEvent])
    /// The publisher left.
    func finish()
}

extension MediaSink {
    package var key: StreamKey? { nil }
}

/// A publisher's connection, as its sink sees it. Any loop may call.
package protocol PublisherConnection: Publisher {
    /// The loop on which the sink is called.
    var loop: any EventLoop { get }
    /// Media would pile up: stop reading from the peer, or go on.
    func setReading(_ isReading: Bool)
}

/// What a viewer will watch.
package struct PlayGrant: Sendable {
    package var stream: LiveStream
    package var epoch: UInt64

    package init(stream: LiveStream, epoch: UInt64) {
        self.stream = stream
        self.epoch = epoch
    }
}

/// Decides, for all protocols, who may publish and play, and where the media go.
package protocol SessionGate: Sendable {
    /// Answers within the deadlines of the node's settings.
    func play(_ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop) async -> Result<
        PlayGrant, SessionRefusal
    >
    /// The sink must be finished once. `relay`: the node that forwards a publisher which came to it.
    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal>
}
