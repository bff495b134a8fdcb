import Logging
import Media
import NIOCore
import RTPReceiving
import RTPSending
import SDP
import SecureRTP
import StreamHub
import Streaming
import WebRTC

extension WebRTCServer {
    // MARK: Publishing

    /// Answers a publisher's offer, if the gate lets it publish. The stream is its own from now on, and is free again if
    /// it does not connect within the time of a handshake.
    package func createPublisher(_ request: WebRTCRequest) async -> Result<WebRTCAnswer, WebRTCRefusal> {
        await self.create(request) { request, offer, account throws(WebRTCRefusal) in
            try await self.publish(request, offer, account)
        }
    }

    private func publish(
        _ request: WebRTCRequest, _ offer: SessionDescription, _ account: SessionAccount
    ) async throws(WebRTCRefusal) -> WebRTCAnswer {
        // An offer that cannot be answered must not take the stream from anybody, and a stranger has no names resolved.
        _ = try Self.answer(
            publish: offer,
            SessionNegotiation.localDescription(fingerprint: self.fingerprint, candidates: [], sends: false),
            WebRTCStreamSettings())
        let worker = self.pickWorker()
        let link = PublisherLink(worker: worker)
        let result = await self.gate.publish(
            request.peer, relay: nil, clock: SourceClock(period: nil), connection: link)
        let sink: NIOLoopBound<any MediaSink>
        switch result {
        case .success(let granted): sink = granted
        case .failure(let refusal): throw .refused(refusal)
        }
        let local = await self.localDescription(request, sends: false)
        let outcome = try? await worker.loop.submit {
            self.publish(to: sink.value, request, offer, local, account, worker, link)
        }.get()
        guard let outcome else { throw .shuttingDown }
        return try outcome.get()
    }

    /// On the worker's loop. Whatever goes wrong, the sink is finished.
    private func publish(
        to sink: any MediaSink, _ request: WebRTCRequest, _ offer: SessionDescription, _ local: LocalDescription,
        _ account: SessionAccount, _ worker: WebRTCWorker, _ link: PublisherLink
    ) -> Result<WebRTCAnswer, WebRTCRefusal> {
        do throws(WebRTCRefusal) {
            guard let key = sink.key ?? (try? StreamKey(app: request.peer.app, name: request.peer.name)) else {
                throw .refused(SessionRefusal(.badName, "the URL names no stream"))
            }
            let settings = self.configuration.settings(key)
            guard settings.isEnabled else { throw .disabled }
            let (answer, media) = try Self.answer(publish: offer, local, settings)
            let handle = self.directory.makeHandle(owner: worker.index)
            let (revoked, isReading) = link.attach(handle)
            guard revoked == nil else { throw .refused(SessionRefusal(.busy, "\(key) was taken at once by another")) }
            let receiver = RTPReceiver(
                configuration: SessionNegotiation.receiver(media, cname: local.cname, settings: settings), now: .now())
            let activity = SessionActivity(kind: .publish, key: key, transport: "webrtc", epoch: sink.epoch)
            let session = try self.makeSession(
                handle, account, activity, media, local,
                PublisherMedia(receiver: receiver, sink: sink, isReading: isReading))
            try self.add(session, activity, worker)
            return .success(self.answer(answer, media, local, session))
        } catch {
            sink.finish()
            return .failure(error)
        }
    }

    private static func answer(
        publish offer: SessionDescription, _ local: LocalDescription, _ settings: WebRTCStreamSettings
    ) throws(WebRTCRefusal) -> (SessionDescription, NegotiatedMedia) {
        do throws(NegotiationError) {
            return try Negotiator.answer(
                publishOffer: offer, capabilities: SessionNegotiation.publishCapabilities(settings), local: local)
        } catch {
            throw WebRTCRefusal(error)
        }
    }

    // MARK: Playing

    /// Answers a player's offer, if the gate lets it play and the stream has something for it. Waits, for a bounded time,
    /// for a stream that is just beginning.
    package func createPlayer(_ request: WebRTCRequest) async -> Result<WebRTCAnswer, WebRTCRefusal> {
        await self.create(request) { request, offer, account throws(WebRTCRefusal) in
            try await self.play(request, offer, account)
        }
    }

