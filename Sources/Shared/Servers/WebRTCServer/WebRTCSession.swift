import Logging
import Media
import NIOCore
import SDP
import SecureRTP
import StreamHub
import WebRTC

/// What a session does with the packets that its transport has decrypted. Called on the session's loop.
protocol SessionMedia: AnyObject {
    /// When it wants to be woken.
    var nextDeadline: NIODeadline? { get }
    /// Its number among what `diagnose` shows.
    func diagnosis(now: NIODeadline) -> WebRTCMediaDiagnosis
    /// Packets may be sent from now on.
    func established(_ session: WebRTCSession, now: NIODeadline)
    /// A plain packet of the peer.
    func receiveRTP(_ packet: ByteBuffer, now: NIODeadline)
    func receiveRTCP(_ packet: ByteBuffer, now: NIODeadline)
    /// The packets that came together were given, or the deadline came: act.
    func act(_ session: WebRTCSession, now: NIODeadline)
    /// Where packets go has changed, or it cannot be said any more.
    func targetChanged(_ session: WebRTCSession)
    /// Whoever takes a publisher's media takes no more, or goes on.
    func setReading(_ isReading: Bool)
    /// Somebody who watches what the peer sends would be helped by a keyframe. `act` follows.
    func requestKeyframe(now: NIODeadline)
    /// The session is over. Nothing is called any more.
    func stop(_ session: WebRTCSession)
}

/// One client: its ICE agent, its DTLS association, the keys of SRTP, and what it publishes or plays.
///
/// States: *connecting* from the answer on, for a bounded time; *established* when DTLS gave keys; *ended*. Whatever ends
/// it goes through `end`, once.
// Safety: all state is touched on the loop of its worker only; a session that moves to another is not used on the first
// one any more.
final class WebRTCSession: @unchecked Sendable {
    /// A way to the client.
    struct Way {
        let path: PacketPath
        /// The same for the agent.
        let ice: ICEPath
        /// The connection, if it is one.
        let link: StreamLink?
    }

    enum Phase: String, Sendable, Encodable {
        case connecting, handshaking, established, ended
    }

    let handle: SessionHandle
    let account: SessionAccount
    let kind: SessionActivity.Kind
    private let sessions: SessionRegistry
    private let configuration: WebRTCServerConfiguration
    private let media: any SessionMedia
    private let dtls: DTLSEndpoint
    private let archive: DiagnosisArchive
    private(set) var logger: Logger
    private(set) weak var worker: WebRTCWorker?

    private var agent: ICEAgent
    /// The names under which the directory has the session.
    private var names: [String]
    private(set) var etag: String
    /// Ours, as the answer has them.
    let candidates: [ICECandidate]
    /// What the client was answered, as far as a restart of ICE needs it.
    var answer: SessionDescription?
    private(set) var phase = Phase.connecting
    private var ways: [Way] = []
    private var selected: Way?
    private(set) var sender: SRTPSender?
    private var receiver: SRTPReceiver?
    private var hasReleasedHandshake = false
    private var isEnding = false
    private let created: NIODeadline
    private var establishedAt: NIODeadline?
    private var refusedPackets = 0
    /// The path of the newest packet of media in this batch, for the agent.
    private var mediaPath: PacketPath?

    // The worker's.
    var isTouched = false
    var armedDeadline = NIODeadline.distantFuture
    var armedGeneration: UInt32 = 0

    struct Parts {
        var handle: SessionHandle
        var account: SessionAccount
        var kind: SessionActivity.Kind
        var media: any SessionMedia
        var dtls: DTLSEndpoint
        var agent: ICEAgent
        var etag: String
        /// What the answer says of us.
        var local: LocalDescription
        var archive: DiagnosisArchive
    }

    init(_ parts: Parts, configuration: WebRTCServerConfiguration, logger: Logger, now: NIODeadline) {
        self.handle = parts.handle
        self.account = parts.account
        self.kind = parts.kind
        self.media = parts.media
        self.dtls = parts.dtls
        self.agent = parts.agent
        self.names = [parts.agent.local.ufrag]
        self.etag = parts.etag
        self.candidates = parts.local.candidates
        self.archive = parts.archive
        self.sessions = configuration.sessions
        self.configuration = configuration
        self.logger = logger
        self.created = now
    }

