import Access
import Foundation
import Media
import MediaObjects
import NIOCore
import StreamHub
import Testing

@testable import AccessControl

@Suite("One set of rules for all protocols")
struct AccessControlTests {
    private static let secret = "a secret of the tests with 32 bytes or more"

    // MARK: Addresses, pages

    @Test("addresses are asked for each action, and a proxy's client counts for the proxy")
    func addresses() async throws {
        try await Bench.run { bench async throws in
            let friends = AddressRules(allow: [try CIDR(parsing: "192.0.2.0/24"), try CIDR(parsing: "2001:db8::/32")])
            let strangers = AddressRules(deny: [try CIDR(parsing: "198.51.100.0/24")])
            bench.rule { rules in
                rules.publish.addresses = friends
                rules.play.addresses = strangers
            }
            #expect(try await bench.ask(.publish, address: "192.0.2.9:1").isAllowed)
            #expect(try await bench.ask(.publish, address: "[2001:db8::1]:1").isAllowed)
            #expect(try await bench.ask(.publish, address: "[::ffff:192.0.2.9]:1").isAllowed)
            #expect(
                try await bench.ask(.publish, address: "203.0.113.1:1") == .refused(.addressNotListed, .forbidden))
            #expect(try await bench.ask(.publish, address: "unknown").cause == .addressNotListed)
            #expect(try await bench.ask(.play, address: "203.0.113.1:1").isAllowed)
            #expect(try await bench.ask(.play, address: "198.51.100.1:1") == .refused(.addressDenied, .forbidden))
            let proxy = try #require(
                bench.registry.open(try SocketAddress(ipAddress: "203.0.113.1", port: 1), transport: "http"))
            proxy.forwardedAddress = "198.51.100.7"
            #expect(try await bench.ask(address: "203.0.113.1:1") { $0.peer.account = proxy }.cause == .addressDenied)
        }
    }

    @Test("pages count for playing only")
    func pages() async throws {
        try await Bench.run { bench async throws in
            let rule = RefererRule(allow: [try HostPattern(parsing: "*.example.com")], allowsEmpty: false)
            bench.rule { $0.referer = rule }
            let cases: [(String, AccessRefusalCause?)] = [
                ("https://www.example.com/watch", nil), ("https://evil.example/", .refererNotListed),
                ("", .refererMissing), ("www.example.com", .refererMalformed),
            ]
            for (referer, cause) in cases {
                let answer = try await bench.ask { $0.peer.client.referer = referer }
                #expect(answer.cause == cause && answer.isAllowed == (cause == nil), "\(referer)")
                #expect(try await bench.ask(.publish) { $0.peer.client.referer = referer }.isAllowed)
            }
        }
    }

    @Test("a node of the cluster that proved itself has no rules, and none that did not")
    func relays() async throws {
        try await Bench.run { bench async throws in
            bench.configure { $0.secret = Self.secret }
            bench.rule { rules in
                rules.publish = .init(addresses: AddressRules(deny: [.all]), requiresToken: true)
                rules.play = rules.publish
                rules.urlSecret = Self.secret
                rules.quotas = SessionQuotaLimits(publishersPerApp: 0, viewersPerStream: 0)
                rules.sessionDuration = .seconds(1)
            }
            for action in AccessAction.allCases {
                let answer = try await bench.ask(action) { $0.isProvedRelay = true }
                #expect(answer == .allowed(SessionLimits(), nil))
                #expect(try await bench.ask(action).cause == .addressDenied)
            }
            #expect(bench.access.statistics.allowed[.init(action: .play, rule: .relay)] == 1)
        }
    }

    @Test("settings that change count for the next decision")
    func reload() async throws {
        try await Bench.run { bench async throws in
            #expect(try await bench.ask().isAllowed)
            bench.rule { $0.play.addresses = AddressRules(deny: [.all]) }
            #expect(try await bench.ask().cause == .addressDenied)
            bench.rule { $0.play.addresses = AddressRules() }
            #expect(try await bench.ask().isAllowed)
        }
    }

    // MARK: Signatures

    @Test("a signature in the query opens RTMP, HTTP-FLV and WebSocket, for the stream or its app, until it expires")
    func signedQuery() async throws {
        try await Bench.run { bench async throws in
            bench.rule { $0.urlSecret = Self.secret }
            let key = try Bench.key()
            for scope in [SignedPath.Scope.stream, .app] {
                let url = SignedURL.sign(key, scope: scope, expires: Bench.start + 60, secret: Self.secret.utf8)
                let answer = try await bench.ask(query: "x=y&" + url.query)
                #expect(answer.limits?.until == bench.now + .seconds(61))
                #expect(answer.limits?.expirySeconds == Bench.start + 61)
                let other = try await bench.ask(query: url.query, key: Bench.key("other"))
                #expect(other.isAllowed == (scope == .app))
                #expect(try await bench.ask(query: url.query, key: Bench.key(app: "other")).cause == .signatureForged)
            }
            let url = SignedURL.sign(key, scope: .stream, expires: Bench.start + 60, secret: Self.secret.utf8)
            let cases: [(String, AccessRefusalCause)] = [
                ("", .signatureMissing), ("expires=\(Bench.start + 60)", .signatureMissing),
                (url.query.replacing("expires=1", with: "expires=2"), .signatureForged),
                (String(url.query.dropFirst("expires=1800000060&".count)), .signatureForged),
                (url.query + "A", .signatureForged), ("expires=x&signature=y", .signatureForged),
            ]
            for (query, cause) in cases {
                #expect(try await bench.ask(query: query) == .refused(cause, .forbidden), "\(query)")
            }
            #expect(try await bench.ask(.publish).isAllowed)
            bench.configure { $0.endsViewersAtExpiry = false }
            #expect(try await bench.ask(query: url.query).limits?.until == nil)
            bench.advance(60)
            #expect(try await bench.ask(query: url.query).isAllowed)
            bench.advance(1)
            #expect(try await bench.ask(query: url.query).cause == .signatureExpired)
        }
    }

    @Test("files take the form in front of the path, and not the query's, which a cache would not see")
    func signedPath() async throws {
        try await Bench.run { bench async throws in
            bench.rule { $0.urlSecret = Self.secret }
            let key = try Bench.key()
            let url = SignedURL.sign(key, scope: .stream, expires: Bench.start + 60, secret: Self.secret.utf8)
            func ask(_ path: String, query: String = "") -> AccessDecision? {
                var rest = path[...]
                let signed = SignedPath.split(from: &rest)
                let access = MediaObjectAccess(
                    host: "h", address: "192.0.2.1:5", isSecure: false, query: query, signedPath: signed)
                return bench.access.decideNow(
                    AccessRequest(files: key, peer: Bench.peer(query: query), access: access))
            }
            guard case .allow = ask(url.pathPrefix + "/live/game.m3u8") else {
                Issue.record("not allowed")
                return
            }
            for (path, query) in [("/live/game.m3u8", ""), ("/live/game.m3u8", url.query)] {
                guard case .refuse(let refusal) = ask(path, query: query) else {
                    Issue.record("allowed")
                    continue
                }
                #expect(refusal.cause == .forbidden)
            }
            #expect(bench.access.statistics.refused == [.init(action: .play, cause: .signatureMissing): 2])
        }
    }

    @Test("where both are asked for, a signature or a token opens; a wrong signature is not made good by a token")
    func either() async throws {
        try await Bench.run { bench async throws in
            bench.configure { $0.secret = Mint.secret }
            bench.rule { rules in
                rules.urlSecret = Self.secret
                rules.play.requiresToken = true
            }
            let url = SignedURL.sign(
                try Bench.key(), scope: .stream, expires: Bench.start + 60, secret: Self.secret.utf8)
            let token = Mint.hs256(Mint.claims())
            #expect(try await bench.ask(query: url.query).isAllowed)
            #expect(try await bench.ask(query: "token=\(token)").isAllowed)
            #expect(try await bench.ask().cause == .tokenMissing)
            let wrong = try await bench.ask(query: "expires=1&signature=AAAAAAAAAAAAAAAAAAAAAA&token=\(token)")
            #expect(wrong.cause == .signatureForged)
        }
    }

    // MARK: Files

    @Test("each request for a file wants its own signature, unless tokens are asked for, too")
    func files() async throws {
        try await Bench.run { bench async throws in
            let key = try Bench.key()
            func refusal(_ path: String, _ key: StreamKey = key) -> SessionRefusal? {
                var rest = path[...]
                let signed = SignedPath.split(from: &rest)
                let access = MediaObjectAccess(
                    host: "h", address: "192.0.2.1:5", isSecure: false, query: "", signedPath: signed)
                return bench.access.fileRefusal(key, access)
            }
            #expect(refusal("/live/game.m3u8") == nil)
            bench.rule { $0.urlSecret = Self.secret }
            let url = SignedURL.sign(key, scope: .stream, expires: Bench.start + 60, secret: Self.secret.utf8)
            #expect(refusal(url.pathPrefix + "/live/game.m3u8") == nil)
            #expect(refusal("/live/game.m3u8")?.cause == .forbidden)
            #expect(refusal(url.pathPrefix + "/live/other.m3u8", try Bench.key("other"))?.cause == .forbidden)
            bench.rule { $0.play.requiresToken = true }
            #expect(refusal("/live/game.m3u8") == nil)
            bench.advance(61)
            #expect(refusal(url.pathPrefix + "/live/game.m3u8")?.cause == .forbidden)
            #expect(
                bench.access.statistics.refused == [
                    .init(action: .play, cause: .signatureMissing): 1,
                    .init(action: .play, cause: .signatureForged): 1,
                    .init(action: .play, cause: .signatureExpired): 1,
                ])
        }
    }

    @Test("the subject that a request claims is read from its token, right or wrong, and bounded")
    func subjects() async throws {
        try await Bench.run { bench async throws in
            func subject(query: String = "", authorization: String? = nil) -> String? {
                bench.access.claimedSubject(
                    MediaObjectAccess(
                        host: "h", address: "192.0.2.1:5", isSecure: false, query: query, authorization: authorization))
            }
            let token = Mint.hs256(Mint.claims(#""sub":"me""#))
            #expect(subject(query: "token=\(token)") == nil)
            bench.configure { $0.secret = Mint.secret }
            bench.rule { $0.play.requiresToken = true }
            for _ in 0..<2 {
                #expect(subject(query: "token=\(token)") == "me")
                #expect(subject(authorization: "Bearer \(token)") == "me")
                #expect(subject() == nil && subject(query: "token=x") == nil)
                // The second time, it was verified.
                #expect(try await bench.ask(query: "token=\(token)").isAllowed)
            }
            let long = Mint.hs256(Mint.claims("\"sub\":\"\(String(repeating: "x", count: 1_000))\""))
            #expect(subject(query: "token=\(long)")?.count == 128)
        }
    }

    // MARK: Limits of sessions

    private static func account(_ bench: Bench, _ port: Int = 1) throws -> SessionAccount {
        try #require(
            bench.registry.open(try SocketAddress(ipAddress: "192.0.2.1", port: port), transport: "rtmp"))
    }

    @Test("publishers of an app and viewers of a stream are limited by what the registry tells")
    func quotas() async throws {
        try await Bench.run { bench async throws in
            bench.registry.add(bench.access)
            bench.rule { $0.quotas = SessionQuotaLimits(publishersPerApp: 1, viewersPerStream: 2) }
            let key = try Bench.key()
            let accounts = try (0..<4).map { try Self.account(bench, $0 + 1) }
            #expect(try await bench.ask(.publish) { $0.peer.account = accounts[0] }.isAllowed)
            #expect(
                try await bench.ask(.publish, key: Bench.key("b")) { $0.peer.account = accounts[1] }
                    == .refused(.publishersPerApp, .limited))
            bench.registry.begin(accounts[0], SessionActivity(kind: .publish, key: key, transport: "rtmp"))
            #expect(bench.access.publishers(vhost: key.vhost, app: "live") == 1)
            #expect(try await bench.ask(.publish) { $0.peer.account = accounts[1] }.cause == .publishersPerApp)
            bench.registry.end(accounts[0], .left)
            #expect(try await bench.ask(.publish) { $0.peer.account = accounts[1] }.isAllowed)
            // A hook says no.
            bench.access.withdraw(accounts[1])
            #expect(try await bench.ask(.publish) { $0.peer.account = accounts[0] }.isAllowed)
            // The connection breaks before anything began.
            bench.registry.close(accounts[0])
            #expect(try await bench.ask(.publish) { $0.peer.account = accounts[1] }.isAllowed)

            for account in accounts[2...] { #expect(try await bench.ask { $0.peer.account = account }.isAllowed) }
            let viewer = try Self.account(bench, 9)
            #expect(try await bench.ask { $0.peer.account = viewer } == .refused(.viewersPerStream, .limited))
            #expect(try await bench.ask().cause == .viewersPerStream)
            // Pictures need no place.
            #expect(try await bench.ask { $0.opensSession = false }.isAllowed)
            for account in accounts[2...] {
                bench.registry.begin(account, SessionActivity(kind: .play, key: key, transport: "rtmp"))
            }
            #expect(bench.access.viewers(of: key) == 2)
            bench.registry.close(accounts[2])
            #expect(try await bench.ask { $0.peer.account = viewer }.isAllowed)
            // Another node takes no place.
            let relay = try Self.account(bench, 10)
            bench.registry.begin(
                relay, SessionActivity(kind: .play, key: key, transport: "rtmp", isRelay: true))
            #expect(bench.access.viewers(of: key) == 1)
        }
    }

    @Test("many who come at once get no more places than there are")
    func stampede() async throws {
        try await Bench.run { bench async throws in
            bench.rule { $0.quotas = SessionQuotaLimits(viewersPerStream: 10) }
            let accounts = try (0..<100).map { try Self.account(bench, $0 + 1) }
            let allowed = try await withThrowingTaskGroup(of: Bool.self) { group in
                for account in accounts {
                    group.addTask {
                        let request = AccessRequest(.play, try Bench.key(), peer: Bench.peer())
                        var own = request
                        own.peer.account = account
                        guard case .allow = await bench.access.decide(own) else { return false }
                        return true
                    }
                }
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(allowed == 10)
            bench.advance(30)
            #expect(try await bench.ask().isAllowed)
        }
    }

    // MARK: Connections

    @Test("the registry refuses connections by the node's limits, and counts those that close")
    func connections() async throws {
        try await Bench.run { bench async throws in
            bench.registry.setAdmission(bench.access)
            bench.limit { limits in
                limits.connectionsPerAddress = 2
                limits.sessions = 3
            }
            let first = try Self.account(bench, 1)
            _ = try Self.account(bench, 2)
            let address = try SocketAddress(ipAddress: "192.0.2.1", port: 3)
            #expect(bench.registry.open(address, transport: "rtmp") == nil)
            #expect(bench.registry.open(try SocketAddress(ipAddress: "::1", port: 3), transport: "http") != nil)
            #expect(bench.registry.open(try SocketAddress(ipAddress: "::2", port: 3), transport: "http") == nil)
            #expect(bench.registry.open(try SocketAddress(unixDomainSocketPath: "/x"), transport: "http") == nil)
            bench.registry.close(first)
            #expect(bench.registry.open(address, transport: "rtmp") != nil)
            let statistics = bench.access.statistics
            #expect(statistics.connectionsRefused == [.addressConnections: 1, .nodeSessions: 2])
            #expect(statistics.connections == 3 && statistics.addresses == 2)
            #expect(bench.registry.counts.refused == ["address_connections": 1, "node_sessions": 2])
        }
    }

    @Test("handshakes a second are limited for the node and for each address")
    func handshakes() async throws {
        try await Bench.run { bench async throws in
            bench.limit { limits in
                limits.handshakesPerSecond = 20
                limits.handshakesPerAddressPerSecond = 10
            }
            let address = try SocketAddress(ipAddress: "192.0.2.1", port: 1)
            let answers = (0..<30).map { _ in bench.access.connectionOpened(address, transport: "rtmp") }
            #expect(answers.filter { $0 == nil }.count == 10)
            #expect(Set(answers.compactMap(\.self)) == ["address_handshakes"])
            for _ in 0..<10 {
                #expect(bench.access.connectionOpened(nil, transport: "rtmp") == nil)
            }
            #expect(bench.access.connectionOpened(nil, transport: "rtmp") == "node_handshakes")
            bench.advance(1)
            #expect(bench.access.connectionOpened(address, transport: "rtmp") == nil)
        }
    }

    // MARK: Settings

    @Test("settings that cannot work are refused, and no message holds a secret")
    func validation() throws {
        func error(_ change: (inout AccessConfiguration) -> Void) -> AccessConfigurationError? {
            var configuration = AccessConfiguration()
            change(&configuration)
            do throws(AccessConfigurationError) {
                try configuration.validate()
                return nil
            } catch {
                return error
            }
        }
        #expect(error { _ in } == nil)
        #expect(error { $0.token.secret = String(repeating: "s", count: 32) } == nil)
        #expect(
            error { $0.token.secret = String(repeating: "s", count: 31) } == .secretTooShort(bytes: 31, minimum: 32))
        #expect(error { $0.token.secret = "hunter2" }?.description.contains("hunter2") == false)
        #expect(error { $0.token.publicKey = Samples.p256 } == nil)
        #expect(error { $0.token.publicKey = Samples.rsa2048 } == nil)
        #expect(error { $0.token.publicKey = Samples.rsa1024 } == .unusablePublicKey)
        #expect(error { $0.token.publicKey = Samples.p384 } == .unusablePublicKey)
        #expect(error { $0.token.publicKey = Samples.certificate } == nil)
        #expect(error { $0.token.publicKey = Samples.p256.replacing("MFkw", with: "MFkx") } == .unusablePublicKey)
        #expect(error { $0.token.publicKey = "/etc/key.pem" } == .unusablePublicKey)
        #expect(error { $0.token.keySetURL = "https://id.example/jwks.json" } == nil)
        for url in ["id.example/jwks.json", "file:///etc/passwd", "ftp://a.example/", "http://", "https:///x"] {
            #expect(error { $0.token.keySetURL = url } == .unusableKeySetURL, "\(url)")
        }
        #expect(error { $0.token.parameter = "" } == .emptyParameter)
        #expect(error { $0.token.keySetRefresh = .zero } == .notPositive("access.jwt.jwks_refresh"))
        #expect(error { $0.token.rules.leewaySeconds = -1 } == .notPositive("access.jwt.leeway"))
        #expect(error { $0.connections.sessions = 0 } == .notPositive("limits.sessions"))
        #expect(error { $0.connections.connectionsPerAddress = -1 } == .notPositive("limits.connections_per_address"))
        #expect(error { $0.connections.handshakesPerSecond = 1 } == nil)
    }
}
