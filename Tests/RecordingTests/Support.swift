import FLV
import Foundation
import ISOBMFF
import Media
import NIOCore
import Recording

/// A folder that is gone after the test.
final class Folder: Sendable {
    let path: String

    init() throws {
        self.path = NSTemporaryDirectory() + "weir-recording-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    func file(_ name: String, _ bytes: ByteBuffer) throws -> String {
        try Data(bytes.readableBytesView).write(to: URL(fileURLWithPath: "\(self.path)/\(name)"))
        return "\(self.path)/\(name)"
    }
}

/// Runs ffmpeg and ffprobe, the independent judges.
enum Judge {
    struct Failure: Error {
        var arguments: [String]
        var output: String
    }

    @discardableResult
    static func run(_ tool: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [tool] + arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        let text = String(decoding: data, as: UTF8.self)
        guard process.terminationStatus == 0 else { throw Failure(arguments: arguments, output: text) }
        return text
    }

    /// The hashes of the decoded frames of a kind (`v` or `a`), in order.
    static func hashes(_ path: String, _ kind: String) throws -> [String] {
        let text = try self.run(
            "ffmpeg",
            [
                "-hide_banner", "-loglevel", "error", "-nostdin", "-ignore_editlist", "1", "-i", path, "-map",
                "0:\(kind)",
                "-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5", "-",
            ].filter { path.hasSuffix(".mp4") || ($0 != "-ignore_editlist" && $0 != "1") })
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { line in
            line.split(separator: ",").last.map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    /// What a demuxer and the decoders have to complain about.
    static func complaints(_ path: String) throws -> String {
        try self.run("ffmpeg", ["-hide_banner", "-loglevel", "warning", "-nostdin", "-i", path, "-f", "null", "-"])
    }

    /// One value of `-show_entries`.
    static func probe(_ path: String, _ entries: String) throws -> [String] {
        try self.run("ffprobe", ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", path])
            .split(separator: "\n").map { String($0).trimmingCharacters(in: .whitespaces) }
    }
}

/// A moving picture with B-frames, a keyframe a second, and sound.
enum Source {
    static let seconds = 8

    /// The FLV that the frames come from, made once.
    static func flv(_ folder: Folder, audioOnly: Bool = false) throws -> String {
        let path = "\(folder.path)/source.flv"
        try Judge.run(
            "ffmpeg",
            ["-hide_banner", "-loglevel", "error", "-nostdin"]
                + (audioOnly
                    ? []
                    : [
                        "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25",
                    ]) + ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "\(self.seconds)"]
                + (audioOnly
                    ? []
                    : [
                        "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-b_strategy", "0", "-pix_fmt",
                        "yuv420p", "-g", "25", "-keyint_min", "25", "-sc_threshold", "0",
                    ]) + ["-c:a", "aac", "-b:a", "48k", "-ac", "2", "-f", "flv", path])
        return path
    }

    /// The events of an FLV file.
    static func events(_ path: String) throws -> [MediaEvent] {
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        var file = FLVFileReader()
        var reader = FLVTrackReader()
        var events: [MediaEvent] = []
        file.receive(ByteBuffer(bytes: data))
        while let tag = try file.nextTag() {
            let result: FLVReadResult
            switch tag.type {
            case .video: result = try reader.video(timestampMillis: Int64(tag.timestampMillis), body: tag.body)
            case .audio: result = try reader.audio(timestampMillis: Int64(tag.timestampMillis), body: tag.body)
            case .script: continue
            }
            if let track = result.track { events.append(.track(track)) }
            if let frame = result.frame { events.append(.frame(frame)) }
        }
        return events
    }
}

/// What a writer made.
struct Written {
    struct File {
        var start: RecordingStart
        var bytes: ByteBuffer
        var pieces: [RecordingPiece] = []
        var summary: RecordingSummary?

        /// The bytes with what is filled in at the end.
        var finished: ByteBuffer {
            var bytes = self.bytes
            for patch in self.summary?.patches ?? [] {
                bytes.setBuffer(patch.bytes, at: bytes.readerIndex + Int(patch.position))
            }
            return bytes
        }
    }

    var files: [File] = []

    mutating func drain(_ writer: inout RecordingWriter) {
        while let output = writer.nextOutput() {
            switch output {
            case .begin(let start): self.files.append(File(start: start, bytes: start.header))
            case .append(let piece):
                self.files[self.files.count - 1].bytes.writeImmutableBuffer(piece.bytes)
                self.files[self.files.count - 1].pieces.append(piece)
            case .close(let summary): self.files[self.files.count - 1].summary = summary
            }
        }
    }

    /// Records events, each a batch of its own, as one source that begins at `wallMillis`.
    static func record(
        _ events: [MediaEvent], _ configuration: RecorderConfiguration, wallMillis: Int64 = 1_700_000_000_000
    ) -> Written {
        var writer = RecordingWriter(configuration: configuration)
        var written = Written()
        writer.sourceStarted(continues: false)
        var latest: Int64 = 0
        for event in events {
            if case .frame(let frame) = event { latest = max(latest, frame.dts.millis) }
            writer.receive(event)
            writer.batchEnded(wallMillis: wallMillis + latest)
            written.drain(&writer)
        }
        writer.sourceEnded()
        written.drain(&writer)
        return written
    }
}

extension [MediaEvent] {
    var frames: [Frame] {
        self.compactMap { event in if case .frame(let frame) = event { frame } else { nil } }
    }

    func moved(by time: MediaTime) -> [MediaEvent] {
        self.map { event in
            guard case .frame(var frame) = event else { return event }
            frame.dts = frame.dts + time
            frame.pts = frame.pts + time
            return .frame(frame)
        }
    }
}
