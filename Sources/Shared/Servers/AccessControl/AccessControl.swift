import Access
package import AsyncHTTPClient
import Crypto
package import Logging
package import MediaObjects
package import NIOCore
package import StreamHub
import Synchronization
package import Media

/// Decides who may connect, publish and play, for all protocols and by one set of rules.
///
/// For a connection: `connectionOpened`. For a session, in this order: nodes of the cluster are let in; the address; for
/// playing, the page; the signature or the token; then the limits of streams and apps. The first that says no is told to
/// the peer, and counted.
///
/// Reads its settings through closures at each decision, so a reload counts at once. Any thread may call.
package final class AccessControl: Sendable {
    private let configuration: @Sendable () -> AccessConfiguration
    private let rules: @Sendable (StreamKey) -> StreamAccessRules
    private let clock: AccessClock
    private let logger: Logger
    private let keyring: TokenKeyring
    private let tokens = RememberedTokens()
    private let counters = AccessCounters()
    private let limiter: Mutex<ConnectionLimiter>
    private let quota = Mutex(SessionQuota())
    private let lastReport = Mutex(Report())

    private struct Report {
        var at: NIODeadline?
        var silent: UInt64 = 0
    }

    /// How often refused connections are logged.
    private static let reportInterval = TimeAmount.seconds(10)
    /// An end that is further away than this is none: deadlines have an end, too.
    private static let longestSession: Int64 = 10 * 365 * 86_400

    /// `http` fetches key sets, and is shut down by its owner, after the last decision. It should follow no redirects.
    /// `rules` and `configuration` are called at each decision: they should give out what they have, not make it.
    package init(
        configuration: @escaping @Sendable () -> AccessConfiguration,
        rules: @escaping @Sendable (StreamKey) -> StreamAccessRules, http: HTTPClient, group: any EventLoopGroup,
        logger: Logger, clock: AccessClock = .system, maximumAddresses: Int = 100_000
    ) {
        self.configuration = configuration
        self.rules = rules
        self.clock = clock
        self.logger = logger
        self.keyring = TokenKeyring(http: http, group: group, clock: clock, logger: logger)
        self.limiter = Mutex(ConnectionLimiter(maximumAddresses: maximumAddresses, now: clock.now()))
    }

    /// Loads the keys before the first token comes. Ends within the deadline of the key set.
    package func prepare() async {
        let configuration = self.configuration().token
        guard configuration.hasKeys else { return }
        await self.keyring.refresh(configuration)
    }

    // MARK: Sessions

    /// The answer. May wait for keys, for at most their deadline.
    ///
    /// What is allowed has a place among the publishers or viewers for 30 s, until its session begins or is closed; if
    /// something else refuses it, `withdraw` frees the place at once.
    package func decide(_ request: AccessRequest) async -> AccessDecision {
        switch self.evaluate(request, isLast: false) {
        case .decided(let decision): return decision
        case .needsKeys:
            await self.keyring.refresh(self.configuration().token)
            guard case .decided(let decision) = self.evaluate(request, isLast: true) else {
                return .refuse(AccessRefusalCause.keysUnavailable.refusal)
            }
            return decision
        }
    }

    /// The answer, if nothing has to be waited for; else `nil`, and nothing was counted: ask `decide`.
    ///
    /// For event loops. Cost: some hash functions, and for a token that is new one check of a signature (up to 0.1 ms).
    package func decideNow(_ request: AccessRequest) -> AccessDecision? {
        guard case .decided(let decision) = self.evaluate(request, isLast: false) else { return nil }
        return decision
    }

    /// What `decide` allowed will not begin. Harmless if it was never allowed.
    package func withdraw(_ account: SessionAccount?) {
        guard let account else { return }
        self.quota.withLock { $0.withdraw(account.id) }
    }

    private enum Evaluation {
        case decided(AccessDecision)
        case needsKeys
    }

    private func evaluate(_ request: AccessRequest, isLast: Bool) -> Evaluation {
        if request.isProvedRelay { return self.allow(request, SessionLimits(), nil, by: .relay) }
        let rules = self.rules(request.key)
        if let cause = self.addressCause(request, rules) { return self.refuse(request, cause) }
        if request.action == .play, let cause = self.refererCause(request, rules) {
            return self.refuse(request, cause)
        }
        var limits = SessionLimits()
        limits.bitsPerSecond = request.action == .publish ? rules.publishBitsPerSecond : nil
        limits.until = rules.sessionDuration.map { self.clock.now() + $0 }
        let (subject, rule): (String?, AccessRule)
        switch self.credentials(request, rules, isLast: isLast) {
        case .needsKeys: return .needsKeys
        case .refused(let cause): return self.refuse(request, cause)
        case .none: (subject, rule) = (nil, .open)
        case .signature(let expires):
            self.setEnd(expires, request.action, &limits)
            (subject, rule) = (nil, .signature)
        case .token(let claims):
            let leeway = self.configuration().token.rules.leewaySeconds
            if let expiry = claims.expiry {
                let (end, overflow) = expiry.addingReportingOverflow(leeway)
                self.setEnd(overflow ? .max : end, request.action, &limits)
            }
            if request.action == .publish, let most = claims.maximumBitRate {
                limits.bitsPerSecond = min(limits.bitsPerSecond ?? most, most)
            }
            (subject, rule) = (claims.subject, .token)
        }
        if let cause = self.quotaCause(request, rules) { return self.refuse(request, cause) }
        return self.allow(request, limits, subject, by: rule)
    }

    private func allow(
        _ request: AccessRequest, _ limits: SessionLimits, _ subject: String?, by rule: AccessRule
    ) -> Evaluation {
        self.counters.allowed(request.action, by: rule)
        return .decided(.allow(limits, subject: subject))
    }

    private func refuse(_ request: AccessRequest, _ cause: AccessRefusalCause) -> Evaluation {
        self.counters.refused(request.action, cause)
        return .decided(.refuse(cause.refusal))
    }

    /// Ends the session when what opened it expires, if that is wanted.
    private func setEnd(_ expires: Int64, _ action: AccessAction, _ limits: inout SessionLimits) {
        limits.expirySeconds = expires
        let configuration = self.configuration().token
        let ends = action == .publish ? configuration.endsPublishersAtExpiry : configuration.endsViewersAtExpiry
        let (rest, overflow) = expires.subtractingReportingOverflow(self.clock.seconds())
        guard ends, !overflow, rest < Self.longestSession else { return }
        let end = self.clock.now() + .seconds(max(0, rest))
        limits.until = min(limits.until ?? end, end)
    }

    // MARK: Rules

    private func addressCause(_ request: AccessRequest, _ rules: StreamAccessRules) -> AccessRefusalCause? {
        let addresses = request.action == .publish ? rules.publish.addresses : rules.play.addresses
        guard !addresses.isEmpty else { return nil }
        switch addresses.verdict(IPAddress(endpoint: Self.address(request.peer))) {
        case .allowed: return nil
        case .denied: return .addressDenied
        case .notListed: return .addressNotListed
        }
    }

    /// The client's address: behind a proxy that is trusted, the one that the proxy tells.
    private static func address(_ peer: PeerIdentity) -> String { peer.account?.forwardedAddress ?? peer.address }

    private func refererCause(_ request: AccessRequest, _ rules: StreamAccessRules) -> AccessRefusalCause? {
        switch rules.referer.verdict(request.peer.client.referer) {
        case .allowed: nil
        case .missing: .refererMissing
        case .malformed: .refererMalformed
        case .notListed: .refererNotListed
        }
    }

    private func quotaCause(_ request: AccessRequest, _ rules: StreamAccessRules) -> AccessRefusalCause? {
        guard request.opensSession else { return nil }
        let now = self.clock.now()
        let refusal = self.quota.withLock { quota in
            if let account = request.peer.account {
                quota.reserve(account.id, key: request.key, action: request.action, limits: rules.quotas, now: now)
            } else {
                quota.refusal(key: request.key, action: request.action, limits: rules.quotas, now: now)
            }
        }
        switch refusal {
        case nil: return nil
        case .publishersPerApp: return .publishersPerApp
        case .viewersPerStream: return .viewersPerStream
        }
    }

    // MARK: Credentials

    private enum Credentials {
        /// None are asked for.
        case none
        case signature(expires: Int64)
        case token(TokenClaims)
        case refused(AccessRefusalCause)
        case needsKeys
    }

    /// A signature or a token, whichever of those that the rules ask for the peer brings; one is enough.
    private func credentials(_ request: AccessRequest, _ rules: StreamAccessRules, isLast: Bool) -> Credentials {
        let wantsSignature = request.action == .play && !rules.urlSecret.isEmpty
        let wantsToken = request.action == .publish ? rules.publish.requiresToken : rules.play.requiresToken
        if wantsSignature, let found = self.signature(request, rules.urlSecret) { return found }
        if wantsToken { return self.token(request, isLast: isLast) }
        return wantsSignature ? .refused(.signatureMissing) : .none
    }

    /// `nil` if the peer brings none.
    private func signature(_ request: AccessRequest, _ secret: String) -> Credentials? {
        let now = self.clock.seconds()
        let verdict: SignedPath.Verdict
        let expires: Int64
        if let path = request.signedPath {
            verdict = path.check(for: request.key, secret: secret.utf8, now: now)
            expires = path.expires
        } else if !request.isForFiles,
            let signature = AccessQuery.value(of: "signature", in: request.peer.query)
        {
            let text = AccessQuery.value(of: "expires", in: request.peer.query) ?? ""
            verdict = SignedURL.check(
                expires: text, signature: signature, for: request.key, secret: secret.utf8, now: now)
            expires = Int64(text) ?? 0
        } else {
            return nil
        }
        switch verdict {
        // Good up to the end of its second.
        case .valid: return .signature(expires: expires + 1)
        case .expired: return .refused(.signatureExpired)
        case .forged: return .refused(.signatureForged)
        }
    }

    private func token(_ request: AccessRequest, isLast: Bool) -> Credentials {
        let configuration = self.configuration().token
        let text = TokenReader.token(
            authorization: request.peer.authorization, query: request.peer.query, parameter: configuration.parameter)
        guard let text else { return .refused(.tokenMissing) }
        guard let keys = self.keyring.keys(configuration) else {
            return isLast ? .refused(.keysUnavailable) : .needsKeys
        }
        if !configuration.keySetURL.isEmpty, let fetchedAt = keys.fetchedAt, !isLast {
            let age = self.clock.now() - fetchedAt
            if age >= configuration.keySetRefresh, self.keyring.mayRefresh(configuration) {
                // A little too old is good enough for this one; much too old is a node that nobody asked for long.
                if age.nanoseconds / 2 >= configuration.keySetRefresh.nanoseconds { return .needsKeys }
                self.keyring.refreshInBackground(configuration)
            }
        }
        let digest = TokenReader.digest(text)
        if let claims = self.tokens.claims(digest, keys.generation) {
            self.counters.tokenRemembered()
            return self.permit(claims, request, configuration)
        }
        self.counters.tokenChecked()
        switch TokenReader.check(text, own: keys.own, published: keys.published) {
        case .verified(let claims):
            self.tokens.remember(claims, digest, keys.generation)
            return self.permit(claims, request, configuration)
        case .refused(let cause): return .refused(cause)
        case .unknownKey(let cause):
            guard !configuration.keySetURL.isEmpty else { return .refused(cause) }
            if !isLast, self.keyring.mayRefresh(configuration) { return .needsKeys }
            return .refused(keys.fetchedAt == nil ? .keysUnavailable : cause)
        }
    }

    private func permit(
        _ claims: TokenClaims, _ request: AccessRequest, _ configuration: TokenConfiguration
    ) -> Credentials {
        let verdict = claims.permits(
            key: request.key, action: request.action, now: self.clock.seconds(), rules: configuration.rules)
        return verdict.cause.map { .refused($0) } ?? .token(claims)
    }

    // MARK: Files

    /// Why a request for a file is refused, whoever makes it: for each request, beside the decision about its viewer.
    ///
    /// With a secret, every file wants its signature, also where the viewer next door has shown one. Where tokens are
    /// asked for, too, a request without a signature is left to them. For event loops; cost: one HMAC. Proved nodes of
    /// the cluster are not to be asked about.
    package func fileRefusal(_ key: StreamKey, _ access: MediaObjectAccess) -> SessionRefusal? {
        let rules = self.rules(key)
        guard !rules.urlSecret.isEmpty else { return nil }
        let cause: AccessRefusalCause
        if let path = access.signedPath {
            switch path.check(for: key, secret: rules.urlSecret.utf8, now: self.clock.seconds()) {
            case .valid: return nil
            case .expired: cause = .signatureExpired
            case .forged: cause = .signatureForged
            }
        } else {
            guard !rules.play.requiresToken else { return nil }
            cause = .signatureMissing
        }
        self.counters.refused(.play, cause)
        return cause.refusal
    }

    /// Whom the token of a request names, to tell viewers apart. The token may be a wrong one: decide before it is
    /// believed. At most 128 characters.
    package func claimedSubject(_ access: MediaObjectAccess) -> String? {
        let configuration = self.configuration().token
        guard configuration.hasKeys else { return nil }
        let text = TokenReader.token(
            authorization: access.authorization, query: access.query, parameter: configuration.parameter)
        guard let text else { return nil }
        let known = self.keyring.keys(configuration).flatMap { keys in
            self.tokens.claims(TokenReader.digest(text), keys.generation)
        }
        return (known ?? TokenReader.unverifiedClaims(text))?.subject.map { String($0.prefix(128)) }
    }

    // MARK: Statistics

    package var statistics: AccessStatistics {
        var statistics = AccessStatistics()
        self.counters.write(to: &statistics)
        self.keyring.write(to: &statistics)
        self.limiter.withLock { limiter in
            statistics.connections = limiter.connections
            statistics.addresses = limiter.addressCount
            statistics.connectionsUncounted = limiter.uncounted
        }
        return statistics
    }

    /// Publishers of an app that began here; relays are not among them.
    package func publishers(vhost: String, app: String) -> Int {
        self.quota.withLock { $0.publishers(vhost: vhost, app: app) }
    }

    /// Viewers of a stream that began here; relays are not among them.
    package func viewers(of key: StreamKey) -> Int { self.quota.withLock { $0.viewers(of: key) } }
}

