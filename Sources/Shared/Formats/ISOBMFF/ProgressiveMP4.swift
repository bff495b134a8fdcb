package import NIOCore

/// Plans progressive MP4 files: header first, then samples that are copied from where they are.
///
/// Nothing is read or written here. A plan is the bytes to begin with and the ranges of other files to append, in order.
package enum ProgressiveMP4 {
    /// Something to append to the file.
    package enum Piece: Sendable, Hashable {
        /// `byteCount` bytes at `offset` of the file that the caller numbered `source`.
        case range(source: Int, offset: Int64, byteCount: Int64)
        case bytes(ByteBuffer)
    }

    /// A whole file.
    package struct Plan: Sendable, Hashable {
        /// `ftyp`, `moov` and the header of the `mdat` that holds all pieces.
        package var header: ByteBuffer
        package var pieces: [Piece]
        /// Of the whole file.
        package var byteCount: Int64
        /// How long it plays, in ticks of 90 kHz.
        package var durationTicks: Int64
    }

    /// Samples of one track that follow each other.
    package struct Run: Sendable, Hashable {
        package enum Content: Sendable, Hashable {
            /// The samples `range` of a track of the file that the caller numbered `source`.
            case file(source: Int, samples: MP4SampleTable, range: Range<Int>)
            case memory([MP4Sample])
        }

        package var content: Content
        /// The duration of the last sample, where what follows does not begin at its end.
        package var lastDuration: UInt32?

        package init(_ content: Content, lastDuration: UInt32? = nil) {
            self.content = content
            self.lastDuration = lastDuration
        }
    }

    /// A track of the new file.
    package struct TrackPlan: Sendable, Hashable {
        package var track: MP4Track
        package var runs: [Run]
        /// How long nothing of the track is presented at the start, in ticks of 90 kHz.
        package var delayTicks: Int64
        /// The composition time, in ticks of the track's timescale from the first sample's decoding time, at which the
        /// track's presentation begins; what is before it is decoded but not shown.
        package var mediaStart: Int64
        /// When the presentation ends if not with the last sample, in ticks of 90 kHz from the file's start.
        package var endTicks: Int64?

        package init(
            track: MP4Track, runs: [Run], delayTicks: Int64 = 0, mediaStart: Int64 = 0, endTicks: Int64? = nil
        ) {
            self.track = track
            self.runs = runs
            self.delayTicks = delayTicks
            self.mediaStart = mediaStart
            self.endTicks = endTicks
        }
    }

    /// Plans a file of `tracks`, which have different ids.
    ///
    /// Samples are interleaved in chunks of about `interleaveTicks` (90 kHz). 64-bit chunk offsets are used when the file
    /// may need them. Costs a pass over all samples for each table.
    package static func plan(tracks: [TrackPlan], interleaveTicks: Int64 = 45_000) -> Plan {
        precondition(!tracks.isEmpty, "a file needs a track")
        precondition(Set(tracks.map(\.track.id)).count == tracks.count, "track ids must differ")
        var layout = ChunkLayout(tracks: tracks, interleaveTicks: interleaveTicks)
        layout.run()
        let writer = ProgressiveMovie(tracks: tracks, chunks: layout.chunks, mediaBytes: layout.byteCount)
        let header = writer.header()
        return Plan(
            header: header, pieces: layout.pieces, byteCount: Int64(header.readableBytes) + layout.byteCount,
            durationTicks: writer.durationTicks)
    }
}

extension ProgressiveMP4.Run {
    /// What the sample tables say of a sample.
    struct Fields {
        var byteCount: Int
        var duration: UInt32
        var compositionOffset: Int32
        var isSync: Bool
    }

    var count: Int {
        switch self.content {
        case .file(_, _, let range): range.count
        case .memory(let samples): samples.count
        }
    }

    /// Calls `body` with each sample and with its offset or its bytes.
    ///
    /// The table of a progressive file knows only durations, so each lasts until the next is decoded.
    func forEach(_ body: (Fields, _ offset: Int64?, _ payload: ByteBuffer?) -> Void) {
        switch self.content {
        case .file(_, let samples, let range):
            var waiting: MP4SampleTable.Sample?
            samples.forEach(in: range) { sample in
                if let last = waiting {
                    body(
                        Fields(last, duration: UInt32(clamping: sample.decodeTime - last.decodeTime)), last.offset, nil)
                }
                waiting = sample
            }
            guard let last = waiting else { return }
            body(Fields(last, duration: self.lastDuration ?? last.duration), last.offset, nil)
        case .memory(let samples):
            for (index, sample) in samples.enumerated() {
                let isLast = index == samples.count - 1
                let fields = Fields(
                    byteCount: sample.payload.readableBytes,
                    duration: (isLast ? self.lastDuration : nil) ?? sample.duration,
                    compositionOffset: sample.compositionOffset, isSync: sample.isSync)
                body(fields, nil, sample.payload)
            }
        }
    }
}

