import AMF
import Media
import NIOCore
import Testing

@testable import RTMP

/// A client session with everything that it put out, and a server written by hand.
final class ClientHarness {
    var session: RTMPClientSession
    var peer = ScriptedPeer()
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    var events: [RTMPClientEvent] = []
    var messages: [RTMPMessage] = []
    var raw = ByteBuffer()
    var readsChunks = false
    var isClosed = false
    var error: RTMPError?

    init(
        role: RTMPClientTarget.Role, connectProperties: [AMFProperty] = [],
        _ configure: (inout RTMPClientConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = RTMPClientConfiguration()
        configuration.usesDigestHandshake = false
        configure(&configuration)
        self.session = RTMPClientSession(
            configuration: configuration,
            target: RTMPClientTarget(
                tcURL: "rtmp://origin:1935/live", app: "live", streamName: "cam?token=x", role: role,
                connectProperties: connectProperties),
            randomBytes: pattern(1536), now: self.now)
        try self.drain()
        var answer = ByteBuffer(integer: UInt8(3))
        answer.writeBytes([0, 0, 0, 0, 0, 0, 0, 0])
        answer.writeImmutableBuffer(pattern(1528, seed: 9))
        try self.feed(answer)
        self.readsChunks = true
        try self.feed(pattern(1536))
    }

    /// A session whose server has said yes to everything.
    static func active(
        _ role: RTMPClientTarget.Role, _ configure: (inout RTMPClientConfiguration) -> Void = { _ in }
    ) throws -> ClientHarness {
        let harness = try ClientHarness(role: role, configure)
        try harness.answer("_result", 1, [.object([AMFProperty("code", "NetConnection.Connect.Success")])])
        try harness.answer("_result", 4, [1])
        try harness.status(role == .play ? "NetStream.Play.Start" : "NetStream.Publish.Start")
        harness.events = []
        harness.messages = []
        return harness
    }

    func feed(_ bytes: ByteBuffer) throws {
        self.session.receive(bytes, now: self.now)
        try self.drain()
    }

    func answer(_ name: String, _ transactionID: Double, _ arguments: [AMFValue]) throws {
        try self.feed(self.peer.command(name, transactionID, arguments))
    }

    func status(_ code: String, level: String = "status", extra: [AMFProperty] = []) throws {
        try self.feed(
            self.peer.command(
                "onStatus", 0,
                [
                    .object(
                        [
                            AMFProperty("level", .string(level)), AMFProperty("code", .string(code)),
                            AMFProperty("description", "d"),
                        ] + extra)
                ], streamID: 1))
    }

    func wish(_ body: (inout RTMPClientSession, NIODeadline) -> Void) throws {
        body(&self.session, self.now)
        try self.drain()
    }

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

    var commands: [RTMPCommand] {
        self.messages.compactMap { message in
            guard message.typeID == RTMPMessageType.commandAMF0 else { return nil }
            return try? RTMPCommand(parsing: message, limits: .default)
        }
    }
}

@Suite("RTMP client session")
struct ClientSessionTests {
    @Test("a player shakes hands, connects, creates a stream and plays")
    func play() throws {
        let harness = try ClientHarness(role: .play, connectProperties: [AMFProperty("weirNode", "edge-1")])
        #expect(harness.raw.readableBytes == 1537 + 1536)
        let connect = try #require(harness.commands.first)
        #expect(connect.name == "connect")
        #expect(connect.transactionID == 1)
        #expect(connect.object["app"] == "live")
        #expect(connect.object["tcUrl"] == "rtmp://origin:1935/live")
        #expect(connect.object["weirNode"] == "edge-1")
        #expect(connect.object["fourCcList"] == .strictArray(["*"]))
        harness.messages = []
        try harness.answer("_result", 1, [.object([AMFProperty("weirEpoch", 4)])])
        #expect(harness.events == [.connected(information: [AMFProperty("weirEpoch", 4)])])
        #expect(harness.commands.map(\.name) == ["createStream"])
        harness.messages = []
        try harness.answer("_result", 4, [7])
        #expect(harness.commands.map(\.name) == ["play"])
        #expect(harness.commands.first?.arguments == ["cam?token=x", -2000])
        #expect(harness.messages.first?.streamID == 7)
        #expect(harness.messages.last?.payload == bytes("0003 00000007 000003e8"))
        harness.events = []
        try harness.status("NetStream.Play.Reset")
        #expect(harness.events.isEmpty)
        try harness.status("NetStream.Play.Start", extra: [AMFProperty("weirEpoch", 5)])
        guard case .playing(let information) = harness.events.first else {
            Issue.record("not playing")
            return
        }
        #expect(information.contains(AMFProperty("weirEpoch", 5)))
    }

