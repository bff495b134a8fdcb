import DigestAuthentication
import Media
import NIOCore
import RTPReceiving
import RTSP
import Testing

@testable import RTSPSessions

/// A client's session with its server.
final class ClientScript {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000)

    private(set) var session: RTSPClientSession
    private var reader = RTSPReader()
    var now = ClientScript.start
    private(set) var requests: [RTSPRequest] = []
    private(set) var responses: [RTSPResponse] = []
    private(set) var packets: [RTSPElement] = []
    private(set) var events: [RTSPClientEvent] = []
    private(set) var end: RTSPClientEnd?

    init(_ url: String = "rtsp://cam/live", delivery: RTSPClientConfiguration.Delivery = .tcp) throws {
        self.session = RTSPClientSession(
            configuration: RTSPClientConfiguration(url: try RTSPURL(parsing: url), delivery: delivery), randomness: 7,
            now: Self.start)
        try self.act { $0.start(now: $1) }
    }

    func act(_ body: (inout RTSPClientSession, NIODeadline) -> Void) throws {
        body(&self.session, self.now)
        while let output = self.session.nextOutput() {
            switch output {
            case .transmit(let bytes):
                self.reader.append(bytes)
                while let element = try self.reader.next() {
                    switch element {
                    case .request(let request): self.requests.append(request)
                    case .response(let response): self.responses.append(response)
                    case .packet: self.packets.append(element)
                    }
                }
            case .event(let event): self.events.append(event)
            case .close(let reason): self.end = reason
            }
        }
    }

    /// Answers the last request.
    func answer(_ status: RTSPStatus = .ok, _ headers: [(String, String)] = [], body: String = "") throws {
        let sequence = self.requests.last?.headers["CSeq"] ?? "0"
        var wire = ByteBuffer()
        RTSPResponse(
            status, headers: RTSPHeaders([("CSeq", sequence)] + headers), body: ByteBuffer(string: body)
        ).write(into: &wire)
        try self.act { $0.receive(wire, now: $1) }
    }

    func receive(_ bytes: [UInt8]) throws { try self.act { $0.receive(ByteBuffer(bytes: bytes), now: $1) } }

    func advance(_ amount: TimeAmount) throws {
        self.now = self.now + amount
        try self.act { $0.deadlineReached(now: $1) }
    }

    var last: RTSPRequest? { self.requests.last }

    /// Up to where packets come, by TCP.
    func play(session: String = "abc;timeout=20", methods: String = "OPTIONS, GET_PARAMETER") throws {
        try self.answer(.ok, [("Public", methods)])
        try self.answer(body: SourceTests.ffmpeg)
        for index in 0..<2 {
            try self.answer(
                .ok,
                [("Transport", "RTP/AVP/TCP;unicast;interleaved=\(index * 2)-\(index * 2 + 1)"), ("Session", session)])
        }
        try self.answer(.ok, [("RTP-Info", "nonsense")])
    }
}

