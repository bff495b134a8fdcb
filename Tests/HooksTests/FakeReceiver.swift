import Foundation
import Logging
import Media
import NIOCore
import NIOPosix
import StreamHub
import Synchronization
import Testing

@testable import Hooks

/// One test at a time: several of them measure time.
@Suite("Hooks", .serialized) enum AllTests {}

/// A real HTTP receiver on loopback that answers as a test wants.
final class FakeReceiver: Sendable {
    struct Request: Sendable {
        var method: String
        /// Path and query.
        var target: String
        /// Names in lower case.
        var headers: [String: String]
        var body: String
        /// How many requests came before.
        var index: Int

        var action: String {
            let object = try? JSONSerialization.jsonObject(with: Data(self.body.utf8)) as? [String: Any]
            return object?["action"] as? String ?? ""
        }
    }

    enum Answer: Sendable {
        case text(String, status: String = "200 OK", headers: String = "")
        /// Nothing, for ever.
        case silence
        /// One byte of the answer at a time, with a pause.
        case drip(String, TimeAmount)
        /// The end of the connection instead of an answer.
        case hangUp
        /// The answer after a pause.
        case late(String, TimeAmount)
        /// These bytes, as they are.
        case raw(ByteBuffer)

        static let agreement = Answer.text("0")
    }

    private struct State {
        var requests: [Request] = []
        var children: [any Channel] = []
    }

    private let state = Mutex(State())
    private let channel: any Channel
    let port: Int

    private init(_ channel: any Channel) {
        self.channel = channel
        self.port = channel.localAddress?.port ?? 0
    }

    /// Runs `body` with a receiver that answers by `respond`.
    static func with<T>(
        port: Int = 0, _ respond: @escaping @Sendable (Request) -> Answer,
        _ body: (FakeReceiver) async throws -> T
    ) async throws -> T {
        let box = Mutex<FakeReceiver?>(nil)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let receiver = box.withLock { $0 }
                    receiver?.state.withLock { $0.children.append(channel) }
                    try channel.pipeline.syncOperations.addHandler(
                        ReceiverHandler { method, target, headers, body in
                            guard let receiver else { return .hangUp }
                            let request = receiver.state.withLock { state in
                                let request = Request(
                                    method: method, target: target, headers: headers, body: body,
                                    index: state.requests.count)
                                state.requests.append(request)
                                return request
                            }
                            return respond(request)
                        })
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        let receiver = FakeReceiver(channel)
        box.withLock { $0 = receiver }
        let result: Result<T, any Error>
        do { result = .success(try await body(receiver)) } catch { result = .failure(error) }
        try await receiver.stop()
        return try result.get()
    }

    func stop() async throws {
        try? await self.channel.close().get()
        for child in self.state.withLock({ $0.children }) { try? await child.close().get() }
    }

    var requests: [Request] { self.state.withLock { $0.requests } }

    func url(_ path: String = "/hook") -> String { "http://127.0.0.1:\(self.port)\(path)" }

    /// Waits until `count` requests came.
    func requests(_ count: Int, within limit: Duration = .seconds(10)) async throws -> [Request] {
        try await until(limit) { self.requests.count >= count }
        return self.requests
    }
}

