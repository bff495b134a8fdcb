import GRDB

/// What a token of the coordinator's API allows; each role may do what the ones before it may.
package enum TokenRole: String, Sendable, Hashable, Codable, CaseIterable {
    /// Reads.
    case viewer
    /// Also kicks, drains, records, takes snapshots and sets policies.
    case `operator`
    /// Also makes tokens and backups.
    case admin
}

/// A token as a row: what it allows, and the digest by which it is known. The token itself is not kept.
package struct StoredToken: Sendable, Hashable {
    package var id: Int64
    /// Who uses it. Unique.
    package var name: String
    package var role: TokenRole
    /// SHA-256 of the token, 32 bytes.
    package var digest: [UInt8]
    /// Milliseconds since 1970.
    package var createdMillis: Int64
    package var expiresMillis: Int64?

    package init(
        id: Int64, name: String, role: TokenRole, digest: [UInt8], createdMillis: Int64, expiresMillis: Int64? = nil
    ) {
        self.id = id
        self.name = name
        self.role = role
        self.digest = digest
        self.createdMillis = createdMillis
        self.expiresMillis = expiresMillis
    }
}

/// What came of adding a token.
package enum TokenInsertion: Sendable, Hashable {
    case added(StoredToken)
    case nameInUse
    case tooMany(limit: Int)
}

/// The tokens of the API.
extension CoordinatorStore {
    /// All tokens, expired ones included, in the order in which they were made. Errors: `unavailable`.
    package func tokens() async throws(CoordinatorStoreError) -> [StoredToken] {
        try await self.reading { database in
            try Row.fetchAll(database, sql: "SELECT * FROM tokens ORDER BY id").compactMap(TokenTable.token)
        }
    }

    /// Adds a token; the `id` of `token` is replaced by one that was never used. Tokens that expired before
    /// `nowMillis` are removed first. Errors: `unavailable`.
    package func addToken(
        _ token: StoredToken, limit: Int, nowMillis: Int64
    ) async throws(CoordinatorStoreError) -> TokenInsertion {
        try await self.writing { database in
            try database.execute(sql: "DELETE FROM tokens WHERE expires_ms <= ?", arguments: [nowMillis])
            let known = try Row.fetchOne(database, sql: "SELECT 1 FROM tokens WHERE name = ?", arguments: [token.name])
            guard known == nil else { return .nameInUse }
            let count = try Int.fetchOne(database, sql: "SELECT count(*) FROM tokens") ?? 0
            guard count < limit else { return .tooMany(limit: limit) }
            try database.execute(
                sql: "INSERT INTO tokens (name, role, digest, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?)",
                arguments: [
                    token.name, token.role.rawValue, token.digest.databaseBytes, token.createdMillis,
                    token.expiresMillis,
                ])
            var added = token
            added.id = database.lastInsertedRowID
            return .added(added)
        }
    }

    /// Removes a token and returns what it was; `nil` if there was none. Errors: `unavailable`.
    package func removeToken(_ id: Int64) async throws(CoordinatorStoreError) -> StoredToken? {
        try await self.writing { database in
            let row = try Row.fetchOne(database, sql: "SELECT * FROM tokens WHERE id = ?", arguments: [id])
            try database.execute(sql: "DELETE FROM tokens WHERE id = ?", arguments: [id])
            return row.flatMap(TokenTable.token)
        }
    }
}

/// The table of tokens.
enum TokenTable {
    static func create(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE tokens (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    name TEXT NOT NULL UNIQUE,
                    role TEXT NOT NULL,
                    digest TEXT NOT NULL UNIQUE,
                    created_ms INTEGER NOT NULL,
                    expires_ms INTEGER
                ) STRICT;
                """)
    }

    /// `nil` for a row with a role or a digest that cannot be.
    static func token(_ row: Row) -> StoredToken? {
        guard let role = TokenRole(rawValue: row["role"]), let digest = [UInt8](databaseBytes: row["digest"])
        else { return nil }
        return StoredToken(
            id: row["id"], name: row["name"], role: role, digest: digest, createdMillis: row["created_ms"],
            expiresMillis: row["expires_ms"])
    }
}

extension [UInt8] {
    /// Hexadecimal, as the column has it.
    fileprivate var databaseBytes: String {
        let digits = Array("0123456789abcdef".utf8)
        var text = ""
        for byte in self {
            text.unicodeScalars.append(Unicode.Scalar(digits[Int(byte >> 4)]))
            text.unicodeScalars.append(Unicode.Scalar(digits[Int(byte & 15)]))
        }
        return text
    }

    fileprivate init?(databaseBytes text: String) {
        let digits = [UInt8](text.utf8)
        guard digits.count == 64 else { return nil }
        self = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
                return nil
            }
            self.append(byte)
        }
    }
}
