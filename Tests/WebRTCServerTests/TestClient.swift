import Media
import NIOCore
import NIOPosix
import RTP
import RTPReceiving
import RTPSending
import SDP
import STUN
import SecureRTP
import Streaming
import Synchronization
import WebRTC

@testable import WebRTCServer

/// A WebRTC client made of the same machines as the server: checks with nomination, DTLS, SRTP, and a publisher or player
/// that repairs losses.
// Safety: touched on `loop` only, but for what `state` guards.
final class TestClient: @unchecked Sendable {
    enum Role { case publisher, player }
    enum Way { case udp, tcp, udp6, tcp6 }

    struct State {
        var frames: [Frame] = []
        var tracks: [Track] = []
        var isEstablished = false
        var isClosed = false
        var failure: String?
        var handshakeMillis: Int64?
        /// Where datagrams came from.
        var sources: Set<String> = []
        /// RTP times of the packets of video, without repeated ones.
        var videoTimestamps: [UInt32] = []
    }

    static let dtls: DTLSConfiguration = {
        do {
            let certificate = try DTLSCertificate.makeSelfSigned(now: WallClock.seconds, lifetime: 86_400)
            var settings = DTLSConfiguration.Settings()
            settings.longestRetransmission = .seconds(1)
            return try DTLSConfiguration(certificate: certificate, settings: settings)
        } catch {
            preconditionFailure("no certificate: \(error)")
        }
    }()

    let role: Role
    let loop: any EventLoop
    let offer: String
    private let credentials = ICECredentials(ufrag: Randomness.text(count: 6), password: Randomness.text(count: 24))
    private let shared = Mutex(State())
    private var dtls: DTLSEndpoint?
    private var sender: SRTPSender?
    private var receiver: SRTPReceiver?
    private var remote = ICECredentials(ufrag: "", password: "")
    private var channel: (any Channel)?
    private var server: SocketAddress?
    private var framing: StreamFraming?
    private var tick: RepeatedTask?
    private var isNominated = false
    private var nextCheck = NIODeadline.uptimeNanoseconds(0)
    private var started = NIODeadline.now()
    private let media: ClientMedia
    /// Packets that are dropped on the way in and on the way out, of a hundred.
    private var loss = (inbound: 0, outbound: 0)
    private var generator = Seeded(state: 1)
    /// Packets that wait for their turn on a relay that delays them.
    private var jitterMillis: Int64 = 0
    /// Media are thrown away unread, for measurements.
    private var ignoresMedia = false

    init(_ role: Role, on loop: any EventLoop, seed: UInt64 = 1) {
        self.role = role
        self.loop = loop
        self.generator = Seeded(state: seed)
        self.media = ClientMedia(role)
        self.offer = Self.offer(
            role, self.credentials, Self.dtls.certificate.fingerprint(.sha256).description, self.media)
    }

    var state: State { self.shared.withLock { $0 } }
    var frames: [Frame] { self.state.frames }
    var sources: Set<String> { self.state.sources }

    // MARK: Signalling

    private static func offer(
        _ role: Role, _ ice: ICECredentials, _ fingerprint: String, _ media: ClientMedia
    ) -> String {
        let direction = role == .publisher ? "sendonly" : "recvonly"
        var lines = [
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1", "a=fingerprint:\(fingerprint)",
            "a=ice-ufrag:\(ice.ufrag)", "a=ice-pwd:\(ice.password)", "a=setup:actpass",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 0.0.0.0", "a=mid:0", "a=\(direction)", "a=rtcp-mux",
            "a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1", "a=rtcp-fb:111 transport-cc",
            "a=extmap:3 \(RTPExtensionURI.transportSequenceNumber.rawValue)",
            "a=extmap:4 \(RTPExtensionURI.mid.rawValue)",
        ]
        if role == .publisher { lines.append("a=ssrc:\(ClientMedia.audioSSRC) cname:test") }
        lines += [
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97", "c=IN IP4 0.0.0.0", "a=mid:1", "a=\(direction)", "a=rtcp-mux",
            "a=rtcp-rsize", "a=rtpmap:96 H264/90000",
            "a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            "a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli", "a=rtcp-fb:96 transport-cc", "a=rtpmap:97 rtx/90000",
            "a=fmtp:97 apt=96", "a=extmap:3 \(RTPExtensionURI.transportSequenceNumber.rawValue)",
            "a=extmap:4 \(RTPExtensionURI.mid.rawValue)",
        ]
        if role == .publisher {
            lines += [
                "a=ssrc-group:FID \(ClientMedia.videoSSRC) \(ClientMedia.videoRTX)",
                "a=ssrc:\(ClientMedia.videoSSRC) cname:test", "a=ssrc:\(ClientMedia.videoRTX) cname:test",
            ]
        }
        return lines.joined(separator: "\r\n") + "\r\n"
    }

