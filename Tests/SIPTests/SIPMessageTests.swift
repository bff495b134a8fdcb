import NIOCore
import Testing

@testable import SIP

private let register = """
    REGISTER sip:34020000002000000001@3402000000 SIP/2.0\r
    Via: SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bK12\r
    From: <sip:34020000001110000001@3402000000>;tag=a1\r
    To: <sip:34020000001110000001@3402000000>\r
    Call-ID: 42@192.0.2.7\r
    CSeq: 1 REGISTER\r
    Contact: <sip:34020000001110000001@192.0.2.7:5060>;expires=60\r
    Expires: 3600\r
    Content-Length: 0\r
    \r

    """

private func read(_ text: String, step: Int = .max, limits: SIPMessage.Limits = .init()) throws -> [SIPMessage] {
    var reader = SIPMessageReader(limits: limits)
    var rest = ByteBuffer(string: text)
    var messages: [SIPMessage] = []
    while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
        reader.append(piece)
        while let message = try reader.next() { messages.append(message) }
    }
    return messages
}

@Suite struct SIPMessageTests {
    @Test("a request is read with its fields")
    func request() throws {
        let message = try #require(try read(register).first)
        #expect(message.start == .request(method: "REGISTER", uri: "sip:34020000002000000001@3402000000"))
        try message.checkRequest()
        #expect(message.from?.uri.user == "34020000001110000001")
        #expect(message.from?.tag == "a1")
        #expect(message.to?.tag == nil)
        #expect(message.via?.branch == "z9hG4bK12")
        #expect(message.via?.parameters.first("rport") == "")
        #expect(message.sequence == SIPSequence(1, "REGISTER"))
        // The contact's own counts more.
        #expect(message.expires == 60)
    }

    @Test("several messages of a connection are read however they are cut", arguments: [1, 2, 3, 10, 57, 1_000])
    func cuts(step: Int) throws {
        let body = "<a>b</a>"
        let text =
            register + "\r\n\r\n"
            + register.replacing("Content-Length: 0", with: "l: \(body.utf8.count)") + body + register
        let messages = try read(text, step: step)
        #expect(messages.count == 3)
        #expect(messages.map { String(buffer: $0.body) } == ["", body, ""])
        #expect(messages == (try read(text)))
    }

    @Test("compact names, folded lines and lines without carriage return are the same message")
    func forms() throws {
        let text =
            "SIP/2.0 200 OK\nv: SIP/2.0/TCP 192.0.2.7\nf: <sip:a@b>;tag=1\nt: sip:c@d;tag=2\n"
            + "i: x\nCSeq: 7\n  INVITE\nm: \"A <b>\" <sip:a@[2001:db8::1]:5061;transport=tcp>\nl: 0\n\n"
        let message = try #require(try read(text).first)
        #expect(message.status == 200)
        #expect(message.callID == "x")
        #expect(message.to?.tag == "2")
        #expect(message.sequence == SIPSequence(7, "INVITE"))
        #expect(message.contact?.uri.host == "2001:db8::1")
        #expect(message.contact?.uri.port == 5_061)
        #expect(message.via?.transport == "TCP")
        #expect(message.via?.port == nil)
    }

    @Test("what was written is read as the same")
    func roundTrip() throws {
        var message = try #require(try read(register).first)
        message.body = ByteBuffer(string: "v=0\r\n")
        message["Content-Type"] = "Application/SDP"
        let again = try #require(try read(String(buffer: message.bytes)).first)
        #expect(again.start == message.start)
        #expect(again.body == message.body)
        #expect(again.contentType == "application/sdp")
        #expect(again.all("Via") == message.all("Via"))
    }

    @Test("a datagram is one message, with or without a length")
    func datagram() throws {
        let text = register.replacing("Content-Length: 0\r\n", with: "")
        let message = try #require(
            try SIPMessageReader.message(inDatagram: ByteBuffer(string: text + "body")))
        #expect(String(buffer: message.body) == "body")
        let cut = register.replacing("Content-Length: 0", with: "Content-Length: 9") + "body"
        #expect(throws: SIPError.truncatedBody(declared: 9, available: 4)) {
            try SIPMessageReader.message(inDatagram: ByteBuffer(string: cut))
        }
        #expect(try SIPMessageReader.message(inDatagram: ByteBuffer(string: "\r\n\r\n")) == nil)
        #expect(try SIPMessageReader.message(inDatagram: ByteBuffer(bytes: [0, 0, 0, 0])) == nil)
    }

    @Test(
        "what is no message is refused, and says why",
        arguments: [
            ("GARBAGE\r\n\r\n", SIPError.malformedStartLine),
            ("REGISTER sip:a SIP/3.0\r\n\r\n", .unsupportedVersion),
            ("SIP/2.0 99 No\r\n\r\n", .malformedStartLine),
            ("OPTIONS sip:a SIP/2.0\r\nno colon\r\n\r\n", .malformedField(line: 1)),
            ("OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n", .malformed(field: "Content-Length")),
            ("OPTIONS sip:a SIP/2.0\r\nContent-Length: 600\r\n\r\n", .bodyTooLong(length: 600, limit: 500)),
            ("OPTIONS sip:a SIP/2.0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n", .tooManyFields(limit: 2)),
        ])
    func refused(_ text: String, _ error: SIPError) {
        #expect(throws: error) { try read(text, limits: .init(head: 1_000, fields: 2, body: 500)) }
    }

    @Test("a head that does not end is refused at its limit")
    func endlessHead() {
        let text = "OPTIONS sip:a SIP/2.0\r\nX: " + String(repeating: "x", count: 2_000)
        #expect(throws: SIPError.headTooLong(length: 1_001, limit: 1_000)) {
            try read(text, step: 7, limits: .init(head: 1_000))
        }
    }

    @Test(
        "a request without what every request has is refused",
        arguments: ["Via", "From", "To", "Call-ID", "CSeq"])
    func missing(_ field: String) throws {
        var message = try #require(try read(register).first)
        message[field] = nil
        #expect(throws: SIPError.missing(field: field)) { try message.checkRequest() }
    }

    @Test("an answer goes back where the request came from")
    func response() throws {
        let message = try #require(try read(register).first)
        let answer = message.response(401, "Unauthorized", tag: "t", receivedFrom: ("198.51.100.9", 40_000))
        #expect(answer.via?.parameters.first("rport") == "40000")
        #expect(answer.via?.parameters.first("received") == "198.51.100.9")
        #expect(answer.to?.tag == "t")
        #expect(answer.callID == message.callID)
        #expect(answer["CSeq"] == "1 REGISTER")
        // A tag that is there stays.
        var tagged = message
        tagged["To"] = "<sip:a@b>;tag=own"
        #expect(tagged.response(200, "OK", tag: "t").to?.tag == "own")
    }

    @Test(
        "a tag or an address that is none is nil",
        arguments: ["", "sip:", "<sip:a@b", "tel:1", "\"x", "sip:a@b:0", "sip:a@b:x"])
    func noAddress(_ text: String) { #expect(SIPAddress(parsing: text) == nil) }
}
