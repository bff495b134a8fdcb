import DigestAuthentication
import Logging
import Media
import NIOCore
import RTSP
import RTSPSessions
import StreamHub
import Streaming

/// Who may do what, and the ways that packets take.
extension RTSPHandler {
    // MARK: Deciding

    /// Asks for credentials where the stream needs some, then the gate.
    func decide(_ request: RTSPStreamRequest) {
        let now = NIODeadline.now()
        guard let stream = RTSPStreamName(request.url) else {
            return self.session.refuse(.notFound, now: now)
        }
        let settings = self.configuration.settings(stream.vhost ?? request.url.host, stream.app, stream.name)
        guard settings.isEnabled else { return self.session.refuse(.forbidden, now: now) }
        let accounts: [RTSPAccount]
        switch request.action {
        case .play: accounts = settings.players
        case .publish: accounts = settings.publishers
        }
        if !accounts.isEmpty {
            let verdict = self.authenticator.judge(
                request.authorization, accounts: accounts, method: request.method.rawValue, uri: request.uri, now: now)
            guard verdict == .granted else {
                if request.authorization != nil {
                    self.sessions.refused(self.transport, .unauthorized)
                    self.logger.info("credentials refused", metadata: ["stream": "\(stream.app)/\(stream.name)"])
                }
                return self.refuse(verdict, now: now)
            }
        }
        let peer = self.peer(request, stream, hasOwnAccounts: !accounts.isEmpty)
        // What was described before, if the client asks anew, is no longer needed.
        self.stopActivity(.left)
        switch request.action {
        case .play: self.askToPlay(peer, settings: settings)
        case .publish(let source): self.askToPublish(peer, source)
        }
    }

    private func refuse(_ verdict: RTSPAuthenticator.Verdict, now: NIODeadline) {
        switch verdict {
        case .granted: break
        case .challenge(let challenges): self.session.refuse(.unauthorized, challenges: challenges, now: now)
        case .denied(let challenges):
            self.session.refuse(.unauthorized, challenges: challenges, closes: true, now: now)
        }
    }

    private func peer(_ request: RTSPStreamRequest, _ stream: RTSPStreamName, hasOwnAccounts: Bool) -> PeerIdentity {
        var peer = PeerIdentity(
            transport: self.transport, address: self.account.address?.peerDescription ?? "unknown",
            vhost: stream.vhost, host: request.url.host, app: stream.app, name: stream.name,
            query: request.url.query ?? "", token: stream.token)
        var client = ClientDescription()
        client.tcURL = ClientDescription.withoutQuery(request.url.text)
        client.userAgent = ClientDescription.bounded(request.userAgent)
        client.query = ClientDescription.bounded(peer.query, to: ClientDescription.maximumQueryLength)
        self.account.client = client
        peer.client = client
        peer.account = self.account
        // Where the stream has no accounts of its own, the password is the token that the access rules want.
        switch request.authorization.flatMap({ try? AuthenticationCredentials(parsing: $0) }) {
        case .basic(_, let password)? where !hasOwnAccounts && !password.isEmpty:
            peer.authorization = AuthenticationCredentials.bearer(password).text
            if peer.token.isEmpty { peer.token = password }
        case .bearer(let token)?: peer.authorization = AuthenticationCredentials.bearer(token).text
        default: break
        }
        return peer
    }

    /// The gate said no.
    func refused(_ refusal: SessionRefusal, _ peer: PeerIdentity, _ message: Logger.Message) {
        let now = NIODeadline.now()
        self.activity = .none
        self.sessions.refused(self.transport, refusal.cause)
        self.logger.info(
            message,
            metadata: [
                "stream": "\(peer.app)/\(peer.name)", "cause": "\(refusal.cause.rawValue)",
                "reason": "\(refusal.text)",
            ])
        if refusal.cause == .unauthorized {
            self.refuse(self.authenticator.tokenMissing(wasGiven: peer.authorization != nil), now: now)
        } else {
            self.session.refuse(refusal.cause.rtspStatus, now: now)
        }
        self.drain()
    }