    @Test("a publisher announces its chunk size and its stream before it publishes")
    func publish() throws {
        let harness = try ClientHarness(role: .publish) { $0.chunkSize = 4096 }
        harness.messages = []
        try harness.answer("_result", 1, [])
        #expect(harness.commands.map(\.name) == ["releaseStream", "FCPublish", "createStream"])
        harness.messages = []
        try harness.answer("_result", 2, [.undefined])
        try harness.answer("_error", 3, [])
        try harness.answer("_result", 4, [1])
        #expect(
            harness.commands == [RTMPCommand(name: "publish", transactionID: 5, arguments: ["cam?token=x", "live"])])
        try harness.status("NetStream.Publish.Start")
        guard case .publishing = harness.events.last else {
            Issue.record("not publishing")
            return
        }
        harness.messages = []
        try harness.wish { session, _ in session.sendData(["@setDataFrame", "onMetaData"], timestamp: 9) }
        #expect(harness.messages.map(\.typeID) == [18])
        #expect(harness.messages.first?.timestamp == 9)
        harness.messages = []
        try harness.wish { $0.unpublish(now: $1) }
        #expect(harness.commands.map(\.name) == ["FCUnpublish", "deleteStream"])
        #expect(harness.isClosed)
        #expect(harness.error == nil)
    }

