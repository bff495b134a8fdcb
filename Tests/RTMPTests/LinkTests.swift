import AMF
import Media
import NIOCore
import Testing

@testable import RTMP

/// A server and a client session on a link that delivers pieces of a given size.
private final class Pair {
    var server: RTMPServerSession
    var client: RTMPClientSession
    let pieceSize: Int
    let now = NIODeadline.uptimeNanoseconds(5_000_000_000)
    var serverEvents: [RTMPServerEvent] = []
    var clientEvents: [RTMPClientEvent] = []
    var serverClosed: RTMPError??
    var clientClosed: RTMPError??
    private var toServer: [ByteBuffer] = []
    private var toClient: [ByteBuffer] = []

    init(role: RTMPClientTarget.Role, pieceSize: Int, isSigned: Bool) {
        self.pieceSize = pieceSize
        self.server = RTMPServerSession(configuration: .init(), randomBytes: pattern(1536), now: self.now)
        var configuration = RTMPClientConfiguration()
        configuration.usesDigestHandshake = isSigned
        self.client = RTMPClientSession(
            configuration: configuration,
            target: RTMPClientTarget(tcURL: "rtmp://o/live", app: "live", streamName: "cam?a=b", role: role),
            randomBytes: pattern(1536, seed: 11), now: self.now)
    }

    /// Writes bytes past the client session, as the owner of shared rendition bytes does.
    func writeFromClient(_ bytes: ByteBuffer) { self.toServer += pieces(of: bytes, size: self.pieceSize) }
    func writeFromServer(_ bytes: ByteBuffer) { self.toClient += pieces(of: bytes, size: self.pieceSize) }

    /// Runs until nothing moves. The server says yes to everything.
    func run() {
        var moved = true
        while moved {
            moved = self.drainServer()
            moved = self.drainClient() || moved
            for piece in self.toServer {
                self.server.receive(piece, now: self.now)
                _ = self.drainServer()
                moved = true
            }
            self.toServer = []
            for piece in self.toClient {
                self.client.receive(piece, now: self.now)
                _ = self.drainClient()
                moved = true
            }
            self.toClient = []
            moved = moved || !self.toServer.isEmpty
        }
    }

    private func drainServer() -> Bool {
        var moved = false
        while let output = self.server.nextOutput() {
            moved = true
            switch output {
            case .transmit(let bytes): self.writeFromServer(bytes)
            case .close(let error): self.serverClosed = .some(error)
            case .event(let event):
                self.serverEvents.append(event)
                switch event {
                case .connectRequested: self.server.acceptConnect(now: self.now)
                case .publishRequested: self.server.acceptPublish(now: self.now)
                case .playRequested:
                    self.server.acceptPlay(information: [AMFProperty("weirEpoch", 9)], now: self.now)
                default: break
                }
            }
        }
        return moved
    }

    private func drainClient() -> Bool {
        var moved = false
        while let output = self.client.nextOutput() {
            moved = true
            switch output {
            case .transmit(let bytes): self.writeFromClient(bytes)
            case .close(let error): self.clientClosed = .some(error)
            case .event(let event): self.clientEvents.append(event)
            }
        }
        return moved
    }
}

@Suite("RTMP client and server sessions talk")
struct LinkTests {
    private static let sizes = Array(1...40) + [127, 128, 129, 1000, 1536, 1537, 3073, 1 << 20]

    private func media(_ typeID: UInt8, _ body: ByteBuffer, timestamp: UInt32) -> ByteBuffer {
        var buffer = ByteBuffer()
        RTMPChunkWriter.write(
            typeID: typeID, timestamp: timestamp, messageStreamID: 1,
            chunkStreamID: typeID == 9 ? RTMPChunkStreamID.video : RTMPChunkStreamID.audio, payload: body,
            chunkSize: 60_000, into: &buffer)
        return buffer
    }

