import Logging
import MPEGTS
import Media
import NIOCore
import StreamHub
import Streaming
import TransportStreams

/// One stream that comes in datagrams: reads it, asks the gate, hands its events over.
///
/// States: silent (nobody was asked, or the answer was no a moment ago) → deciding → publishing → silent … → closed. A
/// sender cannot be told anything, so whoever was refused is asked for again after a while. Confined to its event loop.
final class TSIngest {
    /// What the streams of a server share.
    struct Services: Sendable {
        var configuration: TSServerConfiguration
        var gate: any SessionGate
        var logger: Logger
    }

    private enum State {
        case silent(until: NIODeadline)
        /// `ticket` tells late answers from current ones.
        case deciding(ticket: UInt64)
        case publishing(any MediaSink)
        case closed
    }

    /// What an event weighs besides its payload.
    private static let eventBytes = 256

    private let services: Services
    private let listener: TSListenerConfiguration
    private let name: String
    private let loop: any EventLoop
    private let program: UInt16?
    private var sender: SocketAddress
    private var logger: Logger
    private var publication: TSPublication
    private var state = State.silent(until: .uptimeNanoseconds(0))
    private var ticket: UInt64 = 0
    private var account: SessionAccount?
    /// Bytes that came before there was an account, and that the next one begins with.
    private var earlyBytes = 0
    private var connection: TSPublisherConnection?

    private var videoTrack: Track?
    private var audioTrack: Track?
    /// Events of the batch that is being read, and, while the gate decides, of those before.
    private var events: [MediaEvent] = []
    private var heldBytes = 0
    /// Something was left out, so video goes on with a keyframe.
    private var awaitsKeyframe = false
    /// Whoever takes the media cannot take more.
    private var isBlocked = false
    /// When packets came last.
    private(set) var lastHeard = NIODeadline.now()
    /// Frames that were read of the current sender, and when there were more of them last.
    private var frameCount: UInt64 = 0
    private var lastMedia = NIODeadline.now()

    init(
        services: Services, listener: TSListenerConfiguration, name: String, program: UInt16?, sender: SocketAddress,
        loop: any EventLoop
    ) {
        self.services = services
        self.listener = listener
        self.name = name
        self.program = program
        self.sender = sender
        self.loop = loop
        self.logger = services.logger
        self.logger[metadataKey: "stream"] = "\(listener.app)/\(name)"
        self.logger[metadataKey: "peer"] = "\(sender.peerDescription)"
        self.publication = Self.publication(listener, program)
        let connection = TSPublisherConnection(loop: loop)
        self.connection = connection
        connection.attach(self)
    }

    private static func publication(_ listener: TSListenerConfiguration, _ program: UInt16?) -> TSPublication {
        var configuration = listener.publication
        if let program { configuration.demuxer.programNumber = program }
        return TSPublication(configuration: configuration)
    }

    // MARK: Datagrams

    /// Takes whole packets; `flush` must follow.
    func receive(_ packets: ByteBuffer, now: NIODeadline) {
        self.lastHeard = now
        if let account = self.account {
            account.received(packets.readableBytes)
        } else {
            self.earlyBytes += packets.readableBytes
        }
        self.take(self.publication.receive(packets, now: now))
        let count = self.publication.frameCount
        if count != self.frameCount { self.lastMedia = now }
        self.frameCount = count
    }

    /// Ends the session of a sender that goes on with tables or stuffing, and has no frames any more. It is asked for again
    /// when there are some.
    func check(now: NIODeadline) {
        let limit = self.services.configuration.idleTimeout
        guard case .publishing = self.state, now - self.lastMedia >= limit else { return }
        self.stop(.failed, "no frames for \(limit.nanoseconds / 1_000_000) ms")
    }

    /// Another sender goes on with the stream: what it sends does not continue what came before.
    func senderChanged(to sender: SocketAddress) {
        self.take(self.publication.finish())
        self.publication = Self.publication(self.listener, self.program)
        self.frameCount = 0
        self.sender = sender
        self.logger[metadataKey: "peer"] = "\(sender.peerDescription)"
        self.logger.info("another sender goes on with the stream")
    }

