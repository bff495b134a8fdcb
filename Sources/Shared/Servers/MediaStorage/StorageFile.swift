import Glibc
import NIOCore

/// A file that a `StorageWriter` appends to, such as a recording.
///
/// Only jobs of the writer that opened it touch the file; whoever holds the reference names it in those jobs. An append
/// that fails leaves the file as long as it was before, and all later ones fail alike: open another file then.
// Safety: `descriptor`, `byteCount` and `failure` are touched on the writer's thread only, and by `deinit`.
package final class StorageFile: @unchecked Sendable {
    /// The absolute path while it is open.
    package let path: String
    var descriptor: Int32 = -1
    var byteCount: Int64 = 0
    var failure: StorageError?

    init(path: String) { self.path = path }

    deinit {
        if self.descriptor >= 0 { Glibc.close(self.descriptor) }
    }
}

/// The system calls, with typed errors. They block.
enum FileCalls {
    static func open(_ path: String, flags: Int32, mode: UInt32) throws(StorageError) -> Int32 {
        while true {
            let descriptor = unsafe Glibc.open(path, flags | O_CLOEXEC, mode)
            if descriptor >= 0 { return descriptor }
            guard errno == EINTR else { throw StorageError(code: errno) }
        }
    }

    static func write(_ buffer: ByteBuffer, to descriptor: Int32, at offset: Int? = nil) throws(StorageError) {
        var written = 0
        while written < buffer.readableBytes {
            let count = unsafe buffer.withUnsafeReadableBytes { bytes -> Int in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[written...])
                // Safety: the pointer and the count are those of what is left of the buffer.
                return unsafe offset.map { unsafe pwrite(descriptor, rest.baseAddress, rest.count, $0 + written) }
                    ?? Glibc.write(descriptor, rest.baseAddress, rest.count)
            }
            if count > 0 {
                written += count
            } else if count == 0 {
                throw .diskFull
            } else if errno != EINTR {
                throw StorageError(code: errno)
            }
        }
    }

    static func read(_ path: String, maximumCount: Int) throws(StorageError) -> ByteBuffer {
        let descriptor = try self.open(path, flags: O_RDONLY, mode: 0)
        defer { _ = Glibc.close(descriptor) }
        var buffer = ByteBuffer()
        while buffer.readableBytes <= maximumCount {
            let wanted = maximumCount + 1 - buffer.readableBytes
            var count = 0
            unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { region in
                // Safety: the region is at least as long as the length that is given.
                count = unsafe Glibc.read(descriptor, region.baseAddress, wanted)
                return max(0, count)
            }
            if count == 0 { return buffer }
            guard count > 0 || errno == EINTR else { throw StorageError(code: errno) }
        }
        throw .system(code: EFBIG)
    }

    /// Errors of a late write (NFS, quotas) are told by `close`.
    static func close(_ descriptor: Int32) throws(StorageError) {
        guard Glibc.close(descriptor) == 0 || errno == EINTR else { throw StorageError(code: errno) }
    }

    static func rename(_ old: String, to new: String) throws(StorageError) {
        guard unsafe Glibc.rename(old, new) == 0 else { throw StorageError(code: errno) }
    }

    /// Renames a file unless the new name is taken: `exists`.
    static func renameToNew(_ old: String, _ new: String) throws(StorageError) {
        // A link fails if the name is taken, where a rename would replace what is there.
        if unsafe link(old, new) == 0 { return try self.remove(old) }
        guard errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK else { throw StorageError(code: errno) }
        // A file system without links.
        guard unsafe access(new, F_OK) != 0 else { throw .exists }
        try self.rename(old, to: new)
    }

    /// Removes a file; one that is gone already is no error.
    static func remove(_ path: String) throws(StorageError) {
        guard unsafe unlink(path) == 0 || errno == ENOENT else { throw StorageError(code: errno) }
    }

    /// Makes the folders above the file `path`.
    static func makeFolders(above path: String, mode: UInt32) throws(StorageError) {
        guard let end = path.lastIndex(of: "/"), end > path.startIndex else { return }
        let folder = String(path[..<end])
        if unsafe mkdir(folder, mode) == 0 || errno == EEXIST { return }
        guard errno == ENOENT else { throw StorageError(code: errno) }
        try self.makeFolders(above: folder, mode: mode)
        guard unsafe mkdir(folder, mode) == 0 || errno == EEXIST else { throw StorageError(code: errno) }
    }

    /// Removes the folders above the file `path` that are empty, up to `root`, which stays.
    static func removeEmptyFolders(above path: String, upTo root: String) {
        var folder = Substring(path)
        while let end = folder.lastIndex(of: "/") {
            folder = folder[..<end]
            guard folder.utf8.count > root.utf8.count, folder.hasPrefix(root + "/") else { return }
            guard unsafe rmdir(String(folder)) == 0 else { return }
        }
    }

    /// The names in a folder; none if it cannot be read.
    static func names(in folder: String) -> [String] {
        guard let directory = unsafe opendir(folder) else { return [] }
        defer { unsafe _ = closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
