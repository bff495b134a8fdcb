package import NIOCore

/// What the routes need to know. The closures are asked for each request, so that settings can change.
package struct WebRTCSignallingConfiguration: Sendable {
    /// Web origins whose pages may publish and play; `*` allows all, and pages of the node itself always may.
    package var corsOrigins: [String]
    /// STUN and TURN servers that clients are told.
    package var iceServers: @Sendable () -> [ICEServer]
    /// Whether a peer is a proxy that is believed what it says of its clients.
    package var trustsProxy: @Sendable (SocketAddress) -> Bool
    /// How SRS's API names this server: the members `server`, `service` and `pid` of its answers.
    package var identity: Identity
    /// Longer bodies are 413.
    package var maximumBodyBytes: Int
    /// From the head of a request to the end of its body.
    package var bodyTimeout: Duration
    /// What clients are told to wait that were turned away for lack of room, in seconds.
    package var retryAfterSeconds: Int

    /// Names of a server in SRS's API.
    package struct Identity: Sendable, Equatable {
        package var server: String
        package var service: String
        package var pid: String

        package init(server: String = "", service: String = "", pid: String = "") {
            self.server = server
            self.service = service
            self.pid = pid
        }
    }

    package init(
        corsOrigins: [String] = ["*"], iceServers: @escaping @Sendable () -> [ICEServer] = { [] },
        trustsProxy: @escaping @Sendable (SocketAddress) -> Bool = { _ in false }, identity: Identity = Identity(),
        maximumBodyBytes: Int = 64 << 10, bodyTimeout: Duration = .seconds(10), retryAfterSeconds: Int = 5
    ) {
        precondition(maximumBodyBytes > 0, "a body has room for an offer, got \(maximumBodyBytes) bytes")
        self.corsOrigins = corsOrigins.map { $0.lowercased() }
        self.iceServers = iceServers
        self.trustsProxy = trustsProxy
        self.identity = identity
        self.maximumBodyBytes = maximumBodyBytes
        self.bodyTimeout = bodyTimeout
        self.retryAfterSeconds = retryAfterSeconds
    }
}

/// A STUN or TURN server, as a `Link` header tells it. Spec: RFC 9725 §4.6.
package struct ICEServer: Sendable, Equatable {
    /// `stun:HOST:PORT`, `turn:HOST:PORT?transport=udp`. Spec: RFC 7064, RFC 7065.
    package var url: String
    /// Both, or neither.
    package var username: String?
    package var credential: String?

    package init(url: String, username: String? = nil, credential: String? = nil) {
        self.url = url
        self.username = username
        self.credential = credential
    }

    /// The field's value; `nil` if the URL could end it early.
    var link: String? {
        let isURL = self.url.utf8.allSatisfy { byte in
            (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "<") && byte != UInt8(ascii: ">")
        }
        guard isURL, !self.url.isEmpty else { return nil }
        var value = "<\(self.url)>; rel=\"ice-server\""
        if let username = self.username, let credential = self.credential {
            value += "; username=\(Self.quoted(username)); credential=\(Self.quoted(credential))"
            value += "; credential-type=\"password\""
        }
        return value
    }

    /// A quoted string. What no field may hold is left out. Spec: RFC 9110 §5.6.4.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars where (0x20...0x7E).contains(scalar.value) {
            if scalar == "\"" || scalar == "\\" { result += "\\" }
            result.unicodeScalars.append(scalar)
        }
        return result + "\""
    }
}
