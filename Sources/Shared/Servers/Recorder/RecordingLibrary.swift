import ISOBMFF
import Media
import MediaCatalog
import MediaStorage
import NIOCore
import NIOPosix
import Recording
import Synchronization

/// A recording that can be played: what the catalogue or the recorder knows of it.
struct PlayableRecording: Sendable {
    var entry: RecordingEntry
    var index: RecordingIndex
    /// Where its bytes are now.
    var path: String
    /// More intervals will come.
    var isGrowing: Bool

    /// The intervals that overlap a time of the wall clock.
    func intervals(fromMillis: Int64, toMillis: Int64) -> Range<Int> {
        self.index.intervals(
            from: MediaTime(millis: fromMillis - self.entry.startMillis),
            to: MediaTime(millis: toMillis - self.entry.startMillis))
    }

    /// The wall clock at the start of an interval.
    func millis(of interval: Int) -> Int64 { self.entry.startMillis + self.index.time(of: interval).millis }
}

/// Reads the media of recordings, on threads that may block.
final class RecordingLibrary: Sendable {
    /// How the media of one file are found.
    private enum Reader: Sendable {
        case mp4(MP4Intervals)
        case frames(FrameReader)
    }

    private struct State {
        var indexes = BoundedCache<String, RecordingIndex>(maximumCost: 2 << 20)
        var readers: BoundedCache<String, (reader: Reader, path: String)>
        /// By recording and intervals. Who asks has made sure that the recording is still there.
        var segments: BoundedCache<String, ByteBuffer>
    }

    private let database: MediaDatabase
    private let limits: RecorderLimits
    private let pool: NIOThreadPool
    private let state: Mutex<State>

    init(database: MediaDatabase, limits: RecorderLimits, pool: NIOThreadPool) {
        self.database = database
        self.limits = limits
        self.pool = pool
        self.state = Mutex(
            State(
                readers: BoundedCache(maximumCost: limits.indexedSamples),
                segments: BoundedCache(maximumCost: limits.segmentCacheBytes)))
    }

    func forget(_ id: String) {
        self.state.withLock { state in
            state.indexes.remove(id)
            state.readers.remove(id)
        }
    }

    // MARK: What there is

    /// A finished recording with its index; `nil` if it has none.
    func finished(_ entry: RecordingEntry) async throws(MediaDatabaseError) -> PlayableRecording? {
        if let index = self.state.withLock({ $0.indexes.value(entry.id) }) {
            return PlayableRecording(entry: entry, index: index, path: entry.path, isGrowing: false)
        }
        guard let bytes = try await self.database.recordingIndex(entry.id),
            let index = try? RecordingIndex(decoding: ByteBuffer(bytes: bytes))
        else { return nil }
        self.state.withLock { $0.indexes.insert(index, cost: index.count + 1, for: entry.id) }
        return PlayableRecording(entry: entry, index: index, path: entry.path, isGrowing: false)
    }

    // MARK: Media. On a reading thread.

    /// The initialization segment for the recording's segments.
    func initialization(_ recording: PlayableRecording) throws -> ByteBuffer {
        var recording = recording
        let file = try Self.open(&recording)
        switch try self.reader(of: recording, file) {
        case .mp4(let intervals):
            // Frames tell what tracks do not: the first ones do, in every state of the file.
            let frames = try intervals.frames(in: 0..<min(1, recording.index.count), of: recording.index, from: file)
            return try RecordingSegment.initialization(tracks: intervals.tracks, frames: frames)
        case .frames(let reader):
            return try RecordingSegment.initialization(tracks: reader.tracks, frames: reader.firstFrames)
        }
    }

    /// The segment of `range`, which is in the recording.
    func segment(_ recording: PlayableRecording, _ range: Range<Int>) throws -> ByteBuffer {
        let name = "\(recording.entry.id)-\(range.lowerBound)-\(range.count)"
        if let known = self.state.withLock({ $0.segments.value(name) }) { return known }
        let bytes = try self.makeSegment(recording, range)
        self.state.withLock { $0.segments.insert(bytes, cost: bytes.readableBytes, for: name) }
        return bytes
    }

    private func makeSegment(_ recording: PlayableRecording, _ range: Range<Int>) throws -> ByteBuffer {
        var recording = recording
        let file = try Self.open(&recording)
        let (frames, tracks) = try self.frames(of: recording, range, from: file)
        return try RecordingSegment.media(
            frames: frames, tracks: tracks, sequence: UInt32(clamping: range.lowerBound + 1),
            nextVideo: recording.index.time(of: range.upperBound),
            origin: MediaTime(millis: recording.entry.startMillis))
    }

    /// A file that was finished a moment ago is no longer where it was.
    private static func open(_ recording: inout PlayableRecording) throws(StorageError) -> DiskFile {
        do throws(StorageError) {
            return try DiskFile.open(recording.path)
        } catch {
            guard error == .missing, recording.path != recording.entry.path else { throw error }
            recording.path = recording.entry.path
            recording.isGrowing = false
            return try DiskFile.open(recording.path)
        }
    }

