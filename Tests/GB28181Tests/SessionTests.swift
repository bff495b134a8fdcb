import MANSCDP
import NIOCore
import SIP
import Testing

@testable import GB28181

@Suite struct SessionTests {
    private let source = DeviceChannel(device: Script.device, channel: Script.channel)

    @Test("an invitation says where the media go, and becomes a session")
    func invite() throws {
        let script = Script()
        script.comeOnline()
        let (session, found) = try script.invite()
        let invite = try #require(found)
        guard case .openMedia(let plan)? = script.takeEvents().first else {
            Issue.record("nothing was opened")
            return
        }
        #expect(200_000_000..<200_010_000 ~= plan.ssrc)
        let text = String(buffer: invite.body)
        #expect(invite.start == .request(method: "INVITE", uri: "sip:\(Script.channel)@192.0.2.7:5060"))
        #expect(invite["Subject"] == "\(Script.channel):0\(plan.ssrc),\(Script.server):0")
        for line in [
            "s=Play", "c=IN IP4 192.0.2.1", "t=0 0", "m=video 9000 TCP/RTP/AVP 96", "a=setup:passive",
            "y=0\(plan.ssrc)", "a=rtpmap:96 PS/90000",
        ] { #expect(text.contains("\(line)\r\n"), "\(line)") }
        script.answer(invite, 100)
        script.answer(invite, 200, tag: "theirs", body: Script.answerBody())
        #expect(script.takeEvents() == [.established(session: session, ssrc: plan.ssrc)])
        let ack = try #require(script.takeSent().first)
        #expect(ack.start == .request(method: "ACK", uri: "sip:\(Script.channel)@10.0.0.9:5060"))
        #expect(ack["CSeq"] == "1 ACK")
        #expect(ack.to?.tag == "theirs")
        #expect(ack.callID == invite.callID)
        // Behind NAT, what its contact says leads nowhere: the bytes go where it came from.
        script.platform.mediaStarted(session: session)
        script.wait(.seconds(100))
        #expect(script.events.filter { if case .closeMedia = $0 { true } else { false } }.isEmpty)
    }

    @Test("the answer that comes again is acknowledged again")
    func repeatedAnswer() throws {
        let script = Script()
        script.comeOnline()
        let invite = try #require(try script.invite().message)
        script.answer(invite, 200, body: Script.answerBody())
        let first = script.takeSent()
        script.answer(invite, 200, body: Script.answerBody())
        #expect(script.takeSent() == first)
    }

    @Test("a device that chooses its own source is believed")
    func otherSource() throws {
        let script = Script()
        script.comeOnline()
        let (session, invite) = try script.invite()
        script.events = []
        script.answer(try #require(invite), 200, body: Script.answerBody(ssrc: "0000000077"))
        #expect(script.takeEvents() == [.established(session: session, ssrc: 77)])
    }

    @Test("to a device that waits for us we connect")
    func active() throws {
        let script = Script()
        script.comeOnline()
        let (session, invite) = try script.invite(transport: .tcpActive)
        #expect(String(buffer: try #require(invite).body).contains("a=setup:active\r\n"))
        script.answer(try #require(invite), 200, body: Script.answerBody(port: 40_000))
        #expect(script.events.contains(.connectMedia(session: session, host: "10.0.0.9", port: 40_000)))
    }

    @Test("an answer without an address ends that try")
    func badAnswer() throws {
        let script = Script()
        script.comeOnline()
        let (session, invite) = try script.invite(transport: .tcpActive)
        script.answer(try #require(invite), 200, body: "v=0\r\n")
        #expect(script.events.contains(.closeMedia(session: session, .badAnswer, isOver: false)))
    }

    @Test("a refusal is acknowledged, and the device is invited again later and later")
    func refused() throws {
        let script = Script { $0.reinviteDelay = .seconds(2) }
        script.comeOnline()
        var (session, invite) = try script.invite()
        for pause in [2, 4, 8] {
            script.events = []
            let source = try #require(script.platform.sessions[session]?.ssrc)
            script.answer(try #require(invite), 486)
            let ack = try #require(script.takeSent().first)
            #expect(ack.method == "ACK")
            #expect(ack.via?.branch == invite?.via?.branch)
            #expect(script.takeEvents() == [.closeMedia(session: session, .refused(status: 486), isOver: false)])
            script.wait(.seconds(Int64(pause)) - .milliseconds(1_100))
            #expect(!script.events.contains { if case .openMedia = $0 { true } else { false } })
            script.wait(.milliseconds(2_200))
            #expect(script.events.contains { if case .openMedia = $0 { true } else { false } })
            script.platform.mediaReady(session: session, host: "203.0.113.1", port: 9_000, script.clock)
            script.drain()
            invite = script.takeSent().last { $0.method == "INVITE" }
            #expect(String(buffer: try #require(invite).body).contains("c=IN IP4 203.0.113.1"))
            // Another source each time, so that old packets are told apart.
            #expect(try #require(script.platform.sessions[session]?.ssrc) != source)
        }
        #expect(script.platform.sessions[session]?.invitations == 4)
    }

    @Test("without an answer, and without media, the device is invited anew")
    func silence() throws {
        let script = Script { $0.keepaliveTimeout = .hours(1) }
        script.comeOnline()
        var (session, invite) = try script.invite()
        script.wait(.seconds(33))
        #expect(script.takeEvents().contains(.closeMedia(session: session, .noAnswer, isOver: false)))
        script.wait(.seconds(3))
        script.platform.mediaReady(session: session, host: nil, port: 9_000, script.clock)
        script.drain()
        invite = script.takeSent().last { $0.method == "INVITE" }
        script.answer(try #require(invite), 200, body: Script.answerBody())
        script.events = []
        script.wait(.seconds(16))
        #expect(script.takeEvents().contains(.closeMedia(session: session, .noMedia, isOver: false)))
        #expect(script.takeSent().contains { $0.method == "BYE" })
    }

    @Test("media that end are asked for again, and the pauses begin anew after media came")
    func mediaEnd() throws {
        let script = Script()
        script.comeOnline()
        var (session, invite) = try script.invite()
        for _ in 0..<3 {
            script.answer(try #require(invite), 200, body: Script.answerBody())
            script.platform.mediaStarted(session: session)
            script.sent = []
            script.events = []
            script.platform.mediaEnded(session: session, script.clock)
            script.drain()
            let bye = try #require(script.takeSent().first)
            #expect(bye.method == "BYE")
            #expect(bye.callID == invite?.callID)
            #expect(bye.sequence?.number == 2)
            script.wait(.seconds(3))
            #expect(script.events.contains { if case .openMedia = $0 { true } else { false } })
            script.platform.mediaReady(session: session, host: nil, port: 9_000, script.clock)
            script.drain()
            invite = script.takeSent().last { $0.method == "INVITE" }
        }
    }

    @Test("a session that is stopped says goodbye, in whatever state it is")
    func stop() throws {
        let script = Script()
        script.comeOnline()
        // Established.
        var (session, invite) = try script.invite()
        script.answer(try #require(invite), 200, body: Script.answerBody())
        script.sent = []
        script.events = []
        _ = script.stop(session)
        #expect(script.takeSent().map(\.method) == ["BYE"])
        #expect(script.takeEvents() == [.closeMedia(session: session, .stopped, isOver: true)])
        // Inviting, and the device has said that it tries.
        (session, invite) = try script.invite()
        script.answer(try #require(invite), 100)
        _ = script.stop(session)
        let cancel = try #require(script.takeSent().last)
        #expect(cancel.method == "CANCEL")
        #expect(cancel.via?.branch == invite?.via?.branch)
        // The answers crossed: it is acknowledged, and ended.
        script.answer(try #require(invite), 200, body: Script.answerBody())
        #expect(script.takeSent().map(\.method) == ["ACK", "BYE"])
        // Inviting, and nothing came yet.
        (session, invite) = try script.invite()
        _ = script.stop(session)
        #expect(script.takeSent().isEmpty)
        script.answer(try #require(invite), 100)
        #expect(script.takeSent().map(\.method) == ["CANCEL"])
        script.answer(try #require(invite), 487)
        #expect(script.takeSent().map(\.method) == ["ACK"])
        #expect(script.platform.sessions.isEmpty)
        #expect(!script.stop(session))
    }

    @Test("a goodbye of the device is answered, and a live session begins anew")
    func bye() throws {
        let script = Script()
        script.comeOnline()
        let (session, found) = try script.invite()
        let invite = try #require(found)
        script.answer(invite, 200, tag: "t", body: Script.answerBody())
        script.sent = []
        script.events = []
        script.receive(script.request("BYE", callID: invite.callID))
        #expect(script.takeSent().map(\.status) == [200])
        #expect(script.takeEvents() == [.closeMedia(session: session, .byeFromDevice, isOver: false)])
        // From elsewhere, and a second time, it finds nothing.
        script.receive(script.request("BYE", callID: invite.callID))
        #expect(script.takeSent().map(\.status) == [481])
    }

    @Test("a live session waits for its device, and is invited as soon as it comes back")
    func deviceGone() throws {
        let script = Script()
        script.comeOnline()
        let (session, invite) = try script.invite()
        script.answer(try #require(invite), 200, body: Script.answerBody())
        script.register(expires: 0)
        #expect(script.events.contains(.closeMedia(session: session, .deviceGone, isOver: false)))
        script.wait(.minutes(10))
        #expect(script.platform.sessions[session]?.phase == .waiting(until: nil))
        script.events = []
        script.register()
        #expect(script.events.contains { if case .openMedia(let plan) = $0 { plan.session == session } else { false } })
    }

    @Test("a channel that is wanted twice has one session")
    func once() throws {
        let script = Script()
        script.comeOnline()
        let first = try script.invite().session
        #expect(try script.play(self.source, .live, transport: .udp).get() == first)
    }

    @Test("what there is not cannot be played")
    func unknown() {
        let script = Script()
        #expect(script.play(self.source, .live, transport: .udp) == .failure(.unknownDevice))
        script.comeOnline()
        let other = DeviceChannel(device: Script.device, channel: "34020000001320000099")
        #expect(script.play(other, .live, transport: .udp) == .failure(.unknownChannel))
        script.register(expires: 0)
        #expect(script.play(self.source, .live, transport: .udp) == .failure(.deviceOffline))
    }

    @Test("a recording is played, controlled, and over at its end")
    func playback() throws {
        let script = Script()
        script.comeOnline()
        let (session, found) = try script.invite(.playback(start: 1_000, end: 2_000))
        let invite = try #require(found)
        let text = String(buffer: invite.body)
        #expect(text.contains("s=Playback\r\n"))
        #expect(text.contains("t=1000 2000\r\n"))
        #expect(text.contains("u=\(Script.channel):0\r\n"))
        let source = try #require(script.platform.sessions[session]?.ssrc)
        #expect(1_200_000_000..<1_200_010_000 ~= source && text.contains("y=\(source)\r\n"))
        script.answer(invite, 200, body: Script.answerBody())
        script.platform.mediaStarted(session: session)
        script.sent = []
        script.events = []
        #expect(
            script.ask(5, .playback(session: session, .scale(thousandths: 2_000))) == nil)
        script.drain()
        let info = try #require(script.takeSent().first)
        #expect(info.method == "INFO")
        #expect(info.callID == invite.callID)
        #expect(info.sequence?.number == 2)
        script.answer(info, 200)
        #expect(script.takeEvents() == [.answered(request: 5, .taken(""))])
        script.tell(
            "<Notify><CmdType>MediaStatus</CmdType><SN>2</SN><DeviceID>\(Script.channel)</DeviceID>"
                + "<NotifyType>121</NotifyType></Notify>")
        #expect(script.takeSent().compactMap(\.method) == ["BYE"])
        #expect(script.takeEvents() == [.closeMedia(session: session, .byeFromDevice, isOver: true)])
        #expect(
            script.ask(6, .playback(session: session, .pause))
                == .unknownSession)
    }

    @Test("a download says how fast")
    func download() throws {
        let script = Script()
        script.comeOnline()
        let invite = try script.invite(.download(start: 1, end: 2, speed: 4)).message
        let text = String(buffer: try #require(invite).body)
        #expect(text.contains("s=Download\r\n"))
        #expect(text.contains("a=downloadspeed:4\r\n"))
    }

    @Test("without a port for the media the session waits")
    func noPort() throws {
        let script = Script()
        script.comeOnline()
        let id = try script.play(self.source, .live, transport: .udp).get()
        script.platform.mediaFailed(session: id, script.clock)
        script.drain()
        #expect(script.events.contains(.closeMedia(session: id, .noPort, isOver: false)))
        script.events = []
        script.wait(.seconds(4))
        #expect(script.events.contains { if case .openMedia = $0 { true } else { false } })
    }
}
