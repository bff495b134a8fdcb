package import AMF
internal import Media
package import NIOCore

/// A connection to an RTMP server that plays or publishes one stream: an edge's pull, or a forwarded publish.
///
/// ```
/// handshake → connecting → creatingStream → starting → active ⇄ ended → closed
/// ```
/// C0 and C1 are there to be transmitted at once. Feed `receive` and `deadlineReached`, and after each drain
/// `nextOutput()` to `nil`. After `.publishing` the owner writes media messages itself, in chunks of the configured size
/// and on `messageStreamID`. Any error, refusal or passed deadline leads to `closed`.
///
/// **Spec:** RTMP 1.0 §5, §7.2.
package struct RTMPClientSession: ~Copyable {
    private enum State {
        case handshake(RTMPClientHandshake)
        case connecting
        case creatingStream
        case starting
        case active
        case ended
        case closed
    }

    /// The numbers of the calls whose answers matter.
    private enum Transaction {
        static let connect = 1.0
        static let releaseStream = 2.0
        static let fcPublish = 3.0
        static let createStream = 4.0
        static let start = 5.0
        static let fcUnpublish = 6.0
    }

    /// How many random bytes a session needs.
    package static let randomByteCount = RTMPHandshake.packetLength

    private let configuration: RTMPClientConfiguration
    private let target: RTMPClientTarget
    private let start: NIODeadline
    private var link: RTMPLink
    private var state: State
    private var lastMedia: NIODeadline
    private var outputs = CircularBuffer<RTMPClientOutput>(initialCapacity: 16)

    /// What `createStream` gave; nearly always 1.
    package private(set) var messageStreamID: UInt32 = 1

    /// Starts with a connection that was made at `now`.
    /// - Parameter randomBytes: at least `randomByteCount` fresh random bytes.
    package init(
        configuration: RTMPClientConfiguration, target: RTMPClientTarget, randomBytes: ByteBuffer, now: NIODeadline
    ) {
        self.configuration = configuration
        self.target = target
        self.start = now
        self.lastMedia = now
        self.link = RTMPLink(limits: configuration.chunkLimits, now: now)
        let handshake = RTMPClientHandshake(
            randomBytes: randomBytes, isSigned: configuration.usesDigestHandshake)
        self.link.sendRaw(handshake.hello())
        self.state = .handshake(handshake)
    }

    /// All bytes that came from the server.
    package var receivedBytes: UInt64 { self.link.receivedBytes }
    /// How many bytes the server acknowledged, modulo 2³².
    package var peerAcknowledgedBytes: UInt32 { self.link.peerAcknowledgedBytes }

    // MARK: In

    /// Takes bytes from the server.
    package mutating func receive(_ bytes: ByteBuffer, now: NIODeadline) {
        if case .closed = self.state { return }
        self.link.count(bytes)
        do {
            if case .handshake(var handshake) = self.state {
                self.state = .connecting  // the handshake's buffer must have one owner while it is written
                handshake.receive(bytes)
                try self.continueHandshake(&handshake)
            } else {
                self.link.receive(bytes)
            }
            if case .handshake = self.state { return }
            while let message = try self.link.nextMessage() {
                try self.handle(message, now: now)
                if case .closed = self.state { return }
            }
            self.link.acknowledgeIfDue()
        } catch {
            self.finish(error)
        }
    }

    private mutating func continueHandshake(_ handshake: inout RTMPClientHandshake) throws(RTMPError) {
        while let step = try handshake.next() {
            switch step {
            case .transmit(let bytes): self.link.sendRaw(bytes)
            case .finished(let remaining):
                self.sendConnect()
                self.link.receive(remaining)
                return
            }
        }
        self.state = .handshake(handshake)
    }

    // MARK: Out

    /// The next thing to do, or `nil`.
    package mutating func nextOutput() -> RTMPClientOutput? {
        if let bytes = self.link.takeOutput() { return .transmit(bytes) }
        return self.outputs.popFirst()
    }

    private mutating func emit(_ event: RTMPClientEvent) {
        self.outputs.append(.event(event))
    }

    private mutating func finish(_ error: RTMPError?) {
        if case .closed = self.state { return }
        self.state = .closed
        self.outputs.append(.close(error))
    }

    // MARK: Wishes of the owner

    /// Ends a publish in good order. Before `.publishing` it just closes.
    package mutating func unpublish(now: NIODeadline) {
        self.endStream()
    }

    /// Ends a play in good order. Before `.playing` it just closes.
    package mutating func stop(now: NIODeadline) {
        self.endStream()
    }

    private mutating func endStream() {
        switch self.state {
        case .active, .ended:
            if self.target.role == .publish {
                self.call(
                    "FCUnpublish", Transaction.fcUnpublish, .string(self.target.streamName))
            }
            self.call("deleteStream", 0, .number(Double(self.messageStreamID)))
        default: break
        }
        self.finish(nil)
    }

    /// Sends a data message, such as `@setDataFrame`, `onMetaData` and the metadata. Ignored unless publishing.
    package mutating func sendData(_ values: [AMFValue], timestamp: UInt32) {
        guard self.target.role == .publish, case .active = self.state else { return }
        self.link.sendData(values, timestamp: timestamp, streamID: self.messageStreamID)
    }

    // MARK: Time

    private var deadline: (at: NIODeadline, reason: RTMPDeadline)? {
        switch self.state {
        case .handshake, .connecting, .creatingStream, .starting:
            return (self.start + self.configuration.negotiationTimeout, .negotiation)
        case .active where self.target.role == .play:
            return self.configuration.mediaTimeout.map { (self.lastMedia + $0, .upstreamMedia) }
        case .active, .ended, .closed: return nil
        }
    }

    /// When the session wants to be woken.
    package var nextDeadline: NIODeadline? { self.deadline?.at }

    /// What happens then.
    package var deadlineReason: RTMPDeadline? { self.deadline?.reason }

    /// Acts on a deadline that has passed. Harmless when none has.
    package mutating func deadlineReached(now: NIODeadline) {
        guard let deadline = self.deadline, deadline.at <= now else { return }
        self.finish(.deadline(deadline.reason))
    }
}

