import GRDB
import Glibc
import Logging
import Media
import Testing

@testable import MediaCatalog

/// A folder that goes with the test.
final class Folder: Sendable {
    let path: String

    init() {
        var template = Array("/tmp/weir-catalog-XXXXXX".utf8CString)
        _ = unsafe mkdtemp(&template)
        self.path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    var database: String { "\(self.path)/media.sqlite" }

    deinit {
        _ = unsafe umount2(self.path, Int32(MNT_DETACH))
        for suffix in ["", "-wal", "-shm", ".lock"] { _ = unsafe unlink(self.database + suffix) }
        _ = unsafe unlink("\(self.path)/filler")
        _ = unsafe rmdir(self.path)
    }
}

private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

private func key(_ name: String = "game") throws -> StreamKey { try StreamKey(app: "live", name: name) }

private func segment(
    _ sequence: UInt64, tag: String = "video", epoch: UInt64 = 1, index: Int = 0, keyIndex: Int? = nil,
    name: String = "game"
) throws -> SegmentRecord {
    SegmentRecord(
        key: try key(name), tag: tag, epoch: epoch, sequence: sequence, path: "/m/\(name)/\(tag)-\(epoch)-\(sequence)",
        byteCount: 100, start: Int64(sequence) * 180_000, duration: 180_000, timescale: 90_000,
        startMillis: Int64(sequence) * 2_000, isDiscontinuity: sequence == 1, isIndependent: true,
        initializationIndex: index, keyIndex: keyIndex, details: #"{"frames":50}"#)
}

private func position(after sequence: UInt64) -> StreamPosition {
    StreamPosition(
        nextSequence: sequence + 1, discontinuitySequence: 5, endMillis: Int64(sequence + 1) * 2_000)
}

private func asset(_ kind: AssetRecord.Kind, _ number: Int, epoch: UInt64 = 1) throws -> AssetRecord {
    AssetRecord(
        key: try key(), kind: kind, tag: kind == .initialization ? "video" : "", epoch: epoch, number: number,
        path: "/m/\(kind)-\(epoch)-\(number)", byteCount: 10, details: nil)
}

@Suite("The index of segments")
struct SegmentIndexTests {
    @Test("What was written is read back, also after a restart, with its order and position")
    func roundTrip() async throws {
        let folder = Folder()
        var database = await MediaDatabase.open(path: folder.database, logger: logger)
        #expect(database.status == .ready)
        var expected: [SegmentRecord] = []
        database.add(try asset(.initialization, 0, epoch: .max))
        for sequence in 1...3 as ClosedRange<UInt64> {
            let row = try segment(sequence, epoch: .max, keyIndex: sequence == 2 ? 4 : nil)
            expected.append(row)
            database.add(row, position: position(after: sequence))
        }
        await database.close()
        #expect(database.status == .closed)
        await #expect(throws: MediaDatabaseError.closed) { try await database.windows() }

        database = await MediaDatabase.open(path: folder.database, logger: logger)
        let windows = try await database.windows()
        #expect(
            windows == [
                StoredWindow(
                    key: try key(), position: position(after: 3), segments: expected,
                    assets: [try asset(.initialization, 0, epoch: .max)])
            ])
        #expect(try await database.positions() == [try key(): position(after: 3)])
        #expect(try await database.segmentBytes() == 300)
        await database.close()
    }

    @Test("A position never goes backward, and outlives the files")
    func positions() async throws {
        let folder = Folder()
        let database = await MediaDatabase.open(path: folder.database, logger: logger)
        database.move(try key(), to: StreamPosition(nextSequence: 9, discontinuitySequence: 3, endMillis: 100))
        database.move(try key(), to: StreamPosition(nextSequence: 4, discontinuitySequence: 7, endMillis: 50))
        await database.flush()
        let expected = StreamPosition(nextSequence: 9, discontinuitySequence: 7, endMillis: 100)
        #expect(try await database.positions() == [try key(): expected])
        #expect(try await database.windows() == [])
        database.prunePositions(beforeMillis: 100)
        await database.flush()
        #expect(try await database.positions().count == 1)
        database.prunePositions(beforeMillis: 101)
        await database.flush()
        #expect(try await database.positions().isEmpty)
        await database.close()
    }

    @Test("Segments that left the window expire with what only they needed, and are forgotten when they are deleted")
    func expiry() async throws {
        let folder = Folder()
        let database = await MediaDatabase.open(path: folder.database, logger: logger)
        for number in 0...2 { database.add(try asset(.initialization, number)) }
        for number in 0...1 { database.add(try asset(.key, number)) }
        for sequence in 1...4 as ClosedRange<UInt64> {
            database.add(
                try segment(sequence, index: sequence < 3 ? 0 : 1, keyIndex: sequence < 4 ? 0 : 1),
                position: position(after: sequence))
        }
        database.add(try segment(1, tag: "audio"), position: position(after: 1))
        database.expire(try key(), tag: "video", through: 2, atMillis: 1_000)
        await database.flush()
        #expect(try await database.expired(nowMillis: 999, limit: 10).isEmpty)
        let files = try await database.expired(nowMillis: 1_000, limit: 10)
        #expect(
            Set(files.map(\.path)) == ["/m/game/video-1-1", "/m/game/video-1-2", "/m/initialization-1-0"],
            "key 0 is needed by segment 3, initialization 2 may be needed soon")
        #expect(files.allSatisfy { $0.key == (try? key()) })
        let window = try #require(try await database.windows().first)
        #expect(window.segments.map(\.sequence) == [1, 3, 4])
        #expect(window.assets.map(\.number) == [0, 1, 1, 2])

        #expect(try await database.expired(nowMillis: 1_000, limit: 2).count == 2)
        database.forget(files)
        await database.flush()
        #expect(try await database.expired(nowMillis: .max, limit: 10).isEmpty)

        database.expireAll(try key(), atMillis: 0)
        await database.flush()
        #expect(try await database.expired(nowMillis: 0, limit: 100).count == 7)
        #expect(try await database.windows() == [])
        // A file that is written again under the same name must not be forgotten with the old row.
        let old = try await database.expired(nowMillis: 0, limit: 100)
        database.add(try asset(.initialization, 1))
        database.forget(old)
        await database.flush()
        #expect(try await database.windows().flatMap(\.assets) == [try asset(.initialization, 1)])
        await database.close()
    }

