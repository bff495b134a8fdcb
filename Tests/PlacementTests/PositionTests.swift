import Media
import NIOCore
import Testing

@testable import Placement

@Suite("positions of segments") struct PositionTests {
    private func report(_ fixture: Fixture, _ epoch: UInt64, _ next: UInt64, end: Int64 = 5_000) -> StreamReport {
        StreamReport(
            key: fixture.key, epoch: epoch, state: .live,
            position: MediaPosition(nextSequence: next, discontinuitySequence: 2, endMillis: end))
    }

    private func position(of decision: ClaimDecision) throws -> MediaPosition? {
        guard case .granted(let placement) = decision else { throw Fixture.NotGranted() }
        return placement.position
    }

    @Test("the next holder of a key is told how far the segments had come, over a release and a new claim")
    func moves() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.beat(fixture.a, [self.report(fixture, epoch, 40)])
        try fixture.table.release(
            ReleaseRequest(
                node: fixture.a.id, instance: "one",
                release: StreamRelease(
                    key: fixture.key, epoch: epoch, reason: .unpublished,
                    position: MediaPosition(nextSequence: 43, discontinuitySequence: 2, endMillis: 9_000))),
            now: fixture.now)
        let position = try self.position(of: try fixture.claim(fixture.b))
        #expect(position == MediaPosition(nextSequence: 43, discontinuitySequence: 2, endMillis: 9_000))
    }

    @Test("a late report does not take a position back")
    func lateReport() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.beat(fixture.a, [self.report(fixture, epoch, 40, end: 9_000)])
        try fixture.beat(fixture.a, [self.report(fixture, epoch, 12, end: 10_000)])
        try fixture.beat(fixture.a, [fixture.report(epoch)])
        #expect(
            fixture.table.placements[fixture.key]?.position
                == MediaPosition(nextSequence: 40, discontinuitySequence: 2, endMillis: 10_000))
    }

    @Test("a position is announced to a coordinator that lost everything")
    func adopted() throws {
        var fixture = try Fixture()
        try fixture.join(fixture.a, [self.report(fixture, 7 << 16, 99)])
        try fixture.beat(fixture.a, [StreamReport(key: fixture.key, epoch: 7 << 16, state: .grace)])
        let position = try self.position(of: try fixture.claim(fixture.b, .grace))
        #expect(position?.nextSequence == 99)
    }

    @Test("numbers that leave no room to count on are refused")
    func validation() throws {
        let key = try StreamKey(app: "live", name: "demo")
        let position = MediaPosition(nextSequence: 1 << 53, discontinuitySequence: 0, endMillis: 0)
        let status = NodeStatus(streams: [StreamReport(key: key, epoch: 1, state: .live, position: position)])
        #expect(throws: PlacementValueError.outOfRange(.position)) { try status.validate(maximumStreams: 1) }
        let past = MediaPosition(nextSequence: 1, discontinuitySequence: 0, endMillis: -1)
        #expect(!past.isValid)
    }
}

@Suite("where segments go on") struct ResumptionTests {
    private let own = MediaPosition(nextSequence: 100, discontinuitySequence: 3, endMillis: 1_780_000_000_000)
    private let reported = MediaPosition(nextSequence: 120, discontinuitySequence: 4, endMillis: 1_780_000_010_000)

    @Test("a node that held the key last goes on exactly where it was")
    func lastHolder() {
        let position = MediaPosition.resumption(
            own: self.own, reported: self.own, wasLastHolder: true, nowMillis: self.own.endMillis + 30_000)
        #expect(position == self.own)
    }

    @Test("what others may have written since the last report is skipped, and counted once")
    func skipsWhatOthersWrote() {
        let now = self.reported.endMillis + 10_000
        let position = MediaPosition.resumption(
            own: self.own, reported: self.reported, wasLastHolder: false, nowMillis: now)
        #expect(position.nextSequence == 120 + 20 + 4)
        #expect(position.discontinuitySequence == 4 + 20 + 4)
        #expect(position.endMillis == now)
        let next = MediaPosition.resumption(own: nil, reported: position, wasLastHolder: false, nowMillis: now)
        #expect(next.nextSequence == position.nextSequence + 4)
    }

    @Test("the last holder does not go back behind what was reported of others")
    func lastHolderWithOlderJournal() {
        let position = MediaPosition.resumption(
            own: self.own, reported: self.reported, wasLastHolder: true, nowMillis: self.reported.endMillis)
        #expect(position.nextSequence == 124)
    }

    @Test("a node that nobody told anything starts beyond all that can have been given out")
    func blind() {
        let now = self.own.endMillis + 1_000
        let base = SegmentNumbering.base(nowMillis: now)
        for own in [nil, self.own] {
            let position = MediaPosition.resumption(own: own, reported: nil, wasLastHolder: false, nowMillis: now)
            #expect(position.nextSequence > base)
            #expect(position.discontinuitySequence > base)
        }
    }

    @Test("a number that was reported without a time is no reason to skip all since 1970")
    func untimed() {
        let now = self.own.endMillis + 1_000
        let base = SegmentNumbering.base(nowMillis: now)
        for next in [0, base - 600] {
            let untimed = MediaPosition(nextSequence: next, discontinuitySequence: next, endMillis: 0)
            for (own, reported) in [(nil, untimed), (untimed, nil), (untimed, untimed)] {
                let position = MediaPosition.resumption(
                    own: own, reported: reported, wasLastHolder: false, nowMillis: now)
                #expect((base...base + 100).contains(position.nextSequence))
                #expect((base...base + 100).contains(position.discontinuitySequence))
                #expect(position.endMillis == now)
            }
        }
    }
}

@Suite("a node that comes back") struct ReturnTests {
    @Test("watchers learn the way again when a renewal overtakes the first heartbeat")
    func renewalBeforeHeartbeat() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.renew(fixture.a, epoch, .live)
        fixture.advance(.seconds(6))
        try fixture.renew(fixture.a, epoch, .live)
        #expect(fixture.changes().last?.route == nil)
        try fixture.beat(fixture.a, [fixture.report(epoch)])
        #expect(fixture.changes().last?.route?.node == fixture.a.id)
    }

    @Test("watchers learn another address of the same process")
    func newAddress() throws {
        var fixture = try Fixture()
        let epoch = try fixture.won(fixture.a)
        try fixture.renew(fixture.a, epoch, .live)
        fixture.drop()
        var moved = fixture.a
        moved.host = "elsewhere.test"
        try fixture.join(moved, [fixture.report(epoch)])
        #expect(fixture.changes().last?.route?.host == "elsewhere.test")
    }
}
