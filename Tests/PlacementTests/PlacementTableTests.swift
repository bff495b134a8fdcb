import Media
import NIOCore
import Testing

@testable import Placement

@Suite("claims") struct ClaimTests {
    @Test("a free key is granted, with an epoch from the wall clock and an output to store and tell")
    func freeKey() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        #expect(epoch == 1_000 << 16)
        #expect(!PlacementEpoch.isProvisional(epoch))
        #expect(
            fixture.changes() == [
                PlacementChange(
                    key: fixture.key, epoch: epoch, state: .claiming,
                    route: Route(fixture.a, epoch: epoch))
            ])
    }

    @Test(
        "of two origins exactly one wins, and the other learns who holds the key",
        arguments: [
            ClaimPolicy.reject, .grace, .takeover,
        ])
    func race(policy: ClaimPolicy) throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a, policy)
        let expected = ClaimConflict(
            node: fixture.a.id, host: "a.test", epoch: epoch, state: .claiming, retryAfterMillis: nil)
        #expect(try fixture.claim(fixture.b, policy) == .conflict(expected))
        #expect(fixture.holder == fixture.a.id)
    }

    @Test("the holder's own new claim gets a new epoch")
    func reclaim() throws {
        var fixture = try Fixture()
        let first = try fixture.won(fixture.a)
        let second = try fixture.won(fixture.a)
        #expect(second > first)
    }

    @Test("epochs grow when the wall clock goes back")
    func clockGoesBack() throws {
        var fixture = try Fixture()
        let first = try fixture.won(fixture.a)
        try fixture.release(fixture.a, first)
        #expect(try fixture.won(fixture.b, wall: 5) == 1_001 << 16)
    }

    @Test("takeover wins with the same token, and with none only over a silent session")
    func takeoverByToken() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a, token: "digest")
        try fixture.renew(fixture.a, epoch, .live)
        #expect(throws: Fixture.NotGranted.self) { try fixture.won(fixture.b, .takeover) }
        #expect(throws: Fixture.NotGranted.self) { try fixture.won(fixture.b, .takeover, token: "other") }
        #expect(throws: Fixture.NotGranted.self) { try fixture.won(fixture.b, .grace, token: "digest") }
        #expect(try fixture.won(fixture.b, .takeover, token: "digest") > epoch)
    }

    @Test("two claims without a token do not have the same token")
    func noToken() throws {
        var fixture = try Fixture()
        _ = try fixture.won(fixture.a)
        #expect(throws: Fixture.NotGranted.self) { try fixture.won(fixture.b, .takeover) }
    }

    @Test("a session is pushed aside when it reports more than a second of silence, not at one second")
    func silentSession() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.beat(fixture.a, [fixture.report(epoch, silent: 1_000)])
        #expect(throws: Fixture.NotGranted.self) { try fixture.won(fixture.b, .grace) }
        try fixture.beat(fixture.a, [fixture.report(epoch, silent: 1_001)])
        #expect(throws: Fixture.NotGranted.self) { try fixture.won(fixture.b, .reject) }
        #expect(try fixture.won(fixture.b, .grace) > epoch)
    }

    @Test("a holder whose heartbeat is only a little late is not taken for silent, and the loser may try again")
    func lateHeartbeat() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.beat(fixture.a, [fixture.report(epoch)])
        fixture.advance(.milliseconds(1_500))
        guard case .conflict(let conflict) = try fixture.claim(fixture.b, .grace) else {
            Issue.record("granted")
            return
        }
        #expect(conflict.retryAfterMillis == 501)
        fixture.advance(.milliseconds(501))
        #expect(try fixture.won(fixture.b, .grace) > epoch)
    }

    @Test("a broken watch makes the holder's last word count until the next heartbeat is due")
    func brokenWatch() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.beat(fixture.a, [fixture.report(epoch)])
        fixture.table.linkLost(fixture.a.id, instance: "one", now: fixture.now)
        fixture.advance(.milliseconds(400))
        guard case .conflict(let conflict) = try fixture.claim(fixture.b, .grace) else {
            Issue.record("granted")
            return
        }
        #expect(conflict.retryAfterMillis == 801)
        fixture.advance(.milliseconds(801))
        #expect(try fixture.won(fixture.b, .grace) > epoch)
    }

    @Test("a heartbeat takes a broken watch back")
    func brokenWatchHeals() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        fixture.table.linkLost(fixture.a.id, instance: "one", now: fixture.now)
        fixture.advance(.milliseconds(1_100))
        try fixture.beat(fixture.a, [fixture.report(epoch)])
        #expect(throws: Fixture.NotGranted.self) { try fixture.won(fixture.b, .grace) }
    }

    @Test("a key in grace, an ended one and one of a dead node are free for every policy")
    func freeAgain() throws {
        var fixture = try Fixture()
        let first = try fixture.won(fixture.a)
        try fixture.renew(fixture.a, first, .grace)
        let second = try fixture.won(fixture.b)
        try fixture.release(fixture.b, second)
        let third = try fixture.won(fixture.a)
        fixture.advance(.seconds(4))
        try fixture.beat(fixture.b)
        fixture.advance(.seconds(1))
        #expect(fixture.state == .grace)
        #expect(try fixture.won(fixture.b) > third)
    }

    @Test("an edge, a drained origin, a stranger and an older process of a node cannot claim")
    func refusals() throws {
        var fixture = try Fixture()
        let edge = try Fixture.node("e", role: .edge)
        try fixture.join(edge)
        #expect(throws: PlacementError.notAnOrigin) { try fixture.claim(edge) }
        try fixture.table.setDrained(fixture.a.id, true)
        #expect(throws: PlacementError.draining) { try fixture.claim(fixture.a) }
        let stranger = try Fixture.node("s")
        #expect(throws: PlacementError.unknownNode) { try fixture.claim(stranger) }
        let older = try Fixture.node("b", instance: "zero")
        #expect(throws: PlacementError.nodeIDInUse) { try fixture.claim(older) }
    }

    @Test("the number of streams is bounded, and an ended one makes room")
    func bound() throws {
        var fixture = try Fixture(configuration: PlacementConfiguration(maximumStreams: 1))
        let epoch = try fixture.won(fixture.a)
        let other = try StreamKey(app: "live", name: "other")
        let request = ClaimRequest(key: other, node: fixture.a.id, instance: "one", policy: .reject)
        #expect(throws: PlacementError.tooManyStreams(limit: 1)) {
            try fixture.table.claim(request, now: fixture.now, wallSeconds: 1)
        }
        try fixture.release(fixture.a, epoch)
        #expect(throws: Never.self) { try fixture.table.claim(request, now: fixture.now, wallSeconds: 1) }
    }

    @Test("a forfeited grant frees the key, and its epoch is not used again")
    func forfeit() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        fixture.table.forfeit(fixture.key, epoch: epoch, now: fixture.now)
        #expect(fixture.state == .ended)
        #expect(try fixture.won(fixture.b) > epoch)
    }
}

