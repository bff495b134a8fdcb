import Logging
import Media
import MediaStorage
import NIOCore
package import StreamHub
import Synchronization

extension SnapshotService {
    /// A publisher holds the stream on this node: from now on its pictures are written, if the settings say so. On the
    /// stream's home loop. A stream that is watched already is not watched twice.
    package func streamStarted(_ stream: LiveStream) {
        stream.home.assertInEventLoop()
        guard let configuration = self.settings(stream.key), let periodic = configuration.periodic,
            let storage = self.storage
        else { return }
        let timer = PeriodicSnapshot(
            stream: stream, configuration: configuration, periodic: periodic, renderer: self.renderer, storage: storage,
            logger: self.logger)
        let replaced = self.state.withLock { state -> (starts: Bool, old: PeriodicSnapshot?) in
            if state.isClosed { return (false, nil) }
            if let old = state.timers[stream.key], old.follows(stream) { return (false, nil) }
            return (true, state.timers.updateValue(timer, forKey: stream.key))
        }
        replaced.old?.stop()
        guard replaced.starts else { return }
        timer.start { [weak self] in self?.ended(timer, stream.key) }
    }

    /// The stream is published elsewhere, and its pictures are written there. On the stream's home loop.
    package func streamWithdrawn(_ stream: LiveStream) {
        stream.home.assertInEventLoop()
        self.state.withLock { $0.timers.removeValue(forKey: stream.key) }?.stop()
    }

    private func ended(_ timer: PeriodicSnapshot, _ key: StreamKey) {
        self.state.withLock { state in
            if state.timers[key] === timer { state.timers[key] = nil }
        }
    }
}

/// Writes the last keyframe of one stream to disk at an interval, until the stream is closed.
// Safety: all mutable state is touched on the stream's home loop only.
final class PeriodicSnapshot: @unchecked Sendable {
    private weak var stream: LiveStream?
    private let home: any EventLoop
    private let key: StreamKey
    private let configuration: SnapshotConfiguration
    private let periodic: SnapshotConfiguration.Periodic
    private let renderer: SnapshotRenderer
    private let storage: StorageWriter
    private let logger: Logger
    private var task: RepeatedTask?
    private var lastFrame: Frame?
    private var sequence: UInt64 = 0
    private var isBusy = false
    private var hasFailed = false

    init(
        stream: LiveStream, configuration: SnapshotConfiguration, periodic: SnapshotConfiguration.Periodic,
        renderer: SnapshotRenderer, storage: StorageWriter, logger: Logger
    ) {
        self.stream = stream
        self.home = stream.home
        self.key = stream.key
        self.configuration = configuration
        self.periodic = periodic
        self.renderer = renderer
        self.storage = storage
        self.logger = logger
    }

    func follows(_ stream: LiveStream) -> Bool { self.home === stream.home && self.stream === stream }

    /// `ended` is called when the stream is gone. On the home loop.
    func start(ended: @escaping @Sendable () -> Void) {
        self.home.assertInEventLoop()
        self.task = self.home.scheduleRepeatedTask(
            initialDelay: self.periodic.interval, delay: self.periodic.interval
        ) { task in
            if self.stream.map({ $0.isClosed }) ?? true {
                task.cancel()
                ended()
            } else {
                self.takePicture()
            }
        }
    }

    /// Any thread.
    func stop() {
        self.home.execute {
            self.task?.cancel()
            self.task = nil
        }
    }

    private func takePicture() {
        // A keyframe that is written already, of a source that paused or left, is not written again.
        guard !self.isBusy, let found = self.stream?.lastKeyframe(), found.frame != self.lastFrame else { return }
        self.isBusy = true
        self.lastFrame = found.frame
        self.renderer.render(found.frame, of: found.track, as: self.configuration) { result in
            self.home.execute {
                self.isBusy = false
                self.rendered(result)
            }
        }
    }

    private func rendered(_ result: Result<ByteBuffer, SnapshotError>) {
        switch result {
        case .success(let bytes):
            self.hasFailed = false
            self.write(bytes)
        case .failure(.busy), .failure(.timedOut), .failure(.closed):
            // The next one may have more luck, also with the same frame.
            self.lastFrame = nil
        case .failure(let error):
            if !self.hasFailed {
                self.logger.notice(
                    "keyframes of the stream give no pictures: \(error)", metadata: ["stream": "\(self.key)"])
            }
            self.hasFailed = true
        }
    }

    private func write(_ bytes: ByteBuffer) {
        let values = PathValues(
            key: self.key, unixMillis: WallClock.unixMillis, sequence: self.sequence, track: "video", suffix: "jpg")
        self.sequence += 1
        do throws(PathPatternError) {
            let path = try self.periodic.pattern.path(for: values)
            // The writer tells of a disk that fails.
            self.storage.write([bytes], to: "\(self.periodic.root)/\(path)")
        } catch {
            guard !self.hasFailed else { return }
            self.hasFailed = true
            self.logger.notice("the picture has no usable name: \(error)", metadata: ["stream": "\(self.key)"])
        }
    }
}