    /// No packet has come, and nothing ties it to its loop: a player that waits for its client.
    var mayMove: Bool {
        self.kind == .play && self.phase == .connecting && self.ways.isEmpty && !self.isTouched
    }

    /// The name that the client's first check has.
    var localName: String { self.agent.local.ufrag }
    var remoteICE: ICECredentials { self.agent.remote ?? ICECredentials(ufrag: "", password: "") }

    func joined(_ worker: WebRTCWorker) { self.worker = worker }

    /// The session goes to another worker.
    func left(_ worker: WebRTCWorker) {
        self.worker = nil
        self.armedDeadline = .distantFuture
    }

    // MARK: Deadlines

    var nextDeadline: NIODeadline? {
        guard self.phase != .ended else { return nil }
        var next = self.agent.nextDeadline ?? .distantFuture
        if let deadline = self.dtls.nextDeadline { next = min(next, deadline) }
        if self.phase == .established {
            if let deadline = self.media.nextDeadline { next = min(next, deadline) }
        } else {
            next = min(next, self.handshakeDeadline)
        }
        return next
    }

    private var handshakeDeadline: NIODeadline { self.created + self.configuration.handshakeTimeout }

    func deadlineReached(now: NIODeadline) {
        guard self.phase != .ended else { return }
        self.handle(self.agent.timeout(now: now), now: now)
        guard self.phase != .ended else { return }
        if let deadline = self.dtls.nextDeadline, deadline <= now { self.handle(self.dtls.timeout(now: now), now: now) }
        guard self.phase != .ended else { return }
        if self.phase == .established {
            self.media.act(self, now: now)
        } else if now >= self.handshakeDeadline {
            self.end(.failed, "the handshake did not end in time")
        }
    }

    // MARK: Packets

    /// A packet came by `path`. `act` follows when all that came together were given.
    func receive(_ packet: ByteBuffer, path: PacketPath, link: StreamLink?, now: NIODeadline) {
        guard self.phase != .ended else { return }
        self.account.received(packet.readableBytes + (link == nil ? 0 : 2))
        switch PacketClass(packet) {
        case .stun: self.receiveSTUN(packet, path, link, now: now)
        case .dtls:
            guard let way = self.way(path) else { return self.refusedPackets += 1 }
            self.receiveDTLS(packet, way, now: now)
        case .rtp:
            guard self.way(path) != nil, let receiver = self.receiver else { return self.refusedPackets += 1 }
            var packet = packet
            do {
                try receiver.unprotectRTP(&packet)
            } catch {
                return self.refusedPackets += 1
            }
            self.heard(on: path)
            self.media.receiveRTP(packet, now: now)
        case .rtcp:
            guard self.way(path) != nil, let receiver = self.receiver else { return self.refusedPackets += 1 }
            var packet = packet
            do {
                try receiver.unprotectRTCP(&packet)
            } catch {
                return self.refusedPackets += 1
            }
            self.heard(on: path)
            self.media.receiveRTCP(packet, now: now)
        case .unknown: self.refusedPackets += 1
        }
    }

    /// By the sender alone: a client that sends to several of our addresses is still one.
    private func way(_ path: PacketPath) -> Way? { self.ways.first { $0.path.key == path.key } }

    /// The peer sent something that only it can have sent.
    private func heard(on path: PacketPath) {
        self.mediaPath = path
        guard !self.hasReleasedHandshake else { return }
        self.hasReleasedHandshake = true
        self.dtls.releaseAfterHandshake()
    }

    /// The packets that came together were given.
    func act(now: NIODeadline) {
        guard self.phase != .ended else { return }
        if let path = self.mediaPath, let way = self.way(path) {
            self.mediaPath = nil
            self.handle(self.agent.receivedMedia(on: way.ice, now: now), now: now)
        }
        guard self.phase == .established else { return }
        self.media.act(self, now: now)
    }

    func setReading(_ isReading: Bool) { self.media.setReading(isReading) }

    func requestKeyframe(now: NIODeadline) {
        guard self.phase == .established else { return }
        self.media.requestKeyframe(now: now)
        self.media.act(self, now: now)
    }

    // MARK: ICE

