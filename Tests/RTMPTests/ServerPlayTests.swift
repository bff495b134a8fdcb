import AMF
import Media
import NIOCore
import Testing

@testable import RTMP

@Suite("RTMP server session: play")
struct ServerPlayTests {
    @Test("play is answered with StreamBegin, Reset, Start and RtmpSampleAccess")
    func play() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("createStream", 2))
        try harness.feed(harness.peer.command("getStreamLength", 3, ["cam"]))
        try harness.feed(harness.peer.command("play", 4, ["cam", -2000], streamID: 1))
        try harness.feed(harness.peer.message(4, bytes("0003 00000001 00000bb8"), streamID: 0, chunkStreamID: 2))
        guard case .playRequested(let request) = harness.events.first else {
            Issue.record("no request")
            return
        }
        #expect(request.role == .play(RTMPPlayOptions(startSeconds: -2, durationSeconds: -1, reset: true)))
        #expect(harness.events.last == .bufferLength(millis: 3000))
        #expect(harness.bufferLengthMillis == 3000)
        harness.forget()
        try harness.answer { $0.acceptPlay(information: [AMFProperty("weirEpoch", 3)], now: $1) }
        #expect(
            harness.summary == [
                "type 4", "onStatus NetStream.Play.Reset", "onStatus NetStream.Play.Start", "type 18",
            ])
        #expect(harness.messages.first?.payload == bytes("0000 00000001"))
        #expect(harness.messages.first?.streamID == 0)
        #expect(harness.messages.dropFirst().allSatisfy { $0.streamID == 1 })
        #expect(harness.commands.last?.argument(0)?["weirEpoch"] == 3)
        #expect(harness.messages.last?.payload == bytes("02 0011 7c52746d7053616d706c65416363657373 0101 0101"))
    }

    @Test(
        "the options of play are read in all their forms",
        arguments: [
            ([AMFValue.number(-2000)], RTMPPlayOptions()), ([-1], RTMPPlayOptions(startSeconds: -1)),
            ([-1000, -1000], RTMPPlayOptions(startSeconds: -1)),
            ([0, 10, false], RTMPPlayOptions(startSeconds: 0, durationSeconds: 10, reset: false)),
            ([-2, -1, 0], RTMPPlayOptions(reset: false)), ([-2, -1, 1], RTMPPlayOptions()),
            ([.number(.nan)], RTMPPlayOptions()), ([.null, .null], RTMPPlayOptions()),
        ] as [([AMFValue], RTMPPlayOptions)])
    func options(_ arguments: [AMFValue], _ options: RTMPPlayOptions) throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("play", 4, ["cam"] + arguments, streamID: 1))
        guard case .playRequested(let request) = harness.events.first else {
            Issue.record("no request")
            return
        }
        #expect(request.role == .play(options))
    }

    @Test("play without reset is not told of one")
    func noReset() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("play", 4, ["cam", -2, -1, false], streamID: 1))
        try harness.answer { $0.acceptPlay(now: $1) }
        #expect(harness.summary == ["type 4", "onStatus NetStream.Play.Start", "type 18"])
    }

    @Test("a refused player is told why")
    func refused() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("play", 4, ["cam"], streamID: 1))
        try harness.answer {
            $0.rejectPlay(
                code: "NetConnection.Connect.Rejected", description: "moved",
                information: [AMFProperty("ex", .object([AMFProperty("redirect", "rtmp://b/live")]))], now: $1)
        }
        #expect(harness.summary == ["onStatus NetConnection.Connect.Rejected"])
        #expect(harness.commands.first?.argument(0)?["ex"]?["redirect"] == "rtmp://b/live")
        #expect(harness.deadlineReason == .rejection)
        // Another stream may be asked for.
        try harness.feed(harness.peer.command("play", 5, ["cam2"], streamID: 1))
        #expect(harness.nextDeadline == nil)
    }

    @Test("play2 starts the other stream anew")
    func play2() throws {
        let harness = try ServerHarness.playing()
        try harness.feed(
            harness.peer.command(
                "play2", 0, [.object([AMFProperty("streamName", "low"), AMFProperty("transition", "switch")])],
                streamID: 1))
        guard harness.events.count == 2, case .playRequested(let request) = harness.events[1] else {
            Issue.record("\(harness.events)")
            return
        }
        #expect(harness.events[0] == .stopped)
        #expect(request.name == "low")
    }

    @Test("pause, resume, seek and the media switches are answered or passed on")
    func playerCommands() throws {
        let harness = try ServerHarness.playing()
        try harness.feed(harness.peer.command("pause", 0, [true, 100], streamID: 1))
        try harness.feed(harness.peer.command("pause", 0, [false, 100], streamID: 1))
        try harness.feed(harness.peer.command("seek", 0, [1000], streamID: 1))
        try harness.feed(harness.peer.command("receiveAudio", 0, [false], streamID: 1))
        try harness.feed(harness.peer.command("receiveVideo", 0, [true], streamID: 1))
        #expect(
            harness.summary == [
                "onStatus NetStream.Pause.Notify", "type 4", "type 4", "onStatus NetStream.Unpause.Notify",
                "onStatus NetStream.Seek.Failed",
            ])
        #expect(harness.events == [.paused(true), .paused(false), .receiveAudio(false), .receiveVideo(true)])
    }

    @Test("a player ends its stream", arguments: ["closeStream", "deleteStream"])
    func stops(_ command: String) throws {
        let harness = try ServerHarness.playing()
        try harness.feed(harness.peer.command(command, 0, [1], streamID: 1))
        try harness.feed(harness.peer.command(command, 0, [1], streamID: 1))
        #expect(harness.events == [.stopped])
        #expect(harness.deadlineReason == .command)
    }

    @Test("a player is told of the end and of the return of its stream")
    func endAndReturn() throws {
        let harness = try ServerHarness.playing()
        try harness.answer { session, _ in session.playRestarted(description: "back") }
        #expect(harness.summary == ["type 4", "onStatus NetStream.Play.PublishNotify"])
        harness.forget()
        try harness.answer { $0.playEnded(description: "over", now: $1) }
        #expect(harness.summary == ["onStatus NetStream.Play.UnpublishNotify", "type 4"])
        #expect(harness.messages.last?.payload == bytes("0001 00000001"))
    }

    @Test("FCSubscribe is answered")
    func fcSubscribe() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.command("FCSubscribe", 5, ["cam"]))
        #expect(harness.summary == ["_result", "onFCSubscribe NetStream.Play.Start"])
    }
}

