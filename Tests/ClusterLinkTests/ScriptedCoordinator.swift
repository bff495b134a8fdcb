import Foundation
import Logging
import Media
import NIOCore
import NIOHTTP1
import NIOPosix
import Placement
import Synchronization

@testable import ClusterLink

/// Answers HTTP requests by a script, as a coordinator of any version would.
final class ScriptedCoordinator: Sendable {
    struct Call: Sendable {
        var method: HTTPMethod
        /// Path below `/api/v1/`, with its query.
        var path: String
        var body: Data

        func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
            try JSONDecoder().decode(type, from: self.body)
        }
    }

    struct Answer: Sendable {
        var status = 200
        var body = Data()

        static func json(_ value: some Encodable, status: Int = 200) -> Answer {
            Answer(status: status, body: (try? JSONEncoder().encode(value)) ?? Data())
        }

        static func problem(_ name: String, status: Int) -> Answer {
            .json(ProblemDetails(type: "urn:weir:problem:\(name)", title: name, status: status), status: status)
        }
    }

    let port: Int
    var url: String { "http://127.0.0.1:\(self.port)" }
    private let channel: any Channel
    private let recorded: Recorded

    /// Calls in the order in which they came.
    final class Recorded: Sendable {
        private let list = Mutex<[Call]>([])
        func add(_ call: Call) { self.list.withLock { $0.append(call) } }
        var all: [Call] { self.list.withLock { $0 } }
    }

    var calls: [Call] { self.recorded.all }

    func calls(_ prefix: String) -> [Call] { self.calls.filter { $0.path.hasPrefix(prefix) } }

    /// `script` answers what is not a join, a heartbeat, a watch or a leave, and may answer these, too.
    init(_ script: @escaping @Sendable (Call) async -> Answer?) async throws {
        let recorded = Recorded()
        self.recorded = recorded
        self.channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(
                        ScriptHandler { call in
                            recorded.add(call)
                            if let answer = await script(call) { return answer }
                            return Self.plain(call)
                        })
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        self.port = self.channel.localAddress?.port ?? 0
    }

    func stop() async { try? await self.channel.close().get() }

    static let granted = HeartbeatAnswer(
        instance: "c", superseded: [], draining: false, originsRevision: 1, origins: nil)

    private static func plain(_ call: Call) -> Answer {
        call.path == "nodes" || call.path.hasSuffix("/heartbeat") ? .json(self.granted) : Answer(status: 404)
    }
}

private final class ScriptHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let answer: @Sendable (ScriptedCoordinator.Call) async -> ScriptedCoordinator.Answer
    private var head: HTTPRequestHead?
    private var body = Data()

    init(_ answer: @escaping @Sendable (ScriptedCoordinator.Call) async -> ScriptedCoordinator.Answer) {
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            self.body = Data()
        case .body(let buffer): self.body.append(contentsOf: buffer.readableBytesView)
        case .end:
            guard let head = self.head else { return }
            let path = head.uri.hasPrefix("/api/v1/") ? String(head.uri.dropFirst(8)) : head.uri
            let call = ScriptedCoordinator.Call(method: head.method, path: path, body: self.body)
            let answer = self.answer
            let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
            context.eventLoop.makeFutureWithTask { await answer(call) }.whenSuccess { answer in
                let context = bound.value
                var headers = HTTPHeaders()
                headers.add(name: "Content-Length", value: "\(answer.body.count)")
                headers.add(name: "Content-Type", value: "application/json")
                let head = HTTPResponseHead(
                    version: .http1_1, status: .init(statusCode: answer.status), headers: headers)
                context.write(NIOAny(HTTPServerResponsePart.head(head)), promise: nil)
                context.write(
                    NIOAny(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: answer.body)))), promise: nil)
                context.writeAndFlush(NIOAny(HTTPServerResponsePart.end(nil)), promise: nil)
            }
        }
    }
}

/// Hands out what is given to it, once, to whoever polls next.
final class RequestQueue: Sendable {
    private let waiting = Mutex<[NodeRequest]>([])

    func add(_ requests: NodeRequest...) { self.waiting.withLock { $0 += requests } }

    /// The answer to a poll, which waits for 300 ms as a coordinator waits for 10 s.
    func poll() async -> ScriptedCoordinator.Answer {
        for _ in 0..<30 {
            let taken = self.waiting.withLock { waiting in
                defer { waiting = [] }
                return waiting
            }
            if !taken.isEmpty { return .json(NodeRequests(requests: taken)) }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return .json(NodeRequests(requests: []))
    }
}

extension ClusterLink {
    /// A link of a node `a` to `url`, with short times.
    static func test(_ url: String, heartbeatMillis: Int64 = 50) throws -> ClusterLink {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let node = NodeDescription(
            id: try NodeID("a"), instance: "one", role: .origin, host: "127.0.0.1", rtmpPort: 1935)
        return ClusterLink(
            configuration: ClusterLinkConfiguration(
                coordinators: [url], node: node, heartbeatMillis: heartbeatMillis, requestDeadlineMillis: 1_000,
                minimumBackoffMillis: 20, maximumBackoffMillis: 100), logger: logger)
    }

    /// Runs the link for as long as `body` takes.
    func running(_ body: @Sendable @escaping () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.run() }
            group.addTask { try await body() }
            // Whichever ends first: the body, or a link that failed.
            try await group.next()
            group.cancelAll()
            while let result = await group.nextResult() {
                if case .failure(let error) = result, !(error is CancellationError) { throw error }
            }
        }
    }
}

struct NotInTime: Error { var what: String }

/// Waits until `condition` holds, for 10 s at most.
func eventually(_ what: String, _ condition: () throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(10)
    while ContinuousClock.now < end {
        if try condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    throw NotInTime(what: what)
}
