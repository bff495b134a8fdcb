import Foundation
import ISOBMFF
import Logging
import Media
import NIOCore
import NIOPosix
import StreamHub
import Streaming
import Synchronization
import Testing

@testable import Snapshots

/// All tests of the module, one at a time: libav has one log for the whole process, and the renderer that was made last
/// has it.
@Suite("Snapshots", .serialized)
enum SnapshotTests {}

/// A folder that is gone when the test is over.
final class TemporaryFolder: Sendable {
    let url: URL

    init() throws {
        self.url = FileManager.default.temporaryDirectory.appending(path: "snapshots-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: self.url) }

    func path(_ name: String) -> String { self.url.appending(path: name).path }

    func read(_ name: String) throws -> ByteBuffer {
        ByteBuffer(bytes: try Data(contentsOf: self.url.appending(path: name)))
    }

    func write(_ bytes: ByteBuffer, to name: String) throws {
        try Data(bytes.readableBytesView).write(to: self.url.appending(path: name))
    }

    /// Runs ffmpeg to its end. Returns what it wrote to its error stream.
    @discardableResult
    func ffmpeg(_ arguments: [String]) throws -> String {
        let errors = self.url.appending(path: "\(UUID().uuidString).err")
        try Data().write(to: errors)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["timeout", "60", "ffmpeg", "-y", "-nostdin", "-hide_banner"] + arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = try FileHandle(forWritingTo: errors)
        try process.run()
        process.waitUntilExit()
        let text = try String(contentsOf: errors, encoding: .utf8)
        try #require(process.terminationStatus == 0, "\(text)")
        return text
    }

    /// How alike two pictures are, in dB. The second is scaled to the first one's size.
    func likeness(_ picture: String, _ reference: String) throws -> Double {
        let filter = "[1][0]scale2ref=flags=bicubic[b][a];[a]format=rgb24[x];[b]format=rgb24[y];[x][y]psnr"
        let text = try self.ffmpeg([
            "-i", self.path(picture), "-i", self.path(reference), "-filter_complex", filter, "-f", "null", "-",
        ])
        let found = text.split(separator: "average:").last?.split(separator: " ").first.map(String.init)
        return try #require(found.flatMap(Double.init), "\(text)")
    }
}

/// Keyframes of a film that ffmpeg makes.
struct Film: Sendable, CustomTestStringConvertible {
    var name: String
    var arguments: [String]
    var size = "640x360"

    var testDescription: String { self.name }

    static let h264 = Film(
        name: "H.264 with B-frames",
        arguments: ["-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-bf", "2", "-pix_fmt", "yuv420p"])

    static let all: [Film] = [
        Self.h264,
        Film(
            name: "H.264 of 1280 × 720 in BT.709",
            arguments: [
                "-vf", "scale=out_color_matrix=bt709", "-c:v", "libx264", "-preset", "veryfast", "-crf", "12",
                "-pix_fmt", "yuv420p", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
            ], size: "1280x720"),
        Film(
            name: "HEVC in 10 bits",
            arguments: [
                "-c:v", "libx265", "-preset", "ultrafast", "-crf", "12", "-tag:v", "hvc1", "-pix_fmt", "yuv420p10le",
                "-x265-params", "log-level=error",
            ]),
        Film(
            name: "HEVC in 10 bits and full range",
            arguments: [
                "-vf", "scale=out_range=full,format=yuv420p10le", "-c:v", "libx265", "-preset", "ultrafast", "-crf",
                "12",
                "-tag:v", "hvc1", "-color_range", "pc", "-x265-params", "log-level=error:range=full",
            ]),
        Film(
            name: "AV1",
            arguments: [
                "-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-crf", "15", "-pix_fmt", "yuv420p",
            ]),
        Film(
            name: "VP9",
            arguments: [
                "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "15", "-b:v", "0",
                "-pix_fmt", "yuv420p",
            ]),
    ]

    /// Makes the film as `film.mp4`, and its frames `picture.png` (number 10, a keyframe) by ffmpeg.
    func keyframes(in folder: TemporaryFolder) throws -> (frames: [Frame], track: Track) {
        try folder.ffmpeg(
            ["-f", "lavfi", "-i", "testsrc2=size=\(self.size):rate=10:duration=2"] + self.arguments
                + ["-g", "10", "-threads", "2", folder.path("film.mp4")])
        try folder.ffmpeg([
            "-i", folder.path("film.mp4"), "-vf", "select=eq(n\\,10)", "-frames:v", "1", folder.path("picture.png"),
        ])
        let bytes = try folder.read("film.mp4")
        let index = try MP4Index(reading: MP4MemorySource(bytes))
        let track = try #require(index.tracks.first)
        let frames = try track.samples.filter(\.isSync).map { sample in
            Frame(
                codec: track.track.track.codec, dts: MediaTime(ticks: sample.decodeTime),
                pts: MediaTime(ticks: sample.presentationTime), isKeyframe: true,
                payload: try #require(bytes.getSlice(at: Int(sample.offset), length: sample.byteCount)))
        }
        return (frames, track.track.track)
    }
}

final class TestPublisher: Publisher {
    func publishingRevoked(_ reason: PublishEnd) {}
}

/// A hub with one stream, on loops of its own.
struct Fixture: Sendable {
    let hub: StreamHub
    let stream: LiveStream
    /// Where requests come from: another loop than the stream's.
    let loop: any EventLoop
    let publisher = TestPublisher()

    static func run(
        idle: TimeAmount = .seconds(10), _ body: (Fixture) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let hub = StreamHub { _ in LiveStreamSettings(publish: PublishSettings(policy: .reject), idleTimeout: idle) }
        let home = group.next()
        let stream = hub.stream(try StreamKey(app: "live", name: "film"), home: home)
        do {
            try await body(Fixture(hub: hub, stream: stream, loop: group.next()))
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    func onHome<Value: Sendable>(_ body: @escaping @Sendable (LiveStream) -> Value) async throws -> Value {
        let stream = self.stream
        return try await stream.home.submit { body(stream) }.get()
    }

    func publish() async throws {
        let publisher = self.publisher
        try await self.onHome { stream in
            _ = stream.claim(PublisherSlot.Session(id: 1, token: ""))
            _ = stream.activate(1, publisher: publisher, epoch: 1, clock: .rtmp)
        }
    }

    func send(_ events: [MediaEvent]) async throws {
        try await self.onHome { $0.receive(events, from: 1) }
    }

    /// Waits until `condition` holds; a failure after five seconds.
    static func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
        for _ in 0..<500 {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("it never came about that \(what)")
    }
}

/// Keeps what is logged.
struct LogKeeper: LogHandler {
    final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { self.lines.withLock { $0 } }
        func append(_ line: String) { self.lines.withLock { $0.append(line) } }
    }

    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) { self.lines.append("\(event.message)") }
}
