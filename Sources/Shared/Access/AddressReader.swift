/// Reads addresses from bytes. Everything that is no address is an error with its offset.
enum AddressReader {
    /// Longer texts are not looked at: the longest address has 45 bytes, with its prefix length 49.
    static let maximumLength = 64

    static func address(_ bytes: [UInt8]) throws(CIDRError) -> IPAddress {
        guard !bytes.isEmpty else { throw .empty }
        guard bytes.count <= self.maximumLength else { throw .tooLong(length: bytes.count) }
        guard bytes.contains(UInt8(ascii: ":")) else { return IPAddress(ipv4: try self.dotted(bytes, from: 0)) }
        return try self.grouped(bytes)
    }

    /// A decimal number from `start` to the end.
    static func prefixLength(_ bytes: [UInt8], from start: Int, maximum: Int) throws(CIDRError) -> Int {
        guard start < bytes.count else { throw .truncated(length: bytes.count) }
        var value = 0
        for offset in start..<bytes.count {
            guard let digit = self.decimal(bytes[offset]) else {
                throw .unexpectedByte(bytes[offset], offset: offset)
            }
            if offset == start, digit == 0, bytes.count > start + 1 { throw .leadingZero(offset: start) }
            value = value * 10 + digit
            guard value <= maximum else { throw .prefixTooLong(found: value, maximum: maximum, offset: start) }
        }
        return value
    }

    /// Four octets from `start` to the end.
    private static func dotted(_ bytes: [UInt8], from start: Int) throws(CIDRError) -> UInt32 {
        var address: UInt32 = 0
        var octet = 0
        var digits = 0
        var octets = 0
        for offset in start...bytes.count {
            guard offset < bytes.count, bytes[offset] != UInt8(ascii: ".") else {
                guard digits > 0 else {
                    if offset == bytes.count { throw .truncated(length: offset) }
                    throw .unexpectedByte(bytes[offset], offset: offset)
                }
                octets += 1
                guard octets <= 4 else { throw .tooManyParts(offset: offset - digits) }
                address = address << 8 | UInt32(octet)
                octet = 0
                digits = 0
                continue
            }
            guard let digit = self.decimal(bytes[offset]) else {
                throw .unexpectedByte(bytes[offset], offset: offset)
            }
            guard digits == 0 || octet > 0 else { throw .leadingZero(offset: offset - digits) }
            octet = octet * 10 + digit
            guard octet <= 255 else { throw .octetTooLarge(offset: offset - digits) }
            digits += 1
        }
        guard octets == 4 else { throw .tooFewParts(found: octets) }
        return address
    }

    /// Groups of four hexadecimal digits, one `::`, and perhaps an IPv4 address at the end.
    private static func grouped(_ bytes: [UInt8]) throws(CIDRError) -> IPAddress {
        var groups: [UInt16] = []
        var compression: Int?
        var offset = 0
        if bytes[0] == UInt8(ascii: ":") {
            guard bytes.count > 1 else { throw .truncated(length: 1) }
            guard bytes[1] == UInt8(ascii: ":") else { throw .unexpectedByte(bytes[1], offset: 1) }
            compression = 0
            offset = 2
        }
        while offset < bytes.count {
            let start = offset
            guard groups.count < 8 else { throw .tooManyParts(offset: start) }
            var group: UInt16 = 0
            while offset < bytes.count, let digit = self.hexadecimal(bytes[offset]) {
                guard offset - start < 4 else { throw .groupTooLong(offset: start) }
                group = group << 4 | UInt16(digit)
                offset += 1
            }
            if offset < bytes.count, bytes[offset] == UInt8(ascii: "."), offset > start {
                let address = try self.dotted(bytes, from: start)
                groups += [UInt16(truncatingIfNeeded: address >> 16), UInt16(truncatingIfNeeded: address)]
                guard groups.count <= 8 else { throw .tooManyParts(offset: start) }
                break
            }
            guard offset > start else { throw .unexpectedByte(bytes[offset], offset: offset) }
            groups.append(group)
            guard offset < bytes.count else { break }
            guard bytes[offset] == UInt8(ascii: ":") else { throw .unexpectedByte(bytes[offset], offset: offset) }
            offset += 1
            guard offset < bytes.count else { throw .truncated(length: bytes.count) }
            guard bytes[offset] == UInt8(ascii: ":") else { continue }
            guard compression == nil else { throw .secondCompression(offset: offset - 1) }
            compression = groups.count
            offset += 1
        }
        return try self.joined(groups, compression, length: bytes.count)
    }

    private static func joined(
        _ groups: [UInt16], _ compression: Int?, length: Int
    ) throws(CIDRError) -> IPAddress {
        var groups = groups
        if let compression {
            // RFC 4291 §2.2: `::` stands for one group of zeros or more.
            guard groups.count < 8 else { throw .tooManyParts(offset: length) }
            groups.insert(contentsOf: repeatElement(0, count: 8 - groups.count), at: compression)
        }
        guard groups.count == 8 else { throw .tooFewParts(found: groups.count) }
        let high = groups[..<4].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        return IPAddress(high: high, low: groups[4...].reduce(UInt64(0)) { $0 << 16 | UInt64($1) })
    }

    private static func decimal(_ byte: UInt8) -> Int? {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) ? Int(byte - UInt8(ascii: "0")) : nil
    }

    private static func hexadecimal(_ byte: UInt8) -> Int? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): Int(byte - UInt8(ascii: "a")) + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): Int(byte - UInt8(ascii: "A")) + 10
        default: nil
        }
    }
}
