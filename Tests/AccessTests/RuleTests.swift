import Access
import Testing

@Suite("Rules of addresses, pages and proxies")
struct RuleTests {
    private static func ranges(_ texts: [String]) throws -> [CIDR] { try texts.map { try CIDR(parsing: $0) } }

    @Test(
        "the longest prefix decides, a denial before a permission, and permissions keep strangers out",
        arguments: [
            // Allow, deny, who is let in, who is not.
            ([], [], ["192.0.2.1", "::1"], []),
            ([], ["192.0.2.7"], ["192.0.2.6", "::1"], ["192.0.2.7", "::ffff:192.0.2.7"]),
            (["10.0.0.0/8"], [], ["10.1.1.1"], ["11.0.0.1", "::1"]),
            (["10.0.0.0/8"], ["10.1.0.0/16"], ["10.2.0.1"], ["10.1.0.1", "192.0.2.1"]),
            (["10.1.2.0/24"], ["10.0.0.0/8"], ["10.1.2.3"], ["10.1.3.1", "192.0.2.1"]),
            (["192.0.2.7"], ["all"], ["192.0.2.7"], ["192.0.2.8", "::1"]),
            (["all"], ["192.0.2.7"], ["192.0.2.8", "::1"], ["192.0.2.7"]),
            (["192.0.2.0/24"], ["192.0.2.0/24"], [], ["192.0.2.1", "198.51.100.1"]),
            (["all"], ["all"], [], ["192.0.2.1", "::1"]), ([], ["all"], [], ["192.0.2.1", "::1"]),
            (["::/0"], [], ["2001:db8::1"], ["192.0.2.1"]), (["0.0.0.0/0"], [], ["192.0.2.1"], ["::1"]),
            (["10.0.0.0/8", "10.1.2.3"], ["10.1.2.0/24"], ["10.1.2.3", "10.9.9.9"], ["10.1.2.4"]),
            (["2001:db8::/32"], ["2001:db8:bad::/48"], ["2001:db8:1::1"], ["2001:db8:bad::1", "2001:db9::1"]),
        ] as [([String], [String], [String], [String])])
    func addresses(allow: [String], deny: [String], inside: [String], outside: [String]) throws {
        let rules = AddressRules(allow: try Self.ranges(allow), deny: try Self.ranges(deny))
        let turned = AddressRules(allow: try Self.ranges(allow.reversed()), deny: try Self.ranges(deny.reversed()))
        #expect(rules.isEmpty == (allow.isEmpty && deny.isEmpty))
        for address in inside {
            #expect(try rules.verdict(IPAddress(parsing: address)) == .allowed, "\(address)")
            #expect(try turned.verdict(IPAddress(parsing: address)) == .allowed, "\(address)")
        }
        for address in outside {
            #expect(try rules.verdict(IPAddress(parsing: address)) != .allowed, "\(address)")
            #expect(try turned.verdict(IPAddress(parsing: address)) != .allowed, "\(address)")
        }
    }

    @Test("a refusal names its rule, and peers without an address are held by `all` only")
    func reasons() throws {
        let denied = try CIDR(parsing: "10.0.0.0/8")
        let rules = AddressRules(allow: [try CIDR(parsing: "192.0.2.0/24")], deny: [denied])
        #expect(try rules.verdict(IPAddress(parsing: "10.0.0.1")) == .denied(denied))
        #expect(try rules.verdict(IPAddress(parsing: "11.0.0.1")) == .notListed)
        #expect(rules.verdict(nil) == .notListed)
        #expect(AddressRules(allow: [.all]).verdict(nil) == .allowed)
        #expect(AddressRules(deny: [.all]).verdict(nil) == .denied(.all))
        #expect(AddressRules(deny: [denied]).verdict(nil) == .allowed)
    }

    @Test(
        "pages are known by the host of the referer",
        arguments: [
            ("https://example.com/", true), ("http://example.com", true), ("https://EXAMPLE.com:8443/a?b=c#d", true),
            ("https://example.com./x", true), ("https://user@example.com/", true), ("https://example.com?x", true),
            ("https://a.example.org/", true), ("https://a.b.example.org/", true), ("http://[2001:db8::1]:80/", true),
            ("https://example.org/", false), ("https://www.example.com/", false), ("https://badexample.org/", false),
            ("https://example.com.evil.net/", false), ("https://evil.net/?https://example.com/", false),
            ("https://evil.net/example.com", false), ("https://evil.net#@example.com/", false),
            ("https://example.com@evil.net/", false), ("https://evil.net\\@example.com/", false),
            ("https://.example.org/", false),
        ])
    func pages(referer: String, isAllowed: Bool) throws {
        let rule = RefererRule(
            allow: try ["example.com", "*.Example.org", "2001:db8::1"].map { try HostPattern(parsing: $0) },
            allowsEmpty: false)
        #expect(rule.verdict(referer) == (isAllowed ? .allowed : .notListed))
    }

