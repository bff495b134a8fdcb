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
