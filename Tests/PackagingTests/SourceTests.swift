import Media
import NIOCore
import Playlists
import Testing

@testable import Packaging

@Suite("Sources, one after another")
struct SourceTests {
    @Test("a stream that nothing is known of starts at half seconds since 2020, without a discontinuity")
    func fresh() throws {
        var bench = try Bench(now: 1_577_836_800_000 + 10_250, video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 5)
        let first = try #require(bench.segments(.video).first?.facts)
        #expect(first.sequence == 20 && first.run.discontinuitySequence == 20 && !first.isDiscontinuity)
        #expect(PackagingPosition.base(nowMillis: 5) == 0)
    }

    @Test("a republish is a discontinuity; numbers and wall clock go on")
    func republish() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin(epoch: 1)
        bench.play(seconds: 5)
        bench.end()
        bench.nowMillis += 3000
        bench.epochMillis = bench.nowMillis - 8000
        let returned = bench.nowMillis
        bench.begin(epoch: 2)
        bench.play(from: 8, seconds: 5)
        bench.end(isFinal: true)
        try checkInvariants(&bench)
        let video = bench.segments(.video).map(\.facts)
        #expect(video.map(\.epoch) == [1, 1, 1, 2, 2, 2])
        #expect(video.map(\.isDiscontinuity) == [false, false, false, true, false, false])
        #expect(video[3].run.initializationIndex == 0)
        #expect(video[3].programDateTimeMillis == returned)
        #expect(bench.outputs.last == .ended(isFinal: true))
    }

    @Test("a restart with the journal goes on with the next number; the same epoch gets new initialization segments")
    func restart() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin(epoch: 5)
        bench.play(seconds: 5)
        let position = bench.packager.position
        let kept = bench.window.position
        #expect(position.nextSequence == (bench.segments(.video).last?.facts.sequence ?? 0) + 2)
        #expect(kept?.nextSequence == (bench.segments(.video).last?.facts.sequence ?? 0) + 1)
        var next = try Bench(position: kept, now: bench.nowMillis, video: Make.h264(), audio: Make.aac())
        next.begin(epoch: 5)
        next.play(seconds: 5)
        let first = try #require(next.segments(.video).first?.facts)
        #expect(first.sequence == kept?.nextSequence && first.isDiscontinuity)
        #expect(first.run.discontinuitySequence == (kept?.discontinuitySequence ?? 0) + 1)
        #expect(first.run.initializationIndex == 1)
    }

    @Test(
        "on another origin, a reported position with slack keeps everything ahead; a wall clock behind does not count")
    func move() throws {
        let reported = PackagingPosition(
            nextSequence: 1000, discontinuitySequence: 50, endMillis: Bench.start + 60_000, epoch: 3)
        var bench = try Bench(position: reported.advanced(by: 20), video: Make.h264(), audio: Make.aac())
        bench.begin(epoch: 4)
        bench.play(seconds: 5)
        let first = try #require(bench.segments(.video).first?.facts)
        #expect(first.sequence == 1020 && first.run.discontinuitySequence == 71)
        #expect(first.programDateTimeMillis == Bench.start + 60_000)
    }

    @Test("a wall clock that steps back moves nothing back")
    func wallClock() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 5)
        bench.end()
        bench.nowMillis -= 3_600_000
        bench.epochMillis = bench.nowMillis
        bench.begin(epoch: 2)
        bench.play(seconds: 5)
        try checkInvariants(&bench)
        let video = bench.segments(.video).map(\.facts)
        let index = try #require(video.firstIndex { $0.epoch == 2 })
        #expect(video[index].programDateTimeMillis >= video[index - 1].endMillis)
    }

    @Test("a source that continues under a new epoch changes names at a cut, without a discontinuity")
    func continues() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin(epoch: 1)
        bench.play(seconds: 5)
        bench.begin(epoch: 2, continues: true, announces: false)
        bench.play(from: 5, seconds: 5)
        bench.end()
        try checkInvariants(&bench)
        let video = bench.segments(.video).map(\.facts)
        #expect(video.map(\.epoch).first == 1 && video.map(\.epoch).last == 2)
        #expect(video.allSatisfy { !$0.isDiscontinuity })
        #expect(bench.segments(.audio).map(\.facts.epoch) == video.map(\.epoch))
        for (one, other) in zip(video, video.dropFirst()) {
            #expect(other.decodeStart == one.decodeStart + one.duration)
        }
    }

    @Test("a takeover without an end closes what is open")
    func takeover() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin(epoch: 1)
        bench.play(seconds: 3)
        bench.begin(epoch: 2)
        bench.play(from: 3, seconds: 3)
        bench.end()
        try checkInvariants(&bench)
        #expect(bench.segments(.video).map(\.facts.epoch) == [1, 1, 2, 2])
    }

    @Test("a source that gives nothing, or less than is needed to know its tracks, still ends cleanly")
    func short() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.end()
        #expect(bench.segments.isEmpty)
        #expect(bench.outputs == [.started(epoch: 1), .ended(isFinal: false)])
        bench.begin(epoch: 2)
        bench.play(seconds: 0.3, kinds: [.video])
        bench.end()
        try checkInvariants(&bench)
        #expect(bench.segments.map(\.facts.tag) == [.video])
        #expect(
            bench.segments.first?.facts.duration == 300 * 90 + 4 * 90 || bench.segments.first?.facts.frameCount == 8)
        bench.end(isFinal: true)
        #expect(bench.outputs.last == .ended(isFinal: true))
    }

    @Test("a stall that no segment can span is a discontinuity; a shorter one is not")
    func stall() throws {
        for (pause, breaks) in [(0.3, false), (0.9, false), (12.0, true)] {
            var bench = try Bench(video: Make.h264(), audio: Make.aac())
            bench.begin()
            bench.play(seconds: 4.6)
            bench.play(from: 4.6 + pause, seconds: 6)
            bench.end()
            try checkInvariants(&bench)
            #expect(bench.segments(.video).contains { $0.facts.isDiscontinuity } == breaks, "\(pause)")
            let last = try #require(bench.segments(.video).last?.facts)
            #expect(abs(last.endMillis - Bench.start - Int64((10.6 + pause) * 1000)) <= 2)
        }
    }

    @Test("audio that falls silent gets gap segments, so that its numbers stay those of video")
    func silence() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 5)
        bench.play(from: 5, seconds: 20, kinds: [.video])
        bench.play(from: 25, seconds: 5)
        bench.end()
        try checkInvariants(&bench)
        let audio = bench.segments(.audio).map(\.facts)
        #expect(audio.map(\.sequence) == bench.segments(.video).map(\.facts.sequence))
        #expect(audio.contains { $0.isGap } && audio.last?.isGap == false)
        for (one, other) in zip(audio, audio.dropFirst()) {
            #expect(abs(other.programDateTimeMillis - one.endMillis) <= 45)
        }
        // It returns where it belongs.
        let end = try #require(audio.last)
        #expect(abs(end.endMillis - Bench.start - 30_000) <= 30, "\(end.endMillis - Bench.start)")
    }

    @Test("video that goes away leaves audio in segments by time, and gap segments for itself")
    func blackout() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 5)
        bench.play(from: 5, seconds: 20, kinds: [.audio])
        bench.play(from: 25, seconds: 7)
        bench.end()
        try checkInvariants(&bench)
        let video = bench.segments(.video).map(\.facts)
        #expect(video.map(\.sequence) == bench.segments(.audio).map(\.facts.sequence))
        #expect(video.contains { $0.isGap } && video.last?.isGap == false)
        let end = try #require(video.last)
        #expect(abs(end.endMillis - Bench.start - 32_000) <= 45, "\(end.endMillis - Bench.start)")
    }

    @Test("audio that arrives long before video waits for it, so that it is cut where video is")
    func earlyAudio() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        var audio = 0
        for index in 0..<300 {
            while Double(audio) * 1024 / 48_000 < Double(index) / 25 + 0.8 {
                bench.frame(.audio, Int64(Double(audio) * 1024 / 48_000 * 1000) * 90)
                audio += 1
            }
            bench.frame(.video, Int64(index) * 3600, key: index % 50 == 0)
        }
        bench.end()
        try checkInvariants(&bench)
        for (one, other) in zip(bench.segments(.video), bench.segments(.audio)) {
            #expect(abs(one.facts.programDateTimeMillis - other.facts.programDateTimeMillis) < 22)
        }
    }
}