    private func receiveSTUN(_ packet: ByteBuffer, _ path: PacketPath, _ link: StreamLink?, now: NIODeadline) {
        guard let worker = self.worker else { return }
        // The answer to a check has to come from where it was sent to.
        let known = self.ways.first { $0.path == path }
        guard let ice = known?.ice ?? worker.icePath(path) else { return }
        let way = known ?? Way(path: path, ice: ice, link: link)
        let outputs = self.agent.receive(stun: packet, from: ice, now: now)
        if known == nil, self.agent.isValid(ice) {
            self.ways.append(way)
            worker.addRoute(path.key, to: self)
            self.dropOldWays(worker)
        }
        // The answer goes back on the way that the check came, known or not.
        self.handle(outputs, by: way, now: now)
    }

    /// Forgets ways that the agent has forgotten.
    private func dropOldWays(_ worker: WebRTCWorker) {
        guard self.ways.count > ICEConfiguration().maximumPaths else { return }
        let valid = self.agent.validPaths
        let dropped = self.ways.filter { !valid.contains($0.ice) }
        self.ways.removeAll { !valid.contains($0.ice) }
        for way in dropped where self.way(way.path) == nil {
            worker.removeRoute(way.path.key, of: self)
            way.link?.close()
        }
    }

    private func handle(_ outputs: [ICEOutput], by current: Way? = nil, now: NIODeadline) {
        for output in outputs where self.phase != .ended {
            switch output {
            case .transmit(let datagram, let path):
                guard let way = self.way(path, or: current) else { continue }
                self.send(datagram, by: way)
            case .connected(let path), .selectedPathChanged(_, let path):
                guard let way = self.way(path, or: current) else { continue }
                self.select(way, now: now)
            case .selectedPathLost:
                self.selected = nil
                self.media.targetChanged(self)
            case .failed(let failure):
                self.end(failure == .consentExpired ? .left : .failed, "ICE: \(failure.rawValue)")
            }
        }
    }

    private func way(_ path: ICEPath, or current: Way?) -> Way? {
        if let current, current.ice == path { return current }
        return self.ways.first { $0.ice == path }
    }

    private func select(_ way: Way, now: NIODeadline) {
        let isFirst = self.selected == nil && self.phase == .connecting
        self.selected = way
        if isFirst {
            self.phase = .handshaking
            self.handle(self.dtls.start(now: now), by: way, now: now)
            guard self.phase != .ended else { return }
        } else {
            self.logger.info("the client has moved", metadata: ["to": "\(way.ice.remote.peerDescription)"])
        }
        self.media.targetChanged(self)
    }

    /// The TCP connection is gone.
    func linkClosed(_ link: StreamLink, now: NIODeadline) {
        guard self.phase != .ended, let way = self.way(link.path) else { return }
        self.ways.removeAll { $0.path.key == way.path.key }
        self.worker?.removeRoute(way.path.key, of: self)
        self.handle(self.agent.pathClosed(way.ice, now: now), now: now)
    }

    /// ICE begins anew with other names. `isCurrent` compares the entity tag.
    func restart(local: ICECredentials, remote: ICECredentials, etag: String, now: NIODeadline) {
        guard self.phase != .ended else { return }
        self.agent.restart(local: local, remote: remote, now: now)
        self.etag = etag
        self.names.append(local.ufrag)
        self.worker?.directory.add(name: local.ufrag, of: self.handle)
        // Two generations at a time are known, not more.
        guard self.names.count > 2 else { return }
        self.worker?.directory.remove(name: self.names.removeFirst(), of: self.handle)
    }

    func addRemoteCandidates(_ candidates: [ICECandidate]) { self.agent.addRemoteCandidates(candidates) }

    // MARK: DTLS

    private func receiveDTLS(_ packet: ByteBuffer, _ way: Way, now: NIODeadline) {
        // A client may begin before it has nominated a pair.
        if self.phase == .connecting { self.handle(self.agent.receivedMedia(on: way.ice, now: now), now: now) }
        guard self.phase != .ended else { return }
        self.handle(self.dtls.receive(packet, now: now), by: way, now: now)
    }

    private func handle(_ output: DTLSOutput, by way: Way? = nil, now: NIODeadline) {
        if let way = self.selected ?? way {
            for datagram in output.datagrams { self.send(datagram, by: way) }
        }
        for event in output.events where self.phase != .ended {
            switch event {
            case .established(let keys): self.establish(keys, now: now)
            case .closed: self.end(.left, "the client closed the session")
            case .failed(let error): self.end(self.phase == .established ? .left : .failed, "DTLS: \(error)")
            }
        }
    }

