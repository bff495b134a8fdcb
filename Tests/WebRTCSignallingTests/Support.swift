import AsyncHTTPClient
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

@testable import WebRTCSignalling

/// Sessions that do as they are told, and remember what they were asked.
final class FakeSessions: WebRTCSessions {
    struct State {
        var published: [SignallingRequest] = []
        var played: [SignallingRequest] = []
        var patched: [(id: String, fragment: String, ifMatch: SignallingPrecondition)] = []
        var deleted: [String] = []
        var answer: Result<SignallingAnswer, SignallingRefusal> = .success(FakeSessions.answer)
        var patch: Result<SignallingPatchAnswer, SignallingRefusal> = .success(.noted)
    }

    static let answer = SignallingAnswer(sdp: "v=0\r\nanswer\r\n", id: "0a1b2c", etag: "e1", iceNames: "loc:rem")

    let state = Mutex(State())

    func set(_ change: (inout State) -> Void) { self.state.withLock { change(&$0) } }

    func publish(_ request: SignallingRequest) async -> Result<SignallingAnswer, SignallingRefusal> {
        self.state.withLock {
            $0.published.append(request)
            return $0.answer
        }
    }

    func play(_ request: SignallingRequest) async -> Result<SignallingAnswer, SignallingRefusal> {
        self.state.withLock {
            $0.played.append(request)
            return $0.answer
        }
    }

    func patch(
        _ id: String, fragment: String, ifMatch: SignallingPrecondition
    ) async -> Result<SignallingPatchAnswer, SignallingRefusal> {
        self.state.withLock {
            $0.patched.append((id, fragment, ifMatch))
            return $0.patch
        }
    }

    func delete(_ id: String) async -> Bool {
        self.state.withLock {
            $0.deleted.append(id)
            return id == Self.answer.id
        }
    }

    func diagnose(_ id: String) async -> String? { id == Self.answer.id ? "{\"state\":\"connected\"}" : nil }
}

struct Failure: Error {}

/// A server on loopback for the time of `body`, which gets a client of it.
func withServer<Result: Sendable>(
    _ sessions: FakeSessions = FakeSessions(),
    _ configuration: WebRTCSignallingConfiguration = WebRTCSignallingConfiguration(),
    _ body: @escaping @Sendable (TestClient) async throws -> Result
) async throws -> Result {
    let router = Router(context: SignallingContext.self)
    WebRTCRoutes(sessions: sessions, configuration: configuration).add(to: router)
    router.get("/") { _, _ in "page" }
    let (ports, port) = AsyncStream.makeStream(of: Int.self)
    let application = Application(
        router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
        onServerRunning: { channel in port.yield(channel.localAddress?.port ?? 0) },
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    return try await withThrowingTaskGroup(of: Result?.self) { group in
        group.addTask {
            try await application.run()
            return nil
        }
        group.addTask {
            var iterator = ports.makeAsyncIterator()
            let bound = try #require(await iterator.next())
            return try await body(TestClient(port: bound))
        }
        while let result = try await group.next() {
            guard let result else { continue }
            group.cancelAll()
            return result
        }
        throw Failure()
    }
}

struct TestAnswer {
    var status: UInt
    var headers: HTTPHeaders
    var body: String

    /// The last part of the problem's type; `nil` for what is no problem.
    var problem: String? {
        guard self.headers["content-type"] == ["application/problem+json"],
            let start = self.body.firstRange(of: "urn:weir:problem:")
        else { return nil }
        return String(self.body[start.upperBound...].prefix { $0 != "\"" })
    }
}

struct TestClient: Sendable {
    let port: Int

    func send(
        _ method: HTTPMethod, _ target: String, _ headers: [(String, String)] = [], body: String? = nil
    ) async throws -> TestAnswer {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(self.port)\(target)")
        request.method = method
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(string: body)) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(10))
        let bytes = try await response.body.collect(upTo: 1 << 20)
        return TestAnswer(status: response.status.code, headers: response.headers, body: String(buffer: bytes))
    }

    /// An offer as WHIP clients send it.
    func offer(_ target: String, _ headers: [(String, String)] = [], body: String = "v=0\r\n") async throws
        -> TestAnswer
    {
        let hasType = headers.contains { $0.0.lowercased() == "content-type" }
        let all = hasType ? headers : headers + [("Content-Type", "application/sdp")]
        return try await self.send(.POST, target, all, body: body)
    }

    /// Sends exactly this, and returns what came until the server closed, until `text` has `end`, or for five seconds.
    func raw(_ text: String, until end: String) async throws -> String {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: self.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        let timer = channel.channel.eventLoop.scheduleTask(in: .seconds(5)) { channel.channel.close(promise: nil) }
        defer { timer.cancel() }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: text))
            var answer = ""
            for try await bytes in inbound {
                answer += String(buffer: bytes)
                if answer.contains(end) { break }
            }
            return answer
        }
    }
}