    private func take(_ events: [MediaEvent]) {
        for event in events {
            switch event {
            case .track(let track) where track.kind == .video: self.videoTrack = track
            case .track(let track): self.audioTrack = track
            case .frame(let frame) where self.awaitsKeyframe && frame.kind == .video:
                guard frame.isKeyframe else { continue }
                self.awaitsKeyframe = false
                self.heldBytes += frame.payload.readableBytes
            case .frame(let frame): self.heldBytes += frame.payload.readableBytes
            case .metadata, .data: break
            }
            self.heldBytes += Self.eventBytes
            self.events.append(event)
        }
    }

    /// The datagrams that came together were given.
    func flush(now: NIODeadline) {
        for notice in self.publication.takeNotices() { self.log(notice) }
        guard !self.events.isEmpty else { return }
        switch self.state {
        case .publishing where self.isBlocked:
            self.leaveOut(atLeast: self.services.configuration.maximumHeldBytes, keepsTracks: true)
        case .publishing(let sink):
            let events = self.events
            self.events.removeAll(keepingCapacity: true)
            self.heldBytes = 0
            sink.receive(events)
        case .deciding: self.leaveOut(atLeast: self.services.configuration.maximumHeldBytes)
        case .silent(let until) where now >= until: self.ask()
        case .silent, .closed:
            self.earlyBytes = 0
            self.leaveOut(atLeast: 0)
        }
    }

    /// Forgets what waits, if it has so many bytes or more. `keepsTracks`: whoever takes the media was told of tracks
    /// before, and is told of those that changed meanwhile; else it is told of all when it begins.
    private func leaveOut(atLeast limit: Int, keepsTracks: Bool = false) {
        guard self.heldBytes >= limit else { return }
        let changed = keepsTracks ? self.changedTracks : []
        self.events.removeAll(keepingCapacity: true)
        self.events += changed
        self.heldBytes = 0
        self.awaitsKeyframe = self.videoTrack != nil
    }

    /// The newest of each kind among the events that wait.
    private var changedTracks: [MediaEvent] {
        var kinds: Set<MediaKind> = []
        for case .track(let track) in self.events { kinds.insert(track.kind) }
        return [self.videoTrack, self.audioTrack].compactMap { track in
            track.flatMap { kinds.contains($0.kind) ? .track($0) : nil }
        }
    }

    private func log(_ notice: TSPublication.Notice) {
        switch notice {
        case .program(let program):
            let streams = program.streams.map { "\($0.pid):\($0.content.codec?.rawValue ?? "-")" }
            self.logger.info(
                "program found",
                metadata: ["program": "\(program.number)", "streams": "\(streams.joined(separator: ","))"])
            let others = program.streams.filter { $0.content == .unsupported }.prefix(8)
            guard !others.isEmpty else { break }
            self.logger.info(
                "tracks are left out",
                metadata: ["types": "\(others.map { "\($0.pid):\($0.streamType)" }.joined(separator: ","))"])
        case .clockJump: self.logger.debug("the source's clock jumps")
        case .problem(let problem, let suppressed):
            self.logger.info(
                "the transport stream is damaged", metadata: ["problem": "\(problem)", "more": "\(suppressed)"])
        }
    }

    // MARK: The gate

    private var transport: String { "ts" }

    private func ask() {
        guard let connection = self.connection else { return }
        guard let account = self.services.configuration.sessions.open(self.sender, transport: self.transport) else {
            return self.rest()
        }
        self.account = account
        account.received(self.earlyBytes)
        self.earlyBytes = 0
        account.onTerminate { [loop = self.loop, connection] end, text in
            loop.execute { connection.ingest?.terminate(end, text) }
        }
        self.ticket += 1
        let ticket = self.ticket
        self.state = .deciding(ticket: ticket)
        let peer = self.peer(account)
        let gate = self.services.gate
        // The gate is asynchronous; its answer comes back to this loop and is checked against the ticket.
        self.loop.makeFutureWithTask {
            await gate.publish(peer, relay: nil, clock: .mpegTS, connection: connection)
        }.assumeIsolated().whenSuccess { result in
            self.decided(result, peer, ticket: ticket)
        }
    }

    private func peer(_ account: SessionAccount) -> PeerIdentity {
        let query = self.listener.query
        var token = ""
        for item in query.split(separator: "&") where item.hasPrefix("token=") { token = String(item.dropFirst(6)) }
        var peer = PeerIdentity(
            transport: self.transport, address: self.sender.peerDescription, vhost: self.listener.vhost,
            host: self.listener.host, app: self.listener.app, name: self.name, query: query, token: token)
        var client = ClientDescription()
        client.tcURL = ClientDescription.bounded("udp://\(self.listener.host)/\(self.listener.app)/\(self.name)")
        client.query = ClientDescription.bounded(query, to: ClientDescription.maximumQueryLength)
        account.client = client
        peer.client = client
        peer.account = account
        return peer
    }

