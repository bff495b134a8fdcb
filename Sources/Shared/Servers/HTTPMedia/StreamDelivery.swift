import Crypto
import FoundationEssentials
import Logging
import NIOCore
import NIOHTTP1
import NIOWebSocket
import StreamHub
import Streaming

/// One viewer's endless stream: over HTTP/1.1 in chunks or up to the end of the connection, over WebSocket, over HTTP/2.
///
/// Over HTTP/1 the fan-out writes below the codec, straight to the socket where there is no TLS; over HTTP/2 each of its
/// writes becomes DATA frames. Confined to the connection's event loop.
final class StreamDelivery {
    private let request: MediaHTTPRequest
    private let grant: PlayGrant
    private let wire: ResponseWire
    private let logger: Logger
    private let viewer: Viewer
    private var frames: StreamBodyHandler?
    private var hasEnded = false
    /// What was sent before the stream.
    private var headLength: UInt64 = 0
    private var emptiness: Scheduled<Void>?
    private let onEnd: (ViewerEnd) -> Void

    /// `account` gets the bytes. `onEnd` is called when the stream ended for this viewer; the connection closes by itself
    /// then.
    init?(
        _ request: MediaHTTPRequest, _ grant: PlayGrant, id: UInt64, wire: ResponseWire, below: any ChannelHandler,
        account: SessionAccount?, logger: Logger, onEnd: @escaping (ViewerEnd) -> Void
    ) {
        self.request = request
        self.grant = grant
        self.wire = wire
        self.logger = logger
        self.onEnd = onEnd
        let delegate = DelegateBox()
        if let bytes = wire.bytes {
            self.viewer = Viewer(
                id: id, context: bytes, writesDirectly: !wire.isTLS, account: account, delegate: delegate)
        } else {
            let frames = StreamBodyHandler(account: account)
            wire.context.write(
                NIOAny(HTTPServerResponsePart.head(Self.head(request, wire.configuration))), promise: nil)
            do {
                try wire.context.pipeline.syncOperations.addHandler(frames, position: .before(below))
            } catch {
                return nil
            }
            self.frames = frames
            self.viewer = Viewer(id: id, context: wire.context, writesDirectly: false, delegate: delegate)
        }
        self.delegate = delegate
        delegate.delivery = self
    }

    /// The viewer holds its delegate weakly, and is made before this object is complete.
    private let delegate: DelegateBox

    private final class DelegateBox: ViewerDelegate {
        weak var delivery: StreamDelivery?

        func viewerEnded(_ reason: ViewerEnd) { self.delivery?.end(reason) }
    }

    // MARK: Beginning

    /// Sends the head of the answer. `join` has to follow.
    func start() {
        let key = self.grant.stream.key
        self.logger.info("play started")
        let configuration = self.wire.configuration
        if self.wire.bytes != nil {
            PlayerSocket.tune(self.wire.context.channel, noDelay: configuration.playerNoDelay(key) ?? false)
            if self.request.webSocketKey != nil { self.readWebSocketFrames() }
            self.viewer.send(self.headBytes())
        }
        self.headLength = self.viewer.sentBytes
    }

    /// Takes part in the stream.
    func join() {
        let rendition = MediaRendition(self.request, of: self.grant.stream, self.wire.configuration)
        self.grant.stream.join(self.viewer, rendition: rendition.id, encoder: rendition.encoder)
            .hop(to: self.wire.context.eventLoop).assumeIsolated().whenComplete { result in
                guard case .success(true) = result else { return self.end(.streamEnded) }
                self.armEmptiness()
            }
    }

    /// Looks after a while whether anything was sent.
    private func armEmptiness() {
        guard !self.hasEnded else { return }
        let limit = self.wire.configuration.emptyTimeout
        let loop = self.wire.context.eventLoop
        self.emptiness = loop.assumeIsolated().scheduleTask(in: limit) { [weak self] in
            guard let self, !self.hasEnded, self.viewer.sentBytes == self.headLength else { return }
            let stream = self.grant.stream
            stream.home.submit {
                let snapshot = stream.snapshot()
                guard let age = snapshot.publishedFor, let silence = snapshot.silentFor else { return false }
                return age >= limit && silence < limit
            }.hop(to: loop).assumeIsolated().whenComplete { result in
                guard !self.hasEnded, self.viewer.sentBytes == self.headLength else { return }
                // A stream of which no media comes may have some later.
                guard case .success(true) = result else { return self.armEmptiness() }
                self.logger.info("the stream has nothing that .\(self.request.format.rawValue) carries")
                self.end(.streamEnded)
            }
        }
    }

