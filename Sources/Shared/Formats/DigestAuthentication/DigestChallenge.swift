/// What a server asks for: one challenge of `WWW-Authenticate` or `Proxy-Authenticate`.
///
/// Spec: RFC 7616 §3.3 and RFC 7617 §2. The older form without `qop` (RFC 2617 §3.2.1) is read and written too: it is what
/// most RTSP clients, cameras and SIP devices speak.
package enum AuthenticationChallenge: Sendable, Hashable {
    case digest(DigestChallenge)
    /// The password itself is asked for.
    case basic(realm: String)

    /// Reads the challenges of one header's value. Those of other schemes, and those of Digest with a hash function that
    /// is not ours, are left out.
    ///
    /// Errors: what `AuthenticationError` says of the grammar, and `missingParameter` for a challenge without nonce.
    package static func parse(_ text: String) throws(AuthenticationError) -> [AuthenticationChallenge] {
        var challenges: [AuthenticationChallenge] = []
        for header in try AuthenticationHeader.parse(text) {
            switch header.scheme {
            case "basic": challenges.append(.basic(realm: header["realm"] ?? ""))
            case "digest":
                do throws(AuthenticationError) {
                    challenges.append(.digest(try DigestChallenge(header)))
                } catch {
                    guard case .unsupportedAlgorithm = error else { throw error }
                }
            default: break
            }
        }
        return challenges
    }

    /// The header's value.
    package var text: String {
        switch self {
        case .digest(let challenge): return challenge.text
        case .basic(let realm):
            var writer = ParameterWriter(scheme: "Basic")
            writer.quoted("realm", realm)
            return writer.text
        }
    }

    /// The one to answer: Digest before Basic, SHA-256 before MD5.
    package static func strongest(_ challenges: [AuthenticationChallenge]) -> AuthenticationChallenge? {
        func rank(_ challenge: AuthenticationChallenge) -> Int {
            switch challenge {
            case .digest(let digest): digest.algorithm == .sha256 ? 2 : 1
            case .basic: 0
            }
        }
        return challenges.max { rank($0) < rank($1) }
    }
}

/// A challenge of Digest.
package struct DigestChallenge: Sendable, Hashable {
    package var realm: String
    package var nonce: String
    /// Sent back as it is.
    package var opaque: String?
    package var algorithm: DigestAlgorithm
    /// The header named the algorithm; without a name it is MD5.
    package var namesAlgorithm: Bool
    /// What the client may choose from; empty for the older form without `qop`.
    package var protections: Set<DigestProtection>
    /// The last answer was right, but for its nonce: ask nobody for a password.
    package var isStale: Bool

    package init(
        realm: String, nonce: String, opaque: String? = nil, algorithm: DigestAlgorithm = .md5,
        namesAlgorithm: Bool = true, protections: Set<DigestProtection> = [], isStale: Bool = false
    ) {
        self.realm = realm
        self.nonce = nonce
        self.opaque = opaque
        self.algorithm = algorithm
        self.namesAlgorithm = namesAlgorithm
        self.protections = protections
        self.isStale = isStale
    }

    init(_ header: AuthenticationHeader) throws(AuthenticationError) {
        guard let nonce = header["nonce"] else { throw .missingParameter("nonce") }
        var algorithm = DigestAlgorithm.md5
        if let name = header["algorithm"] {
            guard let known = DigestAlgorithm(rawValue: name.uppercased()) else { throw .unsupportedAlgorithm(name) }
            algorithm = known
        }
        let names = (header["qop"] ?? "").split { $0 == "," || $0 == " " }.map { $0.lowercased() }
        self.init(
            realm: header["realm"] ?? "", nonce: nonce, opaque: header["opaque"], algorithm: algorithm,
            namesAlgorithm: header["algorithm"] != nil,
            protections: Set(names.compactMap { DigestProtection(rawValue: $0) }),
            isStale: header["stale"]?.lowercased() == "true")
    }

    var text: String {
        var writer = ParameterWriter(scheme: "Digest")
        writer.quoted("realm", self.realm)
        writer.quoted("nonce", self.nonce)
        if let opaque = self.opaque { writer.quoted("opaque", opaque) }
        if !self.protections.isEmpty {
            writer.quoted("qop", self.protections.map(\.rawValue).sorted().joined(separator: ","))
        }
        if self.isStale { writer.plain("stale", "true") }
        if self.namesAlgorithm { writer.plain("algorithm", self.algorithm.rawValue) }
        return writer.text
    }
}
