/// Why a text names no address and no range of addresses. Offsets are in UTF-8 bytes from its beginning.
package enum CIDRError: Error, Equatable, Sendable {
    case empty
    case tooLong(length: Int)
    case unexpectedByte(UInt8, offset: Int)
    /// The text ends where something has to follow.
    case truncated(length: Int)
    /// An octet of an IPv4 address is above 255.
    case octetTooLarge(offset: Int)
    /// An octet or a prefix length begins with a zero that others take for octal.
    case leadingZero(offset: Int)
    /// More than four octets, or more than eight groups.
    case tooManyParts(offset: Int)
    case tooFewParts(found: Int)
    /// A group of an IPv6 address has more than four digits.
    case groupTooLong(offset: Int)
    /// A second `::`.
    case secondCompression(offset: Int)
    case prefixTooLong(found: Int, maximum: Int, offset: Int)
}

/// A range of addresses: `192.0.2.0/24`, `2001:db8::/32`, one address, or `all`.
///
/// Ranges of IPv6 hold no IPv4 address and the other way round; `all` holds both. `::ffff:192.0.2.0/120` is
/// `192.0.2.0/24`. Bits behind the prefix are cleared: `192.0.2.7/24` is `192.0.2.0/24`.
package struct CIDR: Hashable, Sendable {
    /// The first address.
    package let address: IPAddress
    /// Bits of `address`, from 0 to 128, that all addresses of the range share. IPv4's prefixes count from 96 on.
    package let prefixLength: Int

    private init(address: IPAddress, prefixLength: Int) {
        self.address = address.masked(to: prefixLength)
        self.prefixLength = prefixLength
    }

    /// Every address of both families.
    package static let all = CIDR(address: IPAddress(high: 0, low: 0), prefixLength: -1, isAll: ())

    private init(address: IPAddress, prefixLength: Int, isAll: Void) {
        self.address = address
        self.prefixLength = prefixLength
    }

    /// Just this address.
    package init(_ address: IPAddress) { self.init(address: address, prefixLength: 128) }

    /// Reads a range; nothing but the range may be in `text`.
    package init(parsing text: String) throws(CIDRError) {
        if text == "all" {
            self = .all
            return
        }
        let bytes = Array(text.utf8)
        guard bytes.count <= AddressReader.maximumLength else { throw .tooLong(length: bytes.count) }
        guard let slash = bytes.firstIndex(of: UInt8(ascii: "/")) else {
            self.init(try AddressReader.address(bytes))
            return
        }
        let address = try AddressReader.address(Array(bytes[..<slash]))
        let isDotted = address.isIPv4 && !bytes[..<slash].contains(UInt8(ascii: ":"))
        let length = try AddressReader.prefixLength(bytes, from: slash + 1, maximum: isDotted ? 32 : 128)
        self.init(address: address, prefixLength: isDotted ? 96 + length : length)
    }

    package var isAll: Bool { self.prefixLength < 0 }
    package var isIPv4: Bool { !self.isAll && self.prefixLength >= 96 && self.address.isIPv4 }

    package func contains(_ address: IPAddress) -> Bool {
        if self.isAll { return true }
        return self.isIPv4 == address.isIPv4 && self.address.shares(self.prefixLength, with: address)
    }
}

extension CIDR: CustomStringConvertible {
    /// As `init(parsing:)` reads it; a range of one address without its prefix length.
    package var description: String {
        if self.isAll { return "all" }
        if self.prefixLength == 128 { return "\(self.address)" }
        return "\(self.address)/\(self.isIPv4 ? self.prefixLength - 96 : self.prefixLength)"
    }
}
