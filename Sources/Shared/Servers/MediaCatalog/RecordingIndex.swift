import FoundationEssentials
import GRDB
package import Media

/// A recording that the coordinator has not been told of, or not since it changed.
package struct UnreportedRecording: Sendable, Hashable {
    package var entry: RecordingEntry
    /// Which change of it this is.
    package var revision: Int64

    package init(entry: RecordingEntry, revision: Int64) {
        self.entry = entry
        self.revision = revision
    }
}

/// What an operator asked for one stream, against or beyond its settings.
package struct RecordingIntent: Sendable, Hashable, Codable {
    package var key: StreamKey
    /// It is to be recorded, or not to be.
    package var records: Bool

    package init(key: StreamKey, records: Bool) {
        self.key = key
        self.records = records
    }
}

/// Recordings.
extension MediaDatabase {
    /// Inserts or replaces the entry with its transaction to come. It counts as not reported. Any thread.
    ///
    /// `index` is `RecordingIndex.encoded()`, given once the file is complete.
    package func save(_ entry: RecordingEntry, index: [UInt8]? = nil) {
        self.enqueue { database in
            try RecordingRows.upsert(entry, database)
            guard let index else { return }
            try database.cachedStatement(
                sql: "INSERT OR REPLACE INTO recording_indexes (recording, entries) VALUES (?, ?)"
            ).execute(arguments: [entry.id, Data(index)])
        }
    }

    /// The same, and returns when it is committed.
    package func saveNow(_ entry: RecordingEntry, index: [UInt8]? = nil) async throws(MediaDatabaseError) {
        self.save(entry, index: index)
        try await self.write { _ in }
    }

    /// One page of the list, the oldest first.
    package func recordings(_ query: RecordingQuery) async throws(MediaDatabaseError) -> RecordingPage {
        try await self.read { database in try RecordingRows.page(query, database) }
    }

    /// One recording; `nil` if there is none with this id.
    package func recording(_ id: String) async throws(MediaDatabaseError) -> RecordingEntry? {
        try await self.read { database in
            try Row.fetchOne(database, sql: "SELECT * FROM recordings WHERE id = ?", arguments: [id])
                .flatMap(RecordingRows.entry)
        }
    }

    /// The keyframe index of a complete recording.
    package func recordingIndex(_ id: String) async throws(MediaDatabaseError) -> [UInt8]? {
        try await self.read { database in
            try Data.fetchOne(
                database, sql: "SELECT entries FROM recording_indexes WHERE recording = ?", arguments: [id]
            ).map { [UInt8]($0) }
        }
    }

    /// What a process before this one did not complete, the oldest first.
    package func unfinishedRecordings() async throws(MediaDatabaseError) -> [RecordingEntry] {
        try await self.read { database in
            try Row.fetchAll(
                database,
                sql: "SELECT * FROM recordings WHERE state IN ('recording', 'finishing') ORDER BY start_ms, id"
            ).compactMap(RecordingRows.entry)
        }
    }

    /// What the coordinator does not know yet, the oldest first.
    package func unreportedRecordings(limit: Int) async throws(MediaDatabaseError) -> [UnreportedRecording] {
        try await self.read { database in
            try Row.fetchAll(
                database, sql: "SELECT * FROM recordings WHERE reported < revision ORDER BY start_ms, id LIMIT ?",
                arguments: [limit]
            ).compactMap { row in
                RecordingRows.entry(row).map { UnreportedRecording(entry: $0, revision: row["revision"]) }
            }
        }
    }

    /// The coordinator knows this change. A recording that is deleted is forgotten then.
    package func markReported(_ recording: UnreportedRecording) async throws(MediaDatabaseError) {
        let (id, revision) = (recording.entry.id, recording.revision)
        try await self.write { database in
            try database.execute(
                sql: "UPDATE recordings SET reported = max(reported, ?) WHERE id = ?", arguments: [revision, id])
            try database.execute(
                sql: "DELETE FROM recordings WHERE id = ? AND state = 'deleted' AND reported >= revision",
                arguments: [id])
        }
    }

    /// All recordings are to be told again: the coordinator lost its list.
    package func markAllUnreported() async throws(MediaDatabaseError) {
        try await self.write { database in try database.execute(sql: "UPDATE recordings SET reported = 0") }
    }

    /// The file of a recording is gone: its index is forgotten now, its entry when the coordinator knows.
    package func markDeleted(_ id: String) async throws(MediaDatabaseError) {
        try await self.write { database in
            try database.execute(sql: "DELETE FROM recording_indexes WHERE recording = ?", arguments: [id])
            try database.execute(
                sql: "UPDATE recordings SET state = 'deleted', bytes = 0, revision = revision + 1 WHERE id = ?",
                arguments: [id])
        }
    }

    /// Forgets a recording that nobody was told of or needs to be.
    package func forgetRecording(_ id: String) {
        self.enqueue { database in
            try database.execute(sql: "DELETE FROM recording_indexes WHERE recording = ?", arguments: [id])
            try database.execute(sql: "DELETE FROM recordings WHERE id = ?", arguments: [id])
        }
    }

    // MARK: Intents

    /// Remembers what an operator wants of a stream; `records` is `nil` when the settings are to decide again.
    package func setRecordingIntent(_ key: StreamKey, records: Bool?) async throws(MediaDatabaseError) {
        try await self.write { database in
            guard let records else {
                try database.execute(
                    sql: "DELETE FROM recording_intents WHERE vhost = ? AND app = ? AND name = ?",
                    arguments: [key.vhost, key.app, key.name])
                return
            }
            try database.execute(
                sql: "INSERT OR REPLACE INTO recording_intents (vhost, app, name, records) VALUES (?, ?, ?, ?)",
                arguments: [key.vhost, key.app, key.name, records])
        }
    }

    /// All intents, by name.
    package func recordingIntents() async throws(MediaDatabaseError) -> [RecordingIntent] {
        try await self.read { database in
            try Row.fetchAll(database, sql: "SELECT * FROM recording_intents ORDER BY vhost, app, name").compactMap {
                row in RecordingRows.key(row).map { RecordingIntent(key: $0, records: row["records"]) }
            }
        }
    }
}
