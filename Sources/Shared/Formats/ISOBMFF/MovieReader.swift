import Media
import NIOCore

/// Reads what is in a `moov`. Spec: ISO/IEC 14496-12 §8.2 to §8.7.
enum MovieReader {
    /// Errors: `missingBox`, `invalidValue` for a timescale of 0.
    static func timescale(ofMovie movie: Box) throws(ISOBMFFError) -> UInt32 {
        try self.timescale(of: try movie.requiredChild(.mvhd))
    }

    /// The timescale of an `mvhd` or `mdhd` box, which begin alike.
    private static func timescale(of box: Box) throws(ISOBMFFError) -> UInt32 {
        var fields = FieldReader(box)
        let (version, _) = try fields.versionAndFlags()
        try fields.skip(version == 1 ? 16 : 8)
        let offset = fields.offset
        let timescale: UInt32 = try fields.integer()
        guard timescale > 0 else { throw .invalidValue(box.type, value: 0, offset: offset) }
        return timescale
    }

    /// A track with its samples; `nil` if it is neither sound nor picture, or in a codec that is not carried.
    static func track(
        _ trak: Box, movieTimescale: UInt32, byteCount: Int64, maximumSamples: Int
    ) throws(ISOBMFFError) -> MP4Index.TrackIndex? {
        let media = try trak.requiredChild(.mdia)
        let handler = try self.handler(of: media)
        guard handler == "vide" || handler == "soun" else { return nil }
        let table = try media.requiredChild(.minf).requiredChild(.stbl)
        guard let entry = try self.sampleEntry(of: table), let track = try SampleEntryReader.track(of: entry) else {
            return nil
        }
        let timescale = try self.timescale(of: try media.requiredChild(.mdhd))
        let edit = try self.edit(of: trak, movieTimescale: movieTimescale, timescale: timescale)
        let id = try self.trackID(of: trak)
        let samples = try SampleTableReader.samples(
            of: table, trackID: id, byteCount: byteCount, maximumSamples: maximumSamples)
        // The entry outlives the movie's bytes.
        var bytes = ByteBuffer()
        bytes.writeBox(entry.type) { $0.writeImmutableBuffer(entry.payload) }
        return MP4Index.TrackIndex(
            track: MP4Track(id: id, timescale: timescale, track: track, sampleEntry: bytes), samples: samples,
            presentationShift: edit?.shift ?? 0, presentationStart: edit?.start)
    }

    private static func handler(of media: Box) throws(ISOBMFFError) -> BoxType {
        var fields = FieldReader(try media.requiredChild(.hdlr))
        _ = try fields.versionAndFlags()
        try fields.skip(4)
        return BoxType(rawValue: try fields.integer())
    }

    private static func trackID(of trak: Box) throws(ISOBMFFError) -> UInt32 {
        var fields = FieldReader(try trak.requiredChild(.tkhd))
        let (version, _) = try fields.versionAndFlags()
        try fields.skip(version == 1 ? 16 : 8)
        let offset = fields.offset
        let id: UInt32 = try fields.integer()
        guard id > 0 else { throw .invalidValue(.tkhd, value: 0, offset: offset) }
        return id
    }

    /// The first sample entry; of several the first is taken for all samples.
    private static func sampleEntry(of table: Box) throws(ISOBMFFError) -> Box? {
        let box = try table.requiredChild(.stsd)
        var fields = FieldReader(box)
        _ = try fields.versionAndFlags()
        let count: UInt32 = try fields.integer()
        guard count > 0 else { return nil }
        var entries = try box.children(skipping: 8)
        return try entries.next()
    }

    /// What the edit list does to the track's times, in its own ticks; `nil` without one. Empty edits in front delay,
    /// the first other edit tells where the media begins; later edits are passed over. Spec: §8.6.6.
    private static func edit(
        of trak: Box, movieTimescale: UInt32, timescale: UInt32
    ) throws(ISOBMFFError) -> (shift: Int64, start: Int64)? {
        guard let box = try trak.child(.edts)?.child(.elst) else { return nil }
        var fields = FieldReader(box)
        let (version, _) = try fields.versionAndFlags()
        let count: UInt32 = try fields.integer()
        var delay: Int64 = 0
        for _ in 0..<count {
            let offset = fields.offset
            let duration = try fields.time(version: version)
            let mediaTime = version == 1 ? try fields.integer() : Int64(try fields.integer(as: Int32.self))
            try fields.skip(4)
            guard mediaTime >= 0 else {
                delay += Rescale.ticks(duration, from: movieTimescale, to: timescale)
                guard delay < FieldReader.timeLimit else { throw .invalidValue(.elst, value: delay, offset: offset) }
                continue
            }
            guard mediaTime < FieldReader.timeLimit else {
                throw .invalidValue(.elst, value: mediaTime, offset: offset)
            }
            return (delay - mediaTime, delay)
        }
        return nil
    }
}