@Suite("RTMP server session: time and flow")
struct ServerTimeTests {
    @Test("a client that stalls in the handshake, before connect or before its stream is closed")
    func stalls() throws {
        let silent = ServerHarness()
        #expect(silent.deadlineReason == .handshake)
        try silent.advance(.seconds(9))
        #expect(!silent.isClosed)
        try silent.advance(.seconds(1))
        #expect(silent.error == .deadline(.handshake))

        let unconnected = try ServerHarness.afterHandshake()
        try unconnected.advance(.seconds(30))
        #expect(unconnected.error == .deadline(.connect))

        let idle = try ServerHarness.connected()
        try idle.feed(idle.peer.command("createStream", 2))
        try idle.advance(.seconds(30))
        #expect(idle.error == .deadline(.command))
        #expect(idle.nextDeadline == nil)
    }

    @Test("dribbled handshake bytes do not move the deadline")
    func dribble() throws {
        let harness = ServerHarness()
        for _ in 0..<10 {
            try harness.feed(bytes("03"))
            try harness.advance(.seconds(1))
        }
        #expect(harness.error == .deadline(.handshake))
    }

    @Test("a publisher has 20 s for its first message, then 10 s for each")
    func publisher() throws {
        let harness = try ServerHarness.publishing()
        #expect(harness.deadlineReason == .firstMedia)
        try harness.advance(.seconds(19))
        #expect(!harness.isClosed)
        try harness.feed(harness.peer.message(9, bytes("27")))
        #expect(harness.deadlineReason == .media)
        #expect(harness.nextDeadline == harness.now + .seconds(10))
        try harness.advance(.seconds(9))
        try harness.feed(harness.peer.message(8, bytes("af01")))
        try harness.advance(.seconds(9))
        #expect(!harness.isClosed)
        try harness.advance(.seconds(1))
        #expect(harness.error == .deadline(.media))

        let mute = try ServerHarness.publishing()
        try mute.advance(.seconds(20))
        #expect(mute.error == .deadline(.firstMedia))
    }

