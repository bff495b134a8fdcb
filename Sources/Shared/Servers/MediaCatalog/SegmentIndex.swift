import GRDB
package import Media

/// Segments, what belongs to them, and the positions of streams.
///
/// Changes are gathered (`MediaDatabase.enqueue`) and need no waiting; reads see what was committed, so `flush` first
/// where that matters.
extension MediaDatabase {
    // MARK: Changes

    /// Lists a segment that is on disk, and moves the stream's position to `position`.
    package func add(_ segment: SegmentRecord, position: StreamPosition) {
        self.enqueue { database in
            let stream = try SegmentRows.move(segment.key, to: position, database)
            try SegmentRows.insert(segment, stream: stream, database)
        }
    }

    /// Lists a file that belongs to segments; one with the same numbers is replaced, and does not expire any more.
    package func add(_ asset: AssetRecord) {
        self.enqueue { database in
            let stream = try SegmentRows.identifier(of: asset.key, database)
            try SegmentRows.insert(asset, stream: stream, database)
        }
    }

    /// Moves a stream's position forward; never backward.
    package func move(_ key: StreamKey, to position: StreamPosition) {
        self.enqueue { _ = try SegmentRows.move(key, to: position, $0) }
    }

    /// Segments of a tag up to and including `sequence` left the window: their files may be deleted from `atMillis` on.
    /// What only they needed goes with them.
    package func expire(_ key: StreamKey, tag: String, through sequence: UInt64, atMillis: Int64) {
        self.enqueue { database in
            guard let stream = try SegmentRows.existing(key, database) else { return }
            try database.cachedStatement(
                sql: """
                    UPDATE segments SET expires_ms = ?
                    WHERE stream = ? AND tag = ? AND sequence <= ? AND expires_ms IS NULL
                    """
            ).execute(arguments: [atMillis, stream, tag, Int64(clamping: sequence)])
            try SegmentRows.expireUnused(stream: stream, atMillis: atMillis, database)
        }
    }

    /// All files of a stream may be deleted from `atMillis` on.
    package func expireAll(_ key: StreamKey, atMillis: Int64) {
        self.enqueue { database in
            guard let stream = try SegmentRows.existing(key, database) else { return }
            for table in ["segments", "assets"] {
                try database.cachedStatement(
                    sql: "UPDATE \(table) SET expires_ms = ? WHERE stream = ? AND expires_ms IS NULL"
                ).execute(arguments: [atMillis, stream])
            }
        }
    }

    /// These files were deleted, or are to be left alone from now on.
    package func forget(_ files: [ExpiredFile]) {
        guard !files.isEmpty else { return }
        self.enqueue { database in for file in files { try SegmentRows.delete(file.row, database) } }
    }

    // MARK: Reads

    /// The streams that have files which do not expire, with these.
    package func windows() async throws(MediaDatabaseError) -> [StoredWindow] {
        try await self.read { database in
            var windows: [StoredWindow] = []
            for (identifier, key) in try SegmentRows.listedStreams(database) {
                windows.append(
                    StoredWindow(
                        key: key,
                        position: try SegmentRows.position(stream: identifier, database)
                            ?? StreamPosition(nextSequence: 0, discontinuitySequence: 0, endMillis: 0),
                        segments: try SegmentRows.segments(stream: identifier, key: key, database),
                        assets: try SegmentRows.assets(stream: identifier, key: key, database)))
            }
            return windows
        }
    }

    /// The positions of all streams that were ever packaged here.
    package func positions() async throws(MediaDatabaseError) -> [StreamKey: StreamPosition] {
        try await self.read { database in
            var positions: [StreamKey: StreamPosition] = [:]
            for row in try Row.fetchAll(database, sql: "SELECT * FROM streams WHERE next_sequence > 0") {
                guard let key = SegmentRows.key(row) else { continue }
                positions[key] = SegmentRows.position(row)
            }
            return positions
        }
    }

    /// At most `limit` files that expired before `nowMillis`, the oldest first.
    package func expired(nowMillis: Int64, limit: Int) async throws(MediaDatabaseError) -> [ExpiredFile] {
        try await self.read { database in
            try SegmentRows.expired(nowMillis: nowMillis, limit: limit, database)
        }
    }

    /// How many bytes of segments are listed, over all streams.
    package func segmentBytes() async throws(MediaDatabaseError) -> Int64 {
        try await self.read { database in
            try Int64.fetchOne(database, sql: "SELECT coalesce(sum(byte_count), 0) FROM segments") ?? 0
        }
    }

