package import Logging
package import Media
package import NIOCore
import NIOPosix
package import StreamHub
import Synchronization

/// What all transcoders of a node do and have done.
package struct TranscodingCounters: Sendable, Hashable {
    /// Transcoders at work, those of streams that ended, and those that were refused because too many were at work.
    package var active = 0
    package var ended: UInt64 = 0
    package var refused: UInt64 = 0
    /// The sums of transcoders that ended.
    package var totals = AudioTranscoderStatistics()
}

/// Transcodes the audio of streams by libav, on a few threads of its own.
///
/// Decodes all audio codecs that streams have here, and encodes AAC (libav's own encoder) and Opus (libopus). One
/// transcoder serves a stream and codec; its frames are worked on in order, one thread at a time.
package final class TranscodingService: AudioTranscoderFactory {
    private struct State {
        var counters = TranscodingCounters()
        var isClosed = false
    }

    private let limits: TranscodingLimits
    private let settings: @Sendable (StreamKey) -> AudioTranscodingSettings
    private let logger: Logger
    private let pool: NIOThreadPool
    private let state = Mutex(State())

    /// Starts the threads. Close it before the last reference goes. `settings` is asked when a transcoder is made.
    package init(
        limits: TranscodingLimits = TranscodingLimits(), logger: Logger,
        settings: @escaping @Sendable (StreamKey) -> AudioTranscodingSettings = { _ in AudioTranscodingSettings() }
    ) {
        precondition(limits.threads > 0, "transcoding needs a thread, got \(limits.threads)")
        self.limits = limits
        self.settings = settings
        self.logger = logger
        self.pool = NIOThreadPool(numberOfThreads: limits.threads)
        self.pool.start()
    }

    package var counters: TranscodingCounters { self.state.withLock { $0.counters } }

    package func makeTranscoder(
        of key: StreamKey, from source: Track, to codec: Codec, home: any EventLoop,
        output: @escaping @Sendable ([Frame]) -> Void
    ) -> (any AudioTranscoder)? {
        let settings = self.settings(key)
        guard AudioDecoder.canDecode(source.codec), AudioEncoder.canEncode(codec),
            let target = EncodedFormat(codec: codec, of: source, settings: settings), self.begin()
        else { return nil }
        return StreamTranscoder(
            of: key, from: source, target: target, settings: settings, limits: self.limits, home: home, pool: self.pool,
            logger: self.logger, output: output
        ) { [weak self] statistics in
            self?.ended(statistics)
        }
    }

    private func begin() -> Bool {
        self.state.withLock { state in
            guard !state.isClosed, state.counters.active < self.limits.maximumTranscoders else {
                state.counters.refused += 1
                return false
            }
            state.counters.active += 1
            return true
        }
    }

    private func ended(_ statistics: AudioTranscoderStatistics) {
        self.state.withLock { state in
            state.counters.active -= 1
            state.counters.ended += 1
            state.counters.totals.sourceFrames += statistics.sourceFrames
            state.counters.totals.frames += statistics.frames
            state.counters.totals.droppedFrames += statistics.droppedFrames
            state.counters.totals.brokenFrames += statistics.brokenFrames
            state.counters.totals.gaps += statistics.gaps
        }
    }

    /// Makes no more transcoders, and returns when the threads have ended. Those at work give nothing more.
    package func close() async {
        let isFirst = self.state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
        if isFirst { try? await self.pool.shutdownGracefully() }
    }
}
