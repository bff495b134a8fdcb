import Access
import Crypto
import Foundation

/// What a look at a token came to.
enum TokenCheck: Sendable {
    case verified(TokenClaims)
    case refused(AccessRefusalCause)
    /// No key fits that a newer key set could not replace; without one, the token is refused for this.
    case unknownKey(AccessRefusalCause)
}

/// Reads tokens and holds them against keys. Does not look at what they permit.
enum TokenReader {
    private struct Header: Decodable {
        var alg: String
        var kid: String?
        /// What the reader has to understand; nothing is. Spec: RFC 7515 §4.1.11.
        var hasCritical: Bool

        private enum CodingKeys: String, CodingKey { case alg, kid, crit }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            self.alg = try container.decode(String.self, forKey: .alg)
            self.kid = try container.decodeIfPresent(String.self, forKey: .kid)
            self.hasCritical = container.contains(.crit)
        }
    }

    /// Keys without a name are tried one after the other; so many at most.
    private static let maximumTries = 8

    /// Checks a token against the keys of the settings and of the key set.
    static func check(_ text: String, own: [TokenKey], published: [TokenKey]) -> TokenCheck {
        guard let token = try? SignedToken(parsing: text),
            let header = try? JSONDecoder().decode(Header.self, from: Data(token.header)), !header.hasCritical
        else { return .refused(.tokenMalformed) }
        // `none` is no algorithm here, and a key is used with its own algorithm only (RFC 8725 §3.1).
        guard let algorithm = TokenAlgorithm(rawValue: header.alg) else { return .refused(.tokenAlgorithm) }
        let named = header.kid.map { name in
            published.filter { $0.identifier == name && $0.algorithm == algorithm }
        }
        let candidates: [TokenKey]
        if let named, !named.isEmpty {
            candidates = named
        } else {
            // A token that names a key of the set is held against no other key of the set.
            let others = header.kid == nil ? published : []
            candidates = (own + others).filter { $0.algorithm == algorithm }
        }
        if candidates.prefix(self.maximumTries).contains(where: { $0.isValid(token.signature, of: token.signedText) }) {
            guard let claims = try? JSONDecoder().decode(TokenClaims.self, from: Data(token.payload)) else {
                return .refused(.tokenMalformed)
            }
            return .verified(claims)
        }
        let cause: AccessRefusalCause =
            !candidates.isEmpty ? .tokenForged : header.kid == nil ? .tokenAlgorithm : .tokenKeyUnknown
        // A key that the token names, and the secret, which is in no key set, have the last word.
        let isFinal = algorithm == .hs256 || named?.isEmpty == false
        return isFinal ? .refused(cause) : .unknownKey(cause)
    }

    /// What a token says of itself, right or wrong.
    static func unverifiedClaims(_ text: String) -> TokenClaims? {
        guard let token = try? SignedToken(parsing: text) else { return nil }
        return try? JSONDecoder().decode(TokenClaims.self, from: Data(token.payload))
    }

    /// By what a token is remembered.
    static func digest(_ text: String) -> SHA256Digest { SHA256.hash(data: Data(text.utf8)) }

    /// The token of a request: `Authorization: Bearer` (RFC 6750 §2.1), else the query's.
    static func token(authorization: String?, query: String, parameter: String) -> String? {
        if let authorization {
            let parts = authorization.split(separator: " ", maxSplits: 1)
            if parts.count == 2, parts[0].lowercased() == "bearer" {
                let token = parts[1].drop { $0 == " " }
                return token.isEmpty ? nil : String(token)
            }
        }
        return AccessQuery.value(of: parameter, in: query)
    }
}
