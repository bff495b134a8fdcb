import Glibc
package import Logging
package import NIOCore
import NIOPosix
import Synchronization

/// The limits of a `StorageWriter`.
package struct StorageWriterConfiguration: Sendable, Hashable {
    /// The absolute folder that all files lie in, without `/` at its end. One file system.
    package var root: String
    /// What may wait to be written. Beyond it whole writes are left out and counted.
    package var maximumQueuedBytes: Int
    /// How many writes may wait.
    package var maximumQueuedWrites: Int
    /// Whether each file is on the disk itself before its completion is told. Off: a crash of the system, not of the
    /// program, may lose the last seconds.
    package var synchronizes: Bool

    package init(
        root: String, maximumQueuedBytes: Int = 64 << 20, maximumQueuedWrites: Int = 8_192, synchronizes: Bool = false
    ) {
        precondition(root.hasPrefix("/") && !root.hasSuffix("/"), "the root is an absolute folder, got \(root)")
        precondition(maximumQueuedBytes > 0 && maximumQueuedWrites > 0, "the bounds of the queue are positive")
        self.root = root
        self.maximumQueuedBytes = maximumQueuedBytes
        self.maximumQueuedWrites = maximumQueuedWrites
        self.synchronizes = synchronizes
    }
}

/// Counters and state of a writer, for the API and metrics.
package struct StorageSnapshot: Sendable, Hashable {
    package var root: String
    /// Why writes fail, and since when; `nil`: they do not.
    package var alarm: StorageError?
    package var alarmSinceUnixMillis: Int64?
    package var queuedBytes: Int
    package var queuedJobs: Int
    package var writtenBytes: UInt64
    package var writtenFiles: UInt64
    package var deletedFiles: UInt64
    package var failedWrites: UInt64
    /// Writes that were left out because the queue was full.
    package var droppedWrites: UInt64
    /// As last probed by `maintain`.
    package var space: StorageSpace?
}

