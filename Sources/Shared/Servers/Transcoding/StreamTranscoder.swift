import Logging
import Media
import NIOCore
import NIOPosix
import StreamHub
import Synchronization

/// Transcodes the audio of one stream: takes frames on the stream's home loop, works on a thread of the pool, one at a
/// time, and gives back frames on the home loop.
// Safety: `state` is behind its lock; `pipeline` belongs to whoever set `isScheduled`, which is one at a time.
final class StreamTranscoder: AudioTranscoder, @unchecked Sendable {
    private enum Input {
        case frame(Frame)
        case source(Track)
        case mark(@Sendable () -> Void)
    }

    private struct State {
        var waiting = CircularBuffer<Input>()
        var waitingFrames = 0
        var waitingBytes = 0
        /// A thread works on the queue, or will.
        var isScheduled = false
        var isClosed = false
        var droppedFrames: UInt64 = 0
        var statistics = AudioTranscoderStatistics()
    }

    /// Inputs that are worked on before another stream gets its turn.
    private static let turn = 32

    let track: Track
    private let key: StreamKey
    private let target: EncodedFormat
    private let settings: AudioTranscodingSettings
    private let limits: TranscodingLimits
    private let home: any EventLoop
    private let pool: NIOThreadPool
    private let logger: Logger
    private let output: @Sendable ([Frame]) -> Void
    private let ended: @Sendable (AudioTranscoderStatistics) -> Void
    private let state = Mutex(State())
    private var pipeline: AudioPipeline?
    private var hasWarned = false

    init(
        of key: StreamKey, from source: Track, target: EncodedFormat, settings: AudioTranscodingSettings,
        limits: TranscodingLimits, home: any EventLoop, pool: NIOThreadPool, logger: Logger,
        output: @escaping @Sendable ([Frame]) -> Void, ended: @escaping @Sendable (AudioTranscoderStatistics) -> Void
    ) {
        self.key = key
        self.track = target.track
        self.target = target
        self.settings = settings
        self.limits = limits
        self.home = home
        self.pool = pool
        self.logger = logger
        self.output = output
        self.ended = ended
        self.pipeline = AudioPipeline(source: source, target: target)
    }

    var statistics: AudioTranscoderStatistics {
        self.state.withLock { state in
            var statistics = state.statistics
            statistics.droppedFrames = state.droppedFrames
            return statistics
        }
    }

    // MARK: Inputs

    func sourceChanged(to source: Track) -> Bool {
        let target = EncodedFormat(codec: self.target.codec, of: source, settings: self.settings)
        guard target == self.target, AudioDecoder.canDecode(source.codec) else { return false }
        self.enqueue(.source(source))
        return true
    }

    func submit(_ frame: Frame) { self.enqueue(.frame(frame)) }

    func notify(_ reached: @escaping @Sendable () -> Void) { self.enqueue(.mark(reached)) }

    private func enqueue(_ input: Input) {
        let starts = self.state.withLock { state in
            guard !state.isClosed else { return false }
            state.waiting.append(input)
            if case .frame(let frame) = input {
                state.waitingFrames += 1
                state.waitingBytes += frame.payload.readableBytes
                self.bound(&state)
            }
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if starts { self.schedule() }
    }

    /// Drops the oldest frames of a queue that is too long.
    private func bound(_ state: inout State) {
        while state.waitingFrames > self.limits.maximumWaitingFrames
            || (state.waitingBytes > self.limits.maximumWaitingBytes && state.waitingFrames > 1)
        {
            let oldest = state.waiting.firstIndex { if case .frame = $0 { true } else { false } }
            guard let oldest, case .frame(let frame) = state.waiting.remove(at: oldest) else { return }
            state.waitingFrames -= 1
            state.waitingBytes -= frame.payload.readableBytes
            state.droppedFrames += 1
        }
    }

    func close() {
        let frees = self.state.withLock { state in
            guard !state.isClosed else { return false }
            state.isClosed = true
            state.waiting.removeAll()
            return !state.isScheduled
        }
        if frees { self.end() }
    }

    // MARK: Work

    private func schedule() {
        self.pool.submit { state in self.work(isActive: state == .active) }
    }

    /// Works on some inputs. On a thread of the pool, or wherever a pool that is closed says so.
    private func work(isActive: Bool) {
        var inputs: [Input] = []
        let isClosed = self.state.withLock { state in
            if !isActive { state.isClosed = true }
            while !state.isClosed, inputs.count < Self.turn, let input = state.waiting.popFirst() {
                if case .frame(let frame) = input {
                    state.waitingFrames -= 1
                    state.waitingBytes -= frame.payload.readableBytes
                }
                inputs.append(input)
            }
            return state.isClosed
        }
        guard !isClosed, let pipeline = self.pipeline else { return self.end() }
        var frames: [Frame] = []
        for input in inputs {
            switch input {
            case .frame(let frame): pipeline.process(frame, into: &frames)
            case .source(let track): pipeline.sourceChanged(to: track)
            case .mark(let reached):
                self.state.withLock { $0.statistics = pipeline.statistics }
                self.deliver(frames)
                frames.removeAll()
                self.home.execute(reached)
            }
        }
        self.deliver(frames)
        self.warn(pipeline.lastError)
        let isLast = self.state.withLock { state in
            state.statistics = pipeline.statistics
            state.isScheduled = state.isClosed || !state.waiting.isEmpty
            return !state.isScheduled
        }
        if !isLast { self.schedule() }
    }

    private func deliver(_ frames: [Frame]) {
        guard !frames.isEmpty else { return }
        self.home.execute { [output] in output(frames) }
    }

    private func warn(_ error: TranscodingError?) {
        guard let error, !self.hasWarned else { return }
        self.hasWarned = true
        self.logger.notice(
            "audio of the stream cannot be transcoded as it should: \(error)",
            metadata: ["stream": "\(self.key)", "codec": "\(self.target.codec.rawValue)"])
    }

    private func end() {
        self.pipeline = nil
        self.ended(self.statistics)
    }
}
