import DigestAuthentication
import MANSCDP
import NIOCore
import SIP
import Testing

@testable import GB28181

@Suite struct RegistrationTests {
    private func credentials(_ challenge: SIPMessage?, password: String, qop: Bool = true) throws -> String {
        let text = try #require(challenge?["WWW-Authenticate"])
        guard case .digest(var digest)? = try AuthenticationChallenge.parse(text).first else {
            Issue.record("no digest: \(text)")
            return ""
        }
        if !qop { digest.protections = [] }
        return AuthenticationCredentials.digest(
            DigestCredentials(
                answering: digest, username: Script.device, password: password, method: "REGISTER",
                uri: "sip:\(Script.server)@3402000000", nonceCount: 1, clientNonce: "c")
        ).text
    }

    @Test("a device registers, is told the time, and is asked what it is")
    func register() throws {
        let script = Script()
        let answer = try #require(script.register())
        #expect(answer.status == 200)
        #expect(answer["Date"] == "2024-02-29T08:00:00")
        #expect(answer["Expires"] == "3600")
        #expect(answer.via?.parameters.first("rport") == "5060")
        #expect(answer.via?.parameters.first("received") == "192.0.2.7")
        #expect(script.takeEvents() == [.registered(device: Script.device, isNew: true)])
        let asked = script.takeSent().filter { $0.method == "MESSAGE" }.compactMap {
            (try? XMLElement(parsing: $0.body)).flatMap { MANSCDPMessage($0) }?.command
        }
        #expect(asked == ["DeviceInfo", "DeviceStatus", "Catalog"])
    }

    @Test("with a password a device registers by digest, in both forms", arguments: [true, false])
    func digest(qop: Bool) throws {
        let script = Script(password: "secret")
        let challenge = script.register()
        #expect(challenge?.status == 401)
        #expect(script.events.isEmpty)
        script.sent = []
        let answer = script.register(authorization: try self.credentials(challenge, password: "secret", qop: qop))
        #expect(answer?.status == 200)
        #expect(script.platform.devices[Script.device]?.isOnline == true)
    }