extension ProgressiveMP4.Run.Fields {
    fileprivate init(_ sample: MP4SampleTable.Sample, duration: UInt32) {
        self.init(
            byteCount: sample.byteCount, duration: duration, compositionOffset: sample.compositionOffset,
            isSync: sample.isSync)
    }
}

extension ProgressiveMP4.TrackPlan {
    func forEachSample(_ body: (ProgressiveMP4.Run.Fields) -> Void) {
        for run in self.runs { run.forEach { fields, _, _ in body(fields) } }
    }
}

/// Samples that lie next to each other in the new file.
struct MP4Chunk: Hashable {
    /// From the start of the media data.
    var offset: Int64
    var sampleCount: UInt32
}

/// Decides the order of the samples in the new file.
private struct ChunkLayout {
    /// A stretch of a track's samples that will be one chunk.
    private struct Stretch {
        var startTicks: Int64
        var sampleCount: UInt32 = 0
        var byteCount: Int64 = 0
        var pieces: [ProgressiveMP4.Piece] = []
    }

    private let tracks: [ProgressiveMP4.TrackPlan]
    private let interleaveTicks: Int64
    private(set) var chunks: [[MP4Chunk]]
    private(set) var pieces: [ProgressiveMP4.Piece] = []
    private(set) var byteCount: Int64 = 0

    init(tracks: [ProgressiveMP4.TrackPlan], interleaveTicks: Int64) {
        self.tracks = tracks
        self.interleaveTicks = interleaveTicks
        self.chunks = tracks.map { _ in [] }
    }

    /// Places the stretches of all tracks by their start.
    mutating func run() {
        let stretches = self.tracks.map { self.stretches(of: $0) }
        var next = self.tracks.map { _ in 0 }
        while true {
            var earliest: Int?
            for track in stretches.indices where next[track] < stretches[track].count {
                let start = stretches[track][next[track]].startTicks
                if let other = earliest, stretches[other][next[other]].startTicks <= start { continue }
                earliest = track
            }
            guard let track = earliest else { return }
            let stretch = stretches[track][next[track]]
            next[track] += 1
            self.chunks[track].append(MP4Chunk(offset: self.byteCount, sampleCount: stretch.sampleCount))
            self.byteCount += stretch.byteCount
            for piece in stretch.pieces { self.pieces.append(piece, joining: true) }
        }
    }

    private func stretches(of track: ProgressiveMP4.TrackPlan) -> [Stretch] {
        let timescale = track.track.timescale
        let length = Int64(timescale) * self.interleaveTicks / Int64(MovieBoxes.timescale)
        let origin = track.delayTicks - Rescale.ticks(track.mediaStart, from: timescale, to: MovieBoxes.timescale)
        var result: [Stretch] = []
        var time: Int64 = 0
        var end: Int64 = .min
        for run in track.runs {
            var source = 0
            if case .file(let number, _, _) = run.content { source = number }
            run.forEach { fields, offset, payload in
                if time >= end {
                    end = time + max(1, length)
                    let start = origin + Rescale.ticks(time, from: timescale, to: MovieBoxes.timescale)
                    result.append(Stretch(startTicks: start))
                }
                let last = result.count - 1
                result[last].sampleCount += 1
                result[last].byteCount += Int64(fields.byteCount)
                if let offset {
                    result[last].pieces.append(
                        .range(source: source, offset: offset, byteCount: Int64(fields.byteCount)), joining: true)
                } else if let payload {
                    result[last].pieces.append(.bytes(payload), joining: false)
                }
                time += Int64(fields.duration)
            }
        }
        return result
    }
}

extension [ProgressiveMP4.Piece] {
    /// Adds a piece, as part of the last one if it continues that.
    fileprivate mutating func append(_ piece: ProgressiveMP4.Piece, joining: Bool) {
        if joining, case .range(let source, let offset, let byteCount) = piece, let last = self.last,
            case .range(source, let lastOffset, let lastCount) = last, lastOffset + lastCount == offset
        {
            self[self.count - 1] = .range(source: source, offset: lastOffset, byteCount: lastCount + byteCount)
        } else {
            self.append(piece)
        }
    }
}
