import Media
import NIOCore
import Testing

@testable import ISOBMFF

@Suite("Progressive files")
struct ProgressiveTests {
    @Test("samples of two tracks are interleaved, copied in order and found again")
    func interleaving() throws {
        let video = ProgressiveMP4.TrackPlan(
            track: try Make.video(), runs: [.init(.memory(Make.samples(50, offsets: [3600, 7200, 0])))],
            mediaStart: 3600)
        let audio = ProgressiveMP4.TrackPlan(
            track: try Make.audio(),
            runs: [.init(.memory(Make.samples(94, bytes: 4, duration: 1024, allSync: true)))])
        let plan = ProgressiveMP4.plan(tracks: [video, audio])
        let bytes = assemble(plan, from: [])
        let index = try MP4Index(bytes)
        #expect(index.tracks.map(\.track) == [video.track, audio.track])
        #expect(samples(index.tracks[0], 0..<50, of: bytes) == Make.samples(50, offsets: [3600, 7200, 0]))
        #expect(
            samples(index.tracks[1], 0..<94, of: bytes) == Make.samples(94, bytes: 4, duration: 1024, allSync: true))
        #expect(index.tracks[0].presentationShift == -3600 && index.tracks[0].presentationStart == 0)
        #expect(index.tracks[1].presentationStart == nil)
        // Two seconds of picture, half a second in turn.
        let order = (index.tracks[0].samples.map { ($0.offset, 0) } + index.tracks[1].samples.map { ($0.offset, 1) })
            .sorted { $0.0 < $1.0 }.map(\.1)
        #expect(zip(order, order.dropFirst()).count { $0 != $1 } == 7)
        #expect(plan.durationTicks == 94 * 1024 * 90_000 / 48_000 + 0)
    }

    @Test("offsets have 64 bits when the file is larger than 4 GiB")
    func large() throws {
        var table = MP4SampleTable()
        for number in 0..<6 {
            table.append(
                MP4SampleTable.Sample(
                    offset: Int64(number) << 30, byteCount: 1 << 30, decodeTime: Int64(number) * 90_000,
                    duration: 90_000, compositionOffset: 0, isSync: true))
        }
        let run = ProgressiveMP4.Run(.file(source: 3, samples: table, range: 0..<6))
        let plan = ProgressiveMP4.plan(tracks: [ProgressiveMP4.TrackPlan(track: try Make.video(), runs: [run])])
        #expect(plan.pieces == [.range(source: 3, offset: 0, byteCount: 6 << 30)])
        #expect(plan.header.offset(of: "co64") != nil && plan.header.offset(of: "stco") == nil)
        let index = try MP4Index(
            reading: SparseSource(byteCount: plan.byteCount, parts: [(offset: 0, bytes: plan.header)]))
        let base = Int64(plan.header.readableBytes)
        #expect(index.tracks[0].samples.map(\.offset) == (0..<6).map { base + Int64($0) << 30 })
        let small = ProgressiveMP4.Run(.file(source: 0, samples: table, range: 0..<2))
        let other = ProgressiveMP4.plan(tracks: [ProgressiveMP4.TrackPlan(track: try Make.video(), runs: [small])])
        #expect(other.header.offset(of: "stco") != nil && other.header.offset(of: "co64") == nil)
    }

    @Test("long files have 64-bit durations")
    func long() throws {
        let samples = Make.samples(3, duration: .max)
        let plan = ProgressiveMP4.plan(
            tracks: [
                ProgressiveMP4.TrackPlan(
                    track: try Make.video(), runs: [.init(.memory(samples))], delayTicks: 1 << 33, mediaStart: 0)
            ])
        #expect(plan.durationTicks == 1 << 33 + 3 * Int64(UInt32.max))
        let index = try MP4Index(assemble(plan, from: []))
        #expect(
            index.tracks[0].presentationStart == 1 << 33 && index.tracks[0].samples.endTime == 3 * Int64(UInt32.max))
    }

    @Test("a gap between fragments lasts as long as before")
    func gaps() throws {
        var bytes = FragmentedMP4.initialization(tracks: [try Make.video()])
        for (number, time) in [0, 10_800, 50_000].enumerated() {
            let fragment = FragmentedMP4.Fragment(trackID: 1, decodeTime: UInt64(time), samples: Make.samples(3))
            FragmentedMP4.write([fragment], sequence: UInt32(number + 1), into: &bytes)
        }
        let clip = ProgressiveMP4.Clip(source: 0, index: try MP4Index(bytes))
        let finished = try MP4Index(assemble(try ProgressiveMP4.plan(joining: [clip]), from: [bytes]))
        #expect(
            finished.tracks[0].samples.map(\.decodeTime) == [
                0, 3600, 7200, 10_800, 14_400, 18_000, 50_000, 53_600, 57_200,
            ])
    }

    @Test("sound that begins before the picture is heard from the start, and the picture waits")
    func earlySound() throws {
        var bytes = FragmentedMP4.initialization(tracks: [try Make.video(), try Make.audio()])
        FragmentedMP4.write(
            [
                FragmentedMP4.Fragment(trackID: 1, decodeTime: 900_000, samples: Make.samples(25)),
                FragmentedMP4.Fragment(
                    trackID: 2, decodeTime: 9 * 48_000, samples: Make.samples(94, duration: 1024, allSync: true)),
            ], sequence: 1, into: &bytes)
        let index = try MP4Index(bytes)
        let whole = try MP4Index(
            assemble(try ProgressiveMP4.plan(joining: [.init(source: 0, index: index)]), from: [bytes]))
        #expect(whole.tracks[0].presentationStart == 90_000 && whole.tracks[0].presentationShift == 90_000)
        #expect(whole.tracks[1].presentationStart == nil && whole.tracks[1].samples.count == 94)
        // Cut at the keyframe, the sound begins with the frame that is heard then.
        let clip = ProgressiveMP4.Clip(source: 0, index: index, from: MediaTime(millis: 10_000))
        let cut = try MP4Index(assemble(try ProgressiveMP4.plan(joining: [clip]), from: [bytes]))
        #expect(cut.tracks[0].presentationStart == nil && cut.tracks[0].samples.count == 25)
        #expect(cut.tracks[1].samples.count == 94 - 46 && cut.tracks[1].presentationShift == -(48_000 - 46 * 1024))
    }

    @Test("clips that need different sample entries, and ranges without samples, are refused")
    func refusals() throws {
        func file(_ track: MP4Track) throws -> MP4Index {
            var bytes = FragmentedMP4.initialization(tracks: [track])
            FragmentedMP4.write(
                [FragmentedMP4.Fragment(trackID: track.id, decodeTime: 0, samples: Make.samples(5))], sequence: 1,
                into: &bytes)
            return try MP4Index(bytes)
        }
        let first = ProgressiveMP4.Clip(source: 0, index: try file(Make.video()))
        let other = ProgressiveMP4.Clip(source: 1, index: try file(Make.video(timescale: 1000)))
        #expect(throws: ISOBMFFError.incompatibleTracks(.video)) { try ProgressiveMP4.plan(joining: [first, other]) }
        let renumbered = ProgressiveMP4.Clip(source: 1, index: try file(Make.video(id: 7)))
        let joined = try ProgressiveMP4.plan(joining: [first, renumbered])
        #expect(joined.durationTicks == 10 * 3600)
        #expect(throws: ISOBMFFError.emptyRange) { try ProgressiveMP4.plan(joining: []) }
        var empty = first
        empty.to = .zero
        #expect(throws: ISOBMFFError.emptyRange) { try ProgressiveMP4.plan(joining: [empty]) }
    }

    @Test("times are rescaled to the nearest tick, both ways from zero, without overflow")
    func rescaling() {
        #expect(Rescale.ticks(1, from: 3, to: 90_000) == 30_000)
        #expect(Rescale.ticks(1, from: 48_000, to: 1000) == 0)
        #expect(Rescale.ticks(24, from: 48_000, to: 1000) == 1)
        #expect(Rescale.ticks(-25, from: 48_000, to: 1000) == -1)
        #expect(Rescale.ticks(-24, from: 48_000, to: 1000) == 0)
        #expect(Rescale.ticks(.max, from: 1, to: .max) == Rescale.limit)
        #expect(Rescale.ticks(.min, from: 1, to: .max) == -Rescale.limit)
    }
}
