import CoordinatorStore
import Crypto
import FoundationEssentials
import Synchronization

/// The least role that a call needs, as `x-weir-role` of the API's description names it.
enum RouteAccess: String, Sendable, Hashable, CaseIterable {
    case none, viewer, `operator`, admin, node
}

/// Who calls.
struct Caller: Sendable, Hashable {
    enum Role: String, Sendable, Hashable, Codable {
        case viewer, `operator`, admin
        /// A node of the cluster, by the cluster's secret: placement and reading.
        case node

        init(_ role: TokenRole) {
            switch role {
            case .viewer: self = .viewer
            case .operator: self = .operator
            case .admin: self = .admin
            }
        }
    }

    /// The token's name.
    var name: String
    var role: Role
    /// The token; `nil` for what is configured.
    var token: Int64?
    var expiresMillis: Int64?

    func may(_ access: RouteAccess) -> Bool {
        switch (access, self.role) {
        case (.none, _), (.viewer, _): true
        case (.operator, .operator), (.operator, .admin), (.admin, .admin), (.node, .node): true
        default: false
        }
    }
}

/// Knows who may call: the cluster's secret, the configured admin token, and the tokens in the database.
///
/// Tokens are found by their SHA-256, so the time that a look-up takes tells nothing about them.
final class CallerBook: Sendable {
    private struct State {
        var tokens: [[UInt8]: StoredToken] = [:]
        /// A token went since somebody asked.
        var hasRevocation = false
    }

    private let secret: [UInt8]?
    private let adminToken: [UInt8]?
    private let state = Mutex(State())

    init(secret: String?, adminToken: String?) {
        self.secret = secret.flatMap { $0.isEmpty ? nil : Self.digest(of: $0) }
        self.adminToken = adminToken.flatMap { $0.isEmpty ? nil : Self.digest(of: $0) }
    }

    static func digest(of token: some StringProtocol) -> [UInt8] { Array(SHA256.hash(data: Data(token.utf8))) }

    /// A token nobody can guess: 256 random bits, in letters and digits that need no escaping.
    static func makeToken() -> String {
        var generator = SystemRandomNumberGenerator()
        let words = (0..<4).map { _ in generator.next() }
        let digits = words.map { word in
            let text = String(word, radix: 36)
            return String(repeating: "0", count: 13 - text.utf8.count) + text
        }
        return "weir-" + digits.joined()
    }

    func add(_ token: StoredToken) { self.state.withLock { $0.tokens[token.digest] = token } }

    func remove(_ token: StoredToken) {
        self.state.withLock { state in
            state.tokens[token.digest] = nil
            state.hasRevocation = true
        }
    }

    /// Whether a token was revoked since the last call.
    func takeRevocation() -> Bool {
        self.state.withLock { state in
            defer { state.hasRevocation = false }
            return state.hasRevocation
        }
    }

    /// Whether an admin can get in.
    func hasAdmin(nowMillis: Int64) -> Bool {
        self.adminToken != nil
            || self.state.withLock { state in
                state.tokens.values.contains { $0.role == .admin && $0.expiresMillis.map { $0 > nowMillis } ?? true }
            }
    }

    /// Who sends this `Authorization`; `nil` for nobody who is known. Without a secret, who sends none is a node.
    func caller(authorization: String?, nowMillis: Int64) -> Caller? {
        guard let authorization else { return self.anonymous }
        let words = authorization.split(separator: " ", maxSplits: 1)
        guard words.count == 2, words[0].lowercased() == "bearer" else { return nil }
        return self.caller(token: words[1].trimmed, nowMillis: nowMillis)
    }

    /// Who has this token.
    func caller(token: some StringProtocol, nowMillis: Int64) -> Caller? {
        let digest = Self.digest(of: token)
        if digest == self.secret { return Caller(name: "cluster", role: .node) }
        if digest == self.adminToken { return Caller(name: "admin", role: .admin) }
        guard let token = self.state.withLock({ $0.tokens[digest] }) else { return nil }
        if let expires = token.expiresMillis, expires <= nowMillis { return nil }
        return Caller(name: token.name, role: .init(token.role), token: token.id, expiresMillis: token.expiresMillis)
    }

    /// Who a request without `Authorization` is.
    var anonymous: Caller? { self.secret == nil ? Caller(name: "anonymous", role: .node) : nil }

    /// Whether a caller that came in may still be in.
    func isValid(_ caller: Caller, nowMillis: Int64) -> Bool {
        guard let id = caller.token else { return true }
        if let expires = caller.expiresMillis, expires <= nowMillis { return false }
        return self.state.withLock { state in state.tokens.values.contains { $0.id == id } }
    }
}
