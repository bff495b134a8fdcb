import Logging
import Media
import MediaCatalog
package import MediaObjects
import MediaStorage
package import NIOCore
import Playlists
import Recording
import Synchronization

extension Recorder: MediaObjectSource {
    /// Answers for `.recording` names only; others are not found. Any loop.
    ///
    /// Playlists are VOD playlists of what was recorded in a range, the part of a growing file that is on the disk
    /// included, one media playlist with audio and video in each segment. Segments are made of the file's bytes on
    /// demand and never change. Downloads are MP4 files made of them.
    package func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        guard case .recording(let name) = request.name else { return .now(.notFound("not a recording")) }
        let isAdmitted = self.requests.withLock { count in
            guard count < self.limits.maximumRequests else { return false }
            count += 1
            return true
        }
        guard isAdmitted else { return .now(.unavailable("too many requests for recordings")) }
        let answer = loop.makePromise(of: MediaObjectAnswer.self)
        var deadline = self.limits.requestDeadline
        if case .file = name { deadline = deadline + self.limits.downloadDeadline }
        let timer = loop.scheduleTask(in: deadline) { answer.succeed(.unavailable("the disk is slow")) }
        // The catalogue is asked with `async` calls, and what waits here is a loop.
        let work = loop.makeFutureWithTask { await self.answer(to: name, of: request.key, on: loop) }
        work.whenComplete { result in
            timer.cancel()
            self.requests.withLock { $0 -= 1 }
            // After the deadline the answer was given, and this does nothing.
            answer.succeed((try? result.get()) ?? .unavailable("the node is stopping"))
        }
        return .later(answer.futureResult)
    }

    private func answer(
        to name: RecordingObjectName, of key: StreamKey, on loop: any EventLoop
    ) async -> MediaObjectAnswer {
        do {
            switch name {
            case .playlist(let from, let to):
                return try await self.playlist(of: key, from: from, to: to)
            case .file(let from, let to):
                return try await self.file(of: key, from: from, to: to, on: loop)
            case .initialization(let id):
                guard let recording = try await self.playable(id, key) else { return Self.unknown }
                let bytes = try await self.library.onThread { try self.library.initialization(recording) }
                return .object(Self.immutable(bytes))
            case .segment(let id, let first, let count):
                guard let recording = try await self.playable(id, key) else { return Self.unknown }
                guard first < recording.index.count, count <= recording.index.count - first else {
                    return .notFound("the recording has \(recording.index.count) intervals")
                }
                let bytes = try await self.library.onThread {
                    try self.library.segment(recording, first..<first + count)
                }
                return .object(Self.immutable(bytes))
            }
        } catch {
            return self.answer(for: error, key)
        }
    }

    private static let unknown = MediaObjectAnswer.notFound("there is no such recording of this stream")

    private func answer(for error: any Error, _ key: StreamKey) -> MediaObjectAnswer {
        switch error {
        case StorageError.missing: return .notFound("the file is gone")
        case RecordingError.empty: return .notFound("nothing was recorded there")
        case RecordingError.tracksDiffer: return .conflict("the tracks changed in this range: ask for a part of it")
        case RecordingError.unsupported(let codec, _): return .conflict("\(codec.rawValue) cannot be played as MP4")
        case LibraryError.tooLarge(let count): return .badRequest("a segment of \(count) bytes is too large")
        case is MediaDatabaseError: return .unavailable("the catalogue of recordings is out of use")
        default:
            self.logger.warning("a recording cannot be read: \(error)", metadata: ["stream": "\(key)"])
            return .unavailable("the recording cannot be read")
        }
    }

    private static func immutable(_ bytes: ByteBuffer) -> MediaObject {
        MediaObject(
            body: .bytes(bytes), contentType: MediaObject.ContentType.mp4, etag: ContentTag.of(bytes),
            lifetime: .immutable)
    }

    // MARK: Which recordings

    private func playable(_ id: String, _ key: StreamKey) async throws -> PlayableRecording? {
        if let active = self.active(id), active.key == key, active.entry.state == .recording {
            return self.growing(active)
        }
        guard let entry = try await self.database.recording(id), entry.key == key else { return nil }
        return try await self.playable(entry)
    }

    private func playable(_ entry: RecordingEntry) async throws -> PlayableRecording? {
        if let active = self.active(entry.id) { return self.growing(active) }
        guard entry.state == .finished else { return nil }
        return try await self.library.finished(entry)
    }

    private func active(_ id: String) -> ActiveRecording? { self.state.withLock { $0.active[id] } }

    /// A file that is written, or closed and not in its last form yet.
    private func growing(_ active: ActiveRecording) -> PlayableRecording? {
        let (entry, index) = active.playable
        guard index.count > 0 else { return nil }
        return PlayableRecording(
            entry: entry, index: index, path: active.partPath, isGrowing: true)
    }

    /// The recordings of a stream that overlap a time, with the intervals that do.
    private func parts(
        of key: StreamKey, from: Int64, to: Int64
    ) async throws -> [(recording: PlayableRecording, range: Range<Int>)] {
        // What the catalogue does not know yet of growing files is added: their rows say an older end.
        var found: [String: RecordingEntry] = [:]
        let growing = self.state.withLock { state in state.active.values.filter { $0.key == key }.map(\.entry) }
        for entry in growing { found[entry.id] = entry }
        var query = RecordingQuery(of: key, fromMillis: from, toMillis: to)
        query.limit = RecordingQuery.limits.upperBound
        while true {
            let page = try await self.database.recordings(query)
            for entry in page.recordings where found[entry.id] == nil { found[entry.id] = entry }
            guard let next = page.next.flatMap(RecordingQuery.Cursor.init), found.count < self.limits.maximumFiles
            else { break }
            query.cursor = next
        }
        var parts: [(recording: PlayableRecording, range: Range<Int>)] = []
        let entries = found.values.sorted { ($0.startMillis, $0.id) < ($1.startMillis, $1.id) }
        for (number, entry) in entries.prefix(self.limits.maximumFiles).enumerated() {
            // Sound of a file may end a little after the next file has begun: nobody asked for the file because of that.
            let next = number + 1 < entries.count ? entries[number + 1] : nil
            if let next, next.startMillis <= from, next.epoch == entry.epoch { continue }
            guard let recording = try await self.playable(entry) else { continue }
            let range = recording.intervals(fromMillis: from, toMillis: to)
            if !range.isEmpty { parts.append((recording, range)) }
        }
        return parts
    }

    // MARK: Playlists

    private func playlist(of key: StreamKey, from: Int64, to: Int64) async throws -> MediaObjectAnswer {
        guard to - from <= self.limits.maximumRange.nanoseconds / 1_000_000 else {
            return .badRequest("the range is too long")
        }
        let parts = try await self.parts(of: key, from: from, to: to)
        guard !parts.isEmpty else { return .notFound("nothing was recorded there") }
        let duration = MediaTime(ticks: self.limits.segmentDuration.nanoseconds / 100_000 * 9)
        var segments: [MediaPlaylist.Segment] = []
        for (number, part) in parts.enumerated() {
            let id = part.recording.entry.id
            let map = MediaPlaylist.Map(
                uri: MediaObjectName.recording(.initialization(recording: id)).fileName)
            for group in part.recording.index.groups(of: part.range, duration: duration) {
                let index = part.recording.index
                let ticks = (index.time(of: group.upperBound) - index.time(of: group.lowerBound)).ticks
                let name = RecordingObjectName.segment(
                    recording: id, first: group.lowerBound, count: group.count)
                segments.append(
                    MediaPlaylist.Segment(
                        uri: MediaObjectName.recording(name).fileName,
                        duration: PlaylistDuration(ticks: ticks, timescale: MediaTime.ticksPerSecond),
                        programDateTimeMillis: part.recording.millis(of: group.lowerBound),
                        isDiscontinuity: number > 0 && group.lowerBound == part.range.lowerBound, map: map))
            }
        }
        let longest = segments.lazy.map(\.duration.roundedSeconds).max() ?? 1
        let playlist = MediaPlaylist(
            targetDuration: max(1, Int(longest)), kind: .onDemand, isEnded: true, hasIndependentSegments: true,
            segments: segments)
        var bytes = ByteBuffer()
        playlist.write(into: &bytes)
        // Files may still end or be deleted; a range that is over and complete stays as it is for a while.
        let isGrowing = parts.contains { $0.recording.isGrowing } || to > WallClock.unixMillis
        return .object(
            MediaObject(
                body: .bytes(bytes), gzip: Gzip.compress(bytes), contentType: MediaObject.ContentType.hls,
                etag: ContentTag.of(bytes), lifetime: .seconds(isGrowing ? 1 : 30)))
    }

    // MARK: Downloads

    private func file(
        of key: StreamKey, from: Int64, to: Int64, on loop: any EventLoop
    ) async throws -> MediaObjectAnswer {
        guard to - from <= self.limits.maximumRange.nanoseconds / 1_000_000 else {
            return .badRequest("the range is too long")
        }
        let parts = try await self.parts(of: key, from: from, to: to)
        guard !parts.isEmpty else { return .notFound("nothing was recorded there") }
        var contents = ByteBuffer()
        for part in parts {
            contents.writeString("\(part.recording.entry.id) \(part.range.lowerBound) \(part.range.upperBound);")
        }
        let tag = ContentTag.of(contents)
        let answer = try await self.downloads.file(
            "\(tag).mp4", of: parts, byteCount: Self.estimatedBytes(of: parts), library: self.library, on: loop
        ).get()
        switch answer {
        case .busy: return .unavailable("the file is being made, or there is no room for it")
        case .failed(let error): throw error
        case .file(let path, let count):
            let name = key.name.split(separator: "/").last.map(String.init) ?? "recording"
            return .object(
                MediaObject(
                    body: .file(path: path, count: count), contentType: MediaObject.ContentType.mp4, etag: tag,
                    lifetime: .seconds(30), attachmentName: "\(name)-\(from)-\(to).mp4"))
        }
    }

    /// By time, because the bytes of an interval are known only with the file's tables.
    private static func estimatedBytes(of parts: [(recording: PlayableRecording, range: Range<Int>)]) -> Int64 {
        parts.reduce(0) { sum, part in
            let index = part.recording.index
            let all = max(1, index.endTime.ticks)
            let wanted = (index.time(of: part.range.upperBound) - index.time(of: part.range.lowerBound)).ticks
            let share = Double(wanted) / Double(all)
            return sum + Int64(Double(part.recording.entry.bytes) * min(1, share) * 1.05) + 65_536
        }
    }
}

/// Strong validators: equal for equal bytes on every node.
enum ContentTag {
    /// 64 bits that change with any byte, and the length.
    static func of(_ bytes: ByteBuffer) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        var rest = bytes
        while let word = rest.readInteger(as: UInt64.self) {
            hash = (hash ^ word) &* 0x9E37_79B9_7F4A_7C15
            hash ^= hash >> 29
        }
        while let byte = rest.readInteger(as: UInt8.self) {
            hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
        }
        hash ^= hash >> 32
        return "\(String(hash, radix: 16))-\(String(bytes.readableBytes, radix: 16))"
    }
}
