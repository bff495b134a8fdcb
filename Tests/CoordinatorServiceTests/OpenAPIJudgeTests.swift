import APIServer
import Foundation
import Testing

@testable import CoordinatorService

/// The API before a judge that nobody here wrote.
@Suite("the API and its OpenAPI file", .timeLimit(.minutes(4))) struct OpenAPIJudgeTests {
    /// Tests run in the repository. Where a file was compiled says nothing of where the repository is now.
    private static let repository = URL(fileURLWithPath: FileManager.default.currentDirectoryPath)

    /// What `Scripts/setup --tests` installs into the build folder.
    private static func schemathesis() throws -> String {
        let build =
            ProcessInfo.processInfo.environment["WEIR_BUILD"].map { URL(fileURLWithPath: $0) }
            ?? self.repository.appendingPathComponent(".build")
        let path = build.appendingPathComponent("tools/venv/bin/schemathesis").path
        try #require(
            FileManager.default.isExecutableFile(atPath: path), "there is no \(path): run Scripts/setup --tests")
        return path
    }

    @Test("schemathesis finds no server error, and no answer that the file does not describe")
    func schemathesis() async throws {
        let program = try Self.schemathesis()
        let secret = "the-secret-of-the-cluster"
        let coordinator = try TestCoordinator(secret: secret) { configuration in
            // The judge tries many wrong credentials.
            configuration.apiLimits.failedSignIns = 1_000_000
        }
        try await coordinator.start()
        let script = Self.repository.appendingPathComponent("Scripts/check-openapi").path
        let process = Process()
        process.executableURL = URL(fileURLWithPath: script)
        process.arguments = [coordinator.url, TestCoordinator.adminToken, secret]
        process.environment = ProcessInfo.processInfo.environment.merging(["SCHEMATHESIS": program]) { $1 }
        let output = FileManager.default.temporaryDirectory.appendingPathComponent("openapi-\(UUID()).log")
        _ = FileManager.default.createFile(atPath: output.path, contents: nil)
        defer { try? FileManager.default.removeItem(at: output) }
        let handle = try FileHandle(forWritingTo: output)
        process.standardOutput = handle
        process.standardError = handle
        await withCheckedContinuation { continuation in
            process.terminationHandler = { _ in continuation.resume() }
            do { try process.run() } catch { continuation.resume() }
        }
        _ = await coordinator.stop()
        let text = try String(contentsOf: output, encoding: .utf8)
        #expect(process.terminationStatus == 0, "\(text.suffix(6_000))")
        #expect(text.contains("Test cases"), "\(text.suffix(2_000))")
    }
}