    @Test("a pull gets what the server's owner writes, whatever the cuts", arguments: Self.sizes, [true, false])
    func pull(pieceSize: Int, isSigned: Bool) {
        let pair = Pair(role: .play, pieceSize: pieceSize, isSigned: isSigned)
        pair.run()
        guard case .playing(let information) = pair.clientEvents.last else {
            Issue.record("\(pair.clientEvents)")
            return
        }
        #expect(information.contains(AMFProperty("weirEpoch", 9)))
        let frame = pattern(300)
        pair.writeFromServer(self.media(9, frame, timestamp: 0xFFFF_FFFF))
        pair.writeFromServer(self.media(8, bytes("af01"), timestamp: 2))
        pair.run()
        #expect(
            pair.clientEvents.suffix(2) == [
                .media(RTMPMediaMessage(kind: .video, timestamp: 0xFFFF_FFFF, body: frame)),
                .media(RTMPMediaMessage(kind: .audio, timestamp: 2, body: bytes("af01"))),
            ])
        pair.server.playEnded(description: "over", now: pair.now)
        pair.run()
        #expect(pair.clientEvents.last == .ended(code: "NetStream.Play.UnpublishNotify", description: "over"))
        #expect(pair.clientClosed == nil)
    }

    @Test("a forwarded publish arrives, whatever the cuts", arguments: Self.sizes)
    func forward(pieceSize: Int) {
        let pair = Pair(role: .publish, pieceSize: pieceSize, isSigned: true)
        pair.run()
        guard case .publishing = pair.clientEvents.last, case .publishRequested(let request) = pair.serverEvents.last
        else {
            Issue.record("\(pair.clientEvents) \(pair.serverEvents)")
            return
        }
        #expect(request.name == "cam")
        #expect(request.parameters["a"] == "b")
        pair.client.sendData(["@setDataFrame", "onMetaData", .object([AMFProperty("a", 1)])], timestamp: 0)
        let frame = pattern(70_000)
        pair.run()
        pair.writeFromClient(self.media(9, frame, timestamp: 40))
        pair.run()
        #expect(
            pair.serverEvents.suffix(2) == [
                .metadata(StreamMetadata(entries: [.init(name: "a", value: .number(1))]), timestamp: 0),
                .media(RTMPMediaMessage(kind: .video, timestamp: 40, body: frame)),
            ])
        pair.client.unpublish(now: pair.now)
        pair.run()
        #expect(pair.serverEvents.last == .unpublished)
        #expect(pair.clientClosed == .some(nil))
        #expect(pair.serverClosed == nil)
    }
}