/// Writes files below one root folder on a thread of its own, so that no event loop waits for a disk.
///
/// Jobs run in the order in which they were given. The queue is bounded: a disk that does not keep up costs whole writes,
/// which fail with `queueFull`, never memory. Failures of the disk raise one alarm (`StorageAlarm`) that is logged here.
/// Completions are called once, on the writer's thread (on the caller's if the job was refused); they must not block.
package final class StorageWriter: Sendable {
    package typealias Completion = @Sendable (Result<Void, StorageError>) -> Void
    private typealias Job = @Sendable () -> Void

    private struct State {
        var jobs = CircularBuffer<(bytes: Int, run: Job)>()
        var longJobs = CircularBuffer<Job>()
        var queuedBytes = 0
        var isRunning = false
        var isRunningLong = false
        var isClosed = false
        var alarm = StorageAlarm()
        var counters: StorageSnapshot
        var isProbing = false
        var nextTemporary: UInt64 = 0
    }

    /// How many long jobs may wait.
    private static let maximumLongJobs = 256
    /// The folder for unfinished files, below the root.
    static let temporaryFolder = ".weir-tmp"

    package let configuration: StorageWriterConfiguration
    private let logger: Logger
    /// One thread for the jobs, one for long ones.
    private let pool = NIOThreadPool(numberOfThreads: 2)
    private let state: Mutex<State>
    /// Makes temporary names differ from those of other processes.
    private let instance = String(UInt32.random(in: 0 ... .max), radix: 36)
    /// For tests: called before each job, on the writer's thread.
    private let beforeJob: (@Sendable () -> Void)?

    /// Starts the writer, which first removes what a crash left unfinished. Close it before the last reference goes.
    package convenience init(_ configuration: StorageWriterConfiguration, logger: Logger) {
        self.init(configuration, logger: logger, beforeJob: nil)
    }

    init(_ configuration: StorageWriterConfiguration, logger: Logger, beforeJob: (@Sendable () -> Void)?) {
        self.configuration = configuration
        self.logger = logger
        self.beforeJob = beforeJob
        self.state = Mutex(
            State(
                counters: StorageSnapshot(
                    root: configuration.root, queuedBytes: 0, queuedJobs: 0, writtenBytes: 0, writtenFiles: 0,
                    deletedFiles: 0, failedWrites: 0, droppedWrites: 0)))
        self.pool.start()
        self.enqueue(bytes: 0, isRequired: true, completion: nil) { self.removeStrayFiles() }
        self.maintain()
    }

    // MARK: Whole files

    /// Writes a file under a temporary name and renames it to `path`, which is absolute; folders are made. A file that
    /// is there is replaced, `mode` is that of a new one.
    package func write(
        _ contents: [ByteBuffer], to path: String, mode: UInt32 = 0o644, completion: Completion? = nil
    ) {
        let count = contents.reduce(0) { $0 + $1.readableBytes }
        self.enqueue(bytes: count, isRequired: false, completion: completion) {
            let result = self.writeWhole(contents, to: path, mode: mode)
            self.finished(result, bytes: count, files: 1)
            completion?(result)
        }
    }

    /// As above, with contents that are made when it is the file's turn, on the writer's thread: what is written is never
    /// older than it has to be. `nil`: nothing is written, which is no error.
    package func write(
        to path: String, mode: UInt32 = 0o644, making contents: @escaping @Sendable () -> ByteBuffer?,
        completion: Completion? = nil
    ) {
        self.enqueue(bytes: 0, isRequired: false, completion: completion) {
            guard let made = contents() else {
                completion?(.success(()))
                return
            }
            let result = self.writeWhole([made], to: path, mode: mode)
            self.finished(result, bytes: made.readableBytes, files: 1)
            completion?(result)
        }
    }

    /// Removes a file, and the folders above it that are empty then, up to the root. A file that is gone is no error.
    package func delete(_ path: String, completion: Completion? = nil) {
        self.enqueue(bytes: 0, isRequired: true, completion: completion) {
            let result = Result { () throws(StorageError) in try FileCalls.remove(path) }
            FileCalls.removeEmptyFolders(above: path, upTo: self.configuration.root)
            if case .success = result { self.state.withLock { $0.counters.deletedFiles += 1 } }
            completion?(result)
        }
    }

    // MARK: Files that grow

    /// Makes a new file for appending; folders are made. It must not exist: `exists`. What is appended before the
    /// completion waits for it.
    package func open(_ path: String, mode: UInt32 = 0o644, completion: Completion? = nil) -> StorageFile {
        let file = StorageFile(path: path)
        self.enqueue(bytes: 0, isRequired: true, completion: completion) {
            let result = Result { () throws(StorageError) in
                file.descriptor = try self.create(path, flags: O_WRONLY | O_CREAT | O_EXCL, mode: mode)
            }
            if case .failure(let error) = result { file.failure = error }
            self.finished(result, bytes: 0, files: 0)
            completion?(result)
        }
        return file
    }

    /// Writes behind what the file has. If it fails, the file has what it had.
    package func append(_ contents: [ByteBuffer], to file: StorageFile, completion: Completion? = nil) {
        let count = contents.reduce(0) { $0 + $1.readableBytes }
        self.enqueue(bytes: count, isRequired: false, completion: completion) {
            let result = Result { () throws(StorageError) in
                try self.check(file)
                do throws(StorageError) {
                    for buffer in contents { try FileCalls.write(buffer, to: file.descriptor) }
                    file.byteCount += Int64(count)
                } catch {
                    file.failure = error
                    _ = ftruncate(file.descriptor, Int(file.byteCount))
                    throw error
                }
            }
            self.finished(result, bytes: count, files: 0)
            completion?(result)
        }
    }

    /// Replaces bytes that were appended before, such as a header's length field.
    package func overwrite(
        _ contents: ByteBuffer, at offset: Int64, in file: StorageFile, completion: Completion? = nil
    ) {
        self.enqueue(bytes: contents.readableBytes, isRequired: false, completion: completion) {
            let result = Result { () throws(StorageError) in
                try self.check(file)
                precondition(
                    offset >= 0 && offset + Int64(contents.readableBytes) <= file.byteCount,
                    "only what was appended can be replaced: \(contents.readableBytes) bytes at \(offset)")
                try FileCalls.write(contents, to: file.descriptor, at: Int(offset))
            }
            self.finished(result, bytes: contents.readableBytes, files: 0)
            completion?(result)
        }
    }

    /// Closes the file and gives it its last name, if it has another. A file that is there under that name is kept:
    /// `exists`, and the file stays where it is. Also a file that failed is closed and renamed; the error is told.
    package func close(_ file: StorageFile, renamingTo name: String? = nil, completion: Completion? = nil) {
        self.enqueue(bytes: 0, isRequired: true, completion: completion) {
            let result = self.closeNow(file, renamingTo: name)
            self.finished(result, bytes: 0, files: 1)
            completion?(result)
        }
    }

    // MARK: Other work

    /// Runs `work`, which may take seconds and block, on the thread for long jobs, one after another.
    package func perform(
        _ work: @escaping @Sendable () throws(StorageError) -> Void, completion: @escaping Completion
    ) {
        let refusal: StorageError? = self.state.withLock { state in
            if state.isClosed { return .closed }
            guard state.longJobs.count < Self.maximumLongJobs else { return .queueFull }
            state.longJobs.append {
                let result = Result { () throws(StorageError) in try work() }
                if case .failure = result { self.finished(result, bytes: 0, files: 0) }
                completion(result)
            }
            return nil
        }
        if let refusal { return completion(.failure(refusal)) }
        self.startLong()
    }

    /// Reads a small file on the thread for long jobs. One that has more than `maximumCount` bytes is an error of type
    /// `system` with `EFBIG`.
    package func read(_ path: String, maximumCount: Int) async -> Result<ByteBuffer, StorageError> {
        await withCheckedContinuation { continuation in
            let found = Mutex<ByteBuffer?>(nil)
            self.perform {
                () throws(StorageError) in
                let bytes = try FileCalls.read(path, maximumCount: maximumCount)
                found.withLock { $0 = bytes }
            } completion: { result in
                continuation.resume(returning: result.map { found.withLock { $0 } ?? ByteBuffer() })
            }
        }
    }

    /// Probes the free space, reminds of an alarm, and finds out whether one is over. Call it every few seconds.
    package func maintain() {
        let isDue = self.state.withLock { state in
            guard !state.isProbing, !state.isClosed else { return false }
            state.isProbing = true
            return true
        }
        guard isDue else { return }
        self.enqueue(bytes: 0, isRequired: true, completion: nil) { self.probe() }
    }

    /// What is known now. Any thread; waits for nothing.
    package func snapshot() -> StorageSnapshot {
        self.state.withLock { state in
            var snapshot = state.counters
            snapshot.alarm = state.alarm.error
            snapshot.alarmSinceUnixMillis = state.alarm.sinceUnixMillis
            snapshot.queuedBytes = state.queuedBytes
            snapshot.queuedJobs = state.jobs.count + state.longJobs.count
            return snapshot
        }
    }

    /// Returns when the queue is written, with what its completions asked for, and long jobs are done, or when `limit` is
    /// over, whichever comes first. Takes no more jobs from then on.
    package func close(within limit: TimeAmount = .seconds(10)) async {
        let deadline = NIODeadline.now() + limit
        let done = NIOSingletons.posixEventLoopGroup.any().makePromise(of: Bool.self)
        let once = Once()
        let finish: @Sendable (Bool) -> Void = { isWritten in
            guard once.take() else { return }
            self.state.withLock { $0.isClosed = true }
            done.succeed(isWritten)
        }
        let timer = done.futureResult.eventLoop.scheduleTask(in: limit) { finish(false) }
        // Completions of what is in the queue now may add jobs, which are behind the first of these.
        self.enqueue(bytes: 0, isRequired: true, completion: { _ in finish(true) }) {
            self.enqueue(bytes: 0, isRequired: true, completion: { _ in finish(true) }) { finish(true) }
        }
        let isWritten = (try? await done.futureResult.get()) ?? false
        timer.cancel()
        // The pool's own end would wait for a long job as long as that takes.
        while isWritten, self.state.withLock({ $0.isRunningLong }), NIODeadline.now() < deadline {
            try? await Task.sleep(for: .milliseconds(10))
        }
        if isWritten, !self.state.withLock({ $0.isRunningLong }) {
            try? await self.pool.shutdownGracefully()
        } else {
            self.logger.error(
                "the disk did not take what was left to write", metadata: ["folder": "\(self.configuration.root)"])
        }
    }
}

