import Media
import NIOCore
import Testing

@testable import ISOBMFF

@Suite("Index of a file")
struct IndexTests {
    @Test("a recording cut at any byte is used up to its last whole fragment")
    func killed() throws {
        let (bytes, ends) = try Make.recording(fragments: 3)
        let whole = try MP4Index(bytes)
        #expect(whole.tail == .none && whole.lastSequence == 3 && whole.isFragmented)
        #expect(whole.tracks.map(\.samples.count) == [30, 57])
        for length in 0..<bytes.readableBytes {
            let cut = bytes.prefix(length)
            guard length >= ends[0] else {
                #expect(throws: ISOBMFFError.self) { try MP4Index(cut) }
                continue
            }
            let index = try MP4Index(cut)
            let count = ends.count { $0 <= length } - 1
            #expect(index.completeEnd == Int64(ends[count]), "\(length)")
            #expect(index.lastSequence == UInt32(count))
            #expect(index.tail == (length == ends[count] ? .none : .unfinished(byteCount: Int64(length - ends[count]))))
            #expect(index.tracks[0].samples.elementsEqual(whole.tracks[0].samples.prefix(count * 10)))
            #expect(index.tracks[1].samples.elementsEqual(whole.tracks[1].samples.prefix(count * 19)))
        }
    }

    @Test("zeros behind the last fragment, as a power failure leaves them, are not taken for damage")
    func zeros() throws {
        let (bytes, ends) = try Make.recording(fragments: 2)
        var zeroed = bytes.prefix(ends[1])
        zeroed.writeRepeatingByte(0, count: 5000)
        let index = try MP4Index(zeroed)
        #expect(index.completeEnd == Int64(ends[1]) && index.tail == .unfinished(byteCount: 5000))
    }

    @Test("a damaged fragment ends the index in front of it and is told")
    func damage() throws {
        let (bytes, ends) = try Make.recording(fragments: 3)
        var damaged = bytes
        // The size of the second fragment's mfhd.
        damaged.setInteger(UInt32(7), at: ends[1] + 8)
        let index = try MP4Index(damaged)
        #expect(index.completeEnd == Int64(ends[1]) && index.tracks[0].samples.count == 10)
        #expect(index.tail == .damaged(.invalidBoxSize("mfhd", size: 7, offset: Int64(ends[1] + 8))))
    }

    @Test("a growing file is read on from where it was whole")
    func growing() throws {
        let (bytes, ends) = try Make.recording(fragments: 4)
        var index = try MP4Index(bytes.prefix(ends[0]))
        for length in stride(from: ends[0], through: bytes.readableBytes, by: 37) {
            try index.readOn(from: MP4MemorySource(bytes.prefix(length)))
            #expect(index.tracks.map(\.samples) == (try MP4Index(bytes.prefix(length))).tracks.map(\.samples))
        }
        try index.readOn(from: MP4MemorySource(bytes))
        #expect(index.tail == .none && index.tracks[0].samples.count == 40)
    }

    @Test("limits on boxes, tracks and samples are kept")
    func limits() throws {
        let (bytes, _) = try Make.recording(fragments: 2)
        func tail(_ change: (inout MP4Index.Limits) -> Void) throws -> MP4Index.Tail {
            var limits = MP4Index.Limits()
            change(&limits)
            return try MP4Index(reading: MP4MemorySource(bytes), limits: limits).tail
        }
        #expect(try tail { $0.maximumSamples = 57 } == .damaged(.tooMany(.moof, count: 58, limit: 57)))
        #expect(try tail { $0.maximumSamples = 58 } == .none)
        #expect(try tail { $0.maximumSamplesPerFragment = 28 } == .damaged(.tooMany(.trun, count: 29, limit: 28)))
        guard case .damaged(.boxTooLarge("moof", _, limit: 50)) = try tail({ $0.maximumFragmentBytes = 50 }) else {
            Issue.record("a large fragment was accepted")
            return
        }
        #expect(throws: ISOBMFFError.tooMany("trak", count: 2, limit: 1)) { try tail { $0.maximumTracks = 1 } }
        #expect(throws: ISOBMFFError.self) { try tail { $0.maximumMovieBytes = 100 } }
    }

    @Test("errors of the source are passed on")
    func sourceErrors() {
        struct Failing: MP4ByteSource {
            var byteCount: Int64 { 100 }
            func read(at offset: Int64, count: Int) throws -> ByteBuffer { throw Failure() }
        }
        struct Failure: Error, Equatable {}
        #expect(throws: Failure()) { try MP4Index(reading: Failing()) }
    }

