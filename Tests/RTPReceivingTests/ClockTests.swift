import Media
import NIOCore
import RTP
import Testing

@testable import RTPReceiving

private func session(from arrival: NIODeadline) -> SessionClock {
    let session = SessionClock()
    session.begin(at: arrival)
    return session
}

@Suite struct SourceClockTests {
    /// The 32.32 wall time `millis` after some moment.
    private static func ntp(_ millis: Int64) -> UInt64 {
        NTPTime(unixNanoseconds: 1_700_000_000_000_000_000 + millis * 1_000_000).value
    }

    @Test func aSourceStartsByArrival() {
        let session = session(from: arrival(0))
        var clock = SourceClock(clockRate: 48_000, now: arrival(0))
        #expect(clock.map(.max - 100, arrival: arrival(500), session: session) == 135_000)
        // Over the wrap of 32 bits; 960 ticks are 20 ms.
        #expect(clock.map(859, arrival: arrival(533), session: session) == 136_800)
    }

    @Test func aReportMovesTheSecondSourceByFiveMillisecondsASecond() {
        let session = session(from: arrival(0))
        var video = SourceClock(clockRate: 90_000, now: arrival(0))
        var audio = SourceClock(clockRate: 48_000, now: arrival(0))
        _ = video.map(1_000, arrival: arrival(0), session: session)
        // Sound of the same moment arrives 100 ms later.
        _ = audio.map(7_000, arrival: arrival(100), session: session)
        #expect(video.report(ntp: Self.ntp(0), timestamp: 1_000, session: session) == .aligned)
        #expect(audio.report(ntp: Self.ntp(0), timestamp: 7_000, session: session) == .aligned)
        #expect(video.isReference)
        var before = Int64.min
        for index in 1...3_000 as ClosedRange<Int64> {
            let time = audio.map(
                UInt32(7_000 + index * 960), arrival: arrival(100 + index * 20), session: session)
            #expect(time > before)
            if before != .min { #expect(abs(time - before - 1_800) <= 9) }
            before = time
            // 9,000 ticks too late at first, 450 less each second.
            if index == 500 { #expect(abs(time - 90_000 - index * 1_800 - 4_500) < 100) }
        }
        #expect(abs(before - 90_000 - 3_000 * 1_800) <= 90)
    }

    @Test(arguments: [-90, 0, 40] as [Int64]) func aSourceBeginsWhereAReportInFrontOfItPutsIt(lateness: Int64) {
        let session = session(from: arrival(0))
        var video = SourceClock(clockRate: 90_000, now: arrival(0))
        var audio = SourceClock(clockRate: 48_000, now: arrival(0))
        _ = video.map(1_000, arrival: arrival(0), session: session)
        _ = video.report(ntp: Self.ntp(0), timestamp: 1_000, session: session)
        // Sound of 200 ms later, gathered until then and beyond; its timestamps wrap meanwhile.
        #expect(audio.report(ntp: Self.ntp(0), timestamp: .max - 4_799, session: session) == .ignored)
        let time = audio.map(4_800, arrival: arrival(200 - lateness), session: session)
        #expect(time == 90_000 + 18_000)
        #expect(audio.takeEarlyReport()?.ntp == Self.ntp(0))
        #expect(audio.report(ntp: Self.ntp(0), timestamp: .max - 4_799, session: session) == .aligned)
        #expect(audio.map(4_800 + 960, arrival: arrival(220), session: session) == 90_000 + 19_800)
    }

    @Test func theFirstReportsMayAllComeInFront() {
        let session = session(from: arrival(0))
        var video = SourceClock(clockRate: 90_000, now: arrival(0))
        var audio = SourceClock(clockRate: 8_000, now: arrival(0))
        _ = video.report(ntp: Self.ntp(0), timestamp: 500, session: session)
        _ = audio.report(ntp: Self.ntp(10), timestamp: 70, session: session)
        #expect(video.map(500, arrival: arrival(30), session: session) == 90_000 + 2_700)
        #expect(video.isReference && session.isAnchored && video.takeEarlyReport() == nil)
        // 8 kHz: 10 ms are 80 ticks, and the first packet is of the same moment as the picture.
        #expect(abs(audio.map(0, arrival: arrival(110), session: session) - 90_000 - 2_700 - 112) <= 1)
    }

    @Test func aReportInFrontThatIsFarAwayDoesNotPlaceASource() {
        let session = session(from: arrival(0))
        var video = SourceClock(clockRate: 90_000, now: arrival(0))
        var audio = SourceClock(clockRate: 90_000, now: arrival(0))
        _ = video.map(0, arrival: arrival(0), session: session)
        _ = video.report(ntp: Self.ntp(0), timestamp: 0, session: session)
        _ = audio.report(ntp: Self.ntp(5_000), timestamp: 0, session: session)
        #expect(audio.map(0, arrival: arrival(100), session: session) == 99_000)
    }

    @Test func aReportFarAwayJumpsForwardAndNeverBack() {
        let session = session(from: arrival(0))
        var video = SourceClock(clockRate: 90_000, now: arrival(0))
        var audio = SourceClock(clockRate: 90_000, now: arrival(0))
        _ = video.map(0, arrival: arrival(0), session: session)
        _ = audio.map(0, arrival: arrival(0), session: session)
        _ = video.report(ntp: Self.ntp(0), timestamp: 0, session: session)
        #expect(audio.report(ntp: Self.ntp(2_000), timestamp: 0, session: session) == .aligned)
        #expect(audio.map(1_800, arrival: arrival(20), session: session) == 90_000 + 180_000 + 1_800)
        // Three seconds back for the sound are three seconds forward for the picture.
        #expect(audio.report(ntp: Self.ntp(-1_000), timestamp: 0, session: session) == .shiftOthers(270_000))
        video.shift(by: 270_000)
        #expect(audio.map(3_600, arrival: arrival(40), session: session) == 90_000 + 180_000 + 3_600)
        #expect(video.map(3_600, arrival: arrival(40), session: session) == 90_000 + 270_000 + 3_600)
        // Nonsense is not believed.
        #expect(audio.report(ntp: Self.ntp(900_000), timestamp: 0, session: session) == .ignored)
        #expect(audio.report(ntp: 0, timestamp: 0, session: session) == .ignored)
        #expect(audio.report(ntp: Self.ntp(0), timestamp: 1 << 31, session: session) == .ignored)
    }

    @Test func theSendersWallClockMayBeSet() {
        let session = session(from: arrival(0))
        var video = SourceClock(clockRate: 90_000, now: arrival(0))
        _ = video.map(0, arrival: arrival(0), session: session)
        _ = video.report(ntp: Self.ntp(0), timestamp: 0, session: session)
        #expect(video.report(ntp: Self.ntp(3_600_000), timestamp: 9_000, session: session) == .aligned)
        #expect(video.map(9_000, arrival: arrival(100), session: session) == 99_000)
    }

    @Test func aTimestampThatDoesNotFitItsArrivalStartsAnew() {
        let session = session(from: arrival(0))
        var clock = SourceClock(clockRate: 90_000, now: arrival(0))
        var random = SeededGenerator(seed: 3)
        var stamp: UInt32 = 0
        for index in 0..<2_000 as Range<Int64> {
            stamp = index % 10 == 0 ? UInt32.random(in: 0...UInt32.max, using: &random) : stamp &+ 3_000
            let time = clock.map(stamp, arrival: arrival(index * 33), session: session)
            // Whatever the stamps say, the time stays where the arrival is.
            #expect(abs(time - 90_000 - index * 33 * 90) < 300_000)
        }
        #expect(clock.jumps > 150)
    }

    @Test(arguments: [-500.0, 500.0]) func driftOverHoursDoesNotAddUp(ppm: Double) {
        let session = session(from: arrival(0))
        var clock = SourceClock(clockRate: 48_000, now: arrival(0))
        var time: Int64 = 0
        // An hour of a clock that is 500 ppm off: 1.8 s in all. Over the wrap as well.
        for index in 0..<180_000 as Range<Int64> {
            let stamp = UInt32(
                truncatingIfNeeded: Int64(UInt32.max) - 4_800_000 + Int64(Double(index) * 960 * (1 + ppm / 1e6)))
            let jitter = (index * 7_919) % 13
            time = clock.map(stamp, arrival: arrival(index * 20 + jitter), session: session)
        }
        #expect(abs(time - 90_000 - 179_999 * 1_800) < 90 * 120)
        #expect(clock.jumps == 0)
    }

    @Test func aSenderWhoseClockSleptIsCaughtUp() {
        let session = session(from: arrival(0))
        var clock = SourceClock(clockRate: 90_000, now: arrival(0))
        for index in 0..<1_000 as Range<Int64> {
            _ = clock.map(UInt32(index * 3_000), arrival: arrival(index * 100 / 3), session: session)
        }
        var time: Int64 = 0
        for index in 1_000..<2_000 as Range<Int64> {
            time = clock.map(UInt32(index * 3_000), arrival: arrival(60_000 + index * 100 / 3), session: session)
        }
        #expect(abs(time - 90_000 - (60_000 + 1_999 * 100 / 3) * 90) < 2_000)
    }
}

@Suite struct AlignmentTests {
    @Test func soundAndPictureMeetAlthoughTheyArriveApart() throws {
        let link = Link(delay: .milliseconds(20))
        let simulation = Simulation(
            receiver: .make([.video(), .audio()]), seed: 5, up: link, down: link)
        simulation.frameLengths = 100...200
        simulation.wallDrift = 100
        simulation.videoDrift = 100
        simulation.audioDrift = -500
        try simulation.run(for: .seconds(300))
        // By now the sound's clock is 180 ms behind the picture's.
        let video = try #require(simulation.frames(.video).last)
        let audio = try #require(simulation.frames(.audio).last)
        let apart = (video.frame.pts.ticks - audio.frame.pts.ticks) * 100 / 9
        #expect(abs(apart * 1_000 - (video.time - audio.time).nanoseconds) < 8_000_000)
        // And neither left our own clock.
        let elapsed = (video.time - arrival(20)).nanoseconds
        #expect(abs((video.frame.pts.ticks - 90_000) * 100_000 / 9 - elapsed) < 60_000_000)
    }
}
