import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization
import TLSContexts
import Testing

@testable import APIServer

let secretToken = "0123456789abcdef"

/// A configuration with one token for each role; `other` for none.
func configuration(_ change: (inout APIServerConfiguration) -> Void = { _ in }) -> APIServerConfiguration {
    var configuration = APIServerConfiguration(name: "test API") { credentials in
        if credentials.matches(token: secretToken) { return APIPrincipal(role: .admin, name: "root") }
        if credentials.matches(token: "viewer") { return APIPrincipal(role: .viewer, name: "eve") }
        if credentials.matches(user: "u", password: "p:w") { return APIPrincipal(role: .operator, name: "u") }
        return nil
    } requirement: { method, path in
        path == "/healthz" ? .open : .role(method == .get || method == .head ? .viewer : .operator)
    }
    change(&configuration)
    return configuration
}

/// Holds answers back until it is opened.
final class Latch: Sendable {
    private let isOpen = Atomic<Bool>(false)

    func open() { self.isOpen.store(true, ordering: .relaxed) }

    func wait() async throws {
        while !self.isOpen.load(ordering: .relaxed) { try await Task.sleep(for: .milliseconds(5)) }
    }
}

/// `held`: when `/held` is answered.
func makeRouter(held: Latch = Latch()) -> Router<APIContext> {
    let router = APIServer.makeRouter()
    router.get("/healthz") { _, _ in "ok" }
    router.get("/who") { _, context in "\(context.principal?.name ?? "-") \(context.clientAddress)" }
    router.post("/echo") { request, context in
        let body = try await request.body.collect(upTo: context.maxUploadSize)
        return Response(status: .ok, body: .init(byteBuffer: body))
    }
    router.get("/items/{id}") { _, context in try context.parameters.require("id") }
    router.delete("/items/{id}") { _, context in
        try context.require(.admin)
        return Response(status: .noContent)
    }
    router.get("/teapot") { _, _ -> Response in
        throw APIProblem(
            .conflict, name: "teapot", title: "A <teapot>", detail: "\"short\" & stout", members: ["id": "7"])
    }
    router.get("/missing") { _, _ -> Response in throw HTTPError(.notFound, message: "no such thing") }
    router.get("/broken") { _, _ -> Response in throw Broken() }
    router.get("/page") { _, _ in
        Response(
            status: .ok, headers: [.contentSecurityPolicy: "default-src 'self'", .cacheControl: "no-cache"],
            body: .init(byteBuffer: ByteBuffer(string: "<p>")))
    }
    router.get("/slow") { _, _ in
        try await Task.sleep(for: .milliseconds(600))
        return "slow"
    }
    router.get("/held") { _, _ in
        try await held.wait()
        return "held"
    }
    router.get("/large") { _, _ in
        Response(
            status: .ok,
            body: .init { writer in
                for _ in 0..<4_000 { try await writer.write(ByteBuffer(repeating: 0x78, count: 65_536)) }
                try await writer.finish(nil)
            })
    }
    return router
}

struct Broken: Error {}

/// Runs a server on loopback for the time of `body`, which gets its port.
func withServer<Result: Sendable>(
    _ configuration: APIServerConfiguration = configuration(), tls: TLSContextStore? = nil, held: Latch = Latch(),
    logger: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
    _ body: @escaping @Sendable (Int, APIServer) async throws -> Result
) async throws -> Result {
    let server = APIServer(
        configuration: configuration, router: makeRouter(held: held), tls: tls,
        group: MultiThreadedEventLoopGroup.singleton, logger: logger)
    let (ports, port) = AsyncStream.makeStream(of: Int.self)
    let service = server.listener(host: "127.0.0.1", port: 0, isTLS: tls != nil) { port.yield($0) }
    return try await withThrowingTaskGroup(of: Result?.self) { group in
        group.addTask {
            try await service.run()
            return nil
        }
        group.addTask {
            var iterator = ports.makeAsyncIterator()
            let bound = try #require(await iterator.next())
            return try await body(bound, server)
        }
        while let result = try await group.next() {
            guard let result else { continue }
            group.cancelAll()
            return result
        }
        throw Broken()
    }
}

/// A TCP connection that says exactly what it is told.
struct RawClient {
    private let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>

