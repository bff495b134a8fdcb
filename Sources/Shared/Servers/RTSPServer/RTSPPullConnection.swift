import Logging
import Media
import NIOCore
import NIOPosix
import NIOSSL
import RTP
import RTPReceiving
import RTSP
import RTSPSessions
import StreamHub
import Streaming

/// One connection to a server from which a stream is fetched. On the pull's loop.
///
/// States: *connecting* → *asking* → *deciding* (the server sends, the gate was asked) → *publishing* → *over*.
// Safety: touched on the pull's loop only.
final class RTSPPullConnection: PublisherConnection, @unchecked Sendable {
    private static let maximumHeldPackets = 2_048
    private static let maximumHeldBytes = 8 << 20

    private unowned let pull: RTSPPull
    private let url: RTSPURL
    let loop: any EventLoop
    private var session: RTSPClientSession
    private var channel: (any Channel)?
    private var account: SessionAccount?
    private var lanes: [Int: RTSPLane] = [:]
    private var publication: RTSPFetched?
    private var held: [(packet: ByteBuffer, track: Int, isControl: Bool)] = []
    private var heldBytes = 0
    private var isDraining = false
    private var isOver = false
    private var isReading = true
    private var timer: Scheduled<Void>?
    private var armedDeadline = NIODeadline.distantFuture

    init(pull: RTSPPull, url: RTSPURL, delivery: RTSPClientConfiguration.Delivery) {
        self.pull = pull
        self.url = url
        self.loop = pull.loop
        self.session = RTSPClientSession(
            configuration: RTSPClientConfiguration(
                url: url, delivery: delivery, requestTimeout: pull.configuration.requestTimeout,
                mediaTimeout: pull.configuration.mediaTimeout),
            randomness: UInt64.random(in: 0...UInt64.max), now: .now())
    }

    private var transport: String { self.url.isSecure ? "rtsps" : "rtsp" }

    /// The stream, as long as it is published.
    var key: StreamKey? { self.publication?.sink.key }

    // MARK: Connecting

    func connect() {
        let (url, sessions, transport) = (self.url, self.pull.server.sessions, self.transport)
        let verifies = self.pull.target.verifiesCertificate
        // The server says nothing first, so that the handlers may come when the account has its address.
        ClientBootstrap(group: self.loop)
            .connectTimeout(self.pull.configuration.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: url.host, port: url.port)
            .flatMapThrowing { channel in
                let operations = channel.pipeline.syncOperations
                guard let account = sessions.open(channel.remoteAddress, transport: transport) else {
                    channel.close(promise: nil)
                    throw RTSPPullEnd.refused("connections to this address are not allowed")
                }
                self.account = account
                // Closed if one of the handlers cannot be made.
                self.channel = channel
                try operations.addHandler(SessionSocketHandler(account: account, registry: sessions))
                if url.isSecure {
                    let isName = (try? SocketAddress(ipAddress: url.host, port: 0)) == nil
                    try operations.addHandler(
                        NIOSSLClientHandler(
                            context: Self.context(verifies: verifies), serverHostname: isName ? url.host : nil))
                }
                try operations.addHandler(RTSPClientHandler(connection: self))
                self.active(channel)
            }
            .assumeIsolated().whenFailure { error in
                let cause = ConnectFailure.text(error)
                self.over(error as? RTSPPullEnd ?? .connecting("\(url.host):\(url.port): \(cause)"))
            }
    }