    private func play(
        _ request: WebRTCRequest, _ offer: SessionDescription, _ account: SessionAccount
    ) async throws(WebRTCRefusal) -> WebRTCAnswer {
        let worker = self.pickWorker()
        let grant: PlayGrant
        switch await self.gate.play(request.peer, relay: nil, on: worker.loop) {
        case .success(let granted): grant = granted
        case .failure(let refusal): throw .refused(refusal)
        }
        let settings = self.configuration.settings(grant.stream.key)
        guard settings.isEnabled else { throw .disabled }
        let audience = try await self.takeSeat(of: grant.stream, offer, settings)
        do throws(WebRTCRefusal) {
            return try await self.play(request, offer, account, grant, audience, settings, on: worker)
        } catch {
            grant.stream.home.execute { audience.leaveSeat() }
            throw error
        }
    }

    /// The audience that takes the audio as the client can.
    private func takeSeat(
        of stream: LiveStream, _ offer: SessionDescription, _ settings: WebRTCStreamSettings
    ) async throws(WebRTCRefusal) -> RTPStreamAudience {
        let takesG711 = SessionNegotiation.takesG711(offer)
        let audiences = self.audiences
        let audience = try? await stream.home.submit { () -> RTPStreamAudience? in
            let codec = takesG711 ? stream.snapshot().state.audio?.codec : nil
            let isG711 = codec == .g711ALaw || codec == .g711MuLaw
            return audiences.takeSeat(
                of: stream, audioForm: isG711 ? .opusOrG711 : .opus, settings: settings)
        }.get()
        guard let audience = audience ?? nil else {
            throw .refused(SessionRefusal(.notFound, "\(stream.key) has ended"))
        }
        return audience
    }

    /// The seat is given back by whoever called if this throws, and by the session otherwise.
    private func play(
        _ request: WebRTCRequest, _ offer: SessionDescription, _ account: SessionAccount, _ grant: PlayGrant,
        _ audience: RTPStreamAudience, _ settings: WebRTCStreamSettings, on worker: WebRTCWorker
    ) async throws(WebRTCRefusal) -> WebRTCAnswer {
        let local = await self.localDescription(request, sends: true)
        let tracks = try await self.tracks(of: audience, settings)
        let notes = try Self.check(tracks, settings)
        let (answer, media) = try Self.answer(play: offer, tracks, local, settings)
        let outcome = try? await worker.loop.submit { () -> Result<WebRTCAnswer, WebRTCRefusal> in
            do throws(WebRTCRefusal) {
                let now = NIODeadline.now()
                var configuration = SessionNegotiation.viewer(media, cname: local.cname, settings: settings)
                configuration.maximumQueuedBytes = self.configuration.tcpBufferBytes / 2
                let player = PlayerMedia(
                    audience: audience, configuration: configuration, account: account, notes: notes,
                    missing: Self.missing(offer, tracks.status), now: now)
                let handle = self.directory.makeHandle(owner: worker.index)
                let activity = SessionActivity(
                    kind: .play, key: grant.stream.key, transport: "webrtc", epoch: grant.epoch)
                let session = try self.makeSession(handle, account, activity, media, local, player)
                try self.add(session, activity, worker)
                return .success(self.answer(answer, media, local, session))
            } catch {
                return .failure(error)
            }
        }.get()
        guard let outcome else { throw .shuttingDown }
        return try outcome.get()
    }

    private func tracks(
        of audience: RTPStreamAudience, _ settings: WebRTCStreamSettings
    ) async throws(WebRTCRefusal) -> AudienceTracks {
        let deadline = NIODeadline.now() + settings.playWait
        let stream = audience.stream
        let tracks = try? await stream.home.flatSubmit {
            let age = stream.snapshot().publishedFor ?? .zero
            return audience.tracks(until: deadline, isSettled: age >= .seconds(2))
        }.get()
        guard let tracks = tracks ?? nil else { throw .noTracks }
        return tracks
    }