    /// Takes the answer and begins to send checks.
    func connect(_ answer: String, _ way: Way) async throws {
        let description = try SessionDescription(parsing: answer)
        let section = description.media[0]
        let fingerprint = description.inherited("fingerprint", by: section).first.flatMap { DTLSFingerprint($0) }
        let ufrag = description.inherited("ice-ufrag", by: section).first ?? ""
        let password = description.inherited("ice-pwd", by: section).first ?? ""
        let setup = description.inherited("setup", by: section).first ?? ""
        let candidates = section.attributes.all("candidate").compactMap { ICECandidate(parsing: $0) }
        let isTCP = way == .tcp || way == .tcp6
        let isV6 = way == .udp6 || way == .tcp6
        guard let fingerprint,
            let candidate = candidates.first(where: {
                ($0.transport == .tcp) == isTCP && $0.address.contains(":") == isV6
            })
        else { throw ClientError.badAnswer(answer) }
        let server = try SocketAddress(ipAddress: candidate.address, port: candidate.port)
        try await self.loop.submit {
            self.remote = ICECredentials(ufrag: ufrag, password: password)
            self.dtls = try DTLSEndpoint(
                configuration: Self.dtls, role: setup == "active" ? .server : .client, expecting: [fingerprint])
            self.server = server
            self.started = .now()
            if isTCP { self.framing = StreamFraming(limit: 1 << 14) }
        }.get()
        try await self.open(isTCP: isTCP, isV6: isV6, server)
    }

    enum ClientError: Error { case badAnswer(String) }

    /// The names from before a restart of ICE are replaced.
    func restart(_ fragment: String) async throws {
        let fragment = try TrickleFragment(parsing: fragment)
        let remote = ICECredentials(ufrag: fragment.ufrag ?? "", password: fragment.password ?? "")
        try await self.loop.submit {
            self.remote = remote
            self.isNominated = false
        }.get()
    }

