import Logging
import Media
import NIOCore
import RTSP
import RTSPSessions
import StreamHub
import Streaming

extension RTSPHandler: ViewerDelegate {
    func askToPlay(_ peer: PeerIdentity, settings: RTSPStreamSettings) {
        guard let context = self.context, let link = self.link else { return }
        let ticket = self.beginDeciding()
        let (gate, loop, audiences) = (self.gate, context.eventLoop, self.audiences)
        let wait = settings.playWait
        let seat = RTSPWatchSeat(link: link)
        // As for publishing: the answer is checked against the ticket.
        loop.makeFutureWithTask { () -> Result<RTSPPlayable, SessionRefusal> in
            let grant: PlayGrant
            switch await gate.play(peer, relay: nil, on: loop) {
            case .success(let granted): grant = granted
            case .failure(let refusal): return .failure(refusal)
            }
            let stream = grant.stream
            let gone = SessionRefusal(.notFound, "\(stream.key) has nothing that RTSP can carry")
            let answer = try? await stream.home.flatSubmit { () -> EventLoopFuture<RTSPOffer?> in
                guard let audience = audiences.take(seat, of: stream) else {
                    return stream.home.makeSucceededFuture(nil)
                }
                seat.audience = audience
                let isSettled = (stream.snapshot().publishedFor ?? .zero) > .seconds(2)
                return audience.offer(until: .now() + wait, isSettled: isSettled)
            }.get()
            guard let offer = answer ?? nil else {
                seat.leave(stream)
                return .failure(gone)
            }
            return .success(RTSPPlayable(grant: grant, offer: offer))
        }.assumeIsolated().whenSuccess { result in
            self.mayPlay(result, peer, seat, ticket: ticket)
        }
    }

    private func mayPlay(
        _ result: Result<RTSPPlayable, SessionRefusal>, _ peer: PeerIdentity, _ seat: RTSPWatchSeat, ticket: UInt64
    ) {
        guard self.isDeciding(ticket) else {
            if case .success(let playable) = result { seat.leave(playable.grant.stream) }
            return
        }
        switch result {
        case .failure(let refusal): self.refused(refusal, peer, "play refused")
        case .success(let playable):
            let offer = playable.offer
            self.nameStream(playable.grant.stream.key, peer, epoch: playable.grant.epoch)
            self.activity = .watching(RTSPWatch(peer: peer, playable: playable, seat: seat))
            let address = self.context?.channel.localAddress?.ipAddress ?? "0.0.0.0"
            let text = offer.tracks.description(
                of: offer.state, name: playable.grant.stream.key.name, sessionID: playable.grant.epoch,
                address: address)
            self.session.acceptDescribe(
                RTSPPlayDescription(text: text, tracks: offer.tracks.all.map(\.kind)), now: .now())
            self.drain()
        }
    }

    /// PLAY: the first, or the one after a pause.
    func play(_ setups: [RTSPTrackSetup]) {
        guard case .watching(let watch) = self.activity, let context = self.context else {
            return self.session.refuse(.methodNotValidInState, now: .now())
        }
        self.session.acceptPlay(now: .now())
        guard !watch.hasBegun else {
            self.transmitAnswer()
            return watch.setPaused(false)
        }
        watch.hasBegun = true
        self.logger.info("play started")
        self.sessions.begin(
            self.account,
            SessionActivity(
                kind: .play, key: watch.grant.stream.key, transport: self.transport, epoch: watch.grant.epoch))
        self.transmitAnswer()
        if watch.lanes.isEmpty {
            self.watchInterleaved(watch, setups, context)
        } else {
            watch.startDatagrams(setups, account: self.account, on: context.eventLoop)
        }
    }

    /// The answer to PLAY, which is the session's next output, has to leave before the first packet.
    private func transmitAnswer() {
        if case .transmit(let bytes)? = self.session.nextOutput() { self.transmit(bytes) }
    }

    private func watchInterleaved(_ watch: RTSPWatch, _ setups: [RTSPTrackSetup], _ context: ChannelHandlerContext) {
        let viewer = Viewer(
            id: self.hub.nextSessionID(), context: context, writesDirectly: !self.isTLS, account: self.account,
            delegate: self)
        watch.viewer = viewer
        let stream = watch.grant.stream
        PlayerSocket.tune(context.channel, noDelay: self.configuration.playerNoDelay(stream.key) ?? true)
        let channels = RTSPWatch.channels(setups)
        let tracks = watch.offer.tracks
        let id = RTSPRendition.id(
            tracks: tracks, channels: channels, audio: .rtsp, flush: stream.settings.flush)
        let seat = watch.seat
        stream.join(viewer, rendition: id) {
            var generator = SystemRandomNumberGenerator()
            return RTSPRendition(tracks: tracks, channels: channels, seed: RTSPStreamSeed(using: &generator))
        }.hop(to: context.eventLoop).assumeIsolated().whenComplete { result in
            guard case .success(true) = result else { return self.viewerEnded(.streamEnded) }
            seat.setCountedElsewhere(stream)
        }
    }

