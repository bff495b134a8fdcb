import Access
import Crypto
import CryptoExtras
import NIOCore
import NIOHTTP1
import StreamHub
import Testing

@testable import AccessControl

@Suite("Key sets")
struct KeySetTests {
    private static let first = P256.Signing.PrivateKey()
    private static let second = P256.Signing.PrivateKey()

    private static func token(_ key: P256.Signing.PrivateKey, _ kid: String?, _ claims: String = Mint.claims()) throws
        -> String
    {
        let name = kid.map { ",\"kid\":\"\($0)\"" } ?? ""
        return "token=" + (try Mint.es256(claims, key, header: "{\"alg\":\"ES256\"\(name)}"))
    }

    private static func run(
        _ behaviour: KeySetServer.Behaviour, _ body: (Bench, KeySetServer) async throws -> Void
    ) async throws {
        try await KeySetServer.run(behaviour) { server in
            try await Bench.run { bench async throws in
                let url = server.url
                bench.configure { configuration in
                    configuration.keySetURL = url
                    configuration.keySetDeadline = .milliseconds(500)
                }
                bench.rule { $0.play.requiresToken = true }
                try await body(bench, server)
            }
        }
    }

    /// Waits until the server has seen so many requests, for a bounded time.
    private static func waitForRequests(_ server: KeySetServer, _ count: Int) async throws {
        for _ in 0..<200 where server.requests < count { try await Task.sleep(for: .milliseconds(10)) }
        #expect(server.requests == count)
    }

