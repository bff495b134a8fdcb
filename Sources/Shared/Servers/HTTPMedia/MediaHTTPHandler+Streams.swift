import Logging
import Media
import MediaObjects
import NIOCore
import NIOHTTP1
import StreamHub
import Streaming

/// Requests for endless streams.
extension MediaHTTPHandler {
    func begin(_ request: MediaHTTPRequest, _ fields: RequestFields) {
        switch request.method {
        case .GET where request.webSocketKey != nil && !self.mayRead(request):
            // Browsers leave it to the server to keep strange pages from opening WebSockets (RFC 6455 §10.2).
            self.send(ObjectResponse(.forbidden, "pages of this origin may not read"), fields)
        case .GET, .HEAD: self.ask(request, fields)
        case .POST where self.takesMedia(request), .PUT where self.takesMedia(request): self.publish(request, fields)
        case .OPTIONS: self.send(.methods(isAllowed: true, takesMedia: self.takesMedia(request)), fields)
        default: self.send(.methods(isAllowed: false, takesMedia: self.takesMedia(request)), fields)
        }
    }

    private func takesMedia(_ request: MediaHTTPRequest) -> Bool {
        request.format == .flv && self.configuration.publish.isEnabled
    }

    private func mayRead(_ request: MediaHTTPRequest) -> Bool {
        request.origin.map { self.configuration.allowedOrigin($0) != nil } ?? true
    }

    private func ask(_ request: MediaHTTPRequest, _ fields: RequestFields) {
        guard let loop = self.wire?.context.eventLoop else { return }
        self.activity = .deciding
        self.answer(for: nil)
        let peer = self.identity(request, fields)
        let gate = self.services.gate
        // The gate is asynchronous; a connection that closed meanwhile is no longer `deciding`.
        loop.makeFutureWithTask {
            await gate.play(peer, relay: nil, on: loop)
        }.assumeIsolated().whenSuccess { result in
            guard case .deciding = self.activity, self.wire != nil else { return }
            self.decided(result, request, fields, peer)
        }
    }

    func identity(_ request: MediaHTTPRequest, _ fields: RequestFields) -> PeerIdentity {
        let isTLS = self.configuration.isTLS
        var peer = PeerIdentity(
            transport: "\(request.webSocketKey == nil ? "http" : "ws")\(isTLS ? "s" : "")-\(request.format.rawValue)",
            address: self.peer,
            vhost: request.vhost, host: request.host, app: request.app, name: request.name, query: request.query,
            token: request.token)
        let scheme = request.webSocketKey == nil ? (isTLS ? "https" : "http") : (isTLS ? "wss" : "ws")
        var client = ClientDescription()
        client.tcURL = ClientDescription.bounded(
            "\(scheme)://\(request.host)/\(request.app)/\(request.name).\(request.format.rawValue)")
        client.userAgent = ClientDescription.bounded(fields.userAgent)
        client.referer = ClientDescription.bounded(fields.referer ?? "")
        client.pageURL = client.referer
        client.query = ClientDescription.bounded(request.query, to: ClientDescription.maximumQueryLength)
        peer.client = client
        peer.authorization = fields.authorization
        peer.account = self.openSession(fields)
        peer.account?.client = client
        return peer
    }

    private func decided(
        _ result: Result<PlayGrant, SessionRefusal>, _ request: MediaHTTPRequest, _ fields: RequestFields,
        _ peer: PeerIdentity
    ) {
        switch result {
        case .failure(let refusal):
            self.configuration.sessions.refused(peer.transport, refusal.cause)
            self.logger.info(
                "play refused",
                metadata: [
                    "stream": "\(request.app)/\(request.name)", "cause": "\(refusal.cause.rawValue)",
                    "reason": "\(refusal.text)",
                ])
            self.closeSession(.left)
            self.send(ObjectResponse(refusal.status, refusal.text), fields)
        case .success where request.method == .HEAD:
            let stream = MediaObject(
                body: .stream(length: nil) { nil }, contentType: request.format.contentType, etag: nil,
                lifetime: .uncacheable)
            self.closeSession(.left)
            self.send(ObjectResponse(.object(stream), to: fields), fields)
        case .success(let grant) where request.format.audio != nil: self.check(grant, request, fields, peer)
        case .success(let grant): self.stream(grant, request, peer)
        }
    }

    /// Looks at the stream's audio before a listener is promised anything of it.
    private func check(
        _ grant: PlayGrant, _ request: MediaHTTPRequest, _ fields: RequestFields, _ peer: PeerIdentity
    ) {
        guard let loop = self.wire?.context.eventLoop else { return }
        let rendition = MediaRendition(request, of: grant.stream, self.configuration)
        let format = request.format
        let wait = self.configuration.audioWait
        grant.stream.home.submit { [stream = grant.stream] in
            rendition.missing(in: stream.snapshot(), format, audioWait: wait)
        }.hop(to: loop).assumeIsolated().whenComplete { result in
            guard case .deciding = self.activity, self.wire != nil else { return }
            guard case .success(.some(let text)) = result else { return self.stream(grant, request, peer) }
            self.closeSession(.left)
            self.send(ObjectResponse(.notFound, text), fields)
        }
    }

    private func stream(_ grant: PlayGrant, _ request: MediaHTTPRequest, _ peer: PeerIdentity) {
        guard let wire = self.wire else { return }
        self.logger[metadataKey: "stream"] = "\(grant.stream.key)"
        self.logger[metadataKey: "epoch"] = "\(grant.epoch)"
        var logger = self.logger
        logger[metadataKey: "transport"] = "\(peer.transport)"
        let delivery = StreamDelivery(
            request, grant, id: self.services.hub.nextSessionID(), wire: wire, below: self, account: peer.account,
            logger: logger
        ) { reason in
            self.activity = .closing
            self.endSession(reason.sessionEnd)
        }
        guard let delivery else { return wire.context.close(promise: nil) }
        self.activity = .streaming(delivery)
        delivery.start()
        if let account = peer.account {
            self.configuration.sessions.begin(
                account,
                SessionActivity(
                    kind: .play, key: grant.stream.key, transport: peer.transport, epoch: grant.epoch))
        }
        delivery.join()
    }
}

extension ViewerEnd {
    fileprivate var sessionEnd: SessionEnd {
        switch self {
        case .streamEnded: .streamEnded
        case .tooSlow: .tooSlow
        case .socketFailed: .left
        case .kicked: .kicked
        }
    }
}
