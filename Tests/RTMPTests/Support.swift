import AMF
import NIOCore

@testable import RTMP

/// Bytes from a hexadecimal text with spaces.
func bytes(_ hex: String) -> ByteBuffer {
    let digits = hex.filter { !$0.isWhitespace }
    var buffer = ByteBuffer()
    var rest = Substring(digits)
    while !rest.isEmpty {
        buffer.writeInteger(UInt8(rest.prefix(2), radix: 16) ?? 0)
        rest = rest.dropFirst(2)
    }
    return buffer
}

/// Bytes that look random and are always the same.
func pattern(_ count: Int, seed: Int = 3) -> ByteBuffer {
    ByteBuffer(bytes: (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ seed) })
}

/// Cuts `buffer` into pieces of at most `size` bytes, each with storage of its own.
func pieces(of buffer: ByteBuffer, size: Int) -> [ByteBuffer] {
    var rest = buffer
    var result: [ByteBuffer] = []
    while rest.readableBytes > 0, let piece = rest.readSlice(length: min(size, rest.readableBytes)) {
        result.append(ByteBuffer(bytes: piece.readableBytesView))
    }
    return result
}

/// What a chunk reader makes of pieces: its messages, and the error that ended it.
struct Reading: Equatable {
    var messages: [RTMPMessage] = []
    var error: RTMPError?

    init(_ pieces: [ByteBuffer], limits: RTMPChunkLimits = .init()) {
        var reader = RTMPChunkReader(limits: limits)
        do {
            for piece in pieces {
                reader.receive(piece)
                while let message = try reader.nextMessage() {
                    self.messages.append(message)
                }
            }
        } catch {
            self.error = error
        }
    }

    init(messages: [RTMPMessage] = [], error: RTMPError? = nil) {
        self.messages = messages
        self.error = error
    }
}

/// A client written by hand: it writes what it is told, and understands what the server says.
struct ScriptedPeer {
    var chunkSize = 128
    private var reader = RTMPChunkReader()

    func command(
        _ name: String, _ transactionID: Double, object: AMFValue = .null, _ arguments: [AMFValue] = [],
        streamID: UInt32 = 0
    ) -> ByteBuffer {
        var body = ByteBuffer()
        RTMPCommand(name: name, transactionID: transactionID, object: object, arguments: arguments).write(into: &body)
        return self.message(RTMPMessageType.commandAMF0, body, streamID: streamID, chunkStreamID: 3)
    }

    func data(_ values: [AMFValue], timestamp: UInt32 = 0) -> ByteBuffer {
        var body = ByteBuffer()
        AMF0.write(values, into: &body)
        return self.message(RTMPMessageType.dataAMF0, body, timestamp: timestamp, streamID: 1, chunkStreamID: 4)
    }

    func message(
        _ typeID: UInt8, _ body: ByteBuffer, timestamp: UInt32 = 0, streamID: UInt32 = 1, chunkStreamID: UInt32 = 6
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        RTMPChunkWriter.write(
            typeID: typeID, timestamp: timestamp, messageStreamID: streamID, chunkStreamID: chunkStreamID,
            payload: body, chunkSize: self.chunkSize, into: &buffer)
        return buffer
    }

    static func connectObject(tcURL: String, app: String, extra: [AMFProperty] = []) -> AMFValue {
        .object(
            [
                AMFProperty("app", .string(app)), AMFProperty("tcUrl", .string(tcURL)),
                AMFProperty("flashVer", "FMLE/3.0 (compatible; test)"),
            ] + extra)
    }

    /// The messages in what the server transmitted after the handshake.
    mutating func read(_ bytes: ByteBuffer) throws -> [RTMPMessage] {
        self.reader.receive(bytes)
        var messages: [RTMPMessage] = []
        while let message = try self.reader.nextMessage() {
            messages.append(message)
        }
        return messages
    }
}

/// A server session with everything that it put out, and virtual time.
final class ServerHarness {
    var session: RTMPServerSession
    var peer = ScriptedPeer()
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    var events: [RTMPServerEvent] = []
    var messages: [RTMPMessage] = []
    /// The handshake's answer comes first, before there are chunks.
    var raw = ByteBuffer()
    var readsChunks = false
    var isClosed = false
    var error: RTMPError?

    init(_ configure: (inout RTMPSessionConfiguration) -> Void = { _ in }) {
        var configuration = RTMPSessionConfiguration()
        configure(&configuration)
        self.session = RTMPServerSession(
            configuration: configuration, randomBytes: pattern(1536), now: self.now)
    }

