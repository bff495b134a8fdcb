/// A TCP address to listen on: `0.0.0.0:1935`, `[::]:1935`, `localhost:1935`, or `:1935` for all IPv4 addresses.
package struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
    /// A name or a numeric address, without brackets.
    package var host: String
    /// 0 lets the system choose.
    package var port: Int

    /// - Parameter port: 0 to 65535.
    package init(host: String, port: Int) {
        precondition(0...65_535 ~= port, "a port is 0 to 65535, got \(port)")
        self.host = host
        self.port = port
    }

    init(parsing text: String) throws(ValueProblem) {
        let parts = try HostAndPort(parsing: text, scheme: nil)
        guard let port = parts.port else { throw .invalid(expected: "HOST:PORT, such as 0.0.0.0:1935 or :1935") }
        self.init(host: parts.host.isEmpty ? "0.0.0.0" : parts.host, port: port)
    }

    /// Whether only this machine can reach the address.
    package var isLoopback: Bool { HostAndPort.isLoopback(self.host) }
    /// Whether the address stands for all addresses of the machine.
    package var isWildcard: Bool { self.host == "0.0.0.0" || self.host == "::" }
    package var description: String { HostAndPort.write(host: self.host, port: self.port) }
}

/// A TCP address to connect to, such as `origin-1:1935`.
package struct PeerAddress: Sendable, Hashable, CustomStringConvertible {
    /// A name or a numeric address, without brackets.
    package var host: String
    package var port: Int

    /// - Parameter port: 1 to 65535.
    package init(host: String, port: Int) {
        precondition(1...65_535 ~= port, "a peer's port is 1 to 65535, got \(port)")
        self.host = host
        self.port = port
    }

    /// - Parameter defaultPort: taken when the text names none.
    init(parsing text: String, defaultPort: Int) throws(ValueProblem) {
        let parts = try HostAndPort(parsing: text, scheme: nil)
        guard !parts.host.isEmpty, parts.port != 0 else {
            throw .invalid(expected: "HOST:PORT, such as origin-1:\(defaultPort)")
        }
        self.init(host: parts.host, port: parts.port ?? defaultPort)
    }

    package var description: String { HostAndPort.write(host: self.host, port: self.port) }
}

/// The base URL of an HTTP service: scheme, host and port, without a path.
package struct ServiceURL: Sendable, Hashable, CustomStringConvertible {
    package var isTLS: Bool
    /// A name or a numeric address, without brackets.
    package var host: String
    package var port: Int

    /// - Parameter port: 1 to 65535.
    package init(isTLS: Bool = false, host: String, port: Int) {
        precondition(1...65_535 ~= port, "a service's port is 1 to 65535, got \(port)")
        self.isTLS = isTLS
        self.host = host
        self.port = port
    }

    init(parsing text: String) throws(ValueProblem) {
        let expected = "http://HOST:PORT or https://HOST:PORT without a path, such as http://coordinator:7000"
        guard let separator = text.firstRange(of: "://") else { throw .invalid(expected: expected) }
        let scheme = text[..<separator.lowerBound].lowercased()
        guard scheme == "http" || scheme == "https" else { throw .invalid(expected: expected) }
        var rest = text[separator.upperBound...]
        if rest.last == "/" {
            rest.removeLast()
        }
        let parts = try HostAndPort(parsing: String(rest), scheme: scheme)
        guard !parts.host.isEmpty, parts.port != 0 else { throw .invalid(expected: expected) }
        self.init(isTLS: scheme == "https", host: parts.host, port: parts.port ?? (scheme == "https" ? 443 : 80))
    }

    /// Whether the service runs on this machine and can be reached from nowhere else.
    package var isLoopback: Bool { HostAndPort.isLoopback(self.host) }

    /// `http://HOST:PORT`, without a slash at the end.
    package var description: String {
        "\(self.isTLS ? "https" : "http")://\(HostAndPort.write(host: self.host, port: self.port))"
    }
}

