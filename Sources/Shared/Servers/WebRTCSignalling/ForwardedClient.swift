import HTTPTypes
import NIOCore

/// Finds the client behind proxies that the node trusts, in what they say of it.
///
/// Each proxy adds the address that it was called from at the end of the list, so the list is read from its end: the first
/// address that is no trusted proxy's is the client's. What stands before it, anybody may have written. `X-Forwarded-For` is
/// asked first, then `X-Real-IP`, then `Forwarded` (RFC 7239).
enum ForwardedClient {
    /// Proxies in a row that are looked at.
    private static let maximumHops = 16

    /// The client's address without a port; `nil` if the peer is the client, or if what the proxies say is unreadable.
    static func address(
        _ fields: HTTPFields, peer: SocketAddress?, trusts: (SocketAddress) -> Bool
    ) -> String? {
        guard let peer, trusts(peer) else { return nil }
        if let list = self.values(of: .forwardedFor, fields) { return self.last(list, trusts) }
        if let address = fields[.realIP] { return self.last([address[...]], trusts) }
        return self.values(of: .forwarded, fields).flatMap { self.last($0.map(self.node), trusts) }
    }

    private static func values(of name: HTTPField.Name, _ fields: HTTPFields) -> [Substring]? {
        let values = fields[values: name]
        guard !values.isEmpty else { return nil }
        return values.flatMap { $0.split(separator: ",") }
    }

    /// The last untrusted address; the farthest trusted one if there is no other.
    private static func last(_ list: [Substring], _ trusts: (SocketAddress) -> Bool) -> String? {
        var farthest: String?
        for item in list.reversed().prefix(self.maximumHops) {
            guard let address = self.parse(item), let text = address.ipAddress else { return farthest }
            farthest = text
            if !trusts(address) { return text }
        }
        return farthest
    }

    /// An address with or without a port, in brackets or not.
    private static func parse(_ item: Substring) -> SocketAddress? {
        let text = item.filter { $0 != " " && $0 != "\t" && $0 != "\"" }
        guard text.utf8.count <= 64 else { return nil }
        let colons = text.utf8.count { $0 == UInt8(ascii: ":") }
        let host = text.hasPrefix("[") || colons == 1 ? QueryText.host(of: text) : text
        return try? SocketAddress(ipAddress: host, port: 0)
    }

    /// The value of `for=`. Spec: RFC 7239 §4.
    private static func node(of element: Substring) -> Substring {
        for pair in element.split(separator: ";") {
            let words = pair.split(separator: "=", maxSplits: 1)
            guard words.count == 2, words[0].filter({ $0 != " " && $0 != "\t" }).lowercased() == "for" else {
                continue
            }
            return words[1]
        }
        return ""
    }
}

extension HTTPField.Name {
    // Safety: the names are tokens, so the initializer accepts them; the tests of the routes make them all.
    // swift-format-ignore: NeverForceUnwrap
    static let forwardedFor = HTTPField.Name("X-Forwarded-For")!
    // Safety: as above.
    // swift-format-ignore: NeverForceUnwrap
    static let realIP = HTTPField.Name("X-Real-IP")!
    // Safety: as above.
    // swift-format-ignore: NeverForceUnwrap
    static let forwarded = HTTPField.Name("Forwarded")!
    // Safety: as above.
    // swift-format-ignore: NeverForceUnwrap
    static let acceptPost = HTTPField.Name("Accept-Post")!
    // Safety: as above.
    // swift-format-ignore: NeverForceUnwrap
    static let acceptPatch = HTTPField.Name("Accept-Patch")!
    // Safety: as above.
    // swift-format-ignore: NeverForceUnwrap
    static let link = HTTPField.Name("Link")!
    // Safety: as above.
    // swift-format-ignore: NeverForceUnwrap
    static let fetchSite = HTTPField.Name("Sec-Fetch-Site")!
}
