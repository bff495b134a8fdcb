/// Why a text is no pattern for hosts. Offsets are in UTF-8 bytes.
package enum HostPatternError: Error, Equatable, Sendable {
    case empty
    case tooLong(length: Int)
    case unexpectedByte(UInt8, offset: Int)
}

/// A host, or all hosts below one: `example.com`, `*.example.com`.
///
/// `*.example.com` does not hold `example.com` itself. Case does not matter.
package struct HostPattern: Sendable, Hashable {
    /// In lower case, without `*.`.
    private let host: String
    private let isWildcard: Bool

    /// Reads a pattern. Names outside ASCII are written as they travel: `xn--…`. A dot at the end is left out.
    package init(parsing text: String) throws(HostPatternError) {
        var bytes = Array(text.utf8)[...]
        guard bytes.count <= RefererHost.maximumLength else { throw .tooLong(length: bytes.count) }
        self.isWildcard = bytes.starts(with: "*.".utf8)
        if self.isWildcard { bytes = bytes.dropFirst(2) }
        if bytes.last == UInt8(ascii: ".") { bytes = bytes.dropLast() }
        guard !bytes.isEmpty else { throw .empty }
        var isAtStart = true
        for (offset, byte) in zip(bytes.indices, bytes) {
            guard RefererHost.isAllowed(byte), byte != UInt8(ascii: "."), byte != UInt8(ascii: ":") || !self.isWildcard
            else {
                guard byte == UInt8(ascii: "."), !isAtStart, offset != bytes.endIndex - 1 else {
                    throw .unexpectedByte(byte, offset: offset)
                }
                isAtStart = true
                continue
            }
            isAtStart = false
        }
        self.host = RefererHost.lowercased(bytes)
    }

    /// `host` is in lower case.
    func matches(_ host: String) -> Bool {
        guard self.isWildcard else { return host == self.host }
        return host.utf8.count > self.host.utf8.count + 1 && host.hasSuffix(self.host)
            && host.utf8.dropLast(self.host.utf8.count).last == UInt8(ascii: ".")
    }
}

extension HostPattern: CustomStringConvertible {
    package var description: String { self.isWildcard ? "*.\(self.host)" : self.host }
}

/// Which pages may show a stream, by the `Referer` of HTTP or the `pageUrl` of RTMP.
///
/// The peer writes both, so this keeps out pages of others, and nobody who makes requests by hand.
package struct RefererRule: Sendable, Hashable {
    package enum Verdict: Sendable, Hashable {
        case allowed
        /// The peer names no page.
        case missing
        /// It names something that is no URL with a host.
        case malformed
        case notListed
    }

    private let allowed: [HostPattern]
    private let allowsEmpty: Bool

    /// Without patterns every page may; `allowsEmpty` then changes nothing.
    package init(allow: [HostPattern] = [], allowsEmpty: Bool = true) {
        self.allowed = allow
        self.allowsEmpty = allowsEmpty
    }

    package var isEmpty: Bool { self.allowed.isEmpty }

    /// `referer` is the field as it came, or empty.
    package func verdict(_ referer: String) -> Verdict {
        guard !self.allowed.isEmpty else { return .allowed }
        guard !referer.isEmpty else { return self.allowsEmpty ? .allowed : .missing }
        guard let host = RefererHost.host(of: referer) else { return .malformed }
        return self.allowed.contains { $0.matches(host) } ? .allowed : .notListed
    }
}

/// The host in a URL that a stranger wrote.
enum RefererHost {
    static let maximumLength = 255
    private static let maximumURLLength = 8_192

    /// The host in lower case, without port and brackets. `nil` if the text is no URL with a host, or one that browsers
    /// and servers read in different ways.
    static func host(of url: String) -> String? {
        let bytes = Array(url.utf8)
        guard bytes.count <= self.maximumURLLength, let start = self.authorityStart(bytes) else { return nil }
        // Browsers take a backslash for a slash, others do not: whatever stands behind one is not believed.
        let end = bytes[start...].firstIndex { "/?#\\".utf8.contains($0) } ?? bytes.count
        var host = bytes[start..<end]
        // RFC 3986 §3.2.1: the user's name ends at the last `@` for some and at the first for others.
        if let at = host.firstIndex(of: UInt8(ascii: "@")) {
            guard host.lastIndex(of: UInt8(ascii: "@")) == at else { return nil }
            host = host[(at + 1)...]
        }
        if host.first == UInt8(ascii: "[") {
            guard let close = host.firstIndex(of: UInt8(ascii: "]")), self.isPort(host[(close + 1)...]) else {
                return nil
            }
            host = host[(host.startIndex + 1)..<close]
            guard host.allSatisfy({ self.isAllowed($0) }) else { return nil }
        } else {
            if let colon = host.firstIndex(of: UInt8(ascii: ":")) {
                guard self.isPort(host[colon...]) else { return nil }
                host = host[..<colon]
            }
            if host.last == UInt8(ascii: ".") { host = host.dropLast() }
            guard host.allSatisfy({ self.isAllowed($0) && $0 != UInt8(ascii: ":") }) else { return nil }
        }
        guard !host.isEmpty, host.count <= self.maximumLength else { return nil }
        return self.lowercased(host)
    }

    /// The offset behind `scheme://`.
    private static func authorityStart(_ bytes: [UInt8]) -> Int? {
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), colon > 0, colon <= 16,
            bytes[(colon + 1)...].starts(with: "//".utf8),
            bytes[..<colon].allSatisfy({ self.isAllowed($0) && $0 != UInt8(ascii: "_") })
        else { return nil }
        return colon + 3
    }

    /// Nothing, `:`, or `:` with digits.
    private static func isPort(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard let first = bytes.first else { return true }
        return first == UInt8(ascii: ":") && bytes.count <= 6
            && bytes.dropFirst().allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    /// What hosts are made of: letters, digits, `-`, `_`, `.`, and `:` of IPv6.
    static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: ":"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    static func lowercased(_ bytes: some Sequence<UInt8>) -> String {
        String(
            decoding: bytes.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 },
            as: UTF8.self)
    }
}
