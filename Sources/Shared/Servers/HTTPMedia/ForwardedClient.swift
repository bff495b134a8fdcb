import NIOCore

/// Finds the client behind proxies that the node trusts, in what they say of it.
///
/// Each proxy adds the address that it was connected from at the end of the list, so the list is walked from its right: the
/// first address that is no trusted proxy's is the client. What stands to the left of it anybody may have written.
///
/// `X-Forwarded-For` is asked first, then `X-Real-IP`, then `Forwarded` (RFC 7239). A proxy must set the one that it knows
/// and remove the others.
enum ForwardedClient {
    /// Proxies in a row that are looked at.
    private static let maximumHops = 16

    /// The client's address without a port; `nil` if the peer is the client, or if what the proxies say is unreadable.
    static func address(_ fields: RequestFields, peer: SocketAddress, trusts: (SocketAddress) -> Bool) -> String? {
        guard fields.forwardedFor != nil || fields.realIP != nil || fields.forwarded != nil, trusts(peer) else {
            return nil
        }
        if let list = fields.forwardedFor { return self.last(list.split(separator: ",").map { $0[...] }, trusts) }
        if let address = fields.realIP { return self.last([address[...]], trusts) }
        return fields.forwarded.flatMap { self.last(self.nodes(in: $0), trusts) }
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
    static func parse(_ item: Substring) -> SocketAddress? {
        var text = item.drop { $0 == " " || $0 == "\t" || $0 == "\"" }
        while let end = text.last, end == " " || end == "\t" || end == "\"" { text = text.dropLast() }
        guard text.utf8.count <= 64 else { return nil }
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            text = text[text.index(after: text.startIndex)..<end]
        } else if text.utf8.reduce(0, { $0 + ($1 == UInt8(ascii: ":") ? 1 : 0) }) == 1,
            let colon = text.firstIndex(of: ":")
        {
            text = text[..<colon]
        }
        return try? SocketAddress(ipAddress: String(text), port: 0)
    }

    /// The values of `for=`, in order. Spec: RFC 7239 §4.
    private static func nodes(in header: String) -> [Substring] {
        header.split(separator: ",").map { element in
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
}
