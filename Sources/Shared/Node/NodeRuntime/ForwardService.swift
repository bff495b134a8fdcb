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
    private let logger: Logger

    init(
        routes: RouteSource, client: RTMPClientConfiguration, connectTimeout: TimeAmount, patience: TimeAmount,
        logger: Logger
    ) {
        self.routes = routes
        self.client = client
        self.connectTimeout = connectTimeout
        self.patience = patience
        self.logger = logger
    }

    func publish(
        _ key: StreamKey, peer: PeerIdentity, connection: any PublisherConnection
    ) async throws(SessionRefusal) -> NIOLoopBound<any MediaSink> {
        let loop = connection.loop
        let query = peer.query
        let bound = try? await loop.submit {
            NIOLoopBound(
                RTMPForward(
                    connection: connection, configuration: self.client, connectTimeout: self.connectTimeout
                ) { forward, end in
                    self.lost(forward, end, key: key, query: query, connection: connection)
                }, eventLoop: loop)
        }.get()
        guard let bound else { throw SessionRefusal(.unavailable, "the node is shutting down") }
        let upstream = try await self.start(bound, key: key, query: query, loop: loop)
        self.logger.info(
            "forwarding publisher",
            metadata: ["stream": "\(key)", "to": "\(upstream.node)", "peer": "\(peer.address)"])
        let sink = try? await loop.submit { NIOLoopBound<any MediaSink>(bound.value, eventLoop: loop) }.get()
        guard let sink else { throw SessionRefusal(.unavailable, "the node is shutting down") }
        return sink
    }

    /// Publishes to the first origin that agrees.
    private func start(
        _ forward: NIOLoopBound<RTMPForward>, key: StreamKey, query: String, loop: any EventLoop
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
                host: upstream.host, port: upstream.port, key: key, query: query,
                relay: RelayIdentity(node: self.routes.node, epoch: 0))
            do {
                _ = try await loop.flatSubmit { forward.value.start(remote) }.get()
                return upstream
            } catch RTMPLinkEnd.rejected(let code, let description) {
                // The origin's word is final: another origin would refuse the same stream.
                let isBusy = code == "NetStream.Publish.BadName"
                throw SessionRefusal(isBusy ? .busy : .unavailable, description)
            } catch {
                refusal = SessionRefusal(.unavailable, "the origin \(upstream.node) cannot be reached")
            }
        }
        throw refusal
    }

    /// The origin went away under a publisher, which now waits: find another.
    private func lost(
        _ forward: RTMPForward, _ end: RTMPLinkEnd, key: StreamKey, query: String,
        connection: any PublisherConnection
    ) {
        let logger = self.logger
        logger.warning("origin lost", metadata: ["stream": "\(key)", "reason": "\(end)"])
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
                        try await self.start(bound, key: key, query: query, loop: loop))
                } catch {
                    last = error
                }
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