    /// What cannot be sent of the stream, for the diagnosis; throws if that is its picture.
    private static func check(
        _ tracks: AudienceTracks, _ settings: WebRTCStreamSettings
    ) throws(WebRTCRefusal) -> [String] {
        if case .refused(let refusal) = tracks.status.video { throw .notAcceptable(refusal.text) }
        if tracks.hasDroppedFrames, !settings.dropsBFrames {
            throw .notAcceptable("the stream has B-frames, and the settings say not to leave them out")
        }
        guard case .refused(let refusal) = tracks.status.audio else { return [] }
        return ["audio: \(refusal.text)"]
    }

    /// What the client asks for and the stream does not have so far.
    private static func missing(_ offer: SessionDescription, _ status: RTPStreamStatus) -> [MediaKind] {
        [(MediaKind.video, status.video), (.audio, status.audio)].filter { kind, status in
            switch status {
            case .flowing, .refused: false
            case .unknown, .absent:
                offer.media.contains { section in
                    section.kind == kind.rawValue && (section.port != 0 || section.attributes.has("bundle-only"))
                        && [.receiveOnly, .sendReceive].contains(offer.direction(of: section))
                }
            }
        }.map(\.0)
    }

    private static func answer(
        play offer: SessionDescription, _ tracks: AudienceTracks, _ local: LocalDescription,
        _ settings: WebRTCStreamSettings
    ) throws(WebRTCRefusal) -> (SessionDescription, NegotiatedMedia) {
        do throws(NegotiationError) {
            return try Negotiator.answer(
                playOffer: offer, tracks: SessionNegotiation.playTracks(tracks, settings: settings), local: local)
        } catch {
            throw WebRTCRefusal(error)
        }
    }

    // MARK: Common

    /// Makes room and an account for a session that `body` makes, and takes both back if it cannot.
    private func create(
        _ request: WebRTCRequest,
        _ body: (WebRTCRequest, SessionDescription, SessionAccount) async throws(WebRTCRefusal) -> WebRTCAnswer
    ) async -> Result<WebRTCAnswer, WebRTCRefusal> {
        guard self.isRunning else { return .failure(.shuttingDown) }
        let offer: SessionDescription
        do {
            offer = try SessionDescription(parsing: request.offer)
        } catch {
            return .failure(.badOffer("the offer is no session description: \(error)"))
        }
        switch self.directory.reserve() {
        case .granted: break
        case .full: return .failure(.tooManySessions)
        case .closed: return .failure(.shuttingDown)
        }
        let sessions = self.configuration.sessions
        guard let account = sessions.open(request.address, transport: "webrtc") else {
            self.directory.release()
            return .failure(.refused(SessionRefusal(.limited, "too many connections")))
        }
        account.forwardedAddress = request.forwardedAddress
        account.client = request.peer.client
        var request = request
        request.peer.transport = "webrtc"
        request.peer.account = account
        do throws(WebRTCRefusal) {
            return .success(try await body(request, offer, account))
        } catch {
            if case .refused(let refusal) = error { sessions.refused("webrtc", refusal.cause) }
            self.logger.info(
                "session refused",
                metadata: ["stream": "\(request.peer.app)/\(request.peer.name)", "reason": "\(error)"])
            self.directory.release()
            sessions.close(account, .failed)
            return .failure(error)
        }
    }

    private func localDescription(_ request: WebRTCRequest, sends: Bool) async -> LocalDescription {
        let places = await self.addresses.places(
            listeners: self.bound.map { ($0.address, $0.isTCP) },
            requested: request.candidateHosts.compactMap { AddressBook.Host($0) })
        let endpoints = places.compactMap { place -> ICEEndpoint? in
            guard let address = place.address.ipAddress, let port = place.address.port else { return nil }
            return ICEEndpoint(address: address, port: port, transport: place.isTCP ? .tcp : .udp)
        }
        return SessionNegotiation.localDescription(
            fingerprint: self.fingerprint, candidates: ICECandidate.candidates(for: endpoints), sends: sends)
    }