    private static func context(verifies: Bool) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        if !verifies { configuration.certificateVerification = .none }
        return try NIOSSLContext(configuration: configuration)
    }

    private func active(_ channel: any Channel) {
        guard !self.isOver else { return channel.close(promise: nil) }
        self.channel = channel
        if let link = self.account { link.onTerminate { [weak self] in self?.terminate($0, $1) } }
        self.session.start(now: .now())
        self.drain()
    }

    func read(_ bytes: ByteBuffer) {
        self.session.receive(bytes, now: .now())
        self.drain()
    }

    func readComplete() { self.turnEnded() }

    func inactive() {
        self.session.connectionClosed()
        self.drain()
        self.over(.session(.ended))
    }

    func failed(_ error: any Error) {
        self.over(.lost(ConnectFailure.text(error)))
    }

    // MARK: The session

    private func drain() {
        guard !self.isDraining else { return }
        self.isDraining = true
        while !self.isOver, let output = self.session.nextOutput() {
            switch output {
            case .transmit(let bytes): self.channel?.write(bytes, promise: nil)
            case .event(let event): self.handle(event)
            case .close(let reason):
                self.channel?.flush()
                self.over(.session(reason))
            }
        }
        self.isDraining = false
        self.channel?.flush()
        self.armTimer()
    }

    private func handle(_ event: RTSPClientEvent) {
        switch event {
        case .portsNeeded(let track): self.bind(track)
        case .remotePorts(let track, let remote): self.punch(track, remote)
        case .playing(let lines, let ignored):
            if !ignored.isEmpty { self.pull.logger.info("tracks ignored", metadata: ["reasons": "\(ignored)"]) }
            self.publish(lines)
        case .packet(let track, let isControl, let packet): self.receive(packet, track: track, isControl: isControl)
        }
    }

    private func receive(_ packet: ByteBuffer, track: Int, isControl: Bool) {
        guard let publication = self.publication else {
            // While the gate decides.
            guard self.held.count < Self.maximumHeldPackets, self.heldBytes < Self.maximumHeldBytes else { return }
            self.heldBytes += packet.readableBytes
            return self.held.append((packet, track, isControl))
        }
        if self.isReading || isControl {
            publication.receive(packet, track: track, isControl: isControl, now: .now())
        }
    }

    private func turnEnded() {
        guard !self.isOver else { return }
        self.publication?.poll(now: .now()) { bytes, track in
            if let lane = self.lanes[track] {
                lane.pair.rtcp.writeAndFlush(AddressedEnvelope(remoteAddress: lane.rtcp, data: bytes), promise: nil)
            } else {
                _ = self.session.transmit(rtcp: bytes, track: track)
            }
        }
        self.drain()
    }

    private func armTimer() {
        var next = self.session.nextDeadline
        if let deadline = self.publication?.nextDeadline { next = min(next ?? deadline, deadline) }
        guard let next, next < self.armedDeadline, !self.isOver else { return }
        self.armedDeadline = next
        self.timer?.cancel()
        self.timer = self.loop.assumeIsolated().scheduleTask(deadline: next) {
            self.armedDeadline = .distantFuture
            // While we do not read, the server is not to blame for its silence.
            if !self.isReading { self.session.receivedElsewhere(now: .now()) }
            self.session.deadlineReached(now: .now())
            self.turnEnded()
        }
    }

    // MARK: Datagrams

    private func bind(_ track: Int) {
        guard let pool = self.pull.server.ports, let local = self.channel?.localAddress,
            let remote = self.channel?.remoteAddress
        else { return self.over(.session(.transportRefused)) }
        pool.bind(at: local, on: self.loop).assumeIsolated().whenComplete { result in
            switch result {
            case .failure(let error): self.over(.connecting("no ports for UDP: \(error)"))
            case .success(let pair):
                guard !self.isOver else { return pair.value.close() }
                let pair = pair.value
                self.lanes[track] = RTSPLane(pair: pair, rtp: remote, rtcp: remote)
                pair.onReceive { [weak self] envelope, isControl in
                    self?.received(envelope, track: track, isControl: isControl)
                } batchEnd: { [weak self] in
                    self?.turnEnded()
                }
                self.session.provide(ports: .init(pair.rtpPort, pair.rtpPort + 1), now: .now())
                self.drain()
            }
        }
    }

    /// Sends something, so that address translators in between let the server's packets in. Spec: RFC 6263 §4.
    private func punch(_ track: Int, _ remote: RTSPRemotePorts) {
        guard let lane = self.lanes[track], let ports = remote.ports, let address = self.channel?.remoteAddress else {
            return
        }
        var (rtp, rtcp) = (address, address)
        (rtp.port, rtcp.port) = (ports.rtp, ports.rtcp)
        self.lanes[track]?.heard(from: rtcp, isControl: true)
        // A header without a payload of a type that nobody uses.
        var empty = ByteBuffer()
        RTPHeader(marker: false, payloadType: 127, sequenceNumber: 0, timestamp: 0, ssrc: 0).write(into: &empty)
        lane.pair.rtp.writeAndFlush(AddressedEnvelope(remoteAddress: rtp, data: empty), promise: nil)
        var report = ByteBuffer()
        RTCPPacket.receiverReport(RTCPReceiverReport(ssrc: 0)).write(into: &report)
        lane.pair.rtcp.writeAndFlush(AddressedEnvelope(remoteAddress: rtcp, data: report), promise: nil)
    }

    private func received(_ envelope: AddressedEnvelope<ByteBuffer>, track: Int, isControl: Bool) {
        guard !self.isOver, envelope.remoteAddress.ipAddress == self.channel?.remoteAddress?.ipAddress else { return }
        self.account?.received(envelope.data.readableBytes)
        self.lanes[track]?.heard(from: envelope.remoteAddress, isControl: isControl)
        if !isControl { self.session.receivedElsewhere(now: .now()) }
        self.receive(envelope.data, track: track, isControl: isControl)
    }

    // MARK: Publishing

    private func publish(_ lines: [RTPReceivedLine]) {
        guard let account = self.account else { return }
        let target = self.pull.target
        var peer = PeerIdentity(
            transport: self.transport, address: account.address?.peerDescription ?? self.url.host, vhost: target.vhost,
            host: "",
            app: target.app, name: target.name, query: target.query, token: Self.token(target.query))
        var client = ClientDescription()
        client.tcURL = ClientDescription.bounded(self.url.printable)
        client.query = ClientDescription.bounded(target.query, to: ClientDescription.maximumQueryLength)
        account.client = client
        peer.client = client
        peer.account = account
        let asked = peer
        let gate = self.pull.server.gate
        // The gate is asynchronous; by then the connection may be over.
        self.loop.makeFutureWithTask {
            await gate.publish(asked, relay: nil, clock: SourceClock(period: nil), connection: self)
        }.assumeIsolated().whenSuccess { result in
            switch result {
            case .failure(let refusal): self.over(.refused(refusal.text))
            case .success(let sink): self.begin(sink.value, lines, account)
            }
        }
    }

    private static func token(_ query: String) -> String {
        query.split(separator: "&").first { $0.hasPrefix("token=") }.map { String($0.dropFirst(6)) } ?? ""
    }

    private func begin(_ sink: any MediaSink, _ lines: [RTPReceivedLine], _ account: SessionAccount) {
        guard !self.isOver else { return sink.finish() }
        let publication = RTSPFetched(sink: sink, lines: lines, wait: self.pull.configuration.receiveWait)
        self.publication = publication
        let sessions = self.pull.server.sessions
        if let key = sink.key ?? (try? StreamKey(app: self.pull.target.app, name: self.pull.target.name)) {
            sessions.begin(
                account, SessionActivity(kind: .publish, key: key, transport: self.transport, epoch: sink.epoch))
        }
        self.pull.began(self, account)
        self.pull.logger.info("fetching by RTSP")
        for (packet, track, isControl) in self.held {
            publication.receive(packet, track: track, isControl: isControl, now: .now())
        }
        self.held = []
        self.turnEnded()
    }

    // MARK: Ending

    /// Says goodbye.
    func close() {
        self.session.close(now: .now())
        self.drain()
        self.over(.session(.closed))
    }

    private func over(_ reason: RTSPPullEnd) {
        guard !self.isOver else { return }
        self.isOver = true
        self.timer?.cancel()
        let wasPlaying = self.publication?.hasFlowed ?? false
        self.publication?.finish()
        if let account = self.account {
            self.pull.server.sessions.end(account, reason == .session(.closed) ? .left : .failed)
        }
        for lane in self.lanes.values { lane.pair.close() }
        self.lanes = [:]
        self.held = []
        let channel = self.channel
        channel?.writeAndFlush(ByteBuffer()).whenComplete { _ in channel?.close(promise: nil) }
        let pull = self.pull
        // Never within the caller's turn: it may be the pull that goes on from here.
        self.loop.execute { pull.ended(self, reason, wasPlaying: wasPlaying) }
    }

    private func terminate(_ end: SessionEnd, _ text: String) { self.loop.execute { self.over(.refused(text)) } }

    func publishingRevoked(_ reason: PublishEnd) {
        self.loop.execute { self.over(.refused("the stream was taken from this publisher")) }
    }

    func setReading(_ isReading: Bool) {
        self.loop.execute {
            guard !self.isOver, isReading != self.isReading else { return }
            self.isReading = isReading
            _ = self.channel?.setOption(.autoRead, value: isReading)
        }
    }
}

