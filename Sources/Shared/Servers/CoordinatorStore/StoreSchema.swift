import GRDB
import Media
import Placement

/// The tables and the SQL on them.
enum StoreSchema {
    /// Add a migration for each change; never edit one that was released.
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1-cluster") { database in
            try database.execute(
                sql: """
                    CREATE TABLE nodes (
                        id TEXT PRIMARY KEY NOT NULL,
                        instance TEXT NOT NULL,
                        role TEXT NOT NULL,
                        region TEXT NOT NULL,
                        host TEXT NOT NULL,
                        rtmp_port INTEGER NOT NULL,
                        http_port INTEGER NOT NULL,
                        api_port INTEGER NOT NULL,
                        version TEXT NOT NULL,
                        drained INTEGER NOT NULL DEFAULT 0
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE placements (
                        vhost TEXT NOT NULL,
                        app TEXT NOT NULL,
                        name TEXT NOT NULL,
                        epoch INTEGER NOT NULL,
                        node TEXT NOT NULL,
                        instance TEXT NOT NULL,
                        state TEXT NOT NULL,
                        token_digest TEXT,
                        lease_until_ms INTEGER NOT NULL,
                        end_reason TEXT,
                        PRIMARY KEY (vhost, app, name)
                    ) STRICT, WITHOUT ROWID;
                    CREATE INDEX placements_by_node ON placements (node);
                    CREATE TABLE events (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        at_ms INTEGER NOT NULL,
                        kind TEXT NOT NULL,
                        node TEXT,
                        vhost TEXT,
                        app TEXT,
                        name TEXT,
                        epoch INTEGER,
                        detail TEXT
                    ) STRICT;
                    CREATE INDEX events_by_time ON events (at_ms);
                    CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                    """)
        }
        migrator.registerMigration("2-positions") { database in
            try database.execute(
                sql: """
                    ALTER TABLE placements ADD COLUMN next_sequence INTEGER;
                    ALTER TABLE placements ADD COLUMN discontinuity_sequence INTEGER;
                    ALTER TABLE placements ADD COLUMN media_end_ms INTEGER;
                    """)
        }
        RecordingTable.register(in: &migrator)
        migrator.registerMigration("3-control") { database in
            try database.execute(
                sql: """
                    ALTER TABLE events ADD COLUMN actor TEXT;
                    CREATE INDEX events_by_kind ON events (kind);
                    CREATE INDEX events_by_node ON events (node);
                    CREATE INDEX events_by_stream ON events (vhost, app, name);
                    """)
            try TokenTable.create(database)
            try PolicyTable.create(database)
        }
        migrator.registerMigration("4-ports") { database in
            try database.execute(
                sql: """
                    ALTER TABLE nodes ADD COLUMN srt_port INTEGER;
                    ALTER TABLE nodes ADD COLUMN rtsp_port INTEGER;
                    ALTER TABLE nodes ADD COLUMN rtsps_port INTEGER;
                    """)
        }
        return migrator
    }

    /// Returns the event with its id, if the write is one.
    static func apply(_ write: StoreWrite, to database: Database) throws -> StoredEvent? {
        switch write {
        case .placement(let placement): try self.upsert(placement, database)
        case .leases(let nodes, let untilMillis):
            let statement = try database.cachedStatement(
                sql: "UPDATE placements SET lease_until_ms = ? WHERE node = ? AND state <> 'ended'")
            for node in nodes { try statement.execute(arguments: [untilMillis, node.rawValue]) }
        case .forget(let key, let epoch, let floor):
            try database.cachedStatement(
                sql: "DELETE FROM placements WHERE vhost = ? AND app = ? AND name = ? AND epoch = ?"
            ).execute(arguments: [key.vhost, key.app, key.name, Int64(clamping: epoch)])
            try database.cachedStatement(
                sql: """
                    INSERT INTO meta (name, value) VALUES ('epoch_floor', ?)
                    ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)
                    """
            ).execute(arguments: [Int64(clamping: floor)])
        case .node(let node): try self.upsert(node, database)
        case .removeNode(let id):
            try database.cachedStatement(sql: "DELETE FROM nodes WHERE id = ?").execute(arguments: [id.rawValue])
        case .event(let event, let atMillis, let actor):
            return try EventTable.insert(event, atMillis: atMillis, actor: actor, database)
        case .pruneEvents(let beforeMillis, let count):
            try database.execute(sql: "DELETE FROM events WHERE at_ms < ?", arguments: [beforeMillis])
            try database.execute(
                sql: "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", arguments: [count])
        }
        return nil
    }

    private static func upsert(_ placement: StoredPlacement, _ database: Database) throws {
        // The guard on the epoch makes the row fence itself, whatever the order of writers.
        try database.cachedStatement(
            sql: """
                INSERT INTO placements
                    (vhost, app, name, epoch, node, instance, state, token_digest, lease_until_ms, end_reason,
                     next_sequence, discontinuity_sequence, media_end_ms)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (vhost, app, name) DO UPDATE SET
                    epoch = excluded.epoch, node = excluded.node, instance = excluded.instance,
                    state = excluded.state, token_digest = excluded.token_digest,
                    lease_until_ms = excluded.lease_until_ms, end_reason = excluded.end_reason,
                    next_sequence = excluded.next_sequence,
                    discontinuity_sequence = excluded.discontinuity_sequence, media_end_ms = excluded.media_end_ms
                WHERE excluded.epoch >= placements.epoch
                """
        ).execute(arguments: [
            placement.key.vhost, placement.key.app, placement.key.name, Int64(clamping: placement.epoch),
            placement.node.rawValue, placement.instance, placement.state.rawValue, placement.tokenDigest,
            placement.leaseUntilMillis, placement.endReason?.rawValue,
            placement.position.map { Int64(clamping: $0.nextSequence) },
            placement.position.map { Int64(clamping: $0.discontinuitySequence) }, placement.position?.endMillis,
        ])
    }

    private static func upsert(_ node: StoredNode, _ database: Database) throws {
        let description = node.description
        try database.cachedStatement(
            sql: """
                INSERT OR REPLACE INTO nodes
                    (id, instance, role, region, host, rtmp_port, http_port, api_port, srt_port, rtsp_port, rtsps_port,
                     version, drained)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            description.id.rawValue, description.instance, description.role.rawValue, description.region,
            description.host, description.rtmpPort, description.httpPort, description.apiPort, description.srtPort,
            description.rtspPort, description.rtspsPort, description.version, node.isDrained,
        ])
    }

    static func load(_ database: Database) throws -> StoredState {
        var state = StoredState()
        let placements = try Row.fetchCursor(database, sql: "SELECT * FROM placements")
        while let row = try placements.next() {
            guard let placement = self.placement(row) else {
                state.skippedRows += 1
                continue
            }
            state.placements.append(placement)
        }
        let nodes = try Row.fetchCursor(database, sql: "SELECT * FROM nodes ORDER BY id")
        while let row = try nodes.next() {
            guard let node = self.node(row) else {
                state.skippedRows += 1
                continue
            }
            state.nodes.append(node)
        }
        let floor = try Int64.fetchOne(database, sql: "SELECT value FROM meta WHERE name = 'epoch_floor'")
        state.epochFloor = UInt64(clamping: floor ?? 0)
        return state
    }

    static func key(_ row: Row) -> StreamKey? {
        guard let vhost: String = row["vhost"], let app: String = row["app"], let name: String = row["name"]
        else { return nil }
        return try? StreamKey(vhost: vhost, app: app, name: name)
    }

    private static func placement(_ row: Row) -> StoredPlacement? {
        let epoch: Int64 = row["epoch"]
        let endReason: String? = row["end_reason"]
        guard let key = self.key(row), let node = try? NodeID(row["node"]), epoch > 0,
            UInt64(epoch) <= PlacementEpoch.maximum, let state = PlacementState(rawValue: row["state"])
        else { return nil }
        return StoredPlacement(
            key: key, epoch: UInt64(epoch), node: node, instance: row["instance"], state: state,
            tokenDigest: row["token_digest"], leaseUntilMillis: row["lease_until_ms"],
            endReason: endReason.flatMap(StreamPlacement.EndReason.init(rawValue:)), position: self.position(row))
    }

    private static func position(_ row: Row) -> MediaPosition? {
        let sequence: Int64? = row["next_sequence"]
        let discontinuity: Int64? = row["discontinuity_sequence"]
        let end: Int64? = row["media_end_ms"]
        guard let sequence, sequence >= 0, let discontinuity, discontinuity >= 0, let end else { return nil }
        return MediaPosition(
            nextSequence: UInt64(sequence), discontinuitySequence: UInt64(discontinuity), endMillis: end)
    }

    private static func node(_ row: Row) -> StoredNode? {
        guard let id = try? NodeID(row["id"]), let role = NodeRole(rawValue: row["role"]) else { return nil }
        let description = NodeDescription(
            id: id, instance: row["instance"], role: role, region: row["region"], host: row["host"],
            rtmpPort: row["rtmp_port"], httpPort: row["http_port"], apiPort: row["api_port"], srtPort: row["srt_port"],
            rtspPort: row["rtsp_port"], rtspsPort: row["rtsps_port"], version: row["version"])
        return StoredNode(description: description, isDrained: row["drained"])
    }
}