@Suite struct ClientSessionTests {
    @Test func `A stream is asked for step by step, and its packets come out by track`() throws {
        let script = try ClientScript("rtsp://user:pw@cam:8554/live?x=1")
        #expect(script.last?.method == .options && script.last?.uri == "rtsp://cam:8554/live?x=1")
        try script.answer(.ok, [("Public", "OPTIONS, GET_PARAMETER")])
        #expect(script.last?.method == .describe && script.last?.headers["Accept"] == "application/sdp")
        try script.answer(.ok, [("Content-Base", "rtsp://cam:8554/live/")], body: SourceTests.ffmpeg)
        #expect(script.last?.method == .setup && script.last?.uri == "rtsp://cam:8554/live/streamid=0")
        #expect(script.last?.headers["Transport"] == "RTP/AVP/TCP;unicast;interleaved=0-1")
        // The server has channels of its own.
        try script.answer(.ok, [("Transport", "RTP/AVP/TCP;interleaved=10-11"), ("Session", "abc ; timeout=20")])
        #expect(script.last?.uri == "rtsp://cam:8554/live/streamid=1" && script.last?.headers["Session"] == "abc")
        try script.answer(.ok, [("Transport", "RTP/AVP/TCP;unicast;interleaved=2-3")])
        #expect(script.last?.method == .play && script.last?.uri == "rtsp://cam:8554/live/")
        // What comes before the answer is nobody's.
        try script.receive([0x24, 10, 0, 1, 1])
        try script.answer()
        guard case .playing(let lines, let ignored)? = script.events.last else {
            Issue.record("it does not play")
            return
        }
        #expect(lines.map(\.kind) == [.video, .audio] && ignored.isEmpty && script.events.count == 1)
        try script.receive([0x24, 10, 0, 1, 5, 0x24, 3, 0, 1, 6, 0x24, 9, 0, 1, 7])
        #expect(
            Array(script.events.dropFirst()) == [
                .packet(track: 0, isControl: false, ByteBuffer(bytes: [5])),
                .packet(track: 1, isControl: true, ByteBuffer(bytes: [6])),
            ])
        try script.act { session, _ in
            let sent = session.transmit(rtcp: ByteBuffer(bytes: [1, 2]), track: 0)
            #expect(sent)
        }
        #expect(script.packets == [.packet(channel: 11, ByteBuffer(bytes: [1, 2]))])
        try script.act { $0.close(now: $1) }
        #expect(script.last?.method == .teardown && script.end == .closed)
        #expect(script.requests.allSatisfy { $0.headers["Authorization"] == nil })
    }

    @Test func `Packets of one read cost what their number says`() throws {
        /// The least effort of three for taking `count` packets in one piece.
        func effortOf(_ count: Int) throws -> Duration {
            let bytes = (0..<count).flatMap { number -> [UInt8] in [0x24, 0, 0, 1, UInt8(truncatingIfNeeded: number)] }
            var efforts: [Duration] = []
            for _ in 0..<3 {
                let script = try ClientScript()
                try script.play()
                let before = script.events.count
                efforts.append(try effort { try script.receive(bytes) })
                #expect(script.events.count == before + count)
            }
            return efforts.min() ?? .zero
        }
        // Sixteen times as much if each moved all behind it.
        #expect(try effortOf(40_000) < effortOf(10_000) * 10)
    }

    @Test func `Passwords are answered to whoever asks, at any step`() throws {
        let script = try ClientScript("rtsp://user:pw@cam/live")
        let challenge = DigestChallenge(realm: "r", nonce: "n1", namesAlgorithm: false)
        try script.answer(.unauthorized, [("WWW-Authenticate", AuthenticationChallenge.digest(challenge).text)])
        let text = try #require(script.last?.headers["Authorization"])
        guard case .digest(let credentials) = try AuthenticationCredentials(parsing: text) else {
            Issue.record("no digest")
            return
        }
        #expect(script.last?.method == .options)
        #expect(credentials.username == "user" && credentials.uri == "rtsp://cam/live")
        #expect(credentials.isValid(password: "pw", method: "OPTIONS"))
        try script.answer(.ok)
        #expect(script.last?.method == .describe && script.last?.headers["Authorization"] != nil)
        // The nonce got old.
        let second = DigestChallenge(realm: "r", nonce: "n2", namesAlgorithm: false)
        try script.answer(.unauthorized, [("WWW-Authenticate", AuthenticationChallenge.digest(second).text)])
        #expect(script.last?.method == .describe && script.last?.headers["Authorization"]?.contains("n2") == true)
        try script.answer(.unauthorized, [("WWW-Authenticate", AuthenticationChallenge.digest(challenge).text)])
        #expect(script.end == .unauthorized)
        let stranger = try ClientScript()
        try stranger.answer(.unauthorized, [("WWW-Authenticate", "Basic realm=\"x\"")])
        #expect(stranger.end == .unauthorized)
    }

    @Test func `A camera that knows no OPTIONS, and no base, plays all the same`() throws {
        let script = try ClientScript("rtsp://cam/live/")
        try script.answer(.notImplemented)
        #expect(script.last?.method == .describe)
        try script.answer(.ok, [("Content-Base", "/live")], body: SourceTests.ffmpeg)
        #expect(script.last?.uri == "rtsp://cam/live/streamid=0")
    }

    @Test func `Redirects keep the password for the same host only`() throws {
        let cases: [(from: String, to: String, user: String?)] = [
            ("rtsp", "rtsp://cam:99/other", "u"), ("rtsp", "rtsp://evil/x", nil), ("rtsps", "rtsps://cam/x", "u"),
            ("rtsp", "rtsps://cam/x", "u"), ("rtsps", "rtsp://cam/x", nil),
        ]
        for (scheme, location, user) in cases {
            let script = try ClientScript("\(scheme)://u:p@cam/live")
            try script.answer(.ok)
            try script.answer(.found, [("Location", location)])
            guard case .redirected(let url)? = script.end else {
                Issue.record("not redirected")
                return
            }
            #expect(url.username == user && url.text == location)
        }
        let script = try ClientScript()
        try script.play()
        try script.act {
            $0.receive(ByteBuffer(string: "REDIRECT * RTSP/1.0\r\nCSeq: 3\r\nLocation: rtsp://b/c\r\n\r\n"), now: $1)
        }
        #expect(script.end == .redirected(try RTSPURL(parsing: "rtsp://b/c")))
        #expect(script.responses.map(\.status) == [.ok])
    }

    // MARK: UDP

    @Test func `By UDP ports are asked for, and the server's are told`() throws {
        let script = try ClientScript(delivery: .udp)
        try script.answer()
        try script.answer(body: SourceTests.ffmpeg)
        #expect(script.events == [.portsNeeded(track: 0)])
        try script.act { $0.provide(ports: .init(5_000, 5_001), now: $1) }
        #expect(script.last?.headers["Transport"] == "RTP/AVP;unicast;client_port=5000-5001")
        try script.answer(.ok, [("Transport", "RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001")])
        #expect(script.events[1] == .remotePorts(track: 0, RTSPRemotePorts(ports: .init(6_000, 6_001), source: nil)))
        #expect(script.events[2] == .portsNeeded(track: 1))
        try script.act { $0.provide(ports: .init(5_002, 5_003), now: $1) }
        try script.answer(.ok, [("Transport", "RTP/AVP")])
        try script.answer()
        #expect(script.events.count == 5)
        try script.act { session, _ in
            let sent = session.transmit(rtcp: ByteBuffer(), track: 0)
            #expect(!sent)
        }
        try script.advance(.seconds(9))
        try script.act { $0.receivedElsewhere(now: $1) }
        try script.advance(.seconds(9))
        #expect(script.end == nil)
        try script.advance(.seconds(1))
        #expect(script.end == .mediaTimeout)
    }

    @Test func `A server without the transport is told from one that refuses`() throws {
        let refused = try ClientScript()
        try refused.answer()
        try refused.answer(body: SourceTests.ffmpeg)
        try refused.answer(.unsupportedTransport)
        #expect(refused.end == .transportRefused)
        let other = try ClientScript()
        try other.answer()
        try other.answer(body: SourceTests.ffmpeg)
        try other.answer(.ok, [("Transport", "RTP/AVP;unicast;server_port=1-2")])
        #expect(other.end == .transportRefused)
        let missing = try ClientScript()
        try missing.answer()
        try missing.answer(.notFound)
        #expect(missing.end == .refused(.describe, .notFound))
        let empty = try ClientScript()
        try empty.answer()
        try empty.answer(body: "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n")
        #expect(empty.end == .unusable(.nothingUsable([])))
    }

    // MARK: Time

    @Test(arguments: [("OPTIONS, GET_PARAMETER", RTSPMethod.getParameter), ("OPTIONS", .options)])
    func `A session is kept alive in half of its time`(_ methods: String, _ method: RTSPMethod) throws {
        let script = try ClientScript()
        try script.play(methods: methods)
        let count = script.requests.count
        for second in 1...25 {
            try script.advance(.seconds(1))
            try script.receive([0x24, 0, 0, 1, 0])
            if second == 12 { try script.answer(.parameterNotUnderstood) }
        }
        #expect(script.requests.count == count + 2 && script.last?.method == method)
        #expect(script.last?.headers["Session"] == "abc" && script.end == nil)
        // Nobody answers the second.
        for _ in 0..<5 {
            try script.advance(.seconds(1))
            try script.receive([0x24, 0, 0, 1, 0])
        }
        #expect(script.end == .requestTimeout(method))
    }

    @Test func `A server that does not answer, or sends nothing, is given up`() throws {
        let silent = try ClientScript()
        try silent.advance(.seconds(10))
        #expect(silent.end == .requestTimeout(.options))
        let stalled = try ClientScript()
        try stalled.play(session: "abc")
        try stalled.advance(.seconds(10))
        #expect(stalled.end == .mediaTimeout)
        let closed = try ClientScript()
        try closed.act { session, _ in session.connectionClosed() }
        #expect(closed.end == .ended)
        let broken = try ClientScript()
        try broken.receive([0x16, 3])
        #expect(broken.end == .protocolViolation(.unexpectedByte(0x16)))
    }
}
