import NIOCore
import RTPSending
import Testing

@Suite struct AudioHoldTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private static func at(_ millis: Int64) -> NIODeadline { Self.start + .milliseconds(millis) }

    /// Has seen pictures every `interval` ms, the last one at 0.
    private static func hold(limit: Int64, interval: Int64 = 40) -> AudioHold {
        var hold = AudioHold(limit: .milliseconds(limit))
        for number in 0..<10 { hold.picturePassed(now: Self.at(Int64(number - 9) * interval)) }
        return hold
    }

    @Test(
        arguments: [
            (came: 5, waits: nil), (came: 19, waits: nil),  // the picture is too far away
            (came: 20, waits: 40), (came: 30, waits: 44), (came: 40, waits: 44), (came: 43, waits: 44),
            (came: 44, waits: nil), (came: 400, waits: nil),  // the picture is late
        ] as [(came: Int64, waits: Int64?)])
    func soundWaitsForAPictureThatIsNear(came: Int64, waits: Int64?) {
        #expect(Self.hold(limit: 20).deadline(now: Self.at(came)) == waits.map { Self.at($0) })
    }

    @Test func withoutALimitNothingWaits() {
        #expect(Self.hold(limit: 0).deadline(now: Self.at(39)) == nil)
    }

    @Test func nothingWaitsBeforeTheRateIsKnownOrAfterANewSource() {
        var hold = AudioHold(limit: .milliseconds(20))
        #expect(hold.deadline(now: Self.at(0)) == nil)
        hold.picturePassed(now: Self.at(0))
        #expect(hold.deadline(now: Self.at(30)) == nil)
        hold.picturePassed(now: Self.at(40))
        #expect(hold.deadline(now: Self.at(70)) == Self.at(84))
        hold.sourceChanged()
        #expect(hold.deadline(now: Self.at(70)) == nil)
    }

    @Test func picturesOfOneBatchAndPausesDoNotCountAsARate() {
        var hold = Self.hold(limit: 20)
        hold.picturePassed(now: Self.at(0))
        hold.picturePassed(now: Self.at(0))
        #expect(hold.deadline(now: Self.at(30)) == Self.at(44))
        hold.picturePassed(now: Self.at(5_000))
        #expect(hold.deadline(now: Self.at(5_030)) == Self.at(5_044))
    }

    @Test func theRateIsFollowed() throws {
        var hold = Self.hold(limit: 20)
        for number in 1...40 { hold.picturePassed(now: Self.at(Int64(number) * 20)) }
        let deadline = try #require(hold.deadline(now: Self.at(805)))
        #expect(deadline > Self.at(823) && deadline <= Self.at(825))
    }
}
