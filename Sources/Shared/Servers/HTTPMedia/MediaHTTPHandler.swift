import Crypto
import FLV
import FoundationEssentials
import HTTPTypes
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOWebSocket
import StreamHub
import Streaming

/// Serves endless streams on an HTTP/1.1 connection that is otherwise Hummingbird's.
///
/// Sits behind the HTTP codec. A request for a stream is not passed on: after the gate has agreed, the connection
/// belongs to the fan-out, which writes below the codec; the rest of the pipeline sees no more requests until the
/// connection closes. Requests for anything else pass through untouched.
final class MediaHTTPHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private enum Activity {
        /// Requests pass. `outstanding` of them were not answered.
        case passing(outstanding: Int)
        /// The gate was asked, or the end of a refused request is awaited.
        case deciding
        case streaming(Viewer, PlayGrant)
        case closing
    }

    private let configuration: MediaHTTPConfiguration
    private let gate: any SessionGate
    private let hub: StreamHub
    private var logger: Logger
    private var activity = Activity.passing(outstanding: 0)
    private var swallowsRequest = false
    private var request: MediaHTTPRequest?
    private var context: ChannelHandlerContext?

    init(configuration: MediaHTTPConfiguration, gate: any SessionGate, hub: StreamHub, logger: Logger) {
        self.configuration = configuration
        self.gate = gate
        self.hub = hub
        self.logger = logger
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.logger[metadataKey: "peer"] = "\(context.channel.remoteAddress?.peerDescription ?? "unknown")"
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    // MARK: Channel

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = self.unwrapInboundIn(data)
        switch (self.activity, part) {
        case (.passing(let outstanding), .head(let head)):
            if let request = MediaHTTPRequest(head) {
                // An answer of ours must not overtake one that is still being made.
                guard outstanding == 0 else { return context.close(promise: nil) }
                self.swallowsRequest = true
                self.begin(request, context)
            } else {
                self.activity = .passing(outstanding: outstanding + 1)
                context.fireChannelRead(data)
            }
        case (.passing, _):
            if self.swallowsRequest {
                if case .end = part { self.swallowsRequest = false }
            } else {
                context.fireChannelRead(data)
            }
        case (.deciding, .head), (.streaming, .head):
            // A second request before the answer to the first, which never ends.
            context.close(promise: nil)
        case (.deciding, _), (.streaming, _), (.closing, _):
            if case .end = part { self.swallowsRequest = false }
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .passing(let outstanding) = self.activity, case .end = self.unwrapOutboundIn(data) {
            self.activity = .passing(outstanding: max(0, outstanding - 1))
        }
        context.write(data, promise: promise)
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        // The pipeline behind, which would close an idle connection, has no say in one that is the fan-out's.
        if case .streaming = self.activity {
            promise?.succeed()
        } else {
            context.close(mode: mode, promise: promise)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.leave()
        self.activity = .closing
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A socket that failed, or a WebSocket frame that is none: the pipeline behind could not close a stream.
        if case .streaming = self.activity {
            context.close(promise: nil)
        } else {
            context.fireErrorCaught(error)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch (self.activity, event) {
        case (.streaming, is ChannelShouldQuiesceEvent):
            self.viewerEnded(.kicked(reason: "the node is shutting down"))
        case (.streaming, ChannelEvent.inputClosed), (.deciding, ChannelEvent.inputClosed):
            context.close(promise: nil)
        default:
            context.fireUserInboundEventTriggered(event)
        }
    }

    // MARK: Requests

    private func begin(_ request: MediaHTTPRequest, _ context: ChannelHandlerContext) {
        self.request = request
        switch request.method {
        case .get where request.webSocketKey != nil && !self.mayRead(request):
            // Browsers leave it to the server to keep strange pages from opening WebSockets (RFC 6455 §10.2).
            self.answer(request, .forbidden, [:])
        case .get, .head: self.ask(request, context)
        case .options:
            self.answer(
                request, .noContent,
                [
                    .accessControlAllowMethods: "GET, HEAD, OPTIONS", .allow: "GET, HEAD, OPTIONS",
                    .accessControlAllowHeaders: "Authorization, Range", .accessControlMaxAge: "600",
                ])
        default:
            self.answer(request, .methodNotAllowed, [.allow: "GET, HEAD, OPTIONS"])
        }
    }

    private func mayRead(_ request: MediaHTTPRequest) -> Bool {
        request.origin.map { self.configuration.allowedOrigin($0) != nil } ?? true
    }

    private func ask(_ request: MediaHTTPRequest, _ context: ChannelHandlerContext) {
        self.activity = .deciding
        let transport = "\(request.webSocketKey == nil ? "http" : "ws")\(self.configuration.isTLS ? "s" : "")-flv"
        let peer = PeerIdentity(
            transport: transport, address: context.channel.remoteAddress?.peerDescription ?? "unknown",
            vhost: request.vhost, host: request.host, app: request.app, name: request.name, query: request.query,
            token: request.token)
        let gate = self.gate
        let loop = context.eventLoop
        // The gate is asynchronous; a connection that closed meanwhile is no longer `deciding`.
        loop.makeFutureWithTask {
            await gate.play(peer, relay: nil, on: loop)
        }.assumeIsolated().whenSuccess { result in
            guard case .deciding = self.activity, self.context != nil else { return }
            self.decided(result, request, peer)
        }
    }

    private func decided(
        _ result: Result<PlayGrant, SessionRefusal>, _ request: MediaHTTPRequest, _ peer: PeerIdentity
    ) {
        switch result {
        case .failure(let refusal):
            self.logger.info(
                "play refused",
                metadata: [
                    "peer": "\(peer.address)", "stream": "\(peer.app)/\(peer.name)", "reason": "\(refusal.text)",
                ])
            self.answer(request, refusal.status, [.contentType: "application/problem+json"], body: refusal.problem)
        case .success where request.method == .head:
            self.answer(request, .ok, [.contentType: "video/x-flv", .cacheControl: "no-store"])
        case .success(let grant):
            self.stream(grant, request, peer)
        }
    }

    /// Answers without a stream; the connection goes on.
    private func answer(
        _ request: MediaHTTPRequest, _ status: HTTPResponse.Status, _ fields: [HTTPField.Name: String],
        body: String = ""
    ) {
        guard let context = self.context else { return }
        var head = HTTPResponse(status: status)
        for (name, value) in fields { head.headerFields[name] = value }
        let isHead = request.method == .head
        if status != .noContent, !isHead || !body.isEmpty { head.headerFields[.contentLength] = "\(body.utf8.count)" }
        if let origin = request.origin, let allowed = self.configuration.allowedOrigin(origin) {
            head.headerFields[.accessControlAllowOrigin] = allowed
            head.headerFields[.vary] = "Origin"
        }
        // The encoder does not know the method: after a head without a length it would end a body that is not there.
        let lastPart: HTTPResponsePart = isHead ? .head(head) : .end(nil)
        if !isHead {
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            if !body.isEmpty { context.write(self.wrapOutboundOut(.body(ByteBuffer(string: body))), promise: nil) }
        }
        let isLast = request.isLast
        context.writeAndFlush(self.wrapOutboundOut(lastPart)).assumeIsolated().whenComplete { _ in
            if isLast { context.close(promise: nil) }
        }
        self.request = nil
        self.activity = isLast ? .closing : .passing(outstanding: 0)
    }

    private func leave() {
        guard case .streaming(let viewer, _) = self.activity else { return }
        viewer.leave()
        self.logger.info("play ended", metadata: ["sent": "\(viewer.sentBytes)", "skips": "\(viewer.skipCount)"])
    }
}

// MARK: - Streaming

extension MediaHTTPHandler: ViewerDelegate {
    private func stream(_ grant: PlayGrant, _ request: MediaHTTPRequest, _ peer: PeerIdentity) {
        guard let context = self.context,
            let below = try? context.pipeline.syncOperations.context(handlerType: HTTPResponseEncoder.self)
        else { return }
        self.logger.info(
            "play started",
            metadata: ["peer": "\(peer.address)", "stream": "\(grant.stream.key)", "transport": "\(peer.transport)"])
        PlayerSocket.tune(context.channel, noDelay: self.configuration.playerNoDelay(grant.stream.key) ?? false)
        let viewer = Viewer(
            id: self.hub.nextSessionID(), context: below, writesDirectly: !self.configuration.isTLS, delegate: self)
        self.activity = .streaming(viewer, grant)
        if request.webSocketKey != nil { self.readWebSocketFrames(viewer, context) }
        viewer.send(self.responseHead(request))
        let hevc = self.configuration.hevcForm(grant.stream.key)
        let id = FLVRendition.id(
            framing: request.framing, selection: request.selection, flush: grant.stream.settings.flush)
        grant.stream.join(viewer, rendition: id) { FLVRendition(hevc: hevc) }
            .hop(to: context.eventLoop).assumeIsolated().whenComplete { result in
                if case .success(true) = result { return }
                self.viewerEnded(.streamEnded)
            }
    }

    private func responseHead(_ request: MediaHTTPRequest) -> ByteBuffer {
        var head: String
        if let key = request.webSocketKey {
            head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            head += "Sec-WebSocket-Accept: \(Self.acceptValue(of: key))\r\n"
        } else {
            head = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nCache-Control: no-store\r\nConnection: close\r\n"
            if request.framing == .httpChunk { head += "Transfer-Encoding: chunked\r\n" }
        }
        if let origin = request.origin, let allowed = self.configuration.allowedOrigin(origin) {
            head += "Access-Control-Allow-Origin: \(allowed)\r\nVary: Origin\r\n"
        }
        head += "Server: Weir\r\n\r\n"
        return ByteBuffer(string: head)
    }

    /// Spec: RFC 6455 §4.2.2.
    static func acceptValue(of key: String) -> String {
        let digest = Insecure.SHA1.hash(data: Array("\(key)258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8))
        return Data(digest).base64EncodedString()
    }

    /// Takes the client's bytes before the HTTP decoder sees them.
    private func readWebSocketFrames(_ viewer: Viewer, _ context: ChannelHandlerContext) {
        let operations = context.pipeline.syncOperations
        guard let decoder = try? operations.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self) else {
            return context.close(promise: nil)
        }
        let frames = ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: 1 << 14))
        let control = WebSocketControlHandler(viewer: viewer)
        do {
            try operations.addHandlers([frames, control], position: .before(decoder.handler))
        } catch {
            context.close(promise: nil)
        }
    }

    func viewerEnded(_ reason: ViewerEnd) {
        guard case .streaming(let viewer, _) = self.activity, let context = self.context else { return }
        viewer.leave()
        self.activity = .closing
        self.logger.info(
            "play ended",
            metadata: ["reason": "\(reason)", "sent": "\(viewer.sentBytes)", "skips": "\(viewer.skipCount)"])
        if case .socketFailed = reason { return context.close(promise: nil) }
        switch self.request?.framing {
        case .httpChunk: viewer.send(ByteBuffer(string: "0\r\n\r\n"))
        case .webSocket: viewer.send(ByteBuffer(bytes: [0x88, 0x02, 0x03, 0xE8]))
        case .some(.none), nil: break
        }
        viewer.closeWhenWritten(within: .seconds(5))
    }
}

/// Answers what a WebSocket client sends: pings, and its wish to close. Everything else is dropped.
private final class WebSocketControlHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame

    private let viewer: Viewer

    init(viewer: Viewer) { self.viewer = viewer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = self.unwrapInboundIn(data)
        switch frame.opcode {
        case .ping:
            // Control frames carry at most 125 bytes (RFC 6455 §5.5).
            let payload = frame.unmaskedData
            guard payload.readableBytes <= 125 else { return context.close(promise: nil) }
            // A client that asks and does not read gets no answers.
            guard context.channel.isWritable else { return }
            var pong = ByteBuffer(bytes: [0x8A, UInt8(payload.readableBytes)])
            pong.writeImmutableBuffer(payload)
            self.viewer.send(pong)
        case .connectionClose:
            self.viewer.leave()
            self.viewer.send(ByteBuffer(bytes: [0x88, 0x00]))
            self.viewer.closeWhenWritten(within: .seconds(1))
        default:
            break
        }
    }
}

extension SessionRefusal {
    fileprivate var status: HTTPResponse.Status {
        switch self.cause {
        case .badName: .badRequest
        case .notFound: .notFound
        case .busy: .conflict
        case .unavailable: .serviceUnavailable
        }
    }

    /// Spec: RFC 9457.
    fileprivate var problem: String {
        let problem = Problem(
            type: "about:blank", title: self.status.reasonPhrase, status: self.status.code, detail: self.text)
        let encoded = try? JSONEncoder().encode(problem)
        return encoded.map { String(decoding: $0, as: UTF8.self) + "\n" } ?? ""
    }

    private struct Problem: Encodable {
        let type: String
        let title: String
        let status: Int
        let detail: String
    }
}