@Suite("renewals and releases") struct RenewalTests {
    @Test("states move claiming, live, grace, live, ended, and each move is told once")
    func moves() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        for state in [PlacementState.live, .live, .grace, .live, .ended] { try fixture.renew(fixture.a, epoch, state) }
        #expect(fixture.changes().map(\.state) == [.claiming, .live, .grace, .live, .ended])
    }

    @Test("nothing goes back to claiming")
    func backToClaiming() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.renew(fixture.a, epoch, .live)
        #expect(throws: PlacementError.transition(from: .live, to: .claiming)) {
            try fixture.renew(fixture.a, epoch, .claiming)
        }
    }

    @Test("an older epoch is fenced, and the current one is named")
    func fenced() throws {
        var fixture = try Fixture()
        let old = try fixture.won(fixture.a)
        try fixture.renew(fixture.a, old, .grace)
        let current = try fixture.won(fixture.b)
        let holder = ClaimConflict(
            node: fixture.b.id, host: "b.test", epoch: current, state: .claiming, retryAfterMillis: nil)
        #expect(throws: PlacementError.fenced(holder)) { try fixture.renew(fixture.a, old, .live) }
        #expect(throws: PlacementError.fenced(holder)) { try fixture.release(fixture.a, old) }
        #expect(
            try fixture.beat(fixture.a, [fixture.report(old)]).superseded == [
                SupersededStream(key: fixture.key, epoch: current, node: fixture.b.id)
            ])
    }

    @Test("a stream that nobody claimed cannot be renewed")
    func unknown() throws {
        var fixture = try Fixture()
        #expect(throws: PlacementError.unknownStream) { try fixture.renew(fixture.a, 1 << 16, .live) }
    }

    @Test("a release twice is harmless, and a late heartbeat does not bring the stream back")
    func releaseTwice() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.release(fixture.a, epoch)
        try fixture.release(fixture.a, epoch)
        #expect(try fixture.beat(fixture.a, [fixture.report(epoch)]).superseded.isEmpty)
        #expect(fixture.state == .ended)
        #expect(fixture.changes().map(\.state) == [.claiming, .ended])
    }

    @Test("heartbeats keep the lease, and without them it ends; the node that comes back has its stream again")
    func lease() throws {
        var fixture = try Fixture(
            configuration: PlacementConfiguration(lease: .seconds(10), deadAfter: .seconds(60)))
        let epoch = try fixture.won(fixture.a)
        fixture.advance(.seconds(9))
        try fixture.beat(fixture.a, [fixture.report(epoch)])
        fixture.advance(.seconds(9))
        #expect(fixture.state == .live)
        fixture.advance(.seconds(1))
        #expect(fixture.state == .ended)
        try fixture.beat(fixture.a, [fixture.report(epoch)])
        #expect(fixture.state == .live)
    }

    @Test(
        "an ended stream is told apart from an unknown one until its tombstone goes, and its epoch is kept as a floor")
    func tombstones() throws {
        var fixture = try Fixture()
        #expect(try fixture.table.playRoute(for: fixture.key, now: fixture.now) == .notFound)
        let epoch = try fixture.won(fixture.a)
        #expect(
            try fixture.table.playRoute(for: fixture.key, now: fixture.now) == .origin(Route(fixture.a, epoch: epoch)))
        try fixture.release(fixture.a, epoch)
        #expect(try fixture.table.playRoute(for: fixture.key, now: fixture.now) == .ended)
        fixture.drop()
        fixture.advance(.minutes(10))
        #expect(try fixture.table.playRoute(for: fixture.key, now: fixture.now) == .notFound)
        #expect(fixture.outputs().contains(.forgotten(fixture.key, epoch: epoch, floor: 1_000)))
        try fixture.join(fixture.a)
        #expect(try fixture.won(fixture.a, wall: 3) == 1_001 << 16)
    }

    @Test("the number of tombstones is bounded")
    func tombstoneBound() throws {
        var fixture = try Fixture(configuration: PlacementConfiguration(maximumTombstones: 3))
        for index in 0..<10 {
            let key = try StreamKey(app: "live", name: "\(index)")
            let request = ClaimRequest(key: key, node: fixture.a.id, instance: "one", policy: .reject)
            guard
                case .granted(let placement) = try fixture.table.claim(request, now: fixture.now, wallSeconds: 1)
            else { throw Fixture.NotGranted() }
            let release = StreamRelease(key: key, epoch: placement.epoch, reason: .unpublished)
            try fixture.table.release(
                ReleaseRequest(node: fixture.a.id, instance: "one", release: release), now: fixture.now)
        }
        #expect(fixture.table.placements.count == 3)
    }
}

