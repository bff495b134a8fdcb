import NIOCore

/// What a `trex` box says of a track's samples where a fragment says nothing. Spec: ISO/IEC 14496-12 §8.8.3.
struct TrackExtends: Hashable, Sendable {
    var duration: UInt32 = 0
    var size: UInt32 = 0
    var flags: UInt32 = 0

    /// Reads the `trex` boxes of a movie, by track id. Of a repeated id the first counts.
    static func read(from movie: Box) throws(ISOBMFFError) -> [UInt32: TrackExtends] {
        guard let mvex = try movie.child(.mvex) else { return [:] }
        var result: [UInt32: TrackExtends] = [:]
        var boxes = try mvex.children()
        while let box = try boxes.next() {
            guard box.type == .trex else { continue }
            var fields = FieldReader(box)
            _ = try fields.versionAndFlags(maximumVersion: 0)
            let id = try fields.integer(as: UInt32.self)
            _ = try fields.integer(as: UInt32.self)
            let extends = TrackExtends(
                duration: try fields.integer(), size: try fields.integer(), flags: try fields.integer())
            if result[id] == nil { result[id] = extends }
        }
        return result
    }
}

/// The tracks and samples of one `moof` box. Spec: ISO/IEC 14496-12 §8.8.
struct MovieFragment: Equatable {
    struct Sample: Equatable {
        /// Counted like the offset of the `moof` box.
        var offset: Int64
        var byteCount: UInt32
        var duration: UInt32
        var compositionOffset: Int32
        var isSync: Bool
    }

    struct TrackRun: Equatable {
        var trackID: UInt32
        /// `nil`: it continues the fragment before.
        var decodeTime: Int64?
        var samples: [Sample]
    }

    var sequence: UInt32 = 0
    var tracks: [TrackRun] = []
    /// Where the last byte of a sample is followed by something else; the end of the box without samples.
    var dataEnd: Int64

    private var sampleCount = 0

    /// Reads `moof`. Tracks that `extends` does not name are passed over.
    ///
    /// Errors: those of broken boxes; `tooMany` with more than `maximumSamples` in all tracks together, which have no
    /// bytes of their own in the box when they are all alike.
    init(
        reading moof: Box, extends: [UInt32: TrackExtends], maximumSamples: Int
    ) throws(ISOBMFFError) {
        self.dataEnd = moof.payloadOffset + Int64(moof.payload.readableBytes)
        var nextBase = moof.offset
        var boxes = try moof.children()
        while let box = try boxes.next() {
            switch box.type {
            case .mfhd:
                var fields = FieldReader(box)
                _ = try fields.versionAndFlags()
                self.sequence = try fields.integer()
            case .traf:
                try self.readTrack(
                    box, moofOffset: moof.offset, nextBase: &nextBase, extends: extends,
                    maximumSamples: maximumSamples)
            default:
                break
            }
        }
    }

    private struct Header {
        var trackID: UInt32
        var base: Int64
        var defaults: TrackExtends
    }

    private mutating func readTrack(
        _ traf: Box, moofOffset: Int64, nextBase: inout Int64, extends: [UInt32: TrackExtends], maximumSamples: Int
    ) throws(ISOBMFFError) {
        let header = try Self.readHeader(
            try traf.requiredChild(.tfhd), moofOffset: moofOffset, nextBase: nextBase, extends: extends)
        var run = TrackRun(trackID: header.trackID, decodeTime: nil, samples: [])
        var position = header.base
        var boxes = try traf.children()
        while let box = try boxes.next() {
            switch box.type {
            case .tfdt:
                var fields = FieldReader(box)
                let (version, _) = try fields.versionAndFlags()
                run.decodeTime = try fields.time(version: version)
            case .trun:
                try self.readRun(
                    box, header, position: &position, into: &run.samples, maximumSamples: maximumSamples)
                if extends[header.trackID] != nil, !run.samples.isEmpty { self.dataEnd = max(self.dataEnd, position) }
            default:
                break
            }
        }
        nextBase = position
        guard extends[header.trackID] != nil else { return }
        self.tracks.append(run)
    }

    /// Spec: §8.8.7.
    private static func readHeader(
        _ box: Box, moofOffset: Int64, nextBase: Int64, extends: [UInt32: TrackExtends]
    ) throws(ISOBMFFError) -> Header {
        var fields = FieldReader(box)
        let (_, flags) = try fields.versionAndFlags()
        let id: UInt32 = try fields.integer()
        // Without any of the two flags a track's data follows that of the track before.
        var base = flags & 0x02_0000 != 0 ? moofOffset : nextBase
        if flags & 0x1 != 0 { base = try fields.time(version: 1) }
        if flags & 0x2 != 0 { try fields.skip(4) }
        var defaults = extends[id] ?? TrackExtends()
        if flags & 0x8 != 0 { defaults.duration = try fields.integer() }
        if flags & 0x10 != 0 { defaults.size = try fields.integer() }
        if flags & 0x20 != 0 { defaults.flags = try fields.integer() }
        return Header(trackID: id, base: base, defaults: defaults)
    }

    /// Spec: §8.8.8.
    private mutating func readRun(
        _ box: Box, _ header: Header, position: inout Int64, into samples: inout [Sample], maximumSamples: Int
    ) throws(ISOBMFFError) {
        var fields = FieldReader(box)
        let (_, flags) = try fields.versionAndFlags()
        let count = Int(try fields.integer(as: UInt32.self))
        self.sampleCount += count
        guard self.sampleCount <= maximumSamples else {
            throw .tooMany(.trun, count: Int64(self.sampleCount), limit: Int64(maximumSamples))
        }
        if flags & 0x1 != 0 { position = header.base + Int64(try fields.integer(as: Int32.self)) }
        let firstFlags: UInt32? = flags & 0x4 != 0 ? try fields.integer() : nil
        let width = [0x100, 0x200, 0x400, 0x800].reduce(0) { $0 + (flags & $1 != 0 ? 4 : 0) }
        guard fields.bytesLeft >= count * width else {
            throw .truncated(.trun, offset: fields.offset, needed: count * width, available: fields.bytesLeft)
        }
        samples.reserveCapacity(samples.count + count)
        for index in 0..<count {
            let offset = fields.offset
            let duration: UInt32 = flags & 0x100 != 0 ? try fields.integer() : header.defaults.duration
            let size: UInt32 = flags & 0x200 != 0 ? try fields.integer() : header.defaults.size
            var sampleFlags: UInt32 = flags & 0x400 != 0 ? try fields.integer() : header.defaults.flags
            if index == 0, let firstFlags { sampleFlags = firstFlags }
            let composition: Int32 = flags & 0x800 != 0 ? try fields.integer() : 0
            guard size <= Int32.max, position >= 0 else {
                throw .invalidValue(.trun, value: size <= Int32.max ? position : Int64(size), offset: offset)
            }
            samples.append(
                Sample(
                    offset: position, byteCount: size, duration: duration, compositionOffset: composition,
                    isSync: SampleFlags.isSync(sampleFlags)))
            position += Int64(size)
        }
    }
}
