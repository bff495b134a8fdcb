/// The client side of RTMP as far as a load generator needs it: simple handshake, connect, createStream, then play or
/// publish.
///
/// `connected()` and `read(_:events:)` append to `outgoing` what is to be sent. Spec: RTMP 1.0 §5.2, §7.2.
struct RTMPClient {
    enum Purpose: Equatable {
        case play, publish
    }

    enum State: Equatable {
        case handshake, connect, createStream, start
        /// Media flows; publishers may send on `messageStream`.
        case streaming
        case failed(String)
    }

    private(set) var state = State.handshake
    private(set) var messageStream: UInt32 = 1
    /// Bytes to be sent; the owner takes them.
    var outgoing: [UInt8] = []

    private let purpose: Purpose
    private let application: String
    private let stream: String
    private let tcURL: String
    private var handshake: [UInt8] = []
    private var chunks = RTMPChunkReader()
    private var messages: [RTMPChunkReader.Message] = []
    private var acknowledgementWindow = 2_500_000
    private var acknowledged = 0

    /// The media chunk size that publishers announce; must fit a 31-bit number.
    private let chunkSize: Int

    init(purpose: Purpose, authority: String, application: String, stream: String, chunkSize: Int) {
        self.purpose = purpose
        self.application = application
        self.stream = stream
        self.tcURL = "rtmp://\(authority)/\(application)"
        self.chunkSize = chunkSize
    }

