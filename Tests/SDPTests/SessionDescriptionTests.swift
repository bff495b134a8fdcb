import Testing

@testable import SDP

struct SessionDescriptionTests {
    static let sample = [
        "v=0", "o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1", "s=Call to John Smith", "i=SDP Offer #1",
        "u=http://www.jdoe.example.com/home.html", "e=Jane Doe <jane@jdoe.example.com>", "p=+1 617 555-6011",
        "c=IN IP4 198.51.100.1", "b=CT:128", "t=0 0", "r=7d 1h 0 25h", "a=tool:x", "a=recvonly",
        "m=audio 49170 RTP/AVP 0", "m=audio 49180/2 RTP/AVP 0 97", "i=second", "c=IN IP6 2001:db8::2", "b=AS:64",
        "a=rtpmap:97 opus/48000/2", "a=x", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel", "a=sendrecv",
    ]

    @Test("A description is read and written as it was")
    func roundTrip() throws {
        let text = Self.sample.map { $0 + "\r\n" }.joined()
        let description = try SessionDescription(parsing: text)
        #expect(description.text == text)
        #expect(description.origin.username == "jdoe" && description.origin.sessionVersion == "3724394405")
        #expect(description.name == "Call to John Smith")
        #expect(description.lines.map(\.type) == ["i", "u", "e", "p", "c", "b", "t", "r"])
        #expect(description.media.map(\.kind) == ["audio", "audio", "application"])
        #expect(description.media[1].portCount == 2 && description.media[1].port == 49_180)
        #expect(description.media[1].formats == ["0", "97"])
        #expect(description.media[2].formats == ["webrtc-datachannel"])
        #expect(description.direction(of: description.media[0]) == .receiveOnly)
        #expect(description.direction(of: description.media[2]) == .sendReceive)
        #expect(description.media[1].attributes == [SDPAttribute("rtpmap", "97 opus/48000/2"), SDPAttribute("x")])
    }

    @Test(
        "Lines may end in any way, with empty ones and blanks between", arguments: ["\n", "\r", "\r\n\r\n", " \t\r\n"])
    func lineEnds(end: String) throws {
        let description = try SessionDescription(parsing: Self.sample.map { $0 + end }.joined())
        #expect(description == (try SessionDescription(parsing: Self.sample.joined(separator: "\r\n"))))
    }

    @Test("Lines of a section in another order are written in the right one")
    func order() throws {
        let text =
            "v=0\ns=x\nt=0 0\nc=IN IP4 0.0.0.0\no=- 1 1 IN IP4 0.0.0.0\nm=audio 9 RTP/AVP 0\nb=AS:1\nc=IN IP4 ::\n"
        let written = try SessionDescription(parsing: text).text
        #expect(
            written == "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
                + "m=audio 9 RTP/AVP 0\r\nc=IN IP4 ::\r\nb=AS:1\r\n")
    }

    @Test(
        "Each malformed description has its error",
        arguments: [
            ("", SDPError.empty), ("\r\n\n", .empty), ("v=1\n", .unsupportedVersion(line: 1)),
            ("s=-\nv=0", .unsupportedVersion(line: 1)), ("v=0\ns=-", .missingOrigin),
            ("v=0\no=- 1 1 IN IP4", .malformedOrigin(line: 2)), ("v=0\nhello", .malformedLine(2)),
            ("v=0\n=x", .malformedLine(2)), ("v=0\nA=x", .malformedLine(2)), ("a", .malformedLine(1)),
            ("m=audio 9 RTP/AVP 0", .empty), ("v=0\nv=0", .unsupportedVersion(line: 2)),
            ("v=0\nm=audio 9 RTP/AVP", .malformedMedia(line: 2)),
            ("v=0\nm=audio 65536 RTP/AVP 0", .malformedMedia(line: 2)),
            ("v=0\nm=audio -1 RTP/AVP 0", .malformedMedia(line: 2)),
            ("v=0\nm=audio 9/x RTP/AVP 0", .malformedMedia(line: 2)),
            ("v=0\nm=audio / RTP/AVP 0", .malformedMedia(line: 2)),
        ])
    func errors(text: String, expected: SDPError) {
        #expect(throws: expected) { try SessionDescription(parsing: text) }
    }

    @Test("The limits are kept")
    func limits() {
        let text = Self.sample.joined(separator: "\n")
        let length = text.utf8.count
        #expect(throws: SDPError.tooLong(length: length, limit: length - 1)) {
            try SessionDescription(parsing: text, limits: .init(length: length - 1))
        }
        #expect(throws: SDPError.tooManyLines(limit: 5)) {
            try SessionDescription(parsing: text, limits: .init(lines: 5))
        }
        #expect(throws: SDPError.tooManyMediaDescriptions(limit: 2)) {
            try SessionDescription(parsing: text, limits: .init(mediaDescriptions: 2))
        }
        #expect(throws: Never.self) {
            try SessionDescription(parsing: text, limits: .init(length: length, lines: 22, mediaDescriptions: 3))
        }
    }

    @Test("Cut anywhere, a description is an error or a shorter description that is written the same way")
    func cut() throws {
        let text = Self.sample.map { $0 + "\r\n" }.joined()
        for end in text.unicodeScalars.indices {
            guard let description = try? SessionDescription(parsing: String(text.unicodeScalars[..<end])) else {
                continue
            }
            #expect(try SessionDescription(parsing: description.text).text == description.text)
        }
    }

    @Test("Attributes are inherited from the session, but a section's own count more")
    func inheritance() throws {
        let text = "v=0\no=- 1 1 IN IP4 0.0.0.0\na=ice-ufrag:s\na=setup:active\nm=audio 9 RTP/AVP 0\na=ice-ufrag:m\n"
        let description = try SessionDescription(parsing: text)
        #expect(description.inherited("ice-ufrag", by: description.media[0]) == ["m"])
        #expect(description.inherited("setup", by: description.media[0]) == ["active"])
        #expect(description.inherited("ice-pwd", by: description.media[0]) == [])
        #expect(description.direction(of: description.media[0]) == .sendReceive)
    }

    @Test("A fragment of trickle ICE is read from the session or from a section")
    func trickleFragment() throws {
        let text = [
            "a=group:BUNDLE 0 1", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", "a=ice-ufrag:EsAw", "a=ice-pwd:bP",
            "a=candidate:1 1 udp 1 192.0.2.1 61764 typ host", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:1",
            "a=candidate:2 1 udp 1 192.0.2.1 61765 typ host", "a=end-of-candidates",
        ].map { $0 + "\r\n" }.joined()
        let fragment = try TrickleFragment(parsing: text)
        #expect(fragment.text == text)
        #expect(fragment.ufrag == "EsAw" && fragment.password == "bP")
        #expect(fragment.candidates.count == 2 && fragment.isEndOfCandidates)
        let short = try TrickleFragment(parsing: "a=ice-ufrag:x\nb=AS:1\na=candidate:y")
        #expect(short.ufrag == "x" && short.password == nil && short.candidates == ["y"] && !short.isEndOfCandidates)
        #expect(throws: SDPError.empty) { try TrickleFragment(parsing: "\r\n") }
        #expect(throws: SDPError.malformedLine(1)) { try TrickleFragment(parsing: "candidate:1") }
    }
}
