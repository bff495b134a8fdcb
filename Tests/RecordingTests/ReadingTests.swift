import Foundation
import ISOBMFF
import Media
import NIOCore
import Recording
import TestSupport
import Testing

@Suite("recording index") struct IndexTests {
    private var index: RecordingIndex {
        var index = RecordingIndex()
        for number in 0..<5 {
            index.append(time: MediaTime(millis: Int64(number) * 2_000), position: Int64(number) * 900)
        }
        index.endTime = MediaTime(millis: 9_500)
        index.endPosition = 4_321
        return index
    }

    @Test("stored and read again it is the same, and cut off anywhere it is refused") func coding() throws {
        let bytes = self.index.encoded()
        #expect(try RecordingIndex(decoding: bytes) == self.index)
        for count in 0..<bytes.readableBytes {
            let cut = try #require(bytes.getSlice(at: 0, length: count))
            #expect(throws: RecordingError.badIndex(count: count)) { try RecordingIndex(decoding: cut) }
        }
        var longer = bytes
        longer.writeInteger(UInt8(0))
        #expect(throws: RecordingError.badIndex(count: longer.readableBytes)) { try RecordingIndex(decoding: longer) }
    }

    @Test(
        "a range is cut at the keyframe at or before its start",
        arguments: [
            (0, 9_500, 0..<5), (0, 2_000, 0..<1), (0, 2_001, 0..<2), (1_999, 2_000, 0..<1), (2_000, 4_000, 1..<2),
            (3_999, 4_001, 1..<3), (8_000, 100_000, 4..<5), (9_500, 10_000, 0..<0), (-500, 0, 0..<0),
            (-500, 1, 0..<1), (5_000, 5_000, 0..<0),
        ])
    func range(from: Int64, to: Int64, expected: Range<Int>) {
        #expect(self.index.intervals(from: MediaTime(millis: from), to: MediaTime(millis: to)) == expected)
    }

    @Test("ranges of one file share their segments") func groups() {
        let index = self.index
        #expect(index.groups(of: 0..<5, duration: MediaTime(millis: 6_000)) == [0..<3, 3..<5])
        #expect(index.groups(of: 1..<5, duration: MediaTime(millis: 6_000)) == [1..<3, 3..<5])
        #expect(index.groups(of: 0..<5, duration: MediaTime(millis: 1_000)) == (0..<5).map { $0..<$0 + 1 })
        #expect(index.bytes(of: 1..<3) == 900..<2_700)
        #expect(index.bytes(of: 4..<5) == 3_600..<4_321)
    }
}