/// The bytes of a connection to a server, on their way to it.
private final class RTSPClientHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let connection: RTSPPullConnection

    init(connection: RTSPPullConnection) { self.connection = connection }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.connection.read(self.unwrapInboundIn(data)) }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.connection.readComplete()
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.connection.inactive()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.connection.failed(error)
        context.close(promise: nil)
    }
}

/// What comes of the packets of a server.
final class RTSPFetched {
    let sink: any MediaSink
    private let receiver: RTPReceiver
    private var hold = TrackHold()
    private(set) var hasFlowed = false

    init(sink: any MediaSink, lines: [RTPReceivedLine], wait: TimeAmount) {
        self.sink = sink
        self.receiver = RTSPReception.receiver(lines, wait: wait)
        self.hold.expect(Set(lines.map(\.kind)))
    }

    var nextDeadline: NIODeadline? { self.receiver.nextDeadline }

    func receive(_ packet: ByteBuffer, track: Int, isControl: Bool, now: NIODeadline) {
        RTSPReception.receive(packet, line: track, isControl: isControl, by: self.receiver, now: now)
    }

    /// Nothing comes any more.
    func finish() {
        let rest = self.hold.finish()
        if !rest.isEmpty { self.sink.receive(rest) }
        self.sink.finish()
    }

    func poll(now: NIODeadline, send: (ByteBuffer, Int) -> Void) {
        let output = self.receiver.poll(now: now)
        if !output.events.isEmpty { self.hasFlowed = true }
        let events = self.hold.receive(output.events, now: now)
        if !events.isEmpty { self.sink.receive(events) }
        RTSPReception.forEachCompound(of: output.rtcp, by: self.receiver, now: now, send)
    }
}
