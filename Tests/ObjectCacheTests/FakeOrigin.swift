import AsyncHTTPClient
import Logging
import Media
import MediaObjects
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import ObjectCache

/// An HTTP server that says, byte by byte, what a test wants said.
final class FakeOrigin: Sendable {
    struct Request: Sendable {
        /// Path and query.
        var target: String
        /// Names in lower case.
        var headers: [String: String]
        /// How many requests for the same target came before.
        var earlier: Int
    }

    enum Answer: Sendable {
        case bytes(ByteBuffer)
        /// These bytes, then the end of the connection.
        case bytesAndClose(ByteBuffer)
        /// Nothing, for ever.
        case silence
        /// The rest after a pause.
        case slow(ByteBuffer, TimeAmount, ByteBuffer)
        /// The rest when the test says so.
        case held(ByteBuffer, ByteBuffer)
        /// The same chunk again and again for as long as the peer takes them.
        case endless(head: ByteBuffer, chunk: ByteBuffer)

        static func ok(_ body: String, _ headers: [(String, String)] = [], status: String = "200 OK") -> Answer {
            .bytes(FakeOrigin.message(status, headers + [("Content-Length", "\(body.utf8.count)")], body))
        }

        static func ok(_ body: ByteBuffer, _ headers: [(String, String)] = []) -> Answer {
            var bytes = FakeOrigin.message("200 OK", headers + [("Content-Length", "\(body.readableBytes)")], "")
            bytes.writeImmutableBuffer(body)
            return .bytes(bytes)
        }

        static func status(_ status: String, _ headers: [(String, String)] = []) -> Answer {
            .ok("", headers, status: status)
        }
    }

    static func message(_ status: String, _ headers: [(String, String)], _ body: String) -> ByteBuffer {
        let lines = headers.map { "\($0.0): \($0.1)\r\n" }.joined()
        return ByteBuffer(string: "HTTP/1.1 \(status)\r\n\(lines)\r\n\(body)")
    }

    private struct State {
        var requests: [Request] = []
        var counts: [String: Int] = [:]
        var channels: [ObjectIdentifier: any Channel] = [:]
        var written = 0
        var lastWrite = NIODeadline.uptimeNanoseconds(0)
        var held: [(channel: any Channel, rest: ByteBuffer)] = []
    }

    private let state = Mutex(State())
    private let listener = Mutex<(any Channel)?>(nil)
    private let respond: @Sendable (Request) -> Answer

    init(respond: @escaping @Sendable (Request) -> Answer) { self.respond = respond }

    /// Listens on loopback. `port` 0: any.
    func start(port: Int = 0) async throws {
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.backlog, value: 1_024)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    self.state.withLock { $0.channels[ObjectIdentifier(channel)] = channel }
                    try channel.pipeline.syncOperations.addHandler(Handler(self))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        self.listener.withLock { $0 = channel }
    }

    /// Stops listening and drops all connections.
    func kill() async throws {
        let channel = self.listener.withLock { $0.take() }
        let children = self.state.withLock { state in
            defer { state.channels = [:] }
            return Array(state.channels.values)
        }
        try await channel?.close().get()
        for child in children { try? await child.close().get() }
    }

    var port: Int { self.listener.withLock { $0?.localAddress?.port ?? 0 } }

    func upstream(_ node: String = "origin") -> ObjectUpstream {
        ObjectUpstream(node: node, host: "127.0.0.1", httpPort: self.port, epoch: 1)
    }

    var requests: [Request] { self.state.withLock { $0.requests } }

    /// Requests of each target.
    var counts: [String: Int] { self.state.withLock { $0.counts } }

    /// Bytes that went out by `.endless`.
    var written: Int { self.state.withLock { $0.written } }

    /// `.held` answers whose rest waits.
    var heldCount: Int { self.state.withLock { $0.held.count } }

    /// Sends the rest of all `.held` answers.
    func release() {
        let held = self.state.withLock { state in
            defer { state.held = [] }
            return state.held
        }
        for (channel, rest) in held {
            self.wroteRest()
            channel.writeAndFlush(rest, promise: nil)
        }
    }

    /// When the rest of the last `.slow` or `.held` answer went out.
    var lastWrite: NIODeadline { self.state.withLock { $0.lastWrite } }

    var connections: Int { self.state.withLock { $0.channels.count } }

    fileprivate func took(_ target: String, _ headers: [String: String]) -> Answer {
        let request = self.state.withLock { state in
            let request = Request(target: target, headers: headers, earlier: state.counts[target, default: 0])
            state.requests.append(request)
            state.counts[target, default: 0] += 1
            return request
        }
        return self.respond(request)
    }

    fileprivate func closed(_ channel: any Channel) {
        self.state.withLock { _ = $0.channels.removeValue(forKey: ObjectIdentifier(channel)) }
    }

    fileprivate func holds(_ rest: ByteBuffer, on channel: any Channel) {
        self.state.withLock { $0.held.append((channel, rest)) }
    }

    fileprivate func wroteRest() { self.state.withLock { $0.lastWrite = .now() } }

    fileprivate func wrote(_ count: Int) { self.state.withLock { $0.written += count } }
}

