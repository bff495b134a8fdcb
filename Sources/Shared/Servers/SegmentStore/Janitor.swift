import Logging
import Media
import MediaCatalog
import MediaStorage
import Synchronization

/// Deletes what nobody lists any more: by the catalogue, so it does not matter whether the stream is still known.
struct Janitor {
    /// How many files are deleted in one go.
    static let batchCount = 500
    /// How long positions of streams without files are kept: a day.
    static let positionMillis: Int64 = 86_400_000

    let context: StoreContext
    let configuration: @Sendable (StreamKey) -> SegmentStoreConfiguration?
    private var nextPruningMillis: Int64 = 0
    private var nextMaintenanceMillis: Int64 = 0

    init(
        context: StoreContext, configuration: @escaping @Sendable (StreamKey) -> SegmentStoreConfiguration?
    ) {
        self.context = context
        self.configuration = configuration
    }

    /// One round. Returns when its files are deleted.
    mutating func work(nowMillis: Int64) async {
        if nowMillis >= self.nextMaintenanceMillis {
            self.context.writers.maintain()
            self.nextMaintenanceMillis = nowMillis + 3_000
        }
        guard let catalog = self.context.catalog, catalog.status == .ready else { return }
        if nowMillis >= self.nextPruningMillis {
            catalog.prunePositions(beforeMillis: nowMillis - Self.positionMillis)
            self.nextPruningMillis = nowMillis + 3_600_000
        }
        while let files = try? await catalog.expired(nowMillis: nowMillis, limit: Self.batchCount), !files.isEmpty {
            let deleted = await self.delete(files)
            catalog.forget(deleted)
            await catalog.flush()
            // Files that cannot be deleted now are tried again in the next round.
            guard deleted.count == files.count, files.count == Self.batchCount, catalog.status == .ready else { return }
        }
    }

    /// Deletes files on their disks' threads, and returns those that are gone or shall stay.
    private func delete(_ files: [ExpiredFile]) async -> [ExpiredFile] {
        let gone = Mutex<[ExpiredFile]>([])
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let open = Mutex(files.count)
            let finish = { @Sendable in
                let isLast = open.withLock { count in
                    count -= 1
                    return count == 0
                }
                if isLast { continuation.resume() }
            }
            for file in files {
                guard !file.path.isEmpty, self.deletes(file.key) else {
                    gone.withLock { $0.append(file) }
                    finish()
                    continue
                }
                self.writer(for: file).delete(file.path) { result in
                    if case .success = result { gone.withLock { $0.append(file) } }
                    finish()
                }
            }
        }
        return gone.withLock { $0 }
    }

    private func deletes(_ key: StreamKey) -> Bool { self.configuration(key)?.disk?.deletesSegments ?? true }

    /// The writer of the file's root; if the settings know that no longer, one for the folder that it lies in.
    private func writer(for file: ExpiredFile) -> StorageWriter {
        if let writer = self.context.writers.writer(holding: file.path) { return writer }
        if let root = self.configuration(file.key)?.disk?.root, file.path.hasPrefix(root + "/") {
            return self.context.writers.writer(root: root)
        }
        return self.context.writers.writer(root: file.path.lastIndex(of: "/").map { String(file.path[..<$0]) } ?? "/")
    }
}
