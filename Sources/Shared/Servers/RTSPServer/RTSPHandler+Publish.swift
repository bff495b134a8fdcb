import Logging
import Media
import NIOCore
import RTPReceiving
import RTSP
import RTSPSessions
import StreamHub
import Streaming

extension RTSPHandler {
    func askToPublish(_ peer: PeerIdentity, _ source: RTSPSource) {
        guard let context = self.context, let link = self.link else { return }
        let ticket = self.beginDeciding()
        let gate = self.gate
        // The gate is asynchronous; its answer comes back to this loop and is checked against the ticket.
        context.eventLoop.makeFutureWithTask {
            await gate.publish(peer, relay: nil, clock: SourceClock(period: nil), connection: link)
        }.assumeIsolated().whenSuccess { result in
            self.mayPublish(result, peer, source, ticket: ticket)
        }
    }

    private func mayPublish(
        _ result: Result<NIOLoopBound<any MediaSink>, SessionRefusal>, _ peer: PeerIdentity, _ source: RTSPSource,
        ticket: UInt64
    ) {
        guard self.isDeciding(ticket) else {
            if case .success(let sink) = result { sink.value.finish() }
            return
        }
        switch result {
        case .failure(let refusal): self.refused(refusal, peer, "publish refused")
        case .success(let sink):
            self.nameStream(sink.value.key, peer, epoch: sink.value.epoch)
            if !source.ignored.isEmpty {
                self.logger.info("tracks ignored", metadata: ["reasons": "\(source.ignored)"])
            }
            self.activity = .publishing(
                RTSPPublication(sink: sink.value, peer: peer, source: source, wait: self.configuration.receiveWait))
            self.session.acceptAnnounce(now: .now())
            self.drain()
            if let reason = self.earlyRevocation { self.revoked(reason) }
        }
    }

    /// The tracks are set up: the client sends from now on.
    func record(_ setups: [RTSPTrackSetup]) {
        guard case .publishing(let publication) = self.activity else {
            return self.session.refuse(.methodNotValidInState, now: .now())
        }
        publication.begin(setups, now: .now())
        self.session.acceptRecord(now: .now())
        let sink = publication.sink
        guard let key = sink.key ?? (try? StreamKey(app: publication.peer.app, name: publication.peer.name)) else {
            return
        }
        self.logger.info("publish started", metadata: ["codecs": "\(publication.codecs)"])
        self.sessions.begin(
            self.account,
            SessionActivity(kind: .publish, key: key, transport: self.transport, epoch: sink.epoch))
    }
}

/// What a publisher sends, on its way to the stream: packets become media events. On the connection's loop.
final class RTSPPublication {
    /// How RTCP reaches the publisher of a track.
    enum Way {
        case interleaved(channel: UInt8)
        case datagrams(any Channel, SocketAddress)
    }

    let sink: any MediaSink
    let peer: PeerIdentity
    private let source: RTSPSource
    private let wait: TimeAmount
    var lanes: [Int: RTSPLane] = [:]
    var isReading = true
    private var receiver: RTPReceiver?
    private var hold = TrackHold()
    private var setups: [RTSPTrackSetup] = []
    /// By track: the line of the receiver. Tracks that were not set up have none.
    private var lines: [Int: Int] = [:]

    init(sink: any MediaSink, peer: PeerIdentity, source: RTSPSource, wait: TimeAmount) {
        self.sink = sink
        self.peer = peer
        self.source = source
        self.wait = wait
    }

    var hasBegun: Bool { self.receiver != nil }
    var nextDeadline: NIODeadline? { self.receiver?.nextDeadline }
    var codecs: String {
        self.setups.flatMap { self.source.tracks[$0.index].codecs.map(\.rawValue) }.joined(separator: ", ")
    }

    func begin(_ setups: [RTSPTrackSetup], now: NIODeadline) {
        self.setups = setups
        self.hold.expect(Set(setups.map(\.kind)))
        for (line, setup) in setups.enumerated() { self.lines[setup.index] = line }
        self.receiver = RTSPReception.receiver(setups.map { self.source.tracks[$0.index].line }, wait: self.wait)
    }

    func receive(_ packet: ByteBuffer, track: Int, isControl: Bool, now: NIODeadline) {
        // Whoever takes the media cannot take more: like on a full network, packets are lost.
        guard let receiver = self.receiver, let line = self.lines[track], self.isReading || isControl else { return }
        RTSPReception.receive(packet, line: line, isControl: isControl, by: receiver, now: now)
    }

    /// Hands the events on, and gives `send` the compounds of RTCP with the track that each is for.
    func poll(now: NIODeadline, send: (ByteBuffer, Int) -> Void) {
        guard let receiver = self.receiver else { return }
        let output = receiver.poll(now: now)
        let events = self.hold.receive(output.events, now: now)
        if !events.isEmpty { self.sink.receive(events) }
        RTSPReception.forEachCompound(of: output.rtcp, by: receiver, now: now) { compound, line in
            send(compound, self.setups[line].index)
        }
    }

    func way(of track: Int) -> Way? {
        if let lane = self.lanes[track] { return .datagrams(lane.pair.rtcp, lane.rtcp) }
        guard let setup = self.setups.first(where: { $0.index == track }),
            case .interleaved(_, let channel) = setup.delivery
        else { return nil }
        return .interleaved(channel: channel)
    }

    func stop() {
        let rest = self.hold.finish()
        if !rest.isEmpty { self.sink.receive(rest) }
        self.sink.finish()
        for lane in self.lanes.values { lane.pair.close() }
        self.lanes = [:]
    }
}
