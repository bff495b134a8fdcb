import Access
import Crypto
import CryptoExtras
import Foundation
import NIOCore
import StreamHub
import Testing

@testable import AccessControl

@Suite("Access by token")
struct TokenAccessTests {
    private static let ecKey = P256.Signing.PrivateKey()
    private static let otherKey = P256.Signing.PrivateKey()

    /// A node that wants tokens for everything, with the secret of the tests.
    private static func run(_ body: (Bench) async throws -> Void) async throws {
        try await Bench.run { bench async throws in
            bench.configure { $0.secret = Mint.secret }
            bench.rule { rules in
                rules.publish.requiresToken = true
                rules.play.requiresToken = true
            }
            try await body(bench)
        }
    }

    // MARK: Vectors

    private static let joe =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

    /// RFC 7515, appendix A.2 and A.3: keys and signatures.
    private static let rsaKey =
        #"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJ"#
        + "PMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdb"
        + "BYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"
        + #"h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#
    private static let rsaSignature =
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ"
        + "cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e"
        + "OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    private static let ecPublished =
        #"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","#
        + #""y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#
    private static let ecSignature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

    @Test(
        "the examples of RFC 7515 are verified by the keys that it prints, and by no others",
        arguments: [
            ("eyJhbGciOiJSUzI1NiJ9", rsaSignature, rsaKey, ecPublished),
            (
                "eyJhbGciOiJFUzI1NiJ9", ecSignature, ecPublished,
                Mint.published(P256.Signing.PrivateKey().publicKey, nil)
            ),
        ])
    func vectors(header: String, signature: String, key: String, other: String) async throws {
        let token = "\(header).\(Self.joe).\(signature)"
        let keys = try #require(await KeySet.read(Array(Mint.set(key).utf8)))
        guard case .verified(let claims) = TokenReader.check(token, own: [], published: keys) else {
            Issue.record("refused")
            return
        }
        #expect(claims.issuer == "joe" && claims.expiry == 1_300_819_380)
        let others = try #require(await KeySet.read(Array(Mint.set(other).utf8)))
        #expect(others.count == 1)
        if case .verified = TokenReader.check(token, own: [], published: others) { Issue.record("verified by another") }
        for offset in [0, 10, token.utf8.count / 2, token.utf8.count - 3] {
            var bytes = Array(token.utf8)
            bytes[offset] = bytes[offset] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            let damaged = String(decoding: bytes, as: UTF8.self)
            if case .verified = TokenReader.check(damaged, own: [], published: keys) { Issue.record("\(offset)") }
        }
    }

    // MARK: Where a token stands

