package import Hummingbird
package import NIOCore

/// What a route knows of its request beside the request.
package struct APIContext: RequestContext, RemoteAddressRequestContext {
    package var coreContext: CoreRequestContextStorage
    package let channel: any Channel
    /// The peer of the connection; that of the whole connection for streams of HTTP/2.
    package var remoteAddress: SocketAddress? { self.channel.remoteAddress ?? self.channel.parent?.remoteAddress }
    /// Who asks. Set before the request is routed; only routes that are open have none.
    package var principal: APIPrincipal?
    /// The address of the client, behind trusted proxies, too. `unknown` if the socket tells none.
    package var clientAddress: String
    package var maxUploadSize: Int

    package init(source: ApplicationRequestContextSource) {
        self.coreContext = CoreRequestContextStorage(source: source)
        self.channel = source.channel
        self.clientAddress = source.channel.remoteAddress?.ipAddress ?? "unknown"
        self.maxUploadSize = APILimits().bodyByteCount
    }

    /// Refuses with 403 unless whoever asks has `role`; for routes that need more than their path tells.
    package func require(_ role: APIRole) throws(APIProblem) {
        guard let principal = self.principal, principal.role.includes(role) else {
            throw APIProblem.forbidden(role)
        }
    }
}

extension APIProblem {
    static func forbidden(_ role: APIRole) -> APIProblem {
        APIProblem(
            .forbidden, name: "forbidden", title: "The credentials do not allow this",
            detail: "this needs the role \(role.rawValue)")
    }
}