    @Test("a set is fetched once for any number of tokens that come at the same time")
    func singleFlight() async throws {
        try await Self.run(.answers(Mint.set(Mint.published(Self.first.publicKey, "one")))) {
            bench, server async throws in
            let query = try Self.token(Self.first, "one")
            let answers = try await withThrowingTaskGroup(of: Bench.Answer.self) { group in
                for _ in 0..<100 { group.addTask { try await bench.ask(query: query) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.count == 100 && answers.allSatisfy(\.isAllowed))
            #expect(server.requests == 1)
            #expect(bench.access.statistics.keySetFetches == 1)
            #expect(bench.access.statistics.keySetKeys == 1)
        }
    }

    @Test("a key that is new is fetched when a token asks for it, and strangers cannot make the node fetch on and on")
    func rotation() async throws {
        let one = Mint.published(Self.first.publicKey, "one")
        let two = Mint.published(Self.second.publicKey, "two")
        try await Self.run(.answers(Mint.set(one))) { bench, server async throws in
            let old = try Self.token(Self.first, "one")
            let new = try Self.token(Self.second, "two")
            #expect(try await bench.ask(query: old).isAllowed)
            server.set(.answers(Mint.set(one, two)))
            // The set was fetched a moment ago.
            #expect(try await bench.ask(query: new).cause == .tokenKeyUnknown)
            bench.advance(10)
            #expect(try await bench.ask(query: new).isAllowed)
            #expect(server.requests == 2)
            for _ in 0..<50 {
                #expect(try await bench.ask(query: Self.token(Self.first, "three")).cause == .tokenKeyUnknown)
            }
            #expect(server.requests == 2)
            bench.advance(10)
            for _ in 0..<50 {
                #expect(try await bench.ask(query: Self.token(Self.first, "three")).cause == .tokenKeyUnknown)
            }
            #expect(server.requests == 3)
            // A wrong signature under a name that is known fetches nothing.
            bench.advance(10)
            #expect(try await bench.ask(query: Self.token(Self.second, "one")).cause == .tokenForged)
            #expect(server.requests == 3)
        }
    }

    @Test("a key that was withdrawn opens nothing after the next refresh, though its tokens were remembered")
    func withdrawal() async throws {
        let one = Mint.published(Self.first.publicKey, "one")
        let two = Mint.published(Self.second.publicKey, "two")
        try await Self.run(.answers(Mint.set(one, two))) { bench, server async throws in
            let old = try Self.token(Self.first, "one")
            #expect(try await bench.ask(query: old).isAllowed)
            server.set(.answers(Mint.set(two)))
            bench.advance(599)
            #expect(try await bench.ask(query: old).isAllowed)
            #expect(server.requests == 1)
            // A set that is a little too old serves once more, while a new one is fetched.
            bench.advance(1)
            #expect(try await bench.ask(query: old).isAllowed)
            try await Self.waitForRequests(server, 2)
            await bench.access.prepare()
            #expect(try await bench.ask(query: old).cause == .tokenKeyUnknown)
            #expect(try await bench.ask(query: Self.token(Self.second, "two")).isAllowed)
        }
    }

    @Test("a set that is much too old is fetched before anybody is let in by it")
    func veryOld() async throws {
        try await Self.run(.answers(Mint.set(Mint.published(Self.first.publicKey, "one")))) {
            bench, server async throws in
            let old = try Self.token(Self.first, "one", Mint.claims(expires: Bench.start + 100_000))
            #expect(try await bench.ask(query: old).isAllowed)
            server.set(.answers(Mint.set(Mint.published(Self.second.publicKey, "two"))))
            bench.advance(1_200)
            #expect(try await bench.ask(query: old).cause == .tokenKeyUnknown)
            #expect(server.requests == 2)
        }
    }

    @Test(
        "the last good set is kept when a fetch fails, in whatever way",
        arguments: [
            KeySetServer.Behaviour.hangs, .drips, .breaks, .pads(10_000_000), .status(.internalServerError),
            .status(.notFound), .status(.movedPermanently), .answers(""), .answers("nonsense"), .answers("[]"),
            .answers("{}"), .answers(#"{"keys":1}"#), .answers(String(repeating: "[", count: 100_000)),
            .answers(#"{"keys":"# + String(repeating: "[", count: 100_000)),
        ])
    func failures(behaviour: KeySetServer.Behaviour) async throws {
        try await Self.run(.answers(Mint.set(Mint.published(Self.first.publicKey, "one")))) {
            bench, server async throws in
            let query = try Self.token(Self.first, "one", Mint.claims(expires: Bench.start + 100_000))
            #expect(try await bench.ask(query: query).isAllowed)
            server.set(behaviour)
            bench.advance(2_000)
            let start = ContinuousClock.now
            #expect(try await bench.ask(query: query).isAllowed)
            #expect(ContinuousClock.now - start < .seconds(20))
            #expect(bench.access.statistics.keySetFailures == 1)
            // Not again at once.
            #expect(try await bench.ask(query: query).isAllowed)
            #expect(try await bench.ask(query: Self.token(Self.second, "two")).cause == .tokenKeyUnknown)
            #expect(bench.access.statistics.keySetFetches == 2)
            server.set(.answers(Mint.set(Mint.published(Self.second.publicKey, "two"))))
            bench.advance(10)
            #expect(try await bench.ask(query: Self.token(Self.second, "two")).isAllowed)
            #expect(try await bench.ask(query: query).cause == .tokenKeyUnknown)
        }
    }

    @Test("without a set that was ever fetched, tokens wait for no longer than the deadline, and others not at all")
    func neverFetched() async throws {
        try await Self.run(.hangs) { bench, server async throws in
            bench.configure { $0.secret = Mint.secret }
            let query = try Self.token(Self.first, "one")
            let start = ContinuousClock.now
            #expect(try await bench.ask(query: query) == .refused(.keysUnavailable, .unavailable))
            let time = ContinuousClock.now - start
            #expect(time >= .milliseconds(450) && time < .seconds(20))
            // The next one is answered at once, which `decideNow` tells by answering at all.
            let again = AccessRequest(.play, try Bench.key(), peer: Bench.peer(query: query))
            #expect(bench.access.decideNow(again) == .refuse(AccessRefusalCause.keysUnavailable.refusal))
            #expect(try await bench.ask(query: "token=\(Mint.hs256(Mint.claims()))").isAllowed)
            #expect(server.requests == 1)
        }
    }

    @Test("a server that is not there is a failure like others")
    func nobody() async throws {
        try await Bench.run { bench async throws in
            bench.configure { configuration in
                configuration.keySetURL = "http://127.0.0.1:1/jwks.json"
                configuration.keySetDeadline = .seconds(1)
            }
            bench.rule { $0.play.requiresToken = true }
            #expect(try await bench.ask(query: Self.token(Self.first, "one")).cause == .keysUnavailable)
            #expect(bench.access.statistics.keySetFailures == 1)
        }
    }

    @Test("another URL drops the set of the last one")
    func otherURL() async throws {
        try await Self.run(.answers(Mint.set(Mint.published(Self.first.publicKey, "one")))) { bench, _ async throws in
            let query = try Self.token(Self.first, "one")
            #expect(try await bench.ask(query: query).isAllowed)
            try await KeySetServer.run(.answers(Mint.set(Mint.published(Self.second.publicKey, "two")))) {
                other async throws in
                let url = other.url
                bench.configure { $0.keySetURL = url }
                #expect(try await bench.ask(query: query).cause == .tokenKeyUnknown)
                #expect(try await bench.ask(query: Self.token(Self.second, "two")).isAllowed)
            }
            bench.configure { $0.keySetURL = "" }
            #expect(try await bench.ask(query: query).cause == .tokenKeyUnknown)
        }
    }

    @Test("tokens without a key's name are held against the keys of their algorithm")
    func nameless() async throws {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let set = Mint.set(
            Mint.published(Self.first.publicKey, "one"), try Mint.published(rsa.publicKey, nil),
            Mint.published(Self.second.publicKey, nil))
        try await Self.run(.answers(set)) { bench, _ async throws in
            #expect(try await bench.ask(query: Self.token(Self.first, nil)).isAllowed)
            #expect(try await bench.ask(query: Self.token(Self.second, nil)).isAllowed)
            let token = try Mint.rs256(Mint.claims(), rsa, header: #"{"alg":"RS256"}"#)
            #expect(try await bench.ask(query: "token=\(token)").isAllowed)
            let stranger = P256.Signing.PrivateKey()
            #expect(try await bench.ask(query: Self.token(stranger, nil)).cause == .tokenForged)
        }
    }

    @Test("keys that are for something else are left out, and the others used")
    func unusable() async throws {
        let key = Self.first.publicKey
        let other = P384.Signing.PrivateKey().publicKey.rawRepresentation
        let set = Mint.set(
            #"{"kty":"oct","kid":"a","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0i"}"#,
            Mint.published(key, "encryption", #""use":"enc","#),
            Mint.published(key, "signing", #""key_ops":["sign"],"#),
            Mint.published(key, "other", #""alg":"ES384","#), #"{"kty":"future","kid":"f"}"#, "1", "null", "[]",
            #"{"kty":"RSA","kid":"tiny","n":"AQAB","e":"AQAB"}"#, #"{"kty":"RSA","kid":"none"}"#,
            #"{"kty":"RSA","kid":"huge","e":"AQAB","n":""# + String(repeating: "v", count: 2_000) + "\"}",
            #"{"kty":"EC","crv":"P-256","kid":"off","x":"AAAA","y":"AAAA"}"#,
            "{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"large\",\"x\":\"\(Mint.base64URL(other.prefix(48)))\","
                + "\"y\":\"\(Mint.base64URL(other.suffix(48)))\"}",
            Mint.published(key, "good", #""use":"sig","key_ops":["verify"],"alg":"ES256","x5c":[1],"future":{},"#))
        let keys = try #require(await KeySet.read(Array(set.utf8)))
        #expect(keys.map(\.identifier) == ["good"])
        let many = "{\"keys\":[" + (0..<200).map { Mint.published(key, "\($0)") }.joined(separator: ",") + "]}"
        #expect(await KeySet.read(Array(many.utf8))?.count == KeySet.maximumKeys)
    }

    @Test("a private key in a set serves as its public half")
    func privateKey() async throws {
        let set = Mint.set(
            Mint.published(Self.first.publicKey, "one", "\"d\":\"\(Mint.base64URL(Self.first.rawRepresentation))\","))
        try await Self.run(.answers(set)) { bench, _ async throws in
            #expect(try await bench.ask(query: Self.token(Self.first, "one")).isAllowed)
        }
    }

    @Test("a secret in a key set opens nothing")
    func symmetric() async throws {
        let secret = #"{"kty":"oct","kid":"one","alg":"HS256","k":"\#(Mint.base64URL(Mint.secret.utf8))"}"#
        try await Self.run(.answers(Mint.set(secret))) { bench, _ async throws in
            let token = Mint.hs256(Mint.claims(), header: #"{"alg":"HS256","kid":"one"}"#)
            #expect(try await bench.ask(query: "token=\(token)").cause == .tokenKeyUnknown)
        }
    }
}
