/// Finds a client behind proxies.
package enum ForwardedFor {
    /// Longer fields, and more proxies, are not looked at.
    private static let maximumLength = 1_024

    /// The client's address by `X-Forwarded-For`, or `peer` itself if it is no proxy that is trusted.
    ///
    /// Each proxy appends the address that it was called from, so the field is read from its end: the first address that
    /// is no trusted proxy is the client. What stands before it, anybody can have written. An entry that is no address
    /// ends the search at the proxy behind it.
    package static func client(of peer: IPAddress, field: String, trusted: [CIDR]) -> IPAddress {
        var client = peer
        guard field.utf8.count <= self.maximumLength else { return client }
        for entry in field.split(separator: ",", omittingEmptySubsequences: false).reversed() {
            guard trusted.contains(where: { $0.contains(client) }) else { return client }
            let text = entry.drop { $0 == " " || $0 == "\t" }
            let end = text.lastIndex { $0 != " " && $0 != "\t" }
            guard let end, let address = IPAddress(endpoint: String(text[...end])) else { return client }
            client = address
        }
        return client
    }
}
