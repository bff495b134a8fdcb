import NIOCore
import RTSP
import Testing

private func elements(_ bytes: ByteBuffer, cuts: [Int] = []) throws -> [RTSPElement] {
    var reader = RTSPReader()
    var rest = bytes
    var result: [RTSPElement] = []
    var position = 0
    for cut in cuts + [bytes.readableBytes] {
        guard let piece = rest.readSlice(length: cut - position) else { break }
        position = cut
        reader.append(piece)
        while let element = try reader.next() { result.append(element) }
    }
    #expect(reader.waitingBytes == 0)
    return result
}

@Suite struct ReaderTests {
    private static let wire = ByteBuffer(
        bytes: Array(
            ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nUser-Agent:  x y \r\n\r\n"
                + "ANNOUNCE rtsp://h/live/a RTSP/1.0\r\nCSeq: 2\r\nContent-Length: 5\r\nX: a\r\n b\r\n\r\nv=0\r\n").utf8
        )
            + [0x24, 3, 0, 2, 0x24, 0x0A] + Array("\r\nRTSP/1.0 200 OK\nCSeq: 9\n\n".utf8) + [0x24, 0, 0, 0])

    private static let expected: [RTSPElement] = {
        var announce = RTSPRequest(
            .announce, "rtsp://h/live/a",
            headers: RTSPHeaders([("CSeq", "2"), ("Content-Length", "5"), ("X", "a b")]))
        announce.body = ByteBuffer(string: "v=0\r\n")
        return [
            .request(RTSPRequest(.options, "*", headers: RTSPHeaders([("CSeq", "1"), ("User-Agent", "x y")]))),
            .request(announce), .packet(channel: 3, ByteBuffer(bytes: [0x24, 0x0A])),
            .response(RTSPResponse(.ok, headers: RTSPHeaders([("CSeq", "9")]))), .packet(channel: 0, ByteBuffer()),
        ]
    }()

    @Test func `Messages and packets come out in their order`() throws {
        #expect(try elements(Self.wire) == Self.expected)
    }

    @Test func `It does not matter where the bytes are cut`() throws {
        for cut in 0...Self.wire.readableBytes { #expect(try elements(Self.wire, cuts: [cut]) == Self.expected) }
        #expect(try elements(Self.wire, cuts: Array(0..<Self.wire.readableBytes)) == Self.expected)
    }

    @Test func `What is written is read as the same`() throws {
        var request = RTSPRequest(
            .describe, "rtsp://h/a?b=c", headers: RTSPHeaders([("CSeq", "7"), ("Accept", "application/sdp")]))
        var wire = ByteBuffer()
        request.write(into: &wire)
        var response = RTSPResponse(.unauthorized, headers: RTSPHeaders([("CSeq", "7")]))
        response.body = ByteBuffer(string: "abc")
        response.write(into: &wire)
        request.body = ByteBuffer()
        response.headers.add("Content-Length", "3")
        #expect(try elements(wire) == [.request(request), .response(response)])
        #expect(request.sequence == 7)
    }

    @Test func `A header of ours cannot end its line`() {
        var wire = ByteBuffer()
        RTSPResponse(.ok, headers: RTSPHeaders([("X", "a\r\nInjected: b")])).write(into: &wire)
        #expect(String(buffer: wire) == "RTSP/1.0 200 OK\r\nX: aInjected: b\r\n\r\n")
    }

    @Test func `A URL with a space in it is taken as it is meant`() throws {
        let wire = ByteBuffer(string: "DESCRIBE rtsp://h/a b RTSP/1.0\r\n\r\n")
        #expect(try elements(wire) == [.request(RTSPRequest(.describe, "rtsp://h/a b"))])
    }

    @Test(arguments: [
        ("GET /\r\n\r\n", RTSPError.malformedStartLine(length: 5)),
        ("GET / HTTP/1.1\r\n\r\n", .malformedStartLine(length: 14)),
        ("RTSP/1.0 xx OK\r\n\r\n", .malformedStartLine(length: 14)),
        ("RTSP/1.0 99 OK\r\n\r\n", .malformedStartLine(length: 14)),
        ("OPTIONS * RTSP/3.0\r\n\r\n", .unsupportedVersion("3.0")),
        ("OPTIONS * RTSP/1.0\r\nNo colon\r\n\r\n", .malformedHeader(line: 1)),
        ("OPTIONS * RTSP/1.0\r\n: x\r\n\r\n", .malformedHeader(line: 1)),
        ("OPTIONS * RTSP/1.0\r\nA: b\r\nA b: x\r\n\r\n", .malformedHeader(line: 2)),
        ("OPTIONS * RTSP/1.0\r\n folded\r\n\r\n", .malformedHeader(line: 1)),
        ("OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n", .malformedLength),
        ("OPTIONS * RTSP/1.0\r\nContent-Length: +1\r\n\r\n", .malformedLength),
        ("OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\n", .malformedLength),
        ("OPTIONS * RTSP/1.0\r\nContent-Length: 999999\r\n\r\n", .bodyTooLong(length: 999_999, limit: 262_144)),
        ("\u{16}\u{3}\u{1}", .unexpectedByte(0x16)), ("options", .unexpectedByte(UInt8(ascii: "o"))),
    ])
    func `What is no RTSP is refused with its reason`(_ text: String, _ error: RTSPError) {
        #expect(throws: error) { try elements(ByteBuffer(string: text)) }
    }

    @Test func `Heads are bounded, finished or not`() {
        let endless = "OPTIONS * RTSP/1.0\r\nA: " + String(repeating: "x", count: 17_000)
        #expect(throws: RTSPError.headTooLong(limit: 16_384)) { try elements(ByteBuffer(string: endless)) }
        #expect(throws: RTSPError.headTooLong(limit: 16_384)) { try elements(ByteBuffer(string: endless + "\r\n\r\n")) }
        let many = "OPTIONS * RTSP/1.0\r\n" + (0..<101).map { "A\($0): b\r\n" }.joined() + "\r\n"
        #expect(throws: RTSPError.tooManyHeaders(limit: 100)) { try elements(ByteBuffer(string: many)) }
    }

    @Test func `An unfinished message waits, and takes no more than it may`() throws {
        var reader = RTSPReader()
        reader.append(ByteBuffer(string: "OPTIONS * RTSP/1.0\r\nContent-Length: 10\r\n\r\n12345"))
        let early = try reader.next()
        #expect(early == nil)
        #expect(reader.waitingBytes == 5)
        reader.append(ByteBuffer(string: "67890$"))
        let (message, rest) = (try reader.next(), try reader.next())
        #expect(message != nil)
        #expect(rest == nil)
        #expect(reader.waitingBytes == 1)
    }
}

