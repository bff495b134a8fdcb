import Media
import NIOCore
import Testing

@testable import Streaming

/// Feeds a timeline with a steady stream whose clock the test can disturb.
///
/// Video comes every 40 ms, audio every 20 ms; `now` is the time since the start on the arrival clock.
private struct Source {
    var timeline: Timeline
    var now: Int64 = 0
    /// What is added to the true time on the source's clock.
    var videoOffset: Int64 = 0
    var audioOffset: Int64 = 0
    var period: Int64?
    private(set) var video: [(truth: Int64, output: Int64)] = []
    private(set) var audio: [(truth: Int64, output: Int64)] = []

    init(clock: SourceClock = .rtmp, periodMillis: Int64? = 1 << 32) {
        self.timeline = Timeline(clock: clock)
        self.period = periodMillis
    }

    private func onClock(_ time: Int64) -> MediaTime {
        guard let period = self.period else { return millis(time) }
        return millis(((time % period) + period) % period)
    }

    @discardableResult
    mutating func sendVideo() -> Int64 {
        let output = self.timeline.place(
            .video, at: self.onClock(self.now + self.videoOffset), arrival: arrival(self.now))
        self.video.append((self.now, output.millis))
        return output.millis
    }

    @discardableResult
    mutating func sendAudio() -> Int64 {
        let output = self.timeline.place(
            .audio, at: self.onClock(self.now + self.audioOffset), arrival: arrival(self.now))
        self.audio.append((self.now, output.millis))
        return output.millis
    }

    mutating func run(millis duration: Int64) {
        let end = self.now + duration
        while self.now < end {
            if self.now % 40 == 0 { self.sendVideo() }
            self.sendAudio()
            self.now += 20
        }
    }

    mutating func jump(by offset: Int64) {
        self.videoOffset += offset
        self.audioOffset += offset
    }

    var isMonotone: Bool {
        zip(self.video, self.video.dropFirst()).allSatisfy { $0.output <= $1.output }
            && zip(self.audio, self.audio.dropFirst()).allSatisfy { $0.output <= $1.output }
    }

    /// How far the newest frames of the two tracks are from the distance that they truly have.
    var skew: Int64 {
        guard let video = self.video.last, let audio = self.audio.last else { return 0 }
        return (video.output - audio.output) - (video.truth - audio.truth)
    }

    /// How far the newest audio frame is from where an undisturbed stream would be.
    var drift: Int64 { self.audio.last.map { $0.output - $0.truth } ?? 0 }

    /// The longest step between two frames of one track.
    var longestStep: Int64 {
        let steps =
            zip(self.video, self.video.dropFirst()).map { $1.output - $0.output }
            + zip(self.audio, self.audio.dropFirst()).map { $1.output - $0.output }
        return steps.max() ?? 0
    }
}

@Suite("Timeline")
struct TimelineTests {
    private static let tenHours: Int64 = 36_000_000

    @Test("a steady source keeps its own times")
    func steady() {
        var source = Source()
        source.run(millis: 10_000)
        #expect(source.video.allSatisfy { $0.truth == $0.output })
        #expect(source.audio.allSatisfy { $0.truth == $0.output })
        #expect(source.timeline.end == millis(9_980))
        #expect(source.timeline.joinedJumps == 0)
        #expect(source.timeline.restampedFrames == 0)
    }

    @Test("the first frame of a stream keeps its time, wherever the clock stands")
    func firstFrame() {
        var timeline = Timeline()
        #expect(timeline.end == nil)
        #expect(timeline.place(.video, at: millis(123_456), arrival: arrival(0)) == millis(123_456))
    }

    @Test("the 32-bit clock of RTMP goes on over its wrap")
    func wrapRTMP() {
        var source = Source()
        source.jump(by: (1 << 32) - 5_000)
        source.run(millis: 10_000)
        #expect(source.isMonotone)
        #expect(source.video.allSatisfy { $0.output == $0.truth + (1 << 32) - 5_000 })
        #expect(source.timeline.joinedJumps == 0)
    }

    @Test("the 33-bit clock of MPEG-TS goes on over its wrap")
    func wrapTS() {
        var timeline = Timeline(clock: .mpegTS)
        let start: Int64 = (1 << 33) - 90_000
        for frame in 0..<100 {
            let time = start + Int64(frame) * 3_600
            let output = timeline.place(
                .video, at: MediaTime(ticks: time % (1 << 33)), arrival: arrival(Int64(frame) * 40))
            #expect(output.ticks == time)
        }
        #expect(timeline.joinedJumps == 0)
        #expect(timeline.restampedFrames == 0)
    }

