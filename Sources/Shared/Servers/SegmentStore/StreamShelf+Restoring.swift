import Logging
import Media
import MediaCatalog
import MediaObjects
import MediaStorage
import NIOCore
import Packaging
import Synchronization

extension StreamShelf {
    /// How many segments may have been written without their rows when the process was killed.
    fileprivate static let maximumUnlisted: UInt64 = 4

    /// Lists what the catalogue kept. Before any source.
    func restore(_ stored: StoredWindow, nowMillis: Int64) async {
        guard let files = self.files else { return }
        let keys = await self.readKeys(stored.assets, files)
        let changes = self.state.withLock { state in
            var changes = Changes()
            state.restore(stored, keys: keys)
            state.retire(state.window.evict(), until: nowMillis, changes: &changes)
            state.endedAtMillis = nowMillis
            return changes
        }
        self.store(changes, position: nil, nowMillis: nowMillis)
        // The playlists on disk may list what goes next.
        self.storePlaylists(nowMillis: nowMillis)
        self.removeUnlisted(stored, files)
        self.context.logger.info(
            "segments of before the start are listed",
            metadata: ["stream": "\(self.key)", "segments": "\(stored.segments.count)"])
    }

    /// The keys that are needed, read on the disk's thread. A key that cannot be read is missing: its segments are not.
    private func readKeys(_ assets: [AssetRecord], _ files: StreamFiles) async -> [MediaObjectName: [UInt8]] {
        let writer = self.context.writers.writer(root: files.disk.keyRoot ?? files.disk.root)
        var keys: [MediaObjectName: [UInt8]] = [:]
        for asset in assets where asset.kind == .key {
            switch await writer.read(asset.path, maximumCount: SegmentKeys.byteCount) {
            case .success(let bytes) where bytes.readableBytes == SegmentKeys.byteCount:
                keys[.key(epoch: asset.epoch, index: asset.number)] = Array(bytes.readableBytesView)
            case .success, .failure:
                self.context.logger.error(
                    "a key of older segments cannot be read",
                    metadata: ["stream": "\(self.key)", "file": "\(asset.path)"])
            }
        }
        return keys
    }

    /// Deletes files that were written shortly before a crash and have no row.
    private func removeUnlisted(_ stored: StoredWindow, _ files: StreamFiles) {
        let writer = self.context.writers.writer(root: files.disk.root)
        for tag in Set(stored.segments.map(\.tag)).compactMap(PackagingTag.init(rawValue:)) {
            guard let last = stored.segments.last(where: { $0.tag == tag.rawValue }) else { continue }
            for sequence in last.sequence + 1...last.sequence + Self.maximumUnlisted {
                guard let path = files.path(of: tag, epoch: last.epoch, sequence: sequence) else { return }
                writer.delete(path)
            }
        }
    }
}

extension StreamShelf.State {
    mutating func restore(_ stored: StoredWindow, keys: [MediaObjectName: [UInt8]]) {
        for asset in stored.assets {
            switch asset.kind {
            case .initialization:
                guard let facts = StoreJSON.decode(TrackFacts.self, asset.details) else { continue }
                self.window.restore(facts)
                self.current[facts.tag.rawValue] = facts.objectName
                self.written.insert(facts.objectName)
                guard !asset.path.isEmpty else { continue }
                self.files[facts.objectName] = .init(path: asset.path, byteCount: asset.byteCount)
            case .playlist: self.listedPlaylists.insert(asset.path)
            case .key: break
            }
        }
        for (name, key) in keys {
            self.keys[name] = key
            self.written.insert(name)
            self.hold(.object(SegmentKeys.object(key)), as: name, byteCount: key.count)
        }
        for segment in stored.segments {
            guard let facts = StoreJSON.decode(SegmentFacts.self, segment.details) else { continue }
            self.window.restore(facts)
            self.know(facts)
            self.files[facts.objectName] = .init(path: segment.path, byteCount: segment.byteCount)
        }
        for last in stored.lastSegments { self.fillHole(after: last, upTo: stored.position.nextSequence) }
        var position = self.window.position ?? stored.position.packaging
        // The catalogue may know of later numbers whose files are gone already.
        position.nextSequence = max(position.nextSequence, stored.position.nextSequence)
        position.discontinuitySequence = max(position.discontinuitySequence, stored.position.discontinuitySequence)
        self.position = position
    }

    /// Segments that were announced and whose files the crash prevented are gaps, so that the numbers before them still
    /// count. After more of them the window begins anew.
    private mutating func fillHole(after last: SegmentFacts, upTo next: UInt64) {
        guard next > last.sequence + 1, next - last.sequence <= StreamShelf.maximumUnlisted + 1 else { return }
        var gap = last
        (gap.isDiscontinuity, gap.isGap) = (false, true)
        (gap.byteCount, gap.frameCount, gap.partCount) = (0, 0, 0)
        for sequence in last.sequence + 1..<next {
            gap.sequence = sequence
            gap.decodeStart += gap.duration
            gap.presentationStart += gap.duration
            gap.programDateTimeMillis = gap.endMillis
            self.window.restore(gap)
        }
    }
}

extension StoredWindow {
    /// The newest segment of each tag.
    fileprivate var lastSegments: [SegmentFacts] {
        let last = Dictionary(self.segments.map { ($0.tag, $0) }) { $0.sequence > $1.sequence ? $0 : $1 }
        return last.values.compactMap { StoreJSON.decode(SegmentFacts.self, $0.details) }
    }
}
