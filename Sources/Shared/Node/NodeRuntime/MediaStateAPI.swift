import Foundation
import Hummingbird
import MediaCatalog
import MediaStorage
import NIOCore
import ObjectCache
import SegmentStore

/// How packaging, disks and the cache of a node are.
struct MediaStateAPI: Sendable {
    let media: OriginMedia?
    let cache: ObjectCache?

    func add(to router: Router<BasicRequestContext>) {
        if let media = self.media {
            router.get("/api/v1/storage") { _, _ in
                StorageList(
                    catalog: "\(media.database.status)", folders: media.storageStates.map(StorageView.init),
                    streams: media.segments.statistics().map(SegmentView.init))
            }
        }
        if let cache = self.cache {
            router.get("/api/v1/cache") { _, _ in CacheView(cache.statistics) }
        }
    }

    private struct StorageList: ResponseEncodable {
        let catalog: String
        let folders: [StorageView]
        let streams: [SegmentView]
    }

    private struct StorageView: Encodable {
        let root: String
        /// What is wrong with the disk; missing if nothing is.
        let alarm: String?
        let alarmSinceMillis: Int64?
        let queuedBytes: Int
        let writtenBytes: UInt64
        let writtenFiles: UInt64
        let deletedFiles: UInt64
        let failedWrites: UInt64
        let droppedWrites: UInt64
        let freeBytes: UInt64?
        let totalBytes: UInt64?

        init(_ snapshot: StorageSnapshot) {
            self.root = snapshot.root
            self.alarm = snapshot.alarm.map { "\($0)" }
            self.alarmSinceMillis = snapshot.alarmSinceUnixMillis
            self.queuedBytes = snapshot.queuedBytes
            self.writtenBytes = snapshot.writtenBytes
            self.writtenFiles = snapshot.writtenFiles
            self.deletedFiles = snapshot.deletedFiles
            self.failedWrites = snapshot.failedWrites
            self.droppedWrites = snapshot.droppedWrites
            self.freeBytes = snapshot.space?.freeBytes
            self.totalBytes = snapshot.space?.totalBytes
        }
    }

    private struct SegmentView: Encodable {
        let key: String
        let isLive: Bool
        let targetDurationSeconds: Int?
        let partTargetMillis: Int64?
        let segments: Int
        let storedSegments: Int
        let storedBytes: Int64
        let memoryBytes: Int
        let madeSegments: Int
        let madeParts: Int
        let unwrittenSegments: Int
        let waiters: Int
        let problems: Int

        init(_ statistics: SegmentStoreStatistics) {
            self.key = "\(statistics.key)"
            self.isLive = statistics.isLive
            self.targetDurationSeconds = statistics.targetDurationSeconds
            self.partTargetMillis = statistics.partTargetMillis
            self.segments = statistics.knownSegments
            self.storedSegments = statistics.storedSegments
            self.storedBytes = statistics.storedBytes
            self.memoryBytes = statistics.memoryBytes
            self.madeSegments = statistics.madeSegments
            self.madeParts = statistics.madeParts
            self.unwrittenSegments = statistics.unwrittenSegments
            self.waiters = statistics.waiters
            self.problems = statistics.problems
        }
    }

    private struct CacheView: ResponseEncodable {
        let hits: Int
        let misses: Int
        let waits: Int
        let stale: Int
        let negatives: Int
        let refused: Int
        let passedThrough: Int
        let passThroughs: Int
        let fetched: Int
        let notFound: Int
        let errors: Int
        let outdated: Int
        let evictions: Int
        let fetchedBytes: Int
        let objects: Int
        let bytes: Int
        let flights: Int
        let waiters: Int

        init(_ statistics: ObjectCacheStatistics) {
            self.hits = statistics.hits
            self.misses = statistics.misses
            self.waits = statistics.waits
            self.stale = statistics.stale
            self.negatives = statistics.negatives
            self.refused = statistics.refused
            self.passedThrough = statistics.passedThrough
            self.passThroughs = statistics.passThroughs
            self.fetched = statistics.fetched
            self.notFound = statistics.notFound
            self.errors = statistics.errors
            self.outdated = statistics.outdated
            self.evictions = statistics.evictions
            self.fetchedBytes = statistics.fetchedBytes
            self.objects = statistics.objects
            self.bytes = statistics.bytes
            self.flights = statistics.flights
            self.waiters = statistics.waiters
        }
    }
}