@Suite struct TransportTests {
    @Test func `What clients send is understood`() throws {
        let ffmpeg = try RTSPTransport.parse("RTP/AVP/UDP;unicast;client_port=21104-21105;mode=record")
        #expect(ffmpeg.count == 1)
        #expect(ffmpeg[0].lower == .udp && ffmpeg[0].clientPorts == .init(21_104, 21_105) && ffmpeg[0].mode == .record)
        let interleaved = try RTSPTransport.parse("RTP/AVP/TCP;unicast;interleaved=2-3")
        #expect(interleaved[0].lower == .tcp && interleaved[0].interleaved == .init(2, 3) && interleaved[0].mode == nil)
        let several = try RTSPTransport.parse(
            "RTP/AVP;multicast;mode=play, rtp/avpf;unicast;client_port=4000 ,RTP/AVP/TCP;unicast;mode=\"PLAY\";ssrc=1a2B"
        )
        #expect(several.map(\.isMulticast) == [true, false, false])
        #expect(several[1].profile == "RTP/AVPF" && several[1].clientPorts == .init(4_000, 4_001))
        #expect(several[2].ssrc == 0x1A2B && several[2].mode == .play && several[2].interleaved == nil)
    }

    @Test func `What is written is read as the same`() throws {
        var transport = RTSPTransport(.udp)
        transport.clientPorts = .init(5_000, 5_001)
        transport.serverPorts = .init(6_000, 6_001)
        transport.ssrc = 0xBEEF
        transport.mode = .play
        transport.source = "192.0.2.1"
        #expect(
            transport.text
                == "RTP/AVP;unicast;source=192.0.2.1;client_port=5000-5001;server_port=6000-6001;ssrc=0000BEEF;mode=\"PLAY\""
        )
        #expect(try RTSPTransport.parse(transport.text) == [transport])
    }

    @Test(arguments: [
        ("", 0), ("RTP", 0), ("RAW/RAW/UDP;unicast", 0), ("RTP/AVP;client_port=70000", 0),
        ("RTP/AVP;client_port=0-1", 0),
        ("RTP/AVP,RTP/AVP/SCTP", 1), ("RTP/AVP/TCP;interleaved=256-257", 0), ("RTP/AVP/TCP;interleaved=1-2-3", 0),
        ("RTP/AVP;server_port=-1", 0), ("RTP/AVP;client_port=x-y", 0),
    ])
    func `What cannot be a transport is refused with its place`(_ text: String, _ entry: Int) {
        #expect(throws: RTSPError.malformedTransport(entry: entry)) { try RTSPTransport.parse(text) }
    }

    @Test func `Lists of transports are bounded`() {
        let many = Array(repeating: "RTP/AVP", count: 17).joined(separator: ",")
        #expect(throws: RTSPError.malformedTransport(entry: 16)) { try RTSPTransport.parse(many) }
    }

    @Test func `Sessions have an id and a timeout`() {
        #expect(RTSPSessionHeader(parsing: "12345678") == RTSPSessionHeader(id: "12345678", timeout: 60))
        #expect(RTSPSessionHeader(parsing: " abc ; Timeout = 30 ") == RTSPSessionHeader(id: "abc", timeout: 30))
        #expect(RTSPSessionHeader(parsing: "abc;timeout=0") == RTSPSessionHeader(id: "abc", timeout: 60))
        #expect(RTSPSessionHeader(parsing: ";timeout=30")?.id == "timeout=30")
        #expect(RTSPSessionHeader(parsing: "") == nil)
        for text in ["I;=", "I;==", "I; = ;timeout", "I;=30"] {
            #expect(RTSPSessionHeader(parsing: text) == RTSPSessionHeader(id: "I", timeout: 60), "\(text)")
        }
        #expect(RTSPSessionHeader(id: "a", timeout: 5).text == "a;timeout=5")
    }

    @Test func `What is wrong in RTP-Info is left out`() {
        let infos = RTPInfo.parse("url=rtsp://h/a/track1;seq=45102;rtptime=2890844526,url=track2;seq=70000,seq=1,;;")
        #expect(
            infos == [
                RTPInfo(url: "rtsp://h/a/track1", sequence: 45_102, timestamp: 2_890_844_526), RTPInfo(url: "track2"),
            ])
        #expect(RTPInfo.parse(infos[0].text) == [infos[0]])
    }
}

