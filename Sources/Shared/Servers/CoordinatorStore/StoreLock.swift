import Glibc
import Synchronization

/// Keeps a second coordinator from using the same file: two would grant one key twice.
///
/// The kernel drops the lock with the process, however that ends.
final class StoreLock: Sendable {
    private let descriptor: Mutex<Int32>

    init(path: String) throws(CoordinatorStoreError) {
        let opened = unsafe Glibc.open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard opened >= 0 else { throw .cannotOpen(path: path, code: 14) }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            Glibc.close(opened)
            throw .inUse(path: path)
        }
        self.descriptor = Mutex(opened)
    }

    func unlock() {
        self.descriptor.withLock { descriptor in
            guard descriptor >= 0 else { return }
            Glibc.close(descriptor)
            descriptor = -1
        }
    }

    deinit { self.unlock() }
}
