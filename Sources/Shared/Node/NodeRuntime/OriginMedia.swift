import ClusterLink
import Foundation
import Hooks
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
    private let link: ClusterLink?
    private let logger: Logger
    private let closeDeadline: TimeAmount

    /// How often files that nobody needs any more are looked for.
    private static let maintenanceInterval = Duration.seconds(3)

    /// Opens the catalogue and reads what was before, so that it is there before the first publisher.
    static func start(
        settings: LiveSettings, hooks: Hooks, hub: StreamHub, link: ClusterLink?, logger: Logger
    ) async -> OriginMedia {
        let path = NodeSettings.absolute(settings.current.media.catalog)
        let database = await MediaDatabase.open(path: path, logger: logger)
        let media = OriginMedia(
            settings: settings, hooks: hooks, hub: hub, link: link, database: database, logger: logger)
        await media.segments.restore()
        await media.recorder.recover()
        return media
    }

    private init(
        settings: LiveSettings, hooks: Hooks, hub: StreamHub, link: ClusterLink?, database: MediaDatabase,
        logger: Logger
    ) {
        let start = settings.current
        self.database = database
        self.link = link
        self.logger = logger
        self.closeDeadline = start.shutdown.drainDeadline
        let writers = StorageWriters(
            template: StorageWriterConfiguration(
                root: NodeSettings.absolute(start.media.directory),
                maximumQueuedBytes: start.media.writeQueueBytes),
            logger: logger)
        self.writers = writers
        self.segments = SegmentStore(
            catalog: database, writers: writers, logger: logger, members: { settings.groupMembers(of: $0) },
            hasGroups: { settings.streamSettings(for: $0).hls.groups },
            onSegment: { hooks.segmentFinished(HookSegment($0)) }, configuration: { settings.segments(of: $0) })
        self.recorder = Recorder(
            node: start.node.id, storage: writers.writer(root: NodeSettings.absolute(start.media.recordings)),
            database: database, hub: hub, logger: logger,
            settings: { settings.recording(of: $0) },
            onFile: { file in
                hooks.recordingFinished(
                    HookRecording(
                        key: file.entry.key, path: file.entry.path, durationMillis: file.entry.durationMillis,
                        byteCount: file.entry.bytes, id: file.entry.id, epoch: file.entry.epoch))
            })
        self.snapshots = SnapshotService(
            hub: hub, storage: writers.writer(root: NodeSettings.absolute(start.media.directory)), logger: logger,
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

    /// A claim of the stream was granted under a new epoch: its segments go on where no number was given out yet.
    ///
    /// `reported` is what the cluster knew last of the stream; `nil` when it knew nothing or could not be asked.
    /// `wasLastHolder`: nobody else held the stream since this node did.
    func resume(_ key: StreamKey, reported: MediaPosition?, wasLastHolder: Bool) {
        let valid = reported.flatMap { $0.isValid ? $0 : nil }
        let position = MediaPosition.resumption(
            own: self.position(of: key), reported: valid, wasLastHolder: wasLastHolder,
            nowMillis: WallClock.unixMillis)
        self.segments.seed(
            PackagingPosition(
                nextSequence: position.nextSequence, discontinuitySequence: position.discontinuitySequence,
                endMillis: position.endMillis),
            for: key, slack: 0)
    }

    // MARK: Running

    func run() async throws {
        await self.work()
        // What ends now is told, too, as far as the time allows.
        await self.recorder.close(within: self.closeDeadline)
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

    /// The used share of the fullest disk that is written to, 0…1; `nil` when none was looked at yet.
    var diskUsed: Double? {
        self.storageStates.compactMap(\.space).filter { $0.totalBytes > 0 }
            .map { 1 - Double($0.freeBytes) / Double($0.totalBytes) }.max()
    }

    /// What is wrong with the disks, in words of a closed set.
    var alarms: [String] {
        Set(
            self.storageStates.compactMap(\.alarm).map { alarm in
                switch alarm {
                case .diskFull: "disk-full"
                case .readOnly: "disk-read-only"
                default: "disk-failing"
                }
            }
        ).sorted()
    }
}

extension HookSegment {
    init(_ segment: FinishedSegment) {
        self.init(
            key: segment.key, epoch: segment.epoch, sequence: segment.sequence,
            durationMillis: segment.durationMillis, path: segment.path ?? "", url: segment.url,
            playlistPath: segment.playlistPath ?? "", playlistURL: segment.playlistURL, track: segment.track,
            byteCount: segment.byteCount)
    }
}
