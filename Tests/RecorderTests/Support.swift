import FLV
import Foundation
import Logging
import Media
import MediaCatalog
import MediaObjects
import MediaStorage
import NIOCore
import NIOPosix
import Recorder
import Recording
import StreamHub
import Streaming
import Synchronization
import TestSupport
import Testing

/// A recorder with its disk, its catalogue and a stream.
final class Bench: Sendable {
    struct TimedOut: Error { var what: String }

    let folder: Folder
    let storage: StorageWriter
    let database: MediaDatabase
    let hub: StreamHub
    let recorder: Recorder
    let key: StreamKey
    let files = Mutex<[FinishedRecording]>([])
    let loop: any EventLoop
    private let publisher = TestPublisher()

    init(
        _ format: RecordingFormat = .mp4, isEnabled: Bool = true, plan: RecordingPlan = .session,
        finishesProgressive: Bool = true, folder: Folder? = nil, limits: RecorderLimits = RecorderLimits()
    ) async throws {
        let folder = try folder ?? Folder()
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let box = Box()
        self.folder = folder
        self.key = try StreamKey(app: "live", name: "game")
        self.loop = MultiThreadedEventLoopGroup.singleton.any()
        self.storage = StorageWriter(StorageWriterConfiguration(root: folder.path), logger: logger)
        self.database = await MediaDatabase.open(path: "\(folder.path)/media.sqlite", logger: logger)
        self.hub = StreamHub { _ in LiveStreamSettings() }
        let pattern = try PathPattern("[app]/[stream]/[timestamp].[ext]")
        let configuration = RecorderConfiguration(format: format, plan: plan, finishesProgressive: finishesProgressive)
        self.recorder = Recorder(
            node: "origin-1", storage: self.storage, database: self.database, hub: self.hub, limits: limits,
            logger: logger,
            settings: { _ in RecordingSettings(isEnabled: isEnabled, configuration: configuration, pattern: pattern) },
            onFile: { file in box.bench?.files.withLock { $0.append(file) } })
        box.bench = self
    }

    func close() async {
        await self.recorder.close()
        await self.storage.close()
        await self.database.close()
    }

    // MARK: The stream

    /// Publishes events as one source, up to its end unless it `stays`.
    func publish(_ events: [MediaEvent], stays: Bool = false) async throws {
        let (loop, publisher, recorder, hub, key) = (self.loop, self.publisher, self.recorder, self.hub, self.key)
        let id = hub.nextSessionID()
        try await loop.submit {
            let stream = hub.stream(key, home: loop)
            #expect(stream.claim(PublisherSlot.Session(id: id, token: "t")) == nil)
            #expect(stream.activate(id, publisher: publisher, epoch: id, clock: .rtmp))
            recorder.streamStarted(stream)
            for event in events { stream.receive([event], from: id) }
            if !stays {
                stream.left(id)
                stream.endNow(.streamEnded)
            }
        }.get()
    }

    func recordings(_ state: RecordingState? = .finished, count: Int) async throws -> [RecordingEntry] {
        try await self.eventually("\(count) recordings") {
            await self.database.flush()
            let page = try await self.recorder.recordings(RecordingQuery(state: state))
            return page.recordings.count == count ? page.recordings : nil
        }
    }

    func eventually<Value: Sendable>(_ what: String, _ check: () async throws -> Value?) async throws -> Value {
        for _ in 0..<500 {
            if let value = try await check() { return value }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw TimedOut(what: what)
    }

    // MARK: Playing

    func answer(_ name: RecordingObjectName, of key: StreamKey? = nil) async throws -> MediaObjectAnswer {
        let request = MediaObjectRequest(key: key ?? self.key, name: .recording(name))
        switch self.recorder.reply(to: request, on: self.loop) {
        case .now(let answer): return answer
        case .later(let future): return try await future.get()
        }
    }

    func object(_ name: RecordingObjectName) async throws -> MediaObject {
        let answer = try await self.answer(name)
        guard case .object(let object) = answer else { throw TimedOut(what: "\(name.self): \(answer)") }
        return object
    }

    func bytes(_ name: RecordingObjectName) async throws -> ByteBuffer {
        guard case .bytes(let bytes) = try await self.object(name).body else { throw TimedOut(what: "bytes") }
        return bytes
    }

    /// Fetches a playlist with all that it names into a folder. Returns where the playlist is, and its text.
    func download(from: Int64, to: Int64) async throws -> (path: String, text: String) {
        let text = String(buffer: try await self.bytes(.playlist(from: from, to: to)))
        let path = try self.folder.file("vod.m3u8", ByteBuffer(string: text))
        var names: [String] = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix("#EXT-X-MAP:URI=\"") { names.append(String(line.dropFirst(16).dropLast())) }
            if !line.hasPrefix("#") { names.append(String(line)) }
        }
        for name in names {
            guard case .recording(let object) = try #require(MediaObjectName(fileName: name)) else { continue }
            try self.folder.file(name, try await self.bytes(object))
        }
        return (path, text)
    }
}

/// Lets a closure know what is made after it.
private final class Box: Sendable {
    private let state = Mutex<WeakBench>(WeakBench())
    private struct WeakBench { weak var bench: Bench? }

    var bench: Bench? {
        get { self.state.withLock { $0.bench } }
        set { self.state.withLock { $0.bench = newValue } }
    }
}

private final class TestPublisher: Publisher {
    func publishingRevoked(_ reason: PublishEnd) {}
}