    @Test("a second moov, and a file without one, are errors")
    func movies() throws {
        let bytes = FragmentedMP4.initialization(tracks: [try Make.video()])
        var twice = bytes
        twice.writeImmutableBuffer(bytes)
        let offset = Int64(bytes.readableBytes) + Int64(try #require(bytes.offset(of: "moov"))) - 4
        #expect(try MP4Index(twice).tail == .damaged(.repeatedBox("moov", offset: offset)))
        #expect(throws: ISOBMFFError.missingBox("moov", parent: nil)) { try MP4Index(ByteBuffer()) }
        let plan = ProgressiveMP4.plan(
            tracks: [ProgressiveMP4.TrackPlan(track: try Make.video(), runs: [.init(.memory(Make.samples(2)))])])
        var progressive = assemble(plan, from: [])
        progressive.writeImmutableBuffer(bytes)
        #expect(throws: ISOBMFFError.self) { try MP4Index(progressive) }
    }

    @Test("a progressive file whose samples are not all there is refused")
    func truncatedProgressive() throws {
        let plan = ProgressiveMP4.plan(
            tracks: [ProgressiveMP4.TrackPlan(track: try Make.video(), runs: [.init(.memory(Make.samples(20)))])])
        let bytes = assemble(plan, from: [])
        #expect(try MP4Index(bytes).tracks[0].samples.count == 20)
        for length in 0..<bytes.readableBytes {
            #expect(throws: ISOBMFFError.self) { try MP4Index(bytes.prefix(length)) }
        }
        for index in 0..<bytes.readableBytes {
            for value: UInt8 in [0, 1, 0x7F, 0xFF] {
                var changed = bytes
                changed.setInteger(value, at: index)
                _ = try? MP4Index(changed)
            }
        }
    }

    @Test("tables in their other forms are read: common and compact sizes, 64-bit offsets, offsets of both signs")
    func tables() throws {
        func table(_ body: (inout ByteBuffer) -> Void) throws -> MP4SampleTable {
            var buffer = ByteBuffer()
            buffer.writeBox(.stbl) { buffer in
                body(&buffer)
                buffer.writeFullBox(.stts) {
                    $0.writeMultipleIntegers(UInt32(2), UInt32(1), UInt32(5), UInt32(3), UInt32(7))
                }
                buffer.writeFullBox(.ctts) { $0.writeMultipleIntegers(UInt32(1), UInt32(4), Int32(-3)) }
                buffer.writeFullBox(.stss) { $0.writeMultipleIntegers(UInt32(2), UInt32(1), UInt32(4)) }
                // One sample in the first chunk, none in the second, then three.
                buffer.writeFullBox(.stsc) {
                    $0.writeInteger(UInt32(3))
                    for (chunk, count) in [(1, 1), (2, 0), (3, 3)] as [(UInt32, UInt32)] {
                        $0.writeMultipleIntegers(chunk, count, UInt32(1))
                    }
                }
            }
            var reader = BoxReader(buffer)
            let box = try #require(try reader.next())
            return try SampleTableReader.samples(of: box, trackID: 1, byteCount: 1 << 40, maximumSamples: 4)
        }
        func offsets(_ buffer: inout ByteBuffer) {
            buffer.writeFullBox(.co64) { $0.writeMultipleIntegers(UInt32(3), UInt64(10), UInt64(20), UInt64(1) << 33) }
        }
        let common = try table {
            $0.writeFullBox(.stsz) { $0.writeMultipleIntegers(UInt32(6), UInt32(4)) }
            offsets(&$0)
        }
        #expect(common.map(\.offset) == [10, 1 << 33, 1 << 33 + 6, 1 << 33 + 12])
        #expect(common.map(\.decodeTime) == [0, 5, 12, 19] && common.map(\.compositionOffset) == [-3, -3, -3, -3])
        #expect(common.map(\.isSync) == [true, false, false, true] && common.endTime == 26)
        for (width, sizes) in [(4, [0x12, 0x34]), (8, [1, 2, 3, 4]), (16, [0, 1, 0, 2, 0, 3, 0, 4])]
            as [(UInt32, [UInt8])]
        {
            let compact = try table {
                $0.writeFullBox(.stz2) {
                    $0.writeMultipleIntegers(width, UInt32(4))
                    $0.writeBytes(sizes)
                }
                offsets(&$0)
            }
            #expect(compact.map(\.byteCount) == [1, 2, 3, 4])
        }
        #expect(throws: ISOBMFFError.invalidValue(.stz2, value: 5, offset: 20)) {
            try table { $0.writeFullBox(.stz2) { $0.writeMultipleIntegers(UInt32(5), UInt32(4), UInt32(0)) } }
        }
        #expect(throws: ISOBMFFError.tooMany(.stsz, count: 5, limit: 4)) {
            try table { $0.writeFullBox(.stsz) { $0.writeMultipleIntegers(UInt32(6), UInt32(5)) } }
        }
        #expect(throws: ISOBMFFError.inconsistentTables(.stco, samples: 1, expected: 4)) {
            try table {
                $0.writeFullBox(.stsz) { $0.writeMultipleIntegers(UInt32(6), UInt32(4)) }
                $0.writeFullBox(.stco) { $0.writeMultipleIntegers(UInt32(2), UInt32(1), UInt32(2)) }
            }
        }
        #expect(throws: ISOBMFFError.sampleOutside(trackID: 1, end: 1 << 40 + 5, byteCount: 1 << 40)) {
            try table {
                $0.writeFullBox(.stsz) { $0.writeMultipleIntegers(UInt32(6), UInt32(4)) }
                $0.writeFullBox(.co64) { $0.writeMultipleIntegers(UInt32(1), UInt64(1) << 40 - 1) }
            }
        }
    }
}

