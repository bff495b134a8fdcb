import AMF
import NIOCore
import Testing

@testable import RTMP

@Suite("RTMP: the request to reconnect")
struct ReconnectTests {
    private func server(capabilities: Double?) throws -> ServerHarness {
        try ServerHarness.connected(extra: capabilities.map { [AMFProperty("capsEx", .number($0))] } ?? [])
    }

    private func publish(_ harness: ServerHarness) throws {
        try harness.feed(harness.peer.command("createStream", 2))
        try harness.feed(harness.peer.command("publish", 3, ["cam", "live"], streamID: 1))
        try harness.answer { $0.acceptPublish(now: $1) }
        harness.forget()
    }

    @Test("a client that said that it can is asked, with the address and without ending anything")
    func asked() throws {
        for capabilities in [1.0, 3, 15] {
            let harness = try self.server(capabilities: capabilities)
            try self.publish(harness)
            var isSent = false
            try harness.answer { session, _ in
                isSent = session.requestReconnect(tcURL: "rtmp://other:1935/live", description: "Maintenance.")
            }
            #expect(isSent)
            let command = try #require(harness.commands.first)
            #expect(harness.commands.count == 1)
            #expect(harness.messages.first?.streamID == 0)
            #expect(command.name == "onStatus")
            #expect(command.argument(0)?["level"] == "status")
            #expect(command.argument(0)?["code"] == "NetConnection.Connect.ReconnectRequest")
            #expect(command.argument(0)?["tcUrl"] == "rtmp://other:1935/live")
            #expect(command.argument(0)?["description"] == "Maintenance.")
            #expect(!harness.isClosed)
            try harness.feed(harness.peer.data(["@setDataFrame", "onMetaData", .object([])]))
            #expect(harness.events.count == 1, "media goes on")
        }
    }

    @Test("without an address the client comes back to the one that it has")
    func withoutAddress() throws {
        let harness = try self.server(capabilities: 1)
        try harness.answer { session, _ in _ = session.requestReconnect(tcURL: nil, description: "") }
        let information = try #require(harness.commands.first?.argument(0))
        #expect(information["code"] == "NetConnection.Connect.ReconnectRequest")
        #expect(information["tcUrl"] == nil)
    }

    @Test("a client that did not say that it can is not asked")
    func notCapable() throws {
        for capabilities in [nil, 0.0, 6, 2.5] {
            let harness = try self.server(capabilities: capabilities)
            try self.publish(harness)
            var isSent = true
            try harness.answer { session, _ in
                isSent = session.requestReconnect(tcURL: nil, description: "")
            }
            #expect(!isSent)
            #expect(harness.messages.isEmpty)
        }
    }

    @Test("nobody is asked before the connection stands, after a refusal, or after the end")
    func outOfPlace() throws {
        let early = try ServerHarness.afterHandshake()
        try early.feed(
            early.peer.command(
                "connect", 1,
                object: ScriptedPeer.connectObject(
                    tcURL: "rtmp://h/live", app: "live", extra: [AMFProperty("capsEx", 1)])))
        let refused = try self.server(capabilities: 1)
        try refused.feed(refused.peer.command("publish", 3, ["cam", "live"], streamID: 1))
        try refused.answer { $0.rejectPublish(description: "no", now: $1) }
        let closed = try self.server(capabilities: 1)
        try closed.answer { session, _ in session.close() }
        for harness in [early, refused, closed] {
            harness.forget()
            var isSent = true
            try harness.answer { session, _ in isSent = session.requestReconnect(tcURL: nil, description: "") }
            #expect(!isSent)
            #expect(harness.messages.isEmpty)
        }
    }

    @Test("the server announces that it may ask")
    func announced() throws {
        let harness = try ServerHarness.afterHandshake()
        try harness.feed(
            harness.peer.command(
                "connect", 1,
                object: ScriptedPeer.connectObject(
                    tcURL: "rtmp://h/live", app: "live", extra: [AMFProperty("capsEx", 1)])))
        guard case .connectRequested(let request) = harness.events.first else {
            Issue.record("no request")
            return
        }
        #expect(request.takesReconnectRequests)
        try harness.answer { $0.acceptConnect(now: $1) }
        #expect(harness.commands.first?.argument(0)?["capsEx"] == 7)
    }

    // MARK: Clients

    @Test("our client tells its owner of a request, and goes on")
    func client() throws {
        for role in [RTMPClientTarget.Role.publish, .play] {
            let harness = try ClientHarness.active(role)
            try harness.status(
                "NetConnection.Connect.ReconnectRequest", extra: [AMFProperty("tcUrl", "rtmp://other/live")])
            #expect(harness.events == [.reconnectRequested(tcURL: "rtmp://other/live", description: "d")])
            #expect(!harness.isClosed)
            harness.events = []
            // A level of error would end the stream of any other code.
            try harness.status("NetConnection.Connect.ReconnectRequest", level: "error")
            #expect(harness.events == [.reconnectRequested(tcURL: nil, description: "d")])
            #expect(!harness.isClosed)
        }
    }

    @Test("our client says that it can only if its owner can")
    func capability() throws {
        for (takes, expected) in [(false, 6.0), (true, 7.0)] {
            var session = RTMPClientSession(
                configuration: {
                    var configuration = RTMPClientConfiguration()
                    configuration.usesDigestHandshake = false
                    return configuration
                }(),
                target: RTMPClientTarget(
                    tcURL: "rtmp://origin/live", app: "live", streamName: "cam", role: .publish,
                    takesReconnectRequests: takes),
                randomBytes: pattern(1536), now: .uptimeNanoseconds(0))
            while session.nextOutput() != nil {}
            var answer = ByteBuffer(integer: UInt8(3))
            answer.writeBytes([0, 0, 0, 0, 0, 0, 0, 0])
            answer.writeImmutableBuffer(pattern(1528, seed: 9))
            answer.writeImmutableBuffer(pattern(1536))
            session.receive(answer, now: .uptimeNanoseconds(0))
            var peer = ScriptedPeer()
            var connect: RTMPCommand?
            var isHandshakeOver = false
            while case .transmit(var bytes)? = session.nextOutput() {
                if !isHandshakeOver {
                    // C2, and the first chunks after it.
                    bytes.moveReaderIndex(forwardBy: min(1536, bytes.readableBytes))
                    isHandshakeOver = true
                }
                for message in try peer.read(bytes) where message.typeID == RTMPMessageType.commandAMF0 {
                    connect = try RTMPCommand(parsing: message, limits: .default)
                }
            }
            #expect(connect?.name == "connect")
            #expect(connect?.object["capsEx"] == .number(expected))
        }
    }
}
