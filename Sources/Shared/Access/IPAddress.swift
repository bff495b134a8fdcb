/// An IPv4 or IPv6 address as 16 bytes.
///
/// IPv4 is kept as IPv4-mapped IPv6 (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2), so both ways to write such an address are
/// equal: a socket that takes both families tells IPv4 peers in the mapped form.
package struct IPAddress: Hashable, Sendable {
    /// The first 8 bytes, in network order.
    package let high: UInt64
    /// The last 8 bytes.
    package let low: UInt64

    /// What stands above the 32 bits of an IPv4 address.
    private static let mappedMark: UInt64 = 0xFFFF

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The most significant byte is the first of the four.
    package init(ipv4: UInt32) {
        self.init(high: 0, low: Self.mappedMark << 32 | UInt64(ipv4))
    }

    /// Reads an address and nothing else: four decimal numbers, or IPv6 as RFC 4291 §2.2 writes it.
    ///
    /// Octets have no leading zeros, which some take for octal. Zones (`%eth0`), brackets, ports and white space are
    /// errors.
    package init(parsing text: String) throws(CIDRError) {
        self = try AddressReader.address(Array(text.utf8))
    }

    /// The address of an endpoint as sockets and proxies tell it: `192.0.2.1:80`, `[2001:db8::1]:80`, or without a port.
    ///
    /// A zone is left out. `nil` if it is none, such as the path of a Unix socket.
    package init?(endpoint text: String) {
        guard text.utf8.count <= AddressReader.maximumLength else { return nil }
        var bytes = Array(text.utf8)[...]
        if bytes.first == UInt8(ascii: "[") {
            guard let end = bytes.firstIndex(of: UInt8(ascii: "]")) else { return nil }
            let rest = bytes[(end + 1)...]
            guard rest.isEmpty || Self.isPort(rest) else { return nil }
            bytes = bytes[(bytes.startIndex + 1)..<end]
        } else if let colon = bytes.firstIndex(of: UInt8(ascii: ":")), bytes.lastIndex(of: UInt8(ascii: ":")) == colon {
            guard Self.isPort(bytes[colon...]) else { return nil }
            bytes = bytes[..<colon]
        }
        if let zone = bytes.firstIndex(of: UInt8(ascii: "%")) { bytes = bytes[..<zone] }
        guard let address = try? AddressReader.address(Array(bytes)) else { return nil }
        self = address
    }

    private static func isPort(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard bytes.first == UInt8(ascii: ":"), (2...6).contains(bytes.count) else { return false }
        return bytes.dropFirst().allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    package var isIPv4: Bool { self.high == 0 && self.low >> 32 == Self.mappedMark }

    /// What one subscriber is commonly given: the address itself with IPv4, the first 64 bits with IPv6.
    package var subscriber: IPAddress { self.isIPv4 ? self : IPAddress(high: self.high, low: 0) }

    /// Whether the first `count` bits are those of `other`. `count` is 0…128.
    func shares(_ count: Int, with other: IPAddress) -> Bool {
        let highMask = count >= 64 ? UInt64.max : ~(UInt64.max >> UInt64(count))
        let lowMask = count <= 64 ? 0 : count >= 128 ? UInt64.max : ~(UInt64.max >> UInt64(count - 64))
        return (self.high ^ other.high) & highMask == 0 && (self.low ^ other.low) & lowMask == 0
    }

    /// The address with all bits behind the first `count` cleared.
    func masked(to count: Int) -> IPAddress {
        let highMask = count >= 64 ? UInt64.max : ~(UInt64.max >> UInt64(count))
        let lowMask = count <= 64 ? 0 : count >= 128 ? UInt64.max : ~(UInt64.max >> UInt64(count - 64))
        return IPAddress(high: self.high & highMask, low: self.low & lowMask)
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted for IPv4, else as RFC 5952 says: lower case, the longest run of two or more zero groups as `::`.
    package var description: String {
        if self.isIPv4 {
            let bits = UInt32(truncatingIfNeeded: self.low)
            return "\(bits >> 24).\(bits >> 16 & 0xFF).\(bits >> 8 & 0xFF).\(bits & 0xFF)"
        }
        let groups = (0..<8).map { index in
            let half = index < 4 ? self.high : self.low
            return UInt16(truncatingIfNeeded: half >> UInt64(48 - 16 * (index % 4)))
        }
        var longest = 0..<0
        var start = 0
        while start < 8 {
            let end = groups[start...].firstIndex { $0 != 0 } ?? 8
            if end - start > longest.count { longest = start..<end }
            start = max(end, start + 1)
        }
        func text(_ part: ArraySlice<UInt16>) -> String {
            part.map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard longest.count >= 2 else { return text(groups[...]) }
        return "\(text(groups[..<longest.lowerBound]))::\(text(groups[longest.upperBound...]))"
    }
}
