import Glibc
import Media
import NIOCore
import RTPReceiving
import RTSP
import Testing

@testable import RTSPSessions

/// How long this thread computes for `work`, whatever else the machine does.
func effort(_ work: () throws -> Void) rethrows -> Duration {
    func now() -> Duration {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }
    let start = now()
    try work()
    return now() - start
}

/// A server's session with its client: what is said, and what comes of it.
final class ServerScript {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000)

    private(set) var session: RTSPServerSession
    private var reader = RTSPReader()
    private var sequence = 0
    var now = ServerScript.start
    private(set) var responses: [RTSPResponse] = []
    private(set) var events: [RTSPServerEvent] = []
    private(set) var end: RTSPServerEnd?

    init(configuration: RTSPServerSessionConfiguration = .init()) {
        self.session = RTSPServerSession(configuration: configuration, id: "5E55104", now: Self.start)
    }

    func drain() throws {
        while let output = self.session.nextOutput() {
            switch output {
            case .transmit(let bytes):
                self.reader.append(bytes)
                while let element = try self.reader.next() {
                    if case .response(let response) = element { self.responses.append(response) }
                }
            case .event(let event): self.events.append(event)
            case .close(let reason):
                #expect(self.end == nil)
                self.end = reason
            }
        }
    }

    func receive(_ bytes: ByteBuffer) throws {
        self.session.receive(bytes, now: self.now)
        try self.drain()
    }

    func send(_ text: String) throws { try self.receive(ByteBuffer(string: text)) }

    /// Sends a request and gives what came of it, if it was answered at once.
    @discardableResult
    func request(
        _ method: RTSPMethod, _ uri: String = "rtsp://h/live/a", _ headers: [(String, String)] = [], body: String = ""
    ) throws -> RTSPResponse? {
        self.sequence += 1
        let before = self.responses.count
        var wire = ByteBuffer()
        RTSPRequest(
            method, uri, headers: RTSPHeaders([("CSeq", "\(self.sequence)")] + headers),
            body: ByteBuffer(string: body)
        ).write(into: &wire)
        self.session.receive(wire, now: self.now)
        try self.drain()
        guard self.responses.count > before else { return nil }
        #expect(self.responses.last?.sequence == UInt32(self.sequence))
        return self.responses.last
    }

    func act(_ body: (inout RTSPServerSession, NIODeadline) -> Void) throws {
        body(&self.session, self.now)
        try self.drain()
    }

    func describe() throws {
        try self.request(.describe)
        try self.act { $0.acceptDescribe(.init(text: "v=0\r\n", tracks: [.video, .audio]), now: $1) }
    }

    func announce() throws {
        try self.request(.announce, "rtsp://h/live/a", [("Content-Type", "application/sdp")], body: SourceTests.ffmpeg)
        try self.act { $0.acceptAnnounce(now: $1) }
    }

    func advance(_ amount: TimeAmount) throws {
        self.now = self.now + amount
        try self.act { $0.deadlineReached(now: $1) }
    }
}

@Suite struct ServerSessionTests {
    private static let tcp = "RTP/AVP/TCP;unicast;interleaved="

    @Test func `A player by TCP gets from DESCRIBE to TEARDOWN`() throws {
        let script = ServerScript()
        #expect(try script.request(.options, "*")?.headers["Public"]?.contains("ANNOUNCE") == true)
        #expect(try script.request(.describe, "rtsp://h:8554/live/a?token=x") == nil)
        guard case .requested(let request)? = script.events.last else {
            Issue.record("nobody was asked")
            return
        }
        #expect(
            request.action == .play && request.uri == "rtsp://h:8554/live/a?token=x" && request.authorization == nil)
        try script.act { $0.acceptDescribe(.init(text: "v=0\r\n", tracks: [.video, .audio]), now: $1) }
        let answer = try #require(script.responses.last)
        #expect(answer.status == .ok && String(buffer: answer.body) == "v=0\r\n")
        #expect(answer.headers["Content-Base"] == "rtsp://h:8554/live/a/" && answer.headers["Session"] == nil)

