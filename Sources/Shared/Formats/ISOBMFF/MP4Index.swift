import NIOCore

/// The tracks and samples of an MP4 file, fragmented or progressive, without the samples' bytes.
///
/// A file that is still written, or whose writer was killed, is read up to where it is whole: `completeEnd` is where it
/// can be cut off and used or continued, and `tail` tells what is behind that. Spec: ISO/IEC 14496-12.
package struct MP4Index: Sendable {
    /// What is accepted at most.
    package struct Limits: Sendable, Hashable {
        /// Of a `moov`, which is read as a whole: 256 MiB hold the tables of a day.
        package var maximumMovieBytes: Int64 = 256 << 20
        /// Of a `moof`, likewise.
        package var maximumFragmentBytes: Int64 = 16 << 20
        package var maximumTracks = 32
        /// In all tracks together.
        package var maximumSamples = 32 << 20
        package var maximumSamplesPerFragment = 1 << 20

        package init() {}
    }

    /// What follows `completeEnd`.
    package enum Tail: Sendable, Equatable {
        /// Nothing.
        case none
        /// A box or a fragment whose end is not there yet, or room that was never written.
        case unfinished(byteCount: Int64)
        /// Something that cannot be read.
        case damaged(ISOBMFFError)
    }

    /// One track with its samples.
    package struct TrackIndex: Sendable, Hashable {
        package var track: MP4Track
        package var samples: MP4SampleTable
        /// What the edit list adds to a composition time, in ticks of the track's timescale: a sample is presented at
        /// `decodeTime + compositionOffset + presentationShift`.
        package var presentationShift: Int64
        /// Before this time, in ticks, nothing of the track is presented; `nil` without an edit list.
        package var presentationStart: Int64?

        /// When a sample is presented, in ticks.
        package func presentationTime(_ sample: MP4SampleTable.Sample) -> Int64 {
            sample.presentationTime + self.presentationShift
        }
    }

    /// In the file's order. Tracks that are neither sound nor picture, or in codecs that are not carried, are left out.
    package private(set) var tracks: [TrackIndex] = []
    /// How many were left out.
    package private(set) var ignoredTracks = 0
    /// Whether the file announces movie fragments.
    package private(set) var isFragmented = false
    /// Where the last fragment, or box, that is whole ends.
    package private(set) var completeEnd: Int64 = 0
    package private(set) var tail = Tail.none
    /// `mfhd` sequence number of the last whole fragment; 0 without one.
    package private(set) var lastSequence: UInt32 = 0
    private let limits: Limits
    private var extends: [UInt32: TrackExtends] = [:]

    /// Reads the boxes of a file.
    ///
    /// Errors: `ISOBMFFError` when there is no readable `moov`, or when a progressive file's samples are not in it;
    /// errors of `source` as they are. Faults behind the `moov` of a fragmented file are no errors: see `tail`.
    package init(reading source: some MP4ByteSource, limits: Limits = Limits()) throws {
        self.limits = limits
        try self.readOn(from: source)
        guard self.hasMovie else {
            if case .damaged(let error) = self.tail { throw error }
            throw ISOBMFFError.missingBox(.moov, parent: nil)
        }
    }

    private var hasMovie = false

    /// Reads what was added to the file since.
    package mutating func readOn(from source: some MP4ByteSource) throws {
        self.tail = .none
        var position = self.completeEnd
        /// Samples up to here have to be in the file before what was read counts.
        var needed = position
        var sequence = self.lastSequence
        var counts = self.tracks.map(\.samples.count)
        let byteCount = source.byteCount
        while position < byteCount {
            do {
                guard let (header, end) = try self.header(at: position, in: source) else { break }
                switch header.type {
                case .moov:
                    try self.readMovie(try self.box(header, position, end, source), byteCount: byteCount)
                    counts = self.tracks.map(\.samples.count)
                case .moof where self.hasMovie:
                    let box = try self.box(header, position, end, source)
                    let fragment = try self.readFragment(box)
                    needed = max(needed, fragment.dataEnd)
                    sequence = fragment.sequence
                default:
                    break
                }
                position = end
            } catch let error as ISOBMFFError {
                guard self.hasMovie, self.isFragmented else { throw error }
                self.tail = .damaged(error)
                break
            }
            if position >= needed {
                self.completeEnd = position
                self.lastSequence = sequence
                counts = self.tracks.map(\.samples.count)
            }
        }
        for index in self.tracks.indices { self.tracks[index].samples.removeSamples(from: counts[index]) }
        if self.tail == .none, self.completeEnd < byteCount {
            self.tail = .unfinished(byteCount: byteCount - self.completeEnd)
        }
    }

    /// The header of the box at `position` and where the box ends; `nil` if that is not in the file yet.
    private func header(at position: Int64, in source: some MP4ByteSource) throws -> (BoxHeader, end: Int64)? {
        let left = source.byteCount - position
        let bytes = try source.read(at: position, count: Int(min(Int64(BoxHeader.maximumLength), left)))
        // A file system may have lengthened the file before it wrote it.
        if bytes.readableBytesView.allSatisfy({ $0 == 0 }) { return nil }
        guard let header = try BoxHeader(bytes, offset: position) else { return nil }
        // Behind fragments, a box that ends with the file is one whose writer has not come to its end.
        if header.size == nil, self.hasMovie, self.isFragmented { return nil }
        let size = header.size ?? left
        guard size >= header.length else {
            throw ISOBMFFError.invalidBoxSize(header.type, size: UInt64(size), offset: position)
        }
        return size <= left ? (header, position + size) : nil
    }

    private func box(_ header: BoxHeader, _ position: Int64, _ end: Int64, _ source: some MP4ByteSource) throws -> Box {
        let start = position + Int64(header.length)
        let limit = header.type == .moov ? self.limits.maximumMovieBytes : self.limits.maximumFragmentBytes
        guard end - start <= limit else {
            throw ISOBMFFError.boxTooLarge(header.type, size: end - start, limit: limit)
        }
        let payload = try source.read(at: start, count: Int(end - start))
        guard payload.readableBytes == end - start else {
            throw ISOBMFFError.truncated(
                header.type, offset: start, needed: Int(end - start), available: payload.readableBytes)
        }
        return Box(type: header.type, offset: position, payloadOffset: start, payload: payload)
    }

    // MARK: Movie

    private mutating func readMovie(_ movie: Box, byteCount: Int64) throws(ISOBMFFError) {
        guard !self.hasMovie else { throw .repeatedBox(.moov, offset: movie.offset) }
        let timescale = try MovieReader.timescale(ofMovie: movie)
        var boxes = try movie.children()
        var sampleCount = 0
        while let box = try boxes.next() {
            guard box.type == .trak else { continue }
            guard self.tracks.count + self.ignoredTracks < self.limits.maximumTracks else {
                throw .tooMany(
                    .trak, count: Int64(self.limits.maximumTracks) + 1, limit: Int64(self.limits.maximumTracks))
            }
            guard
                let track = try MovieReader.track(
                    box, movieTimescale: timescale, byteCount: byteCount,
                    maximumSamples: self.limits.maximumSamples - sampleCount),
                !self.tracks.contains(where: { $0.track.id == track.track.id })
            else {
                self.ignoredTracks += 1
                continue
            }
            sampleCount += track.samples.count
            self.tracks.append(track)
        }
        let extends = try TrackExtends.read(from: movie)
        self.isFragmented = try movie.child(.mvex) != nil
        for track in self.tracks where self.isFragmented {
            self.extends[track.track.id] = extends[track.track.id] ?? TrackExtends()
        }
        self.hasMovie = true
    }

    // MARK: Fragments

    /// Adds the samples of a fragment.
    private mutating func readFragment(_ moof: Box) throws(ISOBMFFError) -> MovieFragment {
        let fragment = try MovieFragment(
            reading: moof, extends: self.extends, maximumSamples: self.limits.maximumSamplesPerFragment)
        let count = fragment.tracks.reduce(self.tracks.reduce(0) { $0 + $1.samples.count }) { $0 + $1.samples.count }
        guard count <= self.limits.maximumSamples else {
            throw .tooMany(.moof, count: Int64(count), limit: Int64(self.limits.maximumSamples))
        }
        for run in fragment.tracks {
            guard let index = self.tracks.firstIndex(where: { $0.track.id == run.trackID }) else { continue }
            self.tracks[index].samples.append(run)
        }
        return fragment
    }
}

extension MP4SampleTable {
    /// Adds what a fragment holds of the track.
    mutating func append(_ run: MovieFragment.TrackRun) {
        var decodeTime = run.decodeTime ?? self.endTime
        for sample in run.samples {
            self.append(
                Sample(
                    offset: sample.offset, byteCount: Int(sample.byteCount), decodeTime: decodeTime,
                    duration: sample.duration, compositionOffset: sample.compositionOffset, isSync: sample.isSync))
            decodeTime += Int64(sample.duration)
        }
    }
}
