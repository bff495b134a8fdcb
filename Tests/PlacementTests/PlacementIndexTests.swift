import Media
import NIOCore
import Testing

@testable import Placement

@Suite("placement index") struct PlacementIndexTests {
    private func at(_ seconds: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .seconds(seconds) }

    private func placement(
        _ name: String, _ node: String, epoch: UInt64 = 1, state: PlacementState = .live, until seconds: Int64 = 10
    ) throws -> StreamPlacement {
        StreamPlacement(
            key: try StreamKey(app: "live", name: name), epoch: epoch, node: try NodeID(node), instance: "one",
            state: state, leaseUntil: self.at(seconds))
    }

    @Test("keys follow their placement from node to node, and leave with its end")
    func holders() throws {
        var index = PlacementIndex()
        let (a, b) = (try NodeID("a"), try NodeID("b"))
        let first = try self.placement("x", "a")
        let second = try self.placement("y", "a")
        index.note(first, instead: nil)
        index.note(second, instead: nil)
        #expect(index.keys(heldBy: a) == [first.key, second.key])
        let moved = try self.placement("x", "b", epoch: 2)
        index.note(moved, instead: first)
        #expect(index.keys(heldBy: a) == [second.key])
        #expect(index.keys(heldBy: b) == [first.key])
        let ended = try self.placement("x", "b", epoch: 2, state: .ended)
        index.note(ended, instead: moved)
        #expect(index.keys(heldBy: b).isEmpty)
        // A tombstone is nobody's, and what follows it is its holder's.
        index.note(try self.placement("x", "a", epoch: 3), instead: ended)
        #expect(index.keys(heldBy: a) == [first.key, second.key])
    }

    @Test("a claim is queued once, and a change of its state or a renewal not again")
    func queued() throws {
        var index = PlacementIndex()
        let claimed = try self.placement("x", "a", state: .claiming)
        index.note(claimed, instead: nil)
        let live = try self.placement("x", "a", until: 12)
        index.note(live, instead: claimed)
        #expect(index.leases.count == 1)
        index.note(try self.placement("x", "a", epoch: 2), instead: live)
        #expect(index.leases.count == 2)
        index.note(try self.placement("y", "a", state: .ended), instead: nil)
        #expect(index.leases.count == 2)
    }

    @Test("leases come out in the order of their ends, and none before it is due")
    func order() throws {
        var queue = LeaseQueue()
        #expect(queue.earliest == nil)
        #expect(queue.pop(dueAt: self.at(1_000)) == nil)
        // A permutation of 0..<101 with every third end twice.
        let ends = (0..<101).flatMap { step -> [Int64] in
            let end = Int64(step * 37 % 101)
            return end.isMultiple(of: 3) ? [end, end] : [end]
        }
        for (number, end) in ends.enumerated() { queue.push(try self.placement("\(number)", "a", until: end)) }
        #expect(queue.count == ends.count)
        var popped: [Int64] = []
        for now in Int64(0)..<101 {
            #expect(queue.earliest == self.at(now))
            while let lease = queue.pop(dueAt: self.at(now)) {
                #expect(lease.until == self.at(now))
                popped.append(now)
            }
        }
        #expect(popped == ends.sorted())
        #expect(queue.count == 0)
    }

    @Test("a lease that is renewed outlives its first end, and one that is not ends to the nanosecond")
    func leases() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        for _ in 0..<40 {
            fixture.advance(.seconds(1))
            try fixture.beat(fixture.a, [fixture.report(epoch)])
            try fixture.beat(fixture.b)
        }
        #expect(fixture.state == .live)
        let end = fixture.now + fixture.table.configuration.lease
        // The node goes on to report, but not this stream.
        while fixture.now + .seconds(1) < end {
            fixture.advance(.seconds(1))
            try fixture.beat(fixture.a)
            try fixture.beat(fixture.b)
        }
        fixture.advance(end - fixture.now - .nanoseconds(1))
        #expect(fixture.state == .live)
        #expect(fixture.table.nextDeadline == end)
        fixture.advance(.nanoseconds(1))
        #expect(fixture.state == .ended)
        #expect(fixture.table.placements[fixture.key]?.endReason == .leaseExpired)
        #expect(fixture.table.index.keys(heldBy: fixture.a.id).isEmpty)
        // The queue forgot it; a lease that is revived is watched anew.
        #expect(fixture.table.index.leases.count == 0)
        try fixture.beat(fixture.a, [fixture.report(epoch)])
        #expect(fixture.state == .live)
        #expect(fixture.table.index.leases.count == 1)
        #expect(fixture.table.index.keys(heldBy: fixture.a.id) == [fixture.key])
    }

    @Test("what the database knew is found by its node and by its lease")
    func restored() throws {
        let configuration = PlacementConfiguration()
        let start = self.at(100)
        let live = try self.placement("x", "a", until: 90)
        let ended = try self.placement("y", "a", state: .ended, until: 90)
        var table = PlacementTable(configuration: configuration, restored: [live, ended], now: start)
        #expect(table.placements(heldBy: live.node).map(\.key) == [live.key])
        table.deadlineReached(now: start + configuration.recovery)
        #expect(table.placements[live.key]?.state == .grace)
        let end = try #require(table.placements[live.key]).leaseUntil
        table.deadlineReached(now: end - .nanoseconds(1))
        #expect(table.placements[live.key]?.state == .grace)
        table.deadlineReached(now: end)
        #expect(table.placements[live.key]?.state == .ended)
        #expect(table.placements(heldBy: live.node).isEmpty)
    }

    @Test("a burst of claims of one key leaves one lease that counts")
    func burst() throws {
        var fixture = try Fixture()
        var epoch: UInt64 = 0
        for _ in 0..<20 { epoch = try fixture.won(fixture.a) }
        try fixture.renew(fixture.a, epoch, .live)
        let lease = fixture.table.configuration.lease
        fixture.drop()
        // The holder falls silent: its stream goes to grace, which makes the lease longer.
        fixture.advance(lease - .nanoseconds(1))
        #expect(fixture.state == .grace)
        let end = try #require(fixture.table.placements[fixture.key]).leaseUntil
        fixture.advance(end - fixture.now)
        #expect(fixture.state == .ended)
        #expect(fixture.table.placements[fixture.key]?.epoch == epoch)
        #expect(fixture.table.index.leases.count == 0)
        #expect(fixture.outputs().count { if case .event(let event) = $0 { event.kind == .ended } else { false } } == 1)
    }
}