/// A URL that is told of something by HTTP: a service with the path and query of what listens there.
package struct CallbackURL: Sendable, Hashable, CustomStringConvertible {
    package var service: ServiceURL
    /// From `/` on, as it stands in the request.
    package var target: String

    init(parsing text: String) throws(ValueProblem) {
        let expected = "http://HOST:PORT/PATH or https://HOST:PORT/PATH, such as http://api:8085/on_dvr"
        guard let separator = text.firstRange(of: "://") else { throw .invalid(expected: expected) }
        let end = text[separator.upperBound...].firstIndex { $0 == "/" || $0 == "?" } ?? text.endIndex
        let target = text[end...]
        guard target.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") }) else {
            throw .invalid(expected: "\(expected), in printable ASCII and without a fragment")
        }
        self.service = try ServiceURL(parsing: String(text[..<end]))
        self.target = target.first == "/" ? String(target) : "/\(target)"
    }

    package var description: String { self.service.description + self.target }
}

/// The hosts that a vhost answers to: one name, or all names below one.
package enum DomainPattern: Sendable, Hashable, CustomStringConvertible {
    /// Lower case, without a port and without a dot at the end.
    case exact(String)
    /// `*.example.com` as `example.com`: every name that ends in `.example.com`.
    case below(String)

    init(parsing text: String) throws(ValueProblem) {
        let isWildcard = text.hasPrefix("*.")
        let name = Self.normalize(isWildcard ? String(text.dropFirst(2)) : text)
        let isValid =
            !name.isEmpty && !text.contains("/")
            && name.utf8.allSatisfy { byte in
                switch byte {
                case 0...0x20, 0x7F, UInt8(ascii: "*"), UInt8(ascii: "/"), UInt8(ascii: "?"), UInt8(ascii: "#"): false
                default: true
                }
            }
        guard isValid else { throw .invalid(expected: "a domain, such as live.example.com or *.example.com") }
        self = isWildcard ? .below(name) : .exact(name)
    }

    /// Whether `host`, which is normalized, is one of the hosts.
    package func matches(_ host: String) -> Bool {
        switch self {
        case .exact(let name): host == name
        case .below(let name): host.hasSuffix(".\(name)")
        }
    }

    package var description: String {
        switch self {
        case .exact(let name): name
        case .below(let name): "*.\(name)"
        }
    }

    /// Brings a host into the form that patterns compare: lower case, no port, no brackets, no dot at the end.
    package static func normalize(_ host: String) -> String {
        var text = host[...]
        if text.first == "[", let end = text.firstIndex(of: "]") {
            return text[text.index(after: text.startIndex)..<end].lowercased()
        }
        if let colon = text.lastIndex(of: ":"), text.firstIndex(of: ":") == colon {
            text = text[..<colon]
        }
        if text.last == "." {
            text.removeLast()
        }
        return text.lowercased()
    }
}

/// The common part of addresses and URLs.
struct HostAndPort: Equatable {
    /// Without brackets; may be empty.
    var host: String
    var port: Int?

    /// - Parameter scheme: named in the messages when the text came from a URL.
    init(parsing text: String, scheme: String?) throws(ValueProblem) {
        let example = scheme.map { "\($0)://HOST:PORT" } ?? "HOST:PORT"
        var portText: Substring?
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else {
                throw .invalid(expected: "\(example); the bracket of the IPv6 address is not closed")
            }
            self.host = String(text[text.index(after: text.startIndex)..<end])
            guard self.host.contains(":") else {
                throw .invalid(expected: "\(example); brackets hold an IPv6 address")
            }
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.first == ":" else { throw .invalid(expected: example) }
            portText = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            self.host = String(text[..<colon])
            portText = text[text.index(after: colon)...]
            guard !(portText ?? "").contains(":") else {
                throw .invalid(expected: "\(example); an IPv6 address is written in brackets, such as [::1]:1935")
            }
        } else {
            self.host = text
        }
        let isHost = self.host.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
                UInt8(ascii: ":"), UInt8(ascii: "%"):
                true
            default: false
            }
        }
        guard isHost else { throw .invalid(expected: example) }
        guard let portText else { return }
        let isNumber = !portText.isEmpty && portText.utf8.allSatisfy { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
        guard isNumber, let port = Int(portText), port <= 65_535 else {
            throw .invalid(expected: "\(example) with a port from 0 to 65535")
        }
        self.port = port
    }

    static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" || host == "::1" {
            return true
        }
        let octets = host.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        return octets.count == 4 && octets.first == .some(127) && octets.allSatisfy { $0 != nil }
    }

    static func write(host: String, port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
