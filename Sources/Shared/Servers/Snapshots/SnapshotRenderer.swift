package import Logging
package import Media
package import NIOCore
import NIOPosix
import Synchronization

/// Makes JPEG pictures of keyframes on threads of its own.
///
/// The queue is bounded, and a picture whose turn does not come within the deadline is not made.
package final class SnapshotRenderer: Sendable {
    private struct State {
        var waiting = 0
        var isClosed = false
        var made: UInt64 = 0
        var failed: UInt64 = 0
    }

    private let limits: SnapshotLimits
    private let pool: NIOThreadPool
    private let state = Mutex(State())

    /// Starts the threads. Close it before the last reference goes.
    package init(limits: SnapshotLimits = SnapshotLimits(), logger: Logger) {
        precondition(limits.threads > 0 && limits.maximumWaiting > 0, "a renderer has a thread and a queue")
        self.limits = limits
        self.pool = NIOThreadPool(numberOfThreads: limits.threads)
        LibAVLog.redirect(to: logger)
        self.pool.start()
    }

    /// Makes a picture of `frame`, a keyframe of `track`. `completion` is called once, on a thread of the renderer, or at
    /// once on the caller's if the picture is refused: `busy`, `closed`.
    package func render(
        _ frame: Frame, of track: Track, as configuration: SnapshotConfiguration,
        completion: @escaping @Sendable (Result<ByteBuffer, SnapshotError>) -> Void
    ) {
        let refusal: SnapshotError? = self.state.withLock { state in
            if state.isClosed { return .closed }
            guard state.waiting < self.limits.maximumWaiting else { return .busy(waiting: state.waiting) }
            state.waiting += 1
            return nil
        }
        if let refusal { return completion(.failure(refusal)) }
        let deadline = NIODeadline.now() + self.limits.deadline
        self.pool.submit { state in
            let result = self.work(state, frame, track, configuration, deadline)
            self.state.withLock { state in
                state.waiting -= 1
                if case .success = result { state.made += 1 } else { state.failed += 1 }
            }
            completion(result)
        }
    }

    private func work(
        _ state: NIOThreadPool.WorkItemState, _ frame: Frame, _ track: Track, _ configuration: SnapshotConfiguration,
        _ deadline: NIODeadline
    ) -> Result<ByteBuffer, SnapshotError> {
        Result { () throws(SnapshotError) in
            guard state == .active else { throw .closed }
            guard NIODeadline.now() < deadline else { throw .timedOut }
            return try Self.picture(
                of: frame, track: track, as: configuration, maximumPixels: self.limits.maximumPixels)
        }
    }

    /// Decodes, scales and encodes, on the caller's thread. Takes milliseconds to tens of them.
    package static func picture(
        of frame: Frame, track: Track, as configuration: SnapshotConfiguration, maximumPixels: Int = 1 << 26
    ) throws(SnapshotError) -> ByteBuffer {
        let picture = try PictureDecoder.picture(of: frame, track: track, maximumPixels: maximumPixels)
        return try PictureEncoder.jpeg(
            of: picture, maximumWidth: configuration.maximumWidth, quality: configuration.quality)
    }

    /// Pictures made, pictures that could not be made, and pictures that wait.
    package var counters: (made: UInt64, failed: UInt64, waiting: Int) {
        self.state.withLock { ($0.made, $0.failed, $0.waiting) }
    }

    /// Takes no more pictures, and returns when the threads have ended. What waits fails with `closed`.
    package func close() async {
        let isFirst = self.state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
        if isFirst { try? await self.pool.shutdownGracefully() }
    }
}
