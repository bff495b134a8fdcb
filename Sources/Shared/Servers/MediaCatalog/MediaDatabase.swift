import Dispatch
import GRDB
import Glibc
package import Logging
import Synchronization

/// The database of an origin's files: which segments and recordings lie where. One SQLite file in WAL mode.
///
/// Rows of segments come often and are not waited for: `enqueue` gathers them, and one transaction writes them, at most
/// 100 ms or 500 writes later. A file that cannot be opened or written degrades the database, it never stops the
/// origin: what is waiting is kept up to a bound and tried again, reads fail with a typed error, `status` and one log line
/// tell why. Every file is written before its row, so a crash leaves no row without its file.
///
/// Extensions in this module hold the tables: segments and assets here, recordings in theirs. All SQL runs on GRDB's
/// queues.
package final class MediaDatabase: Sendable {
    /// Whether it works.
    package enum Status: Sendable, Hashable {
        case ready
        case degraded(MediaDatabaseError)
        case closed
    }

    /// One change that is not waited for. It must be harmless when it is made twice.
    typealias Change = @Sendable (Database) throws -> Void

    private struct State {
        var pool: DatabasePool?
        var status: Status
        /// The log has a line of `status`.
        var isLogged = false
        var pending: [Change] = []
        var isScheduled = false
        var droppedChanges = 0
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    /// The file; beside it lie `-wal`, `-shm` and `.lock`.
    package let path: String
    private let logger: Logger
    private let state: Mutex<State>
    /// Opens and writes, one after another.
    private let queue: DispatchQueue
    private let lock: Mutex<FileLock?>

    /// How long changes gather, at most.
    private static let gatheringMillis = 100
    /// How many changes one transaction makes.
    private static let batchCount = 500
    /// How many changes wait for a database that cannot be written; the oldest are dropped beyond it.
    static let maximumPending = 100_000
    /// How long after a failure the next try is made.
    private static let retryMillis = 1_000

    private init(path: String, logger: Logger) {
        self.path = path
        self.logger = logger
        self.queue = DispatchQueue(label: "weir.media-database")
        self.state = Mutex(State(status: .degraded(.cannotOpen(code: 14))))
        self.lock = Mutex(nil)
    }

    /// Opens or creates the file and brings its tables up to date. Does not fail: see `status`. A database that cannot
    /// be opened is tried again while it is used.
    package static func open(path: String, logger: Logger) async -> MediaDatabase {
        let database = MediaDatabase(path: path, logger: logger)
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            database.queue.async {
                database.openIfNeeded()
                continuation.resume()
            }
        }
        return database
    }

    package var status: Status { self.state.withLock { $0.status } }

    /// Changes that could not be kept because the database was degraded for too long.
    package var droppedChanges: Int { self.state.withLock { $0.droppedChanges } }

    /// How many changes wait to be written.
    package var pendingChanges: Int { self.state.withLock { $0.pending.count } }

    /// Writes what waits, and returns when it is written, or when writing failed.
    package func flush() async {
        await withCheckedContinuation { continuation in
            self.state.withLock { $0.waiters.append(continuation) }
            self.queue.async { self.writePending() }
        }
    }

    /// Writes what waits and closes the file.
    package func close() async {
        await self.flush()
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            self.queue.async {
                let pool = self.state.withLock { state in
                    state.status = .closed
                    state.pending = []
                    return state.pool.take()
                }
                // A reader that still runs keeps the file open; it is closed when the pool is freed.
                try? pool?.close()
                self.lock.withLock { $0 = nil }
                continuation.resume()
            }
        }
    }

    // MARK: For the tables' extensions

    /// Adds a change to the next transaction. Never waits; any thread.
    func enqueue(_ change: @escaping Change) {
        let schedules = self.state.withLock { state in
            guard state.status != .closed else { return false }
            if state.pending.count >= Self.maximumPending {
                state.pending.removeFirst(Self.maximumPending / 10)
                state.droppedChanges += Self.maximumPending / 10
            }
            state.pending.append(change)
            if state.pending.count == Self.batchCount { return true }
            guard !state.isScheduled else { return false }
            state.isScheduled = true
            return true
        }
        guard schedules else { return }
        self.queue.asyncAfter(deadline: .now() + .milliseconds(Self.gatheringMillis)) { self.writePending() }
    }

    /// Reads what was committed. Errors: the reason of the degraded state, `unavailable`, `closed`.
    func read<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(MediaDatabaseError) -> Value {
        let pool = try self.openPool()
        do {
            return try await pool.read(body)
        } catch {
            throw Self.unavailable(error)
        }
    }

    /// Makes a change at once, after all that were enqueued before, and returns when it is committed.
    func write<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(MediaDatabaseError) -> Value {
        await self.flush()
        let pool = try self.openPool()
        do {
            return try await pool.write(body)
        } catch {
            let failure = Self.unavailable(error)
            self.queue.async { self.note(failure) }
            throw failure
        }
    }

    private func openPool() throws(MediaDatabaseError) -> DatabasePool {
        let (pool, status) = self.state.withLock { ($0.pool, $0.status) }
        if let pool { return pool }
        switch status {
        case .closed: throw .closed
        case .degraded(let error): throw error
        case .ready: throw .cannotOpen(code: 14)
        }
    }

    static func unavailable(_ error: any Error) -> MediaDatabaseError {
        .unavailable(code: (error as? DatabaseError)?.resultCode.rawValue ?? 1)
    }
}

