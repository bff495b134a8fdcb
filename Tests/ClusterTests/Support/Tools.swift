import Foundation

/// The programs under test, and those that judge them. A missing one fails the test that wants it.
enum Tools {
    private static let environment = ProcessInfo.processInfo.environment

    /// Where the test bundle is: beside the programs.
    private static let bundleFolder = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent()

    /// Tests run in the repository. Where a file was compiled says nothing of where the repository is now.
    static let repository = URL(fileURLWithPath: FileManager.default.currentDirectoryPath)

    /// `origin`, `edge` or `coordinator`, from `WEIR_BIN` or from where the tests were built.
    static func program(_ name: String) throws -> String {
        let folder = self.environment["WEIR_BIN"].map { URL(fileURLWithPath: $0) } ?? self.bundleFolder
        let path = folder.appendingPathComponent(name).path
        guard FileManager.default.isExecutableFile(atPath: path) else { throw Failure("there is no program \(path)") }
        return path
    }

    /// What `Scripts/setup --tests` puts into the build folder.
    private static func installed(_ path: String) throws -> String {
        var folders = [URL]()
        if let build = self.environment["WEIR_BUILD"] { folders.append(URL(fileURLWithPath: build)) }
        var folder = self.bundleFolder
        for _ in 0..<3 {
            folder.deleteLastPathComponent()
            folders.append(folder)
        }
        for folder in folders {
            let file = folder.appendingPathComponent("tools/\(path)").path
            if FileManager.default.fileExists(atPath: file) { return file }
        }
        throw Failure("there is no tools/\(path) in \(folders[0].path): run Scripts/setup --tests")
    }

    /// Debian's ffmpeg, which most people have.
    static var ffmpeg: String { get throws { try self.command("ffmpeg") } }
    static var ffprobe: String { get throws { try self.command("ffprobe") } }
    /// An ffmpeg that speaks enhanced RTMP.
    static var newFFmpeg: String { get throws { try self.installed("bin/ffmpeg") } }
    static var newFFprobe: String { get throws { try self.installed("bin/ffprobe") } }
    /// Python with playwright.
    static var python: String { get throws { try self.installed("venv/bin/python") } }
    static var streamlink: String { get throws { try self.installed("venv/bin/streamlink") } }
    static var mpegtsJS: String { get throws { try self.installed("js/mpegts.js") } }

    /// A command of the system.
    static func command(_ name: String) throws -> String {
        for folder in (self.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":") {
            let path = "\(folder)/\(name)"
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        throw Failure("there is no \(name) in the PATH: run Scripts/setup --tests")
    }

    /// A number of seconds that a longer run by hand may raise.
    static func seconds(_ variable: String, default value: Int) -> Int {
        self.environment[variable].flatMap { Int($0) } ?? value
    }
}