    /// Positions of streams without files whose last segment is older than `beforeMillis` are forgotten: what a stream
    /// starts with then is beyond them, since sequence numbers without a position grow with the wall clock.
    package func prunePositions(beforeMillis: Int64) {
        self.enqueue { database in
            try database.execute(
                sql: """
                    DELETE FROM streams WHERE end_ms < ?
                        AND NOT EXISTS (SELECT 1 FROM segments WHERE stream = streams.id)
                        AND NOT EXISTS (SELECT 1 FROM assets WHERE stream = streams.id)
                    """, arguments: [beforeMillis])
        }
    }
}

/// The SQL. Epochs keep their 64 bits in SQLite's signed integers; sequence numbers are clamped, they stay far below.
private enum SegmentRows {
    static func existing(_ key: StreamKey, _ database: Database) throws -> Int64? {
        let statement = try database.cachedStatement(
            sql: "SELECT id FROM streams WHERE vhost = ? AND app = ? AND name = ?")
        return try Int64.fetchOne(statement, arguments: [key.vhost, key.app, key.name])
    }

    static func identifier(of key: StreamKey, _ database: Database) throws -> Int64 {
        if let found = try self.existing(key, database) { return found }
        try database.cachedStatement(sql: "INSERT INTO streams (vhost, app, name) VALUES (?, ?, ?)")
            .execute(arguments: [key.vhost, key.app, key.name])
        return database.lastInsertedRowID
    }

    static func move(_ key: StreamKey, to position: StreamPosition, _ database: Database) throws -> Int64 {
        let stream = try self.identifier(of: key, database)
        try database.cachedStatement(
            sql: """
                UPDATE streams SET next_sequence = max(next_sequence, ?),
                    discontinuity_sequence = max(discontinuity_sequence, ?), end_ms = max(end_ms, ?)
                WHERE id = ?
                """
        ).execute(arguments: [
            Int64(clamping: position.nextSequence), Int64(clamping: position.discontinuitySequence),
            position.endMillis, stream,
        ])
        return stream
    }

