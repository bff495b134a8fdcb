import AMF
import NIOCore
package import StreamHub

/// The client of a publish that a node forwards, as the node tells it in its connect command (`weirPeer`), so that the
/// origin shows who really publishes. Believed from nodes that prove themselves only.
package struct ForwardedPeer: Sendable, Hashable {
    /// The client's address, without a port.
    package var address: String
    package var client: ClientDescription

    /// The client behind a session of this node.
    package init(_ peer: PeerIdentity) {
        self.address = peer.clientAddress
        self.client = peer.client
        self.client.query = ClientDescription.bounded(peer.query, to: ClientDescription.maximumQueryLength)
    }

    /// Reads what `value` writes; `nil` if its address is none.
    init?(_ value: AMFValue) {
        guard let address = value["address"]?.stringValue, address.utf8.count <= 64,
            (try? SocketAddress(ipAddress: address, port: 0)) != nil
        else { return nil }
        func text(_ name: String) -> String { ClientDescription.bounded(value[name]?.stringValue ?? "") }
        self.address = address
        self.client = ClientDescription()
        self.client.userAgent = text("userAgent")
        self.client.tcURL = ClientDescription.withoutQuery(text("tcUrl"))
        self.client.pageURL = text("pageUrl")
        self.client.referer = self.client.pageURL
        self.client.swfURL = text("swfUrl")
        self.client.query = ClientDescription.bounded(
            value["query"]?.stringValue ?? "", to: ClientDescription.maximumQueryLength)
    }

    var value: AMFValue {
        .object([
            AMFProperty("address", .string(self.address)), AMFProperty("userAgent", .string(self.client.userAgent)),
            AMFProperty("tcUrl", .string(self.client.tcURL)), AMFProperty("pageUrl", .string(self.client.pageURL)),
            AMFProperty("swfUrl", .string(self.client.swfURL)), AMFProperty("query", .string(self.client.query)),
        ])
    }
}
