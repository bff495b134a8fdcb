import Foundation
import Media
import NIOCore
import Testing

@testable import Packaging

@Suite("Long runs")
struct LongRunTests {
    @Test(
        "durations add up to the stream's time: video within a frame, audio to the sample",
        arguments: [(25.0, 48_000), (29.97, 44_100)])
    func day(fps: Double, rate: Int) throws {
        var packager = StreamPackager(
            configuration: .init(segmentDurationMillis: 4000, partDurationMillis: nil), position: nil,
            nowMillis: Bench.start)
        let (video, audio) = (try Make.h264(), try Make.aac(rate: rate))
        packager.sourceStarted(epoch: 1, continues: false, nowMillis: Bench.start)
        for track in [video, audio] {
            packager.receive(.track(track), video: video, audio: audio, nowMillis: Bench.start)
        }
        // NTSC frames are exact thousand-and-ones.
        let frameSeconds = fps == 29.97 ? 1001.0 / 30_000 : 1 / fps
        let gop = Int((4 / frameSeconds).rounded())
        let payload = Make.payload(.h264, 1)
        // A day takes minutes to simulate, so it is asked for (LONG_RUN); half an hour says as much of exact sums.
        let hours = ProcessInfo.processInfo.environment["LONG_RUN"] == nil ? 0.5 : 24
        let seconds = hours * 3600
        var (videoIndex, audioIndex) = (0, 0)
        var sums: [PackagingTag: (ticks: Int64, count: Int64, last: SegmentFacts?)] = [:]
        var end: Int64 = 0
        func drain() {
            while let output = packager.nextOutput() {
                guard case .segment(let segment) = output else { continue }
                var sum = sums[segment.facts.tag] ?? (0, 0, nil)
                sum.ticks += segment.facts.duration
                sum.count += Int64(segment.facts.frameCount)
                sum.last = segment.facts
                sums[segment.facts.tag] = sum
            }
        }
        while true {
            let videoTime = Double(videoIndex) * frameSeconds
            let audioTime = Double(audioIndex) * 1024 / Double(rate)
            let time = min(videoTime, audioTime)
            guard time < seconds else { break }
            let isVideo = videoTime <= audioTime
            let ticks = MediaTime(millis: Int64((time * 1000).rounded()))
            end = max(end, ticks.ticks)
            let frame = Frame(
                codec: isVideo ? .h264 : .aac, dts: ticks, pts: ticks, isKeyframe: !isVideo || videoIndex % gop == 0,
                payload: payload)
            packager.receive(.frame(frame), video: video, audio: audio, nowMillis: Bench.start + ticks.millis)
            drain()
            if isVideo { videoIndex += 1 } else { audioIndex += 1 }
        }
        packager.sourceEnded(isFinal: true, nowMillis: Bench.start)
        drain()
        let (pictures, sound) = (try #require(sums[.video]), try #require(sums[.audio]))
        #expect(pictures.count == Int64(videoIndex) && sound.count == Int64(audioIndex))
        #expect(abs(Double(pictures.ticks) / 90_000 - seconds) <= frameSeconds)
        #expect(sound.ticks == Int64(audioIndex) * 1024)
        #expect(packager.counters.audioCorrections == 0)
        #expect(abs(try #require(pictures.last).endMillis - Bench.start - Int64(seconds * 1000)) <= 41)
        #expect(abs(try #require(sound.last).endMillis - Bench.start - Int64(seconds * 1000)) <= 25)
        #expect(packager.counters.droppedFrames == 0 && packager.counters.dependentSegments == 0)
    }

    @Test(
        "sound whose clock drifts is brought back a tenth of a second at a time, and never backward",
        arguments: [0.998, 1.002])
    func drift(speed: Double) throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        var sound = 0.0
        for index in 0..<5000 {
            let time = Double(index) / 25
            bench.frame(.video, Int64(index) * 3600, key: index % 50 == 0)
            while sound < time {
                bench.frame(.audio, Int64((sound * 1000).rounded()) * 90)
                sound += 1024 / 48_000 * speed
            }
        }
        try checkInvariants(&bench)
        // 200 s at 2 ‰ are 0.4 s.
        #expect((3...4).contains(bench.packager.counters.audioCorrections))
        let audio = bench.segments(.audio).map(\.facts)
        for (one, other) in zip(audio, audio.dropFirst()) {
            #expect(other.presentationStart == one.presentationStart + one.duration)
            #expect(other.decodeStart >= one.presentationStart + one.duration)
        }
        let end = try #require(audio.last)
        #expect(abs(Double(end.presentationStart + end.duration) / 48_000 - 200) < 0.15)
    }

    @Test("a hole in the sound is as long as it was")
    func hole() throws {
        var clock = AudioClock(timescale: 48_000)
        #expect(clock.place(ticks: 0, samples: 1024, mayCorrect: true) == (0, 1024))
        #expect(clock.place(ticks: 21 * 90, samples: 1024, mayCorrect: false) == (1024, 1024))
        // 60 ms are missing, which is within the tolerance of the count, 130 ms are not.
        #expect(clock.place(ticks: 103 * 90, samples: 1024, mayCorrect: false) == (2048, 1024))
        #expect(clock.place(ticks: 274 * 90, samples: 1024, mayCorrect: false) == (13_152, 1024))
        #expect(clock.corrections == 1)
    }
}
