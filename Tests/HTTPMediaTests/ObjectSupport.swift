import Foundation
import Media
import MediaObjects
import NIOCore
import NIOSSL
import StreamHub
import Synchronization
import TLSContexts
import Testing

@testable import HTTPMedia

/// Objects that a test puts there, and waits that it ends.
final class TestObjects: MediaObjectSource {
    private struct State {
        var objects: [String: MediaObject] = [:]
        var requests: [MediaObjectRequest] = []
        var waiting: [EventLoopPromise<MediaObjectAnswer>] = []
        var isOver = false
    }

    private let state = Mutex(State())

    var requests: [MediaObjectRequest] { self.state.withLock { $0.requests } }
    var waitingCount: Int { self.state.withLock { $0.waiting.count } }

    /// Puts an object at a path of the default vhost.
    func put(_ path: String, _ object: MediaObject) { self.state.withLock { $0.objects[path] = object } }

    func put(_ path: String, bytes: ByteBuffer, gzip: ByteBuffer? = nil, lifetime: MediaObject.Lifetime = .immutable) {
        self.put(
            path,
            MediaObject(body: .bytes(bytes), gzip: gzip, contentType: "video/mp4", etag: "tag", lifetime: lifetime))
    }

    func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        self.state.withLock { state in
            state.requests.append(request)
            if request.query.isBlocking, !state.isOver {
                let promise = loop.makePromise(of: MediaObjectAnswer.self)
                state.waiting.append(promise)
                return .later(promise.futureResult)
            }
            guard let object = state.objects[request.name.path(of: request.key)] else {
                return .now(.notFound("the test has no such object"))
            }
            return .now(.object(object))
        }
    }

    /// Answers all who wait, and lets nobody wait any more.
    func end() {
        self.state.withLock { $0.isOver = true }
        self.release(.unavailable("the test is over"))
    }

    /// Answers all who wait.
    func release(_ answer: MediaObjectAnswer) {
        let waiting = self.state.withLock { state in
            defer { state.waiting.removeAll() }
            return state.waiting
        }
        var loops: [ObjectIdentifier: [EventLoopPromise<MediaObjectAnswer>]] = [:]
        for promise in waiting { loops[ObjectIdentifier(promise.futureResult.eventLoop), default: []].append(promise) }
        for promises in loops.values {
            promises.first?.futureResult.eventLoop.execute { for promise in promises { promise.succeed(answer) } }
        }
    }
}

/// Bytes in which every place looks different: a block of a prime length, again and again.
func pattern(_ count: Int, seed: UInt8 = 0) -> ByteBuffer {
    var state = UInt32(seed) &+ 12_345
    let block = (0..<min(count, 16_381)).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return UInt8(truncatingIfNeeded: state >> 24)
    }
    var bytes = ByteBuffer()
    bytes.reserveCapacity(count)
    while bytes.readableBytes < count { bytes.writeBytes(block.prefix(count - bytes.readableBytes)) }
    return bytes
}

/// A folder that goes away with this.
final class TemporaryFolder: Sendable {
    let url: URL

    init() throws {
        self.url = FileManager.default.temporaryDirectory.appending(path: "weir-http-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: self.url) }

    func write(_ name: String, _ bytes: ByteBuffer) throws -> String {
        let url = self.url.appending(path: name)
        try Data(bytes.readableBytesView).write(to: url)
        return url.path
    }

    /// A self-signed certificate of this machine.
    func certificate() async throws -> TLSContextStore {
        let files = TLSFiles(
            certificate: self.url.appending(path: "cert.pem").path, key: self.url.appending(path: "key.pem").path)
        let (status, _) = try await run([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2", "-subj", "/CN=127.0.0.1", "-keyout", files.key, "-out", files.certificate,
        ])
        try #require(status == 0)
        return try TLSContextStore(files, applicationProtocols: ["h2", "http/1.1"])
    }
}

/// Runs a program to its end, without holding a thread of the tests' pool. What it printed is returned.
func run(_ arguments: [String]) async throws -> (status: Int32, output: Data) {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = arguments
    let output = FileManager.default.temporaryDirectory.appending(path: "weir-out-\(UUID().uuidString)")
    _ = FileManager.default.createFile(atPath: output.path, contents: nil)
    defer { try? FileManager.default.removeItem(at: output) }
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = FileHandle.nullDevice
    let status = try await withCheckedThrowingContinuation { (done: CheckedContinuation<Int32, any Error>) in
        process.terminationHandler = { done.resume(returning: $0.terminationStatus) }
        do {
            try process.run()
        } catch {
            done.resume(throwing: error)
        }
    }
    return (status, try Data(contentsOf: output))
}

/// A list that several loops may append to.
final class FixtureLog<Value: Sendable>: Sendable {
    private let log = Mutex<[Value]>([])

    var values: [Value] { self.log.withLock { $0 } }

    func append(_ value: Value) { self.log.withLock { $0.append(value) } }
}

/// Admits by a rule, at once and without sessions.
struct RuleGate: MediaObjectGate {
    let rule: @Sendable (MediaObjectRequest, MediaObjectAccess) -> SessionRefusal?

    init(_ rule: @escaping @Sendable (MediaObjectRequest, MediaObjectAccess) -> SessionRefusal?) { self.rule = rule }

    func admit(
        _ request: MediaObjectRequest, _ access: MediaObjectAccess, on loop: any EventLoop
    ) -> MediaObjectAdmission {
        .now(self.rule(request, access).map { .failure($0) } ?? .success(nil))
    }
}