    @Test("a token is taken from the query, wherever RTMP clients put it, or from Authorization")
    func places() async throws {
        try await Self.run { bench async throws in
            let token = Mint.hs256(Mint.claims(#""sub":"viewer 7""#))
            for query in ["token=\(token)", "a=b&token=\(token)", "a=b?token=\(token)", "token=\(token)&a=b"] {
                guard case .allowed(_, let subject) = try await bench.ask(query: query) else {
                    Issue.record("\(query)")
                    continue
                }
                #expect(subject == "viewer 7")
            }
            for field in ["Bearer \(token)", "bearer \(token)", "BEARER   \(token)"] {
                #expect(try await bench.ask { $0.peer.authorization = field }.isAllowed, "\(field)")
            }
            for field in ["Basic \(token)", "Bearer", "Bearer ", token] {
                #expect(try await bench.ask { $0.peer.authorization = field }.cause == .tokenMissing, "\(field)")
            }
            // RFC 6750 wants one way only: the field decides.
            let both = try await bench.ask(query: "token=\(token)") { $0.peer.authorization = "Bearer x" }
            #expect(both == .refused(.tokenMalformed, .unauthorized))
            bench.configure { $0.parameter = "jwt" }
            #expect(try await bench.ask(query: "token=\(token)").cause == .tokenMissing)
            #expect(try await bench.ask(query: "jwt=\(token)").isAllowed)
        }
    }

    @Test("without a rule that asks for it, a token is not looked at")
    func notAsked() async throws {
        try await Bench.run { bench async throws in
            bench.configure { $0.secret = Mint.secret }
            #expect(try await bench.ask(query: "token=nonsense").isAllowed)
            bench.rule { $0.publish.requiresToken = true }
            #expect(try await bench.ask(.play, query: "token=nonsense").isAllowed)
            #expect(try await bench.ask(.publish, query: "token=nonsense").cause == .tokenMalformed)
            #expect(bench.access.statistics.allowed == [.init(action: .play, rule: .open): 2])
        }
    }

    // MARK: Refusals

    @Test("each way for a token to be wrong has its cause and its status")
    func refusals() async throws {
        try await Self.run { bench async throws in
            bench.configure { $0.rules = TokenRules(issuer: "issuer", audience: "weir", leewaySeconds: 0) }
            let good =
                #""iss":"issuer","aud":"weir","app":"live","stream":"game","vhost":"*","action":["play","publish"]"#
            func token(_ from: String = "", _ to: String = "") -> String {
                Mint.hs256(Mint.claims(from.isEmpty ? good : good.replacing(from, with: to)))
            }
            let cases: [(String, AccessRefusalCause, Bool)] = [
                ("", .tokenMissing, true), ("x", .tokenMalformed, true), ("a.b.c", .tokenMalformed, true),
                (token() + ".x", .tokenMalformed, true), (token() + "=", .tokenMalformed, true),
                (String(token().dropLast(3)), .tokenForged, true), (token() + "AAAA", .tokenForged, true),
                (Mint.hs256(Mint.claims(good), secret: Mint.secret + "x"), .tokenForged, true),
                (Mint.hs256("{"), .tokenMalformed, true), (Mint.hs256("[]"), .tokenMalformed, true),
                (Mint.hs256(#"{"exp":"soon"}"#), .tokenMalformed, true),
                (Mint.hs256("{\(good)}"), .tokenExpiryMissing, true),
                (Mint.hs256(Mint.claims(good, expires: Bench.start)), .tokenExpired, true),
                (Mint.hs256(Mint.claims(good + ",\"nbf\":\(Bench.start + 1)")), .tokenNotYetValid, true),
                (token("issuer", "other"), .tokenIssuer, true), (token("weir", "other"), .tokenAudience, true),
                (token("\"*\"", "\"a.example\""), .tokenVhost, false), (token("live", "other"), .tokenApp, false),
                (token("game", "other"), .tokenStream, false),
                (token(#"["play","publish"]"#, "[]"), .tokenAction, false),
            ]
            for (token, cause, isUnauthorized) in cases {
                let answer = try await bench.ask(.publish, query: token.isEmpty ? "" : "token=\(token)")
                #expect(answer == .refused(cause, isUnauthorized ? .unauthorized : .forbidden), "\(cause)")
            }
            #expect(try await bench.ask(.publish, query: "token=\(token())").isAllowed)
            let counted = bench.access.statistics.refused.values.reduce(0, +)
            #expect(counted == UInt64(cases.count))
            #expect(bench.access.statistics.allowed == [.init(action: .publish, rule: .token): 1])
        }
    }

    @Test("headers that ask for other algorithms, or for more than is understood, are refused")
    func headers() async throws {
        try await Self.run { bench async throws in
            let claims = Mint.claims()
            let cases: [(String, AccessRefusalCause)] = [
                (#"{"alg":"none"}"#, .tokenAlgorithm), (#"{"alg":"None"}"#, .tokenAlgorithm),
                (#"{"alg":"hs256"}"#, .tokenAlgorithm), (#"{"alg":"HS512"}"#, .tokenAlgorithm),
                (#"{"alg":"RS256"}"#, .tokenAlgorithm), (#"{"alg":"ES256"}"#, .tokenAlgorithm),
                (#"{"alg":"RS256","kid":"x"}"#, .tokenKeyUnknown), (#"{"alg":"PS256"}"#, .tokenAlgorithm),
                (#"{"alg":""}"#, .tokenAlgorithm), (#"{}"#, .tokenMalformed), (#"{"alg":1}"#, .tokenMalformed),
                (#"{"alg":["HS256"]}"#, .tokenMalformed), (#"{"alg":"HS256","kid":1}"#, .tokenMalformed),
                (#"{"alg":"HS256","crit":["exp"]}"#, .tokenMalformed),
                (#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, .tokenMalformed), ("", .tokenMalformed),
                ("null", .tokenMalformed), (String(repeating: "[", count: 5_000), .tokenMalformed),
                (#"{"alg":"HS256","jwk":"# + String(repeating: "[", count: 5_000), .tokenMalformed),
            ]
            for (header, cause) in cases {
                let token = Mint.hs256(claims, header: header)
                #expect(try await bench.ask(query: "token=\(token)").cause == cause, "\(header.prefix(40))")
            }
            let unsigned = Mint.text(#"{"alg":"none"}"#, claims)
            #expect(try await bench.ask(query: "token=\(unsigned).").cause == .tokenMalformed)
            // A name of a key makes no difference to the secret, which has none; nor do keys that the token brings.
            for header in [#"{"alg":"HS256","kid":"any"}"#, #"{"alg":"HS256","jku":"http://evil.example/","x5u":1}"#] {
                #expect(
                    try await bench.ask(query: "token=\(Mint.hs256(claims, header: header))").isAllowed, "\(header)")
            }
        }
    }

    @Test("a public key is never taken for a secret, nor a key for another algorithm than its own")
    func confusion() async throws {
        let pem = Self.ecKey.publicKey.pemRepresentation
        try await Bench.run { bench async throws in
            bench.configure { $0.publicKey = pem }
            bench.rule { $0.play.requiresToken = true }
            let forged = Mint.hs256(Mint.claims(), secret: pem)
            #expect(try await bench.ask(query: "token=\(forged)").cause == .tokenAlgorithm)
            let renamed = try Mint.es256(Mint.claims(), Self.ecKey, header: #"{"alg":"RS256"}"#)
            #expect(try await bench.ask(query: "token=\(renamed)").cause == .tokenAlgorithm)
            let right = try Mint.es256(Mint.claims(), Self.ecKey, header: #"{"alg":"ES256","kid":"whatever"}"#)
            #expect(try await bench.ask(query: "token=\(right)").isAllowed)
            let other = try Mint.es256(Mint.claims(), Self.otherKey, header: #"{"alg":"ES256"}"#)
            #expect(try await bench.ask(query: "token=\(other)").cause == .tokenForged)
        }
    }

    @Test("RS256 works with a public key in PEM, of 2048 bits or more")
    func rsa() async throws {
        let key = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        try await Bench.run { bench async throws in
            bench.configure { $0.publicKey = key.publicKey.pemRepresentation }
            bench.rule { $0.publish.requiresToken = true }
            let token = try Mint.rs256(Mint.claims(#""action":"publish""#), key, header: #"{"alg":"RS256"}"#)
            #expect(try await bench.ask(.publish, query: "token=\(token)").isAllowed)
            let other = try _RSA.Signing.PrivateKey(keySize: .bits2048)
            let forged = try Mint.rs256(Mint.claims(), other, header: #"{"alg":"RS256"}"#)
            #expect(try await bench.ask(.publish, query: "token=\(forged)").cause == .tokenForged)
        }
    }

    // MARK: What a token sets

    @Test("a session ends when its token does, with the leeway, where that is wanted")
    func expiry() async throws {
        try await Self.run { bench async throws in
            let token = Mint.hs256(Mint.claims(#""action":"*","max_bitrate":3000000"#, expires: Bench.start + 100))
            bench.configure { $0.rules.leewaySeconds = 5 }
            for action in AccessAction.allCases {
                let limits = try #require(try await bench.ask(action, query: "token=\(token)").limits)
                #expect(limits.until == bench.now + .seconds(105))
                #expect(limits.expirySeconds == Bench.start + 105)
                #expect(limits.bitsPerSecond == (action == .publish ? 3_000_000 : nil))
            }
            bench.configure { $0.endsViewersAtExpiry = false }
            #expect(try await bench.ask(.play, query: "token=\(token)").limits?.until == nil)
            #expect(try await bench.ask(.publish, query: "token=\(token)").limits?.until != nil)
            bench.configure { $0.endsPublishersAtExpiry = false }
            bench.rule { rules in
                rules.sessionDuration = .seconds(60)
                rules.publishBitsPerSecond = 2_000_000
            }
            let limits = try #require(try await bench.ask(.publish, query: "token=\(token)").limits)
            #expect(limits.until == bench.now + .seconds(60) && limits.bitsPerSecond == 2_000_000)
            bench.configure { $0.endsPublishersAtExpiry = true }
            bench.advance(50)
            #expect(try await bench.ask(.publish, query: "token=\(token)").limits?.until == bench.now + .seconds(55))
            bench.advance(54)
            #expect(try await bench.ask(.publish, query: "token=\(token)").isAllowed)
            bench.advance(1)
            #expect(try await bench.ask(.publish, query: "token=\(token)").cause == .tokenExpired)
        }
    }

    @Test(
        "an expiry in the far future ends no session, and none at all is no end", arguments: ["9e18", "253402300799"])
    func farExpiry(expires: String) async throws {
        try await Self.run { bench async throws in
            let token = Mint.hs256("{\"exp\":\(expires)}")
            #expect(try await bench.ask(query: "token=\(token)").limits?.until == nil)
            bench.configure { $0.rules.requiresExpiry = false }
            let limits = try #require(try await bench.ask(query: "token=\(Mint.hs256("{}"))").limits)
            #expect(limits.until == nil && limits.expirySeconds == nil)
        }
    }

    @Test("clocks may differ by the leeway", arguments: [-31, -30, 0, 3_629, 3_630] as [Int64])
    func skew(seconds: Int64) async throws {
        try await Self.run { bench async throws in
            bench.configure { $0.rules.leewaySeconds = 30 }
            bench.advance(seconds)
            let answer = try await bench.ask(query: "token=\(Mint.hs256(Mint.claims("\"nbf\":\(Bench.start)")))")
            switch seconds {
            case -31: #expect(answer.cause == .tokenNotYetValid)
            case 3_630: #expect(answer.cause == .tokenExpired)
            default: #expect(answer.isAllowed)
            }
        }
    }

    // MARK: Cost

    @Test("a token that comes again is not verified again, and what it permits is asked each time")
    func cache() async throws {
        try await Self.run { bench async throws in
            let token = Mint.hs256(Mint.claims(#""stream":"game""#, expires: Bench.start + 10))
            for _ in 0..<1_000 { #expect(try await bench.ask(query: "token=\(token)").isAllowed) }
            #expect(bench.access.statistics.tokensChecked == 1)
            #expect(bench.access.statistics.tokensRemembered == 999)
            #expect(try await bench.ask(query: "token=\(token)", key: Bench.key("other")).cause == .tokenStream)
            bench.advance(10)
            #expect(try await bench.ask(query: "token=\(token)").cause == .tokenExpired)
            #expect(bench.access.statistics.tokensChecked == 1)
        }
    }

    @Test("another secret makes old tokens worthless at once")
    func secretChange() async throws {
        try await Self.run { bench async throws in
            let token = Mint.hs256(Mint.claims())
            #expect(try await bench.ask(query: "token=\(token)").isAllowed)
            let other = "another secret of the tests with 32 bytes"
            bench.configure { $0.secret = other }
            #expect(try await bench.ask(query: "token=\(token)").cause == .tokenForged)
            #expect(try await bench.ask(query: "token=\(Mint.hs256(Mint.claims(), secret: other))").isAllowed)
            bench.configure { $0.secret = "" }
            #expect(try await bench.ask(query: "token=\(token)").cause == .tokenAlgorithm)
            // Too short a secret is no key: it must neither trap nor open anything.
            bench.configure { $0.secret = "short" }
            #expect(
                try await bench.ask(query: "token=\(Mint.hs256(Mint.claims(), secret: "short"))").cause
                    == .tokenAlgorithm)
        }
    }

    @Test("once the keys are loaded, event loops get their answers without waiting")
    func now() async throws {
        try await Self.run { bench async throws in
            let query = "token=\(Mint.hs256(Mint.claims()))"
            let request = AccessRequest(.play, try Bench.key(), peer: Bench.peer(query: query))
            #expect(bench.access.decideNow(request) == nil)
            #expect(bench.access.statistics.refused.isEmpty)
            await bench.access.prepare()
            guard case .allow = bench.access.decideNow(request) else {
                Issue.record("not allowed")
                return
            }
        }
    }

    @Test("what was remembered is bounded")
    func bounds() {
        let remembered = RememberedTokens()
        for number in 0..<(RememberedTokens.capacity + 10) {
            remembered.remember(TokenClaims(), TokenReader.digest("\(number)"), 1)
        }
        #expect(remembered.claims(TokenReader.digest("9"), 1) == nil)
        #expect(remembered.claims(TokenReader.digest("10"), 1) != nil)
        #expect(remembered.claims(TokenReader.digest("10"), 2) == nil)
    }

    @Test("random changes to a token are refused")
    func noise() async throws {
        try await Self.run { bench async throws in
            let token = Array(Mint.hs256(Mint.claims()).utf8)
            var generator = SystemRandomNumberGenerator()
            for offset in token.indices {
                var bytes = token
                repeat {
                    bytes[offset] = UInt8.random(in: 0x2B...0x7A, using: &generator)
                } while bytes[offset] == token[offset]
                let text = String(decoding: bytes, as: UTF8.self)
                let answer = try await bench.ask { $0.peer.authorization = "Bearer \(text)" }
                #expect(!answer.isAllowed, "\(text)")
            }
        }
    }
}
