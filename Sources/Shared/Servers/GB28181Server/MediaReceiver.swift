import GB28181
import Logging
import Media
import NIOCore
import StreamHub
import Streaming

/// Takes the packets of one session, asks the gate, and publishes what comes of them.
///
/// States: *asking* with the first packet; media wait, up to a bound → *publishing* → *ended*. Refused: ended at once.
// Safety: all mutable state is touched on `loop` only; entry points hop there or assert it.
final class MediaReceiver: PublisherConnection, @unchecked Sendable {
    /// What becomes of it, for those who keep the session.
    enum Notice: Sendable {
        /// The first packet came.
        case began
        /// It is over: `refusal` says why the media may not be published.
        case ended(refusal: String?)
    }

    private enum State {
        case asking
        case publishing(any MediaSink)
        case ended
    }

    /// Events that wait for the gate's answer. The oldest go first, and a keyframe comes again.
    private static let maximumWaiting = 4_096
    /// Packets without frames are put up with for so many times the longest silence: a keyframe may be far away.
    private static let patience = 3

    let loop: any EventLoop
    let slot: MediaSlot
    private let configuration: GB28181ServerConfiguration
    private let gate: any SessionGate
    private let account: SessionAccount
    private let notify: @Sendable (MediaSlot, Notice) -> Void
    private var logger: Logger
    private var media: DeviceMedia
    private var state = State.asking
    private var waiting: [MediaEvent] = []
    /// Bytes that came while the gate was asked: they are the publication's, which begins with its answer.
    private var waitingBytes = 0
    private var isReading = true
    private let beganAt = NIODeadline.now()
    private var lastPacket = NIODeadline.now()
    private var silenceTimer: RepeatedTask?
    private var orderTimer: Scheduled<Void>?
    /// The connection that the media come over, if they come over one of their own.
    private var transport: (owner: ObjectIdentifier, close: () -> Void)?
    private var toldProblems = 0

    /// Call on `loop`.
    init(
        slot: MediaSlot, account: SessionAccount, loop: any EventLoop, configuration: GB28181ServerConfiguration,
        gate: any SessionGate, logger: Logger, notify: @escaping @Sendable (MediaSlot, Notice) -> Void
    ) {
        self.loop = loop
        self.slot = slot
        self.configuration = configuration
        self.gate = gate
        self.account = account
        self.notify = notify
        self.logger = logger
        self.media = DeviceMedia(configuration: configuration.deviceMedia)
        self.logger[metadataKey: "source"] = "\(slot.label)"
        self.logger[metadataKey: "peer"] = "\(account.address?.peerDescription ?? "unknown")"
    }

    // MARK: Beginning

    /// Asks the gate. Call once.
    func begin() {
        self.loop.assertInEventLoop()
        self.account.onTerminate { [weak self] end, text in
            guard let self else { return }
            self.loop.execute { self.end(end, refusal: text, notifies: true) }
        }
        self.notify(self.slot, .began)
        let period = TimeAmount.milliseconds(500)
        self.silenceTimer = self.loop.scheduleRepeatedTask(initialDelay: period, delay: period) { [weak self] _ in
            self?.checkSilence()
        }
        var peer = PeerIdentity(
            transport: "gb28181", address: self.account.address?.peerDescription ?? "unknown",
            vhost: self.configuration.vhost, host: StreamKey.defaultVhost, app: self.slot.app, name: self.slot.name,
            query: "", token: "gb28181:\(self.slot.label)")
        peer.account = self.account
        peer.client.userAgent = self.slot.label
        let asked = peer
        // A packet starts work that ends by the gate's deadlines.
        self.loop.makeFutureWithTask { [gate] in
            await gate.publish(asked, relay: nil, clock: .mpegTS, connection: self)
        }.whenComplete { result in
            switch result {
            case .success(.success(let sink)): self.granted(sink.value)
            case .success(.failure(let refusal)):
                self.configuration.sessions.refused("gb28181", refusal.cause)
                self.logger.warning("a device may not publish: \(refusal.text)")
                self.end(.failed, refusal: refusal.text, notifies: true)
            case .failure: self.end(.shutdown, refusal: nil, notifies: true)
            }
        }
    }

    private func granted(_ sink: any MediaSink) {
        guard case .asking = self.state else { return sink.finish() }
        self.state = .publishing(sink)
        if let key = sink.key {
            self.configuration.sessions.begin(
                self.account, SessionActivity(kind: .publish, key: key, transport: "gb28181", epoch: sink.epoch))
            self.logger[metadataKey: "stream"] = "\(key)"
        }
        self.logger.info("a device publishes")
        self.countWaiting()
        let waiting = self.waiting
        self.waiting = []
        sink.receive(waiting)
    }

    private func countWaiting() {
        if self.waitingBytes > 0 { self.account.received(self.waitingBytes) }
        self.waitingBytes = 0
    }

    // MARK: Media

