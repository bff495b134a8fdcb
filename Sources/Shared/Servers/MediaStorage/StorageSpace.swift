import Glibc

/// How much room a file system has, for the API.
package struct StorageSpace: Sendable, Hashable, Codable {
    package var totalBytes: UInt64
    /// What this user may still write.
    package var freeBytes: UInt64
    package var freeFiles: UInt64

    package init(totalBytes: UInt64, freeBytes: UInt64, freeFiles: UInt64) {
        self.totalBytes = totalBytes
        self.freeBytes = freeBytes
        self.freeFiles = freeFiles
    }

    /// Asks the file system that holds `path`. Blocks; do not call it on an event loop.
    package static func probe(_ path: String) throws(StorageError) -> StorageSpace {
        var facts = statvfs()
        // Safety: the function fills the structure, which outlives the call.
        guard unsafe statvfs(path, &facts) == 0 else { throw StorageError(code: errno) }
        let size = UInt64(facts.f_frsize)
        return StorageSpace(
            totalBytes: UInt64(facts.f_blocks) &* size, freeBytes: UInt64(facts.f_bavail) &* size,
            freeFiles: UInt64(facts.f_favail))
    }
}
