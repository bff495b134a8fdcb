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