    @Test("media, metadata and data are passed on while playing")
    func media() throws {
        let harness = try ClientHarness.active(.play)
        try harness.feed(harness.peer.data(["onMetaData", .object([AMFProperty("a", 1)])]))
        try harness.feed(harness.peer.data(["|RtmpSampleAccess", true, true]))
        try harness.feed(harness.peer.data(["onStatus", .object([])]))
        try harness.feed(harness.peer.data(["onCuePoint", .null]))
        try harness.feed(harness.peer.message(9, bytes("17"), timestamp: 4))
        try harness.feed(harness.peer.message(22, bytes("08 000001 000001 00 000000 af 0000000c"), timestamp: 6))
        #expect(
            harness.events == [
                .metadata(StreamMetadata(entries: [.init(name: "a", value: .number(1))]), timestamp: 0),
                .data(RTMPDataMessage(name: "onCuePoint", timestamp: 0, payload: bytes("05"))),
                .media(RTMPMediaMessage(kind: .video, timestamp: 4, body: bytes("17"))),
                .media(RTMPMediaMessage(kind: .audio, timestamp: 6, body: bytes("af"))),
            ])
    }

    @Test("media without a status proves that the stream plays")
    func noStatus() throws {
        let harness = try ClientHarness(role: .play)
        try harness.answer("_result", 1, [])
        try harness.answer("_result", 4, [1])
        harness.events = []
        try harness.feed(harness.peer.message(9, bytes("17"), timestamp: 4))
        #expect(
            harness.events == [
                .playing(information: []), .media(RTMPMediaMessage(kind: .video, timestamp: 4, body: bytes("17"))),
            ])
    }

    @Test("a refusal of connect, with or without a redirect, is reported and closes")
    func refusedConnect() throws {
        let harness = try ClientHarness(role: .play)
        try harness.answer(
            "_error", 1,
            [
                .object([
                    AMFProperty("code", "NetConnection.Connect.Rejected"), AMFProperty("description", "moved"),
                    AMFProperty("ex", .object([AMFProperty("code", 302), AMFProperty("redirect", "rtmp://b/live")])),
                ])
            ])
        #expect(
            harness.events == [
                .rejected(
                    code: "NetConnection.Connect.Rejected", description: "moved", redirect: "rtmp://b/live")
            ])
        #expect(harness.error == .rejected(code: "NetConnection.Connect.Rejected"))
    }

    @Test("a refusal of the stream is reported and closes", arguments: [RTMPClientTarget.Role.play, .publish])
    func refusedStream(_ role: RTMPClientTarget.Role) throws {
        let harness = try ClientHarness(role: role)
        try harness.answer("_result", 1, [])
        try harness.answer("_result", 4, [1])
        harness.events = []
        try harness.status("NetStream.Play.StreamNotFound", level: "error")
        #expect(
            harness.events == [.rejected(code: "NetStream.Play.StreamNotFound", description: "d", redirect: nil)])
        #expect(harness.error == .rejected(code: "NetStream.Play.StreamNotFound"))
    }

    @Test("a server that gives no stream fails the call")
    func noStream() throws {
        for (name, arguments) in [("_result", []), ("_result", [AMFValue.number(-1)]), ("_error", [])] {
            let harness = try ClientHarness(role: .play)
            try harness.answer("_result", 1, [])
            try harness.answer(name, 4, arguments)
            #expect(harness.error == .callFailed(.createStream, code: ""))
        }
    }

    @Test(
        "an end is reported once, and a return as well",
        arguments: ["NetStream.Play.UnpublishNotify", "NetStream.Play.Stop", "NetStream.Play.Complete"])
    func endAndReturn(_ code: String) throws {
        let harness = try ClientHarness.active(.play)
        try harness.status(code)
        try harness.feed(harness.peer.message(4, bytes("0001 00000001"), streamID: 0, chunkStreamID: 2))
        #expect(harness.events == [.ended(code: code, description: "d")])
        #expect(harness.deadlineReason == nil)
        try harness.status("NetStream.Play.PublishNotify")
        #expect(harness.events.last == .restarted)
        #expect(harness.deadlineReason == .upstreamMedia)
        try harness.feed(harness.peer.message(4, bytes("0001 00000001"), streamID: 0, chunkStreamID: 2))
        #expect(harness.events.last == .ended(code: "StreamEOF", description: "The server ended the stream."))
        try harness.feed(harness.peer.message(8, bytes("af")))
        #expect(harness.events.suffix(2).first == .restarted)
    }

    @Test("an error status ends a publish that was accepted")
    func publishEnded() throws {
        let harness = try ClientHarness.active(.publish)
        try harness.status("NetStream.Publish.BadName", level: "error")
        #expect(harness.events == [.ended(code: "NetStream.Publish.BadName", description: "d")])
    }

    @Test("negotiation and media have their deadlines")
    func deadlines() throws {
        let slow = try ClientHarness(role: .play)
        try slow.answer("_result", 1, [])
        #expect(slow.deadlineReason == .negotiation)
        try slow.advance(.seconds(5))
        #expect(slow.error == .deadline(.negotiation))

        let silent = try ClientHarness.active(.play)
        try silent.advance(.seconds(4))
        try silent.feed(silent.peer.message(8, bytes("af")))
        try silent.advance(.seconds(4))
        #expect(!silent.isClosed)
        try silent.advance(.seconds(1))
        #expect(silent.error == .deadline(.upstreamMedia))

        let patient = try ClientHarness.active(.play) { $0.mediaTimeout = nil }
        #expect(patient.deadlineReason == nil)
        let publisher = try ClientHarness.active(.publish)
        #expect(publisher.deadlineReason == nil)
    }

    @Test("stopping a play deletes the stream; stopping early just closes")
    func stop() throws {
        let harness = try ClientHarness.active(.play)
        try harness.wish { $0.stop(now: $1) }
        #expect(harness.commands == [RTMPCommand(name: "deleteStream", arguments: [1])])
        #expect(harness.isClosed)
        let early = try ClientHarness(role: .play)
        early.messages = []
        try early.wish { $0.stop(now: $1) }
        #expect(early.messages.isEmpty)
        #expect(early.isClosed)
        #expect(early.error == nil)
    }

    @Test("a server's close command ends the session")
    func serverCloses() throws {
        let harness = try ClientHarness.active(.play)
        try harness.answer("close", 0, [])
        #expect(harness.error == .rejected(code: "close"))
    }
}