    static func insert(_ segment: SegmentRecord, stream: Int64, _ database: Database) throws {
        try database.cachedStatement(
            sql: """
                INSERT OR REPLACE INTO segments
                    (stream, tag, sequence, epoch, path, byte_count, start, duration, timescale, start_ms,
                     discontinuity, independent, init_index, key_index, details)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            stream, segment.tag, Int64(clamping: segment.sequence), Int64(bitPattern: segment.epoch), segment.path,
            segment.byteCount, segment.start, segment.duration, Int64(segment.timescale), segment.startMillis,
            segment.isDiscontinuity, segment.isIndependent, segment.initializationIndex, segment.keyIndex,
            segment.details,
        ])
    }

    static func insert(_ asset: AssetRecord, stream: Int64, _ database: Database) throws {
        try database.cachedStatement(
            sql: """
                INSERT OR REPLACE INTO assets (stream, kind, tag, epoch, number, path, byte_count, details)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            stream, asset.kind.rawValue, asset.tag, Int64(bitPattern: asset.epoch), asset.number, asset.path,
            asset.byteCount, asset.details,
        ])
    }

    /// Initialization segments and keys that were needed by segments of which none is left. One that was not needed yet
    /// stays.
    static func expireUnused(stream: Int64, atMillis: Int64, _ database: Database) throws {
        try database.cachedStatement(
            sql: """
                UPDATE assets SET expires_ms = ?1 WHERE stream = ?2 AND expires_ms IS NULL AND (
                    kind = 'init' AND EXISTS (
                        SELECT 1 FROM segments WHERE stream = ?2 AND tag = assets.tag AND epoch = assets.epoch
                            AND init_index = assets.number)
                    AND NOT EXISTS (
                        SELECT 1 FROM segments WHERE stream = ?2 AND tag = assets.tag AND epoch = assets.epoch
                            AND init_index = assets.number AND expires_ms IS NULL)
                    OR kind = 'key' AND EXISTS (
                        SELECT 1 FROM segments WHERE stream = ?2 AND epoch = assets.epoch
                            AND key_index = assets.number)
                    AND NOT EXISTS (
                        SELECT 1 FROM segments WHERE stream = ?2 AND epoch = assets.epoch
                            AND key_index = assets.number AND expires_ms IS NULL))
                """
        ).execute(arguments: [atMillis, stream])
    }

    static func delete(_ row: ExpiredFile.Row, _ database: Database) throws {
        switch row {
        case .segment(let stream, let tag, let sequence, let epoch):
            try database.cachedStatement(
                sql: """
                    DELETE FROM segments
                    WHERE stream = ? AND tag = ? AND sequence = ? AND epoch = ? AND expires_ms IS NOT NULL
                    """
            ).execute(arguments: [stream, tag, sequence, epoch])
        case .asset(let stream, let kind, let tag, let epoch, let number):
            try database.cachedStatement(
                sql: """
                    DELETE FROM assets
                    WHERE stream = ? AND kind = ? AND tag = ? AND epoch = ? AND number = ? AND expires_ms IS NOT NULL
                    """
            ).execute(arguments: [stream, kind, tag, epoch, number])
        }
    }

    /// `nil` for a row that holds no valid key.
    static func key(_ row: Row) -> StreamKey? {
        try? StreamKey(vhost: row["vhost"], app: row["app"], name: row["name"])
    }

    static func position(_ row: Row) -> StreamPosition {
        StreamPosition(
            nextSequence: UInt64(clamping: row["next_sequence"] as Int64),
            discontinuitySequence: UInt64(clamping: row["discontinuity_sequence"] as Int64),
            endMillis: row["end_ms"])
    }

    static func position(stream: Int64, _ database: Database) throws -> StreamPosition? {
        try Row.fetchOne(database, sql: "SELECT * FROM streams WHERE id = ?", arguments: [stream])
            .map { self.position($0) }
    }

    static func listedStreams(_ database: Database) throws -> [(Int64, StreamKey)] {
        try Row.fetchAll(
            database,
            sql: """
                SELECT * FROM streams WHERE EXISTS (
                    SELECT 1 FROM segments WHERE stream = streams.id AND expires_ms IS NULL)
                    OR EXISTS (SELECT 1 FROM assets WHERE stream = streams.id AND expires_ms IS NULL)
                """
        ).compactMap { row in self.key(row).map { (row["id"], $0) } }
    }

    static func segments(stream: Int64, key: StreamKey, _ database: Database) throws -> [SegmentRecord] {
        try Row.fetchAll(
            database,
            sql: "SELECT * FROM segments WHERE stream = ? AND expires_ms IS NULL ORDER BY sequence, start_ms, tag",
            arguments: [stream]
        ).map { row in
            SegmentRecord(
                key: key, tag: row["tag"], epoch: UInt64(bitPattern: row["epoch"]),
                sequence: UInt64(clamping: row["sequence"] as Int64), path: row["path"], byteCount: row["byte_count"],
                start: row["start"], duration: row["duration"], timescale: UInt32(clamping: row["timescale"] as Int64),
                startMillis: row["start_ms"], isDiscontinuity: row["discontinuity"], isIndependent: row["independent"],
                initializationIndex: row["init_index"], keyIndex: row["key_index"], details: row["details"])
        }
    }

    static func assets(stream: Int64, key: StreamKey, _ database: Database) throws -> [AssetRecord] {
        try Row.fetchAll(
            database,
            sql: "SELECT * FROM assets WHERE stream = ? AND expires_ms IS NULL ORDER BY epoch, number",
            arguments: [stream]
        ).compactMap { row in
            guard let kind = AssetRecord.Kind(rawValue: row["kind"]) else { return nil }
            return AssetRecord(
                key: key, kind: kind, tag: row["tag"], epoch: UInt64(bitPattern: row["epoch"]), number: row["number"],
                path: row["path"], byteCount: row["byte_count"], details: row["details"])
        }
    }

    static func expired(nowMillis: Int64, limit: Int, _ database: Database) throws -> [ExpiredFile] {
        let segments = try Row.fetchAll(
            database,
            sql: """
                SELECT * FROM segments JOIN streams ON streams.id = segments.stream
                WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?
                """, arguments: [nowMillis, limit]
        ).compactMap { row -> ExpiredFile? in
            guard let key = self.key(row) else { return nil }
            return ExpiredFile(
                key: key, path: row["path"], byteCount: row["byte_count"],
                row: .segment(stream: row["stream"], tag: row["tag"], sequence: row["sequence"], epoch: row["epoch"]))
        }
        let assets = try Row.fetchAll(
            database,
            sql: """
                SELECT * FROM assets JOIN streams ON streams.id = assets.stream
                WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?
                """, arguments: [nowMillis, max(0, limit - segments.count)]
        ).compactMap { row -> ExpiredFile? in
            guard let key = self.key(row) else { return nil }
            return ExpiredFile(
                key: key, path: row["path"], byteCount: row["byte_count"],
                row: .asset(
                    stream: row["stream"], kind: row["kind"], tag: row["tag"], epoch: row["epoch"],
                    number: row["number"]))
        }
        return segments + assets
    }
}