@Suite("Table of samples")
struct SampleTableTests {
    private func table(_ samples: [(offset: Int64, size: Int, time: Int64)]) -> MP4SampleTable {
        var table = MP4SampleTable()
        for (index, sample) in samples.enumerated() {
            table.append(
                MP4SampleTable.Sample(
                    offset: sample.offset, byteCount: sample.size, decodeTime: sample.time, duration: 10,
                    compositionOffset: 0, isSync: index % 50 == 0))
        }
        return table
    }

    @Test("samples come back as they were put in, over runs, gaps and jumps")
    func there() {
        var expected: [(offset: Int64, size: Int, time: Int64)] = []
        var (offset, time) = (Int64(100), Int64(5))
        for index in 0..<500 {
            expected.append((offset, index % 7, time))
            offset += Int64(index % 7) + (index % 90 == 0 ? 1000 : 0)
            time += index % 130 == 0 ? 25 : 10
        }
        let table = self.table(expected)
        #expect(table.count == 500)
        for (index, sample) in expected.enumerated() {
            #expect(table[index].offset == sample.offset && table[index].decodeTime == sample.time)
            #expect(table[index].byteCount == sample.size && table.isSync(at: index) == (index % 50 == 0))
        }
        for range in [0..<0, 0..<500, 63..<65, 64..<200, 499..<500, 91..<92] {
            var seen: [MP4SampleTable.Sample] = []
            table.forEach(in: range) { seen.append($0) }
            #expect(seen == Array(table[range]))
        }
    }

    @Test("samples that are taken back leave the table as if they had not been")
    func removal() {
        let all = (0..<200).map { (offset: Int64($0) * 4, size: 4, time: Int64($0) * 10) }
        for count in [0, 1, 63, 64, 65, 128, 199, 200] {
            var table = self.table(all)
            table.removeSamples(from: count)
            #expect(table == self.table(Array(all.prefix(count))))
        }
    }

    @Test("searches by time and by keyframe")
    func searching() {
        let table = self.table((0..<200).map { (offset: Int64($0) * 4, size: 4, time: 1000 + Int64($0) * 10) })
        #expect(table.lastIndex(decodedAtOrBefore: 999) == nil)
        #expect(table.lastIndex(decodedAtOrBefore: 1000) == 0)
        #expect(table.lastIndex(decodedAtOrBefore: 1659) == 65)
        #expect(table.lastIndex(decodedAtOrBefore: .max) == 199)
        #expect(table.firstIndex(decodedAtOrAfter: .min) == 0)
        #expect(table.firstIndex(decodedAtOrAfter: 1001) == 1)
        #expect(table.firstIndex(decodedAtOrAfter: 1640) == 64)
        #expect(table.firstIndex(decodedAtOrAfter: 2991) == 200)
        #expect(table.syncIndex(atOrBefore: 49) == 0 && table.syncIndex(atOrBefore: 50) == 50)
        #expect(table.syncIndex(atOrBefore: 1000) == 150 && table.syncIndex(atOrBefore: -1) == nil)
        #expect(table.syncIndex(atOrAfter: 51) == 100 && table.syncIndex(atOrAfter: 151) == nil)
        #expect(MP4SampleTable().lastIndex(decodedAtOrBefore: 5) == nil)
        #expect(MP4SampleTable().firstIndex(decodedAtOrAfter: 5) == 0)
    }
}
