import DequeModule
import DigestAuthentication
package import NIOCore
import RTPReceiving
package import RTSP

/// A client's side of one RTSP connection: gets a stream from a server or a camera.
///
/// States: *asking* (OPTIONS, DESCRIBE, a SETUP for each track, PLAY: one request at a time, each answered with
/// credentials if the server wants them) → *playing*, with a keepalive in half of the session's timeout → *over*.
///
/// Cameras are taken as they are: controls absolute or relative, with and without `Content-Base`; `OPTIONS` that is
/// refused; tracks that are no audio or video; a second `401` for a nonce that got old; no `RTP-Info`, or a wrong one,
/// which nothing here needs; RTCP between the packets. Spec: RFC 2326.
package struct RTSPClientSession: Sendable {
    private struct Track: Sendable {
        var source: RTSPSourceTrack
        var url: String
        /// What packets come by on the connection.
        var channels: RTSPTransport.Pair?
    }

    private enum Step: Sendable, Equatable {
        case options
        case describe
        case setup(Int)
        case play
        case playing
        case over
    }

    private struct Sent: Sendable {
        var method: RTSPMethod
        var sequence: UInt32
        var deadline: NIODeadline
    }

    private static let maximumKeepalive = TimeAmount.seconds(30)

    private let configuration: RTSPClientConfiguration
    private var reader: RTSPReader
    private var step = Step.options
    private var outputs = Deque<RTSPClientOutput>()
    private var digest: DigestClient?
    private var randomState: UInt64
    private var sequence: UInt32 = 0
    /// The request that was not answered yet.
    private var sent: Sent?
    private var session: RTSPSessionHeader?
    private var tracks: [Track] = []
    private var ignored: [RTSPIgnoredReason] = []
    /// What PLAY and TEARDOWN are for.
    private var aggregate = ""
    private var localPorts: RTSPTransport.Pair?
    private var knowsGetParameter = false
    private var keepaliveDue = NIODeadline.distantFuture
    private var lastMedia: NIODeadline

    /// `randomness`: for the nonces of digests.
    package init(configuration: RTSPClientConfiguration, randomness: UInt64, now: NIODeadline) {
        self.configuration = configuration
        self.reader = RTSPReader(limits: configuration.reader)
        self.randomState = randomness
        self.lastMedia = now
        if let username = configuration.url.username {
            self.digest = DigestClient(username: username, password: configuration.url.password ?? "")
        }
        self.aggregate = configuration.url.text
    }

    // MARK: In

    /// The connection is there.
    package mutating func start(now: NIODeadline) { self.proceed(now: now) }

    package mutating func receive(_ bytes: ByteBuffer, now: NIODeadline) {
        guard self.step != .over else { return }
        self.reader.append(bytes)
        while self.step != .over {
            do throws(RTSPError) {
                guard let element = try self.reader.next() else { return }
                self.take(element, now: now)
            } catch {
                self.end(.protocolViolation(error))
            }
        }
    }

    /// The server closed the connection.
    package mutating func connectionClosed() { self.end(.ended) }

    /// Packets came by UDP.
    package mutating func receivedElsewhere(now: NIODeadline) { self.lastMedia = now }

    /// Ports were bound for the track that needed them.
    package mutating func provide(ports: RTSPTransport.Pair, now: NIODeadline) {
        guard case .setup(let index) = self.step, self.sent == nil else { return }
        self.localPorts = ports
        self.setUp(index, now: now)
    }

    package mutating func deadlineReached(now: NIODeadline) {
        guard self.step != .over else { return }
        if let sent = self.sent, now >= sent.deadline { return self.end(.requestTimeout(sent.method)) }
        guard self.step == .playing else { return }
        if now >= self.lastMedia + self.configuration.mediaTimeout { return self.end(.mediaTimeout) }
        if now >= self.keepaliveDue, self.sent == nil {
            self.keepaliveDue = now + self.keepaliveInterval
            self.request(self.knowsGetParameter ? .getParameter : .options, self.aggregate, now: now)
        }
    }

    package var nextDeadline: NIODeadline? {
        guard self.step != .over else { return nil }
        var earliest = self.sent?.deadline
        if self.step == .playing {
            for deadline in [self.lastMedia + self.configuration.mediaTimeout, self.keepaliveDue] {
                earliest = min(earliest ?? deadline, deadline)
            }
        }
        return earliest
    }

    /// Sends a packet of RTCP on the connection, if the track's packets come by it. Returns false if they do not.
    package mutating func transmit(rtcp packet: ByteBuffer, track index: Int) -> Bool {
        guard self.step == .playing, self.tracks.indices.contains(index), let channels = self.tracks[index].channels
        else { return false }
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(
            UInt8(ascii: "$"), UInt8(clamping: channels.rtcp), UInt16(clamping: packet.readableBytes))
        buffer.writeImmutableBuffer(packet)
        self.outputs.append(.transmit(buffer))
        return true
    }

    /// Says goodbye.
    package mutating func close(now: NIODeadline) {
        if self.session != nil, self.step != .over { self.request(.teardown, self.aggregate, now: now) }
        self.end(.closed)
    }

    // MARK: Out

    package mutating func nextOutput() -> RTSPClientOutput? {
        self.outputs.popFirst()
    }

    private mutating func end(_ reason: RTSPClientEnd) {
        guard self.step != .over else { return }
        self.step = .over
        self.outputs.append(.close(reason))
    }

    // MARK: Requests

    private var keepaliveInterval: TimeAmount {
        let half = TimeAmount.milliseconds(Int64(self.session?.timeout ?? 60) * 500)
        return max(min(half, Self.maximumKeepalive), .seconds(1))
    }

    /// Sends what the step asks for.
    private mutating func proceed(now: NIODeadline) {
        let url = self.configuration.url.text
        switch self.step {
        case .options: self.request(.options, url, now: now)
        case .describe: self.request(.describe, url, [("Accept", "application/sdp")], now: now)
        case .setup(let index):
            guard self.configuration.delivery == .udp else { return self.setUp(index, now: now) }
            self.sent = nil
            self.outputs.append(.event(.portsNeeded(track: index)))
        case .play: self.request(.play, self.aggregate, [("Range", "npt=0.000-")], now: now)
        case .playing, .over: break
        }
    }

    private mutating func setUp(_ index: Int, now: NIODeadline) {
        var transport = RTSPTransport(self.configuration.delivery == .tcp ? .tcp : .udp)
        if self.configuration.delivery == .tcp {
            transport.interleaved = .init(index * 2, index * 2 + 1)
        } else {
            transport.clientPorts = self.localPorts
        }
        self.request(.setup, self.tracks[index].url, [("Transport", transport.text)], now: now)
    }

    private mutating func request(
        _ method: RTSPMethod, _ uri: String, _ headers: [(String, String)] = [], now: NIODeadline
    ) {
        self.sequence &+= 1
        var all = RTSPHeaders([("CSeq", "\(self.sequence)"), ("User-Agent", self.configuration.userAgent)])
        if let session = self.session { all.add("Session", session.id) }
        for (name, value) in headers { all.add(name, value) }
        let nonce = self.nextNonce()
        if let value = self.digest?.authorization(method: method.rawValue, uri: uri, clientNonce: nonce) {
            all.add("Authorization", value)
        }
        var buffer = ByteBuffer()
        RTSPRequest(method, uri, headers: all).write(into: &buffer)
        self.outputs.append(.transmit(buffer))
        self.sent = Sent(
            method: method, sequence: self.sequence, deadline: now + self.configuration.requestTimeout)
    }

    /// Spec: SplitMix64 by Steele, Lea and Flood.
    private mutating func nextNonce() -> String {
        self.randomState &+= 0x9E37_79B9_7F4A_7C15
        var value = self.randomState
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return String(value ^ value >> 31, radix: 16)
    }

    // MARK: Answers

    private mutating func take(_ element: RTSPElement, now: NIODeadline) {
        switch element {
        case .packet(let channel, let packet): self.take(packet, channel: channel, now: now)
        case .request(let request): self.answer(request)
        case .response(let response): self.take(response, now: now)
        }
    }

    private mutating func take(_ packet: ByteBuffer, channel: UInt8, now: NIODeadline) {
        // Some send before they answer PLAY; nobody could tell what that is.
        guard self.step == .playing, packet.readableBytes > 0 else { return }
        for (index, track) in self.tracks.enumerated() {
            guard let channels = track.channels else { continue }
            let isControl = Int(channel) == channels.rtcp
            guard isControl || Int(channel) == channels.rtp else { continue }
            if !isControl { self.lastMedia = now }
            self.outputs.append(.event(.packet(track: index, isControl: isControl, packet)))
            return
        }
    }

    /// Servers ask for signs of life, or send the client away.
    private mutating func answer(_ request: RTSPRequest) {
        var headers = RTSPHeaders()
        if let sequence = request.headers["CSeq"] { headers.add("CSeq", sequence) }
        let isKnown = [.options, .getParameter, .setParameter, .announce, .redirect].contains(request.method)
        var buffer = ByteBuffer()
        RTSPResponse(isKnown ? .ok : .notImplemented, headers: headers).write(into: &buffer)
        self.outputs.append(.transmit(buffer))
        if request.method == .redirect {
            guard let text = request.headers["Location"], let url = self.redirection(text) else {
                return self.end(.ended)
            }
            self.end(.redirected(url))
        } else if request.method == .teardown {
            self.end(.ended)
        }
    }

    private mutating func take(_ response: RTSPResponse, now: NIODeadline) {
        // Those of old cameras have no number.
        guard let sent = self.sent, response.sequence ?? sent.sequence == sent.sequence else { return }
        guard response.status.rawValue >= 200 else { return }
        self.sent = nil
        if response.status == .unauthorized { return self.authenticate(response, sent, now: now) }
        self.digest?.accepted()
        if response.status.isRedirect, let text = response.headers["Location"], let url = self.redirection(text) {
            return self.end(.redirected(url))
        }
        if let text = response.headers["Session"], let session = RTSPSessionHeader(parsing: text) {
            self.session = session
        }
        switch self.step {
        case .options:
            let methods = response.headers.all("Public").joined(separator: ",").uppercased()
            self.knowsGetParameter = methods.contains("GET_PARAMETER")
            self.step = .describe
            self.proceed(now: now)
        case .playing, .over: break
        default:
            guard response.status.isSuccess else {
                return self.end(
                    response.status == .unsupportedTransport
                        ? .transportRefused : .refused(sent.method, response.status))
            }
            self.succeeded(response, now: now)
        }
    }

    private mutating func authenticate(_ response: RTSPResponse, _ sent: Sent, now: NIODeadline) {
        guard self.digest?.challenged(response.headers.all("WWW-Authenticate")) == true else {
            return self.end(.unauthorized)
        }
        switch self.step {
        case .playing: self.request(sent.method, self.aggregate, now: now)
        case .setup(let index): self.setUp(index, now: now)
        default: self.proceed(now: now)
        }
    }

    /// Where a server sends us; user and password stay with us for the same host, unless others could read them there.
    private func redirection(_ text: String) -> RTSPURL? {
        guard var url = try? RTSPURL(parsing: text) else { return nil }
        let isAsSafe = url.isSecure || !self.configuration.url.isSecure
        if url.username == nil, url.host == self.configuration.url.host, isAsSafe {
            url.username = self.configuration.url.username
            url.password = self.configuration.url.password
        }
        return url
    }

    private mutating func succeeded(_ response: RTSPResponse, now: NIODeadline) {
        switch self.step {
        case .describe:
            do throws(RTSPSource.Failure) {
                try self.described(response)
            } catch {
                return self.end(.unusable(error))
            }
            self.step = .setup(0)
        case .setup(let index):
            guard self.wasSetUp(index, response) else { return self.end(.transportRefused) }
            self.step = index + 1 < self.tracks.count ? .setup(index + 1) : .play
        case .play:
            self.step = .playing
            self.lastMedia = now
            self.keepaliveDue = now + self.keepaliveInterval
            self.outputs.append(
                .event(.playing(lines: self.tracks.map(\.source.line), ignored: self.ignored)))
        case .options, .playing, .over: return
        }
        self.proceed(now: now)
    }

    private mutating func described(_ response: RTSPResponse) throws(RTSPSource.Failure) {
        let source = try RTSPSource(parsing: String(buffer: response.body))
        let base =
            response.headers["Content-Base"] ?? response.headers["Content-Location"] ?? self.configuration.url.text
        // A base that is no URL, such as a path, is as good as none.
        let usable = (try? RTSPURL(parsing: base)) == nil ? self.configuration.url.text : base
        self.aggregate = RTSPURL.control(source.control, base: usable)
        self.ignored = source.ignored
        self.tracks = source.tracks.map {
            // A relative control counts from the base, whatever the session's own control is.
            Track(source: $0, url: $0.control.isEmpty ? self.aggregate : RTSPURL.control($0.control, base: usable))
        }
    }

    /// Returns false if the server chose what we did not offer.
    private mutating func wasSetUp(_ index: Int, _ response: RTSPResponse) -> Bool {
        let transport = response.headers["Transport"].flatMap { try? RTSPTransport.parse($0).first }
        switch self.configuration.delivery {
        case .tcp:
            guard transport?.lower != .udp || transport?.interleaved != nil else { return false }
            let chosen = transport?.interleaved ?? .init(index * 2, index * 2 + 1)
            let isTaken = self.tracks.contains { $0.channels?.rtp == chosen.rtp || $0.channels?.rtcp == chosen.rtp }
            guard !isTaken else { return false }
            self.tracks[index].channels = chosen
        case .udp:
            guard transport?.lower != .tcp, transport?.isMulticast != true else { return false }
            self.outputs.append(
                .event(
                    .remotePorts(
                        track: index, RTSPRemotePorts(ports: transport?.serverPorts, source: transport?.source))))
        }
        return true
    }
}
