import Logging
import Media
import MediaCatalog
import MediaObjects
import MediaStorage
import NIOCore
import Packaging
import Synchronization

/// What all streams of a store share.
struct StoreContext: Sendable {
    let catalog: MediaDatabase?
    let writers: StorageWriters
    let logger: Logger
    /// Is told of each segment; see `SegmentStore.init`.
    var onSegment: @Sendable (FinishedSegment) -> Void = { _ in }

    /// Whether a file that is written can be listed. What cannot be listed would never be deleted, so it is not written.
    var canIndex: Bool { self.catalog?.status == .ready }
}

/// What is kept of one stream: the live window in memory, where the rest lies on disk, and who waits for more.
///
/// The stream's home loop adds (`apply`), every loop reads (`StreamShelf+Answers`), the disk's writer reports
/// (`StreamShelf+Storage`). The lock guards look-ups and insertions only: playlists are rendered from a copy of the
/// window outside it, once for each generation, and waiters are completed outside it.
final class StreamShelf: Sendable {
    /// A file on disk.
    struct StoredFile: Sendable, Hashable {
        var path: String
        var byteCount: Int64
    }

    /// Bytes in memory. Pieces are joined when a segment is first asked for.
    enum Held: Sendable {
        case object(MediaObject)
        case pieces([ByteBuffer])
    }

    /// A segment that is in memory or on disk, with what it cannot be played without.
    struct Known: Sendable {
        var initialization: MediaObjectName
        var key: MediaObjectName?

        var needs: [MediaObjectName] { [self.initialization] + (self.key.map { [$0] } ?? []) }
    }

    /// Bytes that leave memory although their file is not written yet.
    struct Retirement: Sendable {
        var atMillis: Int64
        var name: MediaObjectName
    }

    struct Counters: Sendable, Hashable {
        var partCount = 0
        var segmentCount = 0
        /// Segments that could not be written: the disk failed, was too slow, or they could not be listed.
        var unwrittenSegments = 0
        var refusedWaiters = 0
        var expiredWaiters = 0
        var problems = 0
        var packaging: PackagingCounters?
    }

    struct State {
        var window: StreamWindow
        var memory: [MediaObjectName: Held] = [:]
        var memoryBytes = 0
        var files: [MediaObjectName: StoredFile] = [:]
        var known: [MediaObjectName: Known] = [:]
        /// Segments that are listed and neither in memory nor on disk: playlists say so.
        var missing: Set<MediaObjectName> = []
        /// How many known segments need an initialization segment or key.
        var uses: [MediaObjectName: Int] = [:]
        /// The last initialization segment of each tag and the last key: coming segments may need them.
        var current: [String: MediaObjectName] = [:]
        var tracks: [MediaObjectName: PackagedTracks] = [:]
        var keys: [MediaObjectName: [UInt8]] = [:]
        /// Initialization segments and keys that are on disk or on their way there.
        var written: Set<MediaObjectName> = []
        var parts = CircularBuffer<(name: MediaObjectName, segmentMillis: Int64)>()
        var retiring = CircularBuffer<Retirement>()
        /// The names in `retiring`.
        var leaving: Set<MediaObjectName> = []
        var rendered: [RenderedObject: MediaObject] = [:]
        var renderedGeneration: UInt64 = 0
        var waiters = PlaylistWaiters()
        var position: PackagingPosition?
        var epoch: UInt64?
        /// When the source ended, or the stream was first heard of; `nil` while a source is here.
        var endedAtMillis: Int64?
        var isDisposed = false
        var playlistsPending = false
        var listedPlaylists: Set<String> = []
        var counters = Counters()
    }

    /// What has to be done after the lock is released.
    struct Changes {
        var segments: [PackagedSegment] = []
        /// What these segments need and is not on disk.
        var tracks: [PackagedTracks] = []
        var keys: [(name: MediaObjectName, bytes: [UInt8])] = []
        var problems: [PackagingProblem] = []
        var released: [WaiterGroup] = []
        /// The stream ended: those who wait get what there is.
        var releasesAll = false
        /// The last segment of each tag that left every playlist.
        var expired: [PackagingTag: UInt64] = [:]
    }

