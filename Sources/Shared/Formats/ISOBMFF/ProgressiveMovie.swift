import NIOCore

/// Writes the header of a progressive file. Spec: ISO/IEC 14496-12 §8.
struct ProgressiveMovie {
    let tracks: [ProgressiveMP4.TrackPlan]
    /// Of each track, in order, with offsets from the start of the media data.
    let chunks: [[MP4Chunk]]
    let mediaBytes: Int64

    private struct Totals {
        var sampleCount = 0
        var duration: UInt64 = 0
        /// The size of all samples; `nil`: they differ.
        var commonSize: Int?
        var hasCompositionOffsets = false
        var hasNegativeOffsets = false
        var syncCount = 0
    }

    private let totals: [Totals]

    init(tracks: [ProgressiveMP4.TrackPlan], chunks: [[MP4Chunk]], mediaBytes: Int64) {
        self.tracks = tracks
        self.chunks = chunks
        self.mediaBytes = mediaBytes
        self.totals = tracks.map { track in
            var totals = Totals()
            track.forEachSample { sample in
                if totals.sampleCount == 0 { totals.commonSize = sample.byteCount }
                if totals.commonSize != sample.byteCount { totals.commonSize = nil }
                totals.sampleCount += 1
                totals.duration += UInt64(sample.duration)
                if sample.compositionOffset != 0 { totals.hasCompositionOffsets = true }
                if sample.compositionOffset < 0 { totals.hasNegativeOffsets = true }
                if sample.isSync { totals.syncCount += 1 }
            }
            return totals
        }
    }

    /// Of the longest track, in ticks of the movie's clock.
    var durationTicks: Int64 {
        self.tracks.indices.map { self.tracks[$0].delayTicks + self.presentedTicks($0) }.max() ?? 0
    }

    /// How long track `index` is presented behind its delay, in ticks of the movie's clock, rounded up: an edit that is
    /// too short by part of a tick makes players drop the last sample.
    private func presentedTicks(_ index: Int) -> Int64 {
        let timescale = Int64(self.tracks[index].track.timescale)
        let media = max(
            0, Int64(self.totals[index].duration) - max(0, self.tracks[index].mediaStart - self.lead(index)))
        let ticks = Int128(media) * Int128(MovieBoxes.timescale)
        let whole = Int64(min(Int128(Rescale.limit), (ticks + Int128(timescale) - 1) / Int128(timescale)))
        guard let end = self.tracks[index].endTicks else { return whole }
        return max(0, min(whole, end - self.tracks[index].delayTicks))
    }

    /// The composition offset of the first sample, by which the whole track is presented later.
    private func lead(_ index: Int) -> Int64 {
        let first = self.tracks[index].runs.first { $0.count > 0 }?.firstCompositionOffset
        return Int64(max(0, first ?? 0))
    }

    func header() -> ByteBuffer {
        // Never too small: the tables have at most 44 bytes a sample, the rest of a track less than 4 KiB.
        let bound = self.tracks.indices.reduce(Int64(1024)) {
            $0 + 4096 + Int64(self.tracks[$1].track.sampleEntry.readableBytes) + 44 * Int64(self.totals[$1].sampleCount)
        }
        let isLong = self.mediaBytes + bound > Int64(UInt32.max)
        var buffer = ByteBuffer()
        buffer.writeBox(.ftyp) {
            $0.writeTypes(["isom"])
            $0.writeInteger(UInt32(0x200))
            $0.writeTypes(["isom", "iso6", "mp41"])
            if self.tracks.contains(where: { $0.track.sampleEntryType == "avc1" }) { $0.writeTypes(["avc1"]) }
            if self.tracks.contains(where: { $0.track.sampleEntryType == "av01" }) { $0.writeTypes(["av01"]) }
        }
        var chunkTables: [Int] = []
        buffer.writeBox(.moov) { buffer in
            MovieBoxes.writeMovieHeader(
                duration: UInt64(self.durationTicks), nextTrackID: FragmentedMP4.nextID(self.tracks.map(\.track)),
                into: &buffer)
            for index in self.tracks.indices {
                MovieBoxes.writeTrack(self.tracks[index].track, timing: self.timing(index), into: &buffer) {
                    chunkTables.append(self.writeTables(index, isLong: isLong, into: &$0))
                }
            }
        }
        if isLong {
            buffer.writeMultipleIntegers(UInt32(1), BoxType.mdat.rawValue, UInt64(self.mediaBytes) + 16)
        } else {
            buffer.writeMultipleIntegers(UInt32(self.mediaBytes) + 8, BoxType.mdat.rawValue)
        }
        let base = Int64(buffer.readableBytes)
        for (chunks, start) in zip(self.chunks, chunkTables) {
            for (index, chunk) in chunks.enumerated() {
                if isLong {
                    buffer.setInteger(UInt64(base + chunk.offset), at: start + index * 8)
                } else {
                    buffer.setInteger(UInt32(base + chunk.offset), at: start + index * 4)
                }
            }
        }
        return buffer
    }

