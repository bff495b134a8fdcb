/// What a request says of who makes it: for the decision whether it is answered, never for the answer.
package struct MediaObjectAccess: Sendable, Hashable {
    /// The `Host` without its port, in lower case.
    package var host: String
    /// The peer's address with its port.
    package var address: String
    /// Over TLS.
    package var isSecure: Bool
    /// The whole query, without `?`.
    package var query: String
    /// `Authorization`.
    package var authorization: String?
    /// `Weir-Node`: the node that asks, if one does. Anybody can write it: `authorization` has to prove it.
    package var node: String?
    /// The signature that stood in front of the path.
    package var signedPath: SignedPath?
    /// `User-Agent`; empty without it.
    package var userAgent: String
    /// `Referer`.
    package var referer: String?
    /// The client's address, without a port, as a trusted proxy tells it; `nil` when the peer is the client.
    package var forwardedAddress: String?

    package init(
        host: String, address: String, isSecure: Bool, query: String, authorization: String? = nil,
        node: String? = nil, signedPath: SignedPath? = nil, userAgent: String = "", referer: String? = nil,
        forwardedAddress: String? = nil
    ) {
        self.host = host
        self.address = address
        self.isSecure = isSecure
        self.query = query
        self.authorization = authorization
        self.node = node
        self.signedPath = signedPath
        self.userAgent = userAgent
        self.referer = referer
        self.forwardedAddress = forwardedAddress
    }
}
