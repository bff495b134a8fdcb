import HTTPTypes
import NIOCore

/// What a request may be, whoever sends it: rules without state.
enum RequestRules {
    /// Methods that no API of ours has are refused before they are routed.
    static let methods: Set<HTTPRequest.Method> = [.get, .head, .post, .put, .patch, .delete, .options]

    /// Whether a request with this method changes nothing. Spec: RFC 9110 §9.2.1.
    static func isSafe(_ method: HTTPRequest.Method) -> Bool {
        method == .get || method == .head || method == .options
    }

    /// Whether a path has no parts that programs read differently: dot segments, backslashes, control characters, and
    /// such in percent-encoding.
    static func isPlain(path: String) -> Bool {
        guard let decoded = self.decode(path) else { return false }
        guard !decoded.contains(where: { $0 < 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "\\") }) else { return false }
        return decoded.split(separator: UInt8(ascii: "/")).allSatisfy { segment in
            !segment.elementsEqual(".".utf8) && !segment.elementsEqual("..".utf8)
        }
    }

    private static func decode(_ path: String) -> [UInt8]? {
        var result: [UInt8] = []
        var rest = path.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                result.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(self.hex), let low = rest.popFirst().flatMap(self.hex) else {
                return nil
            }
            result.append(high << 4 | low)
        }
        return result
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - 48
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - 87
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - 55
        default: nil
        }
    }

    // MARK: Host and origin

    /// Whether requests without credentials may name `authority`: an IP address, `localhost`, or one of `names`.
    ///
    /// A page whose name an attacker points at a loopback address still sends its own name in `Host`.
    static func isTrusted(authority: String?, names: [String]) -> Bool {
        // Browsers always name a host.
        guard let authority, !authority.isEmpty else { return true }
        let host = self.host(of: authority)
        if host == "localhost" || host.hasSuffix(".localhost") { return true }
        if names.contains(host) { return true }
        return (try? SocketAddress(ipAddress: host, port: 0)) != nil
    }

    /// The host of `HOST:PORT`, in lower case, without brackets and without a dot at its end.
    static func host(of authority: String) -> String {
        if authority.first == "[", let end = authority.firstIndex(of: "]") {
            return authority[authority.index(after: authority.startIndex)..<end].lowercased()
        }
        var host = authority.prefix { $0 != ":" }
        if host.last == "." { host.removeLast() }
        return host.lowercased()
    }

    /// Whether a page of `origin` may change something: it is of this very host, or allowed by name. Requests without
    /// `Origin` are not of pages.
    static func mayChange(origin: String?, site: String?, authority: String?, allowed: [String]) -> Bool {
        guard let origin else { return site != "cross-site" }
        if self.allows(origin: origin, allowed: allowed) { return true }
        guard let authority, let separator = origin.firstRange(of: "://") else { return false }
        return origin[separator.upperBound...].lowercased() == authority.lowercased()
    }

    /// Whether `allowed`, in lower case, holds `origin` or `*`.
    static func allows(origin: String, allowed: [String]) -> Bool {
        allowed.contains("*") || allowed.contains(origin.lowercased())
    }

    // MARK: Who

    /// The client's address: the peer's, or behind trusted proxies the last of `X-Forwarded-For` that is not one.
    static func clientAddress(peer: String, forwardedFor: [String], isTrusted: (String) -> Bool) -> String {
        var client = peer
        var hops = forwardedFor.flatMap { $0.split(separator: ",") }.suffix(64).map { String($0.filter { $0 != " " }) }
        while isTrusted(client), let hop = hops.popLast() {
            guard (try? SocketAddress(ipAddress: hop, port: 0)) != nil else { return client }
            client = hop
        }
        return client
    }

    /// A path as it may stand in a log line.
    static func loggable(path: String) -> String {
        let bytes = path.utf8.prefix(200).map { (0x21...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }
        return String(decoding: bytes, as: UTF8.self) + (path.utf8.count > 200 ? "…" : "")
    }
}
