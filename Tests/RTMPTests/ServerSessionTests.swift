import AMF
import Media
import NIOCore
import Testing

@testable import RTMP

@Suite("RTMP server session: connect")
struct ServerConnectTests {
    @Test("connect is answered with window, bandwidth, chunk size, result and onBWDone, in this order")
    func answer() throws {
        let harness = try ServerHarness.afterHandshake { $0.serverVersion = "1.2" }
        try harness.feed(
            harness.peer.command(
                "connect", 1,
                object: ScriptedPeer.connectObject(
                    tcURL: "rtmp://Example.com:1936/live?token=a", app: "live",
                    extra: [AMFProperty("objectEncoding", 3), AMFProperty("weirNode", "edge-1")])))
        guard case .connectRequested(let request) = harness.events.first else {
            Issue.record("no request")
            return
        }
        #expect(request.app == "live")
        #expect(request.url?.host == "example.com")
        #expect(request.url?.port == 1936)
        #expect(request.url?.parameters["token"] == "a")
        #expect(request["weirNode"] == "edge-1")
        #expect(request.objectEncoding == 3)
        #expect(request.fourCCs.isEmpty)
        #expect(harness.messages.isEmpty)
        try harness.answer { $0.acceptConnect(information: [AMFProperty("weirEpoch", 7)], now: $1) }
        #expect(
            harness.summary == [
                "type 5", "type 6", "_result NetConnection.Connect.Success", "onBWDone",
            ])
        let result = try #require(harness.commands.first)
        #expect(result.transactionID == 1)
        #expect(result.object["fmsVer"] == "FMS/3,5,3,888")
        let information = try #require(result.argument(0))
        #expect(information["objectEncoding"] == 3)
        #expect(information["weirEpoch"] == 7)
        #expect(information["data"]?["server"] == "Weir")
        #expect(information["data"]?["server_version"] == "1.2")
        #expect(information["capsEx"] == nil)
    }

    @Test("an enhanced client is told what is forwarded")
    func enhanced() throws {
        let harness = try ServerHarness.afterHandshake()
        try harness.feed(
            harness.peer.command(
                "connect", 1,
                object: ScriptedPeer.connectObject(
                    tcURL: "rtmp://h/live", app: "live",
                    extra: [
                        AMFProperty("fourCcList", .strictArray(["av01", "hvc1"])),
                        AMFProperty("videoFourCcInfoMap", .object([AMFProperty("vp09", 7)])),
                        AMFProperty("capsEx", 15),
                    ])))
        guard case .connectRequested(let request) = harness.events.first else {
            Issue.record("no request")
            return
        }
        #expect(request.fourCCs == ["av01", "hvc1", "vp09"])
        #expect(request.capabilitiesEx == 15)
        try harness.answer { $0.acceptConnect(now: $1) }
        let result = try #require(harness.commands.first)
        for object in [result.object, result.argument(0) ?? .null] {
            #expect(object["capsEx"] == 7)
            #expect(object["videoFourCcInfoMap"]?["hvc1"] == 4)
            #expect(object["audioFourCcInfoMap"]?["Opus"] == 4)
        }
    }

    @Test("a refused connect gets its reason, and the connection ends in good order")
    func refused() throws {
        let harness = try ServerHarness.afterHandshake()
        try harness.feed(
            harness.peer.command("connect", 1, object: ScriptedPeer.connectObject(tcURL: "rtmp://h/x", app: "x")))
        try harness.answer { $0.rejectConnect(description: "no", now: $1) }
        #expect(harness.summary == ["_error NetConnection.Connect.Rejected"])
        #expect(harness.commands.first?.transactionID == 1)
        #expect(harness.isClosed)
        #expect(harness.error == nil)
    }

    @Test("commands out of place end the connection")
    func misplaced() throws {
        let early = try ServerHarness.afterHandshake()
        try early.feed(early.peer.command("createStream", 1))
        #expect(early.error == .unexpectedCommand(.beforeConnect))
        let twice = try ServerHarness.connected()
        try twice.feed(
            twice.peer.command("connect", 1, object: ScriptedPeer.connectObject(tcURL: "rtmp://h/x", app: "x")))
        #expect(twice.error == .unexpectedCommand(.secondConnect))
        let nameless = try ServerHarness.connected()
        try nameless.feed(nameless.peer.message(20, bytes("05"), streamID: 0))
        #expect(nameless.error == .unexpectedCommand(.withoutName))
    }

    @Test("a command of AMF3 is understood, with values in either encoding")
    func amf3() throws {
        let harness = try ServerHarness.connected()
        // Format byte, "createStream", 2, then null as AMF3.
        var body = bytes("00 02 000c 63726561746553747265616d 00 4000000000000000 11 01")
        try harness.feed(harness.peer.message(17, body, streamID: 0))
        #expect(harness.summary == ["_result"])
        harness.forget()
        body.moveReaderIndex(forwardBy: 1)
        try harness.feed(harness.peer.message(17, body, streamID: 0))
        #expect(harness.commands == [.result(2, .number(1))])
    }

    @Test("unknown calls are answered when they ask for it")
    func unknownCalls() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("FCNonsense", 9))
        try harness.feed(harness.peer.command("FCNonsense", 0))
        try harness.feed(harness.peer.command("_checkbw", 10))
        try harness.feed(harness.peer.command("getStreamLength", 11, ["cam"]))
        #expect(
            harness.commands == [.result(9, .null), .result(10, .undefined), .result(11, .number(0))])
        #expect(!harness.isClosed)
    }

    @Test("what is sent while the owner decides is held, in order and in bounds")
    func held() throws {
        let harness = try ServerHarness.afterHandshake { $0.maximumHeldBytes = 1000 }
        try harness.feed(
            harness.peer.command("connect", 1, object: ScriptedPeer.connectObject(tcURL: "rtmp://h/live", app: "live")))
        harness.forget()
        try harness.feed(harness.peer.command("createStream", 2))
        try harness.feed(harness.peer.command("publish", 3, ["cam", "live"], streamID: 1))
        try harness.feed(harness.peer.message(9, bytes("17 00 000000"), timestamp: 5))
        #expect(harness.messages.isEmpty)
        try harness.answer { $0.acceptConnect(now: $1) }
        #expect(harness.summary.last == "_result")
        guard case .publishRequested(let request) = harness.events.first, harness.events.count == 1 else {
            Issue.record("\(harness.events)")
            return
        }
        #expect(request.name == "cam")
        harness.forget()
        try harness.answer { $0.acceptPublish(now: $1) }
        #expect(
            harness.events == [
                .media(RTMPMediaMessage(kind: .video, timestamp: 5, body: bytes("1700000000")))
            ])
        try harness.feed(harness.peer.command("publish", 4, ["b"], streamID: 1))
        for _ in 0..<4 {
            try harness.feed(harness.peer.message(9, pattern(200)))
        }
        #expect(harness.error == .tooMuchHeld(limit: 1000))
    }
}

