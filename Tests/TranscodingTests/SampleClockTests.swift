import Testing

@testable import Transcoding

@Suite("SampleClock")
struct SampleClockTests {
    /// A clock at 48 kHz whose first sample is at one second.
    private static func started() -> SampleClock {
        var clock = SampleClock(rate: 48_000)
        #expect(clock.place(ticks: 90_000, at: 0) == .restart)
        return clock
    }

    @Test("samples follow each other whatever the source's times jitter")
    func jitter() {
        var clock = Self.started()
        var random = SystemRandomNumberGenerator()
        for index in 1..<5_000 {
            let noise = Int64.random(in: -1_000...1_000, using: &random)
            let placement = clock.place(ticks: 90_000 + Int64(index) * 1_800 + noise, at: Int64(index) * 960)
            #expect(placement == .follow)
        }
        #expect(abs(clock.ticks(of: 5_000 * 960) - (90_000 + 5_000 * 1_800)) < 1_000)
    }

    @Test("a single frame that is off by up to 60 ms changes nothing", arguments: [-5_400, -2_000, 2_000, 5_400])
    func outlier(_ off: Int64) {
        var clock = Self.started()
        for index in 1..<100 {
            let noise = index % 10 == 0 ? off : 0
            #expect(clock.place(ticks: 90_000 + Int64(index) * 1_800 + noise, at: Int64(index) * 960) == .follow)
        }
        #expect(clock.ticks(of: 0) == 90_000)
    }

    @Test("a step that stays is made up for by its smallest sight", arguments: [-1, 1])
    func step(_ sign: Int64) {
        var clock = Self.started()
        let steps: [Int64] = [2_100, 1_900, 2_000, 2_200]
        var placements: [SampleClock.Placement] = []
        for (index, step) in steps.enumerated() {
            let number = Int64(index + 1)
            placements.append(clock.place(ticks: 90_000 + number * 1_800 + sign * step, at: number * 960))
        }
        #expect(placements[..<3] == [.follow, .follow, .follow])
        // 1,900 ticks are 1,013.3 samples.
        #expect(placements[3] == (sign > 0 ? .pad(1_013) : .drop(1_013)))
    }

    @Test("sights on both sides do not count together")
    func bothSides() {
        var clock = Self.started()
        for index in 1..<40 {
            let off: Int64 = index % 2 == 0 ? 2_000 : -2_000
            #expect(clock.place(ticks: 90_000 + Int64(index) * 1_800 + off, at: Int64(index) * 960) == .follow)
        }
    }

    @Test("a step of 60 to 100 ms is made up for at once, a longer one forward is a hole, and none backward is")
    func holes() {
        var clock = Self.started()
        #expect(clock.place(ticks: 90_000 + 5_401, at: 0) == .pad(2_881))
        #expect(clock.place(ticks: 90_000 + 9_000, at: 0) == .pad(4_800))
        #expect(clock.place(ticks: 90_000 - 9_000, at: 0) == .drop(4_800))
        #expect(clock.place(ticks: 90_000 - 900_000, at: 0) == .drop(480_000))
        #expect(clock.place(ticks: 90_000 + 9_001, at: 0) == .restart)
        #expect(clock.ticks(of: 0) == 99_001)
        #expect(clock.ticks(of: 48_000) == 189_001)
    }

    @Test(
        "a drift is pulled in slowly, and an hour later the times are still the source's", arguments: [-200.0, 50, 200])
    func drift(_ partsPerMillion: Double) {
        var clock = Self.started()
        var last = clock.ticks(of: 0)
        var largest: Int64 = 0
        // An hour of frames of 1024 samples.
        for index in 1..<168_750 {
            let position = Int64(index) * 1_024
            let source = 90_000 + Int64(Double(index) * 1_920 * (1 + partsPerMillion / 1e6)) / 90 * 90
            guard clock.place(ticks: source, at: position) == .follow else {
                Issue.record("frame \(index) was corrected")
                return
            }
            let time = clock.ticks(of: position)
            guard (1_900...1_940).contains(time - last) else {
                Issue.record("frame \(index) is \(time - last) after the one before")
                return
            }
            last = time
            largest = max(largest, abs(source - time))
        }
        #expect(largest < 900, "never more than 10 ms off")
    }

    @Test("times are exact for rates that do not divide the timescale", arguments: [44_100, 48_000, 32_000, 11_025])
    func exact(_ rate: Int) {
        var clock = SampleClock(rate: rate)
        #expect(clock.place(ticks: 12_345, at: 0) == .restart)
        for seconds: Int64 in [1, 3_600, 86_400 * 365 * 10] {
            #expect(clock.ticks(of: seconds * Int64(rate)) == 12_345 + seconds * 90_000)
        }
    }
}