// MARK: - On the writing queue

extension MediaDatabase {
    private func openIfNeeded() {
        guard self.state.withLock({ $0.pool == nil && $0.status != .closed }) else { return }
        do throws(MediaDatabaseError) {
            let pool = try self.openNow()
            self.state.withLock { $0.pool = pool }
            self.note(nil)
        } catch {
            self.note(error)
        }
    }

    private func openNow() throws(MediaDatabaseError) -> DatabasePool {
        if self.lock.withLock({ $0 == nil }) {
            let lock = try FileLock(path: self.path + ".lock")
            self.lock.withLock { $0 = lock }
        }
        do {
            var configuration = Configuration()
            configuration.label = "media"
            configuration.busyMode = .timeout(2)
            configuration.maximumReaderCount = 3
            configuration.prepareDatabase { database in
                // WAL is safe with it: a crash of the system loses the last transactions, not the file.
                if !database.configuration.readonly { try database.execute(sql: "PRAGMA synchronous = NORMAL") }
            }
            let pool = try DatabasePool(path: self.path, configuration: configuration)
            let migrator = MediaSchema.migrator
            let isNewer = try pool.read { try migrator.hasBeenSuperseded($0) }
            guard !isNewer else { throw MediaDatabaseError.newerSchema }
            try migrator.migrate(pool)
            return pool
        } catch let error as MediaDatabaseError {
            throw error
        } catch {
            let code = (error as? DatabaseError)?.resultCode ?? .SQLITE_ERROR
            switch code {
            case .SQLITE_CORRUPT, .SQLITE_NOTADB: throw .corrupt(code: code.rawValue)
            default: throw .cannotOpen(code: code.rawValue)
            }
        }
    }

    /// Writes what was enqueued, batch by batch. After a failure the rest is tried again later.
    private func writePending() {
        self.openIfNeeded()
        while true {
            let (pool, batch) = self.state.withLock { state -> (DatabasePool?, [Change]) in
                if state.pending.isEmpty { state.isScheduled = false }
                let batch = Array(state.pending.prefix(Self.batchCount))
                state.pending.removeFirst(batch.count)
                return (state.pool, batch)
            }
            guard !batch.isEmpty else { break }
            guard let pool, self.commit(batch, to: pool) else {
                self.state.withLock { state in
                    state.isScheduled = true
                    state.pending.insert(contentsOf: batch, at: 0)
                }
                self.queue.asyncAfter(deadline: .now() + .milliseconds(Self.retryMillis)) { self.writePending() }
                break
            }
        }
        let waiters = self.state.withLock { state in
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Makes the changes in one transaction. False: try again later.
    private func commit(_ batch: [Change], to pool: DatabasePool) -> Bool {
        do {
            try pool.write { database in for change in batch { try change(database) } }
        } catch {
            let code = (error as? DatabaseError)?.resultCode ?? .SQLITE_ERROR
            switch code {
            case .SQLITE_FULL, .SQLITE_IOERR, .SQLITE_READONLY, .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_CANTOPEN,
                .SQLITE_NOMEM, .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_PERM:
                self.note(.unavailable(code: code.rawValue))
                return false
            default:
                // One change is at fault, not the disk: make the others.
                self.commitSingly(batch, to: pool)
            }
        }
        self.note(nil)
        return true
    }

    private func commitSingly(_ batch: [Change], to pool: DatabasePool) {
        for change in batch {
            do {
                try pool.write { try change($0) }
            } catch {
                self.logger.error("a change of the media database was refused: \(error)")
            }
        }
    }

    /// Sets the status, and logs when it changes.
    private func note(_ error: MediaDatabaseError?) {
        let next: Status = error.map { .degraded($0) } ?? .ready
        let isNews = self.state.withLock { state in
            guard state.status != .closed, state.status != next || !state.isLogged else { return false }
            state.status = next
            state.isLogged = true
            return true
        }
        guard isNews else { return }
        if let error {
            self.logger.error(
                "the media database is out of use, live streams go on from memory: \(error)",
                metadata: ["file": "\(self.path)"])
        } else {
            self.logger.info("the media database is open", metadata: ["file": "\(self.path)"])
        }
    }
}

/// Keeps a second process from using the same file: each would delete the other's segments.
///
/// The kernel drops the lock with the process, however that ends.
private final class FileLock: Sendable {
    private let descriptor: Int32

    init(path: String) throws(MediaDatabaseError) {
        let opened = unsafe Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard opened >= 0 else { throw .cannotOpen(code: 14) }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            Glibc.close(opened)
            throw .inUse
        }
        self.descriptor = opened
    }

    deinit { Glibc.close(self.descriptor) }
}
