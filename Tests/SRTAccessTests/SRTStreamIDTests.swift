import Testing

@testable import SRTAccess

@Suite("Stream ids of SRT")
struct SRTStreamIDTests {
    private func read(_ text: String, _ defaults: SRTStreamID.Defaults = .init()) throws(SRTStreamIDError)
        -> SRTStreamID
    {
        try SRTStreamID(parsing: Array(text.utf8), defaults: defaults)
    }

    private func error(_ text: String) -> SRTStreamIDError? {
        do throws(SRTStreamIDError) {
            _ = try self.read(text)
            return nil
        } catch {
            return error
        }
    }

    @Test(
        "Each form names app, stream, mode and host",
        arguments: [
            ("#!::r=live/camera,m=publish", "live", "camera", SRTStreamID.Mode.publish, nil),
            ("#!::m=publish,r=live/camera", "live", "camera", .publish, nil),
            ("#!::r=live/camera", "live", "camera", .request, nil),
            ("#!::r=live/camera,m=REQUEST", "live", "camera", .request, nil),
            ("#!::r=camera,m=publish", "live", "camera", .publish, nil),
            ("#!::r=/live/camera", "live", "camera", .request, nil),
            ("#!::r=a/b/camera", "a", "b/camera", .request, nil),
            ("#!::h=example.com,r=live/camera", "live", "camera", .request, "example.com"),
            ("#!::h=,r=live/camera", "live", "camera", .request, nil),
            ("#!::h=live/camera", "live", "camera", .request, nil),
            ("#!::h=example.com/live/camera,m=publish", "live", "camera", .publish, "example.com"),
            ("live/camera", "live", "camera", .request, nil),
            ("/live/camera", "live", "camera", .request, nil),
            ("camera", "live", "camera", .request, nil),
            ("camera?key=value", "live", "camera", .request, nil),
            ("", "live", "livestream", .publish, nil),
            ("#!::,,r=live/camera,,", "live", "camera", .request, nil),
            ("#!::r=\"live/a,b\",m=publish", "live", "a,b", .publish, nil),
            ("#!::r=live/%63amera", "live", "camera", .request, nil),
            ("%23!::r=live/camera,m=publish", "live", "camera", .publish, nil),
            ("%23%21%3A%3Ah%3De.com%2Cr%3Dlive%2Fcamera%2Cm%3Dpublish", "live", "camera", .publish, "e.com"),
            ("%23!::r=live/a%252Cb,m=publish", "live", "a,b", .publish, nil),
        ] as [(String, String, String, SRTStreamID.Mode, String?)])
    func forms(text: String, app: String, name: String, mode: SRTStreamID.Mode, host: String?) throws {
        let id = try self.read(text)
        #expect(id.app == app && id.name == name && id.mode == mode && id.host == host)
    }

    @Test(
        "What is no part of the name is a parameter, in the order of names",
        arguments: [
            ("#!::r=live/camera,u=admin,s=1,t=stream,secret=abc", "s=1&secret=abc&t=stream&u=admin"),
            ("#!::r=live/camera?secret=abc&x=1", "secret=abc&x=1"),
            ("#!::r=live/camera,secret=abc&x=1", "secret=abc&x=1"),
            ("#!::r=live/camera,token=YWJj==", "token=YWJj=="),
            ("#!::r=live/camera,flag,token=x", "flag=&token=x"),
            ("#!::r=live/camera,token=\"a,b&c\"", "token=a%2Cb%26c"),
            ("#!::r=live/camera,token=a%2Cb", "token=a%2Cb"),
            ("#!::r=live/camera,token=a%zzb", "token=a%25zzb"),
            ("#!::r=live/camera,token=a%00b", "token=a%2500b"),
            ("live/camera?b=2&a=1", "a=1&b=2"),
            ("live/camera?", ""), ("live/camera", ""),
        ])
    func parameters(text: String, query: String) throws {
        #expect(try self.read(text).query == query)
    }

    @Test("A value keeps its equal signs, and does not shift the pairs behind it")
    func equalSigns() throws {
        let id = try self.read("#!::token=YWJj==,r=live/camera,flag,m=publish")
        #expect(id.name == "camera" && id.mode == .publish && id.parameter("token") == "YWJj==")
        #expect(id.parameter("flag") == "" && id.parameter("other") == nil)
    }

    @Test("The settings fill in what a stream id leaves open")
    func defaults() throws {
        var defaults = SRTStreamID.Defaults()
        defaults.app = "tv"
        defaults.mode = .publish
        defaults.streamID = "#!::r=one"
        #expect(try self.read("camera", defaults) == SRTStreamID(app: "tv", name: "camera", mode: .publish))
        #expect(try self.read("", defaults) == SRTStreamID(app: "tv", name: "one", mode: .publish))
        #expect(try self.read("#!::r=a/b,m=request", defaults).mode == .request)
        defaults.streamID = ""
        #expect(throws: SRTStreamIDError.missingResource) { try self.read("", defaults) }
    }