@Suite("reading recordings") struct ReadingTests {
    /// The segments of a recording, each with its frames' times.
    private func segments(_ file: Written.File, _ format: RecordingFormat) throws -> (start: ByteBuffer, [ByteBuffer]) {
        let index = try #require(file.summary).index
        if format == .mp4 {
            let source = MP4MemorySource(file.finished)
            let reader = try MP4Intervals(reading: source)
            let first = try reader.frames(in: 0..<1, of: index, from: source)
            return (
                try RecordingSegment.initialization(tracks: reader.tracks, frames: first),
                try (0..<index.count).map { number in
                    try RecordingSegment.media(
                        frames: reader.frames(in: number..<number + 1, of: index, from: source), tracks: reader.tracks,
                        sequence: UInt32(number + 1), nextVideo: index.time(of: number + 1))
                }
            )
        }
        let bytes = file.finished
        func slice(_ range: Range<Int64>) throws -> ByteBuffer {
            try #require(
                bytes.getSlice(at: Int(range.lowerBound), length: Int(range.upperBound - range.lowerBound)))
        }
        let reader = try FrameReader(
            format: format, header: try slice(0..<index.position(of: 0)), first: try slice(index.bytes(of: 0..<1)))
        return (
            try RecordingSegment.initialization(tracks: reader.tracks, frames: reader.firstFrames),
            try (0..<index.count).map { number in
                let frames = try reader.frames(
                    in: try slice(index.bytes(of: number..<number + 1)), from: index.time(of: number))
                return try RecordingSegment.media(
                    frames: frames, tracks: reader.tracks, sequence: UInt32(number + 1),
                    nextVideo: index.time(of: number + 1))
            }
        )
    }

    @Test("segments of each format put together are the source", arguments: RecordingFormat.allCases)
    func segments(format: RecordingFormat) throws {
        let folder = try Folder()
        let source = try TestSource.flv(folder)
        let written = Written.record(try TestSource.events(source), RecorderConfiguration(format: format))
        var (whole, segments) = try self.segments(try #require(written.files.first), format)
        let header = whole
        for segment in segments { whole.writeImmutableBuffer(segment) }
        let path = try folder.file("whole.mp4", whole)
        #expect(try Judge.complaints(path) == "")
        #expect(try Judge.hashes(path, "v") == Judge.hashes(source, "v"))
        #expect(try Judge.hashes(path, "a") == Judge.hashes(source, "a"))
        // A range of intervals is exactly the frames of its GOPs.
        var part = header
        for segment in segments[2..<5] { part.writeImmutableBuffer(segment) }
        let partPath = try folder.file("part.mp4", part)
        #expect(try Judge.complaints(partPath) == "")
        let all = try Judge.hashes(source, "v")
        #expect(try Judge.hashes(partPath, "v") == Array(all[50..<125]))
    }

    @Test("intervals are the same before and after an MP4 was finished") func finished() throws {
        let folder = try Folder()
        let written = Written.record(try TestSource.events(TestSource.flv(folder)), RecorderConfiguration())
        let file = try #require(written.files.first)
        let index = try #require(file.summary).index
        let fragmented = MP4MemorySource(file.bytes)
        let before = try MP4Intervals(reading: fragmented)
        let plan = try ProgressiveMP4.plan(joining: [ProgressiveMP4.Clip(source: 0, index: before.index)])
        var bytes = plan.header
        for piece in plan.pieces {
            switch piece {
            case .bytes(let more): bytes.writeImmutableBuffer(more)
            case .range(_, let offset, let count):
                bytes.writeImmutableBuffer(try fragmented.read(at: offset, count: Int(count)))
            }
        }
        let progressive = MP4MemorySource(bytes)
        let after = try MP4Intervals(reading: progressive)
        for number in 0..<index.count {
            let old = try before.frames(in: number..<number + 1, of: index, from: fragmented)
            let new = try after.frames(in: number..<number + 1, of: index, from: progressive)
            #expect(old.map(\.payload) == new.map(\.payload))
            #expect(old.filter { $0.kind == .video }.map(\.dts) == new.filter { $0.kind == .video }.map(\.dts))
            let drift = zip(old, new).map { abs($0.dts.ticks - $1.dts.ticks) }.max() ?? 0
            #expect(drift <= 3)
        }
        let path = try folder.file("finished.mp4", bytes)
        #expect(try Judge.complaints(path) == "")
        #expect(try Judge.hashes(path, "v") == Judge.hashes("\(folder.path)/source.flv", "v"))
    }

    @Test("a file that is cut off anywhere keeps all that is whole", arguments: [RecordingFormat.flv, .ts])
    func truncated(format: RecordingFormat) throws {
        let folder = try Folder()
        let written = Written.record(
            try TestSource.events(TestSource.flv(folder)), RecorderConfiguration(format: format))
        let file = try #require(written.files.first)
        let index = try #require(file.summary).index
        let frameCount = try TestSource.events("\(folder.path)/source.flv").frames.count
        // Around each interval's border byte by byte, elsewhere by large steps.
        var cuts = Set(stride(from: 0, through: file.bytes.readableBytes, by: 31_337))
        for position in index.positions { cuts.formUnion((-3...16).map { Int(position) + $0 }) }
        cuts.insert(file.bytes.readableBytes)
        for cut in cuts.sorted() where (0...file.bytes.readableBytes).contains(cut) {
            var scan = RecordingScan(format: format)
            var rest = try #require(file.bytes.getSlice(at: 0, length: cut))
            while let piece = rest.readSlice(length: min(188 * 100, rest.readableBytes)), piece.readableBytes > 0 {
                scan.receive(piece)
            }
            scan.finish()
            #expect(scan.intactEnd <= Int64(cut))
            #expect(scan.frameCount <= frameCount)
            let whole = index.positions.filter { $0 <= scan.intactEnd }
            #expect(abs(scan.index.count - whole.count) <= 1)
            // The last interval may not have a whole frame yet.
            let sure = max(0, min(whole.count, scan.index.count) - 1)
            #expect(Array(scan.index.positions.prefix(sure)) == Array(index.positions.prefix(sure)))
            if cut == file.bytes.readableBytes {
                #expect(scan.index.positions == index.positions)
                #expect(scan.index.times.map(\.millis) == index.times.map(\.millis))
                #expect(scan.frameCount == frameCount)
            }
        }
    }

    @Test("a fragmented MP4 that is cut off anywhere keeps its whole fragments") func truncatedMP4() throws {
        let folder = try Folder()
        let written = Written.record(try TestSource.events(TestSource.flv(folder)), RecorderConfiguration())
        let file = try #require(written.files.first)
        let index = try #require(file.summary).index
        var ends = [Int64(file.start.header.readableBytes)]
        for piece in file.pieces { ends.append(ends[ends.count - 1] + Int64(piece.bytes.readableBytes)) }
        #expect(try MP4Intervals(reading: MP4MemorySource(file.bytes)).rebuiltIndex().times == index.times)
        for end in ends {
            for cut in [end - 1, end, end + 1, end + 9] {
                guard cut >= ends[0], cut <= file.bytes.readableBytes else { continue }
                let bytes = try #require(file.bytes.getSlice(at: 0, length: Int(cut)))
                let intervals = try MP4Intervals(reading: MP4MemorySource(bytes))
                #expect(intervals.index.completeEnd == ends.last { $0 <= cut })
                let rebuilt = intervals.rebuiltIndex()
                #expect(rebuilt.times == Array(index.times.prefix(rebuilt.count)))
            }
        }
    }
}
