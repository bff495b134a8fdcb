import FoundationEssentials
import GRDB
package import Placement

/// The policies that operators set per vhost and app.
extension CoordinatorStore {
    /// All policies, those for more streams first, and the revision. Errors: `unavailable`.
    package func policies() async throws(CoordinatorStoreError) -> PolicyList {
        try await self.reading { database in try PolicyTable.list(database) }
    }

    /// Inserts or replaces the policy of a vhost and app. Returns all policies with their new revision, or `nil`, with
    /// nothing changed, when there would be more than `limit`. Errors: `unavailable`.
    package func setPolicy(_ policy: StreamPolicy, limit: Int) async throws(CoordinatorStoreError) -> PolicyList? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let settings = (try? encoder.encode(policy.settings)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
        return try await self.writing { database in
            let others = try Int.fetchOne(
                database, sql: "SELECT count(*) FROM policies WHERE NOT (vhost = ? AND app = ?)",
                arguments: [policy.vhost ?? "", policy.app ?? ""])
            guard others ?? 0 < limit else { return nil }
            try database.execute(
                sql: "INSERT OR REPLACE INTO policies (vhost, app, settings) VALUES (?, ?, ?)",
                arguments: [policy.vhost ?? "", policy.app ?? "", settings])
            try PolicyTable.nextRevision(database)
            return try PolicyTable.list(database)
        }
    }

    /// Removes the policy of a vhost and app. Returns what is left with its new revision, or `nil` if there was none.
    /// Errors: `unavailable`.
    package func removePolicy(vhost: String?, app: String?) async throws(CoordinatorStoreError) -> PolicyList? {
        try await self.writing { database in
            try database.execute(
                sql: "DELETE FROM policies WHERE vhost = ? AND app = ?", arguments: [vhost ?? "", app ?? ""])
            guard database.changesCount > 0 else { return nil }
            try PolicyTable.nextRevision(database)
            return try PolicyTable.list(database)
        }
    }
}

/// The table of policies. An empty vhost or app stands for all: names are never empty.
enum PolicyTable {
    static func create(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE policies (
                    vhost TEXT NOT NULL,
                    app TEXT NOT NULL,
                    settings TEXT NOT NULL,
                    PRIMARY KEY (vhost, app)
                ) STRICT, WITHOUT ROWID;
                """)
    }

    static func nextRevision(_ database: Database) throws {
        try database.execute(
            sql: """
                INSERT INTO meta (name, value) VALUES ('policies_revision', 1)
                ON CONFLICT (name) DO UPDATE SET value = value + 1
                """)
    }

    static func list(_ database: Database) throws -> PolicyList {
        let revision = try Int64.fetchOne(database, sql: "SELECT value FROM meta WHERE name = 'policies_revision'")
        let rows = try Row.fetchAll(
            database, sql: "SELECT * FROM policies ORDER BY vhost <> '' AND app <> '', vhost <> '', vhost, app")
        let policies = rows.map { row in
            let vhost: String = row["vhost"]
            let app: String = row["app"]
            let settings: String = row["settings"]
            return StreamPolicy(
                vhost: vhost.isEmpty ? nil : vhost, app: app.isEmpty ? nil : app,
                settings: (try? JSONDecoder().decode([String: String].self, from: Data(settings.utf8))) ?? [:])
        }
        return PolicyList(revision: UInt64(clamping: revision ?? 0), policies: policies)
    }
}