    @Test(
        "A stream id that names nothing is refused, with the reason and a code",
        arguments: [
            ("#!::m=publish", SRTStreamIDError.missingResource, SRTRejection.badRequest),
            ("#!::r=", .missingResource, .badRequest), ("#!::r=/", .missingResource, .badRequest),
            ("#!::r=live/", .missingResource, .badRequest), ("/", .missingResource, .badRequest),
            ("#!::", .missingResource, .badRequest), ("#!::h=host", .missingResource, .badRequest),
            ("?a=b", .missingResource, .badRequest),
            ("#!:{r=live}", .unknownForm, .badRequest), ("#!", .unknownForm, .badRequest),
            ("%23!r=live/a", .unknownForm, .badRequest), ("%23!::m=publish", .missingResource, .badRequest),
            ("#!::r=live/a,m=bidirectional", .unsupportedMode("bidirectional"), .badMode),
            ("#!::r=live/a,m=", .unsupportedMode(""), .badMode),
            ("#!::r=live/a,t=file", .unsupportedType("file"), .unsupportedType),
            ("#!::r=live/a,t=AUTH", .unsupportedType("AUTH"), .unsupportedType),
            ("#!::r=live/a,r=live/b", .repeatedKey("r"), .badRequest),
            ("#!::r=live/a,m=publish,m=request", .repeatedKey("m"), .badRequest),
            ("#!::r=live/a,%6D=publish,m=request", .repeatedKey("m"), .badRequest),
            ("#!::=x,r=live/a", .missingName(offset: 4), .badRequest),
            ("#!::r=\"live/a", .openQuote(offset: 6), .badRequest),
            ("#!::r=\"live/a\"b", .textBehindQuote(offset: 14), .badRequest),
            ("live/a\u{1}", .controlCharacter(byte: 1, offset: 6), .badRequest),
            (String(repeating: "a", count: 513), .tooLong(length: 513), .badRequest),
            ("a?" + String(repeating: "b&", count: 65), .tooManyParameters(count: 65), .badRequest),
        ])
    func refusals(text: String, expected: SRTStreamIDError, code: SRTRejection) {
        let error = self.error(text)
        #expect(error == expected && error?.rejection == code)
        #expect(!"\(expected)".isEmpty)
    }

    @Test("Bytes that are not UTF-8 are refused")
    func notText() {
        #expect(throws: SRTStreamIDError.notUTF8) { try SRTStreamID(parsing: [0x61, 0xFF]) }
    }

    @Test("What is written reads back as the same, whatever the names hold")
    func roundTrip() throws {
        var random = Random(seed: 1)
        for _ in 0..<2_000 {
            let id = SRTStreamID(
                host: random.chance() ? random.word() : nil, app: random.word(without: "/"), name: random.word(),
                mode: random.chance() ? .publish : .request,
                parameters: (0..<random.below(4)).map { _ in .init("p" + random.word(), random.text()) })
            guard id.text.utf8.count <= SRTStreamID.maximumLength else { continue }
            #expect(try self.read(id.text) == id, "\(id.text)")
        }
    }

    @Test("No bytes trap, and what reads has a name")
    func anything() {
        var random = Random(seed: 2)
        let pieces = ["#!::", "r=", "m=publish", "h=", ",", "\"", "%41", "%", "/", "?", "&", "=", "a", "\u{E9}", ";"]
        for _ in 0..<20_000 {
            let text = (0..<random.below(12)).map { _ in pieces[random.below(pieces.count)] }.joined()
            guard let id = try? self.read(text) else { continue }
            #expect(!id.app.isEmpty && !id.name.isEmpty, "\(text)")
        }
        for _ in 0..<2_000 {
            let bytes = (0..<random.below(64)).map { _ in UInt8(truncatingIfNeeded: random.below(256)) }
            _ = try? SRTStreamID(parsing: Array("#!::".utf8) + bytes)
        }
    }
}

/// Numbers that are the same in every run.
struct Random: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }
    mutating func chance() -> Bool { Bool.random(using: &self) }

    /// Something that names may hold.
    mutating func word(without left: Character = "\u{0}") -> String {
        let characters = Array("abz019-_./%,=\"?&;+ \u{E9}\u{4E2D}#!:").filter { $0 != left }
        let text = String((0...self.below(8)).map { _ in characters[self.below(characters.count)] })
        return text.first == "/" || text.isEmpty ? "x" + text : text
    }

    mutating func text() -> String { self.chance() ? self.word() : "" }
}