    let key: StreamKey
    let configuration: SegmentStoreConfiguration
    let context: StoreContext
    let files: StreamFiles?
    let state: Mutex<State>

    init(key: StreamKey, configuration: SegmentStoreConfiguration, context: StoreContext, position: PackagingPosition?)
    {
        self.key = key
        self.configuration = configuration
        self.context = context
        self.files = configuration.disk.map { StreamFiles(key: key, disk: $0) }
        var state = State(window: StreamWindow(configuration: configuration.packaging))
        state.position = position
        state.endedAtMillis = WallClock.unixMillis
        self.state = Mutex(state)
    }

    /// How long bytes stay in memory for a disk that is behind.
    private static let slowDiskMillis: Int64 = 10_000

    /// How long a stream is looked after that nothing was made of.
    private static let emptyMillis: Int64 = 30_000

    // MARK: On the home loop

    /// Takes in what the packager gave out, in order, and wakes those who waited for it.
    func apply(
        _ outputs: [PackagingOutput], position: PackagingPosition, counters: PackagingCounters, nowMillis: Int64
    ) {
        let outputs = outputs.map { self.encrypted($0) }
        let changes = self.state.withLock { state in
            var changes = Changes()
            for output in outputs { state.take(in: output, nowMillis: nowMillis, changes: &changes) }
            state.position = position
            state.counters.packaging = counters
            if !changes.segments.isEmpty {
                state.retire(state.window.evict(), until: nowMillis + Self.slowDiskMillis, changes: &changes)
            }
            state.dropRetired(nowMillis: nowMillis)
            state.release(&changes)
            return changes
        }
        self.release(changes.released)
        self.store(changes, position: position, nowMillis: nowMillis)
        for problem in changes.problems {
            self.context.logger.warning(
                "packaging leaves something out: \(problem)", metadata: ["stream": "\(self.key)"])
        }
    }

    /// The stream is known to have gone on elsewhere, up to `position`.
    func advance(to position: PackagingPosition) {
        self.state.withLock { state in
            guard position.nextSequence > state.position?.nextSequence ?? 0 else { return }
            state.position = position
        }
    }

    // MARK: Over time

    /// Drops what is due; if the source ended long ago, everything. True if nothing is left to look after.
    func tick(nowMillis: Int64) -> Bool {
        let limit = self.configuration.disposeMillis
        let released: [WaiterGroup]? = self.state.withLock { state in
            state.dropRetired(nowMillis: nowMillis)
            guard let ended = state.endedAtMillis, !state.isDisposed else { return nil }
            let isOver = limit > 0 && nowMillis >= ended + limit
            guard isOver || (state.known.isEmpty && nowMillis >= ended + Self.emptyMillis) else { return nil }
            return state.dispose()
        }
        if let released {
            self.release(released)
            self.context.catalog?.expireAll(self.key, atMillis: nowMillis)
            self.context.logger.info("HLS files of an ended stream go away", metadata: ["stream": "\(self.key)"])
        }
        return self.state.withLock { $0.isDisposed && $0.waiters.isEmpty }
    }

    /// Drops everything at once, such as when the stream's settings change.
    func dispose(nowMillis: Int64) {
        self.release(self.state.withLock { $0.dispose() })
        self.context.catalog?.expireAll(self.key, atMillis: nowMillis)
    }

    var position: PackagingPosition? { self.state.withLock { $0.position } }
}

// MARK: - Under the lock

extension StreamShelf.State {
    mutating func take(in output: PackagingOutput, nowMillis: Int64, changes: inout StreamShelf.Changes) {
        self.window.append(output)
        switch output {
        case .started(let epoch):
            self.epoch = epoch
            self.endedAtMillis = nil
            // A source that goes on after a long pause does not announce its tracks again.
            if self.isDisposed { for tracks in self.tracks.values { self.window.append(.tracks(tracks)) } }
            self.isDisposed = false
        case .tracks(let tracks): self.take(in: tracks)
        case .part(let part): self.take(in: part)
        case .segment(let segment):
            self.take(in: segment)
            self.collectNeeds(of: segment.facts, &changes)
            changes.segments.append(segment)
        case .timedData: break
        case .ended(let isFinal):
            self.endedAtMillis = nowMillis
            changes.releasesAll = changes.releasesAll || isFinal
        case .problem(let problem):
            self.counters.problems += 1
            changes.problems.append(problem)
        }
    }

