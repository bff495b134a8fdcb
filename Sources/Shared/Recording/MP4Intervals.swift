package import ISOBMFF
package import Media
import NIOCore

/// Finds and reads the keyframe intervals of an MP4 recording, fragmented or finished, by its sample tables.
///
/// Video belongs to the interval of its keyframe, audio to the one in whose time it is decoded, so that an interval is
/// the same before and after the file was finished.
package struct MP4Intervals: Sendable {
    /// Two pieces of the file this near to each other are read at once.
    private static let readGap: Int64 = 64 << 10

    package private(set) var index: MP4Index
    /// Video first.
    package var tracks: [Track] { self.ordered.map { self.index.tracks[$0].track.track } }
    private let ordered: [Int]

    /// Errors: those of `source`, `ISOBMFFError`, and `RecordingError.empty` for a file without tracks.
    package init(reading source: some MP4ByteSource) throws {
        self.index = try MP4Index(reading: source)
        let kinds = self.index.tracks.map(\.track.track.kind)
        self.ordered = [MediaKind.video, .audio].compactMap { kind in kinds.firstIndex(of: kind) }
        guard !self.ordered.isEmpty else { throw RecordingError.empty }
    }

    /// Takes in what was added to the file since.
    package mutating func readOn(from source: some MP4ByteSource) throws { try self.index.readOn(from: source) }

    /// The samples that are known, as a measure of the memory taken.
    package var sampleCount: Int { self.index.tracks.reduce(0) { $0 + $1.samples.count } }

    // MARK: The file's time

    /// What is added to decoding times behind edit lists to get the times of the recording's own clock, in ticks of
    /// 90 kHz. Finishing lets the presentation begin at 0 where the recording let the first frame be decoded at 0.
    private func origin(_ intervals: RecordingIndex) -> Int64 {
        guard !self.index.isFragmented else { return 0 }
        if intervals.count > 1, let video = self.video {
            // All keyframes but the first begin an interval.
            if let first = video.samples.syncIndex(atOrAfter: 0),
                let second = video.samples.syncIndex(atOrAfter: first + 1)
            {
                return intervals.time(of: 1).ticks - Self.time(video.samples[second].decodeTime, of: video)
            }
        }
        let starts = self.ordered.compactMap { number -> Int64? in
            let track = self.index.tracks[number]
            return track.samples.first.map { Self.time($0.decodeTime, of: track) }
        }
        return -(starts.min() ?? 0)
    }

    private var video: MP4Index.TrackIndex? {
        self.ordered.first.map { self.index.tracks[$0] }.flatMap { $0.track.track.kind == .video ? $0 : nil }
    }

    /// In ticks of 90 kHz, with the edit list.
    private static func time(_ decodeTime: Int64, of track: MP4Index.TrackIndex) -> Int64 {
        Self.rescale(decodeTime + track.presentationShift, from: Int64(track.track.timescale), to: 90_000)
    }

    /// Rounded to the nearest tick.
    private static func rescale(_ value: Int64, from: Int64, to: Int64) -> Int64 {
        guard from != to else { return value }
        let (whole, rest) = value.quotientAndRemainder(dividingBy: from)
        return whole * to + (rest * to + (rest < 0 ? -from : from) / 2) / from
    }

    /// Which samples of a track are in `intervals`.
    private func samples(
        of track: MP4Index.TrackIndex, in range: Range<Int>, _ intervals: RecordingIndex, origin: Int64
    ) -> Range<Int> {
        func first(_ interval: Int) -> Int {
            if interval <= 0 { return 0 }
            if interval >= intervals.count, !intervals.isPartial { return track.samples.count }
            let ticks = intervals.time(of: interval).ticks - origin
            let time = Self.rescale(ticks, from: 90_000, to: Int64(track.track.timescale)) - track.presentationShift
            return track.samples.firstIndex(decodedAtOrAfter: time)
        }
        let start = first(range.lowerBound)
        return start..<max(start, first(range.upperBound))
    }

    // MARK: Reading

    /// The frames of `range`, at the times of the recording's own clock: first all video, then all audio.
    ///
    /// Errors: those of `source`; `badMedia` for a sample that is not in the file.
    package func frames(
        in range: Range<Int>, of intervals: RecordingIndex, from source: some MP4ByteSource
    ) throws -> [Frame] {
        let origin = self.origin(intervals)
        var wanted: [(offset: Int64, count: Int, place: Int)] = []
        var frames: [Frame] = []
        for number in self.ordered {
            let track = self.index.tracks[number]
            let timescale = track.track.timescale
            let kind = track.track.track.kind
            track.samples.forEach(in: self.samples(of: track, in: range, intervals, origin: origin)) { sample in
                wanted.append((sample.offset, sample.byteCount, frames.count))
                let dts = Self.time(sample.decodeTime, of: track) + origin
                let composition = Self.rescale(
                    Int64(sample.compositionOffset), from: Int64(timescale), to: MediaTime.ticksPerSecond)
                frames.append(
                    Frame(
                        codec: track.track.track.codec, dts: MediaTime(ticks: dts),
                        pts: MediaTime(ticks: dts + composition), isKeyframe: kind == .audio || sample.isSync,
                        payload: ByteBuffer()))
            }
        }
        wanted.sort { $0.offset < $1.offset }
        var next = 0
        while next < wanted.count {
            let start = wanted[next].offset
            var end = start
            var last = next
            while last < wanted.count, wanted[last].offset - end <= Self.readGap {
                end = max(end, wanted[last].offset + Int64(wanted[last].count))
                last += 1
            }
            guard end <= source.byteCount else { throw RecordingError.badMedia(.mp4, offset: end) }
            let block = try source.read(at: start, count: Int(end - start))
            for piece in wanted[next..<last] {
                let place = block.readerIndex + Int(piece.offset - start)
                guard let payload = block.getSlice(at: place, length: piece.count) else {
                    throw RecordingError.badMedia(.mp4, offset: piece.offset)
                }
                frames[piece.place].payload = payload
            }
            next = last
        }
        return frames
    }

    /// The bytes of the frames of `range`, without reading them.
    package func byteCount(of range: Range<Int>, of intervals: RecordingIndex) -> Int64 {
        let origin = self.origin(intervals)
        var sum: Int64 = 0
        for number in self.ordered {
            let track = self.index.tracks[number]
            track.samples.forEach(in: self.samples(of: track, in: range, intervals, origin: origin)) {
                sum += Int64($0.byteCount)
            }
        }
        return sum
    }

    /// The intervals `range` as a part of a new file.
    package func clip(
        _ range: Range<Int>, of intervals: RecordingIndex, source: Int
    ) -> ProgressiveMP4.Clip {
        let origin = self.origin(intervals)
        var clip = ProgressiveMP4.Clip(source: source, index: self.index)
        if range.lowerBound > 0, let number = self.ordered.first {
            let track = self.index.tracks[number]
            let samples = self.samples(of: track, in: range, intervals, origin: origin)
            if !samples.isEmpty {
                let ticks = track.presentationTime(track.samples[samples.lowerBound])
                // Rounded up, so that it is not before the keyframe itself.
                let scale = Int64(track.track.timescale)
                let (whole, rest) = ticks.quotientAndRemainder(dividingBy: scale)
                let time = whole * MediaTime.ticksPerSecond + (rest * MediaTime.ticksPerSecond + scale - 1) / scale
                clip.from = MediaTime(ticks: time)
            }
        }
        if range.upperBound < intervals.count || intervals.isPartial {
            clip.to = MediaTime(ticks: intervals.time(of: range.upperBound).ticks - origin)
        }
        return clip
    }

    // MARK: After a crash

    /// The intervals of a fragmented file as its samples tell, for one whose index was lost.
    package func rebuiltIndex() -> RecordingIndex {
        var rebuilt = RecordingIndex()
        guard let number = self.ordered.first else { return rebuilt }
        let lead = self.index.tracks[number]
        let isVideo = lead.track.track.kind == .video
        var end: Int64 = 0
        for number in self.ordered {
            let track = self.index.tracks[number]
            end = max(end, Self.time(track.samples.endTime, of: track))
        }
        var lastTime: Int64 = 0
        lead.samples.forEach(in: 0..<lead.samples.count) { sample in
            let time = Self.time(sample.decodeTime, of: lead)
            let begins =
                rebuilt.count == 0 || (isVideo ? sample.isSync : time - lastTime >= RecordingIndex.audioInterval.ticks)
            guard begins else { return }
            lastTime = rebuilt.count == 0 ? 0 : time
            rebuilt.append(time: MediaTime(ticks: lastTime), position: sample.offset)
        }
        rebuilt.endTime = max(rebuilt.endTime, MediaTime(ticks: end))
        rebuilt.endPosition = self.index.completeEnd
        return rebuilt
    }
}