// MARK: - Commands to the server

extension RTMPClientSession {
    private mutating func call(_ name: String, _ transactionID: Double, _ arguments: AMFValue...) {
        self.link.send(
            RTMPCommand(name: name, transactionID: transactionID, arguments: arguments), streamID: 0,
            chunkStreamID: RTMPChunkStreamID.command)
    }

    private mutating func sendConnect() {
        let capabilities =
            RTMPCapability.multitrack | RTMPCapability.modifiers
            | (self.target.takesReconnectRequests ? RTMPCapability.reconnect : 0)
        var properties = [
            AMFProperty("app", .string(self.target.app)),
            AMFProperty("tcUrl", .string(self.target.tcURL)),
            AMFProperty("fpad", false),
            AMFProperty("capabilities", 239),
            AMFProperty("audioCodecs", 3575),
            AMFProperty("videoCodecs", 252),
            AMFProperty("videoFunction", 1),
            AMFProperty("objectEncoding", 0),
            // Enhanced RTMP: the stream is forwarded, whatever it is.
            AMFProperty("fourCcList", .strictArray(["*"])),
            AMFProperty("videoFourCcInfoMap", .object([AMFProperty("*", 4)])),
            AMFProperty("audioFourCcInfoMap", .object([AMFProperty("*", 4)])),
            AMFProperty("capsEx", .number(Double(capabilities))),
        ]
        let version = self.target.role == .publish ? "FMLE/3.0 (compatible; Weir)" : "LNX 15,0,0,239"
        properties.append(AMFProperty("flashVer", .string(self.target.flashVersion ?? version)))
        if self.target.role == .publish {
            properties.append(AMFProperty("type", "nonprivate"))
        }
        for (name, value) in [("pageUrl", self.target.pageURL), ("swfUrl", self.target.swfURL)] {
            if let value {
                properties.append(AMFProperty(name, .string(value)))
            }
        }
        self.link.send(
            RTMPCommand(
                name: "connect", transactionID: Transaction.connect,
                object: .object(properties + self.target.connectProperties)),
            streamID: 0, chunkStreamID: RTMPChunkStreamID.command)
    }

