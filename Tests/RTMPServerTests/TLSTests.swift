import Foundation
import Media
import NIOCore
import NIOSSL
import RTMP
import StreamHub
import TLSContexts
import TestSupport
import Testing

@testable import RTMPServer

/// A self-signed certificate in a folder that goes away with this.
final class Certificate {
    let folder: URL
    let files: TLSFiles

    init() throws {
        self.folder = FileManager.default.temporaryDirectory.appending(path: "weir-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
        self.files = TLSFiles(
            certificate: self.folder.appending(path: "cert.pem").path, key: self.folder.appending(path: "key.pem").path)
        try self.make(name: "one.example")
    }

    deinit { try? FileManager.default.removeItem(at: self.folder) }

    /// Writes a new certificate over the old one.
    func make(name: String) throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2",
            "-subj", "/CN=\(name)", "-keyout", self.files.key, "-out", self.files.certificate,
        ]
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }

    /// Makes the files look newer than they are.
    func touch(secondsAhead: TimeInterval) throws {
        for path in [self.files.certificate, self.files.key] {
            try FileManager.default.setAttributes(
                [.modificationDate: Date().addingTimeInterval(secondsAhead)], ofItemAtPath: path)
        }
    }

    /// A client that trusts the certificate that is there now, and no other.
    func clientContext() throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .file(self.files.certificate)
        configuration.certificateVerification = .noHostnameVerification
        return try NIOSSLContext(configuration: configuration)
    }
}

@Suite("RTMPS", .timeLimit(.minutes(1)))
struct TLSTests {
    @Test("a stream is published and played over TLS")
    func publishAndPlay() async throws {
        let certificate = try Certificate()
        let store = try TLSContextStore(certificate.files)
        let context = try certificate.clientContext()
        try await Fixture.run(tls: store) { fixture in
            let publisher = try await fixture.publisher(tls: context)
            let player = try await fixture.player(tls: context)
            try await publisher.sendFrames(0..<40, bytes: 5_000)
            try await eventually("all frames") { player.bodies(.video).count == 41 }
            #expect(player.bodies(.video) == Sample.videoBodies(0..<40, bytes: 5_000))
            #expect(fixture.gate.publishers.values.map(\.transport) == ["rtmps"])
        }
    }

    @Test("a plain client at a TLS port costs its own connection")
    func plainClient() async throws {
        let certificate = try Certificate()
        let store = try TLSContextStore(certificate.files)
        try await Fixture.run(tls: store) { fixture in
            let client = try await RawClient(port: fixture.port, group: fixture.group)
            try await client.send(.init(repeating: 3, count: 1_537))
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("a new certificate serves new connections, and old ones go on")
    func reload() async throws {
        let certificate = try Certificate()
        let store = try TLSContextStore(certificate.files)
        let old = try certificate.clientContext()
        try await Fixture.run(tls: store) { fixture in
            let publisher = try await fixture.publisher(tls: old)
            let isEarly = try store.reloadIfChanged()
            #expect(!isEarly)
            try certificate.make(name: "two.example")
            try certificate.touch(secondsAhead: 10)
            let isReloaded = try store.reloadIfChanged()
            #expect(isReloaded)
            let new = try certificate.clientContext()
            let player = try await fixture.player(tls: new)
            try await publisher.sendFrames(0..<3)
            try await eventually("all frames") { player.bodies(.video).count == 4 }
            let mistrusting = try await fixture.client(.play, tls: old)
            try await eventually("a client that knows only the old certificate gives up") { mistrusting.isClosed }
            #expect(!mistrusting.isEstablished)
        }
    }

    @Test("files that cannot be used are refused, and leave the old certificate")
    func brokenFiles() throws {
        let certificate = try Certificate()
        let store = try TLSContextStore(certificate.files)
        let before = store.current
        try "nonsense".write(toFile: certificate.files.certificate, atomically: true, encoding: .utf8)
        try certificate.touch(secondsAhead: 20)
        #expect(throws: TLSFilesError.self) { try store.reloadIfChanged() }
        #expect(store.current === before)
        #expect(throws: TLSFilesError.self) {
            try TLSContextStore(TLSFiles(certificate: "/nonexistent/cert.pem", key: "/nonexistent/key.pem"))
        }
    }
}
