import Foundation
import GRDB
import Media
import Placement
import Testing

@testable import CoordinatorStore

/// A folder that is gone after the test.
final class Folder: Sendable {
    let path: String

    init() throws {
        self.path = NSTemporaryDirectory() + "weir-store-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    var database: String { self.path + "/coordinator.sqlite" }
}

@Suite("coordinator store") struct CoordinatorStoreTests {
    private func placement(
        _ name: String = "demo", epoch: UInt64, state: PlacementState = .live
    ) throws -> StoredPlacement {
        StoredPlacement(
            key: try StreamKey(app: "live", name: name), epoch: epoch, node: try NodeID("a"), instance: "one",
            state: state, tokenDigest: "abc", leaseUntilMillis: 1_000,
            endReason: state == .ended ? .released : nil,
            position: MediaPosition(nextSequence: epoch + 5, discontinuitySequence: 1, endMillis: 7))
    }

    private func node() throws -> StoredNode {
        StoredNode(
            description: NodeDescription(
                id: try NodeID("a"), instance: "one", role: .origin, region: "eu", host: "h", rtmpPort: 1, httpPort: 2,
                apiPort: 3, srtPort: 4, rtspPort: 5, rtspsPort: 0, version: "v"), isDrained: true)
    }

    /// A node that tells no ports of SRT and RTSP.
    private func olderNode() throws -> StoredNode {
        StoredNode(
            description: NodeDescription(
                id: try NodeID("b"), instance: "one", role: .edge, host: "h", rtmpPort: 1), isDrained: false)
    }

    @Test("what was written is read after the file was closed and opened again")
    func reopen() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        #expect(try await store.load() == StoredState())
        let placement = try self.placement(epoch: 7)
        let ended = try self.placement("over", epoch: 3, state: .ended)
        let node = try self.node()
        let older = try self.olderNode()
        try await store.commit([.placement(placement), .placement(ended), .node(node), .node(older)])
        store.close()
        let again = try await CoordinatorStore.open(path: folder.database)
        defer { again.close() }
        let state = try await again.load()
        #expect(Set(state.placements) == [placement, ended])
        #expect(state.nodes == [node, older])
    }