    private func establish(_ keys: SRTPKeys, now: NIODeadline) {
        do {
            self.sender = try SRTPSender(profile: keys.profile, masterKey: keys.local)
            self.receiver = try SRTPReceiver(profile: keys.profile, masterKey: keys.remote)
        } catch {
            return self.end(.failed, "SRTP: \(error)")
        }
        self.phase = .established
        self.establishedAt = now
        self.logger.info(
            "session established",
            metadata: [
                "client": "\(self.selected?.ice.remote.peerDescription ?? "unknown")",
                "srtp": "\(keys.profile.name)", "millis": "\((now - self.created).nanoseconds / 1_000_000)",
            ])
        self.media.established(self, now: now)
    }

    // MARK: Sending

    /// Where a player's packets go; `nil` while nobody knows.
    var target: BurstWriter.Target? {
        guard let way = self.selected else { return nil }
        if let link = way.link { return .stream(link) }
        guard let (socket, path) = self.datagrams(way) else { return nil }
        return .datagrams(socket, path)
    }

    private func datagrams(_ way: Way) -> (DatagramSocket, DatagramPath)? {
        guard case .udp(let listener) = way.path.transport, let socket = self.worker?.socket(listener: listener) else {
            return nil
        }
        return (socket, DatagramPath(to: way.path.remote, from: way.path.local))
    }

    private func send(_ packet: ByteBuffer, by way: Way) {
        if let link = way.link {
            self.account.sent(packet.readableBytes + 2)
            link.send(packet)
        } else if let (socket, path) = self.datagrams(way) {
            self.account.sent(packet.readableBytes)
            socket.send(packet, to: path)
        }
    }

    /// Encrypts and sends a compound of RTCP.
    func send(rtcp packet: ByteBuffer) {
        guard self.phase == .established, let way = self.selected, let sender = self.sender else { return }
        var packet = packet
        do {
            try sender.protectRTCP(&packet)
        } catch {
            return self.refusedPackets += 1
        }
        self.send(packet, by: way)
    }

    // MARK: Ending

    /// The stream was taken from this publisher.
    func revoked(_ reason: PublishEnd) {
        switch reason {
        case .takenOver: self.end(.takenOver, "another publisher took the stream over")
        case .superseded(let epoch): self.end(.takenOver, "the cluster knows a newer publisher, epoch \(epoch)")
        case .kicked(let text): self.end(.kicked, text)
        }
    }

    /// Ends the session, tells the client, and lets go of everything. Harmless if it has ended.
    func end(_ reason: SessionEnd, _ text: String) {
        guard self.phase != .ended, !self.isEnding else { return }
        self.isEnding = true
        let diagnosis = self.diagnosis(now: .now(), end: "\(reason.rawValue): \(text)")
        // What is still on its way to a stream or a client goes first, then the alert.
        self.media.stop(self)
        let last = self.dtls.close()
        if let way = self.selected {
            for datagram in last { self.send(datagram, by: way) }
        }
        self.phase = .ended
        for way in self.ways { way.link?.close() }
        self.sessions.close(self.account, reason)
        self.archive.add(diagnosis, id: self.handle.id)
        self.worker?.remove(self, names: self.names, paths: self.ways.map(\.path.key))
        self.ways = []
        self.selected = nil
        self.sender = nil
        self.receiver = nil
        self.worker?.flushSockets()
        self.logger.info(
            "session ended",
            metadata: [
                "end": "\(reason.rawValue)", "reason": "\(text)", "sent": "\(self.account.sentBytes)",
                "received": "\(self.account.receivedBytes)",
            ])
    }

    // MARK: Diagnosis

    func diagnosis(now: NIODeadline, end: String? = nil) -> WebRTCDiagnosis {
        WebRTCDiagnosis(
            kind: self.kind.rawValue, phase: self.phase.rawValue, end: end,
            ageMillis: (now - self.created).nanoseconds / 1_000_000,
            establishedMillis: self.establishedAt.map { ($0 - self.created).nanoseconds / 1_000_000 },
            srtpProfile: self.sender?.profile.name, isDTLSClient: self.dtls.role == .client,
            refusedPackets: self.refusedPackets, receivedBytes: self.account.receivedBytes,
            sentBytes: self.account.sentBytes, account: self.account.id, ice: self.agent.diagnosis(now: now),
            media: self.media.diagnosis(now: now))
    }
}