/// Waits until `condition` holds; an issue if it never does.
func until(_ limit: Duration = .seconds(10), _ condition: () async -> Bool) async throws {
    let deadline = ContinuousClock.now + limit
    while await !condition() {
        try #require(ContinuousClock.now < deadline, "it did not happen in time")
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// A port that nobody listens on.
func closedPort() async throws -> Int {
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .bind(host: "127.0.0.1", port: 0).get()
    let port = try #require(channel.localAddress?.port)
    try await channel.close().get()
    return port
}

private final class ReceiverHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let respond: @Sendable (String, String, [String: String], String) -> FakeReceiver.Answer
    private var text = ""

    init(_ respond: @escaping @Sendable (String, String, [String: String], String) -> FakeReceiver.Answer) {
        self.respond = respond
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.text += String(buffer: self.unwrapInboundIn(data))
        while let end = self.text.range(of: "\r\n\r\n") {
            let lines = self.text[..<end.lowerBound].components(separatedBy: "\r\n")
            var headers: [String: String] = [:]
            for line in lines.dropFirst() {
                let pair = line.split(separator: ":", maxSplits: 1)
                headers[pair[0].lowercased()] = pair[1].drop { $0 == " " }.description
            }
            let length = Int(headers["content-length"] ?? "0") ?? 0
            let rest = self.text[end.upperBound...]
            guard rest.utf8.count >= length else { return }
            let body = String(decoding: rest.utf8.prefix(length), as: UTF8.self)
            self.text = String(decoding: rest.utf8.dropFirst(length), as: UTF8.self)
            let words = lines[0].split(separator: " ").map(String.init)
            self.write(self.respond(words[0], words[1], headers, body), context.channel)
        }
    }

    private static func message(_ body: String, status: String = "200 OK", headers: String = "") -> ByteBuffer {
        ByteBuffer(string: "HTTP/1.1 \(status)\r\nContent-Length: \(body.utf8.count)\r\n\(headers)\r\n\(body)")
    }

    private func write(_ answer: FakeReceiver.Answer, _ channel: any Channel) {
        switch answer {
        case .text(let body, let status, let headers):
            channel.writeAndFlush(Self.message(body, status: status, headers: headers), promise: nil)
        case .silence: break
        case .hangUp: channel.close(promise: nil)
        case .raw(let bytes): channel.writeAndFlush(bytes, promise: nil)
        case .late(let body, let pause):
            channel.eventLoop.scheduleTask(in: pause) {
                channel.writeAndFlush(Self.message(body), promise: nil)
            }
        case .drip(let body, let pause):
            for (index, byte) in Self.message(body).readableBytesView.enumerated() {
                channel.eventLoop.scheduleTask(in: .nanoseconds(pause.nanoseconds * Int64(index))) {
                    channel.writeAndFlush(ByteBuffer(bytes: [byte]), promise: nil)
                }
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// What the hooks logged.
struct LogLines: LogHandler {
    final class Store: Sendable {
        let lines = Mutex<[String]>([])
        var all: [String] { self.lines.withLock { $0 } }
    }

    let store: Store
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let metadata = (event.metadata ?? [:]).map { "\($0)=\($1)" }.sorted().joined(separator: " ")
        self.store.lines.withLock { $0.append("\(event.message) \(metadata)") }
    }
}

/// Hooks that run, with what a test changes of them.
struct HooksBench: Sendable {
    let hooks: Hooks
    let log = LogLines.Store()
    let registry = SessionRegistry()

    static let key = HooksBench.key("live", "cam")

    static func key(_ app: String, _ name: String, vhost: String = StreamKey.defaultVhost) -> StreamKey {
        guard let key = try? StreamKey(vhost: vhost, app: app, name: name) else { preconditionFailure("a key") }
        return key
    }

    init(
        _ change: (inout HooksConfiguration) -> Void = { _ in }, urls: @escaping @Sendable (StreamKey) -> HookURLs
    ) {
        var configuration = HooksConfiguration(
            serverID: "vid-server1", serviceID: "run1", node: "o1", version: "4.0")
        configuration.timeout = .seconds(3)
        configuration.pauses = [.milliseconds(20)]
        change(&configuration)
        let store = self.log
        self.hooks = Hooks(
            configuration: configuration,
            logger: Logger(label: "hooks", factory: { _ in LogLines(store: store) }), urls: urls)
        self.registry.add(self.hooks)
    }

    /// Runs `body` while the hooks run, and closes them.
    func run<T: Sendable>(
        closeLimit: TimeAmount = .seconds(5), _ body: @Sendable (HooksBench) async throws -> T
    ) async throws -> T {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await self.hooks.run() }
            let result: Result<T, any Error>
            do { result = .success(try await body(self)) } catch { result = .failure(error) }
            await self.hooks.close(within: closeLimit)
            try await group.waitForAll()
            return try result.get()
        }
    }

    /// A client that wants something of `key`, with an account of the registry.
    func peer(_ key: StreamKey = HooksBench.key, transport: String = "rtmp", query: String = "a=1&token=x")
        throws -> PeerIdentity
    {
        let address = try SocketAddress(ipAddress: "192.0.2.7", port: 5_000)
        let account = try #require(self.registry.open(address, transport: transport))
        var client = ClientDescription()
        client.tcURL = "rtmp://host/\(key.app)"
        client.pageURL = "http://page/\"x\""
        client.query = query
        account.client = client
        var peer = PeerIdentity(
            transport: transport, address: "192.0.2.7:5000", vhost: nil, host: "host", app: key.app, name: key.name,
            query: query, token: "")
        peer.client = client
        peer.account = account
        return peer
    }
}
