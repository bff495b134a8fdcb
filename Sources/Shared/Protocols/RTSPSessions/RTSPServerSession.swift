import DequeModule
import Media
package import NIOCore
import RTPReceiving
package import RTSP
import SDP

/// A server's side of one RTSP connection: requests, transports and the state of the session.
///
/// States: *idle* (nothing named yet) → (DESCRIBE, ANNOUNCE) *named* → (SETUP)… → (PLAY) *playing* ⇄ (PAUSE) *paused*, or
/// (RECORD) *recording*. TEARDOWN and every error of the grammar end the connection. One session for each connection, as
/// clients have it; requests are answered in their order, and while the owner decides about one, those behind it wait.
///
/// Feed it bytes, then take outputs until there is none. Spec: RFC 2326, appendix A for the states.
package struct RTSPServerSession: Sendable {
    private enum Phase: Sendable, Equatable {
        case ready
        case playing
        case paused
        case recording
        case over
    }

    /// What the connection is about.
    private struct Presentation: Sendable {
        var url: RTSPURL
        var isPublish: Bool
        /// By index: kind and control.
        var tracks: [(kind: MediaKind, control: String, isIgnored: Bool)]
        var setups: [RTSPTrackSetup] = []
    }

    /// A request whose answer the owner owes.
    private struct Pending: Sendable {
        enum Question: Sendable {
            /// `setup`: the client skipped DESCRIBE; its SETUP is answered after the decision.
            case describe(url: RTSPURL, isForSetup: Bool)
            case announce(url: RTSPURL, RTSPSource)
            case setup(RTSPTrackSetup)
            case play
            case record
        }

        var request: RTSPRequest
        var question: Question
    }

    private let configuration: RTSPServerSessionConfiguration
    private let id: String
    private var reader: RTSPReader
    private var phase = Phase.ready
    private var presentation: Presentation?
    private var pending: Pending?
    private var outputs = Deque<RTSPServerOutput>()
    /// When the time for getting to PLAY or RECORD began.
    private let readySince: NIODeadline
    private var lastSign: NIODeadline
    /// The client has been told the session's id.
    private var isOpen = false

    /// `id`: random digits or letters, which nobody can guess.
    package init(configuration: RTSPServerSessionConfiguration, id: String, now: NIODeadline) {
        self.configuration = configuration
        self.id = id
        self.reader = RTSPReader(limits: configuration.reader)
        self.readySince = now
        self.lastSign = now
    }

    // MARK: In

    /// Takes what was read.
    package mutating func receive(_ bytes: ByteBuffer, now: NIODeadline) {
        guard self.phase != .over else { return }
        self.reader.append(bytes)
        self.read(now: now)
    }

    /// Packets came on another way than the connection. `isMedia`: RTP of a track that is wanted.
    package mutating func receivedElsewhere(isMedia: Bool, now: NIODeadline) {
        self.tookSign(isMedia: isMedia, now: now)
    }

    /// Of a publisher only media count: a program that still asks and reports, but encodes nothing, would hold the stream.
    private mutating func tookSign(isMedia: Bool, now: NIODeadline) {
        if isMedia || self.phase != .recording { self.lastSign = now }
    }

    package mutating func deadlineReached(now: NIODeadline) {
        guard let deadline = self.nextDeadline, now >= deadline else { return }
        switch self.phase {
        case .ready: self.end(.requestTimeout)
        case .recording: self.end(.mediaTimeout)
        case .playing, .paused: self.end(.sessionTimeout)
        case .over: break
        }
    }

    /// When to call `deadlineReached`. A connection that plays needs none: a dead one does not take bytes.
    package var nextDeadline: NIODeadline? {
        switch self.phase {
        case .ready: self.readySince + self.configuration.requestTimeout
        case .recording: self.lastSign + self.configuration.mediaTimeout
        case .playing: self.usesDatagrams ? self.signDue : nil
        case .paused: self.signDue
        case .over: nil
        }
    }

    /// Clients wake up when the time is nearly over, and are late.
    private var signDue: NIODeadline { self.lastSign + self.configuration.sessionTimeout + .seconds(5) }

    private var usesDatagrams: Bool {
        self.presentation?.setups.contains {
            if case .datagrams = $0.delivery { true } else { false }
        } ?? false
    }

    // MARK: Out

    package mutating func nextOutput() -> RTSPServerOutput? {
        self.outputs.popFirst()
    }

    /// Ends the connection from our side.
    package mutating func close() { self.end(.closed) }

    private mutating func end(_ reason: RTSPServerEnd) {
        guard self.phase != .over else { return }
        self.phase = .over
        self.pending = nil
        self.outputs.append(.close(reason))
    }

    private mutating func read(now: NIODeadline) {
        while self.phase != .over, self.pending == nil {
            do throws(RTSPError) {
                guard let element = try self.reader.next() else { return }
                self.take(element, now: now)
            } catch {
                self.answerViolation(error)
                return self.end(.protocolViolation(error))
            }
        }
        let limit = self.configuration.maximumWaiting
        if self.pending != nil, self.reader.waitingBytes > limit { self.end(.tooMuchWaiting(limit: limit)) }
    }

    /// Tells the peer what was wrong, where that is still a conversation.
    private mutating func answerViolation(_ error: RTSPError) {
        let status: RTSPStatus
        switch error {
        case .unsupportedVersion: status = .versionNotSupported
        case .bodyTooLong: status = .entityTooLarge
        case .unexpectedByte: return
        default: status = .badRequest
        }
        self.transmit(RTSPResponse(status, headers: RTSPHeaders([("Server", self.configuration.name)])))
    }

    private mutating func take(_ element: RTSPElement, now: NIODeadline) {
        switch element {
        case .packet(let channel, let packet):
            self.tookSign(isMedia: false, now: now)
            self.take(packet, channel: channel, now: now)
        case .response:
            // To a request of ours; we send none that wants one.
            self.tookSign(isMedia: false, now: now)
        case .request(let request):
            self.tookSign(isMedia: false, now: now)
            self.take(request)
        }
    }

    private mutating func take(_ packet: ByteBuffer, channel: UInt8, now: NIODeadline) {
        guard let presentation = self.presentation, packet.readableBytes > 0 else { return }
        for setup in presentation.setups {
            guard case .interleaved(let rtp, let rtcp) = setup.delivery else { continue }
            guard channel == rtp || channel == rtcp else { continue }
            // A player has no media for us: it may send some to keep address translators open.
            guard !setup.isIgnored, presentation.isPublish || channel == rtcp else { return }
            self.tookSign(isMedia: channel == rtp, now: now)
            self.outputs.append(.event(.packet(track: setup.index, isControl: channel == rtcp, packet)))
            return
        }
    }
}

