package import Media

/// What somebody wants to do with a stream.
package enum AccessAction: String, Sendable, Hashable, CaseIterable {
    case publish, play
}

/// What has to hold for every token, whatever it permits.
package struct TokenRules: Sendable, Hashable {
    /// The `iss` that a token must have. `nil`: any, or none.
    package var issuer: String?
    /// One of a token's `aud` must be this. `nil`: any, or none.
    package var audience: String?
    /// Seconds by which the clocks of issuer and node may differ.
    package var leewaySeconds: Int64
    /// A token without `exp` is refused.
    package var requiresExpiry: Bool

    package init(
        issuer: String? = nil, audience: String? = nil, leewaySeconds: Int64 = 0, requiresExpiry: Bool = true
    ) {
        self.issuer = issuer
        self.audience = audience
        self.leewaySeconds = leewaySeconds
        self.requiresExpiry = requiresExpiry
    }
}

/// Whether a token, whose signature is right, opens something. All but `permitted` are refusals.
package enum TokenVerdict: String, Sendable, Hashable, CaseIterable {
    case permitted
    case expired
    case notYetValid
    case expiryMissing
    case wrongIssuer
    case wrongAudience
    case wrongVhost
    case wrongApp
    case wrongStream
    case wrongAction
}

/// The claims of a token that tell what its bearer may do. Claims that are not here are left alone.
///
/// `vhost`, `app` and `stream`: missing or `*` for all, `abc*` for all that begin with `abc`, else the name itself.
/// `action`: `publish`, `play`, `*`, or a list of them; a token without it opens playing only. Times are in seconds since
/// 1970 UTC, and may have fractions.
///
/// Spec: RFC 7519 §4.1 for `exp`, `nbf`, `iss`, `aud`, `sub`.
package struct TokenClaims: Sendable, Hashable {
    package var vhost: String?
    package var app: String?
    package var stream: String?
    package var actions: Set<AccessAction> = [.play]
    /// The first second in which the token is no longer good.
    package var expiry: Int64?
    /// The first second in which it is good.
    package var notBefore: Int64?
    package var issuer: String?
    package var audience: [String] = []
    /// Whom it was made for; the API shows it.
    package var subject: String?
    /// Bits a second that its bearer may publish.
    package var maximumBitRate: UInt64?

    package init() {}

    /// Whether the token opens `action` on `key` at `now`, in seconds since 1970 UTC.
    package func permits(
        key: StreamKey, action: AccessAction, now: Int64, rules: TokenRules = TokenRules()
    ) -> TokenVerdict {
        // RFC 7519 §4.1.4: not accepted "on or after" the expiry.
        if let expiry = self.expiry {
            guard now < expiry.addingSaturated(rules.leewaySeconds) else { return .expired }
        } else if rules.requiresExpiry {
            return .expiryMissing
        }
        if let notBefore = self.notBefore, now < notBefore.addingSaturated(-rules.leewaySeconds) {
            return .notYetValid
        }
        if let issuer = rules.issuer, self.issuer != issuer { return .wrongIssuer }
        // RFC 7519 §4.1.3: a token for others is not for us; one for nobody is not, either, where we have a name.
        if let audience = rules.audience, !self.audience.contains(audience) { return .wrongAudience }
        guard Self.matches(self.vhost, key.vhost) else { return .wrongVhost }
        guard Self.matches(self.app, key.app) else { return .wrongApp }
        guard Self.matches(self.stream, key.name) else { return .wrongStream }
        return self.actions.contains(action) ? .permitted : .wrongAction
    }

    private static func matches(_ claim: String?, _ name: String) -> Bool {
        guard let claim else { return true }
        guard claim.utf8.last == UInt8(ascii: "*") else { return Array(claim.utf8) == Array(name.utf8) }
        return name.utf8.starts(with: claim.utf8.dropLast())
    }
}

extension Int64 {
    /// The sum, or the nearest number that there is.
    func addingSaturated(_ other: Int64) -> Int64 {
        let (sum, overflow) = self.addingReportingOverflow(other)
        return overflow ? (other < 0 ? .min : .max) : sum
    }
}

extension TokenClaims: Decodable {
    private enum CodingKeys: String, CodingKey {
        case vhost, app, stream, action, exp, nbf, iss, aud, sub
        case maximumBitRate = "max_bitrate"
    }

    /// Reads the claims. A claim of another type than it should have is an error: guesses would open doors.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.vhost = try container.decodeIfPresent(String.self, forKey: .vhost)
        self.app = try container.decodeIfPresent(String.self, forKey: .app)
        self.stream = try container.decodeIfPresent(String.self, forKey: .stream)
        self.issuer = try container.decodeIfPresent(String.self, forKey: .iss)
        self.subject = try container.decodeIfPresent(String.self, forKey: .sub)
        self.expiry = try Self.seconds(container, .exp, rounding: .down)
        self.notBefore = try Self.seconds(container, .nbf, rounding: .up)
        self.audience = try Self.list(container, .aud) ?? []
        self.maximumBitRate = try container.decodeIfPresent(UInt64.self, forKey: .maximumBitRate)
        guard let actions = try Self.list(container, .action) else { return }
        self.actions = []
        for action in actions {
            if action == "*" { self.actions.formUnion(AccessAction.allCases) }
            // What other versions may know is no error; it opens nothing here.
            if let known = AccessAction(rawValue: action) { self.actions.insert(known) }
        }
    }

    /// A string, or a list of strings.
    private static func list(
        _ container: KeyedDecodingContainer<CodingKeys>, _ key: CodingKeys
    ) throws -> [String]? {
        guard container.contains(key), try !container.decodeNil(forKey: key) else { return nil }
        if let one = try? container.decode(String.self, forKey: key) { return [one] }
        return try container.decode([String].self, forKey: key)
    }

    /// Spec: RFC 7519 §2, NumericDate.
    private static func seconds(
        _ container: KeyedDecodingContainer<CodingKeys>, _ key: CodingKeys, rounding: FloatingPointRoundingRule
    ) throws -> Int64? {
        guard let value = try container.decodeIfPresent(Double.self, forKey: key) else { return nil }
        guard let seconds = Int64(exactly: value.rounded(rounding)) else {
            throw DecodingError.dataCorruptedError(forKey: key, in: container, debugDescription: "out of range")
        }
        return seconds
    }
}