    /// The media come over a connection of `owner` from now on; one before it is closed. `close` closes it when the
    /// session ends. On `loop`.
    func attach(_ owner: ObjectIdentifier, close: @escaping () -> Void) {
        self.loop.assertInEventLoop()
        if case .ended = self.state { return close() }
        let former = self.transport
        self.transport = (owner, close)
        former?.close()
    }

    /// The connection of `owner` was closed, which ends the session if it had the media. On `loop`.
    func detached(_ owner: ObjectIdentifier) {
        self.loop.assertInEventLoop()
        guard self.transport?.owner == owner else { return }
        self.transport = nil
        self.end(.left, refusal: nil, notifies: true)
    }

    /// Packets in the order in which they came. Any thread.
    func receive(_ packets: [ByteBuffer]) {
        guard self.loop.inEventLoop else { return self.loop.execute { self.receive(packets) } }
        if case .ended = self.state { return }
        let now = NIODeadline.now()
        self.lastPacket = now
        var events: [MediaEvent] = []
        let bytes = packets.reduce(0) { $0 + $1.readableBytes }
        if case .asking = self.state { self.waitingBytes += bytes } else { self.account.received(bytes) }
        for packet in packets {
            // Whoever takes the media cannot take more: like on a full network, packets are lost.
            guard self.isReading else { continue }
            events += self.media.receive(packet, now: now)
        }
        self.deliver(events)
        self.scheduleOrder()
    }

    /// The connection lost its step. On `loop`.
    func lostBytes() { self.media.lose() }

    private func deliver(_ events: [MediaEvent]) {
        let others = self.media.takeForeignTypes()
        if !others.isEmpty {
            self.logger.info(
                "tracks are left out", metadata: ["types": "\(others.map(String.init).joined(separator: ","))"])
        }
        guard !events.isEmpty else { return }
        switch self.state {
        case .asking:
            self.waiting += events
            if self.waiting.count > Self.maximumWaiting {
                self.waiting.removeFirst(self.waiting.count - Self.maximumWaiting)
            }
        case .publishing(let sink): sink.receive(events)
        case .ended: break
        }
    }

    private func scheduleOrder() {
        guard self.orderTimer == nil, let deadline = self.media.nextDeadline else { return }
        self.orderTimer = self.loop.assumeIsolated().scheduleTask(deadline: deadline) { [weak self] in
            guard let self else { return }
            self.orderTimer = nil
            self.deliver(self.media.deadlineReached(now: .now()))
            self.scheduleOrder()
        }
    }

    private func checkSilence() {
        let statistics = self.media.statistics
        if statistics.problems > self.toldProblems, let problem = self.media.lastProblem {
            self.toldProblems = statistics.problems
            self.logger.debug("a device's program stream is damaged", metadata: ["problem": "\(problem)"])
        }
        let now = NIODeadline.now()
        let timeout = self.configuration.mediaTimeout
        if now - self.lastPacket > timeout {
            self.logger.warning("a device sends nothing any more")
        } else if now - (self.media.lastMedia ?? self.beganAt) > timeout * Self.patience {
            self.logger.warning("a device sends packets in which there are no frames")
        } else {
            return
        }
        self.end(.failed, refusal: nil, notifies: true)
    }

    /// What was counted. On `loop`.
    var statistics: DeviceMedia.Statistics { self.media.statistics }

    // MARK: Ending

    func publishingRevoked(_ reason: PublishEnd) {
        // Never within the caller's turn: it may be the stream that is about to be left.
        self.loop.execute {
            let (end, text): (SessionEnd, String) =
                switch reason {
                case .takenOver: (.takenOver, "another publisher took the stream")
                case .superseded: (.takenOver, "the stream is published elsewhere")
                case .kicked(let text): (.kicked, text)
                }
            self.end(end, refusal: text, notifies: true)
        }
    }

    func setReading(_ isReading: Bool) {
        self.loop.execute {
            if !isReading { self.media.lose() }
            self.isReading = isReading
        }
    }

    /// The connection was closed, or nothing is expected any more. Any thread.
    func stop(_ end: SessionEnd, notifies: Bool) {
        self.loop.execute { self.end(end, refusal: nil, notifies: notifies) }
    }

    private func end(_ end: SessionEnd, refusal: String?, notifies: Bool) {
        if case .ended = self.state { return }
        self.deliver(self.media.finish(now: .now()))
        if case .publishing(let sink) = self.state { sink.finish() }
        self.countWaiting()
        self.state = .ended
        self.waiting = []
        self.silenceTimer?.cancel()
        self.orderTimer?.cancel()
        self.orderTimer = nil
        self.slot.ended(self, isRefused: refusal != nil)
        self.configuration.sessions.close(self.account, end)
        // Last: a device that finds its connection closed may come again at once.
        let transport = self.transport
        self.transport = nil
        transport?.close()
        self.logger.info("a device's media ended", metadata: ["reason": "\(refusal ?? end.rawValue)"])
        if notifies { self.notify(self.slot, .ended(refusal: refusal)) }
    }
}