// MARK: - Requests

extension RTSPServerSession {
    private static let methods =
        "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, PAUSE, RECORD, TEARDOWN, GET_PARAMETER, SET_PARAMETER"

    private mutating func take(_ request: RTSPRequest) {
        guard request.version == "1.0" || request.version == "1.1" else {
            return self.answer(request, .versionNotSupported)
        }
        let required = request.headers.all("Require") + request.headers.all("Proxy-Require")
        guard required.isEmpty else {
            return self.answer(request, .optionNotSupported, [("Unsupported", required.joined(separator: ", "))])
        }
        if let session = request.headers["Session"], self.isOpen, RTSPSessionHeader(parsing: session)?.id != self.id {
            return self.answer(request, .sessionNotFound)
        }
        switch request.method {
        case .options: self.answer(request, .ok, [("Public", Self.methods)])
        // Keepalives; there are no parameters.
        case .getParameter, .setParameter:
            self.answer(request, request.body.readableBytes > 0 ? .parameterNotUnderstood : .ok)
        case .describe: self.describe(request)
        case .announce: self.announce(request)
        case .setup: self.setup(request)
        case .play: self.play(request)
        case .record: self.record(request)
        case .pause: self.pause(request)
        case .teardown:
            self.answer(request, .ok, [("Connection", "close")])
            self.end(.closed)
        default: self.answer(request, .notImplemented, [("Public", Self.methods)])
        }
    }

