import Testing

@testable import SRTAccess

@Suite("Options and URLs of SRT")
struct SRTOptionsTests {
    private func problem(_ option: SRTOption, _ text: String) -> SRTOptionError? {
        var options = SRTOptions()
        do throws(SRTOptionError) {
            try options.set(option, reading: text)
            return nil
        } catch {
            return error
        }
    }

    @Test("Values are read as URLs write them")
    func reading() throws {
        var options = SRTOptions()
        for (option, text) in [
            (SRTOption.latency, "300"), (.tooLateDrop, "off"), (.periodicNAK, "1"), (.maximumBandwidth, "-1"),
            (.passphrase, "0123456789"), (.keyLength, "32"), (.minimumVersion, "1.3.2"), (.streamID, "#!::r=a/b"),
        ] {
            try options.set(option, reading: text)
        }
        #expect(options[.latency] == .integer(300) && options[.tooLateDrop] == .flag(false))
        #expect(options[.periodicNAK] == .flag(true) && options[.maximumBandwidth] == .integer(-1))
        #expect(options[.minimumVersion] == .integer(0x01_03_02) && options[.streamID] == .text("#!::r=a/b"))
        #expect(options.all.map(\.option).count == 8 && options[.mss] == nil)
    }

    @Test(
        "A value that an option does not take is refused, and told without its text",
        arguments: [
            (SRTOption.latency, "-1", SRTOptionError.outOfRange(.latency, -1, allowed: 0...60_000)),
            (.latency, "soon", .unreadable(.latency)), (.tooLateDrop, "maybe", .unreadable(.tooLateDrop)),
            (.keyLength, "20", .outOfRange(.keyLength, 20, allowed: 0...32)),
            (.passphrase, "short", .unfitText(.passphrase, length: 5)),
            (.passphrase, String(repeating: "x", count: 80), .unfitText(.passphrase, length: 80)),
            (.congestion, "file", .unfitText(.congestion, length: 4)),
            (.payloadSize, "2000", .outOfRange(.payloadSize, 2_000, allowed: 188...1_456)),
            (.minimumVersion, "1.3", .unreadable(.minimumVersion)),
        ])
    func refusals(option: SRTOption, text: String, expected: SRTOptionError) {
        let error = self.problem(option, text)
        #expect(error == expected)
        #expect(!"\(expected)".contains(text) || text.count < 5)
    }

    @Test("A value of another kind is refused, and nil takes an option back")
    func kinds() throws {
        var options = SRTOptions()
        #expect(throws: SRTOptionError.wrongKind(.latency)) { try options.set(.latency, to: .flag(true)) }
        try options.set(.latency, to: .integer(1))
        try options.set(.latency, to: nil)
        #expect(options.isEmpty)
    }

    @Test("Options are set in an order in which none undoes another, and by their stages")
    func order() throws {
        var options = SRTOptions()
        try options.set(.peerLatency, to: .integer(2))
        try options.set(.latency, to: .integer(1))
        try options.set(.mss, to: .integer(1_500))
        try options.set(.overheadBandwidth, to: .integer(25))
        #expect(options.all.map(\.option) == [.mss, .overheadBandwidth, .latency, .peerLatency])
        #expect(options.filtered([.binding]).all.map(\.option) == [.mss])
        #expect(
            options.filtered([.connecting, .always]).all.map(\.option) == [.overheadBandwidth, .latency, .peerLatency])
        var others = SRTOptions()
        try others.set(.latency, to: .integer(9))
        options.merge(others)
        #expect(options[.latency] == .integer(9) && options[.mss] == .integer(1_500))
    }

    @Test("A URL has host, port, mode, local end and options")
    func url() throws {
        let url = try SRTURL(
            parsing: "srt://[2001:db8::1]:9000?mode=rendezvous&localaddr=::1&localport=9001&latency=300&pkt_size=1316")
        #expect(url.host == "2001:db8::1" && url.port == 9_000 && url.mode == .rendezvous)
        #expect(url.localAddress == "::1" && url.localPort == 9_001)
        #expect(url.options[.latency] == .integer(300) && url.options[.payloadSize] == .integer(1_316))
        #expect(url.printable == "srt://[2001:db8::1]:9000?mode=rendezvous")
        let caller = try SRTURL(parsing: "SRT://host:1/?streamid=%23!::r=a/b,m=publish&passphrase=0123456789")
        #expect(caller.mode == .caller && caller.options[.streamID] == .text("#!::r=a/b,m=publish"))
        #expect(caller.printable == "srt://host:1")
        #expect(try SRTURL(parsing: "srt://:9000?mode=server").mode == .listener)
        #expect(try SRTURL(parsing: "srt://h:1?streamid=#!::r=a/b").options[.streamID] == .text("#!::r=a/b"))
    }

    @Test(
        "A URL that says nothing clear is refused",
        arguments: [
            ("rtmp://host:1", SRTURLError.wrongScheme), ("srt://host", .badPort), ("srt://host:0", .badPort),
            ("srt://h:1?mss=1000&payloadsize=957", .noRoom(payload: 957, mss: 1_000)),
            ("srt://h:1?mss=231", .noRoom(payload: 188, mss: 231)),
            ("srt://host:99999", .badPort), ("srt://host:x", .badPort), ("srt://:9000", .missingHost),
            ("srt://a:b:1", .badAuthority), ("srt://u@h:1", .badAuthority), ("srt://h:1/path", .badAuthority),
            ("srt://h:1?mode=push", .unknownMode("push")), ("srt://h:1?color=red", .unknownOption("color")),
            ("srt://h:1?localport=x", .badPort), ("srt://h:1?latency=x", .option(.unreadable(.latency))),
            ("srt://" + String(repeating: "h", count: 2_048), .tooLong(length: 2_054)),
        ])
    func badURLs(text: String, expected: SRTURLError) {
        #expect(throws: expected) { try SRTURL(parsing: text) }
        #expect(!"\(expected)".isEmpty)
    }
}