    @Test("Thousands of rows are written in few transactions, in order")
    func batches() async throws {
        let folder = Folder()
        let database = await MediaDatabase.open(path: folder.database, logger: logger)
        for sequence in 1...3_000 as ClosedRange<UInt64> {
            database.add(try segment(sequence), position: position(after: sequence))
        }
        #expect(database.pendingChanges > 0)
        await database.flush()
        #expect(database.pendingChanges == 0)
        #expect(try await database.windows().first?.segments.map(\.sequence) == Array(1...3_000))
        await database.close()
    }

    @Test("Rows are written without a flush within a moment")
    func gathering() async throws {
        let folder = Folder()
        let database = await MediaDatabase.open(path: folder.database, logger: logger)
        database.add(try segment(1), position: position(after: 1))
        for _ in 0..<200 where try await database.windows().isEmpty { try await Task.sleep(for: .milliseconds(10)) }
        #expect(try await database.windows().count == 1)
        await database.close()
    }
}

@Suite("A media database in trouble")
struct DegradedDatabaseTests {
    @Test("A file that is no database degrades it; nothing traps and nothing waits")
    func corrupt() async throws {
        let folder = Folder()
        let file = unsafe fopen(folder.database, "w")
        _ = unsafe fputs(String(repeating: "no database ", count: 100), file)
        _ = unsafe fclose(file)
        let database = await MediaDatabase.open(path: folder.database, logger: logger)
        #expect(database.status == .degraded(.corrupt(code: 26)))
        database.add(try segment(1), position: position(after: 1))
        await database.flush()
        await #expect(throws: MediaDatabaseError.corrupt(code: 26)) { try await database.windows() }
        #expect(database.pendingChanges == 1)
        await database.close()
    }

    @Test("A missing folder degrades it until it is there")
    func missingFolder() async throws {
        let folder = Folder()
        _ = unsafe rmdir(folder.path)
        let database = await MediaDatabase.open(path: folder.database, logger: logger)
        #expect(database.status == .degraded(.cannotOpen(code: 14)))
        database.add(try segment(1), position: position(after: 1))
        await database.flush()
        #expect(database.pendingChanges == 1)
        #expect(unsafe mkdir(folder.path, 0o755) == 0)
        await database.flush()
        #expect(database.status == .ready)
        #expect(try await database.windows().count == 1)
        await database.close()
    }

    @Test("A second process is refused, and takes over when the first one is gone")
    func inUse() async throws {
        let folder = Folder()
        let first = await MediaDatabase.open(path: folder.database, logger: logger)
        let second = await MediaDatabase.open(path: folder.database, logger: logger)
        #expect(second.status == .degraded(.inUse))
        await first.close()
        await second.flush()
        #expect(second.status == .ready)
        await second.close()
    }

    @Test("A newer version's file is left alone")
    func newer() async throws {
        let folder = Folder()
        let first = await MediaDatabase.open(path: folder.database, logger: logger)
        try await first.write { database in
            try database.execute(sql: "INSERT INTO grdb_migrations (identifier) VALUES ('99-later')")
        }
        await first.close()
        let second = await MediaDatabase.open(path: folder.database, logger: logger)
        #expect(second.status == .degraded(.newerSchema))
        await second.close()
    }

    @Test("A full disk keeps rows waiting, and they are written when there is room")
    func fullDisk() async throws {
        let folder = Folder()
        try #require(unsafe mount("tmpfs", folder.path, "tmpfs", 0, "size=2m") == 0)
        let database = await MediaDatabase.open(path: folder.database, logger: logger)
        #expect(database.status == .ready)
        let filler = unsafe fopen("\(folder.path)/filler", "w")
        let chunk = [UInt8](repeating: 0, count: 4_096)
        while unsafe fwrite(chunk, 1, chunk.count, filler) == chunk.count, unsafe fflush(filler) == 0 {}
        _ = unsafe fclose(filler)
        for sequence in 1...2_000 as ClosedRange<UInt64> {
            database.add(try segment(sequence), position: position(after: sequence))
        }
        await database.flush()
        guard case .degraded(.unavailable) = database.status else {
            Issue.record("\(database.status)")
            return
        }
        #expect(database.pendingChanges > 0)
        #expect(unsafe unlink("\(folder.path)/filler") == 0)
        await database.flush()
        #expect(database.status == .ready)
        #expect(try await database.windows().first?.segments.map(\.sequence) == Array(1...2_000))
        await database.close()
    }

    @Test("One change that is refused does not take the others with it")
    func refusedChange() async throws {
        let folder = Folder()
        let database = await MediaDatabase.open(path: folder.database, logger: logger)
        database.add(try segment(1), position: position(after: 1))
        database.enqueue { try $0.execute(sql: "INSERT INTO segments (stream) VALUES (1)") }
        database.add(try segment(2), position: position(after: 2))
        await database.flush()
        #expect(database.status == .ready)
        #expect(try await database.windows().first?.segments.map(\.sequence) == [1, 2])
        await database.close()
    }
}
