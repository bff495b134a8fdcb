package import HTTPTypes
package import NIOCore

/// What one client of an API may take of the server.
package struct APILimits: Sendable, Equatable {
    /// Open connections of all listeners; more are closed at once.
    package var connections = 1_024
    /// Requests whose answer is not yet complete, long polls and event streams included; more get 503.
    package var requestsInFlight = 2_048
    /// The most that HTTP/2 lets one connection ask for at a time.
    package var streamsPerConnection = 100
    /// Bytes from the first byte of a request to the end of its header fields.
    package var headByteCount = 32 << 10
    /// Bytes of one header field.
    package var headerFieldByteCount = 16 << 10
    package var headerFieldCount = 100
    /// Bytes of path and query.
    package var targetByteCount = 8 << 10
    package var bodyByteCount = 1 << 20
    /// From the connection to its protocol over TLS, which includes the handshake.
    package var handshakeTimeout = TimeAmount.seconds(10)
    /// From the first byte of a request to the end of its header fields.
    package var headTimeout = TimeAmount.seconds(10)
    /// From there to the end of the body.
    package var bodyTimeout = TimeAmount.seconds(30)
    /// The longest silence between two requests.
    package var idleTimeout = TimeAmount.seconds(60)
    /// The longest time that a client may leave an answer unread.
    package var stallTimeout = TimeAmount.seconds(30)
    /// Wrong credentials of one address within `signInWindow`, after which it gets 429 until the window is over.
    package var failedSignIns = 20
    package var signInWindow = TimeAmount.seconds(60)

    package init() {}
}

/// The rules of one API server, whatever its listeners.
package struct APIServerConfiguration: Sendable {
    /// In log lines, such as `node API`.
    package var name: String
    package var limits = APILimits()
    /// Web origins, in lower case, whose pages may use the API; `*` stands for all. Empty sends no CORS headers.
    package var corsOrigins: [String] = []
    /// Names in `Host`, in lower case, that requests without credentials may use, beside IP addresses and `localhost`.
    package var hosts: [String] = []
    /// The policy that goes with every answer, unless the answer has one of its own, such as a page.
    package var contentSecurityPolicy = SecurityHeaders.defaultPolicy
    /// Whether 401 offers HTTP Basic, at which browsers ask for name and password.
    package var offersBasic = false
    /// Who a request without `Authorization` is; `nil` refuses it. Asked each time.
    package var anonymous: @Sendable () -> APIPrincipal?
    /// Who has these credentials; `nil` if nobody. Compare secrets with `APICredentials.matches`.
    package var authenticate: @Sendable (APICredentials) async -> APIPrincipal?
    /// What a request needs, by method and path without query. Asked before the request is routed.
    package var requirement: @Sendable (HTTPRequest.Method, String) -> APIRequirement
    /// Whether an address is a reverse proxy, whose `X-Forwarded-For` names the client.
    package var isTrustedProxy: @Sendable (String) -> Bool = { _ in false }

    /// By default everything is asked for: reading needs a viewer, all else an operator.
    package init(
        name: String, anonymous: APIPrincipal? = nil,
        authenticate: @escaping @Sendable (APICredentials) async -> APIPrincipal?,
        requirement: @escaping @Sendable (HTTPRequest.Method, String) -> APIRequirement = { method, _ in
            .role(method == .get || method == .head ? .viewer : .operator)
        }
    ) {
        self.name = name
        self.anonymous = { anonymous }
        self.authenticate = authenticate
        self.requirement = requirement
    }
}
