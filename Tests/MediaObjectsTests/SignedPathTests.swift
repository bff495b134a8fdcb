import Media
import Testing

@testable import MediaObjects

@Suite("SignedPath")
struct SignedPathTests {
    private static let secret = Array("a secret of thirty-two bytes, or so".utf8)
    private static let expires: Int64 = 1_800_000_000

    private static func key(_ app: String = "live", _ name: String = "game", vhost: String = "a.example") throws
        -> StreamKey
    {
        try StreamKey(vhost: vhost, app: app, name: name)
    }

    private static func read(_ path: String) -> (SignedPath?, rest: String) {
        var rest = path[...]
        return (SignedPath.split(from: &rest), String(rest))
    }

    @Test("what is written is read, and leaves the path", arguments: [SignedPath.Scope.app, .stream])
    func roundTrip(scope: SignedPath.Scope) throws {
        let made = SignedPath(for: try Self.key(), scope: scope, expires: Self.expires, secret: Self.secret)
        #expect(made.signature.utf8.count == 22)
        let (read, rest) = Self.read(made.prefix + "/live/game/_video.m3u8")
        #expect(read == made)
        #expect(rest == "/live/game/_video.m3u8")
    }

    @Test("a signature is that of the construction that is documented")
    func vector() throws {
        // python3: hmac.new(secret, b"weir-path-1\na.example\ns\n1800000000\nlive\ngame", "sha256").digest()[:16]
        let made = SignedPath(for: try Self.key(), scope: .stream, expires: Self.expires, secret: Self.secret)
        #expect(made.prefix == "/~1800000000s~9xhl3hGmiIvnWbNkEq-1Pw")
        let app = SignedPath(for: try Self.key(), scope: .app, expires: Self.expires, secret: Self.secret)
        #expect(app.prefix == "/~1800000000a~vfpo-Ik3EbBy9OV_Y8lcAQ")
    }

    @Test("a signature opens its stream up to its last second")
    func expiry() throws {
        let key = try Self.key()
        let made = SignedPath(for: key, scope: .stream, expires: Self.expires, secret: Self.secret)
        #expect(made.check(for: key, secret: Self.secret, now: 0) == .valid)
        #expect(made.check(for: key, secret: Self.secret, now: Self.expires) == .valid)
        #expect(made.check(for: key, secret: Self.secret, now: Self.expires + 1) == .expired)
    }

    @Test("a stream's signature opens no other stream, an app's opens all of its streams, neither another vhost")
    func scopes() throws {
        let stream = SignedPath(for: try Self.key(), scope: .stream, expires: Self.expires, secret: Self.secret)
        let app = SignedPath(for: try Self.key(), scope: .app, expires: Self.expires, secret: Self.secret)
        let others: [(StreamKey, SignedPath.Verdict)] = [
            (try Self.key("live", "other"), .valid), (try Self.key("lives", "game"), .forged),
            (try Self.key("live/game", "x"), .forged), (try Self.key(vhost: "b.example"), .forged),
        ]
        for (key, verdict) in others {
            #expect(stream.check(for: key, secret: Self.secret, now: 0) == .forged, "\(key)")
            #expect(app.check(for: key, secret: Self.secret, now: 0) == verdict, "\(key)")
        }
    }

    @Test("a change of any part is a forgery")
    func forgeries() throws {
        let key = try Self.key()
        let made = SignedPath(for: key, scope: .stream, expires: Self.expires, secret: Self.secret)
        var later = made
        later.expires += 1
        #expect(later.check(for: key, secret: Self.secret, now: 0) == .forged)
        var wider = made
        wider.scope = .app
        #expect(wider.check(for: key, secret: Self.secret, now: 0) == .forged)
        #expect(made.check(for: key, secret: Self.secret + [1], now: 0) == .forged)
        for index in 0..<22 {
            var signature = Array(made.signature.utf8)
            signature[index] = signature[index] == 0x41 ? 0x42 : 0x41
            var changed = made
            changed.signature = String(decoding: signature, as: UTF8.self)
            #expect(changed.check(for: key, secret: Self.secret, now: 0) == .forged)
        }
        var cut = made
        cut.signature.removeLast()
        #expect(cut.check(for: key, secret: Self.secret, now: 0) == .forged)
    }

    @Test(
        "a path that only looks signed stays as it is",
        arguments: [
            "/live/game.m3u8", "/~", "/~/", "/~1800000000s~AAAAAAAAAAAAAAAAAAAAAA", "/~s~AAAAAAAAAAAAAAAAAAAAAA/a",
            "/~1800000000x~AAAAAAAAAAAAAAAAAAAAAA/a", "/~1800000000~AAAAAAAAAAAAAAAAAAAAAA/a",
            "/~+180000000s~AAAAAAAAAAAAAAAAAAAAAA/a", "/~1800000000s~AAAAAAAAAAAAAAAAAAAAA/a",
            "/~1800000000s~AAAAAAAAAAAAAAAAAAAAAAA/a", "/~1800000000s~AAAAAAAAAAAAAAAAAAAAAA~/a",
            "/~9999999999999s~AAAAAAAAAAAAAAAAAAAAAA/a", "/~253402300800s~AAAAAAAAAAAAAAAAAAAAAA/a", "~", "",
        ])
    func notSigned(path: String) {
        let (read, rest) = Self.read(path)
        #expect(read == nil)
        #expect(rest == path)
    }
}
