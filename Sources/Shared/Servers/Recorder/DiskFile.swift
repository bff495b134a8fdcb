import Glibc
import ISOBMFF
import MediaStorage
import NIOCore

/// A file that is read, or made by one writer, on a thread that may block.
// Safety: the descriptor never changes before `deinit`, and a file is used by one thread at a time.
final class DiskFile: MP4ByteSource, @unchecked Sendable {
    private let descriptor: Int32
    /// The length when it was opened, or last asked for with `measure`.
    private(set) var byteCount: Int64 = 0

    private init(_ descriptor: Int32) { self.descriptor = descriptor }

    deinit { Glibc.close(self.descriptor) }

    /// Opens a file to read. `isWritable`: also to shorten it and to replace bytes.
    static func open(_ path: String, isWritable: Bool = false) throws(StorageError) -> DiskFile {
        let flags = (isWritable ? O_RDWR : O_RDONLY) | O_CLOEXEC
        let file = DiskFile(try self.check(unsafe Glibc.open(path, flags)))
        try file.measure()
        return file
    }

    /// Makes an empty file. One that is there, which only a crash left, is replaced.
    static func create(_ path: String) throws(StorageError) -> DiskFile {
        DiskFile(try self.check(unsafe Glibc.open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)))
    }

    private static func check(_ result: Int32) throws(StorageError) -> Int32 {
        guard result >= 0 else { throw StorageError(code: errno) }
        return result
    }

    private func measure() throws(StorageError) {
        let end = lseek(self.descriptor, 0, SEEK_END)
        guard end >= 0 else { throw StorageError(code: errno) }
        self.byteCount = Int64(end)
    }

    /// Fewer bytes than asked for are the file's end.
    func read(at offset: Int64, count: Int) throws(StorageError) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: count)
        while buffer.readableBytes < count {
            let missing = count - buffer.readableBytes
            let place = offset + Int64(buffer.readableBytes)
            let got = unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: missing) { bytes -> Int in
                // Safety: at least `missing` bytes are writable.
                max(0, unsafe pread(self.descriptor, bytes.baseAddress, missing, off_t(place)))
            }
            if got == 0 { break }
        }
        return buffer
    }

    func append(_ bytes: ByteBuffer) throws(StorageError) {
        try self.write(bytes, at: self.byteCount)
        self.byteCount += Int64(bytes.readableBytes)
    }

    func write(_ bytes: ByteBuffer, at offset: Int64) throws(StorageError) {
        var written = 0
        while written < bytes.readableBytes {
            let count = unsafe bytes.withUnsafeReadableBytes { source in
                // Safety: the pointer and the count are those of what is left of the buffer.
                let rest = unsafe UnsafeRawBufferPointer(rebasing: source[written...])
                return unsafe pwrite(self.descriptor, rest.baseAddress, rest.count, off_t(offset + Int64(written)))
            }
            if count > 0 {
                written += count
            } else if count == 0 || errno != EINTR {
                throw count == 0 ? .diskFull : StorageError(code: errno)
            }
        }
    }

    func truncate(to count: Int64) throws(StorageError) {
        guard ftruncate(self.descriptor, off_t(count)) == 0 else { throw StorageError(code: errno) }
        self.byteCount = count
    }

    func synchronize() throws(StorageError) {
        guard fsync(self.descriptor) == 0 else { throw StorageError(code: errno) }
    }

    /// Appends the file that a plan describes; its sources are numbered. Its many small pieces go to the disk in few
    /// writes.
    func append(_ plan: ProgressiveMP4.Plan, from sources: [DiskFile]) throws(StorageError) {
        var gathered = plan.header
        for piece in plan.pieces {
            switch piece {
            case .bytes(let bytes): gathered.writeImmutableBuffer(bytes)
            case .range(let source, let offset, let count):
                var done: Int64 = 0
                while done < count {
                    let part = Int(min(count - done, Int64(Self.writeCount)))
                    let bytes = try sources[source].read(at: offset + done, count: part)
                    // Samples that the index names are in the file; a shorter one was damaged meanwhile.
                    guard bytes.readableBytes == part else { throw .system(code: EIO) }
                    gathered.writeImmutableBuffer(bytes)
                    done += Int64(part)
                    if gathered.readableBytes >= Self.writeCount { try self.appendAll(&gathered) }
                }
            }
        }
        try self.appendAll(&gathered)
    }

    /// How many bytes are gathered before they are written.
    private static let writeCount = 1 << 20

    private func appendAll(_ gathered: inout ByteBuffer) throws(StorageError) {
        try self.append(gathered)
        gathered.clear()
    }

    // MARK: Names

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    static func remove(_ path: String) { _ = unsafe unlink(path) }

    /// Gives a file the first name of `path`, `path` with `-2` in front of its suffix, and so on, that is free. Returns it.
    static func rename(_ old: String, toFree path: String) throws(StorageError) -> String {
        for attempt in 1...1_000 {
            let name = self.numbered(path, attempt)
            // Unlike `rename`, a link never replaces what is there.
            if unsafe link(old, name) == 0 {
                _ = unsafe unlink(old)
                return name
            }
            if errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK {
                // A file system without links; only this thread makes files of this recorder.
                if self.exists(name) { continue }
                guard unsafe Glibc.rename(old, name) == 0 else { throw StorageError(code: errno) }
                return name
            }
            guard errno == EEXIST else { throw StorageError(code: errno) }
        }
        throw .exists
    }

    private static func numbered(_ path: String, _ number: Int) -> String {
        guard number > 1 else { return path }
        let folderEnd = path.lastIndex(of: "/") ?? path.startIndex
        guard let dot = path.lastIndex(of: "."), dot > folderEnd else { return "\(path)-\(number)" }
        return "\(path[..<dot])-\(number)\(path[dot...])"
    }

    static func makeFolder(_ path: String) throws(StorageError) {
        guard unsafe mkdir(path, 0o755) == 0 || errno == EEXIST else { throw StorageError(code: errno) }
    }

    static func names(in folder: String) -> [String] {
        guard let directory = unsafe opendir(folder) else { return [] }
        defer { unsafe _ = closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            // Safety: the name is a C string inside the entry, which lives until the next call.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