    static func connect(_ port: Int) async throws -> RawClient {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.seconds(5))
            .channelOption(.allowRemoteHalfClosure, value: true)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
                }
            }
        return RawClient(channel: channel)
    }

    /// Sends the pieces with a pause behind each, and returns all that came until the server closed, or for `seconds`.
    func exchange(_ pieces: [String], pause: Duration = .zero, seconds: Int = 8) async throws -> String {
        let channel = self.channel
        let timer = channel.channel.eventLoop.scheduleTask(in: .seconds(Int64(seconds))) {
            channel.channel.close(promise: nil)
        }
        defer { timer.cancel() }
        return try await channel.executeThenClose { inbound, outbound in
            try await withThrowingTaskGroup(of: String?.self) { group in
                group.addTask {
                    var text = ""
                    do {
                        for try await bytes in inbound where text.utf8.count < 200_000 {
                            text += String(decoding: bytes.readableBytesView, as: UTF8.self)
                        }
                    } catch {
                        // A reset ends the answer.
                    }
                    return text
                }
                group.addTask {
                    for piece in pieces {
                        do { try await outbound.write(ByteBuffer(string: piece)) } catch { break }
                        try? await Task.sleep(for: pause)
                    }
                    return nil
                }
                var answer = ""
                while let next = try await group.next() {
                    guard let next else { continue }
                    answer = next
                    group.cancelAll()
                }
                return answer
            }
        }
    }

    /// Sends one request with `Connection: close`, and returns the whole answer.
    static func request(
        _ port: Int, _ line: String, _ headers: [String] = [], body: String = "", host: String? = "127.0.0.1"
    ) async throws -> Answer {
        var fields = headers + ["Connection: close"]
        if let host { fields.append("Host: \(host)") }
        let text = "\(line) HTTP/1.1\r\n" + fields.map { "\($0)\r\n" }.joined() + "\r\n" + body
        return try Answer(try await RawClient.connect(port).exchange([text]))
    }
}

/// An HTTP/1.1 answer, taken apart.
struct Answer: Sendable {
    var status: Int
    var head: String
    var body: String

    init(_ text: String) throws {
        let parts = text.components(separatedBy: "\r\n\r\n")
        self.head = parts[0]
        self.body = parts.dropFirst().joined(separator: "\r\n\r\n")
        let words = self.head.split(separator: " ")
        self.status = try #require(words.count > 1 ? Int(words[1]) : nil, "no answer: \"\(text)\"")
    }

    func header(_ name: String) -> String? {
        let lines = self.head.components(separatedBy: "\r\n").dropFirst()
        let line = lines.first { $0.lowercased().hasPrefix("\(name.lowercased()): ") }
        return line.map { String($0.dropFirst(name.count + 2)) }
    }

    /// The name of the problem that the body is.
    var problem: String? {
        guard self.header("content-type") == "application/problem+json",
            let object = try? JSONSerialization.jsonObject(with: Data(self.body.utf8)) as? [String: Any],
            object["status"] as? Int == self.status, let type = object["type"] as? String,
            type.hasPrefix("urn:weir:problem:")
        else { return nil }
        return String(type.dropFirst("urn:weir:problem:".count))
    }
}

/// A folder with certificates that is removed when it goes.
final class CertificateFolder: Sendable {
    private let url: URL

    init() throws {
        self.url = FileManager.default.temporaryDirectory.appending(path: "weir-api-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: self.url) }

    var files: TLSFiles {
        TLSFiles(certificate: self.url.appending(path: "c.pem").path, key: self.url.appending(path: "k.pem").path)
    }

    /// Writes a file of zeros beside the certificates, and returns its path.
    func file(byteCount: Int) throws -> String {
        let file = self.url.appending(path: "zeros")
        try Data(count: byteCount).write(to: file)
        return file.path
    }

    /// Writes a self-signed certificate for `name` over what is there.
    func issue(_ name: String) async throws {
        let (status, _) = try await run([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2", "-subj", "/CN=\(name)", "-keyout", self.files.key, "-out", self.files.certificate,
        ])
        try #require(status == 0)
    }
}

/// Runs a program to its end, without holding a thread of the tests' pool.
func run(_ arguments: [String]) async throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = arguments
    let output = FileManager.default.temporaryDirectory.appending(path: "weir-out-\(UUID().uuidString)")
    _ = FileManager.default.createFile(atPath: output.path, contents: nil)
    defer { try? FileManager.default.removeItem(at: output) }
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = FileHandle.nullDevice
    process.standardInput = FileHandle.nullDevice
    let status = try await withCheckedThrowingContinuation { (done: CheckedContinuation<Int32, any Error>) in
        process.terminationHandler = { done.resume(returning: $0.terminationStatus) }
        do {
            try process.run()
        } catch {
            done.resume(throwing: error)
        }
    }
    return (status, String(decoding: try Data(contentsOf: output), as: UTF8.self))
}

/// Keeps log lines for a test.
final class LogCollector: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { self.lines.withLock { $0 } }

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(collector: self) }
        logger.logLevel = .trace
        return logger
    }

    private struct Handler: LogHandler {
        let collector: LogCollector
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let fields = (event.metadata ?? [:]).map { "\($0)=\($1)" }.sorted().joined(separator: " ")
            self.collector.lines.withLock { $0.append("\(event.level) \(event.message) \(fields)") }
        }
    }
}
