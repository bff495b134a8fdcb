import Access
import Foundation
import NIOCore
import StreamHub
import Testing

@testable import AccessControl

/// The recipes of docs/access.md, run as they stand there: openssl makes what access control reads.
@Suite("Tokens made by openssl")
struct RecipeTests {
    private static let functions = """
        set -eu
        b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
        """

    /// Runs a shell script in a folder of its own, and returns what it wrote.
    private static func shell(_ script: String, _ environment: [String: String] = [:]) async throws -> String {
        let folder = FileManager.default.temporaryDirectory.appending(component: "weir-access-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let process = Process()
        process.executableURL = URL(filePath: "/bin/bash")
        process.arguments = ["-c", "\(Self.functions)\n\(script)"]
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.currentDirectoryURL = folder
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "the script failed")
        return String(decoding: data, as: UTF8.self)
    }

    @Test("HS256, with a secret")
    func secret() async throws {
        let token = try await Self.shell(
            #"""
            header=$(printf '{"alg":"HS256","typ":"JWT"}' | b64)
            claims=$(printf '{"app":"live","stream":"game","action":"publish","exp":%s}' "$EXPIRES" | b64)
            signature=$(printf %s "$header.$claims" | openssl dgst -sha256 -hmac "$SECRET" -binary | b64)
            printf %s "$header.$claims.$signature"
            """#, ["SECRET": Mint.secret, "EXPIRES": "\(Bench.start + 60)"])
        try await Bench.run { bench async throws in
            bench.configure { $0.secret = Mint.secret }
            bench.rule { $0.publish.requiresToken = true }
            #expect(try await bench.ask(.publish, query: "token=\(token)").isAllowed)
            #expect(try await bench.ask(.publish, query: "token=\(token)", key: Bench.key("x")).cause == .tokenStream)
        }
    }

    @Test("RS256, with a public key or a certificate", arguments: ["key", "certificate"])
    func rsa(kind: String) async throws {
        let output = try await Self.shell(
            #"""
            openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private.pem
            header=$(printf '{"alg":"RS256","typ":"JWT"}' | b64)
            claims=$(printf '{"app":"live","stream":"*","exp":%s}' "$EXPIRES" | b64)
            signature=$(printf %s "$header.$claims" | openssl dgst -sha256 -sign private.pem -binary | b64)
            printf '%s\n' "$header.$claims.$signature"
            if [ "$KIND" = key ]; then openssl pkey -in private.pem -pubout; else
                openssl req -x509 -new -subj /CN=issuer -key private.pem; fi
            """#, ["EXPIRES": "\(Bench.start + 60)", "KIND": kind])
        let end = try #require(output.firstIndex(of: "\n"))
        let (token, key) = (output[..<end], String(output[output.index(after: end)...]))
        try await Bench.run { bench async throws in
            bench.configure { $0.publicKey = key }
            bench.rule { $0.play.requiresToken = true }
            #expect(try await bench.ask(query: "token=\(token)").isAllowed)
            #expect(try await bench.ask(query: "token=\(token)AAAA").cause == .tokenForged)
        }
    }
}
