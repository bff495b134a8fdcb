import Access
import NIOCore

/// A URL of another RTMP server, in which `[vhost]`, `[app]` and `[stream]` stand for the parts of the stream's name.
package struct RTMPTemplate: Sendable, Hashable, CustomStringConvertible {
    /// As the operator wrote it.
    package let text: String

    private static let variables = ["vhost", "app", "stream"]

    init(parsing text: String) throws(ValueProblem) {
        let expected =
            "rtmp://HOST/APP/STREAM or rtmps://HOST/APP/STREAM, such as rtmp://backup.example/[app]/[stream]"
        guard let separator = text.firstRange(of: "://"),
            ["rtmp", "rtmps"].contains(text[..<separator.lowerBound].lowercased()),
            text.utf8.count <= 2_048, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") })
        else { throw .invalid(expected: expected) }
        let rest = text[separator.upperBound...]
        guard let slash = rest.firstIndex(of: "/") else { throw .invalid(expected: expected) }
        // The name of a server does not depend on a publisher.
        let parts = try HostAndPort(parsing: String(rest[..<slash]), scheme: "rtmp")
        let path = rest[slash...].dropFirst().split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let names = path[0].split(separator: "/", omittingEmptySubsequences: false)
        guard !parts.host.isEmpty, parts.port != 0, names.count >= 2, names.allSatisfy({ !$0.isEmpty }) else {
            throw .invalid(expected: expected)
        }
        var unread = text[...]
        while let open = unread.firstIndex(of: "[") {
            // A host in brackets is an IPv6 address, which was read above.
            guard let close = unread[open...].firstIndex(of: "]") else { throw .invalid(expected: expected) }
            let name = unread[unread.index(after: open)..<close]
            guard Self.variables.contains(String(name)) || open < slash else {
                throw .invalid(expected: "\(expected), with [vhost], [app] and [stream] as the only variables")
            }
            unread = unread[unread.index(after: close)...]
        }
        self.text = text
    }

    /// The URL for one stream. Names of streams are safe in URLs.
    package func url(vhost: String, app: String, stream: String) -> String {
        var result = ""
        var unread = self.text[...]
        while let open = unread.firstIndex(of: "["), let close = unread[open...].firstIndex(of: "]") {
            result += unread[..<open]
            switch unread[unread.index(after: open)..<close] {
            case "vhost": result += vhost
            case "app": result += app
            case "stream": result += stream
            case let other: result += "[\(other)]"
            }
            unread = unread[unread.index(after: close)...]
        }
        return result + unread
    }

    package var description: String { self.text }
}

/// Reads and writes bit rates: `800kbps`, `2.5Mbps`, `10Gbps`, `64000`.
enum BitRateText {
    private static let units: [(name: String, bits: Int64)] = [
        ("Gbps", 1_000_000_000), ("Mbps", 1_000_000), ("kbps", 1_000), ("bps", 1), ("", 1),
    ]

    static func parse(_ text: String) throws(ValueProblem) -> Int {
        let (number, unitName) = NumberWithUnit.split(text)
        guard let unit = self.units.first(where: { $0.name.lowercased() == unitName.lowercased() }),
            let bits = NumberWithUnit.multiply(number, by: unit.bits)
        else { throw .invalid(expected: "a bit rate, such as 800kbps, 2.5Mbps or 64000 (bits a second)") }
        return Int(bits)
    }

    static func write(_ bits: Int) -> String {
        guard bits != 0 else { return "0" }
        for unit in self.units.prefix(3) where bits.isMultiple(of: Int(unit.bits)) {
            return "\(bits / Int(unit.bits))\(unit.name)"
        }
        return "\(bits)"
    }
}

extension SettingCodec where Value == Int {
    static func bitRate(_ range: ClosedRange<Int>) -> Self {
        let rangeText = "\(BitRateText.write(range.lowerBound)) to \(BitRateText.write(range.upperBound))"
        return .scalar("bit rate, \(rangeText)") { (text) throws(ValueProblem) in
            let value = try BitRateText.parse(text)
            guard range ~= value else { throw .outOfRange(rangeText) }
            return value
        } write: {
            BitRateText.write($0)
        }
    }
}

extension SettingCodec where Value == CallbackURL? {
    /// Empty means none.
    static var url: Self {
        .scalar("URL") { (text) throws(ValueProblem) in
            text.isEmpty ? nil : try CallbackURL(parsing: text)
        } write: {
            $0?.description ?? ""
        }
    }
}

extension SettingCodec where Value == [RTMPTemplate] {
    static var rtmpTemplates: Self {
        .list("RTMP URLs") { (text) throws(ValueProblem) in
            try RTMPTemplate(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [DomainPattern] {
    static var domains: Self {
        .list("domains") { (text) throws(ValueProblem) in
            try DomainPattern(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [String] {
    /// Names that a `Host` header may have.
    static var hosts: Self {
        .list("hosts") { (text) throws(ValueProblem) in
            // One colon separates a port, an IPv6 address has more.
            let isAddress = text.first != "[" && text.count { $0 == ":" } > 1
            let parts = try HostAndPort(parsing: isAddress ? "[\(text)]" : text, scheme: nil)
            guard parts.port == nil, !parts.host.isEmpty else {
                throw .invalid(expected: "a host name or address without a port")
            }
            return parts.host.lowercased()
        } write: {
            $0
        }
    }

    /// Addresses and networks: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`; with `allowsAll` also `all`.
    static func networks(allowsAll: Bool) -> Self {
        let example = "a network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7" + (allowsAll ? ", or all" : "")
        return .list(allowsAll ? "networks or `all`" : "networks") { (text) throws(ValueProblem) in
            if allowsAll, text == "all" { return text }
            guard (try? CIDR(parsing: text)) != nil, text != "all" else { throw .invalid(expected: example) }
            return text
        } write: {
            $0
        }
    }
}
