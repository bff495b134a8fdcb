import CoordinatorStore
import Hummingbird
import Placement

/// Answer of `GET /api/v1/whoami`.
struct WhoAmI: Codable, Hashable {
    var name: String
    var role: Caller.Role
    var expiresMillis: Int64?
}

/// A token as lists show it: without what it is known by.
struct TokenEntry: Codable, Hashable {
    var id: Int64
    var name: String
    var role: TokenRole
    var createdMillis: Int64
    var expiresMillis: Int64?

    init(_ token: StoredToken) {
        self.id = token.id
        self.name = token.name
        self.role = token.role
        self.createdMillis = token.createdMillis
        self.expiresMillis = token.expiresMillis
    }
}

/// Answer of `GET /api/v1/tokens`.
struct TokenList: Codable, Hashable {
    var tokens: [TokenEntry]
}

/// Answer of `POST /api/v1/tokens`.
struct NewToken: Codable, Hashable {
    var token: TokenEntry
    var secret: String
}

/// Body of `POST /api/v1/tokens`.
struct TokenBody: Decodable, Hashable {
    var name: String
    var role: TokenRole
    var expiresInSeconds: Int64?

    /// Ten years.
    static let expiry: ClosedRange<Int64> = 1...315_360_000

    /// 1 to 64 letters, digits, and `. _ @ -`.
    static func isName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "@"),
                    UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }
}

/// Tokens: who may call, with which role, until when.
extension CoordinatorRoutes {
    func tokenCalls() -> [APIRoute] {
        [
            APIRoute(.get, Self.prefix + "/whoami", .viewer) { request in
                let caller = request.caller
                return try Self.json(
                    WhoAmI(name: caller.name, role: caller.role, expiresMillis: caller.expiresMillis))
            },
            APIRoute(.get, Self.prefix + "/tokens", .admin) { _ in
                try Self.json(TokenList(tokens: try await self.core.store.tokens().map(TokenEntry.init)))
            },
            APIRoute(.post, Self.prefix + "/tokens", .admin) { try await self.createToken($0) },
            APIRoute(.delete, Self.prefix + "/tokens/{id}", .admin) { try await self.revokeToken($0) },
        ]
    }

    private func createToken(_ request: APIRequest) async throws -> Response {
        let body = try await self.body(of: request, as: TokenBody.self, limit: self.configuration.maximumRequestBytes)
        guard TokenBody.isName(body.name) else {
            throw Problem.invalid("name has 1 to 64 letters, digits, dots, underscores, hyphens and at signs")
        }
        guard body.expiresInSeconds.map({ TokenBody.expiry.contains($0) }) ?? true else {
            throw Problem.invalid("expiresInSeconds is a number from 1 to \(TokenBody.expiry.upperBound)")
        }
        let now = CoordinatorCore.wallMillis()
        let secret = CallerBook.makeToken()
        let token = StoredToken(
            id: 0, name: body.name, role: body.role, digest: CallerBook.digest(of: secret), createdMillis: now,
            expiresMillis: body.expiresInSeconds.map { now + $0 * 1_000 })
        let limit = self.configuration.maximumTokens
        switch try await self.core.store.addToken(token, limit: limit, nowMillis: now) {
        case .nameInUse: throw Problem("token-name-in-use", .conflict, "There is a token with this name")
        case .tooMany(let limit):
            throw Problem("too-many-tokens", .conflict, "There are too many tokens", detail: "at most \(limit)")
        case .added(let added):
            self.core.callers.add(added)
            try await self.core.record(
                ClusterEvent(kind: .tokenCreated, detail: added.name), actor: request.caller.name)
            return try Self.json(
                NewToken(token: TokenEntry(added), secret: secret), status: .created,
                headers: [.location: "\(Self.prefix)/tokens/\(added.id)"])
        }
    }

    private func revokeToken(_ request: APIRequest) async throws -> Response {
        guard let id = QueryReader.integer(try request.path("id")), id > 0, id < 1 << 53 else {
            throw Problem.invalid("ids of tokens are numbers")
        }
        guard let token = try await self.core.store.removeToken(id) else {
            throw Problem("unknown-token", .notFound, "There is no token with this id")
        }
        self.core.callers.remove(token)
        try await self.core.record(
            ClusterEvent(kind: .tokenRevoked, detail: token.name), actor: request.caller.name)
        return Self.noContent
    }
}
