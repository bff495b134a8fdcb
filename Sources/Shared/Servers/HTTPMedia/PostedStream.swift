import FLV
import Logging
import Media
import MediaObjects
import NIOCore
import NIOHTTP1
import StreamHub
import Streaming

/// A publisher whose FLV is the body of a request.
///
/// States: deciding, while the gate is asked and a little of the body is kept → publishing → ended. It ends once, with an
/// answer: with what was taken when the body is over, else with why. Confined to the connection's event loop.
final class PostedStream {
    private enum State {
        case deciding
        case publishing(any MediaSink)
        case ended
    }

    /// How it ended, and what the client is told.
    struct Ending {
        var response: ObjectResponse
        var end: SessionEnd
        var reason: String
    }

    /// What is kept of the body while the gate is asked. No more is read beyond.
    private static let maximumHeldBytes = 256 << 10

    private let configuration: HTTPPublishConfiguration
    private let loop: any EventLoop
    private let fields: RequestFields
    private var state = State.deciding
    private var held = ByteBuffer()
    private var ingest: FLVIngest
    private var events: [MediaEvent] = []
    /// The body is complete.
    private var isComplete = false
    /// Whoever takes the media cannot take more.
    private var isFlowBlocked = false
    /// The stream was taken from it before the gate's answer was here.
    private var earlyRevocation: PublishEnd?
    private var deadline = NIODeadline.distantFuture
    private var hasMedia = false
    private var timer: Scheduled<Void>?
    private let onReading: (Bool) -> Void
    private let onEnd: (Ending) -> Void

    /// `onReading`: no more of the body is wanted, or more is. `onEnd` is called once, unless the connection ends first.
    init(
        configuration: HTTPPublishConfiguration, fields: RequestFields, loop: any EventLoop,
        onReading: @escaping (Bool) -> Void, onEnd: @escaping (Ending) -> Void
    ) {
        self.configuration = configuration
        self.fields = fields
        self.loop = loop
        self.ingest = FLVIngest(maximumTagBytes: configuration.maximumTagBytes)
        self.onReading = onReading
        self.onEnd = onEnd
    }

    /// No more of the body shall be read now.
    var isBlocked: Bool {
        switch self.state {
        case .deciding: self.held.readableBytes >= Self.maximumHeldBytes
        case .publishing: self.isFlowBlocked
        case .ended: false
        }
    }

    var isDeciding: Bool { if case .deciding = self.state { true } else { false } }

    var summary: FLVIngest.Summary { self.ingest.summary }

    // MARK: The gate

    /// It may publish. `finish` of the sink is called in time.
    func granted(_ sink: any MediaSink) {
        guard case .deciding = self.state else { return sink.finish() }
        self.state = .publishing(sink)
        self.deadline = .now() + self.configuration.firstMediaTimeout
        self.armTimer()
        let held = self.held
        self.held = ByteBuffer()
        if let reason = self.earlyRevocation { return self.revoked(reason) }
        self.read(held)
        self.forward()
        if self.isComplete { self.finish() }
        if !self.isBlocked { self.onReading(true) }
    }

    /// It may not.
    func refused(_ response: ObjectResponse, _ text: String) {
        guard case .deciding = self.state else { return }
        self.end(response, .left, text)
    }

    // MARK: The body

    func receive(_ bytes: ByteBuffer) {
        switch self.state {
        case .deciding:
            self.held.writeImmutableBuffer(bytes)
            if self.isBlocked { self.onReading(false) }
        case .publishing: self.read(bytes)
        case .ended: break
        }
    }

    /// Hands over what came since the last call.
    func forward() {
        guard case .publishing(let sink) = self.state, !self.events.isEmpty else { return }
        let events = self.events
        self.events.removeAll(keepingCapacity: true)
        sink.receive(events)
    }

    /// The body is over.
    func complete() {
        self.isComplete = true
        if case .publishing = self.state { self.finish() }
    }

    private func read(_ bytes: ByteBuffer) {
        guard bytes.readableBytes > 0 else { return }
        let frames = self.ingest.summary.videoFrames + self.ingest.summary.audioFrames
        do throws(FLVIngest.Fault) {
            try self.ingest.receive(bytes, into: &self.events)
        } catch {
            self.forward()
            return self.end(
                ObjectResponse(error.isTooLong ? .payloadTooLarge : .badRequest, error.text), .failed, error.text)
        }
        if self.ingest.summary.videoFrames + self.ingest.summary.audioFrames > frames {
            self.hasMedia = true
            self.deadline = .now() + self.configuration.mediaTimeout
        }
    }