    private func makeSession(
        _ handle: SessionHandle, _ account: SessionAccount, _ activity: SessionActivity, _ media: NegotiatedMedia,
        _ local: LocalDescription, _ part: any SessionMedia
    ) throws(WebRTCRefusal) -> WebRTCSession {
        let now = NIODeadline.now()
        var ice = ICEConfiguration()
        ice.connectTimeout = self.configuration.handshakeTimeout
        ice.consentTimeout = self.configuration.consentTimeout
        var agent = ICEAgent(local: local.ice, remote: media.remoteICE, configuration: ice, now: now)
        agent.addRemoteCandidates(media.remoteCandidates)
        let dtls: DTLSEndpoint
        do throws(DTLSError) {
            dtls = try DTLSEndpoint(
                configuration: self.dtls, role: media.isDTLSClient ? .client : .server,
                expecting: SessionNegotiation.fingerprints(media))
        } catch {
            throw .notAcceptable("no DTLS: \(error)")
        }
        var logger = self.logger
        logger[metadataKey: "session"] = "\(account.id)"
        logger[metadataKey: "stream"] = "\(activity.key)"
        return WebRTCSession(
            .init(
                handle: handle, account: account, kind: activity.kind, media: part, dtls: dtls, agent: agent,
                etag: Randomness.text(count: 16), local: local, archive: self.archive),
            configuration: self.configuration, logger: logger, now: now)
    }

    /// The session lives from now on. On the worker's loop.
    private func add(
        _ session: WebRTCSession, _ activity: SessionActivity, _ worker: WebRTCWorker
    ) throws(WebRTCRefusal) {
        guard self.configuration.sessions.begin(session.account, activity) else {
            throw .refused(SessionRefusal(.unavailable, "the session was ended"))
        }
        guard self.directory.add(session.handle, name: session.localName) else { throw .shuttingDown }
        worker.add(session)
        let (handle, workers) = (session.handle, self.workers)
        // Holds no session, only its number: whoever ends it looks for it.
        session.account.onTerminate { [weak directory = self.directory] end, text in
            Self.terminate(handle, end, text, workers, directory)
        }
        session.logger.info(activity.kind == .publish ? "publish answered" : "play answered")
    }

    /// Ends a session from any thread, wherever it has moved to.
    private static func terminate(
        _ handle: SessionHandle, _ end: SessionEnd, _ text: String, _ workers: [WebRTCWorker],
        _ directory: SessionDirectory?
    ) {
        let worker = workers[handle.ownerIndex]
        worker.loop.execute {
            if let session = worker.session(handle) {
                session.end(end, text)
            } else if directory?.session(id: handle.id) === handle {
                // It is on its way to another loop.
                self.terminate(handle, end, text, workers, directory)
            }
        }
    }

    /// As much of an answer as a restart of ICE needs, which is little.
    private static func skeleton(of answer: SessionDescription) -> SessionDescription {
        var skeleton = answer
        skeleton.attributes.removeAll { !["ice-lite", "ice-options", "group"].contains($0.name) }
        skeleton.media = answer.media.filter { $0.port != 0 }.prefix(1).map { section in
            var section = section
            section.attributes.removeAll { $0.name != "mid" }
            return section
        }
        return skeleton
    }

    private func answer(
        _ answer: SessionDescription, _ media: NegotiatedMedia, _ local: LocalDescription, _ session: WebRTCSession
    ) -> WebRTCAnswer {
        session.answer = Self.skeleton(of: answer)
        return WebRTCAnswer(
            sdp: answer.text, id: session.handle.id, etag: session.etag,
            iceNames: "\(local.ice.ufrag):\(media.remoteICE.ufrag)", account: session.account.id)
    }
}

extension WebRTCRefusal {
    init(_ error: NegotiationError) {
        switch error {
        case .noCommonCodec, .noCommonProfile, .nothingReceived, .unsupportedTransport, .unsupportedFingerprint,
            .unsupportedSetup, .peerIsLite:
            self = .notAcceptable("\(error)")
        default: self = .badOffer("\(error)")
        }
    }
}