    private func open(isTCP: Bool, isV6: Bool, _ server: SocketAddress) async throws {
        let channel: any Channel
        if isTCP {
            channel = try await ClientBootstrap(group: self.loop)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(StreamReader(client: self))
                    }
                }.connect(to: server).get()
        } else {
            channel = try await DatagramBootstrap(group: self.loop)
                .channelOption(.socketOption(.so_rcvbuf), value: 4 << 20)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(DatagramReader(client: self))
                    }
                }.bind(host: isV6 ? "::1" : "127.0.0.1", port: 0).get()
        }
        try await self.loop.submit {
            let old = self.channel
            self.channel = channel
            self.isNominated = false
            self.nextCheck = .now()
            old?.close(promise: nil)
            guard self.tick == nil else { return }
            self.tick = self.loop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(5)) { _ in
                self.work(now: .now())
            }
        }.get()
    }

    /// Goes on from another port, as behind a NAT that forgot.
    func move() async throws {
        guard let server = try await self.loop.submit({ self.server }).get() else { return }
        try await self.open(isTCP: false, isV6: server.protocol == .inet6, server)
    }

    func setLoss(inbound: Int, outbound: Int, jitterMillis: Int64 = 0) async throws {
        try await self.loop.submit {
            self.loss = (inbound, outbound)
            self.jitterMillis = jitterMillis
        }.get()
    }

    // MARK: Leaving

    /// Ends the association with an alert, or vanishes.
    func leave(quietly: Bool = false) async throws {
        try await self.loop.submit {
            if !quietly { for datagram in self.dtls?.close() ?? [] { self.transmit(datagram) } }
            self.tick?.cancel()
            self.tick = nil
            self.channel?.close(promise: nil)
            self.channel = nil
        }.get()
    }

    // MARK: Publishing

    func publish(_ events: [MediaEvent]) async throws {
        try await self.loop.submit {
            self.media.publish(events, now: .now()) { self.send($0, $1) }
        }.get()
    }

    func keyframeRequests() async throws -> Int { try await self.loop.submit { self.media.keyframeRequests }.get() }

    func askForKeyframe() async throws {
        try await self.loop.submit { self.media.receiver?.keyframeRequest(now: .now()) }.get()
    }

    private func send(_ burst: RTPBurst, _ frame: RTPFrame) {
        guard let sender = self.sender else { return }
        for offset in 0..<burst.count {
            var packet = ByteBuffer()
            unsafe packet.writeWithUnsafeMutableBytes(minimumWritableBytes: burst.headerLength) { bytes in
                unsafe burst.writeHeader(of: offset, into: bytes)
                return burst.headerLength
            }
            if let sequence = burst.originalSequence { packet.writeInteger(sequence) }
            let range = burst.payload(of: offset, in: frame)
            packet.writeImmutableBuffer(
                frame.payload.getSlice(at: range.lowerBound, length: range.count) ?? ByteBuffer())
            guard (try? sender.protectRTP(&packet)) != nil else { continue }
            self.transmit(packet)
        }
    }

    // MARK: Work

    fileprivate func work(now: NIODeadline) {
        if now >= self.nextCheck {
            self.nextCheck = now + (self.isNominated ? .milliseconds(500) : .milliseconds(50))
            self.sendCheck()
        }
        if let dtls = self.dtls, let deadline = dtls.nextDeadline, deadline <= now {
            self.handle(dtls.timeout(now: now), now: now)
        }
        self.exchange(now: now)
    }

    private func exchange(now: NIODeadline) {
        guard self.sender != nil else { return }
        for compound in self.media.work(now: now, send: { self.send($0, $1) }) {
            var packet = compound
            if (try? self.sender?.protectRTCP(&packet)) != nil { self.transmit(packet) }
        }
        let events = self.media.takeEvents()
        guard !events.isEmpty else { return }
        self.shared.withLock { state in
            for event in events {
                switch event {
                case .frame(let frame): state.frames.append(frame)
                case .track(let track): state.tracks.append(track)
                case .metadata, .data: break
                }
            }
        }
    }

    private func sendCheck() {
        let request = STUNMessage(
            .request, transactionID: .init(high: Randomness.integer(), low: Randomness.integer()),
            attributes: [
                .username("\(self.remote.ufrag):\(self.credentials.ufrag)"), .priority(1_845_501_695),
                .iceControlling(tieBreaker: 42), .useCandidate,
            ])
        self.transmit(request.write(password: self.remote.password))
    }

    private func transmit(_ packet: ByteBuffer) {
        guard let channel = self.channel, let server = self.server else { return }
        if self.loss.outbound > 0, Int.random(in: 0..<100, using: &self.generator) < self.loss.outbound { return }
        if self.framing != nil {
            var framed = ByteBuffer(integer: UInt16(packet.readableBytes))
            framed.writeImmutableBuffer(packet)
            channel.writeAndFlush(framed, promise: nil)
        } else {
            channel.writeAndFlush(AddressedEnvelope(remoteAddress: server, data: packet), promise: nil)
        }
    }

    fileprivate func received(stream bytes: ByteBuffer) {
        self.framing?.append(bytes)
        while let packet = (try? self.framing?.next()) ?? nil { self.arrived(packet) }
    }

    func ignoreMedia() async throws { try await self.loop.submit { self.ignoresMedia = true }.get() }

    fileprivate func arrived(_ packet: ByteBuffer) {
        if self.ignoresMedia, PacketClass(packet) == .rtp { return }
        if self.loss.inbound > 0, Int.random(in: 0..<100, using: &self.generator) < self.loss.inbound { return }
        guard self.jitterMillis > 0 else { return self.received(packet) }
        let delay = Int64.random(in: 0...self.jitterMillis, using: &self.generator)
        self.loop.assumeIsolated().scheduleTask(in: .milliseconds(delay)) { self.received(packet) }
    }

    private func received(_ packet: ByteBuffer) {
        let now = NIODeadline.now()
        var packet = packet
        switch PacketClass(packet) {
        case .stun:
            guard let message = try? STUNMessage(parsing: packet), message.messageClass == .success,
                message.hasValidIntegrity(in: packet, password: self.remote.password), !self.isNominated
            else { return }
            self.isNominated = true
            guard let dtls = self.dtls, self.sender == nil else { return }
            self.handle(dtls.start(now: now), now: now)
        case .dtls:
            guard let dtls = self.dtls else { return }
            self.handle(dtls.receive(packet, now: now), now: now)
        case .rtp:
            guard (try? self.receiver?.unprotectRTP(&packet)) != nil else { return }
            if let header = (try? RTPPacket(parsing: packet))?.header, header.payloadType == 96 {
                self.shared.withLock { $0.videoTimestamps.append(header.timestamp) }
            }
            self.media.receive(rtp: packet, now: now)
        case .rtcp:
            guard (try? self.receiver?.unprotectRTCP(&packet)) != nil else { return }
            self.media.receive(rtcp: packet, now: now)
        case .unknown: break
        }
        self.exchange(now: now)
    }

    private func handle(_ output: DTLSOutput, now: NIODeadline) {
        for datagram in output.datagrams { self.transmit(datagram) }
        for event in output.events {
            switch event {
            case .established(let keys):
                self.sender = try? SRTPSender(profile: keys.profile, masterKey: keys.local)
                self.receiver = try? SRTPReceiver(profile: keys.profile, masterKey: keys.remote)
                self.media.start(now: now)
                let millis = (now - self.started).nanoseconds / 1_000_000
                self.shared.withLock { state in
                    state.isEstablished = true
                    state.handshakeMillis = millis
                }
            case .closed: self.shared.withLock { $0.isClosed = true }
            case .failed(let error): self.shared.withLock { $0.failure = "\(error)" }
            }
        }
    }

    fileprivate func note(source: String) { self.shared.withLock { _ = $0.sources.insert(source) } }

    fileprivate func connectionClosed() { self.shared.withLock { $0.isClosed = true } }
}

private final class DatagramReader: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    private let client: TestClient

    init(client: TestClient) { self.client = client }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        self.client.note(source: envelope.remoteAddress.ipAddress ?? "")
        self.client.arrived(envelope.data)
    }
}

private final class StreamReader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let client: TestClient

    init(client: TestClient) { self.client = client }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.client.received(stream: self.unwrapInboundIn(data))
    }

    func channelInactive(context: ChannelHandlerContext) { self.client.connectionClosed() }
}