    private func finish() {
        self.forward()
        guard case .publishing(let sink) = self.state else { return }
        guard self.ingest.hasHeader else {
            let text = "the body is over before the header of an FLV file, after \(self.ingest.summary.bytes) bytes"
            return self.end(ObjectResponse(.badRequest, text), .failed, text)
        }
        let object = MediaObject(
            body: .bytes(self.report(sink)), contentType: "application/json", etag: nil, lifetime: .uncacheable)
        self.end(ObjectResponse(.object(object), to: self.fields), .left, "the body is over")
    }

    /// What was taken, as JSON.
    private func report(_ sink: any MediaSink) -> ByteBuffer {
        let summary = self.ingest.summary
        let stream = sink.key.map { "\"stream\":\(Problem.quoted("\($0)"))," } ?? ""
        return ByteBuffer(
            string: "{\(stream)\"bytes\":\(summary.bytes),\"tags\":\(summary.tags),"
                + "\"video_frames\":\(summary.videoFrames),\"audio_frames\":\(summary.audioFrames),"
                + "\"dropped_tags\":\(summary.droppedTags),\"unread_bytes\":\(self.ingest.unreadBytes),"
                + "\"duration_millis\":\(summary.durationMillis)}\n")
    }

    // MARK: Ending

    /// Somebody else got the stream, or it was ended by an operator.
    func revoked(_ reason: PublishEnd) {
        switch self.state {
        case .deciding: self.earlyRevocation = self.earlyRevocation ?? reason
        case .ended: break
        case .publishing:
            switch reason {
            case .takenOver:
                self.stop(.conflict, "another publisher took the stream over", .takenOver)
            case .superseded(let epoch):
                self.stop(
                    .conflict, "the cluster knows a newer publisher of the stream, with epoch \(epoch)", .takenOver)
            case .kicked(let text): self.stop(.forbidden, text, .kicked)
            }
        }
    }

    /// Ends it from outside.
    func stop(_ status: HTTPResponseStatus, _ text: String, _ end: SessionEnd) {
        self.forward()
        self.end(ObjectResponse(status, text), end, text)
    }

    /// Whoever takes the media wants no more, or goes on.
    func setReading(_ isReading: Bool) {
        guard self.isFlowBlocked == isReading else { return }
        self.isFlowBlocked = !isReading
        // It was us who did not read: the publisher is not to blame for its silence.
        if isReading, self.hasMedia { self.deadline = max(self.deadline, .now() + self.configuration.mediaTimeout) }
        if case .publishing = self.state { self.onReading(isReading) }
    }

    /// The connection is gone.
    func leave() {
        self.forward()
        self.close()
    }

    private func end(_ response: ObjectResponse, _ end: SessionEnd, _ reason: String) {
        if case .ended = self.state { return }
        self.close()
        self.onEnd(Ending(response: response, end: end, reason: reason))
    }

    private func close() {
        self.timer?.cancel()
        self.timer = nil
        let state = self.state
        self.state = .ended
        self.held = ByteBuffer()
        if case .publishing(let sink) = state { sink.finish() }
    }

    // MARK: Time

    private func armTimer() {
        self.timer = self.loop.assumeIsolated().scheduleTask(deadline: self.deadline) { [weak self] in
            self?.deadlineReached()
        }
    }

    private func deadlineReached() {
        guard case .publishing = self.state else { return }
        let now = NIODeadline.now()
        if self.isFlowBlocked { self.deadline = max(self.deadline, now + .seconds(1)) }
        guard now >= self.deadline else { return self.armTimer() }
        let limit = self.hasMedia ? self.configuration.mediaTimeout : self.configuration.firstMediaTimeout
        self.stop(.requestTimeout, "no media for \(limit.nanoseconds / 1_000_000) ms", .failed)
    }
}

/// Lets a stream reach the request of its publisher from any loop.
final class PostedStreamConnection: PublisherConnection {
    private struct WeakStream { weak var stream: PostedStream? }

    let loop: any EventLoop
    private let stream: NIOLoopBound<WeakStream>

    /// On `loop`.
    init(_ stream: PostedStream, loop: any EventLoop) {
        self.loop = loop
        self.stream = NIOLoopBound(WeakStream(stream: stream), eventLoop: loop)
    }

    func publishingRevoked(_ reason: PublishEnd) {
        self.loop.execute { self.stream.value.stream?.revoked(reason) }
    }

    func setReading(_ isReading: Bool) {
        self.loop.execute { self.stream.value.stream?.setReading(isReading) }
    }
}