    private mutating func createStream() {
        self.link.announceWindow(self.configuration.windowAcknowledgementSize)
        self.link.announceChunkSize(self.configuration.chunkSize)
        if self.target.role == .publish {
            self.call("releaseStream", Transaction.releaseStream, .string(self.target.streamName))
            self.call("FCPublish", Transaction.fcPublish, .string(self.target.streamName))
        }
        self.call("createStream", Transaction.createStream)
        self.state = .creatingStream
    }

    private mutating func startStream() {
        let name = AMFValue.string(self.target.streamName)
        let command =
            switch self.target.role {
            case .publish:
                RTMPCommand(name: "publish", transactionID: Transaction.start, arguments: [name, "live"])
            case .play:
                // The start −2000 is how librtmp and ffmpeg say “live, else recorded”; every server knows it.
                RTMPCommand(name: "play", transactionID: Transaction.start, arguments: [name, -2000])
            }
        self.link.send(command, streamID: self.messageStreamID, chunkStreamID: RTMPChunkStreamID.status)
        if self.target.role == .play {
            self.link.sendUserControl(
                RTMPUserControl.setBufferLength, self.messageStreamID, self.configuration.bufferLengthMillis)
        }
        self.state = .starting
    }
}

// MARK: - Messages of the server

extension RTMPClientSession {
    private mutating func handle(_ message: RTMPMessage, now: NIODeadline) throws(RTMPError) {
        switch message.typeID {
        case RTMPMessageType.acknowledgement...RTMPMessageType.setPeerBandwidth:
            switch try self.link.handleControl(message, now: now) {
            case .streamEOF: self.streamEnded(code: "StreamEOF", description: "The server ended the stream.")
            case .streamBegin, .bufferLength, .none: return
            }
        case RTMPMessageType.audio, RTMPMessageType.video, RTMPMessageType.dataAMF0, RTMPMessageType.dataAMF3:
            try self.handleMedia(message, now: now)
        case RTMPMessageType.aggregate:
            var aggregate = RTMPAggregate(message)
            while let part = try aggregate.next() {
                try self.handleMedia(part, now: now)
            }
        case RTMPMessageType.commandAMF0, RTMPMessageType.commandAMF3:
            try self.handle(RTMPCommand(parsing: message, limits: self.configuration.amfLimits), now: now)
        default: return
        }
    }

    private mutating func handleMedia(_ message: RTMPMessage, now: NIODeadline) throws(RTMPError) {
        guard self.target.role == .play else { return }
        switch message.typeID {
        case RTMPMessageType.audio, RTMPMessageType.video:
            guard message.payload.readableBytes > 0, self.streamGoesOn(now: now) else { return }
            let kind: MediaKind = message.typeID == RTMPMessageType.audio ? .audio : .video
            self.emit(.media(RTMPMediaMessage(kind: kind, timestamp: message.timestamp, body: message.payload)))
        case RTMPMessageType.dataAMF0, RTMPMessageType.dataAMF3:
            // Status-like data (`onStatus`, `|RtmpSampleAccess`) comes before the start, too, and proves nothing.
            guard case .active = self.state else { return }
            self.lastMedia = now
            switch try RTMPData(parsing: message, limits: self.configuration.amfLimits) {
            case .metadata(let value):
                self.emit(.metadata(StreamMetadata(amf: value), timestamp: message.timestamp))
            case .other("onStatus", _), .ignored: return
            case .other(let name, let payload):
                self.emit(.data(RTMPDataMessage(name: name, timestamp: message.timestamp, payload: payload)))
            }
        default: return
        }
    }