@Suite("nodes") struct NodeTests {
    @Test("a silent node is suspect at 3 s and dead at 5 s, which puts its streams into grace and then ends them")
    func death() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.renew(fixture.a, epoch, .live)
        fixture.drop()
        fixture.advance(.milliseconds(2_999))
        #expect(fixture.table.nodes[fixture.a.id]?.health == .alive)
        fixture.advance(.milliseconds(1))
        #expect(fixture.table.nodes[fixture.a.id]?.health == .suspect)
        fixture.advance(.seconds(2))
        #expect(fixture.table.nodes[fixture.a.id]?.health == .dead)
        #expect(
            fixture.changes() == [PlacementChange(key: fixture.key, epoch: epoch, state: .grace, route: nil)])
        #expect(try fixture.table.playRoute(for: fixture.key, now: fixture.now) == .notFound)
        fixture.advance(.seconds(10))
        #expect(fixture.state == .ended)
    }

    @Test("the next deadline is the earliest thing that time brings about")
    func deadline() throws {
        var fixture = try Fixture()
        #expect(fixture.table.nextDeadline == fixture.now + .seconds(3))
        fixture.advance(.seconds(3))
        #expect(fixture.table.nextDeadline == fixture.now + .seconds(2))
    }

    @Test("a second process with the same id is refused while the first is heard, and taken once its watch broke")
    func sameID() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        let twin = try Fixture.node("a", instance: "two")
        #expect(throws: PlacementError.nodeIDInUse) { try fixture.join(twin) }
        fixture.table.linkLost(fixture.a.id, instance: "one", now: fixture.now)
        try fixture.join(twin)
        #expect(fixture.state == .grace)
        #expect(throws: PlacementError.nodeIDInUse) { try fixture.beat(fixture.a, [fixture.report(epoch)]) }
    }

    @Test("a node that leaves frees its streams, and is forgotten unless it is drained")
    func leave() throws {
        var fixture = try Fixture()
        _ = try fixture.won(fixture.a)
        try fixture.table.leave(fixture.a.id, instance: "one", now: fixture.now)
        #expect(fixture.state == .grace)
        #expect(fixture.table.nodes[fixture.a.id] == nil)
        try fixture.table.setDrained(fixture.b.id, true)
        try fixture.table.leave(fixture.b.id, instance: "one", now: fixture.now)
        #expect(try fixture.join(Fixture.node("b", instance: "two")).isDrained)
    }

    @Test("a drained origin gets no publishers, and undraining takes that back")
    func drain() throws {
        var fixture = try Fixture()
        try fixture.table.setDrained(fixture.a.id, true)
        #expect(
            fixture.table.publishRoutes(for: fixture.key, region: "", draws: (0, 0)).map(\.node) == [fixture.b.id])
        #expect(try fixture.beat(fixture.a).isDrained)
        try fixture.table.setDrained(fixture.a.id, false)
        #expect(fixture.table.origins().count == 2)
        #expect(throws: PlacementError.unknownNode) {
            try fixture.table.setDrained(try NodeID("nobody"), true)
        }
    }

    @Test("the number of nodes is bounded, and the longest dead one makes room")
    func bound() throws {
        var fixture = try Fixture(configuration: PlacementConfiguration(maximumNodes: 2))
        let third = try Fixture.node("c")
        #expect(throws: PlacementError.tooManyNodes(limit: 2)) { try fixture.join(third) }
        fixture.advance(.seconds(3))
        try fixture.beat(fixture.b)
        fixture.advance(.seconds(2))
        try fixture.join(third)
        #expect(Set(fixture.table.nodes.keys) == [fixture.b.id, third.id])
    }

    @Test("what an edge reports as its own places nothing")
    func edgeReports() throws {
        var fixture = try Fixture()
        try fixture.join(Fixture.node("e", role: .edge), [fixture.report(1 << 16)])
        #expect(fixture.state == nil)
    }
}

