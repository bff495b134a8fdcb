import Glibc
import Logging
import Media
import MediaCatalog
import MediaObjects
import MediaStorage
import NIOCore
import NIOPosix
import Packaging
import StreamHub
import Streaming
import Synchronization
import Testing

@testable import SegmentStore

/// A folder that goes with the test.
final class Folder: Sendable {
    let path: String
    private let isMount: Bool

    init(tmpfsBytes: Int? = nil) throws {
        var template = Array("/tmp/weir-segments-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw StorageError(code: errno) }
        self.path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        self.isMount = tmpfsBytes != nil
        if let tmpfsBytes {
            guard unsafe mount("tmpfs", self.path, "tmpfs", 0, "size=\(tmpfsBytes)") == 0 else {
                throw StorageError(code: errno)
            }
        }
    }

    deinit {
        if self.isMount { _ = unsafe umount2(self.path, Int32(MNT_DETACH)) }
        for name in self.files + self.folders.reversed() where unsafe rmdir("\(self.path)/\(name)") != 0 {
            _ = unsafe unlink("\(self.path)/\(name)")
        }
        for name in self.folders.reversed() { _ = unsafe rmdir("\(self.path)/\(name)") }
        _ = unsafe rmdir(self.path)
    }

    /// All files below, by their relative paths, without temporary ones.
    var files: [String] { self.walk("").filter { !$0.isFolder }.map(\.path).sorted() }
    var folders: [String] { self.walk("").filter(\.isFolder).map(\.path).sorted() }

    private func walk(_ below: String) -> [(path: String, isFolder: Bool)] {
        guard let directory = unsafe opendir("\(self.path)/\(below)") else { return [] }
        defer { unsafe _ = closedir(directory) }
        var found: [(path: String, isFolder: Bool)] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            guard name != ".", name != ".." else { continue }
            let path = below.isEmpty ? name : "\(below)/\(name)"
            let isFolder = unsafe entry.pointee.d_type == UInt8(DT_DIR)
            found.append((path, isFolder))
            if isFolder { found += self.walk(path) }
        }
        return found
    }

    func contents(_ name: String) -> [UInt8]? {
        guard let file = unsafe fopen("\(self.path)/\(name)", "r") else { return nil }
        defer { unsafe _ = fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while case let count = unsafe fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
        return bytes
    }

    func mode(_ name: String) -> UInt32? {
        var facts = stat()
        return unsafe stat("\(self.path)/\(name)", &facts) == 0 ? facts.st_mode & 0o777 : nil
    }
}

final class QuietPublisher: Publisher {
    func publishingRevoked(_ reason: PublishEnd) {}
}

/// A stream's source: frames of 40 ms, a keyframe each second, AAC of 48 kHz.
struct Source {
    static let avcC: [UInt8] = [
        0x01, 0x64, 0x00, 0x0C, 0xFF, 0xE1, 0x00, 0x19, 0x67, 0x64, 0x00, 0x0C, 0xAC, 0xD9, 0x41, 0x41, 0x9F, 0x9E,
        0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xF1, 0x42, 0x99, 0x60, 0x01, 0x00, 0x06,
        0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0, 0xFD, 0xF8, 0xF8, 0x00,
    ]

    let stream: LiveStream
    let id: UInt64
    private var videoFrames: Int64 = 0
    private var audioFrames: Int64 = 0
    let hasAudio: Bool
    let frameBytes: Int

