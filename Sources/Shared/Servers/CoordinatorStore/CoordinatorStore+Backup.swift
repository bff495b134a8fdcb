import Dispatch
import GRDB
import Glibc

extension CoordinatorStore {
    /// Writes a copy of the database to `path` while it is in use. Returns the copy's size in bytes.
    ///
    /// The copy is one state of the database, a file of its own without a log beside it, readable by its owner alone.
    /// Writers go on. It is written as `path` with `.part` behind it and renamed when it is complete and on the disk; an
    /// older file of that name is replaced. Errors: `backupFailed`.
    package func backup(to path: String) async throws(CoordinatorStoreError) -> Int64 {
        let source = self.path
        let result: Result<Int64, CoordinatorStoreError> = await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    returning: Result { () throws(CoordinatorStoreError) in try Self.copy(source, to: path) })
            }
        }
        return try result.get()
    }

    private static func copy(_ source: String, to path: String) throws(CoordinatorStoreError) -> Int64 {
        let part = path + ".part"
        unsafe Glibc.unlink(part)
        do {
            var configuration = Configuration()
            configuration.label = "coordinator-backup"
            configuration.busyMode = .timeout(2)
            // A connection of its own: it reads one state, and the pool's writer goes on meanwhile.
            let queue = try DatabaseQueue(path: source, configuration: configuration)
            try queue.writeWithoutTransaction { database in
                try database.execute(sql: "VACUUM INTO ?", arguments: [part])
            }
            try queue.close()
        } catch {
            unsafe Glibc.unlink(part)
            throw .backupFailed(path: path, code: (error as? DatabaseError)?.resultCode.rawValue ?? 1)
        }
        do throws(CoordinatorStoreError) {
            return try self.publish(part, as: path)
        } catch {
            unsafe Glibc.unlink(part)
            throw error
        }
    }

    /// Brings the bytes of `part` to the disk and gives them their name. Returns how many there are.
    private static func publish(_ part: String, as path: String) throws(CoordinatorStoreError) -> Int64 {
        let descriptor = unsafe Glibc.open(part, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .backupFailed(path: path, code: errno) }
        defer { Glibc.close(descriptor) }
        // The copy holds the digests of tokens.
        guard fchmod(descriptor, 0o600) == 0, fsync(descriptor) == 0 else {
            throw .backupFailed(path: path, code: errno)
        }
        let size = lseek(descriptor, 0, SEEK_END)
        guard size >= 0, unsafe rename(part, path) == 0 else { throw .backupFailed(path: path, code: errno) }
        return Int64(size)
    }
}
