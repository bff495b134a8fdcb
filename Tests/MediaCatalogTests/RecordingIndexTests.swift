import Glibc
import Logging
import Media
import Testing

@testable import MediaCatalog

@Suite("recordings in the catalogue") struct RecordingIndexTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func entry(
        _ id: String, name: String = "game", start: Int64 = 1_000, end: Int64 = 2_000,
        state: RecordingState = .finished
    ) throws -> RecordingEntry {
        RecordingEntry(
            id: id, key: try StreamKey(app: "live", name: name), epoch: .max - 1, node: "origin-1", startMillis: start,
            endMillis: end, format: .mp4,
            tracks: [
                RecordedTrack(codec: .h264, width: 640, height: 360),
                RecordedTrack(codec: .aac, sampleRate: 48_000, channels: 2),
            ], bytes: 12_345, path: "/r/\(id).mp4", state: state)
    }

    private func open(_ folder: Folder) async -> MediaDatabase {
        await MediaDatabase.open(path: folder.database, logger: self.logger)
    }

    @Test("an entry and its index are read as they were written, also after a restart") func roundTrip() async throws {
        let folder = Folder()
        var database = await self.open(folder)
        let entry = try self.entry("a1")
        try await database.saveNow(entry, index: [1, 2, 3])
        #expect(try await database.recording("a1") == entry)
        await database.close()
        database = await self.open(folder)
        #expect(try await database.recording("a1") == entry)
        #expect(try await database.recordingIndex("a1") == [1, 2, 3])
        #expect(try await database.recording("b") == nil)
        #expect(try await database.recordingIndex("b") == nil)
        await database.close()
    }

    @Test("a list shows what overlaps a time, page by page, the oldest first") func pages() async throws {
        let folder = Folder()
        let database = await self.open(folder)
        for number in 0..<7 {
            let start = Int64(number / 2) * 1_000
            database.save(try self.entry("r\(number)", start: start, end: start + 1_000))
        }
        database.save(try self.entry("other", name: "other"))
        database.save(try self.entry("gone", state: .deleted))
        await database.flush()
        let key = try StreamKey(app: "live", name: "game")
        var query = RecordingQuery(of: key)
        query.limit = 3
        var ids: [[String]] = []
        while true {
            let page = try await database.recordings(query)
            ids.append(page.recordings.map(\.id))
            guard let next = page.next else { break }
            let cursor: RecordingQuery.Cursor = try #require(RecordingQuery.Cursor(next))
            query.cursor = cursor
        }
        #expect(ids == [["r0", "r1", "r2"], ["r3", "r4", "r5"], ["r6"]])
        let some = try await database.recordings(RecordingQuery(of: key, fromMillis: 1_000, toMillis: 2_000))
        #expect(some.recordings.map(\.id) == ["r2", "r3"])
        #expect(try await database.recordings(RecordingQuery(state: .deleted)).recordings.map(\.id) == ["gone"])
        #expect(try await database.recordings(RecordingQuery(app: "live")).recordings.count == 8)
        #expect(try await database.recordings(RecordingQuery(vhost: "nowhere")).recordings.isEmpty)
        await database.close()
    }

    @Test("a change counts as not reported until that change is acknowledged") func reports() async throws {
        let folder = Folder()
        let database = await self.open(folder)
        try await database.saveNow(try self.entry("a", state: .recording))
        let first = try #require(try await database.unreportedRecordings(limit: 10).first)
        try await database.saveNow(try self.entry("a", end: 3_000))
        try await database.markReported(first)
        let second = try #require(try await database.unreportedRecordings(limit: 10).first)
        #expect(second.entry.endMillis == 3_000)
        try await database.markReported(second)
        #expect(try await database.unreportedRecordings(limit: 10).isEmpty)
        try await database.markAllUnreported()
        #expect(try await database.unreportedRecordings(limit: 10).count == 1)
        await database.close()
    }

    @Test("a deleted recording is forgotten once the coordinator knows") func deletion() async throws {
        let folder = Folder()
        let database = await self.open(folder)
        try await database.saveNow(try self.entry("a"), index: [1])
        try await database.markDeleted("a")
        #expect(try await database.recordingIndex("a") == nil)
        let report = try #require(try await database.unreportedRecordings(limit: 10).first)
        #expect(report.entry.state == .deleted)
        try await database.markReported(report)
        #expect(try await database.recording("a") == nil)
        await database.close()
    }

    @Test("what was not completed is found again") func unfinished() async throws {
        let folder = Folder()
        let database = await self.open(folder)
        for (index, state) in RecordingState.allCases.enumerated() {
            database.save(try self.entry("s\(index)", state: state))
        }
        await database.flush()
        #expect(try await database.unfinishedRecordings().map(\.state) == [.recording, .finishing])
        await database.close()
    }

    @Test("intents are kept, replaced and taken back") func intents() async throws {
        let folder = Folder()
        let database = await self.open(folder)
        let (one, two) = (try StreamKey(app: "live", name: "a"), try StreamKey(vhost: "v", app: "live", name: "b"))
        try await database.setRecordingIntent(one, records: true)
        try await database.setRecordingIntent(two, records: true)
        try await database.setRecordingIntent(two, records: false)
        #expect(
            try await database.recordingIntents() == [
                RecordingIntent(key: one, records: true), RecordingIntent(key: two, records: false),
            ])
        try await database.setRecordingIntent(one, records: nil)
        #expect(try await database.recordingIntents().map(\.key) == [two])
        await database.close()
    }

    @Test(
        "cursors are read only as they are written", arguments: ["", "1", "1.", ".a", "x.a", "1.A", "1.a b", "1.a.b"])
    func cursors(text: String) {
        #expect(RecordingQuery.Cursor(text) == nil)
        #expect(RecordingQuery.Cursor("-5.a1")?.text == "-5.a1")
    }
}