    /// Publishes the stream.
    init(
        _ stream: LiveStream, id: UInt64, epoch: UInt64, hasAudio: Bool = true, frameBytes: Int = 200
    ) async throws {
        self.stream = stream
        self.id = id
        self.hasAudio = hasAudio
        self.frameBytes = frameBytes
        let isActive = try await stream.home.submit {
            guard stream.claim(.init(id: id, token: "")) == nil else { return false }
            return stream.activate(id, publisher: QuietPublisher(), epoch: epoch, clock: .rtmp)
        }.get()
        try #require(isActive)
        var events: [MediaEvent] = [
            .track(try Track(codec: .h264, parsingConfiguration: ByteBuffer(bytes: Self.avcC)))
        ]
        if hasAudio {
            var record = ByteBuffer()
            try AudioSpecificConfig(sampleRate: 48_000, channelConfiguration: 2).write(into: &record)
            events.append(.track(try Track(codec: .aac, parsingConfiguration: record)))
        }
        try await self.give(events)
    }

    /// Sends so many video frames, and the audio up to there, in batches of one video frame each.
    mutating func send(frames count: Int64) async throws {
        for _ in 0..<count {
            var events: [MediaEvent] = []
            let time = self.videoFrames * 40
            while self.hasAudio, self.audioFrames * 1_024 * 1_000 / 48_000 <= time {
                events.append(.frame(self.audioFrame(self.audioFrames)))
                self.audioFrames += 1
            }
            events.append(.frame(self.videoFrame(self.videoFrames)))
            self.videoFrames += 1
            try await self.give(events)
        }
    }

    /// One keyframe interval each.
    mutating func send(seconds: Int64) async throws { try await self.send(frames: seconds * 25) }

    private func videoFrame(_ number: Int64) -> Frame {
        let isKeyframe = number % 25 == 0
        var payload = ByteBuffer()
        payload.writeInteger(UInt32(self.frameBytes + 1))
        payload.writeInteger(UInt8(isKeyframe ? 0x65 : 0x41))
        payload.writeRepeatingByte(UInt8(truncatingIfNeeded: number), count: self.frameBytes)
        let time = MediaTime(millis: number * 40)
        return Frame(codec: .h264, dts: time, pts: time, isKeyframe: isKeyframe, payload: payload)
    }

    private func audioFrame(_ number: Int64) -> Frame {
        let time = MediaTime(millis: number * 1_024 * 1_000 / 48_000)
        return Frame(
            codec: .aac, dts: time, pts: time, isKeyframe: true,
            payload: ByteBuffer(repeating: UInt8(truncatingIfNeeded: number), count: 60))
    }

    private func give(_ events: [MediaEvent]) async throws {
        let (stream, id) = (self.stream, self.id)
        try await stream.home.submit { stream.receive(events, from: id) }.get()
    }

    /// Leaves. `isFinal`: nobody is waited for.
    func leave() async throws {
        let (stream, id) = (self.stream, self.id)
        try await stream.home.submit {
            stream.left(id)
            stream.endNow(.streamEnded)
        }.get()
    }
}

/// A store with its disk, catalogue and streams.
final class Station: Sendable {
    let folder: Folder
    let catalog: MediaDatabase
    let writers: StorageWriters
    let store: SegmentStore
    let hub: StreamHub
    let loops: MultiThreadedEventLoopGroup
    private let sessions = Mutex<UInt64>(0)

    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    static func key(_ name: String = "game") throws -> StreamKey { try StreamKey(app: "live", name: name) }

    init(
        _ folder: Folder, database: String? = nil, onDisk: Bool = true, maximumQueuedBytes: Int = 64 << 20,
        members: [StreamKey: [StreamKey]] = [:],
        _ change: @Sendable (inout SegmentStoreConfiguration) -> Void = { _ in }
    ) async throws {
        self.folder = folder
        self.catalog = await MediaDatabase.open(
            path: database ?? "\(folder.path)/media.sqlite", logger: Self.logger)
        self.writers = StorageWriters(
            template: .init(root: "/nowhere", maximumQueuedBytes: maximumQueuedBytes), logger: Self.logger)
        var configuration = SegmentStoreConfiguration(
            packaging: .init(segmentDurationMillis: 1_000, windowMillis: 4_000),
            disk: onDisk ? .init(root: "\(folder.path)/media") : nil)
        change(&configuration)
        try configuration.validate()
        let used = configuration
        self.store = SegmentStore(
            catalog: self.catalog, writers: self.writers, logger: Self.logger, members: { members[$0] ?? [] }
        ) { _ in used }
        self.hub = StreamHub { _ in LiveStreamSettings() }
        self.loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        await self.store.restore()
    }