    @Test("a frame that is late over the wrap is still understood")
    func lateOverWrap() {
        var timeline = Timeline()
        let wrap: Int64 = 1 << 32
        #expect(timeline.place(.video, at: millis(wrap - 20), arrival: arrival(0)) == millis(wrap - 20))
        #expect(timeline.place(.video, at: millis(20), arrival: arrival(40)) == millis(wrap + 20))
        #expect(timeline.place(.audio, at: millis(wrap - 10), arrival: arrival(41)) == millis(wrap - 10))
        #expect(timeline.restampedFrames == 0)
    }

    @Test("a jump of the clock that lasts is joined where the old clock ended", arguments: [tenHours, -tenHours])
    func persistentJump(offset: Int64) {
        var source = Source()
        source.jump(by: 2 * Self.tenHours)
        source.run(millis: 5_000)
        source.jump(by: offset)
        source.run(millis: 10_000)
        #expect(source.isMonotone)
        #expect(source.timeline.joinedJumps == 1)
        #expect(source.timeline.restampedFrames == 0)
        #expect(abs(source.skew) <= 40)
        #expect(abs(source.drift - 2 * Self.tenHours) <= 40)
        #expect(source.longestStep <= 80)
    }

    @Test("one frame with a stray time is stamped behind its predecessor, and nothing else moves")
    func singleOutlier() {
        for offset in [Self.tenHours, -Self.tenHours, 4_000, -1_500] {
            var source = Source()
            source.jump(by: 2 * Self.tenHours)
            source.run(millis: 2_000)
            source.videoOffset += offset
            let stray = source.sendVideo()
            source.videoOffset -= offset
            #expect(stray == 2 * Self.tenHours + 2_000)
            source.now += 40
            source.run(millis: 5_000)
            #expect(source.isMonotone)
            #expect(source.skew == 0)
            #expect(source.drift == 2 * Self.tenHours)
            #expect(source.timeline.joinedJumps == 0)
            #expect(source.timeline.restampedFrames == 1)
        }
    }

    @Test("audio and video that jump at different moments stay together", arguments: [tenHours, -tenHours, 5_000])
    func unevenJump(offset: Int64) {
        for audioFirst in [true, false] {
            for distance in stride(from: Int64(0), through: 1_200, by: 200) {
                var source = Source()
                source.jump(by: 2 * Self.tenHours)
                source.run(millis: 4_000)
                if audioFirst { source.audioOffset += offset } else { source.videoOffset += offset }
                source.run(millis: distance)
                if audioFirst { source.videoOffset += offset } else { source.audioOffset += offset }
                source.run(millis: 10_000)
                #expect(source.isMonotone)
                #expect(abs(source.skew) <= 40, "audio first: \(audioFirst), \(distance) ms apart")
                #expect(abs(source.drift - 2 * Self.tenHours) <= 80, "\(distance) ms apart")
                #expect(source.longestStep <= 120, "\(distance) ms apart")
            }
        }
    }

    @Test("a small step back is held at the last time until the source caught up")
    func smallStepBack() {
        var timeline = Timeline()
        _ = timeline.place(.video, at: millis(1_000), arrival: arrival(0))
        #expect(timeline.place(.video, at: millis(700), arrival: arrival(40)) == millis(1_000))
        #expect(timeline.place(.video, at: millis(740), arrival: arrival(80)) == millis(1_000))
        #expect(timeline.place(.video, at: millis(1_040), arrival: arrival(380)) == millis(1_040))
        #expect(timeline.joinedJumps == 0)
    }

    @Test("a silence of the source is kept as long as it was")
    func silence() {
        var source = Source()
        source.run(millis: 2_000)
        source.now += 60_000
        source.run(millis: 2_000)
        #expect(source.drift == 0)
        #expect(source.timeline.joinedJumps == 0)
        #expect(source.timeline.restampedFrames == 0)
    }