@Suite("RTMP against hostile peers")
struct HostileTests {
    @Test("garbage after the handshake ends the connection, or waits for more, and never traps")
    func garbage() throws {
        var generator = SystemlessGenerator(state: 0x1234_5678_9ABC_DEF1)
        for _ in 0..<500 {
            let harness = try ServerHarness.afterHandshake()
            let count = Int(generator.next() % 3000)
            let noise = ByteBuffer(bytes: (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
            // What the server may answer is not of interest here.
            harness.session.receive(noise, now: harness.now)
            while harness.session.nextOutput() != nil {}
        }
    }

    @Test("a flipped bit anywhere in a publisher's script never traps")
    func bitFlips() throws {
        let peer = ScriptedPeer()
        var script = peer.command(
            "connect", 1, object: ScriptedPeer.connectObject(tcURL: "rtmp://h/live", app: "live"))
        script.writeImmutableBuffer(peer.command("createStream", 2))
        script.writeImmutableBuffer(peer.command("publish", 3, ["cam"], streamID: 1))
        script.writeImmutableBuffer(peer.data(["onMetaData", .ecmaArray([AMFProperty("a", 1)])]))
        script.writeImmutableBuffer(peer.message(22, bytes("08 000001 000001 00 000000 af 0000000c")))
        for index in 0..<script.readableBytes {
            for bit in 0..<8 {
                var flipped = script
                let byte = flipped.getInteger(at: index, as: UInt8.self) ?? 0
                flipped.setInteger(byte ^ 1 << UInt8(bit), at: index)
                let harness = try ServerHarness.afterHandshake()
                harness.session.receive(flipped, now: harness.now)
                while let output = harness.session.nextOutput() {
                    switch output {
                    case .event(.connectRequested): harness.session.acceptConnect(now: harness.now)
                    case .event(.publishRequested): harness.session.acceptPublish(now: harness.now)
                    case .event(.playRequested): harness.session.acceptPlay(now: harness.now)
                    default: break
                    }
                }
            }
        }
    }

    @Test("each excess is refused with its own reason")
    func excesses() throws {
        let chunk = try ServerHarness.connected()
        try chunk.feed(bytes("02 000000 000004 01 00000000 01000000"))
        #expect(chunk.error == .chunkSizeOutOfRange(size: 1 << 24, limit: 1 << 20))

        let message = try ServerHarness.publishing()
        try message.feed(bytes("06 000000 ffffff 09 01000000"))
        #expect(message.error == .messageTooLong(length: 0xFF_FFFF, limit: 8 << 20))

        let deep = try ServerHarness.connected()
        var body = bytes("02 0001 61 00 0000000000000000")
        for _ in 0..<1000 {
            body.writeImmutableBuffer(bytes("0a 00000001"))
        }
        try deep.feed(deep.peer.message(20, body, streamID: 0))
        #expect(deep.error == .amf(.tooDeep(limit: 32, offset: 13 + 32 * 5)))

        let streams = try ServerHarness.connected()
        var many = ByteBuffer()
        for id in UInt8(0)...100 {
            many.writeBytes([0, id])
            many.writeImmutableBuffer(bytes("000000 000001 63 00000000 aa"))
        }
        try streams.feed(many)
        #expect(streams.error == .tooManyChunkStreams(limit: 64))
    }

    @Test("after its end a session does nothing more")
    func afterTheEnd() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(bytes("02 000000 000004 01 00000000 01000000"))
        #expect(harness.isClosed)
        harness.forget()
        try harness.feed(harness.peer.command("createStream", 2))
        try harness.advance(.hours(1))
        try harness.answer {
            $0.acceptConnect(now: $1)
            $0.close()
        }
        #expect(harness.messages.isEmpty)
        #expect(harness.events.isEmpty)
        #expect(harness.nextDeadline == nil)
    }

    @Test("each error has a text for the log")
    func descriptions() {
        let errors: [RTMPError] = [
            .unsupportedVersion(6), .deadline(.handshake), .amf(.tooDeep(limit: 32, offset: 4)),
            .messageTooLong(length: 9, limit: 8), .rejected(code: "y"), .rejected(code: "x"),
        ]
        #expect(Set(errors.map(\.description)).count == errors.count)
        #expect(errors.allSatisfy { !$0.description.isEmpty })
    }

    /// xorshift64*: the same noise in each run.
    struct SystemlessGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            self.state ^= self.state >> 12
            self.state ^= self.state << 25
            self.state ^= self.state >> 27
            return self.state &* 0x2545_F491_4F6C_DD1D
        }
    }
}

@Suite("RTMP budgets")
struct BudgetTests {
    @Test("a publisher's steady state keeps nothing but what its owner holds")
    func steadyState() throws {
        let harness = try ServerHarness.publishing()
        try harness.feed(bytes("02 000000 000004 01 00000000 00010000"))
        var input = ByteBuffer()
        for index in 0..<4 {
            RTMPChunkWriter.write(
                typeID: 9, timestamp: UInt32(index), messageStreamID: 1, chunkStreamID: 6, payload: pattern(4000),
                chunkSize: 65_536, into: &input)
        }
        var capacities: Set<Int> = []
        for _ in 0..<200 {
            harness.session.receive(input, now: harness.now)
            capacities.insert(harness.session.outputs.capacity)
            let buffered = harness.session.link.bufferedBytes
            #expect(buffered == 0)
            var count = 0
            while let output = harness.session.nextOutput() {
                guard case .event(.media(let message)) = output else { continue }
                #expect(message.body.readableBytes == 4000)
                count += 1
            }
            #expect(count == 4)
        }
        #expect(capacities.count == 1)
    }

    @Test("outputs and media messages stay small, since each is moved through the queue")
    func sizes() {
        #expect(MemoryLayout<RTMPServerSession>.size <= 1024)
        #expect(MemoryLayout<RTMPServerOutput>.size <= 64)
        #expect(MemoryLayout<RTMPClientOutput>.size <= 64)
        #expect(MemoryLayout<RTMPMediaMessage>.size <= 32)
    }
}