        let first = try script.request(.setup, "rtsp://h:8554/live/a/trackID=0", [("Transport", Self.tcp + "4-5")])
        #expect(first?.headers["Transport"] == "RTP/AVP/TCP;unicast;interleaved=4-5;mode=\"PLAY\"")
        #expect(first?.headers["Session"] == "5E55104;timeout=60")
        let session = [("Session", "5E55104")]
        let second = try script.request(
            .setup, "rtsp://h:8554/live/a/trackID=1", [("Transport", Self.tcp + "6-7")] + session)
        #expect(second?.status == .ok)
        #expect(try script.request(.play, "rtsp://h:8554/live/a/", session) == nil)
        let setups = [
            RTSPTrackSetup(index: 0, kind: .video, delivery: .interleaved(rtp: 4, rtcp: 5)),
            RTSPTrackSetup(index: 1, kind: .audio, delivery: .interleaved(rtp: 6, rtcp: 7)),
        ]
        #expect(script.events.last == .play(setups))
        try script.act { $0.acceptPlay(now: $1) }
        #expect(script.responses.last?.status == .ok)
        // A second PLAY only keeps alive.
        #expect(try script.request(.play, "rtsp://h:8554/live/a/", session)?.status == .ok)
        #expect(try script.request(.getParameter, "rtsp://h:8554/live/a", session)?.status == .ok)
        // A report of the client.
        try script.receive(ByteBuffer(bytes: [0x24, 5, 0, 2, 0x81, 0xC9]))
        #expect(script.events.last == .packet(track: 0, isControl: true, ByteBuffer(bytes: [0x81, 0xC9])))
        #expect(try script.request(.pause, "rtsp://h:8554/live/a", session)?.status == .ok)
        #expect(script.events.last == .paused)
        try script.request(.play, "rtsp://h:8554/live/a", session)
        #expect(script.events.last == .play(setups))
        try script.act { $0.acceptPlay(now: $1) }
        #expect(try script.request(.teardown, "rtsp://h:8554/live/a", session)?.status == .ok)
        #expect(script.end == .closed)
    }

    @Test func `A publisher sends what it announced, and nobody asks for what is ignored`() throws {
        let script = ServerScript()
        let extra = SourceTests.ffmpeg + "\nm=application 0 RTP/AVP 98\na=control:streamid=2\n"
        try script.request(.announce, "rtsp://h/live/a", [("Content-Type", "application/sdp")], body: extra)
        guard case .requested(let request)? = script.events.last, case .publish(let source) = request.action else {
            Issue.record("nobody was asked")
            return
        }
        #expect(source.tracks.count == 2 && source.ignored == [.kind("application")])
        try script.act { $0.acceptAnnounce(now: $1) }
        for index in 0..<3 {
            let answer = try script.request(
                .setup, "rtsp://h/live/a/streamid=\(index)",
                [("Transport", "\(Self.tcp)\(index * 2)-\(index * 2 + 1);mode=record")])
            #expect(answer?.status == .ok && answer?.headers["Transport"]?.contains("mode=\"RECORD\"") == true)
        }
        try script.request(.record)
        guard case .record(let setups)? = script.events.last else {
            Issue.record("nothing was recorded")
            return
        }
        #expect(setups.map(\.index) == [0, 1])
        try script.act { $0.acceptRecord(now: $1) }
        let count = script.events.count
        try script.receive(ByteBuffer(bytes: [0x24, 4, 0, 1, 9, 0x24, 2, 0, 1, 8, 0x24, 9, 0, 1, 7]))
        #expect(Array(script.events[count...]) == [.packet(track: 1, isControl: false, ByteBuffer(bytes: [8]))])
    }

    @Test func `Requests wait for the answer to the one before`() throws {
        let script = ServerScript()
        try script.send(
            "DESCRIBE rtsp://h/live/a RTSP/1.0\r\nCSeq: 1\r\n\r\nSETUP rtsp://h/live/a/trackID=0 RTSP/1.0\r\nCSeq: 2\r\n"
                + "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 3\r\n\r\n")
        #expect(script.responses.isEmpty && script.events.count == 1)
        try script.act { $0.acceptDescribe(.init(text: "v=0\r\n", tracks: [.video]), now: $1) }
        #expect(script.responses.count == 1)
        let setup = RTSPTrackSetup(index: 0, kind: .video, delivery: .datagrams(.init(5_000, 5_001)))
        #expect(script.events.last == .portsNeeded(setup))
        try script.act { $0.acceptSetup(ports: .init(6_000, 6_001), ssrc: 0x1234, now: $1) }
        #expect(script.responses.compactMap(\.sequence) == [1, 2, 3])
        #expect(
            script.responses[1].headers["Transport"]
                == "RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001;ssrc=00001234;mode=\"PLAY\"")
    }

    @Test func `A client that skips DESCRIBE is described all the same`() throws {
        let script = ServerScript()
        try script.request(.setup, "rtsp://h/live/a/trackID=1", [("Transport", Self.tcp + "0-1")])
        guard case .requested(let request)? = script.events.last else {
            Issue.record("nobody was asked")
            return
        }
        #expect(request.url.path == "/live/a" && request.method == .setup)
        try script.act { $0.acceptDescribe(.init(text: "v=0\r\n", tracks: [.video, .audio]), now: $1) }
        #expect(script.responses.map(\.status) == [.ok])
        #expect(script.responses[0].headers["Transport"]?.contains("interleaved=0-1") == true)
    }

    @Test func `A refusal is told, with its challenges, and may be tried again`() throws {
        let script = ServerScript()
        try script.request(.describe)
        try script.act { $0.refuse(.unauthorized, challenges: ["Digest x", "Basic y"], now: $1) }
        #expect(script.responses.last?.status == .unauthorized)
        #expect(script.responses.last?.headers.all("WWW-Authenticate") == ["Digest x", "Basic y"])
        try script.request(.describe, "rtsp://h/live/a", [("Authorization", "Basic z")])
        guard case .requested(let request)? = script.events.last else {
            Issue.record("nobody was asked")
            return
        }
        #expect(request.authorization == "Basic z")
        try script.act { $0.refuse(.unauthorized, closes: true, now: $1) }
        #expect(script.end == .closed)
    }

    // MARK: What is refused

    @Test func `Requests that do not fit the state are refused, and change nothing`() throws {
        let script = ServerScript()
        for method in [RTSPMethod.play, .record, .pause] {
            #expect(try script.request(method)?.status == .methodNotValidInState)
        }
        #expect(try script.request(.redirect)?.status == .notImplemented)
        #expect(try script.request(.describe, "*")?.status == .badRequest)
        #expect(try script.request(.describe, "rtsp://h/a", [("Accept", "text/html")])?.status == .notAcceptable)
        #expect(try script.request(.describe, "rtsp://h/a", [("Require", "x")])?.headers["Unsupported"] == "x")
        #expect(try script.request(.announce, "rtsp://h/a", [("Content-Type", "x/y")])?.status == .unsupportedMediaType)
        #expect(try script.request(.announce)?.status == .badRequest)
        #expect(script.events.isEmpty)
        try script.describe()
        #expect(try script.request(.announce)?.status == .methodNotValidInState)
        #expect(try script.request(.play)?.status == .methodNotValidInState)
        #expect(
            try script.request(.setup, "rtsp://h/live/a/trackID=7", [("Transport", "RTP/AVP")])?.status == .notFound)
        let track = "rtsp://h/live/a/trackID=0"
        #expect(try script.request(.setup, track)?.status == .badRequest)
        #expect(try script.request(.setup, track, [("Transport", "RAW")])?.status == .badRequest)
        for transport in ["RTP/AVP;multicast", "RTP/SAVP;unicast;client_port=1-2", "RTP/AVP;unicast"] {
            let status = try script.request(.setup, track, [("Transport", transport)])?.status
            #expect(status == .unsupportedTransport)
        }
        #expect(try script.request(.setup, track, [("Transport", Self.tcp + "0-1")])?.status == .ok)
        #expect(try script.request(.setup, track, [("Transport", Self.tcp + "2-3")])?.status == .methodNotValidInState)
        // Channels of another track, and another way than the first track's.
        let second = "rtsp://h/live/a/trackID=1"
        #expect(try script.request(.setup, second, [("Transport", Self.tcp + "1-2")])?.status == .unsupportedTransport)
        #expect(
            try script.request(.setup, second, [("Transport", "RTP/AVP;client_port=5-6")])?.status
                == .unsupportedTransport)
        #expect(try script.request(.play, "rtsp://h/live/a", [("Session", "other")])?.status == .sessionNotFound)
        #expect(try script.request(.record)?.status == .methodNotValidInState)
        #expect(try script.request(.setParameter, "rtsp://h/live/a", body: "x: y")?.status == .parameterNotUnderstood)
        #expect(script.end == nil)
    }

    @Test func `Where there is no UDP, clients are told so`() throws {
        let script = ServerScript(configuration: .init(allowsDatagrams: false))
        try script.describe()
        let track = "rtsp://h/live/a/trackID=0"
        #expect(
            try script.request(.setup, track, [("Transport", "RTP/AVP;client_port=5-6")])?.status
                == .unsupportedTransport)
        let both = try script.request(.setup, track, [("Transport", "RTP/AVP;client_port=5-6,RTP/AVP/TCP;unicast")])
        #expect(both?.headers["Transport"]?.contains("interleaved=0-1") == true)
    }

    @Test func `Bytes that are no RTSP end the connection`() throws {
        let script = ServerScript()
        try script.send("GET / HTTP/1.1\r\n\r\n")
        #expect(script.responses.map(\.status) == [.badRequest])
        #expect(script.end == .protocolViolation(.malformedStartLine(length: 14)))
        let tls = ServerScript()
        try tls.send("\u{16}\u{3}\u{1}")
        #expect(tls.responses.isEmpty && tls.end == .protocolViolation(.unexpectedByte(0x16)))
        let later = ServerScript()
        try later.send("OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n")
        #expect(later.responses.map(\.status) == [.versionNotSupported] && later.end == nil)
    }

    @Test func `Only so much may wait for an answer`() throws {
        let script = ServerScript(configuration: .init(maximumWaiting: 1_000))
        try script.request(.describe)
        try script.receive(ByteBuffer(repeating: UInt8(ascii: "A"), count: 1_001))
        #expect(script.end == .tooMuchWaiting(limit: 1_000))
    }

    // MARK: Time

    @Test func `A client that does not get to the point is sent away`() throws {
        let script = ServerScript()
        try script.describe()
        try script.advance(.seconds(29))
        #expect(script.end == nil)
        try script.advance(.seconds(1))
        #expect(script.end == .requestTimeout)
    }

    @Test func `A silent publisher is sent away, one that sends is not`() throws {
        let script = ServerScript()
        try script.announce()
        try script.request(.setup, "rtsp://h/live/a/streamid=0", [("Transport", Self.tcp + "0-1")])
        try script.request(.record)
        try script.act { $0.acceptRecord(now: $1) }
        try script.advance(.seconds(9))
        try script.receive(ByteBuffer(bytes: [0x24, 0, 0, 1, 0]))
        try script.advance(.seconds(9))
        try script.act { $0.receivedElsewhere(isMedia: true, now: $1) }
        try script.advance(.seconds(9))
        #expect(script.end == nil)
        // It answers and reports, but has nothing to show.
        #expect(try script.request(.getParameter)?.status == .ok)
        try script.receive(ByteBuffer(bytes: [0x24, 1, 0, 1, 0, 0x24, 7, 0, 1, 0]))
        try script.act { $0.receivedElsewhere(isMedia: false, now: $1) }
        try script.advance(.seconds(1))
        #expect(script.end == .mediaTimeout)
    }

    @Test func `A paused player has to give signs of life, and may stay for as long as it does`() throws {
        let script = ServerScript(configuration: .init(requestTimeout: .seconds(4), sessionTimeout: .seconds(60)))
        try script.describe()
        try script.request(.setup, "rtsp://h/live/a/trackID=0", [("Transport", Self.tcp + "0-1")])
        try script.request(.play)
        try script.act { $0.acceptPlay(now: $1) }
        #expect(try script.request(.pause)?.status == .ok)
        // A request, a report on the connection, and one elsewhere.
        for round in 0..<6 {
            try script.advance(.seconds(64))
            switch round % 3 {
            case 0: #expect(try script.request(.getParameter)?.status == .ok)
            case 1: try script.receive(ByteBuffer(bytes: [0x24, 1, 0, 1, 0]))
            default: try script.act { $0.receivedElsewhere(isMedia: false, now: $1) }
            }
        }
        // Twice paused, twice taken up.
        #expect(try script.request(.pause)?.status == .methodNotValidInState)
        #expect(try script.request(.setup, "rtsp://h/live/a/trackID=1")?.status == .methodNotValidInState)
        try script.request(.play)
        try script.act { $0.acceptPlay(now: $1) }
        #expect(script.session.nextDeadline == nil)
        #expect(try script.request(.pause)?.status == .ok)
        try script.advance(.seconds(64))
        #expect(script.end == nil)
        try script.advance(.seconds(1))
        #expect(script.end == .sessionTimeout)
    }

    // MARK: Cost

    @Test func `Packets of one read cost what their number says`() throws {
        /// The least effort of three for taking `count` packets in one piece.
        func effortOf(_ count: Int) throws -> Duration {
            var bytes = ByteBuffer()
            for index in 0..<count { bytes.writeBytes([0x24, 0, 0, 1, UInt8(truncatingIfNeeded: index)]) }
            var efforts: [Duration] = []
            for _ in 0..<3 {
                let script = ServerScript()
                try script.announce()
                try script.request(.setup, "rtsp://h/live/a/streamid=0", [("Transport", Self.tcp + "0-1")])
                try script.request(.record)
                try script.act { $0.acceptRecord(now: $1) }
                let before = script.events.count
                efforts.append(try effort { try script.receive(bytes) })
                #expect(script.events.count == before + count)
            }
            return efforts.min() ?? .zero
        }
        // Sixteen times as much if each moved all behind it.
        #expect(try effortOf(40_000) < effortOf(10_000) * 10)
    }

    @Test func `What a player sends as media is a sign of life and nothing else`() throws {
        let script = ServerScript()
        try script.describe()
        try script.request(.setup, "rtsp://h/live/a/trackID=0", [("Transport", Self.tcp + "0-1")])
        let count = script.events.count
        try script.receive(ByteBuffer(bytes: [0x24, 0, 0, 1, 9, 0x24, 1, 0, 1, 8]))
        #expect(Array(script.events[count...]) == [.packet(track: 0, isControl: true, ByteBuffer(bytes: [8]))])
    }

    @Test func `A player by UDP has to give signs of life, one by TCP has not`() throws {
        for isUDP in [true, false] {
            let script = ServerScript()
            try script.describe()
            let transport = isUDP ? "RTP/AVP;client_port=5000-5001" : Self.tcp + "0-1"
            try script.request(.setup, "rtsp://h/live/a/trackID=0", [("Transport", transport)])
            if isUDP { try script.act { $0.acceptSetup(ports: .init(6_000, 6_001), ssrc: nil, now: $1) } }
            try script.request(.play)
            try script.act { $0.acceptPlay(now: $1) }
            #expect((script.session.nextDeadline == nil) == !isUDP)
            try script.advance(.seconds(60))
            try script.act { $0.receivedElsewhere(isMedia: false, now: $1) }
            try script.advance(.seconds(64))
            #expect(script.end == nil)
            try script.advance(.seconds(1))
            #expect(script.end == (isUDP ? .sessionTimeout : nil))
        }
    }
}