    private func frames(
        of recording: PlayableRecording, _ range: Range<Int>, from file: DiskFile
    ) throws -> (frames: [Frame], tracks: [Track]) {
        switch try self.reader(of: recording, file) {
        case .mp4(let intervals):
            let count = intervals.byteCount(of: range, of: recording.index)
            guard count <= self.limits.maximumSegmentBytes else { throw LibraryError.tooLarge(byteCount: count) }
            return (try intervals.frames(in: range, of: recording.index, from: file), intervals.tracks)
        case .frames(let reader):
            let bytes = recording.index.bytes(of: range)
            let count = bytes.upperBound - bytes.lowerBound
            guard count <= self.limits.maximumSegmentBytes else { throw LibraryError.tooLarge(byteCount: count) }
            let data = try file.read(at: bytes.lowerBound, count: Int(count))
            guard data.readableBytes == count else {
                throw RecordingError.badMedia(recording.entry.format, offset: bytes.lowerBound)
            }
            return (try reader.frames(in: data, from: recording.index.time(of: range.lowerBound)), reader.tracks)
        }
    }

    /// The reader of a file, as far as the file has come.
    private func reader(of recording: PlayableRecording, _ file: DiskFile) throws -> Reader {
        let id = recording.entry.id
        let known = self.state.withLock { $0.readers.value(id) }
        if let known, known.path == recording.path {
            guard case .mp4(var intervals) = known.reader, recording.isGrowing else { return known.reader }
            try intervals.readOn(from: file)
            self.keep(.mp4(intervals), of: recording)
            return .mp4(intervals)
        }
        let reader: Reader
        if recording.entry.format == .mp4 {
            reader = .mp4(try MP4Intervals(reading: file))
        } else {
            guard recording.index.count > 0 else { throw RecordingError.empty }
            let first = recording.index.bytes(of: 0..<1)
            let count = first.upperBound - first.lowerBound
            guard count <= self.limits.maximumSegmentBytes else { throw LibraryError.tooLarge(byteCount: count) }
            reader = .frames(
                try FrameReader(
                    format: recording.entry.format,
                    header: try file.read(at: 0, count: Int(min(first.lowerBound, 16 << 20))),
                    first: try file.read(at: first.lowerBound, count: Int(count))))
        }
        self.keep(reader, of: recording)
        return reader
    }

    private func keep(_ reader: Reader, of recording: PlayableRecording) {
        let cost: Int
        switch reader {
        case .mp4(let intervals): cost = intervals.sampleCount + 1_000
        case .frames(let reader):
            // Its first interval stays in memory, too: as much as so many samples' tables take.
            cost = 1_000 + reader.firstFrames.reduce(0) { $0 + $1.payload.readableBytes } / 12
        }
        self.state.withLock { $0.readers.insert((reader, recording.path), cost: cost, for: recording.entry.id) }
    }

    // MARK: One file out of several

    /// Plans an MP4 of the given intervals, one recording behind the other. Recordings in other formats are first
    /// written into fragmented files in `folder`, whose names begin with `name`.
    func join(
        _ parts: [(recording: PlayableRecording, range: Range<Int>)], folder: String, name: String
    ) throws -> (plan: ProgressiveMP4.Plan, sources: [DiskFile], temporary: [String]) {
        var clips: [ProgressiveMP4.Clip] = []
        var sources: [DiskFile] = []
        var temporary: [String] = []
        do {
            for (number, part) in parts.enumerated() {
                var recording = part.recording
                let file = try Self.open(&recording)
                switch try self.reader(of: recording, file) {
                case .mp4(let intervals):
                    clips.append(intervals.clip(part.range, of: recording.index, source: number))
                    sources.append(file)
                case .frames(let reader):
                    let path = "\(folder)/\(name)-\(number).tmp"
                    temporary.append(path)
                    let copy = try self.fragmented(recording, part.range, reader, from: file, at: path)
                    clips.append(ProgressiveMP4.Clip(source: number, index: try MP4Index(reading: copy)))
                    sources.append(copy)
                }
            }
            do throws(ISOBMFFError) {
                return (try ProgressiveMP4.plan(joining: clips), sources, temporary)
            } catch {
                if case .incompatibleTracks = error { throw RecordingError.tracksDiffer }
                throw error
            }
        } catch {
            for path in temporary { DiskFile.remove(path) }
            throw error
        }
    }

    private func fragmented(
        _ recording: PlayableRecording, _ range: Range<Int>, _ reader: FrameReader, from file: DiskFile, at path: String
    ) throws -> DiskFile {
        let target = try DiskFile.create(path)
        try target.append(
            try RecordingSegment.initialization(tracks: reader.tracks, frames: reader.firstFrames))
        for interval in range {
            let piece = interval..<interval + 1
            let frames = try self.frames(of: recording, piece, from: file).frames
            guard !frames.isEmpty else { continue }
            try target.append(
                try RecordingSegment.media(
                    frames: frames, tracks: reader.tracks, sequence: UInt32(clamping: interval + 1),
                    nextVideo: recording.index.time(of: piece.upperBound)))
        }
        return target
    }

    // MARK: Threads

    /// Runs work that blocks on a reading thread.
    func onThread<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await self.pool.runIfActive { try work() }
    }
}

/// Why media are not made.
enum LibraryError: Error, Equatable {
    case tooLarge(byteCount: Int64)
}
