import ISOBMFF
import Media
import NIOCore
import Playlists
import Testing

@testable import Packaging

@Suite("Cutting")
struct PackagerTests {
    @Test("video is cut at keyframes, audio at the same times, and both share their numbers")
    func plain() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin(epoch: 7)
        bench.play(seconds: 10.04)
        bench.end()
        try checkInvariants(&bench)
        let video = bench.segments(.video).map(\.facts)
        let audio = bench.segments(.audio).map(\.facts)
        let base = PackagingPosition.base(nowMillis: Bench.start)
        #expect(video.map(\.sequence) == (0..<6).map { base + $0 })
        #expect(audio.map(\.sequence) == video.map(\.sequence))
        #expect(video.dropLast().map(\.duration) == [180_000, 180_000, 180_000, 180_000, 180_000])
        #expect(video.map(\.presentationStart) == [0, 180_000, 360_000, 540_000, 720_000, 900_000])
        #expect(video.allSatisfy { $0.epoch == 7 && $0.isIndependent && !$0.isGap && !$0.isDiscontinuity })
        #expect(video.map(\.programDateTimeMillis) == (0..<6).map { Bench.start + $0 * 2000 })
        for (one, other) in zip(video, audio) {
            // Audio begins with the first frame at or after the cut.
            let late = other.decodeStart * 90_000 - one.presentationStart * 48_000
            #expect(late >= 0 && late < 1024 * 90_000, "\(late)")
            #expect(other.duration % 1024 == 0)
            #expect(other.targetDurationSeconds == 2)
        }
        #expect(bench.packager.counters.droppedFrames == 0)
        #expect(bench.tracks.map(\.facts.tag) == [.video, .audio])
        #expect(bench.tracks.map(\.facts.codecs) == [["avc1.64000c"], ["mp4a.40.2"]])
        #expect(bench.tracks.first?.facts.width == 320)
    }

    @Test(
        "parts hold whole frames, are nearly as long as their target, and no longer",
        arguments: [
            (25.0, 200), (24.0, 209), (30.0, 201), (29.97, 201), (50.0, 200), (60.0, 201), (5.0, 200), (2.0, 500),
        ])
    func parts(fps: Double, target: Int64) throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 9, fps: fps, gop: Int(fps * 2))
        bench.end()
        try checkInvariants(&bench)
        #expect(bench.window.partTargetMillis == target)
        let last = Dictionary(grouping: bench.parts, by: { "\($0.facts.tag)\($0.facts.sequence)" })
            .mapValues { $0.map(\.facts.index).max() }
        for part in bench.parts {
            let facts = part.facts
            #expect(facts.partTargetMillis == target)
            #expect(facts.duration * 1000 <= target * Int64(facts.timescale), "\(facts)")
            if facts.index != last["\(facts.tag)\(facts.sequence)"] {
                #expect(facts.duration * 1000 * 100 >= 85 * target * Int64(facts.timescale), "\(facts)")
            }
            if facts.tag == .video { #expect(facts.isIndependent == (facts.index == 0)) }
        }
    }

    @Test("a part leaves when its last frame's duration is known, which is with the frame behind it")
    func latency() throws {
        var bench = try Bench(video: Make.h264(), audio: nil)
        bench.begin()
        bench.announce([.video])
        for index in 0..<5 { bench.frame(.video, Int64(index) * 3600, key: index == 0) }
        #expect(bench.parts.isEmpty)
        bench.frame(.video, 5 * 3600, key: false)
        #expect(bench.parts.map(\.facts.duration) == [18_000])
    }

    @Test("encryption, transport streams and a configuration without parts give none")
    func noParts() throws {
        for configuration in [
            PackagingConfiguration(partDurationMillis: nil), PackagingConfiguration(segmentsPerKey: 3),
            PackagingConfiguration(container: .mpegTS),
        ] {
            var bench = try Bench(configuration, video: Make.h264(), audio: Make.aac())
            bench.begin()
            bench.play(seconds: 7)
            #expect(bench.parts.isEmpty && !bench.segments.isEmpty)
            #expect(bench.segments.allSatisfy { $0.pieces.count == 1 })
        }
    }

    @Test("the key changes with the segment numbers that its period divides")
    func keys() throws {
        var bench = try Bench(.init(segmentsPerKey: 3), video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 20)
        for segment in bench.segments {
            #expect(segment.facts.keyIndex == Int(segment.facts.sequence / 3))
        }
        #expect(Set(bench.segments.map(\.facts.keyIndex)).count >= 3)
    }

    @Test("keyframes come more often than segments end, and a keyframe that is a little early still ends one")
    func keyframes() throws {
        var bench = try Bench(video: Make.h264(), audio: nil)
        bench.begin()
        bench.announce([.video])
        // Keyframes each 660 ms but for one that is 20 ms early.
        for index in 0..<400 {
            let time = Int64(index) * 20 - (index == 300 ? 15 : 0)
            bench.frame(.video, time * 90, key: index % 33 == 0 || index == 300)
        }
        try checkInvariants(&bench)
        #expect(bench.segments.map(\.facts.duration).prefix(2) == [1980 * 90, 1980 * 90])
        #expect(bench.segments.allSatisfy { $0.facts.isIndependent })
    }

    @Test("video without keyframes is cut all the same, and returns to keyframes when there is one")
    func longGOP() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 25, gop: 250)
        bench.end()
        try checkInvariants(&bench)
        let video = bench.segments(.video).map(\.facts)
        #expect(video.map(\.targetDurationSeconds).first == 5)
        #expect(
            video.prefix(5).map { $0.duration / 90 } == [4200, 4200, 1600, 4200, 4200],
            "\(video.map { $0.duration / 90 })")
        #expect(video.prefix(5).map(\.isIndependent) == [true, false, false, true, false])
    }

    @Test("the target duration is that of the first segment, and longer keyframe distances are cut to it")
    func targetDuration() throws {
        var bench = try Bench(video: Make.h264(), audio: nil)
        bench.begin()
        bench.announce([.video])
        bench.play(seconds: 10, gop: 62, kinds: [.video])
        bench.play(from: 10, seconds: 20, gop: 100, kinds: [.video])
        try checkInvariants(&bench)
        #expect(bench.window.targetDurationSeconds == 3)
        #expect(bench.packager.counters.dependentSegments > 0)
        #expect(bench.packager.position.targetDurationSeconds == 3)
    }

    @Test("frames that are presented out of order keep their times; a segment starts with what is shown first")
    func bFrames() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        // I P B B: decoded in that order, shown I B B P, 80 ms after decoding; an open GOP shows two before the I.
        let offsets: [Int64] = [80, 160, 40, 40]
        for index in 0..<200 {
            let time = Int64(index) * 40
            bench.frame(.video, time * 90, offset: offsets[index % 4] * 90, key: index % 48 == 0)
            bench.frame(.audio, Int64(index) * 40 * 90)
        }
        try checkInvariants(&bench)
        let first = try #require(bench.segments(.video).first)
        #expect(first.facts.decodeStart == 0 && first.facts.presentationStart == 80 * 90)
        #expect(first.facts.duration == 48 * 40 * 90)
        let reader = try FragmentReader(initialization: try #require(bench.tracks.first?.initialization))
        let samples = try reader.fragments(in: first.bytes).flatMap(\.samples)
        #expect(samples.prefix(4).map(\.compositionOffset) == [7200, 14_400, 3600, 3600])
        // The wall clock belongs to what is shown first.
        #expect(first.facts.programDateTimeMillis == Bench.start + 80)
    }

    @Test("presentation before decoding is kept, and times that stand still go on by one tick")
    func oddTimes() throws {
        var bench = try Bench(video: Make.h264(), audio: nil)
        bench.begin()
        bench.announce([.video])
        bench.frame(.video, 0)
        bench.frame(.video, 3600, offset: -1800, key: false)
        bench.frame(.video, 3600, key: false)
        bench.frame(.video, 3600, key: false)
        bench.frame(.video, 7200, key: false)
        bench.frame(.video, 180_000)
        try checkInvariants(&bench)
        let reader = try FragmentReader(initialization: try #require(bench.tracks.first?.initialization))
        let samples = try reader.fragments(in: try #require(bench.segments.first).bytes).flatMap(\.samples)
        #expect(samples.map(\.duration) == [3600, 1, 1, 3598, 172_800])
        #expect(samples.map(\.compositionOffset) == [0, -1800, -1, -2, 0])
    }

    @Test("audio alone is cut by time")
    func audioOnly() throws {
        var bench = try Bench(video: nil, audio: Make.aac(rate: 44_100))
        bench.begin()
        bench.announce([.audio])
        bench.play(seconds: 20, sampleRate: 44_100, kinds: [.audio])
        bench.end()
        try checkInvariants(&bench)
        let audio = bench.segments(.audio).map(\.facts)
        #expect(audio.dropLast().allSatisfy { $0.duration == 87 * 1024 || $0.duration == 86 * 1024 })
        #expect(bench.segments(.video).isEmpty && bench.window.tags == [.audio])
        #expect(bench.window.partTargetMillis == 209 || bench.window.partTargetMillis == 210)
    }
}

@Suite("Tracks")
struct PackagingTrackTests {
    @Test("a source without metadata is waited for two seconds; one whose metadata names one kind is not")
    func waiting() throws {
        var bench = try Bench(video: Make.h264(), audio: nil)
        bench.begin()
        bench.play(seconds: 1.9, kinds: [.video])
        #expect(bench.tracks.isEmpty)
        bench.play(from: 1.92, seconds: 1, kinds: [.video])
        #expect(bench.tracks.count == 1)
        var other = try Bench(video: Make.h264(), audio: nil)
        other.begin()
        other.announce([.video])
        other.frame(.video, 0)
        #expect(other.tracks.count == 1)
    }

    @Test("audio that is more than 300 ms before the first picture is left out")
    func trimming() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        for index in 0..<40 { bench.frame(.audio, Int64(index) * 1920) }
        bench.frame(.video, 30 * 1920 + 100)
        bench.play(from: 0.9, seconds: 3)
        let seen = try checkInvariants(&bench)
        // 300 ms are 14 frames and a bit.
        #expect(!seen.contains(16) && seen.contains(17) && seen.contains(41))
        #expect(bench.segments(.audio).first?.facts.programDateTimeMillis == Bench.start + 16 * 1920 / 90)
    }

    @Test("a codec change begins a new run at its keyframe: discontinuity and new initialization segments")
    func codecChange() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 5)
        let before = bench.segments(.video).count
        bench.change(video: try Make.h264(level: 0x1F))
        bench.play(from: 5, seconds: 5)
        bench.end()
        try checkInvariants(&bench)
        let video = bench.segments(.video).map(\.facts)
        let audio = bench.segments(.audio).map(\.facts)
        #expect(video.map(\.isDiscontinuity) == audio.map(\.isDiscontinuity))
        #expect(video.firstIndex { $0.isDiscontinuity } == before + 1)
        #expect(video.last?.run.initializationIndex == 1)
        #expect(video.last?.run.discontinuitySequence == (video.first?.run.discontinuitySequence ?? 0) + 1)
        #expect(bench.tracks.map(\.facts.index) == [0, 0, 1, 1])
        #expect(bench.tracks[2].facts.codecs == ["avc1.64001f"])
        // Time goes on.
        for (one, other) in zip(video, video.dropFirst()) {
            #expect(abs(other.programDateTimeMillis - one.endMillis) <= 1)
        }
    }

    @Test("a change of audio waits for the next keyframe; what cannot belong to a picture is left out")
    func audioChange() throws {
        var bench = try Bench(video: Make.h264(), audio: Make.aac())
        bench.begin()
        bench.play(seconds: 4.6)
        bench.change(audio: try Make.aac(rate: 44_100))
        // The keyframe is at 6 s.
        var sound = 4.6
        for index in 0..<200 {
            let time = 4.6 + Double(index) * 0.04
            bench.frame(.video, Int64((time * 1000).rounded()) * 90, key: index == 35 || index == 85 || index == 135)
            while sound < time + 0.04 {
                bench.frame(.audio, Int64((sound * 1000).rounded()) * 90)
                sound += 1024 / 44_100
            }
        }
        try checkInvariants(&bench)
        let discontinuity = try #require(bench.segments(.video).first { $0.facts.isDiscontinuity }?.facts)
        #expect(discontinuity.isIndependent && discontinuity.presentationStart == 6000 * 90)
        let audio = try #require(bench.segments(.audio).first { $0.facts.isDiscontinuity }?.facts)
        #expect(audio.timescale == 44_100 && audio.sequence == discontinuity.sequence)
        #expect(bench.packager.counters.droppedFrames == 60)
    }

    @Test("audio that appears late begins with a segment, after a discontinuity")
    func lateAudio() throws {
        var bench = try Bench(video: Make.h264(), audio: nil)
        bench.begin()
        bench.play(seconds: 5, kinds: [.video])
        bench.change(audio: try Make.aac())
        bench.play(from: 5, seconds: 6, gop: 25)
        try checkInvariants(&bench)
        let audio = try #require(bench.segments(.audio).first?.facts)
        let video = try #require(bench.segments(.video).first { $0.facts.sequence == audio.sequence }?.facts)
        #expect(audio.isDiscontinuity && video.isDiscontinuity && audio.run == video.run)
    }

    @Test("video that appears late ends the audio segment at its first keyframe")
    func lateVideo() throws {
        var bench = try Bench(video: nil, audio: Make.aac())
        bench.begin()
        bench.play(seconds: 5, kinds: [.audio])
        bench.change(video: try Make.h264())
        bench.frame(.video, 5000 * 90 - 3600, key: false)
        bench.play(from: 5, seconds: 6)
        try checkInvariants(&bench)
        let video = try #require(bench.segments(.video).first?.facts)
        #expect(video.presentationStart == 450_000 && video.isDiscontinuity)
        let audio = try #require(bench.segments(.audio).first { $0.facts.sequence == video.sequence }?.facts)
        #expect(audio.run == video.run)
    }

    @Test("a codec that the container cannot carry is left out and reported once; the rest goes on")
    func unsupported() throws {
        var bench = try Bench(
            video: Make.h264(), audio: Make.track(.speex, rate: 16_000, samples: 320))
        bench.begin()
        bench.play(seconds: 5)
        #expect(bench.problems == [.unsupportedCodec(.speex, .fragmentedMP4)])
        #expect(bench.segments(.video).count == 2 && bench.segments(.audio).isEmpty)
        var flac = try Bench(
            .init(container: .mpegTS), video: Make.h264(), audio: Make.track(.flac, rate: 48_000, samples: 4096))
        flac.begin()
        flac.play(seconds: 5)
        #expect(flac.problems == [.unsupportedCodec(.flac, .mpegTS)])
        #expect(flac.segments(.main).count == 2)
    }

    @Test("a track whose header is broken is left out and reported once")
    func broken() throws {
        let broken = Track(codec: .h264, configuration: ByteBuffer(bytes: [1, 2]), format: .video(.init()))
        var bench = try Bench(video: broken, audio: Make.aac())
        bench.begin()
        bench.play(seconds: 6)
        #expect(bench.problems.contains(.unreadableTrack(.h264)))
        #expect(bench.problems.filter { $0 == .unreadableTrack(.h264) }.count == 1)
        #expect(!bench.segments(.audio).isEmpty && bench.segments(.video).isEmpty)
    }

    @Test(
        "every codec that fragmented MP4 carries is packaged by its samples",
        arguments: [
            (Codec.mp3, 44_100, 1152), (.ac3, 48_000, 1536), (.opus, 48_000, 960),
        ])
    func codecs(codec: Codec, rate: Int, samples: Int) throws {
        let track = try codec == .opus ? Make.opus : Make.track(codec, rate: rate, samples: samples)
        var bench = try Bench(video: nil, audio: track)
        bench.begin()
        bench.announce([.audio])
        bench.play(seconds: 7, sampleRate: Double(rate), samples: Double(samples), kinds: [.audio])
        try checkInvariants(&bench)
        #expect(bench.problems.isEmpty)
        #expect(bench.segments(.audio).count == 4)
        #expect(bench.segments(.audio).allSatisfy { Int($0.facts.duration) % samples == 0 })
    }
}
