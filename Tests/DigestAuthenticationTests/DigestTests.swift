import DigestAuthentication
import NIOCore
import Testing

@Suite struct DigestTests {
    private static let realm = "http-auth@example.org"
    private static let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"

    private static func challenge(_ algorithm: DigestAlgorithm, _ protections: Set<DigestProtection>) -> DigestChallenge
    {
        DigestChallenge(
            realm: self.realm, nonce: self.nonce, opaque: "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
            algorithm: algorithm, protections: protections)
    }

    // RFC 7616 §3.9.1.
    @Test(arguments: [
        (DigestAlgorithm.md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (.sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ])
    func `An answer is the one of the standard's example`(_ algorithm: DigestAlgorithm, _ response: String) throws {
        let credentials = DigestCredentials(
            answering: Self.challenge(algorithm, [.authentication, .integrity]), username: "Mufasa",
            password: "Circle of Life", method: "GET", uri: "/dir/index.html", nonceCount: 1,
            clientNonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
        #expect(credentials.response == response)
        #expect(credentials.isValid(password: "Circle of Life", method: "GET"))
        #expect(!credentials.isValid(password: "Circle of life", method: "GET"))
        #expect(!credentials.isValid(password: "Circle of Life", method: "POST"))
        let text = AuthenticationCredentials.digest(credentials).text
        #expect(try AuthenticationCredentials(parsing: text) == .digest(credentials))
    }

    // RFC 2617 §3.5, read from the header as it stands there.
    @Test func `The example of the older standard is right`() throws {
        let text = """
            Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", \
            uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", \
            response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"
            """
        guard case .digest(let credentials) = try AuthenticationCredentials(parsing: text) else {
            Issue.record("no digest")
            return
        }
        #expect(credentials.isValid(password: "Circle Of Life", method: "GET"))
        #expect(credentials.nonceCount == 1)
        #expect(!credentials.namesAlgorithm)
    }

    @Test func `A challenge without a quality of protection is answered in the oldest form`() throws {
        // HA1 = MD5(user:realm:pass), HA2 = MD5(DESCRIBE:rtsp://h/a), response = MD5(HA1:nonce:HA2).
        let challenge = DigestChallenge(realm: "r", nonce: "n", namesAlgorithm: false)
        let credentials = DigestCredentials(
            answering: challenge, username: "user", password: "pass", method: "DESCRIBE", uri: "rtsp://h/a",
            nonceCount: 1, clientNonce: "unused")
        let secret = DigestAlgorithm.md5.hash("user:r:pass")
        let request = DigestAlgorithm.md5.hash("DESCRIBE:rtsp://h/a")
        #expect(credentials.response == DigestAlgorithm.md5.hash("\(secret):n:\(request)"))
        let text = AuthenticationCredentials.digest(credentials).text
        #expect(!text.contains("cnonce") && !text.contains("algorithm") && !text.contains("qop"))
    }

    @Test func `The body counts where only integrity is offered`() {
        let credentials = DigestCredentials(
            answering: Self.challenge(.sha256, [.integrity]), username: "a", password: "b", method: "ANNOUNCE",
            uri: "rtsp://h/x", nonceCount: 2, clientNonce: "c", body: [1, 2, 3])
        #expect(credentials.isValid(password: "b", method: "ANNOUNCE", body: [1, 2, 3]))
        #expect(!credentials.isValid(password: "b", method: "ANNOUNCE", body: [1, 2, 4]))
    }

    // MARK: Headers

    @Test func `Several challenges stand in one header`() throws {
        let text = """
            Digest realm="a, b \\"c\\"", qop="auth, auth-int", algorithm=SHA-256, nonce="n1" , Basic realm="x", \
            Digest nonce=n2,realm=plain, stale=TRUE, Negotiate, Digest nonce="n3", algorithm=SHA-512-256
            """
        let challenges = try AuthenticationChallenge.parse(text)
        #expect(
            challenges == [
                .digest(
                    DigestChallenge(
                        realm: "a, b \"c\"", nonce: "n1", algorithm: .sha256,
                        protections: [.authentication, .integrity])),
                .basic(realm: "x"),
                .digest(DigestChallenge(realm: "plain", nonce: "n2", namesAlgorithm: false, isStale: true)),
            ])
        #expect(AuthenticationChallenge.strongest(challenges) == challenges[0])
        for challenge in challenges { #expect(try AuthenticationChallenge.parse(challenge.text) == [challenge]) }
    }

    @Test(arguments: [
        ("", AuthenticationError.missingParameter("scheme")),
        ("Digest username=\"a\"", .missingParameter("realm")),
        ("Digest username=\"a", .truncated(offset: 18)),
        ("Digest username=\"a\\", .truncated(offset: 19)),
        ("Digest username=a, username=b", .repeatedParameter("username")),
        ("=", .unexpectedByte(UInt8(ascii: "="), offset: 0)),
        ("Negotiate abc", .unsupportedScheme("negotiate")),
        ("Basic !!!", .malformedBasic), ("Basic dXNlcg==", .malformedBasic), ("Basic", .malformedBasic),
        ("Bearer", .missingParameter("token")),
        ("Digest username=a,realm=b,nonce=c,uri=d,response=e", .invalidValue("response")),
        ("Digest username=a,realm=b,nonce=c,uri=d,algorithm=X,response=e", .unsupportedAlgorithm("X")),
        ("Digest username=a,realm=b,nonce=c,uri=d,qop=x,response=e", .unsupportedProtection("x")),
        ("Digest username=a,realm=b,nonce=c,uri=d,qop=auth,nc=xyz,response=e", .invalidValue("nc")),
        ("Digest username=a,realm=b,nonce=c,uri=d,qop=auth,nc=1,response=e", .missingParameter("cnonce")),
    ])
    func `What cannot be read is refused with its reason`(_ text: String, _ error: AuthenticationError) {
        #expect(throws: error) { try AuthenticationCredentials(parsing: text) }
    }

    @Test func `Long headers and long lists are refused`() {
        let long = "Digest a=\"" + String(repeating: "x", count: 9_000) + "\""
        #expect(throws: AuthenticationError.tooLong(length: 9_011, limit: 8_192)) {
            try AuthenticationChallenge.parse(long)
        }
        let many = "Digest " + (0..<40).map { "p\($0)=1" }.joined(separator: ",")
        #expect(throws: AuthenticationError.tooManyParameters(limit: 32)) { try AuthenticationChallenge.parse(many) }
        let schemes = (0..<10).map { _ in "Basic realm=x" }.joined(separator: ",")
        #expect(throws: AuthenticationError.tooManyParameters(limit: 8)) { try AuthenticationChallenge.parse(schemes) }
    }

    @Test func `No prefix of a header traps`() {
        let texts = [
            "Digest username=\"Mufasa\", realm=\"t\\\"r\", nonce=n, uri=\"/\", qop=auth, nc=00000001, cnonce=\"0a\", "
                + "response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5\"", "Basic dXNlcjpwYXNz", "Bearer a.b.c",
        ]
        for text in texts {
            for count in 0...text.utf8.count {
                let prefix = String(decoding: text.utf8.prefix(count), as: UTF8.self)
                let credentials = try? AuthenticationCredentials(parsing: prefix)
                // Nothing, and a scheme that is not whole, are no credentials; the whole header is.
                if count < 5 { #expect(credentials == nil, "\(prefix)") }
                if count == text.utf8.count { #expect(credentials != nil, "\(prefix)") }
            }
        }
    }

    @Test func `Passwords of Basic may hold colons`() throws {
        let credentials = AuthenticationCredentials.basic(username: "user", password: "p:a:ß")
        #expect(try AuthenticationCredentials(parsing: credentials.text) == credentials)
        #expect(
            try AuthenticationCredentials(parsing: "basic dXNlcjpwYXNz") == .basic(username: "user", password: "pass"))
        #expect(try AuthenticationCredentials(parsing: "Bearer eyJh.b-_c.d=") == .bearer("eyJh.b-_c.d="))
    }

    // RFC 4648 §10.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func `Base64 has the form of the standard`(_ plain: String, _ coded: String) {
        #expect(Base64.encode(Array(plain.utf8)) == coded)
        #expect(Base64.decode(coded) == Array(plain.utf8))
        #expect(Base64.decode(coded.filter { $0 != "=" }) == Array(plain.utf8))
        #expect(Base64.decode("Zg=Z") == nil && Base64.decode("Z") == nil && Base64.decode("Z-8=") == nil)
    }
}

@Suite struct DigestNonceBookTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000)

