import Foundation
import Glibc
import Synchronization
import Testing

/// A folder and processes that exist for one test.
final class Sandbox: Sendable {
    let folder: URL
    private let children = Mutex<[Child]>([])

    private init() throws {
        self.folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("weir-\(UUID().uuidString.prefix(8))", isDirectory: true)
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
    }

    /// Runs a test, and ends whatever it started. When it fails, the folder stays and the logs are shown.
    static func run(_ body: (Sandbox) async throws -> Void) async throws {
        let sandbox = try Sandbox()
        do {
            try await body(sandbox)
        } catch {
            let reports = sandbox.children.withLock { $0.map(\.report) }.suffix(12)
            sandbox.destroy()
            let files = "files: \(sandbox.folder.path)\n\(reports.joined(separator: "\n"))"
            // A failed expectation has recorded itself.
            if error is ExpectationFailedError {
                Issue.record("\(files)")
            } else {
                Issue.record(error, "\(files)")
            }
            return
        }
        sandbox.destroy()
        try? FileManager.default.removeItem(at: sandbox.folder)
    }

    private func destroy() {
        let children = self.children.withLock { $0 }
        for child in children.reversed() { child.destroy() }
    }

    func file(_ name: String) -> URL { self.folder.appendingPathComponent(name) }

    func write(_ name: String, _ text: String) throws -> URL {
        let url = self.file(name)
        try Data(text.utf8).write(to: url)
        return url
    }

    /// Starts a process.
    func start(
        _ name: String, _ program: String, _ arguments: [String], environment: [String: String] = [:],
        output: URL? = nil
    ) throws -> Child {
        let number = self.children.withLock { $0.count }
        let child = try Child(
            name: name, program, arguments, environment: environment, folder: self.folder,
            log: self.file("\(number)-\(name).log"), output: output)
        self.children.withLock { $0.append(child) }
        return child
    }

    /// Runs a command to its end, which has to be a success, and gives its standard output.
    func run(
        _ program: String, _ arguments: [String], within limit: Duration = .seconds(30), expecting status: Int32? = 0
    ) async throws -> String {
        let name = URL(fileURLWithPath: program).lastPathComponent
        let output = self.file("\(UUID().uuidString.prefix(8))-\(name).out")
        let log = self.file("\(output.lastPathComponent).log")
        let child = try Child(name: name, program, arguments, folder: self.folder, log: log, output: output)
        defer { child.destroy() }
        let ending = try await child.wait(within: limit)
        if let status, ending != .exited(status) { throw Failure(child.report) }
        return try String(decoding: Data(contentsOf: output), as: UTF8.self)
    }

    // MARK: Ports

    private static let nextPort = Mutex<UInt16>(UInt16.random(in: 12_000..<20_000))

    /// Ports that nothing listens on. They lie below those that the system gives to clients.
    static func freePorts(_ count: Int) throws -> [Int] {
        try self.nextPort.withLock { next in
            var found: [Int] = []
            for _ in 0..<2_000 where found.count < count {
                next = next >= 31_000 ? 12_000 : next + 1
                if Self.isFree(next) { found.append(Int(next)) }
            }
            guard found.count == count else { throw Failure("no free ports") }
            return found
        }
    }

    private static func isFree(_ port: UInt16) -> Bool {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return false }
        defer { close(socket) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe bind(socket, generic, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
