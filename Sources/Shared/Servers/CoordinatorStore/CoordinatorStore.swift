import Dispatch
import GRDB
import Media
import Placement

/// The coordinator's database: intent and placements that outlive the process, in one SQLite file in WAL mode.
///
/// Every method runs its SQL on GRDB's own queues and suspends the caller, so an event loop may await it. A crash in
/// the middle of a write leaves the state before it.
package final class CoordinatorStore: Sendable {
    /// The file; beside it lie `-wal`, `-shm` and `.lock`.
    package let path: String
    private let pool: DatabasePool
    private let lock: StoreLock

    /// Opens or creates the file, checks it, and brings its tables up to date.
    ///
    /// Errors: `cannotOpen`, `corrupt`, `newerSchema`, `inUse`.
    package static func open(path: String) async throws(CoordinatorStoreError) -> CoordinatorStore {
        let result: Result<CoordinatorStore, CoordinatorStoreError> = await withCheckedContinuation { continuation in
            // Opening touches the disk, and GRDB does that where it is called.
            DispatchQueue.global().async {
                continuation.resume(returning: Result { () throws(CoordinatorStoreError) in try Self(openingAt: path) })
            }
        }
        return try result.get()
    }

    private init(openingAt path: String) throws(CoordinatorStoreError) {
        self.path = path
        self.lock = try StoreLock(path: path)
        do {
            var configuration = Configuration()
            configuration.label = "coordinator"
            configuration.busyMode = .timeout(2)
            self.pool = try DatabasePool(path: path, configuration: configuration)
            let migrator = StoreSchema.migrator
            let state = try self.pool.writeWithoutTransaction { database in
                (
                    check: try String.fetchOne(database, sql: "PRAGMA quick_check(1)"),
                    isNewer: try migrator.hasBeenSuperseded(database)
                )
            }
            guard state.check == "ok" else { throw CoordinatorStoreError.corrupt(path: path, code: 11) }
            guard !state.isNewer else { throw CoordinatorStoreError.newerSchema(path: path) }
            try migrator.migrate(self.pool)
        } catch let error as CoordinatorStoreError {
            throw error
        } catch {
            throw Self.openingError(error, path: path)
        }
    }

    private static func openingError(_ error: any Error, path: String) -> CoordinatorStoreError {
        let code = (error as? DatabaseError)?.resultCode ?? .SQLITE_ERROR
        switch code {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB: return .corrupt(path: path, code: code.rawValue)
        default: return .cannotOpen(path: path, code: code.rawValue)
        }
    }

    static func unavailable(_ error: any Error) -> CoordinatorStoreError {
        .unavailable(code: (error as? DatabaseError)?.resultCode.rawValue ?? 1)
    }

    /// Writes all of `writes` in one transaction, or none. Returns the events among them, in order, with the ids that
    /// they got. Errors: `unavailable`.
    @discardableResult
    package func commit(_ writes: [StoreWrite]) async throws(CoordinatorStoreError) -> [StoredEvent] {
        guard !writes.isEmpty else { return [] }
        do {
            return try await self.pool.write { database in
                try writes.compactMap { try StoreSchema.apply($0, to: database) }
            }
        } catch {
            throw Self.unavailable(error)
        }
    }

    /// Reads all that a start needs. Errors: `unavailable`.
    package func load() async throws(CoordinatorStoreError) -> StoredState {
        do {
            return try await self.pool.read { database in try StoreSchema.load(database) }
        } catch {
            throw Self.unavailable(error)
        }
    }

    // MARK: For the tables' extensions

    func reading<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(CoordinatorStoreError) -> Value {
        do { return try await self.pool.read(body) } catch { throw Self.unavailable(error) }
    }

    func writing<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(CoordinatorStoreError) -> Value {
        do { return try await self.pool.write(body) } catch { throw Self.unavailable(error) }
    }

    /// Writes what is in the log back into the file and closes it. Later calls fail with `unavailable`.
    package func close() {
        // A reader that still runs keeps the file open; it is closed when the pool is freed.
        try? self.pool.close()
        self.lock.unlock()
    }
}
