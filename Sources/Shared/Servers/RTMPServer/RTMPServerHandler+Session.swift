import AMF
import Glibc
import Logging
import Media
import NIOCore
import RTMP
import StreamHub
import Streaming

/// Who the peer is, and its session's account.
extension RTMPServerHandler {
    private var transport: String { self.isTLS ? "rtmps" : "rtmp" }

    // MARK: Who

    /// Notes what the peer says of itself.
    func identify(_ request: RTMPConnectRequest) {
        var client = ClientDescription()
        client.tcURL = ClientDescription.withoutQuery(request.tcURL)
        client.pageURL = ClientDescription.bounded(request.pageURL ?? "")
        client.referer = client.pageURL
        client.swfURL = ClientDescription.bounded(request.swfURL ?? "")
        client.userAgent = ClientDescription.bounded(request.flashVersion ?? "")
        self.relay = RelayIdentity(
            connect: request, secret: self.configuration.clusterSecret,
            isLoopback: self.configuration.trustsLocalNodes && self.account.address?.isLoopback ?? false,
            now: self.configuration.wallSeconds())
        if let relay = self.relay {
            self.logger[metadataKey: "node"] = "\(relay.node)"
            if relay.isProved, let peer = request["weirPeer"].flatMap({ ForwardedPeer($0) }) {
                client = peer.client
                self.account.forwardedAddress = peer.address
            }
            if !relay.isProved { self.logger.warning("a node that does not prove itself is served as a client") }
        }
        self.account.client = client
        self.knowsEnhancedAudio = request.fourCCs.contains { $0 == "*" || $0 == "Opus" }
    }

    /// What the client is sent of a stream: its audio as it was published if it is a node or says that it knows Opus.
    func rendition(of grant: PlayGrant, selection: TrackSelection, flush: FlushPolicy) -> RenditionID {
        let takesAll = self.knowsEnhancedAudio || self.relay?.isProved ?? false
        return RTMPRendition.id(
            chunkSize: self.configuration.session.chunkSize, selection: selection,
            audio: takesAll ? .source : self.configuration.audioForm(grant.stream.key), flush: flush)
    }

    func peer(_ request: RTMPStreamRequest) -> PeerIdentity {
        var peer = PeerIdentity(
            transport: self.transport, address: self.account.address?.peerDescription ?? "unknown",
            vhost: request.vhost, host: request.host, app: request.app, name: request.name,
            query: request.parameters.queryString, token: request.parameters["token"] ?? "")
        var client = self.account.client
        if self.account.forwardedAddress == nil || client.query.isEmpty {
            client.query = ClientDescription.bounded(peer.query, to: ClientDescription.maximumQueryLength)
            self.account.client = client
        }
        peer.client = client
        peer.account = self.account
        return peer
    }

    // MARK: What it does

    /// The peer was told that it publishes or plays.
    func begin(_ kind: SessionActivity.Kind, _ key: StreamKey?, _ peer: PeerIdentity, epoch: UInt64) {
        guard !self.isClosing, let key = key ?? (try? StreamKey(app: peer.app, name: peer.name)) else { return }
        // A publisher that a node forwards is the stream's publisher here, under its own address.
        let isRelay = kind == .play && self.relay?.isProved ?? false
        self.sessions.begin(
            self.account,
            SessionActivity(kind: kind, key: key, transport: self.transport, isRelay: isRelay, epoch: epoch))
    }

    /// Says in each line of the log which stream it is about.
    func nameStream(_ key: StreamKey?, _ peer: PeerIdentity, epoch: UInt64) {
        self.logger[metadataKey: "stream"] = key.map { "\($0)" } ?? "\(peer.app)/\(peer.name)"
        self.logger[metadataKey: "epoch"] = "\(epoch)"
    }

    func end(_ end: SessionEnd) {
        self.sessions.end(self.account, end)
        self.logger[metadataKey: "stream"] = nil
        self.logger[metadataKey: "epoch"] = nil
    }

    func refused(_ refusal: SessionRefusal) { self.sessions.refused(self.transport, refusal.cause) }
}

extension RelayIdentity {
    /// The node that pulls or forwards, as it tells in its connect command. Without a secret, nodes of this machine are
    /// believed. `now` is in seconds since 1970 UTC.
    init?(connect request: RTMPConnectRequest, secret: String?, isLoopback: Bool, now: Int64) {
        guard let node = request["weirNode"]?.stringValue, !node.isEmpty, node.utf8.count <= 64 else { return nil }
        let epoch = request["weirEpoch"]?.doubleValue ?? 0
        var isProved = isLoopback
        if let secret {
            isProved = RelayProof.isValid(request["weirProof"]?.stringValue ?? "", secret: secret, node: node, now: now)
        }
        self.init(node: node, epoch: UInt64(exactly: epoch) ?? 0, isProved: isProved)
    }
}

extension SocketAddress {
    /// An address of this machine that no other can send from.
    var isLoopback: Bool {
        guard let address = self.ipAddress else { return self.pathname != nil }
        return address == "::1" || address.hasPrefix("127.") || address.hasPrefix("::ffff:127.")
    }
}

extension PublishEnd {
    var sessionEnd: SessionEnd {
        switch self {
        case .takenOver, .superseded: .takenOver
        case .kicked: .kicked
        }
    }
}

extension ViewerEnd {
    var sessionEnd: SessionEnd {
        switch self {
        case .streamEnded: .streamEnded
        case .tooSlow: .tooSlow
        case .socketFailed: .left
        case .kicked: .kicked
        }
    }
}

extension SessionRefusal {
    var publishCode: String {
        switch self.cause {
        case .badName, .busy: "NetStream.Publish.BadName"
        case .notFound, .unavailable, .unauthorized, .forbidden, .limited: "NetStream.Publish.Rejected"
        }
    }

    var playCode: String {
        switch self.cause {
        case .badName, .notFound: "NetStream.Play.StreamNotFound"
        case .busy, .unavailable, .unauthorized, .forbidden, .limited: "NetStream.Play.Failed"
        }
    }
}

/// Seconds since 1970 UTC, by the system's clock.
func wallClockSeconds() -> Int64 { Int64(time(nil)) }