    /// Media came: the stream plays, whatever was said of it. `false` when it cannot be ours.
    private mutating func streamGoesOn(now: NIODeadline) -> Bool {
        self.lastMedia = now
        switch self.state {
        case .active: return true
        case .starting:
            self.state = .active
            self.emit(.playing(information: []))
            return true
        case .ended:
            self.state = .active
            self.emit(.restarted)
            return true
        case .handshake, .connecting, .creatingStream, .closed: return false
        }
    }

    private mutating func streamEnded(code: String, description: String) {
        guard case .active = self.state else { return }
        self.state = .ended
        self.emit(.ended(code: code, description: description))
    }

    private mutating func handle(_ command: RTMPCommand, now: NIODeadline) throws(RTMPError) {
        switch (command.name, self.state) {
        case ("_result", .connecting) where command.transactionID == Transaction.connect:
            self.emit(.connected(information: command.argument(0)?.properties ?? []))
            self.createStream()
        case ("_result", .creatingStream) where command.transactionID == Transaction.createStream:
            guard let id = command.argument(0)?.doubleValue.flatMap({ UInt32(exactly: $0) }) else {
                throw .callFailed(.createStream, code: "")
            }
            self.messageStreamID = id
            self.startStream()
        case ("_error", .connecting) where command.transactionID == Transaction.connect:
            self.reject(command)
        case ("_error", .creatingStream) where command.transactionID == Transaction.createStream:
            throw .callFailed(.createStream, code: command.argument(0)?["code"]?.stringValue ?? "")
        case ("_error", .starting) where command.transactionID == Transaction.start: self.reject(command)
        case ("onStatus", _): self.handleStatus(command, now: now)
        case ("close", _): self.finish(.rejected(code: "close"))
        default: return
        }
    }

    private mutating func handleStatus(_ command: RTMPCommand, now: NIODeadline) {
        let information = command.argument(0)
        let code = information?["code"]?.stringValue ?? ""
        let isError = information?["level"]?.stringValue == RTMPStatusLevel.error.rawValue
        if code == RTMPStatusCode.reconnectRequest {
            return self.emit(
                .reconnectRequested(
                    tcURL: information?["tcUrl"]?.stringValue,
                    description: information?["description"]?.stringValue ?? ""))
        }
        switch self.state {
        case .connecting, .creatingStream, .starting:
            if isError { return self.reject(command) }
            guard case .starting = self.state else { return }
            switch (code, self.target.role) {
            case ("NetStream.Play.Start", .play):
                self.lastMedia = now
                self.state = .active
                self.emit(.playing(information: information?.properties ?? []))
            case ("NetStream.Publish.Start", .publish):
                self.state = .active
                self.emit(.publishing(information: information?.properties ?? []))
            default: return
            }
        case .active, .ended:
            switch code {
            case "NetStream.Play.UnpublishNotify", "NetStream.Play.Stop", "NetStream.Play.Complete",
                "NetStream.Unpublish.Success":
                self.streamEnded(code: code, description: information?["description"]?.stringValue ?? "")
            case "NetStream.Play.PublishNotify", "NetStream.Play.Start":
                guard case .ended = self.state else { return }
                _ = self.streamGoesOn(now: now)
            default:
                guard isError else { return }
                self.streamEnded(code: code, description: information?["description"]?.stringValue ?? "")
            }
        case .handshake, .closed: return
        }
    }

    private mutating func reject(_ command: RTMPCommand) {
        let information = command.argument(0)
        let code = information?["code"]?.stringValue ?? command.name
        let extra = information?["ex"]
        let redirect = extra?["redirect2"]?.stringValue ?? extra?["redirect"]?.stringValue
        self.emit(
            .rejected(
                code: code, description: information?["description"]?.stringValue ?? "", redirect: redirect))
        self.finish(.rejected(code: code))
    }
}
