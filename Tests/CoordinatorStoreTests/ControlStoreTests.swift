import Foundation
import Media
import Placement
import Testing

@testable import CoordinatorStore

@Suite("events, tokens, policies and copies of the store") struct ControlStoreTests {
    private func open() async throws -> (CoordinatorStore, Folder) {
        let folder = try Folder()
        return (try await CoordinatorStore.open(path: folder.database), folder)
    }

    private func event(_ kind: ClusterEvent.Kind, node: String? = nil, name: String? = nil) throws -> ClusterEvent {
        ClusterEvent(
            kind: kind, node: try node.map { try NodeID($0) },
            key: try name.map { try StreamKey(app: "live", name: $0) },
            detail: "50%_x")
    }

    @Test("a commit tells the ids of its events in their order, and who did them") func ids() async throws {
        let (store, folder) = try await self.open()
        defer { withExtendedLifetime(folder) { store.close() } }
        let stored = try await store.commit([
            .event(try self.event(.drained, node: "a"), atMillis: 5, actor: "ops"),
            .event(try self.event(.claimed, node: "a", name: "x"), atMillis: 6),
        ])
        #expect(stored.map(\.id) == [1, 2])
        #expect(stored.map(\.actor) == ["ops", nil])
        #expect(try await store.events(EventQuery()).events == stored)
        #expect(try await store.eventRange() == 1...2)
    }

    @Test("events are filtered by each of their parts, and paged from either end") func query() async throws {
        let (store, folder) = try await self.open()
        defer { withExtendedLifetime(folder) { store.close() } }
        #expect(try await store.eventRange() == nil)
        for index in 1...6 {
            let kind: ClusterEvent.Kind = index % 2 == 0 ? .claimed : .drained
            let event = try self.event(kind, node: index < 4 ? "a" : "b", name: "s\(index)")
            try await store.commit([
                .event(event, atMillis: Int64(index * 10), actor: index == 1 ? "ops" : nil)
            ])
        }
        func ids(_ change: (inout EventQuery) -> Void) async throws -> [Int64] {
            var query = EventQuery()
            change(&query)
            return try await store.events(query).events.map(\.id)
        }
        #expect(try await ids { $0.kind = .claimed } == [2, 4, 6])
        #expect(try await ids { $0.node = try? NodeID("b") } == [4, 5, 6])
        #expect(try await ids { $0.name = "s3" } == [3])
        #expect(try await ids { ($0.vhost, $0.app) = ("other", "live") } == [])
        #expect(try await ids { $0.actor = "ops" } == [1])
        #expect(try await ids { ($0.fromMillis, $0.toMillis) = (20, 40) } == [2, 3])
        #expect(try await ids { $0.text = "LIVE/s5" } == [5])
        #expect(try await ids { $0.text = "50%_" }.count == 6)
        #expect(try await ids { $0.text = "5_%" } == [])
        #expect(try await ids { ($0.isNewestFirst, $0.limit) = (true, 2) } == [6, 5])
        var query = EventQuery(isNewestFirst: true, limit: 4)
        let first = try await store.events(query)
        #expect(first.next == 3)
        query.after = first.next
        let second = try await store.events(query)
        #expect(second.events.map(\.id) == [2, 1])
        #expect(second.next == nil)
    }

    private func token(_ name: String, digest: UInt8, expires: Int64? = nil) -> StoredToken {
        StoredToken(
            id: 0, name: name, role: .operator, digest: Array(repeating: digest, count: 32), createdMillis: 1,
            expiresMillis: expires)
    }