    @Test("a clock that stands still is replaced by arrival")
    func frozenClock() {
        var timeline = Timeline()
        for frame in 0..<50 {
            _ = timeline.place(.video, at: millis(Int64(frame) * 40), arrival: arrival(Int64(frame) * 40))
        }
        var outputs: [Int64] = []
        for frame in 50..<200 {
            outputs.append(timeline.place(.video, at: millis(1_960), arrival: arrival(Int64(frame) * 40)).millis)
        }
        #expect(outputs.first == 1_960)
        #expect(zip(outputs, outputs.dropFirst()).allSatisfy { $0 <= $1 })
        #expect(outputs.last == Int64(7_960))
    }

    @Test("a clock that stood still goes on at the right time")
    func thawedClock() {
        var source = Source()
        source.run(millis: 4_000)
        for _ in 0..<100 {
            source.videoOffset = -source.now + 3_960
            source.sendVideo()
            source.sendAudio()
            source.now += 40
        }
        source.videoOffset = 0
        source.run(millis: 4_000)
        #expect(source.isMonotone)
        #expect(source.skew == 0)
        #expect(source.drift == 0)
    }

    @Test("audio that is two seconds ahead of video stays two seconds ahead")
    func audioAhead() {
        for ahead in [Int64(2_000), -2_000] {
            var source = Source()
            source.jump(by: 10_000)
            source.audioOffset += ahead
            source.run(millis: 30_000)
            #expect(source.isMonotone)
            #expect(source.skew == -ahead)
            #expect(source.timeline.joinedJumps == 0)
            #expect(source.timeline.restampedFrames == 0)
        }
    }

    @Test("a publisher that returns with its clock at 0 continues after the time that passed")
    func restart() {
        for pause in [Int64(100), 4_000, 3_600_000] {
            var source = Source()
            source.jump(by: 7_000)
            source.run(millis: 5_000)
            let lastArrival = source.now - 20
            source.now += pause
            source.timeline.sourceChanged(clock: .rtmp, continuesClock: false)
            source.videoOffset = -source.now
            source.audioOffset = -source.now
            let first = source.sendVideo()
            #expect(first == 7_000 + lastArrival + (source.now - lastArrival))
            source.now += 40
            source.run(millis: 5_000)
            #expect(source.isMonotone)
            #expect(source.skew == 0)
            #expect(source.drift == 7_000)
            #expect(source.timeline.joinedJumps == 0)
        }
    }

    @Test("a source that returns at once leaves the distance of a frame")
    func restartAtOnce() {
        var timeline = Timeline()
        _ = timeline.place(.video, at: millis(0), arrival: arrival(0))
        _ = timeline.place(.video, at: millis(40), arrival: arrival(40))
        timeline.sourceChanged(clock: .rtmp, continuesClock: false)
        #expect(timeline.place(.video, at: millis(0), arrival: arrival(40)) == millis(80))
    }

    @Test("a source with another clock width continues the stream")
    func changeOfClock() {
        var timeline = Timeline()
        _ = timeline.place(.video, at: millis(1_000), arrival: arrival(0))
        timeline.sourceChanged(clock: .mpegTS, continuesClock: false)
        let wrap: Int64 = 1 << 33
        let first = timeline.place(.video, at: MediaTime(ticks: wrap - 900), arrival: arrival(100))
        #expect(first == millis(1_100))
        #expect(timeline.place(.video, at: MediaTime(ticks: 2_700), arrival: arrival(140)) == millis(1_140))
    }

    @Test("a source that continues its clock goes on without a step, and its repeated frames are known")
    func continuedClock() {
        var source = Source()
        source.run(millis: 4_000)
        #expect(source.timeline.wasPlaced(.video, at: millis(3_960)))
        #expect(!source.timeline.wasPlaced(.video, at: millis(4_000)))
        source.timeline.sourceChanged(clock: .rtmp, continuesClock: true)
        #expect(source.timeline.wasPlaced(.video, at: millis(2_000)))
        #expect(source.timeline.wasPlaced(.audio, at: millis(3_980)))
        #expect(!source.timeline.wasPlaced(.audio, at: millis(4_000)))
        source.now = 5_000
        source.run(millis: 2_000)
        #expect(source.drift == 0)
        #expect(source.skew == 0)
        #expect(source.timeline.joinedJumps == 0)
    }

