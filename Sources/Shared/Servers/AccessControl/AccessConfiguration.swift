package import Access
package import NIOCore

/// Why settings of access control cannot be used. No case holds a secret.
package enum AccessConfigurationError: Error, Equatable, Sendable {
    /// HS256 wants a key as long as its code. Spec: RFC 7518 §3.2.
    case secretTooShort(bytes: Int, minimum: Int)
    /// The PEM holds neither an RSA key of 2048 bits or more, nor one on P-256, nor a certificate with one.
    case unusablePublicKey
    case unusableKeySetURL
    /// A stream asks for tokens, and nothing is set that could check one.
    case noKeys
    case emptyParameter
    case notPositive(String)
}

extension AccessConfigurationError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .secretTooShort(let bytes, let minimum):
            "access.jwt.secret has \(bytes) bytes, and needs \(minimum) or more"
        case .unusablePublicKey:
            "access.jwt.public_key holds no RSA key of 2048 bits or more and no P-256 key in PEM"
        case .unusableKeySetURL: "access.jwt.jwks_url is no http or https URL"
        case .noKeys: "tokens are required, but access.jwt has no secret, no public_key and no jwks_url"
        case .emptyParameter: "access.jwt.parameter is empty"
        case .notPositive(let name): "\(name) has to be more than 0"
        }
    }
}

/// How tokens are checked.
package struct TokenConfiguration: Sendable, Hashable {
    /// The key of HS256; empty for none. 32 bytes or more.
    package var secret = ""
    /// A public key or a certificate in PEM, for RS256 or ES256; empty for none. The text, not a file's name.
    package var publicKey = ""
    /// Where a JSON Web Key Set is; empty for none.
    package var keySetURL = ""
    /// How old a key set may grow before it is fetched again.
    package var keySetRefresh = TimeAmount.minutes(10)
    /// For one fetch, with name lookup and body.
    package var keySetDeadline = TimeAmount.seconds(5)
    package var maximumKeySetBytes = 256 * 1_024
    /// The least time between two fetches for the sake of unknown keys, and after a fetch that failed.
    package var keySetPause = TimeAmount.seconds(10)
    package var rules = TokenRules()
    /// The field of the query that holds a token.
    package var parameter = "token"
    /// Publishers are ended when their token, or signature, expires.
    package var endsPublishersAtExpiry = true
    /// Viewers are ended when their token, or signature, expires.
    package var endsViewersAtExpiry = true

    /// The shortest key of HS256, in bytes.
    package static let minimumSecretBytes = 32

    package init() {}

    package var hasKeys: Bool { !self.secret.isEmpty || !self.publicKey.isEmpty || !self.keySetURL.isEmpty }

    package func validate() throws(AccessConfigurationError) {
        let length = self.secret.utf8.count
        guard length == 0 || length >= Self.minimumSecretBytes else {
            throw .secretTooShort(bytes: length, minimum: Self.minimumSecretBytes)
        }
        guard self.publicKey.isEmpty || PublicKeyText.isUsable(self.publicKey) else { throw .unusablePublicKey }
        guard self.keySetURL.isEmpty || KeySetURL.isUsable(self.keySetURL) else { throw .unusableKeySetURL }
        guard !self.parameter.isEmpty else { throw .emptyParameter }
        guard self.keySetRefresh > .zero else { throw .notPositive("access.jwt.jwks_refresh") }
        guard self.keySetDeadline > .zero else { throw .notPositive("the deadline of access.jwt.jwks_url") }
        guard self.keySetPause > .zero else { throw .notPositive("the pause of access.jwt.jwks_url") }
        guard self.maximumKeySetBytes > 0 else { throw .notPositive("the size of access.jwt.jwks_url") }
        guard self.rules.leewaySeconds >= 0 else { throw .notPositive("access.jwt.leeway") }
    }
}

/// A node's settings of access control.
package struct AccessConfiguration: Sendable, Hashable {
    package var token = TokenConfiguration()
    package var connections = ConnectionLimits()

    package init() {}

    package func validate() throws(AccessConfigurationError) {
        try self.token.validate()
        let counts = [
            ("limits.sessions", self.connections.sessions),
            ("limits.handshakes_per_second", self.connections.handshakesPerSecond),
            ("limits.connections_per_address", self.connections.connectionsPerAddress),
            ("limits.handshakes_per_address_per_second", self.connections.handshakesPerAddressPerSecond),
        ]
        for (name, value) in counts {
            if let value, value <= 0 { throw .notPositive(name) }
        }
    }
}

/// Who may publish and play one stream.
///
/// Cheap to copy. Make the lists when settings are read, and give out copies.
package struct StreamAccessRules: Sendable, Hashable {
    package struct Action: Sendable, Hashable {
        package var addresses = AddressRules()
        package var requiresToken = false

        package init(addresses: AddressRules = AddressRules(), requiresToken: Bool = false) {
            self.addresses = addresses
            self.requiresToken = requiresToken
        }
    }

    package var publish = Action()
    package var play = Action()
    /// For playing: publishers' programs name no page.
    package var referer = RefererRule()
    /// `stream.play.url_secret`; empty for none. With it, playing needs a signature, or a token where those are required.
    package var urlSecret = ""
    package var quotas = SessionQuotaLimits()
    /// Bits a second of a publisher; a token may set less.
    package var publishBitsPerSecond: UInt64?
    /// How long a session may last.
    package var sessionDuration: TimeAmount?

    package init() {}
}