/// Converts times between timescales.
enum Rescale {
    /// What results are clamped to: sums and differences of a few do not overflow.
    static let limit: Int64 = 1 << 59

    /// Rounds to the nearest tick, halves up; clamps to `limit` both ways.
    static func ticks(_ value: Int64, from: UInt32, to: UInt32) -> Int64 {
        let doubled = Int128(value) * Int128(to) * 2 + Int128(from)
        let (quotient, remainder) = doubled.quotientAndRemainder(dividingBy: Int128(from) * 2)
        let whole = remainder < 0 ? quotient - 1 : quotient
        return Int64(max(-Int128(self.limit), min(Int128(self.limit), whole)))
    }
}

/// Reads the tables that tell a progressive file's samples. Spec: ISO/IEC 14496-12 §8.6 and §8.7.
enum SampleTableReader {
    static func samples(
        of table: Box, trackID: UInt32, byteCount: Int64, maximumSamples: Int
    ) throws(ISOBMFFError) -> MP4SampleTable {
        let sizes = try SampleSizes(reading: table)
        var result = MP4SampleTable()
        guard sizes.count > 0 else { return result }
        guard sizes.count <= maximumSamples else {
            throw .tooMany(.stsz, count: Int64(sizes.count), limit: Int64(maximumSamples))
        }
        var durations = RunLengths(try self.table(.stts, width: 8, in: table, isRequired: true), type: .stts)
        let compositionTable = try self.table(.ctts, width: 8, in: table, isRequired: false)
        var compositions = compositionTable.map { RunLengths($0, type: .ctts) }
        var syncs = SyncSamples(try self.table(.stss, width: 4, in: table, isRequired: false))
        var chunks = try Chunks(reading: table, expected: sizes.count)
        result.reserveCapacity(sizes.count)
        var offset: Int64 = 0
        var leftInChunk = 0
        var decodeTime: Int64 = 0
        for index in 0..<sizes.count {
            if leftInChunk == 0 { (offset, leftInChunk) = try chunks.next(samples: index) }
            leftInChunk -= 1
            let size = sizes[index]
            guard size <= Int32.max, offset <= byteCount - Int64(size) else {
                throw .sampleOutside(
                    trackID: trackID, end: offset.addingReportingOverflow(Int64(size)).partialValue,
                    byteCount: byteCount)
            }
            let duration = try durations.next(sample: index, of: sizes.count)
            result.append(
                MP4SampleTable.Sample(
                    offset: offset, byteCount: Int(size), decodeTime: decodeTime, duration: duration,
                    // Version 0 is unsigned by the letter, but holds negative offsets of writers that did not care.
                    compositionOffset: Int32(
                        bitPattern: try compositions?.next(sample: index, of: sizes.count) ?? 0),
                    isSync: syncs.contains(next: index + 1)))
            offset += Int64(size)
            decodeTime += Int64(duration)
        }
        return result
    }

    /// The entries of a table box; `nil` if it is not there and not required.
    static func table(
        _ type: BoxType, width: Int, in table: Box, isRequired: Bool
    ) throws(ISOBMFFError) -> ByteBuffer? {
        guard let box = try table.child(type) else {
            guard !isRequired else { throw .missingBox(type, parent: .stbl) }
            return nil
        }
        var fields = FieldReader(box)
        _ = try fields.versionAndFlags()
        return try fields.table(width: width)
    }

    /// `stsz` and `stz2`, §8.7.3.
    private struct SampleSizes {
        let count: Int
        /// The size of all samples; 0: each has its own.
        private let common: UInt32
        private let width: Int
        private let entries: ByteBuffer

        init(reading table: Box) throws(ISOBMFFError) {
            if let box = try table.child(.stsz) {
                var fields = FieldReader(box)
                _ = try fields.versionAndFlags()
                self.common = try fields.integer()
                self.count = Int(try fields.integer(as: UInt32.self))
                self.width = 32
                self.entries = self.common == 0 ? try fields.slice(self.count * 4) : ByteBuffer()
            } else if let box = try table.child(.stz2) {
                var fields = FieldReader(box)
                _ = try fields.versionAndFlags()
                let offset = fields.offset
                self.width = Int(try fields.integer(as: UInt32.self) & 0xFF)
                guard [4, 8, 16].contains(self.width) else {
                    throw .invalidValue(.stz2, value: Int64(self.width), offset: offset)
                }
                self.common = 0
                self.count = Int(try fields.integer(as: UInt32.self))
                self.entries = try fields.slice((self.count * self.width + 7) / 8)
            } else {
                throw .missingBox(.stsz, parent: .stbl)
            }
        }

