import CLinux
import Glibc
import NIOCore
import NIOPosix

/// A file descriptor that closes itself. Its file has no position: all who hold it name the part they want.
final class OpenFile: Sendable {
    let descriptor: CInt
    let count: Int64

    private init(descriptor: CInt, count: Int64) {
        self.descriptor = descriptor
        self.count = count
    }

    deinit { _ = close(self.descriptor) }

    /// Opens a regular file for reading. Blocks for the time that the disk takes. Throws `IOError`.
    static func open(_ path: String) throws -> OpenFile {
        let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "open") }
        var status = stat()
        let code = unsafe fstat(descriptor, &status) == 0 ? 0 : errno
        guard code == 0, status.st_mode & S_IFMT == S_IFREG else {
            _ = close(descriptor)
            throw IOError(errnoCode: code == 0 ? EINVAL : code, reason: "fstat")
        }
        return OpenFile(descriptor: descriptor, count: Int64(status.st_size))
    }

    /// Puts bytes into a file of the kernel's memory, which sockets can be sent without copying; `nil` if that fails.
    static func inMemory(_ bytes: ByteBuffer) -> OpenFile? {
        let descriptor = unsafe weir_memory_file("weir-object")
        guard descriptor >= 0 else { return nil }
        let file = OpenFile(descriptor: descriptor, count: Int64(bytes.readableBytes))
        let isComplete = unsafe bytes.withUnsafeReadableBytes { source in
            var done = 0
            while done < source.count {
                guard let base = source.baseAddress else { return false }
                let written = unsafe Glibc.write(descriptor, base + done, source.count - done)
                if written < 0, errno == EINTR { continue }
                guard written > 0 else { return false }
                done += written
            }
            return true
        }
        return isComplete ? file : nil
    }

    /// Reads `range`. Blocks for the time that the disk takes. Throws `IOError`, also at the end of the file.
    func read(_ range: Range<Int64>) throws -> ByteBuffer {
        var bytes = ByteBufferAllocator().buffer(capacity: range.count)
        while bytes.readableBytes < range.count {
            let offset = range.lowerBound + Int64(bytes.readableBytes)
            let wanted = range.count - bytes.readableBytes
            var code: CInt = 0
            let count = unsafe bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { target in
                let count = unsafe pread(self.descriptor, target.baseAddress, wanted, off_t(offset))
                if count < 0 { code = errno }
                return max(0, count)
            }
            if code == EINTR { continue }
            guard count > 0 else { throw IOError(errnoCode: code == 0 ? EIO : code, reason: "pread") }
        }
        return bytes
    }

    /// Asks the kernel to read `range` from the disk before it is sent.
    func readAhead(_ range: Range<Int64>) {
        weir_read_ahead(self.descriptor, range.lowerBound, range.count)
    }

    /// What NIO takes to send a part of the file; the file must be held until `release`.
    func handle() -> NIOFileHandle { NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: self.descriptor) }

    /// Gives a handle up, without closing the file.
    static func release(_ handle: NIOFileHandle) { _ = try? handle.takeDescriptorOwnership() }
}