/// Reads requests without bodies and writes what the origin's closure says.
private final class Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let origin: FakeOrigin
    private var text = ""
    private var endless: ByteBuffer?

    init(_ origin: FakeOrigin) { self.origin = origin }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.text += String(buffer: self.unwrapInboundIn(data))
        while let end = self.text.firstRange(of: "\r\n\r\n") {
            let lines = self.text[..<end.lowerBound].split(separator: "\r\n")
            self.text = String(self.text[end.upperBound...])
            var headers: [String: String] = [:]
            for line in lines.dropFirst() {
                let pair = line.split(separator: ":", maxSplits: 1)
                headers[pair[0].lowercased()] = pair[1].drop { $0 == " " }.description
            }
            self.write(self.origin.took(String(lines[0].split(separator: " ")[1]), headers), context)
        }
    }

    private func write(_ answer: FakeOrigin.Answer, _ context: ChannelHandlerContext) {
        switch answer {
        case .bytes(let bytes):
            context.writeAndFlush(self.wrapOutboundOut(bytes), promise: nil)
        case .bytesAndClose(let bytes):
            context.writeAndFlush(self.wrapOutboundOut(bytes), promise: nil)
            context.close(promise: nil)
        case .silence: break
        case .slow(let first, let pause, let rest):
            context.writeAndFlush(self.wrapOutboundOut(first), promise: nil)
            let channel = context.channel
            let origin = self.origin
            context.eventLoop.scheduleTask(in: pause) {
                origin.wroteRest()
                channel.writeAndFlush(rest, promise: nil)
            }
        case .held(let first, let rest):
            context.writeAndFlush(self.wrapOutboundOut(first), promise: nil)
            self.origin.holds(rest, on: context.channel)
        case .endless(let head, let chunk):
            context.writeAndFlush(self.wrapOutboundOut(head), promise: nil)
            self.endless = chunk
            self.more(context)
        }
    }

    private func more(_ context: ChannelHandlerContext) {
        while let chunk = self.endless, context.channel.isWritable {
            self.origin.wrote(chunk.readableBytes)
            context.writeAndFlush(self.wrapOutboundOut(chunk), promise: nil)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) { self.more(context) }

    func channelInactive(context: ChannelHandlerContext) {
        self.endless = nil
        self.origin.closed(context.channel)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// A cache in front of fake origins, with loops to ask on.
final class CacheBench: Sendable {
    let cache: ObjectCache
    let http: HTTPClient
    let group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    let key: StreamKey

    init(
        _ resolver: ObjectCacheResolver, _ change: (inout ObjectCacheConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = ObjectCacheConfiguration(node: "edge-1", secret: "top")
        change(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        self.http = HTTPClient(
            eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup.singleton),
            configuration: ObjectCache.clientConfiguration(configuration))
        self.cache = ObjectCache(configuration: configuration, http: self.http, resolver: resolver, logger: logger)
        self.key = try StreamKey(app: "live", name: "game")
    }

    convenience init(
        _ upstreams: [ObjectUpstream], _ change: (inout ObjectCacheConfiguration) -> Void = { _ in }
    ) throws {
        try self.init(ObjectCacheResolver(upstreams: { _, _ in .upstreams(upstreams) }), change)
    }

    func request(_ name: MediaObjectName, _ query: MediaObjectQuery = MediaObjectQuery()) -> MediaObjectRequest {
        MediaObjectRequest(key: self.key, name: name, query: query)
    }

    func future(_ request: MediaObjectRequest) -> EventLoopFuture<MediaObjectAnswer> {
        let loop = self.group.next()
        switch self.cache.reply(to: request, on: loop) {
        case .now(let answer): return loop.makeSucceededFuture(answer)
        case .later(let future): return future
        }
    }

    func answer(_ name: MediaObjectName, _ query: MediaObjectQuery = MediaObjectQuery()) async throws
        -> MediaObjectAnswer
    { try await self.future(self.request(name, query)).get() }

    /// The body as text, or the status.
    func word(_ name: MediaObjectName, _ query: MediaObjectQuery = MediaObjectQuery()) async throws -> String {
        Bench.word(try await self.answer(name, query))
    }

    /// Expects a body or a status. (An expectation around `try` would not make the closure it stands in a throwing one.)
    func expect(
        _ name: MediaObjectName, _ expected: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let word = try await self.word(name)
        #expect(word == expected, sourceLocation: sourceLocation)
    }

    func expect(
        _ future: EventLoopFuture<MediaObjectAnswer>, _ expected: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let word = Bench.word(try await future.get())
        #expect(word == expected, sourceLocation: sourceLocation)
    }

    func object(_ name: MediaObjectName, _ query: MediaObjectQuery = MediaObjectQuery()) async throws -> MediaObject? {
        guard case .object(let object) = try await self.answer(name, query) else { return nil }
        return object
    }

    func stop() async throws {
        self.cache.shutdown()
        try await self.http.shutdown()
    }
}

/// Runs `body` with a bench, and stops it.
func withCache(
    _ resolver: ObjectCacheResolver, _ change: (inout ObjectCacheConfiguration) -> Void = { _ in },
    _ body: (CacheBench) async throws -> Void
) async throws {
    let bench = try CacheBench(resolver, change)
    do {
        try await body(bench)
    } catch {
        try await bench.stop()
        throw error
    }
    try await bench.stop()
}

/// Runs `body` with one fake origin and a cache in front of it.
func withOrigin(
    _ respond: @escaping @Sendable (FakeOrigin.Request) -> FakeOrigin.Answer,
    _ change: (inout ObjectCacheConfiguration) -> Void = { _ in },
    _ body: (FakeOrigin, CacheBench) async throws -> Void
) async throws {
    let origin = FakeOrigin(respond: respond)
    try await origin.start()
    let upstream = origin.upstream()
    try await withCache(ObjectCacheResolver(upstreams: { _, _ in .upstreams([upstream]) }), change) { bench in
        try await body(origin, bench)
    }
    try await origin.kill()
}

/// A media playlist's text.
func playlistText(_ sequence: UInt64, _ count: Int, target: Int = 1) -> String {
    "#EXTM3U\n#EXT-X-TARGETDURATION:\(target)\n#EXT-X-MEDIA-SEQUENCE:\(sequence)\n"
        + (0..<count).map { "#EXTINF:1.00000,\n_video-1-\(sequence + UInt64($0)).m4s\n" }.joined()
}

/// Waits until something is so; `false` if it is not after five seconds.
func eventually(_ condition: () async throws -> Bool) async throws -> Bool {
    for _ in 0..<500 {
        if try await condition() { return true }
        try await Task.sleep(nanoseconds: 10_000_000)
    }
    return false
}

func expectEventually(
    sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async throws {
    let isSo = try await eventually(condition)
    #expect(isSo, sourceLocation: sourceLocation)
}
