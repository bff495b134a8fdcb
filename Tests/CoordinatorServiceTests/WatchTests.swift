import AsyncHTTPClient
import CoordinatorStore
import Foundation
import Media
import NIOCore
import Placement
import Testing

@testable import CoordinatorService

/// Any JSON, to compare texts whose members stand in another order.
private enum JSON: Decodable, Equatable {
    case object([String: JSON])
    case text(String)
    case number(UInt64)

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let object = try? container.decode([String: JSON].self) {
            self = .object(object)
        } else if let text = try? container.decode(String.self) {
            self = .text(text)
        } else {
            self = .number(try container.decode(UInt64.self))
        }
    }
}

/// Texts that a careless writer of JSON gets wrong.
private enum Hostile {
    static let names = [
        "plain", "a/b", "ünïcödé", "流", "👩‍👩‍👧", "'", "<script>", "a\u{301}", "\u{2028}\u{2029}", "{}[]:,", "\u{FEFF}x",
        "\u{85}",
        String(repeating: "é", count: 60),
    ]

    static let hosts = [
        "10.0.0.1", "a\"b", "\\", "\\\"", "end\\", "a\u{1}b", "\u{0}", "\u{1F}", "\n\r\t\u{8}\u{C}", "\u{7F}", "[::1]",
        "",
        "ü\"ü", "\"}}\n\nevent: reset\ndata: {}\n\n",
    ]
}

@Suite("changes as events") struct RenderedChangesTests {
    private func json(_ change: PlacementChange) -> ByteBuffer {
        var buffer = ByteBuffer()
        change.writeJSON(into: &buffer)
        return buffer
    }

    private func change(_ name: String, host: String? = nil, epoch: UInt64 = 1) throws -> PlacementChange {
        let route = try host.map { host in
            Route(
                NodeDescription(
                    id: try NodeID("n"), instance: "i", role: .origin, host: host, rtmpPort: 1935, httpPort: 8080),
                epoch: epoch)
        }
        return PlacementChange(
            key: try StreamKey(vhost: "v", app: "live", name: name), epoch: epoch, state: .live, route: route)
    }

    @Test("hostile names and hosts read as JSONEncoder's do, and stay in their line", arguments: Hostile.names)
    func hostile(name: String) throws {
        for host in [nil] + Hostile.hosts {
            for epoch in [0, 1 << 16, UInt64.max] {
                let change = try self.change(name, host: host, epoch: epoch)
                let written = Data(self.json(change).readableBytesView)
                let decoder = JSONDecoder()
                let encoded = try JSONEncoder().encode(change)
                #expect(try decoder.decode(JSON.self, from: written) == decoder.decode(JSON.self, from: encoded))
                #expect(try decoder.decode(PlacementChange.self, from: written) == change)
                #expect(!written.contains { $0 < 0x20 })
            }
        }
    }

    @Test("every state, and every character below a space")
    func states() throws {
        let control = String(String.UnicodeScalarView((0..<0x20).compactMap(Unicode.Scalar.init)))
        for state in PlacementState.allCases {
            var change = try self.change("x", host: control)
            change.state = state
            let read = try JSONDecoder().decode(
                PlacementChange.self, from: Data(self.json(change).readableBytesView))
            #expect(read == change)
        }
    }

    @Test("pieces hold all changes in their order, and each is rendered once for all who ask at the same time")
    func pieces() async throws {
        let size = RenderedChanges.changesPerPiece
        #expect(RenderedChanges([]).count == 0)
        for count in [1, size - 1, size, size + 1, 2 * size + 3] {
            let changes = try (0..<count).map { try self.change("\($0)", host: "h") }
            let rendered = RenderedChanges(changes)
            #expect(rendered.renderedCount == 0)
            let all = await withTaskGroup(of: String.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        (0..<rendered.count).map { String(buffer: rendered.piece($0)) }.joined()
                    }
                }
                return await group.reduce(into: Set<String>()) { $0.insert($1) }
            }
            #expect(rendered.renderedCount == (count + size - 1) / size)
            let expected = changes.map { "event: placement\ndata: \(String(buffer: self.json($0)))\n\n" }.joined()
            #expect(all == [expected])
        }
    }
}

