import FoundationEssentials
import GRDB
package import Media

/// The cluster's catalogue of recordings.
extension CoordinatorStore {
    /// Inserts or replaces an entry, as its origin reports it; one that is deleted is removed. Errors: `unavailable`.
    ///
    /// Returns false, with nothing changed, when the id belongs to another node's recording.
    package func save(_ entry: RecordingEntry) async throws(CoordinatorStoreError) -> Bool {
        try await self.writing { database in try RecordingTable.save(entry, database) }
    }

    /// One page of the list, the oldest first. Errors: `unavailable`.
    package func recordings(_ query: RecordingQuery) async throws(CoordinatorStoreError) -> RecordingPage {
        try await self.reading { database in try RecordingTable.page(query, database) }
    }

    /// One recording; `nil` if there is none with this id. Errors: `unavailable`.
    package func recording(_ id: String) async throws(CoordinatorStoreError) -> RecordingEntry? {
        try await self.reading { database in
            try Row.fetchOne(database, sql: "SELECT * FROM recordings WHERE id = ?", arguments: [id])
                .flatMap(RecordingTable.entry)
        }
    }

    /// Removes an entry. Returns whether there was one. Errors: `unavailable`.
    package func removeRecording(_ id: String) async throws(CoordinatorStoreError) -> Bool {
        try await self.writing { database in
            try database.execute(sql: "DELETE FROM recordings WHERE id = ?", arguments: [id])
            return database.changesCount > 0
        }
    }
}

/// The table and the SQL on it.
enum RecordingTable {
    static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("1-recordings") { database in
            try database.execute(
                sql: """
                    CREATE TABLE recordings (
                        id TEXT PRIMARY KEY NOT NULL,
                        vhost TEXT NOT NULL,
                        app TEXT NOT NULL,
                        name TEXT NOT NULL,
                        epoch INTEGER NOT NULL,
                        node TEXT NOT NULL,
                        start_ms INTEGER NOT NULL,
                        end_ms INTEGER NOT NULL,
                        format TEXT NOT NULL,
                        tracks TEXT NOT NULL,
                        bytes INTEGER NOT NULL,
                        path TEXT NOT NULL,
                        state TEXT NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    CREATE INDEX recordings_by_stream ON recordings (vhost, app, name, start_ms);
                    CREATE INDEX recordings_by_start ON recordings (start_ms, id);
                    """)
        }
    }

    static func save(_ entry: RecordingEntry, _ database: Database) throws -> Bool {
        let owner = try String.fetchOne(
            database, sql: "SELECT node FROM recordings WHERE id = ?", arguments: [entry.id])
        guard owner == nil || owner == entry.node else { return false }
        guard entry.state != .deleted else {
            try database.execute(sql: "DELETE FROM recordings WHERE id = ?", arguments: [entry.id])
            return true
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let tracks = (try? encoder.encode(entry.tracks)).map { String(decoding: $0, as: UTF8.self) } ?? "[]"
        try database.cachedStatement(
            sql: """
                INSERT OR REPLACE INTO recordings
                    (id, vhost, app, name, epoch, node, start_ms, end_ms, format, tracks, bytes, path, state)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            entry.id, entry.key.vhost, entry.key.app, entry.key.name, Int64(bitPattern: entry.epoch), entry.node,
            entry.startMillis, entry.endMillis, entry.format.rawValue, tracks, entry.bytes, entry.path,
            entry.state.rawValue,
        ])
        return true
    }

    /// `nil` for a row that no longer holds a valid key, format or state.
    static func entry(_ row: Row) -> RecordingEntry? {
        guard let key = try? StreamKey(vhost: row["vhost"], app: row["app"], name: row["name"]),
            let format = RecordingFormat(rawValue: row["format"]), let state = RecordingState(rawValue: row["state"])
        else { return nil }
        let tracks: String = row["tracks"]
        return RecordingEntry(
            id: row["id"], key: key, epoch: UInt64(bitPattern: row["epoch"] as Int64), node: row["node"],
            startMillis: row["start_ms"], endMillis: row["end_ms"], format: format,
            tracks: (try? JSONDecoder().decode([RecordedTrack].self, from: Data(tracks.utf8))) ?? [],
            bytes: row["bytes"], path: row["path"], state: state)
    }

    static func page(_ query: RecordingQuery, _ database: Database) throws -> RecordingPage {
        var conditions = ["TRUE"]
        var arguments = StatementArguments()
        func require(_ condition: String, _ values: (any DatabaseValueConvertible)...) {
            conditions.append(condition)
            arguments += StatementArguments(values)
        }
        if let vhost = query.vhost { require("vhost = ?", vhost) }
        if let app = query.app { require("app = ?", app) }
        if let name = query.name { require("name = ?", name) }
        if let from = query.fromMillis { require("end_ms > ?", from) }
        if let to = query.toMillis { require("start_ms < ?", to) }
        if let state = query.state { require("state = ?", state.rawValue) }
        if let cursor = query.cursor { require("(start_ms, id) > (?, ?)", cursor.startMillis, cursor.id) }
        // One more than asked for tells whether there is another page.
        let rows = try Row.fetchAll(
            database,
            sql: "SELECT * FROM recordings WHERE \(conditions.joined(separator: " AND ")) "
                + "ORDER BY start_ms, id LIMIT \(query.limit + 1)", arguments: arguments)
        var page = RecordingPage(recordings: rows.prefix(query.limit).compactMap(Self.entry))
        if rows.count > query.limit, let last = rows.dropLast().last {
            page.next = RecordingQuery.Cursor(startMillis: last["start_ms"], id: last["id"]).text
        }
        return page
    }
}
