import Media
import Testing

@testable import CoordinatorStore

@Suite("recordings of the cluster") struct RecordingStoreTests {
    private func entry(
        _ id: String, node: String = "a", start: Int64 = 1_000, state: RecordingState = .finished
    ) throws -> RecordingEntry {
        RecordingEntry(
            id: id, key: try StreamKey(app: "live", name: "game"), epoch: 7, node: node, startMillis: start,
            endMillis: start + 500, format: .ts, tracks: [RecordedTrack(codec: .aac, sampleRate: 44_100)], bytes: 9,
            path: "/r/\(id)", state: state)
    }

    @Test("an entry is replaced by its own node only, and survives a restart") func ownership() async throws {
        let folder = try Folder()
        var store = try await CoordinatorStore.open(path: folder.database)
        #expect(try await store.save(try self.entry("x", state: .recording)))
        let finished = try self.entry("x")
        #expect(try await store.save(finished))
        #expect(try await store.save(try self.entry("x", node: "b")) == false)
        store.close()
        store = try await CoordinatorStore.open(path: folder.database)
        defer { store.close() }
        #expect(try await store.recording("x") == finished)
        #expect(try await store.recording("y") == nil)
    }

    @Test("a report of a deleted recording removes the entry") func deletion() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        defer { store.close() }
        #expect(try await store.save(try self.entry("x")))
        #expect(try await store.save(try self.entry("x", state: .deleted)))
        #expect(try await store.recording("x") == nil)
        #expect(try await store.save(try self.entry("never", state: .deleted)))
        #expect(try await store.save(try self.entry("z")))
        #expect(try await store.removeRecording("z"))
        #expect(try await store.removeRecording("z") == false)
    }

    @Test("a list is filtered and paged, the oldest first") func pages() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        defer { store.close() }
        for number in 0..<5 { _ = try await store.save(try self.entry("r\(number)", start: Int64(number) * 1_000)) }
        var page = try await store.recordings(RecordingQuery(app: "live", limit: 3))
        #expect(page.recordings.map(\.id) == ["r0", "r1", "r2"])
        let cursor = try #require(page.next.flatMap(RecordingQuery.Cursor.init))
        page = try await store.recordings(RecordingQuery(app: "live", limit: 3, cursor: cursor))
        #expect(page.recordings.map(\.id) == ["r3", "r4"])
        #expect(page.next == nil)
        page = try await store.recordings(RecordingQuery(fromMillis: 1_400, toMillis: 3_000))
        #expect(page.recordings.map(\.id) == ["r1", "r2"])
        page = try await store.recordings(RecordingQuery(state: .failed))
        #expect(page.recordings.isEmpty)
    }
}
