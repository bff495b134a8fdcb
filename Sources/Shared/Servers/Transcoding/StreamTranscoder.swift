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

        var isFrame: Bool { if case .frame = self { true } else { false } }
        var isSource: Bool { if case .source = self { true } else { false } }
        var isMark: Bool { if case .mark = self { true } else { false } }

        /// Bytes that are kept for it.
        var byteCount: Int {
            switch self {
            case .frame(let frame): frame.payload.readableBytes
            case .source(let track): track.configuration?.readableBytes ?? 0
            case .mark: 0
            }
        }
    }

    private struct State {
        var waiting = CircularBuffer<Input>()
        var waitingFrames = 0
        var waitingMarks = 0
        /// Of frames, and of what describes sources.
        var waitingBytes = 0
        /// A thread works on the queue, or will.
        var isScheduled = false
        var isClosed = false
        var droppedFrames: UInt64 = 0
        var statistics = AudioTranscoderStatistics()

        mutating func append(_ input: Input) {
            self.waiting.append(input)
            self.count(input, by: 1)
        }

        mutating func popFirst() -> Input? {
            guard let input = self.waiting.popFirst() else { return nil }
            self.count(input, by: -1)
            return input
        }

        /// `offset` is one of `waiting`; indices of the buffer do not outlive a removal.
        @discardableResult
        mutating func remove(at offset: Int) -> Input {
            let input = self.waiting.remove(at: self.waiting.index(self.waiting.startIndex, offsetBy: offset))
            self.count(input, by: -1)
            return input
        }

        /// The offset of the first input that waits and is of a kind.
        func firstOffset(where isWanted: (Input) -> Bool) -> Int? {
            self.waiting.firstIndex(where: isWanted).map {
                self.waiting.distance(from: self.waiting.startIndex, to: $0)
            }
        }

        func isSource(at offset: Int) -> Bool {
            guard (0..<self.waiting.count).contains(offset) else { return false }
            return self.waiting[self.waiting.index(self.waiting.startIndex, offsetBy: offset)].isSource
        }

        /// What stood at `offset` is gone: if there is a source on either side now, the newer one counts.
        mutating func joinSources(at offset: Int) {
            if self.isSource(at: offset), self.isSource(at: offset - 1) { self.remove(at: offset - 1) }
        }

        private mutating func count(_ input: Input, by sign: Int) {
            self.waitingBytes += sign * input.byteCount
            if input.isFrame { self.waitingFrames += sign }
            if input.isMark { self.waitingMarks += sign }
        }
    }

    /// Marks that may wait. A stream sets one when somebody begins to listen.
    private static let maximumMarks = 16
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

    /// What waits for a thread, of all kinds.
    var waitingInputs: Int { self.state.withLock { $0.waiting.count } }

    /// The queue holds at most `maximumWaitingFrames` frames, `maximumMarks` marks, and one source more than both.
    private func enqueue(_ input: Input) {
        let (starts, early) = self.state.withLock { state -> (Bool, Input?) in
            guard !state.isClosed else { return (false, nil) }
            // Of two sources without a frame between, the older one has nothing to say.
            if input.isSource, state.isSource(at: state.waiting.count - 1) {
                state.remove(at: state.waiting.count - 1)
            }
            state.append(input)
            self.bound(&state)
            var early: Input?
            if state.waitingMarks > Self.maximumMarks, let oldest = state.firstOffset(where: \.isMark) {
                early = state.remove(at: oldest)
                state.joinSources(at: oldest)
            }
            defer { state.isScheduled = true }
            return (!state.isScheduled, early)
        }
        if case .mark(let reached) = early { self.home.execute(reached) }
        if starts { self.schedule() }
    }

    /// Drops the oldest frames of a queue that is too long.
    private func bound(_ state: inout State) {
        while state.waitingFrames > self.limits.maximumWaitingFrames
            || (state.waitingBytes > self.limits.maximumWaitingBytes && state.waitingFrames > 1)
        {
            guard let oldest = state.firstOffset(where: \.isFrame) else { return }
            state.remove(at: oldest)
            state.droppedFrames += 1
            state.joinSources(at: oldest)
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
            while !state.isClosed, inputs.count < Self.turn, let input = state.popFirst() { inputs.append(input) }
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