    func pause() {
        guard case .watching(let watch) = self.activity else { return }
        watch.setPaused(true)
    }

    func viewerEnded(_ reason: ViewerEnd) {
        guard case .watching = self.activity else { return }
        switch reason {
        case .streamEnded: self.finish(.streamEnded, "\(reason)")
        case .tooSlow: self.finish(.tooSlow, "\(reason)")
        case .socketFailed: self.finish(.left, "\(reason)")
        case .kicked(let text): self.finish(.kicked, text)
        }
    }

    /// The stream has other tracks now. A client that was told of the old ones has to ask anew.
    func tracksChanged(_ tracks: RTSPTracks) {
        guard case .watching(let watch) = self.activity, watch.offer.tracks != tracks else { return }
        self.finish(.streamEnded, "the stream's tracks changed")
    }

    func streamEnded() {
        guard case .watching(let watch) = self.activity else { return }
        // A rendition tells its viewers by itself, when they have got everything.
        guard watch.viewer == nil else { return }
        self.finish(.streamEnded, "the stream ended")
    }
}

/// A stream that somebody may play, with what it consists of.
struct RTSPPlayable: Sendable {
    var grant: PlayGrant
    var offer: RTSPOffer
}

/// A connection's seat in the audience of a stream.
// Safety: `audience` is touched on the stream's home loop only; the link may be used on any.
final class RTSPWatchSeat: RTSPSeat, @unchecked Sendable {
    private let link: RTSPConnectionLink
    var audience: RTSPAudience?

    init(link: RTSPConnectionLink) { self.link = link }

    func tracksChanged(_ tracks: RTSPTracks) { self.link.run { $0.tracksChanged(tracks) } }
    func streamEnded() { self.link.run { $0.streamEnded() } }

    /// From any loop.
    func leave(_ stream: LiveStream) {
        stream.home.execute {
            self.audience?.leave(self)
            self.audience = nil
        }
    }

    func setCountedElsewhere(_ stream: LiveStream) {
        stream.home.execute { self.audience?.setCountedElsewhere(true, self) }
    }

    func add(_ player: RTSPDatagramPlayer, _ stream: LiveStream) {
        stream.home.execute { self.audience?.add(player) }
    }

    func remove(_ player: RTSPDatagramPlayer, _ stream: LiveStream) {
        stream.home.execute { self.audience?.remove(player) }
    }
}

/// What a player watches, and how. On the connection's loop.
final class RTSPWatch {
    let peer: PeerIdentity
    let grant: PlayGrant
    let offer: RTSPOffer
    let seat: RTSPWatchSeat
    var lanes: [Int: RTSPLane] = [:]
    /// By TCP.
    var viewer: Viewer?
    /// By UDP.
    private var player: RTSPDatagramPlayer?
    var hasBegun = false

    init(peer: PeerIdentity, playable: RTSPPlayable, seat: RTSPWatchSeat) {
        self.peer = peer
        self.grant = playable.grant
        self.offer = playable.offer
        self.seat = seat
    }

    var sentBytes: UInt64 { self.viewer?.sentBytes ?? self.player?.sentBytes ?? 0 }

    static func channels(_ setups: [RTSPTrackSetup]) -> RTSPRendition.Channels {
        var channels = RTSPRendition.Channels(video: nil, audio: nil)
        for setup in setups {
            guard case .interleaved(let rtp, let rtcp) = setup.delivery else { continue }
            if setup.kind == .video {
                channels.video = .init(rtp: rtp, rtcp: rtcp)
            } else {
                channels.audio = .init(rtp: rtp, rtcp: rtcp)
            }
        }
        return channels
    }

    func startDatagrams(_ setups: [RTSPTrackSetup], account: SessionAccount, on loop: any EventLoop) {
        var lanes: [MediaKind: RTSPDatagramPlayer.Lane] = [:]
        for setup in setups {
            guard let lane = self.lanes[setup.index] else { continue }
            lanes[setup.kind] = .init(
                rtp: lane.pair.rtp, rtcp: lane.pair.rtcp, rtpAddress: lane.rtp, rtcpAddress: lane.rtcp)
        }
        let player = RTSPDatagramPlayer(loop: loop, account: account, video: lanes[.video], audio: lanes[.audio])
        self.player = player
        self.seat.add(player, self.grant.stream)
    }

    /// Something came from the client by UDP.
    func heard(from address: SocketAddress, track: RTSPTrackSetup, isControl: Bool) {
        guard self.lanes[track.index]?.heard(from: address, isControl: isControl) == true else { return }
        self.player?.redirect(track.kind, isControl: isControl, to: address)
    }

    func setPaused(_ isPaused: Bool) {
        self.viewer?.setPaused(isPaused)
        guard let player = self.player else { return }
        player.isPaused = isPaused
        if isPaused { player.position = nil }
    }

    func stop() {
        self.viewer?.leave()
        if let player = self.player { self.seat.remove(player, self.grant.stream) }
        self.seat.leave(self.grant.stream)
        // What was written may be on its way still.
        for lane in self.lanes.values { lane.pair.close() }
        self.lanes = [:]
    }
}