// MARK: - On the writer's thread

extension StorageWriter {
    private func enqueue(
        bytes: Int, isRequired: Bool, completion: Completion?, _ run: @escaping Job
    ) {
        let (refusal, report, starts) = self.state.withLock { state -> (StorageError?, StorageAlarm.Report?, Bool) in
            if state.isClosed { return (.closed, nil, false) }
            let isFull =
                state.jobs.count >= self.configuration.maximumQueuedWrites
                || (state.queuedBytes > 0 && state.queuedBytes + bytes > self.configuration.maximumQueuedBytes)
            if isFull, !isRequired {
                state.counters.droppedWrites += 1
                let report = state.alarm.failed(
                    .queueFull, now: NIODeadline.now().uptimeNanoseconds, unixMillis: WallClock.unixMillis)
                return (.queueFull, report, false)
            }
            state.jobs.append((bytes, run))
            state.queuedBytes += bytes
            let starts = !state.isRunning
            state.isRunning = true
            return (nil, nil, starts)
        }
        if let report { self.log(report) }
        if let refusal { completion?(.failure(refusal)) }
        if starts { self.pool.submit { _ in self.drain() } }
    }

    private func drain() {
        while let job = self.state.withLock({ state -> (bytes: Int, run: Job)? in
            guard let job = state.jobs.first else {
                state.isRunning = false
                return nil
            }
            return job
        }) {
            self.beforeJob?()
            job.run()
            // Bytes count until they are written: what a slow disk holds up is what the bound is for.
            self.state.withLock { state in
                state.jobs.removeFirst()
                state.queuedBytes -= job.bytes
            }
        }
    }