@Suite("restart of the coordinator") struct RecoveryTests {
    private func restarted(_ fixture: Fixture, epoch: UInt64, leaseLeft: TimeAmount = .seconds(-60)) -> PlacementTable {
        let placement = StreamPlacement(
            key: fixture.key, epoch: epoch, node: fixture.a.id, instance: "one", state: .live,
            leaseUntil: fixture.now + leaseLeft)
        let node = NodeRecord(description: fixture.a, health: .alive, lastHeard: fixture.now)
        return PlacementTable(
            configuration: PlacementConfiguration(), restored: [placement], nodes: [node], now: fixture.now)
    }

    @Test("a lease that ran out meanwhile is held for its node, for every policy")
    func held() throws {
        var fixture = try Fixture()
        fixture.table = self.restarted(fixture, epoch: 7 << 16)
        try fixture.join(fixture.b)
        for policy in [ClaimPolicy.reject, .grace, .takeover] {
            guard case .conflict(let conflict) = try fixture.claim(fixture.b, policy) else {
                Issue.record("granted")
                return
            }
            #expect(conflict.retryAfterMillis == 4_001)
        }
        try fixture.join(fixture.a, [fixture.report(7 << 16)])
        #expect(fixture.state == .live)
        fixture.advance(.seconds(4))
        try fixture.beat(fixture.a, [fixture.report(7 << 16)])
        #expect(fixture.holder == fixture.a.id)
        #expect(fixture.state == .live)
    }

