import Logging
import Media
import MediaCatalog
import MediaObjects
import MediaStorage
import NIOCore
import Packaging
import Synchronization
import Playlists

/// Files and their rows. A row is written after its file, so a crash leaves no row without one.
extension StreamShelf {
    /// Writes what was made and lets go what left. On the home loop, without waiting.
    func store(_ changes: Changes, position: PackagingPosition?, nowMillis: Int64) {
        guard let catalog = self.context.catalog else {
            for segment in changes.segments { self.announce(segment.facts, path: nil) }
            return
        }
        for (tag, sequence) in changes.expired {
            catalog.expire(self.key, tag: tag.rawValue, through: sequence, atMillis: nowMillis)
        }
        for tracks in changes.tracks { self.store(tracks, nowMillis: nowMillis) }
        for key in changes.keys { self.store(key: key.bytes, as: key.name, nowMillis: nowMillis) }
        // Numbers that were given out are known before the disk has their files, and if it never does.
        if let position, !changes.segments.isEmpty { catalog.move(self.key, to: position.stored) }
        for segment in changes.segments { self.store(segment, position: position) }
    }

    /// The writer and the layout of this stream's files, if they can be written and listed.
    private var target: (writer: StorageWriter, files: StreamFiles, catalog: MediaDatabase)? {
        guard let files = self.files, let catalog = self.context.catalog, self.context.canIndex else { return nil }
        return (self.context.writers.writer(root: files.disk.root), files, catalog)
    }

    private func store(_ segment: PackagedSegment, position: PackagingPosition?) {
        guard self.files != nil else { return self.announce(segment.facts, path: nil) }
        guard let target = self.target, let path = target.files.path(of: segment.facts), let position else {
            self.announce(segment.facts, path: nil)
            return self.state.withLock { $0.counters.unwrittenSegments += 1 }
        }
        let facts = segment.facts
        target.writer.write(segment.pieces, to: path) { result in
            guard case .success = result else {
                self.announce(facts, path: nil)
                return self.state.withLock { $0.counters.unwrittenSegments += 1 }
            }
            self.announce(facts, path: path)
            target.catalog.add(self.record(of: facts, path: path), position: position.stored)
            let file = StoredFile(path: path, byteCount: Int64(facts.byteCount))
            let isNeeded = self.state.withLock { $0.store(facts.objectName, file) }
            self.storePlaylists(nowMillis: WallClock.unixMillis)
            // It left the window while it waited for the disk.
            if !isNeeded {
                target.catalog.expire(
                    self.key, tag: facts.tag.rawValue, through: facts.sequence, atMillis: WallClock.unixMillis)
            }
        }
    }

    /// Tells of a segment. `path` is its file, if it has one.
    private func announce(_ facts: SegmentFacts, path: String?) {
        let files = self.files.flatMap { $0.disk.writesPlaylists ? $0 : nil }
        self.context.onSegment(
            FinishedSegment(
                key: self.key, epoch: facts.epoch, sequence: facts.sequence, track: facts.tag.rawValue,
                durationMillis: facts.duration * 1_000 / Int64(max(1, facts.timescale)),
                byteCount: Int64(facts.byteCount), path: path,
                url: "\(self.key.app)/\(self.key.name)/\(facts.objectName.fileName)",
                playlistPath: files?.path(besideFolder: .multivariant, nowMillis: facts.programDateTimeMillis),
                playlistURL: "\(self.key.app)/\(self.key.name).m3u8"))
    }

    private func record(of facts: SegmentFacts, path: String) -> SegmentRecord {
        SegmentRecord(
            key: self.key, tag: facts.tag.rawValue, epoch: facts.epoch, sequence: facts.sequence, path: path,
            byteCount: Int64(facts.byteCount), start: facts.decodeStart, duration: facts.duration,
            timescale: facts.timescale, startMillis: facts.programDateTimeMillis,
            isDiscontinuity: facts.isDiscontinuity, isIndependent: facts.isIndependent,
            initializationIndex: facts.run.initializationIndex, keyIndex: facts.keyIndex,
            details: StoreJSON.encode(facts))
    }

    /// Writes an initialization segment; what only describes tracks has a row and no file.
    private func store(_ tracks: PackagedTracks, nowMillis: Int64) {
        let name = tracks.facts.objectName
        guard let target = self.target, let path = target.files.path(of: name, nowMillis: nowMillis) else {
            return self.forgetWritten(name)
        }
        let bytes = tracks.initialization
        let row = AssetRecord(
            key: self.key, kind: .initialization, tag: tracks.facts.tag.rawValue, epoch: tracks.facts.epoch,
            number: tracks.facts.index, path: bytes == nil ? "" : path, byteCount: Int64(bytes?.readableBytes ?? 0),
            details: StoreJSON.encode(tracks.facts))
        guard let bytes else { return target.catalog.add(row) }
        target.writer.write([bytes], to: path) { result in
            guard case .success = result else { return self.forgetWritten(name) }
            target.catalog.add(row)
            self.state.withLock { $0.files[name] = StoredFile(path: path, byteCount: row.byteCount) }
        }
    }