    func publish(
        _ name: String = "game", epoch: UInt64 = 7, hasAudio: Bool = true, frameBytes: Int = 200
    ) async throws -> Source {
        let stream = self.hub.stream(try Self.key(name), home: self.loops.next())
        try await stream.home.submit { self.store.attach(to: stream) }.get()
        let id = self.sessions.withLock { id in
            id += 1
            return id
        }
        return try await Source(stream, id: id, epoch: epoch, hasAudio: hasAudio, frameBytes: frameBytes)
    }

    /// Waits until everything that was handed to disk and catalogue is there.
    func settle() async {
        // Completions queue more.
        for writer in self.writers.all + self.writers.all {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                writer.delete("\(self.folder.path)/none") { _ in continuation.resume() }
            }
        }
        await self.catalog.flush()
    }

    /// Ends it all, as a process does that is asked to. Files stay.
    func shutDown() async throws {
        await self.writers.close()
        await self.catalog.close()
        try await self.loops.shutdownGracefully()
    }

    // MARK: Asking

    func ask(
        _ name: MediaObjectName, _ stream: String = "game", query: MediaObjectQuery = .init(),
        on loop: (any EventLoop)? = nil
    ) async throws -> MediaObjectAnswer {
        let loop = loop ?? self.loops.next()
        let request = MediaObjectRequest(key: try Self.key(stream), name: name, query: query)
        return try await loop.flatSubmit {
            switch self.store.reply(to: request, on: loop) {
            case .now(let answer): loop.makeSucceededFuture(answer)
            case .later(let future): future
            }
        }.get()
    }

    func object(
        _ name: MediaObjectName, _ stream: String = "game", query: MediaObjectQuery = .init(),
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> MediaObject {
        let answer = try await self.ask(name, stream, query: query)
        guard case .object(let object) = answer else {
            Issue.record("\(name): \(answer)", sourceLocation: sourceLocation)
            throw Missing(name: name)
        }
        return object
    }

    func text(
        _ name: MediaObjectName, _ stream: String = "game", query: MediaObjectQuery = .init(),
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
        String(
            buffer: try await self.object(name, stream, query: query, sourceLocation: sourceLocation).bytes ?? .init())
    }

    /// The sequence numbers that a playlist lists.
    func listed(_ tag: MediaTag = .video, query: MediaObjectQuery = .init()) async throws -> [UInt64] {
        try await self.text(.playlist(tag), query: query).names.compactMap { name in
            if case .segment(_, _, let sequence)? = name { sequence } else { nil }
        }
    }
}

struct Missing: Error { var name: MediaObjectName }

extension MediaObject {
    var bytes: ByteBuffer? { if case .bytes(let bytes) = self.body { bytes } else { nil } }
    var path: String? { if case .file(let path, _) = self.body { path } else { nil } }
}

extension MediaObjectAnswer {
    /// A word for what it is.
    var kind: String {
        switch self {
        case .object: "object"
        case .notFound: "notFound"
        case .badRequest: "badRequest"
        case .forbidden: "forbidden"
        case .conflict: "conflict"
        case .unavailable: "unavailable"
        }
    }
}

extension String {
    /// The files of a stream that a playlist names as segments.
    var names: [MediaObjectName?] {
        self.split(separator: "\n").filter { $0.hasPrefix("_") }.map { MediaObjectName(fileName: String($0)) }
    }

    /// The value of a tag.
    func value(_ tag: String) -> String? {
        self.split(separator: "\n").first { $0.hasPrefix("#\(tag):") }.map { String($0.dropFirst(tag.count + 2)) }
    }
}