    private mutating func describe(_ request: RTSPRequest) {
        guard self.phase == .ready, self.presentation?.isPublish != true, self.presentation?.setups.isEmpty ?? true
        else { return self.answer(request, .methodNotValidInState) }
        guard let url = try? RTSPURL(parsing: request.uri) else { return self.answer(request, .badRequest) }
        let accepted = request.headers.all("Accept").joined(separator: ",").lowercased()
        guard accepted.isEmpty || accepted.contains("application/sdp") || accepted.contains("*/*") else {
            return self.answer(request, .notAcceptable)
        }
        self.ask(request, .describe(url: url, isForSetup: false), .play, url: url)
    }

    private mutating func announce(_ request: RTSPRequest) {
        guard self.phase == .ready, self.presentation == nil else {
            return self.answer(request, .methodNotValidInState)
        }
        guard let url = try? RTSPURL(parsing: request.uri) else { return self.answer(request, .badRequest) }
        let type = request.headers["Content-Type"]?.lowercased() ?? "application/sdp"
        guard type.hasPrefix("application/sdp") else { return self.answer(request, .unsupportedMediaType) }
        do throws(RTSPSource.Failure) {
            let source = try RTSPSource(parsing: String(buffer: request.body))
            self.ask(request, .announce(url: url, source), .publish(source), url: url)
        } catch {
            switch error {
            case .description: self.answer(request, .badRequest)
            case .nothingUsable: self.answer(request, .unsupportedMediaType)
            }
        }
    }

    private mutating func ask(
        _ request: RTSPRequest, _ question: Pending.Question, _ action: RTSPStreamRequest.Action, url: RTSPURL
    ) {
        self.pending = Pending(request: request, question: question)
        self.outputs.append(
            .event(
                .requested(
                    RTSPStreamRequest(
                        action: action, method: request.method, url: url, uri: request.uri,
                        authorization: request.headers["Authorization"],
                        userAgent: request.headers["User-Agent"] ?? ""))))
    }

    // MARK: Tracks

    private mutating func setup(_ request: RTSPRequest) {
        guard self.phase == .ready else { return self.answer(request, .methodNotValidInState) }
        guard let url = try? RTSPURL(parsing: request.uri) else { return self.answer(request, .badRequest) }
        guard let presentation = self.presentation else {
            // The client knows the description from elsewhere. Behind the stream's name is the track's.
            var stream = url
            if let slash = stream.path.lastIndex(of: "/"), stream.path[slash...].contains("=") {
                stream.path = String(stream.path[..<slash])
            }
            return self.ask(request, .describe(url: stream, isForSetup: true), .play, url: stream)
        }
        guard let index = Self.track(of: request.uri, in: presentation) else { return self.answer(request, .notFound) }
        guard !presentation.setups.contains(where: { $0.index == index }) else {
            return self.answer(request, .methodNotValidInState)
        }
        guard let value = request.headers["Transport"], let offers = try? RTSPTransport.parse(value) else {
            return self.answer(request, .badRequest)
        }
        guard let delivery = self.choose(offers, index: index, presentation) else {
            return self.answer(request, .unsupportedTransport)
        }
        let track = presentation.tracks[index]
        let setup = RTSPTrackSetup(
            index: index, kind: track.kind, delivery: delivery, isIgnored: track.isIgnored)
        switch delivery {
        case .interleaved(let rtp, let rtcp):
            self.presentation?.setups.append(setup)
            var transport = RTSPTransport(.tcp)
            transport.interleaved = .init(Int(rtp), Int(rtcp))
            transport.mode = presentation.isPublish ? .record : .play
            self.answer(request, .ok, [("Transport", transport.text)], opensSession: true)
        case .datagrams:
            self.pending = Pending(request: request, question: .setup(setup))
            self.outputs.append(.event(.portsNeeded(setup)))
        }
    }

