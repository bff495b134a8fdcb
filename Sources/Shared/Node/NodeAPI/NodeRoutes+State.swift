import Exposition
import Media
import MediaStorage
import NIOCore
import ObjectCache
import SegmentStore

/// Disks, cache, callbacks and forwards of the node.
extension NodeAPI {
    func storage() -> NodeAPIResponse {
        guard let storage = self.services.storage?() else { return .notFound("only origins write to disks") }
        return .json(
            .object([
                "catalog": .string(storage.catalog), "folders": .array(storage.folders.map(Self.folder)),
                "streams": .array(storage.streams.prefix(10_000).map(Self.segments)),
            ]))
    }

    private static func folder(_ folder: StorageSnapshot) -> JSONValue {
        .object([
            "root": .string(folder.root), "alarm": folder.alarm.map { .string("\($0)") },
            "alarmSinceMillis": folder.alarmSinceUnixMillis.map { .integer($0) },
            "queuedBytes": .count(folder.queuedBytes), "writtenBytes": .count(folder.writtenBytes),
            "writtenFiles": .count(folder.writtenFiles), "deletedFiles": .count(folder.deletedFiles),
            "failedWrites": .count(folder.failedWrites), "droppedWrites": .count(folder.droppedWrites),
            "freeBytes": folder.space.map { .count($0.freeBytes) },
            "totalBytes": folder.space.map { .count($0.totalBytes) },
        ])
    }

    private static func segments(_ statistics: SegmentStoreStatistics) -> JSONValue {
        .object([
            "key": .string("\(statistics.key)"), "isLive": .bool(statistics.isLive),
            "targetDurationSeconds": statistics.targetDurationSeconds.map { .count($0) },
            "partTargetMillis": statistics.partTargetMillis.map { .integer($0) },
            "segments": .count(statistics.knownSegments), "storedSegments": .count(statistics.storedSegments),
            "storedBytes": .count(statistics.storedBytes), "memoryBytes": .count(statistics.memoryBytes),
            "madeSegments": .count(statistics.madeSegments), "madeParts": .count(statistics.madeParts),
            "unwrittenSegments": .count(statistics.unwrittenSegments), "waiters": .count(statistics.waiters),
            "problems": .count(statistics.problems),
        ])
    }

    func cache() -> NodeAPIResponse {
        guard let cache = self.services.cache?() else { return .notFound("this node fetches nothing from others") }
        return .json(
            .object([
                "hits": .count(cache.hits), "misses": .count(cache.misses), "waits": .count(cache.waits),
                "stale": .count(cache.stale), "negatives": .count(cache.negatives), "refused": .count(cache.refused),
                "passedThrough": .count(cache.passedThrough), "passThroughs": .count(cache.passThroughs),
                "fetched": .count(cache.fetched), "notFound": .count(cache.notFound), "errors": .count(cache.errors),
                "outdated": .count(cache.outdated), "evictions": .count(cache.evictions),
                "fetchedBytes": .count(cache.fetchedBytes), "objects": .count(cache.objects),
                "bytes": .count(cache.bytes), "flights": .count(cache.flights), "waiters": .count(cache.waiters),
            ]))
    }

    func hooks() -> NodeAPIResponse {
        guard let hooks = self.services.hooks?() else { return .notFound("no callbacks are configured") }
        return .json(
            .object([
                "queued": .count(hooks.queued), "deciding": .count(hooks.deciding),
                "unreachable": .count(hooks.unreachable),
                "events": .array(
                    hooks.events.map { event in
                        .object([
                            "event": .string(event.name), "allowed": .count(event.allowed),
                            "denied": .count(event.denied), "failed": .count(event.failed),
                            "dropped": .count(event.dropped), "retried": .count(event.retried),
                            "calls": .count(event.latency.count), "seconds": .number(event.latency.sum),
                        ])
                    }),
            ]))
    }

    func forwards() -> NodeAPIResponse {
        guard let forwards = self.services.forwards?() else { return .notFound("nothing is forwarded") }
        return .json(
            .object([
                "forwards": .array(
                    forwards.prefix(10_000).map { forward in
                        .object([
                            "key": .string("\(forward.key)"),
                            "destination": .string(SecretMask.query(forward.destination)),
                            "state": .string(forward.state), "sentBytes": .count(forward.sentBytes),
                            "attempts": .count(forward.attempts),
                            "lastError": forward.lastError.isEmpty ? nil : .string(forward.lastError),
                            "path": forward.path.map(Self.path),
                        ])
                    }),
                "total": .count(forwards.count),
            ]))
    }

    func pulls() -> NodeAPIResponse {
        guard let pulls = self.services.pulls?() else { return .notFound("nothing is fetched") }
        return .json(
            .object([
                "pulls": .array(
                    pulls.prefix(10_000).map { pull in
                        .object([
                            "stream": .string(pull.stream), "source": .string(SecretMask.query(pull.source)),
                            "state": .string(pull.state), "receivedBytes": .count(pull.receivedBytes),
                            "attempts": .count(pull.attempts),
                            "lastError": pull.lastError.isEmpty ? nil : .string(pull.lastError),
                            "path": pull.path.map(Self.path),
                        ])
                    }),
                "total": .count(pulls.count),
            ]))
    }
}
