import Access
import Testing

@Suite("CIDR")
struct CIDRTests {
    @Test(
        "addresses are read as RFC 4291 writes them, and written as RFC 5952 does",
        arguments: [
            ("192.0.2.1", "192.0.2.1"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
            ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0:0:8:800:200C:417A", "2001:db8::8:800:200c:417a"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("0:0:0:0:0:0:0:1", "::1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"), ("::192.0.2.1", "::c000:201"),
            ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
            ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("1::3:4:5:6:7:8", "1:0:3:4:5:6:7:8"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
        ])
    func addresses(text: String, written: String) throws {
        let address = try IPAddress(parsing: text)
        #expect("\(address)" == written)
        #expect(try IPAddress(parsing: written) == address)
        #expect(try "\(CIDR(parsing: text))" == written)
    }

    @Test(
        "what is no address is refused, with the offset",
        arguments: [
            ("", CIDRError.empty), ("1.2.3", .tooFewParts(found: 3)), ("1.2.3.4.5", .tooManyParts(offset: 8)),
            ("1.2.3.256", .octetTooLarge(offset: 6)), ("1.2.3.1000", .octetTooLarge(offset: 6)),
            ("1.2.03.4", .leadingZero(offset: 4)), ("1.2.00.4", .leadingZero(offset: 4)),
            ("1..2.3", .unexpectedByte(46, offset: 2)), (".1.2.3", .unexpectedByte(46, offset: 0)),
            ("1.2.3.", .truncated(length: 6)), ("1.2.3.4 ", .unexpectedByte(32, offset: 7)),
            (" 1.2.3.4", .unexpectedByte(32, offset: 0)), ("0x1.2.3.4", .unexpectedByte(120, offset: 1)),
            ("1.2.3.4\0", .unexpectedByte(0, offset: 7)), ("example", .unexpectedByte(101, offset: 0)),
            ("-1.2.3.4", .unexpectedByte(45, offset: 0)), (":", .truncated(length: 1)),
            (":1", .unexpectedByte(49, offset: 1)), ("1:", .truncated(length: 2)), ("1:2", .tooFewParts(found: 2)),
            ("1:2:3:4:5:6:7", .tooFewParts(found: 7)), ("1:2:3:4:5:6:7:8:9", .tooManyParts(offset: 16)),
            ("12345::", .groupTooLong(offset: 0)), ("1::2::3", .secondCompression(offset: 4)),
            (":::", .unexpectedByte(58, offset: 2)), ("1:::2", .unexpectedByte(58, offset: 3)),
            ("::g", .unexpectedByte(103, offset: 2)), ("[::1]", .unexpectedByte(91, offset: 0)),
            ("fe80::1%eth0", .unexpectedByte(37, offset: 7)), ("::1.2.3", .tooFewParts(found: 3)),
            ("::1.2.3.4:5", .unexpectedByte(58, offset: 9)), ("1:2:3:4:5:6:7:1.2.3.4", .tooManyParts(offset: 14)),
            ("1:2:3:4:5:6:7:8::", .tooManyParts(offset: 17)), ("1:2:3:4::5:6:7:8", .tooManyParts(offset: 16)),
            ("::.1.2.3", .unexpectedByte(46, offset: 2)), ("1.2.3.4:5", .unexpectedByte(58, offset: 7)),
            (String(repeating: "1", count: 65), .tooLong(length: 65)), ("١.2.3.4", .unexpectedByte(217, offset: 0)),
        ])
    func noAddresses(text: String, error: CIDRError) {
        #expect(throws: error) { try IPAddress(parsing: text) }
        #expect(throws: error) { try CIDR(parsing: text) }
    }

    @Test(
        "what is no range is refused, with the offset",
        arguments: [
            ("1.2.3.4/", CIDRError.truncated(length: 8)),
            ("1.2.3.4/33", .prefixTooLong(found: 33, maximum: 32, offset: 8)),
            ("::/129", .prefixTooLong(found: 129, maximum: 128, offset: 3)), ("1.2.3.4/08", .leadingZero(offset: 8)),
            ("1.2.3.4/-1", .unexpectedByte(45, offset: 8)), ("1.2.3.4/8/8", .unexpectedByte(47, offset: 9)),
            ("1.2.3.4/255.0.0.0", .prefixTooLong(found: 255, maximum: 32, offset: 8)),
            ("1.2.3.4/ 8", .unexpectedByte(32, offset: 8)), ("/8", .empty), ("ALL", .unexpectedByte(65, offset: 0)),
            ("all ", .unexpectedByte(97, offset: 0)), ("all/8", .unexpectedByte(97, offset: 0)),
            ("*", .unexpectedByte(42, offset: 0)), ("1.2.3.0-9", .unexpectedByte(45, offset: 7)),
            ("1.2.3.4/" + String(repeating: "9", count: 40), .prefixTooLong(found: 99, maximum: 32, offset: 8)),
        ])
    func noRanges(text: String, error: CIDRError) {
        #expect(throws: error) { try CIDR(parsing: text) }
    }

    @Test(
        "a range holds what shares its prefix, and nothing else",
        arguments: [
            (
                "10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
                ["9.255.255.255", "11.0.0.0", "::10.0.0.1"]
            ),
            ("10.1.2.3/8", ["10.0.0.0", "10.9.9.9"], ["11.1.2.3"]),
            ("192.0.2.128/25", ["192.0.2.128", "192.0.2.255"], ["192.0.2.127", "192.0.3.128"]),
            ("192.0.2.7", ["192.0.2.7"], ["192.0.2.6", "192.0.2.8"]), ("192.0.2.7/32", ["192.0.2.7"], ["192.0.2.6"]),
            ("0.0.0.0/0", ["1.2.3.4", "255.255.255.255", "::ffff:1.2.3.4"], ["::1", "2001:db8::1"]),
            ("::/0", ["::1", "2001:db8::1", "ffff::"], ["1.2.3.4", "::ffff:1.2.3.4"]),
            ("2001:db8::/32", ["2001:db8::1", "2001:db8:ffff::"], ["2001:db9::", "2001:db7:ffff::", "1.2.3.4"]),
            ("2001:db8::/63", ["2001:db8::1", "2001:db8:0:1::1"], ["2001:db8:0:2::"]),
            ("2001:db8::/65", ["2001:db8::7fff:0:0:0"], ["2001:db8::8000:0:0:0"]),
            ("2001:db8::/64", ["2001:db8::ffff:0:0:0"], ["2001:db8:0:1::"]),
            ("fe80::1/127", ["fe80::", "fe80::1"], ["fe80::2"]), ("::1", ["::1"], ["::", "0.0.0.1"]),
            ("::ffff:10.0.0.0/104", ["10.1.2.3"], ["11.1.2.3"]), ("::ffff:0:0/96", ["1.2.3.4"], ["::1"]),
            ("all", ["1.2.3.4", "::1", "::", "0.0.0.0", "ffff::"], []),
        ])
    func containment(text: String, inside: [String], outside: [String]) throws {
        let range = try CIDR(parsing: text)
        for address in inside { #expect(try range.contains(IPAddress(parsing: address)), "\(address)") }
        for address in outside { #expect(try !range.contains(IPAddress(parsing: address)), "\(address)") }
        #expect(try CIDR(parsing: "\(range)") == range)
    }

    @Test("each prefix length divides at its own bit")
    func everyPrefix() throws {
        let base = IPAddress(high: 0x2001_0db8_1234_5678, low: 0x9abc_def0_1357_9bdf)
        for length in 1...128 {
            let range = try CIDR(parsing: "\(base)/\(length)")
            let bit = 128 - length
            let flipped =
                bit >= 64
                ? IPAddress(high: base.high ^ 1 << UInt64(bit - 64), low: base.low)
                : IPAddress(high: base.high, low: base.low ^ 1 << UInt64(bit))
            #expect(range.contains(base) && !range.contains(flipped), "\(length)")
            guard bit > 0 else { continue }
            let below = IPAddress(
                high: bit > 64 ? base.high ^ 1 << UInt64(bit - 65) : base.high,
                low: bit <= 64 ? base.low ^ 1 << UInt64(bit - 1) : base.low)
            #expect(range.contains(below), "\(length)")
        }
    }

    @Test(
        "endpoints of sockets and proxies give their address",
        arguments: [
            ("192.0.2.1:80", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"), ("[fe80::1%eth0]:80", "fe80::1"),
            ("fe80::1%2", "fe80::1"), ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ])
    func endpoints(text: String, address: String) throws {
        #expect(IPAddress(endpoint: text) == (try IPAddress(parsing: address)))
    }

    @Test(
        "what is no endpoint is none",
        arguments: [
            "", "unknown", "/run/weir.sock", "192.0.2.1:", "192.0.2.1:port", "192.0.2.1:123456", "[::1", "[::1]80",
            "[::1]:",
            "::1]:80", "[192.0.2.1", "_hidden", ":80", "[]:80", String(repeating: "1", count: 100),
        ])
    func noEndpoints(text: String) { #expect(IPAddress(endpoint: text) == nil) }

    @Test("a subscriber is an IPv4 address, or 64 bits of IPv6")
    func subscribers() throws {
        #expect(try IPAddress(parsing: "192.0.2.1").subscriber == IPAddress(parsing: "::ffff:192.0.2.1"))
        #expect(try IPAddress(parsing: "2001:db8::1").subscriber == IPAddress(parsing: "2001:db8::ffff").subscriber)
        #expect(try IPAddress(parsing: "2001:db8::1").subscriber != IPAddress(parsing: "2001:db8:0:1::1").subscriber)
    }

    @Test("random bytes and damaged addresses are read or refused, and what is read is written and read again")
    func noise() throws {
        var random = Noise(seed: 0x5EED)
        let samples = ["192.0.2.1/24", "2001:db8::1/64", "::ffff:10.0.0.1/104", "1:2:3:4:5:6:7:8", "all", "[::1]:80"]
        let letters = Array("0123456789abcdefF:./%[]xg -".utf8)
        var read = 0
        for _ in 0..<50_000 {
            var bytes = Array((samples.randomElement(using: &random) ?? "").utf8)
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0...bytes.count, using: &random)
                if Bool.random(using: &random) || at == bytes.count {
                    bytes.insert(letters.randomElement(using: &random) ?? 0, at: at)
                } else {
                    bytes.remove(at: at)
                }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            _ = IPAddress(endpoint: text)
            guard let range = try? CIDR(parsing: text) else { continue }
            read += 1
            #expect(try CIDR(parsing: "\(range)") == range, "\(text)")
        }
        #expect(read > 1_000, "too few of the damaged addresses were addresses: \(read)")
    }
}

/// The same numbers for the same seed (SplitMix64).
struct Noise: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