    /// Says in each line of the log which stream it is about.
    func nameStream(_ key: StreamKey?, _ peer: PeerIdentity, epoch: UInt64) {
        self.logger[metadataKey: "stream"] = key.map { "\($0)" } ?? "\(peer.app)/\(peer.name)"
        self.logger[metadataKey: "epoch"] = "\(epoch)"
    }

    // MARK: Ports

    /// Binds two ports for a track that travels by UDP.
    func bind(_ setup: RTSPTrackSetup) {
        guard let context = self.context, let pool = self.ports, case .datagrams(let client) = setup.delivery,
            let local = context.channel.localAddress, let remote = context.channel.remoteAddress
        else { return self.session.refuse(.unsupportedTransport, now: .now()) }
        pool.bind(at: local, on: context.eventLoop).assumeIsolated().whenComplete { result in
            guard !self.isClosing else {
                if case .success(let pair) = result { pair.value.close() }
                return
            }
            switch result {
            case .failure(let error):
                self.logger.warning("no ports for RTSP over UDP", metadata: ["error": "\(error)"])
                self.session.refuse(.unsupportedTransport, now: .now())
            case .success(let pair): self.bound(pair.value, setup, client, remote: remote)
            }
            self.drain()
        }
    }

    private func bound(
        _ pair: PortPair, _ setup: RTSPTrackSetup, _ client: RTSPTransport.Pair, remote: SocketAddress
    ) {
        var (rtp, rtcp) = (remote, remote)
        (rtp.port, rtcp.port) = (client.rtp, client.rtcp)
        let lane = RTSPLane(pair: pair, rtp: rtp, rtcp: rtcp)
        switch self.activity {
        case .watching(let watch): watch.lanes[setup.index] = lane
        case .publishing(let publication): publication.lanes[setup.index] = lane
        case .none, .deciding:
            pair.close()
            return self.session.refuse(.methodNotValidInState, now: .now())
        }
        pair.onReceive { [weak self] envelope, isControl in
            self?.received(envelope, track: setup, isControl: isControl)
        } batchEnd: { [weak self] in
            self?.turnEnded()
        }
        self.session.acceptSetup(ports: .init(pair.rtpPort, pair.rtpPort + 1), ssrc: nil, now: .now())
    }

    /// A datagram came to one of the connection's ports. Only its own client's count.
    private func received(_ envelope: AddressedEnvelope<ByteBuffer>, track: RTSPTrackSetup, isControl: Bool) {
        guard !self.isClosing, envelope.remoteAddress.ipAddress == self.context?.channel.remoteAddress?.ipAddress
        else { return }
        let now = NIODeadline.now()
        self.account.received(envelope.data.readableBytes)
        self.session.receivedElsewhere(isMedia: !isControl && !track.isIgnored, now: now)
        switch self.activity {
        case .none, .deciding: break
        case .watching(let watch):
            watch.heard(from: envelope.remoteAddress, track: track, isControl: isControl)
        case .publishing(let publication):
            publication.lanes[track.index]?.heard(from: envelope.remoteAddress, isControl: isControl)
            publication.receive(envelope.data, track: track.index, isControl: isControl, now: now)
        }
    }
}

/// The sockets of a track by UDP, and where its client is.
struct RTSPLane {
    let pair: PortPair
    private(set) var rtp: SocketAddress
    private(set) var rtcp: SocketAddress

    init(pair: PortPair, rtp: SocketAddress, rtcp: SocketAddress) {
        self.pair = pair
        self.rtp = rtp
        self.rtcp = rtcp
    }

    /// Something came from the client: behind an address translator its port is another than it said. Returns whether
    /// that is news.
    @discardableResult
    mutating func heard(from address: SocketAddress, isControl: Bool) -> Bool {
        guard address != (isControl ? self.rtcp : self.rtp) else { return false }
        if isControl { self.rtcp = address } else { self.rtp = address }
        return true
    }
}

extension SessionRefusal.Cause {
    fileprivate var rtspStatus: RTSPStatus {
        switch self {
        case .badName: .badRequest
        case .notFound: .notFound
        case .busy: .methodNotValidInState
        case .unavailable: .unavailable
        case .unauthorized: .unauthorized
        case .forbidden: .forbidden
        case .limited: .notEnoughBandwidth
        }
    }
}
