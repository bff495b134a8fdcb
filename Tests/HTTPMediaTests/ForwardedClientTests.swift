import NIOCore
import NIOHTTP1
import Testing

@testable import HTTPMedia

@Suite("Clients behind proxies")
struct ForwardedClientTests {
    /// Trusts 10.0.0.0/8 and 2001:db8:1::/48.
    private static func trusts(_ address: SocketAddress) -> Bool {
        address.ipAddress.map { $0.hasPrefix("10.") || $0.hasPrefix("2001:db8:1:") } ?? false
    }

    private static func address(_ fields: [(String, String)], peer: String = "10.0.0.1") throws -> String? {
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/", headers: HTTPHeaders(fields))
        return ForwardedClient.address(
            RequestFields(head), peer: try SocketAddress(ipAddress: peer, port: 9), trusts: Self.trusts)
    }

    @Test("the last address that is no proxy's is the client")
    func lists() throws {
        for (list, client) in [
            ("203.0.113.7", "203.0.113.7"), ("1.2.3.4, 203.0.113.7", "203.0.113.7"),
            ("1.2.3.4,203.0.113.7 , 10.1.1.1,\t10.2.2.2", "203.0.113.7"), ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("203.0.113.7:4711", "203.0.113.7"), ("2001:db8::7", "2001:db8::7"), ("[2001:db8::7]:80", "2001:db8::7"),
            ("\"[2001:db8::7]:80\"", "2001:db8::7"), ("203.0.113.7, 2001:db8:1:0::2", "203.0.113.7"),
        ] {
            #expect(try Self.address([("X-Forwarded-For", list)]) == client, "\(list)")
        }
    }

    @Test("fields that repeat are one list")
    func repeated() throws {
        #expect(
            try Self.address([("X-Forwarded-For", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7"), ("Host", "h")])
                == "203.0.113.7")
    }

    @Test("what cannot be read ends the walk, and names nobody to its left")
    func unreadable() throws {
        #expect(try Self.address([("X-Forwarded-For", "1.1.1.1, unknown")]) == nil)
        #expect(try Self.address([("X-Forwarded-For", "1.1.1.1, , 10.0.0.2")]) == "10.0.0.2")
        #expect(try Self.address([("X-Forwarded-For", "")]) == nil)
        #expect(try Self.address([("X-Forwarded-For", String(repeating: "9", count: 10_000))]) == nil)
        let many = Array(repeating: "10.9.9.9", count: 40).joined(separator: ",")
        #expect(try Self.address([("X-Forwarded-For", "203.0.113.7," + many)]) == "10.9.9.9")
    }

    @Test("a peer that is no proxy is not asked")
    func untrusted() throws {
        for name in ["X-Forwarded-For", "X-Real-IP"] {
            #expect(try Self.address([(name, "203.0.113.7")], peer: "192.0.2.1") == nil)
        }
        #expect(try Self.address([("Forwarded", "for=203.0.113.7")], peer: "192.0.2.1") == nil)
        #expect(try Self.address([]) == nil)
    }

    @Test("the other fields count where the list is not there")
    func otherFields() throws {
        #expect(try Self.address([("X-Real-IP", "203.0.113.7")]) == "203.0.113.7")
        #expect(try Self.address([("Forwarded", "for=203.0.113.7;proto=https;by=10.0.0.1")]) == "203.0.113.7")
        #expect(
            try Self.address([("Forwarded", "For=\"[2001:db8::9]:4711\", proto=http;for=10.1.1.1")]) == "2001:db8::9")
        #expect(try Self.address([("Forwarded", "for=203.0.113.7, for=_hidden")]) == nil)
        #expect(try Self.address([("Forwarded", "by=10.0.0.1")]) == nil)
        #expect(
            try Self.address([("X-Real-IP", "1.1.1.1"), ("Forwarded", "for=2.2.2.2"), ("X-Forwarded-For", "3.3.3.3")])
                == "3.3.3.3")
    }
}
