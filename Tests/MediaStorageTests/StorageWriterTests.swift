import Glibc
import Logging
import NIOCore
import Synchronization
import Testing

@testable import MediaStorage

/// A folder that goes with the test.
final class Folder: Sendable {
    let path: String
    private let isMount: Bool

    init(tmpfsBytes: Int? = nil) throws {
        var template = Array("/tmp/weir-storage-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw StorageError(code: errno) }
        self.path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        if let tmpfsBytes {
            guard unsafe mount("tmpfs", self.path, "tmpfs", 0, "size=\(tmpfsBytes)") == 0 else {
                throw StorageError(code: errno)
            }
        }
        self.isMount = tmpfsBytes != nil
    }

    func remount(_ flags: UInt) -> Int32 {
        unsafe mount("tmpfs", self.path, "tmpfs", UInt(MS_REMOUNT) | flags, nil)
    }

    deinit {
        if self.isMount { _ = unsafe umount2(self.path, Int32(MNT_DETACH)) }
        Self.remove(self.path)
    }

    private static func remove(_ path: String) {
        for name in FileCalls.names(in: path) { self.remove("\(path)/\(name)") }
        if unsafe rmdir(path) != 0 { _ = unsafe unlink(path) }
    }

    func names(_ below: String = "") -> [String] {
        FileCalls.names(in: below.isEmpty ? self.path : "\(self.path)/\(below)").sorted()
    }

    func contents(_ name: String) -> String? { Self.contents("\(self.path)/\(name)") }

    static func contents(_ path: String) -> String? {
        guard let file = unsafe fopen(path, "r") else { return nil }
        defer { unsafe _ = fclose(file) }
        var bytes: [UInt8] = []
        while case let byte = unsafe fgetc(file), byte >= 0 { bytes.append(UInt8(truncatingIfNeeded: byte)) }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func put(_ text: String, _ path: String) {
        guard let file = unsafe fopen(path, "w") else { return }
        _ = unsafe fputs(text, file)
        _ = unsafe fclose(file)
    }
}

/// Keeps log lines.
struct LogLines: LogHandler {
    final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        self.lines.all.withLock { $0.append("\(event.level): \(event.message)") }
    }

    static func logger() -> (Logger, Lines) {
        let lines = Lines()
        return (Logger(label: "test") { _ in LogLines(lines: lines) }, lines)
    }
}

extension StorageWriter {
    typealias Outcome = Result<Void, StorageError>