    @Test(
        "what is no URL with one host is malformed",
        arguments: [
            "example.com", "//example.com/", "https:/example.com", "https://", "https:///x", "://example.com",
            "https://a@b@example.com/", "https://exa mple.com/", "https://example.com:80:80/", "https://example.com:x/",
            "https://[example.com/", "https://[::1]x/", "https://exämple.com/", "https://example.com\u{0}.evil.net/",
            "java script://example.com/", "https://example.com:123456/", "https://example.com%2eevil.net/",
            "https://" + String(repeating: "a", count: 300),
            "https://example.com/" + String(repeating: "a", count: 9_000),
        ])
    func malformedPages(referer: String) throws {
        let rule = RefererRule(allow: [try HostPattern(parsing: "example.com")], allowsEmpty: true)
        #expect(rule.verdict(referer) == .malformed)
    }

    @Test("a missing referer is let in or not by setting, and without patterns every page may")
    func missingPages() throws {
        let pattern = try HostPattern(parsing: "example.com")
        #expect(RefererRule(allow: [pattern], allowsEmpty: true).verdict("") == .allowed)
        #expect(RefererRule(allow: [pattern], allowsEmpty: false).verdict("") == .missing)
        #expect(RefererRule(allow: [], allowsEmpty: false).verdict("") == .allowed)
        #expect(RefererRule().verdict("https://anywhere.example/") == .allowed)
        #expect(RefererRule().isEmpty && !RefererRule(allow: [pattern]).isEmpty)
    }

    @Test(
        "what is no pattern is refused",
        arguments: [
            ("", HostPatternError.empty), ("*.", .empty), (".", .empty), ("*", .unexpectedByte(42, offset: 0)),
            ("*.*.example.com", .unexpectedByte(42, offset: 2)), ("a*.example.com", .unexpectedByte(42, offset: 1)),
            ("https://example.com", .unexpectedByte(47, offset: 6)), ("example.com/", .unexpectedByte(47, offset: 11)),
            ("exämple.com", .unexpectedByte(195, offset: 2)), ("example..com", .unexpectedByte(46, offset: 8)),
            (".example.com", .unexpectedByte(46, offset: 0)), ("exa mple.com", .unexpectedByte(32, offset: 3)),
            ("example.com..", .unexpectedByte(46, offset: 11)),
            (String(repeating: "a", count: 256), .tooLong(length: 256)),
        ])
    func noPatterns(text: String, error: HostPatternError) {
        #expect(throws: error) { try HostPattern(parsing: text) }
    }

    @Test(
        "patterns are written as they are read",
        arguments: ["example.com", "*.example.com", "localhost", "a_b-c.example"])
    func patterns(text: String) throws {
        #expect("\(try HostPattern(parsing: text))" == text)
        #expect(try HostPattern(parsing: text.uppercased() + ".") == HostPattern(parsing: text))
    }

    @Test(
        "the client behind proxies is the last address that no trusted proxy has",
        arguments: [
            ("192.0.2.1", "198.51.100.1", "192.0.2.1"), ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"), ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "", "10.0.0.1"), ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, garbage", "10.0.0.1"), ("10.0.0.1", "garbage, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "[2001:db8::1]:99", "2001:db8::1"), ("10.0.0.1", " 2001:db8::1\t", "2001:db8::1"),
            ("10.0.0.1", "198.51.100.1,", "10.0.0.1"),
            ("10.0.0.1", String(repeating: "1.1.1.1,", count: 200) + "198.51.100.1", "10.0.0.1"),
        ])
    func proxies(peer: String, field: String, client: String) throws {
        let found = ForwardedFor.client(
            of: try IPAddress(parsing: peer), field: field, trusted: [try CIDR(parsing: "10.0.0.0/8")])
        #expect("\(found)" == client)
    }

    @Test(
        "credentials are found in queries",
        arguments: [
            ("token=abc", "abc"), ("a=b&token=abc&c=d", "abc"), ("a=b?token=abc", "abc"), ("token=a%2Eb", "a.b"),
            ("token=a+b", "a+b"), ("token=a=b", "a=b"), ("token=first&token=second", "first"), ("token=", nil),
            ("xtoken=abc", nil), ("tokens=abc", nil), ("token", nil), ("", nil), ("token=%", nil), ("token=%4", nil),
            ("token=%zz", nil), ("token=%ff", nil), ("Token=abc", nil), ("&&?token=abc", "abc"),
        ] as [(String, String?)])
    func queries(query: String, value: String?) {
        #expect(AccessQuery.value(of: "token", in: query) == value)
        #expect(AccessQuery.value(of: "", in: query) == nil)
    }

    @Test("hostile referers and queries are read or refused")
    func noise() {
        var random = Noise(seed: 7)
        let rule = RefererRule(allow: [(try? HostPattern(parsing: "*.example.com"))].compactMap(\.self))
        var verdicts: [RefererRule.Verdict: Int] = [:]
        let letters = Array("a.:/@[]\\?#%&=-exmplco\u{0}".utf8)
        for _ in 0..<20_000 {
            var bytes = Array("https://a.example.com:80/x?token=%41".utf8)
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = letters.randomElement(using: &random) ?? 0
            }
            let text = String(decoding: bytes, as: UTF8.self)
            verdicts[rule.verdict(text), default: 0] += 1
            _ = AccessQuery.value(of: "token", in: text)
            _ = try? HostPattern(parsing: text)
        }
        #expect(verdicts.count == 3 && verdicts[.missing] == nil, "\(verdicts)")
    }
}