    private func startLong() {
        let starts = self.state.withLock { state in
            let starts = !state.isRunningLong
            state.isRunningLong = true
            return starts
        }
        guard starts else { return }
        self.pool.submit { _ in
            while let job = self.state.withLock({ state -> Job? in
                if state.longJobs.isEmpty { state.isRunningLong = false }
                return state.longJobs.popFirst()
            }) { job() }
        }
    }

    private func create(_ path: String, flags: Int32, mode: UInt32) throws(StorageError) -> Int32 {
        do throws(StorageError) {
            return try FileCalls.open(path, flags: flags, mode: mode)
        } catch {
            guard error == .missing else { throw error }
        }
        try FileCalls.makeFolders(above: path, mode: 0o755)
        return try FileCalls.open(path, flags: flags, mode: mode)
    }

    private func writeWhole(_ contents: [ByteBuffer], to path: String, mode: UInt32) -> Result<Void, StorageError> {
        let number = self.state.withLock { state in
            state.nextTemporary += 1
            return state.nextTemporary
        }
        let temporary = "\(self.configuration.root)/\(Self.temporaryFolder)/\(getpid())-\(self.instance)-\(number)"
        return Result { () throws(StorageError) in
            let descriptor = try self.create(temporary, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
            do throws(StorageError) {
                try self.fill(descriptor, with: contents)
                do throws(StorageError) {
                    try FileCalls.rename(temporary, to: path)
                } catch {
                    guard error == .missing else { throw error }
                    try FileCalls.makeFolders(above: path, mode: 0o755)
                    try FileCalls.rename(temporary, to: path)
                }
            } catch {
                try? FileCalls.remove(temporary)
                throw error
            }
        }
    }

    /// Writes and closes; the descriptor is closed also after an error.
    private func fill(_ descriptor: Int32, with contents: [ByteBuffer]) throws(StorageError) {
        do throws(StorageError) {
            for buffer in contents { try FileCalls.write(buffer, to: descriptor) }
            if self.configuration.synchronizes, fsync(descriptor) != 0 { throw StorageError(code: errno) }
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        try FileCalls.close(descriptor)
    }

    private func check(_ file: StorageFile) throws(StorageError) {
        if let failure = file.failure { throw failure }
        guard file.descriptor >= 0 else { throw .closed }
    }

    private func closeNow(_ file: StorageFile, renamingTo name: String?) -> Result<Void, StorageError> {
        Result { () throws(StorageError) in
            guard file.descriptor >= 0 else { throw file.failure ?? .closed }
            let descriptor = file.descriptor
            file.descriptor = -1
            var failure = file.failure
            if self.configuration.synchronizes, fsync(descriptor) != 0 {
                failure = failure ?? StorageError(code: errno)
            }
            do throws(StorageError) { try FileCalls.close(descriptor) } catch { failure = failure ?? error }
            if let name, name != file.path {
                do throws(StorageError) {
                    try FileCalls.renameToNew(file.path, name)
                } catch {
                    failure = failure ?? error
                }
            }
            if let failure { throw failure }
        }
    }

    private func finished(_ result: Result<Void, StorageError>, bytes: Int, files: UInt64) {
        let now = NIODeadline.now().uptimeNanoseconds
        let report = self.state.withLock { state -> StorageAlarm.Report? in
            switch result {
            case .success:
                state.counters.writtenBytes += UInt64(bytes)
                state.counters.writtenFiles += files
                return state.alarm.succeeded(now: now)
            case .failure(let error):
                state.counters.failedWrites += 1
                return state.alarm.failed(error, now: now, unixMillis: WallClock.unixMillis)
            }
        }
        if let report { self.log(report) }
    }

    private func probe() {
        let space = try? StorageSpace.probe(self.configuration.root)
        let now = NIODeadline.now().uptimeNanoseconds
        let (tries, report) = self.state.withLock { state in
            if let space { state.counters.space = space }
            state.isProbing = false
            let tries = state.alarm.mayClear(now: now)
            return (tries, tries ? nil : state.alarm.timePassed(now: now))
        }
        if let report { self.log(report) }
        guard tries else { return }
        // Nothing was written for some seconds; a file as large as a short segment tells whether it would work.
        let path = "\(self.configuration.root)/\(Self.temporaryFolder)/probe"
        let result = self.writeWhole([ByteBuffer(repeating: 0, count: 256 << 10)], to: path, mode: 0o600)
        try? FileCalls.remove(path)
        self.finished(result, bytes: 0, files: 0)
    }

    /// Unfinished files of processes that are gone. Their folder holds nothing else.
    private func removeStrayFiles() {
        let folder = "\(self.configuration.root)/\(Self.temporaryFolder)"
        for name in FileCalls.names(in: folder) {
            let process = name.split(separator: "-").first.flatMap { Int32($0) }
            let isInUse = process.map { $0 != getpid() && (kill($0, 0) == 0 || errno == EPERM) } ?? false
            if !isInUse, !name.contains("-\(self.instance)-") { try? FileCalls.remove("\(folder)/\(name)") }
        }
    }

    private func log(_ report: StorageAlarm.Report) {
        let folder: Logger.Metadata = ["folder": "\(self.configuration.root)"]
        switch report {
        case .raised(let error), .changed(let error):
            self.logger.error("cannot write to the disk, live streams go on from memory: \(error)", metadata: folder)
        case .lasting(let error, let failures):
            self.logger.error("still cannot write to the disk, \(failures) more failures: \(error)", metadata: folder)
        case .cleared(let error, let failures):
            self.logger.notice(
                "writing to the disk works again after \(failures) failures (\(error.label))", metadata: folder)
        }
    }
}

/// Lets one of several win.
private final class Once: Sendable {
    private let isTaken = Atomic(false)

    func take() -> Bool { self.isTaken.compareExchange(expected: false, desired: true, ordering: .relaxed).exchanged }
}