        subscript(index: Int) -> UInt32 {
            guard self.common == 0 else { return self.common }
            let base = self.entries.readerIndex
            switch self.width {
            case 32: return self.entries.getInteger(at: base + index * 4) ?? 0
            case 16: return UInt32(self.entries.getInteger(at: base + index * 2, as: UInt16.self) ?? 0)
            case 8: return UInt32(self.entries.getInteger(at: base + index, as: UInt8.self) ?? 0)
            default:
                let pair = self.entries.getInteger(at: base + index / 2, as: UInt8.self) ?? 0
                return UInt32(index % 2 == 0 ? pair >> 4 : pair & 15)
            }
        }
    }

    /// `stts` and `ctts`: a count and a value in each entry, §8.6.1.
    private struct RunLengths {
        private var entries: ByteBuffer
        private let type: BoxType
        private var left: UInt32 = 0
        private var value: UInt32 = 0

        init(_ entries: ByteBuffer?, type: BoxType) {
            self.entries = entries ?? ByteBuffer()
            self.type = type
        }

        mutating func next(sample: Int, of count: Int) throws(ISOBMFFError) -> UInt32 {
            while self.left == 0 {
                guard let (left, value) = self.entries.readMultipleIntegers(as: (UInt32, UInt32).self) else {
                    throw .inconsistentTables(self.type, samples: sample, expected: count)
                }
                (self.left, self.value) = (left, value)
            }
            self.left -= 1
            return self.value
        }
    }

    /// `stss`, §8.6.2: without it every sample is a sync sample.
    private struct SyncSamples {
        private var numbers: ByteBuffer?
        private var current: UInt32?

        init(_ numbers: ByteBuffer?) {
            self.numbers = numbers
            self.current = self.numbers?.readInteger()
        }

        /// Whether sample `number`, counted from 1, is in the table. Ask with ascending numbers.
        mutating func contains(next number: Int) -> Bool {
            guard self.numbers != nil else { return true }
            while let current = self.current, current < number { self.current = self.numbers?.readInteger() }
            return self.current.map { $0 == number } ?? false
        }
    }

    /// `stsc` with `stco` or `co64`: where the chunks begin and how many samples each has, §8.7.4 and §8.7.5.
    private struct Chunks {
        private var offsets: ByteBuffer
        private let isLong: Bool
        private var entries: ByteBuffer
        private var samplesPerChunk: UInt32 = 0
        /// The chunk, counted from 1, with which the next entry begins.
        private var nextEntryChunk: UInt32?
        private var chunk: UInt32 = 0
        private let expected: Int

        init(reading table: Box, expected: Int) throws(ISOBMFFError) {
            self.expected = expected
            if let short = try SampleTableReader.table(.stco, width: 4, in: table, isRequired: false) {
                (self.offsets, self.isLong) = (short, false)
            } else if let long = try SampleTableReader.table(.co64, width: 8, in: table, isRequired: false) {
                (self.offsets, self.isLong) = (long, true)
            } else {
                throw .missingBox(.stco, parent: .stbl)
            }
            guard let entries = try SampleTableReader.table(.stsc, width: 12, in: table, isRequired: true) else {
                throw .missingBox(.stsc, parent: .stbl)
            }
            self.entries = entries
            self.nextEntryChunk = entries.getInteger(at: entries.readerIndex)
        }

        /// The next chunk that has samples; `samples` were in those before it.
        mutating func next(samples: Int) throws(ISOBMFFError) -> (offset: Int64, count: Int) {
            repeat {
                self.chunk += 1
                let offset: UInt64? =
                    self.isLong
                    ? self.offsets.readInteger() : self.offsets.readInteger(as: UInt32.self).map(UInt64.init)
                guard let offset else {
                    throw .inconsistentTables(self.isLong ? .co64 : .stco, samples: samples, expected: self.expected)
                }
                while let first = self.nextEntryChunk, first <= self.chunk,
                    let (_, count, _) = self.entries.readMultipleIntegers(as: (UInt32, UInt32, UInt32).self)
                {
                    self.samplesPerChunk = count
                    self.nextEntryChunk = self.entries.getInteger(at: self.entries.readerIndex)
                }
                if self.samplesPerChunk > 0 { return (Int64(clamping: offset), Int(self.samplesPerChunk)) }
            } while true
        }
    }
}