    private static func answer(_ nonce: String, count: UInt32, isOld: Bool = false) -> DigestCredentials {
        DigestCredentials(
            answering: DigestChallenge(realm: "r", nonce: nonce, protections: isOld ? [] : [.authentication]),
            username: "u", password: "p", method: "REGISTER", uri: "sip:x", nonceCount: count, clientNonce: "c")
    }

    @Test func `A count that does not rise is a repetition`() {
        let book = Book(DigestNonceBook())
        let nonce = book.issue(randomBytes: [1, 2, 0xFF], now: Self.start)
        #expect(nonce == "0102ff")
        #expect(book.use(Self.answer(nonce, count: 1), now: Self.start) == .usable)
        #expect(book.use(Self.answer(nonce, count: 1), now: Self.start) == .replayed)
        #expect(book.use(Self.answer(nonce, count: 5), now: Self.start) == .usable)
        #expect(book.use(Self.answer(nonce, count: 4), now: Self.start) == .replayed)
        #expect(book.use(Self.answer(nonce, count: 0), now: Self.start) == .replayed)
    }

    @Test func `The older form may use its nonce again`() {
        let book = Book(DigestNonceBook())
        let nonce = book.issue(randomBytes: [1], now: Self.start)
        for _ in 0..<3 { #expect(book.use(Self.answer(nonce, count: 1, isOld: true), now: Self.start) == .usable) }
    }

    @Test func `Nonces expire, make way, and are not those of others`() {
        let book = Book(DigestNonceBook(capacity: 2, lifetime: .seconds(10)))
        let first = book.issue(randomBytes: [1], now: Self.start)
        #expect(book.use(Self.answer(first, count: 1), now: Self.start + .seconds(9)) == .usable)
        #expect(book.use(Self.answer(first, count: 2), now: Self.start + .seconds(10)) == .stale)
        #expect(book.use(Self.answer("other", count: 1), now: Self.start) == .stale)
        _ = book.issue(randomBytes: [2], now: Self.start)
        _ = book.issue(randomBytes: [3], now: Self.start)
        #expect(book.count == 2)
        #expect(book.use(Self.answer(first, count: 3), now: Self.start) == .stale)
        // The same random bytes twice are one nonce.
        _ = book.issue(randomBytes: [3], now: Self.start)
        #expect(book.count == 1)
    }
}

@Suite struct DigestClientTests {
    private static func header(_ nonce: String, isStale: Bool = false) -> String {
        AuthenticationChallenge.digest(
            DigestChallenge(realm: "r", nonce: nonce, protections: [.authentication], isStale: isStale)
        ).text
    }

