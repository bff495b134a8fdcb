package import NIOCore

/// One client's RTMP connection, seen from the server: bytes in, requests and media out.
///
/// ```
/// handshake → awaitingConnect → decidingConnect → idle ⇄ decidingPublish → publishing → idle
///                                                      ⇄ decidingPlay    → playing    → idle
/// ```
/// In a deciding state the session waits for its owner's answer and holds what the client sends meanwhile; any error of
/// the client, and any deadline, leads to `closed`. A client gets one message stream, `messageStreamID`, on which it
/// publishes or plays one stream at a time.
///
/// Feed `receive` and `deadlineReached`, give the answers, and after each of these drain `nextOutput()` to `nil`. After
/// `acceptPlay` the owner writes the media messages itself, with bytes that all viewers share; they come after what the
/// session transmits. Runs on the connection's event loop.
///
/// **Spec:** RTMP 1.0; enhanced RTMP v2 for `connect`.
package struct RTMPServerSession: ~Copyable {
    enum State {
        case handshake(RTMPServerHandshake)
        case awaitingConnect
        case decidingConnect(transactionID: Double, objectEncoding: Double, isEnhanced: Bool)
        case idle(IdleReason)
        case decidingPublish(streamName: String)
        case publishing(sawMedia: Bool)
        case decidingPlay(reset: Bool)
        case playing
        case closed

        var isDeciding: Bool {
            switch self {
            case .decidingConnect, .decidingPublish, .decidingPlay: true
            default: false
            }
        }
    }

    enum IdleReason {
        /// The client may take its time for the next command.
        case ready
        /// The client was refused, or its stream was ended for it.
        case ended
    }

    /// The message stream that every client is given, so that media messages are the same bytes for all.
    package static let messageStreamID: UInt32 = 1
    /// How many random bytes a session needs.
    package static let randomByteCount = RTMPHandshake.packetLength

    let configuration: RTMPSessionConfiguration
    var link: RTMPLink
    var state: State
    /// What is kept of `connect`, to resolve stream names.
    var tcURL: RTMPURL?
    var app = ""
    var takesReconnectRequests = false
    /// The client announced its publish by name, as FMLE does, and expects the answer to that, too.
    var expectsFCPublishAnswer = false
    /// When the current state, or its last sign of life, began.
    var activeSince: NIODeadline
    var lastReceived: NIODeadline
    var lastPing: NIODeadline
    private(set) var outputs = CircularBuffer<RTMPServerOutput>(initialCapacity: 4)
    private var held = CircularBuffer<RTMPMessage>(initialCapacity: 1)
    private var heldBytes = 0

    /// The client's address as a proxy in front of us told it, in dotted form.
    package private(set) var proxyAddress: String?
    /// The buffer that the player claimed last.
    package internal(set) var bufferLengthMillis: UInt32?

    /// Starts with a connection that was accepted at `now`.
    /// - Parameter randomBytes: at least `randomByteCount` fresh random bytes.
    package init(configuration: RTMPSessionConfiguration, randomBytes: ByteBuffer, now: NIODeadline) {
        self.configuration = configuration
        self.link = RTMPLink(limits: configuration.chunkLimits, now: now)
        self.state = .handshake(
            RTMPServerHandshake(
                randomBytes: randomBytes, acceptsProxyHeader: configuration.acceptsProxyHeader))
        self.activeSince = now
        self.lastReceived = now
        self.lastPing = now
    }

    /// All bytes that came from the client.
    package var receivedBytes: UInt64 { self.link.receivedBytes }
    /// How many bytes the client acknowledged, modulo 2³².
    package var peerAcknowledgedBytes: UInt32 { self.link.peerAcknowledgedBytes }
    /// The time that the last ping took there and back.
    package var pingRoundTrip: TimeAmount? { self.link.pingRoundTrip }

    // MARK: In

    /// Takes bytes from the client.
    package mutating func receive(_ bytes: ByteBuffer, now: NIODeadline) {
        if case .closed = self.state { return }
        self.link.count(bytes)
        self.lastReceived = now
        do {
            if case .handshake(var handshake) = self.state {
                self.state = .awaitingConnect  // the handshake's buffer must have one owner while it is written
                handshake.receive(bytes)
                try self.continueHandshake(&handshake, now: now)
            } else {
                self.link.receive(bytes)
            }
            try self.readMessages(now: now)
        } catch {
            self.fail(error)
        }
    }

    private mutating func continueHandshake(
        _ handshake: inout RTMPServerHandshake, now: NIODeadline
    ) throws(RTMPError) {
        while let step = try handshake.next() {
            switch step {
            case .transmit(let answer): self.link.sendRaw(answer)
            case .finished(let remaining):
                self.proxyAddress = handshake.proxyAddress
                self.activeSince = now
                self.link.receive(remaining)
                return
            }
        }
        self.proxyAddress = handshake.proxyAddress
        self.state = .handshake(handshake)
    }

    private mutating func readMessages(now: NIODeadline) throws(RTMPError) {
        if case .handshake = self.state { return }
        while let message = try self.link.nextMessage() {
            try self.take(message, now: now)
            if case .closed = self.state { return }
        }
        self.link.acknowledgeIfDue()
    }

    /// Handles control messages at once, and others unless the owner is deciding.
    private mutating func take(_ message: RTMPMessage, now: NIODeadline) throws(RTMPError) {
        switch message.typeID {
        case RTMPMessageType.acknowledgement...RTMPMessageType.setPeerBandwidth:
            let control = try self.link.handleControl(message, now: now)
            if case .bufferLength(let millis) = control {
                self.bufferLengthMillis = millis
                self.emit(.bufferLength(millis: millis))
            }
        case _ where self.state.isDeciding:
            // 64 bytes stand for what an empty message costs.
            self.heldBytes += message.payload.readableBytes + 64
            guard self.heldBytes <= self.configuration.maximumHeldBytes else {
                throw .tooMuchHeld(limit: self.configuration.maximumHeldBytes)
            }
            self.held.append(message)
        default:
            try self.handle(message, now: now)
        }
    }

    /// Goes on with what was held, after an answer of the owner.
    mutating func releaseHeld(now: NIODeadline) {
        do {
            while !self.state.isDeciding, let message = self.held.popFirst() {
                self.heldBytes -= message.payload.readableBytes + 64
                try self.handle(message, now: now)
            }
        } catch {
            self.fail(error)
        }
    }

    // MARK: Out

    /// The next thing to do, or `nil`.
    package mutating func nextOutput() -> RTMPServerOutput? {
        if let bytes = self.link.takeOutput() { return .transmit(bytes) }
        return self.outputs.popFirst()
    }

    mutating func emit(_ event: RTMPServerEvent) {
        self.outputs.append(.event(event))
    }

    mutating func fail(_ error: RTMPError) {
        self.finish(error)
    }

    /// Ends the session in good order: what was written is still to be transmitted.
    package mutating func close() {
        self.finish(nil)
    }

    private mutating func finish(_ error: RTMPError?) {
        if case .closed = self.state { return }
        self.state = .closed
        self.held.removeAll()
        self.heldBytes = 0
        self.outputs.append(.close(error))
    }

    mutating func enter(_ state: State, now: NIODeadline) {
        self.state = state
        self.activeSince = now
    }

    // MARK: Time

    /// When `deadlineReached` should be called, with what for.
    private var deadline: (at: NIODeadline, reason: RTMPDeadline)? {
        let configuration = self.configuration
        switch self.state {
        case .handshake: return (self.activeSince + configuration.handshakeTimeout, .handshake)
        case .awaitingConnect: return (self.activeSince + configuration.commandTimeout, .connect)
        case .idle(.ready): return (self.activeSince + configuration.commandTimeout, .command)
        case .idle(.ended): return (self.activeSince + configuration.rejectionLinger, .rejection)
        case .publishing(false): return (self.activeSince + configuration.firstMediaTimeout, .firstMedia)
        case .publishing(true): return (self.activeSince + configuration.mediaTimeout, .media)
        case .decidingConnect, .decidingPublish, .decidingPlay, .closed: return nil
        case .playing:
            let ping = configuration.pingInterval.map { self.lastPing + $0 }
            let silent = configuration.silentPlayerTimeout.map { self.lastReceived + $0 }
            switch (ping, silent) {
            case (nil, nil): return nil
            case (let ping?, nil): return (ping, .ping)
            case (nil, let silent?): return (silent, .silentPlayer)
            case (let ping?, let silent?): return silent <= ping ? (silent, .silentPlayer) : (ping, .ping)
            }
        }
    }

    /// When the session wants to be woken.
    package var nextDeadline: NIODeadline? { self.deadline?.at }

    /// What happens then.
    package var deadlineReason: RTMPDeadline? { self.deadline?.reason }

    /// Acts on a deadline that has passed. Harmless when none has.
    package mutating func deadlineReached(now: NIODeadline) {
        guard let deadline = self.deadline, deadline.at <= now else { return }
        switch deadline.reason {
        case .ping: self.ping(now: now)
        case .rejection: self.close()
        default: self.fail(.deadline(deadline.reason))
        }
    }

    /// Asks the client for a sign of life; `pingRoundTrip` tells of the answer.
    package mutating func ping(now: NIODeadline) {
        guard case .playing = self.state else { return }
        self.lastPing = now
        self.link.ping(now: now)
    }
}