@Suite("RTMP server session: publish")
struct ServerPublishTests {
    /// The name of the published stream, and what the server says from connect to publish.
    private func publish(_ steps: [(String, Double, [AMFValue], UInt32)]) throws -> (RTMPStreamRequest?, [String]) {
        let harness = try ServerHarness.connected()
        for (name, transactionID, arguments, streamID) in steps {
            try harness.feed(harness.peer.command(name, transactionID, arguments, streamID: streamID))
        }
        var request: RTMPStreamRequest?
        if case .publishRequested(let found) = harness.events.last {
            request = found
        }
        try harness.answer { $0.acceptPublish(now: $1) }
        return (request, harness.summary)
    }

    @Test("ffmpeg, OBS and other FMLE-style encoders are answered as they expect")
    func fmle() throws {
        let (request, summary) = try self.publish([
            ("releaseStream", 2, ["cam?key=1"], 0), ("FCPublish", 3, ["cam?key=1"], 0), ("createStream", 4, [], 0),
            ("_checkbw", 5, [], 0), ("publish", 6, ["cam?key=1", "live"], 1),
        ])
        #expect(
            summary == [
                "_result", "_result", "_result", "_result", "onFCPublish NetStream.Publish.Start",
                "onStatus NetStream.Publish.Start",
            ])
        #expect(request?.name == "cam")
        #expect(request?.rawName == "cam?key=1")
        #expect(request?.parameters["key"] == "1")
        #expect(request?.role == .publish(.live))
        #expect(request?.host == "example.com")
    }

    @Test("Flash is not told of FCPublish")
    func flash() throws {
        let (_, summary) = try self.publish([("createStream", 2, [], 0), ("publish", 0, ["cam", "record"], 1)])
        #expect(summary == ["_result", "onStatus NetStream.Publish.Start"])
    }

    @Test("Haivision encoders call FCPublish after createStream, and createStream twice")
    func haivision() throws {
        let (request, summary) = try self.publish([
            ("createStream", 2, [], 0), ("createStream", 3, [], 0), ("FCPublish", 4, ["cam"], 0),
            ("publish", 5, ["cam", "append"], 1),
        ])
        #expect(
            summary == [
                "_result", "_result", "_result", "onFCPublish NetStream.Publish.Start",
                "onStatus NetStream.Publish.Start",
            ])
        #expect(request?.role == .publish(.append))
    }

    @Test("each createStream gives message stream 1")
    func createStream() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("createStream", 2))
        try harness.feed(harness.peer.command("createStream", 3))
        #expect(harness.commands == [.result(2, .number(1)), .result(3, .number(1))])
    }

    @Test("media, metadata and other data reach the owner")
    func media() throws {
        let harness = try ServerHarness.publishing()
        let metadata = AMFValue.ecmaArray([AMFProperty("width", 1280)])
        let expected = StreamMetadata(entries: [.init(name: "width", value: .number(1280))])
        try harness.feed(harness.peer.data(["@setDataFrame", "onMetaData", metadata], timestamp: 3))
        try harness.feed(harness.peer.data(["onMetaData", metadata]))
        try harness.feed(harness.peer.message(8, bytes("af00 1210"), timestamp: 10))
        try harness.feed(harness.peer.message(9, bytes("2701"), timestamp: 20))
        try harness.feed(harness.peer.message(9, ByteBuffer(), timestamp: 21))
        try harness.feed(harness.peer.data(["onTextData", .null], timestamp: 22))
        try harness.feed(harness.peer.message(15, bytes("00 02 0001 61 05"), timestamp: 23))
        #expect(
            harness.events == [
                .metadata(expected, timestamp: 3), .metadata(expected, timestamp: 0),
                .media(RTMPMediaMessage(kind: .audio, timestamp: 10, body: bytes("af001210"))),
                .media(RTMPMediaMessage(kind: .video, timestamp: 20, body: bytes("2701"))),
                .data(RTMPDataMessage(name: "onTextData", timestamp: 22, payload: bytes("05"))),
                .data(RTMPDataMessage(name: "a", timestamp: 23, payload: bytes("05"))),
            ])
    }

    @Test("data that says nothing, or is broken, is dropped")
    func uselessData() throws {
        let harness = try ServerHarness.publishing()
        for body in ["00000000", "02 0005 61", "", "0d", "02 000f 40636c656172446174614672616d65", "05"] {
            try harness.feed(harness.peer.message(18, bytes(body)))
        }
        #expect(harness.events.isEmpty)
        #expect(!harness.isClosed)
    }

    @Test("data nested beyond the limit ends the connection")
    func deepData() throws {
        let harness = try ServerHarness.publishing()
        var body = bytes("02 0001 61")
        for _ in 0..<1000 {
            body.writeImmutableBuffer(bytes("03 0001 61"))
        }
        try harness.feed(harness.peer.message(18, body))
        #expect(harness.error == .amf(.tooDeep(limit: 32, offset: 132)))
    }

    @Test("an aggregate is split and put on its own time")
    func aggregate() throws {
        let harness = try ServerHarness.publishing()
        try harness.feed(
            harness.peer.message(
                22,
                bytes(
                    "08 000002 0003e8 00 000000 af01 0000000d 09 000001 0003f2 00 000000 27 0000000c 08 000001 0003e7 00 000000 af"
                ), timestamp: 50))
        #expect(
            harness.events == [
                .media(RTMPMediaMessage(kind: .audio, timestamp: 50, body: bytes("af01"))),
                .media(RTMPMediaMessage(kind: .video, timestamp: 60, body: bytes("27"))),
                .media(RTMPMediaMessage(kind: .audio, timestamp: 49, body: bytes("af"))),
            ])
        try harness.feed(harness.peer.message(22, bytes("08 000002 0003e8 00 000000 af")))
        #expect(harness.error == .malformedAggregate(offset: 0, length: 12))
    }

    @Test("FCUnpublish ends the publish, and what encoders send after it changes nothing")
    func fcUnpublish() throws {
        let harness = try ServerHarness.publishing()
        try harness.feed(harness.peer.command("FCUnpublish", 7, ["cam"]))
        try harness.feed(harness.peer.command("deleteStream", 8, [1]))
        #expect(harness.events == [.unpublished])
        #expect(
            harness.summary == [
                "onFCUnpublish NetStream.Unpublish.Success", "_result", "onStatus NetStream.Unpublish.Success",
            ])
        try harness.feed(harness.peer.message(9, bytes("27")))
        #expect(harness.events == [.unpublished])
        try harness.feed(harness.peer.command("publish", 9, ["again"], streamID: 1))
        #expect(harness.events.count == 2)
    }

    @Test("a second publish or play ends the first", arguments: ["publish", "play"])
    func second(_ command: String) throws {
        let harness = try ServerHarness.publishing()
        try harness.feed(harness.peer.command(command, 7, ["other"], streamID: 1))
        #expect(harness.events.count == 2)
        #expect(harness.events.first == .unpublished)
    }

    @Test("a refused publisher is told why, may try again, and is closed after a while")
    func refused() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("publish", 3, ["cam"], streamID: 1))
        try harness.answer { $0.rejectPublish(description: "busy", now: $1) }
        #expect(harness.summary == ["onStatus NetStream.Publish.BadName"])
        #expect(harness.commands.first?.argument(0)?["level"] == "error")
        #expect(harness.commands.first?.argument(0)?["description"] == "busy")
        #expect(harness.deadlineReason == .rejection)
        try harness.advance(.seconds(2))
        #expect(!harness.isClosed)
        try harness.advance(.seconds(1))
        #expect(harness.isClosed)
        #expect(harness.error == nil)
    }

    @Test("a publish without a name is refused by the session itself")
    func nameless() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("publish", 3, [], streamID: 1))
        #expect(harness.events.isEmpty)
        #expect(harness.summary == ["onStatus NetStream.Publish.BadName"])
    }

    @Test("the owner may end a publish")
    func ended() throws {
        let harness = try ServerHarness.publishing()
        try harness.answer {
            $0.publishEnded(code: "NetStream.Publish.BadName", level: .error, description: "taken over", now: $1)
        }
        #expect(harness.summary == ["onStatus NetStream.Publish.BadName"])
        try harness.feed(harness.peer.message(9, bytes("27")))
        #expect(harness.events.isEmpty)
        try harness.advance(.seconds(3))
        #expect(harness.isClosed)
    }

    @Test("answers that nobody waits for are ignored")
    func strayAnswers() throws {
        let harness = try ServerHarness.publishing()
        try harness.answer {
            $0.acceptConnect(now: $1)
            $0.rejectConnect(description: "", now: $1)
            $0.acceptPublish(now: $1)
            $0.rejectPublish(description: "", now: $1)
            $0.acceptPlay(now: $1)
            $0.rejectPlay(description: "", now: $1)
            $0.playEnded(description: "", now: $1)
            $0.playRestarted(description: "")
            $0.sendData(["a"], timestamp: 0)
            $0.ping(now: $1)
        }
        #expect(harness.messages.isEmpty)
        #expect(harness.events.isEmpty)
        #expect(!harness.isClosed)
    }
}
