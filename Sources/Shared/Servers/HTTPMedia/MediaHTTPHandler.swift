import DequeModule
import Logging
import MediaObjects
import NIOCore
import NIOHTTP1
import StreamHub

/// Answers requests for media on a connection, or on a stream of HTTP/2, that is otherwise the application's.
///
/// Sits behind the HTTP codec. Files of streams are answered here, on the event loop. An endless stream is not passed on
/// either: after the gate has agreed, the connection belongs to the fan-out, which writes below the codec. Requests for
/// anything else pass through. Requests are begun one at a time, in order; what a client sends ahead waits here, and no
/// more of it is read than came at once.
final class MediaHTTPHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// What the handlers of a listener share.
    struct Services: Sendable {
        var configuration: MediaHTTPConfiguration
        var gate: any SessionGate
        var hub: StreamHub
        var objects: (any MediaObjectSource)?
    }

    enum Activity {
        /// No request is being answered.
        case idle
        /// The application has a request.
        case application(isAnswered: Bool)
        case object(ObjectExchange)
        /// The gate was asked.
        case deciding
        case streaming(StreamDelivery)
        case publishing(PostedStream)
        case closing
    }

    /// Where the rest of the request goes that is being read.
    private enum Destination {
        case application, publisher, nobody
    }

    /// The time in which the parts of a body keep the connection open.
    private static let maximumBodyTime = TimeAmount.seconds(15)
    /// No more is read while so many parts wait.
    private static let maximumWaitingParts = 16

    let services: Services
    /// Called before the first request of the application: there is nothing behind this handler until then.
    private let attachApplication: (() throws -> Void)?
    /// Counts the bytes of the connection; `nil` for a stream of HTTP/2.
    private let socket: SessionSocketHandler?
    var logger: Logger
    var activity = Activity.idle
    private var destination = Destination.nobody
    private(set) var isReadingRequest = false
    private var waiting: Deque<HTTPServerRequestPart> = []
    private var holdsRead = false
    private var isInRead = false
    private var needsFlush = false
    private var isProcessing = false
    /// The connection closes when the request that is being answered is.
    private(set) var isQuiescing = false
    /// The client sends nothing more: the connection closes when all that it sent is answered.
    private var hasInputEnded = false
    private(set) var wire: ResponseWire?
    private(set) var peerAddress: SocketAddress?
    /// The session that watches a stream, or asks to.
    private(set) var session: SessionAccount?
    private let answers = AnswerBytes()

    private var timer: Scheduled<Void>?
    private var lastActivity = NIODeadline.now()
    private var requestBegan = NIODeadline.now()
    /// What had not left at the last look, to tell a client that reads slowly from one that does not.
    private var lastBacklog: (bytes: Int, progress: Int)?

    init(
        services: Services, socket: SessionSocketHandler?, logger: Logger, attachApplication: (() throws -> Void)? = nil
    ) {
        self.services = services
        self.socket = socket
        self.logger = logger
        self.attachApplication = attachApplication
    }

    var configuration: MediaHTTPConfiguration { self.services.configuration }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        let bytes = try? context.pipeline.syncOperations.context(handlerType: HTTPResponseEncoder.self)
        self.wire = ResponseWire(
            context: context, bytes: bytes, isTLS: self.configuration.isTLS, configuration: self.configuration,
            answers: self.answers)
        self.peerAddress = context.channel.remoteAddress ?? context.channel.parent?.remoteAddress
        self.logger[metadataKey: "peer"] = "\(self.peer)"
        if let account = self.socket?.account {
            self.logger[metadataKey: "session"] = "\(account.id)"
            self.obey(account, on: context.eventLoop)
        }
        // The streams of a connection share the timer of their registry.
        if bytes != nil { self.armTimer(in: self.configuration.idleTimeout) }
    }

    var peer: String { self.peerAddress?.peerDescription ?? "unknown" }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.closeSession(.left)
        self.timer?.cancel()
        self.timer = nil
        self.wire = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.isInRead = true
        let part = self.unwrapInboundIn(data)
        if self.waiting.isEmpty, self.takes(part) {
            self.process(part)
        } else if case .closing = self.activity {
            return
        } else {
            self.waiting.append(part)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.isInRead = false
        if case .publishing(let posted) = self.activity { posted.forward() }
        self.flushIfNeeded()
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        if self.takesMore {
            context.read()
        } else {
            self.holdsRead = true
        }
    }

    private var takesMore: Bool {
        if case .publishing(let posted) = self.activity, posted.isBlocked { return false }
        return self.waiting.count < Self.maximumWaitingParts
    }

    func resumeReading() {
        guard self.holdsRead, self.takesMore else { return }
        self.holdsRead = false
        self.wire?.context.read()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.processWaiting() }
        context.fireChannelWritabilityChanged()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .application = self.activity, case .end = self.unwrapOutboundIn(data) else {
            return context.write(data, promise: promise)
        }
        self.activity = .application(isAnswered: true)
        context.write(data, promise: promise)
        self.applicationWentOn()
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        // The application has no say in a connection that is the fan-out's.
        if case .streaming = self.activity {
            promise?.succeed()
        } else {
            context.close(mode: mode, promise: promise)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        switch self.activity {
        case .object(let exchange): exchange.cancel()
        case .streaming(let delivery): delivery.leave()
        case .publishing(let posted): self.publisherLeft(posted)
        default: break
        }
        self.closeSession(.left)
        // What the connection held when it ended belongs to the newest answers.
        self.answers.lost(self.socket?.lostBytes ?? 0)
        self.activity = .closing
        self.waiting.removeAll()
        self.timer?.cancel()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch self.activity {
        case .idle where self.waiting.isEmpty && !self.isReadingRequest, .application(isAnswered: false):
            context.fireErrorCaught(error)
        default:
            // A socket that failed, or bytes that are no request: nobody behind could answer before us.
            context.close(promise: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ChannelShouldQuiesceEvent: self.quiesce(context)
        case ChannelEvent.inputClosed: self.inputClosed(context)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    private func quiesce(_ context: ChannelHandlerContext) {
        switch self.activity {
        case .streaming(let delivery):
            self.endSession(.shutdown)
            delivery.end(.kicked(reason: "the node is shutting down"))
        case .object(let exchange):
            self.isQuiescing = true
            exchange.refuse("the node is shutting down")
        case .publishing(let posted): posted.stop(.serviceUnavailable, "the node is shutting down", .shutdown)
        case .application: self.isQuiescing = true
        case .idle where self.isHTTP2: break
        case .idle: self.closeWhenWritten()
        case .deciding: context.close(promise: nil)
        case .closing: break
        }
    }

    private func inputClosed(_ context: ChannelHandlerContext) {
        guard !self.isHTTP2 else { return context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
        self.hasInputEnded = true
        switch self.activity {
        case .streaming, .deciding, .publishing: context.close(promise: nil)
        case .application where self.waiting.isEmpty: context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        case .idle: self.processWaiting()
        case .application, .object, .closing: break
        }
    }

    var isHTTP2: Bool { self.wire?.bytes == nil }

    // MARK: The session

    /// Lets whoever has the account end the session.
    private func obey(_ account: SessionAccount, on loop: any EventLoop) {
        let handler = NIOLoopBound(WeakHandler(handler: self), eventLoop: loop)
        account.onTerminate { end, text in
            loop.execute { handler.value.handler?.terminate(end, text) }
        }
    }

    private struct WeakHandler { weak var handler: MediaHTTPHandler? }

    /// An operator or a limit ends the session. A connection that watches nothing has no other way to be ended than this.
    private func terminate(_ end: SessionEnd, _ text: String) {
        if case .streaming(let delivery) = self.activity {
            delivery.end(.kicked(reason: text))
        } else if case .publishing(let posted) = self.activity {
            posted.stop(end == .shutdown ? .serviceUnavailable : .forbidden, text, end)
        } else {
            self.wire?.context.close(promise: nil)
        }
    }

    /// The account of a client that asks for a stream: the connection's, or over HTTP/2 one of its own.
    func openSession(_ fields: RequestFields) -> SessionAccount? {
        guard let loop = self.wire?.context.eventLoop else { return nil }
        var account = self.socket?.account
        if self.isHTTP2 {
            let own = self.configuration.sessions.openVirtual(self.peerAddress, transport: "https")
            self.obey(own, on: loop)
            self.logger[metadataKey: "session"] = "\(own.id)"
            account = own
        }
        account?.forwardedAddress = self.forwardedAddress(fields)
        self.session = account
        return account
    }

    func forwardedAddress(_ fields: RequestFields) -> String? {
        self.peerAddress.flatMap { ForwardedClient.address(fields, peer: $0, trusts: self.configuration.trustsProxy) }
    }

    /// The client no longer watches.
    func endSession(_ end: SessionEnd) {
        if let session = self.session { self.configuration.sessions.end(session, end) }
    }

    /// The stream of HTTP/2, or the connection, is gone, or its client was refused.
    func closeSession(_ end: SessionEnd) {
        guard let session = self.session else { return }
        self.session = nil
        self.configuration.sessions.end(session, end)
        if session.isVirtual { self.configuration.sessions.close(session, end) }
    }

    /// Whose the bytes of the next answer are.
    func answer(for account: SessionAccount?) { self.answers.begin(account) }

    // MARK: Requests, one after the other

    /// Whether a part can be processed now. Parts of a request that has begun always can.
    private func takes(_ part: HTTPServerRequestPart) -> Bool {
        guard case .head = part else { return true }
        switch self.activity {
        case .idle: return self.wire?.context.channel.isWritable ?? false
        case .deciding, .streaming:
            // A second request before the answer to the first, which never ends.
            self.wire?.context.close(promise: nil)
            return false
        case .application, .object, .publishing, .closing: return false
        }
    }

    private func process(_ part: HTTPServerRequestPart) {
        if case .head(let head) = part {
            self.isReadingRequest = true
            return self.begin(head)
        }
        if case .application = self.destination {
            // A body that never ends is no sign of life.
            let now = NIODeadline.now()
            if now - self.requestBegan < Self.maximumBodyTime { self.lastActivity = now }
            self.wire?.context.fireChannelRead(self.wrapInboundOut(part))
        }
        if case .body(let bytes) = part { self.publishBody(bytes) }
        guard case .end = part else { return }
        self.isReadingRequest = false
        self.applicationWentOn()
        if case .publisher = self.destination, case .publishing(let posted) = self.activity { posted.complete() }
    }

    private func publishBody(_ bytes: ByteBuffer) {
        guard case .publisher = self.destination, case .publishing(let posted) = self.activity else { return }
        // The socket counts for the connection, not for one stream of HTTP/2.
        if let session = self.session, session.isVirtual { session.received(bytes.readableBytes) }
        posted.receive(bytes)
    }

    /// The body of the request that is being read is published.
    func beginPublishing(_ posted: PostedStream) {
        self.destination = .publisher
        self.activity = .publishing(posted)
    }

    /// What is still to come of the request is of no use, and no other is answered.
    func dropRequest() {
        self.destination = .nobody
        self.activity = .closing
    }

    private func processWaiting() {
        guard !self.isProcessing else { return }
        self.isProcessing = true
        defer { self.isProcessing = false }
        var hasPassed = false
        while let part = self.waiting.first, self.takes(part) {
            self.waiting.removeFirst()
            self.process(part)
            if case .application = self.destination { hasPassed = true }
        }
        // The application takes what it got when a read is complete.
        if hasPassed, !self.isInRead { self.wire?.context.fireChannelReadComplete() }
        if self.waiting.isEmpty, self.hasInputEnded, case .idle = self.activity { self.closeWhenWritten() }
        self.resumeReading()
    }

    private func begin(_ head: HTTPRequestHead) {
        self.requestBegan = .now()
        let fields = RequestFields(head)
        let target = RequestTarget(head.uri)
        self.destination = .nobody
        if self.services.objects != nil, let request = ObjectHTTPRequest(target, host: fields.host) {
            self.begin(request, fields)
        } else if let request = MediaHTTPRequest(target, fields) {
            self.begin(request, fields)
        } else {
            self.isQuiescing = self.isQuiescing || (fields.isLast && !self.isHTTP2)
            self.pass(head)
        }
    }

    private func pass(_ head: HTTPRequestHead) {
        guard let context = self.wire?.context else { return }
        do {
            try self.attachApplication?()
        } catch {
            return context.close(promise: nil)
        }
        self.destination = .application
        self.answers.begin(nil)
        self.lastActivity = .now()
        self.activity = .application(isAnswered: false)
        context.fireChannelRead(self.wrapInboundOut(.head(head)))
    }

    /// The application's request is over when it was read and answered.
    private func applicationWentOn() {
        guard case .application(isAnswered: true) = self.activity, !self.isReadingRequest else { return }
        self.destination = .nobody
        self.answered(isLast: self.isQuiescing)
    }

    /// An answer is complete, or as complete as it can be.
    func answered(isLast: Bool) {
        self.lastActivity = .now()
        if isLast, self.wire?.bytes != nil { return self.closeWhenWritten() }
        self.activity = self.isHTTP2 ? .closing : .idle
        self.flushSoon()
        self.processWaiting()
    }

    private func flushSoon() {
        self.needsFlush = true
        if !self.isInRead { self.flushIfNeeded() }
    }

    private func flushIfNeeded() {
        guard self.needsFlush else { return }
        self.needsFlush = false
        self.wire?.flush()
    }

    private func closeWhenWritten() {
        self.activity = .closing
        self.needsFlush = false
        self.wire?.closeWhenWritten()
    }

    // MARK: Time

    private func armTimer(in delay: TimeAmount) {
        guard let loop = self.wire?.context.eventLoop else { return }
        self.timer = loop.assumeIsolated().scheduleTask(in: delay) {
            self.timer = nil
            if let delay = self.checkProgress(now: .now()) { self.armTimer(in: delay) }
        }
    }

    /// Gives up what went on for too long: a wait, a client that takes nothing, a connection without requests.
    ///
    /// Returns when to look again; `nil` if there is no need to.
    func checkProgress(now: NIODeadline) -> TimeAmount? {
        guard let wire = self.wire else { return nil }
        let timeout = self.configuration.idleTimeout
        switch self.activity {
        case .streaming: return nil
        case .publishing: return timeout
        case .application where self.isReadingRequest: break
        case .application, .deciding: return timeout
        case .object(let exchange) where exchange.isWaiting:
            let left = exchange.startedAt + self.configuration.maximumWait - now
            if left > .zero { return min(left, timeout) }
            exchange.refuse("the answer took too long")
            return timeout
        case .object, .idle, .closing: break
        }
        let backlog = self.backlog(wire)
        if backlog == (0, 0) {
            let left = self.lastActivity + timeout - now
            if left > .zero { return left }
        } else if self.lastBacklog.map({ $0 != backlog }) ?? true {
            self.lastBacklog = backlog
            return timeout
        }
        wire.context.close(promise: nil)
        return nil
    }

    /// What has not left: bytes that the socket has not taken, and how often it took a piece of the body.
    private func backlog(_ wire: ResponseWire) -> (bytes: Int, progress: Int) {
        var progress = 0
        if case .object(let exchange) = self.activity { progress = exchange.progress + 1 }
        // Streams of HTTP/2 do not know their backlog. One that is answered closes when all has left.
        guard wire.bytes != nil else { return (0, progress) }
        let bytes = try? wire.context.channel.syncOptions?.getOption(.bufferedWritableBytes)
        return (bytes ?? 0, progress)
    }
}