    private func timing(_ index: Int) -> MovieBoxes.TrackTiming {
        let track = self.tracks[index]
        let presented = UInt64(self.presentedTicks(index))
        let delay = UInt64(max(0, track.delayTicks))
        var edits: [MovieBoxes.Edit] = []
        if delay > 0 { edits.append(MovieBoxes.Edit(duration: delay, mediaTime: -1)) }
        if delay > 0 || track.mediaStart != 0 || track.endTicks != nil {
            edits.append(MovieBoxes.Edit(duration: presented, mediaTime: max(0, track.mediaStart)))
        }
        return MovieBoxes.TrackTiming(
            movieDuration: delay + presented, mediaDuration: self.totals[index].duration, edits: edits)
    }

    /// Writes the tables behind `stsd`. Returns where the entries of the chunk offsets, which are still 0, begin.
    private func writeTables(_ index: Int, isLong: Bool, into buffer: inout ByteBuffer) -> Int {
        let track = self.tracks[index]
        let totals = self.totals[index]
        self.writeRunLengths(.stts, version: 0, of: track, into: &buffer) { $0.duration }
        if totals.hasCompositionOffsets {
            self.writeRunLengths(.ctts, version: totals.hasNegativeOffsets ? 1 : 0, of: track, into: &buffer) {
                UInt32(bitPattern: $0.compositionOffset)
            }
        }
        if totals.syncCount < totals.sampleCount {
            buffer.writeFullBox(.stss) { buffer in
                buffer.writeInteger(UInt32(totals.syncCount))
                var number: UInt32 = 0
                track.forEachSample {
                    number += 1
                    if $0.isSync { buffer.writeInteger(number) }
                }
            }
        }
        self.writeSamplesPerChunk(self.chunks[index], into: &buffer)
        buffer.writeFullBox(.stsz) { buffer in
            let common = totals.commonSize.flatMap { $0 > 0 ? UInt32($0) : nil }
            buffer.writeMultipleIntegers(common ?? 0, UInt32(totals.sampleCount))
            if common == nil { track.forEachSample { buffer.writeInteger(UInt32($0.byteCount)) } }
        }
        let count = self.chunks[index].count
        var start = 0
        buffer.writeFullBox(isLong ? .co64 : .stco) {
            $0.writeInteger(UInt32(count))
            start = $0.writerIndex
            $0.writeRepeatingByte(0, count: count * (isLong ? 8 : 4))
        }
        return start
    }

    /// `stts` and `ctts`: how many samples in a row have one value.
    private func writeRunLengths(
        _ type: BoxType, version: UInt8, of track: ProgressiveMP4.TrackPlan, into buffer: inout ByteBuffer,
        value: (ProgressiveMP4.Run.Fields) -> UInt32
    ) {
        buffer.writeFullBox(type, version: version) { buffer in
            let countIndex = buffer.writerIndex
            buffer.writeInteger(UInt32(0))
            var entries: UInt32 = 0
            var run: (count: UInt32, value: UInt32)?
            track.forEachSample {
                let next = value($0)
                if let current = run, current.value == next {
                    run = (current.count + 1, next)
                    return
                }
                if let current = run { buffer.writeMultipleIntegers(current.count, current.value) }
                entries += 1
                run = (1, next)
            }
            if let current = run { buffer.writeMultipleIntegers(current.count, current.value) }
            buffer.setInteger(entries, at: countIndex)
        }
    }

    private func writeSamplesPerChunk(_ chunks: [MP4Chunk], into buffer: inout ByteBuffer) {
        buffer.writeFullBox(.stsc) { buffer in
            let countIndex = buffer.writerIndex
            buffer.writeInteger(UInt32(0))
            var entries: UInt32 = 0
            for (index, chunk) in chunks.enumerated()
            where index == 0 || chunks[index - 1].sampleCount != chunk.sampleCount {
                buffer.writeMultipleIntegers(UInt32(index + 1), chunk.sampleCount, UInt32(1))
                entries += 1
            }
            buffer.setInteger(entries, at: countIndex)
        }
    }
}

extension ProgressiveMP4.Run {
    /// Of the first sample.
    fileprivate var firstCompositionOffset: Int32? {
        switch self.content {
        case .file(_, let samples, let range): range.isEmpty ? nil : samples[range.lowerBound].compositionOffset
        case .memory(let samples): samples.first?.compositionOffset
        }
    }
}