    /// Which track a URL means. Clients put controls together with URLs in many ways, so that only the end counts.
    private static func track(of uri: String, in presentation: Presentation) -> Int? {
        let bare = uri.hasSuffix("/") ? String(uri.dropLast()) : uri
        let found = presentation.tracks.firstIndex { track in
            !track.control.isEmpty && (bare == track.control || bare.hasSuffix("/" + track.control.drop { $0 == "/" }))
        }
        // A presentation of one track may be set up by its own URL.
        return found ?? (presentation.tracks.count == 1 ? 0 : nil)
    }

    /// The first transport that we have, in the client's order.
    private func choose(_ offers: [RTSPTransport], index: Int, _ presentation: Presentation) -> RTSPDelivery? {
        let taken = presentation.setups.flatMap { setup -> [UInt8] in
            if case .interleaved(let rtp, let rtcp) = setup.delivery { [rtp, rtcp] } else { [] }
        }
        let mixes = presentation.setups.first?.delivery
        for offer in offers where !offer.isMulticast && (offer.profile == "RTP/AVP" || offer.profile == "RTP/AVPF") {
            switch offer.lower {
            case .tcp:
                if case .datagrams? = mixes { continue }
                let wanted = offer.interleaved ?? .init(index * 2, index * 2 + 1)
                let (rtp, rtcp) = (UInt8(clamping: wanted.rtp), UInt8(clamping: wanted.rtcp))
                guard rtp != rtcp, !taken.contains(rtp), !taken.contains(rtcp) else { continue }
                return .interleaved(rtp: rtp, rtcp: rtcp)
            case .udp:
                if case .interleaved? = mixes { continue }
                guard self.configuration.allowsDatagrams, let ports = offer.clientPorts else { continue }
                return .datagrams(ports)
            }
        }
        return nil
    }

    // MARK: Playing and recording

    private mutating func play(_ request: RTSPRequest) {
        guard let presentation = self.presentation, !presentation.isPublish, !presentation.setups.isEmpty else {
            return self.answer(request, .methodNotValidInState)
        }
        // A live stream has one place: now. PLAY while playing keeps the session alive.
        guard self.phase == .ready || self.phase == .paused else {
            return self.answer(request, .ok, [("Range", "npt=now-")])
        }
        self.pending = Pending(request: request, question: .play)
        self.outputs.append(.event(.play(presentation.setups)))
    }

    private mutating func record(_ request: RTSPRequest) {
        guard let presentation = self.presentation, presentation.isPublish,
            presentation.setups.contains(where: { !$0.isIgnored }), self.phase == .ready
        else { return self.answer(request, .methodNotValidInState) }
        self.pending = Pending(request: request, question: .record)
        self.outputs.append(.event(.record(presentation.setups.filter { !$0.isIgnored })))
    }

    private mutating func pause(_ request: RTSPRequest) {
        guard self.phase == .playing else { return self.answer(request, .methodNotValidInState) }
        // The client keeps the session alive as while it plays (RFC 2326 §12.37); `take` noted this sign of life.
        self.phase = .paused
        self.outputs.append(.event(.paused))
        self.answer(request, .ok)
    }
}

// MARK: - The owner's answers