// MARK: - Connections

extension AccessControl: ConnectionAdmission {
    package func connectionOpened(_ address: SocketAddress?, transport: String) -> String? {
        let limits = self.configuration().connections
        let now = self.clock.now()
        let address = address?.ipAddress.flatMap { IPAddress(endpoint: $0) }
        guard let refusal = self.limiter.withLock({ $0.opened(address, limits: limits, now: now) }) else { return nil }
        self.counters.refused(refusal)
        self.report(refusal, now: now)
        return refusal.rawValue
    }

    package func connectionClosed(_ address: SocketAddress?, transport: String) {
        let address = address?.ipAddress.flatMap { IPAddress(endpoint: $0) }
        self.limiter.withLock { $0.closed(address) }
    }

    /// One line for a flood, with the number of those since the last.
    private func report(_ refusal: ConnectionRefusal, now: NIODeadline) {
        let count: UInt64? = self.lastReport.withLock { report in
            report.silent += 1
            if let at = report.at, now - at < Self.reportInterval { return nil }
            report.at = now
            defer { report.silent = 0 }
            return report.silent
        }
        guard let count else { return }
        self.logger.warning(
            "connections refused", metadata: ["reason": "\(refusal.rawValue)", "count": "\(count)"])
    }
}

// MARK: - Live counts

extension AccessControl: SessionObserver {
    package func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity) {
        guard !activity.isRelay else { return self.withdraw(account) }
        let action: AccessAction = activity.kind == .publish ? .publish : .play
        self.quota.withLock { $0.began(account.id, key: activity.key, action: action) }
    }

    package func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult) {
        self.quota.withLock { $0.ended(account.id) }
    }

    package func sessionClosed(_ account: SessionAccount) {
        self.quota.withLock { quota in
            quota.withdraw(account.id)
            quota.ended(account.id)
        }
    }
}