    private mutating func take(in tracks: PackagedTracks) {
        let name = tracks.facts.objectName
        self.tracks[name] = tracks
        self.replaceCurrent(tracks.facts.tag.rawValue, with: name)
        guard let bytes = tracks.initialization else { return }
        self.hold(
            .object(
                MediaObject(
                    body: .bytes(bytes), contentType: MediaObject.ContentType.mp4,
                    etag: ETag.of(name, byteCount: bytes.readableBytes), lifetime: .immutable)), as: name,
            byteCount: bytes.readableBytes)
    }

    private mutating func take(in part: PackagedPart) {
        let name = part.facts.objectName
        self.counters.partCount += 1
        self.parts.append((name, part.facts.segmentProgramDateTimeMillis))
        self.hold(
            .object(
                MediaObject(
                    body: .bytes(part.bytes), contentType: MediaObject.ContentType.segment,
                    etag: ETag.of(name, byteCount: part.bytes.readableBytes), lifetime: .immutable)), as: name,
            byteCount: part.bytes.readableBytes)
    }

    private mutating func take(in segment: PackagedSegment) {
        let facts = segment.facts
        self.counters.segmentCount += 1
        self.know(facts)
        self.hold(.pieces(segment.pieces), as: facts.objectName, byteCount: facts.byteCount)
        // Playlists list the parts of the last three target durations; those who read one may ask a little later.
        let oldest = facts.endMillis - 5_000 * Int64(facts.targetDurationSeconds)
        while let first = self.parts.first, first.segmentMillis < oldest {
            self.parts.removeFirst()
            self.drop(first.name)
        }
    }

    /// Notes that a segment is there, and what it needs.
    mutating func know(_ facts: SegmentFacts) {
        let known = facts.needs
        guard self.known.updateValue(known, forKey: facts.objectName) == nil else { return }
        for name in known.needs { self.uses[name, default: 0] += 1 }
    }

    /// What has to be written before the segment is.
    private mutating func collectNeeds(of facts: SegmentFacts, _ changes: inout StreamShelf.Changes) {
        for name in facts.needs.needs where !self.written.contains(name) {
            if let tracks = self.tracks[name] {
                changes.tracks.append(tracks)
            } else if let key = self.keys[name] {
                changes.keys.append((name, key))
            } else {
                continue
            }
            self.written.insert(name)
        }
    }

    /// `name` is what coming segments need; the one before goes if no segment needs it.
    mutating func replaceCurrent(_ slot: String, with name: MediaObjectName) {
        let old = self.current.updateValue(name, forKey: slot)
        if let old, old != name { self.dropIfUnused(old) }
    }

    mutating func hold(_ held: StreamShelf.Held, as name: MediaObjectName, byteCount: Int) {
        self.drop(name)
        self.memory[name] = held
        self.memoryBytes += byteCount
    }

    private mutating func drop(_ name: MediaObjectName) {
        switch self.memory.removeValue(forKey: name) {
        case .object(let object)?:
            if case .bytes(let bytes) = object.body { self.memoryBytes -= bytes.readableBytes }
        case .pieces(let pieces)?: self.memoryBytes -= pieces.reduce(0) { $0 + $1.readableBytes }
        case nil: break
        }
    }

    private mutating func dropIfUnused(_ name: MediaObjectName) {
        guard self.uses[name, default: 0] == 0, !self.current.values.contains(name) else { return }
        self.uses[name] = nil
        self.tracks[name] = nil
        self.keys[name] = nil
        self.written.remove(name)
        self.files[name] = nil
        self.drop(name)
    }

