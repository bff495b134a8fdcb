import Access
import Crypto
import Synchronization

/// Tokens whose signatures were right, so that many requests with one token cost one check.
///
/// Bounded; holds hashes instead of tokens, and what it says counts for the keys of one generation only. Whether a token
/// has expired is asked anew each time. Any thread may call.
final class RememberedTokens: Sendable {
    private struct Verified: Sendable {
        var claims: TokenClaims
        var generation: UInt64
    }

    static let capacity = 10_000

    private let tokens = Mutex(BoundedTable<SHA256Digest, Verified>(capacity: RememberedTokens.capacity))

    func claims(_ token: SHA256Digest, _ generation: UInt64) -> TokenClaims? {
        self.tokens.withLock { tokens in
            guard let known = tokens[token], known.generation == generation else { return nil }
            return known.claims
        }
    }

    func remember(_ claims: TokenClaims, _ token: SHA256Digest, _ generation: UInt64) {
        self.tokens.withLock { $0.insert(Verified(claims: claims, generation: generation), for: token) }
    }
}

extension TokenVerdict {
    /// `nil`: permitted.
    var cause: AccessRefusalCause? {
        switch self {
        case .permitted: nil
        case .expired: .tokenExpired
        case .notYetValid: .tokenNotYetValid
        case .expiryMissing: .tokenExpiryMissing
        case .wrongIssuer: .tokenIssuer
        case .wrongAudience: .tokenAudience
        case .wrongVhost: .tokenVhost
        case .wrongApp: .tokenApp
        case .wrongStream: .tokenStream
        case .wrongAction: .tokenAction
        }
    }
}