    /// A session that has shaken hands.
    static func afterHandshake(
        _ configure: (inout RTMPSessionConfiguration) -> Void = { _ in }
    ) throws -> ServerHarness {
        let harness = ServerHarness(configure)
        try harness.shakeHands()
        return harness
    }

    /// A session that has accepted `connect`; what was said until then is forgotten.
    static func connected(
        tcURL: String = "rtmp://example.com/live", app: String = "live", extra: [AMFProperty] = [],
        _ configure: (inout RTMPSessionConfiguration) -> Void = { _ in }
    ) throws -> ServerHarness {
        let harness = try ServerHarness.afterHandshake(configure)
        try harness.feed(
            harness.peer.command(
                "connect", 1, object: ScriptedPeer.connectObject(tcURL: tcURL, app: app, extra: extra)))
        try harness.answer { $0.acceptConnect(now: $1) }
        harness.forget()
        return harness
    }

    static func publishing(
        _ configure: (inout RTMPSessionConfiguration) -> Void = { _ in }
    ) throws -> ServerHarness {
        let harness = try ServerHarness.connected(configure)
        try harness.feed(harness.peer.command("createStream", 2))
        try harness.feed(harness.peer.command("publish", 3, ["cam", "live"], streamID: 1))
        try harness.answer { $0.acceptPublish(now: $1) }
        harness.forget()
        return harness
    }

    static func playing(
        _ configure: (inout RTMPSessionConfiguration) -> Void = { _ in }
    ) throws -> ServerHarness {
        let harness = try ServerHarness.connected(configure)
        try harness.feed(harness.peer.command("createStream", 2))
        try harness.feed(harness.peer.command("play", 3, ["cam"], streamID: 1))
        try harness.answer { $0.acceptPlay(now: $1) }
        harness.forget()
        return harness
    }

    func shakeHands() throws {
        var hello = ByteBuffer(integer: UInt8(3))
        hello.writeBytes([0, 0, 0, 0, 0, 0, 0, 0])
        hello.writeImmutableBuffer(pattern(1528, seed: 9))
        try self.feed(hello)
        self.readsChunks = true
        try self.feed(ByteBuffer(repeating: 0, count: 1536))
    }

    func forget() {
        self.events = []
        self.messages = []
    }

    func feed(_ bytes: ByteBuffer) throws {
        self.session.receive(bytes, now: self.now)
        try self.drain()
    }

    func answer(_ body: (inout RTMPServerSession, NIODeadline) -> Void) throws {
        body(&self.session, self.now)
        try self.drain()
    }

    /// Lets time pass and calls the deadline, if it is due.
    func advance(_ amount: TimeAmount) throws {
        self.now = self.now + amount
        self.session.deadlineReached(now: self.now)
        try self.drain()
    }

    func drain() throws {
        while let output = self.session.nextOutput() {
            switch output {
            case .transmit(let bytes):
                if self.readsChunks {
                    self.messages += try self.peer.read(bytes)
                } else {
                    self.raw.writeImmutableBuffer(bytes)
                }
            case .event(let event): self.events.append(event)
            case .close(let error):
                self.isClosed = true
                self.error = error
            }
        }
    }

    var deadlineReason: RTMPDeadline? { self.session.deadlineReason }
    var nextDeadline: NIODeadline? { self.session.nextDeadline }
    var bufferLengthMillis: UInt32? { self.session.bufferLengthMillis }
    var pingRoundTrip: TimeAmount? { self.session.pingRoundTrip }
    var peerAcknowledgedBytes: UInt32 { self.session.peerAcknowledgedBytes }
    var receivedBytes: UInt64 { self.session.receivedBytes }

    /// The commands that the server sent, in order.
    var commands: [RTMPCommand] {
        self.messages.compactMap { message in
            guard message.typeID == RTMPMessageType.commandAMF0 else { return nil }
            return try? RTMPCommand(parsing: message, limits: .default)
        }
    }

    /// What the server sent in short: names of commands with their codes, and types of other messages.
    var summary: [String] {
        self.messages.map { message in
            guard message.typeID == RTMPMessageType.commandAMF0,
                let command = try? RTMPCommand(parsing: message, limits: .default)
            else { return "type \(message.typeID)" }
            let code = command.argument(0)?["code"]?.stringValue
            return code.map { "\(command.name) \($0)" } ?? command.name
        }
    }
}
