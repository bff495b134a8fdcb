/// A host that others are told, with a port where it is not the one listened on: `media.example.com`, `192.0.2.7:30000`.
package struct AdvertisedHost: Sendable, Hashable, CustomStringConvertible {
    /// A name or a numeric address, without brackets.
    package var host: String
    /// 1 to 65535; `nil` for the port that is listened on.
    package var port: Int?

    /// - Parameter port: 1 to 65535.
    package init(host: String, port: Int? = nil) {
        precondition(port.map { 1...65_535 ~= $0 } ?? true, "a port is 1 to 65535, got \(port ?? 0)")
        self.host = host
        self.port = port
    }

    init(parsing text: String) throws(ValueProblem) {
        // One colon separates a port, an IPv6 address has more.
        let isAddress = text.first != "[" && text.count { $0 == ":" } > 1
        let parts = try HostAndPort(parsing: isAddress ? "[\(text)]" : text, scheme: nil)
        guard !parts.host.isEmpty, parts.port != 0 else {
            throw .invalid(expected: "HOST or HOST:PORT, such as media.example.com or 192.0.2.7:30000")
        }
        self.init(host: parts.host, port: parts.port)
    }

    package var description: String {
        self.port.map { HostAndPort.write(host: self.host, port: $0) } ?? self.host
    }
}

extension SettingCodec where Value == [AdvertisedHost] {
    static var advertisedHosts: Self {
        .list("HOST or HOST:PORT") { (text) throws(ValueProblem) in
            try AdvertisedHost(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [String] {
    /// Names of network interfaces, as the kernel has them.
    static var interfaceNames: Self {
        .list("interfaces") { (text) throws(ValueProblem) in
            let isName =
                1...15 ~= text.utf8.count && text.utf8.allSatisfy { 0x21...0x7E ~= $0 && $0 != UInt8(ascii: "/") }
            guard isName else { throw .invalid(expected: "the name of an interface, such as eth0") }
            return text
        } write: {
            $0
        }
    }

    /// URLs of STUN and TURN servers. Spec: RFC 7064 §3.1, RFC 7065 §3.1.
    static var iceServers: Self {
        .list("STUN and TURN URLs") { (text) throws(ValueProblem) in
            let expected =
                "stun:HOST:PORT, stuns:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT; turn and turns may have "
                + "?transport=udp or ?transport=tcp"
            guard let colon = text.firstIndex(of: ":") else { throw .invalid(expected: expected) }
            let scheme = text[..<colon].lowercased()
            guard ["stun", "stuns", "turn", "turns"].contains(scheme) else { throw .invalid(expected: expected) }
            let rest = text[text.index(after: colon)...]
            let parts = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 {
                let isTransport = ["transport=udp", "transport=tcp"].contains(String(parts[1]))
                guard scheme.hasPrefix("turn"), isTransport else { throw .invalid(expected: expected) }
            }
            let address = try HostAndPort(parsing: String(parts[0]), scheme: nil)
            guard !address.host.isEmpty, address.port != 0 else { throw .invalid(expected: expected) }
            return "\(scheme):\(rest)"
        } write: {
            $0
        }
    }
}
