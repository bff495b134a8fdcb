import Logging
import Media
import NIOCore
import RTMP
import RTMPServer
import StreamHub
import Streaming

/// Takes publishers that came to an edge to the origin that the cluster chooses.
final class ForwardService: Sendable {
    private let routes: RouteSource
    private let client: RTMPClientConfiguration
    private let connectTimeout: TimeAmount
    /// How long a publisher is kept while no origin takes it.
    private let patience: TimeAmount
    /// The cluster's secret, by which this node proves itself.
    private let secret: String?
    private let logger: Logger

    init(
        routes: RouteSource, client: RTMPClientConfiguration, connectTimeout: TimeAmount, patience: TimeAmount,
        secret: String? = nil, logger: Logger
    ) {
        self.routes = routes
        self.client = client
        self.connectTimeout = connectTimeout
        self.patience = patience
        self.secret = secret
        self.logger = logger
    }

    func publish(
        _ key: StreamKey, peer: PeerIdentity, connection: any PublisherConnection
    ) async throws(SessionRefusal) -> NIOLoopBound<any MediaSink> {
        let loop = connection.loop
        let bound = try? await loop.submit {
            NIOLoopBound(
                RTMPForward(
                    connection: connection, configuration: self.client, connectTimeout: self.connectTimeout
                ) { forward, end in
                    self.lost(forward, end, key: key, peer: peer, connection: connection)
                }, eventLoop: loop)
        }.get()
        guard let bound else { throw SessionRefusal(.unavailable, "the node is shutting down") }
        let upstream = try await self.start(bound, key: key, peer: peer, loop: loop)
        self.logger.info(
            "forwarding publisher",
            metadata: ["stream": "\(key)", "to": "\(upstream.node)", "peer": "\(peer.address)"])
        let sink = try? await loop.submit { NIOLoopBound<any MediaSink>(bound.value, eventLoop: loop) }.get()
        guard let sink else { throw SessionRefusal(.unavailable, "the node is shutting down") }
        return sink
    }

    /// Publishes to the first origin that agrees.
    private func start(
        _ forward: NIOLoopBound<RTMPForward>, key: StreamKey, peer: PeerIdentity, loop: any EventLoop
    ) async throws(SessionRefusal) -> Upstream {
        let upstreams: [Upstream]
        switch await self.routes.publish(key) {
        case .upstreams(let found, _): upstreams = found
        case .notFound, .ended: throw SessionRefusal(.unavailable, "no origin takes publishers now")
        case .unavailable(let text): throw SessionRefusal(.unavailable, text)
        }
        var refusal = SessionRefusal(.unavailable, "no origin takes publishers now")
        for upstream in upstreams {
            let remote = RTMPRemote(
                host: upstream.host, port: upstream.port, key: key, query: peer.query,
                relay: RelayIdentity(node: self.routes.node, epoch: 0), secret: self.secret,
                peer: ForwardedPeer(peer))
            do {
                _ = try await loop.flatSubmit { forward.value.start(remote) }.get()
                return upstream
            } catch RTMPLinkEnd.rejected("NetStream.Publish.BadName", let description) {
                // Another origin would refuse the same stream.
                throw SessionRefusal(.busy, description)
            } catch RTMPLinkEnd.rejected(_, let description) {
                // It cannot take publishers now, such as one that is being drained.
                refusal = SessionRefusal(.unavailable, description)
            } catch {
                refusal = SessionRefusal(.unavailable, "the origin \(upstream.node) cannot be reached")
            }
        }
        throw refusal
    }

    /// The origin went away under a publisher, or asked to be left. The publisher waits: find another.
    private func lost(
        _ forward: RTMPForward, _ end: RTMPLinkEnd, key: StreamKey, peer: PeerIdentity,
        connection: any PublisherConnection
    ) {
        let logger = self.logger
        if end == .closed {
            logger.notice("moving publisher", metadata: ["stream": "\(key)"])
        } else {
            logger.warning("origin lost", metadata: ["stream": "\(key)", "reason": "\(end)"])
        }
        let loop = connection.loop
        let bound = NIOLoopBound(forward, eventLoop: loop)
        // A callback of the channel starts work that ends by its deadline or with the publisher.
        loop.makeFutureWithTask {
            let deadline = NIODeadline.now() + self.patience
            var pause = Duration.milliseconds(50)
            var last = SessionRefusal(.unavailable, "\(end)")
            while NIODeadline.now() < deadline {
                do throws(SessionRefusal) {
                    return Result<Upstream, SessionRefusal>.success(
                        try await self.start(bound, key: key, peer: peer, loop: loop))
                } catch {
                    last = error
                }
                let isGone = (try? await loop.submit { bound.value.isFinished }.get()) ?? true
                if isGone { break }
                try? await Task.sleep(for: pause)
                pause = min(pause * 2, .milliseconds(500))
            }
            return .failure(last)
        }.whenSuccess { result in
            switch result {
            case .success(let upstream):
                logger.notice("publisher moved", metadata: ["stream": "\(key)", "to": "\(upstream.node)"])
            case .failure(let refusal):
                connection.publishingRevoked(.kicked(reason: refusal.text))
            }
        }
    }
}
