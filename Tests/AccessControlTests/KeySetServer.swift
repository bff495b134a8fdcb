import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A web server that gives out a key set, or fails to in a chosen way.
final class KeySetServer: Sendable {
    enum Behaviour: Sendable {
        case answers(String)
        case status(HTTPResponseStatus)
        /// Takes the request, and never answers.
        case hangs
        /// Sends the head, then a byte each 50 ms, for as long as anybody listens.
        case drips
        /// So many bytes of white space, then an empty set.
        case pads(Int)
        /// Closes in the middle of the body.
        case breaks
    }

    private struct State {
        var behaviour: Behaviour
        var requests = 0
    }

    private let box: StateBox
    private let channel: any Channel

    private init(_ behaviour: Behaviour) async throws {
        let state = StateBox(behaviour)
        self.box = state
        self.channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(state))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    private final class StateBox: Sendable {
        private let state: Mutex<State>
        init(_ behaviour: Behaviour) { self.state = Mutex(State(behaviour: behaviour)) }

        func take() -> Behaviour {
            self.state.withLock { state in
                state.requests += 1
                return state.behaviour
            }
        }

        func set(_ behaviour: Behaviour) { self.state.withLock { $0.behaviour = behaviour } }
        var requests: Int { self.state.withLock { $0.requests } }
    }

    /// Runs `body` with a server.
    static func run(_ behaviour: Behaviour, _ body: (KeySetServer) async throws -> Void) async throws {
        let server = try await KeySetServer(behaviour)
        let result: Result<Void, any Error>
        do { result = .success(try await body(server)) } catch { result = .failure(error) }
        try await server.channel.close()
        try result.get()
    }

    var url: String { "http://127.0.0.1:\(self.channel.localAddress?.port ?? 0)/jwks.json" }
    /// Requests that came.
    var requests: Int { self.box.requests }
    func set(_ behaviour: Behaviour) { self.box.set(behaviour) }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let state: StateBox

        init(_ state: StateBox) { self.state = state }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = self.unwrapInboundIn(data) else { return }
            switch self.state.take() {
            case .answers(let text): self.answer(context, .ok, ByteBuffer(string: text))
            case .status(let status): self.answer(context, status, ByteBuffer(string: "no"))
            case .hangs: break
            case .pads(let count):
                var body = ByteBuffer()
                body.writeRepeatingByte(0x20, count: count)
                body.writeString(#"{"keys":[]}"#)
                self.answer(context, .ok, body)
            case .drips:
                self.head(context, .ok, ["transfer-encoding": "chunked"])
                self.drip(NIOLoopBound(context, eventLoop: context.eventLoop))
            case .breaks:
                self.head(context, .ok, ["content-length": "1000"])
                context.write(self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: "{\"keys\":")))), promise: nil)
                context.flush()
                context.close(promise: nil)
            }
        }

        private func head(
            _ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ fields: [String: String]
        ) {
            let headers = HTTPHeaders(fields.map { ($0.key, $0.value) })
            let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
        }

        private func answer(_ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ body: ByteBuffer) {
            self.head(context, status, ["content-length": "\(body.readableBytes)"])
            context.write(self.wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        }

        private func drip(_ bound: NIOLoopBound<ChannelHandlerContext>) {
            let context = bound.value
            guard context.channel.isActive else { return }
            context.writeAndFlush(self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: " ")))), promise: nil)
            context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(50)) { self.drip(bound) }
        }
    }
}
