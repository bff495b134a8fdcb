import CoordinatorStore
import FoundationEssentials
import Glibc
import Hummingbird
import NIOCore
import NIOPosix
import Synchronization

/// Where copies of the database are written, one at a time, and how many are kept.
final class BackupFolder: Sendable {
    /// A copy that was written.
    struct Made: Sendable, Hashable {
        /// Its name in the folder.
        var file: String
        var path: String
        var bytes: Int64
        var atMillis: Int64
    }

    private static let prefix = "weir-"
    private static let suffix = ".sqlite"
    private static let pieceBytes = 256 << 10

    private let folder: String
    private let maximumBackups: Int
    private let isBusy = Mutex(false)

    /// The folder is made when the first copy is. At most `maximumBackups` copies stay; the oldest go.
    init(folder: String, maximumBackups: Int) {
        self.folder = folder
        self.maximumBackups = maximumBackups
    }

    /// Takes the place for the one copy that may be made at a time; false when it is taken. `end()` gives it back.
    func begin() -> Bool {
        self.isBusy.withLock { isBusy in
            defer { isBusy = true }
            return !isBusy
        }
    }

    func end() { self.isBusy.withLock { $0 = false } }

    /// Writes a copy. Its name is the time, so that names sort by age.
    func make(from store: CoordinatorStore) async throws(CoordinatorStoreError) -> Made {
        let millis = CoordinatorCore.wallMillis()
        let file = Self.prefix + Self.stamp(millis) + Self.suffix
        let path = self.folder + "/" + file
        let (folder, keeping) = (self.folder, self.maximumBackups)
        let code = await Self.onDisk { Self.makeFolder(folder) }
        guard code == 0 else { throw .backupFailed(path: path, code: code) }
        let bytes = try await store.backup(to: path)
        await Self.onDisk { Self.prune(folder, keeping: keeping) }
        return Made(file: file, path: path, bytes: bytes, atMillis: millis)
    }

    /// Sends a copy and removes it.
    @concurrent
    func send(_ made: Made, to writer: inout any ResponseBodyWriter) async throws {
        let path = made.path
        let descriptor = await Self.onDisk { () -> Int32 in
            defer { unsafe unlink(path) }
            return unsafe open(path, O_RDONLY | O_CLOEXEC)
        }
        guard descriptor >= 0 else { throw CoordinatorStoreError.backupFailed(path: path, code: errno) }
        defer { close(descriptor) }
        while true {
            let piece = await Self.onDisk { Self.read(descriptor) }
            guard let piece, piece.readableBytes > 0 else { return }
            try await writer.write(piece)
        }
    }

    /// The next piece; empty at the end, `nil` after an error.
    private static func read(_ descriptor: Int32) -> ByteBuffer? {
        var buffer = ByteBufferAllocator().buffer(capacity: self.pieceBytes)
        let count = unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: self.pieceBytes) { bytes in
            unsafe max(Glibc.read(descriptor, bytes.baseAddress, bytes.count), 0)
        }
        return count >= 0 ? buffer : nil
    }

    private static func onDisk<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            NIOThreadPool.singleton.submit { _ in continuation.resume(returning: body()) }
        }
    }

    /// The error number, or 0.
    private static func makeFolder(_ path: String) -> Int32 {
        if unsafe mkdir(path, 0o700) == 0 || errno == EEXIST { return 0 }
        return errno
    }

    private static func prune(_ folder: String, keeping count: Int) {
        let names = Self.names(in: folder).filter { $0.hasPrefix(Self.prefix) && $0.hasSuffix(Self.suffix) }.sorted()
        for name in names.dropLast(count) { unsafe unlink(folder + "/" + name) }
    }

    private static func names(in folder: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    }

    /// `20261123-041229-123`, in UTC.
    static func stamp(_ millis: Int64) -> String {
        var seconds = time_t(millis / 1_000)
        var parts = unsafe tm()
        unsafe gmtime_r(&seconds, &parts)
        let numbers = unsafe [
            parts.tm_year + 1_900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
        ]
        let texts = numbers.map { $0 < 10 ? "0\($0)" : "\($0)" }
        let fraction = String(millis % 1_000 + 1_000).dropFirst()
        return "\(texts[..<3].joined())-\(texts[3...].joined())-\(fraction)"
    }
}
