internal import AMF
internal import NIOCore

/// What both ends of a connection do alike after the handshake: chunks, acknowledgements, pings and window sizes.
struct RTMPLink {
    /// What a control message means to the session.
    enum Control: Equatable {
        case none
        case streamBegin, streamEOF
        case bufferLength(millis: UInt32)
    }

    private var reader: RTMPChunkReader
    /// Bytes that wait to be transmitted.
    private var output = ByteBuffer()
    private var chunkSize = 128
    private var peerWindow: UInt32?
    private var acknowledged: UInt64 = 0
    private let start: NIODeadline

    private(set) var receivedBytes: UInt64 = 0
    /// What the peer acknowledged last, modulo 2³².
    private(set) var peerAcknowledgedBytes: UInt32 = 0
    private(set) var pingRoundTrip: TimeAmount?
    private var pingSent: NIODeadline?

    init(limits: RTMPChunkLimits, now: NIODeadline) {
        self.reader = RTMPChunkReader(limits: limits)
        self.start = now
    }

    /// Bytes that are kept for messages which are not whole yet.
    var bufferedBytes: Int { self.reader.bufferedBytes }

    // MARK: In

    mutating func count(_ bytes: ByteBuffer) {
        self.receivedBytes += UInt64(bytes.readableBytes)
    }

    mutating func receive(_ bytes: ByteBuffer) {
        self.reader.receive(bytes)
    }

    mutating func nextMessage() throws(RTMPError) -> RTMPMessage? {
        try self.reader.nextMessage()
    }

    /// §5.4.3: acknowledges early, at half of the peer's window, so that it never has to stop.
    mutating func acknowledgeIfDue() {
        guard let window = self.peerWindow, self.receivedBytes - self.acknowledged >= UInt64(max(1, window / 2)) else {
            return
        }
        self.acknowledged = self.receivedBytes
        let sequenceNumber = UInt32(truncatingIfNeeded: self.receivedBytes)
        self.sendControl(RTMPMessageType.acknowledgement) { $0.writeInteger(sequenceNumber) }
    }

    /// Handles the messages of types 3 to 6. **Spec:** RTMP 1.0 §5.4.3–5.4.5, §7.1.7.
    mutating func handleControl(_ message: RTMPMessage, now: NIODeadline) throws(RTMPError) -> Control {
        var body = message.payload
        switch message.typeID {
        case RTMPMessageType.acknowledgement:
            self.peerAcknowledgedBytes = try Self.integer(&body, of: message)
        case RTMPMessageType.windowAcknowledgementSize:
            let window: UInt32 = try Self.integer(&body, of: message)
            self.peerWindow = window > 0 ? window : nil
        case RTMPMessageType.setPeerBandwidth:
            // A limit for what we send without acknowledgement. TCP and the owner's budgets do that better.
            _ = try Self.integer(&body, of: message) as UInt32
        case RTMPMessageType.userControl:
            return try self.handleUserControl(&body, of: message, now: now)
        default: break
        }
        return .none
    }

    private mutating func handleUserControl(
        _ body: inout ByteBuffer, of message: RTMPMessage, now: NIODeadline
    ) throws(RTMPError) -> Control {
        switch try Self.integer(&body, of: message) as UInt16 {
        case RTMPUserControl.streamBegin: return .streamBegin
        case RTMPUserControl.streamEOF: return .streamEOF
        case RTMPUserControl.setBufferLength:
            _ = try Self.integer(&body, of: message) as UInt32
            return .bufferLength(millis: try Self.integer(&body, of: message))
        case RTMPUserControl.pingRequest:
            let timestamp: UInt32 = try Self.integer(&body, of: message)
            self.sendUserControl(RTMPUserControl.pingResponse, timestamp)
        case RTMPUserControl.pingResponse:
            if let sent = self.pingSent.take() {
                self.pingRoundTrip = now - sent
            }
        default: break
        }
        return .none
    }

    private static func integer<T: FixedWidthInteger>(
        _ body: inout ByteBuffer, of message: RTMPMessage
    ) throws(RTMPError) -> T {
        guard let value = body.readInteger(as: T.self) else {
            throw .truncatedMessage(
                typeID: message.typeID,
                needed: message.payload.readableBytes - body.readableBytes + MemoryLayout<T>.size,
                available: message.payload.readableBytes)
        }
        return value
    }

    // MARK: Out

    /// What was written since the last call, or `nil`.
    mutating func takeOutput() -> ByteBuffer? {
        guard self.output.readableBytes > 0 else { return nil }
        defer { self.output = ByteBuffer() }
        return self.output
    }

    mutating func sendRaw(_ bytes: ByteBuffer) {
        self.output.writeImmutableBuffer(bytes)
    }

    mutating func send(_ command: RTMPCommand, streamID: UInt32, chunkStreamID: UInt32) {
        var body = ByteBuffer()
        command.write(into: &body)
        self.send(
            typeID: RTMPMessageType.commandAMF0, timestamp: 0, streamID: streamID, chunkStreamID: chunkStreamID, body)
    }

    mutating func sendData(_ values: [AMFValue], timestamp: UInt32, streamID: UInt32) {
        var body = ByteBuffer()
        AMF0.write(values, into: &body)
        self.send(
            typeID: RTMPMessageType.dataAMF0, timestamp: timestamp, streamID: streamID,
            chunkStreamID: RTMPChunkStreamID.data, body)
    }

    /// Announces our chunk size and uses it from here on. **Spec:** RTMP 1.0 §5.4.1.
    mutating func announceChunkSize(_ size: Int) {
        self.sendControl(RTMPMessageType.setChunkSize) { $0.writeInteger(UInt32(size)) }
        self.chunkSize = size
    }

    mutating func announceWindow(_ size: UInt32) {
        self.sendControl(RTMPMessageType.windowAcknowledgementSize) { $0.writeInteger(size) }
    }

    /// Asks the peer to limit itself to `size`, dynamically (limit type 2). **Spec:** RTMP 1.0 §5.4.5.
    mutating func announcePeerBandwidth(_ size: UInt32) {
        self.sendControl(RTMPMessageType.setPeerBandwidth) {
            $0.writeInteger(size)
            $0.writeInteger(2, as: UInt8.self)
        }
    }

    mutating func sendUserControl(_ event: UInt16, _ values: UInt32...) {
        self.sendControl(RTMPMessageType.userControl) {
            $0.writeInteger(event)
            for value in values {
                $0.writeInteger(value)
            }
        }
    }

    mutating func ping(now: NIODeadline) {
        self.pingSent = now
        let millis = (now - self.start).nanoseconds / 1_000_000
        self.sendUserControl(RTMPUserControl.pingRequest, UInt32(truncatingIfNeeded: millis))
    }

    private mutating func sendControl(_ typeID: UInt8, _ write: (inout ByteBuffer) -> Void) {
        var body = ByteBuffer()
        write(&body)
        self.send(typeID: typeID, timestamp: 0, streamID: 0, chunkStreamID: RTMPChunkStreamID.control, body)
    }

    private mutating func send(
        typeID: UInt8, timestamp: UInt32, streamID: UInt32, chunkStreamID: UInt32, _ body: ByteBuffer
    ) {
        RTMPChunkWriter.write(
            typeID: typeID, timestamp: timestamp, messageStreamID: streamID, chunkStreamID: chunkStreamID,
            payload: body, chunkSize: self.chunkSize, into: &self.output)
    }
}