    /// Writes a key for its owner's eyes only.
    private func store(key bytes: [UInt8], as name: MediaObjectName, nowMillis: Int64) {
        guard let target = self.target, case .key(let epoch, let index) = name,
            let path = target.files.path(ofKey: name, nowMillis: nowMillis)
        else { return self.forgetWritten(name) }
        let writer = self.context.writers.writer(root: target.files.disk.keyRoot ?? target.files.disk.root)
        let row = AssetRecord(
            key: self.key, kind: .key, tag: "", epoch: epoch, number: index, path: path,
            byteCount: Int64(bytes.count))
        writer.write([ByteBuffer(bytes: bytes)], to: path, mode: 0o600) { result in
            guard case .success = result else { return self.forgetWritten(name) }
            target.catalog.add(row)
        }
    }

    /// The next segment that needs it tries again.
    private func forgetWritten(_ name: MediaObjectName) {
        self.state.withLock { state in _ = state.written.remove(name) }
    }

    // MARK: Playlists

    /// Writes the playlists and the manifest for static servers, as they are when it is their turn. Called when
    /// a segment is there, on the writer's thread. Those that wait are not queued twice, so a slow disk costs versions of them.
    func storePlaylists(nowMillis: Int64) {
        guard let target = self.target, target.files.disk.writesPlaylists, target.files.disk.isServable else { return }
        let tags = self.state.withLock { state -> [PackagingTag] in
            guard !state.playlistsPending, !state.window.tags.isEmpty else { return [] }
            state.playlistsPending = true
            return state.window.tags
        }
        guard !tags.isEmpty else { return }
        for (index, tag) in tags.enumerated() {
            guard let path = target.files.path(of: .playlist(tag.mediaTag), nowMillis: nowMillis) else { continue }
            // What comes after the first of them is made is queued anew.
            self.write(path, target, endsPending: index == 0) { window, unwritten in
                Self.plainPlaylist(tag, window, unwritten: unwritten)
            }
        }
        for name in [MediaObjectName.multivariant, .manifest] {
            guard let path = target.files.path(besideFolder: name, nowMillis: nowMillis) else { continue }
            let folder = self.folder
            self.write(path, target, endsPending: false) { window, _ in
                Self.overview(name, folder: folder, window)
            }
        }
    }

    /// `contents` is given the window as it is when it is the file's turn, and the segments that are not on disk then.
    private func write(
        _ path: String, _ target: (writer: StorageWriter, files: StreamFiles, catalog: MediaDatabase),
        endsPending: Bool, making contents: @escaping @Sendable (StreamWindow, Set<MediaObjectName>) -> ByteBuffer?
    ) {
        target.writer.write(to: path) {
            let (window, unwritten) = self.state.withLock { state -> (StreamWindow?, Set<MediaObjectName>) in
                if endsPending { state.playlistsPending = false }
                if state.isDisposed { return (nil, []) }
                return (state.window, Set(state.known.keys.filter { state.files[$0] == nil }))
            }
            return window.flatMap { contents($0, unwritten) }
        } completion: { result in
            guard case .success = result else {
                return self.state.withLock { $0.playlistsPending = false }
            }
            let (isNew, isDisposed) = self.state.withLock { state in
                (!state.isDisposed && state.listedPlaylists.insert(path).inserted, state.isDisposed)
            }
            guard isNew || isDisposed else { return }
            // The file's name takes the place of a tag, which tells the rows of a stream's playlists apart.
            let name = path.split(separator: "/").last.map(String.init) ?? path
            target.catalog.add(
                AssetRecord(key: self.key, kind: .playlist, tag: name, epoch: 0, number: 0, path: path, byteCount: 0))
            if isDisposed { target.catalog.expireAll(self.key, atMillis: WallClock.unixMillis) }
        }
    }

    /// A media playlist without what a static server cannot do.
    private static func plainPlaylist(
        _ tag: PackagingTag, _ window: StreamWindow, unwritten: Set<MediaObjectName>
    ) -> ByteBuffer? {
        let answer = window.playlist(tag, sequence: nil, part: nil, delta: false, rewindSeconds: nil)
        guard case .playlist(var playlist, _) = answer else { return nil }
        playlist.serverControl = nil
        playlist.partTarget = nil
        playlist.openSegment = nil
        playlist.preloadHints = []
        playlist.renditionReports = []
        for index in playlist.segments.indices { playlist.segments[index].parts = [] }
        self.markGaps(&playlist, unwritten)
        // Those at the end are still on their way: they are listed when they are there.
        while playlist.segments.last?.isGap == true { playlist.segments.removeLast() }
        guard !playlist.segments.isEmpty else { return nil }
        var bytes = ByteBuffer()
        playlist.write(into: &bytes, delta: nil)
        return bytes
    }

    private static func overview(_ name: MediaObjectName, folder: String, _ window: StreamWindow) -> ByteBuffer? {
        var bytes = ByteBuffer()
        if name == .manifest {
            guard let manifest = window.manifest(folder: folder, nowMillis: WallClock.unixMillis) else { return nil }
            manifest.write(into: &bytes)
        } else {
            guard let facts = window.variant() else { return nil }
            GroupPlaylist.write([.init(folder: folder, facts: facts)], rewindSeconds: nil, into: &bytes)
        }
        return bytes
    }
}

extension PackagingPosition {
    var stored: StreamPosition {
        StreamPosition(
            nextSequence: self.nextSequence, discontinuitySequence: self.discontinuitySequence,
            endMillis: self.endMillis)
    }
}

extension StreamPosition {
    var packaging: PackagingPosition {
        PackagingPosition(
            nextSequence: self.nextSequence, discontinuitySequence: self.discontinuitySequence,
            endMillis: self.endMillis)
    }
}