    /// Drops what no playlist needs any more. Memory stays for a while if the file is not there yet.
    mutating func retire(_ evicted: [EvictedSegment], until limit: Int64, changes: inout StreamShelf.Changes) {
        for segment in evicted {
            let name = MediaObjectName.segment(segment.tag.mediaTag, epoch: segment.epoch, sequence: segment.sequence)
            switch segment.reason {
            case .leftMemory where self.files[name] != nil: self.drop(name)
            case .leftMemory:
                guard self.memory[name] != nil else { continue }
                self.retiring.append(.init(atMillis: limit, name: name))
                self.leaving.insert(name)
            case .expired:
                self.forget(name)
                changes.expired[segment.tag] = max(changes.expired[segment.tag] ?? 0, segment.sequence)
            }
        }
    }

    private mutating func forget(_ name: MediaObjectName) {
        self.drop(name)
        self.files[name] = nil
        self.missing.remove(name)
        self.leaving.remove(name)
        guard let known = self.known.removeValue(forKey: name) else { return }
        for name in known.needs {
            self.uses[name, default: 1] -= 1
            self.dropIfUnused(name)
        }
    }

    mutating func dropRetired(nowMillis: Int64) {
        while let first = self.retiring.first, first.atMillis <= nowMillis {
            self.retiring.removeFirst()
            guard self.leaving.remove(first.name) != nil else { continue }
            self.drop(first.name)
            guard self.known[first.name] != nil, self.files[first.name] == nil else { continue }
            self.missing.insert(first.name)
            self.rendered.removeAll()
        }
    }

    /// A segment is on disk. False if it is no longer needed there.
    mutating func store(_ name: MediaObjectName, _ file: StreamShelf.StoredFile) -> Bool {
        guard self.known[name] != nil else { return false }
        self.files[name] = file
        if self.leaving.remove(name) != nil { self.drop(name) }
        if self.missing.remove(name) != nil { self.rendered.removeAll() }
        return true
    }

    /// Takes out those who need not wait any longer.
    mutating func release(_ changes: inout StreamShelf.Changes) {
        guard !self.waiters.isEmpty else { return }
        let all = changes.releasesAll
        changes.released = self.waiters.take(self.waiters.conditions.filter { all || !self.mustWait($0) })
    }

    /// Whether what a request asks for comes next.
    func mustWait(_ condition: WaitCondition) -> Bool {
        if self.isDisposed { return false }
        switch condition {
        case .playlist(let tag, let sequence, let part):
            // The next source may bring it. Whoever waits for that in vain gets what there is, see `giveUp`.
            if self.window.isEnded, let sequence, let next = self.window.position?.nextSequence, sequence >= next {
                return true
            }
            return self.window.readiness(tag, sequence: sequence, part: part) == .wait
        case .part(let tag, let epoch, let sequence, let part):
            let name = MediaObjectName.part(tag.mediaTag, epoch: epoch, sequence: sequence, part: part)
            guard self.memory[name] == nil, epoch == self.epoch, self.window.isLive else { return false }
            return self.window.readiness(tag, sequence: sequence, part: part) == .wait
        case .overview: return self.window.isLive && (self.window.tags.isEmpty || self.window.lacksAnnouncedTag)
        }
    }

    /// Forgets everything but what a source that returns goes on with.
    mutating func dispose() -> [WaiterGroup] {
        _ = self.window.removeAll()
        let kept = Set(self.current.values)
        for name in self.memory.keys where !kept.contains(name) { self.drop(name) }
        self.files.removeAll()
        self.known.removeAll()
        self.missing.removeAll()
        self.uses.removeAll()
        self.keys = self.keys.filter { kept.contains($0.key) }
        self.tracks = self.tracks.filter { kept.contains($0.key) }
        self.written.removeAll()
        self.parts.removeAll()
        self.retiring.removeAll()
        self.leaving.removeAll()
        self.rendered.removeAll()
        self.listedPlaylists.removeAll()
        self.isDisposed = true
        return self.waiters.take(self.waiters.conditions)
    }
}
