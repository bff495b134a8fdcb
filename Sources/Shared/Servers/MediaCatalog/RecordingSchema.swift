import FoundationEssentials
import GRDB
import Media

extension MediaSchema {
    /// The tables of recordings.
    static func registerRecordings(in migrator: inout DatabaseMigrator) {
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
                        state TEXT NOT NULL,
                        revision INTEGER NOT NULL DEFAULT 1,
                        reported INTEGER NOT NULL DEFAULT 0
                    ) STRICT, WITHOUT ROWID;
                    CREATE INDEX recordings_by_stream ON recordings (vhost, app, name, start_ms);
                    CREATE INDEX recordings_by_start ON recordings (start_ms, id);
                    CREATE INDEX recordings_to_report ON recordings (start_ms) WHERE reported < revision;
                    CREATE INDEX recordings_unfinished ON recordings (state) WHERE state IN ('recording', 'finishing');
                    CREATE TABLE recording_indexes (
                        recording TEXT PRIMARY KEY NOT NULL,
                        entries BLOB NOT NULL
                    ) STRICT;
                    CREATE TABLE recording_intents (
                        vhost TEXT NOT NULL,
                        app TEXT NOT NULL,
                        name TEXT NOT NULL,
                        records INTEGER NOT NULL,
                        PRIMARY KEY (vhost, app, name)
                    ) STRICT, WITHOUT ROWID;
                    """)
        }
    }
}

/// The SQL on recordings.
enum RecordingRows {
    /// Inserts or replaces, and marks the row as not reported.
    static func upsert(_ entry: RecordingEntry, _ database: Database) throws {
        try database.cachedStatement(
            sql: """
                INSERT INTO recordings
                    (id, vhost, app, name, epoch, node, start_ms, end_ms, format, tracks, bytes, path, state)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET
                    start_ms = excluded.start_ms, end_ms = excluded.end_ms, tracks = excluded.tracks,
                    bytes = excluded.bytes, path = excluded.path, state = excluded.state,
                    format = excluded.format, revision = recordings.revision + 1
                """
        ).execute(arguments: [
            entry.id, entry.key.vhost, entry.key.app, entry.key.name, Int64(bitPattern: entry.epoch), entry.node,
            entry.startMillis, entry.endMillis, entry.format.rawValue, Self.text(of: entry.tracks), entry.bytes,
            entry.path, entry.state.rawValue,
        ])
    }

    private static func text(of tracks: [RecordedTrack]) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        guard let data = try? encoder.encode(tracks) else { return "[]" }
        return String(decoding: data, as: UTF8.self)
    }

    /// `nil` for a row that no longer holds a valid key, format or state.
    static func entry(_ row: Row) -> RecordingEntry? {
        guard let key = self.key(row), let format = RecordingFormat(rawValue: row["format"]),
            let state = RecordingState(rawValue: row["state"])
        else { return nil }
        let tracks: String = row["tracks"]
        return RecordingEntry(
            id: row["id"], key: key, epoch: UInt64(bitPattern: row["epoch"] as Int64), node: row["node"],
            startMillis: row["start_ms"], endMillis: row["end_ms"], format: format,
            tracks: (try? JSONDecoder().decode([RecordedTrack].self, from: Data(tracks.utf8))) ?? [],
            bytes: row["bytes"], path: row["path"], state: state)
    }

    static func key(_ row: Row) -> StreamKey? {
        try? StreamKey(vhost: row["vhost"], app: row["app"], name: row["name"])
    }

    /// One page, the oldest first.
    static func page(_ query: RecordingQuery, _ database: Database) throws -> RecordingPage {
        var conditions: [String] = []
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
        if let state = query.state { require("state = ?", state.rawValue) } else { require("state <> 'deleted'") }
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
