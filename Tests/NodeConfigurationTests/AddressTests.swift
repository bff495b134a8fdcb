import Testing

@testable import NodeConfiguration

@Suite("Addresses")
struct AddressTests {
    @Test(
        "an address to listen on is HOST:PORT, with brackets for IPv6; no host means all of IPv4",
        arguments: [
            ("0.0.0.0:1935", "0.0.0.0", 1_935), (":1935", "0.0.0.0", 1_935), ("[::]:1935", "::", 1_935),
            ("[::1]:80", "::1", 80), ("localhost:0", "localhost", 0),
            ("media_1.example:65535", "media_1.example", 65_535),
            ("[fe80::1%eth0]:1935", "fe80::1%eth0", 1_935),
        ])
    func listenAddresses(text: String, host: String, port: Int) throws {
        #expect(try ListenAddress(parsing: text) == ListenAddress(host: host, port: port))
    }

    @Test(
        "a listener without a port, with a bad one, or with unbracketed IPv6 is refused",
        arguments: [
            "", "1935", "localhost", "localhost:", ":", ":65536", ":-1", ":19x", "::1:1935", "[::1", "[::1]1935",
            "[localhost]:1", "a b:1", "http://a:1", "host:99999999999999999999", "[::1]:", "a/b:1", ":+80",
        ])
    func badListenAddresses(text: String) {
        #expect(throws: ValueProblem.self) { try ListenAddress(parsing: text) }
    }

    @Test("descriptions read back", arguments: ["127.0.0.1:1935", "[::1]:1935", "[::]:0", "edge.example:80"])
    func descriptions(text: String) throws {
        #expect(try ListenAddress(parsing: text).description == text)
    }

    @Test("loopback is 127.0.0.0/8, ::1 and localhost, and nothing that only looks like it")
    func loopback() {
        for host in ["127.0.0.1", "127.1.2.3", "::1", "localhost"] {
            #expect(ListenAddress(host: host, port: 1).isLoopback, "\(host)")
        }
        for host in [
            "0.0.0.0", "::", "10.0.0.1", "127.example.com", "127.0.0.1.example", "localhost.example", "127.0.0",
        ] {
            #expect(!ListenAddress(host: host, port: 1).isLoopback, "\(host)")
        }
    }

    @Test("a peer needs a host, and has a default port")
    func peers() throws {
        #expect(try PeerAddress(parsing: "origin-1", defaultPort: 1_935) == PeerAddress(host: "origin-1", port: 1_935))
        #expect(try PeerAddress(parsing: "[::1]", defaultPort: 1_935) == PeerAddress(host: "::1", port: 1_935))
        #expect(try PeerAddress(parsing: "a:1", defaultPort: 1_935).description == "a:1")
        for text in ["", ":1935", "a:0", "a:", "[::1"] {
            #expect(throws: ValueProblem.self, "\(text)") { try PeerAddress(parsing: text, defaultPort: 1_935) }
        }
    }

    @Test("a service's URL is a scheme, a host and a port")
    func serviceURLs() throws {
        #expect(try ServiceURL(parsing: "http://a:7000") == ServiceURL(host: "a", port: 7_000))
        #expect(try ServiceURL(parsing: "HTTP://a:7000/").description == "http://a:7000")
        #expect(try ServiceURL(parsing: "https://a") == ServiceURL(isTLS: true, host: "a", port: 443))
        #expect(try ServiceURL(parsing: "http://[::1]").description == "http://[::1]:80")
        #expect(try ServiceURL(parsing: "http://127.0.0.1:1").isLoopback)
        for text in [
            "", "a:7000", "ftp://a", "http://", "http://:80", "http://a:0", "http://a/b", "http://a:1/b", "http://a//",
        ] {
            #expect(throws: ValueProblem.self, "\(text)") { try ServiceURL(parsing: text) }
        }
    }

    @Test("a callback's URL may have a path and a query")
    func callbackURLs() throws {
        #expect(
            try CallbackURL(parsing: "http://a:8085/api/v1/dvrs?k=v").description == "http://a:8085/api/v1/dvrs?k=v")
        #expect(try CallbackURL(parsing: "https://a").description == "https://a:443/")
        #expect(try CallbackURL(parsing: "http://[::1]:1?x").description == "http://[::1]:1/?x")
        for text in ["", "/a", "a:1/b", "ftp://a/b", "http:///b", "http://a:0/b", "http://a/b c", "http://a/b#c"] {
            #expect(throws: ValueProblem.self, "\(text)") { try CallbackURL(parsing: text) }
        }
    }

    @Test("domains are compared without case, port, brackets and the dot at the end")
    func normalizedDomains() {
        #expect(DomainPattern.normalize("Live.Example.COM:1935") == "live.example.com")
        #expect(DomainPattern.normalize("live.example.com.") == "live.example.com")
        #expect(DomainPattern.normalize("live.example.com.:80") == "live.example.com")
        #expect(DomainPattern.normalize("[::1]:80") == "::1")
        #expect(DomainPattern.normalize("::1") == "::1")
        #expect(DomainPattern.normalize("") == "")
    }

    @Test("a wildcard matches names below its domain, not the domain and not its look-alikes")
    func wildcards() throws {
        let pattern = try DomainPattern(parsing: "*.Example.com")
        #expect(pattern.matches("a.example.com"))
        #expect(pattern.matches("a.b.example.com"))
        #expect(!pattern.matches("example.com"))
        #expect(!pattern.matches("badexample.com"))
        #expect(pattern.description == "*.example.com")
        for text in ["", "*", "*.", "a.*.b", "a b", "a/b"] {
            #expect(throws: ValueProblem.self, "\(text)") { try DomainPattern(parsing: text) }
        }
    }
}