    private func decided(
        _ result: Result<NIOLoopBound<any MediaSink>, SessionRefusal>, _ peer: PeerIdentity, ticket: UInt64
    ) {
        guard case .deciding(ticket) = self.state else {
            if case .success(let sink) = result { sink.value.finish() }
            return
        }
        switch result {
        case .failure(let refusal):
            self.services.configuration.sessions.refused(self.transport, refusal.cause)
            self.logger.info(
                "publish refused", metadata: ["cause": "\(refusal.cause.rawValue)", "reason": "\(refusal.text)"])
            self.closeSession(.left)
            self.rest()
        case .success(let sink):
            let (key, epoch) = (sink.value.key, sink.value.epoch)
            self.logger.info("publish started", metadata: ["epoch": "\(epoch)"])
            if let account = self.account, let key = key ?? (try? StreamKey(app: peer.app, name: peer.name)) {
                self.services.configuration.sessions.begin(
                    account, SessionActivity(kind: .publish, key: key, transport: self.transport, epoch: epoch))
            }
            self.state = .publishing(sink.value)
            self.lastMedia = .now()
            // What it consists of may have been told long ago, to another.
            sink.value.receive([self.videoTrack, self.audioTrack].compactMap { $0.map(MediaEvent.track) })
            self.flush(now: .now())
        }
    }

    /// Asks again only after a while.
    private func rest() {
        self.state = .silent(until: .now() + self.services.configuration.retryAfter)
        self.isBlocked = false
        self.leaveOut(atLeast: 0)
    }

    // MARK: Ending

    fileprivate func revoked(_ reason: PublishEnd) {
        switch reason {
        case .takenOver, .superseded: self.stop(.takenOver, "another publisher has the stream")
        case .kicked(let text): self.stop(.kicked, text)
        }
    }

    fileprivate func terminate(_ end: SessionEnd, _ text: String) { self.stop(end, text) }

    private func stop(_ end: SessionEnd, _ text: String) {
        switch self.state {
        case .silent, .closed: return
        case .deciding: break
        case .publishing(let sink): sink.finish()
        }
        self.logger.info("publish ended", metadata: ["reason": "\(text)"])
        self.closeSession(end)
        self.rest()
    }

    fileprivate func setReading(_ isReading: Bool) {
        self.isBlocked = !isReading
        if isReading { self.flush(now: .now()) }
    }

    /// The sender left, or the server stops.
    func close(_ end: SessionEnd) {
        self.take(self.publication.finish())
        if case .publishing = self.state { self.flush(now: .now()) }
        let state = self.state
        self.state = .closed
        self.connection?.detach()
        self.connection = nil
        if case .publishing(let sink) = state {
            sink.finish()
            let counted = self.publication.statistics
            self.logger.info(
                "publish ended",
                metadata: [
                    "reason": end == .shutdown ? "the node is shutting down" : "the sender is silent",
                    "received": "\(counted.bytes)", "losses": "\(counted.losses)",
                    "dropped": "\(counted.droppedVideoFrames)",
                ])
        }
        self.closeSession(end)
    }

    private func closeSession(_ end: SessionEnd) {
        guard let account = self.account else { return }
        self.account = nil
        self.services.configuration.sessions.end(account, end)
        self.services.configuration.sessions.close(account, end)
    }
}

/// Lets a stream reach its sender's side from any loop.
// Safety: `ingest` is touched on `loop` only; other loops pass the reference on.
final class TSPublisherConnection: PublisherConnection, @unchecked Sendable {
    let loop: any EventLoop
    fileprivate private(set) weak var ingest: TSIngest?

    init(loop: any EventLoop) { self.loop = loop }

    func attach(_ ingest: TSIngest) { self.ingest = ingest }
    func detach() { self.ingest = nil }

    func publishingRevoked(_ reason: PublishEnd) {
        self.loop.execute { self.ingest?.revoked(reason) }
    }

    func setReading(_ isReading: Bool) {
        self.loop.execute { self.ingest?.setReading(isReading) }
    }
}