    @Test func `A client answers nothing that was not asked, and counts its answers`() throws {
        let client = Client(DigestClient(username: "u", password: "p"))
        #expect(client.authorization(method: "OPTIONS", uri: "*", clientNonce: "c") == nil)
        #expect(client.challenged(["Basic realm=\"r\"", Self.header("n")]))
        for count in 1...3 as ClosedRange<UInt32> {
            let text = try #require(client.authorization(method: "OPTIONS", uri: "*", clientNonce: "c"))
            guard case .digest(let credentials) = try AuthenticationCredentials(parsing: text) else {
                Issue.record("not the stronger one")
                return
            }
            #expect(credentials.nonceCount == count && credentials.isValid(password: "p", method: "OPTIONS"))
            client.accepted()
        }
    }

    @Test func `A wrong password is tried once, a stale nonce is replaced`() {
        let client = Client(DigestClient(username: "u", password: "p"))
        #expect(client.challenged([Self.header("a")]))
        #expect(client.challenged([Self.header("b", isStale: true)]))
        #expect(!client.challenged([Self.header("c")]))
        client.accepted()
        #expect(client.challenged([Self.header("d")]))
        #expect(!client.challenged([Self.header("e")]))
        #expect(client.challenged([Self.header("f", isStale: true)]))
        #expect(!client.challenged([Self.header("g", isStale: true)]))
    }

    @Test func `Challenges that nobody understands are not answered`() {
        let client = Client(DigestClient(username: "u", password: "p"))
        #expect(!client.challenged([]))
        #expect(!client.challenged(["Negotiate", "Digest nonce=\"x\", algorithm=SHA-512-256", "Digest \u{1}"]))
        #expect(client.authorization(method: "OPTIONS", uri: "*", clientNonce: "c") == nil)
        #expect(client.challenged(["Basic realm=\"r\""]))
        #expect(client.authorization(method: "OPTIONS", uri: "*", clientNonce: "c") == "Basic dTpw")
    }
}

/// Expectations take no mutating calls: these hold what is mutated.
private final class Book {
    private var book: DigestNonceBook

    init(_ book: DigestNonceBook) { self.book = book }

    var count: Int { self.book.count }

    func issue(randomBytes: [UInt8], now: NIODeadline) -> String { self.book.issue(randomBytes: randomBytes, now: now) }

    func use(_ credentials: DigestCredentials, now: NIODeadline) -> DigestNonceBook.Judgement {
        self.book.use(credentials, now: now)
    }
}

private final class Client {
    private var client: DigestClient

    init(_ client: DigestClient) { self.client = client }

    func challenged(_ headers: [String]) -> Bool { self.client.challenged(headers) }

    func accepted() { self.client.accepted() }

    func authorization(method: String, uri: String, clientNonce: String) -> String? {
        self.client.authorization(method: method, uri: uri, clientNonce: clientNonce)
    }
}
