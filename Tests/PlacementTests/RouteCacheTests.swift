import Media
import NIOCore
import Placement
import Testing

@Suite("route cache") struct RouteCacheTests {
    private let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private func change(
        _ name: String, _ epoch: UInt64, _ state: PlacementState = .live
    ) throws -> PlacementChange {
        let route = Route(node: try NodeID("a"), host: "h", rtmpPort: 1, httpPort: 2, epoch: epoch)
        return PlacementChange(
            key: try StreamKey(app: "live", name: name), epoch: epoch, state: state,
            route: state == .ended ? nil : route)
    }

    @Test("a change is news once, an older epoch never")
    func news() throws {
        var cache = RouteCache(maximumEntries: 10, maximumNegatives: 10)
        let change = try self.change("x", 5)
        #expect([cache.apply(change, now: self.now), cache.apply(change, now: self.now)] == [change, nil])
        #expect(try cache.apply(self.change("x", 4, .ended), now: self.now) == nil)
        let ended = try self.change("x", 5, .ended)
        #expect(cache.apply(ended, now: self.now) == ended)
    }

    @Test("what ended before it was known is no news, but is known as ended")
    func endedBefore() throws {
        var cache = RouteCache(maximumEntries: 10, maximumNegatives: 10)
        let ended = try self.change("x", 5, .ended)
        #expect(cache.apply(ended, now: self.now) == nil)
        #expect(cache[ended.key]?.change.state == .ended)
    }

    @Test("a snapshot ends what it does not name, and only when it is swept")
    func sweep() throws {
        var cache = RouteCache(maximumEntries: 10, maximumNegatives: 10)
        let kept = try self.change("kept", 1)
        let gone = try self.change("gone", 2)
        _ = cache.apply(kept, now: self.now)
        _ = cache.apply(gone, now: self.now)
        cache.beginSnapshot()
        #expect(cache.apply(kept, now: self.now) == nil)
        #expect(cache[gone.key] != nil)
        #expect(cache.sweep() == [PlacementChange(key: gone.key, epoch: 2, state: .ended, route: nil)])
        #expect(cache[gone.key] == nil)
        #expect(cache.sweep().isEmpty)
    }

    @Test("a lookup's answer does not replace what the watch told of a newer epoch")
    func lookup() throws {
        var cache = RouteCache(maximumEntries: 10, maximumNegatives: 10)
        let newer = try self.change("x", 5)
        _ = cache.apply(newer, now: self.now)
        let older = try #require(try self.change("x", 4).route)
        cache.learn(older, for: newer.key, now: self.now)
        #expect(cache[newer.key]?.change == newer)
    }

    @Test("missing streams are known for their time, within a bound, until the watch names them")
    func negatives() throws {
        var cache = RouteCache(maximumEntries: 10, maximumNegatives: 2)
        let keys = try (0..<3).map { try StreamKey(app: "live", name: "\($0)") }
        for key in keys { cache.learnMissing(key, until: self.now + .seconds(1)) }
        #expect(cache.negativeCount == 2)
        #expect(keys.map { cache.isKnownMissing($0, now: self.now) } == [false, true, true])
        _ = try cache.apply(self.change("2", 1), now: self.now)
        let named = cache.isKnownMissing(keys[2], now: self.now)
        #expect(!named)
        let expired = cache.isKnownMissing(keys[1], now: self.now + .seconds(1))
        #expect(!expired)
        #expect(cache.negativeCount == 0)
    }

    @Test("entries and ended streams are bounded")
    func bounds() throws {
        var cache = RouteCache(maximumEntries: 3, maximumNegatives: 2)
        for index in 0..<9 {
            _ = cache.apply(try self.change("e\(index)", 1), now: self.now)
            _ = cache.apply(try self.change("e\(index)", 1, .ended), now: self.now)
        }
        #expect(cache.entries.count <= 3)
        for index in 0..<9 { _ = cache.apply(try self.change("l\(index)", 1), now: self.now) }
        #expect(cache.entries.count == 3)
    }
}
