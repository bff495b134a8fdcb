import Foundation
import NIOCore
import Testing

/// Independent programs that read and write transport streams.
enum Judge {
    static let isInstalled = ["ffmpeg", "ffprobe"].allSatisfy { name in
        FileManager.default.isExecutableFile(atPath: "/usr/bin/\(name)")
    }

    /// Runs a program of /usr/bin for at most half a minute. Returns what it printed on both outputs.
    static func run(_ name: String, _ arguments: [String]) throws -> (output: String, errors: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        process.arguments = ["30", "/usr/bin/\(name)"] + arguments
        process.standardInput = FileHandle.nullDevice
        let folder = try self.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        // Files, because a full pipe would stop the program.
        let files = ["out", "err"].map { folder.appendingPathComponent($0) }
        let handles = try files.map { file in
            try Data().write(to: file)
            return try FileHandle(forWritingTo: file)
        }
        process.standardOutput = handles[0]
        process.standardError = handles[1]
        try process.run()
        process.waitUntilExit()
        for handle in handles { try handle.close() }
        let texts = try files.map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }
        try #require(process.terminationStatus == 0, "\(name) \(arguments): \(texts[1])")
        return (texts[0], texts[1])
    }

    static func folder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("weir-ts-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    /// The bytes that ffmpeg writes to a file of `type` with `arguments`.
    static func make(_ arguments: [String], type: String = "ts") throws -> ByteBuffer {
        let folder = try self.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("made.\(type)")
        _ = try self.run("ffmpeg", ["-v", "error", "-y"] + arguments + [file.path])
        return ByteBuffer(bytes: try Data(contentsOf: file))
    }

    /// Calls `body` with the path of a file that holds `stream`.
    static func withFile<Result>(_ stream: ByteBuffer, _ body: (String) throws -> Result) throws -> Result {
        let folder = try self.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("stream.ts")
        try Data(stream.readableBytesView).write(to: file)
        return try body(file.path)
    }

    /// What ffprobe warns of when it reads every packet and frame.
    static func warnings(of stream: ByteBuffer) throws -> String {
        try self.withFile(stream) { path in
            try self.run("ffprobe", ["-v", "warning", "-show_packets", "-show_frames", "-of", "compact", path]).errors
        }
    }

    /// Each decoded frame of one kind of stream: its presentation time, in ticks of the decoder's, and its hash.
    static func frameHashes(of stream: ByteBuffer, kind: String) throws -> [(time: Int, hash: String)] {
        try self.withFile(stream) { path in
            let text = try self.run(
                "ffmpeg", ["-v", "error", "-copyts", "-i", path, "-map", "0:\(kind)", "-f", "framehash", "-"]
            ).output
            return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { line in
                let fields = line.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
                guard fields.count == 6, let time = Int(fields[2]) else { return nil }
                return (time, fields[5])
            }
        }
    }
}
