import DigestAuthentication
import NIOCore
import RTSP

/// Holds what one connection proved, and asks for proofs.
struct RTSPAuthenticator {
    enum Verdict: Equatable {
        case granted
        /// The values of `WWW-Authenticate`.
        case challenge([String])
        /// Too many wrong answers: the connection is of no more use.
        case denied([String])
    }

    private let realm: String
    private let methods: [RTSPAuthentication]
    private let maximumAttempts: Int
    private var nonces = DigestNonceBook(capacity: 8)
    private var attempts = 0

    init(realm: String, methods: [RTSPAuthentication], maximumAttempts: Int) {
        self.realm = realm
        self.methods = methods
        self.maximumAttempts = maximumAttempts
    }

    /// Judges the `Authorization` of a request for a stream that needs one of `accounts`.
    mutating func judge(
        _ authorization: String?, accounts: [RTSPAccount], method: String, uri: String, body: [UInt8] = [],
        now: NIODeadline
    ) -> Verdict {
        guard let text = authorization else { return .challenge(self.challenges(isStale: false, now: now)) }
        switch try? AuthenticationCredentials(parsing: text) {
        case .digest(let credentials):
            let isOffered = self.methods.contains(credentials.algorithm == .md5 ? .md5 : .sha256)
            guard isOffered, credentials.realm == self.realm, Self.isSameResource(credentials.uri, uri),
                let account = accounts.first(where: { $0.name == credentials.username }),
                credentials.isValid(password: account.password, method: method, body: body)
            else { return self.failed(now: now) }
            switch self.nonces.use(credentials, now: now) {
            case .usable: return .granted
            case .stale: return .challenge(self.challenges(isStale: true, now: now))
            case .replayed: return self.failed(now: now)
            }
        case .basic(let username, let password):
            guard self.methods.contains(.basic),
                accounts.contains(RTSPAccount(name: username, password: password))
            else { return self.failed(now: now) }
            return .granted
        case .bearer, nil: return self.failed(now: now)
        }
    }

    /// The access rules want a token, which fits into the password of Basic.
    mutating func tokenMissing(wasGiven: Bool) -> Verdict {
        let challenges = [AuthenticationChallenge.basic(realm: self.realm).text]
        guard wasGiven else { return .challenge(challenges) }
        self.attempts += 1
        return self.attempts >= self.maximumAttempts ? .denied(challenges) : .challenge(challenges)
    }

    private mutating func failed(now: NIODeadline) -> Verdict {
        self.attempts += 1
        let challenges = self.challenges(isStale: false, now: now)
        return self.attempts >= self.maximumAttempts ? .denied(challenges) : .challenge(challenges)
    }

    private mutating func challenges(isStale: Bool, now: NIODeadline) -> [String] {
        let nonce = self.nonces.issue(randomBytes: (0..<16).map { _ in UInt8.random(in: 0...255) }, now: now)
        return self.methods.map { method in
            switch method {
            case .basic: return AuthenticationChallenge.basic(realm: self.realm).text
            case .md5, .sha256:
                // Without `qop`, which many RTSP clients do not know.
                return AuthenticationChallenge.digest(
                    DigestChallenge(
                        realm: self.realm, nonce: nonce, algorithm: method == .md5 ? .md5 : .sha256,
                        namesAlgorithm: method == .sha256, isStale: isStale)
                ).text
            }
        }
    }

    /// Clients write the URL of a request and that of its digest alike but for the authority, and some without the query.
    private static func isSameResource(_ left: String, _ right: String) -> Bool {
        if left == right { return true }
        func path(_ text: String) -> String {
            let path = (try? RTSPURL(parsing: text))?.path ?? String(text.prefix { $0 != "?" })
            return path.hasSuffix("/") ? String(path.dropLast()) : path
        }
        return path(left) == path(right)
    }
}

/// The stream that a URL names.
struct RTSPStreamName: Equatable {
    var app: String
    var name: String
    /// From the query.
    var vhost: String?
    var token: String

    /// `nil` for a path without an app and a name.
    init?(_ url: RTSPURL) {
        let components = url.components
        guard components.count >= 2, let name = components.last else { return nil }
        self.app = components.dropLast().joined(separator: "/")
        self.name = name
        self.vhost = nil
        self.token = ""
        for item in (url.query ?? "").split(separator: "&") {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, !pair[1].isEmpty else { continue }
            switch pair[0] {
            case "vhost": self.vhost = String(pair[1])
            case "token": self.token = String(pair[1])
            default: break
            }
        }
    }
}