extension RTSPServerSession {
    /// The client may play: tell it what of.
    package mutating func acceptDescribe(_ description: RTSPPlayDescription, now: NIODeadline) {
        guard let pending = self.pending, case .describe(let url, let isForSetup) = pending.question else { return }
        self.pending = nil
        self.presentation = Presentation(
            url: url, isPublish: false,
            tracks: description.tracks.enumerated().map { ($1, RTSPTracks.control($0), false) })
        guard !isForSetup else {
            self.setup(pending.request)
            return self.read(now: now)
        }
        // Without the query: players put the controls of tracks behind it.
        var base = url
        base.query = nil
        self.answer(
            pending.request, .ok,
            [("Content-Type", "application/sdp"), ("Content-Base", base.text + "/")], body: description.text)
        self.read(now: now)
    }

    /// The client may publish.
    package mutating func acceptAnnounce(now: NIODeadline) {
        guard let pending = self.pending, case .announce(let url, let source) = pending.question else { return }
        self.pending = nil
        self.presentation = Presentation(
            url: url, isPublish: true,
            tracks: source.tracks.map { ($0.line.kind, $0.control, false) }
                + source.ignoredControls.map { (.audio, $0, true) })
        self.answer(pending.request, .ok)
        self.read(now: now)
    }

    /// The ports of a track are bound. `ssrc`: what the packets will have, if that is known.
    package mutating func acceptSetup(ports: RTSPTransport.Pair, ssrc: UInt32?, now: NIODeadline) {
        guard let pending = self.pending, case .setup(let setup) = pending.question,
            case .datagrams(let clientPorts) = setup.delivery
        else { return }
        self.pending = nil
        self.presentation?.setups.append(setup)
        var transport = RTSPTransport(.udp)
        transport.clientPorts = clientPorts
        transport.serverPorts = ports
        transport.ssrc = ssrc
        transport.mode = self.presentation?.isPublish == true ? .record : .play
        self.answer(pending.request, .ok, [("Transport", transport.text)], opensSession: true)
        self.read(now: now)
    }

    /// Packets follow.
    package mutating func acceptPlay(now: NIODeadline) {
        guard let pending = self.pending, case .play = pending.question else { return }
        self.pending = nil
        self.phase = .playing
        self.lastSign = now
        self.answer(pending.request, .ok, [("Range", "npt=now-")])
        self.read(now: now)
    }

    /// Packets may come.
    package mutating func acceptRecord(now: NIODeadline) {
        guard let pending = self.pending, case .record = pending.question else { return }
        self.pending = nil
        self.phase = .recording
        self.lastSign = now
        self.answer(pending.request, .ok)
        self.read(now: now)
    }

    /// The answer to the last question is no.
    ///
    /// `challenges`: the values of `WWW-Authenticate`, for 401. `closes`: the connection is of no more use.
    package mutating func refuse(
        _ status: RTSPStatus, challenges: [String] = [], closes: Bool = false, now: NIODeadline
    ) {
        guard let pending = self.pending else { return }
        self.pending = nil
        self.answer(pending.request, status, challenges.map { ("WWW-Authenticate", $0) })
        if closes { return self.end(.closed) }
        self.read(now: now)
    }

    private mutating func answer(
        _ request: RTSPRequest, _ status: RTSPStatus, _ headers: [(String, String)] = [], body: String = "",
        opensSession: Bool = false
    ) {
        if opensSession { self.isOpen = true }
        var all = RTSPHeaders()
        if let sequence = request.headers["CSeq"] { all.add("CSeq", sequence) }
        all.add("Server", self.configuration.name)
        if self.isOpen {
            let seconds = Int(self.configuration.sessionTimeout.nanoseconds / 1_000_000_000)
            all.add("Session", RTSPSessionHeader(id: self.id, timeout: max(seconds, 1)).text)
        }
        for (name, value) in headers { all.add(name, value) }
        var response = RTSPResponse(status, headers: all)
        if !body.isEmpty { response.body = ByteBuffer(string: body) }
        self.transmit(response)
    }

    private mutating func transmit(_ response: RTSPResponse) {
        var buffer = ByteBuffer()
        response.write(into: &buffer)
        self.outputs.append(.transmit(buffer))
    }
}