@Suite("watch steps", .timeLimit(.minutes(1))) struct WatchStepTests {
    /// A core with an origin, without HTTP, whose decisions are stored by the test's task.
    private func withCore(
        history: Int = 64, _ body: (CoordinatorCore, NodeDescription) async throws -> Void
    ) async throws {
        let folder = NSTemporaryDirectory() + "weir-watch-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try await CoordinatorStore.open(path: folder + "/db.sqlite")
        defer { store.close() }
        let core = try await CoordinatorCore(
            configuration: CoordinatorConfiguration(
                databasePath: folder + "/db.sqlite", recoveryMillis: 0, watchHistory: history),
            store: store, logger: quietLogger())
        await core.tick()
        let node = NodeDescription(id: try NodeID("o"), instance: "one", role: .origin, host: "h", rtmpPort: 1935)
        _ = try await core.register(RegisterRequest(node: node, status: NodeStatus()))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await core.runCommits() }
            group.addTask { await core.pacer.run() }
            try await body(core, node)
            group.cancelAll()
        }
    }

    private func claim(_ core: CoordinatorCore, _ node: NodeDescription, _ name: String) async throws {
        let request = ClaimRequest(
            key: try StreamKey(app: "live", name: name), node: node.id, instance: "one", policy: .reject)
        _ = try await core.claim(request)
    }

    private func names(_ step: CoordinatorCore.WatchStep) -> Set<String> {
        Set(step.rendered.changes.map(\.key.name))
    }

    @Test("watchers that start anew share one snapshot, and lose nothing that came since it was made")
    func shared() async throws {
        try await self.withCore { core, node in
            for name in ["a", "b"] { try await self.claim(core, node, name) }
            let first = await core.watchStep(after: nil)
            #expect(first.isSnapshot)
            #expect(self.names(first) == ["a", "b"])
            // While somebody renders it, the next streams come.
            for name in ["c", "d"] { try await self.claim(core, node, name) }
            let second = await core.watchStep(after: "another.7")
            #expect(second.isSnapshot)
            #expect(second.rendered === first.rendered)
            #expect(second.cursor == first.cursor)
            for cursor in [first.cursor, second.cursor] {
                let since = await core.watchStep(after: cursor)
                #expect(!since.isSnapshot)
                #expect(since.rendered.changes.map(\.key.name) == ["c", "d"])
                #expect(since.cursor != cursor)
                #expect(await core.watchStep(after: since.cursor).rendered.changes.isEmpty)
            }
        }
    }

    @Test("a snapshot that the ring no longer leads on from is made anew")
    func stale() async throws {
        try await self.withCore(history: 3) { core, node in
            try await self.claim(core, node, "a")
            let first = await core.watchStep(after: nil)
            for name in ["b", "c", "d"] { try await self.claim(core, node, name) }
            #expect(await core.watchStep(after: nil).rendered === first.rendered)
            try await self.claim(core, node, "e")
            let second = await core.watchStep(after: nil)
            #expect(second.rendered !== first.rendered)
            #expect(self.names(second) == ["a", "b", "c", "d", "e"])
            // Who is behind the ring is given it, too.
            let late = await core.watchStep(after: first.cursor)
            #expect(late.isSnapshot)
            #expect(late.rendered === second.rendered)
        }
    }

    @Test("watchers at one place share what is new, and one that is elsewhere gets its own")
    func steps() async throws {
        try await self.withCore { core, node in
            try await self.claim(core, node, "a")
            let start = await core.watchStep(after: nil).cursor
            try await self.claim(core, node, "b")
            let middle = await core.watchStep(after: start)
            try await self.claim(core, node, "c")
            let one = await core.watchStep(after: start)
            let other = await core.watchStep(after: start)
            #expect(one.rendered === other.rendered)
            #expect(one.rendered.changes.map(\.key.name) == ["b", "c"])
            #expect(await core.watchStep(after: middle.cursor).rendered.changes.map(\.key.name) == ["c"])
            #expect(await core.watchStep(after: start).rendered.changes.map(\.key.name) == ["b", "c"])
        }
    }

    @Test("a burst of claims wakes each of many watchers, far less often than there are claims")
    func coalesced() async throws {
        try await self.withCore { core, node in
            let opened = (0..<100).compactMap { _ in core.watchers.open() }
            try #require(opened.count == 100)
            let start = await core.watchStep(after: nil).cursor
            let wakes = await withTaskGroup(of: Int.self) { group in
                for watcher in opened {
                    group.addTask {
                        var (cursor, seen, wakes) = (start, Set<String>(), 0)
                        for await _ in watcher.signal {
                            wakes += 1
                            let step = await core.watchStep(after: cursor)
                            cursor = step.cursor
                            seen.formUnion(step.rendered.changes.map(\.key.name))
                            if seen.count == 200 { break }
                        }
                        return seen.count == 200 ? wakes : .max
                    }
                }
                group.addTask {
                    // Claims that come together, as after the loss of an origin.
                    await withTaskGroup(of: Void.self) { claims in
                        for number in 0..<200 {
                            claims.addTask { try? await self.claim(core, node, "\(number)") }
                        }
                    }
                    return 0
                }
                return await group.reduce(into: 0) { $0 = max($0, $1) }
            }
            #expect(wakes < 100)
            for watcher in opened { core.watchers.close(watcher.id) }
        }
    }
}
