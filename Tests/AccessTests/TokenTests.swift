import Access
import Foundation
import Media
import Testing

@Suite("Tokens")
struct TokenTests {
    private static let now: Int64 = 1_800_000_000

    private static func claims(_ json: String) throws -> TokenClaims {
        try JSONDecoder().decode(TokenClaims.self, from: Data(json.utf8))
    }

    private static func verdict(
        _ json: String, _ action: AccessAction = .play, app: String = "live", stream: String = "game",
        vhost: String = StreamKey.defaultVhost, now: Int64 = Self.now, rules: TokenRules = TokenRules()
    ) throws -> TokenVerdict {
        let key = try StreamKey(vhost: vhost, app: app, name: stream)
        return try Self.claims(json).permits(key: key, action: action, now: now, rules: rules)
    }

    // MARK: Claims

    @Test(
        "names are matched whole, by a prefix, or all",
        arguments: [
            (#""app":"live","stream":"game""#, TokenVerdict.permitted), (#""app":"live""#, .permitted),
            ("", .permitted),
            (#""app":"*","stream":"*","vhost":"*""#, .permitted), (#""stream":"ga*""#, .permitted),
            (#""stream":"game*""#, .permitted), (#""app":null,"stream":null"#, .permitted),
            (#""app":"liv","stream":"game""#, .wrongApp), (#""app":"lives""#, .wrongApp), (#""app":"""#, .wrongApp),
            (#""app":"LIVE""#, .wrongApp), (#""stream":"gam""#, .wrongStream), (#""stream":"games*""#, .wrongStream),
            (#""stream":"*me""#, .wrongStream), (#""stream":"g*e""#, .wrongStream), (#""stream":"""#, .wrongStream),
            (#""stream":".*""#, .wrongStream), (#""vhost":"a.example""#, .wrongVhost),
            (#""vhost":"__default*""#, .permitted),
        ])
    func names(fields: String, verdict: TokenVerdict) throws {
        let json = "{\(fields)\(fields.isEmpty ? "" : ",")\"exp\":\(Self.now + 1)}"
        #expect(try Self.verdict(json) == verdict)
    }

    @Test("a name is compared by its bytes, not by how it looks")
    func bytes() throws {
        #expect(try Self.verdict(#"{"app":"é","exp":1800000001}"#, app: "e\u{301}") == .wrongApp)
        #expect(try Self.verdict(#"{"app":"é*","exp":1800000001}"#, app: "e\u{301}x") == .wrongApp)
        #expect(try Self.verdict(#"{"app":"é","exp":1800000001}"#, app: "é") == .permitted)
    }

    @Test(
        "an action is named, listed, or all; without one a token opens playing",
        arguments: [
            ("", false, true), (#""action":"play","#, false, true), (#""action":"publish","#, true, false),
            (#""action":["publish","play"],"#, true, true), (#""action":"*","#, true, true),
            (#""action":[],"#, false, false),
            (#""action":["record"],"#, false, false), (#""action":["record","publish"],"#, true, false),
            (#""action":"Publish","#, false, false), (#""action":null,"#, false, true),
        ])
    func actions(field: String, publishes: Bool, plays: Bool) throws {
        let json = "{\(field)\"exp\":\(Self.now + 1)}"
        #expect(try Self.verdict(json, .publish) == (publishes ? .permitted : .wrongAction))
        #expect(try Self.verdict(json, .play) == (plays ? .permitted : .wrongAction))
    }

    @Test(
        "a token is good from `nbf` until before `exp`, give or take the leeway",
        arguments: [
            ("100", "200", 0, [(99, TokenVerdict.notYetValid), (100, .permitted), (199, .permitted), (200, .expired)]),
            ("100", "200", 10, [(89, .notYetValid), (90, .permitted), (209, .permitted), (210, .expired)]),
            ("100.5", "200.5", 0, [(100, .notYetValid), (101, .permitted), (199, .permitted), (200, .expired)]),
            ("1e2", "2e2", 0, [(99, .notYetValid), (100, .permitted), (199, .permitted), (200, .expired)]),
            ("-9e18", "9e18", 1_000_000_000_000_000_000, [(0, .permitted), (.max, .expired), (.max - 1, .permitted)]),
            ("0", "0", 0, [(-1, .notYetValid), (0, .expired)]),
        ] as [(String, String, Int64, [(Int64, TokenVerdict)])])
    func times(notBefore: String, expiry: String, leeway: Int64, cases: [(Int64, TokenVerdict)]) throws {
        for (now, verdict) in cases {
            let rules = TokenRules(leewaySeconds: leeway)
            #expect(
                try Self.verdict("{\"nbf\":\(notBefore),\"exp\":\(expiry)}", now: now, rules: rules) == verdict,
                "\(now)")
        }
    }

    @Test("a token without an expiry is refused, unless that is allowed")
    func expiry() throws {
        #expect(try Self.verdict("{}") == .expiryMissing)
        #expect(try Self.verdict(#"{"exp":null}"#) == .expiryMissing)
        #expect(try Self.verdict("{}", rules: TokenRules(requiresExpiry: false)) == .permitted)
        #expect(try Self.verdict(#"{"exp":1}"#, rules: TokenRules(requiresExpiry: false)) == .expired)
    }

    @Test(
        "issuer and audience have to fit where they are asked for",
        arguments: [
            (#"{"exp":1900000000}"#, TokenVerdict.wrongIssuer), (#"{"exp":1900000000,"iss":"b"}"#, .wrongIssuer),
            (#"{"exp":1900000000,"iss":"a"}"#, .wrongAudience),
            (#"{"exp":1900000000,"iss":"a","aud":"x"}"#, .wrongAudience),
            (#"{"exp":1900000000,"iss":"a","aud":[]}"#, .wrongAudience),
            (#"{"exp":1900000000,"iss":"a","aud":"weir"}"#, .permitted),
            (#"{"exp":1900000000,"iss":"a","aud":["x","weir"]}"#, .permitted),
        ])
    func issuers(json: String, verdict: TokenVerdict) throws {
        #expect(try Self.verdict(json, rules: TokenRules(issuer: "a", audience: "weir")) == verdict)
        #expect(try Self.verdict(json) == .permitted)
    }

    @Test("all claims are read, and others left alone")
    func reading() throws {
        let claims = try Self.claims(
            """
            {"vhost":"v","app":"a","stream":"s","action":["publish"],"exp":5.9,"nbf":4.1,"iss":"i","aud":"u","sub":"who",
             "max_bitrate":5000000,"iat":"nonsense","jti":[1,{"a":null}],"scope":null}
            """)
        var wanted = TokenClaims()
        wanted.vhost = "v"
        wanted.app = "a"
        wanted.stream = "s"
        wanted.actions = [.publish]
        wanted.expiry = 5
        wanted.notBefore = 5
        wanted.issuer = "i"
        wanted.audience = ["u"]
        wanted.subject = "who"
        wanted.maximumBitRate = 5_000_000
        #expect(claims == wanted)
    }

    @Test(
        "claims of a wrong type are errors, not guesses",
        arguments: [
            #"{"exp":"1900000000"}"#, #"{"exp":true}"#, #"{"exp":1e30}"#, #"{"exp":[1]}"#, #"{"nbf":"0"}"#,
            #"{"app":1}"#, #"{"app":["live"]}"#, #"{"stream":{}}"#, #"{"vhost":false}"#, #"{"action":1}"#,
            #"{"action":["play",1]}"#, #"{"action":{"play":true}}"#, #"{"aud":1}"#, #"{"aud":[1]}"#, #"{"iss":1}"#,
            #"{"sub":1}"#, #"{"max_bitrate":-1}"#, #"{"max_bitrate":"1"}"#, #"{"max_bitrate":1.5}"#, "[]", "1", "null",
            "",
        ])
    func wrongTypes(json: String) {
        #expect(throws: (any Error).self) { try Self.claims(json) }
    }

    // MARK: The compact form

    /// RFC 7515, appendix A.1.
    private static let vector =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
        + ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

    @Test("the example of RFC 7515 is cut into what it says")
    func compact() throws {
        let token = try SignedToken(parsing: Self.vector)
        #expect(String(decoding: token.header, as: UTF8.self) == "{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}")
        #expect(
            String(decoding: token.payload, as: UTF8.self)
                == "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}")
        #expect(token.signature.prefix(4) == [116, 24, 223, 180] && token.signature.count == 32)
        #expect(
            String(decoding: token.signedText, as: UTF8.self)
                == Self.vector.split(separator: ".")[..<2].joined(separator: "."))
        let claims = try JSONDecoder().decode(TokenClaims.self, from: Data(token.payload))
        #expect(claims.issuer == "joe" && claims.expiry == 1_300_819_380)
    }

    @Test(
        "what is no compact form is refused",
        arguments: [
            ("", SignedTokenError.wrongPartCount(1)), ("a.b", .wrongPartCount(2)), ("a.b.c.d", .wrongPartCount(4)),
            ("a.b.c.d.e", .wrongPartCount(5)), ("..", .emptyPart(index: 0)), ("QQ..QQ", .emptyPart(index: 1)),
            ("QQ.QQ.", .emptyPart(index: 2)), ("QQ==.QQ.QQ", .unexpectedByte(61, offset: 2)),
            ("QQ.Q+.QQ", .unexpectedByte(43, offset: 4)), ("QQ.Q/.QQ", .unexpectedByte(47, offset: 4)),
            ("QQ.QQ.Q Q", .unexpectedByte(32, offset: 7)), ("QQ.QQ.QQ\n", .unexpectedByte(10, offset: 8)),
            ("Q.QQ.QQ", .leftoverBits(offset: 1)), ("QQ.QR.QQ", .leftoverBits(offset: 5)),
            ("QQ.QQ.QQQQQ", .leftoverBits(offset: 11)), ("QQ.QQ.QQF", .leftoverBits(offset: 9)),
            (String(repeating: "Q", count: 8_193), .tooLong(length: 8_193)),
        ])
    func noTokens(text: String, error: SignedTokenError) {
        #expect(throws: error) { try SignedToken(parsing: text) }
    }

    @Test("a token that is cut anywhere is no token, or another signature")
    func cut() throws {
        let whole = try SignedToken(parsing: Self.vector)
        for length in 0..<Self.vector.utf8.count {
            guard let part = try? SignedToken(parsing: String(Self.vector.prefix(length))) else { continue }
            #expect(part.signedText == whole.signedText && part.signature.count < whole.signature.count)
        }
    }

    @Test("base64url has one text for each sequence of bytes")
    func base64() throws {
        for length in 0...64 {
            var random = Noise(seed: UInt64(length))
            let bytes = (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            let text = Data(bytes).base64EncodedString().replacing("=", with: "").replacing("+", with: "-")
                .replacing("/", with: "_")
            #expect(try Base64URL.decode(Array(text.utf8)[...]) == bytes)
        }
    }

    @Test("random bytes are read or refused")
    func noise() {
        var random = Noise(seed: 99)
        var read = 0
        for _ in 0..<20_000 {
            var bytes = Array(Self.vector.utf8)
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                bytes[at] = UInt8.random(in: 0x2B...0x7A, using: &random)
            }
            guard let token = try? SignedToken(parsing: String(decoding: bytes, as: UTF8.self)) else { continue }
            read += 1
            _ = try? JSONDecoder().decode(TokenClaims.self, from: Data(token.payload))
        }
        #expect(read > 1_000)
    }
}