    @Test("a node that does not come back loses its stream when the recovery is over")
    func lost() throws {
        var fixture = try Fixture()
        fixture.table = self.restarted(fixture, epoch: 7 << 16)
        try fixture.join(fixture.b)
        fixture.drop()
        fixture.advance(.seconds(4))
        #expect(fixture.state == .grace)
        #expect(fixture.outputs().contains(.recovered))
        #expect(try fixture.won(fixture.b) > 7 << 16)
    }

    @Test("during the recovery an unknown key is neither granted nor called missing")
    func unknownKey() throws {
        var fixture = try Fixture()
        fixture.table = PlacementTable(configuration: PlacementConfiguration(), now: fixture.now)
        try fixture.join(fixture.a)
        #expect(throws: PlacementError.recovering(retryAfterMillis: 4_001)) { try fixture.claim(fixture.a) }
        #expect(throws: PlacementError.recovering(retryAfterMillis: 4_001)) {
            try fixture.table.playRoute(for: fixture.key, now: fixture.now)
        }
    }

    @Test("an empty table adopts what is announced, epoch included, and grants only higher ones later")
    func empty() throws {
        var fixture = try Fixture()
        fixture.table = PlacementTable(configuration: PlacementConfiguration(), now: fixture.now)
        try fixture.join(fixture.a, [fixture.report(9_999 << 16)])
        try fixture.join(fixture.b)
        #expect(fixture.state == .live)
        try fixture.release(fixture.a, 9_999 << 16)
        #expect(try fixture.won(fixture.b) == 10_000 << 16)
    }

    @Test(
        "of two provisional claims the later one wins, in whatever order they are announced", arguments: [true, false])
    func provisional(laterFirst: Bool) throws {
        var fixture = try Fixture()
        let earlier = PlacementEpoch.provisional(after: 0, wallSeconds: 2_000, node: fixture.a.id)
        let later = PlacementEpoch.provisional(after: 0, wallSeconds: 2_001, node: fixture.b.id)
        #expect(PlacementEpoch.isProvisional(earlier))
        if laterFirst { try fixture.beat(fixture.b, [fixture.report(later)]) }
        try fixture.beat(fixture.a, [fixture.report(earlier)])
        if !laterFirst { try fixture.beat(fixture.b, [fixture.report(later)]) }
        #expect(fixture.holder == fixture.b.id)
        #expect(
            try fixture.beat(fixture.a, [fixture.report(earlier)]).superseded == [
                SupersededStream(key: fixture.key, epoch: later, node: fixture.b.id)
            ])
    }

    @Test("a release that comes late, of an epoch that was never announced, is remembered")
    func lateRelease() throws {
        var fixture = try Fixture()
        try fixture.release(fixture.a, 5_000 << 16 | 3)
        #expect(fixture.state == .ended)
        #expect(try fixture.won(fixture.b) == 5_001 << 16)
    }

    @Test("the floor of forgotten epochs holds after a restart")
    func floor() throws {
        var fixture = try Fixture()
        fixture.table = PlacementTable(
            configuration: PlacementConfiguration(), epochFloor: 50_000, now: fixture.now)
        fixture.advance(.seconds(4))
        try fixture.join(fixture.a)
        #expect(try fixture.won(fixture.a) == 50_001 << 16)
    }
}