@Suite struct URLTests {
    @Test func `A URL is taken apart and put together`() throws {
        let url = try RTSPURL(parsing: "rtsp://us%40er:p%3Aw:x@Camera.local:8554/live/a%20b?token=x&y#frag")
        #expect(url.username == "us@er" && url.password == "p:w:x" && url.host == "Camera.local" && url.port == 8_554)
        #expect(url.path == "/live/a%20b" && url.query == "token=x&y" && url.components == ["live", "a b"])
        #expect(url.text == "rtsp://Camera.local:8554/live/a%20b?token=x&y")
        #expect(url.printable == "rtsp://Camera.local:8554/live/a%20b")
        let recorder = try RTSPURL(parsing: "rtsp://h:554//user=admin&password=x&channel=1/s0?t=1")
        #expect(recorder.text == "rtsp://h:554//user=admin&password=x&channel=1/s0?t=1")
        #expect(recorder.printable == "rtsp://h:554//***/s0")
        let six = try RTSPURL(parsing: "RTSPS://[2001:db8::1]/x")
        #expect(six.isSecure && six.port == 322 && six.host == "2001:db8::1" && six.text == "rtsps://[2001:db8::1]/x")
        let bare = try RTSPURL(parsing: "rtsp://h?q")
        #expect(bare.path.isEmpty && bare.query == "q" && bare.port == 554 && bare.components.isEmpty)
        #expect(try RTSPURL(parsing: "rtsp://a@h/%zz%4").components == ["%zz%4"])
    }

    @Test(arguments: [
        "", "rtsp://", "http://h/a", "rtsp:h", "rtsp://h:0/", "rtsp://h:70000/", "rtsp://h:x/", "rtsp://[::1/",
        "rtsp://[::1]x/", "rtsp://:554/", "rtsp://a b/",
    ])
    func `What is no URL of RTSP is refused`(_ text: String) {
        #expect(throws: RTSPError.malformedURL) { try RTSPURL(parsing: text) }
    }

    @Test(arguments: [
        ("trackID=0", "rtsp://h/live/a", "rtsp://h/live/a/trackID=0"),
        ("trackID=0", "rtsp://h/live/a/", "rtsp://h/live/a/trackID=0"),
        ("/trackID=0", "rtsp://h/live/a", "rtsp://h/live/a/trackID=0"),
        ("/trackID=0", "rtsp://h/live/a/", "rtsp://h/live/a/trackID=0"),
        ("/live/a/trackID=0", "rtsp://h:8554/live/a", "rtsp://h:8554/live/a/trackID=0"),
        ("*", "rtsp://h/live/a", "rtsp://h/live/a"), ("", "rtsp://h/a/", "rtsp://h/a/"),
        ("rtsp://other/x", "rtsp://h/a", "rtsp://other/x"),
        ("track1", "rtsp://h/a?b=c", "rtsp://h/a?b=c/track1"),
    ])
    func `The URL of a track is what cameras expect`(_ control: String, _ base: String, _ expected: String) {
        #expect(RTSPURL.control(control, base: base) == expected)
    }
}