    /// Waits for a job's completion.
    func result(_ job: (@escaping Completion) -> Void) async -> StorageError? {
        await withCheckedContinuation { continuation in
            job { result in
                if case .failure(let error) = result {
                    continuation.resume(returning: error)
                } else {
                    continuation.resume(returning: nil)
                }
            }
        }
    }
}

@Suite("The disk's writer")
struct StorageWriterTests {
    @Test("A file appears whole, in new folders, and leaves no temporary file")
    func wholeFile() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        let path = "\(folder.path)/a/b/c.ts"
        #expect(
            await writer.result {
                writer.write(
                    [ByteBuffer(string: "one"), ByteBuffer(), ByteBuffer(string: "two")], to: path, completion: $0)
            } == nil)
        #expect(folder.contents("a/b/c.ts") == "onetwo")
        #expect(await writer.result { writer.write([ByteBuffer(string: "new")], to: path, completion: $0) } == nil)
        #expect(folder.contents("a/b/c.ts") == "new")
        #expect(folder.names(StorageWriter.temporaryFolder) == [])
        let snapshot = writer.snapshot()
        #expect(snapshot.writtenFiles == 2 && snapshot.writtenBytes == 9 && snapshot.alarm == nil)
        #expect((snapshot.space?.totalBytes ?? 0) > 0)
        #expect(await writer.result { writer.delete(path, completion: $0) } == nil)
        #expect(folder.names() == [StorageWriter.temporaryFolder])
        #expect(await writer.result { writer.delete(path, completion: $0) } == nil, "a file that is gone is no error")
        await writer.close()
        #expect(await writer.result { writer.write([], to: path, completion: $0) } == .closed)
    }

    @Test("A folder with another file stays")
    func foldersInUse() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        for name in ["a/x", "a/y"] { writer.write([ByteBuffer(string: name)], to: "\(folder.path)/\(name)") }
        #expect(await writer.result { writer.delete("\(folder.path)/a/x", completion: $0) } == nil)
        #expect(folder.names("a") == ["y"])
        await writer.close()
    }

    @Test("A key's file is for its owner only")
    func mode() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        let path = "\(folder.path)/k"
        #expect(await writer.result { writer.write([ByteBuffer()], to: path, mode: 0o600, completion: $0) } == nil)
        var facts = stat()
        #expect(unsafe stat(path, &facts) == 0)
        #expect(facts.st_mode & 0o777 == 0o600)
        await writer.close()
    }

    @Test("A file grows, is patched, and takes its last name only if that is free")
    func growingFile() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        let file = writer.open("\(folder.path)/r/x.part")
        writer.append([ByteBuffer(string: "head"), ByteBuffer(string: "-")], to: file)
        writer.append([ByteBuffer(string: "tail")], to: file)
        #expect(
            await writer.result { writer.overwrite(ByteBuffer(string: "HE"), at: 0, in: file, completion: $0) } == nil)
        Folder.put("taken", "\(folder.path)/r/x.mp4")
        #expect(
            await writer.result { writer.close(file, renamingTo: "\(folder.path)/r/x.mp4", completion: $0) } == .exists)
        #expect(folder.contents("r/x.mp4") == "taken")
        #expect(folder.contents("r/x.part") == "HEad-tail")
        #expect(await writer.result { writer.append([ByteBuffer(string: "x")], to: file, completion: $0) } == .closed)

        let other = writer.open("\(folder.path)/r/y.part")
        writer.append([ByteBuffer(string: "y")], to: other)
        #expect(
            await writer.result { writer.close(other, renamingTo: "\(folder.path)/r/y.mp4", completion: $0) } == nil)
        #expect(folder.names("r") == ["x.mp4", "x.part", "y.mp4"])
        #expect(
            await writer.result { _ = writer.open("\(folder.path)/r/y.mp4", completion: $0) } == .exists,
            "an existing file is never written into")
        #expect(writer.snapshot().alarm == nil)
        await writer.close()
    }

    @Test("A full disk raises the alarm and leaves no piece of a file; with room again it is cleared")
    func fullDisk() async throws {
        let folder = try Folder(tmpfsBytes: 1 << 20)
        let (logger, lines) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        let half = ByteBuffer(repeating: 1, count: 600 << 10)
        let file = writer.open("\(folder.path)/growing")
        #expect(await writer.result { writer.append([ByteBuffer(string: "good")], to: file, completion: $0) } == nil)
        #expect(await writer.result { writer.write([half], to: "\(folder.path)/1", completion: $0) } == nil)
        for number in 2...20 {
            #expect(
                await writer.result { writer.write([half], to: "\(folder.path)/\(number)", completion: $0) }
                    == .diskFull)
        }
        #expect(await writer.result { writer.append([half], to: file, completion: $0) } == .diskFull)
        #expect(
            await writer.result { writer.append([ByteBuffer(string: "x")], to: file, completion: $0) } == .diskFull,
            "a file with a gap is not written on")
        #expect(await writer.result { writer.close(file, completion: $0) } == .diskFull)
        #expect(folder.contents("growing") == "good")
        #expect(folder.names() == [StorageWriter.temporaryFolder, "1", "growing"])
        #expect(folder.names(StorageWriter.temporaryFolder) == [])
        #expect(writer.snapshot().alarm == .diskFull)
        #expect(lines.all.withLock { $0.count } == 1, "one line for all failures")

        writer.delete("\(folder.path)/1")
        try await Task.sleep(for: .seconds(5.2))
        writer.maintain()
        #expect(await writer.result { writer.delete("\(folder.path)/none", completion: $0) } == nil)
        #expect(writer.snapshot().alarm == nil)
        #expect(lines.all.withLock { $0.count } == 2)
        #expect(folder.names(StorageWriter.temporaryFolder) == [])
        await writer.close()
    }

    @Test("A disk that is read-only, and a folder that must not be written, are told apart")
    func readOnlyDisk() async throws {
        let folder = try Folder(tmpfsBytes: 1 << 20)
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        #expect(await writer.result { writer.write([], to: "\(folder.path)/a", completion: $0) } == nil)
        #expect(folder.remount(UInt(MS_RDONLY)) == 0)
        #expect(await writer.result { writer.write([], to: "\(folder.path)/b", completion: $0) } == .readOnly)
        #expect(writer.snapshot().alarm == .readOnly)
        await writer.close()
    }

    @Test("A root below a file is missing, not a crash")
    func noFolder() async throws {
        let folder = try Folder()
        Folder.put("", "\(folder.path)/file")
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: "\(folder.path)/file/root"), logger: logger)
        #expect(
            await writer.result { writer.write([], to: "\(folder.path)/file/root/a", completion: $0) } == .missing)
        await writer.close()
    }

    @Test("A slow disk costs whole files, never memory, and writers do not wait for it")
    func slowDisk() async throws {
        let folder = try Folder()
        let (logger, lines) = LogLines.logger()
        let gate = Mutex(true)
        let writer = StorageWriter(
            .init(root: folder.path, maximumQueuedBytes: 10_000, maximumQueuedWrites: 100), logger: logger,
            beforeJob: { while gate.withLock({ $0 }) { usleep(1_000) } })
        let started = ContinuousClock.now
        let refused = Mutex(0)
        for number in 0..<100 {
            writer.write([ByteBuffer(repeating: 0, count: 1_000)], to: "\(folder.path)/\(number)") { result in
                if case .failure(.queueFull) = result { refused.withLock { $0 += 1 } }
            }
        }
        #expect(ContinuousClock.now - started < .seconds(10))
        #expect(refused.withLock { $0 } == 90)
        let snapshot = writer.snapshot()
        #expect(snapshot.queuedBytes == 10_000 && snapshot.droppedWrites == 90 && snapshot.alarm == .queueFull)
        #expect(lines.all.withLock { $0.count } == 1)
        gate.withLock { $0 = false }
        await writer.close()
        #expect(folder.names().count == 11)
        #expect(writer.snapshot().queuedBytes == 0)
    }

    @Test("What completions ask for is written before the end")
    func closing() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        writer.write([ByteBuffer()], to: "\(folder.path)/a") { _ in
            writer.write(to: "\(folder.path)/b", making: { ByteBuffer(string: "made") })
        }
        await writer.close()
        #expect(folder.contents("b") == "made")
    }

    @Test("Small files are read, larger ones and missing ones are errors")
    func reading() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        Folder.put("0123456789abcdef", "\(folder.path)/key")
        #expect(
            await writer.read("\(folder.path)/key", maximumCount: 16)
                == .success(ByteBuffer(string: "0123456789abcdef")))
        #expect(await writer.read("\(folder.path)/key", maximumCount: 15) == .failure(.system(code: EFBIG)))
        #expect(await writer.read("\(folder.path)/none", maximumCount: 15) == .failure(.missing))
        await writer.close()
    }

    @Test("Each root has one writer, and a file is the business of the innermost")
    func writersOfRoots() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let writers = StorageWriters(logger: logger)
        let outer = writers.writer(root: "\(folder.path)/m/")
        let inner = writers.writer(root: "\(folder.path)/m/n")
        #expect(writers.writer(root: "\(folder.path)/m") === outer)
        #expect(writers.writer(holding: "\(folder.path)/m/n/x") === inner)
        #expect(writers.writer(holding: "\(folder.path)/m/nx") === outer)
        #expect(writers.writer(holding: "\(folder.path)/mx") == nil)
        #expect(writers.snapshots().map(\.root) == ["\(folder.path)/m", "\(folder.path)/m/n"])
        await writers.close()
    }

    @Test("A disk that hangs does not keep the process from ending")
    func hangingDisk() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let gate = Mutex(true)
        let writer = StorageWriter(
            .init(root: folder.path), logger: logger, beforeJob: { while gate.withLock({ $0 }) { usleep(1_000) } })
        writer.write([], to: "\(folder.path)/a")
        let started = ContinuousClock.now
        await writer.close(within: .milliseconds(100))
        #expect(ContinuousClock.now - started < .seconds(5))
        gate.withLock { $0 = false }
    }

    @Test("Closing does not wait longer for a long job than it may")
    func closeDuringLongJob() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let gate = Mutex(true)
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        writer.perform {
            while gate.withLock({ $0 }) { usleep(1_000) }
        } completion: { _ in
        }
        let started = ContinuousClock.now
        await writer.close(within: .milliseconds(200))
        #expect(ContinuousClock.now - started < .seconds(5))
        gate.withLock { $0 = false }
    }

    @Test("Unfinished files of a killed process are removed at start, those of a living one are not")
    func strayFiles() async throws {
        let folder = try Folder()
        let temporary = "\(folder.path)/\(StorageWriter.temporaryFolder)"
        #expect(unsafe mkdir(temporary, 0o755) == 0)
        Folder.put("", "\(temporary)/\(getpid())-old-1")
        Folder.put("", "\(temporary)/2147483646-dead-1")
        Folder.put("", "\(temporary)/nonsense")
        Folder.put("", "\(temporary)/1-init-1")
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        await writer.close()
        #expect(folder.names(StorageWriter.temporaryFolder) == ["1-init-1"])
    }

    @Test("Long work runs beside the writes")
    func longWork() async throws {
        let folder = try Folder()
        let (logger, _) = LogLines.logger()
        let writer = StorageWriter(.init(root: folder.path), logger: logger)
        let gate = Mutex(true)
        let done = Mutex(false)
        writer.perform(
            { while gate.withLock({ $0 }) { usleep(1_000) } }, completion: { _ in done.withLock { $0 = true } })
        #expect(await writer.result { writer.write([], to: "\(folder.path)/a", completion: $0) } == nil)
        #expect(!done.withLock { $0 })
        gate.withLock { $0 = false }
        #expect(
            await writer.result { writer.perform({ () throws(StorageError) in throw .exists }, completion: $0) }
                == .exists)
        #expect(done.withLock { $0 })
        await writer.close()
    }
}
