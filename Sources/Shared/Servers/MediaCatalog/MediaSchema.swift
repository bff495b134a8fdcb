import GRDB

/// The tables of the media database.
enum MediaSchema {
    /// Add a migration for each change; never edit one that was released. Each part of the module has its own.
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1-segments") { try Self.createSegments($0) }
        Self.registerRecordings(in: &migrator)
        return migrator
    }

    private static func createSegments(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE streams (
                    id INTEGER PRIMARY KEY,
                    vhost TEXT NOT NULL,
                    app TEXT NOT NULL,
                    name TEXT NOT NULL,
                    next_sequence INTEGER NOT NULL DEFAULT 0,
                    discontinuity_sequence INTEGER NOT NULL DEFAULT 0,
                    end_ms INTEGER NOT NULL DEFAULT 0,
                    UNIQUE (vhost, app, name)
                ) STRICT;
                CREATE TABLE segments (
                    stream INTEGER NOT NULL REFERENCES streams (id),
                    tag TEXT NOT NULL,
                    sequence INTEGER NOT NULL,
                    epoch INTEGER NOT NULL,
                    path TEXT NOT NULL,
                    byte_count INTEGER NOT NULL,
                    start INTEGER NOT NULL,
                    duration INTEGER NOT NULL,
                    timescale INTEGER NOT NULL,
                    start_ms INTEGER NOT NULL,
                    discontinuity INTEGER NOT NULL,
                    independent INTEGER NOT NULL,
                    init_index INTEGER NOT NULL,
                    key_index INTEGER,
                    details TEXT,
                    expires_ms INTEGER,
                    PRIMARY KEY (stream, tag, sequence, epoch)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX segments_by_expiry ON segments (expires_ms) WHERE expires_ms IS NOT NULL;
                CREATE TABLE assets (
                    stream INTEGER NOT NULL REFERENCES streams (id),
                    kind TEXT NOT NULL,
                    tag TEXT NOT NULL,
                    epoch INTEGER NOT NULL,
                    number INTEGER NOT NULL,
                    path TEXT NOT NULL,
                    byte_count INTEGER NOT NULL,
                    details TEXT,
                    expires_ms INTEGER,
                    PRIMARY KEY (stream, kind, tag, epoch, number)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX assets_by_expiry ON assets (expires_ms) WHERE expires_ms IS NOT NULL;
                """)
    }
}
