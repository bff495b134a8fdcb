import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOSSL

/// Holds the requests of a connection, or of an HTTP/2 stream, to the limits, before anybody else sees them.
///
/// What is over a limit is answered here and the connection closed. Confined to the channel's event loop.
final class RequestGuard: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// Requests that may arrive on one connection before the first is answered.
    private static let maximumPipelined = 32
    /// How long a client whose request was refused may go on sending, so that the answer gets through.
    private static let lingerTime = TimeAmount.seconds(2)

    private let limits: APILimits
    private let load: APILoad
    private let isHTTP2: Bool
    private let canCloseOutput: Bool
    private var deadlines: RequestDeadlines
    private var timer: Scheduled<Void>?
    private var armedDeadline = NIODeadline.distantFuture
    /// A refusal was sent, or is on its way: nothing of the client matters any more.
    private var isRefused = false
    /// The head of the current answer has been sent.
    private var hasAnswerBegun = false
    private var isQuiescing = false
    private var context: ChannelHandlerContext?

    /// - Parameter canCloseOutput: whether the transport can end its output and still receive (TCP without TLS).
    init(limits: APILimits, load: APILoad, isHTTP2: Bool, canCloseOutput: Bool) {
        self.limits = limits
        self.load = load
        self.isHTTP2 = isHTTP2
        self.canCloseOutput = canCloseOutput
        self.deadlines = RequestDeadlines(limits: limits, now: .now())
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.arm(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.finish()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.finish()
        context.fireChannelInactive()
    }

    private func finish() {
        self.timer?.cancel()
        self.timer = nil
        self.context = nil
        if !self.isRefused, self.deadlines.unanswered > 0 {
            self.load.leaveRequests(self.deadlines.unanswered)
        }
        self.isRefused = true
    }

    // MARK: Reading

    /// Called with what arrived, before the HTTP decoder gets it.
    func willDecode(_ byteCount: Int) {
        guard !self.isRefused else { return }
        self.deadlines.receivedBytes(byteCount, now: .now())
        if let context = self.context { self.arm(context) }
    }

    /// Called when the HTTP decoder has had it.
    func didDecode() {
        guard !self.isRefused, self.deadlines.isHeadTooLong, let context = self.context else { return }
        self.refuse(context, .requestHeaderFieldsTooLarge)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isRefused else { return }
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            self.received(head, context)
        case .body(let bytes):
            guard self.deadlines.receivedBody(bytes.readableBytes) else {
                return self.refuse(context, .contentTooLarge)
            }
            context.fireChannelRead(data)
        case .end:
            self.deadlines.receivedEnd(now: .now())
            context.fireChannelRead(data)
            self.arm(context)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        // Who reads requests has no more interest; without reading, the end of the connection would not be seen.
        if self.isRefused { context.read() }
    }

    private func received(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        guard self.load.enterRequest() else {
            return self.refuse(context, .serviceUnavailable, headers: [("retry-after", "1")])
        }
        self.deadlines.receivedHead(now: .now())
        if let status = self.fault(of: head) { return self.refuse(context, status) }
        if !self.isHTTP2, head.headers.first(name: "expect")?.lowercased() == "100-continue" {
            let interim = HTTPResponseHead(version: head.version, status: .continue)
            context.writeAndFlush(self.wrapOutboundOut(.head(interim)), promise: nil)
        }
        context.fireChannelRead(self.wrapInboundOut(.head(head)))
        self.arm(context)
    }

    /// What is wrong with a head on its own.
    private func fault(of head: HTTPRequestHead) -> HTTPResponse.Status? {
        guard self.deadlines.unanswered <= Self.maximumPipelined else { return .tooManyRequests }
        guard head.uri.utf8.count <= self.limits.targetByteCount else { return .uriTooLong }
        // Names and values, and two bytes each for `: ` and the end of the line.
        let byteCount = head.headers.reduce(head.uri.utf8.count) { $0 + $1.name.utf8.count + $1.value.utf8.count + 4 }
        guard byteCount <= self.limits.headByteCount, head.headers.count <= self.limits.headerFieldCount,
            head.headers.allSatisfy({ $0.name.utf8.count + $0.value.utf8.count <= self.limits.headerFieldByteCount })
        else { return .requestHeaderFieldsTooLarge }
        guard head.uri.utf8.first == UInt8(ascii: "/") || (head.uri == "*" && head.method == .OPTIONS) else {
            return .badRequest
        }
        if !self.isHTTP2 {
            // RFC 9112 §3.2: exactly one. HTTP/2 has `:authority`, which the codec makes one of.
            let hosts = head.headers[canonicalForm: "host"].count
            guard hosts == 1 || (hosts == 0 && head.version == .http1_0) else { return .badRequest }
            // RFC 9112 §6.1: two lengths are how requests are smuggled past proxies, and so are codings that they read otherwise.
            let codings = head.headers["transfer-encoding"]
            guard codings.isEmpty || !head.headers.contains(name: "content-length") else { return .badRequest }
            guard codings.isEmpty || (codings.count == 1 && codings[0].lowercased() == "chunked") else {
                return .notImplemented
            }
        }
        let lengths = head.headers[canonicalForm: "content-length"]
        guard lengths.count <= 1 else { return .badRequest }
        if let length = lengths.first {
            guard let count = Int(length), count >= 0 else { return .badRequest }
            guard count <= self.limits.bodyByteCount else { return .contentTooLarge }
        }
        return nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A client that breaks off does so over TLS as it does without.
        if error is NIOSSLError { return context.fireErrorCaught(ChannelError.eof) }
        guard let error = error as? HTTPParserError else { return context.fireErrorCaught(error) }
        guard !self.isRefused else { return }
        let isEnd = error == .invalidEOFState || error == .closedConnection
        if isEnd { return context.close(promise: nil) }
        self.refuse(context, error == .headerOverflow ? .requestHeaderFieldsTooLarge : .badRequest)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ChannelShouldQuiesceEvent:
            self.isQuiescing = true
            if self.deadlines.unanswered == 0 { context.close(promise: nil) }
        case ChannelEvent.inputClosed where self.isRefused:
            context.close(promise: nil)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    // MARK: Writing

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard !self.isRefused else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        switch self.unwrapOutboundIn(data) {
        case .head(let head):
            if head.status.code >= 200 { self.hasAnswerBegun = true }
            context.write(data, promise: promise)
        case .body:
            context.write(data, promise: promise)
        case .end:
            self.hasAnswerBegun = false
            self.load.leaveRequests(1)
            let isQuiet = self.deadlines.answered(now: .now())
            if isQuiet, self.isQuiescing {
                context.writeAndFlush(data, promise: promise)
                context.close(promise: nil)
            } else {
                context.write(data, promise: promise)
                self.arm(context)
            }
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.deadlines.writabilityChanged(context.channel.isWritable, now: .now())
        self.arm(context)
        context.fireChannelWritabilityChanged()
    }

    // MARK: Refusing

    /// Answers `status` if an answer can be given, and closes.
    private func refuse(
        _ context: ChannelHandlerContext, _ status: HTTPResponse.Status, headers: [(String, String)] = []
    ) {
        guard !self.isRefused else { return }
        self.isRefused = true
        self.timer?.cancel()
        self.load.count(status == .requestTimeout ? .timedOut : .malformed)
        let before = self.deadlines.unanswered
        if before > 0 { self.load.leaveRequests(before) }
        // An answer may only follow those to the requests before.
        guard !self.hasAnswerBegun, before <= 1, !self.deadlines.isReadingAnswered else {
            return context.close(promise: nil)
        }
        let body = APIProblem(status).json
        var fields = HTTPHeaders(headers)
        fields.add(name: "content-type", value: "application/problem+json")
        fields.add(name: "content-length", value: "\(body.utf8.count)")
        for (name, value) in SecurityHeaders.all { fields.add(name: name.rawName, value: value) }
        fields.add(name: SecurityHeaders.policy.rawName, value: SecurityHeaders.defaultPolicy)
        fields.add(name: "cache-control", value: "no-store")
        if !self.isHTTP2 { fields.add(name: "connection", value: "close") }
        let head = HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: status.code), headers: fields)
        context.write(self.wrapOutboundOut(.head(head)), promise: nil)
        context.write(self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
        let sent = context.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: sent)
        self.closeLater(context, after: sent.futureResult)
        context.read()
    }

    /// A connection that is closed with bytes unread is reset, and the client may never see the answer.
    private func closeLater(_ context: ChannelHandlerContext, after sent: EventLoopFuture<Void>) {
        let channel = context.channel
        let canCloseOutput = self.canCloseOutput
        sent.whenComplete { _ in
            guard canCloseOutput else { return channel.close(promise: nil) }
            channel.close(mode: .output, promise: nil)
            let timer = channel.eventLoop.scheduleTask(in: Self.lingerTime) { channel.close(promise: nil) }
            channel.closeFuture.whenComplete { _ in timer.cancel() }
        }
    }

    // MARK: Time

    /// The timer only moves earlier; when it comes too early it is set again.
    private func arm(_ context: ChannelHandlerContext) {
        guard !self.isRefused else { return }
        switch self.deadlines.verdict(now: .now()) {
        case .idle: break
        case .wait(let deadline):
            guard self.timer == nil || deadline < self.armedDeadline else { return }
            self.timer?.cancel()
            self.armedDeadline = deadline
            self.timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) {
                self.timer = nil
                if let context = self.context { self.arm(context) }
            }
        case .timedOut(let hasRequest):
            if hasRequest {
                self.refuse(context, .requestTimeout)
            } else {
                self.load.count(.timedOut)
                context.close(promise: nil)
            }
        case .close: context.close(promise: nil)
        }
    }
}

/// Tells a guard of bytes before and after the HTTP decoder has them.
final class ByteTap: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let requestGuard: RequestGuard

    init(_ requestGuard: RequestGuard) {
        self.requestGuard = requestGuard
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.requestGuard.willDecode(self.unwrapInboundIn(data).readableBytes)
        context.fireChannelRead(data)
        self.requestGuard.didDecode()
    }
}