    @Test("a wrong password, another's name and a repeated answer are refused")
    func wrong() throws {
        let script = Script(password: "secret")
        let challenge = script.register()
        script.sent = []
        let refused = script.register(authorization: try self.credentials(challenge, password: "wrong"))
        #expect(refused?.status == 403)
        #expect(
            script.takeEvents() == [.registrationRefused(device: Script.device, reason: "the password is wrong")])
        let right = try self.credentials(challenge, password: "secret")
        script.sent = []
        #expect(script.register(authorization: right)?.status == 200)
        script.sent = []
        // The same count again.
        let repeated = script.register(authorization: right)
        #expect(repeated?.status == 401)
        #expect(repeated?["WWW-Authenticate"]?.contains("stale") == true)
    }

    @Test("an answer of the older form counts once, and from its own host alone")
    func olderForm() throws {
        let script = Script(password: "secret")
        let challenge = script.register()
        let answer = try self.credentials(challenge, password: "secret", qop: false)
        let home = script.path.host
        script.path.host = "198.51.100.3"
        script.sent = []
        #expect(script.register(authorization: answer)?.status == 401)
        script.path.host = home
        script.sent = []
        #expect(script.register(authorization: answer)?.status == 200)
        for expires in [3_600, 0] {
            script.sent = []
            #expect(script.register(expires: expires, authorization: answer)?.status == 401)
        }
        #expect(script.platform.devices[Script.device]?.isOnline == true)
    }

    @Test("a challenge is good for five minutes, however many others are challenged meanwhile")
    func manyChallenges() throws {
        let script = Script(password: "secret")
        let answers = try (0..<2).map { _ in
            script.sent = []
            script.now = script.now + .milliseconds(1)
            return try self.credentials(script.register(), password: "secret")
        }
        for number in 0..<3_000 {
            var other = script.request("REGISTER", callID: "other-\(number)", fields: [("Expires", "3600")])
            other["From"] = "<sip:3402000000111\(1_000_000 + number)@3402000000>;tag=o"
            script.receive(other)
            script.sent = []
        }
        #expect(script.register(authorization: answers[0])?.status == 200)
        script.now = script.now + .minutes(5)
        script.sent = []
        #expect(script.register(authorization: answers[1])?.status == 401)
    }

    @Test("who guesses passwords is not looked at for a minute; others are")
    func guessing() throws {
        let script = Script(password: "secret")
        func answer(_ password: String) throws -> Int? {
            script.sent = []
            script.now = script.now + .milliseconds(1)
            let challenge = script.register()
            script.sent = []
            return script.register(authorization: try self.credentials(challenge, password: password))?.status
        }
        for number in 0..<20 { #expect(try answer("guess \(number)") == 403) }
        #expect(try answer("secret") == 403)
        let home = script.path.host
        script.path.host = "198.51.100.3"
        #expect(try answer("secret") == 200)
        script.path.host = home
        script.now = script.now + .minutes(1)
        #expect(try answer("secret") == 200)
    }

    @Test("of a device that is sent away nothing stays")
    func forgotten() throws {
        let script = Script()
        script.comeOnline()
        let (session, _) = try script.invite()
        script.events = []
        let isKnown = script.platform.forget(device: Script.device, script.clock)
        #expect(isKnown)
        script.drain()
        #expect(script.events.contains(.closeMedia(session: session, .deviceGone, isOver: true)))
        #expect(script.events.last == .forgotten(device: Script.device))
        #expect(script.platform.sessions.isEmpty && script.platform.sessions(of: Script.device).isEmpty)
        #expect(script.platform.givenSources.isEmpty && script.platform.liveSessions.isEmpty)
        #expect(script.platform.channelCount == 0)
    }

    @Test("channels of all devices together are bounded")
    func channelsInAll() {
        let script = Script { $0.maximumChannelsInAll = 2 }
        script.register()
        for message in script.takeSent() {
            let query = (try? XMLElement(parsing: message.body)).flatMap { MANSCDPMessage($0) }
            guard let number = query?.number, query?.command == "Catalog" else { continue }
            script.tell(Script.page(number: number, total: 3, (1...3).map { "3402000000132000000\($0)" }))
        }
        #expect(script.platform.devices[Script.device]?.channels.count == 2)
        #expect(script.platform.channelCount == 2)
    }

    @Test("a device that is not known is refused")
    func unknown() {
        let script = Script { $0.isKnown = { $0 != Script.device } }
        #expect(script.register()?.status == 403)
        #expect(script.platform.devices.isEmpty)
    }

    @Test("a device unregisters, and registers again")
    func unregister() {
        let script = Script()
        script.comeOnline()
        #expect(script.register(expires: 0)?.status == 200)
        #expect(script.takeEvents() == [.unregistered(device: Script.device, reason: nil)])
        #expect(script.platform.devices[Script.device]?.isOnline == false)
        script.sent = []
        // What it says until it registers again does not bring it back.
        for _ in 0..<2 { script.keepAlive() }
        #expect(script.takeSent().map(\.status) == [403, 403])
        #expect(script.events.isEmpty)
        #expect(script.register()?.status == 200)
        #expect(script.takeEvents() == [.registered(device: Script.device, isNew: false)])
    }

    @Test("a message of a device that is not registered is refused, so that it registers")
    func stranger() {
        let script = Script()
        script.keepAlive()
        #expect(script.takeSent().map(\.status) == [403])
        script.comeOnline()
        script.keepAlive()
        #expect(script.takeSent().map(\.status) == [200])
        #expect(script.platform.devices[Script.device]?.keepalives == 1)
    }

    @Test(
        "a device that is silent for too long is gone, and comes back with its next message",
        arguments: [nil, "secret"])
    func silence(password: String?) throws {
        let script = Script(password: password) { $0.keepaliveTimeout = .seconds(60) }
        if let password {
            let challenge = script.register()
            script.sent = []
            script.register(authorization: try self.credentials(challenge, password: password))
            script.sent = []
            script.events = []
        } else {
            script.comeOnline()
        }
        script.wait(.seconds(40))
        script.keepAlive()
        script.wait(.seconds(59))
        #expect(script.events.isEmpty)
        script.wait(.seconds(3))
        #expect(
            script.takeEvents() == [
                .unregistered(device: Script.device, reason: "it was silent for too long")
            ])
        script.keepAlive()
        #expect(script.takeEvents() == [.registered(device: Script.device, isNew: false)])
    }

    @Test("a registration that is not renewed ends")
    func expiry() {
        let script = Script { $0.keepaliveTimeout = .hours(10) }
        script.register(expires: 100)
        script.events = []
        script.wait(.seconds(99))
        #expect(!script.events.contains(.unregistered(device: Script.device, reason: "its registration is over")))
        script.wait(.seconds(3))
        #expect(script.events.contains(.unregistered(device: Script.device, reason: "its registration is over")))
    }

    @Test("a device that comes back from another address is reached there, and its sessions begin anew")
    func move() throws {
        let script = Script()
        script.comeOnline()
        let (session, invite) = try script.invite()
        script.answer(try #require(invite), 200, body: Script.answerBody())
        script.platform.mediaStarted(session: session)
        script.sent = []
        script.events = []
        script.path.host = "198.51.100.3"
        script.callID = "register-2"
        script.register()
        #expect(script.events.contains(.closeMedia(session: session, .deviceGone, isOver: false)))
        #expect(script.platform.devices[Script.device]?.path.host == "198.51.100.3")
        #expect(script.sent.filter { $0.message.method == "MESSAGE" }.allSatisfy { $0.path.host == "198.51.100.3" })
        script.events = []
        script.wait(.seconds(3))
        #expect(script.events.contains { if case .openMedia(let plan) = $0 { plan.session == session } else { false } })
    }

    @Test("with passwords, messages from elsewhere are not believed")
    func elsewhere() throws {
        let script = Script(password: "secret")
        let challenge = script.register()
        script.sent = []
        script.register(authorization: try self.credentials(challenge, password: "secret"))
        script.sent = []
        script.path.host = "198.51.100.3"
        script.keepAlive()
        #expect(script.takeSent().map(\.status) == [403])
    }

    @Test("a closed connection takes its device with it until the device speaks again")
    func connection() {
        let script = Script()
        script.path.transport = .tcp(connection: 7)
        script.comeOnline()
        script.platform.connectionClosed(8, script.clock)
        script.drain()
        #expect(script.events.isEmpty)
        script.platform.connectionClosed(7, script.clock)
        script.drain()
        #expect(
            script.takeEvents() == [.unregistered(device: Script.device, reason: "its connection was closed")])
        script.path.transport = .tcp(connection: 9)
        script.keepAlive()
        #expect(script.takeEvents() == [.registered(device: Script.device, isNew: false)])
    }

    @Test("a request that comes again gets the answer that was given before, and does nothing")
    func repetition() {
        let script = Script()
        let message = script.request("REGISTER", callID: "register-1", fields: [("Expires", "3600")])
        script.receive(message)
        let first = script.takeSent().first
        script.events = []
        script.receive(message)
        let again = script.takeSent()
        #expect(again.count == 1)
        #expect(again.first == first)
        #expect(script.events.isEmpty)
        #expect(script.platform.statistics.registrations == 1)
    }

    @Test("datagrams are sent again until an answer comes, with growing pauses, and then given up")
    func retransmission() {
        let script = Script()
        script.register()
        script.sent = []
        script.wait(.milliseconds(450))
        #expect(script.takeSent().isEmpty)
        script.wait(.milliseconds(200))
        #expect(script.takeSent().count == 3)
        script.wait(.seconds(31))
        // 0.5, 1, 2, then every 4 s.
        #expect(script.takeSent().count == 3 * 9)
        script.wait(.seconds(10))
        #expect(script.takeSent().isEmpty)
    }

    @Test("over a connection nothing is sent again")
    func noRetransmission() {
        let script = Script()
        script.path.transport = .tcp(connection: 1)
        script.register()
        script.sent = []
        script.wait(.seconds(60))
        #expect(script.takeSent().isEmpty)
    }

    @Test("the book of devices is bounded; those that have been gone for longest make way")
    func bound() {
        let script = Script { $0.maximumDevices = 1 }
        script.comeOnline()
        var other = script.request("REGISTER", callID: "other", fields: [("Expires", "3600")])
        other["From"] = "<sip:34020000001110000002@3402000000>;tag=o"
        script.receive(other)
        #expect(script.takeSent().first?.status == 503)
        script.register(expires: 0)
        script.sent = []
        other["CSeq"] = "99 REGISTER"
        script.receive(other)
        #expect(script.takeSent().first?.status == 200)
        #expect(Array(script.platform.devices.keys) == ["34020000001110000002"])
    }

    @Test(
        "what is asked for that we do not have is refused",
        arguments: [("INVITE", 488), ("SUBSCRIBE", 405), ("CANCEL", 481), ("BYE", 481), ("OPTIONS", 200)])
    func others(_ method: String, _ status: Int) {
        let script = Script()
        script.receive(script.request(method))
        #expect(script.takeSent().map(\.status) == [status])
    }

    @Test("a request without what every request has is refused and costs nothing more")
    func malformed() {
        let script = Script()
        var message = script.request("REGISTER")
        message["From"] = nil
        script.receive(message)
        #expect(script.takeSent().map(\.status) == [400])
        #expect(script.platform.statistics.malformed == 1)
    }

    @Test("subscriptions are made when a device comes, and renewed in time")
    func subscriptions() throws {
        let script = Script {
            $0.subscriptions = [.alarm, .position]
            $0.keepaliveTimeout = .hours(24)
        }
        script.register(expires: 86_400)
        let first = script.takeSent().filter { $0.method == "SUBSCRIBE" }
        #expect(first.map { $0["Event"] } == ["Alarm", "presence"])
        for message in first {
            var answer = message.response(200, "OK", tag: "their")
            answer["Expires"] = "600"
            script.receive(answer)
        }
        script.wait(.seconds(530))
        #expect(script.takeSent().filter { $0.method == "SUBSCRIBE" }.isEmpty)
        script.wait(.seconds(15))
        let renewed = script.takeSent().filter { $0.method == "SUBSCRIBE" && $0["Event"] == "Alarm" }
        let again = try #require(renewed.first)
        #expect(again.callID == first.first?.callID)
        #expect(again.to?.tag == "their")
        #expect(again.sequence?.number == 2)
    }
}
