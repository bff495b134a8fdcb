import Media
import Testing

@testable import MediaObjects

@Suite("SignedURL")
struct SignedURLTests {
    private static let secret = Array("a secret of thirty-two bytes, or so".utf8)
    private static let expires: Int64 = 1_800_000_000

    private static func key(_ app: String = "live", _ name: String = "game", vhost: String = "a.example") throws
        -> StreamKey
    {
        try StreamKey(vhost: vhost, app: app, name: name)
    }

    private static func sign(_ scope: SignedPath.Scope, expires: Int64 = Self.expires) throws -> SignedURL {
        SignedURL.sign(try Self.key(), scope: scope, expires: expires, secret: Self.secret)
    }

    private static func check(
        _ query: String, _ key: StreamKey? = nil, secret: [UInt8] = Self.secret, now: Int64 = Self.expires
    ) throws -> SignedPath.Verdict {
        let fields = query.split(separator: "&").map { $0.split(separator: "=", maxSplits: 1).last.map(String.init) }
        return SignedURL.check(
            expires: try #require(fields[0]), signature: try #require(fields[1]), for: try key ?? Self.key(),
            secret: secret, now: now)
    }

    @Test("both forms carry the code that is documented")
    func vector() throws {
        // python3: hmac.new(secret, b"weir-path-1\na.example\ns\n1800000000\nlive\ngame", "sha256").digest()[:16]
        let stream = try Self.sign(.stream)
        #expect(stream.pathPrefix == "/~1800000000s~9xhl3hGmiIvnWbNkEq-1Pw")
        #expect(stream.query == "expires=1800000000&signature=9xhl3hGmiIvnWbNkEq-1Pw")
        let app = try Self.sign(.app)
        #expect(app.pathPrefix == "/~1800000000a~vfpo-Ik3EbBy9OV_Y8lcAQ")
        #expect(app.query == "expires=1800000000&signature=vfpo-Ik3EbBy9OV_Y8lcAQ")
    }

    @Test("a query opens its stream, or its app, up to its last second")
    func opens() throws {
        for scope in [SignedPath.Scope.stream, .app] {
            let query = try Self.sign(scope).query
            #expect(try Self.check(query) == .valid)
            #expect(try Self.check(query, now: Self.expires + 1) == .expired)
            #expect(try Self.check(query, Self.key("live", "other")) == (scope == .app ? .valid : .forged))
            for other in [try Self.key("other"), try Self.key(vhost: "b.example"), try Self.key("live/game", "x")] {
                #expect(try Self.check(query, other) == .forged)
            }
            #expect(try Self.check(query, secret: Self.secret + [1]) == .forged)
        }
    }

    @Test(
        "hexadecimal is the same signature in other letters",
        arguments: ["f71865de11a6888be759b36412afb53f", "F71865DE11A6888BE759B36412AFB53F"])
    func hexadecimal(text: String) throws {
        #expect(try Self.check("expires=1800000000&signature=\(text)") == .valid)
        #expect(try Self.check("expires=1800000000&signature=\(text.dropLast())0") == .forged)
    }

    @Test(
        "what cannot be read is forged",
        arguments: [
            ("1800000000", ""), ("1800000000", "9xhl3hGmiIvnWbNkEq-1P"), ("1800000000", "9xhl3hGmiIvnWbNkEq-1Pww"),
            ("1800000000", "9xhl3hGmiIvnWbNkEq-1Px"), ("1800000000", "9xhl3hGmiIvnWbNkEq+1Pw"),
            ("1800000000", "9xhl3hGmiIvnWbNkEq-1Pw=="), ("1800000000", "g71865de11a6888be759b36412afb53f"),
            ("1800000001", "9xhl3hGmiIvnWbNkEq-1Pw"), ("01800000000", "x"), ("", "9xhl3hGmiIvnWbNkEq-1Pw"),
            ("-1", "9xhl3hGmiIvnWbNkEq-1Pw"), ("+1800000000", "9xhl3hGmiIvnWbNkEq-1Pw"),
            ("1800000000 ", "9xhl3hGmiIvnWbNkEq-1Pw"), ("1.8e9", "9xhl3hGmiIvnWbNkEq-1Pw"),
            ("9999999999999", "9xhl3hGmiIvnWbNkEq-1Pw"), ("999999999999", "9xhl3hGmiIvnWbNkEq-1Pw"),
        ])
    func unreadable(expires: String, signature: String) throws {
        let verdict = SignedURL.check(
            expires: expires, signature: signature, for: try Self.key(), secret: Self.secret, now: 0)
        #expect(verdict == .forged)
    }

    @Test(
        "expiries are kept in the years that both forms can say",
        arguments: [(-5, 0), (.max, 253_402_300_799)] as [(Int64, Int64)])
    func range(asked: Int64, given: Int64) throws {
        let signed = try Self.sign(.stream, expires: asked)
        #expect(signed.query.hasPrefix("expires=\(given)&"))
        #expect(try Self.check(signed.query, now: given) == .valid)
        var path = (signed.pathPrefix + "/live/game.m3u8")[...]
        #expect(SignedPath.split(from: &path)?.check(for: try Self.key(), secret: Self.secret, now: given) == .valid)
    }
}