    @Test("tokens have unique names, are bounded, and expired ones make room") func tokens() async throws {
        let (store, folder) = try await self.open()
        defer { withExtendedLifetime(folder) { store.close() } }
        func add(_ token: StoredToken, now: Int64 = 0) async throws -> TokenInsertion {
            try await store.addToken(token, limit: 2, nowMillis: now)
        }
        guard case .added(let first) = try await add(self.token("a", digest: 1, expires: 100)) else {
            Issue.record("not added")
            return
        }
        #expect(first.id > 0)
        #expect(try await add(self.token("a", digest: 2)) == .nameInUse)
        guard case .added(let second) = try await add(self.token("b", digest: 3)) else {
            Issue.record("not added")
            return
        }
        #expect(try await add(self.token("c", digest: 4)) == .tooMany(limit: 2))
        guard case .added(let third) = try await add(self.token("c", digest: 4), now: 100) else {
            Issue.record("the expired token was kept")
            return
        }
        #expect(try await store.tokens() == [second, third])
        #expect(try await store.removeToken(second.id) == second)
        #expect(try await store.removeToken(second.id) == nil)
        guard case .added(let fourth) = try await add(self.token("b", digest: 3)) else {
            Issue.record("not added")
            return
        }
        #expect(fourth.id > third.id)
    }

    @Test("policies replace each other by vhost and app, those for more streams come first") func policies()
        async throws
    {
        let (store, folder) = try await self.open()
        defer { withExtendedLifetime(folder) { store.close() } }
        #expect(try await store.policies() == PolicyList(revision: 0, policies: []))
        let exact = StreamPolicy(vhost: "v", app: "a", settings: ["x": "1"])
        let app = StreamPolicy(vhost: nil, app: "a", settings: ["x": "2"])
        let all = StreamPolicy(vhost: nil, app: nil, settings: ["x": "3", "y": "é"])
        for policy in [exact, app, all] { #expect(try await store.setPolicy(policy, limit: 3) != nil) }
        #expect(try await store.setPolicy(StreamPolicy(vhost: "w", app: nil, settings: [:]), limit: 3) == nil)
        var replaced = exact
        replaced.settings = ["x": "4"]
        let list = try await store.setPolicy(replaced, limit: 3)
        #expect(list == PolicyList(revision: 4, policies: [all, app, replaced]))
        #expect(try await store.removePolicy(vhost: "w", app: nil) == nil)
        #expect(try await store.removePolicy(vhost: nil, app: nil)?.policies == [app, replaced])
        #expect(try await store.policies().revision == 5)
    }

    @Test("a copy is one state of the database, made while it is written to, and opens on its own") func backup()
        async throws
    {
        let (store, folder) = try await self.open()
        defer { store.close() }
        let key = try StreamKey(app: "live", name: "x")
        try await store.commit([
            .placement(
                StoredPlacement(
                    key: key, epoch: 9, node: try NodeID("a"), instance: "i", state: .live, leaseUntilMillis: 1))
        ])
        let copy = folder.path + "/copy.sqlite"
        async let writing: Void = {
            for index in 0..<200 {
                try await store.commit([.event(ClusterEvent(kind: .recovered, detail: "\(index)"), atMillis: 1)])
            }
        }()
        let bytes = try await store.backup(to: copy)
        try await writing
        let attributes = try FileManager.default.attributesOfItem(atPath: copy)
        #expect(attributes[.size] as? Int64 == bytes)
        #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
        #expect(!FileManager.default.fileExists(atPath: copy + ".part"))
        let restored = try await CoordinatorStore.open(path: copy)
        defer { restored.close() }
        #expect(try await restored.load().placements.map(\.key) == [key])
        let events = try await restored.events(EventQuery(limit: 1_000)).events
        #expect(events.map(\.event.detail) == (0..<events.count).map { "\($0)" })
    }

    @Test("a copy into a folder that is not there fails and leaves nothing") func failedBackup() async throws {
        let (store, folder) = try await self.open()
        defer { withExtendedLifetime(folder) { store.close() } }
        let path = folder.path + "/none/copy.sqlite"
        await #expect(throws: CoordinatorStoreError.backupFailed(path: path, code: 14)) {
            _ = try await store.backup(to: path)
        }
        #expect(!FileManager.default.fileExists(atPath: path + ".part"))
    }
}