    private func headBytes() -> ByteBuffer {
        var head: String
        if let key = self.request.webSocketKey {
            head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            head += "Sec-WebSocket-Accept: \(Self.acceptValue(of: key))\r\n"
        } else {
            head = "HTTP/1.1 200 OK\r\nContent-Type: \(self.request.format.contentType)\r\n"
            head += "Cache-Control: no-store\r\nConnection: close\r\n"
            if self.request.framing == .httpChunk { head += "Transfer-Encoding: chunked\r\n" }
        }
        if let origin = self.request.origin, let allowed = self.wire.configuration.allowedOrigin(origin) {
            head += "Access-Control-Allow-Origin: \(allowed)\r\nVary: Origin\r\n"
        }
        head += "X-Content-Type-Options: nosniff\r\nServer: Weir\r\n\r\n"
        return ByteBuffer(string: head)
    }

    private static func head(_ request: MediaHTTPRequest, _ configuration: MediaHTTPConfiguration) -> HTTPResponseHead {
        var head = HTTPResponseHead(version: .http2, status: .ok)
        head.headers.add(name: "content-type", value: request.format.contentType)
        head.headers.add(name: "cache-control", value: "no-store")
        if let origin = request.origin, let allowed = configuration.allowedOrigin(origin) {
            head.headers.add(name: "access-control-allow-origin", value: allowed)
            head.headers.add(name: "vary", value: "Origin")
        }
        head.headers.add(name: "x-content-type-options", value: "nosniff")
        head.headers.add(name: "server", value: "Weir")
        return head
    }

    /// Spec: RFC 6455 §4.2.2.
    static func acceptValue(of key: String) -> String {
        let digest = Insecure.SHA1.hash(data: Array("\(key)258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8))
        return Data(digest).base64EncodedString()
    }

    /// Takes the client's bytes before the HTTP decoder sees them.
    private func readWebSocketFrames() {
        let context = self.wire.context
        let operations = context.pipeline.syncOperations
        guard let decoder = try? operations.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self) else {
            return context.close(promise: nil)
        }
        let frames = ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: 1 << 14))
        let control = WebSocketControlHandler(viewer: self.viewer)
        do {
            try operations.addHandlers([frames, control], position: .before(decoder.handler))
        } catch {
            context.close(promise: nil)
        }
    }

    // MARK: Ending

    /// The connection is gone.
    func leave() {
        guard !self.hasEnded else { return }
        self.hasEnded = true
        self.emptiness?.cancel()
        self.viewer.leave()
        self.logEnd(nil)
    }

    /// Ends the stream for this viewer, in the way that tells a client that it is the end.
    func end(_ reason: ViewerEnd) {
        guard !self.hasEnded else { return }
        self.hasEnded = true
        self.emptiness?.cancel()
        self.viewer.leave()
        self.logEnd(reason)
        self.onEnd(reason)
        if case .socketFailed = reason { return self.wire.context.close(promise: nil) }
        if let frames = self.frames {
            frames.finish()
        } else {
            switch self.request.framing {
            case .httpChunk: self.viewer.send(ByteBuffer(staticString: "0\r\n\r\n"))
            case .webSocket: self.viewer.send(ByteBuffer(bytes: [0x88, 0x02, 0x03, 0xE8]))
            case .none: break
            }
        }
        self.viewer.closeWhenWritten(within: .seconds(5))
    }

    private func logEnd(_ reason: ViewerEnd?) {
        var metadata: Logger.Metadata = ["sent": "\(self.viewer.sentBytes)", "skips": "\(self.viewer.skipCount)"]
        if let reason { metadata["reason"] = "\(reason)" }
        self.logger.info("play ended", metadata: metadata)
    }
}

/// Turns the fan-out's bytes into the body of a response of HTTP/2.
private final class StreamBodyHandler: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = HTTPServerResponsePart

    private let account: SessionAccount?
    private var context: ChannelHandlerContext?
    private var hasEnded = false
    /// The newest write.
    private var last: EventLoopFuture<Void>?

    /// `account` gets what has left.
    init(account: SessionAccount?) { self.account = account }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let bytes = self.unwrapOutboundIn(data)
        // An empty write only asks when the ones before it are done. It is no reason for an empty frame.
        guard bytes.readableBytes > 0, !self.hasEnded else {
            if let last = self.last { last.cascade(to: promise) } else { promise?.succeed() }
            return
        }
        let written = promise ?? context.eventLoop.makePromise(of: Void.self)
        self.last = written.futureResult
        if let account = self.account {
            let count = bytes.readableBytes
            written.futureResult.whenSuccess { account.sent(count) }
        }
        context.write(self.wrapOutboundOut(.body(.byteBuffer(bytes))), promise: written)
    }

    /// Ends the body.
    func finish() {
        guard !self.hasEnded, let context = self.context else { return }
        self.hasEnded = true
        self.last = context.writeAndFlush(self.wrapOutboundOut(.end(nil)))
    }
}

extension SessionRefusal {
    var status: HTTPResponseStatus {
        switch self.cause {
        case .badName: .badRequest
        case .notFound: .notFound
        case .busy: .conflict
        case .unavailable: .serviceUnavailable
        case .unauthorized: .unauthorized
        case .forbidden: .forbidden
        case .limited: .tooManyRequests
        }
    }
}
