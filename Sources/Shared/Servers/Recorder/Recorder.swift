package import Logging
package import Media
package import MediaCatalog
package import MediaStorage
package import NIOCore
import NIOPosix
import Recording
package import StreamHub
import Synchronization

/// Records the streams of an origin, keeps the list of its recordings, and plays them.
///
/// The owner calls `streamStarted` whenever a stream gets a publisher, `recover` once before the first stream, and
/// `maintain` every few seconds; it runs `runReports` as long as the node runs. What goes wrong with a file ends that
/// file, never the stream: what could be saved of it is finished and listed, and another file begins after a pause.
package final class Recorder: Sendable {
    struct State {
        var recordings: [StreamKey: StreamRecording] = [:]
        /// Files that are not finished, by id.
        var active: [String: ActiveRecording] = [:]
        var intents: [StreamKey: Bool] = [:]
        var problems: [StreamKey: String] = [:]
        /// When the last file of a stream ended, as long as that is ahead of the wall clock or was a short while ago.
        var ends: [StreamKey: Int64] = [:]
        var hasReports = true
        var reportWaiter: CheckedContinuation<Void, Never>?
        var isClosed = false
    }

    package let limits: RecorderLimits
    let node: String
    let storage: StorageWriter
    let database: MediaDatabase
    let logger: Logger
    let library: RecordingLibrary
    let downloads: RecordingDownloads
    let requests = Mutex(0)
    let state = Mutex(State())
    private let hub: StreamHub
    private let settings: @Sendable (StreamKey) -> RecordingSettings?
    private let onFile: @Sendable (FinishedRecording) -> Void
    private let pool: NIOThreadPool

    /// `settings` tells of a stream how it would be recorded, `nil`: not at all. `onFile` is called once for each file
    /// that is complete, on a thread for disk work; it must not block.
    package init(
        node: String, storage: StorageWriter, database: MediaDatabase, hub: StreamHub, limits: RecorderLimits = .init(),
        logger: Logger, settings: @escaping @Sendable (StreamKey) -> RecordingSettings?,
        onFile: @escaping @Sendable (FinishedRecording) -> Void = { _ in }
    ) {
        self.node = node
        self.storage = storage
        self.database = database
        self.hub = hub
        self.limits = limits
        self.logger = logger
        self.settings = settings
        self.onFile = onFile
        self.pool = NIOThreadPool(numberOfThreads: limits.readerThreads)
        self.pool.start()
        self.library = RecordingLibrary(database: database, limits: limits, pool: self.pool)
        self.downloads = RecordingDownloads(
            folder: storage.configuration.root + "/.weir-downloads", limits: limits, pool: self.pool)
    }

    /// Ends all files and returns when they are finished, or `limit` is over. The storage and the database are the
    /// owner's, to be closed afterwards.
    package func close(within limit: TimeAmount = .seconds(10)) async {
        let (recordings, waiter) = self.state.withLock { state in
            state.isClosed = true
            defer { (state.recordings, state.reportWaiter) = ([:], nil) }
            return (Array(state.recordings.values), state.reportWaiter)
        }
        waiter?.resume()
        for recording in recordings { recording.stop() }
        let deadline = NIODeadline.now() + limit
        while NIODeadline.now() < deadline, self.state.withLock({ !$0.active.isEmpty }) {
            try? await Task.sleep(for: .milliseconds(20))
        }
        // Threads that read from a slow disk are not waited for longer than that.
        let (pool, done) = (self.pool, NIOSingletons.posixEventLoopGroup.any().makePromise(of: Void.self))
        let timer = done.futureResult.eventLoop.scheduleTask(deadline: max(deadline, .now() + .seconds(1))) {
            done.succeed()
        }
        Task {
            try? await pool.shutdownGracefully()
            // After the deadline the answer was given, and this does nothing.
            done.succeed()
        }
        try? await done.futureResult.get()
        timer.cancel()
    }

    // MARK: Which streams

    /// A stream got a publisher: it is recorded if an operator or its settings want it. On its home loop.
    package func streamStarted(_ stream: LiveStream) {
        stream.home.assertInEventLoop()
        guard let settings = self.settings(stream.key) else { return }
        let recording = self.state.withLock { state -> StreamRecording? in
            guard !state.isClosed, state.intents[stream.key] ?? settings.isEnabled else { return nil }
            if let known = state.recordings[stream.key], known.follows(stream) { return nil }
            let recording = StreamRecording(
                stream, recorder: self, settings: settings, notBeforeMillis: state.ends[stream.key] ?? .min)
            state.recordings[stream.key] = recording
            return recording
        }
        if let recording { stream.attach(recording) }
    }

    /// The stream is published elsewhere now, and at most pulled here: its recording ends. On its home loop.
    package func streamWithdrawn(_ stream: LiveStream) {
        stream.home.assertInEventLoop()
        let recording = self.state.withLock { state -> StreamRecording? in
            guard let known = state.recordings[stream.key], known.follows(stream) else { return nil }
            return state.recordings.removeValue(forKey: stream.key)
        }
        recording?.stop()
    }

    /// A stream is over, and its recording with it.
    func ended(_ recording: StreamRecording) {
        self.state.withLock { state in
            if state.recordings[recording.key] === recording { state.recordings[recording.key] = nil }
            state.problems[recording.key] = nil
        }
    }

    /// A file ended on the recording's clock, which may be ahead of the wall clock: the next one starts behind it.
    func noteEnd(_ millis: Int64, of key: StreamKey) {
        let now = WallClock.unixMillis
        self.state.withLock { state in
            state.ends[key] = millis
            if state.ends.count > 1_000 { state.ends = state.ends.filter { $0.value > now } }
        }
    }

    /// Why a stream that should be recorded is not at the moment; one log line.
    func note(_ problem: String, of key: StreamKey) {
        self.state.withLock { $0.problems[key] = problem }
        self.logger.error(
            "the recording of a stream broke off, the stream goes on: \(problem)", metadata: ["stream": "\(key)"])
    }

    // MARK: Files

    /// The entry of a file that begins. Errors: those of the pattern.
    func newEntry(
        of key: StreamKey, epoch: UInt64, start: RecordingStart, pattern: PathPattern
    ) throws(PathPatternError) -> RecordingEntry {
        let path = try pattern.path(
            for: PathValues(key: key, unixMillis: start.startMillis, epoch: epoch, suffix: start.format.rawValue))
        return RecordingEntry(
            id: Self.newID(startMillis: start.startMillis), key: key, epoch: epoch, node: self.node,
            startMillis: start.startMillis, endMillis: start.startMillis, format: start.format,
            tracks: start.tracks.map(RecordedTrack.init), bytes: 0,
            path: "\(self.storage.configuration.root)/\(path)", state: .recording)
    }

    /// Letters and digits that sort by time and are unique in the cluster.
    private static func newID(startMillis: Int64) -> String {
        let random = String(UInt64.random(in: 0..<(1 << 40)), radix: 36)
        return String(startMillis, radix: 36) + "r" + random
    }

    func began(_ active: ActiveRecording) {
        self.state.withLock { state in
            state.active[active.id] = active
            state.problems[active.key] = nil
        }
        self.save(active.entry)
    }

    func wrote(_ piece: RecordingPiece, to active: ActiveRecording) {
        if let entry = active.wrote(piece, saveInterval: self.limits.progressInterval) { self.save(entry) }
    }

    func save(_ entry: RecordingEntry, index: RecordingIndex? = nil) {
        self.database.save(entry, index: index.map { Array($0.encoded().readableBytesView) })
        self.wakeReports()
    }

    /// A file is closed: brings it into its last form on the thread for long work. `summary` is `nil` for a file that
    /// broke off, which is cut where it is intact. Any thread.
    func finish(_ active: ActiveRecording, _ summary: RecordingSummary?, finishesProgressive: Bool) {
        let wasFinishing = active.entry.state == .finishing
        let entry = active.closed(summary)
        self.save(entry, index: summary?.index)
        let job = RecordingFinishing(
            entry: entry, index: summary?.index, finishesProgressive: finishesProgressive,
            mayBeRenamed: wasFinishing)
        let outcome = OutcomeBox()
        self.storage.perform {
            outcome.set(job.run())
        } completion: { result in
            switch result {
            case .success:
                if let outcome = outcome.get() { self.finished(active, outcome, isRepaired: summary == nil) }
            case .failure(.queueFull):
                // So many files end at once that the disk is behind: this one takes its turn later.
                NIOSingletons.posixEventLoopGroup.any().scheduleTask(in: self.limits.retryDelay) {
                    self.finish(active, summary, finishesProgressive: finishesProgressive)
                }
            case .failure:
                // The writer is closed: the next start finishes the file.
                self.state.withLock { $0.active[active.id] = nil }
            }
        }
    }

    private func finished(_ active: ActiveRecording, _ outcome: RecordingFinishing.Outcome, isRepaired: Bool) {
        var metadata: Logger.Metadata = ["stream": "\(active.key)", "recording": "\(active.id)"]
        switch outcome {
        case .finished(let entry, let index, let warning):
            self.save(entry, index: index)
            metadata["file"] = "\(entry.path)"
            if let warning {
                self.logger.warning("a recording keeps its fragmented form: \(warning)", metadata: metadata)
            }
            self.logger.info(isRepaired ? "a recording was repaired" : "a recording is finished", metadata: metadata)
            self.onFile(FinishedRecording(entry: entry, isRepaired: isRepaired))
        case .empty:
            // Nobody can play it, and lists must not show it: the coordinator may have been told of it.
            var entry = active.entry
            entry.state = .deleted
            entry.bytes = 0
            self.save(entry)
            self.logger.notice("a recording without media was removed", metadata: metadata)
        case .failed(let error):
            var entry = active.entry
            entry.state = .failed
            self.save(entry)
            self.logger.error("a recording cannot be finished: \(error)", metadata: metadata)
        }
        self.state.withLock { $0.active[active.id] = nil }
        self.library.forget(active.id)
    }

    // MARK: Start and care

    /// Repairs, finishes and lists what a process before this one left, and reads what operators asked for. Call it
    /// before the first stream; it returns when the work is handed out.
    package func recover() async {
        self.downloads.removeAll()
        do {
            let intents = try await self.database.recordingIntents()
            let left = try await self.database.unfinishedRecordings()
            self.state.withLock { state in
                for intent in intents { state.intents[intent.key] = intent.records }
                for entry in left { state.active[entry.id] = ActiveRecording(entry) }
            }
            for entry in left {
                guard let active = self.state.withLock({ $0.active[entry.id] }) else { continue }
                let finishes = self.settings(entry.key)?.configuration.finishesProgressive ?? true
                self.finish(active, nil, finishesProgressive: finishes)
            }
        } catch {
            self.logger.error("recordings of before cannot be listed: \(error)")
        }
    }

    /// Removes downloads that nobody uses any more. Call it every few seconds.
    package func maintain() { self.downloads.removeExpired() }

    // MARK: What operators want

    /// Records the stream from now on, or no longer, whatever its settings say; `nil`: the settings decide again.
    /// Survives a restart, and applies to a stream that is not published as soon as it is.
    ///
    /// Errors: `catalogUnavailable`, with nothing changed.
    package func setIntent(_ records: Bool?, for key: StreamKey) async throws(RecorderError) {
        do {
            try await self.database.setRecordingIntent(key, records: records)
        } catch {
            throw .catalogUnavailable
        }
        let isWanted = records ?? self.settings(key)?.isEnabled ?? false
        let stopped = self.state.withLock { state -> StreamRecording? in
            state.intents[key] = records
            guard !isWanted else { return nil }
            state.problems[key] = nil
            return state.recordings.removeValue(forKey: key)
        }
        stopped?.stop()
        guard isWanted, let stream = self.hub.existing(key) else { return }
        stream.home.execute { self.streamStarted(stream) }
    }

    /// What the recording of a stream does now.
    package func status(of key: StreamKey) -> RecordingStatus {
        self.state.withLock { state in
            let current = state.active.values.lazy.map(\.entry).first { $0.key == key && $0.state == .recording }
            return RecordingStatus(
                key: key, intent: state.intents[key], isFollowed: state.recordings[key] != nil, current: current,
                problem: state.problems[key])
        }
    }

    /// The streams that are followed, and those that operators asked for.
    package func statuses() -> [RecordingStatus] {
        let keys = self.state.withLock { state in Set(state.recordings.keys).union(state.intents.keys) }
        return keys.sorted { $0.description < $1.description }.map(self.status(of:))
    }
}

/// Brings a result out of a closure that is called once.
private final class OutcomeBox: Sendable {
    private let outcome = Mutex<RecordingFinishing.Outcome?>(nil)

    func set(_ value: RecordingFinishing.Outcome) { self.outcome.withLock { $0 = value } }
    func get() -> RecordingFinishing.Outcome? { self.outcome.withLock { $0 } }
}