    /// The TCP connection is there: C0 and C1 (§5.2.2).
    mutating func connected() {
        self.outgoing.append(3)
        self.outgoing.append(contentsOf: repeatElement(0, count: 8))
        self.outgoing.append(contentsOf: (0..<1528).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    }

    /// Reads what the server sent and appends the media messages in it.
    mutating func read(_ bytes: Span<UInt8>, events: inout [MediaEvent]) {
        var rest = bytes
        if self.state == .handshake {
            let wanted = 1 + 2 * 1536 - self.handshake.count
            let count = min(wanted, rest.count)
            for index in 0..<count { self.handshake.append(rest[index]) }
            guard count == wanted else { return }
            rest = rest.extracting(count...)
            self.outgoing.append(contentsOf: self.handshake[1..<1537])
            self.handshake = []
            self.state = .connect
            self.sendConnect()
        }
        do throws(RTMPChunkReader.ReadError) {
            try self.chunks.read(rest, into: &self.messages)
        } catch {
            self.state = .failed("bad chunk: \(error)")
        }
        for message in self.messages { self.received(message, events: &events) }
        self.messages.removeAll(keepingCapacity: true)
    }

    /// Counts bytes, read or thrown away, and acknowledges them when the server's window is full (§5.4.3).
    mutating func receivedBytes(total: Int) {
        guard total - self.acknowledged >= self.acknowledgementWindow else { return }
        self.acknowledged = total
        self.outgoing.append(control: 3, value: UInt32(truncatingIfNeeded: total))
    }

    private mutating func received(_ message: RTMPChunkReader.Message, events: inout [MediaEvent]) {
        switch message.type {
        case 8, 9, 18:
            guard let kind = MediaEvent.Kind(rawValue: message.type) else { return }
            let first = message.prefix.count > 0 ? UInt16(message.prefix[0]) << 8 : 0
            let second = message.prefix.count > 1 ? UInt16(message.prefix[1]) : 0
            events.append(
                MediaEvent(
                    kind: kind, timestamp: message.timestamp, firstBytes: first | second,
                    byteCount: message.byteCount))
        case 4 where message.prefix.count >= 6 && message.prefix[0] == 0 && message.prefix[1] == 6:
            // Ping (§7.1.7): answered with the same timestamp.
            self.outgoing.append(message: 4, chunkStream: 2, messageStream: 0, [0, 7] + Array(message.prefix[2..<6]))
        case 5 where message.prefix.count >= 4:
            self.acknowledgementWindow = max(1, Int(bigEndianUInt32(message.prefix, at: 0)))
        case 20:
            self.command(message.prefix)
        default:
            break
        }
    }

    private mutating func command(_ bytes: [UInt8]) {
        var reader = AMF0Reader(bytes)
        guard let name = reader.string(), let transaction = reader.number() else { return }
        switch (name, self.state) {
        case ("_error", .connect), ("_error", .createStream):
            self.state = .failed("\(name) to transaction \(Int(transaction))")
        case ("_result", .connect) where transaction == 1:
            self.state = .createStream
            self.sendCreateStream()
        case ("_result", .createStream) where transaction == 4:
            reader.skipNull()
            self.messageStream = UInt32(reader.number() ?? 1)
            self.state = .start
            self.sendStart()
        case ("onStatus", .start), ("onStatus", .streaming):
            self.status(bytes)
        default:
            break
        }
    }

    private mutating func status(_ bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        let good = self.purpose == .play ? "NetStream.Play.Start" : "NetStream.Publish.Start"
        if text.contains(good) {
            self.state = .streaming
        } else if text.contains("error") || text.contains("StreamNotFound") || text.contains("UnpublishNotify") {
            self.state = .failed("refused by onStatus")
        }
    }

    private mutating func sendConnect() {
        self.outgoing.append(control: 1, value: UInt32(self.chunkSize))
        self.outgoing.append(control: 5, value: 2_500_000)
        var body = AMF0Writer()
        body.string("connect")
        body.number(1)
        body.beginObject()
        body.property("app", self.application)
        body.property("type", "nonprivate")
        body.property("flashVer", "FMLE/3.0 (compatible; weir-bench-load)")
        body.property("tcUrl", self.tcURL)
        body.endObject()
        self.send(command: body, messageStream: 0)
    }

    private mutating func sendCreateStream() {
        if self.purpose == .publish {
            for (name, transaction) in [("releaseStream", 2.0), ("FCPublish", 3.0)] {
                var body = AMF0Writer()
                body.string(name)
                body.number(transaction)
                body.null()
                body.string(self.stream)
                self.send(command: body, messageStream: 0)
            }
        }
        var body = AMF0Writer()
        body.string("createStream")
        body.number(4)
        body.null()
        self.send(command: body, messageStream: 0)
    }

    private mutating func sendStart() {
        var body = AMF0Writer()
        body.string(self.purpose == .play ? "play" : "publish")
        body.number(5)
        body.null()
        body.string(self.stream)
        if self.purpose == .play {
            body.number(-2000)
        } else {
            body.string("live")
        }
        self.send(command: body, messageStream: self.messageStream)
        if self.purpose == .play {
            // SetBufferLength (§7.1.7): the stream and 1,000 ms.
            let stream = (0..<4).map { UInt8(truncatingIfNeeded: self.messageStream >> (24 - 8 * $0)) }
            self.outgoing.append(message: 4, chunkStream: 2, messageStream: 0, [0, 3] + stream + [0, 0, 3, 0xE8])
        }
    }

    private mutating func send(command: AMF0Writer, messageStream: UInt32) {
        self.outgoing.append(
            message: 20, chunkStream: messageStream == 0 ? 3 : 8, messageStream: messageStream, command.bytes,
            chunkSize: self.chunkSize)
    }
}

extension [UInt8] {
    /// Appends a whole RTMP message with timestamp 0 as a type 0 chunk and the type 3 chunks that it needs (§5.3.1).
    ///
    /// `chunkStream` is 2 to 63. With the default chunk size the payload is at most 128 bytes.
    mutating func append(
        message type: UInt8, chunkStream: UInt8, messageStream: UInt32, _ payload: some Collection<UInt8>,
        chunkSize: Int = 128
    ) {
        self.append(chunkStream & 0x3F)
        self.append(contentsOf: [0, 0, 0])
        for shift in [16, 8, 0] { self.append(UInt8(truncatingIfNeeded: payload.count >> shift)) }
        self.append(type)
        for shift in [0, 8, 16, 24] { self.append(UInt8(truncatingIfNeeded: messageStream >> UInt32(shift))) }
        var rest = payload[...]
        self.append(contentsOf: rest.prefix(chunkSize))
        rest = rest.dropFirst(chunkSize)
        while !rest.isEmpty {
            self.append(0xC0 | chunkStream & 0x3F)
            self.append(contentsOf: rest.prefix(chunkSize))
            rest = rest.dropFirst(chunkSize)
        }
    }

    /// Appends a protocol control message (§5.4) whose payload is one 32-bit number.
    mutating func append(control type: UInt8, value: UInt32) {
        let payload = (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * UInt32($0))) }
        self.append(message: type, chunkStream: 2, messageStream: 0, payload)
    }
}
