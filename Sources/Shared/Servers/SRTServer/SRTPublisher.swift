import Logging
import MPEGTS
import Media
import NIOCore
import StreamHub
import Synchronization
import TransportStreams

/// A publisher's way from its messages to its stream.
///
/// Bytes come from the poller's thread; everything else is on `loop`, for which the gate made the sink. What waits for the
/// loop is bounded: beyond it the socket is not read, so that its own buffer fills and its oldest packets are dropped.
// Safety: `media` is touched on `loop` only; `flow` has its lock.
final class SRTPublisher: PublisherConnection, @unchecked Sendable {
    private struct Flow {
        var waitingBytes = 0
        /// The loop is behind, and the sink wants no more.
        var isBehind = false
        var isHeld = false
        var isReading = true
        var revoked: PublishEnd?
        var owner: (any SRTPublisherOwner)?
    }

    private struct Media {
        var publication: TSPublication
        let sink: any MediaSink
        var passage: SRTPassage?
        let logger: Logger
    }

    private static let maximumWaitingBytes = 8 << 20

    let loop: any EventLoop
    private let flow = Mutex(Flow())
    private var media: Media?
    private let frames = Atomic<UInt64>(0)

    init(loop: any EventLoop) { self.loop = loop }

    /// Frames that came out of what it sent, those included that were left out after a loss.
    var frameCount: UInt64 { self.frames.load(ordering: .relaxed) }
    /// What it sends is taken now.
    var isReading: Bool { self.flow.withLock { $0.isReading } }

    // MARK: Life

    /// Begins. On `loop`. Returns why it must not, if the stream was taken meanwhile.
    func start(
        _ sink: any MediaSink, publication: TSPublication, passage: SRTPassage?, owner: any SRTPublisherOwner,
        logger: Logger
    ) -> PublishEnd? {
        self.loop.assertInEventLoop()
        let (revoked, isReading) = self.flow.withLock { flow in
            if flow.revoked == nil { flow.owner = owner }
            return (flow.revoked, flow.isReading)
        }
        if let revoked { return revoked }
        self.media = Media(publication: publication, sink: sink, passage: passage, logger: logger)
        if isReading { owner.setReading(true) }
        return nil
    }

    /// Whoever publishes is gone. On `loop`, once; harmless if it never began.
    func finish() {
        self.loop.assertInEventLoop()
        self.flow.withLock { $0.owner = nil }
        guard var media = self.media else { return }
        self.media = nil
        let events = media.publication.finish()
        if !events.isEmpty { media.sink.receive(events) }
        media.passage?.end()
        media.sink.finish()
    }

    // MARK: Bytes

    /// On the poller's thread.
    func received(_ bytes: ByteBuffer) {
        let count = bytes.readableBytes
        self.change { flow in
            flow.waitingBytes += count
            if flow.waitingBytes > Self.maximumWaitingBytes { flow.isBehind = true }
        }
        self.loop.execute {
            self.feed(bytes)
            self.change { flow in
                flow.waitingBytes -= count
                if flow.waitingBytes < Self.maximumWaitingBytes / 4 { flow.isBehind = false }
            }
        }
    }

    private func feed(_ bytes: ByteBuffer) {
        guard self.media != nil else { return }
        let events = self.media?.publication.receive(bytes, now: .now()) ?? []
        self.media?.passage?.pass(bytes)
        if let count = self.media?.publication.frameCount { self.frames.store(count, ordering: .relaxed) }
        if !events.isEmpty { self.media?.sink.receive(events) }
        for notice in self.media?.publication.takeNotices() ?? [] { self.tell(notice) }
    }

    private func tell(_ notice: TSPublication.Notice) {
        guard let logger = self.media?.logger else { return }
        switch notice {
        case .program(let program):
            let codecs = program.streams.filter(\.isSelected).compactMap { $0.content.codec?.rawValue }
            logger.info(
                "transport stream",
                metadata: ["program": "\(program.number)", "tracks": "\(codecs.joined(separator: ", "))"])
            let others = program.streams.filter { $0.content == .unsupported }.prefix(8)
            guard !others.isEmpty else { break }
            logger.info(
                "tracks are left out",
                metadata: ["types": "\(others.map { "\($0.pid):\($0.streamType)" }.joined(separator: ","))"])
        case .clockJump: logger.info("the publisher's clock jumps")
        case .problem(let problem, let suppressed):
            logger.info(
                "damage in the transport stream", metadata: ["problem": "\(problem)", "suppressed": "\(suppressed)"])
        }
    }

    /// Changes what decides about reading, and tells the socket if that is another then.
    private func change(_ body: (inout Flow) -> Void) {
        let (owner, isReading): ((any SRTPublisherOwner)?, Bool) = self.flow.withLock { flow in
            body(&flow)
            let isReading = !flow.isBehind && !flow.isHeld
            guard isReading != flow.isReading else { return (nil, isReading) }
            flow.isReading = isReading
            return (flow.owner, isReading)
        }
        owner?.setReading(isReading)
    }

    // MARK: The stream

    func setReading(_ isReading: Bool) { self.change { $0.isHeld = !isReading } }

    func publishingRevoked(_ reason: PublishEnd) {
        let owner: (any SRTPublisherOwner)? = self.flow.withLock { flow in
            flow.revoked = flow.revoked ?? reason
            return flow.owner
        }
        // Never within the caller's turn: it may be the stream that the session is about to leave.
        self.loop.execute { owner?.revoked(reason) }
    }
}

/// Whose socket a publisher's bytes come from. Any thread may call.
protocol SRTPublisherOwner: AnyObject, Sendable {
    func setReading(_ isReading: Bool)
    func revoked(_ reason: PublishEnd)
}
