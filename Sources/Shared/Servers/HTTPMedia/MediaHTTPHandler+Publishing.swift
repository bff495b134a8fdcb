import Logging
import Media
import NIOCore
import NIOHTTP1
import StreamHub
import Streaming

/// Requests whose body is published.
extension MediaHTTPHandler {
    /// How long a client that was told of the end may go on sending.
    private static let linger = TimeAmount.seconds(2)

    func publish(_ request: MediaHTTPRequest, _ fields: RequestFields) {
        guard let loop = self.wire?.context.eventLoop else { return }
        self.answer(for: nil)
        guard HTTPPublishConfiguration.accepts(fields.contentType) else {
            let type = ClientDescription.bounded(fields.contentType ?? "", to: 100)
            return self.answerEarly(
                ObjectResponse(
                    .unsupportedMediaType, "a body of type \(type) is not taken; FLV is video/x-flv"), fields)
        }
        let posted = PostedStream(configuration: self.configuration.publish, fields: fields, loop: loop) {
            [weak self] isReading in
            if isReading { self?.resumeReading() }
        } onEnd: { [weak self] ending in
            self?.publishEnded(ending, fields)
        }
        self.beginPublishing(posted)
        let peer = self.identity(request, fields)
        let gate = self.services.gate
        let connection = PostedStreamConnection(posted, loop: loop)
        // The gate is asynchronous; a connection that closed meanwhile, or was ended, no longer decides.
        loop.makeFutureWithTask {
            await gate.publish(peer, relay: nil, clock: .rtmp, connection: connection)
        }.assumeIsolated().whenSuccess { result in
            self.decided(result, posted, request, fields, peer)
        }
    }

    private func decided(
        _ result: Result<NIOLoopBound<any MediaSink>, SessionRefusal>, _ posted: PostedStream,
        _ request: MediaHTTPRequest, _ fields: RequestFields, _ peer: PeerIdentity
    ) {
        guard posted.isDeciding, let wire = self.wire else {
            if case .success(let sink) = result { sink.value.finish() }
            return
        }
        switch result {
        case .failure(let refusal):
            self.configuration.sessions.refused(peer.transport, refusal.cause)
            self.logger.info(
                "publish refused",
                metadata: [
                    "stream": "\(request.app)/\(request.name)", "cause": "\(refusal.cause.rawValue)",
                    "reason": "\(refusal.text)",
                ])
            posted.refused(ObjectResponse(refusal.status, refusal.text), refusal.text)
        case .success(let sink):
            let (key, epoch) = (sink.value.key, sink.value.epoch)
            self.logger[metadataKey: "stream"] = key.map { "\($0)" } ?? "\(request.app)/\(request.name)"
            self.logger[metadataKey: "epoch"] = "\(epoch)"
            self.logger.info("publish started", metadata: ["transport": "\(peer.transport)"])
            if let account = peer.account, let key = key ?? (try? StreamKey(app: request.app, name: request.name)) {
                self.configuration.sessions.begin(
                    account, SessionActivity(kind: .publish, key: key, transport: peer.transport, epoch: epoch))
            }
            if fields.expectsContinue, let below = wire.bytes {
                below.writeAndFlush(
                    NIOAny(ByteBuffer(staticString: "HTTP/1.1 100 Continue\r\n\r\n")), promise: nil)
            }
            posted.granted(sink.value)
        }
    }

    /// It is over for the publisher, and its connection is still here.
    private func publishEnded(_ ending: PostedStream.Ending, _ fields: RequestFields) {
        guard case .publishing(let posted) = self.activity else { return }
        self.logEnd(of: posted, ending.reason)
        self.closeSession(ending.end)
        if self.isReadingRequest {
            self.answerEarly(ending.response, fields)
        } else {
            self.send(ending.response, fields)
        }
    }

    /// The connection ended before the body did.
    func publisherLeft(_ posted: PostedStream) {
        posted.leave()
        self.logEnd(of: posted, "the connection ended")
    }

    private func logEnd(of posted: PostedStream, _ reason: String) {
        guard self.logger[metadataKey: "epoch"] != nil else { return }
        let summary = posted.summary
        self.logger.info(
            "publish ended",
            metadata: [
                "reason": "\(reason)", "received": "\(summary.bytes)", "tags": "\(summary.tags)",
                "dropped": "\(summary.droppedTags)",
            ])
        self.logger[metadataKey: "stream"] = nil
        self.logger[metadataKey: "epoch"] = nil
    }

    /// Answers before the body is over, and takes the connection down in a way that lets the client read the answer: a
    /// socket that is closed while its peer sends resets the connection.
    private func answerEarly(_ response: ObjectResponse, _ fields: RequestFields) {
        guard let wire = self.wire else { return }
        var fields = fields
        fields.isLast = true
        self.dropRequest()
        guard wire.writeWhole(response, to: fields) else { return wire.context.close(promise: nil) }
        let context = wire.context
        wire.flush()
        if let below = wire.bytes {
            below.writeAndFlush(NIOAny(ByteBuffer())).assumeIsolated().whenComplete { _ in
                below.close(mode: .output, promise: nil)
            }
        }
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.linger) { context.close(promise: nil) }
    }
}
