import AsyncHTTPClient
import Foundation
import Logging
import Media
import NIOCore
import NIOHTTP1
import Synchronization

/// Tells HTTP servers of finished recordings, with SRS's `on_dvr` body.
///
/// Each URL gets up to four tries with growing pauses, in the order in which files were finished; a bounded number of
/// files waits, and a file that no server took is logged. Nothing here holds a recording up.
final class FileCallbacks: Sendable {
    struct File: Sendable {
        var key: StreamKey
        var path: String
        var urls: [String]
        var durationMillis: Int64
        var bytes: Int64
        var recording: String
    }

    /// Files that may wait for servers that do not answer.
    static let capacity = 10_000
    static let deadline = TimeAmount.seconds(10)
    static let pauses: [Duration] = [.seconds(1), .seconds(5), .seconds(20)]

    private let node: String
    private let logger: Logger
    private let files: AsyncStream<File>
    private let queue: AsyncStream<File>.Continuation
    private let service: String
    private let waiting = Atomic<Int>(0)

    init(node: String, instance: String, logger: Logger) {
        self.node = node
        self.service = instance
        self.logger = logger
        (self.files, self.queue) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.capacity))
    }

    /// Any thread may call.
    func finished(_ file: File) {
        guard !file.urls.isEmpty else { return }
        self.waiting.add(1, ordering: .relaxed)
        switch self.queue.yield(file) {
        case .enqueued: break
        case .dropped, .terminated:
            self.waiting.subtract(1, ordering: .relaxed)
            self.logger.error("a finished recording cannot be told any more", metadata: ["file": "\(file.path)"])
        @unknown default: break
        }
    }

    /// Nothing more will be told.
    func finish() { self.queue.finish() }

    /// Whether all that was finished was told, or given up.
    var isIdle: Bool { self.waiting.load(ordering: .relaxed) == 0 }

    /// Runs until everything is told after `finish`, or its task is cancelled.
    func run(client: HTTPClient) async {
        for await file in self.files {
            for url in file.urls { await self.tell(url, of: file, client) }
            self.waiting.subtract(1, ordering: .relaxed)
        }
    }

    private struct Body: Encodable {
        let action = "on_dvr"
        let server_id: String
        let service_id: String
        let client_id = ""
        let ip = ""
        let vhost: String
        let app: String
        let stream: String
        let param = ""
        let stream_url: String
        let cwd: String
        let file: String
        let duration: Double
        let bytes: Int64
        let recording: String
    }

    private func tell(_ url: String, of file: File, _ client: HTTPClient) async {
        let body = Body(
            server_id: self.node, service_id: self.service, vhost: file.key.vhost, app: file.key.app,
            stream: file.key.name, stream_url: "/\(file.key)", cwd: FileManager.default.currentDirectoryPath,
            file: file.path, duration: Double(file.durationMillis) / 1_000, bytes: file.bytes,
            recording: file.recording)
        guard let bytes = try? JSONEncoder().encode(body) else { return }
        var problem = ""
        for pause in [.zero] + Self.pauses {
            guard (try? await Task.sleep(for: pause)) != nil else { return }
            var request = HTTPClientRequest(url: url)
            request.method = .POST
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: bytes))
            do {
                let response = try await client.execute(request, timeout: Self.deadline)
                let answer = try await response.body.collect(upTo: 64 << 10)
                if response.status == .ok || response.status == .created, Self.isAgreement(answer) { return }
                problem = "answered \(response.status.code): \(String(buffer: answer).prefix(100))"
            } catch {
                problem = "\(error)"
            }
        }
        self.logger.error(
            "a finished recording could not be told",
            metadata: ["url": "\(url)", "file": "\(file.path)", "error": "\(problem)"])
    }

    /// SRS's servers answer `0`, or an object whose `code` is 0.
    static func isAgreement(_ answer: ByteBuffer) -> Bool {
        struct Code: Decodable { let code: Int }
        let text = String(buffer: answer)
        if text == "0" { return true }
        return (try? JSONDecoder().decode(Code.self, from: Data(text.utf8)))?.code == 0
    }
}