    @Test("nothing was placed on a timeline that is new or has a new source")
    func wasPlacedWithoutClock() {
        var timeline = Timeline()
        #expect(!timeline.wasPlaced(.video, at: millis(0)))
        _ = timeline.place(.video, at: millis(0), arrival: arrival(0))
        #expect(timeline.wasPlaced(.video, at: millis(0)))
        #expect(!timeline.wasPlaced(.audio, at: millis(0)))
        timeline.sourceChanged(clock: .rtmp, continuesClock: false)
        #expect(!timeline.wasPlaced(.video, at: millis(0)))
    }

    @Test("a whole day does not drift")
    func wholeDay() {
        var timeline = Timeline()
        let day: Int64 = 86_400_000
        var video: Int64 = 0
        while video <= day {
            let output = timeline.place(.video, at: millis(video), arrival: arrival(video))
            if output.millis != video { Issue.record("video \(video) became \(output.millis)"); return }
            let audio = timeline.place(.audio, at: millis(video + 7), arrival: arrival(video + 7))
            if audio.millis != video + 7 { Issue.record("audio \(video + 7) became \(audio.millis)"); return }
            video += 400
        }
        #expect(timeline.end == millis(day + 7))
        #expect(timeline.joinedJumps == 0)
    }

    @Test("time amounts become ticks exactly")
    func ticks() {
        #expect(TimeAmount.seconds(1).ticks == 90_000)
        #expect(TimeAmount.milliseconds(1).ticks == 90)
        #expect(TimeAmount.hours(24 * 365).ticks == 90_000 * 86_400 * 365)
        #expect(TimeAmount.nanoseconds(11_111).ticks == 0)
        #expect(TimeAmount.nanoseconds(11_112).ticks == 1)
        #expect(TimeAmount.milliseconds(-40).ticks == -3_600)
    }
}

@Suite("Timeline under disturbance")
struct TimelinePropertyTests {
    private enum Disturbance: CaseIterable {
        case jump, unevenJump, outlier, restart, silence
    }

    @Test("tracks never go back and are together again after every disturbance", arguments: UInt64(1)...200)
    func survives(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var source = Source()
        source.jump(by: 100_000_000)
        source.run(millis: 1_000)
        for step in 0..<8 {
            let size =
                Int64.random(in: 5_000...40_000_000, using: &generator) * (Bool.random(using: &generator) ? 1 : -1)
            let kind = Disturbance.allCases.randomElement(using: &generator) ?? .jump
            switch kind {
            case .jump: source.jump(by: size)
            case .unevenJump:
                let videoFirst = Bool.random(using: &generator)
                if videoFirst { source.videoOffset += size } else { source.audioOffset += size }
                source.run(millis: 40 * Int64.random(in: 0...20, using: &generator))
                if videoFirst { source.audioOffset += size } else { source.videoOffset += size }
            case .outlier:
                source.videoOffset += size
                source.sendVideo()
                source.videoOffset -= size
                source.now += 40
            case .restart:
                source.now += 40 * Int64.random(in: 1...100, using: &generator)
                source.timeline.sourceChanged(clock: .rtmp, continuesClock: false)
                source.videoOffset = -source.now
                source.audioOffset = -source.now
            case .silence: source.now += 40 * Int64.random(in: 1...1_000, using: &generator)
            }
            source.run(millis: 6_000)
            #expect(source.isMonotone, "seed \(seed), step \(step), \(kind)")
            #expect(abs(source.skew) <= 40, "seed \(seed), step \(step), \(kind) by \(size)")
            #expect(abs(source.drift - 100_000_000) <= 200, "seed \(seed), step \(step), \(kind) by \(size)")
        }
    }

    @Test("any input at all gives times that do not go back", arguments: UInt64(1)...100)
    func anyInput(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var timeline = Timeline(clock: Bool.random(using: &generator) ? .rtmp : .mpegTS)
        var now: Int64 = 0
        var last: [MediaKind: MediaTime] = [:]
        for _ in 0..<2_000 {
            now += Int64.random(in: 0...200, using: &generator)
            let kind: MediaKind = Bool.random(using: &generator) ? .video : .audio
            let ticks =
                Int.random(in: 0..<4, using: &generator) == 0
                ? Int64.random(in: 0..<(1 << 33), using: &generator) : now * 90
            let output = timeline.place(kind, at: MediaTime(ticks: ticks), arrival: arrival(now))
            if let before = last[kind], output < before {
                Issue.record("seed \(seed): \(kind) went from \(before.ticks) to \(output.ticks)")
                return
            }
            last[kind] = output
        }
    }
}
