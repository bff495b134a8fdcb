package import Media
import NIOCore
import Synchronization

/// Goes through the pipelines of connections: publishers that can are asked to go on at another node.
final class RTMPReconnectWish: Sendable {
    /// The name by which clients reach this node and no other, in lower case.
    let ownHost: String
    /// Another node for a stream. Called on event loops.
    let alternative: @Sendable (StreamKey) -> (host: String, port: Int)?
    /// For the peer.
    let text: String
    private let asked = Mutex<Set<String>>([])

    init(
        ownHost: String, text: String, alternative: @escaping @Sendable (StreamKey) -> (host: String, port: Int)?
    ) {
        self.ownHost = ownHost.lowercased()
        self.text = text
        self.alternative = alternative
    }

    func wasAsked(_ session: String) { self.asked.withLock { _ = $0.insert(session) } }
    var sessions: Set<String> { self.asked.withLock { $0 } }
}

extension RTMPServer {
    /// Asks each publisher that can to leave for another node when it suits it. Nothing is closed. Returns the ids of the
    /// sessions that were asked: nodes of the cluster, and encoders that know enhanced RTMP's reconnect request.
    ///
    /// A client that came by `ownHost` is told an `alternative` for its stream, which is called on event loops and must not
    /// block; others come back by the URL that they have. `text` is for the peer.
    package func requestReconnects(
        ownHost: String, text: String, alternative: @escaping @Sendable (StreamKey) -> (host: String, port: Int)?
    ) async -> Set<String> {
        let wish = RTMPReconnectWish(ownHost: ownHost, text: text, alternative: alternative)
        for channel in self.openChannels {
            // A loop that is gone has no connections left.
            try? await channel.eventLoop.submit { channel.pipeline.fireUserInboundEventTriggered(wish) }.get()
        }
        return wish.sessions
    }
}