    @Test("a row refuses an older epoch")
    func fencing() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        defer { store.close() }
        let newer = try self.placement(epoch: 7)
        try await store.commit([.placement(newer)])
        try await store.commit([.placement(try self.placement(epoch: 6))])
        #expect(try await store.load().placements == [newer])
    }

    @Test("leases move for the streams of a node that are not ended")
    func leases() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        defer { store.close() }
        try await store.commit([
            .placement(try self.placement(epoch: 7)),
            .placement(try self.placement("over", epoch: 3, state: .ended)),
            .leases(nodes: [try NodeID("a")], untilMillis: 5_000),
        ])
        let leases = Dictionary(
            uniqueKeysWithValues: try await store.load().placements.map { ($0.key.name, $0.leaseUntilMillis) })
        #expect(leases == ["demo": 5_000, "over": 1_000])
    }

    @Test("a forgotten stream leaves the floor, and a newer epoch of it is not forgotten")
    func forget() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        defer { store.close() }
        let placement = try self.placement(epoch: 7)
        try await store.commit([.placement(placement), .forget(placement.key, epoch: 6, floor: 9)])
        #expect(try await store.load().placements == [placement])
        try await store.commit([.forget(placement.key, epoch: 7, floor: 8)])
        let state = try await store.load()
        #expect(state.placements.isEmpty)
        #expect(state.epochFloor == 9)
    }

    @Test("events are read in order from an id on, and pruned by age and number")
    func events() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        defer { store.close() }
        let key = try StreamKey(app: "live", name: "demo")
        let events = try (1...5).map { index in
            StoreWrite.event(
                ClusterEvent(kind: .claimed, node: try NodeID("a"), key: key, epoch: UInt64(index), detail: "x"),
                atMillis: Int64(index * 100))
        }
        try await store.commit(events)
        let page = try await store.events(after: 2, limit: 2)
        #expect(page.map(\.id) == [3, 4])
        #expect(page.first?.event.epoch == 3)
        #expect(page.first?.event.key == key)
        try await store.commit([.pruneEvents(beforeMillis: 200, keeping: 3)])
        #expect(try await store.events(after: 0, limit: 10).map(\.id) == [3, 4, 5])
    }

    @Test("a transaction that fails leaves nothing behind")
    func atomic() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        store.close()
        await #expect(throws: CoordinatorStoreError.self) {
            try await store.commit([.placement(try self.placement(epoch: 7))])
        }
        let again = try await CoordinatorStore.open(path: folder.database)
        defer { again.close() }
        #expect(try await again.load() == StoredState())
    }

    @Test("files copied while a transaction is open hold the state before it, as after a kill")
    func copiedInTransaction() async throws {
        let folder = try Folder()
        let copy = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        let before = try self.placement(epoch: 7)
        try await store.commit([.placement(before)])
        let writer = try DatabaseQueue(path: folder.database)
        try await writer.writeWithoutTransaction { database in
            // A small cache makes SQLite spill the open transaction into the log.
            try database.execute(sql: "PRAGMA cache_size = 1; BEGIN IMMEDIATE")
            for index in 0..<2_000 {
                try database.execute(
                    sql: "INSERT INTO events (at_ms, kind, detail) VALUES (?, 'claimed', ?)",
                    arguments: [index, String(repeating: "x", count: 200)])
            }
            try database.execute(sql: "UPDATE placements SET epoch = 99")
            for suffix in ["", "-wal"] {
                try FileManager.default.copyItem(atPath: folder.database + suffix, toPath: copy.database + suffix)
            }
            try database.execute(sql: "ROLLBACK")
        }
        store.close()
        let again = try await CoordinatorStore.open(path: copy.database)
        defer { again.close() }
        #expect(try await again.load().placements == [before])
        #expect(try await again.events(after: 0, limit: 1).isEmpty)
    }

    @Test("a file that is no database, and a damaged one, are named with what to do")
    func corrupt() async throws {
        let folder = try Folder()
        try Data(repeating: 0x41, count: 4_096).write(to: URL(fileURLWithPath: folder.database))
        let expected = CoordinatorStoreError.corrupt(path: folder.database, code: 26)
        await #expect(throws: expected) { try await CoordinatorStore.open(path: folder.database) }
        #expect(expected.description.contains(folder.database))
        #expect(expected.description.contains("move it away"))
    }

    @Test("a damaged page inside a database is found at the start")
    func damagedPage() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        for batch in 0..<5 {
            try await store.commit(
                try (0..<400).map { .placement(try self.placement("\(batch)-\($0)", epoch: 7)) })
        }
        store.close()
        let url = URL(fileURLWithPath: folder.database)
        var bytes = try Data(contentsOf: url)
        bytes.replaceSubrange(
            8_192..<min(65_536, bytes.count), with: Data(repeating: 0xAA, count: min(65_536, bytes.count) - 8_192))
        try bytes.write(to: url)
        await #expect(throws: CoordinatorStoreError.corrupt(path: folder.database, code: 11)) {
            try await CoordinatorStore.open(path: folder.database)
        }
    }

    @Test("a folder that does not exist is a clear error")
    func missingFolder() async throws {
        let path = "/nonexistent-folder/x.sqlite"
        await #expect(throws: CoordinatorStoreError.cannotOpen(path: path, code: 14)) {
            try await CoordinatorStore.open(path: path)
        }
    }

    @Test("a second coordinator on the same file is refused until the first is gone")
    func inUse() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        await #expect(throws: CoordinatorStoreError.inUse(path: folder.database)) {
            try await CoordinatorStore.open(path: folder.database)
        }
        store.close()
        let again = try await CoordinatorStore.open(path: folder.database)
        again.close()
    }

    @Test("nodes of an earlier version's file are read, without the ports that it did not have")
    func earlier() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        let older = try self.olderNode()
        try await store.commit([.node(older)])
        store.close()
        let writer = try DatabaseQueue(path: folder.database)
        try await writer.write { database in
            for column in ["srt_port", "rtsp_port", "rtsps_port"] {
                try database.execute(sql: "ALTER TABLE nodes DROP COLUMN \(column)")
            }
            try database.execute(sql: "DELETE FROM grdb_migrations WHERE identifier = '4-ports'")
        }
        try writer.close()
        let again = try await CoordinatorStore.open(path: folder.database)
        defer { again.close() }
        #expect(try await again.load().nodes == [older])
        let node = try self.node()
        try await again.commit([.node(node)])
        #expect(try await again.load().nodes == [node, older])
    }

    @Test("tables of a newer version are not touched")
    func newer() async throws {
        let folder = try Folder()
        let store = try await CoordinatorStore.open(path: folder.database)
        store.close()
        let writer = try DatabaseQueue(path: folder.database)
        try await writer.write { try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('99-future')") }
        try writer.close()
        await #expect(throws: CoordinatorStoreError.newerSchema(path: folder.database)) {
            try await CoordinatorStore.open(path: folder.database)
        }
    }
}
