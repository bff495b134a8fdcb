import AsyncHTTPClient
import ClusterLink
import Foundation
import Logging
import Media
import MediaCatalog
import MediaStorage
import NIOCore
import NodeConfiguration
import Packaging
import Placement
import Recorder
import SegmentStore
import ServiceLifecycle
import Snapshots
import StreamHub

/// What an origin makes of the streams that are published on it: segments, recordings, and pictures, with the disk and the
/// catalogue behind them.
final class OriginMedia: Service {
    let segments: SegmentStore
    let recorder: Recorder
    let snapshots: SnapshotService
    let database: MediaDatabase
    private let writers: StorageWriters
    private let callbacks: FileCallbacks
    private let link: ClusterLink?
    private let logger: Logger
    private let closeDeadline: TimeAmount

    /// How often files that nobody needs any more are looked for.
    private static let maintenanceInterval = Duration.seconds(3)
    /// How long a stopping origin waits for the servers that are told of recordings.
    private static let callbackDeadline = TimeAmount.seconds(5)

    /// Opens the catalogue and reads what was before, so that it is there before the first publisher.
    static func start(
        settings: NodeSettings, instance: String, hub: StreamHub, link: ClusterLink?, logger: Logger
    ) async -> OriginMedia {
        let database = await MediaDatabase.open(path: NodeSettings.absolute(settings.media.catalog), logger: logger)
        let media = OriginMedia(
            settings: settings, instance: instance, hub: hub, link: link, database: database, logger: logger)
        await media.segments.restore()
        await media.recorder.recover()
        return media
    }

    private init(
        settings: NodeSettings, instance: String, hub: StreamHub, link: ClusterLink?, database: MediaDatabase,
        logger: Logger
    ) {
        self.database = database
        self.link = link
        self.logger = logger
        self.closeDeadline = settings.shutdown.drainDeadline
        let writers = StorageWriters(
            template: StorageWriterConfiguration(
                root: NodeSettings.absolute(settings.media.directory),
                maximumQueuedBytes: settings.media.writeQueueBytes),
            logger: logger)
        self.writers = writers
        self.segments = SegmentStore(
            catalog: database, writers: writers, logger: logger, members: { settings.groupMembers(of: $0) },
            hasGroups: { settings.streamSettings(for: $0).hls.groups }, configuration: { settings.segments(of: $0) })
        let callbacks = FileCallbacks(node: settings.node.id, instance: instance, logger: logger)
        self.callbacks = callbacks
        self.recorder = Recorder(
            node: settings.node.id, storage: writers.writer(root: NodeSettings.absolute(settings.media.recordings)),
            database: database, hub: hub, logger: logger,
            settings: { settings.recording(of: $0) },
            onFile: { file in
                callbacks.finished(
                    FileCallbacks.File(
                        key: file.entry.key, path: file.entry.path,
                        urls: settings.streamSettings(for: file.entry.key).dvr.onFile.map(\.description),
                        durationMillis: file.entry.durationMillis, bytes: file.entry.bytes, recording: file.entry.id))
            })
        self.snapshots = SnapshotService(
            hub: hub, storage: writers.writer(root: NodeSettings.absolute(settings.media.directory)), logger: logger,
            settings: { settings.snapshot(of: $0) })
    }

    // MARK: Streams

    /// A publisher holds the stream on this node. On the stream's home loop.
    func published(_ stream: LiveStream) {
        self.segments.attach(to: stream)
        self.recorder.streamStarted(stream)
        self.snapshots.streamStarted(stream)
    }

    /// The stream is published elsewhere now, and at most pulled here. On the stream's home loop.
    func withdrawn(_ stream: LiveStream) {
        self.segments.detach(from: stream)
        self.recorder.streamWithdrawn(stream)
        self.snapshots.streamWithdrawn(stream)
    }

    /// How far the stream's segments have come, for the cluster.
    func position(of key: StreamKey) -> MediaPosition? {
        self.segments.position(of: key).map {
            MediaPosition(
                nextSequence: $0.nextSequence, discontinuitySequence: $0.discontinuitySequence, endMillis: $0.endMillis)
        }
    }

    /// The cluster says how far the segments had come, here or elsewhere, when it heard of them last.
    func seed(_ position: MediaPosition, for key: StreamKey) {
        let known = PackagingPosition(
            nextSequence: position.nextSequence, discontinuitySequence: position.discontinuitySequence,
            endMillis: position.endMillis)
        // What was written since the report: segments take half a second at least.
        let age = max(0, WallClock.unixMillis - position.endMillis)
        self.segments.seed(known, for: key, slack: UInt64(age / PackagingConfiguration.minimumSegmentMillis) + 4)
    }

    // MARK: Running

    func run() async throws {
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        await withDiscardingTaskGroup { tasks in
            tasks.addTask { await self.callbacks.run(client: client) }
            await self.work()
            // What ends now is told, too, as far as the time allows.
            await self.recorder.close(within: self.closeDeadline)
            self.callbacks.finish()
            let deadline = NIODeadline.now() + Self.callbackDeadline
            while !self.callbacks.isIdle, NIODeadline.now() < deadline {
                try? await Task.sleep(for: .milliseconds(50))
            }
            tasks.cancelAll()
        }
        try await client.shutdown()
    }

    private func work() async {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { tasks in
                tasks.addTask { await self.segments.run() }
                tasks.addTask { await self.maintain() }
                if let link = self.link {
                    tasks.addTask {
                        // The coordinator's list may be younger than ours.
                        await self.recorder.reportEverything()
                        await self.recorder.runReports { await link.report($0) }
                    }
                }
            }
        }
    }

    private func maintain() async {
        while !Task.isCancelled {
            self.recorder.maintain()
            self.writers.maintain()
            try? await Task.sleep(for: Self.maintenanceInterval)
        }
    }

    /// Waits for what is on its way to the disk. Publishers have left by now.
    func close() async {
        await self.snapshots.close()
        await self.writers.close()
        await self.database.close()
    }

    /// How the disks are, for the API.
    var storageStates: [StorageSnapshot] { self.writers.snapshots() }
}