    @Test("a player is pinged, and its answer measures the way")
    func ping() throws {
        let harness = try ServerHarness.playing()
        #expect(harness.deadlineReason == .ping)
        try harness.advance(.seconds(30))
        #expect(harness.messages.map(\.typeID) == [4])
        #expect(harness.messages.first?.payload == bytes("0006 00007530"))
        harness.now = harness.now + .milliseconds(40)
        try harness.feed(harness.peer.message(4, bytes("0007 00007530"), streamID: 0, chunkStreamID: 2))
        #expect(harness.pingRoundTrip == .milliseconds(40))
        try harness.advance(.hours(1))
        #expect(!harness.isClosed)
    }

    @Test("a silent player is closed only where the setting says so")
    func silentPlayer() throws {
        let harness = try ServerHarness.playing { $0.silentPlayerTimeout = .seconds(60) }
        try harness.advance(.seconds(30))
        #expect(!harness.isClosed)
        try harness.advance(.seconds(30))
        #expect(harness.error == .deadline(.silentPlayer))
    }

    @Test("bytes are acknowledged at half of the client's window")
    func acknowledgement() throws {
        let harness = try ServerHarness.publishing()
        try harness.feed(harness.peer.message(5, bytes("00001388"), streamID: 0, chunkStreamID: 2))
        harness.forget()
        try harness.feed(harness.peer.message(9, pattern(2600)))
        #expect(harness.messages.map(\.typeID) == [3])
        let total = UInt32(harness.receivedBytes)
        #expect(harness.messages.first?.payload == ByteBuffer(integer: total))
        try harness.feed(harness.peer.message(9, pattern(100)))
        #expect(harness.messages.count == 1)
    }

    @Test("control messages are understood, and refused when cut short")
    func control() throws {
        let harness = try ServerHarness.connected()
        try harness.feed(harness.peer.message(3, bytes("00001234"), streamID: 0, chunkStreamID: 2))
        #expect(harness.peerAcknowledgedBytes == 0x1234)
        try harness.feed(harness.peer.message(4, bytes("0006 00000009"), streamID: 0, chunkStreamID: 2))
        #expect(harness.messages.first?.payload == bytes("0007 00000009"))
        try harness.feed(harness.peer.message(6, bytes("00001234 02"), streamID: 0, chunkStreamID: 2))
        try harness.feed(harness.peer.message(4, bytes("00ff"), streamID: 0, chunkStreamID: 2))
        #expect(!harness.isClosed)
        try harness.feed(harness.peer.message(4, bytes("0006 0000"), streamID: 0, chunkStreamID: 2))
        #expect(harness.error == .truncatedMessage(typeID: 4, needed: 6, available: 4))
    }

    @Test("our own chunk size is announced and kept")
    func chunkSize() throws {
        let harness = try ServerHarness.afterHandshake { $0.chunkSize = 4096 }
        try harness.feed(
            harness.peer.command("connect", 1, object: ScriptedPeer.connectObject(tcURL: "rtmp://h/a", app: "a")))
        harness.session.acceptConnect(now: harness.now)
        guard case .transmit(let sent) = harness.session.nextOutput() else {
            Issue.record("nothing sent")
            return
        }
        let announcement = bytes("02 000000 000004 01 00000000 00001000")
        let view = sent.readableBytesView
        #expect(view.indices.contains { view[$0...].starts(with: announcement.readableBytesView) })
    }
}
