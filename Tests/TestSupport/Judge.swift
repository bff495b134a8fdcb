import Foundation

/// Runs ffmpeg and ffprobe, the independent judges.
package enum Judge {
    package struct Failure: Error {
        package var arguments: [String]
        package var output: String
    }

    @discardableResult
    package static func run(_ tool: String, _ arguments: [String]) throws -> String {
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

    package static func isInstalled(_ name: String) -> Bool {
        FileManager.default.isExecutableFile(atPath: "/usr/bin/\(name)")
    }

    /// Runs a program of /usr/bin for at most a minute, beside a server in this process. Returns what it printed.
    package static func runAside(_ name: String, _ arguments: [String]) async throws -> String {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("weir-judge-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Files, because a full pipe would stop the program.
        let files = ["out", "err"].map { folder.appendingPathComponent($0) }
        let handles = try files.map { file in
            try Data().write(to: file)
            return try FileHandle(forWritingTo: file)
        }
        let status: Int32 = try await withCheckedThrowingContinuation { continuation in
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
            process.arguments = ["60", "/usr/bin/\(name)"] + arguments
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = handles[0]
            process.standardError = handles[1]
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        for handle in handles { try handle.close() }
        let texts = try files.map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }
        guard status == 0 else { throw Failure(arguments: [name] + arguments, output: texts[1]) }
        return texts[0]
    }

    /// The hashes of the decoded frames of a kind (`v` or `a`), in order.
    package static func hashes(_ path: String, _ kind: String) throws -> [String] {
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
    package static func complaints(_ path: String) throws -> String {
        try self.run("ffmpeg", ["-hide_banner", "-loglevel", "warning", "-nostdin", "-i", path, "-f", "null", "-"])
    }

    /// One value of `-show_entries`.
    package static func probe(_ path: String, _ entries: String) throws -> [String] {
        try self.run("ffprobe", ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", path])
            .split(separator: "\n").map { String($0).trimmingCharacters(in: .whitespaces) }
    }
}
